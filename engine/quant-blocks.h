/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Blocks of 32 weights as they lie in model files, and of 16 rows as the kernels want them.
 *
 * File:   Q4_1  w[i] = d * q[i] + m, q in 0..15; value i < 16 is the low nibble of qs[i], value
 *               i + 16 the high one.
 *         Q5_0  w[i] = d * (q[i] - 16), q in 0..31: the low four bits as in Q4_1, the fifth is bit
 *               i of qh, counted from the lowest of the first byte.
 *         Q8_0  w[i] = d * q[i], q in -127..127 (-128 is possible in a hostile file).
 *         Super-blocks of 256 weights, eight parts of 32 under one head:
 *         Q4_K  w[i] = d * s[p] * q[i] - dmin * m[p], q in 0..15, p = i / 32; s and m are 0..63.
 *               Value i % 32 of parts 2 p and 2 p + 1: low and high nibble of qs[32 p + i % 32].
 *               For p < 4 s[p] and m[p] are the low six bits of scales[p] and scales[p + 4]; for
 *               others the low and high nibble of scales[p + 4], with bits 6 and 7 of scales[p - 4]
 *               and scales[p] above them.
 *         Q6_K  w[i] = d * s[i / 16] * (q[i] - 32), q in 0..63, s in -128..127. Of value i, with
 *               h = i / 128 and j = i % 128: the low bits are the low (j < 64) or high nibble of
 *               ql[64 h + j % 64], the upper two bits 2 (j / 32) and up of qh[32 h + j % 32].
 * Packed: 16 rows side by side, about the same bytes per weight. First comes the head: d, and m or
 *         dmin, of 16 rows. Then the parts of 32 weights (one, or eight for super-blocks), each of
 *         them the rows' scales in whole bytes, if any, and qs and qh. For k in 0..31 and row r,
 *         with quad j = k/4 (0..7) and lane byte b = 4*r + k%4:
 *         8 bits   qs[j*64 + b].
 *         less     The low four bits are the low nibble of qs[j*64 + b] for j < 4, the high one of
 *                  qs[(j-4)*64 + b] for others.
 *         5 bits   The fifth is bit j of qh[b].
 *         6 bits   The upper two are bits 2 (j%4) and up of qh[j/4*64 + b].
 *         So one 64-byte load holds four k-values of 16 rows (AVX-512), its halves 8 rows each
 *         (AVX2). A matrix is packed as [n_groups][M/32] (M/256 for super-blocks) of these; rows
 *         beyond N in the last group are zero. */
#pragma once

#include <assert.h>
#include <stdint.h>

#define INK_PACK_ROWS  16  /* rows of one group */
#define INK_PACK_K     32  /* weights of one block, and of one part of a super-block */
#define INK_PACK_SUPER 256 /* weights of one super-block */
#define INK_PACK_PARTS (INK_PACK_SUPER / INK_PACK_K)

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

typedef struct InkBlockQ5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} InkBlockQ5_0;
static_assert(sizeof(InkBlockQ5_0) == 22, "Q5_0 block");

typedef struct InkBlockQ4_K {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} InkBlockQ4_K;
static_assert(sizeof(InkBlockQ4_K) == 144, "Q4_K block");

typedef struct InkBlockQ6_K {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} InkBlockQ6_K;
static_assert(sizeof(InkBlockQ6_K) == 210, "Q6_K block");

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

typedef struct InkPackedQ5_0 {
    uint16_t d[INK_PACK_ROWS];
    uint8_t qs[16 * INK_PACK_ROWS];
    uint8_t qh[4 * INK_PACK_ROWS];
} InkPackedQ5_0;
static_assert(sizeof(InkPackedQ5_0) == 22 * INK_PACK_ROWS, "packed Q5_0 group");

typedef struct InkPackedQ4_K {
    uint16_t d[INK_PACK_ROWS];
    uint16_t dmin[INK_PACK_ROWS];
    struct {
        uint8_t scales[INK_PACK_ROWS];
        uint8_t mins[INK_PACK_ROWS];
        uint8_t qs[16 * INK_PACK_ROWS];
    } parts[INK_PACK_PARTS];
} InkPackedQ4_K;
static_assert(sizeof(InkPackedQ4_K) == 148 * INK_PACK_ROWS, "packed Q4_K group");

typedef struct InkPackedQ6_K {
    uint16_t d[INK_PACK_ROWS];
    struct {
        int8_t scales[2][INK_PACK_ROWS]; /* of the part's first and second 16 weights */
        uint8_t qs[16 * INK_PACK_ROWS];
        uint8_t qh[8 * INK_PACK_ROWS];
    } parts[INK_PACK_PARTS];
} InkPackedQ6_K;
static_assert(sizeof(InkPackedQ6_K) == 210 * INK_PACK_ROWS, "packed Q6_K group");
