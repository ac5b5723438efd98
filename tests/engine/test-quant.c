/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/cleanup.h"

#define MAX_VALUES 256
#define MAX_BYTES  (MAX_VALUES * sizeof(float))

/* A half by its definition, apart from the code under test. */
static double value_of_half(uint16_t half)
{
    int exponent = half >> 10 & 0x1f;
    int mantissa = half & 0x3ff;
    double value = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return (half & 0x8000) != 0 ? -value : value;
}

static void test_quant_f16_to_f32_is_right_for_all_halves(void **state)
{
    (void)state;
    for (uint32_t half = 0; half <= 0xffff; half++) {
        float value = ink_f16_to_f32((uint16_t)half);
        assert_int_equal(signbit(value) != 0, half >> 15);
        if ((half & 0x7c00) != 0x7c00) {
            assert_true(value == value_of_half((uint16_t)half));
            assert_int_equal(ink_f16_from_f32(value), half);
        } else if ((half & 0x3ff) == 0) {
            assert_true(isinf(value));
            assert_int_equal(ink_f16_from_f32(value), half);
        } else {
            assert_true(isnan(value));
            assert_true(isnan(ink_f16_to_f32(ink_f16_from_f32(value))));
        }
    }
}

/* Between each two neighbouring halves: just below, at, and just above the middle. */
static void test_quant_f16_from_f32_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7c00; half++) {
        double low = value_of_half((uint16_t)half);
        double high = half + 1 == 0x7c00 ? 65536.0 : value_of_half((uint16_t)(half + 1));
        float middle = (float)((low + high) / 2);
        assert_true(middle == (low + high) / 2);
        uint32_t even = half + (half & 1);
        assert_int_equal(ink_f16_from_f32(middle), even);
        assert_int_equal(ink_f16_from_f32(-middle), even | 0x8000);
        assert_int_equal(ink_f16_from_f32(nextafterf(middle, 0)), half);
        assert_int_equal(ink_f16_from_f32(nextafterf(middle, INFINITY)), half + 1);
    }
    assert_int_equal(ink_f16_from_f32(65519.0f), 0x7bff);
    assert_int_equal(ink_f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(ink_f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(ink_f16_from_f32(1e-30f), 0);
    assert_int_equal(ink_f16_from_f32(-1e-45f), 0x8000);
}

static void test_quant_type_table_knows_its_rows(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *name;
        size_t n_bytes; /* of 256 values */
        InkPack pack;
    } rows[] = {
        {INK_TYPE_F32, "F32", 1024, INK_PACK_F32},   {INK_TYPE_F16, "F16", 512, INK_PACK_F32},
        {INK_TYPE_Q4_1, "Q4_1", 160, INK_PACK_Q4_1}, {INK_TYPE_Q5_0, "Q5_0", 176, INK_PACK_Q5_0},
        {INK_TYPE_Q8_0, "Q8_0", 272, INK_PACK_Q8_0}, {INK_TYPE_Q4_K, "Q4_K", 144, INK_PACK_Q4_K},
        {INK_TYPE_Q6_K, "Q6_K", 210, INK_PACK_Q6_K},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const InkQuantType *type = ink_quant_type(rows[i].id);
        size_t n_bytes;
        assert_non_null(type);
        assert_int_equal(type->id, rows[i].id);
        assert_string_equal(type->name, rows[i].name);
        assert_int_equal(type->pack, rows[i].pack);
        assert_true(ink_quant_row_bytes(type, 256, &n_bytes));
        assert_int_equal(n_bytes, rows[i].n_bytes);
    }
    assert_null(ink_quant_type(2));
    assert_null(ink_quant_type(13));
    assert_null(ink_quant_type(UINT32_MAX));
}

static void test_quant_row_bytes_refuses_odd_and_wrapping_sizes(void **state)
{
    (void)state;
    size_t n_bytes = 7;
    const InkQuantType *q4_1 = ink_quant_type(INK_TYPE_Q4_1);
    assert_false(ink_quant_row_bytes(q4_1, 33, &n_bytes));
    assert_false(ink_quant_row_bytes(q4_1, 31, &n_bytes));
    assert_false(ink_quant_row_bytes(ink_quant_type(INK_TYPE_Q4_K), 640, &n_bytes));
    assert_false(ink_quant_row_bytes(ink_quant_type(INK_TYPE_Q6_K), 128, &n_bytes));
    assert_false(ink_quant_row_bytes(ink_quant_type(INK_TYPE_F32), UINT64_MAX, &n_bytes));
    assert_false(ink_quant_row_bytes(ink_quant_type(INK_TYPE_F16), UINT64_MAX / 2 + 1, &n_bytes));
    assert_int_equal(n_bytes, 7);
    assert_true(ink_quant_row_bytes(q4_1, 0, &n_bytes));
    assert_int_equal(n_bytes, 0);
}

static size_t bytes_of_hex(const char *hex, uint8_t *bytes, size_t n_max)
{
    size_t n = 0;
    for (; hex[0] != '\0' && hex[1] != '\0' && n < n_max; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        bytes[n++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    assert_int_equal(hex[0], '\0');
    return n;
}

static void test_quant_dequantize_equals_the_gguf_package(void **state)
{
    (void)state;
    char path[4096], blocks_hex[2 * MAX_BYTES + 1], values_hex[2 * MAX_BYTES + 1];
    const char *root = getenv("INKLING_SOURCE_DIR");
    (void)snprintf(path, sizeof path, "%s/tests/data/quant-golden.txt", root != NULL ? root : ".");
    _cleanup_fclose_ FILE *file = fopen(path, "r");
    assert_non_null(file);
    unsigned id, n_values, n_lines = 0;
    while (fscanf(file, "%u %u %2048s %2048s", &id, &n_values, blocks_hex, values_hex) == 4) {
        uint8_t blocks[MAX_BYTES + 1], expected[MAX_BYTES];
        float values[MAX_VALUES + 1];
        size_t row_bytes;
        const InkQuantType *type = ink_quant_type(id);
        assert_non_null(type);
        assert_in_range(n_values, 1, MAX_VALUES);
        assert_true(ink_quant_row_bytes(type, n_values, &row_bytes));
        /* One byte off, as a tensor in a mapped file may lie. */
        assert_int_equal(bytes_of_hex(blocks_hex, blocks + 1, MAX_BYTES), row_bytes);
        assert_int_equal(bytes_of_hex(values_hex, expected, MAX_BYTES), n_values * sizeof(float));
        values[n_values] = -77.0f;
        type->dequantize(blocks + 1, values, n_values);
        assert_memory_equal(values, expected, n_values * sizeof(float));
        assert_true(values[n_values] == -77.0f);
        n_lines++;
    }
    assert_int_equal(n_lines, 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quant_f16_to_f32_is_right_for_all_halves),
        cmocka_unit_test(test_quant_f16_from_f32_rounds_to_nearest_even),
        cmocka_unit_test(test_quant_type_table_knows_its_rows),
        cmocka_unit_test(test_quant_row_bytes_refuses_odd_and_wrapping_sizes),
        cmocka_unit_test(test_quant_dequantize_equals_the_gguf_package),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
