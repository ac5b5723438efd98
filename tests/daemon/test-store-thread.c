/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/store-thread.h"

#include <pthread.h>

#include "daemon/store-jobs.h"
#include "daemon/store-sessions.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "tests/personalize/store-test.h"

#define APP "exe:test"

typedef struct Fixture {
    Place *place;
    sd_event *event;
    InkStoreThread *thread;
    pthread_t loop_thread;
    /* what the replies told */
    size_t n_replies, n_errors;
    int last_code;
    char last_message[INK_ERROR_MESSAGE_BYTES];
    uint64_t count, considered;
    bool enabled;
    char id[64], text[64], source[16], reason[64];
    size_t n_items;
    InkStoreCounts counts;
} Fixture;

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));
    void *place = NULL;
    place_setup(&place);
    f->place = place;
    f->loop_thread = pthread_self();
    assert_true(sd_event_new(&f->event) >= 0);
    assert_int_equal(ink_store_thread_start(f->event, f->place->directory, &f->thread, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    ink_store_thread_stop(f->thread);
    sd_event_unref(f->event);
    void *place = f->place;
    place_teardown(&place);
    free(f);
    return 0;
}

static void note(Fixture *f, const InkError *error)
{
    assert_true(pthread_equal(pthread_self(), f->loop_thread));
    f->n_replies++;
    f->last_code = error != NULL ? error->code : 0;
    f->n_errors += error != NULL;
    snprintf(f->last_message, sizeof(f->last_message), "%s", error != NULL ? error->message : "");
}

static void on_count(void *userdata, const InkError *error, uint64_t count)
{
    Fixture *f = userdata;
    note(f, error);
    f->count = count;
}

static void on_done(void *userdata, const InkError *error)
{
    note(userdata, error);
}

static void on_memory(void *userdata, const InkError *error, bool enabled)
{
    Fixture *f = userdata;
    note(f, error);
    f->enabled = enabled;
}

static void on_counts(void *userdata, const InkError *error, const InkStoreCounts *counts)
{
    Fixture *f = userdata;
    note(f, error);
    f->counts = *counts;
}

static void on_suggest(void *userdata, const InkError *error, const InkServiceItem *items, size_t n,
                       uint64_t considered)
{
    Fixture *f = userdata;
    note(f, error);
    f->n_items = n;
    f->considered = considered;
    if (n == 0)
        return;
    assert_string_equal(items[0].kind, "command");
    snprintf(f->id, sizeof(f->id), "%s", items[0].id);
    snprintf(f->text, sizeof(f->text), "%s", items[0].text);
    snprintf(f->source, sizeof(f->source), "%s", items[0].source);
    snprintf(f->reason, sizeof(f->reason), "%s", items[0].reason);
}

/* Turns the loop until so many replies came; each turn waits for an event, none sleeps. */
static void loop_until(Fixture *f, size_t n_replies)
{
    uint64_t end = ink_clock_monotonic_usec() + 20 * SECOND;
    while (f->n_replies < n_replies) {
        assert_true(ink_clock_monotonic_usec() < end);
        assert_true(sd_event_run(f->event, SECOND) >= 0);
    }
}

static void test_store_jobs_are_bounded_in_bytes(void **state)
{
    Fixture *f = *state;
    enum { N_EVENTS = 64, BYTES = 60000, N_MOST = 40 };
    _cleanup_free_ char *text = calloc(1, BYTES + 1);
    _cleanup_free_ InkServiceEvent *events = calloc(N_EVENTS, sizeof(*events));
    InkError error = {0};
    size_t n = 0;
    int r = 0;
    memset(text, 'x', BYTES);
    for (size_t i = 0; i < N_EVENTS; i++)
        events[i] = (InkServiceEvent){.kind = "ran", .text = text};
    /* Each has 3.7 MiB; the thread may take some of them while the others come. */
    while (r == 0 && n < N_MOST) {
        r = ink_store_job_observe(f->thread, APP, events, N_EVENTS, true, true, on_count, f,
                                  &error);
        n += r == 0;
    }
    assert_int_equal(r, -EBUSY);
    assert_non_null(strstr(error.message, "32 MiB"));
    assert_true(n >= 8);
    loop_until(f, n);
    r = ink_store_job_observe(f->thread, APP, events, N_EVENTS, true, true, on_count, f, &error);
    assert_int_equal(r, 0); /* all was given back */
    loop_until(f, n + 1);
}

static void on_opened(void *userdata, const InkError *error, const InkStoredSession *session,
                      InkTranscript *turns)
{
    (void)session, (void)turns;
    note(userdata, error);
}

static void test_store_jobs_of_sessions_are_bounded_in_bytes_too(void **state)
{
    Fixture *f = *state;
    enum { BYTES = 4000000, N_MOST = 40 };
    _cleanup_free_ char *text = calloc(1, BYTES + 1);
    _cleanup_transcript_ InkTranscript first = INK_TRANSCRIPT_INIT;
    const InkStoredSession options = {0};
    InkError error = {0};
    char name[16];
    size_t n = 0;
    int r = 0;
    memset(text, 'x', BYTES);
    assert_int_equal(ink_transcript_add(&first, INK_ROLE_USER, text, BYTES, 0, 0, &error), 0);
    /* Each has 4 MB to write; the thread may take some of them while the others come. */
    while (r == 0 && n < N_MOST) {
        snprintf(name, sizeof(name), "%zu", n);
        r = ink_store_job_open_session(f->thread, APP, name, &options, &first, on_opened, f,
                                       &error);
        n += r == 0;
    }
    assert_int_equal(r, -EBUSY);
    assert_non_null(strstr(error.message, "32 MiB"));
    assert_true(n >= 8);
    loop_until(f, n);
}

static void test_store_jobs_go_there_and_back(void **state)
{
    Fixture *f = *state;
    char text[] = "make check", cwd[] = "/src";
    InkServiceEvent e = {.kind = "ran", .text = text, .uri = cwd};
    assert_int_equal(ink_store_job_memory_enabled(f->thread, on_memory, f, NULL), 0);
    assert_int_equal(f->n_replies, 0); /* never before the call returned */
    loop_until(f, 1);
    assert_false(f->enabled);
    assert_int_equal(ink_store_job_set_memory_enabled(f->thread, true, on_done, f, NULL), 0);
    assert_int_equal(ink_store_job_observe(f->thread, APP, &e, 1, true, false, on_count, f, NULL),
                     0);
    memset(text, '!', strlen(text)); /* the job has copies */
    memset(cwd, '!', strlen(cwd));
    InkServiceSuggest q = {.kind = "command", .cwd = "/src", .limit = 3, .explain = true};
    assert_int_equal(ink_store_job_suggest(f->thread, APP, &q, on_suggest, f, NULL), 0);
    assert_int_equal(ink_store_thread_n_pending(f->thread), 3);
    loop_until(f, 4);
    assert_int_equal(f->n_errors, 0);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->n_items, 1);
    assert_int_equal(f->considered, 1);
    assert_string_equal(f->text, "make check");
    assert_string_equal(f->source, "history");
    assert_string_equal(f->reason, "ran once here, just now");
    assert_int_equal(
        ink_store_job_feedback(f->thread, APP, f->id, "accepted", 0, NULL, on_done, f, NULL), 0);
    assert_int_equal(
        ink_store_job_feedback(f->thread, "exe:x", f->id, "shown", 0, NULL, on_done, f, NULL), 0);
    assert_int_equal(ink_store_job_counts(f->thread, NULL, on_counts, f, NULL), 0);
    loop_until(f, 7);
    assert_int_equal(f->n_errors, 1); /* another's id */
    assert_int_equal(f->counts.events, 1);
    assert_int_equal(f->counts.feedback, 1);
    assert_int_equal(ink_store_thread_n_pending(f->thread), 0);
}

static void test_store_jobs_refuse_unknown_names(void **state)
{
    Fixture *f = *state;
    InkError error = {0};
    InkServiceEvent events[2] = {{.kind = "ran", .text = "x"}, {.kind = "slept"}};
    InkServiceSuggest q = {.kind = "weather"};
    assert_int_equal(
        ink_store_job_observe(f->thread, APP, events, 2, true, false, on_count, f, &error),
        -EINVAL);
    assert_non_null(strstr(error.message, "events[1].kind"));
    assert_int_equal(ink_store_job_suggest(f->thread, APP, &q, on_suggest, f, &error), -EINVAL);
    assert_int_equal(
        ink_store_job_feedback(f->thread, APP, "id", "liked", 0, NULL, on_done, f, &error),
        -EINVAL);
    events[1].kind = NULL;
    assert_int_equal(
        ink_store_job_observe(f->thread, APP, events, 257, true, false, on_count, f, &error),
        -E2BIG);
    assert_int_equal(f->n_replies, 0);
    assert_int_equal(ink_store_thread_n_pending(f->thread), 0);
}

static void test_store_jobs_carry_the_error_of_the_store(void **state)
{
    Fixture *f = *state;
    InkServiceEvent e = {.kind = "opened"};
    assert_int_equal(ink_store_job_observe(f->thread, APP, &e, 1, true, false, on_count, f, NULL),
                     0);
    loop_until(f, 1);
    assert_int_equal(f->last_code, EINVAL);
    assert_string_equal(f->last_message, "events[0].uri is required for this kind");
}

/* A job that waits until the test lets it go. */
typedef struct Gate {
    InkStoreJob base;
    pthread_mutex_t *mutex;
    size_t *n_done, *n_freed;
} Gate;

static void run_gate(InkStoreJob *base, InkStore *store)
{
    Gate *g = (Gate *)base;
    assert_non_null(store);
    pthread_mutex_lock(g->mutex);
    pthread_mutex_unlock(g->mutex);
}

static void done_gate(InkStoreJob *base)
{
    ++*((Gate *)base)->n_done;
}

static void free_gate(InkStoreJob *base)
{
    ++*((Gate *)base)->n_freed;
    free(base);
}

static Gate *new_gate(pthread_mutex_t *mutex, size_t *n_done, size_t *n_freed)
{
    Gate *g = calloc(1, sizeof(*g));
    *g = (Gate){.base = {.run = run_gate, .done = done_gate, .free = free_gate},
                .mutex = mutex,
                .n_done = n_done,
                .n_freed = n_freed};
    return g;
}

static void test_store_thread_queue_is_bounded_and_drained_by_stop(void **state)
{
    Fixture *f = *state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    size_t n_done = 0, n_freed = 0, n_taken = 0;
    InkError error = {0};
    pthread_mutex_lock(&mutex);
    int r = 0;
    while (n_taken <= INK_STORE_THREAD_MAX_QUEUED + 1) {
        Gate *g = new_gate(&mutex, &n_done, &n_freed);
        r = ink_store_thread_submit(f->thread, &g->base, &error);
        if (r < 0) {
            free(g); /* it stayed ours */
            break;
        }
        n_taken++;
    }
    assert_int_equal(r, -EBUSY);
    assert_non_null(strstr(error.message, "256"));
    /* one may be out of the queue already, waiting at the gate */
    assert_in_range(n_taken, INK_STORE_THREAD_MAX_QUEUED, INK_STORE_THREAD_MAX_QUEUED + 1);
    assert_int_equal(ink_store_job_memory_enabled(f->thread, on_memory, f, NULL), -EBUSY);
    assert_true(sd_event_run(f->event, 0) >= 0); /* the loop is free meanwhile */
    assert_int_equal(n_done, 0);
    pthread_mutex_unlock(&mutex);
    f->thread = ink_store_thread_stop(f->thread);
    assert_null(f->thread);
    assert_int_equal(n_done, n_taken);
    assert_int_equal(n_freed, n_taken);
}

/* Many jobs at once: all answered, in order, in turns of the loop that stay short. */
static void test_store_thread_answers_in_order_and_in_slices(void **state)
{
    Fixture *f = *state;
    assert_int_equal(ink_store_job_set_memory_enabled(f->thread, true, on_done, f, NULL), 0);
    loop_until(f, 1);
    char texts[100][32];
    for (size_t i = 0; i < 100; i++) {
        snprintf(texts[i], sizeof(texts[i]), "command %zu", i);
        InkServiceEvent e = {.kind = "ran", .text = texts[i]};
        assert_int_equal(
            ink_store_job_observe(f->thread, APP, &e, 1, true, false, on_count, f, NULL), 0);
    }
    assert_int_equal(ink_store_job_counts(f->thread, APP, on_counts, f, NULL), 0);
    uint64_t longest = 0;
    while (f->n_replies < 102) {
        int r = sd_event_prepare(f->event);
        if (r == 0)
            r = sd_event_wait(f->event, 20 * SECOND);
        assert_true(r > 0); /* 0: nothing came in time */
        size_t before = f->n_replies;
        uint64_t begin = ink_clock_monotonic_usec();
        assert_true(sd_event_dispatch(f->event) >= 0);
        uint64_t took = ink_clock_monotonic_usec() - begin;
        longest = took > longest ? took : longest;
        assert_true(f->n_replies - before <= INK_STORE_THREAD_JOBS_PER_TURN);
    }
    print_message("longest loop turn: %lu us\n", longest);
    assert_int_equal(f->n_errors, 0);
    assert_int_equal(f->counts.events, 100);
}

static void test_store_thread_remembers_why_it_cannot_open(void **state)
{
    Fixture *f = *state;
    f->thread = ink_store_thread_stop(f->thread);
    static const char text[] = "not a database, but somebody's notes";
    write_whole(f->place->database, text, sizeof(text));
    assert_int_equal(ink_store_thread_start(f->event, f->place->directory, &f->thread, NULL), 0);
    for (size_t i = 1; i <= 2; i++) {
        assert_int_equal(ink_store_job_memory_enabled(f->thread, on_memory, f, NULL), 0);
        loop_until(f, i);
        assert_int_equal(f->last_code, EIO);
        assert_non_null(strstr(f->last_message, "not an inkling database"));
        assert_false(f->enabled);
    }
    /* moved aside: works again without a restart, once the pause is over */
    unlink(f->place->database);
    uint64_t end = ink_clock_monotonic_usec() + 4 * INK_STORE_THREAD_REOPEN_USEC;
    while (f->last_code != 0) {
        assert_true(ink_clock_monotonic_usec() < end);
        sd_event_run(f->event, SECOND / 10); /* a pause; nothing is due */
        size_t n = f->n_replies;
        assert_int_equal(ink_store_job_memory_enabled(f->thread, on_memory, f, NULL), 0);
        loop_until(f, n + 1);
    }
}

static void test_store_thread_reports_each_failed_allocation(void **state)
{
    Fixture *f = *state;
    size_t n_sent = 0;
    InkServiceCandidate c = {.id = "1", .text = "x"};
    InkServiceSuggest q = {.kind = "command", .limit = 3, .candidates = &c, .n_candidates = 1};
    assert_int_equal(ink_store_job_memory_enabled(f->thread, on_memory, f, NULL), 0);
    loop_until(f, ++n_sent); /* the thread is idle: all that fails is of this thread or one job */
    for (size_t at = 1; at <= 24; at++) {
        ink_alloc_fail_at(at, false);
        int r = ink_store_job_suggest(f->thread, APP, &q, on_suggest, f, NULL);
        if (r == 0)
            loop_until(f, ++n_sent);
        else
            assert_int_equal(r, -ENOMEM);
        ink_alloc_fail_at(0, false);
        assert_true(f->last_code == 0 || f->last_code == ENOMEM);
    }
    assert_true(n_sent > 1);
    assert_int_equal(f->last_code, 0);
    assert_string_equal(f->source, "candidates");
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_store_jobs_go_there_and_back),
        T(test_store_jobs_are_bounded_in_bytes),
        T(test_store_jobs_of_sessions_are_bounded_in_bytes_too),
        T(test_store_jobs_refuse_unknown_names),
        T(test_store_jobs_carry_the_error_of_the_store),
        T(test_store_thread_queue_is_bounded_and_drained_by_stop),
        T(test_store_thread_answers_in_order_and_in_slices),
        T(test_store_thread_remembers_why_it_cannot_open),
        T(test_store_thread_reports_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
