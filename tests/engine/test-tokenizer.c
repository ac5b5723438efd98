/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tokenizer: a small vocabulary made here, the default model against Hugging Face's tokenizers
 * (tests/data/smollm2-tokenizer-golden.json), and the conformance vectors of INKLING_VECTORS_DIR.
 * Tests of a class of bug in the public record of other loaders name it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/byte-level.h"
#include "tests/engine/tokenizer-fixture.h"

/* ------------------------------------------------------------------ a small vocabulary */

typedef struct Small {
    const char *model, *pre;
    const char *merge;    /* one more merge, or NULL */
    const char *extra;    /* one more normal token, or NULL */
    uint32_t type_kind;   /* of token_type's elements */
    uint32_t n_types_off; /* how many types are missing */
    uint32_t last_type;   /* of the last special token; 0 = user-defined */
    uint32_t eos;
} Small;

/* Ids: bytes 0-255, then these. */
enum {
    HE = 256,
    LL,
    HELL,
    HELLO,
    SPACED,
    SPACED_HELLO,
    IM_START,
    IM_END,
    IM_END_2,
    THINK,
    N_SMALL
};

static const Small sound = {"gpt2", "smollm", NULL, NULL, INK_GGUF_I32, 0, 0, IM_END};

static void build_small(InkBuffer *b, const Small *s)
{
    static const char *const made[] = {
        "he",           "ll",         "hell",        "hello",  "\xC4\xA0h", "\xC4\xA0hello",
        "<|im_start|>", "<|im_end|>", "<|im_end|>!", "<think>"};
    static const char *const merges[] = {"h e",       "l l", "he ll", "hell o", "\xC4\xA0 hello",
                                         "\xC4\xA0 h"};
    uint32_t n = N_SMALL + (s->extra != NULL), n_types = n - s->n_types_off;
    build_header(b, 3, 0, 7);
    build_key_text(b, "tokenizer.ggml.model", s->model);
    build_key_text(b, "tokenizer.ggml.pre", s->pre);
    build_key_array(b, "tokenizer.ggml.tokens", INK_GGUF_STRING, n);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        size_t n_bytes = ink_byte_level_text((uint8_t)byte, text);
        build_u64(b, n_bytes);
        ink_buffer_append(b, text, n_bytes);
    }
    for (size_t i = 0; i < N_SMALL - 256; i++)
        build_text(b, made[i]);
    if (s->extra != NULL)
        build_text(b, s->extra);
    build_key_array(b, "tokenizer.ggml.token_type", s->type_kind, n_types);
    for (uint32_t i = 0; i < n_types; i++) {
        uint32_t type = i < IM_START || i >= N_SMALL ? 1 : i < THINK ? 3 : 4;
        if (i == THINK && s->last_type != 0)
            type = s->last_type;
        if (s->type_kind == INK_GGUF_I32)
            build_u32(b, type);
        else
            build_u8(b, (uint8_t)type);
    }
    build_key_array(b, "tokenizer.ggml.merges", INK_GGUF_STRING, 6 + (s->merge != NULL));
    for (size_t i = 0; i < 6; i++)
        build_text(b, merges[i]);
    if (s->merge != NULL)
        build_text(b, s->merge);
    build_key_u32(b, "tokenizer.ggml.bos_token_id", IM_START);
    build_key_u32(b, "tokenizer.ggml.eos_token_id", s->eos);
}

static int open_small(Opened *o, const Small *s, InkError *error)
{
    *o = (Opened){0};
    *error = (InkError){0};
    build_small(&o->bytes, s);
    assert_int_equal(ink_gguf_open(o->bytes.data, o->bytes.size_bytes, &o->gguf, error), 0);
    return ink_tokenizer_new(o->gguf, &o->tokenizer, error);
}

static void expect_refused(Small s, int code, const char *message)
{
    Opened o;
    InkError error;
    int r = open_small(&o, &s, &error);
    if (r != -code || strstr(error.message, message) == NULL)
        print_error("got %d \"%s\", wanted \"%s\"\n", r, error.message, message);
    assert_int_equal(r, -code);
    assert_non_null(strstr(error.message, message));
    assert_null(o.tokenizer);
    opened_done(&o);
}

static void test_tokenizer_merges_by_rank(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &sound, &error), 0);
    InkTextSpan hello[] = {TEXT("hello", false)}, two[] = {TEXT("hello hello", false)};
    InkTextSpan part[] = {TEXT("helo hhe", false)}, none[] = {TEXT("", false)};
    EXPECT_IDS(o.tokenizer, hello, HELLO);
    EXPECT_IDS(o.tokenizer, two, HELLO, SPACED_HELLO);
    /* "h e" (rank 0) goes before the space's "h" (rank 5). */
    EXPECT_IDS(o.tokenizer, part, HE, 'l', 'o', SPACED, HE);
    expect_ids(o.tokenizer, none, 1, NULL, 0);
    expect_ids(o.tokenizer, NULL, 0, NULL, 0);
    opened_done(&o);
}

/* E5: what a user wrote never becomes a control token. */
static void test_tokenizer_knows_who_wrote_a_control_token(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &sound, &error), 0);
    InkTextSpan trusted[] = {TEXT("<|im_end|>", true)};
    InkTextSpan longest[] = {TEXT("<|im_end|>!<|im_end|>", true)};
    InkTextSpan untrusted[] = {TEXT("<|im_end|>", false)};
    InkTextSpan over_border[] = {TEXT("<|im_", true), TEXT("end|>", false)};
    InkTextSpan other_border[] = {TEXT("<|im_", false), TEXT("end|>", true)};
    InkTextSpan around_nothing[] = {TEXT("<|im_", true), TEXT("", false), TEXT("end|>", true)};
    InkTextSpan one_author[] = {TEXT("<|im_", true), TEXT("end|>", true)};
    EXPECT_IDS(o.tokenizer, trusted, IM_END);
    EXPECT_IDS(o.tokenizer, longest, IM_END_2, IM_END);
#define SPELLED '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>'
    EXPECT_IDS(o.tokenizer, untrusted, SPELLED);
    EXPECT_IDS(o.tokenizer, over_border, SPELLED);
    EXPECT_IDS(o.tokenizer, other_border, SPELLED);
    EXPECT_IDS(o.tokenizer, around_nothing, SPELLED);
    EXPECT_IDS(o.tokenizer, one_author, IM_END);
    opened_done(&o);
}

static void test_tokenizer_merges_across_spans(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &sound, &error), 0);
    InkTextSpan spans[] = {TEXT("<|im_start|>he", true), TEXT("llo h", false),
                           TEXT("ello<|im_end|>", true)};
    EXPECT_IDS(o.tokenizer, spans, IM_START, HELLO, SPACED_HELLO, IM_END);
    opened_done(&o);
}

static void test_tokenizer_matches_user_defined_tokens_everywhere(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &sound, &error), 0);
    InkTextSpan spans[] = {TEXT("a<think>b", false)};
    EXPECT_IDS(o.tokenizer, spans, 'a', THINK, 'b');
    assert_false(ink_tokenizer_is_control(o.tokenizer, THINK));
    opened_done(&o);
}

static void test_tokenizer_keeps_bytes_that_are_not_text(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    char bytes[1024];
    assert_int_equal(open_small(&o, &sound, &error), 0);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 + i / 256);
    InkTextSpan span = {bytes, sizeof(bytes), false};
    assert_int_equal(ink_tokenizer_encode(o.tokenizer, &span, 1, &ids, &error), 0);
    assert_int_equal(
        ink_tokenizer_decode(o.tokenizer, INK_TOKEN_NONE, ids.ids, ids.n, false, &text, &error), 0);
    assert_int_equal(text.size_bytes, sizeof(bytes));
    assert_memory_equal(text.data, bytes, sizeof(bytes));
    opened_done(&o);
}

static void test_tokenizer_decodes_control_tokens_on_request(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    static const uint32_t ids[] = {IM_START, HELLO, THINK, IM_END}, bad[] = {1, N_SMALL};
    assert_int_equal(open_small(&o, &sound, &error), 0);
    assert_int_equal(ink_tokenizer_decode(o.tokenizer, INK_TOKEN_NONE, ids, 4, true, &text, &error),
                     0);
    assert_string_equal(text.data, "<|im_start|>hello<think><|im_end|>");
    ink_buffer_clear(&text);
    assert_int_equal(
        ink_tokenizer_decode(o.tokenizer, INK_TOKEN_NONE, ids, 4, false, &text, &error), 0);
    assert_string_equal(text.data, "hello<think>");
    assert_int_equal(
        ink_tokenizer_decode(o.tokenizer, INK_TOKEN_NONE, bad, 2, false, &text, &error), -EINVAL);
    assert_string_equal(error.message, "token 1 is 266, the vocabulary has 266");
    assert_string_equal(text.data, "hello<think>");
    opened_done(&o);
}

/* E7 */
static void test_tokenizer_knows_what_ends_an_answer(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    Small s = sound;
    s.eos = HELLO;
    assert_int_equal(open_small(&o, &s, &error), 0);
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, HELLO));  /* the file says so */
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, IM_END)); /* by its name */
    assert_false(ink_tokenizer_ends_generation(o.tokenizer, IM_START));
    assert_false(ink_tokenizer_ends_generation(o.tokenizer, UINT32_MAX));
    assert_true(ink_tokenizer_is_control(o.tokenizer, IM_END));
    assert_false(ink_tokenizer_is_control(o.tokenizer, HELLO));
    assert_int_equal(ink_tokenizer_bos(o.tokenizer), IM_START);
    assert_int_equal(ink_tokenizer_eos(o.tokenizer), HELLO);
    assert_false(ink_tokenizer_adds_bos(o.tokenizer));
    opened_done(&o);
}

static void test_tokenizer_refuses_unknown_kinds(void **state)
{
    (void)state;
    Small s = sound;
    s.model = "bert";
    expect_refused(s, EOPNOTSUPP,
                   "tokenizer.ggml.model \"bert\" is not supported, only gpt2, llama");
    s = sound;
    s.pre = "default";
    expect_refused(s, EOPNOTSUPP, "tokenizer.ggml.pre \"default\" is not supported, only gpt-2, ");
}

static void test_tokenizer_refuses_unsound_merges(void **state)
{
    (void)state;
    Small s = sound;
    s.merge = "nothing";
    expect_refused(s, EBADMSG, "merge 6 is not two tokens and a space");
    s.merge = "xx y";
    expect_refused(s, EBADMSG, "merge 6 has a left half that is no token");
    s.merge = "h xx";
    expect_refused(s, EBADMSG, "merge 6 has a right half that is no token");
    s.merge = "h o";
    expect_refused(s, EBADMSG, "merge 6 has a result that is no token");
    s.merge = "h e l";
    expect_refused(s, EBADMSG, "merge 6");
    s.merge = "< |im_start|>";
    s.extra = "|im_start|>";
    expect_refused(s, EBADMSG, "merge 6 makes a control token");
}

/* GHSA-g4cc-763q-h9h6, #25508: special ids beyond a small vocabulary. */
static void test_tokenizer_refuses_special_ids_out_of_range(void **state)
{
    (void)state;
    Small s = sound;
    s.eos = N_SMALL;
    expect_refused(s, EBADMSG, "\"tokenizer.ggml.eos_token_id\" is 266, allowed are 0 to 265");
    s.eos = UINT32_MAX;
    expect_refused(s, EBADMSG, "tokenizer.ggml.eos_token_id");
}

/* #24888, #26690: type arrays of 1-byte elements read as 4-byte ones; and lengths that differ. */
static void test_tokenizer_reads_types_of_every_width(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    Small s = sound;
    s.type_kind = INK_GGUF_U8;
    assert_int_equal(open_small(&o, &s, &error), 0);
    assert_true(ink_tokenizer_is_control(o.tokenizer, IM_END));
    opened_done(&o);
    s.n_types_off = 1;
    expect_refused(s, EBADMSG, "tokenizer.ggml.token_type has 265 elements for 266 tokens");
    s = sound;
    s.last_type = 7;
    expect_refused(s, EBADMSG, "token 265 has the unknown type 7");
}

/* CVE-2025-49847: a token's length is cast to a smaller type. */
static void test_tokenizer_refuses_long_tokens(void **state)
{
    (void)state;
    char *text = malloc(70000);
    assert_non_null(text);
    memset(text, 'x', 69999);
    text[69999] = '\0';
    Small s = sound;
    s.extra = text;
    expect_refused(s, EBADMSG, "token 266 has 69999 bytes, the limit is 4096");
    text[4096] = '\0';
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &s, &error), 0);
    opened_done(&o);
    free(text);
}

/* CVE-2025-52566: counts above INT32_MAX compared as signed. */
static void test_tokenizer_refuses_text_over_the_limit(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    assert_int_equal(open_small(&o, &sound, &error), 0);
    assert_int_equal(ink_tokens_push(&ids, 42), 0);
    static const size_t sizes[] = {((size_t)16 << 20) + 1, (size_t)1 << 31, SIZE_MAX};
    for (size_t i = 0; i < 3; i++) {
        InkTextSpan spans[] = {TEXT("a", false), {"", sizes[i], false}};
        assert_int_equal(ink_tokenizer_encode(o.tokenizer, spans, 2, &ids, &error), -E2BIG);
        assert_non_null(strstr(error.message, "more than 16777216 bytes"));
    }
    assert_int_equal(ids.n, 1);
    opened_done(&o);
}

static void test_tokenizer_lower_id_of_twins_wins(void **state)
{
    (void)state;
    Opened o;
    InkError error;
    Small s = sound;
    s.extra = "hello";
    assert_int_equal(open_small(&o, &s, &error), 0);
    InkTextSpan spans[] = {TEXT("hello", false)};
    const char *piece;
    size_t n;
    EXPECT_IDS(o.tokenizer, spans, HELLO);
    assert_int_equal(ink_tokenizer_piece(o.tokenizer, N_SMALL, false, &piece, &n), 0);
    assert_int_equal(n, 5);
    opened_done(&o);
}

static void test_tokenizer_survives_failing_allocations(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    InkGguf *g = NULL;
    build_small(&b, &sound);
    assert_int_equal(ink_gguf_open(b.data, b.size_bytes, &g, NULL), 0);
    size_t n_failed = 0;
    for (bool done = false; !done; n_failed++) {
        InkTokenizer *t = NULL;
        InkTokens ids = INK_TOKENS_INIT;
        InkError error = {0};
        InkTextSpan spans[] = {TEXT("hello ", true), TEXT("hello", false)};
        ink_alloc_fail_at(n_failed + 1, false);
        int r = ink_tokenizer_new(g, &t, &error);
        if (r == 0)
            r = ink_tokenizer_encode(t, spans, 2, &ids, &error);
        ink_alloc_fail_at(0, false);
        done = r == 0;
        assert_true(done || (r == -ENOMEM && error.code == ENOMEM && ids.n == 0));
        ink_tokens_done(&ids);
        ink_tokenizer_free(t);
    }
    assert_in_range(n_failed, 8, 40);
    ink_gguf_close(g);
    ink_buffer_done(&b);
}

/* #17902: a regular expression recursed over long input; merging must not be quadratic either. */
static void test_tokenizer_takes_a_megabyte_without_a_border(void **state)
{
    (void)state;
    static const char fills[] = {'a', ' ', 'l', '\n', '\xFF'};
    enum { N = 1 << 20 };
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &sound, &error), 0);
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(fills); i++) {
        _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
        memset(text, fills[i], N);
        InkTextSpan span = {text, N, false};
        uint64_t before = ink_clock_monotonic_usec();
        assert_int_equal(ink_tokenizer_encode(o.tokenizer, &span, 1, &ids, &error), 0);
        uint64_t usec = ink_clock_monotonic_usec() - before;
        assert_int_equal(ids.n, fills[i] == 'l' ? N / 2 : N);
        /* 0.1 s on an idle machine; the margin is for sanitizers on a busy one. */
        assert_true(usec < 10000000);
    }
    free(text);
    opened_done(&o);
}

/* ------------------------------------------------------------------ real files */

static void open_default_model(Opened *o)
{
    open_model(o, "INKLING_TEST_MODEL", "smollm2-135m-instruct-q4_1.gguf");
}

static void test_tokenizer_default_model_equals_hugging_face(void **state)
{
    (void)state;
    Opened o;
    open_default_model(&o);
    check_golden(o.tokenizer, "smollm2-tokenizer-golden.json");
    opened_done(&o);
}

static void test_tokenizer_default_model_round_trips(void **state)
{
    (void)state;
    Opened o;
    open_default_model(&o);
    check_round_trip(o.tokenizer);
    assert_int_equal(ink_tokenizer_n_vocab(o.tokenizer), 49152);
    assert_int_equal(ink_tokenizer_eos(o.tokenizer), 2);
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, 2)); /* <|im_end|> */
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, 0)); /* <|endoftext|> */
    assert_false(ink_tokenizer_ends_generation(o.tokenizer, 1));
    assert_false(ink_tokenizer_adds_bos(o.tokenizer)); /* E6 */
    opened_done(&o);
}

static char *read_whole(const char *folder, const char *name, const char *end)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/ggml-vocab-%s.gguf%s", folder, name, end);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    assert_in_range(fread(text, 1, (1 << 16) - 1, file), 1, (1 << 16) - 2);
    fclose(file);
    return text;
}

/* One line of ids. */
static void expect_line(const InkTokens *ids, const char *line, const char *name, size_t i)
{
    char *end = (char *)line;
    size_t n = 0;
    for (; *end != '\n' && *end != '\0'; end += strspn(end, " ")) {
        unsigned long id = strtoul(end, &end, 10);
        if (n >= ids->n || ids->ids[n] != id)
            fail_msg("%s: string %zu differs at token %zu", name, i, n);
        n++;
    }
    if (n != ids->n)
        fail_msg("%s: string %zu has %zu tokens, not %zu", name, i, ids->n, n);
}

static void check_vectors(const char *folder, const char *name)
{
    static const char marker[] = "\n__ggml_vocab_test__\n";
    Opened o;
    char path[4096];
    snprintf(path, sizeof(path), "%s/ggml-vocab-%s.gguf", folder, name);
    open_file(&o, path);
    char *in = read_whole(folder, name, ".inp"), *out = read_whole(folder, name, ".out");
    char *text = in, *line = out;
    size_t n = 0;
    for (char *end = strstr(text, marker); end != NULL; end = strstr(text, marker)) {
        _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
        InkTextSpan span = {text, (size_t)(end - text), false};
        assert_int_equal(ink_tokenizer_encode(o.tokenizer, &span, 1, &ids, NULL), 0);
        line += strspn(line, " ");
        expect_line(&ids, line, name, n++);
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
        text = end + strlen(marker);
    }
    assert_int_equal(n, 46);
    free(in);
    free(out);
    opened_done(&o);
}

static void test_tokenizer_equals_the_vectors(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2",        "starcoder", "llama-bpe", "qwen2",
                                        "deepseek-llm", "llama-spm", "phi-3"};
    const char *folder = getenv("INKLING_VECTORS_DIR");
    if (folder == NULL || folder[0] == '\0') {
        print_message("no vectors: set INKLING_VECTORS_DIR\n");
        skip();
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        check_vectors(folder, names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_merges_by_rank),
        cmocka_unit_test(test_tokenizer_knows_who_wrote_a_control_token),
        cmocka_unit_test(test_tokenizer_merges_across_spans),
        cmocka_unit_test(test_tokenizer_matches_user_defined_tokens_everywhere),
        cmocka_unit_test(test_tokenizer_keeps_bytes_that_are_not_text),
        cmocka_unit_test(test_tokenizer_decodes_control_tokens_on_request),
        cmocka_unit_test(test_tokenizer_knows_what_ends_an_answer),
        cmocka_unit_test(test_tokenizer_refuses_unknown_kinds),
        cmocka_unit_test(test_tokenizer_refuses_unsound_merges),
        cmocka_unit_test(test_tokenizer_refuses_special_ids_out_of_range),
        cmocka_unit_test(test_tokenizer_reads_types_of_every_width),
        cmocka_unit_test(test_tokenizer_refuses_long_tokens),
        cmocka_unit_test(test_tokenizer_refuses_text_over_the_limit),
        cmocka_unit_test(test_tokenizer_lower_id_of_twins_wins),
        cmocka_unit_test(test_tokenizer_survives_failing_allocations),
        cmocka_unit_test(test_tokenizer_takes_a_megabyte_without_a_border),
        cmocka_unit_test(test_tokenizer_default_model_equals_hugging_face),
        cmocka_unit_test(test_tokenizer_default_model_round_trips),
        cmocka_unit_test(test_tokenizer_equals_the_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
