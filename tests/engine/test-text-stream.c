/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/text-stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

#define FFFD "\xEF\xBF\xBD"

typedef struct Run {
    InkTextStream stream;
    InkBuffer out;
    int last;
} Run;

static void run_done(Run *run)
{
    ink_text_stream_done(&run->stream);
    ink_buffer_done(&run->out);
}

static void start(Run *run, const char *const *stops, size_t n_stops)
{
    assert_int_equal(ink_text_stream_init(&run->stream, stops, n_stops, NULL), 0);
}

/* Pushes and checks that nothing shown so far is torn. */
static int push(Run *run, const char *bytes, size_t n)
{
    run->last = ink_text_stream_push(&run->stream, bytes, n, &run->out);
    assert_true(run->last >= 0);
    assert_true(ink_utf8_valid(run->out.data != NULL ? run->out.data : "", run->out.size_bytes));
    return run->last;
}

static void assert_shown(const Run *run, const char *expected)
{
    assert_string_equal(run->out.data != NULL ? run->out.data : "", expected);
}

static void test_text_stream_characters_byte_by_byte(void **state)
{
    (void)state;
    for (uint32_t c = 1; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 97) {
        char bytes[5] = {0};
        size_t n = ink_utf8_encode(c, bytes);
        if (n == 0)
            continue;
        _cleanup_(run_done) Run run = {0};
        start(&run, NULL, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(run.out.size_bytes, 0);
            assert_int_equal(push(&run, bytes + i, 1), 0);
        }
        assert_int_equal(run.out.size_bytes, n);
        assert_memory_equal(run.out.data, bytes, n);
    }
}

/* Feeds `text` in pieces of every length from 1 on, and expects what is shown and the outcome. */
static void assert_stream(const char *const *stops, size_t n_stops, const char *text,
                          const char *expected, int outcome)
{
    size_t n = strlen(text);
    for (size_t piece = 1; piece <= n; piece++) {
        _cleanup_(run_done) Run run = {0};
        start(&run, stops, n_stops);
        int r = 0;
        for (size_t at = 0; r == 0 && at < n; at += piece)
            r = push(&run, text + at, n - at < piece ? n - at : piece);
        if (r == 0)
            r = ink_text_stream_finish(&run.stream, &run.out);
        assert_int_equal(r, outcome);
        assert_shown(&run, expected);
    }
}

static void test_text_stream_stop_strings(void **state)
{
    (void)state;
    static const char *const stop[] = {"STOP"}, *const nested[] = {"abcd", "bc"},
                             *const prefix[] = {"ab", "abc"}, *const two[] = {"\n\nUser:", "</s>"},
                             *const unicode[] = {"\xE4\xB8\x96\xE7\x95\x8C"},
                             *const aab[] = {"aab"};
    assert_stream(stop, 1, "go STOP now", "go ", 1);
    assert_stream(stop, 1, "STOP", "", 1);
    assert_stream(stop, 1, "go STO", "go STO", 0);
    assert_stream(stop, 1, "STSTOPP", "ST", 1);
    assert_stream(stop, 1, "STOSTOSTXP", "STOSTOSTXP", 0);
    assert_stream(nested, 2, "xabcd", "x", 1);
    assert_stream(nested, 2, "xabce", "xa", 1);
    assert_stream(nested, 2, "xabc", "xa", 1);
    assert_stream(prefix, 2, "xabcy", "x", 1);
    assert_stream(two, 2, "a\n\nUse</s>", "a\n\nUse", 1);
    assert_stream(two, 2, "a\n\nUser:x", "a", 1);
    assert_stream(unicode, 1, "a\xE4\xB8\x96\xE7\x95\x8D\xE4\xB8\x96\xE7\x95\x8C",
                  "a\xE4\xB8\x96\xE7\x95\x8D", 1);
    assert_stream(aab, 1, "aaaaaab", "aaaa", 1);
}

static void test_text_stream_holds_only_what_it_must(void **state)
{
    (void)state;
    static const char *const stops[] = {"\nUser:"};
    _cleanup_(run_done) Run run = {0};
    start(&run, stops, 1);
    push(&run, "Hello", 5);
    assert_shown(&run, "Hello");
    push(&run, ".\n", 2);
    assert_shown(&run, "Hello.");
    push(&run, "Us", 2);
    assert_shown(&run, "Hello.");
    push(&run, "a", 1);
    assert_shown(&run, "Hello.\nUsa");
    push(&run, "\nUser", 5);
    assert_shown(&run, "Hello.\nUsa");
    assert_int_equal(push(&run, ": hi", 4), INK_TEXT_STREAM_STOPPED);
    assert_shown(&run, "Hello.\nUsa");
}

static void test_text_stream_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    assert_stream(NULL, 0, "a\xFFz", "a" FFFD "z", 0);
    assert_stream(NULL, 0, "\x80\xC0\xF5", FFFD FFFD FFFD, 0);
    assert_stream(NULL, 0, "\xE4\xB8!", FFFD FFFD "!", 0);
    assert_stream(NULL, 0, "\xED\xA0\x80", FFFD FFFD FFFD, 0);
    assert_stream(NULL, 0, "\xC3\xC3\xA9", FFFD "\xC3\xA9", 0);
    /* Torn at the end: one for the whole sequence. */
    assert_stream(NULL, 0, "a\xF0\x9F\x8C", "a" FFFD, 0);
    _cleanup_(run_done) Run run = {0};
    start(&run, NULL, 0);
    push(&run, "a\0b", 3);
    assert_int_equal(run.out.size_bytes, 3);
}

static void test_text_stream_refuses_bad_stops(void **state)
{
    (void)state;
    InkTextStream s = {0};
    InkError error;
    const char *many[INK_TEXT_STREAM_MAX_STOPS + 1];
    for (size_t i = 0; i <= INK_TEXT_STREAM_MAX_STOPS; i++)
        many[i] = "x";
    char large[INK_TEXT_STREAM_MAX_STOP_BYTES + 2];
    memset(large, 'x', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    const char *const too_large[] = {large}, *const empty[] = {"a", ""}, *const bad[] = {"\xFF"};
    assert_int_equal(ink_text_stream_init(&s, many, INK_TEXT_STREAM_MAX_STOPS + 1, &error), -E2BIG);
    assert_int_equal(ink_text_stream_init(&s, too_large, 1, &error), -E2BIG);
    assert_non_null(strstr(error.message, "256"));
    assert_int_equal(ink_text_stream_init(&s, empty, 2, &error), -EINVAL);
    assert_non_null(strstr(error.message, "stop string 2"));
    assert_int_equal(ink_text_stream_init(&s, bad, 1, &error), -EINVAL);
    large[INK_TEXT_STREAM_MAX_STOP_BYTES] = '\0';
    assert_int_equal(ink_text_stream_init(&s, too_large, 1, &error), 0);
    ink_text_stream_done(&s);
}

static uint64_t random_state = 77;

static size_t next_random(size_t n)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (size_t)((z ^ z >> 31) % n);
}

/* Whole text at once: the earliest stop string cuts. */
static size_t find_earliest(const char *text, char stops[4][8], size_t n_stops)
{
    size_t best = strlen(text);
    for (size_t i = 0; i < n_stops; i++) {
        const char *found = strstr(text, stops[i]);
        if (found != NULL && (size_t)(found - text) < best)
            best = (size_t)(found - text);
    }
    return best;
}

static void test_text_stream_equals_a_search_of_the_whole_text(void **state)
{
    (void)state;
    static const char *const letters[] = {"a", "b", "\xC3\xA9", "\xF0\x9F\x8C\x8D"};
    size_t n_rounds = getenv("INKLING_TEST_FULL") != NULL ? 200000 : 5000;
    for (size_t round = 0; round < n_rounds; round++) {
        char text[200] = "", stops[4][8];
        const char *list[4];
        size_t n_stops = next_random(5), n_letters = next_random(40);
        for (size_t i = 0; i < n_letters; i++)
            strcat(text, letters[next_random(4)]);
        for (size_t i = 0; i < n_stops; i++) {
            list[i] = stops[i];
            stops[i][0] = '\0';
            for (size_t n = 1 + next_random(4); n > 0 && strlen(stops[i]) < 4; n--)
                strcat(stops[i], letters[next_random(strlen(stops[i]) == 0 ? 4 : 3)]);
        }
        _cleanup_(run_done) Run run = {0};
        start(&run, list, n_stops);
        int r = 0;
        for (size_t at = 0, n; r == 0 && text[at] != '\0'; at += n) {
            n = 1 + next_random(5);
            n = n < strlen(text + at) ? n : strlen(text + at);
            r = push(&run, text + at, n);
        }
        if (r == 0)
            r = ink_text_stream_finish(&run.stream, &run.out);
        size_t expected = find_earliest(text, stops, n_stops);
        assert_int_equal(r, text[expected] != '\0' ? INK_TEXT_STREAM_STOPPED : 0);
        assert_int_equal(run.out.size_bytes, expected);
        assert_memory_equal(run.out.data != NULL ? run.out.data : "", text, expected);
    }
}

static void test_text_stream_survives_failed_allocations(void **state)
{
    (void)state;
    static const char *const stops[] = {"STOP"};
    int r = -ENOMEM;
    for (size_t n = 1; r == -ENOMEM; n++) {
        _cleanup_(run_done) Run run = {0};
        ink_alloc_fail_at(n, false);
        r = ink_text_stream_init(&run.stream, stops, 1, NULL);
        if (r == 0)
            r = ink_text_stream_push(&run.stream, "some text ST", 12, &run.out);
        if (r == 0)
            r = ink_text_stream_finish(&run.stream, &run.out);
        ink_alloc_fail_at(0, false);
    }
    assert_int_equal(r, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_stream_characters_byte_by_byte),
        cmocka_unit_test(test_text_stream_stop_strings),
        cmocka_unit_test(test_text_stream_holds_only_what_it_must),
        cmocka_unit_test(test_text_stream_bytes_that_are_not_utf8),
        cmocka_unit_test(test_text_stream_refuses_bad_stops),
        cmocka_unit_test(test_text_stream_equals_a_search_of_the_whole_text),
        cmocka_unit_test(test_text_stream_survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
