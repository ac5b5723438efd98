/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The packed layouts as rows of a table. Kernels are written once for all of them and specialised
 * by the compiler, for which `pack` is a constant; the bytes are drawn in engine/quant-blocks.h.
 *
 * Owns: nothing. Thread: constant tables. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/quant.h"

typedef struct PackLayout {
    size_t n_inputs; /* of a block: the head and its parts; 1 for floats */
    size_t n_bytes;
    size_t n_head_bytes;
    size_t n_part_bytes;
    int n_bits;   /* of an integer; 8 are signed, others count from 0 */
    int n_scales; /* integer scales of a part and row: one, or one for each half of the part */
    bool has_min; /* w = d * q + m; without, what is in the middle of the integers stands for 0 */
} PackLayout;

/* With one scale a type with a minimum has a scale of it as well, which is subtracted. */
#define PART_SCALE_BYTES(layout)                                                                   \
    (((layout)->n_scales + ((layout)->has_min && (layout)->n_scales > 0)) * INK_PACK_ROWS)

static const PackLayout pack_layouts[INK_PACK_MAX] = {
    [INK_PACK_F32] = {.n_inputs = 1, .n_bytes = INK_PACK_ROWS * sizeof(float)},
    [INK_PACK_Q4_1] = {INK_PACK_K, sizeof(InkPackedQ4_1), 64, 256, 4, 0, true},
    [INK_PACK_Q8_0] = {INK_PACK_K, sizeof(InkPackedQ8_0), 32, 512, 8, 0, false},
    [INK_PACK_Q5_0] = {INK_PACK_K, sizeof(InkPackedQ5_0), 32, 320, 5, 0, false},
    [INK_PACK_Q4_K] = {INK_PACK_SUPER, sizeof(InkPackedQ4_K), 64, 288, 4, 1, true},
    [INK_PACK_Q6_K] = {INK_PACK_SUPER, sizeof(InkPackedQ6_K), 32, 416, 6, 2, false},
};

/* Part b of a group, and the head that it is under. */
static inline const uint8_t *part_head(const void *group, const PackLayout *layout, size_t b)
{
    return (const uint8_t *)group + b / (layout->n_inputs / INK_PACK_K) * layout->n_bytes;
}

static inline const uint8_t *part_at(const uint8_t *head, const PackLayout *layout, size_t b)
{
    return head + layout->n_head_bytes + b % (layout->n_inputs / INK_PACK_K) * layout->n_part_bytes;
}
