/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t n_asked;
static atomic_size_t fail_at;
static atomic_bool fail_sticky;

static bool refused(void)
{
    size_t now = atomic_fetch_add_explicit(&n_asked, 1, memory_order_relaxed) + 1;
    size_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (at == 0)
        return false;
    return now == at || (now > at && atomic_load_explicit(&fail_sticky, memory_order_relaxed));
}

void ink_alloc_fail_at(size_t n, bool sticky)
{
    atomic_store(&n_asked, 0);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_at, n);
}

size_t ink_alloc_count(void)
{
    return atomic_load(&n_asked);
}

void *ink_alloc_array(size_t n, size_t size)
{
    size_t bytes;
    if (!ink_size_mul(n, size, &bytes) || refused())
        return NULL;
    return calloc(1, bytes != 0 ? bytes : 1);
}

void *ink_realloc_array(void *old, size_t n, size_t size)
{
    size_t bytes;
    if (!ink_size_mul(n, size, &bytes) || refused())
        return NULL;
    return realloc(old, bytes != 0 ? bytes : 1);
}

void *ink_alloc_aligned(size_t n_bytes)
{
    size_t bytes;
    if (!ink_size_align(n_bytes != 0 ? n_bytes : 1, 64, &bytes) || refused())
        return NULL;
    void *p = aligned_alloc(64, bytes);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

void *ink_memdup(const void *data, size_t n_bytes)
{
    void *copy = ink_alloc_array(n_bytes, 1);
    if (copy != NULL && n_bytes != 0)
        memcpy(copy, data, n_bytes);
    return copy;
}
