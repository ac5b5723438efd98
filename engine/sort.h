/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Heap sort of an index by any order: no choice of input from outside makes it slow, it needs no
 * memory and no recursion. Owns: nothing. Thread: no state. Source: Williams 1964. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef bool InkLess(const void *userdata, uint32_t a, uint32_t b);

static inline void ink_sort_sift_down(uint32_t *order, size_t root, size_t n, InkLess *less,
                                      const void *userdata)
{
    for (size_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
        if (child + 1 < n && less(userdata, order[child], order[child + 1]))
            child++;
        if (!less(userdata, order[root], order[child]))
            return;
        uint32_t swap = order[root];
        order[root] = order[child];
        order[child] = swap;
        root = child;
    }
}

/* Not stable: let `less` break ties by index. */
static inline void ink_sort_indices(uint32_t *order, size_t n, InkLess *less, const void *userdata)
{
    for (size_t i = n / 2; i-- > 0;)
        ink_sort_sift_down(order, i, n, less, userdata);
    for (size_t end = n; end-- > 1;) {
        uint32_t swap = order[0];
        order[0] = order[end];
        order[end] = swap;
        ink_sort_sift_down(order, 0, end, less, userdata);
    }
}
