/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The float kernels of every table of this machine against double precision, within the tolerances
 * below. Attention has its own file. */

#include "engine/kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/cleanup.h"
#include "tests/engine/guarded.h"

/* e^x within 2e-7, one division and two products. */
#define SILU_TOLERANCE    6e-7f
/* As above, and u in e^-2u is rounded a few times, which counts |u| times. */
#define GELU_TOLERANCE(u) (8e-7 + 4e-7 * fabs(u))

static void test_kernels_rms_norm_agrees(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 16, 64, 65, 576, 1000};
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t i = 0; i < 7; i++) {
            size_t n = sizes[i];
            _cleanup_free_ float *x = guarded_new(n * sizeof(float));
            _cleanup_free_ float *weight = guarded_new(n * sizeof(float));
            _cleanup_free_ float *out = guarded_new(n * sizeof(float));
            double sum = 0;
            for (size_t j = 0; j < n; j++) {
                x[j] = random_float(100.0f);
                weight[j] = random_float(2.0f);
                sum += (double)x[j] * x[j];
            }
            double scale = 1.0 / sqrt(sum / (double)n + 1e-5);
            (*k)->rms_norm(x, weight, n, 1e-5f, out);
            guarded_check(out, n * sizeof(float));
            for (size_t j = 0; j < n; j++) {
                double want = x[j] * scale * weight[j];
                assert_true(fabs(out[j] - want) <= 1e-6 * fabs(want));
            }
            (*k)->rms_norm(x, weight, n, 1e-5f, x); /* in place */
            assert_memory_equal(x, out, n * sizeof(float));
        }
    }
}

static void test_kernels_silu_mul_is_accurate(void **state)
{
    (void)state;
    const size_t n = 20011;
    _cleanup_free_ float *gate = guarded_new(n * sizeof(float));
    _cleanup_free_ float *up = guarded_new(n * sizeof(float));
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t i = 0; i < n; i++) {
            gate[i] = ((float)i - 10000.0f) * 0.0086f;
            up[i] = i % 2 == 0 ? 1.5f : -0.75f;
        }
        gate[0] = -1e38f, gate[1] = 1e30f, gate[2] = NAN, gate[3] = -88.0f, gate[4] = -200.0f;
        _cleanup_free_ float *x = ink_memdup(gate, n * sizeof(float));
        assert_non_null(x);
        (*k)->silu_mul(gate, up, n);
        guarded_check(gate, n * sizeof(float));
        assert_true(isnan(gate[2]));
        for (size_t i = 0; i < n; i++) {
            double want = x[i] / (1.0 + exp(-(double)x[i])) * up[i];
            if (i != 2)
                assert_true(fabs(gate[i] - want) <= SILU_TOLERANCE * fabs(want) + 1e-36);
        }
    }
}

static void test_kernels_gelu_mul_is_accurate(void **state)
{
    (void)state;
    const size_t n = 20011;
    _cleanup_free_ float *gate = guarded_new(n * sizeof(float));
    _cleanup_free_ float *up = guarded_new(n * sizeof(float));
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t i = 0; i < n; i++) {
            gate[i] = ((float)i - 10000.0f) * 0.0011f;
            up[i] = i % 2 == 0 ? 1.5f : -0.75f;
        }
        gate[0] = -1e38f, gate[1] = 1e30f, gate[2] = NAN, gate[3] = -88.0f, gate[4] = 1e-30f;
        gate[5] = INFINITY;
        _cleanup_free_ float *x = ink_memdup(gate, n * sizeof(float));
        assert_non_null(x);
        (*k)->gelu_mul(gate, up, n);
        guarded_check(gate, n * sizeof(float));
        assert_true(gate[0] == 0 && isnan(gate[2]) && gate[3] == 0 && isinf(gate[5]));
        for (size_t i = 6; i < n; i++) {
            double u = sqrt(2 / acos(-1.0)) * (x[i] + 0.044715 * pow((double)x[i], 3));
            double want = x[i] / (1.0 + exp(-2 * u)) * up[i];
            assert_true(fabs(gate[i] - want) <= GELU_TOLERANCE(u) * fabs(want) + 1e-36);
            float part = x[i], factor = up[i]; /* a tail alone gives the same bits */
            if (i % 97 == 0) {
                (*k)->gelu_mul(&part, &factor, 1);
                assert_true(part == gate[i]);
            }
        }
    }
}

static void test_kernels_add_handles_tails(void **state)
{
    (void)state;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t n = 0; n < 50; n++) {
            _cleanup_free_ float *x = guarded_new(n * sizeof(float));
            float y[50];
            for (size_t i = 0; i < n; i++)
                x[i] = (float)i, y[i] = 0.5f;
            (*k)->add(x, y, n);
            guarded_check(x, n * sizeof(float));
            for (size_t i = 0; i < n; i++)
                assert_true(x[i] == (float)i + 0.5f);
        }
    }
}

static void test_kernels_rope_turns_both_kinds_of_pairs(void **state)
{
    (void)state;
    static const size_t pairs[] = {1, 3, 8, 16, 20, 32, 33, 64};
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t i = 0; i < 16; i++) {
            size_t n = pairs[i / 2];
            bool adjacent = i % 2 == 0;
            _cleanup_free_ float *x = guarded_new(2 * n * sizeof(float));
            float start[128], turn[128];
            for (size_t j = 0; j < n; j++) {
                float angle = random_float(3.0f);
                turn[2 * j] = cosf(angle), turn[2 * j + 1] = sinf(angle);
                x[2 * j] = random_float(1.0f), x[2 * j + 1] = random_float(1.0f);
            }
            memcpy(start, x, 2 * n * sizeof(float));
            (*k)->rope(x, turn, n, adjacent);
            guarded_check(x, 2 * n * sizeof(float));
            for (size_t j = 0; j < n; j++) {
                size_t a = adjacent ? 2 * j : j, b = adjacent ? 2 * j + 1 : j + n;
                float c = turn[2 * j], s = turn[2 * j + 1];
                assert_float_equal(x[a], start[a] * c - start[b] * s, 2e-7f);
                assert_float_equal(x[b], start[b] * c + start[a] * s, 2e-7f);
            }
        }
    }
}

static void test_kernels_store_f16_rounds_and_strides(void **state)
{
    (void)state;
    static const size_t strides[] = {1, 16};
    float x[77];
    for (size_t i = 0; i < 77; i++)
        x[i] = random_float(i % 5 == 0 ? 70000.0f : i % 5 == 1 ? 1e-6f : 2.0f);
    x[20] = 65519.0f, x[25] = -1e30f, x[30] = INFINITY, x[35] = -INFINITY, x[74] = 65536.0f;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t i = 0; i < 2; i++) {
            for (size_t n = 0; n <= 77; n += 7) {
                size_t n_halves = n * strides[i];
                _cleanup_free_ uint16_t *out = guarded_new(n_halves * sizeof(uint16_t));
                (*k)->store_f16(x, n, out, strides[i]);
                guarded_check(out, n_halves * sizeof(uint16_t));
                for (size_t j = 0; j < n_halves; j++) {
                    float value = x[j / strides[i]];
                    uint16_t want = ink_f16_from_f32(value);
                    if ((want & 0x7fff) == 0x7c00) /* the largest that is a number */
                        want--;
                    assert_int_equal(out[j], j % strides[i] == 0 ? want : CANARY * 0x101);
                }
            }
        }
    }
}

/* Broken weights are to be noticed, not stored as a number. */
static void test_kernels_store_f16_keeps_nan(void **state)
{
    (void)state;
    float x[35];
    for (size_t i = 0; i < 35; i++)
        x[i] = i % 3 == 0 ? NAN : 1.0f;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t stride = 1; stride <= 16; stride += 15) {
            uint16_t out[35 * 16];
            (*k)->store_f16(x, 35, out, stride);
            for (size_t i = 0; i < 35; i++)
                assert_int_equal(isnan(ink_f16_to_f32(out[i * stride])) != 0, i % 3 == 0);
        }
    }
}

static void test_kernels_max_reports_nan(void **state)
{
    (void)state;
    float x[100];
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t n = 1; n <= 100; n++) {
            bool all_numbers = false;
            for (size_t i = 0; i < n; i++)
                x[i] = random_float(1.0f) - 2.0f;
            x[n * 7 % n] = -0.5f;
            assert_true((*k)->max(x, n, &all_numbers) == -0.5f);
            assert_true(all_numbers);
            x[n / 2] = NAN;
            (void)(*k)->max(x, n, &all_numbers);
            assert_false(all_numbers);
            for (size_t i = 0; i < n; i++)
                x[i] = -INFINITY;
            assert_true((*k)->max(x, n, &all_numbers) == -INFINITY);
            assert_true(all_numbers);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_rms_norm_agrees),
        cmocka_unit_test(test_kernels_silu_mul_is_accurate),
        cmocka_unit_test(test_kernels_gelu_mul_is_accurate),
        cmocka_unit_test(test_kernels_add_handles_tails),
        cmocka_unit_test(test_kernels_rope_turns_both_kinds_of_pairs),
        cmocka_unit_test(test_kernels_store_f16_rounds_and_strides),
        cmocka_unit_test(test_kernels_store_f16_keeps_nan),
        cmocka_unit_test(test_kernels_max_reports_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
