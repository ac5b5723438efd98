/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/kernels/kernels.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "engine/kernels/layout.h"

/* Lists by what the machine can do, so that nothing here is ever written to. */
static const InkKernels *const plain[] = {&ink_kernels_ref, NULL};
#if defined(__x86_64__)
static const InkKernels *const with_avx2[] = {&ink_kernels_ref, &ink_kernels_avx2, NULL};
static const InkKernels *const with_avx512[] = {&ink_kernels_ref, &ink_kernels_avx2,
                                                &ink_kernels_avx512, NULL};

/* __builtin_cpu_supports() asks both the processor and, through XGETBV, the operating system. */
static bool has_avx2(void)
{
    /* Clang's builtin has no name for F16C; its registers are those of AVX. */
    unsigned a, b, c, d;
    bool has_f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
    return has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

const InkKernels *const *ink_kernels_available(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (has_avx512())
        return with_avx512;
    if (has_avx2())
        return with_avx2;
#endif
    return plain;
}

const InkKernels *ink_kernels_select(const char *wanted)
{
    const InkKernels *best = NULL;
    for (const InkKernels *const *list = ink_kernels_available(); *list != NULL; list++) {
        if (wanted != NULL && strcmp(wanted, (*list)->name) == 0)
            return *list;
        best = *list; /* the lists go from slow to fast */
    }
    return wanted == NULL ? best : NULL;
}

bool ink_kernels_packed_bytes(InkPack pack, size_t n_outputs, size_t n_inputs, size_t *ret)
{
    if (pack < 0 || pack >= INK_PACK_MAX || n_inputs % pack_layouts[pack].n_inputs != 0)
        return false;
    size_t n_groups = n_outputs / INK_PACK_ROWS + (n_outputs % INK_PACK_ROWS != 0);
    size_t n_blocks, n_bytes;
    if (__builtin_mul_overflow(n_groups, n_inputs / pack_layouts[pack].n_inputs, &n_blocks) ||
        __builtin_mul_overflow(n_blocks, pack_layouts[pack].n_bytes, &n_bytes))
        return false;
    *ret = n_bytes;
    return true;
}
