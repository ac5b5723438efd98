/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/sha256.h"

static void sum_of(const void *data, size_t n_bytes, size_t step, bool plain, char hex[65])
{
    InkSha256 s;
    uint8_t sum[INK_SHA256_BYTES];
    ink_sha256_init(&s, plain);
    for (size_t at = 0; at < n_bytes; at += step)
        ink_sha256_update(&s, (const uint8_t *)data + at,
                          at + step < n_bytes ? step : n_bytes - at);
    ink_sha256_final(&s, sum);
    ink_sha256_to_hex(sum, hex);
}

/* FIPS 180-4 and the examples of NIST; the long ones from sha256sum. */
static void test_sha256_known_sums_hold_with_and_without_instructions(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sum;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrl"
         "m"
         "nopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int plain = 0; plain < 2; plain++) {
            char hex[65];
            sum_of(rows[i].text, strlen(rows[i].text), 1000, plain != 0, hex);
            assert_string_equal(hex, rows[i].sum);
            sum_of(rows[i].text, strlen(rows[i].text), 1, plain != 0, hex);
            assert_string_equal(hex, rows[i].sum);
        }
}

static void test_sha256_a_million_letters(void **state)
{
    (void)state;
    char *data = malloc(1000000), hex[65];
    assert_non_null(data);
    memset(data, 'a', 1000000);
    for (int plain = 0; plain < 2; plain++) {
        sum_of(data, 1000000, 4096, plain != 0, hex);
        assert_string_equal(hex,
                            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(data);
}

/* Each length around the borders of the padding, in pieces of odd sizes, both ways. */
static void test_sha256_pieces_and_ways_agree(void **state)
{
    (void)state;
    uint8_t data[300];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof(data); n++) {
        char whole[65], pieces[65];
        sum_of(data, n, 1000, true, whole);
        for (size_t step = 1; step < 80; step += 13) {
            sum_of(data, n, step, false, pieces);
            assert_string_equal(pieces, whole);
        }
    }
}

static void test_sha256_reads_sixty_four_digits_only(void **state)
{
    (void)state;
    uint8_t sum[INK_SHA256_BYTES] = {0};
    char hex[65];
    const char *good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_true(ink_sha256_from_hex(good, sum));
    ink_sha256_to_hex(sum, hex);
    assert_string_equal(hex, good);
    assert_true(ink_sha256_from_hex(
        "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", sum));
    assert_false(ink_sha256_from_hex("", sum));
    assert_false(ink_sha256_from_hex(good + 1, sum));
    assert_false(ink_sha256_from_hex(
        "ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sum));
    assert_false(ink_sha256_from_hex(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0", sum));
}

/* The same as the tool that people will compare with. */
static void test_sha256_agrees_with_sha256sum(void **state)
{
    (void)state;
    char path[] = "/tmp/ink-sha-XXXXXX", command[64], expected[65] = "", hex[65];
    uint8_t data[100001];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * i >> 3);
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, sizeof(data), f), sizeof(data));
    assert_int_equal(fclose(f), 0);
    snprintf(command, sizeof(command), "sha256sum %s", path);
    FILE *tool = popen(command, "r");
    assert_non_null(tool);
    assert_int_equal(fscanf(tool, "%64s", expected), 1);
    pclose(tool);
    remove(path);
    sum_of(data, sizeof(data), 4096, false, hex);
    assert_string_equal(hex, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_known_sums_hold_with_and_without_instructions),
        cmocka_unit_test(test_sha256_a_million_letters),
        cmocka_unit_test(test_sha256_pieces_and_ways_agree),
        cmocka_unit_test(test_sha256_reads_sixty_four_digits_only),
        cmocka_unit_test(test_sha256_agrees_with_sha256sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
