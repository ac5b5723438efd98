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

static bool is_fine(const InkQuantRows *rows, size_t t, size_t b)
{
    return rows->fine[b * rows->fine_stride + t] != 0;
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
    size_t n_blocks = n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        const InkPackedQ4_1 *blocks = (const InkPackedQ4_1 *)packed + g * n_blocks;
        for (size_t t = 0; t < n_rows; t++) {
            const InkQuantBlock *x = input->quant->blocks + t * input->quant->block_stride;
            float sums[INK_PACK_ROWS] = {0}, lows[INK_PACK_ROWS] = {0};
            for (size_t b = 0; b < n_blocks; b++) {
                for (size_t r = 0; r < INK_PACK_ROWS; r++) {
                    float dot = (float)dot_q4_1(&blocks[b], r, x[b].q);
                    sums[r] = fmaf(dot, ink_f16_to_f32(blocks[b].d[r]) * x[b].d, sums[r]);
                    sums[r] = fmaf(ink_f16_to_f32(blocks[b].m[r]), x[b].d_sum, sums[r]);
                }
            }
            for (size_t b = 0; b < n_blocks; b++) {
                for (size_t r = 0; r < INK_PACK_ROWS && is_fine(input->quant, t, b); r++) {
                    float dot = (float)dot_q4_1(&blocks[b], r, x[b].lo);
                    float w_d = ink_f16_to_f32(blocks[b].d[r]) * 0x1p-7f;
                    lows[r] = fmaf(dot, w_d * x[b].d, lows[r]);
                }
            }
            for (size_t r = 0; r < INK_PACK_ROWS; r++)
                out[t * out_stride + g * INK_PACK_ROWS + r] = sums[r] + lows[r];
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
    size_t n_blocks = n_inputs / INK_PACK_K;

    for (size_t g = group_begin; g < group_end; g++) {
        const InkPackedQ8_0 *blocks = (const InkPackedQ8_0 *)packed + g * n_blocks;
        for (size_t t = 0; t < n_rows; t++) {
            const InkQuantBlock *x = input->quant->blocks + t * input->quant->block_stride;
            float sums[INK_PACK_ROWS] = {0}, lows[INK_PACK_ROWS] = {0};
            for (size_t b = 0; b < n_blocks; b++) {
                for (size_t r = 0; r < INK_PACK_ROWS; r++) {
                    float dot = (float)dot_q8_0(&blocks[b], r, x[b].q);
                    sums[r] = fmaf(dot, ink_f16_to_f32(blocks[b].d[r]) * x[b].d, sums[r]);
                }
            }
            for (size_t b = 0; b < n_blocks; b++) {
                for (size_t r = 0; r < INK_PACK_ROWS && is_fine(input->quant, t, b); r++) {
                    float dot = (float)dot_q8_0(&blocks[b], r, x[b].lo);
                    float w_d = ink_f16_to_f32(blocks[b].d[r]) * 0x1p-7f;
                    lows[r] = fmaf(dot, w_d * x[b].d, lows[r]);
                }
            }
            for (size_t r = 0; r < INK_PACK_ROWS; r++)
                out[t * out_stride + g * INK_PACK_ROWS + r] = sums[r] + lows[r];
        }
    }
}

/* INK_FINE_KAPPA times the root of the mean square. The order of sums is that of the vector tables:
 * 32 partial sums, folded by halves. Not finite when a value is not or a square overflows: then no
 * block is fine. */
static float fine_threshold(const float *x, size_t n_inputs)
{
    float sums[INK_PACK_K] = {0};
    for (size_t k = 0; k < n_inputs; k++)
        sums[k % INK_PACK_K] = fmaf(x[k], x[k], sums[k % INK_PACK_K]);
    for (size_t n = INK_PACK_K / 2; n > 0; n /= 2) {
        for (size_t i = 0; i < n; i++)
            sums[i] += sums[i + n];
    }
    return INK_FINE_KAPPA * sqrtf(sums[0] / (float)n_inputs);
}

/* Returns whether the block is fine. */
static bool quantize_block(const float *x, float threshold, InkQuantBlock *out)
{
    float max = 0;
    bool all_finite = true;

    for (size_t k = 0; k < INK_PACK_K; k++) {
        max = fmaxf(max, fabsf(x[k]));
        all_finite = all_finite && isfinite(x[k]);
    }
    *out = (InkQuantBlock){.d = all_finite ? 0 : NAN, .d_sum = all_finite ? 0 : NAN};
    if (!all_finite || max < INK_TINY_BLOCK)
        return false;
    float inverse = 127.0f / max;
    bool fine = max > threshold;
    for (size_t k = 0; k < INK_PACK_K; k++) {
        float q = rintf(x[k] * inverse);
        float lo = fine ? rintf(fmaf(x[k], inverse, -q) * 128.0f) : 0;
        out->q[k] = (int8_t)q;
        out->lo[k] = (int8_t)lo;
        out->sum += out->q[k];
        out->sum_lo += out->lo[k];
    }
    out->d = max / 127.0f;
    out->d_sum = out->d * ((float)(out->sum * 128 + out->sum_lo) * 0x1p-7f);
    return fine;
}

static void quantize_rows(const float *x, size_t x_stride, size_t row_begin, size_t row_end,
                          size_t n_inputs, InkQuantRows *out)
{
    size_t n_blocks = n_inputs / INK_PACK_K;
    for (size_t t = row_begin; t < row_end; t++) {
        const float *row = x + t * x_stride;
        float threshold = fine_threshold(row, n_inputs);
        for (size_t b = 0; b < n_blocks; b++) {
            bool fine = quantize_block(row + b * INK_PACK_K, threshold,
                                       &out->blocks[t * out->block_stride + b]);
            out->fine[b * out->fine_stride + t] = fine ? 0xff : 0;
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

/* 0.5 x (1 + tanh u) as x / (1 + e^-2u), which does not cancel where tanh is near -1. */
static void gelu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        float u = INK_GELU_SCALE * (x + INK_GELU_CUBE * (x * x * x));
        gate[i] = x / (1.0f + expf(-2.0f * u)) * up[i];
    }
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

/* One query over positions 0 .. position or the last of them: the running maximum, the sum of
 * weights and the weighted sum of values are rescaled whenever a block raises the maximum. */
static void attend(const InkAttention *a, const float *q, size_t position, float *out)
{
    size_t n_size = a->head_size;
    size_t first = a->window > 0 && position >= a->window ? position - a->window + 1 : 0;
    float max = -INFINITY, sum = 0;
    memset(out, 0, n_size * sizeof *out);

    for (size_t b = first / INK_KV_BLOCK; b <= position / INK_KV_BLOCK; b++) {
        float scores[INK_KV_BLOCK];
        size_t first_key = b == first / INK_KV_BLOCK ? first % INK_KV_BLOCK : 0;
        size_t n_keys = position + 1 - b * INK_KV_BLOCK;
        n_keys = n_keys < INK_KV_BLOCK ? n_keys : INK_KV_BLOCK;
        float new_max = max;
        for (size_t key = first_key; key < n_keys; key++) {
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
        for (size_t key = first_key; key < n_keys; key++) {
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
    .gelu_mul = gelu_mul,
    .add = add,
    .rope = rope,
    .store_f16 = store_f16,
    .attention = attention,
    .max = max,
};
