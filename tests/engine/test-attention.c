/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The attention kernel of every table against a softmax in double precision, and against itself
 * with rows cut into calls differently. */

#include "engine/kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"

#define MAX_BLOCKS 24
#define STALE      0x7b00 /* 57,344: what a slot that was never written may hold */
#define CANARY     0xa5
/* Weights are within 2e-7, and some hundred products are summed in f32. */
#define TOLERANCE  4e-6

static uint32_t random_state = 1;

static float random_float(float scale)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return ((float)(random_state >> 8) * 0x1p-23f - 1.0f) * scale;
}

typedef struct Case {
    InkAttention a;
    const uint16_t *k_blocks[MAX_BLOCKS];
    const uint16_t *v_blocks[MAX_BLOCKS];
    uint16_t *storage; /* all blocks */
    float *q;
    float *out;
    size_t n_out;
} Case;

static void case_done(Case *c)
{
    free(c->storage);
    free(c->q);
    free(c->out);
}

/* Keys beyond the last row's position hold STALE. */
static void case_init(Case *c, size_t head_size, size_t n_heads, size_t n_rows, size_t position)
{
    size_t n_positions = position + n_rows;
    size_t n_blocks = (n_positions + INK_KV_BLOCK - 1) / INK_KV_BLOCK;
    size_t n_block = head_size * INK_KV_BLOCK;
    size_t stride = head_size * n_heads + 16;
    assert_in_range(n_blocks, 1, MAX_BLOCKS);

    memset(c, 0, sizeof *c);
    c->storage = ink_alloc_aligned(2 * n_blocks * n_block * sizeof(uint16_t));
    c->n_out = n_rows * stride;
    c->q = ink_alloc_aligned(c->n_out * sizeof(float));
    c->out = ink_alloc_aligned(c->n_out * sizeof(float));
    assert_true(c->storage != NULL && c->q != NULL && c->out != NULL);
    for (size_t b = 0; b < n_blocks; b++) {
        uint16_t *k = c->storage + 2 * b * n_block, *v = k + n_block;
        c->k_blocks[b] = k;
        c->v_blocks[b] = v;
        for (size_t i = 0; i < n_block; i++) {
            size_t k_position = b * INK_KV_BLOCK + i % INK_KV_BLOCK;
            size_t v_position = b * INK_KV_BLOCK + i / head_size;
            k[i] = k_position < n_positions ? ink_f16_from_f32(random_float(2.0f)) : STALE;
            v[i] = v_position < n_positions ? ink_f16_from_f32(random_float(1.0f)) : STALE;
        }
    }
    for (size_t i = 0; i < c->n_out; i++)
        c->q[i] = random_float(1.0f);
    c->a = (InkAttention){.k_blocks = c->k_blocks,
                          .v_blocks = c->v_blocks,
                          .head_size = head_size,
                          .n_heads_per_kv = n_heads,
                          .scale = 1.0f / sqrtf((float)head_size),
                          .q = c->q,
                          .q_stride = stride,
                          .out = c->out,
                          .out_stride = stride,
                          .n_rows = n_rows,
                          .first_position = position};
}

/* The first position that row t sees. */
static size_t first_key(const InkAttention *a, size_t t)
{
    size_t n_keys = a->first_position + t + 1;
    return a->window > 0 && n_keys > a->window ? n_keys - a->window : 0;
}

/* Plain softmax of one query in double precision. */
static void expect_query(const InkAttention *a, size_t t, size_t h, double *out)
{
    const float *q = a->q + t * a->q_stride + h * a->head_size;
    double weights[MAX_BLOCKS * INK_KV_BLOCK], max = -INFINITY, sum = 0;
    size_t n_keys = a->first_position + t + 1;

    for (size_t key = first_key(a, t); key < n_keys; key++) {
        const uint16_t *k = a->k_blocks[key / INK_KV_BLOCK] + key % INK_KV_BLOCK;
        weights[key] = 0;
        for (size_t s = 0; s < a->head_size; s++)
            weights[key] += (double)q[s] * ink_f16_to_f32(k[s * INK_KV_BLOCK]) * a->scale;
        max = fmax(max, weights[key]);
    }
    memset(out, 0, a->head_size * sizeof *out);
    for (size_t key = first_key(a, t); key < n_keys; key++) {
        const uint16_t *v = a->v_blocks[key / INK_KV_BLOCK] + key % INK_KV_BLOCK * a->head_size;
        double weight = exp(weights[key] - max);
        sum += weight;
        for (size_t s = 0; s < a->head_size; s++)
            out[s] += weight * ink_f16_to_f32(v[s]);
    }
    for (size_t s = 0; s < a->head_size; s++)
        out[s] /= sum;
}

static void check_result(const Case *c)
{
    const InkAttention *a = &c->a;
    double expected[512];
    size_t n_used = a->head_size * a->n_heads_per_kv;

    for (size_t t = 0; t < a->n_rows; t++) {
        for (size_t h = 0; h < a->n_heads_per_kv; h++) {
            const float *out = c->out + t * a->out_stride + h * a->head_size;
            expect_query(a, t, h, expected);
            for (size_t s = 0; s < a->head_size; s++) {
                if (!(fabs(out[s] - expected[s]) <= TOLERANCE))
                    fail_msg("row %zu head %zu value %zu: %.9g, expected %.9g", t, h, s,
                             (double)out[s], expected[s]);
            }
        }
        const uint8_t *gap = (const uint8_t *)(c->out + t * a->out_stride + n_used);
        for (size_t i = 0; i < 16 * sizeof(float); i++)
            assert_int_equal(gap[i], CANARY);
    }
}

/* The same rows in calls of n_each rows give the same bits. */
static void check_cut(const InkKernels *kernels, const Case *c, size_t n_each)
{
    _cleanup_free_ float *out = ink_alloc_aligned(c->n_out * sizeof(float));
    assert_non_null(out);
    memset(out, CANARY, c->n_out * sizeof(float));
    for (size_t t = 0; t < c->a.n_rows; t += n_each) {
        InkAttention part = c->a;
        part.q += t * part.q_stride;
        part.out = out + t * part.out_stride;
        part.n_rows = c->a.n_rows - t < n_each ? c->a.n_rows - t : n_each;
        part.first_position += t;
        kernels->attention(&part);
    }
    assert_memory_equal(out, c->out, c->n_out * sizeof(float));
}

static void check_window(size_t head_size, size_t n_heads, size_t n_rows, size_t position,
                         size_t window)
{
    __attribute__((cleanup(case_done))) Case c;
    case_init(&c, head_size, n_heads, n_rows, position);
    c.a.window = window;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        memset(c.out, CANARY, c.n_out * sizeof(float));
        (*k)->attention(&c.a);
        check_result(&c);
        check_cut(*k, &c, 1);
        check_cut(*k, &c, 7);
    }
}

static void check_case(size_t head_size, size_t n_heads, size_t n_rows, size_t position)
{
    check_window(head_size, n_heads, n_rows, position, 0);
}

static void test_attention_rows_agree_whatever_their_number(void **state)
{
    (void)state;
    for (size_t n_rows = 1; n_rows <= 40; n_rows++)
        check_case(64, 3, n_rows, n_rows % 3 * 11);
}

static void test_attention_positions_around_blocks_and_chunks(void **state)
{
    (void)state;
    static const size_t positions[] = {0, 1, 14, 15, 16, 17, 31, 47, 48, 63, 64, 65, 127, 200, 319};
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        check_case(16, 1, 2, positions[i]);
        check_case(64, 3, 2, positions[i]);
        check_case(128, 3, 1, positions[i]);
    }
}

static void test_attention_head_sizes_and_groups(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 48, 64, 80, 96, 128, 256, 512};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t n_heads = 1; n_heads <= 9; n_heads += n_heads < 4 ? 1 : 5)
            check_case(sizes[i], n_heads, 3, 30);
    }
}

/* Rows before, at and behind the window's edge, one and several in a job, that cross blocks. */
static void test_attention_window_edges(void **state)
{
    (void)state;
    static const size_t windows[] = {1, 2, 15, 16, 17, 33, 64, 65, 100, 128, SIZE_MAX};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        size_t w = windows[i] < 150 ? windows[i] : 150;
        const size_t positions[] = {0, w - 1, w, w + 1, w + 14, 2 * w, 2 * w + 47};
        for (size_t j = 0; j < sizeof positions / sizeof positions[0]; j++) {
            check_window(64, 1, 1, positions[j], windows[i]);
            check_window(16, 4, 35, positions[j] < 2 ? 0 : positions[j] - 2, windows[i]);
        }
    }
    check_window(256, 4, 3, 300, 200); /* Gemma's heads */
}

/* A window as long as the row's past changes no bit of what no window gives. */
static void test_attention_wide_window_is_none(void **state)
{
    (void)state;
    __attribute__((cleanup(case_done))) Case c;
    case_init(&c, 64, 3, 40, 85);
    _cleanup_free_ float *all = ink_alloc_aligned(c.n_out * sizeof(float));
    assert_non_null(all);
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        c.a.window = 0;
        memset(c.out, CANARY, c.n_out * sizeof(float));
        (*k)->attention(&c.a);
        memcpy(all, c.out, c.n_out * sizeof(float));
        c.a.window = 125;
        memset(c.out, CANARY, c.n_out * sizeof(float));
        (*k)->attention(&c.a);
        assert_memory_equal(all, c.out, c.n_out * sizeof(float));
    }
}

/* Blocks that the header calls not looked at are not there. */
static void test_attention_window_skips_blocks(void **state)
{
    (void)state;
    static const size_t windows[] = {1, 16, 17, 40, 100};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        __attribute__((cleanup(case_done))) Case c;
        case_init(&c, 64, 3, 20, 300);
        c.a.window = windows[i];
        size_t first = (300 / INK_KV_BLOCK * INK_KV_BLOCK + 1 - windows[i]) / INK_KV_BLOCK;
        for (size_t b = 0; b < first; b++)
            c.k_blocks[b] = c.v_blocks[b] = NULL;
        for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
            memset(c.out, CANARY, c.n_out * sizeof(float));
            (*k)->attention(&c.a);
            check_result(&c);
        }
    }
}

/* What lies in slots after a row's position has no part in its result, not one bit. */
static void test_attention_masked_keys_weigh_nothing(void **state)
{
    (void)state;
    __attribute__((cleanup(case_done))) Case c;
    case_init(&c, 64, 3, 20, 40);
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        InkAttention first = c.a;
        first.n_rows = 3; /* positions 40 .. 42; their block holds more keys */
        _cleanup_free_ float *before = ink_alloc_aligned(c.n_out * sizeof(float));
        assert_non_null(before);
        first.out = before;
        (*k)->attention(&first);
        _cleanup_free_ uint16_t *kept = ink_memdup(c.k_blocks[2], 64 * 16 * sizeof(uint16_t));
        assert_non_null(kept);
        uint16_t *keys = (uint16_t *)c.k_blocks[2], *values = (uint16_t *)c.v_blocks[2];
        for (size_t key = 43 % 16; key < 16; key++) {
            for (size_t s = 0; s < 64; s++)
                keys[s * 16 + key] = values[key * 64 + s] = STALE;
        }
        _cleanup_free_ float *after = ink_alloc_aligned(c.n_out * sizeof(float));
        assert_non_null(after);
        first.out = after;
        (*k)->attention(&first);
        assert_memory_equal(before, after, c.n_out * sizeof(float));
        memcpy(keys, kept, 64 * 16 * sizeof(uint16_t));
    }
}

/* Scores far apart: the winner takes all, exactly, and nothing overflows on the way. */
static void test_attention_extreme_scores(void **state)
{
    (void)state;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        __attribute__((cleanup(case_done))) Case c;
        case_init(&c, 64, 1, 1, 150);
        for (size_t s = 0; s < 64; s++)
            c.q[s] = 1000.0f;
        for (size_t b = 0; b < 10; b++) {
            for (size_t i = 0; i < 64 * 16; i++)
                ((uint16_t *)c.k_blocks[b])[i] = ink_f16_from_f32(b * 16 + i % 16 == 77 ? 900 : -9);
        }
        (*k)->attention(&c.a);
        for (size_t s = 0; s < 64; s++)
            assert_true(c.out[s] == ink_f16_to_f32(c.v_blocks[4][13 * 64 + s]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_rows_agree_whatever_their_number),
        cmocka_unit_test(test_attention_positions_around_blocks_and_chunks),
        cmocka_unit_test(test_attention_head_sizes_and_groups),
        cmocka_unit_test(test_attention_window_edges),
        cmocka_unit_test(test_attention_wide_window_is_none),
        cmocka_unit_test(test_attention_window_skips_blocks),
        cmocka_unit_test(test_attention_masked_keys_weigh_nothing),
        cmocka_unit_test(test_attention_extreme_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
