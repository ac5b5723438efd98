/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A scheduler with the toy model, called directly: begin(), add(), step() or run_to_end(), look at
 * answers[], finish(), which checks that no keys and values are left behind. */
#pragma once

#include "answers.h"

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/worker/scheduler.h"

#define TOY_WINDOW 512

static int wire[2]; /* ours, the scheduler's */
static InkEngine *engine;
static InkScheduler *scheduler;
static uint64_t writer_seed; /* answers "hello and" with 64 tokens */

static uint64_t find_seed(const char *prompt, uint32_t max_tokens, bool newline, size_t n);

static int setup(void **state)
{
    (void)state;
    InkError e = {0};
    InkEngineOptions options = {.n_threads = 2, .pack_cache_fd = -1};
    int fd = open_toy("toy-llama.gguf");
    assert_int_equal(ink_engine_open(fd, &options, &engine, &e), 0);
    close(fd);
    writer_seed = find_seed("hello and", 64, false, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine = ink_engine_close(engine);
    return 0;
}

static void begin(size_t max_kv_bytes)
{
    InkError e = {0};
    clear_answers();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire), 0);
    assert_int_equal(ink_scheduler_new(engine, max_kv_bytes, wire[1], &scheduler, &e), 0);
}

static void finish(void)
{
    scheduler = ink_scheduler_free(scheduler);
    assert_int_equal(ink_engine_kv_bytes(engine), 0);
    ink_engine_trim(engine, 0, 0);
    assert_int_equal(ink_engine_cached_bytes(engine, 0), 0);
    close(wire[0]);
    close(wire[1]);
    clear_answers();
}

static int add_with_stop(InkWireGenerate request, const char *prompt, const char *stop, InkError *e)
{
    const char *const strings[] = {prompt, stop};
    request.n_stops = stop != NULL;
    int fd = make_bulk(strings, 1 + request.n_stops);
    InkWireBulk bulk = INK_WIRE_BULK_INIT;
    assert_int_equal(ink_wire_bulk_map(fd, &bulk, e), 0);
    close(fd);
    _cleanup_(ink_generation_free_p) InkGeneration *g = NULL;
    int r = ink_generation_new(engine, &request, &bulk, &g, e);
    ink_wire_bulk_done(&bulk);
    return r < 0 ? r : ink_scheduler_add(scheduler, &g, e);
}

static void add(InkWireGenerate request, const char *prompt)
{
    InkError e = {0};
    int r = add_with_stop(request, prompt, NULL, &e);
    if (r < 0)
        fail_msg("request %u: %s", (unsigned)request.header.id, e.message);
}

static void drain(void)
{
    while (receive_answer(wire[0], MSG_DONTWAIT))
        ;
}

static void settle(void)
{
    assert_int_equal(ink_scheduler_settle(scheduler), 0);
    drain();
}

static void step(InkSchedulerPoll *poll, void *userdata)
{
    InkError e = {0};
    assert_int_equal(ink_scheduler_step(scheduler, poll, userdata, &e), 0);
    drain();
}

static void run_to_end(void)
{
    settle();
    while (ink_scheduler_is_runnable(scheduler))
        step(NULL, NULL);
}

/* The answer of one request that has the scheduler to itself; freed by the caller. */
static char *answer_alone(InkWireGenerate request, const char *prompt)
{
    begin(0);
    add(request, prompt);
    run_to_end();
    assert_true(answers[request.header.id].ended);
    assert_false(answers[request.header.id].failed);
    char *text = strdup(text_of(request.header.id));
    finish();
    return text;
}

/* The n-th seed whose answer to `prompt` is long and, if asked for, has a newline in it: the toy
 * draws the end token at random too. */
static uint64_t find_seed(const char *prompt, uint32_t max_tokens, bool newline, size_t n)
{
    for (uint64_t seed = 1; seed < 5000; seed++) {
        begin(0);
        add(make_request(1, seed, max_tokens), prompt);
        run_to_end();
        bool good = answers[1].finished.output_tokens == max_tokens &&
                    (!newline || strchr(text_of(1), '\n') != NULL);
        finish();
        if (good && n-- == 0)
            return seed;
    }
    fail_msg("no seed gives a long answer");
    return 0;
}

static char *long_prompt(size_t n_words)
{
    static char text[8192];
    text[0] = '\0';
    for (size_t i = 0; i < n_words && strlen(text) < sizeof(text) - 16; i++)
        snprintf(text + strlen(text), 16, "w%zu ", i % 90);
    return text;
}
