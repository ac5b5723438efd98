/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Order of work of every matmul: groups in panels that stay in the second-level cache, for each
 * panel tiles of up to MATMUL_COLUMNS input rows ("columns"), which stay in the first-level cache
 * while the panel's groups stream past; the including file writes the inner loops. Weights are thus
 * read from memory once, and unpacked once per tile.
 *
 * After each MATMUL_LOW_TILES tiles a second pass adds what the fine blocks of their columns have
 * more to say; it skips the others, about two in three. Tiles of MATMUL_FUSED columns or less,
 * which are there only when they are the whole input, do it in one pass over the weights.
 *
 * The including file defines MATMUL_COLUMNS, 16 or less, MATMUL_LOW_TILES of them being
 * INK_FINE_PADDING columns or less, and for each pack a function
 * tile_<pack>(blocks, n_inputs, input, t, out, out_stride, nc) that writes out[0..nc)[16].
 * Batch invariance: a column's chain of operations in a tile does not depend on nc. */
#pragma once

#include "engine/kernels/float-tmpl.h"

/* Half of a small second-level cache (512 KiB and up on machines with AVX2). */
#define PANEL_BYTES (256u * 1024)

typedef void MatmulTileFn(const void *blocks, size_t n_inputs, const InkMatmulInput *input,
                          size_t t, float *out, size_t out_stride);

/* Adds to out[0..n)[16]; NULL for types without. */
typedef void MatmulLowFn(const void *blocks, size_t n_inputs, const InkMatmulInput *input, size_t t,
                         size_t n, float *out, size_t out_stride);

ALWAYS_INLINE void run_matmul(MatmulTileFn *const *tiles, MatmulLowFn *low, size_t n_group_bytes,
                              const void *packed, size_t group_begin, size_t group_end,
                              size_t n_inputs, const InkMatmulInput *input, size_t n_rows,
                              float *out, size_t out_stride)
{
    size_t n_panel = PANEL_BYTES / (n_group_bytes + 1) + 1;

    for (size_t first = group_begin; first < group_end; first += n_panel) {
        size_t end = group_end - first < n_panel ? group_end : first + n_panel;
        /* Tiles of nearly equal width: 17 columns are 9 + 8 and not 16 + 1. */
        size_t n_tiles = (n_rows + MATMUL_COLUMNS - 1) / MATMUL_COLUMNS;
        for (size_t t = 0; t < n_rows;) {
            size_t begin = t;
            for (int i = 0; i < MATMUL_LOW_TILES && t < n_rows; i++, n_tiles--) {
                size_t n = (n_rows - t + n_tiles - 1) / n_tiles;
                for (size_t g = first; g < end; g++)
                    tiles[n - 1]((const uint8_t *)packed + g * n_group_bytes, n_inputs, input, t,
                                 out + t * out_stride + g * INK_PACK_ROWS, out_stride);
                t += n;
            }
            for (size_t g = first; g < end && low != NULL && n_rows > MATMUL_FUSED; g++)
                low((const uint8_t *)packed + g * n_group_bytes, n_inputs, input, begin, t - begin,
                    out + begin * out_stride + g * INK_PACK_ROWS, out_stride);
        }
    }
}

/* quantize_rows() by the including file's fine_threshold() and quantize_block(). */
#define DEFINE_QUANTIZE_ROWS                                                                       \
    static void quantize_rows(const float *x, size_t x_stride, size_t row_begin, size_t row_end,   \
                              size_t n_inputs, InkQuantRows *out)                                  \
    {                                                                                              \
        size_t n_blocks = n_inputs / INK_PACK_K;                                                   \
        for (size_t t = row_begin; t < row_end; t++) {                                             \
            const float *row = x + t * x_stride;                                                   \
            InkQuantBlock *blocks = out->blocks + t * out->block_stride;                           \
            float threshold = fine_threshold(row, n_inputs);                                       \
            for (size_t b = 0; b < n_blocks; b++) {                                                \
                bool fine = quantize_block(row + b * INK_PACK_K, threshold, &blocks[b]);           \
                out->fine[b * out->fine_stride + t] = fine ? 0xff : 0;                             \
            }                                                                                      \
        }                                                                                          \
    }

#define DEFINE_MATMUL_TILE(pack, nc)                                                               \
    static __attribute__((noinline)) void tile_##pack##_##nc(                                      \
        const void *blocks, size_t n_inputs, const InkMatmulInput *input, size_t t, float *out,    \
        size_t out_stride)                                                                         \
    {                                                                                              \
        tile_##pack(blocks, n_inputs, input, t, out, out_stride, nc);                              \
    }

#define DEFINE_MATMUL_TILES_6(pack)                                                                \
    DEFINE_MATMUL_TILE(pack, 1)                                                                    \
    DEFINE_MATMUL_TILE(pack, 2)                                                                    \
    DEFINE_MATMUL_TILE(pack, 3)                                                                    \
    DEFINE_MATMUL_TILE(pack, 4) DEFINE_MATMUL_TILE(pack, 5) DEFINE_MATMUL_TILE(pack, 6)
#define DEFINE_MATMUL_TILES_16(pack)                                                               \
    DEFINE_MATMUL_TILES_6(pack)                                                                    \
    DEFINE_MATMUL_TILE(pack, 7)                                                                    \
    DEFINE_MATMUL_TILE(pack, 8)                                                                    \
    DEFINE_MATMUL_TILE(pack, 9)                                                                    \
    DEFINE_MATMUL_TILE(pack, 10)                                                                   \
    DEFINE_MATMUL_TILE(pack, 11)                                                                   \
    DEFINE_MATMUL_TILE(pack, 12)                                                                   \
    DEFINE_MATMUL_TILE(pack, 13)                                                                   \
    DEFINE_MATMUL_TILE(pack, 14) DEFINE_MATMUL_TILE(pack, 15) DEFINE_MATMUL_TILE(pack, 16)

#define MATMUL_TILES_6(pack)                                                                       \
    tile_##pack##_1, tile_##pack##_2, tile_##pack##_3, tile_##pack##_4, tile_##pack##_5,           \
        tile_##pack##_6
#define MATMUL_TILES_16(pack)                                                                      \
    MATMUL_TILES_6(pack), tile_##pack##_7, tile_##pack##_8, tile_##pack##_9, tile_##pack##_10,     \
        tile_##pack##_11, tile_##pack##_12, tile_##pack##_13, tile_##pack##_14, tile_##pack##_15,  \
        tile_##pack##_16

/* matmul_<pack>(): `group` bytes of a group of M inputs, as an expression of n_inputs; `low` the
 * second pass or NULL. */
#define DEFINE_MATMUL(pack, columns, low, group)                                                   \
    DEFINE_MATMUL_TILES_##columns(pack) static void matmul_##pack(                                 \
        const void *packed, size_t group_begin, size_t group_end, size_t n_inputs,                 \
        const InkMatmulInput *input, size_t n_rows, float *out, size_t out_stride)                 \
    {                                                                                              \
        static MatmulTileFn *const tiles[] = {MATMUL_TILES_##columns(pack)};                       \
        run_matmul(tiles, (low), (group), packed, group_begin, group_end, n_inputs, input, n_rows, \
                   out, out_stride);                                                               \
    }
