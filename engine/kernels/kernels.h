/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The seam between the maths and the machine: one table of functions per instruction set.
 * kernels-ref.c, plain C, defines what each of them computes; the others are held against it.
 *
 * Batch invariance: every kernel computes a row of its output from that row's input alone, in an
 * order of sums that depends on the shapes M, S and position only, never on the number of rows or
 * on how work is split over threads. On one table equal inputs give equal bits.
 *
 * Units: dims count values. Work over output groups is [group_begin, group_end), a group being
 * INK_PACK_ROWS output values, so that threads take ranges of groups and never share a cache line
 * of weights. All pointers 64-byte aligned unless said otherwise; rows of f32 buffers start at
 * multiples of 16 values.
 * Owns: nothing, allocates nothing. Errors: none; arguments are the engine's own.
 * Thread: pure functions. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/quant.h"
#include "engine/quant-blocks.h"

/* Input rows quantised in blocks of INK_PACK_K values for the integer kernels, with 8 bits for
 * every value and 7 more for the values of fine blocks, x[k] ~ d * (q[k] + lo[k] / 128):
 * d = max|x| / 127, |q| <= 127 (never -128), |lo| <= 64. Of other blocks lo is 0 and not used.
 * A matmul sums the products with q of all blocks in order, apart from them those with lo of the
 * row's fine blocks in order, and adds the two sums: what is fine in other rows changes nothing.
 *
 * Integers of weights that have no minimum count from 0 in memory and are biased by half of their
 * range. What that adds to a dot product is taken away as `bias`, apart for the values with k % 4
 * below 2 and the others, because lanes of 16 bits hold the sums of these: bias[0..1] is -16 times
 * their sums over the block, bias[2..3] -32 times those over its first half.
 *
 * Eight bits are not enough where one value of a block stands out: the others lose what it takes,
 * and such blocks hold most of the error. A block is fine when max|x| > INK_FINE_KAPPA * rms(its
 * row). Measured on the default model with 640 positions of text, as share of positions whose best
 * token is float32's, mean divergence and prompt speed: none fine 95.9 %, 0.0029, 110 %; 3.0 (a
 * quarter to two fifths fine) 98.1 to 98.9 %, 0.00028, 100 %; 2.5 98.4 to 99.1 %, 0.00020, 93 %.
 * The bar is 98 %; 3.0 is too near to it. */
#define INK_FINE_KAPPA 2.5f

/* Blocks whose largest value is below this count as zero: its reciprocal would overflow. */
#define INK_TINY_BLOCK 1e-30f

typedef struct InkQuantBlock {
    int8_t q[INK_PACK_K];
    float d;
    float d_sum;     /* d * (sum of q + sum of lo / 128), for types with a minimum */
    int16_t bias[4]; /* of q; at most 32 * 8 * 127 = 32,512 */
    int16_t bias_lo[4];
    int8_t lo[INK_PACK_K];
} InkQuantBlock;
static_assert(sizeof(InkQuantBlock) == 88, "quantised block of activations");

/* Row t, block b: blocks[t * block_stride + b], fine[b * fine_stride + t]. */
typedef struct InkQuantRows {
    InkQuantBlock *blocks; /* [T, block_stride] */
    uint8_t *fine;         /* [M / 32, fine_stride]: 0xff or 0 */
    size_t block_stride;   /* >= M / 32, multiple of 16 */
    size_t fine_stride;    /* >= T + INK_FINE_PADDING */
} InkQuantRows;

/* Flags of so many rows are read at once. */
#define INK_FINE_PADDING 32u

/* Input of a matmul: `x` for INK_PACK_F32, `quant` for the others. */
typedef struct InkMatmulInput {
    const float *x; /* [T, x_stride] */
    size_t x_stride;
    const InkQuantRows *quant;
} InkMatmulInput;

/* out[t, 16 g .. 16 g + 15] = packed group g times input row t, for g in [group_begin, group_end)
 * and t in [0, n_rows). `n_inputs` is M. Output rows are out_stride values apart. */
typedef void InkMatmulFn(const void *packed, size_t group_begin, size_t group_end, size_t n_inputs,
                         const InkMatmulInput *input, size_t n_rows, float *out, size_t out_stride);

/* Keys and values of one attention block of INK_KV_BLOCK positions and one kv-head, f16:
 * k [S][INK_KV_BLOCK] (transposed, so that 16 scores are one vector), v [INK_KV_BLOCK][S]. */
#define INK_KV_BLOCK 16

typedef struct InkAttention {
    const uint16_t *const *k_blocks; /* [ceil((max position + 1) / INK_KV_BLOCK)] */
    const uint16_t *const *v_blocks;
    size_t head_size;      /* S, multiple of 16, at most 512 */
    size_t n_heads_per_kv; /* H / K query heads read this kv-head */
    float scale;           /* applied to scores before the softmax */
    const float *q;        /* row t, head h at q[t * q_stride + h * S] */
    size_t q_stride;
    float *out; /* same layout as q */
    size_t out_stride;
    size_t n_rows;         /* rows at positions first_position + t */
    size_t first_position; /* row t sees positions 0 .. p = first_position + t */
    size_t window; /* 0: all of them; else the last `window`, p among them. Blocks before the one of
                    * position p / INK_KV_BLOCK * INK_KV_BLOCK - window + 1 are not looked at. */
} InkAttention;

/* gelu(x) = 0.5 x (1 + tanh(SCALE (x + CUBE x^3))); SCALE is sqrt(2 / pi). */
#define INK_GELU_SCALE 0.79788456f
#define INK_GELU_CUBE  0.044715f

typedef struct InkKernels {
    const char *name; /* "ref", "avx2", "avx512" */

    /* Packs rows [16 group_begin, 16 group_end) of a file tensor [n_outputs, n_inputs] whose rows
     * are row_bytes apart and unaligned. The result is the same for every table. */
    void (*pack[INK_PACK_MAX])(const uint8_t *rows, size_t row_bytes, uint32_t type,
                               size_t n_outputs, size_t n_inputs, size_t group_begin,
                               size_t group_end, void *packed);
    InkMatmulFn *matmul[INK_PACK_MAX];

    /* Rows [row_begin, row_end) of x [T, M]; M a multiple of 32. Not finite input gives d = NaN. */
    void (*quantize_rows)(const float *x, size_t x_stride, size_t row_begin, size_t row_end,
                          size_t n_inputs, InkQuantRows *out);

    /* out = x / sqrt(mean(x^2) + eps) * weight, n values; out may be x. Source: 1910.07467. */
    void (*rms_norm)(const float *x, const float *weight, size_t n, float eps, float *out);
    /* gate = silu(gate) * up, n values. Source: 2002.05202. */
    void (*silu_mul)(float *gate, const float *up, size_t n);
    /* gate = gelu(gate) * up with the tanh form of GELU, n values. Source: 1606.08415. */
    void (*gelu_mul)(float *gate, const float *up, size_t n);
    /* x += y, n values. */
    void (*add)(float *x, const float *y, size_t n);
    /* Rotates n_pairs pairs; `cos_sin` [n_pairs][2] is the caller's for this position.
     * adjacent: pair i is (x[2i], x[2i+1]); else (x[i], x[i + n_pairs]). Source: 2104.09864. */
    void (*rope)(float *x, const float *cos_sin, size_t n_pairs, bool adjacent);
    /* f32 to f16 (nearest even) with stride between stored values, for the KV cache. What f16 has
     * no number for becomes its largest: an infinity times the weight 0 of a hidden key would be
     * none. NaN stays. */
    void (*store_f16)(const float *x, size_t n, uint16_t *out, size_t out_stride);
    /* Causal attention of one kv-head with online softmax over blocks in order of position.
     * Source: 1805.02867, 2305.13245. */
    void (*attention)(const InkAttention *a);
    /* Largest value of x[0..n), n > 0, and whether all are numbers. */
    float (*max)(const float *x, size_t n, bool *ret_all_numbers);
} InkKernels;

/* Bytes of a packed matrix [n_outputs, n_inputs]; false when it wraps or M is no multiple of the
 * block. */
bool ink_kernels_packed_bytes(InkPack pack, size_t n_outputs, size_t n_inputs, size_t *ret);

extern const InkKernels ink_kernels_ref;
#if defined(__x86_64__)
extern const InkKernels ink_kernels_avx2;
extern const InkKernels ink_kernels_avx512;
#endif

/* The best table that this machine runs; `wanted` ("ref", "avx2", "avx512", from INKLING_ISA)
 * forces one. NULL when `wanted` is unknown or this machine lacks it. */
const InkKernels *ink_kernels_select(const char *wanted);
/* All tables that this machine runs, NULL-terminated, ref first: for tests and benches. */
const InkKernels *const *ink_kernels_available(void);
