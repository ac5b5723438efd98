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

void ink_quant_read_q5_0(const InkBlockQ5_0 *block, uint8_t *q)
{
    for (size_t k = 0; k < INK_PACK_K / 2; k++) {
        uint8_t fifth = block->qh[k / 8] >> k % 8 & 1, of_upper = block->qh[k / 8 + 2] >> k % 8 & 1;
        q[k] = (uint8_t)((block->qs[k] & 0x0f) | fifth << 4);
        q[k + INK_PACK_K / 2] = (uint8_t)(block->qs[k] >> 4 | of_upper << 4);
    }
}

void ink_quant_read_q4_k(const InkBlockQ4_K *block, uint8_t *q, uint8_t *scales, uint8_t *mins)
{
    const uint8_t *packed = block->scales;
    for (size_t p = 0; p < INK_PACK_PARTS / 2; p++) {
        scales[p] = packed[p] & 0x3f;
        mins[p] = packed[p + 4] & 0x3f;
        scales[p + 4] = (uint8_t)((packed[p + 8] & 0x0f) | packed[p] >> 6 << 4);
        mins[p + 4] = (uint8_t)(packed[p + 8] >> 4 | packed[p + 4] >> 6 << 4);
    }
    for (size_t i = 0; i < sizeof block->qs; i++) {
        size_t k = i / INK_PACK_K * 2 * INK_PACK_K + i % INK_PACK_K;
        q[k] = block->qs[i] & 0x0f;
        q[k + INK_PACK_K] = block->qs[i] >> 4;
    }
}

void ink_quant_read_q6_k(const InkBlockQ6_K *block, uint8_t *q)
{
    for (size_t h = 0; h < 2; h++, q += INK_PACK_SUPER / 2) {
        const uint8_t *ql = block->ql + 64 * h, *qh = block->qh + 32 * h;
        for (size_t k = 0; k < 32; k++) {
            q[k] = (uint8_t)((ql[k] & 0x0f) | (qh[k] & 3) << 4);
            q[k + 32] = (uint8_t)((ql[k + 32] & 0x0f) | (qh[k] >> 2 & 3) << 4);
            q[k + 64] = (uint8_t)(ql[k] >> 4 | (qh[k] >> 4 & 3) << 4);
            q[k + 96] = (uint8_t)(ql[k + 32] >> 4 | qh[k] >> 6 << 4);
        }
    }
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

static void dequantize_q5_0(const void *blocks, float *values, size_t n)
{
    const uint8_t *bytes = blocks;
    for (size_t i = 0; i < n; i += INK_PACK_K, bytes += sizeof(InkBlockQ5_0)) {
        uint8_t q[INK_PACK_K];
        InkBlockQ5_0 block;
        memcpy(&block, bytes, sizeof block);
        ink_quant_read_q5_0(&block, q);
        float d = ink_f16_to_f32(block.d);
        for (size_t k = 0; k < INK_PACK_K; k++)
            values[i + k] = d * (float)(q[k] - 16);
    }
}

static void dequantize_q4_k(const void *blocks, float *values, size_t n)
{
    const uint8_t *bytes = blocks;
    for (size_t i = 0; i < n; i += INK_PACK_SUPER, bytes += sizeof(InkBlockQ4_K)) {
        uint8_t q[INK_PACK_SUPER], scales[INK_PACK_PARTS], mins[INK_PACK_PARTS];
        InkBlockQ4_K block;
        memcpy(&block, bytes, sizeof block);
        ink_quant_read_q4_k(&block, q, scales, mins);
        for (size_t k = 0; k < INK_PACK_SUPER; k++) {
            float d = ink_f16_to_f32(block.d) * (float)scales[k / INK_PACK_K];
            float m = ink_f16_to_f32(block.dmin) * (float)mins[k / INK_PACK_K];
            values[i + k] = d * (float)q[k] - m;
        }
    }
}

static void dequantize_q6_k(const void *blocks, float *values, size_t n)
{
    const uint8_t *bytes = blocks;
    for (size_t i = 0; i < n; i += INK_PACK_SUPER, bytes += sizeof(InkBlockQ6_K)) {
        uint8_t q[INK_PACK_SUPER];
        InkBlockQ6_K block;
        memcpy(&block, bytes, sizeof block);
        ink_quant_read_q6_k(&block, q);
        for (size_t k = 0; k < INK_PACK_SUPER; k++) {
            float d = ink_f16_to_f32(block.d) * (float)block.scales[k / 16];
            values[i + k] = d * (float)(q[k] - 32);
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
    {INK_TYPE_Q5_0, "Q5_0", INK_PACK_K, sizeof(InkBlockQ5_0), INK_PACK_Q5_0, dequantize_q5_0},
    {INK_TYPE_Q8_0, "Q8_0", INK_PACK_K, sizeof(InkBlockQ8_0), INK_PACK_Q8_0, dequantize_q8_0},
    {INK_TYPE_Q4_K, "Q4_K", INK_PACK_SUPER, sizeof(InkBlockQ4_K), INK_PACK_Q4_K, dequantize_q4_k},
    {INK_TYPE_Q6_K, "Q6_K", INK_PACK_SUPER, sizeof(InkBlockQ6_K), INK_PACK_Q6_K, dequantize_q6_k},
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
