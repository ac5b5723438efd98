/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Cancelling by each door, many callers at a time, and the store. */
#include "tests/daemon/app-world.h"

/* ------------------------------------------------------------------ cancelling */

static void test_app_cancel_stops_and_keeps_the_partial_text(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    start(&w, &one, "Hello");
    run_until(&w, &one.got_text);
    ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_GONE);
    ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_CALLER); /* twice changes nothing */
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_CANCELLED);
    assert_int_equal(one.result.reason, INK_FINISH_CANCELLED);
    assert_true(one.result.output_tokens > 0);
    assert_int_equal(one.n_ends, 1);
    ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_CALLER); /* unknown by now */
    world_done(&w);
}

static void test_app_deadline_gives_what_exists(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    InkTask task = make_task("Hello");
    task.deadline_usec = 150000;
    one.sink = (InkTaskSink){.events = &events, .credit_bytes = SIZE_MAX, .deferred = true};
    assert_int_equal(start_as(&w, &one, "exe:test", &task, NULL), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.reason, INK_FINISH_DEADLINE);
    assert_true(one.n_text_bytes > 0);
    world_done(&w);
    /* Before the model is there: an empty text, no error. */
    clear_clients();
    world_new(&w, "stall-load");
    task.deadline_usec = 20000;
    assert_int_equal(start_as(&w, &one, "exe:test", &task, NULL), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.reason, INK_FINISH_DEADLINE);
    assert_int_equal(one.n_text_bytes, 0);
    world_done(&w);
}

static void test_app_newer_request_supersedes(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    InkTask task = make_task("Hello");
    task.supersede_key = "line";
    task.max_tokens = 3;
    assert_int_equal(start_as(&w, &one, "exe:test", &task, NULL), 0);
    assert_int_equal(start_as(&w, &two, "exe:test", &task, NULL), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_CANCELLED);
    assert_int_equal(one.result.reason, INK_FINISH_SUPERSEDED);
    run_until(&w, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_SUCCESS);
    world_done(&w);
}

static void test_app_unload_wants_force_while_busy(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    InkCaller caller = {":1.1", "exe:test"};
    InkError error = {0};
    start(&w, &one, "Hello");
    run_until(&w, &one.got_text);
    assert_int_equal(ink_app_ops()->unload(w.app, &caller, false, &error), -EBUSY);
    assert_false(one.ended);
    assert_int_equal(ink_app_ops()->unload(w.app, &caller, true, &error), 0);
    assert_true(one.ended);
    assert_int_equal(one.result.status, INK_TASK_CANCELLED);
    assert_string_equal(state_of(&w), "idle");
    start(&w, &two, "Hello");
    run_until(&w, &two.got_text);
    world_done(&w);
    /* The end of the service is one more door of the same way. */
    assert_int_equal(two.n_ends, 1);
    assert_int_equal(two.result.error.code, ESHUTDOWN);
}

static void test_app_idle_worker_leaves_and_comes_back(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_init(&w, "echo");
    w.config.idle_usec = 100000;
    world_start(&w);
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    run_for(&w, 50000);
    assert_string_equal(state_of(&w), "ready");
    run_for(&w, 1300000); /* the idle timer may be a second late, so that wake-ups join others */
    assert_string_equal(state_of(&w), "idle");
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    world_done(&w);
}

/* ------------------------------------------------------------------ many callers */

static void test_app_slow_reader_parks_only_itself(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "echo");
    one.sink = (InkTaskSink){.events = &events, .credit_bytes = 10};
    start(&w, &one, "Hello");
    start(&w, &two, "Hello");
    run_until(&w, &two.ended);
    run_for(&w, 400000); /* longer than silence is allowed: it is parked, not stalled */
    assert_false(one.ended);
    assert_true(one.n_text_bytes > 0 && one.n_text_bytes <= 10);
    for (unsigned i = 0; i < 20 && !one.ended; i++) {
        size_t before = one.n_text_bytes;
        ink_app_ops()->credit(w.app, one.id, 8);
        run_for(&w, 20000);
        assert_true(one.n_text_bytes <= before + 8 + 10);
    }
    assert_true(one.ended);
    assert_string_equal(one.text, FAKE_TEXT);
    assert_int_equal(one.result.retries, 0);
    world_done(&w);
}

/* Every door leads to one function, and out of it come the same partial text and counts; only the
 * words differ. Each is tried before the model is there, and in the middle of an answer. */
static const struct {
    InkCancelReason reason;
    InkTaskStatus status;
    InkFinishReason finish;
    int code;
    const char *words;
} doors[] = {
    {INK_CANCEL_CALLER, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ECANCELED, "was cancelled"},
    {INK_CANCEL_GONE, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ECANCELED, "was cancelled"},
    {INK_CANCEL_PIPE, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ECANCELED, "was cancelled"},
    {INK_CANCEL_SUPERSEDED, INK_TASK_CANCELLED, INK_FINISH_SUPERSEDED, ECANCELED, "superseded"},
    {INK_CANCEL_DEADLINE, INK_TASK_SUCCESS, INK_FINISH_DEADLINE, 0, ""},
    {INK_CANCEL_SHUTDOWN, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ESHUTDOWN, "stopping"},
    {INK_CANCEL_UNLOAD, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ECANCELED, "unloaded"},
    {INK_CANCEL_SESSION, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ECANCELED, "session"},
    {INK_CANCEL_STALLED, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, ECANCELED, "pipe"},
};

static void test_app_every_door_of_cancelling_is_one(void **state)
{
    (void)state;
    World w;
    world_new(&w, "slow");
    for (size_t i = 0; i < 2 * sizeof doors / sizeof *doors; i++) {
        bool is_running = i % 2 != 0;
        clear_clients();
        start(&w, &one, "Hello");
        if (is_running)
            run_until(&w, &one.got_text);
        uint64_t begin = ink_clock_monotonic_usec();
        ink_app_ops()->cancel(w.app, one.id, doors[i / 2].reason);
        ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_CALLER); /* the first one counts */
        run_until(&w, &one.ended);
        assert_true(ink_clock_monotonic_usec() - begin < 2000000);
        assert_int_equal(one.n_ends, 1);
        assert_int_equal(one.result.status, doors[i / 2].status);
        assert_int_equal(one.result.reason, doors[i / 2].finish);
        assert_int_equal(one.result.error.code, doors[i / 2].code);
        assert_non_null(strstr(one.result.error.message, doors[i / 2].words));
        assert_int_equal(one.result.output_tokens > 0, is_running);
        assert_int_equal(one.n_text_bytes > 0, is_running);
        assert_int_equal(ink_app_n_requests(w.app), 0);
        InkError error = {0};
        InkCaller caller = {.sender = ":1.1", .app_id = "exe:test"};
        if (!is_running)
            assert_int_equal(ink_app_ops()->unload(w.app, &caller, true, &error), 0);
    }
    world_done(&w);
}

/* As SIGSTOP of the service does it: for longer than any patience nothing is read. */
static void test_app_that_did_not_run_kills_no_worker(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    InkTask task = make_task("Hello");
    task.max_tokens = 60; /* of 20 ms: they end after it */
    assert_int_equal(start_as(&w, &one, "exe:test", &task, NULL), 0);
    start(&w, &two, "Hello");
    run_until(&w, &two.got_text);
    ink_app_ops()->cancel(w.app, two.id, INK_CANCEL_CALLER);
    usleep(900000); /* silence is 300 ms here, a cancel has 100 and 500 */
    run_until(&w, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_CANCELLED);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.output_tokens, 60);
    assert_int_equal(one.result.retries, 0);
    world_done(&w);
}

static void test_app_full_queue_is_busy_and_drains(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "echo");
    InkTask task = make_task("Hello");
    size_t n = 0;
    char app[16];
    InkError error = {0};
    int r = 0;
    while (n < sizeof many / sizeof *many && r == 0) {
        snprintf(app, sizeof app, "exe:%zu", n % 8);
        r = start_as(&w, &many[n], app, &task, &error);
        n += r == 0;
    }
    assert_int_equal(r, -EBUSY);
    assert_int_equal(n, INK_LIMIT_QUEUED);
    for (size_t i = 0; i < n; i++)
        run_until(&w, &many[i].ended);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(many[i].text, FAKE_TEXT);
    assert_int_equal(start_as(&w, &one, "exe:0", &task, NULL), 0);
    run_until(&w, &one.ended);
    world_done(&w);
}

static void test_app_nobody_waits_for_anothers_long_answer(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    InkTask longer = make_task("long"), shorter = make_task("short");
    longer.max_tokens = 4096;
    shorter.max_tokens = 2;
    for (size_t i = 0; i < 6; i++) /* four run, two wait */
        assert_int_equal(start_as(&w, &many[i], "exe:greedy", &longer, NULL), 0);
    run_until(&w, &many[3].got_text);
    assert_int_equal(start_as(&w, &one, "exe:modest", &shorter, NULL), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_false(many[0].ended || many[5].got_text);
    const char *word;
    uint32_t position;
    InkPriority priority;
    assert_int_equal(ink_app_ops()->task_state(w.app, many[0].id, &word, &position, &priority), 0);
    assert_string_equal(word, "running");
    assert_int_equal(ink_app_ops()->task_state(w.app, many[5].id, &word, &position, &priority), 0);
    assert_string_equal(word, "queued");
    assert_int_equal(position, 2);
    assert_int_equal(ink_app_ops()->set_priority(w.app, many[5].id, INK_PRIORITY_TYPING), 0);
    assert_int_equal(ink_app_ops()->task_state(w.app, many[5].id, &word, &position, &priority), 0);
    assert_int_equal(position, 1);
    assert_int_equal(priority, INK_PRIORITY_TYPING);
    assert_int_equal(ink_app_ops()->task_state(w.app, 999, &word, &position, &priority), -ENXIO);
    world_done(&w);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(many[i].n_ends, 1);
}

/* ------------------------------------------------------------------ store */

static void on_count(void *userdata, const InkError *error, uint64_t count)
{
    Reply *r = userdata;
    r->done = true;
    r->error = error != NULL ? *error : (InkError){0};
    r->count = (uint32_t)count;
}

static void on_done(void *userdata, const InkError *error)
{
    on_count(userdata, error, 0);
}

static void test_app_memory_is_off_until_switched_on_and_wakes_no_model(void **state)
{
    (void)state;
    World w;
    world_new(&w, "echo");
    InkCaller caller = {":1.1", "exe:test"};
    InkServiceEvent event = {.kind = "ran", .text = "make test"};
    const InkServiceOps *ops = ink_app_ops();
    assert_false(ops->memory_enabled(w.app));
    Reply r = {0};
    assert_int_equal(ops->observe(w.app, &caller, &event, 1, false, false, on_count, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_int_equal(r.count, 0);
    r = (Reply){0};
    assert_int_equal(ops->set_memory_enabled(w.app, true, on_done, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_int_equal(r.error.code, 0);
    assert_true(ops->memory_enabled(w.app));
    r = (Reply){0};
    assert_int_equal(ops->observe(w.app, &caller, &event, 1, false, false, on_count, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_int_equal(r.count, 1);
    assert_string_equal(state_of(&w), "idle");
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_app_cancel_stops_and_keeps_the_partial_text),
        cmocka_unit_test(test_app_deadline_gives_what_exists),
        cmocka_unit_test(test_app_newer_request_supersedes),
        cmocka_unit_test(test_app_unload_wants_force_while_busy),
        cmocka_unit_test(test_app_idle_worker_leaves_and_comes_back),
        cmocka_unit_test(test_app_slow_reader_parks_only_itself),
        cmocka_unit_test(test_app_every_door_of_cancelling_is_one),
        cmocka_unit_test(test_app_that_did_not_run_kills_no_worker),
        cmocka_unit_test(test_app_full_queue_is_busy_and_drains),
        cmocka_unit_test(test_app_nobody_waits_for_anothers_long_answer),
        cmocka_unit_test(test_app_memory_is_off_until_switched_on_and_wakes_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
