/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What matmul-tmpl.h wants for each quantised pack, out of the including file's tile_quant and
 * low_quant, which take the layout as a constant; and the bias of a quantised block.
 * Thread: no state. */

#define DEFINE_QUANT_MATMUL(name, pack, columns)                                                   \
    ALWAYS_INLINE void tile_##name(const void *group, size_t n_inputs,                             \
                                   const InkMatmulInput *input, size_t t, float *out,              \
                                   size_t out_stride, const int nc)                                \
    {                                                                                              \
        tile_quant(&pack_layouts[pack], group, n_inputs, input, t, out, out_stride, nc);           \
    }                                                                                              \
    static void low_##name(const void *group, size_t n_inputs, const InkMatmulInput *input,        \
                           size_t t, size_t n, float *out, size_t out_stride)                      \
    {                                                                                              \
        low_quant(&pack_layouts[pack], group, n_inputs, input, t, n, out, out_stride);             \
    }                                                                                              \
    DEFINE_MATMUL(name, columns, low_##name,                                                       \
                  n_inputs / pack_layouts[pack].n_inputs * pack_layouts[pack].n_bytes)

/* InkQuantBlock.bias of 32 bytes, given as halves; returns their sum. */
static inline int32_t store_bias(__m128i first, __m128i second, int16_t *bias)
{
    const __m128i ones = _mm_set1_epi8(1);
    /* Sums of pairs of each half, then of two quads of both, then of all four. */
    first = _mm_maddubs_epi16(ones, first);
    second = _mm_maddubs_epi16(ones, second);
    __m128i sums =
        _mm_add_epi16(_mm_unpacklo_epi32(first, second), _mm_unpackhi_epi32(first, second));
    sums = _mm_add_epi16(sums, _mm_unpackhi_epi64(sums, sums)); /* first, second */
    __m128i both = _mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0x01));
    __m128i scaled = _mm_unpacklo_epi32(_mm_slli_epi16(both, 4), _mm_slli_epi16(sums, 5));
    _mm_storel_epi64((__m128i *)bias, _mm_sub_epi16(_mm_setzero_si128(), scaled));
    return _mm_cvtsi128_si32(_mm_madd_epi16(both, _mm_set1_epi16(1)));
}
