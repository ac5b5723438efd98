/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What a family reads from the metadata, key by key: defaults by architecture, both spellings of a
 * key, and the refusal of what would change the numbers. */
#include "engine/architecture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/engine/gguf-builder.h"

typedef enum Kind { NUMBER, REAL, TEXT, FLAGS } Kind;

/* One metadata key; of a FLAGS key `number` is how many, each true but every third. */
typedef struct Key {
    const char *name;
    Kind kind;
    uint32_t number;
    float real;
    const char *text;
} Key;

static void build_one_key(InkBuffer *b, const Key *k)
{
    if (k->kind == TEXT) {
        build_key_text(b, k->name, k->text);
    } else if (k->kind == REAL) {
        build_key(b, k->name, INK_GGUF_F32);
        ink_buffer_append(b, &k->real, sizeof(k->real));
    } else if (k->kind == FLAGS) {
        build_key_array(b, k->name, INK_GGUF_BOOL, k->number);
        for (uint32_t i = 0; i < k->number; i++)
            build_u8(b, i % 3 != 2);
    } else {
        build_key_u32(b, k->name, k->number);
    }
}

/* The shape of Gemma 3 270M with `n_layers`, and `more` keys. */
static int read_with_heads(const char *family, uint32_t n_layers, uint32_t n_heads, const Key *more,
                           size_t n_more, InkHyper *ret, InkError *reterr)
{
    _cleanup_(ink_buffer_done) InkBuffer b = INK_BUFFER_INIT;
    char names[7][64];
    static const char *const keys[7] = {"block_count",          "context_length",
                                        "embedding_length",     "feed_forward_length",
                                        "attention.head_count", "attention.head_count_kv",
                                        "attention.key_length"};
    const uint32_t values[7] = {n_layers, 32768, 640, 2048, n_heads, 1, 256};
    build_header(&b, 3, 1, 9 + n_more);
    build_key_text(&b, "general.architecture", family);
    for (size_t i = 0; i < 7; i++) {
        snprintf(names[i], sizeof(names[i]), "%s.%s", family, keys[i]);
        build_key_u32(&b, names[i], values[i]);
    }
    char epsilon[64];
    snprintf(epsilon, sizeof(epsilon), "%s.attention.layer_norm_rms_epsilon", family);
    build_one_key(&b, &(Key){epsilon, REAL, 0, 1e-6f, NULL});
    for (size_t i = 0; i < n_more; i++)
        build_one_key(&b, &more[i]);
    const uint64_t dims[] = {640, 3};
    build_tensor(&b, "token_embd.weight", 2, dims, 0, 0);
    build_padding(&b, 32);
    build_zeros(&b, 640 * 3 * sizeof(float));

    _cleanup_(ink_gguf_close_p) InkGguf *g = NULL;
    const InkArchitecture *a = NULL;
    assert_int_equal(ink_gguf_open(b.data, b.size_bytes, &g, reterr), 0);
    assert_int_equal(ink_architecture_find(g, &a, reterr), 0);
    assert_string_equal(a->name, family);
    return ink_architecture_read_hyper(a, g, ret, reterr);
}

static int read_with(const char *family, uint32_t n_layers, const Key *more, size_t n_more,
                     InkHyper *ret, InkError *reterr)
{
    return read_with_heads(family, n_layers, 4, more, n_more, ret, reterr);
}

static InkHyper read_gemma3(uint32_t n_layers, const Key *more, size_t n_more)
{
    InkHyper h;
    InkError error = {0};
    if (read_with("gemma3", n_layers, more, n_more, &h, &error) < 0)
        fail_msg("%s", error.message);
    return h;
}

static size_t count_local(const InkHyper *h)
{
    size_t n = 0;
    for (size_t i = 0; i < INK_MODEL_MAX_LAYERS; i++)
        n += h->is_local[i];
    return n;
}

#define WINDOW                                                                                     \
    {                                                                                              \
        "gemma3.attention.sliding_window", NUMBER, 512, 0, NULL                                    \
    }

static void test_architecture_gemma3_defaults(void **state)
{
    (void)state;
    const Key more[] = {WINDOW, {"gemma3.rope.freq_base", REAL, 0, 1e6f, NULL}};
    InkHyper h = read_gemma3(18, more, 2);
    assert_int_equal(h.window, 512);
    assert_int_equal(count_local(&h), 15);
    assert_false(h.is_local[5] || h.is_local[11] || h.is_local[17]);
    assert_true(h.rope_base == 1e6f && h.rope_base_local == 1e4f && h.rope_factor == 1.0f);
    assert_true(h.embedding_scale == sqrtf(640.0f));
    assert_true(h.attention_scale == 1.0f / 16);
    assert_int_equal(h.n_rope, 256);
    assert_int_equal(h.n_head_size, 256);
}

static void test_architecture_gemma3_without_window_is_global(void **state)
{
    (void)state;
    const Key none = {"gemma3.attention.sliding_window", NUMBER, 0, 0, NULL};
    InkHyper h = read_gemma3(18, NULL, 0);
    assert_true(h.window == 0 && count_local(&h) == 0 && h.rope_base == 1e6f);
    h = read_gemma3(18, &none, 1);
    assert_true(h.window == 0 && count_local(&h) == 0);
}

static void test_architecture_gemma3_local_layers(void **state)
{
    (void)state;
    const char *name = "gemma3.attention.sliding_window_pattern";
    const Key period[] = {WINDOW, {name, NUMBER, 4, 0, NULL}};
    const Key flags[] = {WINDOW, {name, FLAGS, 18, 0, NULL}};
    InkHyper h = read_gemma3(18, period, 2);
    assert_int_equal(count_local(&h), 14);
    assert_false(h.is_local[3] || h.is_local[15]);
    h = read_gemma3(18, flags, 2);
    assert_int_equal(count_local(&h), 12);
    assert_false(h.is_local[2] || h.is_local[17]);
    assert_true(h.is_local[0] && h.is_local[16]);
}

static void test_architecture_gemma3_rope(void **state)
{
    (void)state;
    const Key first[] = {WINDOW, {"gemma3.rope.freq_base_swa", REAL, 0, 500.0f, NULL}};
    const Key second[] = {WINDOW,
                          {"gemma3.rope.local.freq_base", REAL, 0, 600.0f, NULL},
                          {"gemma3.rope.scaling.type", TEXT, 0, 0, "linear"},
                          {"gemma3.rope.scaling.factor", REAL, 0, 8.0f, NULL}};
    const Key none[] = {{"gemma3.rope.scaling.type", TEXT, 0, 0, "none"},
                        {"gemma3.rope.scaling.factor", REAL, 0, 8.0f, NULL}};
    const Key untyped = {"gemma3.rope.scaling.factor", REAL, 0, 2.0f, NULL};
    assert_true(read_gemma3(18, first, 2).rope_base_local == 500.0f);
    assert_true(read_gemma3(18, second, 3).rope_factor == 1.0f);
    InkHyper h = read_gemma3(18, second, 4);
    assert_true(h.rope_base_local == 600.0f && h.rope_factor == 8.0f);
    assert_true(read_gemma3(18, none, 2).rope_factor == 1.0f);
    assert_true(read_gemma3(18, &untyped, 1).rope_factor == 2.0f);
}

/* A10: of the family's sizes only the one of 62 layers divides by the root of D / H. */
static void test_architecture_gemma3_attention_scale(void **state)
{
    (void)state;
    assert_true(read_gemma3(61, NULL, 0).attention_scale == 1.0f / 16);
    assert_true(read_gemma3(62, NULL, 0).attention_scale == 1.0f / sqrtf(160.0f));
    InkHyper h;
    assert_int_equal(read_with("llama", 62, NULL, 0, &h, NULL), 0);
    assert_true(h.attention_scale == 1.0f / 16 && h.embedding_scale == 1.0f);
    assert_true(h.rope_base == 1e4f && count_local(&h) == 0);
}

/* The root of D / H would be 0, and the scale infinite. */
static void test_architecture_gemma3_refuses_more_heads_than_width(void **state)
{
    (void)state;
    for (uint32_t n_layers = 61; n_layers <= 62; n_layers++) {
        InkHyper h;
        InkError error = {0};
        int r = read_with_heads("gemma3", n_layers, 641, NULL, 0, &h, &error);
        assert_int_equal(r, n_layers == 62 ? -EBADMSG : 0);
        assert_int_equal(strstr(error.message, "attention.head_count 641") != NULL, r < 0);
        if (r == 0)
            assert_true(isfinite(h.attention_scale));
    }
}

static void test_architecture_refuses_what_changes_the_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *family;
        Key key;
        int error;
    } cases[] = {
        {"gemma3", {"gemma3.final_logit_softcapping", REAL, 0, 30.0f, NULL}, -EOPNOTSUPP},
        {"gemma3", {"gemma3.final_logit_softcapping", REAL, 0, 0.0f, NULL}, 0},
        {"gemma3", {"gemma3.attn_logit_softcapping", REAL, 0, 50.0f, NULL}, -EOPNOTSUPP},
        {"gemma3", {"gemma3.attn_logit_softcapping", REAL, 0, NAN, NULL}, -EOPNOTSUPP},
        {"gemma3", {"gemma3.expert_count", NUMBER, 8, 0, NULL}, -EOPNOTSUPP},
        {"gemma3", {"gemma3.rope.scaling.type", TEXT, 0, 0, "yarn"}, -EOPNOTSUPP},
        {"gemma3", {"gemma3.rope.scaling.type", NUMBER, 1, 0, NULL}, -EBADMSG},
        {"gemma3", {"gemma3.rope.scaling.factor", REAL, 0, 0.0f, NULL}, -EBADMSG},
        {"gemma3", {"gemma3.rope.scaling.factor", REAL, 0, NAN, NULL}, -EBADMSG},
        {"gemma3", {"gemma3.rope.freq_base_swa", REAL, 0, -1.0f, NULL}, -EBADMSG},
        {"gemma3", {"gemma3.attention.value_length", NUMBER, 128, 0, NULL}, -EOPNOTSUPP},
        {"llama", {"llama.attention.sliding_window", NUMBER, 4096, 0, NULL}, -EOPNOTSUPP},
        {"llama", {"llama.attention.sliding_window", NUMBER, 0, 0, NULL}, 0},
        {"llama", {"llama.rope.scaling.type", TEXT, 0, 0, "longrope"}, -EOPNOTSUPP},
        {"llama", {"llama.rope.scaling.type", TEXT, 0, 0, "none"}, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        InkHyper h;
        InkError error = {0};
        int r = read_with(cases[i].family, 18, &cases[i].key, 1, &h, &error);
        if (r != cases[i].error)
            fail_msg("%s: %d, %s", cases[i].key.name, r, error.message);
        if (r < 0)
            assert_non_null(strstr(error.message, cases[i].key.name));
    }
}

static void test_architecture_refuses_wrong_patterns(void **state)
{
    (void)state;
    const char *name = "gemma3.attention.sliding_window_pattern";
    const Key patterns[] = {{name, NUMBER, 0, 0, NULL},
                            {name, NUMBER, INK_MODEL_MAX_LAYERS + 1, 0, NULL},
                            {name, FLAGS, 17, 0, NULL},
                            {name, FLAGS, 19, 0, NULL},
                            {name, TEXT, 0, 0, "LLLLLG"}};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        const Key more[] = {WINDOW, patterns[i]};
        InkHyper h;
        InkError error = {0};
        assert_int_equal(read_with("gemma3", 18, more, 2, &h, &error), -EBADMSG);
        assert_non_null(strstr(error.message, name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architecture_gemma3_defaults),
        cmocka_unit_test(test_architecture_gemma3_without_window_is_global),
        cmocka_unit_test(test_architecture_gemma3_local_layers),
        cmocka_unit_test(test_architecture_gemma3_rope),
        cmocka_unit_test(test_architecture_gemma3_attention_scale),
        cmocka_unit_test(test_architecture_gemma3_refuses_more_heads_than_width),
        cmocka_unit_test(test_architecture_refuses_what_changes_the_numbers),
        cmocka_unit_test(test_architecture_refuses_wrong_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
