/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Request objects over a private bus: delivery, order, ownership, cancellation, back-pressure. */
#include "tests/ipc/bus-fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

static void test_requests_stream_in_order(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "", 8, "{sv}{sv}", "stream", "s", "delta", "coalesce-usec",
                          "t", (uint64_t)0);
    fixture_until_finished(bus, &seen, 1);
    assert_string_equal(seen.order, "RPDDDDDDDDF");
    assert_string_equal(seen.text, "word word word word word word word word ");
    assert_string_equal(seen.results_text, seen.text);
    assert_string_equal(seen.reason, "length");
    assert_false(seen.gap);
    assert_int_equal(seen.status, INK_TASK_SUCCESS);
}

static void test_requests_reply_before_all_else(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "sync", 4, "{sv}", "stream", "s", "delta");
    fixture_until_finished(bus, &seen, 1);
    assert_string_equal(seen.order, "RPDF"); /* what came during start() is one piece */
    assert_string_equal(seen.text, "word word word word ");
}

static void test_requests_without_stream_send_no_text(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "", 4, "");
    fixture_until_finished(bus, &seen, 1);
    assert_int_equal(seen.n_deltas, 0);
    assert_string_equal(seen.results_text, "word word word word ");
}

static void test_requests_coalesce_deltas(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "slow", 20, "{sv}{sv}", "stream", "s", "delta",
                          "coalesce-usec", "t", (uint64_t)60000);
    fixture_until_finished(bus, &seen, 1);
    /* 20 pieces over about 200 ms, gaps of 60 ms and the rest at the end. */
    assert_in_range(seen.n_deltas, 2, 10);
    assert_int_equal(strlen(seen.text), 100);
    assert_false(seen.gap);
}

static void test_requests_clean_text_for_the_bus(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "odd", 1, "{sv}", "stream", "s", "delta");
    fixture_until_finished(bus, &seen, 1);
    assert_string_equal(seen.text, "a\xEF\xBF\xBD"
                                   "b\xEF\xBF\xBD"
                                   "c");
}

static int request_call(sd_bus *bus, const char *path, const char *member, sd_bus_error *error,
                        sd_bus_message **reply)
{
    return sd_bus_call_method(bus, INK_BUS_NAME, path, INK_BUS_REQUEST, member, error, reply, "");
}

static void test_requests_cancel_ends_with_finished(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_CALLER]);
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "hold", 4, "");
    assert_true(request_call(bus, seen.path, "Cancel", NULL, NULL) >= 0);
    fixture_until_finished(bus, &seen, 1);
    assert_int_equal(seen.status, INK_TASK_CANCELLED);
    assert_string_equal(seen.reason, "cancelled");
    assert_int_equal(FAKE_READ(fake->n_cancelled[INK_CANCEL_CALLER]), before + 1);
    assert_true(request_call(bus, seen.path, "Cancel", NULL, NULL) >= 0); /* again: success */
    assert_int_equal(FAKE_READ(fake->n_cancelled[INK_CANCEL_CALLER]), before + 1);
}

static void test_requests_wait_before_and_after(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *early = NULL, *late = NULL;
    FixtureSeen seen;
    uint32_t status = 9;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "slow", 3, "");
    assert_true(request_call(bus, seen.path, "Wait", NULL, &early) >= 0);
    assert_true(sd_bus_message_read(early, "u", &status) > 0);
    assert_int_equal(status, INK_TASK_SUCCESS);
    fixture_until_finished(bus, &seen, 1);
    assert_true(request_call(bus, seen.path, "Wait", NULL, &late) >= 0);
    status = 9;
    assert_true(sd_bus_message_read(late, "u", &status) > 0);
    assert_int_equal(status, INK_TASK_SUCCESS);
}

static void test_requests_report_failures(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "dies", 3, "");
    fixture_until_finished(bus, &seen, 1);
    assert_int_equal(seen.status, INK_TASK_FAILED);
    assert_string_equal(seen.error_name, INK_BUS_ERROR_PREFIX "WorkerFailed");
    fixture_refused(bus, INK_BUS_TEXT, "Complete", INK_BUS_ERROR_PREFIX "WorkerFailed", "died",
                    "sa{sv}", "Hello", 1, "model", "s", "dies");
}

/* Asserts by trying that a path is gone within 5 s. */
static void until_unknown(sd_bus *bus, const char *path)
{
    uint64_t until = ink_clock_monotonic_usec() + 5000000;
    int r;
    do {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        r = request_call(bus, path, "Cancel", &error, NULL);
        if (r < 0)
            assert_string_equal(error.name, SD_BUS_ERROR_UNKNOWN_OBJECT);
    } while (r >= 0 && ink_clock_monotonic_usec() < until);
    assert_true(r < 0);
}

static void test_requests_linger_as_long_as_asked(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    char kept[256];
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "", 1, "");
    strcpy(kept, seen.path);
    fixture_start_request(bus, &seen, "", 1, "{sv}", "linger-usec", "t", (uint64_t)1000);
    fixture_until_finished(bus, &seen, 2);
    until_unknown(bus, seen.path);
    assert_true(request_call(bus, kept, "Wait", NULL, NULL) >= 0);
}

static void test_requests_handle_token_is_unique(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    const char *unique;
    char wanted[256];
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "hold", 1, "{sv}", "handle-token", "s", "mine_1");
    assert_true(sd_bus_get_unique_name(bus, &unique) >= 0);
    snprintf(wanted, sizeof(wanted), INK_BUS_REQUESTS "/1_%s/mine_1", strchr(unique, '.') + 1);
    assert_string_equal(seen.path, wanted);
    fixture_refused(bus, INK_BUS_TEXT, "Start", SD_BUS_ERROR_INVALID_ARGS, "in use", "sa{sv}a{sv}",
                    "complete", 1, "prompt", "s", "x", 1, "handle-token", "s", "mine_1");
}

static void test_requests_are_hidden_from_others(void **state)
{
    _cleanup_bus_ sd_bus *owner = fixture_connect(), *other = fixture_connect();
    _cleanup_error_ sd_bus_error foreign = SD_BUS_ERROR_NULL, missing = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *mine = NULL, *theirs = NULL;
    FixtureSeen seen, nothing;
    const char *xml;
    (void)state;
    fixture_listen(owner, &seen);
    fixture_listen(other, &nothing);
    assert_true(sd_bus_match_signal(other, NULL, NULL, NULL, INK_BUS_REQUEST, NULL, NULL, NULL) >=
                0);
    fixture_start_request(owner, &seen, "slow", 5, "{sv}{sv}", "stream", "s", "delta",
                          "handle-token", "s", "secret");
    assert_true(request_call(other, seen.path, "Cancel", &foreign, NULL) < 0);
    assert_true(request_call(other, INK_BUS_REQUESTS "/1_2/none", "Cancel", &missing, NULL) < 0);
    assert_string_equal(foreign.name, SD_BUS_ERROR_UNKNOWN_OBJECT);
    assert_string_equal(missing.name, foreign.name);
    /* The same words, but for the path that the caller gave. */
    assert_int_equal(strcspn(foreign.message, "'"), strcspn(missing.message, "'"));
    assert_memory_equal(foreign.message, missing.message, strcspn(missing.message, "'"));
    assert_true(sd_bus_call_method(owner, INK_BUS_NAME, INK_BUS_REQUESTS,
                                   "org.freedesktop.DBus.Introspectable", "Introspect", NULL, &mine,
                                   "") >= 0);
    assert_true(sd_bus_message_read(mine, "s", &xml) > 0);
    assert_non_null(strstr(xml, "secret"));
    assert_true(sd_bus_call_method(other, INK_BUS_NAME, INK_BUS_REQUESTS,
                                   "org.freedesktop.DBus.Introspectable", "Introspect", NULL,
                                   &theirs, "") >= 0);
    assert_true(sd_bus_message_read(theirs, "s", &xml) > 0);
    assert_null(strstr(xml, "secret"));
    fixture_until_finished(owner, &seen, 1);
    while (sd_bus_process(other, NULL) > 0)
        ;
    assert_int_equal(nothing.n_order, 0);
}

static void test_requests_properties_and_priority(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_free_ char *word = NULL, *class = NULL;
    FixtureSeen seen;
    uint32_t position = 9;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "hold", 1, "{sv}", "priority", "s", "background");
    assert_true(sd_bus_get_property_string(bus, INK_BUS_NAME, seen.path, INK_BUS_REQUEST, "State",
                                           NULL, &word) >= 0);
    assert_string_equal(word, "queued");
    assert_true(sd_bus_get_property_trivial(bus, INK_BUS_NAME, seen.path, INK_BUS_REQUEST,
                                            "QueuePosition", NULL, 'u', &position) >= 0);
    assert_int_equal(position, 1);
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, seen.path, INK_BUS_REQUEST, "Priority", NULL,
                                    "s", "typing") >= 0);
    assert_true(sd_bus_get_property_string(bus, INK_BUS_NAME, seen.path, INK_BUS_REQUEST,
                                           "Priority", NULL, &class) >= 0);
    assert_string_equal(class, "typing");
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, seen.path, INK_BUS_REQUEST, "Priority",
                                    &error, "s", "royal") < 0);
    assert_string_equal(error.name, SD_BUS_ERROR_INVALID_ARGS);
}

static void test_requests_end_with_their_owner(void **state)
{
    (void)state;
    fixture_wait(&fake->n_finished, FAKE_READ(fake->n_started)); /* of the tests before */
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_GONE]);
    for (int i = 0; i < 3; i++) {
        sd_bus *bus = fixture_connect();
        FixtureSeen seen;
        fixture_listen(bus, &seen);
        fixture_start_request(bus, &seen, "hold", 1, "");
        fixture_start_request(bus, &seen, "slow", 4096, "{sv}", "stream", "s", "delta");
        sd_bus_close(bus); /* as a kill would */
        sd_bus_unref(bus);
    }
    fixture_wait(&fake->n_cancelled[INK_CANCEL_GONE], before + 6);
    assert_int_equal(FAKE_READ(fake->n_cancelled[INK_CANCEL_GONE]), before + 6);
}

static void test_requests_of_a_blocking_caller_end_too(void **state)
{
    (void)state;
    fixture_wait(&fake->n_finished, FAKE_READ(fake->n_started));
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_GONE]);
    uint32_t started = FAKE_READ(fake->n_started);
    sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *m = NULL;
    assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_TEXT,
                                               "Complete") >= 0);
    assert_true(sd_bus_message_append(m, "sa{sv}", "x", 1, "model", "s", "hold") >= 0);
    assert_true(sd_bus_send(bus, m, NULL) >= 0);
    assert_true(sd_bus_flush(bus) >= 0);
    fixture_wait(&fake->n_started, started + 1);
    sd_bus_close(bus);
    sd_bus_unref(bus);
    fixture_wait(&fake->n_cancelled[INK_CANCEL_GONE], before + 1);
}

static void test_requests_deadline_gives_partial_text(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *text, *key, *reason;
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Complete", NULL, &reply, "sa{sv}", "Hello", 3,
                             "model", "s", "slow", "max-tokens", "u", 4096, "deadline-usec", "t",
                             (uint64_t)80000) >= 0);
    assert_true(sd_bus_message_read(reply, "s", &text) > 0);
    assert_true(strlen(text) >= 5 && strlen(text) < 500);
    assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
    assert_true(sd_bus_message_enter_container(reply, 'e', "sv") > 0);
    assert_true(sd_bus_message_read(reply, "s", &key) > 0);
    assert_string_equal(key, "finish-reason");
    assert_true(sd_bus_message_read(reply, "v", "s", &reason) > 0);
    assert_string_equal(reason, "deadline");
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    char *out = userdata;
    (void)reterr;
    const sd_bus_error *e = sd_bus_message_get_error(m);
    snprintf(out, 128, "%s", e != NULL ? e->name : "success");
    return 1;
}

/* A blocking call in the background; `out` gets "success" or the error's name. */
static void start_blocking(sd_bus *bus, char out[128], const char *key, const char *value)
{
    _cleanup_message_ sd_bus_message *m = NULL;
    out[0] = '\0';
    assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_TEXT,
                                               "Complete") >= 0);
    assert_true(sd_bus_message_append(m, "sa{sv}", "x", 2, "model", "s", "hold", key, "s", value) >=
                0);
    uint32_t started = FAKE_READ(fake->n_started);
    assert_true(sd_bus_call_async(bus, NULL, m, on_reply, out, 0) >= 0);
    assert_true(sd_bus_flush(bus) >= 0);
    fixture_wait(&fake->n_started, started + 1);
}

static void until_replied(sd_bus *bus, const char *out)
{
    for (int i = 0; i < 500 && out[0] == '\0'; i++)
        if (sd_bus_process(bus, NULL) == 0)
            assert_true(sd_bus_wait(bus, 10000) >= 0);
}

static void test_requests_newer_supersedes_older(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    char out[128];
    (void)state;
    fixture_listen(bus, &seen);
    start_blocking(bus, out, "supersede-key", "line");
    fixture_start_request(bus, &seen, "hold", 1, "{sv}", "supersede-key", "s", "line");
    until_replied(bus, out);
    assert_string_equal(out, INK_BUS_ERROR_PREFIX "Superseded");
    fixture_start_request(bus, &seen, "", 1, "{sv}", "supersede-key", "s", "line");
    fixture_until_finished(bus, &seen, 2);
}

static void test_requests_blocking_can_be_cancelled_by_handle(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    const char *unique;
    char out[128], path[256];
    (void)state;
    start_blocking(bus, out, "handle-token", "stop_me");
    assert_true(sd_bus_get_unique_name(bus, &unique) >= 0);
    snprintf(path, sizeof(path), INK_BUS_REQUESTS "/1_%s/stop_me", strchr(unique, '.') + 1);
    assert_true(request_call(bus, path, "Cancel", NULL, NULL) >= 0);
    until_replied(bus, out);
    assert_string_equal(out, INK_BUS_ERROR_PREFIX "Cancelled");
}

static void test_requests_are_bounded(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    for (int i = 0; i < 80; i++) /* ended ones give way */
        fixture_start_request(bus, &seen, "sync", 1, "");
    fixture_until_finished(bus, &seen, 80);
    for (int i = 0; i < 64; i++)
        fixture_start_request(bus, &seen, "hold", 1, "");
    fixture_refused(bus, INK_BUS_TEXT, "Start", SD_BUS_ERROR_LIMITS_EXCEEDED, "64", "sa{sv}a{sv}",
                    "complete", 1, "prompt", "s", "x", 0);
}

/* ------------------------------------------------------------------- pipes */

static int start_pipe(sd_bus *bus, const char *model, uint32_t max_tokens)
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *path;
    int fd;
    assert_true(fixture_call(bus, INK_BUS_TEXT, "StartPipe", NULL, &reply, "sa{sv}a{sv}",
                             "complete", 1, "prompt", "s", "Hello", 2, "model", "s", model,
                             "max-tokens", "u", max_tokens) >= 0);
    assert_true(sd_bus_message_read(reply, "oh", &path, &fd) > 0);
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    assert_true(fd >= 0);
    return fd;
}

static size_t read_all(int fd, char *out, size_t capacity)
{
    size_t n = 0;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        assert_int_equal(poll(&p, 1, 5000), 1);
        ssize_t got = read(fd, out + n, capacity - n - 1);
        assert_true(got >= 0);
        if (got == 0)
            break;
        n += (size_t)got;
    }
    out[n] = '\0';
    return n;
}

static void test_requests_pipe_frames(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char text[4096];
    (void)state;
    _cleanup_close_ int fd = start_pipe(bus, "", 2);
    assert_true(read_all(fd, text, sizeof(text)) > 0);
    static const char head[] = "{\"progress\":{\"stage\":\"prefill\",\"fraction\":0.5}}\n"
                               "{\"offset\":0,\"text\":\"word \"}\n"
                               "{\"offset\":5,\"text\":\"word \"}\n"
                               "{\"finished\":{\"status\":0,\"finish-reason\":\"length\",";
    assert_memory_equal(text, head, sizeof(head) - 1);
    assert_null(strstr(text, "\"text\":\"word word"));
    assert_string_equal(text + strlen(text) - 3, "}}\n");
}

static void test_requests_slow_reader_parks_its_own(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_free_ char *text = malloc(1 << 20);
    uint32_t before = FAKE_READ(fake->n_produced_pieces);
    (void)state;
    _cleanup_close_ int fd = start_pipe(bus, "wide", 4096);
    /* The pipe is full and nothing more is made for it ... */
    uint64_t until = ink_clock_monotonic_usec() + 5000000;
    struct pollfd p = {fd, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 5000), 1);
    uint32_t made = 0, again = 1;
    while (made != again && ink_clock_monotonic_usec() < until) {
        made = FAKE_READ(fake->n_produced_pieces) - before;
        /* ... while another request goes on to its end. */
        assert_true(fixture_call(bus, INK_BUS_TEXT, "Complete", NULL, NULL, "sa{sv}", "x", 1,
                                 "max-tokens", "u", 1) >= 0);
        before++;
        usleep(20000);
        again = FAKE_READ(fake->n_produced_pieces) - before;
    }
    assert_true(again < 4096);
    assert_true(read_all(fd, text, 1 << 20) > 4096 * 64);
    const char *last = strstr(text, "{\"offset\":262080,\"text\":\"0123");
    assert_non_null(last);
    assert_non_null(strstr(last, "\n{\"finished\""));
    size_t n_pieces = 0;
    for (const char *at = text; (at = strstr(at, "\"text\":\"0123")) != NULL; at++)
        n_pieces++;
    assert_int_equal(n_pieces, 4096);
}

static void test_requests_closed_pipe_cancels(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_PIPE]);
    (void)state;
    close(start_pipe(bus, "hold", 5)); /* as during prefill: nothing is ever written */
    /* The reply message of the bus library held the last copy. */
    fixture_wait(&fake->n_cancelled[INK_CANCEL_PIPE], before + 1);
    close(start_pipe(bus, "slow", 4096));
    fixture_wait(&fake->n_cancelled[INK_CANCEL_PIPE], before + 2);
}

static void test_requests_pipe_that_nobody_reads_is_cancelled(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_STALLED]);
    char byte;
    (void)state;
    _cleanup_close_ int fd = start_pipe(bus, "wide", 4096), other = start_pipe(bus, "slow", 200);
    /* Whoever reads now and then, however little, goes on. */
    uint64_t begin = ink_clock_monotonic_usec();
    while (ink_clock_monotonic_usec() - begin < 3 * FAKE_STALL_USEC / 2) {
        assert_int_equal(read(other, &byte, 1), 1);
        if (FAKE_READ(fake->n_cancelled[INK_CANCEL_STALLED]) > before)
            break;
        usleep(10000);
    }
    fixture_wait(&fake->n_cancelled[INK_CANCEL_STALLED], before + 1);
    assert_true(ink_clock_monotonic_usec() - begin >= FAKE_STALL_USEC * 9 / 10);
    /* What was written is there, and ends with the last line: nothing was lost by the wait. */
    _cleanup_free_ char *text = malloc(1 << 20);
    size_t n = read_all(fd, text, 1 << 20);
    assert_true(n > 65536 && n < 262144);
    assert_non_null(strstr(text, "\n{\"finished\":{\"status\":1,\"finish-reason\":\"cancelled\""));
    assert_int_equal(FAKE_READ(fake->n_cancelled[INK_CANCEL_STALLED]), before + 1);
}

static void test_requests_pipe_is_closed_when_nobody_reads_the_end(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_free_ char *text = malloc(1 << 20);
    (void)state;
    _cleanup_close_ int fd = start_pipe(bus, "wide", 4096);
    usleep(5 * FAKE_STALL_USEC / 2); /* stalled, cancelled, and stalled again */
    size_t n = read_all(fd, text, 1 << 20);
    assert_true(n > 0 && n <= 65536); /* what the kernel held */
    assert_null(strstr(text, "\"finished\""));
}

typedef struct Counts {
    unsigned n_deltas, n_finished;
    uint64_t n_bytes;
} Counts;

static int on_counted(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    Counts *c = userdata;
    uint64_t offset;
    const char *text;
    (void)reterr;
    if (sd_bus_message_is_signal(m, INK_BUS_REQUEST, "Finished") > 0)
        c->n_finished++;
    if (sd_bus_message_is_signal(m, INK_BUS_REQUEST, "Delta") > 0 &&
        sd_bus_message_read(m, "ts", &offset, &text) > 0) {
        c->n_deltas++;
        c->n_bytes += strlen(text);
    }
    return 0;
}

/* The bus stops reading: pieces of text wait and grow together, and none is lost. */
static void test_requests_deltas_wait_for_a_bus_that_does_not_read(void **state)
{
    enum { N_REQUESTS = 2, N_PIECES = 4096 };
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
    Counts counts = {0};
    uint32_t before = FAKE_READ(fake->n_produced_pieces);
    (void)state;
    assert_true(sd_bus_add_filter(bus, &slot, on_counted, &counts) >= 0);
    for (unsigned i = 0; i < N_REQUESTS; i++)
        assert_true(fixture_call(bus, INK_BUS_TEXT, "Start", NULL, NULL, "sa{sv}a{sv}", "complete",
                                 1, "prompt", "s", "x", 3, "max-tokens", "u", N_PIECES, "stream",
                                 "s", "delta", "coalesce-usec", "t", (uint64_t)0) >= 0);
    fixture_signal_bus(SIGSTOP);
    fixture_wait(&fake->n_produced_pieces, before + N_REQUESTS * N_PIECES);
    fixture_signal_bus(SIGCONT);
    for (uint64_t end = ink_clock_monotonic_usec() + 10000000;
         counts.n_finished < N_REQUESTS && ink_clock_monotonic_usec() < end;)
        if (sd_bus_process(bus, NULL) == 0)
            (void)sd_bus_wait(bus, 100000);
    assert_int_equal(counts.n_finished, N_REQUESTS);
    assert_int_equal(counts.n_bytes, N_REQUESTS * N_PIECES * 5);
    assert_true(counts.n_deltas < N_REQUESTS * N_PIECES / 2);
}

/* Calls that wait are kept whole, so that their bytes are bounded. */
static void test_requests_kept_calls_are_bounded_in_bytes(void **state)
{
    enum { BYTES = 255 << 10, N_MESSAGES = 15 };
    _cleanup_bus_ sd_bus *bus = fixture_connect(), *other = fixture_connect();
    _cleanup_free_ char *text = malloc(BYTES + 1);
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_GONE]);
    unsigned n_refused = 0;
    uint64_t cookie;
    (void)state;
    memset(text, 'x', BYTES);
    text[BYTES] = '\0';
    for (unsigned i = 0; i < 8; i++) { /* 3.7 MiB each: four fit into 16 MiB */
        _cleanup_message_ sd_bus_message *m = NULL;
        assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH,
                                                   INK_BUS_TEXT, "Chat") >= 0);
        assert_true(sd_bus_message_open_container(m, 'a', "(ss)") >= 0);
        for (unsigned k = 0; k < N_MESSAGES; k++)
            assert_true(sd_bus_message_append(m, "(ss)", "user", text) >= 0);
        assert_true(sd_bus_message_close_container(m) >= 0);
        assert_true(sd_bus_message_append(m, "a{sv}", 1, "model", "s", "hold") >= 0);
        assert_true(sd_bus_send(bus, m, &cookie) >= 0); /* an answer is expected */
    }
    /* Errors come at once, answers never. */
    for (uint64_t end = ink_clock_monotonic_usec() + 5000000;
         n_refused < 4 && ink_clock_monotonic_usec() < end;) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        if (sd_bus_process(bus, &reply) == 0)
            (void)sd_bus_wait(bus, 100000);
        if (reply != NULL && sd_bus_message_is_method_error(reply, NULL)) {
            const sd_bus_error *e = sd_bus_message_get_error(reply);
            assert_string_equal(e->name, SD_BUS_ERROR_LIMITS_EXCEEDED);
            assert_non_null(strstr(e->message, "16 MiB"));
            n_refused++;
        }
    }
    assert_int_equal(n_refused, 4);
    /* Others are served, and all is given back. */
    assert_true(fixture_call(other, INK_BUS_TEXT, "Complete", NULL, NULL, "sa{sv}", "x", 1,
                             "max-tokens", "u", 1) >= 0);
    sd_bus_close(bus);
    fixture_wait(&fake->n_cancelled[INK_CANCEL_GONE], before + 4);
}

static void test_requests_of_many_clients(void **state)
{
    sd_bus *buses[20];
    int fds[20];
    (void)state;
    for (int i = 0; i < 20; i++) {
        buses[i] = fixture_connect();
        fds[i] = start_pipe(buses[i], i % 2 ? "slow" : "", 10);
    }
    for (int i = 0; i < 20; i++) {
        char text[8192];
        assert_true(read_all(fds[i], text, sizeof(text)) > 0);
        assert_non_null(strstr(text, "{\"offset\":45,\"text\":\"word \"}\n{\"finished\""));
        close(fds[i]);
        sd_bus_flush_close_unref(buses[i]);
    }
}

static void test_requests_load_is_a_request(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL, *wait = NULL;
    const char *path;
    uint32_t status = 9;
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "Load", NULL, &reply, "sa{sv}", "", 1,
                             "hold-usec", "t", (uint64_t)1000) >= 0);
    assert_true(sd_bus_message_read(reply, "o", &path) > 0);
    assert_true(request_call(bus, path, "Wait", NULL, &wait) >= 0);
    assert_true(sd_bus_message_read(wait, "u", &status) > 0);
    assert_int_equal(status, INK_TASK_SUCCESS);
    fixture_refused(bus, INK_BUS_MANAGER, "Load", SD_BUS_ERROR_INVALID_ARGS, "hold-usec", "sa{sv}",
                    "", 1, "hold-usec", "t", UINT64_MAX);
}

static void test_requests_leave_nothing(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "", 1, "");
    fixture_until_finished(bus, &seen, 1);
    /* All tests before have ended: what was started is finished. */
    fixture_wait(&fake->n_finished, FAKE_READ(fake->n_started));
    assert_int_equal(FAKE_READ(fake->n_started), FAKE_READ(fake->n_finished));
    assert_int_equal(FAKE_READ(fake->n_active), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_stream_in_order),
        cmocka_unit_test(test_requests_reply_before_all_else),
        cmocka_unit_test(test_requests_without_stream_send_no_text),
        cmocka_unit_test(test_requests_coalesce_deltas),
        cmocka_unit_test(test_requests_clean_text_for_the_bus),
        cmocka_unit_test(test_requests_cancel_ends_with_finished),
        cmocka_unit_test(test_requests_wait_before_and_after),
        cmocka_unit_test(test_requests_report_failures),
        cmocka_unit_test(test_requests_linger_as_long_as_asked),
        cmocka_unit_test(test_requests_handle_token_is_unique),
        cmocka_unit_test(test_requests_are_hidden_from_others),
        cmocka_unit_test(test_requests_properties_and_priority),
        cmocka_unit_test(test_requests_end_with_their_owner),
        cmocka_unit_test(test_requests_of_a_blocking_caller_end_too),
        cmocka_unit_test(test_requests_deadline_gives_partial_text),
        cmocka_unit_test(test_requests_newer_supersedes_older),
        cmocka_unit_test(test_requests_blocking_can_be_cancelled_by_handle),
        cmocka_unit_test(test_requests_are_bounded),
        cmocka_unit_test(test_requests_pipe_frames),
        cmocka_unit_test(test_requests_slow_reader_parks_its_own),
        cmocka_unit_test(test_requests_closed_pipe_cancels),
        cmocka_unit_test(test_requests_pipe_that_nobody_reads_is_cancelled),
        cmocka_unit_test(test_requests_pipe_is_closed_when_nobody_reads_the_end),
        cmocka_unit_test(test_requests_deltas_wait_for_a_bus_that_does_not_read),
        cmocka_unit_test(test_requests_kept_calls_are_bounded_in_bytes),
        cmocka_unit_test(test_requests_of_many_clients),
        cmocka_unit_test(test_requests_load_is_a_request),
        cmocka_unit_test(test_requests_leave_nothing),
    };
    return cmocka_run_group_tests_name("ipc/requests", tests, fixture_start, fixture_stop);
}
