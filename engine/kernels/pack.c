/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/kernels/pack.h"

#include <string.h>

#include "engine/kernels/kernels.h"
#include "engine/kernels/layout.h"

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

/* A row's block as the writer below wants it: scales[p] of part p, with the minimum's after it. */
typedef struct FileBlock {
    uint16_t halves[2];
    uint8_t scales[INK_PACK_PARTS][2];
    uint8_t q[INK_PACK_SUPER];
} FileBlock;

typedef void ReadFn(const uint8_t *bytes, FileBlock *ret);

/* Row r of one part. */
static inline __attribute__((always_inline)) void write_part(const PackLayout *layout,
                                                             const uint8_t *scales,
                                                             const uint8_t *q, size_t r,
                                                             uint8_t *part)
{
    uint8_t *qs = part + PART_SCALE_BYTES(layout);
    uint8_t *qh = qs + 16 * INK_PACK_ROWS;
    for (size_t i = 0; i < PART_SCALE_BYTES(layout) / INK_PACK_ROWS; i++)
        part[i * INK_PACK_ROWS + r] = scales[i];
    for (size_t k = 0; k < INK_PACK_K / 2; k++)
        qs[k / 4 * 64 + 4 * r + k % 4] =
            (uint8_t)((q[k] & 0x0f) | (q[k + INK_PACK_K / 2] & 0x0f) << 4);
    const size_t n_high = (size_t)layout->n_bits - 4, n_quads = n_high > 0 ? 8 / n_high : 0;
    for (size_t i = 0; i < 4 * n_high; i++) { /* four bytes of each 64 */
        const uint8_t *first = q + i / 4 * n_quads * 4 + i % 4;
        uint8_t byte = 0;
        for (size_t quad = 0; quad < n_quads; quad++)
            byte |= (uint8_t)(first[4 * quad] >> 4 << n_high * quad);
        qh[i / 4 * 64 + 4 * r + i % 4] = byte;
    }
}

static inline __attribute__((always_inline)) void pack_blocks(const PackLayout *layout,
                                                              ReadFn *read, size_t n_file_bytes,
                                                              const uint8_t *rows, size_t row_bytes,
                                                              size_t n_outputs, size_t n_inputs,
                                                              size_t group_begin, size_t group_end,
                                                              void *packed)
{
    size_t n_blocks = n_inputs / layout->n_inputs, n_parts = layout->n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        size_t n_rows = rows_of_group(n_outputs, g);
        for (size_t b = 0; b < n_blocks; b++) {
            uint8_t *out = (uint8_t *)packed + (g * n_blocks + b) * layout->n_bytes;
            if (n_rows < INK_PACK_ROWS)
                memset(out, 0, layout->n_bytes);
            for (size_t r = 0; r < n_rows; r++) {
                FileBlock block;
                read(rows + (g * INK_PACK_ROWS + r) * row_bytes + b * n_file_bytes, &block);
                uint16_t *halves = (uint16_t *)out;
                halves[r] = block.halves[0];
                if (layout->has_min)
                    halves[INK_PACK_ROWS + r] = block.halves[1];
                uint8_t *part = out + layout->n_head_bytes;
                for (size_t p = 0; p < n_parts; p++, part += layout->n_part_bytes)
                    write_part(layout, block.scales[p], block.q + p * INK_PACK_K, r, part);
            }
        }
    }
}

static void read_q5_0(const uint8_t *bytes, FileBlock *ret)
{
    InkBlockQ5_0 block;
    memcpy(&block, bytes, sizeof block);
    ret->halves[0] = block.d;
    ink_quant_read_q5_0(&block, ret->q);
}

static void read_q4_k(const uint8_t *bytes, FileBlock *ret)
{
    InkBlockQ4_K block;
    uint8_t scales[INK_PACK_PARTS], mins[INK_PACK_PARTS];
    memcpy(&block, bytes, sizeof block);
    ret->halves[0] = block.d;
    ret->halves[1] = block.dmin;
    ink_quant_read_q4_k(&block, ret->q, scales, mins);
    for (size_t p = 0; p < INK_PACK_PARTS; p++) {
        ret->scales[p][0] = scales[p];
        ret->scales[p][1] = mins[p];
    }
}

static void read_q6_k(const uint8_t *bytes, FileBlock *ret)
{
    InkBlockQ6_K block;
    memcpy(&block, bytes, sizeof block);
    ret->halves[0] = block.d;
    ink_quant_read_q6_k(&block, ret->q);
    memcpy(ret->scales, block.scales, sizeof block.scales);
}

#define DEFINE_PACK(name, pack, block_type)                                                        \
    void ink_pack_##name(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,   \
                         size_t n_inputs, size_t group_begin, size_t group_end, void *packed)      \
    {                                                                                              \
        (void)type;                                                                                \
        pack_blocks(&pack_layouts[pack], read_##name, sizeof(block_type), rows, row_bytes,         \
                    n_outputs, n_inputs, group_begin, group_end, packed);                          \
    }

DEFINE_PACK(q5_0, INK_PACK_Q5_0, InkBlockQ5_0)
DEFINE_PACK(q4_k, INK_PACK_Q4_K, InkBlockQ4_K)
DEFINE_PACK(q6_k, INK_PACK_Q6_K, InkBlockQ6_K)
