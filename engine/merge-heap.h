/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What merging needs besides its vocabulary, kept from piece to piece: the symbols of a piece and a
 * heap of the pairs that may merge, the smallest first (priority << 32 | index of the left symbol).
 * Owns: both; ink_merge_scratch_done() frees. Errors: -ENOMEM. Thread: one scratch, one thread.
 * Source: Williams 1964. */
#pragma once

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

typedef struct InkMergeScratch {
    void *symbols;
    uint64_t *heap;
    size_t n_heap;
    size_t capacity; /* symbols that fit */
} InkMergeScratch;

/* Room for n symbols of one size (the same in all calls) and their pairs; empties the heap. */
static inline int ink_merge_reserve(InkMergeScratch *s, size_t n, size_t symbol_bytes)
{
    size_t capacity = n < 256 ? 256 : n, n_items;
    s->n_heap = 0;
    if (n <= s->capacity)
        return 0;
    if (!ink_size_mul(capacity, 2, &n_items))
        return -ENOMEM;
    void *symbols = ink_realloc_array(s->symbols, capacity, symbol_bytes);
    if (symbols == NULL)
        return -ENOMEM;
    s->symbols = symbols;
    /* A pair for each two neighbours at the start, and each of the n - 1 merges takes one item out
     * and puts at most two in. */
    uint64_t *heap = ink_realloc_array(s->heap, n_items, sizeof(uint64_t));
    if (heap == NULL)
        return -ENOMEM;
    s->heap = heap;
    s->capacity = capacity;
    return 0;
}

static inline void ink_merge_scratch_done(InkMergeScratch *s)
{
    free(s->symbols);
    free(s->heap);
    *s = (InkMergeScratch){0};
}

static inline void ink_merge_push(InkMergeScratch *s, uint64_t item)
{
    size_t at = s->n_heap++;
    while (at > 0 && s->heap[(at - 1) / 2] > item) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = item;
}

/* The smallest; the heap is not empty. */
static inline uint64_t ink_merge_pop(InkMergeScratch *s)
{
    uint64_t top = s->heap[0], item = s->heap[--s->n_heap];
    size_t at = 0;
    for (size_t child = 1; child < s->n_heap; child = 2 * at + 1) {
        if (child + 1 < s->n_heap && s->heap[child + 1] < s->heap[child])
            child++;
        if (s->heap[child] >= item)
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = item;
    return top;
}
