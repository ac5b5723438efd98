/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The option tables: each key at both ends of its range, beyond them, and with a wrong type. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "ipc/options.h"

/* Messages need a bus object, but nobody at its other end. */
static sd_bus *bus;
static int far_end = -1;

static int set_up(void **state)
{
    int fds[2];
    (void)state;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    far_end = fds[1];
    return sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fds[0], fds[0]) < 0 || sd_bus_start(bus) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    sd_bus_close_unref(bus);
    close(far_end);
    return 0;
}

static sd_bus_message *new_message(void)
{
    sd_bus_message *m = NULL;
    assert_true(sd_bus_message_new_method_call(bus, &m, "a.b", "/a", "a.b", "C") >= 0);
    return m;
}

static void seal(sd_bus_message *m)
{
    assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
    assert_true(sd_bus_message_rewind(m, true) >= 0);
}

typedef struct Value {
    char type;
    uint64_t number;
    double real;
    const char *text;
} Value;

static int read_one(InkTaskKind kind, const char *key, const Value *v, InkTaskOptions *ret,
                    InkError *error)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message();
    char signature[2] = {v->type, '\0'};
    uint32_t narrow = (uint32_t)v->number;
    const void *value = v->type == 'u'   ? (const void *)&narrow
                        : v->type == 'd' ? (const void *)&v->real
                        : v->type == 's' ? (const void *)v->text
                                         : (const void *)&v->number;
    assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
    assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
    assert_true(sd_bus_message_append(m, "s", key) >= 0);
    assert_true(sd_bus_message_open_container(m, 'v', signature) >= 0);
    assert_true(sd_bus_message_append_basic(m, v->type, value) >= 0);
    for (int i = 0; i < 3; i++)
        assert_true(sd_bus_message_close_container(m) >= 0);
    seal(m);
    *error = (InkError){0};
    return ink_options_read_task(m, kind, ret, error);
}

static void test_options_numbers_keep_their_range(void **state)
{
    static const struct {
        const char *key;
        InkTaskKind kind;
        char type;
        uint64_t least, most; /* UINT64_MAX: nothing is above */
        size_t offset;
    } rows[] = {
#define ROW(key, type, least, most, field)                                                         \
    {key, INK_TASK_COMPLETE, type, least, most, offsetof(InkTaskOptions, field)}
        ROW("max-tokens", 'u', 1, 4096, task.max_tokens),
        ROW("max-lines", 'u', 1, 4096, task.max_lines),
        ROW("top-k", 'u', 0, 1000000, task.top_k),
        ROW("seed", 't', 0, UINT64_MAX, task.seed),
        ROW("deadline-usec", 't', 1, 86400000000, task.deadline_usec),
        ROW("coalesce-usec", 't', 0, 10000000, coalesce_usec),
        ROW("linger-usec", 't', 0, 60000000, linger_usec),
        {"hold-usec", INK_TASK_LOAD, 't', 0, 86400000000, offsetof(InkTaskOptions, task.hold_usec)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const uint64_t good[] = {rows[i].least, rows[i].most};
        const uint64_t bad[] = {rows[i].least - 1, rows[i].most + 1, UINT32_MAX, UINT64_MAX};
        InkTaskOptions o = {0};
        InkError error;
        for (size_t k = 0; k < 2; k++) {
            Value v = {.type = rows[i].type, .number = good[k]};
            uint64_t got = 0;
            assert_int_equal(read_one(rows[i].kind, rows[i].key, &v, &o, &error), 0);
            memcpy(&got, (char *)&o + rows[i].offset, rows[i].type == 'u' ? 4 : 8);
            assert_true(got == good[k]);
        }
        for (size_t k = 0; k < 4; k++) {
            Value v = {.type = rows[i].type, .number = bad[k]};
            uint64_t sent = rows[i].type == 'u' ? (uint32_t)bad[k] : bad[k];
            if (sent >= rows[i].least && sent <= rows[i].most)
                continue;
            assert_int_equal(read_one(rows[i].kind, rows[i].key, &v, &o, &error), -EINVAL);
            assert_non_null(strstr(error.message, rows[i].key));
            assert_non_null(strstr(error.message, "allowed is"));
        }
        Value wrong = {.type = 's', .text = "1"};
        assert_int_equal(read_one(rows[i].kind, rows[i].key, &wrong, &o, &error), -EINVAL);
        assert_non_null(strstr(error.message, "has type s, wanted is"));
    }
}

static void test_options_reals_keep_their_range(void **state)
{
    static const struct {
        const char *key;
        double least, most;
    } rows[] = {
        {"temperature", 0, 10}, {"top-p", 1e-6, 1}, {"min-p", 0, 1}, {"repeat-penalty", 0.1, 10}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const double good[] = {rows[i].least, rows[i].most};
        const double bad[] = {-1, rows[i].most * 1.01, NAN, INFINITY, -INFINITY, 1e308};
        InkTaskOptions o;
        InkError error;
        for (size_t k = 0; k < 2; k++) {
            Value v = {.type = 'd', .real = good[k]};
            assert_int_equal(read_one(INK_TASK_CHAT, rows[i].key, &v, &o, &error), 0);
        }
        for (size_t k = 0; k < 6; k++) {
            Value v = {.type = 'd', .real = bad[k]};
            assert_int_equal(read_one(INK_TASK_CHAT, rows[i].key, &v, &o, &error), -EINVAL);
            assert_non_null(strstr(error.message, rows[i].key));
        }
        Value wrong = {.type = 'u', .number = 1};
        assert_int_equal(read_one(INK_TASK_CHAT, rows[i].key, &wrong, &o, &error), -EINVAL);
    }
}

static void test_options_strings(void **state)
{
    char long_text[300];
    memset(long_text, 'a', sizeof(long_text));
    long_text[299] = '\0';
    const struct {
        InkTaskKind kind;
        const char *key, *value;
        int result;
    } rows[] = {
        {INK_TASK_COMPLETE, "priority", "typing", 0},
        {INK_TASK_COMPLETE, "priority", "Typing", -EINVAL},
        {INK_TASK_COMPLETE, "priority", "", -EINVAL},
        {INK_TASK_COMPLETE, "stream", "delta", 0},
        {INK_TASK_COMPLETE, "stream", "all", -EINVAL},
        {INK_TASK_COMPLETE, "model", "", 0},
        {INK_TASK_COMPLETE, "model", long_text, -E2BIG},
        {INK_TASK_COMPLETE, "supersede-key", "line", 0},
        {INK_TASK_COMPLETE, "supersede-key", "", -EINVAL},
        {INK_TASK_COMPLETE, "handle-token", "a_Z9", 0},
        {INK_TASK_COMPLETE, "handle-token", "", -EINVAL},
        {INK_TASK_COMPLETE, "handle-token", "a.b", -EINVAL},
        {INK_TASK_COMPLETE, "handle-token", long_text, -EINVAL},
        {INK_TASK_COMPLETE, "system", "x", -EINVAL},
        {INK_TASK_CHAT, "system", "x", 0},
        {INK_TASK_CHAT, "x-anything", "x", 0},
        {INK_TASK_CHAT, "X-anything", "x", -EINVAL},
        {INK_TASK_LOAD, "max-tokens", "x", -EINVAL},
        {INK_TASK_LOAD, "stop", "x", -EINVAL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        InkTaskOptions o;
        InkError error;
        Value v = {.type = 's', .text = rows[i].value};
        int r = read_one(rows[i].kind, rows[i].key, &v, &o, &error);
        if (r != rows[i].result)
            fail_msg("%s=%.20s: %d, %s", rows[i].key, rows[i].value, r, error.message);
        if (r < 0)
            assert_non_null(strstr(error.message, rows[i].key));
    }
}

static void test_options_defaults(void **state)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message(), *n = new_message();
    InkTaskOptions a, b;
    InkError error = {0};
    (void)state;
    assert_true(sd_bus_message_append(m, "a{sv}", 0) >= 0);
    assert_true(sd_bus_message_append(n, "a{sv}", 0) >= 0);
    seal(m);
    seal(n);
    assert_int_equal(ink_options_read_task(m, INK_TASK_COMPLETE, &a, &error), 0);
    assert_int_equal(ink_options_read_task(n, INK_TASK_CHAT, &b, &error), 0);
    assert_int_equal(a.task.max_tokens, 256);
    assert_int_equal(b.task.max_tokens, 512);
    assert_int_equal(a.task.max_lines, 0);
    assert_int_equal(a.task.top_k, 40);
    assert_true(a.task.temperature == 0.7 && a.task.top_p == 0.95 && a.task.min_p == 0.05);
    assert_int_equal(a.task.priority, INK_PRIORITY_INTERACTIVE);
    assert_int_equal(a.task.deadline_usec, 0);
    assert_int_equal(a.linger_usec, 5000000);
    assert_int_equal(a.coalesce_usec, 20000);
    assert_true(a.task.seed != b.task.seed);
    assert_true(a.task.seed < UINT64_C(1) << 53);
}

static void test_options_stops_are_bounded(void **state)
{
    static const struct {
        size_t n, n_bytes;
        int result;
    } rows[] = {{0, 1, 0}, {16, 256, 0}, {17, 1, -EINVAL}, {1, 0, -EINVAL}, {1, 257, -E2BIG}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message();
        char *stops[18] = {NULL}, text[300] = "";
        InkTaskOptions o;
        InkError error = {0};
        memset(text, '.', rows[i].n_bytes);
        text[rows[i].n_bytes] = '\0';
        for (size_t k = 0; k < rows[i].n; k++)
            stops[k] = text;
        assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
        assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
        assert_true(sd_bus_message_append(m, "s", "stop") >= 0);
        assert_true(sd_bus_message_open_container(m, 'v', "as") >= 0);
        assert_true(sd_bus_message_append_strv(m, stops) >= 0);
        for (int k = 0; k < 3; k++)
            assert_true(sd_bus_message_close_container(m) >= 0);
        seal(m);
        assert_int_equal(ink_options_read_task(m, INK_TASK_COMPLETE, &o, &error), rows[i].result);
        if (rows[i].result == 0)
            assert_int_equal(o.n_stops, rows[i].n);
    }
}

static void test_options_messages_fit_together(void **state)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message();
    _cleanup_(ink_task_input_done) InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions o = {.task = {.kind = INK_TASK_CHAT}};
    InkError error = {0};
    _cleanup_free_ char *text = malloc(INK_BUS_MAX_STRING_BYTES + 1);
    (void)state;
    memset(text, 'a', INK_BUS_MAX_STRING_BYTES);
    text[INK_BUS_MAX_STRING_BYTES] = '\0';
    assert_true(sd_bus_message_open_container(m, 'a', "(ss)") >= 0);
    for (int i = 0; i < 17; i++) /* 17 times 256 KiB are more than 4 MiB */
        assert_true(sd_bus_message_append(m, "(ss)", "user", text) >= 0);
    assert_true(sd_bus_message_close_container(m) >= 0);
    seal(m);
    assert_int_equal(ink_options_read_messages(m, &in, &error), 0);
    assert_int_equal(in.n_messages, 17);
    assert_int_equal(ink_options_join(&o, &in, &error), -E2BIG);
    assert_non_null(strstr(error.message, "4456448"));
    assert_non_null(strstr(error.message, "4194304"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_numbers_keep_their_range),
        cmocka_unit_test(test_options_reals_keep_their_range),
        cmocka_unit_test(test_options_strings),
        cmocka_unit_test(test_options_defaults),
        cmocka_unit_test(test_options_stops_are_bounded),
        cmocka_unit_test(test_options_messages_fit_together),
    };
    return cmocka_run_group_tests_name("ipc/options", tests, set_up, tear_down);
}
