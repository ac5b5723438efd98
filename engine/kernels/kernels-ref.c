/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The definition of truth: plain C that says what each kernel computes, with no eye on speed.
 *
 * The integer kernels use fmaf() where the vector tables use a fused multiply-add, in the same
 * order, so that their results are equal to the last bit on every table. */

#include "engine/kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/pack.h"

/* Blocks whose largest value is below this count as zero: its reciprocal would overflow. */
#define TINY_BLOCK 1e-30f

static void matmul_f32(const void *packed, size_t group_begin, size_t group_end, size_t n_inputs,
                       const InkMatmulInput *input, size_t n_rows, float *out, size_t out_stride)
{
    for (size_t g = group_begin; g < group_end; g++) {
        const float *weights = (const float *)packed + g * n_inputs * INK_PACK_ROWS;
        for (size_t t = 0; t < n_rows; t++) {
            const float *x = input->x + t * input->x_stride;
            float sums[INK_PACK_ROWS] = {0};
            for (size_t k = 0; k < n_inputs; k++) {
                for (size_t r = 0; r < INK_PACK_ROWS; r++)
                    sums[r] += weights[k * INK_PACK_ROWS + r] * x[k];
            }
            memcpy(out + t * out_stride + g * INK_PACK_ROWS, sums, sizeof sums);
        }
    }
}

static int32_t dot_q4_1(const InkPackedQ4_1 *block, size_t r, const int8_t *q)
{
    int32_t sum = 0;
    for (size_t k = 0; k < INK_PACK_K / 2; k++) {
        uint8_t byte = block->qs[k / 4 * 4 * INK_PACK_ROWS + 4 * r + k % 4];
        sum += (byte & 0x0f) * q[k] + (byte >> 4) * q[k + INK_PACK_K / 2];
    }
    return sum;
}

static void matmul_q4_1(const void *packed, size_t group_begin, size_t group_end, size_t n_inputs,
                        const InkMatmulInput *input, size_t n_rows, float *out, size_t out_stride)
{
    const InkQuantRows *in = input->quant;
    size_t n_blocks = n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        const InkPackedQ4_1 *blocks = (const InkPackedQ4_1 *)packed + g * n_blocks;
        for (size_t t = 0; t < n_rows; t++) {
            float sums[INK_PACK_ROWS] = {0};
            for (size_t b = 0; b < n_blocks; b++) {
                const int8_t *q = in->q + t * in->q_stride + b * INK_PACK_K;
                float d = in->d[t * in->block_stride + b];
                float d_sum = in->d_sum[t * in->block_stride + b];
                for (size_t r = 0; r < INK_PACK_ROWS; r++) {
                    float dot = (float)dot_q4_1(&blocks[b], r, q);
                    sums[r] = fmaf(dot, ink_f16_to_f32(blocks[b].d[r]) * d, sums[r]);
                    sums[r] = fmaf(ink_f16_to_f32(blocks[b].m[r]), d_sum, sums[r]);
                }
            }
            memcpy(out + t * out_stride + g * INK_PACK_ROWS, sums, sizeof sums);
        }
    }
}

static int32_t dot_q8_0(const InkPackedQ8_0 *block, size_t r, const int8_t *q)
{
    int32_t sum = 0;
    for (size_t k = 0; k < INK_PACK_K; k++)
        sum += block->qs[k / 4 * 4 * INK_PACK_ROWS + 4 * r + k % 4] * q[k];
    return sum;
}

static void matmul_q8_0(const void *packed, size_t group_begin, size_t group_end, size_t n_inputs,
                        const InkMatmulInput *input, size_t n_rows, float *out, size_t out_stride)
{
    const InkQuantRows *in = input->quant;
    size_t n_blocks = n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        const InkPackedQ8_0 *blocks = (const InkPackedQ8_0 *)packed + g * n_blocks;
        for (size_t t = 0; t < n_rows; t++) {
            float sums[INK_PACK_ROWS] = {0};
            for (size_t b = 0; b < n_blocks; b++) {
                const int8_t *q = in->q + t * in->q_stride + b * INK_PACK_K;
                float d = in->d[t * in->block_stride + b];
                for (size_t r = 0; r < INK_PACK_ROWS; r++) {
                    float dot = (float)dot_q8_0(&blocks[b], r, q);
                    sums[r] = fmaf(dot, ink_f16_to_f32(blocks[b].d[r]) * d, sums[r]);
                }
            }
            memcpy(out + t * out_stride + g * INK_PACK_ROWS, sums, sizeof sums);
        }
    }
}

static void quantize_block(const float *x, int8_t *q, float *ret_d, int32_t *ret_sum)
{
    float max = 0;
    bool all_finite = true;
    int32_t sum = 0;

    for (size_t k = 0; k < INK_PACK_K; k++) {
        max = fmaxf(max, fabsf(x[k]));
        all_finite = all_finite && isfinite(x[k]);
    }
    bool is_zero = !all_finite || max < TINY_BLOCK;
    float inverse = is_zero ? 0 : 127.0f / max;
    for (size_t k = 0; k < INK_PACK_K; k++) {
        q[k] = is_zero ? 0 : (int8_t)rintf(x[k] * inverse);
        sum += q[k];
    }
    *ret_d = all_finite ? (is_zero ? 0 : max / 127.0f) : NAN;
    *ret_sum = sum;
}

static void quantize_rows(const float *x, size_t x_stride, size_t row_begin, size_t row_end,
                          size_t n_inputs, InkQuantRows *out)
{
    for (size_t t = row_begin; t < row_end; t++) {
        for (size_t b = 0; b < n_inputs / INK_PACK_K; b++) {
            size_t i = t * out->block_stride + b;
            quantize_block(x + t * x_stride + b * INK_PACK_K,
                           out->q + t * out->q_stride + b * INK_PACK_K, &out->d[i], &out->sum[i]);
            out->d_sum[i] = out->d[i] * (float)out->sum[i];
        }
    }
}

static void rms_norm(const float *x, const float *weight, size_t n, float eps, float *out)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void rope(float *x, const float *cos_sin, size_t n_pairs, bool adjacent)
{
    for (size_t i = 0; i < n_pairs; i++) {
        float *first = adjacent ? x + 2 * i : x + i;
        float *second = adjacent ? first + 1 : first + n_pairs;
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        float a = *first, b = *second;
        *first = a * c - b * s;
        *second = b * c + a * s;
    }
}

static void store_f16(const float *x, size_t n, uint16_t *out, size_t out_stride)
{
    for (size_t i = 0; i < n; i++)
        out[i * out_stride] = ink_f16_from_f32(x[i]);
}

/* One query over positions 0 .. position: the running maximum, the sum of weights and the weighted
 * sum of values are rescaled whenever a block raises the maximum. */
static void attend(const InkAttention *a, const float *q, size_t position, float *out)
{
    size_t n_size = a->head_size;
    float max = -INFINITY, sum = 0;
    memset(out, 0, n_size * sizeof *out);

    for (size_t b = 0; b <= position / INK_KV_BLOCK; b++) {
        float scores[INK_KV_BLOCK];
        size_t n_keys = position + 1 - b * INK_KV_BLOCK;
        n_keys = n_keys < INK_KV_BLOCK ? n_keys : INK_KV_BLOCK;
        float new_max = max;
        for (size_t key = 0; key < n_keys; key++) {
            float dot = 0;
            for (size_t s = 0; s < n_size; s++)
                dot += q[s] * ink_f16_to_f32(a->k_blocks[b][s * INK_KV_BLOCK + key]);
            scores[key] = dot * a->scale;
            new_max = fmaxf(new_max, scores[key]);
        }
        float rescale = expf(max - new_max);
        sum *= rescale;
        for (size_t s = 0; s < n_size; s++)
            out[s] *= rescale;
        for (size_t key = 0; key < n_keys; key++) {
            float weight = expf(scores[key] - new_max);
            sum += weight;
            for (size_t s = 0; s < n_size; s++)
                out[s] += weight * ink_f16_to_f32(a->v_blocks[b][key * n_size + s]);
        }
        max = new_max;
    }
    for (size_t s = 0; s < n_size; s++)
        out[s] /= sum;
}

static void attention(const InkAttention *a)
{
    for (size_t t = 0; t < a->n_rows; t++) {
        for (size_t h = 0; h < a->n_heads_per_kv; h++) {
            attend(a, a->q + t * a->q_stride + h * a->head_size, a->first_position + t,
                   a->out + t * a->out_stride + h * a->head_size);
        }
    }
}

static float max(const float *x, size_t n, bool *ret_all_numbers)
{
    float best = -INFINITY;
    bool all_numbers = true;
    for (size_t i = 0; i < n; i++) {
        best = x[i] > best ? x[i] : best;
        all_numbers = all_numbers && !isnan(x[i]);
    }
    *ret_all_numbers = all_numbers;
    return best;
}

const InkKernels ink_kernels_ref = {
    .name = "ref",
    .pack = {[INK_PACK_F32] = ink_pack_f32,
             [INK_PACK_Q4_1] = ink_pack_q4_1,
             [INK_PACK_Q8_0] = ink_pack_q8_0},
    .matmul =
        {[INK_PACK_F32] = matmul_f32, [INK_PACK_Q4_1] = matmul_q4_1, [INK_PACK_Q8_0] = matmul_q8_0},
    .quantize_rows = quantize_rows,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .add = add,
    .rope = rope,
    .store_f16 = store_f16,
    .attention = attention,
    .max = max,
};
