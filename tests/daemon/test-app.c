/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The composition root without a bus: real queue, real store, and tests/fakes/fake-worker.c as the
 * worker, which misbehaves as its script says. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/app.h"
#include "daemon/bounds.h"
#include "engine/base/clock.h"

#define WAIT_USEC 10000000u

/* ------------------------------------------------------------------ a small world */

typedef struct World {
    char folder[64], models[128], system_models[128], cache[128], data[128], worker[4200];
    sd_event *event;
    InkConfig config;
    InkApp *app;
    unsigned n_state_changes;
} World;

static void on_state_changed(void *userdata)
{
    ((World *)userdata)->n_state_changes++;
}

static const InkAppEvents app_events = {.state_changed = on_state_changed};

static void put_model(const char *folder, const char *name, const char *content)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static void world_init(World *w, const char *script)
{
    *w = (World){.folder = "/tmp/ink-app-XXXXXX"};
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->models, sizeof w->models, "%s/models", w->folder);
    snprintf(w->system_models, sizeof w->system_models, "%s/system", w->folder);
    snprintf(w->cache, sizeof w->cache, "%s/cache", w->folder);
    snprintf(w->data, sizeof w->data, "%s/data", w->folder);
    snprintf(w->worker, sizeof w->worker, "%s/tests/fakes/fake-worker",
             getenv("INKLING_BUILD_DIR"));
    assert_int_equal(mkdir(w->models, 0700) | mkdir(w->data, 0700), 0);
    put_model(w->models, "toy", "not read by a fake");
    setenv("INKLING_FAKE_SCRIPT", script, 1);
    setenv("INKLING_FAKE_TEXT", "", 1);
    ink_config_init(&w->config);
    assert_true(sd_event_new(&w->event) >= 0);
}

static void world_start(World *w)
{
    InkAppOptions options = {
        .worker_program = w->worker,
        .model_folder = w->models,
        .system_model_folder = w->system_models,
        .cache_folder = w->cache,
        .data_folder = w->data,
        .network_guard = "none",
        .config = &w->config,
        .times = {.start_usec = 700000,
                  .stall_usec = 100000,
                  .silence_usec = 300000,
                  .cancel_usec = 500000},
        .backoff_usec = 1000,
    };
    InkError error = {0};
    int r = ink_app_new(w->event, &options, &w->app, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(r, 0);
    ink_app_set_events(w->app, &app_events, w);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void world_done(World *w)
{
    w->app = ink_app_free(w->app);
    w->event = sd_event_unref(w->event);
    nftw(w->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void world_new(World *w, const char *script)
{
    world_init(w, script);
    world_start(w);
}

static void run_until(World *w, const bool *flag)
{
    uint64_t end = ink_clock_monotonic_usec() + WAIT_USEC;
    while (!*flag && ink_clock_monotonic_usec() < end)
        assert_true(sd_event_run(w->event, 100000) >= 0);
    assert_true(*flag);
}

static void run_for(World *w, uint64_t span_usec)
{
    for (uint64_t end = ink_clock_monotonic_usec() + span_usec, now;
         (now = ink_clock_monotonic_usec()) < end;)
        assert_true(sd_event_run(w->event, end - now) >= 0);
}

/* ------------------------------------------------------------------ a caller */

typedef struct Client {
    World *world;
    uint64_t id;
    char text[65536];
    size_t n_text_bytes;
    char stages[512];
    bool got_text, ended;
    unsigned n_ends;
    uint64_t ended_at; /* order among all ends */
    InkTaskResult result;
    char model[128];
    InkTaskSink sink;
} Client;

static uint64_t n_all_ends;

static void on_progress(void *userdata, const char *stage, double fraction)
{
    Client *c = userdata;
    assert_true(fraction >= 0 && fraction <= 1);
    assert_false(c->ended);
    if (strlen(c->stages) + strlen(stage) + 2 < sizeof c->stages &&
        strstr(c->stages, stage) == NULL) {
        strcat(c->stages, stage);
        strcat(c->stages, " ");
    }
}

static void on_text(void *userdata, uint64_t offset_bytes, const char *text, size_t n_bytes)
{
    Client *c = userdata;
    assert_false(c->ended);
    assert_int_equal(offset_bytes, c->n_text_bytes);
    assert_true(c->n_text_bytes + n_bytes < sizeof c->text);
    memcpy(c->text + c->n_text_bytes, text, n_bytes);
    c->n_text_bytes += n_bytes;
    c->got_text = true;
}

static void on_finished(void *userdata, const InkTaskResult *result)
{
    Client *c = userdata;
    c->result = *result;
    snprintf(c->model, sizeof c->model, "%s", result->model);
    c->n_ends++;
    c->ended = true;
    c->ended_at = ++n_all_ends;
}

static const InkTaskEvents events = {
    .progress = on_progress, .text = on_text, .finished = on_finished};

static InkTask make_task(const char *prompt)
{
    return (InkTask){.kind = INK_TASK_COMPLETE,
                     .prompt = prompt,
                     .n_prompt_bytes = strlen(prompt),
                     .model = "",
                     .max_tokens = 256,
                     .temperature = 0.7,
                     .top_p = 0.95,
                     .min_p = 0.05,
                     .repeat_penalty = 1,
                     .top_k = 40,
                     .seed = 42,
                     .priority = INK_PRIORITY_INTERACTIVE};
}

static int start_as(World *w, Client *c, const char *app, const InkTask *task, InkError *error)
{
    InkTaskSink sink = c->sink;
    *c = (Client){.world = w, .sink = sink};
    if (c->sink.events == NULL)
        c->sink = (InkTaskSink){.events = &events, .credit_bytes = SIZE_MAX};
    c->sink.userdata = c;
    InkCaller caller = {.sender = ":1.1", .app_id = app};
    return ink_app_ops()->start(w->app, &caller, task, &c->sink, &c->id, error);
}

static void start(World *w, Client *c, const char *prompt)
{
    InkTask task = make_task(prompt);
    InkError error = {0};
    int r = start_as(w, c, "exe:test", &task, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(r, 0);
    assert_true(c->id > 0);
}

#define FAKE_TEXT "It was a fake that told this story, and it told it well."

static Client one, two, many[INK_LIMIT_QUEUED + 16];

static void clear_clients(void)
{
    memset(&one, 0, sizeof one);
    memset(&two, 0, sizeof two);
    memset(many, 0, sizeof many);
}

static const char *state_of(World *w)
{
    InkServiceState state;
    ink_app_ops()->state(w->app, &state);
    return state.state;
}

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

typedef struct Reply {
    bool done;
    InkError error;
    uint32_t count, ids[16];
    size_t n_ids;
    char text[64];
} Reply;

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
    assert_non_null(strstr(error.message, "inkling/models"));
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
        cmocka_unit_test(test_app_cancel_stops_and_keeps_the_partial_text),
        cmocka_unit_test(test_app_deadline_gives_what_exists),
        cmocka_unit_test(test_app_newer_request_supersedes),
        cmocka_unit_test(test_app_unload_wants_force_while_busy),
        cmocka_unit_test(test_app_idle_worker_leaves_and_comes_back),
        cmocka_unit_test(test_app_slow_reader_parks_only_itself),
        cmocka_unit_test(test_app_full_queue_is_busy_and_drains),
        cmocka_unit_test(test_app_nobody_waits_for_anothers_long_answer),
        cmocka_unit_test(test_app_memory_is_off_until_switched_on_and_wakes_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
