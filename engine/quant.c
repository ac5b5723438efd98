/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/quant.h"

#include <string.h>

#include "engine/quant-blocks.h"

#define F16_EXPONENT_BIAS 15
#define F32_EXPONENT_BIAS 127
#define F32_MANTISSA_BITS 23
#define F16_MANTISSA_BITS 10
#define MANTISSA_SHIFT    (F32_MANTISSA_BITS - F16_MANTISSA_BITS)

float ink_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> F16_MANTISSA_BITS) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    uint32_t bits;
    float value;

    if (exponent == 0) {
        /* Zero and subnormals: the mantissa counts units of 2^-24, which f32 holds exactly. */
        value = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    if (exponent == 0x1f) {
        /* A NaN becomes quiet, as the hardware's conversion does it. */
        bits = sign | 0x7f800000u | mantissa << MANTISSA_SHIFT | (mantissa != 0 ? 0x400000u : 0);
    } else {
        exponent += F32_EXPONENT_BIAS - F16_EXPONENT_BIAS;
        bits = sign | exponent << F32_MANTISSA_BITS | mantissa << MANTISSA_SHIFT;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t ink_f16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> MANTISSA_SHIFT) & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and above round to infinity */
        return sign | 0x7c00u;
    if (magnitude >= 0x38800000u) { /* 2^-14 and above: normal */
        uint32_t rebased =
            magnitude - ((uint32_t)(F32_EXPONENT_BIAS - F16_EXPONENT_BIAS) << F32_MANTISSA_BITS);
        uint32_t odd = (rebased >> MANTISSA_SHIFT) & 1u;
        rebased += (1u << (MANTISSA_SHIFT - 1)) - 1u + odd;
        return (uint16_t)(sign | rebased >> MANTISSA_SHIFT);
    }
    /* Subnormal: adding 2^23 * 2^-24 leaves the count of units of 2^-24 in the low mantissa bits,
     * rounded to nearest even by the addition itself. */
    float shifted;
    memcpy(&shifted, &magnitude, sizeof shifted);
    shifted += 0.5f;
    memcpy(&bits, &shifted, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000u));
}

static void dequantize_f32(const void *blocks, float *values, size_t n)
{
    if (n > 0)
        memcpy(values, blocks, n * sizeof *values);
}

static void dequantize_f16(const void *blocks, float *values, size_t n)
{
    const uint8_t *bytes = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, bytes + i * sizeof half, sizeof half);
        values[i] = ink_f16_to_f32(half);
    }
}

static void dequantize_q4_1(const void *blocks, float *values, size_t n)
{
    const uint8_t *bytes = blocks;
    for (size_t i = 0; i < n; i += INK_PACK_K, bytes += sizeof(InkBlockQ4_1)) {
        InkBlockQ4_1 block;
        memcpy(&block, bytes, sizeof block);
        float d = ink_f16_to_f32(block.d);
        float m = ink_f16_to_f32(block.m);
        for (size_t k = 0; k < INK_PACK_K / 2; k++) {
            values[i + k] = d * (float)(block.qs[k] & 0x0f) + m;
            values[i + k + INK_PACK_K / 2] = d * (float)(block.qs[k] >> 4) + m;
        }
    }
}

static void dequantize_q8_0(const void *blocks, float *values, size_t n)
{
    const uint8_t *bytes = blocks;
    for (size_t i = 0; i < n; i += INK_PACK_K, bytes += sizeof(InkBlockQ8_0)) {
        InkBlockQ8_0 block;
        memcpy(&block, bytes, sizeof block);
        float d = ink_f16_to_f32(block.d);
        for (size_t k = 0; k < INK_PACK_K; k++)
            values[i + k] = d * (float)block.qs[k];
    }
}

static const InkQuantType types[] = {
    {INK_TYPE_F32, "F32", 1, sizeof(float), INK_PACK_F32, dequantize_f32},
    {INK_TYPE_F16, "F16", 1, sizeof(uint16_t), INK_PACK_F32, dequantize_f16},
    {INK_TYPE_Q4_1, "Q4_1", INK_PACK_K, sizeof(InkBlockQ4_1), INK_PACK_Q4_1, dequantize_q4_1},
    {INK_TYPE_Q8_0, "Q8_0", INK_PACK_K, sizeof(InkBlockQ8_0), INK_PACK_Q8_0, dequantize_q8_0},
};

const InkQuantType *ink_quant_type(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].id == id)
            return &types[i];
    }
    return NULL;
}

bool ink_quant_row_bytes(const InkQuantType *type, uint64_t n_values, size_t *ret)
{
    uint64_t n_bytes;
    if (n_values % type->n_block_values != 0)
        return false;
    if (__builtin_mul_overflow(n_values / type->n_block_values, type->n_block_bytes, &n_bytes))
        return false;
    if (n_bytes > SIZE_MAX)
        return false;
    *ret = (size_t)n_bytes;
    return true;
}
