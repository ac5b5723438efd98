/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Where each family's rule splits. Expectations follow the regular expressions of the families'
 * tokenizer.json; pieces are written with '|' between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/pre-tokenizer.h"

static void expect_split(const char *rule, const char *text, const char *pieces)
{
    size_t n_bytes = strlen(text);
    const InkPreTokenizer *p = ink_pre_tokenizer_find(rule, strlen(rule));
    InkBuffer b = INK_BUFFER_INIT;
    assert_non_null(p);
    for (size_t at = 0; at < n_bytes;) {
        size_t n = p->next(text + at, n_bytes - at);
        assert_in_range(n, 1, n_bytes - at);
        if (at != 0)
            ink_buffer_append_char(&b, '|');
        ink_buffer_append(&b, text + at, n);
        at += n;
    }
    assert_int_equal(b.size_bytes, strlen(pieces));
    assert_string_equal(b.data, pieces);
    ink_buffer_done(&b);
}

static void test_pre_tokenizer_is_a_closed_set(void **state)
{
    (void)state;
    static const char *const unknown[] = {"", "default", "gpt2", "GPT-2", "gpt-2 ", "smollmx"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_null(ink_pre_tokenizer_find(unknown[i], strlen(unknown[i])));
    /* Every name in the message is one that is found. */
    const char *names = ink_pre_tokenizer_names();
    size_t n_names = 0;
    while (*names != '\0') {
        size_t n = strcspn(names, ",");
        assert_non_null(ink_pre_tokenizer_find(names, n));
        n_names++;
        names += n + strspn(names + n, ", ");
    }
    assert_int_equal(n_names, 8);
}

static void test_pre_tokenizer_gpt2(void **state)
{
    (void)state;
    expect_split("gpt-2", "Hello world", "Hello| world");
    expect_split("gpt-2", "a  b", "a| | b");
    expect_split("gpt-2", "a  ", "a|  ");
    expect_split("gpt-2", "a \n b", "a| \n| b");
    expect_split("gpt-2", "a\nb", "a|\n|b");
    expect_split("gpt-2", "a\n\nb", "a|\n|\n|b");
    expect_split("gpt-2", "I've 'RE it's", "I|'ve| '|RE| it|'s");
    expect_split("gpt-2", "x''s", "x|''|s");
    expect_split("gpt-2", "abc123 456!?", "abc|123| 456|!?");
    expect_split("gpt-2", "\xC2\xA0x", "\xC2\xA0|x");            /* NBSP is a space, but not ' ' */
    expect_split("gpt-2", "x\xE2\x80\xA8y", "x|\xE2\x80\xA8|y"); /* U+2028 */
    expect_split("gpt-2", " \xFF\xFE.", " \xFF\xFE.");           /* not UTF-8: like signs */
    const InkPreTokenizer *p = ink_pre_tokenizer_find("gpt-2", 5);
    assert_int_equal(p->next("a\0b", 3), 1); /* NUL is a character like others */
    assert_int_equal(p->next("\0b", 2), 1);
}

static void test_pre_tokenizer_isolates_digits(void **state)
{
    (void)state;
    static const char *const rules[] = {"smollm", "starcoder"};
    for (size_t i = 0; i < 2; i++) {
        expect_split(rules[i], "abc123", "abc|1|2|3");
        /* The rule for blanks sees the end of the text before a digit. */
        expect_split(rules[i], "a  1", "a|  |1");
        expect_split(rules[i], "a 1 b", "a| |1| b");
        expect_split(rules[i], "\xC2\xBDx", "\xC2\xBD|x");
        expect_split(rules[i], "it's 3.14", "it|'s| |3|.|1|4");
    }
}

static void test_pre_tokenizer_llama3(void **state)
{
    (void)state;
    static const char *const rules[] = {"llama-bpe", "llama3", "llama-v3"};
    for (size_t i = 0; i < 3; i++) {
        expect_split(rules[i], "12345", "123|45");
        expect_split(rules[i], "I'VE it'S", "I|'VE| it|'S");
        expect_split(rules[i], "a'\xC5\xBFt", "a|'\xC5\xBF|t"); /* the long s folds to s */
        expect_split(rules[i], "(hello)", "(hello|)");
        expect_split(rules[i], "x;\n\ny", "x|;\n\n|y");
        expect_split(rules[i], "a \n \n  b", "a| \n \n| | b");
        expect_split(rules[i], "a\tb", "a|\tb");
        expect_split(rules[i], " 1", " |1");
    }
    expect_split("qwen2", "12345", "1|2|3|4|5");
    expect_split("qwen2", "a  \r\n", "a|  \r\n");
}

static void test_pre_tokenizer_deepseek(void **state)
{
    (void)state;
    expect_split("deepseek-llm", "Hello world", "Hello| world");
    expect_split("deepseek-llm", "a\n\nb", "a|\n|\n|b");
    expect_split("deepseek-llm", "12", "1|2");
    expect_split("deepseek-llm", "x 12", "x| |1|2");
    expect_split("deepseek-llm",
                 "\xC3\xBC"
                 "ber",
                 "\xC3\xBC|ber");
    expect_split("deepseek-llm", "a  ", "a|  ");
    expect_split("deepseek-llm", "\xE4\xB8\xAD\xE6\x96\x87!", "\xE4\xB8\xAD\xE6\x96\x87|!");
    expect_split("deepseek-llm", "\xE2\x80\xA9 \n", "\xE2\x80\xA9| |\n");
}

/* Every piece is found without looking back or twice ahead: a megabyte of anything is linear. */
static void test_pre_tokenizer_is_linear(void **state)
{
    (void)state;
    static const char *const rules[] = {"gpt-2", "smollm", "llama3", "qwen2", "deepseek-llm"};
    static const char *const units[] = {"a",
                                        " ",
                                        "1",
                                        "\n",
                                        "'",
                                        "a ",
                                        "\xFF",
                                        " \n",
                                        "\xE3\x80\x80 ",
                                        " \xE2\x80\x83",
                                        "\xE4\xB8\xAD\xE3\x80\x87"};
    enum { N = 300000 };
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t r = 0; r < 5; r++)
        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            const InkPreTokenizer *p = ink_pre_tokenizer_find(rules[r], strlen(rules[r]));
            size_t n_unit = strlen(units[u]);
            for (size_t i = 0; i < N; i++)
                text[i] = units[u][i % n_unit];
            text[N - 1] = 'z';
            uint64_t before = ink_clock_monotonic_usec();
            for (size_t at = 0; at < N;)
                at += p->next(text + at, N - at);
            /* Quadratic would take minutes. */
            assert_true(ink_clock_monotonic_usec() - before < 5000000);
        }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pre_tokenizer_is_a_closed_set),
        cmocka_unit_test(test_pre_tokenizer_gpt2),
        cmocka_unit_test(test_pre_tokenizer_isolates_digits),
        cmocka_unit_test(test_pre_tokenizer_llama3),
        cmocka_unit_test(test_pre_tokenizer_deepseek),
        cmocka_unit_test(test_pre_tokenizer_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
