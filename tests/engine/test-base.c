/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* engine/base: allocation, buffers and JSON, UTF-8, the byte reader, errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/buffer.h"
#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/base/network-probe.h"
#include "engine/base/utf8.h"

static void test_alloc_refuses_products_that_wrap(void **state)
{
    (void)state;
    size_t v = 7;
    assert_null(ink_alloc_array(SIZE_MAX, 2));
    assert_null(ink_alloc_array((size_t)1 << 33, (size_t)1 << 33));
    assert_null(ink_realloc_array(NULL, SIZE_MAX / 2, 3));
    assert_null(ink_alloc_aligned(SIZE_MAX - 3));
    assert_false(ink_size_mul(SIZE_MAX, 2, &v));
    assert_false(ink_size_align(SIZE_MAX, 64, &v));
    assert_true(ink_size_align(65, 64, &v));
    assert_int_equal(v, 128);
    void *p = ink_alloc_array(0, 8);
    assert_non_null(p);
    free(p);
}

static void test_alloc_gives_cleared_and_aligned_memory(void **state)
{
    (void)state;
    static const uint8_t zeros[100];
    uint8_t *p = ink_alloc_array(100, 1), *q = ink_alloc_aligned(100);
    assert_memory_equal(p, zeros, 100);
    assert_memory_equal(q, zeros, 100);
    assert_int_equal((uintptr_t)q % 64, 0);
    free(p);
    free(q);
}

static void test_alloc_fails_where_it_is_told(void **state)
{
    (void)state;
    ink_alloc_fail_at(2, false);
    void *a = ink_alloc_array(1, 1), *b = ink_alloc_array(1, 1), *c = ink_alloc_array(1, 1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    assert_int_equal(ink_alloc_count(), 3);
    ink_alloc_fail_at(1, true);
    assert_null(ink_alloc_array(1, 1));
    assert_null(ink_memdup("x", 1));
    ink_alloc_fail_at(0, false);
    free(a);
    free(c);
}

static void test_buffer_appends_and_consumes(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    ink_buffer_append_str(&b, "hello");
    ink_buffer_append_char(&b, ' ');
    ink_buffer_printf(&b, "%d%%", 42);
    ink_buffer_append(&b, NULL, 0);
    assert_string_equal(b.data, "hello 42%");
    ink_buffer_consume(&b, 6);
    assert_string_equal(b.data, "42%");
    ink_buffer_consume(&b, 100);
    assert_int_equal(b.size_bytes, 0);
    for (int i = 0; i < 10000; i++)
        ink_buffer_append_str(&b, "abc");
    assert_int_equal(b.size_bytes, 30000);
    assert_int_equal(strlen(b.data), 30000);
    assert_int_equal(ink_buffer_status(&b), 0);
    char *text = ink_buffer_take(&b);
    assert_int_equal(strlen(text), 30000);
    assert_null(b.data);
    free(text);
    text = ink_buffer_take(&b);
    assert_string_equal(text, "");
    free(text);
}

static void test_buffer_remembers_that_memory_was_short(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    ink_alloc_fail_at(1, true);
    ink_buffer_append_str(&b, "lost");
    ink_alloc_fail_at(0, false);
    ink_buffer_append_str(&b, "too late");
    assert_int_equal(ink_buffer_status(&b), -ENOMEM);
    assert_null(ink_buffer_take(&b));
    ink_buffer_clear(&b);
    ink_buffer_append_str(&b, "again");
    assert_int_equal(ink_buffer_status(&b), 0);
    ink_buffer_done(&b);
}

static void expect_json(const char *text, size_t n_bytes, const char *json)
{
    InkBuffer b = INK_BUFFER_INIT;
    ink_buffer_json_string(&b, text, n_bytes);
    assert_string_equal(b.data, json);
    ink_buffer_done(&b);
}

static void test_buffer_json_strings(void **state)
{
    (void)state;
    expect_json("", 0, "\"\"");
    expect_json("a\"\\\n\r\t", 6, "\"a\\\"\\\\\\n\\r\\t\"");
    expect_json("\0\x1F\x7F", 3, "\"\\u0000\\u001f\\u007f\"");
    expect_json("\xC3\xA9\xF0\x9F\xA6\x99", 6, "\"\xC3\xA9\xF0\x9F\xA6\x99\"");
    expect_json("\xFF\xC3", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void test_buffer_json_doubles_read_back(void **state)
{
    (void)state;
    static const double values[] = {0,     -0.0,    1,      0.1,    1.0 / 3,
                                    1e300, -2.5e-9, 123456, 1e-310, 0.1 + 0.2};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        InkBuffer b = INK_BUFFER_INIT;
        ink_buffer_json_double(&b, values[i]);
        assert_true(strtod(b.data, NULL) == values[i]);
        ink_buffer_done(&b);
    }
    InkBuffer b = INK_BUFFER_INIT;
    ink_buffer_json_double(&b, NAN);
    ink_buffer_json_double(&b, INFINITY);
    assert_string_equal(b.data, "nullnull");
    ink_buffer_done(&b);
}

static void test_utf8_round_trips_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110100; c++) {
        char text[4];
        uint32_t back = 0;
        size_t n = ink_utf8_encode(c, text);
        bool scalar = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        size_t wanted = !scalar ? 0 : c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (n != wanted)
            fail_msg("U+%04X has %zu bytes", (unsigned)c, n);
        if (n == 0)
            continue;
        if (ink_utf8_decode(text, n, &back) != n || back != c)
            fail_msg("U+%04X does not come back", (unsigned)c);
        for (size_t cut = 1; cut < n; cut++)
            if (ink_utf8_decode(text, cut, &back) != 0 || ink_utf8_torn_tail(text, cut) != cut)
                fail_msg("U+%04X cut to %zu bytes", (unsigned)c, cut);
        if (ink_utf8_torn_tail(text, n) != 0)
            fail_msg("U+%04X counts as torn", (unsigned)c);
    }
}

static void test_utf8_refuses_every_other_pair_of_bytes(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        char text[2] = {(char)(pair >> 8), (char)pair};
        unsigned a = pair >> 8, b = pair & 0xFF;
        bool valid = (a < 0x80 && b < 0x80) || (a >= 0xC2 && a <= 0xDF && (b & 0xC0) == 0x80);
        assert_int_equal(ink_utf8_valid(text, 2), valid);
    }
}

static void test_utf8_refuses_overlong_and_surrogates(void **state)
{
    (void)state;
    static const char *const bad[] = {"\xC0\x80",         "\xE0\x80\x80",     "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",     "\xED\xBF\xBF",     "\xF0\x80\x80\x80",
                                      "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(ink_utf8_valid(bad[i], strlen(bad[i])));
        assert_int_equal(ink_utf8_torn_tail(bad[i], strlen(bad[i])), 0);
    }
    assert_int_equal(ink_utf8_torn_tail("\xED\xA0", 2), 0); /* can only become a surrogate */
    assert_int_equal(ink_utf8_torn_tail("a\xF0\x9F\xA6", 4), 3);
    assert_true(ink_utf8_valid("", 0));
}

static void test_bytes_stop_at_the_end(void **state)
{
    (void)state;
    static const uint8_t data[] = {1, 2, 0, 3, 0, 0, 0, 4};
    InkBytes b = {data, sizeof(data), 0};
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64 = 77;
    const uint8_t *p = NULL;
    assert_int_equal(ink_bytes_u8(&b, &u8), 0);
    assert_int_equal(ink_bytes_u16(&b, &u16), 0);
    assert_int_equal(ink_bytes_u32(&b, &u32), 0);
    assert_int_equal(u8, 1);
    assert_int_equal(u16, 2);
    assert_int_equal(u32, 3);
    assert_int_equal(ink_bytes_u64(&b, &u64), -EBADMSG);
    assert_int_equal(ink_bytes_take(&b, SIZE_MAX, &p), -EBADMSG);
    assert_int_equal(u64, 77);
    assert_null(p);
    assert_int_equal(ink_bytes_left(&b), 1);
    assert_int_equal(ink_bytes_take(&b, 1, &p), 0);
    assert_int_equal(*p, 4);
}

static void test_error_messages_are_cut_at_characters(void **state)
{
    (void)state;
    char text[400];
    for (size_t shift = 0; shift < 4; shift++) {
        InkError e = {0};
        memset(text, 'x', sizeof(text));
        for (size_t i = shift; i + 4 < sizeof(text); i += 4)
            memcpy(text + i, "\xF0\x9F\xA6\x99", 4);
        text[sizeof(text) - 4] = '\0';
        assert_int_equal(ink_error_raise(&e, EINVAL, "%s", text), -EINVAL);
        assert_int_equal(e.code, EINVAL);
        assert_true(ink_utf8_valid(e.message, strlen(e.message)));
        assert_true(strlen(e.message) >= INK_ERROR_MESSAGE_BYTES - 5);
    }
    assert_int_equal(ink_error_raise(NULL, EIO, "nobody listens"), -EIO);
}

static void test_error_names(void **state)
{
    (void)state;
    assert_string_equal(ink_error_name(EBADMSG), "EBADMSG");
    assert_string_equal(ink_error_name(EPROTO), "EPROTO");
    assert_string_equal(ink_error_name(0), "EUNKNOWN");
}

static void test_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t a = ink_clock_monotonic_usec(), b = ink_clock_monotonic_usec();
    assert_true(b >= a);
    assert_true(ink_clock_real_usec() > 1600000000000000u);
}

/* In a process without a filter something goes through: the proof can fail. */
static void test_network_probe_sees_open_doors(void **state)
{
    int errors[INK_NETWORK_TRIES], n_open = 0;
    (void)state;
    ink_network_probe(errors);
    for (size_t i = 0; i < INK_NETWORK_TRIES; i++) {
        assert_in_range(errors[i], 0, 4095);
        assert_non_null(ink_network_tries[i]);
        n_open += errors[i] == 0;
    }
    assert_true(n_open > 0);
}

static void test_utf8_copies_are_cut_between_characters(void **state)
{
    (void)state;
    char out[8];
    ink_utf8_copy_cut(out, sizeof(out), "short");
    assert_string_equal(out, "short");
    ink_utf8_copy_cut(out, sizeof(out), "1234567");
    assert_string_equal(out, "1234567");
    ink_utf8_copy_cut(out, sizeof(out), "123456\xC3\xA4"); /* 8 bytes */
    assert_string_equal(out, "123456");
    ink_utf8_copy_cut(out, 1, "x");
    assert_string_equal(out, "");
    ink_utf8_copy_printable(out, sizeof(out), "a\nb\xFF\x7F", 5);
    assert_string_equal(out, "a?b??");
    ink_utf8_copy_printable(out, sizeof(out), "\xC2\x9B[m", 4); /* a control of two bytes */
    assert_string_equal(out, "?[m");
    ink_utf8_copy_printable(out, sizeof(out), "a\xE2\x80\xAEz", 5); /* right to left from here */
    assert_string_equal(out, "a?z");
    assert_true(ink_utf8_all_printable("", 0));
    assert_true(ink_utf8_all_printable("a \xC3\xA4", 4));
    assert_false(ink_utf8_all_printable("a\n", 2));
    assert_false(ink_utf8_all_printable("\xC2\x85", 2));
    assert_false(ink_utf8_all_printable("\xFF", 1));
    ink_utf8_copy_printable(out, sizeof(out), "12345\xF0\x9F\x90\xA2", 9);
    assert_string_equal(out, "12345");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_copies_are_cut_between_characters),
        cmocka_unit_test(test_alloc_refuses_products_that_wrap),
        cmocka_unit_test(test_alloc_gives_cleared_and_aligned_memory),
        cmocka_unit_test(test_alloc_fails_where_it_is_told),
        cmocka_unit_test(test_buffer_appends_and_consumes),
        cmocka_unit_test(test_buffer_remembers_that_memory_was_short),
        cmocka_unit_test(test_buffer_json_strings),
        cmocka_unit_test(test_buffer_json_doubles_read_back),
        cmocka_unit_test(test_utf8_round_trips_every_code_point),
        cmocka_unit_test(test_utf8_refuses_every_other_pair_of_bytes),
        cmocka_unit_test(test_utf8_refuses_overlong_and_surrogates),
        cmocka_unit_test(test_bytes_stop_at_the_end),
        cmocka_unit_test(test_error_messages_are_cut_at_characters),
        cmocka_unit_test(test_error_names),
        cmocka_unit_test(test_network_probe_sees_open_doors),
        cmocka_unit_test(test_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
