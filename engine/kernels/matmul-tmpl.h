/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Order of work of every matmul: input rows ("columns" of the tile) in chunks that stay in the
 * second-level cache, for each chunk the groups, for each group tiles of up to MATMUL_COLUMNS
 * columns, whose inner loops the including file writes. Weights are thus read from memory once
 * per chunk, and unpacked once per tile.
 *
 * The including file defines MATMUL_COLUMNS, 16 or less, and for each pack a function
 * tile_<pack>(blocks, n_inputs, input, t, out, out_stride, nc) that writes out[0..nc)[16].
 * Batch invariance: a column's chain of operations in a tile does not depend on nc. */
#pragma once

#include "engine/kernels/float-tmpl.h"

/* Half of a small second-level cache (512 KiB and up on machines with AVX2). */
#define CHUNK_BYTES (256u * 1024)

typedef void MatmulTileFn(const void *blocks, size_t n_inputs, const InkMatmulInput *input,
                          size_t t, float *out, size_t out_stride);

/* What differs between packs in the order of work. */
typedef struct MatmulPlan {
    size_t n_group_bytes;       /* packed weights of one group */
    size_t n_row_bytes;         /* of one input row */
    MatmulTileFn *const *tiles; /* [n - 1] for n columns */
} MatmulPlan;

ALWAYS_INLINE void run_matmul(const MatmulPlan *plan, const void *packed, size_t group_begin,
                              size_t group_end, size_t n_inputs, const InkMatmulInput *input,
                              size_t n_rows, float *out, size_t out_stride)
{
    size_t n_chunk = CHUNK_BYTES / (plan->n_row_bytes + 1) / MATMUL_COLUMNS * MATMUL_COLUMNS;
    n_chunk = n_chunk > 0 ? n_chunk : MATMUL_COLUMNS;

    for (size_t first = 0; first < n_rows; first += n_chunk) {
        size_t end = n_rows - first < n_chunk ? n_rows : first + n_chunk;
        for (size_t g = group_begin; g < group_end; g++) {
            const uint8_t *blocks = (const uint8_t *)packed + g * plan->n_group_bytes;
            /* Tiles of nearly equal width: 17 columns are 9 + 8 and not 16 + 1. */
            size_t n_tiles = (end - first + MATMUL_COLUMNS - 1) / MATMUL_COLUMNS;
            for (size_t t = first; t < end; n_tiles--) {
                size_t n = (end - t + n_tiles - 1) / n_tiles;
                plan->tiles[n - 1](blocks, n_inputs, input, t,
                                   out + t * out_stride + g * INK_PACK_ROWS, out_stride);
                t += n;
            }
        }
    }
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
    DEFINE_MATMUL_TILE(pack, 3) DEFINE_MATMUL_TILE(pack, 4) DEFINE_MATMUL_TILE(pack, 5)            \
        DEFINE_MATMUL_TILE(pack, 6)
#define DEFINE_MATMUL_TILES_16(pack)                                                               \
    DEFINE_MATMUL_TILES_6(pack)                                                                    \
    DEFINE_MATMUL_TILE(pack, 7)                                                                    \
    DEFINE_MATMUL_TILE(pack, 8) DEFINE_MATMUL_TILE(pack, 9) DEFINE_MATMUL_TILE(pack, 10)           \
        DEFINE_MATMUL_TILE(pack, 11) DEFINE_MATMUL_TILE(pack, 12) DEFINE_MATMUL_TILE(pack, 13)     \
            DEFINE_MATMUL_TILE(pack, 14) DEFINE_MATMUL_TILE(pack, 15) DEFINE_MATMUL_TILE(pack, 16)

#define MATMUL_TILES_6(pack)                                                                       \
    tile_##pack##_1, tile_##pack##_2, tile_##pack##_3, tile_##pack##_4, tile_##pack##_5,           \
        tile_##pack##_6
#define MATMUL_TILES_16(pack)                                                                      \
    MATMUL_TILES_6(pack), tile_##pack##_7, tile_##pack##_8, tile_##pack##_9, tile_##pack##_10,     \
        tile_##pack##_11, tile_##pack##_12, tile_##pack##_13, tile_##pack##_14, tile_##pack##_15,  \
        tile_##pack##_16

/* matmul_<pack>(): `group` bytes of a group of M inputs, `row` bytes of an input row, both as
 * expressions of n_inputs. */
#define DEFINE_MATMUL(pack, columns, group, row)                                                   \
    DEFINE_MATMUL_TILES_##columns(pack) static void matmul_##pack(                                 \
        const void *packed, size_t group_begin, size_t group_end, size_t n_inputs,                 \
        const InkMatmulInput *input, size_t n_rows, float *out, size_t out_stride)                 \
    {                                                                                              \
        static MatmulTileFn *const tiles[] = {MATMUL_TILES_##columns(pack)};                       \
        MatmulPlan plan = {.n_group_bytes = (group), .n_row_bytes = (row), .tiles = tiles};        \
        run_matmul(&plan, packed, group_begin, group_end, n_inputs, input, n_rows, out,            \
                   out_stride);                                                                    \
    }
