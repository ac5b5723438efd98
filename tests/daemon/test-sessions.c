/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Sessions of the broker, with a worker that is a fake: what a turn leaves behind, who may have how
 * many, how they end, what the store gives back. */
#include "tests/daemon/app-world.h"

#include "daemon/sessions-private.h"
#include "daemon/sessions.h"
#include "daemon/transcript.h"

static const InkCaller host = {":1.1", "exe:test", INK_CALLER_HOST};
static const InkCaller stranger = {":1.2", "exe:test", INK_CALLER_HOST};
static const InkCaller boxed = {":1.3", "org.example.App", INK_CALLER_FLATPAK};

/* What the service told of sessions: "closed 3 idle(2)", as reasons by id. */
typedef struct Told {
    unsigned n_closed, n_overflow;
    uint64_t id;
    InkSessionEnd reason;
    bool any;
} Told;

static Told told;

static void on_closed(void *userdata, uint64_t id, InkSessionEnd reason)
{
    (void)userdata;
    told.n_closed++;
    told.id = id;
    told.reason = reason;
    told.any = true;
}

static void on_overflow(void *userdata, uint64_t id, uint32_t turns, uint32_t tokens)
{
    (void)userdata, (void)id, (void)turns, (void)tokens;
    told.n_overflow++;
}

static const InkSessionEvents session_events = {.closed = on_closed, .overflow = on_overflow};

static void begin(World *w, const char *script)
{
    clear_clients();
    told = (Told){0};
    world_new(w, script);
    ink_app_ops()->set_session_events(w->app, &session_events, NULL);
}

/* One answer that comes later, or at once. */
typedef struct Answer {
    bool done;
    InkError error;
    uint64_t value;
} Answer;

static void on_made(void *userdata, const InkError *error, uint64_t id)
{
    Answer *a = userdata;
    assert_false(a->done);
    *a = (Answer){.done = true, .value = id};
    if (error != NULL)
        a->error = *error;
}

static void on_done(void *userdata, const InkError *error)
{
    on_made(userdata, error, 0);
}

static uint64_t create_with(World *w, const InkCaller *caller, InkServiceSessionOptions options)
{
    Answer a = {0};
    InkError error = {0};
    int r = ink_app_ops()->create_session(w->app, caller, &options, on_made, &a, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(r, 0);
    run_until(w, &a.done);
    assert_string_equal(a.error.message, "");
    assert_true(a.value != 0);
    return a.value;
}

static uint64_t create(World *w)
{
    return create_with(w, &host, (InkServiceSessionOptions){.priority = INK_PRIORITY_INTERACTIVE});
}

static InkServiceSessionOptions persistent(const char *name)
{
    return (InkServiceSessionOptions){
        .persistent = true, .name = name, .priority = INK_PRIORITY_INTERACTIVE};
}

static int prompt(World *w, Client *c, uint64_t session, const char *text, InkTaskKind kind)
{
    InkTask task = make_task(text);
    InkError error = {0};
    InkTaskSink sink = c->sink;
    task.kind = kind;
    task.session = session;
    *c = (Client){.world = w, .sink = sink};
    if (c->sink.events == NULL)
        c->sink = (InkTaskSink){.events = &events, .credit_bytes = SIZE_MAX};
    c->sink.userdata = c;
    return ink_app_ops()->start(w->app, &host, &task, &c->sink, &c->id, &error);
}

static void turn(World *w, Client *c, uint64_t session, const char *text)
{
    assert_int_equal(prompt(w, c, session, text, INK_TASK_PROMPT), 0);
    run_until(w, &c->ended);
}

static void show_turn(void *userdata, const InkServiceTurn *t)
{
    char *out = userdata;
    size_t at = strlen(out);
    assert_true(t->time_usec > 0);
    snprintf(out + at, 4096 - at, "%c:%s|", t->role[0], t->text);
}

static const char *transcript(World *w, uint64_t session)
{
    static char out[4096];
    InkError error = {0};
    out[0] = '\0';
    assert_int_equal(ink_app_ops()->session_transcript(w->app, session, show_turn, out, &error), 0);
    return out;
}

static InkServiceSession info(World *w, uint64_t session)
{
    InkServiceSession s = {0};
    assert_int_equal(ink_app_ops()->session_info(w->app, session, &s, NULL), 0);
    return s;
}

static int append(World *w, uint64_t session, const char *role, const char *text, Answer *a)
{
    const InkChatMessage message = {role, text, strlen(text)};
    *a = (Answer){0};
    int r = ink_app_ops()->session_append(w->app, session, &message, 1, on_done, a, NULL);
    if (r == 0)
        run_until(w, &a->done);
    return r;
}

static int rewind_to(World *w, uint64_t session, uint32_t n, Answer *a)
{
    *a = (Answer){0};
    int r = ink_app_ops()->session_rewind(w->app, session, n, on_done, a, NULL);
    if (r == 0)
        run_until(w, &a->done);
    return r;
}

/* ------------------------------------------------------------------ turns */

static void test_sessions_turn_sees_all_before_it(void **state)
{
    World w;
    (void)state;
    begin(&w, "echo");
    const InkChatMessage system = {"system", "be brief", 8};
    uint64_t id =
        create_with(&w, &host, (InkServiceSessionOptions){.messages = &system, .n_messages = 1});
    turn(&w, &one, id, "one");
    assert_string_equal(transcript(&w, id), "s:be brief|u:one|a:" FAKE_TEXT "|");
    /* The fake counts bytes: roles and texts of what it was given. */
    uint32_t first = sizeof("systembe briefuserone") - 1;
    assert_int_equal(one.result.prompt_tokens, first);
    assert_string_equal(one.text, FAKE_TEXT);
    turn(&w, &two, id, "two");
    assert_int_equal(two.result.prompt_tokens, first + sizeof("assistant" FAKE_TEXT "usertwo") - 1);
    InkServiceSession s = info(&w, id);
    assert_int_equal(s.context_usage, two.result.prompt_tokens + two.result.output_tokens);
    assert_int_equal(s.context_window, 2048);
    assert_false(s.busy);
    assert_string_equal(s.model, "toy");
    world_done(&w);
}

static void test_sessions_deferred_answers_are_kept_too(void **state)
{
    World w;
    (void)state;
    begin(&w, "echo");
    uint64_t id = create(&w);
    one.sink = (InkTaskSink){.events = &events, .credit_bytes = SIZE_MAX, .deferred = true};
    turn(&w, &one, id, "one");
    assert_string_equal(transcript(&w, id), "u:one|a:" FAKE_TEXT "|");
    world_done(&w);
}

static void test_sessions_are_serial_and_cancelling_leaves_no_trace(void **state)
{
    World w;
    Answer a;
    (void)state;
    begin(&w, "slow");
    uint64_t id = create(&w);
    assert_int_equal(prompt(&w, &one, id, "one", INK_TASK_PROMPT), 0);
    assert_int_equal(prompt(&w, &two, id, "two", INK_TASK_PROMPT), -EALREADY);
    run_until(&w, &one.got_text);
    assert_true(info(&w, id).busy);
    assert_int_equal(prompt(&w, &two, id, "two", INK_TASK_PROMPT), -EALREADY);
    assert_int_equal(prompt(&w, &two, id, "two", INK_TASK_PREWARM), -EALREADY);
    assert_int_equal(append(&w, id, "user", "x", &a), -EALREADY);
    assert_int_equal(rewind_to(&w, id, 0, &a), -EALREADY);
    assert_int_equal(ink_app_ops()->session_clone(w.app, id, &host, on_made, &a, NULL), -EALREADY);
    assert_int_equal(ink_app_ops()->session_forget(w.app, id, on_done, &a, NULL), -EALREADY);
    ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_CALLER);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_CANCELLED);
    assert_string_equal(transcript(&w, id), "");
    assert_int_equal(append(&w, id, "user", "x", &a), 0);
    assert_string_equal(transcript(&w, id), "u:x|");
    world_done(&w);
}

static void test_sessions_keep_what_a_deadline_left(void **state)
{
    World w;
    (void)state;
    begin(&w, "slow");
    uint64_t id = create(&w);
    InkTask task = make_task("one");
    task.kind = INK_TASK_PROMPT;
    task.session = id;
    task.deadline_usec = 400000;
    one = (Client){.world = &w, .sink = {.events = &events, .credit_bytes = SIZE_MAX}};
    one.sink.userdata = &one;
    assert_int_equal(ink_app_ops()->start(w.app, &host, &task, &one.sink, &one.id, NULL), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.reason, INK_FINISH_DEADLINE);
    assert_true(one.n_text_bytes > 0);
    assert_string_equal(transcript(&w, id) + strlen("u:one|a:"), strcat(one.text, "|"));
    world_done(&w);
}

static void test_sessions_failed_turn_leaves_no_trace(void **state)
{
    World w;
    (void)state;
    begin(&w, "die-after-text");
    uint64_t id = create(&w);
    turn(&w, &one, id, "one");
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.error.code, EREMOTEIO);
    assert_string_equal(transcript(&w, id), "");
    assert_false(info(&w, id).busy); /* it outlives its worker */
    world_done(&w);
}

static void test_sessions_prewarm_gives_way_to_a_prompt(void **state)
{
    World w;
    (void)state;
    begin(&w, "echo");
    uint64_t id = create(&w);
    assert_int_equal(prompt(&w, &one, id, "on", INK_TASK_PREWARM), 0);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.result.output_tokens, 0);
    assert_string_equal(transcript(&w, id), "");
    assert_int_equal(prompt(&w, &one, id, "on", INK_TASK_PREWARM), 0);
    assert_int_equal(prompt(&w, &two, id, "one", INK_TASK_PROMPT), 0);
    assert_true(one.ended); /* it had not begun */
    assert_int_equal(one.result.reason, INK_FINISH_SUPERSEDED);
    run_until(&w, &two.ended);
    assert_string_equal(transcript(&w, id), "u:one|a:" FAKE_TEXT "|");
    world_done(&w);
}

static void test_sessions_measure_what_a_text_adds(void **state)
{
    World w;
    Answer a = {0};
    (void)state;
    begin(&w, "echo");
    uint64_t id = create(&w);
    for (int i = 0; i < 3; i++) {
        a = (Answer){0};
        assert_int_equal(ink_app_ops()->session_measure(w.app, id, "abcd", on_made, &a, NULL), 0);
        run_until(&w, &a.done);
        assert_int_equal(a.error.code, 0);
        assert_int_equal(a.value, strlen("userabcd"));
        if (i == 0)
            turn(&w, &one, id, "one"); /* then twice with a transcript: counted, and remembered */
    }
    a = (Answer){0};
    assert_int_equal(ink_app_ops()->session_measure(w.app, id, "abcd", on_made, &a, NULL), 0);
    ink_app_ops()->close_session(w.app, id, INK_SESSION_CLOSED);
    run_until(&w, &a.done);
    assert_int_equal(a.error.code, ENXIO);
    world_done(&w);
}

/* ------------------------------------------------------------------ editing */

static void test_sessions_rewind_counts_turns_after_the_system_text(void **state)
{
    World w;
    Answer a;
    (void)state;
    begin(&w, "echo");
    const InkChatMessage messages[] = {
        {"system", "s", 1}, {"user", "1", 1}, {"assistant", "2", 1}, {"user", "3", 1}};
    uint64_t id =
        create_with(&w, &host, (InkServiceSessionOptions){.messages = messages, .n_messages = 4});
    assert_int_equal(rewind_to(&w, id, 4, &a), -EINVAL);
    assert_int_equal(rewind_to(&w, id, 2, &a), 0);
    assert_string_equal(transcript(&w, id), "s:s|u:1|a:2|");
    assert_int_equal(rewind_to(&w, id, 0, &a), 0);
    assert_string_equal(transcript(&w, id), "s:s|");
    world_done(&w);
}

static void test_sessions_clones_go_their_own_way(void **state)
{
    World w;
    Answer a = {0};
    (void)state;
    begin(&w, "echo");
    uint64_t id = create(&w);
    turn(&w, &one, id, "one");
    assert_int_equal(ink_app_ops()->session_clone(w.app, id, &host, on_made, &a, NULL), 0);
    assert_true(a.done);
    assert_int_not_equal(a.value, id);
    uint64_t clone = a.value;
    assert_int_equal(info(&w, clone).context_usage, info(&w, id).context_usage);
    assert_int_equal(append(&w, clone, "user", "x", &a), 0);
    assert_string_equal(transcript(&w, id), "u:one|a:" FAKE_TEXT "|");
    assert_string_equal(transcript(&w, clone), "u:one|a:" FAKE_TEXT "|u:x|");
    world_done(&w);
}

/* ------------------------------------------------------------------ bounds */

static void test_sessions_are_limited_for_each_program(void **state)
{
    World w;
    InkServiceSessionOptions options = {.priority = INK_PRIORITY_INTERACTIVE};
    InkError error = {0};
    Answer a = {0};
    (void)state;
    begin(&w, "echo");
    uint64_t last = 0;
    for (unsigned i = 0; i < INK_LIMIT_SESSIONS_PER_APP; i++)
        last = create(&w);
    assert_int_equal(ink_app_ops()->create_session(w.app, &stranger, &options, on_made, &a, &error),
                     -E2BIG);
    assert_non_null(strstr(error.message, "16"));
    for (unsigned i = 0; i < INK_LIMIT_SESSIONS_PER_APP / 2; i++)
        create_with(&w, &boxed, options);
    assert_int_equal(ink_app_ops()->create_session(w.app, &boxed, &options, on_made, &a, &error),
                     -E2BIG);
    assert_non_null(strstr(error.message, "8"));
    ink_app_ops()->close_session(w.app, last, INK_SESSION_CLOSED);
    assert_int_equal(told.n_closed, 1);
    (void)create(&w);
    world_done(&w);
    assert_int_equal(told.n_closed, 1 + 16 + 8);
    assert_int_equal(told.reason, INK_SESSION_SHUTDOWN);
}

static void test_sessions_have_a_most_of_turns_and_bytes(void **state)
{
    World w;
    Answer a;
    (void)state;
    begin(&w, "echo");
    InkChatMessage *full = calloc(INK_STORE_MAX_CONVERSATION_TURNS, sizeof(*full));
    for (size_t i = 0; i < INK_STORE_MAX_CONVERSATION_TURNS; i++)
        full[i] = (InkChatMessage){"user", "x", 1};
    uint64_t id =
        create_with(&w, &host,
                    (InkServiceSessionOptions){.messages = full,
                                               .n_messages = INK_STORE_MAX_CONVERSATION_TURNS - 1});
    assert_int_equal(prompt(&w, &one, id, "one", INK_TASK_PROMPT), -E2BIG);
    assert_int_equal(append(&w, id, "user", "x", &a), 0);
    assert_int_equal(append(&w, id, "user", "x", &a), -E2BIG);
    char *large = malloc(INK_STORE_MAX_CONVERSATION_BYTES);
    memset(large, 'x', INK_STORE_MAX_CONVERSATION_BYTES);
    large[INK_STORE_MAX_CONVERSATION_BYTES - 1] = '\0';
    uint64_t wide = create(&w);
    assert_int_equal(append(&w, wide, "user", large, &a), 0);
    assert_int_equal(append(&w, wide, "user", "xx", &a), -E2BIG);
    assert_int_equal(prompt(&w, &one, wide, "one", INK_TASK_PROMPT), -E2BIG);
    /* All sessions of one program, and of all programs. */
    assert_int_equal(append(&w, create(&w), "user", large, &a), 0);
    assert_int_equal(append(&w, create(&w), "user", large, &a), 0);
    ink_app_ops()->close_session(w.app, id, INK_SESSION_CLOSED);
    assert_int_equal(append(&w, create(&w), "user", large, &a), 0);
    assert_int_equal(append(&w, create(&w), "user", large, &a), -E2BIG);
    const InkServiceSessionOptions options = {.priority = INK_PRIORITY_INTERACTIVE};
    for (int app = 0; app < 6; app++) {
        char name[32];
        snprintf(name, sizeof name, "org.example.App%d", app);
        const InkCaller caller = {":1.9", name, INK_CALLER_FLATPAK};
        assert_int_equal(append(&w, create_with(&w, &caller, options), "user", large, &a), 0);
        assert_int_equal(append(&w, create_with(&w, &caller, options), "user", large, &a), 0);
        assert_int_equal(append(&w, create_with(&w, &caller, options), "user", large, &a), -E2BIG);
    }
    assert_int_equal(append(&w, create_with(&w, &boxed, options), "user", large, &a), -EBUSY);
    free(large);
    free(full);
    world_done(&w);
}

/* ------------------------------------------------------------------ ends */

static void test_sessions_close_cancels_what_runs(void **state)
{
    World w;
    (void)state;
    begin(&w, "slow");
    uint64_t id = create(&w);
    assert_int_equal(prompt(&w, &one, id, "one", INK_TASK_PROMPT), 0);
    run_until(&w, &one.got_text);
    ink_app_ops()->close_session(w.app, id, INK_SESSION_CLOSED);
    assert_int_equal(told.n_closed, 1);
    assert_int_equal(told.id, id);
    assert_int_equal(prompt(&w, &two, id, "two", INK_TASK_PROMPT), -ENXIO);
    run_until(&w, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_CANCELLED);
    assert_int_equal(one.n_ends, 1);
    world_done(&w);
}

static void test_sessions_of_others_cannot_be_prompted(void **state)
{
    World w;
    (void)state;
    begin(&w, "echo");
    InkTask task = make_task("one");
    InkTaskSink sink = {.events = &events, .userdata = &one, .credit_bytes = SIZE_MAX};
    uint64_t ret = 0;
    task.kind = INK_TASK_PROMPT;
    task.session = create(&w);
    assert_int_equal(ink_app_ops()->start(w.app, &stranger, &task, &sink, &ret, NULL), -ENXIO);
    task.session = 4711;
    assert_int_equal(ink_app_ops()->start(w.app, &host, &task, &sink, &ret, NULL), -ENXIO);
    world_done(&w);
}

static void test_sessions_idle_ones_end_and_busy_ones_stay(void **state)
{
    World w;
    (void)state;
    clear_clients();
    told = (Told){0};
    world_init(&w, "slow");
    w.config.session_idle_usec = 200000;
    world_start(&w);
    ink_app_ops()->set_session_events(w.app, &session_events, NULL);
    uint64_t idle = create(&w), busy = create(&w);
    assert_int_equal(prompt(&w, &one, busy, "one", INK_TASK_PROMPT), 0);
    run_until(&w, &told.any);
    assert_int_equal(told.id, idle);
    assert_int_equal(told.reason, INK_SESSION_IDLE);
    run_for(&w, 300000);
    assert_int_equal(told.n_closed, 1);
    assert_true(info(&w, busy).busy);
    ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_CALLER);
    run_until(&w, &one.ended);
    told.any = false;
    run_until(&w, &told.any);
    assert_int_equal(told.id, busy);
    assert_int_equal(told.n_closed, 2);
    world_done(&w);
}

static void test_sessions_end_when_the_default_model_changes(void **state)
{
    World w;
    Answer a = {0};
    (void)state;
    begin(&w, "echo");
    uint64_t id = create(&w);
    turn(&w, &one, id, "one");
    put_model(w.models, "other", "not read by a fake");
    assert_int_equal(
        ink_app_ops()->set_default_model(w.app, &host, "other", false, on_done, &a, NULL), 0);
    run_until(&w, &a.done);
    assert_int_equal(a.error.code, 0);
    assert_int_equal(told.n_closed, 1);
    assert_int_equal(told.reason, INK_SESSION_MODEL_CHANGED);
    /* And when nobody told: the file of the default one is gone. */
    id = create(&w);
    assert_string_equal(info(&w, id).model, "other");
    char path[256];
    snprintf(path, sizeof path, "%s/other.gguf", w.models);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(prompt(&w, &one, id, "one", INK_TASK_PROMPT), -ENXIO);
    assert_int_equal(told.n_closed, 2);
    assert_int_equal(told.reason, INK_SESSION_MODEL_CHANGED);
    world_done(&w);
}

static void reload(World *w, const char *text)
{
    InkError error = {0};
    FILE *f = fopen(w->config_path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    int r = ink_app_ops()->reload(w->app, &host, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(r, 0);
}

static void test_sessions_hear_of_new_settings(void **state)
{
    World w;
    (void)state;
    begin(&w, "echo");
    uint64_t id = create(&w);
    put_model(w.models, "other", "not read by a fake");
    reload(&w, "[model]\nmodel=other\n");
    assert_int_equal(told.n_closed, 1);
    assert_int_equal(told.reason, INK_SESSION_MODEL_CHANGED);
    /* An idle time that is shorter now does not wait for the end of the old one. */
    id = create(&w);
    told.any = false;
    ink_sessions_find(w.app->sessions, id)->used_usec -= 60 * UINT64_C(1000000);
    reload(&w, "[model]\nmodel=other\n[memory]\nsession-idle-minutes=1\n");
    run_until(&w, &told.any);
    assert_int_equal(told.id, id);
    assert_int_equal(told.reason, INK_SESSION_IDLE);
    world_done(&w);
}

static void test_sessions_need_a_chat_template(void **state)
{
    World w;
    Answer a = {0};
    InkError error = {0};
    (void)state;
    begin(&w, "no-template");
    InkTask load = {.kind = INK_TASK_LOAD, .model = "", .priority = INK_PRIORITY_INTERACTIVE};
    assert_int_equal(start_as(&w, &one, "exe:test", &load, &error), 0);
    run_until(&w, &one.ended);
    const InkServiceSessionOptions options = {.priority = INK_PRIORITY_INTERACTIVE};
    assert_int_equal(ink_app_ops()->create_session(w.app, &host, &options, on_made, &a, &error),
                     -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "chat template"));
    InkServiceAvailability availability;
    static const char *const of_chat[] = {"chat", "session", "prewarm"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            ink_app_ops()->availability(w.app, &host, of_chat[i], "", &availability, &error), 0);
        assert_string_equal(availability.state, "unsupported");
        assert_non_null(strstr(availability.reason, "chat template"));
    }
    assert_int_equal(
        ink_app_ops()->availability(w.app, &host, "complete", "", &availability, &error), 0);
    assert_string_equal(availability.state, "available");
    world_done(&w);
}

/* ------------------------------------------------------------------ persistent */

static int try_open(World *w, const InkCaller *caller, InkServiceSessionOptions options,
                    InkError *error)
{
    Answer a = {0};
    int r = ink_app_ops()->create_session(w->app, caller, &options, on_made, &a, error);
    if (r < 0)
        return r;
    run_until(w, &a.done);
    *error = a.error;
    return -a.error.code;
}

static void test_sessions_persistent_ones_come_back(void **state)
{
    World w;
    Answer a;
    InkError error = {0};
    (void)state;
    begin(&w, "echo");
    const InkChatMessage system = {"system", "be brief", 8};
    InkServiceSessionOptions options = persistent("diary");
    options.messages = &system;
    options.n_messages = 1;
    options.context_limit = 512;
    uint64_t id = create_with(&w, &host, options);
    turn(&w, &one, id, "one");
    assert_int_equal(append(&w, id, "user", "x", &a), 0);
    assert_int_equal(append(&w, id, "user", "y", &a), 0);
    assert_int_equal(rewind_to(&w, id, 3, &a), 0);
    const char *wanted = "s:be brief|u:one|a:" FAKE_TEXT "|u:x|";
    assert_string_equal(transcript(&w, id), wanted);
    assert_int_equal(try_open(&w, &stranger, persistent("diary"), &error), -EBUSY);
    ink_app_ops()->close_session(w.app, id, INK_SESSION_CLOSED);

    w.app = ink_app_free(w.app); /* another day */
    world_start(&w);
    ink_app_ops()->set_session_events(w.app, &session_events, NULL);
    id = create_with(&w, &stranger, persistent("diary"));
    assert_string_equal(transcript(&w, id), wanted);
    InkServiceSession s = info(&w, id);
    assert_string_equal(s.name, "diary");
    assert_true(s.persistent);
    assert_true(s.context_usage > 0);
    assert_int_equal(s.context_window, 512);
    ink_app_ops()->close_session(w.app, id, INK_SESSION_CLOSED);
    /* Another program's diary is another one, and another beginning is refused. */
    uint64_t theirs = create_with(&w, &boxed, persistent("diary"));
    assert_string_equal(transcript(&w, theirs), "");
    options.messages = &(InkChatMessage){"system", "be long", 7};
    assert_int_equal(try_open(&w, &host, options, &error), -EINVAL);
    options.messages = &system;
    assert_int_equal(try_open(&w, &host, options, &error), 0);
    world_done(&w);
}

static void test_sessions_two_openers_at_once(void **state)
{
    World w;
    Answer a = {0}, b = {0};
    InkError error = {0};
    const InkServiceSessionOptions options = persistent("diary");
    (void)state;
    begin(&w, "echo");
    assert_int_equal(ink_app_ops()->create_session(w.app, &host, &options, on_made, &a, &error), 0);
    assert_int_equal(ink_app_ops()->create_session(w.app, &stranger, &options, on_made, &b, &error),
                     -EBUSY);
    assert_false(a.done);
    run_until(&w, &a.done);
    assert_int_equal(a.error.code, 0);
    assert_false(b.done);
    world_done(&w);
}

static void test_sessions_forgotten_ones_begin_anew(void **state)
{
    World w;
    Answer a = {0};
    (void)state;
    begin(&w, "echo");
    uint64_t id = create_with(&w, &host, persistent("diary"));
    turn(&w, &one, id, "one");
    assert_int_equal(ink_app_ops()->session_forget(w.app, id, on_done, &a, NULL), 0);
    assert_int_equal(prompt(&w, &two, id, "two", INK_TASK_PROMPT), -EALREADY);
    run_until(&w, &a.done);
    assert_int_equal(a.error.code, 0);
    assert_int_equal(told.reason, INK_SESSION_FORGOTTEN);
    id = create_with(&w, &host, persistent("diary"));
    assert_string_equal(transcript(&w, id), "");
    world_done(&w);
}

static void test_sessions_tell_when_the_store_fails(void **state)
{
    World w;
    InkError error = {0};
    char path[256];
    (void)state;
    clear_clients();
    told = (Told){0};
    world_init(&w, "echo");
    snprintf(path, sizeof path, "%s/inkling.db", w.data);
    assert_int_equal(mkdir(path, 0700), 0); /* no database can be there */
    world_start(&w);
    assert_int_equal(try_open(&w, &host, persistent("diary"), &error), -EIO);
    assert_true(error.message[0] != '\0');
    /* The name is free again, and sessions without a store work. */
    assert_int_equal(try_open(&w, &host, persistent("diary"), &error), -EIO);
    uint64_t id = create(&w);
    turn(&w, &one, id, "one");
    assert_string_equal(transcript(&w, id), "u:one|a:" FAKE_TEXT "|");
    world_done(&w);
}

static void test_sessions_store_turns_before_the_end_is_told(void **state)
{
    World w;
    (void)state;
    begin(&w, "echo");
    uint64_t id = create_with(&w, &host, persistent("diary"));
    assert_int_equal(prompt(&w, &one, id, "one", INK_TASK_PROMPT), 0);
    run_until(&w, &one.ended);
    /* No goodbye: what was told is there all the same. */
    char copy[300], original[256];
    snprintf(original, sizeof original, "%s/inkling.db-wal", w.data);
    snprintf(copy, sizeof copy, "grep -q 'told this story' %s", original);
    assert_int_equal(system(copy), 0);
    world_done(&w);
}

/* ------------------------------------------------------------------ transcripts */

static void test_transcript_bounds_and_counts(void **state)
{
    InkTranscript t = INK_TRANSCRIPT_INIT, more = INK_TRANSCRIPT_INIT, copy = INK_TRANSCRIPT_INIT;
    InkError error = {0};
    (void)state;
    assert_int_equal(ink_transcript_add(&t, INK_ROLE_USER, "abc", 3, 4, 0, &error), 0);
    assert_int_equal(ink_transcript_add(&more, INK_ROLE_ASSISTANT, "", 0, 5, 77, &error), 0);
    assert_int_equal(ink_transcript_join(&t, &more, &error), 0);
    assert_int_equal(more.n, 0);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.n_bytes, 3);
    assert_int_equal(t.turns[1].time_usec, 77);
    assert_true(t.turns[0].time_usec > 0);
    assert_int_equal(ink_transcript_tokens(&t), 9);
    assert_int_equal(ink_transcript_copy(&t, &copy, &error), 0);
    ink_transcript_cut(&t, 1);
    assert_int_equal(t.n_bytes, 3);
    assert_int_equal(copy.n, 2);
    assert_string_equal(copy.turns[0].text, "abc");
    assert_int_equal(ink_transcript_check(&t, INK_STORE_MAX_CONVERSATION_TURNS - 1, 0, &error), 0);
    assert_int_equal(ink_transcript_check(&t, INK_STORE_MAX_CONVERSATION_TURNS, 0, &error), -E2BIG);
    assert_int_equal(ink_transcript_check(&t, 1, SIZE_MAX, &error), -E2BIG);
    for (int role = INK_ROLE_SYSTEM; role < INK_ROLE_MAX; role++)
        assert_int_equal(ink_transcript_role(ink_transcript_word((InkStoredRole)role)), role);
    assert_int_equal(ink_transcript_role("nobody"), 0);
    ink_transcript_done(&t);
    ink_transcript_done(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_turn_sees_all_before_it),
        cmocka_unit_test(test_sessions_deferred_answers_are_kept_too),
        cmocka_unit_test(test_sessions_are_serial_and_cancelling_leaves_no_trace),
        cmocka_unit_test(test_sessions_keep_what_a_deadline_left),
        cmocka_unit_test(test_sessions_failed_turn_leaves_no_trace),
        cmocka_unit_test(test_sessions_prewarm_gives_way_to_a_prompt),
        cmocka_unit_test(test_sessions_measure_what_a_text_adds),
        cmocka_unit_test(test_sessions_rewind_counts_turns_after_the_system_text),
        cmocka_unit_test(test_sessions_clones_go_their_own_way),
        cmocka_unit_test(test_sessions_are_limited_for_each_program),
        cmocka_unit_test(test_sessions_have_a_most_of_turns_and_bytes),
        cmocka_unit_test(test_sessions_close_cancels_what_runs),
        cmocka_unit_test(test_sessions_of_others_cannot_be_prompted),
        cmocka_unit_test(test_sessions_idle_ones_end_and_busy_ones_stay),
        cmocka_unit_test(test_sessions_end_when_the_default_model_changes),
        cmocka_unit_test(test_sessions_hear_of_new_settings),
        cmocka_unit_test(test_sessions_need_a_chat_template),
        cmocka_unit_test(test_sessions_persistent_ones_come_back),
        cmocka_unit_test(test_sessions_two_openers_at_once),
        cmocka_unit_test(test_sessions_forgotten_ones_begin_anew),
        cmocka_unit_test(test_sessions_tell_when_the_store_fails),
        cmocka_unit_test(test_sessions_store_turns_before_the_end_is_told),
        cmocka_unit_test(test_transcript_bounds_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
