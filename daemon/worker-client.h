/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The broker's end of the frames of engine/worker/wire.h: one worker at a time, started, loaded,
 * given work, watched and killed. What it sends is hostile input: each frame is checked by itself
 * (wire-io.h) and against what is outstanding (known id, no gaps, no more than was credited, one
 * end, counts that can be). Anything else, silence while work is outstanding, and the end of its
 * process are one thing: the worker is killed, its jobs are dropped, `died` is called.
 *
 * A worker that is idle costs nothing: no timer runs without jobs.
 * Owns: socket, process, jobs, frames that wait for a full socket. Calls may come from callbacks.
 * Errors: -EREMOTEIO, -ENOMEM. Thread: the loop thread; all socket calls are non-blocking. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "engine/worker/wire.h"

typedef struct InkWorker InkWorker;

typedef enum InkWorkerState {
    INK_WORKER_DOWN,
    INK_WORKER_STARTING, /* until READY */
    INK_WORKER_LOADING,  /* until LOADED */
    INK_WORKER_READY,
} InkWorkerState;

typedef struct InkWorkerEvents {
    void (*loaded)(void *userdata, const InkWireLoaded *loaded);
    /* The worker refused the model; it is stopped already. */
    void (*load_failed)(void *userdata, const InkError *error);
    /* Of one job, or of the load (id 0). */
    void (*progress)(void *userdata, uint64_t id, InkWireStage stage, double fraction);
    void (*text)(void *userdata, uint64_t id, const char *text, size_t n_bytes);
    void (*ids)(void *userdata, uint64_t id, const uint32_t *ids, size_t n);
    /* One of these ends a job. */
    void (*finished)(void *userdata, uint64_t id, const InkWireFinished *finished);
    void (*failed)(void *userdata, uint64_t id, const InkError *error);
    /* Its jobs are gone without an end of their own. `before`: the state it died in. */
    void (*died)(void *userdata, InkWorkerState before, const InkError *error);
} InkWorkerEvents;

/* How long the worker may be silent; zero fields mean the bounds of bounds.h. For tests. */
typedef struct InkWorkerTimes {
    uint64_t start_usec, load_usec, stall_usec, silence_usec, cancel_usec;
} InkWorkerTimes;

INK_MUST_CHECK int ink_worker_new(sd_event *event, const char *program, const InkWorkerTimes *times,
                                  const InkWorkerEvents *events, void *userdata, InkWorker **ret,
                                  InkError *reterr);
InkWorker *ink_worker_free(InkWorker *w);
INK_DEFINE_CLEANUP(InkWorker, ink_worker_free, ink_worker_free_p)

typedef struct InkWorkerModel {
    int model_fd; /* taken */
    int cache_fd; /* taken; -1 = none */
    bool cache_locked;
    uint32_t n_threads;
    char isa[16];
    uint64_t max_kv_bytes;
} InkWorkerModel;

/* From DOWN. Takes the descriptors in every case. */
INK_MUST_CHECK int ink_worker_start(InkWorker *w, InkWorkerModel *model, InkError *reterr);
/* Kills it and forgets its jobs, without a callback. */
void ink_worker_stop(InkWorker *w);

InkWorkerState ink_worker_state(const InkWorker *w);
/* 0 = none. */
int ink_worker_pid(const InkWorker *w);
/* NULL before LOADED. */
const InkWireLoaded *ink_worker_loaded(const InkWorker *w);
size_t ink_worker_n_jobs(const InkWorker *w);

/* From READY. `frame` is a GENERATE, TOKENIZE or DETOKENIZE but for type, size and id; `bulk_fd`
 * stays the caller's. PROBE: the header alone, no descriptor (-1). */
INK_MUST_CHECK int ink_worker_submit(InkWorker *w, InkWireType type, InkWireHeader *frame,
                                     int bulk_fd, uint64_t *ret_id, InkError *reterr);
void ink_worker_cancel(InkWorker *w, uint64_t id);
/* 0 = typing .. 3 = background; of a GENERATE. */
void ink_worker_set_priority(InkWorker *w, uint64_t id, uint32_t priority);
/* Drops cached prefixes of a scope (0 = of all) beyond keep_bytes. Nothing to do but in READY. */
void ink_worker_trim(InkWorker *w, uint32_t scope, uint64_t keep_bytes);
/* Keeps what is outstanding within INK_WIRE_MAX_CREDIT. */
void ink_worker_credit(InkWorker *w, uint64_t id, uint64_t more_bytes);
