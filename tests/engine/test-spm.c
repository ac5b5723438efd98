/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* SentencePiece's BPE by scores (spm.h) on a small vocabulary made here; test-spm-models.c holds it
 * against other mergers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "tests/engine/tokenizer-fixture.h"

#define MARK "\xE2\x96\x81"

/* ------------------------------------------------------------------ a small vocabulary */

enum {
    UNK,
    BOS,
    EOS,
    BYTE_0,
    SPACE = BYTE_0 + 256,
    A,
    B,
    C,
    AB,
    BC,
    ABC,
    SPACE_A,
    SPACE_AB,
    AA,
    LOST,
    SPACES_2,
    SPACES_3,
    TAG,
    TAG_B,
    END_OF_TURN,
    N_SMALL
};

typedef struct Small {
    const char *names[4]; /* further keys that are true or false */
    bool values[4];
    const char *replaced; /* the text in place of token `at` */
    uint32_t at;
    uint32_t type_at, type; /* another type; 0 = none */
    bool no_bytes;          /* byte tokens are normal ones */
    float score;            /* of ABC */
    uint32_t score_kind;
    uint32_t n_scores_off;
    uint32_t unknown;
} Small;

static const Small sound = {.score = -1, .score_kind = INK_GGUF_F32};

static const struct {
    const char *text;
    uint32_t type;
    float score;
} made[] = {
    {MARK, 1, -100},    {"a", 1, -101},    {"b", 1, -102},     {"c", 1, -103},
    {"ab", 1, -3},      {"bc", 1, -2},     {"abc", 1, -1},     {MARK "a", 1, -4},
    {MARK "ab", 1, -5}, {"aa", 1, -6},     {"cc", 5, -7},      {"  ", 4, -1000},
    {"   ", 4, -1000},  {"<t>", 4, -1000}, {"<t>b", 4, -1000}, {"<end_of_turn>", 3, 0},
};

static void build_texts(InkBuffer *b, const Small *s)
{
    build_key_array(b, "tokenizer.ggml.tokens", INK_GGUF_STRING, N_SMALL);
    for (uint32_t i = 0; i < N_SMALL; i++) {
        char byte[8];
        snprintf(byte, sizeof(byte), "<0x%02X>", (i - BYTE_0) & 0xFF);
        build_text(b, s->replaced != NULL && i == s->at ? s->replaced
                      : i < BYTE_0 ? (const char *const[]){"<unk>", "<s>", "</s>"}[i]
                      : i < SPACE  ? byte
                                   : made[i - SPACE].text);
    }
    build_key_array(b, "tokenizer.ggml.token_type", INK_GGUF_I32, N_SMALL);
    for (uint32_t i = 0; i < N_SMALL; i++)
        build_u32(b, s->type != 0 && i == s->type_at ? s->type
                     : i == UNK                      ? 2
                     : i < BYTE_0                    ? 3
                     : i < SPACE                     ? (s->no_bytes ? 1 : 6)
                                                     : made[i - SPACE].type);
}

static void build_small(InkBuffer *b, const Small *s)
{
    uint32_t n_scores = N_SMALL - s->n_scores_off, n_keys = 0;
    while (n_keys < 4 && s->names[n_keys] != NULL)
        n_keys++;
    build_header(b, 3, 0, 7 + n_keys);
    build_key_text(b, "tokenizer.ggml.model", "llama");
    build_texts(b, s);
    build_key_array(b, "tokenizer.ggml.scores", s->score_kind, n_scores);
    for (uint32_t i = 0; i < n_scores; i++) {
        float score = i < SPACE ? 0 : i == ABC ? s->score : made[i - SPACE].score;
        double wide = score;
        if (s->score_kind == INK_GGUF_F64)
            ink_buffer_append(b, &wide, sizeof(wide));
        else
            ink_buffer_append(b, &score, sizeof(score));
    }
    build_key_u32(b, "tokenizer.ggml.bos_token_id", BOS);
    build_key_u32(b, "tokenizer.ggml.eos_token_id", EOS);
    build_key_u32(b, "tokenizer.ggml.unknown_token_id", s->unknown);
    for (uint32_t i = 0; i < n_keys; i++) {
        build_key(b, s->names[i], INK_GGUF_BOOL);
        build_u8(b, s->values[i]);
    }
}

static int open_small(Opened *o, const Small *s, InkError *error)
{
    *o = (Opened){0};
    *error = (InkError){0};
    build_small(&o->bytes, s);
    assert_int_equal(ink_gguf_open(o->bytes.data, o->bytes.size_bytes, &o->gguf, error), 0);
    return ink_tokenizer_new(o->gguf, &o->tokenizer, error);
}

static void open_sound(Opened *o, const Small *s)
{
    InkError error;
    if (open_small(o, s, &error) < 0)
        fail_msg("%s", error.message);
}

/* No space before the text, so that what is said is what is seen. */
static Small bare(void)
{
    Small s = sound;
    s.names[0] = "tokenizer.ggml.add_space_prefix";
    return s;
}

static void expect_refused(Small s, const char *message)
{
    Opened o;
    InkError error;
    assert_int_equal(open_small(&o, &s, &error), -EBADMSG);
    if (strstr(error.message, message) == NULL)
        fail_msg("got \"%s\", wanted \"%s\"", error.message, message);
    assert_null(o.tokenizer);
    opened_done(&o);
}

static void expect_text(const Opened *o, uint32_t previous, const uint32_t *ids, size_t n,
                        bool special, const char *wanted)
{
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    assert_int_equal(ink_tokenizer_decode(o->tokenizer, previous, ids, n, special, &text, NULL), 0);
    assert_string_equal(text.data != NULL ? text.data : "", wanted);
}

#define EXPECT_TEXT(o, previous, special, wanted, ...)                                             \
    expect_text(o, previous, (const uint32_t[]){__VA_ARGS__},                                      \
                sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), special, wanted)

/* ------------------------------------------------------------------ encode */

static void test_spm_merges_by_score(void **state)
{
    (void)state;
    Opened o;
    Small s = bare();
    open_sound(&o, &s);
    /* "bc" scores better than "ab" and leaves the "a", which then makes "abc" with it. */
    EXPECT_IDS(o.tokenizer, SAID("abc"), ABC);
    EXPECT_IDS(o.tokenizer, SAID("abb"), AB, B);
    EXPECT_IDS(o.tokenizer, SAID("cab bc"), C, AB, SPACE, BC);
    EXPECT_IDS(o.tokenizer, SAID("a ab"), A, SPACE_AB);
    /* Of equal ones the leftmost. */
    EXPECT_IDS(o.tokenizer, SAID("aaa"), AA, A);
    EXPECT_IDS(o.tokenizer, SAID("aaaaa"), AA, AA, A);
    expect_ids(o.tokenizer, SAID(""), 1, NULL, 0);
    opened_done(&o);
    /* A worse score than that of "ab" for "bc" with "a" changes nothing: it merges second. */
    s.score = -50;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("abc"), ABC);
    opened_done(&o);
    s.score_kind = INK_GGUF_F64;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("abc"), ABC);
    opened_done(&o);
}

static void test_spm_adds_a_space_where_the_file_does_not_say_no(void **state)
{
    (void)state;
    Opened o;
    InkTextSpan turns[] = {TEXT("<s>ab</s>", true), TEXT("a", false), TEXT("b<end_of_turn>", true)};
    InkTextSpan between[] = {TEXT("a<t>a", false)};
    open_sound(&o, &sound);
    EXPECT_IDS(o.tokenizer, SAID("ab"), SPACE_AB);
    EXPECT_IDS(o.tokenizer, SAID(" ab"), SPACE, SPACE_AB);
    EXPECT_IDS(o.tokenizer, turns, BOS, SPACE_AB, EOS, SPACE_AB, END_OF_TURN);
    EXPECT_IDS(o.tokenizer, between, SPACE_A, TAG, SPACE_A);
    expect_ids(o.tokenizer, SAID(""), 1, NULL, 0);
    assert_true(ink_tokenizer_adds_bos(o.tokenizer));
    opened_done(&o);
    Small s = bare();
    s.names[1] = "tokenizer.ggml.add_bos_token";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("ab"), AB);
    EXPECT_IDS(o.tokenizer, turns, BOS, AB, EOS, AB, END_OF_TURN);
    assert_false(ink_tokenizer_adds_bos(o.tokenizer));
    opened_done(&o);
}

static void test_spm_writes_what_is_no_token_as_bytes(void **state)
{
    (void)state;
    Opened o;
    Small s = bare();
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    char bytes[1024];
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("a\xC3\xA9"), A, BYTE_0 + 0xC3, BYTE_0 + 0xA9);
    EXPECT_IDS(o.tokenizer,
               SAID("\xC3"
                    "ab\xFF"),
               BYTE_0 + 0xC3, AB, BYTE_0 + 0xFF);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 + i / 256);
    InkTextSpan span = {bytes, sizeof(bytes), false};
    assert_int_equal(ink_tokenizer_encode(o.tokenizer, &span, 1, &ids, NULL), 0);
    assert_int_equal(
        ink_tokenizer_decode(o.tokenizer, INK_TOKEN_NONE, ids.ids, ids.n, false, &text, NULL), 0);
    assert_int_equal(text.size_bytes, sizeof(bytes));
    assert_memory_equal(text.data, bytes, sizeof(bytes));
    opened_done(&o);
    /* The name of a byte is text like any other. */
    open_sound(&o, &s);
    ids.n = 0;
    assert_int_equal(ink_tokenizer_encode(o.tokenizer, SAID("<0x41>"), 1, &ids, NULL), 0);
    assert_int_equal(ids.n, 6);
    opened_done(&o);
}

static void test_spm_writes_one_unknown_token_where_bytes_lack(void **state)
{
    (void)state;
    Opened o;
    Small s = bare();
    s.no_bytes = true;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer,
               SAID("\xC3\xA9\xC3\xA8"
                    "ab!c"),
               UNK, AB, UNK, C);
    opened_done(&o);
    /* Nothing that a user writes makes a control token, whatever the file calls unknown. */
    s.unknown = EOS;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer,
               SAID("\xC3\xA9"
                    "ab!c"),
               AB, C);
    opened_done(&o);
}

static void test_spm_matches_user_defined_tokens_first(void **state)
{
    (void)state;
    Opened o;
    Small s = bare();
    InkTextSpan control[] = {TEXT("<end_of_turn>", true), TEXT("<end_of_turn>", false)};
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("a<t>bc"), A, TAG_B, C);
    EXPECT_IDS(o.tokenizer, SAID("a<t>c"), A, TAG, C);
    EXPECT_IDS(o.tokenizer, SAID(" a"), SPACE_A);
    EXPECT_IDS(o.tokenizer, SAID("  a"), SPACES_2, A);
    EXPECT_IDS(o.tokenizer, SAID("     a"), SPACES_3, SPACES_2, A);
    /* U+2581 is a space, but of no user-defined run. */
    EXPECT_IDS(o.tokenizer, SAID("a" MARK "a"), A, SPACE_A);
    EXPECT_IDS(o.tokenizer, SAID(MARK MARK "ab"), SPACE, SPACE_AB);
    EXPECT_IDS(o.tokenizer, SAID("  " MARK "a"), SPACES_2, SPACE_A);
    /* E5 */
    assert_int_equal(ink_tokenizer_encode(o.tokenizer, control, 2, &ids, NULL), 0);
    assert_int_equal(ids.ids[0], END_OF_TURN);
    for (size_t i = 1; i < ids.n; i++)
        assert_false(ink_tokenizer_is_control(o.tokenizer, ids.ids[i]));
    assert_int_equal(ids.n, 14);
    opened_done(&o);
}

static void test_spm_makes_no_unused_token(void **state)
{
    (void)state;
    Opened o;
    Small s = bare();
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("cc"), C, C);
    opened_done(&o);
    s.type_at = LOST;
    s.type = 1;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("cc"), LOST);
    opened_done(&o);
    /* Nor a control token whose text merges would reach. */
    s.type = 3;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("cc"), C, C);
    opened_done(&o);
}

static void test_spm_removes_extra_spaces_where_the_file_says_so(void **state)
{
    (void)state;
    Opened o;
    Small s = sound;
    s.names[0] = "tokenizer.ggml.remove_extra_whitespaces";
    s.values[0] = true;
    s.replaced = "xx";
    s.at = SPACES_2;
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID(" a  ab "), SPACE_A, SPACE_AB);
    EXPECT_IDS(o.tokenizer, SAID("a  <t> a"), SPACE_A, SPACE, TAG, SPACE, SPACE_A);
    expect_ids(o.tokenizer, SAID("  "), 1, NULL, 0);
    opened_done(&o);
}

/* ------------------------------------------------------------------ decode */

static void test_spm_takes_away_the_spaces_it_added(void **state)
{
    (void)state;
    Opened o;
    open_sound(&o, &sound);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, "ab a", SPACE_AB, SPACE_A);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, " ab", SPACE, SPACE_AB);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, true, "<s>ab</s>a", BOS, SPACE_AB, EOS, SPACE_A);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, "ab", BOS, SPACE_AB, EOS);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, "a<t>a", SPACE_A, TAG, SPACE_A);
    /* A continuation goes on where the prompt ended. */
    EXPECT_TEXT(&o, SPACE_AB, false, " a", SPACE_A);
    EXPECT_TEXT(&o, EOS, false, "a", SPACE_A);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, "A\xC3\xA9", BYTE_0 + 'A', BYTE_0 + 0xC3, BYTE_0 + 0xA9);
    opened_done(&o);
    Small s = bare();
    open_sound(&o, &s);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, " ab a", SPACE_AB, SPACE_A);
    opened_done(&o);
}

static void test_spm_pieces_are_text(void **state)
{
    (void)state;
    Opened o;
    const char *piece;
    size_t n;
    open_sound(&o, &sound);
    assert_int_equal(ink_tokenizer_piece(o.tokenizer, SPACE_AB, false, &piece, &n), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(piece, " ab", 3);
    assert_int_equal(ink_tokenizer_piece(o.tokenizer, BYTE_0 + 0xFF, false, &piece, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal((uint8_t)piece[0], 0xFF);
    assert_int_equal(ink_tokenizer_piece(o.tokenizer, LOST, false, &piece, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(ink_tokenizer_piece(o.tokenizer, N_SMALL, false, &piece, &n), -EINVAL);
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, EOS));
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, END_OF_TURN)); /* E7 */
    assert_false(ink_tokenizer_ends_generation(o.tokenizer, BOS));
    opened_done(&o);
}

/* ------------------------------------------------------------------ hostile files */

static void test_spm_refuses_unsound_scores(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    Small s = sound;
    for (size_t i = 0; i < 3; i++) {
        s.score = bad[i];
        expect_refused(s, "tokenizer.ggml.scores: the score of token 265 is not a finite number");
    }
    s = sound;
    s.n_scores_off = 1;
    expect_refused(s, "tokenizer.ggml.scores has 274 elements for 275 tokens");
    s = sound;
    s.score_kind = INK_GGUF_I32;
    expect_refused(s, "metadata \"tokenizer.ggml.scores\" is an array of i32, not of f32");
}

static void test_spm_refuses_byte_tokens_of_other_names(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a", "<0x4>", "<0x4G>", "<0x41>>", "<0X41>", "<1x41>"};
    Small s = sound;
    s.at = BYTE_0 + 0x41;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        s.replaced = names[i];
        expect_refused(s, "tokenizer.ggml.tokens: byte token 68 is not written as <0xXX>");
    }
    /* In small letters, and one byte twice: the lower id counts, the missing byte is unknown. */
    Opened o;
    s = bare();
    s.at = BYTE_0 + 0x41;
    s.replaced = "<0xff>";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer,
               SAID("\xFF"
                    "A"),
               BYTE_0 + 0x41, UNK);
    opened_done(&o);
}

static void test_spm_works_with_odd_tokens(void **state)
{
    (void)state;
    Opened o;
    Small s = bare();
    s.at = AB;
    /* Twins, of which the lower id counts; no text; no character; a space that is no mark. */
    s.replaced = "bc";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("bcab"), AB, A, B);
    opened_done(&o);
    s.replaced = "";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("abb"), A, B, B);
    opened_done(&o);
    s.replaced = "a\xFF";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("a\xFF\xFF"), AB, BYTE_0 + 0xFF);
    opened_done(&o);
    s.replaced = "a ";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("a b"), A, SPACE, B);
    opened_done(&o);
    s.replaced = "\xE2\x96";
    open_sound(&o, &s);
    EXPECT_IDS(o.tokenizer, SAID("\xE2\x96"), AB);
    EXPECT_IDS(o.tokenizer,
               SAID("\xE2\x96\x81"
                    "a"),
               SPACE_A);
    opened_done(&o);
    s.replaced = MARK MARK MARK;
    open_sound(&o, &s);
    EXPECT_TEXT(&o, INK_TOKEN_NONE, false, "   a", AB, A);
    opened_done(&o);
}

static void test_spm_survives_failing_allocations(void **state)
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
        InkTextSpan spans[] = {TEXT("<s>a", true), TEXT("b" MARK, false)};
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
    assert_in_range(n_failed, 10, 40);
    ink_gguf_close(g);
    ink_buffer_done(&b);
}

/* #17902: merging must not be quadratic. */
static void test_spm_takes_four_megabytes_without_a_border(void **state)
{
    (void)state;
    static const struct {
        const char *fill;
        size_t n_per_fill, n_ids; /* after so many fills so many ids */
    } cases[] = {{"a", 2, 1},    {" ", 3, 1},   {"c", 1, 1},
                 {"\xFF", 1, 1}, {"abc", 1, 1}, {" a", 1, 1}};
    enum { N = 4 << 20 };
    Opened o;
    Small s = bare();
    open_sound(&o, &s);
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
        size_t n_fill = strlen(cases[i].fill), unit = n_fill * cases[i].n_per_fill;
        for (size_t at = 0; at < N; at++)
            text[at] = cases[i].fill[at % n_fill];
        InkTextSpan span = {text, N / unit * unit, false};
        uint64_t before = ink_clock_monotonic_usec();
        assert_int_equal(ink_tokenizer_encode(o.tokenizer, &span, 1, &ids, NULL), 0);
        uint64_t usec = ink_clock_monotonic_usec() - before;
        assert_int_equal(ids.n, N / unit * cases[i].n_ids);
        /* At most 1.3 s on an idle machine; the margin is for sanitizers on a busy one. */
        assert_true(usec < 40000000);
    }
    free(text);
    opened_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spm_merges_by_score),
        cmocka_unit_test(test_spm_adds_a_space_where_the_file_does_not_say_no),
        cmocka_unit_test(test_spm_writes_what_is_no_token_as_bytes),
        cmocka_unit_test(test_spm_writes_one_unknown_token_where_bytes_lack),
        cmocka_unit_test(test_spm_matches_user_defined_tokens_first),
        cmocka_unit_test(test_spm_makes_no_unused_token),
        cmocka_unit_test(test_spm_removes_extra_spaces_where_the_file_says_so),
        cmocka_unit_test(test_spm_takes_away_the_spaces_it_added),
        cmocka_unit_test(test_spm_pieces_are_text),
        cmocka_unit_test(test_spm_refuses_unsound_scores),
        cmocka_unit_test(test_spm_refuses_byte_tokens_of_other_names),
        cmocka_unit_test(test_spm_works_with_odd_tokens),
        cmocka_unit_test(test_spm_survives_failing_allocations),
        cmocka_unit_test(test_spm_takes_four_megabytes_without_a_border),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
