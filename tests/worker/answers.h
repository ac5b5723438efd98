/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The broker's end for tests: makes requests, and collects what comes back by id while it checks
 * the promises of wire.h (no gaps in text and ids, nothing after FINISHED). Ids are 1..MAX_ANSWERS.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/worker/wire-io.h"

#define MAX_ANSWERS 128

typedef struct Answer {
    InkBuffer text, ids;
    bool ended, failed, queued;
    InkWireFinished finished;
    InkWireFailed failure;
    InkWireLoaded loaded;
    uint64_t prompt_done;           /* of the last PROGRESS of its prompt */
    size_t first_text_at, ended_at; /* number of the frame; 0 = never */
} Answer;

static Answer answers[MAX_ANSWERS + 1];
static size_t n_frames, n_heartbeats, n_ready;

static void clear_answers(void)
{
    for (size_t i = 0; i <= MAX_ANSWERS; i++) {
        ink_buffer_done(&answers[i].text);
        ink_buffer_done(&answers[i].ids);
        answers[i] = (Answer){0};
    }
    n_frames = n_heartbeats = n_ready = 0;
}

static void take_frame(const InkWireFrame *f)
{
    n_frames++;
    n_heartbeats += f->header.type == INK_WIRE_PROGRESS && f->header.id == 0;
    n_ready += f->header.type == INK_WIRE_READY;
    if (f->header.id == 0)
        return;
    assert_true(f->header.id <= MAX_ANSWERS);
    Answer *a = &answers[f->header.id];
    assert_false(a->ended);
    switch (f->header.type) {
    case INK_WIRE_LOADED:
        a->loaded = f->loaded;
        a->ended = true;
        break;
    case INK_WIRE_PROGRESS:
        a->queued |= f->progress.stage == INK_WIRE_STAGE_QUEUED;
        if (f->progress.stage == INK_WIRE_STAGE_PREFILL)
            a->prompt_done = f->progress.done;
        break;
    case INK_WIRE_TEXT:
        assert_int_equal(f->text.offset_bytes, a->text.size_bytes);
        ink_buffer_append(&a->text, f->bytes + sizeof(InkWireText),
                          f->header.size_bytes - sizeof(InkWireText));
        a->first_text_at = a->first_text_at != 0 ? a->first_text_at : n_frames;
        break;
    case INK_WIRE_IDS:
        assert_int_equal(f->ids.offset, a->ids.size_bytes / sizeof(uint32_t));
        ink_buffer_append(&a->ids, f->bytes + sizeof(InkWireIds), f->ids.n * sizeof(uint32_t));
        break;
    case INK_WIRE_FINISHED:
        a->finished = f->finished;
        a->ended = true;
        a->ended_at = n_frames;
        assert_int_equal(f->finished.text_bytes, a->text.size_bytes);
        break;
    case INK_WIRE_FAILED:
        a->failure = f->failed;
        a->ended = a->failed = true;
        a->ended_at = n_frames;
        break;
    }
}

/* One frame; false when there is none (flags MSG_DONTWAIT) or the worker is gone. */
static bool receive_answer(int socket, int flags)
{
    static InkWireFrame f;
    InkError e = {0};
    int r = ink_wire_receive(socket, flags, INK_WIRE_TO_BROKER, &f, &e);
    if (r == 0)
        take_frame(&f);
    else if (r != -EAGAIN && r != -ECONNRESET)
        fail_msg("the worker sent a broken frame: %s", e.message);
    return r == 0;
}

static const char *text_of(uint64_t id)
{
    return answers[id].text.data != NULL ? answers[id].text.data : "";
}

/* Of this process: constant once everything has been used, but for what malloc keeps. */
#ifdef __SANITIZE_ADDRESS__ /* which keeps what is freed for a while */
#define RESIDENT_SLACK_KIB 262144u
#else
#define RESIDENT_SLACK_KIB 1024u
#endif
static inline size_t resident_kib(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* -- requests ---------------------------------------------------------------------------------- */

/* Defaults of a request in these tests; callers change what they are about. */
static InkWireGenerate make_request(uint64_t id, uint64_t seed, uint32_t max_tokens)
{
    return (InkWireGenerate){.header = {.type = INK_WIRE_GENERATE, .id = id},
                             .kind = INK_WIRE_COMPLETE,
                             .max_tokens = max_tokens,
                             .temperature = 1.0f,
                             .top_p = 1.0f,
                             .repeat_penalty = 1.0f,
                             .credit_bytes = 1u << 20,
                             .priority = 1,
                             .seed = seed};
}

static int make_bulk(const char *const *strings, size_t n)
{
    InkWireString list[64];
    InkError e = {0};
    int fd = -1;
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++)
        list[i] = (InkWireString){strings[i], strlen(strings[i])};
    assert_int_equal(ink_wire_bulk_new(list, n, &fd, &e), 0);
    return fd;
}

static int open_toy(const char *name)
{
    char path[4096];
    const char *root = getenv("INKLING_SOURCE_DIR");
    assert_non_null(root);
    snprintf(path, sizeof(path), "%s/tests/data/%s", root, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}
