/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The table of tensor types: a type is a row, and nothing else in the engine switches over types.
 *
 * Units: n counts values, always a multiple of n_block_values.
 * Owns: nothing. Thread: constant tables. Source: the block layouts in engine/quant-blocks.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/quant-blocks.h"

/* Type numbers of GGUF. */
#define INK_TYPE_F32  0u
#define INK_TYPE_F16  1u
#define INK_TYPE_Q4_1 3u
#define INK_TYPE_Q5_0 6u
#define INK_TYPE_Q8_0 8u
#define INK_TYPE_Q4_K 12u
#define INK_TYPE_Q6_K 14u

/* Which packed layout and kernels serve a matrix of this type (an index into InkKernels.matmul). */
typedef enum InkPack {
    INK_PACK_NONE = -1, /* may be read as a vector (norms), not multiplied */
    INK_PACK_F32,       /* [N/16][M][16] f32; also what F16 matrices become */
    INK_PACK_Q4_1,
    INK_PACK_Q8_0,
    INK_PACK_Q5_0,
    INK_PACK_Q4_K,
    INK_PACK_Q6_K,
    INK_PACK_MAX,
} InkPack;

typedef struct InkQuantType {
    uint32_t id;
    const char *name; /* "Q4_1" */
    uint32_t n_block_values;
    uint32_t n_block_bytes;
    InkPack pack;
    void (*dequantize)(const void *blocks, float *values, size_t n);
} InkQuantType;

/* NULL for a type that this build does not know. */
const InkQuantType *ink_quant_type(uint32_t id);
/* Bytes of a row of n values; false when n is no multiple of the block or the product wraps. */
bool ink_quant_row_bytes(const InkQuantType *type, uint64_t n_values, size_t *ret);

/* The integers q of a block, and of Q4_K the parts' s and m (engine/quant-blocks.h). */
void ink_quant_read_q5_0(const InkBlockQ5_0 *block, uint8_t *q);
void ink_quant_read_q4_k(const InkBlockQ4_K *block, uint8_t *q, uint8_t *scales, uint8_t *mins);
void ink_quant_read_q6_k(const InkBlockQ6_K *block, uint8_t *q);

float ink_f16_to_f32(uint16_t half);
/* Round to nearest even; overflow gives infinity. */
#define INK_F16_MAX 65504.0f /* the largest finite one */
uint16_t ink_f16_from_f32(float value);
