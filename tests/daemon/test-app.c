/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* From a request to its text, and what becomes of it when the worker or the model is broken. */
#include "tests/daemon/app-world.h"

/* ------------------------------------------------------------------ the plain way */

static void test_app_completes_on_demand(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "echo");
    assert_string_equal(state_of(&w), "idle");
    start(&w, &one, "Once upon a time");
    run_until(&w, &one.ended);
    assert_string_equal(one.text, FAKE_TEXT);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.reason, INK_FINISH_STOP);
    assert_int_equal(one.result.prompt_tokens, 16);
    assert_int_equal(one.result.retries, 0);
    assert_int_equal(one.result.seed, 42);
    assert_string_equal(one.model, "toy");
    assert_true(one.result.load_usec > 0);
    assert_string_equal(one.stages, "loading prefill decode ");
    run_for(&w, 1000);
    assert_string_equal(state_of(&w), "ready");
    assert_true(w.n_state_changes >= 2); /* loading, ready */
    assert_int_equal(ink_app_n_requests(w.app), 0);
    assert_int_equal(one.n_ends, 1);
    /* The next one finds it loaded. */
    start(&w, &one, "Again");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.load_usec, 0);
    world_done(&w);
}

static void test_app_gives_deferred_text_in_one_piece(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "echo");
    one.sink = (InkTaskSink){.events = &events, .credit_bytes = SIZE_MAX, .deferred = true};
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_string_equal(one.text, FAKE_TEXT);
    world_done(&w);
}

static void test_app_chat_and_load_reach_the_worker(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "echo");
    InkTask task = make_task("");
    task.kind = INK_TASK_LOAD;
    task.hold_usec = 1000000;
    assert_int_equal(start_as(&w, &one, "exe:test", &task, NULL), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.reason, INK_FINISH_NONE);

    InkChatMessage messages[] = {{"system", "Be kind.", 8}, {"user", "Hello", 5}};
    const char *stops[] = {"###"};
    task = make_task("");
    task.kind = INK_TASK_CHAT;
    task.messages = messages;
    task.n_messages = 2;
    task.stops = stops;
    task.n_stops = 1;
    assert_int_equal(start_as(&w, &two, "exe:test", &task, NULL), 0);
    run_until(&w, &two.ended);
    /* The fake counts the bytes of roles and texts, not of stops. */
    assert_int_equal(two.result.prompt_tokens, 6 + 8 + 4 + 5);
    world_done(&w);
}

static void on_tokens(void *userdata, const InkError *error, uint32_t count, const uint32_t *ids,
                      size_t n_ids)
{
    Reply *r = userdata;
    r->done = true;
    r->error = error != NULL ? *error : (InkError){0};
    r->count = count;
    r->n_ids = n_ids;
    assert_true(n_ids <= 16);
    if (n_ids > 0)
        memcpy(r->ids, ids, n_ids * sizeof *ids);
}

static void on_detokenized(void *userdata, const InkError *error, const char *text, size_t n_bytes)
{
    Reply *r = userdata;
    r->done = true;
    r->error = error != NULL ? *error : (InkError){0};
    assert_true(n_bytes < sizeof r->text);
    memcpy(r->text, text, n_bytes);
    r->text[n_bytes] = '\0';
}

static void test_app_tokenizes_and_back(void **state)
{
    (void)state;
    World w;
    world_new(&w, "echo");
    InkCaller caller = {":1.1", "exe:test"};
    InkTask input = make_task("abc");
    Reply r = {0};
    assert_int_equal(
        ink_app_ops()->tokenize(w.app, &caller, &input, false, true, on_tokens, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_int_equal(r.error.code, 0);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.n_ids, 3);
    assert_int_equal(r.ids[2], 'c');

    r = (Reply){0};
    assert_int_equal(
        ink_app_ops()->tokenize(w.app, &caller, &input, false, false, on_tokens, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.n_ids, 0);

    uint32_t ids[] = {'o', 'k', 0};
    r = (Reply){0};
    assert_int_equal(
        ink_app_ops()->detokenize(w.app, &caller, ids, 2, false, on_detokenized, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_string_equal(r.text, "ok");
    r = (Reply){0};
    assert_int_equal(
        ink_app_ops()->detokenize(w.app, &caller, ids, 3, false, on_detokenized, &r, NULL), 0);
    run_until(&w, &r.done);
    assert_int_equal(r.error.code, EINVAL);
    world_done(&w);
}

/* ------------------------------------------------------------------ dying workers */

static void test_app_retries_once_alone_when_no_text_was_delivered(void **state)
{
    (void)state;
    World w;
    char script[160];
    clear_clients();
    world_init(&w, "");
    snprintf(script, sizeof script, "die-once:%s/died", w.folder);
    setenv("INKLING_FAKE_SCRIPT", script, 1);
    world_start(&w);
    start(&w, &one, "first");
    start(&w, &two, "second");
    run_until(&w, &one.ended);
    run_until(&w, &two.ended);
    assert_string_equal(one.text, FAKE_TEXT);
    assert_string_equal(two.text, FAKE_TEXT);
    assert_int_equal(one.result.retries + two.result.retries, 2);
    assert_non_null(strstr(one.stages, "restarting"));
    world_done(&w);
}

static void test_app_refuses_input_that_kills_twice_to_that_program_only(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "die-before-text");
    start(&w, &one, "poison");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.error.code, EREMOTEIO);
    assert_int_equal(one.result.retries, 1);

    setenv("INKLING_FAKE_SCRIPT", "echo", 1);
    InkTask task = make_task("poison");
    task.seed = 43; /* another seed does not make it another input */
    InkError error = {0};
    assert_int_equal(start_as(&w, &two, "exe:test", &task, &error), -EREMOTEIO);
    assert_non_null(strstr(error.message, "twice"));
    assert_int_equal(start_as(&w, &two, "exe:other", &task, NULL), 0);
    run_until(&w, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_SUCCESS);
    start(&w, &one, "poisoned");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    world_done(&w);
}

static void test_app_fails_when_text_was_delivered(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "die-after-text");
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.error.code, EREMOTEIO);
    assert_int_equal(one.result.retries, 0);
    assert_true(one.got_text);
    /* The next request works, with a new worker. */
    setenv("INKLING_FAKE_SCRIPT", "echo", 1);
    start(&w, &two, "Hello");
    run_until(&w, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_SUCCESS);
    world_done(&w);
}

static void test_app_kills_a_worker_that_breaks_the_protocol(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "garbage");
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.error.code, EREMOTEIO);
    assert_int_equal(one.result.retries, 1);
    world_done(&w);
}

static void test_app_kills_a_silent_worker(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "stall");
    uint64_t begin = ink_clock_monotonic_usec();
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.retries, 1);
    assert_true(ink_clock_monotonic_usec() - begin >= 2 * 300000);
    /* One that is cancelled ends with the shorter stall time, and as cancelled. */
    start(&w, &two, "Other");
    run_for(&w, 50000);
    begin = ink_clock_monotonic_usec();
    ink_app_ops()->cancel(w.app, two.id, INK_CANCEL_CALLER);
    run_until(&w, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_CANCELLED);
    assert_true(ink_clock_monotonic_usec() - begin < 290000);
    world_done(&w);
}

static void test_app_starts_that_fail_end_those_who_wait(void **state)
{
    (void)state;
    static const char *const scripts[] = {"no-ready", "stall-load"};
    for (size_t i = 0; i < 2; i++) {
        World w;
        clear_clients();
        world_init(&w, scripts[i]);
        world_start(&w);
        start(&w, &one, "Hello");
        run_until(&w, &one.ended);
        assert_int_equal(one.result.status, INK_TASK_FAILED);
        assert_int_equal(one.result.error.code, EREMOTEIO);
        assert_string_equal(state_of(&w), "failed");
        world_done(&w);
    }
}

static void test_app_missing_worker_program_is_told(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_init(&w, "echo");
    snprintf(w.worker, sizeof w.worker, "/nonexistent/worker");
    world_start(&w);
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.error.code, EREMOTEIO);
    assert_non_null(strstr(one.result.error.message, "missing"));
    world_done(&w);
}

/* ------------------------------------------------------------------ models */

static void test_app_model_the_worker_refuses_is_invalid(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "fail-load");
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.error.code, EBADMSG);
    assert_non_null(strstr(one.result.error.message, "tensor data"));
    InkServiceAvailability a;
    InkCaller caller = {":1.1", "exe:test"};
    assert_int_equal(ink_app_ops()->availability(w.app, &caller, "complete", "", &a, NULL), 0);
    assert_string_equal(a.state, "model-invalid");
    /* The same file is not loaded again; another file of that name is. */
    setenv("INKLING_FAKE_SCRIPT", "echo", 1);
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.error.code, EBADMSG);
    put_model(w.models, "toy", "a sound file");
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    world_done(&w);
}

static void test_app_without_models_says_what_to_do(void **state)
{
    (void)state;
    World w;
    char path[256];
    world_new(&w, "echo");
    snprintf(path, sizeof path, "%s/toy.gguf", w.models);
    unlink(path);
    assert_string_equal(state_of(&w), "no-model");
    InkTask task = make_task("Hello");
    InkError error = {0};
    assert_int_equal(start_as(&w, &one, "exe:test", &task, &error), -ENODEV);
    assert_non_null(strstr(error.message, "inkling model import"));
    InkServiceAvailability a;
    InkCaller caller = {":1.1", "exe:test"};
    assert_int_equal(ink_app_ops()->availability(w.app, &caller, "chat", "", &a, NULL), 0);
    assert_string_equal(a.state, "no-model");
    assert_int_equal(ink_app_ops()->availability(w.app, &caller, "fly", "", &a, NULL), 0);
    assert_string_equal(a.state, "unsupported");
    task.model = "nobody";
    assert_int_equal(start_as(&w, &one, "exe:test", &task, &error), -ENOENT);
    world_done(&w);
}

static void test_app_broken_default_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        World w;
        char path[256];
        clear_clients();
        world_new(&w, "echo");
        snprintf(path, sizeof path, "%s/toy.gguf", w.models);
        unlink(path);
        if (i == 0)
            put_model(w.models, "toy", "");
        else if (i == 1)
            assert_int_equal(mkdir(path, 0700), 0);
        else if (i == 2)
            assert_int_equal(mkfifo(path, 0600), 0);
        else
            assert_int_equal(symlink("/etc/passwd", path), 0);
        start(&w, &one, "Hello");
        run_until(&w, &one.ended);
        assert_int_equal(one.result.status, INK_TASK_FAILED);
        assert_int_equal(one.result.error.code, EBADMSG);
        assert_non_null(strstr(one.result.error.message, "model file"));
        world_done(&w);
    }
}

static unsigned n_listed;

static void note_model(void *userdata, const InkServiceModel *m)
{
    (void)userdata;
    n_listed++;
    if (strcmp(m->name, "toy") == 0) {
        assert_true(m->is_default && m->loaded && !m->is_system);
        assert_string_equal(m->architecture, "fake");
        assert_int_equal(m->context_window, 2048);
    } else {
        assert_string_equal(m->name, "zoo");
        assert_false(m->is_default || m->loaded);
    }
}

static void test_app_serves_one_model_at_a_time(void **state)
{
    (void)state;
    World w;
    clear_clients();
    world_new(&w, "slow");
    put_model(w.models, "zoo", "another one");
    InkTask task = make_task("Hello");
    task.max_tokens = 5;
    assert_int_equal(start_as(&w, &one, "exe:test", &task, NULL), 0);
    run_until(&w, &one.got_text);
    task.model = "zoo";
    assert_int_equal(start_as(&w, &two, "exe:test", &task, NULL), 0);
    n_listed = 0;
    assert_int_equal(ink_app_ops()->list_models(w.app, note_model, NULL, NULL), 0);
    assert_int_equal(n_listed, 2);
    run_until(&w, &two.ended);
    assert_true(one.ended && one.ended_at < two.ended_at);
    assert_string_equal(one.model, "toy");
    assert_string_equal(two.model, "zoo");
    assert_int_equal(two.result.reason, INK_FINISH_LENGTH);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_app_completes_on_demand),
        cmocka_unit_test(test_app_gives_deferred_text_in_one_piece),
        cmocka_unit_test(test_app_chat_and_load_reach_the_worker),
        cmocka_unit_test(test_app_tokenizes_and_back),
        cmocka_unit_test(test_app_retries_once_alone_when_no_text_was_delivered),
        cmocka_unit_test(test_app_refuses_input_that_kills_twice_to_that_program_only),
        cmocka_unit_test(test_app_fails_when_text_was_delivered),
        cmocka_unit_test(test_app_kills_a_worker_that_breaks_the_protocol),
        cmocka_unit_test(test_app_kills_a_silent_worker),
        cmocka_unit_test(test_app_starts_that_fail_end_those_who_wait),
        cmocka_unit_test(test_app_missing_worker_program_is_told),
        cmocka_unit_test(test_app_model_the_worker_refuses_is_invalid),
        cmocka_unit_test(test_app_without_models_says_what_to_do),
        cmocka_unit_test(test_app_broken_default_files_are_refused),
        cmocka_unit_test(test_app_serves_one_model_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
