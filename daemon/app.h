/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The composition root: joins bus, queue, worker and store. It offers what ipc/service.h asks for
 * and knows nothing of messages; main.c and the tests put a bus, or nothing, before it.
 *
 *   start() -> admission -> pump -> residency (a worker with the model) -> worker-client -> sink
 *
 * Owns: all of these. Errors: of ipc/service.h. Thread: the loop thread. */
#pragma once

#include "daemon/config.h"
#include "daemon/pressure.h"
#include "daemon/worker-client.h"
#include "ipc/service.h"

typedef struct InkApp InkApp;

typedef struct InkAppOptions {
    const char *worker_program;
    const char *model_folder; /* the user's */
    const char *system_model_folder;
    const char *cache_folder;
    const char *data_folder; /* of the store */
    const char *network_guard;
    const InkConfig *config;
    const char *config_path; /* read again by reload; NULL = there is none */
    InkPressureOptions pressure;
    InkWorkerTimes times;  /* zero = bounds.h */
    uint64_t backoff_usec; /* 0 = bounds.h */
} InkAppOptions;

/* For the bus; each may be NULL. */
typedef struct InkAppEvents {
    void (*state_changed)(void *userdata);
    void (*memory_enabled_changed)(void *userdata);
    void (*config_changed)(void *userdata);
} InkAppEvents;

/* Strings of the options are copied. Starts no worker. */
INK_MUST_CHECK int ink_app_new(sd_event *event, const InkAppOptions *options, InkApp **ret,
                               InkError *reterr);
/* The store has said whether memory is on and who may what, or that it cannot be opened: before
 * that, what a caller reads of it would be a guess. */
bool ink_app_is_ready(const InkApp *app);
/* Ends what is left as ink_app_stop() does, then stops the store. */
InkApp *ink_app_free(InkApp *app);
INK_DEFINE_CLEANUP(InkApp, ink_app_free, ink_app_free_p)
void ink_app_set_events(InkApp *app, const InkAppEvents *events, void *userdata);

/* `service` of these operations is the InkApp. */
const InkServiceOps *ink_app_ops(void);

/* Accepts nothing more, cancels all with INK_CANCEL_SHUTDOWN, ends the worker, and writes what the
 * store has acknowledged or queued. */
void ink_app_stop(InkApp *app);
/* Tasks that have not ended. */
size_t ink_app_n_requests(const InkApp *app);
const InkConfig *ink_app_config(const InkApp *app);
bool ink_app_has_worker(const InkApp *app);
/* Nothing would be lost if the process ended now: no task, no worker, no session, nothing on its
 * way to the disk. */
bool ink_app_is_empty(const InkApp *app);
