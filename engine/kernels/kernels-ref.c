/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The definition of truth: plain C that says what each kernel computes, with no eye on speed.
 *
 * The integer kernels use fmaf() where the vector tables use a fused multiply-add, in the same
 * order, so that their results are equal to the last bit on every table. */

#include "engine/kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/layout.h"
#include "engine/kernels/pack.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

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

/* The integers of a part: that of weight k in row r at k / 4 * 64 + 4 * r + k % 4. */
ALWAYS_INLINE void unpack_part(const PackLayout *layout, const uint8_t *part, int8_t *weights)
{
    const uint8_t *qs = part + PART_SCALE_BYTES(layout), *qh = qs + 16 * INK_PACK_ROWS;
    const int n_high = layout->n_bits - 4; /* bits of an integer in qh */
    const int middle = layout->has_min ? 0 : 1 << (layout->n_bits - 1);

    if (layout->n_bits == 8) {
        memcpy(weights, qs, (size_t)INK_PACK_K * INK_PACK_ROWS);
        return;
    }
    for (int quad = 0; quad < 8; quad++) {
        for (int lane = 0; lane < 64; lane++) {
            int q = qs[quad % 4 * 64 + lane] >> (quad < 4 ? 0 : 4) & 0x0f;
            if (n_high > 0) {
                int n_quads = 8 / n_high; /* that share a byte */
                int high = qh[quad / n_quads * 64 + lane] >> quad % n_quads * n_high;
                q |= (high & ((1 << n_high) - 1)) << 4;
            }
            weights[quad * 64 + lane] = (int8_t)(q - middle);
        }
    }
}

/* Row r of a part times the q or lo of a block. With two scales they are factors of this integer,
 * which even so is below 2^24. */
ALWAYS_INLINE int32_t dot_part(const PackLayout *layout, const uint8_t *part, const int8_t *weights,
                               size_t r, const int8_t *x)
{
    const size_t n_half = INK_PACK_K / 2;
    int32_t first = 0, second = 0;
    for (size_t k = 0; k < n_half; k++) {
        size_t at = k / 4 * 64 + 4 * r + k % 4;
        first += weights[at] * x[k];
        second += weights[n_half * INK_PACK_ROWS + at] * x[k + n_half];
    }
    if (layout->n_scales < 2)
        return first + second;
    return (int8_t)part[r] * first + (int8_t)part[INK_PACK_ROWS + r] * second;
}

/* d and the minimum of row r; both are products that f32 holds exactly. */
ALWAYS_INLINE void read_scales(const PackLayout *layout, const uint8_t *head, const uint8_t *part,
                               size_t r, float *d, float *m)
{
    const uint16_t *halves = (const uint16_t *)head;
    *d = ink_f16_to_f32(halves[r]);
    *m = layout->has_min ? ink_f16_to_f32(halves[INK_PACK_ROWS + r]) : 0;
    if (layout->n_scales == 1) {
        *d *= (float)part[r];
        *m *= -(float)part[INK_PACK_ROWS + r];
    }
}

/* One input row times a group. */
ALWAYS_INLINE void multiply_group(const PackLayout *layout, const void *group, size_t n_blocks,
                                  const InkQuantRows *in, size_t t, float *out)
{
    const InkQuantBlock *x = in->blocks + t * in->block_stride;
    float sums[INK_PACK_ROWS] = {0}, lows[INK_PACK_ROWS] = {0};

    for (size_t b = 0; b < n_blocks; b++) {
        const uint8_t *head = part_head(group, layout, b), *part = part_at(head, layout, b);
        bool is_fine = in->fine[b * in->fine_stride + t] != 0;
        int8_t weights[INK_PACK_K * INK_PACK_ROWS];
        unpack_part(layout, part, weights);
        for (size_t r = 0; r < INK_PACK_ROWS; r++) {
            float d, m;
            read_scales(layout, head, part, r, &d, &m);
            sums[r] = fmaf((float)dot_part(layout, part, weights, r, x[b].q), d * x[b].d, sums[r]);
            if (layout->has_min)
                sums[r] = fmaf(m, x[b].d_sum, sums[r]);
            if (is_fine) {
                float unit = d * 0x1p-7f * x[b].d;
                lows[r] = fmaf((float)dot_part(layout, part, weights, r, x[b].lo), unit, lows[r]);
            }
        }
    }
    for (size_t r = 0; r < INK_PACK_ROWS; r++)
        out[r] = sums[r] + lows[r];
}

#define DEFINE_MATMUL(name, pack)                                                                  \
    static void matmul_##name(const void *packed, size_t group_begin, size_t group_end,            \
                              size_t n_inputs, const InkMatmulInput *input, size_t n_rows,         \
                              float *out, size_t out_stride)                                       \
    {                                                                                              \
        const PackLayout *layout = &pack_layouts[pack];                                            \
        size_t n_group_bytes = n_inputs / layout->n_inputs * layout->n_bytes;                      \
        for (size_t g = group_begin; g < group_end; g++) {                                         \
            for (size_t t = 0; t < n_rows; t++)                                                    \
                multiply_group(layout, (const uint8_t *)packed + g * n_group_bytes,                \
                               n_inputs / INK_PACK_K, input->quant, t,                             \
                               out + t * out_stride + g * INK_PACK_ROWS);                          \
        }                                                                                          \
    }

DEFINE_MATMUL(q4_1, INK_PACK_Q4_1)
DEFINE_MATMUL(q8_0, INK_PACK_Q8_0)
DEFINE_MATMUL(q5_0, INK_PACK_Q5_0)
DEFINE_MATMUL(q4_k, INK_PACK_Q4_K)
DEFINE_MATMUL(q6_k, INK_PACK_Q6_K)

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

static void set_bias(const int8_t *x, int16_t *bias)
{
    int sums[4] = {0};
    for (size_t k = 0; k < INK_PACK_K; k++) {
        size_t lane = k % 4 / 2;
        sums[lane] += x[k];
        sums[2 + lane] += k < INK_PACK_K / 2 ? x[k] : 0;
    }
    for (size_t i = 0; i < 4; i++)
        bias[i] = (int16_t)(sums[i] * (i < 2 ? -16 : -32));
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
    int32_t sum = 0; /* in units of 1/128 */
    for (size_t k = 0; k < INK_PACK_K; k++) {
        float q = rintf(x[k] * inverse);
        float lo = fine ? rintf(fmaf(x[k], inverse, -q) * 128.0f) : 0;
        out->q[k] = (int8_t)q;
        out->lo[k] = (int8_t)lo;
        sum += out->q[k] * 128 + out->lo[k];
    }
    set_bias(out->q, out->bias);
    set_bias(out->lo, out->bias_lo);
    out->d = max / 127.0f;
    out->d_sum = out->d * ((float)sum * 0x1p-7f);
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
        out[i * out_stride] = ink_f16_from_f32(x[i] > INK_F16_MAX    ? INK_F16_MAX
                                               : x[i] < -INK_F16_MAX ? -INK_F16_MAX
                                                                     : x[i]);
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
