/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The float kernels that differ between instruction sets in the vector's width only.
 *
 * The including file defines, before it includes this one:
 *   Vec, VEC_N, and on them vec_load, vec_store (any alignment), vec_set1, vec_add, vec_sub,
 *   vec_mul, vec_div, vec_fma (a * b + c), vec_fnma (c - a * b), vec_round (nearest even),
 *   vec_max and vec_min (the second operand when either is NaN), vec_scale2(a, n) (a * 2^n),
 *   vec_select_lt(a, b, x, y) (a < b ? x : y, y for NaN), vec_reduce_add, vec_reduce_max,
 *   vec_load_f16, vec_store_f16, vec_any_nan, vec_deinterleave, vec_swap_pairs, vec_dup_even,
 *   vec_dup_odd, vec_fmaddsub.
 * Tails go through a padded copy, so that a value's result does not depend on where it stands. */
#pragma once

#include <math.h>
#include <string.h>

#include "engine/kernels/kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define EXP_LOWEST  (-87.33654f) /* below it e^x is no normal number: 0 */
#define EXP_HIGHEST 88.37626f    /* above it 2^n does not fit: infinity */

/* e^x within 2e-7 of the true value, relative. Polynomial of Cephes' expf (S. Moshier). */
ALWAYS_INLINE Vec vec_exp(Vec x)
{
    Vec clamped = vec_min(vec_set1(EXP_HIGHEST), vec_max(vec_set1(EXP_LOWEST), x));
    Vec n = vec_round(vec_mul(clamped, vec_set1(1.44269504f)));
    /* ln 2 in two parts: the first has few bits, so that n times it is exact. */
    Vec r = vec_fnma(n, vec_set1(0.693359375f), clamped);
    r = vec_fnma(n, vec_set1(-2.12194440e-4f), r);
    Vec p = vec_set1(1.9875691500e-4f);
    p = vec_fma(p, r, vec_set1(1.3981999507e-3f));
    p = vec_fma(p, r, vec_set1(8.3334519073e-3f));
    p = vec_fma(p, r, vec_set1(4.1665795894e-2f));
    p = vec_fma(p, r, vec_set1(1.6666665459e-1f));
    p = vec_fma(p, r, vec_set1(5.0000001201e-1f));
    p = vec_add(vec_fma(p, vec_mul(r, r), r), vec_set1(1.0f));
    Vec y = vec_scale2(p, n);
    y = vec_select_lt(x, vec_set1(EXP_LOWEST), vec_set1(0), y);
    return vec_select_lt(vec_set1(EXP_HIGHEST), x, vec_set1(INFINITY), y);
}

ALWAYS_INLINE Vec load_tail(const float *x, size_t n)
{
    float padded[VEC_N] = {0};
    memcpy(padded, x, n * sizeof *x);
    return vec_load(padded);
}

ALWAYS_INLINE void store_tail(float *x, Vec v, size_t n)
{
    float padded[VEC_N];
    vec_store(padded, v);
    memcpy(x, padded, n * sizeof *x);
}

static void rms_norm(const float *x, const float *weight, size_t n, float eps, float *out)
{
    Vec sums[4] = {vec_set1(0), vec_set1(0), vec_set1(0), vec_set1(0)};
    size_t i = 0;
    for (; i + 4 * VEC_N <= n; i += 4 * VEC_N) {
        for (size_t j = 0; j < 4; j++) {
            Vec v = vec_load(x + i + j * VEC_N);
            sums[j] = vec_fma(v, v, sums[j]);
        }
    }
    for (; i < n; i += VEC_N) {
        Vec v = i + VEC_N <= n ? vec_load(x + i) : load_tail(x + i, n - i);
        sums[0] = vec_fma(v, v, sums[0]);
    }
    float sum = vec_reduce_add(vec_add(vec_add(sums[0], sums[1]), vec_add(sums[2], sums[3])));
    float scale = 1.0f / sqrtf(sum / (float)n + eps);

    for (i = 0; i + VEC_N <= n; i += VEC_N) {
        Vec v = vec_mul(vec_load(x + i), vec_set1(scale));
        vec_store(out + i, vec_mul(v, vec_load(weight + i)));
    }
    if (i < n) {
        Vec v = vec_mul(load_tail(x + i, n - i), vec_set1(scale));
        store_tail(out + i, vec_mul(v, load_tail(weight + i, n - i)), n - i);
    }
}

ALWAYS_INLINE Vec silu_mul_vec(Vec gate, Vec up)
{
    Vec one = vec_set1(1.0f);
    Vec e = vec_exp(vec_sub(vec_set1(0), gate));
    return vec_mul(vec_div(gate, vec_add(one, e)), up);
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        vec_store(gate + i, silu_mul_vec(vec_load(gate + i), vec_load(up + i)));
    if (i < n) {
        Vec v = silu_mul_vec(load_tail(gate + i, n - i), load_tail(up + i, n - i));
        store_tail(gate + i, v, n - i);
    }
}

ALWAYS_INLINE Vec gelu_mul_vec(Vec gate, Vec up)
{
    Vec cube = vec_mul(vec_mul(gate, gate), gate);
    Vec u = vec_fma(vec_set1(INK_GELU_CUBE), cube, gate);
    Vec e = vec_exp(vec_mul(vec_set1(-2.0f * INK_GELU_SCALE), u));
    return vec_mul(vec_div(gate, vec_add(vec_set1(1.0f), e)), up);
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        vec_store(gate + i, gelu_mul_vec(vec_load(gate + i), vec_load(up + i)));
    if (i < n) {
        Vec v = gelu_mul_vec(load_tail(gate + i, n - i), load_tail(up + i, n - i));
        store_tail(gate + i, v, n - i);
    }
}

static void add(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        vec_store(x + i, vec_add(vec_load(x + i), vec_load(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

static void rope_adjacent(float *x, const float *cos_sin, size_t n_values)
{
    size_t i = 0;
    for (; i + VEC_N <= n_values; i += VEC_N) {
        Vec v = vec_load(x + i), turn = vec_load(cos_sin + i);
        Vec crossed = vec_mul(vec_swap_pairs(v), vec_dup_odd(turn));
        vec_store(x + i, vec_fmaddsub(v, vec_dup_even(turn), crossed));
    }
    if (i < n_values) {
        Vec v = load_tail(x + i, n_values - i), turn = load_tail(cos_sin + i, n_values - i);
        Vec crossed = vec_mul(vec_swap_pairs(v), vec_dup_odd(turn));
        store_tail(x + i, vec_fmaddsub(v, vec_dup_even(turn), crossed), n_values - i);
    }
}

static void rope_halves(float *x, const float *cos_sin, size_t n_pairs)
{
    float *y = x + n_pairs;
    size_t i = 0;
    for (; i + VEC_N <= n_pairs; i += VEC_N) {
        Vec c, s;
        Vec a = vec_load(x + i), b = vec_load(y + i);
        vec_deinterleave(vec_load(cos_sin + 2 * i), vec_load(cos_sin + 2 * i + VEC_N), &c, &s);
        vec_store(x + i, vec_fnma(b, s, vec_mul(a, c)));
        vec_store(y + i, vec_fma(a, s, vec_mul(b, c)));
    }
    for (; i < n_pairs; i++) {
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1], a = x[i], b = y[i];
        x[i] = fmaf(-b, s, a * c);
        y[i] = fmaf(a, s, b * c);
    }
}

static void rope(float *x, const float *cos_sin, size_t n_pairs, bool adjacent)
{
    if (adjacent)
        rope_adjacent(x, cos_sin, 2 * n_pairs);
    else
        rope_halves(x, cos_sin, n_pairs);
}

static void store_f16(const float *x, size_t n, uint16_t *out, size_t out_stride)
{
    for (size_t i = 0; i < n; i += VEC_N) {
        size_t n_now = n - i < VEC_N ? n - i : VEC_N;
        Vec v = n_now == VEC_N ? vec_load(x + i) : load_tail(x + i, n_now);
        /* In this order of operands a NaN passes. */
        v = vec_min(vec_set1(INK_F16_MAX), vec_max(vec_set1(-INK_F16_MAX), v));
        uint16_t halves[VEC_N];
        if (out_stride == 1 && n_now == VEC_N) {
            vec_store_f16(out + i, v);
            continue;
        }
        vec_store_f16(halves, v);
        for (size_t j = 0; j < n_now; j++)
            out[(i + j) * out_stride] = halves[j];
    }
}

static float max(const float *x, size_t n, bool *ret_all_numbers)
{
    Vec best = vec_set1(-INFINITY);
    bool any_nan = false;
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N) {
        Vec v = vec_load(x + i);
        any_nan |= vec_any_nan(v);
        best = vec_max(v, best); /* keeps `best` where v is NaN */
    }
    float result = vec_reduce_max(best);
    for (; i < n; i++) {
        any_nan |= isnan(x[i]);
        result = x[i] > result ? x[i] : result;
    }
    *ret_all_numbers = !any_nan;
    return result;
}
