/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Checked allocation and overflow-safe arithmetic for sizes that come from outside.
 * Owns: what is returned belongs to the caller and goes back with free().
 * Errors: NULL when memory is short, or when a product or sum wraps. Thread: safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n * size bytes, zeroed; NULL on overflow. n = 0 gives a pointer that may be freed. */
void *ink_alloc_array(size_t n, size_t size) __attribute__((malloc, warn_unused_result));

/* As realloc(); the old block stays valid on failure. New bytes are not cleared. */
void *ink_realloc_array(void *old, size_t n, size_t size) __attribute__((warn_unused_result));

/* 64-byte aligned and zeroed, for vectors of every kernel set; free() releases it. */
void *ink_alloc_aligned(size_t n_bytes) __attribute__((malloc, warn_unused_result));

void *ink_memdup(const void *data, size_t n_bytes) __attribute__((malloc, warn_unused_result));

static inline bool ink_size_mul(size_t a, size_t b, size_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

static inline bool ink_size_add(size_t a, size_t b, size_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

/* `value` rounded up to a multiple of `align`, a power of two; false when that wraps. */
static inline bool ink_size_align(size_t value, size_t align, size_t *ret)
{
    size_t sum;
    if (__builtin_add_overflow(value, align - 1, &sum))
        return false;
    *ret = sum & ~(align - 1);
    return true;
}

/* Tests make the n-th allocation from now fail (1 = the next); `sticky` fails all after it too.
 * 0 switches it off. Not for use by programs. */
void ink_alloc_fail_at(size_t n, bool sticky);
/* How many allocations were asked for since the last ink_alloc_fail_at(). */
size_t ink_alloc_count(void);
