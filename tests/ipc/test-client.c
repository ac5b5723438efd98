/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* libinkling against the fake service on a private bus. */
#include "tests/ipc/bus-fixture.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "ipc/client.h"

typedef struct Ask {
    const char *model;
    uint32_t max_tokens;
    uint64_t seed;
} Ask;

static int append_prompt(sd_bus_message *m, void *userdata)
{
    (void)userdata;
    return sd_bus_message_append(m, "{sv}", "prompt", "s", "Hello");
}

static int append_options(sd_bus_message *m, void *userdata)
{
    const Ask *ask = userdata;
    return sd_bus_message_append(m, "{sv}{sv}{sv}", "model", "s", ask->model, "max-tokens", "u",
                                 ask->max_tokens, "seed", "t", ask->seed);
}

static InkClient *connect_client(void)
{
    InkClient *c = NULL;
    InkError error = {0};
    assert_int_equal(ink_client_new(&c, &error), 0);
    return c;
}

static InkStream *start(InkClient *c, const char *model, uint32_t max_tokens)
{
    InkStream *s = NULL;
    InkError error = {0};
    Ask ask = {model, max_tokens, UINT64_MAX - 1};
    assert_int_equal(
        ink_client_start_pipe(c, "complete", append_prompt, append_options, &ask, &s, &error), 0);
    return s;
}

static void test_client_reads_a_stream(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_(ink_stream_free_p) InkStream *s = start(c, "", 4);
    InkStreamFrame frame;
    InkError error = {0};
    char text[128] = "";
    int r, n_progress = 0;
    (void)state;
    while ((r = ink_stream_next(s, &frame, &error)) > 0 && r != INK_STREAM_FINISHED) {
        if (r == INK_STREAM_PROGRESS) {
            assert_string_equal(frame.stage, "prefill");
            n_progress++;
            continue;
        }
        assert_int_equal(frame.offset_bytes, strlen(text));
        strncat(text, frame.text, frame.n_text_bytes);
    }
    assert_int_equal(r, INK_STREAM_FINISHED);
    assert_string_equal(text, "word word word word ");
    assert_int_equal(n_progress, 1);
    assert_int_equal(frame.status, 0);
    assert_string_equal(frame.finish_reason, "length");
    assert_string_equal(frame.model, "fake");
    assert_string_equal(frame.kernels, "ref");
    assert_int_equal(frame.output_tokens, 4);
    assert_int_equal(frame.decode_usec, 9);
    assert_true(frame.seed == UINT64_MAX - 1);
    assert_int_equal(frame.results_json[0], '{');
    assert_int_equal(frame.results_json[strlen(frame.results_json) - 1], '}');
    assert_null(strstr(frame.results_json, "}}"));
    assert_int_equal(ink_stream_next(s, &frame, &error), -EPIPE);
}

static void test_client_reads_long_streams(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_(ink_stream_free_p) InkStream *s = start(c, "wide", 4096);
    InkStreamFrame frame;
    InkError error = {0};
    uint64_t n = 0;
    int r;
    (void)state;
    while ((r = ink_stream_next(s, &frame, &error)) > 0 && r != INK_STREAM_FINISHED)
        if (r == INK_STREAM_TEXT) {
            assert_int_equal(frame.offset_bytes, n);
            n += frame.n_text_bytes;
        }
    assert_int_equal(r, INK_STREAM_FINISHED);
    assert_int_equal(n, 4096 * 64);
}

static void test_client_cancels(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_(ink_stream_free_p) InkStream *s = start(c, "hold", 4);
    InkStreamFrame frame;
    InkError error = {0};
    int r;
    (void)state;
    assert_int_equal(ink_stream_cancel(s, &error), 0);
    while ((r = ink_stream_next(s, &frame, &error)) > 0 && r != INK_STREAM_FINISHED)
        ;
    assert_int_equal(r, INK_STREAM_FINISHED);
    assert_int_equal(frame.status, 1);
    assert_string_equal(frame.finish_reason, "cancelled");
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void test_client_returns_on_a_signal(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_(ink_stream_free_p) InkStream *s = start(c, "hold", 4);
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval soon = {.it_value = {.tv_usec = 50000}}, off = {0};
    InkStreamFrame frame;
    InkError error = {0};
    int r;
    (void)state;
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    while ((r = ink_stream_next(s, &frame, &error)) > 0)
        ;
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(r, -EINTR);
    assert_int_equal(ink_stream_cancel(s, &error), 0);
    assert_int_equal(ink_stream_next(s, &frame, &error), INK_STREAM_FINISHED);
}

static int append_unknown(sd_bus_message *m, void *userdata)
{
    (void)userdata;
    return sd_bus_message_append(m, "sa{sv}", "Hello", 1, "colour", "s", "red");
}

static void test_client_keeps_the_service_words(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    InkStream *s = NULL;
    InkError error = {0};
    Ask ask = {"missing", 4, 1};
    (void)state;
    int r = ink_client_call(c, "Text", "Complete", true, append_unknown, NULL, NULL, &error);
    assert_int_equal(r, -EINVAL);
    assert_string_equal(error.message, "unknown key: colour");
    assert_string_equal(ink_client_error_name(c), "org.freedesktop.DBus.Error.InvalidArgs");
    r = ink_client_start_pipe(c, "complete", append_prompt, append_options, &ask, &s, &error);
    assert_int_equal(r, -ENOENT);
    assert_null(s);
    assert_string_equal(ink_client_error_name(c), INK_BUS_ERROR_PREFIX "NoSuchModel");
}

static void test_client_reads_properties(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_message_ sd_bus_message *m = NULL;
    InkError error = {0};
    const char *word;
    bool running = false;
    (void)state;
    assert_int_equal(ink_client_property(c, "Manager", "Model", false, &m, &error), 0);
    assert_true(sd_bus_message_read(m, "s", &word) > 0);
    assert_string_equal(word, "fake");
    assert_string_equal(ink_client_error_name(c), "");
    assert_int_equal(ink_client_is_running(c, &running, &error), 0);
    assert_true(running);
}

static int append_no_options(sd_bus_message *m, void *userdata)
{
    (void)userdata;
    return sd_bus_message_append(m, "a{sv}", 0);
}

static void test_client_calls_objects(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_message_ sd_bus_message *made = NULL;
    InkError error = {0};
    const char *path;
    (void)state;
    assert_int_equal(ink_client_call(c, "Manager", "CreateSession", true, append_no_options, NULL,
                                     &made, &error),
                     0);
    assert_true(sd_bus_message_read(made, "o", &path) > 0);
    assert_int_equal(ink_client_call_object(c, path, "Session", "Close", NULL, NULL, NULL, &error),
                     0);
    assert_int_equal(ink_client_call_object(c, path, "Session", "Close", NULL, NULL, NULL, &error),
                     -ENXIO);
    assert_string_equal(ink_client_error_name(c), SD_BUS_ERROR_UNKNOWN_OBJECT);
}

static void test_client_notices_a_dead_service(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = connect_client();
    _cleanup_(ink_stream_free_p) InkStream *s = start(c, "hold", 4);
    InkStreamFrame frame;
    InkError error = {0};
    bool running = true;
    int r;
    (void)state;
    (void)fixture_end_service(SIGKILL);
    while ((r = ink_stream_next(s, &frame, &error)) > 0)
        ;
    assert_int_equal(r, -EPIPE);
    assert_non_null(strstr(error.message, "died"));
    assert_int_equal(ink_client_is_running(c, &running, &error), 0);
    assert_false(running);
    r = ink_client_call(c, "Manager", "ListModels", false, NULL, NULL, NULL, &error);
    assert_int_equal(r, -EHOSTUNREACH);
    fixture_start_service();
    assert_int_equal(ink_client_call(c, "Manager", "ListModels", false, NULL, NULL, NULL, &error),
                     0);
}

static void test_client_needs_a_bus(void **state)
{
    _cleanup_(ink_client_free_p) InkClient *c = NULL;
    InkError error = {0};
    (void)state;
    setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
    int r = ink_client_new(&c, &error);
    setenv("DBUS_SESSION_BUS_ADDRESS", fixture_address, 1);
    assert_int_equal(r, -ENOTCONN);
    assert_null(c);
    assert_non_null(strstr(error.message, "DBUS_SESSION_BUS_ADDRESS"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_reads_a_stream),
        cmocka_unit_test(test_client_reads_long_streams),
        cmocka_unit_test(test_client_cancels),
        cmocka_unit_test(test_client_returns_on_a_signal),
        cmocka_unit_test(test_client_keeps_the_service_words),
        cmocka_unit_test(test_client_reads_properties),
        cmocka_unit_test(test_client_calls_objects),
        cmocka_unit_test(test_client_notices_a_dead_service),
        cmocka_unit_test(test_client_needs_a_bus),
    };
    return cmocka_run_group_tests_name("ipc/client", tests, fixture_start, fixture_stop);
}
