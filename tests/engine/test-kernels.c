/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Matmuls and quantisation of every kernel table of this machine against the plain C one, and
 * against themselves with the work cut differently: integers to the bit, floats within the
 * tolerances below. */

#include "engine/kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/cleanup.h"
#include "tests/engine/guarded.h"

#define MAX_COLUMNS 33

/* Sums of M float products in another order: M roundings of half an ulp, against the sum of
 * magnitudes. */
#define FLOAT_TOLERANCE   1e-6f
/* Some tens of roundings of half an ulp, of sums that may be larger than the last one. */
#define MEANING_TOLERANCE 2e-6

typedef struct Rows {
    float *x;
    size_t x_stride;
    InkQuantRows quant;
} Rows;

static void rows_done(Rows *rows)
{
    free(rows->x);
    free(rows->quant.blocks);
    free(rows->quant.fine);
}

static void rows_init(Rows *rows, size_t n_rows, size_t n_inputs)
{
    rows->x_stride = (n_inputs + 15) / 16 * 16;
    rows->quant.block_stride = (n_inputs / INK_PACK_K + 15) / 16 * 16;
    rows->quant.fine_stride = n_rows + INK_FINE_PADDING;
    rows->x = guarded_new(n_rows * rows->x_stride * sizeof(float));
    rows->quant.blocks = guarded_new(n_rows * rows->quant.block_stride * sizeof(InkQuantBlock));
    rows->quant.fine = guarded_new(rows->quant.block_stride * rows->quant.fine_stride);
    for (size_t i = 0; i < n_rows * rows->x_stride; i++)
        rows->x[i] = random_float(i % 7 == 0 ? 10.0f : 1.0f);
}

/* Makes a random few blocks of each row fine: none in the first row, `share` of 256 in others. */
static void rows_add_outliers(Rows *rows, size_t n_rows, size_t n_inputs, unsigned share)
{
    for (size_t t = 1; t < n_rows; t++) {
        for (size_t b = 0; b < n_inputs / INK_PACK_K; b++) {
            if (random_bits() % 256 < share)
                rows->x[t * rows->x_stride + b * INK_PACK_K + random_bits() % INK_PACK_K] = 1e3f;
        }
    }
}

static bool is_fine(const Rows *rows, size_t t, size_t b)
{
    uint8_t flag = rows->quant.fine[b * rows->quant.fine_stride + t];
    assert_true(flag == 0 || flag == 0xff);
    return flag != 0;
}

static size_t n_fine(const Rows *rows, size_t n_rows, size_t n_inputs)
{
    size_t n = 0;
    for (size_t t = 0; t < n_rows; t++) {
        for (size_t b = 0; b < n_inputs / INK_PACK_K; b++)
            n += is_fine(rows, t, b);
    }
    return n;
}

static void rows_check(const Rows *rows, size_t n_rows)
{
    guarded_check(rows->quant.blocks, n_rows * rows->quant.block_stride * sizeof(InkQuantBlock));
    guarded_check(rows->quant.fine, rows->quant.block_stride * rows->quant.fine_stride);
}

/* A random tensor of a file, one byte off any alignment. */
static uint8_t *tensor_new(uint32_t type_id, size_t n_outputs, size_t n_inputs, size_t *ret_bytes)
{
    const InkQuantType *type = ink_quant_type(type_id);
    size_t row_bytes;
    assert_true(ink_quant_row_bytes(type, n_inputs, &row_bytes));
    uint8_t *bytes = ink_alloc_array(n_outputs * row_bytes + 1, 1);
    assert_non_null(bytes);
    uint8_t *row = bytes + 1;
    for (size_t i = 0; i < n_outputs * row_bytes; i++)
        row[i] = (uint8_t)(random_bits() >> 11);
    size_t n_halves = type_id == INK_TYPE_Q4_1 || type_id == INK_TYPE_Q4_K ? 2 : 1;
    size_t offset = type_id == INK_TYPE_Q6_K ? offsetof(InkBlockQ6_K, d) : 0;
    for (size_t i = 0; i < n_outputs * row_bytes; i += type->n_block_bytes) {
        float value = random_float(0.5f);
        if (type_id == INK_TYPE_F32) {
            memcpy(row + i, &value, sizeof value);
            continue;
        }
        for (size_t j = 0; j < n_halves; j++, value = random_float(1.0f)) {
            uint16_t half = ink_f16_from_f32(value);
            memcpy(row + i + offset + 2 * j, &half, sizeof half);
        }
    }
    *ret_bytes = row_bytes;
    return bytes;
}

typedef struct Matrix {
    InkPack pack;
    size_t n_outputs, n_inputs, n_groups, n_bytes;
    void *packed;
} Matrix;

static void matrix_done(Matrix *m)
{
    free(m->packed);
}

static void matrix_init(Matrix *m, const InkKernels *kernels, uint32_t type_id, size_t n_outputs,
                        size_t n_inputs)
{
    size_t row_bytes;
    _cleanup_free_ uint8_t *file = tensor_new(type_id, n_outputs, n_inputs, &row_bytes);
    m->pack = ink_quant_type(type_id)->pack;
    m->n_outputs = n_outputs;
    m->n_inputs = n_inputs;
    m->n_groups = (n_outputs + INK_PACK_ROWS - 1) / INK_PACK_ROWS;
    assert_true(ink_kernels_packed_bytes(m->pack, n_outputs, n_inputs, &m->n_bytes));
    m->packed = guarded_new(m->n_bytes);
    kernels->pack[m->pack](file + 1, row_bytes, type_id, n_outputs, n_inputs, 0, m->n_groups,
                           m->packed);
    guarded_check(m->packed, m->n_bytes);
}

static void multiply(const InkKernels *kernels, const Matrix *m, const Rows *rows, size_t n_rows,
                     size_t group_begin, size_t group_end, float *out)
{
    InkMatmulInput input = {.x = rows->x, .x_stride = rows->x_stride, .quant = &rows->quant};
    kernels->matmul[m->pack](m->packed, group_begin, group_end, m->n_inputs, &input, n_rows, out,
                             m->n_groups * INK_PACK_ROWS);
}

static void test_kernels_select_knows_its_tables(void **state)
{
    (void)state;
    const InkKernels *const *tables = ink_kernels_available();
    assert_ptr_equal(tables[0], &ink_kernels_ref);
    size_t n = 0;
    for (; tables[n] != NULL; n++)
        assert_ptr_equal(ink_kernels_select(tables[n]->name), tables[n]);
    assert_ptr_equal(ink_kernels_select(NULL), tables[n - 1]);
    assert_null(ink_kernels_select("sse9"));
    assert_null(ink_kernels_select(""));
}

static void test_kernels_packed_bytes_refuses_what_wraps(void **state)
{
    (void)state;
    size_t n_bytes = 7;
    assert_true(ink_kernels_packed_bytes(INK_PACK_Q4_1, 17, 64, &n_bytes));
    assert_int_equal(n_bytes, 2 * 2 * sizeof(InkPackedQ4_1));
    assert_true(ink_kernels_packed_bytes(INK_PACK_F32, 16, 5, &n_bytes));
    assert_int_equal(n_bytes, 16 * 5 * sizeof(float));
    assert_false(ink_kernels_packed_bytes(INK_PACK_Q8_0, 16, 33, &n_bytes));
    assert_false(ink_kernels_packed_bytes(INK_PACK_Q4_K, 16, 640, &n_bytes));
    assert_false(ink_kernels_packed_bytes(INK_PACK_Q6_K, 16, 128, &n_bytes));
    assert_false(ink_kernels_packed_bytes(INK_PACK_NONE, 16, 32, &n_bytes));
    assert_false(ink_kernels_packed_bytes(INK_PACK_MAX, 16, 32, &n_bytes));
    assert_false(ink_kernels_packed_bytes(INK_PACK_F32, SIZE_MAX, SIZE_MAX, &n_bytes));
    assert_false(ink_kernels_packed_bytes(INK_PACK_Q8_0, SIZE_MAX, 64, &n_bytes));
    assert_int_equal(n_bytes, 16 * 5 * sizeof(float));
}

/* The low four bits of value k of row r. */
static int low_bits(const uint8_t *qs, size_t r, size_t k)
{
    uint8_t byte = qs[k / 4 % 4 * 64 + 4 * r + k % 4];
    return k < 16 ? byte & 0x0f : byte >> 4;
}

static float unpacked_super(const Matrix *m, size_t g, size_t r, size_t k)
{
    size_t b = g * (m->n_inputs / INK_PACK_SUPER) + k / INK_PACK_SUPER;
    size_t p = k % INK_PACK_SUPER / INK_PACK_K;
    k %= INK_PACK_K;
    if (m->pack == INK_PACK_Q4_K) {
        const InkPackedQ4_K *block = (const InkPackedQ4_K *)m->packed + b;
        float d = ink_f16_to_f32(block->d[r]) * (float)block->parts[p].scales[r];
        float min = ink_f16_to_f32(block->dmin[r]) * (float)block->parts[p].mins[r];
        return d * (float)low_bits(block->parts[p].qs, r, k) - min;
    }
    const InkPackedQ6_K *block = (const InkPackedQ6_K *)m->packed + b;
    int upper = block->parts[p].qh[k / 16 * 64 + 4 * r + k % 4] >> 2 * (k / 4 % 4) & 3;
    int q = (low_bits(block->parts[p].qs, r, k) | upper << 4) - 32;
    return ink_f16_to_f32(block->d[r]) * (float)block->parts[p].scales[k / 16][r] * (float)q;
}

/* Value k of row r as the packed form holds it, by the formulas of quant-blocks.h. */
static float unpacked_value(const Matrix *m, size_t row, size_t k)
{
    size_t g = row / INK_PACK_ROWS, r = row % INK_PACK_ROWS;
    size_t b = g * (m->n_inputs / INK_PACK_K) + k / INK_PACK_K;
    if (m->pack == INK_PACK_F32)
        return ((const float *)m->packed)[(g * m->n_inputs + k) * INK_PACK_ROWS + r];
    if (m->pack == INK_PACK_Q4_K || m->pack == INK_PACK_Q6_K)
        return unpacked_super(m, g, r, k);
    k %= INK_PACK_K;
    if (m->pack == INK_PACK_Q8_0) {
        const InkPackedQ8_0 *block = (const InkPackedQ8_0 *)m->packed + b;
        return ink_f16_to_f32(block->d[r]) * (float)block->qs[k / 4 * 64 + 4 * r + k % 4];
    }
    if (m->pack == INK_PACK_Q5_0) {
        const InkPackedQ5_0 *block = (const InkPackedQ5_0 *)m->packed + b;
        int fifth = block->qh[4 * r + k % 4] >> k / 4 & 1;
        return ink_f16_to_f32(block->d[r]) * (float)((low_bits(block->qs, r, k) | fifth << 4) - 16);
    }
    const InkPackedQ4_1 *block = (const InkPackedQ4_1 *)m->packed + b;
    return ink_f16_to_f32(block->d[r]) * (float)low_bits(block->qs, r, k) +
           ink_f16_to_f32(block->m[r]);
}

static void test_kernels_pack_follows_the_layout(void **state)
{
    (void)state;
    static const uint32_t types[] = {INK_TYPE_F32,  INK_TYPE_F16,  INK_TYPE_Q4_1, INK_TYPE_Q8_0,
                                     INK_TYPE_Q5_0, INK_TYPE_Q4_K, INK_TYPE_Q6_K};
    const size_t n_outputs = 37;

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
            const InkQuantType *type = ink_quant_type(types[i]);
            const size_t n_inputs = type->n_block_values == 256 ? 512 : 96;
            __attribute__((cleanup(matrix_done)))
            Matrix m = {.pack = type->pack, .n_inputs = n_inputs};
            size_t row_bytes;
            float values[512];
            _cleanup_free_ uint8_t *file = tensor_new(types[i], n_outputs, n_inputs, &row_bytes);
            assert_true(ink_kernels_packed_bytes(m.pack, n_outputs, n_inputs, &m.n_bytes));
            m.packed = guarded_new(m.n_bytes);
            /* The groups apart and in the wrong order, as threads may do them. */
            for (size_t g = 3; g-- > 0;)
                (*k)->pack[m.pack](file + 1, row_bytes, types[i], n_outputs, n_inputs, g, g + 1,
                                   m.packed);
            guarded_check(m.packed, m.n_bytes);
            for (size_t row = 0; row < 48; row++) {
                memset(values, 0, sizeof values);
                if (row < n_outputs)
                    type->dequantize(file + 1 + row * row_bytes, values, n_inputs);
                for (size_t j = 0; j < n_inputs; j++)
                    assert_true(unpacked_value(&m, row, j) == values[j]);
            }
        }
    }
}

/* One shape: all columns at once, any number of them, and groups apart give the bits of `expected`
 * (ref's, or for floats the table's own result for all columns). */
static void check_shape(const InkKernels *kernels, const Matrix *m, const Rows *rows,
                        const float *expected)
{
    size_t n_row = m->n_groups * INK_PACK_ROWS;
    size_t n_bytes = MAX_COLUMNS * n_row * sizeof(float);
    _cleanup_free_ float *out = guarded_new(n_bytes);

    for (size_t n_rows = 1; n_rows <= MAX_COLUMNS; n_rows++) {
        size_t n_used = n_rows * n_row * sizeof(float);
        memset(out, CANARY, n_bytes);
        multiply(kernels, m, rows, n_rows, 0, 1, out);
        multiply(kernels, m, rows, n_rows, 1, m->n_groups, out);
        assert_memory_equal(out, expected, n_used);
        for (const uint8_t *rest = (uint8_t *)out; n_used < n_bytes; n_used++)
            assert_int_equal(rest[n_used], CANARY);
    }
    guarded_check(out, n_bytes);
}

static void check_matmul_with(uint32_t type_id, size_t n_outputs, size_t n_inputs,
                              unsigned n_outliers)
{
    __attribute__((cleanup(matrix_done))) Matrix m = {0};
    __attribute__((cleanup(rows_done))) Rows rows;
    rows_init(&rows, MAX_COLUMNS, n_inputs);
    rows_add_outliers(&rows, MAX_COLUMNS, n_inputs, n_outliers);
    matrix_init(&m, &ink_kernels_ref, type_id, n_outputs, n_inputs);
    size_t n_values = MAX_COLUMNS * m.n_groups * INK_PACK_ROWS;
    _cleanup_free_ float *expected = guarded_new(n_values * sizeof(float));
    _cleanup_free_ float *own = guarded_new(n_values * sizeof(float));

    ink_kernels_ref.quantize_rows(rows.x, rows.x_stride, 0, MAX_COLUMNS, n_inputs / 32 * 32,
                                  &rows.quant);
    multiply(&ink_kernels_ref, &m, &rows, MAX_COLUMNS, 0, m.n_groups, expected);
    if (n_inputs >= 576 && n_outliers > 0)
        assert_true(n_fine(&rows, MAX_COLUMNS, n_inputs) > 0);
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        if (m.pack != INK_PACK_F32) {
            check_shape(*k, &m, &rows, expected);
            continue;
        }
        multiply(*k, &m, &rows, MAX_COLUMNS, 0, m.n_groups, own);
        check_shape(*k, &m, &rows, own);
        for (size_t i = 0; i < n_values; i++)
            assert_float_equal(own[i], expected[i], FLOAT_TOLERANCE * (float)n_inputs);
    }
}

/* No block fine, and few and many of them: which columns share a tile with a fine block changes
 * with their number. */
static void check_matmul(uint32_t type_id, size_t n_outputs, size_t n_inputs)
{
    check_matmul_with(type_id, n_outputs, n_inputs, 0);
    check_matmul_with(type_id, n_outputs, n_inputs, 8);
    check_matmul_with(type_id, n_outputs, n_inputs, 128);
}

static void test_kernels_matmul_q4_1_is_exact_and_invariant(void **state)
{
    (void)state;
    check_matmul(INK_TYPE_Q4_1, 37, 32);
    check_matmul(INK_TYPE_Q4_1, 48, 64);
    check_matmul(INK_TYPE_Q4_1, 40, 576);
    check_matmul(INK_TYPE_Q4_1, 33, 1536);
}

static void test_kernels_matmul_q8_0_is_exact_and_invariant(void **state)
{
    (void)state;
    check_matmul(INK_TYPE_Q8_0, 37, 32);
    check_matmul(INK_TYPE_Q8_0, 48, 64);
    check_matmul(INK_TYPE_Q8_0, 40, 576);
    check_matmul(INK_TYPE_Q8_0, 33, 1536);
}

static void test_kernels_matmul_q5_0_is_exact_and_invariant(void **state)
{
    (void)state;
    check_matmul(INK_TYPE_Q5_0, 37, 32);
    check_matmul(INK_TYPE_Q5_0, 48, 64);
    check_matmul(INK_TYPE_Q5_0, 40, 640);
    check_matmul(INK_TYPE_Q5_0, 33, 1536);
}

static void test_kernels_matmul_q4_k_is_exact_and_invariant(void **state)
{
    (void)state;
    check_matmul(INK_TYPE_Q4_K, 37, 256);
    check_matmul(INK_TYPE_Q4_K, 48, 1024);
    check_matmul(INK_TYPE_Q4_K, 33, 2048);
}

static void test_kernels_matmul_q6_k_is_exact_and_invariant(void **state)
{
    (void)state;
    check_matmul(INK_TYPE_Q6_K, 37, 256);
    check_matmul(INK_TYPE_Q6_K, 48, 1024);
    check_matmul(INK_TYPE_Q6_K, 33, 2048);
}

static void test_kernels_matmul_float_is_close_and_invariant(void **state)
{
    (void)state;
    check_matmul(INK_TYPE_F32, 37, 32);
    check_matmul(INK_TYPE_F32, 33, 47);
    check_matmul(INK_TYPE_F16, 40, 576);
    check_matmul(INK_TYPE_F16, 33, 1536);
}

/* What is multiplied: the values that dequantize() gives, and the quantised input. */
static void check_meaning(uint32_t type_id)
{
    const size_t n_outputs = 19, n_inputs = 512, n_rows = 3;
    const InkQuantType *type = ink_quant_type(type_id);
    size_t row_bytes, n_bytes;
    __attribute__((cleanup(rows_done))) Rows rows;
    rows_init(&rows, n_rows, n_inputs);
    rows_add_outliers(&rows, n_rows, n_inputs, 40);
    ink_kernels_ref.quantize_rows(rows.x, rows.x_stride, 0, n_rows, n_inputs, &rows.quant);
    _cleanup_free_ uint8_t *file = tensor_new(type_id, n_outputs, n_inputs, &row_bytes);
    assert_true(ink_kernels_packed_bytes(type->pack, n_outputs, n_inputs, &n_bytes));
    _cleanup_free_ void *packed = guarded_new(n_bytes);
    float weights[512], out[3 * 32] __attribute__((aligned(64)));
    InkMatmulInput input = {.quant = &rows.quant};

    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        (*k)->pack[type->pack](file + 1, row_bytes, type_id, n_outputs, n_inputs, 0, 2, packed);
        guarded_check(packed, n_bytes);
        (*k)->matmul[type->pack](packed, 0, 2, n_inputs, &input, n_rows, out, 32);
        for (size_t i = 0; i < n_rows * n_outputs; i++) {
            size_t t = i / n_outputs, row = i % n_outputs;
            double sum = 0, magnitude = 0;
            type->dequantize(file + 1 + row * row_bytes, weights, n_inputs);
            for (size_t j = 0; j < n_inputs; j++) {
                const InkQuantBlock *x =
                    rows.quant.blocks + t * rows.quant.block_stride + j / INK_PACK_K;
                double value = x->d * (x->q[j % INK_PACK_K] + x->lo[j % INK_PACK_K] / 128.0);
                sum += weights[j] * value;
                magnitude += fabs(weights[j] * value);
            }
            assert_true(fabs(out[t * 32 + row] - sum) <= MEANING_TOLERANCE * magnitude);
        }
    }
}

static void test_kernels_matmul_means_the_weights(void **state)
{
    (void)state;
    check_meaning(INK_TYPE_Q4_1);
    check_meaning(INK_TYPE_Q8_0);
    check_meaning(INK_TYPE_Q5_0);
    check_meaning(INK_TYPE_Q4_K);
    check_meaning(INK_TYPE_Q6_K);
}

/* A group of more bytes than a panel of the second-level cache may have. */
static void test_kernels_matmul_is_invariant_across_panels(void **state)
{
    (void)state;
    const size_t n_inputs = 32768, n_rows = MAX_COLUMNS;
    __attribute__((cleanup(rows_done))) Rows rows;
    rows_init(&rows, n_rows, n_inputs);
    rows_add_outliers(&rows, n_rows, n_inputs, 3);
    ink_kernels_ref.quantize_rows(rows.x, rows.x_stride, 0, n_rows, n_inputs, &rows.quant);
    assert_true(n_fine(&rows, n_rows, n_inputs) > n_rows);
    __attribute__((cleanup(matrix_done))) Matrix m = {0};
    matrix_init(&m, &ink_kernels_ref, INK_TYPE_Q4_1, 32, n_inputs);
    _cleanup_free_ float *expected = guarded_new(n_rows * 32 * sizeof(float));
    _cleanup_free_ float *out = guarded_new(n_rows * 32 * sizeof(float));
    multiply(&ink_kernels_ref, &m, &rows, n_rows, 0, 2, expected);
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        multiply(*k, &m, &rows, n_rows, 0, 2, out);
        assert_memory_equal(out, expected, n_rows * 32 * sizeof(float));
        guarded_check(out, n_rows * 32 * sizeof(float));
    }
}

typedef int WeightFn(size_t i);

static int all_max(size_t i)
{
    (void)i;
    return 127;
}

static int all_min(size_t i)
{
    (void)i;
    return -127;
}

static int alternating(size_t i)
{
    return i % 2 == 0 ? 127 : -127;
}

static int alternating_pairs(size_t i)
{
    return i / 2 % 2 == 0 ? 127 : -127;
}

static int hostile(size_t i)
{
    (void)i;
    return -128;
}

/* A file's row of a type with all its integers by `weight` (at most, at least and so on), all
 * scales by `scale` and d = 1, without a minimum. */
static void fill_extreme(uint32_t type_id, WeightFn *weight, WeightFn *scale, uint8_t *row)
{
    InkBlockQ5_0 q5_0 = {.d = 0x3c00};
    InkBlockQ4_K q4_k = {.d = 0x3c00};
    InkBlockQ4_1 q4_1 = {.d = 0x3c00};
    InkBlockQ8_0 q8_0 = {.d = 0x3c00};
    InkBlockQ6_K q6_k = {.d = 0x3c00};
    for (size_t k = 0; k < 32; k++) {
        q8_0.qs[k] = (int8_t)weight(k);
        q5_0.qh[k / 8] |= (uint8_t)((weight(k) > 0) << k % 8);
    }
    for (size_t i = 0; i < sizeof q4_k.qs; i++)
        q4_k.qs[i] = weight(i) > 0 ? 0xff : 0;
    for (size_t i = 0; i < sizeof q6_k.ql; i++)
        q6_k.ql[i] = weight(i) > 0 ? 0xff : 0;
    for (size_t i = 0; i < sizeof q6_k.qh; i++)
        q6_k.qh[i] = weight(i) > 0 ? 0xff : 0;
    for (size_t i = 0; i < sizeof q6_k.scales; i++)
        q6_k.scales[i] = (int8_t)scale(i);
    memcpy(q4_1.qs, q4_k.qs, sizeof q4_1.qs);
    memcpy(q5_0.qs, q4_k.qs, sizeof q5_0.qs);
    for (size_t i = 0; i < 4; i++) {
        q4_k.scales[i] = scale(i) > 0 ? 0xff : 1; /* 63, 49 and 1 */
        q4_k.scales[i + 8] = 1;
    }
    const void *block = type_id == INK_TYPE_Q4_1   ? (void *)&q4_1
                        : type_id == INK_TYPE_Q8_0 ? (void *)&q8_0
                        : type_id == INK_TYPE_Q5_0 ? (void *)&q5_0
                        : type_id == INK_TYPE_Q4_K ? (void *)&q4_k
                                                   : (void *)&q6_k;
    memcpy(row, block, ink_quant_type(type_id)->n_block_bytes);
}

/* Packs 16 such rows and multiplies them with blocks of d = 1: each output is a sum of integer dot
 * products, with `low` in units of 1 / 128; without it the blocks are plain ones. */
static void check_integers(uint32_t type_id, WeightFn *weight, WeightFn *scale,
                           WeightFn *activation, WeightFn *low)
{
    const InkQuantType *type = ink_quant_type(type_id);
    const size_t n_inputs = type->n_block_values, n_blocks = n_inputs / INK_PACK_K;
    uint8_t file[INK_PACK_ROWS * sizeof(InkBlockQ6_K)];
    uint8_t packed[sizeof(InkPackedQ6_K)] __attribute__((aligned(64)));
    InkQuantBlock x[INK_PACK_PARTS] __attribute__((aligned(64)));
    float weights[INK_PACK_SUPER], out[INK_PACK_ROWS] __attribute__((aligned(64)));
    uint8_t fine[INK_PACK_PARTS][1 + INK_FINE_PADDING] = {0};
    double expected = 0;

    for (size_t r = 0; r < INK_PACK_ROWS; r++)
        fill_extreme(type_id, weight, scale, file + r * type->n_block_bytes);
    type->dequantize(file, weights, n_inputs);
    for (size_t b = 0; b < n_blocks; b++) {
        x[b] = (InkQuantBlock){.d = 1.0f};
        fine[b][0] = low != NULL ? 0xff : 0;
        for (size_t k = 0; k < INK_PACK_K; k++) {
            x[b].q[k] = (int8_t)activation(k);
            x[b].lo[k] = low != NULL ? (int8_t)(low(k) > 0 ? 64 : -64) : 0;
            x[b].bias[k % 4 / 2] -= (int16_t)(16 * x[b].q[k]);
            x[b].bias[2 + k % 4 / 2] -= (int16_t)(k < 16 ? 32 * x[b].q[k] : 0);
            x[b].bias_lo[k % 4 / 2] -= (int16_t)(16 * x[b].lo[k]);
            x[b].bias_lo[2 + k % 4 / 2] -= (int16_t)(k < 16 ? 32 * x[b].lo[k] : 0);
            expected += weights[b * INK_PACK_K + k] * (x[b].q[k] + x[b].lo[k] / 128.0);
        }
    }
    InkQuantRows quant = {x, fine[0], 16, sizeof fine[0]};
    InkMatmulInput input = {.quant = &quant};
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        (*k)->pack[type->pack](file, type->n_block_bytes, type_id, INK_PACK_ROWS, n_inputs, 0, 1,
                               packed);
        (*k)->matmul[type->pack](packed, 0, 1, n_inputs, &input, 1, out, INK_PACK_ROWS);
        for (size_t r = 0; r < INK_PACK_ROWS; r++)
            assert_true(fabs(out[r] - expected) <= fabs(expected) * 0x1p-22);
        if (n_blocks == 1)
            assert_true(out[0] == (float)expected);
    }
}

static void test_kernels_matmul_never_saturates(void **state)
{
    (void)state;
    static const uint32_t types[] = {INK_TYPE_Q4_1, INK_TYPE_Q8_0, INK_TYPE_Q5_0, INK_TYPE_Q4_K,
                                     INK_TYPE_Q6_K};
    WeightFn *const patterns[] = {all_max, all_min, alternating, alternating_pairs, hostile};
    for (size_t i = 0; i < 5 * 5 * 5 * 4; i++) {
        uint32_t type = types[i % 5];
        WeightFn *weight = patterns[i / 5 % 5], *scale = patterns[i / 25 % 5];
        WeightFn *activation = patterns[i / 125]; /* activations are never -128 */
        check_integers(type, weight, scale, activation, NULL);
        for (size_t low = 0; low < 4; low++)
            check_integers(type, weight, scale, activation, patterns[low]);
    }
}

static void test_kernels_matmul_carries_nan_of_one_row_only(void **state)
{
    (void)state;
    static const uint32_t types[] = {INK_TYPE_F32,  INK_TYPE_Q4_1, INK_TYPE_Q8_0,
                                     INK_TYPE_Q5_0, INK_TYPE_Q4_K, INK_TYPE_Q6_K};
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        for (size_t i = 0; i < 6; i++) {
            __attribute__((cleanup(rows_done))) Rows rows;
            rows_init(&rows, 3, 256);
            rows.x[rows.x_stride + 40] = NAN;
            (*k)->quantize_rows(rows.x, rows.x_stride, 0, 3, 256, &rows.quant);
            __attribute__((cleanup(matrix_done))) Matrix m = {0};
            matrix_init(&m, *k, types[i], 16, 256);
            float out[3 * 16] __attribute__((aligned(64)));
            multiply(*k, &m, &rows, 3, 0, 1, out);
            for (size_t r = 0; r < 16; r++) {
                assert_false(isnan(out[r]));
                assert_true(isnan(out[16 + r]));
                assert_false(isnan(out[32 + r]));
            }
        }
    }
}

/* Rows of special blocks: zero, tiny, huge, ties, not finite. */
static void fill_special(float *x, size_t n_inputs)
{
    memset(x, 0, n_inputs * sizeof *x);
    x[32] = 1e-42f;
    x[64] = 3e38f, x[65] = -3e38f, x[66] = 1e37f;
    for (size_t i = 0; i < 32; i++)
        x[96 + i] = (float)i + 0.5f;
    x[96] = -127.0f;
    x[128] = INFINITY;
    x[160] = NAN;
    x[192] = 1.1e-30f, x[193] = -1e-31f;
    x[224] = -0.0f;
}

static void check_same_blocks(const Rows *rows, const Rows *expected, size_t n_rows)
{
    const InkQuantRows *a = &rows->quant, *b = &expected->quant;
    assert_memory_equal(a->fine, b->fine, a->block_stride * a->fine_stride);
    for (size_t i = 0; i < n_rows * a->block_stride; i++) {
        InkQuantBlock block = a->blocks[i];
        if (isnan(b->blocks[i].d)) { /* a NaN's sign is free */
            assert_true(isnan(block.d) && isnan(block.d_sum));
            block.d = b->blocks[i].d;
            block.d_sum = b->blocks[i].d_sum;
        }
        assert_memory_equal(&block, &b->blocks[i], sizeof block);
    }
}

static void test_kernels_quantize_rows_is_the_same_on_every_table(void **state)
{
    (void)state;
    const size_t n_rows = 5, n_inputs = 288;
    __attribute__((cleanup(rows_done))) Rows expected;
    rows_init(&expected, n_rows, n_inputs);
    fill_special(expected.x + expected.x_stride, n_inputs);
    ink_kernels_ref.quantize_rows(expected.x, expected.x_stride, 0, n_rows, n_inputs,
                                  &expected.quant);
    rows_check(&expected, n_rows);
    const InkQuantBlock *special = expected.quant.blocks + expected.quant.block_stride;
    assert_true(special[0].d == 0 && special[1].d == 0 && special[2].d > 0);
    assert_true(isnan(special[4].d) && isnan(special[5].d) && special[6].d > 0);
    assert_int_equal(special[3].q[0], -127);
    assert_int_equal(special[3].q[1], 2); /* 1.5 to even */
    assert_int_equal(special[3].q[2], 2); /* 2.5 to even */
    for (size_t b = 0; b < n_inputs / INK_PACK_K; b++)
        assert_false(is_fine(&expected, 1, b)); /* its mean square is not finite */

    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        __attribute__((cleanup(rows_done))) Rows rows;
        rows_init(&rows, n_rows, n_inputs);
        memcpy(rows.x, expected.x, n_rows * rows.x_stride * sizeof(float));
        (*k)->quantize_rows(rows.x, rows.x_stride, 2, n_rows, n_inputs, &rows.quant);
        (*k)->quantize_rows(rows.x, rows.x_stride, 0, 2, n_inputs, &rows.quant);
        rows_check(&rows, n_rows);
        check_same_blocks(&rows, &expected, n_rows);
    }
}

/* From rows with none to rows with most blocks fine: the threshold is a sum of
 * floats, whose last bit decides about a block. */
static void test_kernels_quantize_rows_finds_the_same_fine_blocks(void **state)
{
    (void)state;
    const size_t n_rows = 33, n_inputs = 4256;
    for (unsigned n_outliers = 0; n_outliers < 256; n_outliers += 50) {
        __attribute__((cleanup(rows_done))) Rows expected;
        rows_init(&expected, n_rows, n_inputs);
        rows_add_outliers(&expected, n_rows, n_inputs, n_outliers);
        ink_kernels_ref.quantize_rows(expected.x, expected.x_stride, 0, n_rows, n_inputs,
                                      &expected.quant);
        if (n_outliers > 0)
            assert_true(n_fine(&expected, n_rows, n_inputs) > n_rows);
        for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
            __attribute__((cleanup(rows_done))) Rows rows;
            rows_init(&rows, n_rows, n_inputs);
            memcpy(rows.x, expected.x, n_rows * rows.x_stride * sizeof(float));
            (*k)->quantize_rows(rows.x, rows.x_stride, 0, n_rows, n_inputs, &rows.quant);
            check_same_blocks(&rows, &expected, n_rows);
        }
    }
}

/* What kernels.h promises: which blocks are fine, and how far a value is from what stands for it.
 */
static void test_kernels_quantize_rows_keeps_its_promises(void **state)
{
    (void)state;
    const size_t n_rows = 8, n_inputs = 1536;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        __attribute__((cleanup(rows_done))) Rows rows;
        rows_init(&rows, n_rows, n_inputs);
        rows_add_outliers(&rows, n_rows, n_inputs, 20);
        (*k)->quantize_rows(rows.x, rows.x_stride, 0, n_rows, n_inputs, &rows.quant);
        for (size_t t = 0; t < n_rows; t++) {
            const float *x = rows.x + t * rows.x_stride;
            double squares = 0;
            for (size_t i = 0; i < n_inputs; i++)
                squares += (double)x[i] * x[i];
            double threshold = INK_FINE_KAPPA * sqrt(squares / (double)n_inputs);
            for (size_t b = 0; b < n_inputs / INK_PACK_K; b++) {
                const InkQuantBlock *block = &rows.quant.blocks[t * rows.quant.block_stride + b];
                bool fine = is_fine(&rows, t, b);
                double unit = block->d / (fine ? 128 : 1), largest = 0;
                int sum = 0, sum_lo = 0;
                int16_t bias[4] = {0}, bias_lo[4] = {0};
                for (size_t i = 0; i < INK_PACK_K; i++) {
                    double value = block->d * (block->q[i] + block->lo[i] / 128.0);
                    assert_true(fabs(x[b * INK_PACK_K + i] - value) <= 0.502 * unit);
                    assert_true(abs(block->q[i]) <= 127 && abs(block->lo[i]) <= 64);
                    assert_true(fine || block->lo[i] == 0);
                    largest = fmax(largest, fabs(x[b * INK_PACK_K + i]));
                    sum += block->q[i];
                    sum_lo += block->lo[i];
                    bias[i % 4 / 2] -= (int16_t)(16 * block->q[i]);
                    bias[2 + i % 4 / 2] -= (int16_t)(i < 16 ? 32 * block->q[i] : 0);
                    bias_lo[i % 4 / 2] -= (int16_t)(16 * block->lo[i]);
                    bias_lo[2 + i % 4 / 2] -= (int16_t)(i < 16 ? 32 * block->lo[i] : 0);
                }
                if (fabs(largest / threshold - 1) > 1e-5)
                    assert_int_equal(fine, largest > threshold);
                assert_memory_equal(block->bias, bias, sizeof bias);
                assert_memory_equal(block->bias_lo, bias_lo, sizeof bias_lo);
                assert_true(block->d_sum == (float)(block->d * (sum + sum_lo / 128.0)));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_select_knows_its_tables),
        cmocka_unit_test(test_kernels_packed_bytes_refuses_what_wraps),
        cmocka_unit_test(test_kernels_pack_follows_the_layout),
        cmocka_unit_test(test_kernels_matmul_q4_1_is_exact_and_invariant),
        cmocka_unit_test(test_kernels_matmul_q8_0_is_exact_and_invariant),
        cmocka_unit_test(test_kernels_matmul_q5_0_is_exact_and_invariant),
        cmocka_unit_test(test_kernels_matmul_q4_k_is_exact_and_invariant),
        cmocka_unit_test(test_kernels_matmul_q6_k_is_exact_and_invariant),
        cmocka_unit_test(test_kernels_matmul_means_the_weights),
        cmocka_unit_test(test_kernels_matmul_float_is_close_and_invariant),
        cmocka_unit_test(test_kernels_matmul_is_invariant_across_panels),
        cmocka_unit_test(test_kernels_matmul_never_saturates),
        cmocka_unit_test(test_kernels_matmul_carries_nan_of_one_row_only),
        cmocka_unit_test(test_kernels_quantize_rows_is_the_same_on_every_table),
        cmocka_unit_test(test_kernels_quantize_rows_finds_the_same_fine_blocks),
        cmocka_unit_test(test_kernels_quantize_rows_keeps_its_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
