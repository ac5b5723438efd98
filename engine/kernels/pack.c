/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/kernels/pack.h"

#include <string.h>

#include "engine/kernels/kernels.h"

#define FLOAT_CHUNK 64 /* values of a row that are converted at once */

/* Rows that group g of n_outputs really has: 16 but in the last group. */
static size_t rows_of_group(size_t n_outputs, size_t g)
{
    size_t left = n_outputs > g * INK_PACK_ROWS ? n_outputs - g * INK_PACK_ROWS : 0;
    return left < INK_PACK_ROWS ? left : INK_PACK_ROWS;
}

void ink_pack_f32(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                  size_t n_inputs, size_t group_begin, size_t group_end, void *packed)
{
    const InkQuantType *row_type = ink_quant_type(type);
    size_t value_bytes = row_type->n_block_bytes;
    float values[FLOAT_CHUNK];

    for (size_t g = group_begin; g < group_end; g++) {
        float *out = (float *)packed + g * n_inputs * INK_PACK_ROWS;
        size_t n_rows = rows_of_group(n_outputs, g);
        if (n_rows < INK_PACK_ROWS)
            memset(out, 0, n_inputs * INK_PACK_ROWS * sizeof *out);
        for (size_t r = 0; r < n_rows; r++) {
            const uint8_t *row = rows + (g * INK_PACK_ROWS + r) * row_bytes;
            for (size_t k = 0; k < n_inputs; k += FLOAT_CHUNK) {
                size_t n = n_inputs - k < FLOAT_CHUNK ? n_inputs - k : FLOAT_CHUNK;
                row_type->dequantize(row + k * value_bytes, values, n);
                for (size_t i = 0; i < n; i++)
                    out[(k + i) * INK_PACK_ROWS + r] = values[i];
            }
        }
    }
}

/* Words of four bytes from `bytes` to every 16th word of `packed`. */
static inline void spread_words(const uint8_t *bytes, size_t n_words, uint8_t *packed)
{
    for (size_t j = 0; j < n_words; j++)
        memcpy(packed + j * 4 * INK_PACK_ROWS, bytes + j * 4, 4);
}

void ink_pack_q4_1(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed)
{
    (void)type;
    size_t n_blocks = n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        InkPackedQ4_1 *out = (InkPackedQ4_1 *)packed + g * n_blocks;
        size_t n_rows = rows_of_group(n_outputs, g);
        const uint8_t *first = rows + g * INK_PACK_ROWS * row_bytes;
        if (n_rows < INK_PACK_ROWS)
            memset(out, 0, n_blocks * sizeof *out);
        for (size_t b = 0; b < n_blocks; b++) {
            for (size_t r = 0; r < n_rows; r++) {
                const uint8_t *block = first + r * row_bytes + b * sizeof(InkBlockQ4_1);
                memcpy(&out[b].d[r], block + offsetof(InkBlockQ4_1, d), sizeof out[b].d[r]);
                memcpy(&out[b].m[r], block + offsetof(InkBlockQ4_1, m), sizeof out[b].m[r]);
                spread_words(block + offsetof(InkBlockQ4_1, qs), 4, out[b].qs + 4 * r);
            }
        }
    }
}

void ink_pack_q8_0(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed)
{
    (void)type;
    size_t n_blocks = n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        InkPackedQ8_0 *out = (InkPackedQ8_0 *)packed + g * n_blocks;
        size_t n_rows = rows_of_group(n_outputs, g);
        const uint8_t *first = rows + g * INK_PACK_ROWS * row_bytes;
        if (n_rows < INK_PACK_ROWS)
            memset(out, 0, n_blocks * sizeof *out);
        for (size_t b = 0; b < n_blocks; b++) {
            for (size_t r = 0; r < n_rows; r++) {
                const uint8_t *block = first + r * row_bytes + b * sizeof(InkBlockQ8_0);
                memcpy(&out[b].d[r], block + offsetof(InkBlockQ8_0, d), sizeof out[b].d[r]);
                spread_words(block + offsetof(InkBlockQ8_0, qs), 8, (uint8_t *)out[b].qs + 4 * r);
            }
        }
    }
}
