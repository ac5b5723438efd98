/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What test-app.c and test-app-callers.c share: the composition root without a bus, in a folder of
 * its own, with tests/fakes/fake-worker.c as the worker. Included once by each of the two. */
#pragma once

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
    char config_path[128];
    sd_event *event;
    InkConfig config;
    InkPressureOptions pressure; /* none, unless the test sets it: not this machine's */
    InkApp *app;
    unsigned n_state_changes;
} World;

static inline void on_state_changed(void *userdata)
{
    ((World *)userdata)->n_state_changes++;
}

static const InkAppEvents app_events = {.state_changed = on_state_changed};

static inline void put_model(const char *folder, const char *name, const char *content)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static inline void world_init(World *w, const char *script)
{
    *w = (World){.folder = "/tmp/ink-app-XXXXXX", .pressure = {.psi_path = "", .bus_address = ""}};
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->models, sizeof w->models, "%s/models", w->folder);
    snprintf(w->system_models, sizeof w->system_models, "%s/system", w->folder);
    snprintf(w->cache, sizeof w->cache, "%s/cache", w->folder);
    snprintf(w->data, sizeof w->data, "%s/data", w->folder);
    snprintf(w->config_path, sizeof w->config_path, "%s/inkling.conf", w->folder);
    snprintf(w->worker, sizeof w->worker, "%s/tests/fakes/fake-worker",
             getenv("INKLING_BUILD_DIR"));
    assert_int_equal(mkdir(w->models, 0700) | mkdir(w->data, 0700), 0);
    put_model(w->models, "toy", "not read by a fake");
    setenv("INKLING_FAKE_SCRIPT", script, 1);
    setenv("INKLING_FAKE_TEXT", "", 1);
    ink_config_init(&w->config);
    assert_true(sd_event_new(&w->event) >= 0);
}

static inline void world_start(World *w)
{
    InkAppOptions options = {
        .worker_program = w->worker,
        .model_folder = w->models,
        .system_model_folder = w->system_models,
        .cache_folder = w->cache,
        .data_folder = w->data,
        .network_guard = "none",
        .config = &w->config,
        .config_path = w->config_path,
        .pressure = w->pressure,
        .times = {.start_usec = 700000,
                  .load_usec = 300000,
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

static inline int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline void world_done(World *w)
{
    w->app = ink_app_free(w->app);
    w->event = sd_event_unref(w->event);
    nftw(w->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void world_new(World *w, const char *script)
{
    world_init(w, script);
    world_start(w);
}

static inline void run_until(World *w, const bool *flag)
{
    uint64_t end = ink_clock_monotonic_usec() + WAIT_USEC;
    while (!*flag && ink_clock_monotonic_usec() < end)
        assert_true(sd_event_run(w->event, 100000) >= 0);
    assert_true(*flag);
}

static inline void run_for(World *w, uint64_t span_usec)
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

static inline void on_progress(void *userdata, const char *stage, double fraction)
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

static inline void on_text(void *userdata, uint64_t offset_bytes, const char *text, size_t n_bytes)
{
    Client *c = userdata;
    assert_false(c->ended);
    assert_int_equal(offset_bytes, c->n_text_bytes);
    assert_true(c->n_text_bytes + n_bytes < sizeof c->text);
    memcpy(c->text + c->n_text_bytes, text, n_bytes);
    c->n_text_bytes += n_bytes;
    c->got_text = true;
}

static inline void on_finished(void *userdata, const InkTaskResult *result)
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

static inline int start_as(World *w, Client *c, const char *app, const InkTask *task,
                           InkError *error)
{
    InkTaskSink sink = c->sink;
    *c = (Client){.world = w, .sink = sink};
    if (c->sink.events == NULL)
        c->sink = (InkTaskSink){.events = &events, .credit_bytes = SIZE_MAX};
    c->sink.userdata = c;
    InkCaller caller = {.sender = ":1.1", .app_id = app};
    return ink_app_ops()->start(w->app, &caller, task, &c->sink, &c->id, error);
}

static inline void start(World *w, Client *c, const char *prompt)
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

static inline void clear_clients(void)
{
    memset(&one, 0, sizeof one);
    memset(&two, 0, sizeof two);
    memset(many, 0, sizeof many);
}

static inline const char *state_of(World *w)
{
    InkServiceState state;
    ink_app_ops()->state(w->app, &state);
    return state.state;
}

typedef struct Reply {
    bool done;
    InkError error;
    uint32_t count, ids[16];
    size_t n_ids;
    char text[64];
} Reply;
