/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* AVX-512 (F, BW, VL, DQ) with VNNI. Quantised blocks: eight vpdpbusd per column and block give
 * the integer dot products of 16 rows; each takes four activations as one broadcast dword. */

#include "engine/kernels/kernels.h"

#include <immintrin.h>

#include "engine/kernels/layout.h"
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

/* dot += first * bias[0] + second * bias[1]. */
ALWAYS_INLINE __m512i add_bias(__m512i dot, const int16_t *bias, int first, int second)
{
    int32_t pair;
    memcpy(&pair, bias, sizeof pair);
    const __m512i factors = _mm512_set1_epi32((first & 0xffff) | second * 0x10000);
    return _mm512_dpwssd_epi32(dot, factors, _mm512_set1_epi32(pair));
}

/* Four quads of a part from quad j on. */
ALWAYS_INLINE __m512i dot_quads(__m512i dot, const __m512i *weights, const int8_t *x, int j)
{
#pragma GCC unroll 4
    for (int end = j + 4; j < end; j++)
        dot = dot_quad(dot, weights[j], x + 4 * j);
    return dot;
}

/* A part of 16 rows, unpacked. */
typedef struct Part {
    __m512i weights[8]; /* quads; unsigned bytes, 8 bits with 128 added */
    Vec d, m;
    Vec scales[2]; /* where there are two */
} Part;

/* The dot products of 16 rows with one block of a column, as in kernels-ref.c. */
ALWAYS_INLINE Vec dot_column(const PackLayout *layout, const Part *part, const int8_t *x,
                             const int16_t *bias)
{
    __m512i dot = _mm512_setzero_si512();
    if (layout->n_scales < 2) {
        const int factor = 1 << (layout->n_bits - 1) >> 4; /* of bias, that is of -16 */
        if (!layout->has_min)
            dot = add_bias(dot, bias, factor, factor);
        return _mm512_cvtepi32_ps(
            dot_quads(dot_quads(dot, part->weights, x, 0), part->weights, x, 4));
    }
    /* Integers below 2^24, and so is their sum: nothing is rounded. */
    __m512i first = dot_quads(add_bias(dot, bias + 2, 1, 1), part->weights, x, 0);
    __m512i second = add_bias(add_bias(dot, bias, 2, 2), bias + 2, -1, -1);
    second = dot_quads(second, part->weights, x, 4);
    Vec sum = vec_mul(_mm512_cvtepi32_ps(second), part->scales[1]);
    return vec_fma(_mm512_cvtepi32_ps(first), part->scales[0], sum);
}

/* (a & mask) | (b & other), `other` being the bits that mask lacks of those wanted. */
ALWAYS_INLINE __m512i nibble_with(__m512i nibble, __m512i high, int upper)
{
    const __m512i low = _mm512_set1_epi8(0x0f);
    return _mm512_or_si512(_mm512_and_si512(nibble, low),
                           _mm512_and_si512(high, _mm512_set1_epi8((char)upper)));
}

ALWAYS_INLINE __m512i load_quad(const uint8_t *quads, int j)
{
    return _mm512_loadu_si512(quads + 64 * j);
}

ALWAYS_INLINE void unpack_4_bits(const uint8_t *quads, __m512i *weights)
{
    const __m512i low = _mm512_set1_epi8(0x0f);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i bytes = load_quad(quads, j);
        weights[j] = _mm512_and_si512(bytes, low);
        weights[j + 4] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
    }
}

ALWAYS_INLINE void unpack_5_bits(const uint8_t *quads, __m512i *weights)
{
    __m512i high = load_quad(quads, 4); /* bit j is of quad j */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++, high = _mm512_srli_epi16(high, 1)) {
        __m512i bytes = load_quad(quads, j);
        weights[j] = nibble_with(bytes, _mm512_slli_epi16(high, 4), 0x10);
        weights[j + 4] = nibble_with(_mm512_srli_epi16(bytes, 4), high, 0x10);
    }
}

ALWAYS_INLINE void unpack_6_bits(const uint8_t *quads, __m512i *weights)
{
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m512i bytes = load_quad(quads, j % 4), high = load_quad(quads, 4 + j / 4);
        bytes = j < 4 ? bytes : _mm512_srli_epi16(bytes, 4);
        /* Bits 2 (j % 4) and up, to where they stand in an integer of six bits. */
        high = j % 4 == 0   ? _mm512_slli_epi16(high, 4)
               : j % 4 == 1 ? _mm512_slli_epi16(high, 2)
               : j % 4 == 2 ? high
                            : _mm512_srli_epi16(high, 2);
        weights[j] = nibble_with(bytes, high, 0x30);
    }
}

ALWAYS_INLINE void unpack_8_bits(const uint8_t *quads, __m512i *weights)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        weights[j] = _mm512_xor_si512(load_quad(quads, j), flip);
}

ALWAYS_INLINE Vec load_unsigned(const uint8_t *scales)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)scales)));
}

ALWAYS_INLINE Vec load_signed(const uint8_t *scales)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)scales)));
}

ALWAYS_INLINE Part unpack(const PackLayout *layout, const uint8_t *head, const uint8_t *bytes)
{
    const uint8_t *quads = bytes + PART_SCALE_BYTES(layout);
    Part part;
    if (layout->n_bits == 4)
        unpack_4_bits(quads, part.weights);
    else if (layout->n_bits == 5)
        unpack_5_bits(quads, part.weights);
    else if (layout->n_bits == 6)
        unpack_6_bits(quads, part.weights);
    else
        unpack_8_bits(quads, part.weights);
    part.d = vec_load_f16((const uint16_t *)head);
    if (layout->has_min)
        part.m = vec_load_f16((const uint16_t *)head + INK_PACK_ROWS);
    if (layout->n_scales == 1) {
        part.d = vec_mul(part.d, load_unsigned(bytes));
        if (layout->has_min)
            part.m = vec_mul(vec_sub(vec_set1(0), part.m), load_unsigned(bytes + INK_PACK_ROWS));
    } else if (layout->n_scales == 2) {
        part.scales[0] = load_signed(bytes);
        part.scales[1] = load_signed(bytes + INK_PACK_ROWS);
    }
    return part;
}

ALWAYS_INLINE void tile_quant(const PackLayout *layout, const void *group, size_t n_inputs,
                              const InkMatmulInput *input, size_t t, float *out, size_t out_stride,
                              const int nc)
{
    const InkQuantRows *in = input->quant;
    Columns columns =
        columns_of(in->blocks + t * in->block_stride, in->block_stride * sizeof(InkQuantBlock), nc);
    const uint8_t *flags = in->fine + t;
    const bool fused = nc <= MATMUL_FUSED;
    Vec sums[MATMUL_COLUMNS], lows[MATMUL_COLUMNS];

#pragma GCC unroll 16
    for (int c = 0; c < nc; c++)
        sums[c] = lows[c] = vec_set1(0);
    for (size_t b = 0; b < n_inputs / INK_PACK_K; b++, flags += in->fine_stride) {
        const uint8_t *head = part_head(group, layout, b), *bytes = part_at(head, layout, b);
        prefetch_block(bytes, layout->n_part_bytes);
        Part part = unpack(layout, head, bytes);
#pragma GCC unroll 16
        for (int c = 0; c < nc; c++) {
            const InkQuantBlock *x = column(&columns, c);
            Vec dot = dot_column(layout, &part, x->q, x->bias);
            sums[c] = vec_fma(dot, vec_mul(part.d, vec_set1(x->d)), sums[c]);
            if (layout->has_min)
                sums[c] = vec_fma(part.m, vec_set1(x->d_sum), sums[c]);
            if (fused && flags[c] != 0) {
                dot = dot_column(layout, &part, x->lo, x->bias_lo);
                Vec scale = vec_mul(vec_mul(part.d, vec_set1(0x1p-7f)), vec_set1(x->d));
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

ALWAYS_INLINE void low_quant(const PackLayout *layout, const void *group, size_t n_inputs,
                             const InkMatmulInput *input, size_t t, size_t n, float *out,
                             size_t out_stride)
{
    const InkQuantRows *in = input->quant;
    const uint8_t *flags = in->fine + t;
    const InkQuantBlock *x = in->blocks + t * in->block_stride;
    const uint32_t wanted = UINT32_MAX >> (INK_FINE_PADDING - n);
    Vec lows[INK_FINE_PADDING];

    for (size_t c = 0; c < n; c++)
        lows[c] = vec_set1(0);

    for (size_t b = 0; b < n_inputs / INK_PACK_K; b++, flags += in->fine_stride, x++) {
        const uint8_t *head = part_head(group, layout, b), *bytes = part_at(head, layout, b);
        uint32_t fine = _mm256_movepi8_mask(_mm256_loadu_si256((const __m256i *)flags)) & wanted;
        if (fine == 0)
            continue;
        Part part = unpack(layout, head, bytes);
        Vec w_d = vec_mul(part.d, vec_set1(0x1p-7f));
        for (; fine != 0; fine &= fine - 1) {
            size_t c = (size_t)__builtin_ctz(fine);
            const InkQuantBlock *at = x + c * in->block_stride;
            Vec dot = dot_column(layout, &part, at->lo, at->bias_lo);
            lows[c] = vec_fma(dot, vec_mul(w_d, vec_set1(at->d)), lows[c]);
        }
    }
    for (size_t c = 0; c < n; c++, out += out_stride)
        vec_store(out, vec_add(vec_load(out), lows[c]));
}

#include "engine/kernels/quant-tile-tmpl.h"

DEFINE_MATMUL(f32, 16, NULL, n_inputs *INK_PACK_ROWS * sizeof(float))
DEFINE_QUANT_MATMUL(q4_1, INK_PACK_Q4_1, 16)
DEFINE_QUANT_MATMUL(q8_0, INK_PACK_Q8_0, 16)
DEFINE_QUANT_MATMUL(q5_0, INK_PACK_Q5_0, 16)
DEFINE_QUANT_MATMUL(q4_k, INK_PACK_Q4_K, 16)
DEFINE_QUANT_MATMUL(q6_k, INK_PACK_Q6_K, 16)

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

/* 32 integers within int8 to bytes, with their bias, and their sum. */
static inline int32_t store_bytes(__m512i lower, __m512i upper, int8_t *bytes, int16_t *bias)
{
    __m128i first = _mm512_cvtepi32_epi8(lower), second = _mm512_cvtepi32_epi8(upper);
    _mm_storeu_si128((__m128i *)bytes, first);
    _mm_storeu_si128((__m128i *)(bytes + VEC_N), second);
    return store_bias(first, second, bias);
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
    int32_t sum = store_bytes(q_lower, q_upper, out->q, out->bias);
    out->d = max_value / 127.0f;
    if (max_value > threshold) {
        const Vec scale = vec_set1(128.0f);
        lower = _mm512_fmsub_ps(lower, inverse, _mm512_cvtepi32_ps(q_lower));
        upper = _mm512_fmsub_ps(upper, inverse, _mm512_cvtepi32_ps(q_upper));
        q_lower = _mm512_cvtps_epi32(vec_mul(lower, scale));
        q_upper = _mm512_cvtps_epi32(vec_mul(upper, scale));
        int32_t sum_lo = store_bytes(q_lower, q_upper, out->lo, out->bias_lo);
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
