/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* AVX2 with FMA and F16C. Up to three columns take the 16 rows of a block as two halves at once,
 * so that weights stream from memory; more columns take one half of the whole group after the
 * other, because sums and dot products of both would not fit the 16 registers.
 *
 * No step can saturate, as the additions wrap and what comes out of them is within 16 bits: a lane
 * of vpmaddubsw is at most 2 * 15 * 127 = 3,810 for four bits, and eight of them (a whole block)
 * 30,480. For five bits it is 7,874; eight of them may wrap around, but with the bias the integers
 * are -16..15 and their sum at most 8 * 2 * 16 * 127 = 32,512. For six bits it is 16,002, and with
 * the bias four of them are 4 * 2 * 32 * 127 = 32,512 at most. For Q8_0 one is at most
 * 2 * 128 * 127 = 32,512, widened at once. The lo of a fine block are at most half as large. */

#include "engine/kernels/kernels.h"

#include <immintrin.h>

#include "engine/kernels/layout.h"
#include "engine/kernels/pack.h"

typedef __m256 Vec;
#define VEC_N 8

#define vec_load(p)               _mm256_loadu_ps(p)
#define vec_store(p, a)           _mm256_storeu_ps((p), (a))
#define vec_set1(x)               _mm256_set1_ps(x)
#define vec_add(a, b)             _mm256_add_ps((a), (b))
#define vec_sub(a, b)             _mm256_sub_ps((a), (b))
#define vec_mul(a, b)             _mm256_mul_ps((a), (b))
#define vec_div(a, b)             _mm256_div_ps((a), (b))
#define vec_fma(a, b, c)          _mm256_fmadd_ps((a), (b), (c))
#define vec_fnma(a, b, c)         _mm256_fnmadd_ps((a), (b), (c))
#define vec_fmaddsub(a, b, c)     _mm256_fmaddsub_ps((a), (b), (c))
#define vec_max(a, b)             _mm256_max_ps((a), (b))
#define vec_min(a, b)             _mm256_min_ps((a), (b))
#define VEC_ROUND_NEAREST         (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vec_round(a)              _mm256_round_ps((a), VEC_ROUND_NEAREST)
#define vec_select_lt(a, b, x, y) _mm256_blendv_ps((y), (x), _mm256_cmp_ps((a), (b), _CMP_LT_OQ))
#define vec_any_nan(a)            (_mm256_movemask_ps(_mm256_cmp_ps((a), (a), _CMP_UNORD_Q)) != 0)
#define vec_load_f16(p)           _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define vec_store_f16(p, a)                                                                        \
    _mm_storeu_si128((__m128i *)(p), _mm256_cvtps_ph((a), _MM_FROUND_TO_NEAREST_INT))
#define vec_swap_pairs(a) _mm256_permute_ps((a), 0xb1)
#define vec_dup_even(a)   _mm256_moveldup_ps(a)
#define vec_dup_odd(a)    _mm256_movehdup_ps(a)

/* a * 2^n by adding to the exponent: for results that are normal numbers. */
static inline Vec vec_scale2(Vec a, Vec n)
{
    __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}

static inline float vec_reduce_add(Vec a)
{
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

static inline float vec_reduce_max(Vec a)
{
    __m128 v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)));
}

static inline void vec_deinterleave(Vec a, Vec b, Vec *even, Vec *odd)
{
    __m256d evens = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    __m256d odds = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
    *even = _mm256_castpd_ps(_mm256_permute4x64_pd(evens, 0xd8));
    *odd = _mm256_castpd_ps(_mm256_permute4x64_pd(odds, 0xd8));
}

#include "engine/kernels/float-tmpl.h"

#define TILE_QUERIES     6
#define SCORE_BLOCKS(nq) ((nq) <= 2 ? 2 : 1)
#define VALUE_VECS(nq)   ((nq) <= 2 ? 4 : 2)
#include "engine/kernels/attention-tmpl.h"

#define MATMUL_COLUMNS   6
#define MATMUL_LOW_TILES 5
#define MATMUL_FUSED     2
#include "engine/kernels/matmul-tmpl.h"

/* How far ahead of use weights are asked for: memory latency times one core's bandwidth. */
#define PREFETCH_BYTES 8192

ALWAYS_INLINE void prefetch_block(const void *block, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64)
        __builtin_prefetch((const char *)block + PREFETCH_BYTES + i);
}

/* Four int8 or two int16. */
ALWAYS_INLINE __m256i broadcast_quad(const void *q)
{
    int32_t quad;
    memcpy(&quad, q, sizeof quad);
    return _mm256_set1_epi32(quad);
}

ALWAYS_INLINE void tile_f32(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                            size_t t, float *out, size_t out_stride, const int nc)
{
    const float *weights = packed;
    const float *x = input->x + t * input->x_stride;
    Vec sums[MATMUL_COLUMNS][2];

#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        sums[c][0] = sums[c][1] = vec_set1(0);
    for (size_t k = 0; k < n_inputs; k++) {
        Vec w_lower = vec_load(weights + k * INK_PACK_ROWS);
        Vec w_upper = vec_load(weights + k * INK_PACK_ROWS + VEC_N);
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            Vec value = vec_set1(x[c * input->x_stride + k]);
            sums[c][0] = vec_fma(w_lower, value, sums[c][0]);
            sums[c][1] = vec_fma(w_upper, value, sums[c][1]);
        }
    }
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++) {
        vec_store(out + c * out_stride, sums[c][0]);
        vec_store(out + c * out_stride + VEC_N, sums[c][1]);
    }
}

ALWAYS_INLINE __m256i widen_pairs(__m256i pairs)
{
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* The empty statement keeps the compiler from regrouping the sums of a chain, for which it would
 * first compute all products and spill them. */
ALWAYS_INLINE __m256i chain(__m256i sum)
{
    __asm__("" : "+x"(sum));
    return sum;
}

/* The columns of a tile at one block: column c's is x + c * stride. */
typedef struct Columns {
    const InkQuantBlock *x;
    size_t stride;
    bool low; /* their lo instead of q */
} Columns;

ALWAYS_INLINE __m256i quad_of(const Columns *columns, int c, int j)
{
    const InkQuantBlock *x = columns->x + c * columns->stride;
    return broadcast_quad((columns->low ? x->lo : x->q) + 4 * j);
}

/* Entry 0 or 2 and the one after it. */
ALWAYS_INLINE __m256i bias_of(const Columns *columns, int c, int i)
{
    const InkQuantBlock *x = columns->x + c * columns->stride;
    return broadcast_quad((columns->low ? x->bias_lo : x->bias) + i);
}

ALWAYS_INLINE __m256i load_quad(const uint8_t *quads, int j)
{
    return _mm256_loadu_si256((const __m256i *)(quads + 64 * j));
}

ALWAYS_INLINE void chain_quad(__m256i *chains, __m256i w, const Columns *columns, int j,
                              const int nc)
{
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++) {
        __m256i product = _mm256_maddubs_epi16(w, quad_of(columns, c, j));
        chains[c] = chain(_mm256_add_epi16(chains[c], product));
    }
}

/* Integer dot products of 8 rows of a part with nc columns, `quads` being the first 32 of 64 bytes
 * of each quad. */
ALWAYS_INLINE void dots_4_bits(const uint8_t *quads, const Columns *columns, __m256i *dots,
                               const int nc)
{
    const __m256i low = _mm256_set1_epi8(0x0f);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i bytes = load_quad(quads, j);
        __m256i w_low = _mm256_and_si256(bytes, low);
        __m256i w_high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low);
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            __m256i product = _mm256_maddubs_epi16(w_low, quad_of(columns, c, j));
            dots[c] = j == 0 ? product : chain(_mm256_add_epi16(dots[c], product));
            product = _mm256_maddubs_epi16(w_high, quad_of(columns, c, j + 4));
            dots[c] = chain(_mm256_add_epi16(dots[c], product));
        }
    }
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        dots[c] = widen_pairs(dots[c]);
}

ALWAYS_INLINE void dots_5_bits(const uint8_t *quads, const Columns *columns, __m256i *dots,
                               const int nc)
{
    const __m256i low = _mm256_set1_epi8(0x0f), fifth = _mm256_set1_epi8(0x10);
    __m256i high = load_quad(quads, 4); /* bit j is of quad j */
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        dots[c] = bias_of(columns, c, 0);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++, high = _mm256_srli_epi16(high, 1)) {
        __m256i bytes = load_quad(quads, j);
        __m256i bit = _mm256_and_si256(_mm256_slli_epi16(high, 4), fifth);
        chain_quad(dots, _mm256_or_si256(_mm256_and_si256(bytes, low), bit), columns, j, nc);
        bit = _mm256_and_si256(high, fifth);
        bytes = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low);
        chain_quad(dots, _mm256_or_si256(bytes, bit), columns, j + 4, nc);
    }
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        dots[c] = widen_pairs(dots[c]);
}

/* Bits 2 j and up, to where they stand in an integer of six bits. */
ALWAYS_INLINE __m256i upper_bits(__m256i high, int j)
{
    __m256i bits = j == 0   ? _mm256_slli_epi16(high, 4)
                   : j == 1 ? _mm256_slli_epi16(high, 2)
                   : j == 2 ? high
                            : _mm256_srli_epi16(high, 2);
    return _mm256_and_si256(bits, _mm256_set1_epi8(0x30));
}

/* Eight scales, each in both 16-bit lanes of its row: widening then multiplies by them. */
ALWAYS_INLINE __m256i load_pair_scales(const uint8_t *scales)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)scales);
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(bytes, bytes));
}

ALWAYS_INLINE void dots_6_bits(const uint8_t *quads, const uint8_t *scales, const Columns *columns,
                               __m256i *dots, const int nc)
{
    const __m256i low = _mm256_set1_epi8(0x0f);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) { /* the part's 16 weights under one scale */
        __m256i high = load_quad(quads, 4 + half), chains[MATMUL_COLUMNS];
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            __m256i first = bias_of(columns, c, 2), both = bias_of(columns, c, 0);
            chains[c] = half == 0 ? first : _mm256_sub_epi16(_mm256_add_epi16(both, both), first);
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m256i bytes = load_quad(quads, j);
            bytes = half == 0 ? bytes : _mm256_srli_epi16(bytes, 4);
            __m256i w = _mm256_or_si256(_mm256_and_si256(bytes, low), upper_bits(high, j));
            chain_quad(chains, w, columns, j + 4 * half, nc);
        }
        __m256i scale = load_pair_scales(scales + INK_PACK_ROWS * half);
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            __m256i scaled = _mm256_madd_epi16(chains[c], scale);
            dots[c] = half == 0 ? scaled : _mm256_add_epi32(dots[c], scaled);
        }
    }
}

/* vpmaddubsw wants one unsigned side: |w|, with the sign of w moved to the activation. Activations
 * are never -128, and |-128| = 128 is right as an unsigned byte. */
ALWAYS_INLINE void dots_8_bits(const uint8_t *quads, const Columns *columns, __m256i *dots,
                               const int nc)
{
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        dots[c] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i w = load_quad(quads, j);
        __m256i w_abs = _mm256_abs_epi8(w);
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            __m256i quad = quad_of(columns, c, j);
            __m256i pairs = _mm256_maddubs_epi16(w_abs, _mm256_sign_epi8(quad, w));
            dots[c] = chain(_mm256_add_epi32(dots[c], widen_pairs(pairs)));
        }
    }
}

/* Of rows 8 half and up of a part; as in kernels-ref.c with two scales multiplied in. */
ALWAYS_INLINE void dots_part(const PackLayout *layout, const uint8_t *part, size_t half,
                             const Columns *columns, __m256i *dots, const int nc)
{
    const uint8_t *quads = part + PART_SCALE_BYTES(layout) + 32 * half;
    if (layout->n_bits == 4)
        dots_4_bits(quads, columns, dots, nc);
    else if (layout->n_bits == 5)
        dots_5_bits(quads, columns, dots, nc);
    else if (layout->n_bits == 6)
        dots_6_bits(quads, part + VEC_N * half, columns, dots, nc);
    else
        dots_8_bits(quads, columns, dots, nc);
}

ALWAYS_INLINE Vec load_scales(const uint8_t *scales)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)scales)));
}

ALWAYS_INLINE Vec load_d(const PackLayout *layout, const uint8_t *head, const uint8_t *part,
                         size_t half)
{
    Vec d = vec_load_f16((const uint16_t *)head + VEC_N * half);
    return layout->n_scales == 1 ? vec_mul(d, load_scales(part + VEC_N * half)) : d;
}

/* Of a layout that has one. */
ALWAYS_INLINE Vec load_m(const PackLayout *layout, const uint8_t *head, const uint8_t *part,
                         size_t half)
{
    Vec m = vec_load_f16((const uint16_t *)head + INK_PACK_ROWS + VEC_N * half);
    if (layout->n_scales == 0)
        return m;
    return vec_mul(vec_sub(vec_set1(0), m), load_scales(part + INK_PACK_ROWS + VEC_N * half));
}

/* Halves [first, first + nh) of a group. */
ALWAYS_INLINE void tile_halves(const PackLayout *layout, const void *group, size_t n_blocks,
                               const InkQuantRows *in, size_t t, float *out, size_t out_stride,
                               const int nc, const size_t first, const int nh)
{
    const bool fused = nc <= MATMUL_FUSED;
    Columns columns = {in->blocks + t * in->block_stride, in->block_stride, false};
    const uint8_t *flags = in->fine + t;
    Vec sums[MATMUL_COLUMNS][2], lows[MATMUL_COLUMNS][2];

#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        sums[c][0] = sums[c][1] = lows[c][0] = lows[c][1] = vec_set1(0);
    for (size_t b = 0; b < n_blocks; b++, columns.x++, flags += in->fine_stride) {
        const uint8_t *head = part_head(group, layout, b), *part = part_at(head, layout, b);
        if (first == 0)
            prefetch_block(part, layout->n_part_bytes);
#pragma GCC unroll 2
        for (int h = 0; h < nh; h++) {
            const size_t half = first + h;
            __m256i dots[MATMUL_COLUMNS];
            dots_part(layout, part, half, &columns, dots, nc);
            Vec w_d = load_d(layout, head, part, half);
            Vec w_m = layout->has_min ? load_m(layout, head, part, half) : w_d;
#pragma GCC unroll 6
            for (int c = 0; c < nc; c++) {
                const InkQuantBlock *x = columns.x + c * in->block_stride;
                Vec scale = vec_mul(w_d, vec_set1(x->d));
                sums[c][h] = vec_fma(_mm256_cvtepi32_ps(dots[c]), scale, sums[c][h]);
                if (layout->has_min)
                    sums[c][h] = vec_fma(w_m, vec_set1(x->d_sum), sums[c][h]);
                if (fused && flags[c] != 0) {
                    Columns low = {x, 0, true};
                    dots_part(layout, part, half, &low, &dots[c], 1);
                    scale = vec_mul(vec_mul(w_d, vec_set1(0x1p-7f)), vec_set1(x->d));
                    lows[c][h] = vec_fma(_mm256_cvtepi32_ps(dots[c]), scale, lows[c][h]);
                }
            }
            /* Or the compiler keeps all broadcasts of the first half for the second one, on the
             * stack. */
            __asm__("" : "+r"(columns.x));
        }
    }
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++) {
#pragma GCC unroll 2
        for (int h = 0; h < nh; h++)
            vec_store(out + c * out_stride + VEC_N * (first + h),
                      fused ? vec_add(sums[c][h], lows[c][h]) : sums[c][h]);
    }
}

ALWAYS_INLINE void low_quant(const PackLayout *layout, const void *group, size_t n_inputs,
                             const InkMatmulInput *input, size_t t, size_t n, float *out,
                             size_t out_stride)
{
    const InkQuantRows *in = input->quant;
    const uint8_t *flags = in->fine + t;
    const InkQuantBlock *x = in->blocks + t * in->block_stride;
    const uint32_t wanted = UINT32_MAX >> (INK_FINE_PADDING - n);
    Vec lows[INK_FINE_PADDING][2];

    for (size_t c = 0; c < n; c++)
        lows[c][0] = lows[c][1] = vec_set1(0);

    for (size_t b = 0; b < n_inputs / INK_PACK_K; b++, flags += in->fine_stride, x++) {
        const uint8_t *head = part_head(group, layout, b), *part = part_at(head, layout, b);
        __m256i row_flags = _mm256_loadu_si256((const __m256i *)flags);
        uint32_t fine = (uint32_t)_mm256_movemask_epi8(row_flags) & wanted;
        for (; fine != 0; fine &= fine - 1) {
            size_t c = (size_t)__builtin_ctz(fine);
            Columns low = {x + c * in->block_stride, 0, true};
#pragma GCC unroll 2
            for (size_t h = 0; h < 2; h++) {
                __m256i dot;
                dots_part(layout, part, h, &low, &dot, 1);
                Vec w_d = load_d(layout, head, part, h);
                Vec scale = vec_mul(vec_mul(w_d, vec_set1(0x1p-7f)), vec_set1(low.x->d));
                lows[c][h] = vec_fma(_mm256_cvtepi32_ps(dot), scale, lows[c][h]);
            }
        }
    }
    for (size_t c = 0; c < n; c++, out += out_stride) {
        vec_store(out, vec_add(vec_load(out), lows[c][0]));
        vec_store(out + VEC_N, vec_add(vec_load(out + VEC_N), lows[c][1]));
    }
}

ALWAYS_INLINE void tile_quant(const PackLayout *layout, const void *group, size_t n_inputs,
                              const InkMatmulInput *input, size_t t, float *out, size_t out_stride,
                              const int nc)
{
    size_t n_blocks = n_inputs / INK_PACK_K;
    if (nc <= 3) {
        tile_halves(layout, group, n_blocks, input->quant, t, out, out_stride, nc, 0, 2);
        return;
    }
    tile_halves(layout, group, n_blocks, input->quant, t, out, out_stride, nc, 0, 1);
    tile_halves(layout, group, n_blocks, input->quant, t, out, out_stride, nc, 1, 1);
}

#include "engine/kernels/quant-tile-tmpl.h"

DEFINE_MATMUL(f32, 6, NULL, n_inputs *INK_PACK_ROWS * sizeof(float))
DEFINE_QUANT_MATMUL(q4_1, INK_PACK_Q4_1, 6)
DEFINE_QUANT_MATMUL(q8_0, INK_PACK_Q8_0, 6)
DEFINE_QUANT_MATMUL(q5_0, INK_PACK_Q5_0, 6)
DEFINE_QUANT_MATMUL(q4_k, INK_PACK_Q4_K, 6)
DEFINE_QUANT_MATMUL(q6_k, INK_PACK_Q6_K, 6)

static inline int32_t reduce_max_epi32(__m256i a)
{
    __m128i v = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

/* As in kernels-ref.c, which says in which order. */
static float fine_threshold(const float *x, size_t n_inputs)
{
    Vec sums[4] = {vec_set1(0), vec_set1(0), vec_set1(0), vec_set1(0)};
    for (size_t k = 0; k < n_inputs; k += INK_PACK_K) {
        for (size_t i = 0; i < 4; i++) {
            Vec v = vec_load(x + k + i * VEC_N);
            sums[i] = vec_fma(v, v, sums[i]);
        }
    }
    float sum = vec_reduce_add(vec_add(vec_add(sums[0], sums[2]), vec_add(sums[1], sums[3])));
    return INK_FINE_KAPPA * sqrtf(sum / (float)n_inputs);
}

/* 32 integers within int8 to bytes, with their bias, and their sum. */
static inline int32_t store_bytes(const __m256i *v, int8_t *bytes, int16_t *bias)
{
    /* Packing works within halves; the permutation puts the words back in order. */
    __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)bytes, packed);
    return store_bias(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1), bias);
}

/* Returns whether the block is fine. */
static inline bool quantize_block(const float *x, float threshold, InkQuantBlock *out)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i largest = _mm256_setzero_si256();
    /* As integers magnitudes order like the floats, with infinity and NaN above all numbers. */
    for (size_t i = 0; i < 4; i++) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)(x + i * VEC_N));
        largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, magnitude));
    }
    int32_t max_bits = reduce_max_epi32(largest);
    float max_value;
    memcpy(&max_value, &max_bits, sizeof max_value);

    if (__builtin_expect(max_bits >= 0x7f800000 || max_value < INK_TINY_BLOCK, 0)) {
        float d = max_bits >= 0x7f800000 ? NAN : 0;
        *out = (InkQuantBlock){.d = d, .d_sum = d};
        return false;
    }
    Vec inverse = vec_set1(127.0f / max_value);
    __m256i v[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm256_cvtps_epi32(vec_mul(vec_load(x + i * VEC_N), inverse));
    int32_t sum = store_bytes(v, out->q, out->bias);
    out->d = max_value / 127.0f;
    if (max_value > threshold) {
        for (size_t i = 0; i < 4; i++) {
            Vec rest = _mm256_fmsub_ps(vec_load(x + i * VEC_N), inverse, _mm256_cvtepi32_ps(v[i]));
            v[i] = _mm256_cvtps_epi32(vec_mul(rest, vec_set1(128.0f)));
        }
        int32_t sum_lo = store_bytes(v, out->lo, out->bias_lo);
        out->d_sum = out->d * ((float)(sum * 128 + sum_lo) * 0x1p-7f);
        return true;
    }
    memset(out->lo, 0, sizeof out->lo);
    memset(out->bias_lo, 0, sizeof out->bias_lo);
    out->d_sum = out->d * (float)sum;
    return false;
}

DEFINE_QUANTIZE_ROWS

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(3)
DEFINE_TILE(4)
DEFINE_TILE(6)

static void attention(const InkAttention *a)
{
    static const TileSize sizes[] = {
        {6, run_tile_6}, {4, run_tile_4}, {3, run_tile_3}, {2, run_tile_2}, {1, run_tile_1}};
    attend_tiles(a, sizes);
}

const InkKernels ink_kernels_avx2 = {
    .name = "avx2",
    .pack = INK_PACK_FUNCTIONS,
    .matmul = {[INK_PACK_F32] = matmul_f32,
               [INK_PACK_Q4_1] = matmul_q4_1,
               [INK_PACK_Q8_0] = matmul_q8_0,
               [INK_PACK_Q5_0] = matmul_q5_0,
               [INK_PACK_Q4_K] = matmul_q4_k,
               [INK_PACK_Q6_K] = matmul_q6_k},
    .quantize_rows = quantize_rows,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .add = add,
    .rope = rope,
    .store_f16 = store_f16,
    .attention = attention,
    .max = max,
};
