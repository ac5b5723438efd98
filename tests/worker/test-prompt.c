/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What goes when a prompt is too long, with the toy model: of chats by whole turns, of texts
 * between characters, and never more than must. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "engine/worker/prompt.h"

static InkEngine *engine;

static int setup(void **state)
{
    (void)state;
    InkError e = {0};
    InkEngineOptions options = {.n_threads = 1, .pack_cache_fd = -1};
    char path[4096];
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/data/toy-llama.gguf", root != NULL ? root : ".");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ink_engine_open(fd, &options, &engine, &e), 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine = ink_engine_close(engine);
    return 0;
}

/* What was kept, as text with the template around it. */
typedef struct Fitted {
    int r;
    InkError error;
    size_t n_tokens;
    InkPromptCuts cuts;
    char text[32768];
} Fitted;

static Fitted fit(const char *const *strings, size_t n_messages, InkWireOverflow overflow,
                  size_t n_most)
{
    Fitted f = {0};
    InkWireString list[64];
    size_t n_strings = n_messages != 0 ? 2 * n_messages : 1;
    _cleanup_tokens_ InkTokens tokens = INK_TOKENS_INIT;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    assert_true(n_strings <= 64);
    for (size_t i = 0; i < n_strings; i++)
        list[i] = (InkWireString){strings[i], strlen(strings[i])};
    const InkPrompt prompt = {.strings = list, .n_messages = n_messages, .whole = true};
    f.r = ink_prompt_fit(engine, &prompt, overflow, n_most, &tokens, &f.cuts, &f.error);
    f.n_tokens = tokens.n;
    if (f.r == 0)
        assert_int_equal(ink_tokenizer_decode(ink_engine_tokenizer(engine), INK_TOKEN_NONE,
                                              tokens.ids, tokens.n, true, &text, NULL),
                         0);
    assert_true(text.size_bytes < sizeof(f.text));
    if (text.size_bytes > 0)
        memcpy(f.text, text.data, text.size_bytes);
    return f;
}

static bool has(const Fitted *f, const char *text)
{
    return strstr(f->text, text) != NULL;
}

static const char *const chat[] = {
    "system",    "be brief and kind",
    "user",      "alpha alpha alpha alpha alpha",
    "assistant", "bravo bravo bravo bravo",
    "user",      "charlie charlie charlie charlie",
    "assistant", "delta delta delta delta delta",
    "user",      "echo echo echo echo echo echo",
    "assistant", "foxtrot foxtrot foxtrot foxtrot",
    "user",      "golf golf golf golf golf golf",
};
#define N_CHAT (sizeof(chat) / sizeof(chat[0]) / 2)

static void test_prompt_that_fits_is_left_alone(void **state)
{
    (void)state;
    size_t n = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_ERROR, SIZE_MAX).n_tokens;
    for (uint32_t overflow = 0; overflow <= INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE; overflow++) {
        Fitted f = fit(chat, N_CHAT, (InkWireOverflow)overflow, n);
        assert_int_equal(f.r, 0);
        assert_int_equal(f.n_tokens, n);
        assert_int_equal(f.cuts.n_tokens, 0);
        assert_int_equal(f.cuts.n_messages, 0);
    }
    Fitted f = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_ERROR, n - 1);
    char number[32];
    snprintf(number, sizeof(number), "%zu tokens", n);
    assert_int_equal(f.r, -EMSGSIZE);
    assert_non_null(strstr(f.error.message, number));
}

/* Every room from all to nothing: whole turns, the oldest first, and as few as must. */
static void test_prompt_drop_oldest_takes_whole_turns(void **state)
{
    (void)state;
    static const char *const words[] = {"alpha", "bravo",   "charlie", "delta",
                                        "echo",  "foxtrot", "golf"};
    size_t n = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_ERROR, SIZE_MAX).n_tokens;
    size_t n_after[4]; /* tokens when so many turns are gone */
    for (size_t turns = 0; turns < 4; turns++) {
        const char *rest[2 * N_CHAT] = {chat[0], chat[1]};
        memcpy(rest + 2, chat + 2 + 4 * turns, (2 * N_CHAT - 2 - 4 * turns) * sizeof(*rest));
        n_after[turns] = fit(rest, N_CHAT - 2 * turns, INK_WIRE_OVERFLOW_ERROR, SIZE_MAX).n_tokens;
    }
    for (size_t room = n; room > 0; room--) {
        Fitted f = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_DROP_OLDEST, room);
        size_t turns = 0;
        while (turns < 4 && n_after[turns] > room)
            turns++;
        if (turns == 4) {
            char number[32];
            snprintf(number, sizeof(number), " %zu tokens", n_after[3]);
            assert_int_equal(f.r, -EMSGSIZE);
            assert_non_null(strstr(f.error.message, number));
            continue;
        }
        assert_int_equal(f.r, 0);
        assert_int_equal(f.n_tokens, n_after[turns]);
        assert_int_equal(f.cuts.n_messages, 2 * turns);
        assert_int_equal(f.cuts.n_tokens, n - n_after[turns]);
        assert_true(has(&f, "be brief and kind"));
        for (size_t i = 0; i < 7; i++)
            assert_int_equal(has(&f, words[i]), i >= 2 * turns);
    }
}

static void test_prompt_middle_of_a_chat_keeps_both_ends(void **state)
{
    (void)state;
    size_t n = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_ERROR, SIZE_MAX).n_tokens;
    Fitted f = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE, n - 1);
    assert_int_equal(f.cuts.n_messages, 2);
    assert_true(has(&f, "alpha") && has(&f, "bravo") && has(&f, "echo") && has(&f, "golf"));
    assert_false(has(&f, "charlie") || has(&f, "delta"));
    f = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE, f.n_tokens - 1);
    assert_int_equal(f.cuts.n_messages, 4);
    assert_true(has(&f, "alpha") && has(&f, "golf") && has(&f, "kind"));
    assert_false(has(&f, "charlie") || has(&f, "echo"));
    f = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE, f.n_tokens - 1);
    assert_int_equal(f.cuts.n_messages, 6);
    assert_true(has(&f, "golf golf golf golf golf golf") && has(&f, "kind"));
    assert_false(has(&f, "alpha"));
    f = fit(chat, N_CHAT, INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE, f.n_tokens - 1);
    assert_int_equal(f.r, 0); /* now the text itself */
    assert_int_equal(f.cuts.n_messages, 6);
    assert_false(has(&f, "golf golf golf golf golf golf"));
}

static const char *numbered_text(void)
{
    static char text[8192];
    text[0] = '\0';
    for (size_t i = 0; i < 900; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%zu ", i);
    return text;
}

static void test_prompt_text_loses_no_more_than_must(void **state)
{
    (void)state;
    const char *text = numbered_text();
    const char *const plain[] = {text};
    const char *const last[] = {"system", "kind", "user", "old old", "user", text};
    for (size_t room = 50; room < 500; room += 23)
        for (uint32_t overflow = 1; overflow <= 3; overflow++)
            for (size_t n_messages = 0; n_messages <= 3; n_messages += 3) {
                Fitted f = fit(n_messages != 0 ? last : plain, n_messages,
                               (InkWireOverflow)overflow, room);
                if (n_messages != 0 && overflow == INK_WIRE_OVERFLOW_DROP_OLDEST) {
                    assert_int_equal(f.r, -EMSGSIZE);
                    continue;
                }
                assert_int_equal(f.r, 0);
                assert_true(f.n_tokens <= room && f.n_tokens + 8 > room);
                assert_true(f.cuts.n_tokens > 0);
                assert_int_equal(f.cuts.n_messages, n_messages != 0 ? 1 : 0);
                assert_true(has(&f, "899")); /* the end is always there */
                assert_int_equal(has(&f, "0 1 2 "), overflow == INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE);
                assert_false(has(&f, "450 ") && room < 300);
                assert_int_equal(has(&f, "kind"), n_messages != 0);
            }
}

/* -1 when there is none. */
static int open_real_model(void)
{
    char path[4096];
    const char *given = getenv("INKLING_TEST_MODEL"), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME"), *name = "inkling/models/smollm2-135m-instruct-q4_1.gguf";
    if (given != NULL && given[0] != '\0')
        return open(given, O_RDONLY | O_CLOEXEC);
    if (data != NULL && data[0] == '/')
        snprintf(path, sizeof(path), "%s/%s", data, name);
    else
        snprintf(path, sizeof(path), "%s/.local/share/%s", home != NULL ? home : "", name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The toy has no tokens for what is not ASCII; a character here has three bytes, and several
 * tokens. */
static void test_prompt_is_cut_between_characters(void **state)
{
    (void)state;
    InkError e = {0};
    InkEngineOptions options = {.n_threads = 2, .pack_cache_fd = -1};
    InkEngine *toy = engine;
    char text[3 * 1000 + 1];
    const char *const plain[] = {text};
    int fd = open_real_model();
    if (fd < 0) {
        assert_null(getenv("CI")); /* there it must be present */
        skip();
    }
    assert_int_equal(ink_engine_open(fd, &options, &engine, &e), 0);
    close(fd);
    for (size_t i = 0; i < 1000; i++)
        snprintf(text + 3 * i, 4, "\xE1%c%c", (char)(0x80 + i / 64), (char)(0x80 + i % 64));
    for (size_t room = 50; room < 150; room++)
        for (uint32_t overflow = 2; overflow <= 3; overflow++) {
            Fitted f = fit(plain, 0, (InkWireOverflow)overflow, room);
            assert_int_equal(f.r, 0);
            assert_true(f.n_tokens <= room && f.n_tokens + 8 > room);
            assert_true(ink_utf8_valid(f.text, strlen(f.text)));
            assert_true(strlen(f.text) >= 30 && strlen(f.text) % 3 == 0);
            assert_string_equal(f.text + strlen(f.text) - 9, text + strlen(text) - 9);
            assert_int_equal(memcmp(f.text, text, 9) == 0,
                             overflow == INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE);
        }
    ink_engine_close(engine);
    engine = toy;
}

static void test_prompt_that_cannot_be_cut_is_refused(void **state)
{
    (void)state;
    const char *const lead[] = {"system", numbered_text(), "user", "hello"};
    const char *const empty[] = {"user", ""};
    Fitted f = fit(lead, 2, INK_WIRE_OVERFLOW_TRUNCATE_HEAD, 100);
    assert_int_equal(f.r, -EMSGSIZE); /* the system text is never cut */
    assert_non_null(strstr(f.error.message, "100"));
    f = fit(empty, 1, INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE, 1);
    assert_int_equal(f.r, -EMSGSIZE);
    f = fit(empty, 1, INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE, 0);
    assert_int_equal(f.r, -EMSGSIZE);
}

static void test_prompt_chat_may_lack_users(void **state)
{
    (void)state;
    const char *const odd[] = {"assistant", "first first first", "assistant", "second",
                               "user",      "third third",       "assistant", "fourth"};
    const char *const lone[] = {"system", numbered_text()};
    size_t n = fit(odd, 4, INK_WIRE_OVERFLOW_ERROR, SIZE_MAX).n_tokens;
    Fitted f = fit(odd, 4, INK_WIRE_OVERFLOW_DROP_OLDEST, n - 1);
    assert_int_equal(f.r, 0);
    assert_int_equal(f.cuts.n_messages, 2);
    assert_true(has(&f, "third") && has(&f, "fourth"));
    f = fit(lone, 1, INK_WIRE_OVERFLOW_TRUNCATE_HEAD, 100);
    assert_int_equal(f.r, 0);
    assert_true(has(&f, "899"));
}

static void test_prompt_cutting_survives_every_failing_allocation(void **state)
{
    (void)state;
    const char *const last[] = {"system", "kind", "user", "old old", "user", numbered_text()};
    int r = -ENOMEM;
    size_t n_failed = 0;
    for (size_t n = 1; r == -ENOMEM && n < 10000; n++) {
        InkWireString list[6];
        _cleanup_tokens_ InkTokens tokens = INK_TOKENS_INIT;
        InkPromptCuts cuts;
        for (size_t i = 0; i < 6; i++)
            list[i] = (InkWireString){last[i], strlen(last[i])};
        const InkPrompt prompt = {.strings = list, .n_messages = 3, .whole = true};
        ink_alloc_fail_at(n, false);
        r = ink_prompt_fit(engine, &prompt, INK_WIRE_OVERFLOW_TRUNCATE_HEAD, 100, &tokens, &cuts,
                           NULL);
        ink_alloc_fail_at(0, false);
        assert_true(r == 0 || r == -ENOMEM);
        n_failed += r == -ENOMEM;
    }
    assert_int_equal(r, 0);
    assert_true(n_failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_that_fits_is_left_alone),
        cmocka_unit_test(test_prompt_drop_oldest_takes_whole_turns),
        cmocka_unit_test(test_prompt_middle_of_a_chat_keeps_both_ends),
        cmocka_unit_test(test_prompt_text_loses_no_more_than_must),
        cmocka_unit_test(test_prompt_is_cut_between_characters),
        cmocka_unit_test(test_prompt_that_cannot_be_cut_is_refused),
        cmocka_unit_test(test_prompt_chat_may_lack_users),
        cmocka_unit_test(test_prompt_cutting_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
