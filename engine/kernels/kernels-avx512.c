/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* AVX-512 (F, BW, VL, DQ) with VNNI. Quantised blocks: eight vpdpbusd per column and block give
 * the integer dot products of 16 rows; each takes four activations as one broadcast dword. */

#include "engine/kernels/kernels.h"

#include <immintrin.h>

#include "engine/kernels/pack.h"

typedef __m512 Vec;
#define VEC_N 16

#define vec_load(p)           _mm512_loadu_ps(p)
#define vec_store(p, a)       _mm512_storeu_ps((p), (a))
#define vec_set1(x)           _mm512_set1_ps(x)
#define vec_add(a, b)         _mm512_add_ps((a), (b))
#define vec_sub(a, b)         _mm512_sub_ps((a), (b))
#define vec_mul(a, b)         _mm512_mul_ps((a), (b))
#define vec_div(a, b)         _mm512_div_ps((a), (b))
#define vec_fma(a, b, c)      _mm512_fmadd_ps((a), (b), (c))
#define vec_fnma(a, b, c)     _mm512_fnmadd_ps((a), (b), (c))
#define vec_fmaddsub(a, b, c) _mm512_fmaddsub_ps((a), (b), (c))
#define vec_max(a, b)         _mm512_max_ps((a), (b))
#define vec_min(a, b)         _mm512_min_ps((a), (b))
#define VEC_ROUND_NEAREST     (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vec_round(a)          _mm512_roundscale_ps((a), VEC_ROUND_NEAREST)
#define vec_scale2(a, n)      _mm512_scalef_ps((a), (n))
#define vec_select_lt(a, b, x, y)                                                                  \
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask((a), (b), _CMP_LT_OQ), (y), (x))
#define vec_reduce_add(a) _mm512_reduce_add_ps(a)
#define vec_reduce_max(a) _mm512_reduce_max_ps(a)
#define vec_any_nan(a)    (_mm512_cmp_ps_mask((a), (a), _CMP_UNORD_Q) != 0)
#define vec_load_f16(p)   _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define vec_store_f16(p, a)                                                                        \
    _mm256_storeu_si256((__m256i *)(p), _mm512_cvtps_ph((a), _MM_FROUND_TO_NEAREST_INT))
#define vec_swap_pairs(a) _mm512_permute_ps((a), 0xb1)
#define vec_dup_even(a)   _mm512_moveldup_ps(a)
#define vec_dup_odd(a)    _mm512_movehdup_ps(a)

static inline void vec_deinterleave(Vec a, Vec b, Vec *even, Vec *odd)
{
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(a, evens, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), b);
}

#include "engine/kernels/float-tmpl.h"

#define TILE_QUERIES     12
#define SCORE_BLOCKS(nq) ((nq) <= 6 ? 4 : 2)
#define VALUE_VECS(nq)   ((nq) <= 6 ? 4 : 2)
#include "engine/kernels/attention-tmpl.h"

#define MATMUL_COLUMNS   16
#define MATMUL_LOW_TILES 2
#define MATMUL_FUSED     4
#include "engine/kernels/matmul-tmpl.h"

/* How far ahead of use weights are asked for: memory latency times one core's bandwidth. */
#define PREFETCH_BYTES 8192

/* Most rows are one stream of weights; the hint also crosses into the next group. */
ALWAYS_INLINE void prefetch_block(const void *block, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64)
        __builtin_prefetch((const char *)block + PREFETCH_BYTES + i);
}

/* dot += four unsigned weights of each row times the four activations at `quad`. Written by hand,
 * because GCC 12 does not fold the broadcast into the instruction. */
ALWAYS_INLINE __m512i dot_quad(__m512i dot, __m512i weights, const int8_t *quad)
{
    typedef int32_t Quad __attribute__((may_alias, aligned(4)));
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(weights), "m"(*(const Quad *)quad));
    return dot;
}

/* Where the columns of a tile begin, every fourth one in a register of its own: the addresses of
 * the three after it are sums that an instruction can form itself. */
typedef struct Columns {
    const char *base[4];
    size_t stride, stride_3; /* bytes */
} Columns;

ALWAYS_INLINE Columns columns_of(const void *first, size_t stride, const int nc)
{
    Columns c = {.stride = stride, .stride_3 = 3 * stride};
#pragma GCC unroll 4
    for (int i = 0; i < (nc + 3) / 4; i++)
        c.base[i] = (const char *)first + 4 * i * stride;
    return c;
}

ALWAYS_INLINE const void *column(const Columns *columns, int c)
{
    const char *base = columns->base[c / 4];
    return c % 4 == 3 ? base + columns->stride_3 : base + c % 4 * columns->stride;
}

/* The empty statement hides from the compiler how the bases belong together; it would otherwise
 * keep an address for each column and run out of registers. */
ALWAYS_INLINE void columns_step(Columns *columns, size_t n_bytes, const int nc)
{
#pragma GCC unroll 4
    for (int i = 0; i < (nc + 3) / 4; i++) {
        columns->base[i] += n_bytes;
        __asm__("" : "+r"(columns->base[i]));
    }
}

ALWAYS_INLINE void store_tile(float *out, size_t out_stride, const Vec *sums, const int nc)
{
#pragma GCC unroll 16
    for (int c = 0; c < nc; c++)
        vec_store(out + c * out_stride, sums[c]);
}

ALWAYS_INLINE void tile_f32(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                            size_t t, float *out, size_t out_stride, const int nc)
{
    const float *weights = packed;
    const float *x = input->x + t * input->x_stride;
    Vec sums[MATMUL_COLUMNS];

#pragma GCC unroll 16
    for (int c = 0; c < nc; c++)
        sums[c] = vec_set1(0);
    for (size_t k = 0; k < n_inputs; k++) {
        Vec w = vec_load(weights + k * INK_PACK_ROWS);
#pragma GCC unroll 16
        for (int c = 0; c < nc; c++)
            sums[c] = vec_fma(w, vec_set1(x[c * input->x_stride + k]), sums[c]);
    }
    store_tile(out, out_stride, sums, nc);
}

/* Weights of Q8_0 become unsigned by adding 128, which adds 128 * sum to a dot product: each one
 * starts at minus that, as the int16 product -128 * sum, |sum| <= 32 * 127. */
ALWAYS_INLINE __m512i add_bias(__m512i dot, const int32_t *sum)
{
    const __m512i minus_128 = _mm512_set1_epi32(0x0000ff80);
    return _mm512_dpwssd_epi32(dot, minus_128, _mm512_set1_epi32(*sum));
}

/* The dot products of 16 rows with one block of a column; `has_min` tells Q4_1 from Q8_0. */
ALWAYS_INLINE Vec dot_column(const __m512i *weights, const int8_t *x, const int32_t *sum,
                             const bool has_min)
{
    __m512i dot = _mm512_setzero_si512();
    if (!has_min)
        dot = add_bias(dot, sum);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        dot = dot_quad(dot, weights[j], x + 4 * j);
    return _mm512_cvtepi32_ps(dot);
}

ALWAYS_INLINE void unpack_q4_1(const InkPackedQ4_1 *block, __m512i *weights)
{
    const __m512i low = _mm512_set1_epi8(0x0f);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i bytes = _mm512_loadu_si512(block->qs + 64 * j);
        weights[j] = _mm512_and_si512(bytes, low);
        weights[j + 4] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
    }
}

ALWAYS_INLINE void unpack_q8_0(const InkPackedQ8_0 *block, __m512i *weights)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        weights[j] = _mm512_xor_si512(_mm512_loadu_si512(block->qs + 64 * j), flip);
}

ALWAYS_INLINE void unpack(const uint8_t *block, __m512i *weights, const bool has_min)
{
    if (has_min)
        unpack_q4_1((const InkPackedQ4_1 *)block, weights);
    else
        unpack_q8_0((const InkPackedQ8_0 *)block, weights);
}

ALWAYS_INLINE void tile_quant(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                              size_t t, float *out, size_t out_stride, const bool has_min,
                              const int nc)
{
    const size_t n_block_bytes = has_min ? sizeof(InkPackedQ4_1) : sizeof(InkPackedQ8_0);
    const InkQuantRows *in = input->quant;
    const uint8_t *block = packed;
    Columns columns =
        columns_of(in->blocks + t * in->block_stride, in->block_stride * sizeof(InkQuantBlock), nc);
    const uint8_t *flags = in->fine + t;
    const bool fused = nc <= MATMUL_FUSED;
    Vec sums[MATMUL_COLUMNS], lows[MATMUL_COLUMNS];

#pragma GCC unroll 16
    for (int c = 0; c < nc; c++)
        sums[c] = lows[c] = vec_set1(0);
    for (const uint8_t *end = block + n_inputs / INK_PACK_K * n_block_bytes; block < end;
         block += n_block_bytes, flags += in->fine_stride) {
        const uint16_t *scales = (const uint16_t *)block; /* d, and m after it */
        __m512i weights[8];
        prefetch_block(block, n_block_bytes);
        unpack(block, weights, has_min);
        Vec w_d = vec_load_f16(scales);
        Vec w_m = has_min ? vec_load_f16(scales + INK_PACK_ROWS) : w_d;
#pragma GCC unroll 16
        for (int c = 0; c < nc; c++) {
            const InkQuantBlock *x = column(&columns, c);
            Vec dot = dot_column(weights, x->q, &x->sum, has_min);
            sums[c] = vec_fma(dot, vec_mul(w_d, vec_set1(x->d)), sums[c]);
            if (has_min)
                sums[c] = vec_fma(w_m, vec_set1(x->d_sum), sums[c]);
            if (fused && flags[c] != 0) {
                dot = dot_column(weights, x->lo, &x->sum_lo, has_min);
                Vec scale = vec_mul(vec_mul(w_d, vec_set1(0x1p-7f)), vec_set1(x->d));
                lows[c] = vec_fma(dot, scale, lows[c]);
            }
        }
        columns_step(&columns, sizeof(InkQuantBlock), nc);
    }
#pragma GCC unroll 16
    for (int c = 0; c < nc && fused; c++)
        sums[c] = vec_add(sums[c], lows[c]);
    store_tile(out, out_stride, sums, nc);
}

ALWAYS_INLINE void low_quant(const void *packed, size_t n_inputs, const InkMatmulInput *input,
                             size_t t, size_t n, float *out, size_t out_stride, const bool has_min)
{
    const size_t n_block_bytes = has_min ? sizeof(InkPackedQ4_1) : sizeof(InkPackedQ8_0);
    const InkQuantRows *in = input->quant;
    const uint8_t *block = packed, *flags = in->fine + t;
    const InkQuantBlock *x = in->blocks + t * in->block_stride;
    const uint32_t wanted = UINT32_MAX >> (INK_FINE_PADDING - n);
    Vec lows[INK_FINE_PADDING];

    for (size_t c = 0; c < n; c++)
        lows[c] = vec_set1(0);

    for (const uint8_t *end = block + n_inputs / INK_PACK_K * n_block_bytes; block < end;
         block += n_block_bytes, flags += in->fine_stride, x++) {
        uint32_t fine = _mm256_movepi8_mask(_mm256_loadu_si256((const __m256i *)flags)) & wanted;
        __m512i weights[8];
        if (fine == 0)
            continue;
        unpack(block, weights, has_min);
        Vec w_d = vec_mul(vec_load_f16(block), vec_set1(0x1p-7f));
        for (; fine != 0; fine &= fine - 1) {
            size_t c = (size_t)__builtin_ctz(fine);
            const InkQuantBlock *at = x + c * in->block_stride;
            Vec dot = dot_column(weights, at->lo, &at->sum_lo, has_min);
            lows[c] = vec_fma(dot, vec_mul(w_d, vec_set1(at->d)), lows[c]);
        }
    }
    for (size_t c = 0; c < n; c++, out += out_stride)
        vec_store(out, vec_add(vec_load(out), lows[c]));
}

#include "engine/kernels/quant-tile-tmpl.h"

DEFINE_MATMUL(f32, 16, NULL, n_inputs *INK_PACK_ROWS * sizeof(float))
DEFINE_MATMUL(q4_1, 16, low_q4_1, n_inputs / INK_PACK_K * sizeof(InkPackedQ4_1))
DEFINE_MATMUL(q8_0, 16, low_q8_0, n_inputs / INK_PACK_K * sizeof(InkPackedQ8_0))

/* As in kernels-ref.c, which says in which order. */
static float fine_threshold(const float *x, size_t n_inputs)
{
    Vec lower = vec_set1(0), upper = vec_set1(0);
    for (size_t k = 0; k < n_inputs; k += INK_PACK_K) {
        Vec a = vec_load(x + k), b = vec_load(x + k + VEC_N);
        lower = vec_fma(a, a, lower);
        upper = vec_fma(b, b, upper);
    }
    float sum = vec_reduce_add(vec_add(lower, upper));
    return INK_FINE_KAPPA * sqrtf(sum / (float)n_inputs);
}

/* Returns whether the block is fine. */
ALWAYS_INLINE bool quantize_block(const float *x, float threshold, InkQuantBlock *out)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    Vec lower = vec_load(x), upper = vec_load(x + VEC_N);
    /* As integers magnitudes order like the floats, with infinity and NaN above all numbers. */
    __m512i largest = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(lower), magnitude),
                                       _mm512_and_si512(_mm512_castps_si512(upper), magnitude));
    int32_t bits = _mm512_reduce_max_epi32(largest);
    float max_value;
    memcpy(&max_value, &bits, sizeof max_value);

    if (__builtin_expect(bits >= 0x7f800000 || max_value < INK_TINY_BLOCK, 0)) {
        float d = bits >= 0x7f800000 ? NAN : 0;
        *out = (InkQuantBlock){.d = d, .d_sum = d};
        return false;
    }
    Vec inverse = vec_set1(127.0f / max_value);
    __m512i q_lower = _mm512_cvtps_epi32(vec_mul(lower, inverse));
    __m512i q_upper = _mm512_cvtps_epi32(vec_mul(upper, inverse));
    _mm_storeu_si128((__m128i *)out->q, _mm512_cvtepi32_epi8(q_lower));
    _mm_storeu_si128((__m128i *)(out->q + VEC_N), _mm512_cvtepi32_epi8(q_upper));
    out->d = max_value / 127.0f;
    out->sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q_lower, q_upper));
    if (max_value > threshold) {
        const Vec scale = vec_set1(128.0f);
        lower = _mm512_fmsub_ps(lower, inverse, _mm512_cvtepi32_ps(q_lower));
        upper = _mm512_fmsub_ps(upper, inverse, _mm512_cvtepi32_ps(q_upper));
        q_lower = _mm512_cvtps_epi32(vec_mul(lower, scale));
        q_upper = _mm512_cvtps_epi32(vec_mul(upper, scale));
        _mm_storeu_si128((__m128i *)out->lo, _mm512_cvtepi32_epi8(q_lower));
        _mm_storeu_si128((__m128i *)(out->lo + VEC_N), _mm512_cvtepi32_epi8(q_upper));
        out->sum_lo = _mm512_reduce_add_epi32(_mm512_add_epi32(q_lower, q_upper));
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
DEFINE_TILE(8)
DEFINE_TILE(12)

static void attention(const InkAttention *a)
{
    static const TileSize sizes[] = {{12, run_tile_12}, {8, run_tile_8}, {6, run_tile_6},
                                     {4, run_tile_4},   {3, run_tile_3}, {2, run_tile_2},
                                     {1, run_tile_1}};
    attend_tiles(a, sizes);
}

const InkKernels ink_kernels_avx512 = {
    .name = "avx512",
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
