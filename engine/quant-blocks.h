/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Blocks of 32 weights as they lie in model files, and of 16 rows as the kernels want them.
 *
 * File:   Q4_1  w[i] = d * q[i] + m, q in 0..15; value i < 16 is the low nibble of qs[i], value
 *               i + 16 the high one.
 *         Q8_0  w[i] = d * q[i], q in -127..127 (-128 is possible in a hostile file).
 * Packed: 16 rows side by side, the same bytes per weight. For k in 0..31 and row r:
 *         Q4_1  quad j = k/4 (0..7), lane byte b = 4*r + k%4:
 *               j < 4 is the low nibble of qs[j*64 + b], j >= 4 the high nibble of qs[(j-4)*64 +
 * b]. Q8_0  qs[(k/4)*64 + 4*r + k%4]. So one 64-byte load holds four k-values of 16 rows (AVX-512),
 * its halves 8 rows each (AVX2). A matrix is packed as [n_groups][M/32] of these; rows beyond N in
 * the last group are zero. */
#pragma once

#include <assert.h>
#include <stdint.h>

#define INK_PACK_ROWS 16 /* rows of one group */
#define INK_PACK_K    32 /* weights of one block */

typedef struct InkBlockQ4_1 {
    uint16_t d;
    uint16_t m;
    uint8_t qs[16];
} InkBlockQ4_1;
static_assert(sizeof(InkBlockQ4_1) == 20, "Q4_1 block");

typedef struct InkBlockQ8_0 {
    uint16_t d;
    int8_t qs[32];
} InkBlockQ8_0;
static_assert(sizeof(InkBlockQ8_0) == 34, "Q8_0 block");

typedef struct InkPackedQ4_1 {
    uint16_t d[INK_PACK_ROWS];
    uint16_t m[INK_PACK_ROWS];
    uint8_t qs[16 * INK_PACK_ROWS];
} InkPackedQ4_1;
static_assert(sizeof(InkPackedQ4_1) == 20 * INK_PACK_ROWS, "packed Q4_1 group");

typedef struct InkPackedQ8_0 {
    uint16_t d[INK_PACK_ROWS];
    int8_t qs[32 * INK_PACK_ROWS];
} InkPackedQ8_0;
static_assert(sizeof(InkPackedQ8_0) == 34 * INK_PACK_ROWS, "packed Q8_0 group");
