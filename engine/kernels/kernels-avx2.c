/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* AVX2 with FMA and F16C. Up to three columns take the 16 rows of a block as two halves at once,
 * so that weights stream from memory; more columns take one half of the whole group after the
 * other, because sums and dot products of both would not fit the 16 registers.
 *
 * No step can saturate: a lane of vpmaddubsw is at most 2 * 15 * 127 = 3,810 for Q4_1, and eight of
 * them (a whole block) 30,480; for Q8_0 it is at most 2 * 128 * 127 = 32,512, widened at once. The
 * lo of a fine block are at most half as large. */

#include "engine/kernels/kernels.h"

#include <immintrin.h>

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

ALWAYS_INLINE __m256i broadcast_quad(const int8_t *q)
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

/* Integer dot products of 8 rows of a block, `quads` being the first 32 of 64 bytes of each quad,
 * with nc columns. */
ALWAYS_INLINE void dots_q4_1(const uint8_t *quads, const int8_t *q, size_t q_stride, __m256i *dots,
                             const int nc)
{
    const __m256i low = _mm256_set1_epi8(0x0f);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(quads + 64 * j));
        __m256i w_low = _mm256_and_si256(bytes, low);
        __m256i w_high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low);
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            const int8_t *quad = q + c * q_stride + 4 * j;
            __m256i product = _mm256_maddubs_epi16(w_low, broadcast_quad(quad));
            dots[c] = j == 0 ? product : chain(_mm256_add_epi16(dots[c], product));
            product = _mm256_maddubs_epi16(w_high, broadcast_quad(quad + INK_PACK_K / 2));
            dots[c] = chain(_mm256_add_epi16(dots[c], product));
        }
    }
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        dots[c] = widen_pairs(dots[c]);
}

/* vpmaddubsw wants one unsigned side: |w|, with the sign of w moved to the activation. Activations
 * are never -128, and |-128| = 128 is right as an unsigned byte. */
ALWAYS_INLINE void dots_q8_0(const int8_t *quads, const int8_t *q, size_t q_stride, __m256i *dots,
                             const int nc)
{
#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        dots[c] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(quads + 64 * j));
        __m256i w_abs = _mm256_abs_epi8(w);
#pragma GCC unroll 6
        for (int c = 0; c < nc; c++) {
            __m256i quad = broadcast_quad(q + c * q_stride + 4 * j);
            __m256i pairs = _mm256_maddubs_epi16(w_abs, _mm256_sign_epi8(quad, w));
            dots[c] = chain(_mm256_add_epi32(dots[c], widen_pairs(pairs)));
        }
    }
}

/* `x` are the q or the lo of the first column's block. */
ALWAYS_INLINE void dots_quant(const uint8_t *quads, const int8_t *x, size_t stride, __m256i *dots,
                              const bool has_min, const int nc)
{
    if (has_min)
        dots_q4_1(quads, x, stride, dots, nc);
    else
        dots_q8_0((const int8_t *)quads, x, stride, dots, nc);
}

/* Halves [first, first + nh) of a group, for either type: `has_min` tells Q4_1 from Q8_0. */
ALWAYS_INLINE void tile_halves(const uint8_t *block, size_t n_blocks, const InkQuantRows *in,
                               size_t t, float *out, size_t out_stride, const bool has_min,
                               const int nc, const size_t first, const int nh)
{
    const size_t n_block_bytes = has_min ? sizeof(InkPackedQ4_1) : sizeof(InkPackedQ8_0);
    const size_t x_bytes = in->block_stride * sizeof(InkQuantBlock);
    const InkQuantBlock *x = in->blocks + t * in->block_stride;
    const uint8_t *flags = in->fine + t;
    const bool fused = nc <= MATMUL_FUSED;
    Vec sums[MATMUL_COLUMNS][2], lows[MATMUL_COLUMNS][2];

#pragma GCC unroll 6
    for (int c = 0; c < nc; c++)
        sums[c][0] = sums[c][1] = lows[c][0] = lows[c][1] = vec_set1(0);
    for (size_t b = 0; b < n_blocks; b++, block += n_block_bytes, x++, flags += in->fine_stride) {
        const InkPackedQ4_1 *q4_1 = (const InkPackedQ4_1 *)block;
        const InkPackedQ8_0 *q8_0 = (const InkPackedQ8_0 *)block;
        const uint8_t *quads = has_min ? q4_1->qs : (const uint8_t *)q8_0->qs;
        if (first == 0)
            prefetch_block(block, n_block_bytes);
#pragma GCC unroll 2
        for (int h = 0; h < nh; h++) {
            const size_t half = first + h;
            __m256i dots[MATMUL_COLUMNS];
            dots_quant(quads + 32 * half, x->q, x_bytes, dots, has_min, nc);
            Vec w_d = vec_load_f16((has_min ? q4_1->d : q8_0->d) + VEC_N * half);
            Vec w_m = has_min ? vec_load_f16(q4_1->m + VEC_N * half) : w_d;
#pragma GCC unroll 6
            for (int c = 0; c < nc; c++) {
                const InkQuantBlock *at = x + c * in->block_stride;
                Vec scale = vec_mul(w_d, vec_set1(at->d));
                sums[c][h] = vec_fma(_mm256_cvtepi32_ps(dots[c]), scale, sums[c][h]);
                if (has_min)
                    sums[c][h] = vec_fma(w_m, vec_set1(at->d_sum), sums[c][h]);
                if (fused && flags[c] != 0) {
                    dots_quant(quads + 32 * half, at->lo, 0, &dots[c], has_min, 1);
                    scale = vec_mul(vec_mul(w_d, vec_set1(0x1p-7f)), vec_set1(at->d));
                    lows[c][h] = vec_fma(_mm256_cvtepi32_ps(dots[c]), scale, lows[c][h]);
                }
            }
            /* Or the compiler keeps all broadcasts of the first half for the second one, on the
             * stack. */
            __asm__("" : "+r"(x));
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

ALWAYS_INLINE void low_quant(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                             size_t t, size_t n, float *out, size_t out_stride, const bool has_min)
{
    const size_t n_block_bytes = has_min ? sizeof(InkPackedQ4_1) : sizeof(InkPackedQ8_0);
    const InkQuantRows *in = input->quant;
    const uint8_t *block = packed, *flags = in->fine + t;
    const InkQuantBlock *x = in->blocks + t * in->block_stride;
    const uint32_t wanted = UINT32_MAX >> (INK_FINE_PADDING - n);
    Vec lows[INK_FINE_PADDING][2];

    for (size_t c = 0; c < n; c++)
        lows[c][0] = lows[c][1] = vec_set1(0);

    for (const uint8_t *end = block + n_inputs / INK_PACK_K * n_block_bytes; block < end;
         block += n_block_bytes, flags += in->fine_stride, x++) {
        const uint8_t *quads =
            block + (has_min ? offsetof(InkPackedQ4_1, qs) : offsetof(InkPackedQ8_0, qs));
        __m256i row_flags = _mm256_loadu_si256((const __m256i *)flags);
        uint32_t fine = (uint32_t)_mm256_movemask_epi8(row_flags) & wanted;
        for (; fine != 0; fine &= fine - 1) {
            size_t c = (size_t)__builtin_ctz(fine);
            const InkQuantBlock *at = x + c * in->block_stride;
#pragma GCC unroll 2
            for (size_t h = 0; h < 2; h++) {
                __m256i dot;
                dots_quant(quads + 32 * h, at->lo, 0, &dot, has_min, 1);
                Vec w_d = vec_load_f16((const uint16_t *)block + VEC_N * h);
                Vec scale = vec_mul(vec_mul(w_d, vec_set1(0x1p-7f)), vec_set1(at->d));
                lows[c][h] = vec_fma(_mm256_cvtepi32_ps(dot), scale, lows[c][h]);
            }
        }
    }
    for (size_t c = 0; c < n; c++, out += out_stride) {
        vec_store(out, vec_add(vec_load(out), lows[c][0]));
        vec_store(out + VEC_N, vec_add(vec_load(out + VEC_N), lows[c][1]));
    }
}

ALWAYS_INLINE void tile_quant(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                              size_t t, float *out, size_t out_stride, const bool has_min,
                              const int nc)
{
    size_t n_blocks = n_inputs / INK_PACK_K;
    if (nc <= 3) {
        tile_halves(packed, n_blocks, input->quant, t, out, out_stride, has_min, nc, 0, 2);
        return;
    }
    tile_halves(packed, n_blocks, input->quant, t, out, out_stride, has_min, nc, 0, 1);
    tile_halves(packed, n_blocks, input->quant, t, out, out_stride, has_min, nc, 1, 1);
}

#include "engine/kernels/quant-tile-tmpl.h"

DEFINE_MATMUL(f32, 6, NULL, n_inputs *INK_PACK_ROWS * sizeof(float))
DEFINE_MATMUL(q4_1, 6, low_q4_1, n_inputs / INK_PACK_K * sizeof(InkPackedQ4_1))
DEFINE_MATMUL(q8_0, 6, low_q8_0, n_inputs / INK_PACK_K * sizeof(InkPackedQ8_0))

static inline int32_t reduce_max_epi32(__m256i a)
{
    __m128i v = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

static inline int32_t reduce_add_epi32(__m256i a)
{
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
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

/* 32 integers within int8 to bytes, and their sum. */
static inline int32_t store_bytes(const __m256i *v, int8_t *bytes)
{
    /* Packing works within halves; the permutation puts the words back in order. */
    __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)bytes, packed);
    return reduce_add_epi32(
        _mm256_add_epi32(_mm256_add_epi32(v[0], v[1]), _mm256_add_epi32(v[2], v[3])));
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
    out->sum = store_bytes(v, out->q);
    out->d = max_value / 127.0f;
    if (max_value > threshold) {
        for (size_t i = 0; i < 4; i++) {
            Vec rest = _mm256_fmsub_ps(vec_load(x + i * VEC_N), inverse, _mm256_cvtepi32_ps(v[i]));
            v[i] = _mm256_cvtps_epi32(vec_mul(rest, vec_set1(128.0f)));
        }
        out->sum_lo = store_bytes(v, out->lo);
        out->d_sum = out->d * ((float)(out->sum * 128 + out->sum_lo) * 0x1p-7f);
        return true;
    }
    memset(out->lo, 0, sizeof out->lo);
    out->sum_lo = 0;
    out->d_sum = out->d * (float)out->sum;
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
    .pack = {[INK_PACK_F32] = ink_pack_f32,
             [INK_PACK_Q4_1] = ink_pack_q4_1,
             [INK_PACK_Q8_0] = ink_pack_q8_0},
    .matmul =
        {[INK_PACK_F32] = matmul_f32, [INK_PACK_Q4_1] = matmul_q4_1, [INK_PACK_Q8_0] = matmul_q8_0},
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
