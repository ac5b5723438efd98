/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Attention over float-tmpl.h's vectors. A tile is a few queries (a row and a head each) whose
 * rows lie in one block of positions, so that all of them see the same blocks of keys; a chunk is
 * up to CHUNK_BLOCKS blocks of keys, after which maximum, sum and output are rescaled once.
 *
 * Batch invariance: chunks begin at positions that the query's block of positions decides, and what
 * a query computes is one chain of operations that depends on its own position only. Tiles merely
 * interleave such chains. With a window the first chunk begins at the first block that any position
 * of the query's block sees; a query always sees a key of it.
 *
 * The including file defines TILE_QUERIES, the most queries of a tile, and SCORE_BLOCKS(nq) and
 * VALUE_VECS(nq), how many key blocks and output vectors nq queries keep in registers at once. */
#pragma once

#include "engine/kernels/float-tmpl.h"

#define CHUNK_BLOCKS     4
#define CHUNK_KEYS       (CHUNK_BLOCKS * INK_KV_BLOCK)
#define BLOCK_VECS       (INK_KV_BLOCK / VEC_N)
#define MAX_HEAD_SIZE    512
#define MAX_SCORE_VECS   (CHUNK_BLOCKS * BLOCK_VECS)
#define MAX_VALUE_VECS   8
/* Up to here a tile waits for memory; larger ones come in numbers and find the keys in a cache. */
#define PREFETCH_QUERIES 4

typedef struct Tile {
    const uint16_t *const *k_blocks; /* of the current chunk */
    const uint16_t *const *v_blocks;
    size_t n_blocks; /* of the current chunk */
    size_t head_size;
    float *out[TILE_QUERIES];
    /* Keys [n_hidden, n_visible) of the current chunk are those that the query sees. */
    size_t n_hidden[TILE_QUERIES];
    size_t n_visible[TILE_QUERIES];
    float max[TILE_QUERIES];
    float rescale[TILE_QUERIES];
    Vec sum[TILE_QUERIES];
    float q[MAX_HEAD_SIZE][TILE_QUERIES]; /* scaled */
    float weights[TILE_QUERIES][CHUNK_KEYS];
} Tile;

/* Scores of nq queries with the keys of nb blocks from `first` on, into tile->weights. */
ALWAYS_INLINE void score_blocks(Tile *tile, size_t first, const int nq, const int nb)
{
    Vec sums[TILE_QUERIES][MAX_SCORE_VECS];
#pragma GCC unroll 16
    for (int i = 0; i < nq; i++) {
#pragma GCC unroll 8
        for (int v = 0; v < nb * BLOCK_VECS; v++)
            sums[i][v] = vec_set1(0);
    }
    for (size_t s = 0; s < tile->head_size; s++) {
        Vec keys[MAX_SCORE_VECS];
#pragma GCC unroll 8
        for (int v = 0; v < nb * BLOCK_VECS; v++) {
            keys[v] = vec_load_f16(tile->k_blocks[first + v / BLOCK_VECS] + s * INK_KV_BLOCK +
                                   v % BLOCK_VECS * VEC_N);
        }
#pragma GCC unroll 16
        for (int i = 0; i < nq; i++) {
            Vec q = vec_set1(tile->q[s][i]);
#pragma GCC unroll 8
            for (int v = 0; v < nb * BLOCK_VECS; v++)
                sums[i][v] = vec_fma(q, keys[v], sums[i][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < nq; i++) {
#pragma GCC unroll 8
        for (int v = 0; v < nb * BLOCK_VECS; v++)
            vec_store(tile->weights[i] + first * INK_KV_BLOCK + v * VEC_N, sums[i][v]);
    }
}

ALWAYS_INLINE void scores(Tile *tile, const int nq)
{
    size_t b = 0;
    for (; b + SCORE_BLOCKS(nq) <= tile->n_blocks; b += SCORE_BLOCKS(nq))
        score_blocks(tile, b, nq, SCORE_BLOCKS(nq));
    for (; b < tile->n_blocks; b++)
        score_blocks(tile, b, nq, 1);
}

/* From scores to weights relative to the new maximum. Weights of hidden keys become exactly 0. */
ALWAYS_INLINE void weigh(Tile *tile, const int nq)
{
    size_t n_keys = tile->n_blocks * INK_KV_BLOCK;
    float change[(TILE_QUERIES + VEC_N - 1) / VEC_N * VEC_N] = {0};

    for (int i = 0; i < nq; i++) {
        float *row = tile->weights[i];
        for (size_t key = 0; key < tile->n_hidden[i]; key++)
            row[key] = -INFINITY;
        for (size_t key = tile->n_visible[i]; key < n_keys; key++)
            row[key] = -INFINITY;
        Vec best = vec_load(row);
        for (size_t key = VEC_N; key < n_keys; key += VEC_N)
            best = vec_max(best, vec_load(row + key));
        float chunk_max = vec_reduce_max(best);
        float new_max = chunk_max > tile->max[i] ? chunk_max : tile->max[i];
        change[i] = tile->max[i] - new_max;
        tile->max[i] = new_max;
    }
    for (int i = 0; i < nq; i += VEC_N) {
        float rescale[VEC_N];
        vec_store(rescale, vec_exp(vec_load(change + i)));
        memcpy(tile->rescale + i, rescale,
               (size_t)(nq - i < VEC_N ? nq - i : VEC_N) * sizeof(float));
    }
    for (int i = 0; i < nq; i++) {
        float *row = tile->weights[i];
        Vec sum = vec_mul(tile->sum[i], vec_set1(tile->rescale[i]));
        for (size_t key = 0; key < n_keys; key += VEC_N) {
            Vec weight = vec_exp(vec_sub(vec_load(row + key), vec_set1(tile->max[i])));
            vec_store(row + key, weight);
            sum = vec_add(sum, weight);
        }
        tile->sum[i] = sum;
    }
}

/* out = out * rescale + weights times values, for nv vectors of each head from value `s` on. */
ALWAYS_INLINE void add_values(Tile *tile, size_t s, const int nq, const int nv)
{
    Vec sums[TILE_QUERIES][MAX_VALUE_VECS];
#pragma GCC unroll 16
    for (int i = 0; i < nq; i++) {
        Vec rescale = vec_set1(tile->rescale[i]);
#pragma GCC unroll 8
        for (int v = 0; v < nv; v++)
            sums[i][v] = vec_mul(vec_load(tile->out[i] + s + v * VEC_N), rescale);
    }
    for (size_t b = 0; b < tile->n_blocks; b++) {
        const uint16_t *values = tile->v_blocks[b] + s;
        const float *weights = tile->weights[0] + b * INK_KV_BLOCK;
        for (size_t key = 0; key < INK_KV_BLOCK; key++, values += tile->head_size) {
            Vec value[MAX_VALUE_VECS];
#pragma GCC unroll 8
            for (int v = 0; v < nv; v++)
                value[v] = vec_load_f16(values + v * VEC_N);
#pragma GCC unroll 16
            for (int i = 0; i < nq; i++) {
                Vec weight = vec_set1(weights[i * CHUNK_KEYS + key]);
#pragma GCC unroll 8
                for (int v = 0; v < nv; v++)
                    sums[i][v] = vec_fma(weight, value[v], sums[i][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < nq; i++) {
#pragma GCC unroll 8
        for (int v = 0; v < nv; v++)
            vec_store(tile->out[i] + s + v * VEC_N, sums[i][v]);
    }
}

ALWAYS_INLINE void run_chunk(Tile *tile, const int nq)
{
    size_t s = 0;
    scores(tile, nq);
    weigh(tile, nq);
    for (; s + VALUE_VECS(nq) * VEC_N <= tile->head_size; s += VALUE_VECS(nq) * VEC_N)
        add_values(tile, s, nq, VALUE_VECS(nq));
    for (; s < tile->head_size; s += VEC_N)
        add_values(tile, s, nq, 1);
}

/* The next chunk of a single stream of keys comes from memory: ask for it one chunk ahead. */
ALWAYS_INLINE void prefetch_chunk(const InkAttention *a, size_t first, size_t end)
{
    size_t n_bytes = a->head_size * INK_KV_BLOCK * sizeof(uint16_t);
    for (size_t b = first; b < end && b < first + CHUNK_BLOCKS; b++) {
        for (size_t i = 0; i < n_bytes; i += 64) {
            __builtin_prefetch((const char *)a->k_blocks[b] + i);
            __builtin_prefetch((const char *)a->v_blocks[b] + i);
        }
    }
}

/* The first position that `position` sees. */
ALWAYS_INLINE size_t window_begin(const InkAttention *a, size_t position)
{
    return a->window > 0 && position >= a->window ? position - a->window + 1 : 0;
}

/* Which of the current chunk's keys, the first being at position `first`, each query sees. */
ALWAYS_INLINE void mask_chunk(Tile *tile, const InkAttention *a, const size_t *positions,
                              size_t first, const int nq)
{
    for (int i = 0; i < nq; i++) {
        size_t n_left = positions[i] + 1 - first;
        size_t begin = window_begin(a, positions[i]);
        tile->n_hidden[i] = begin > first ? begin - first : 0;
        tile->n_visible[i] = n_left < CHUNK_KEYS ? n_left : CHUNK_KEYS;
    }
}

/* `query` counts row by row, head by head within a row. */
ALWAYS_INLINE void run_tile(const InkAttention *a, size_t query, const int nq)
{
    Tile tile;
    tile.head_size = a->head_size;
    size_t positions[TILE_QUERIES];

    for (int i = 0; i < nq; i++) {
        size_t t = (query + i) / a->n_heads_per_kv, h = (query + i) % a->n_heads_per_kv;
        const float *q = a->q + t * a->q_stride + h * a->head_size;
        positions[i] = a->first_position + t;
        tile.out[i] = a->out + t * a->out_stride + h * a->head_size;
        tile.max[i] = -INFINITY;
        tile.sum[i] = vec_set1(0);
        for (size_t s = 0; s < a->head_size; s++)
            tile.q[s][i] = q[s] * a->scale;
        memset(tile.out[i], 0, a->head_size * sizeof(float));
    }
    size_t n_blocks = positions[0] / INK_KV_BLOCK + 1;
    size_t begin = window_begin(a, positions[0] / INK_KV_BLOCK * INK_KV_BLOCK) / INK_KV_BLOCK;
    for (size_t b = begin; b < n_blocks; b += CHUNK_BLOCKS) {
        tile.k_blocks = a->k_blocks + b;
        tile.v_blocks = a->v_blocks + b;
        tile.n_blocks = n_blocks - b < CHUNK_BLOCKS ? n_blocks - b : CHUNK_BLOCKS;
        mask_chunk(&tile, a, positions, b * INK_KV_BLOCK, nq);
        if (nq <= PREFETCH_QUERIES)
            prefetch_chunk(a, b + CHUNK_BLOCKS, n_blocks);
        run_chunk(&tile, nq);
    }
    for (int i = 0; i < nq; i++) {
        Vec inverse = vec_set1(1.0f / vec_reduce_add(tile.sum[i]));
        for (size_t s = 0; s < a->head_size; s += VEC_N)
            vec_store(tile.out[i] + s, vec_mul(vec_load(tile.out[i] + s), inverse));
    }
}

typedef void TileFn(const InkAttention *a, size_t query);

#define DEFINE_TILE(nq)                                                                            \
    static __attribute__((noinline)) void run_tile_##nq(const InkAttention *a, size_t query)       \
    {                                                                                              \
        run_tile(a, query, nq);                                                                    \
    }

typedef struct TileSize {
    size_t n_queries;
    TileFn *run;
} TileSize;

/* `sizes` from large to small, ending with 1. */
ALWAYS_INLINE void attend_tiles(const InkAttention *a, const TileSize *sizes)
{
    for (size_t t = 0; t < a->n_rows;) {
        size_t n_rows = INK_KV_BLOCK - (a->first_position + t) % INK_KV_BLOCK;
        n_rows = n_rows < a->n_rows - t ? n_rows : a->n_rows - t;
        size_t query = t * a->n_heads_per_kv;
        size_t end = query + n_rows * a->n_heads_per_kv;
        for (const TileSize *size = sizes; query < end;) {
            if (size->n_queries > end - query) {
                size++;
                continue;
            }
            size->run(a, query);
            query += size->n_queries;
        }
        t += n_rows;
    }
}
