/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the bus side asks of the daemon. The ipc room turns messages into these plain structs and
 * back and knows no model, queue or store; the daemon fills in one InkServiceOps (daemon/app.c), a
 * test fills in another.
 *
 * Strings in arguments are NUL-terminated UTF-8, borrowed for the call. Operations either answer at
 * once (return value and outputs) or later through the callback that they were given, exactly once;
 * after a negative return the callback is never called. A callback may come before the operation
 * returns.
 * Errors: errno codes of engine/base/error.h.
 * Thread: the sd-event loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* Who calls. Valid for the call. */
typedef struct InkCaller {
    const char *sender; /* unique name, ":1.42" */
    const char *app_id; /* attribution: "exe:busctl", ...; never empty */
} InkCaller;

typedef enum InkPriority {
    INK_PRIORITY_TYPING,
    INK_PRIORITY_INTERACTIVE,
    INK_PRIORITY_NORMAL,
    INK_PRIORITY_BACKGROUND,
    INK_PRIORITY_MAX,
} InkPriority;

/* ------------------------------------------------------------------ tasks */

typedef enum InkTaskKind {
    INK_TASK_COMPLETE,
    INK_TASK_CHAT,
    INK_TASK_LOAD,
} InkTaskKind;

typedef struct InkChatMessage {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *text;
    size_t n_text_bytes;
} InkChatMessage;

/* Checked by ipc/options.c: ranges hold, text is UTF-8 without NUL and within the limits. */
typedef struct InkTask {
    InkTaskKind kind;
    const char *prompt; /* COMPLETE */
    size_t n_prompt_bytes;
    const InkChatMessage *messages; /* CHAT; a `system` option has become the first message */
    size_t n_messages;
    const char *model; /* "" = default */
    uint32_t max_tokens;
    uint32_t max_lines; /* 0 = no limit */
    double temperature, top_p, min_p, repeat_penalty;
    uint32_t top_k;
    uint64_t seed;
    const char *const *stops;
    size_t n_stops;
    InkPriority priority;
    uint64_t deadline_usec;    /* span from now; 0 = none */
    const char *supersede_key; /* NULL = none */
    uint64_t hold_usec;        /* LOAD */
} InkTask;

typedef enum InkTaskStatus {
    INK_TASK_SUCCESS = 0,
    INK_TASK_CANCELLED = 1,
    INK_TASK_FAILED = 2,
} InkTaskStatus;

typedef enum InkFinishReason {
    INK_FINISH_NONE, /* LOAD, and failures before the start */
    INK_FINISH_STOP,
    INK_FINISH_LENGTH,
    INK_FINISH_LINES,
    INK_FINISH_STOP_STRING,
    INK_FINISH_DEADLINE,
    INK_FINISH_CANCELLED,
    INK_FINISH_SUPERSEDED,
    INK_FINISH_MAX,
} InkFinishReason;

typedef struct InkTaskResult {
    InkTaskStatus status;
    InkFinishReason reason; /* DEADLINE comes with SUCCESS */
    uint32_t prompt_tokens, cached_tokens, output_tokens, truncated_tokens, retries;
    uint64_t seed, queue_usec, load_usec, prefill_usec, decode_usec;
    const char *model;   /* name; "" when none was reached; borrowed for the call */
    const char *kernels; /* of the worker, "" when unknown */
    InkError error;      /* FAILED: code and message */
} InkTaskResult;

/* What a task tells while it runs; `userdata` is the request object of ipc. */
typedef struct InkTaskEvents {
    /* stage: "queued", "loading", "prefill", "decode", "restarting"; fraction 0..1. */
    void (*progress)(void *userdata, const char *stage, double fraction);
    /* The next piece, whole UTF-8 characters. The daemon sends no more than was credited. */
    void (*text)(void *userdata, uint64_t offset_bytes, const char *text, size_t n_bytes);
    /* Exactly once, last. The task id is invalid afterwards. */
    void (*finished)(void *userdata, const InkTaskResult *result);
} InkTaskEvents;

typedef struct InkTaskSink {
    const InkTaskEvents *events;
    void *userdata;
    size_t credit_bytes; /* to begin with; SIZE_MAX = no back-pressure */
    /* Nobody sees text before the end (blocking calls): it comes in one piece right before
     * `finished`, so that a worker's death in the middle costs a retry and not the request. */
    bool deferred;
} InkTaskSink;

typedef enum InkCancelReason {
    INK_CANCEL_CALLER,     /* Cancel() */
    INK_CANCEL_GONE,       /* the owner left the bus */
    INK_CANCEL_PIPE,       /* the reader closed the pipe */
    INK_CANCEL_SUPERSEDED, /* a newer request of the same key */
    INK_CANCEL_DEADLINE,
    INK_CANCEL_SHUTDOWN,
    INK_CANCEL_UNLOAD,
} InkCancelReason;

/* ------------------------------------------------------- answers by callback */

/* error NULL = success. Lists are borrowed for the call. */
typedef void InkTokensReply(void *userdata, const InkError *error, uint32_t count,
                            const uint32_t *ids, size_t n_ids);
typedef void InkTextReply(void *userdata, const InkError *error, const char *text, size_t n_bytes);
typedef void InkCountReply(void *userdata, const InkError *error, uint64_t count);
typedef void InkDoneReply(void *userdata, const InkError *error);

typedef struct InkServiceEvent {
    const char *kind;                        /* "opened", "ran", "accepted", "focused": checked */
    const char *uri, *text, *title, *app_id; /* NULL = not given */
    uint64_t time_usec;                      /* 0 = now */
} InkServiceEvent;

typedef struct InkServiceCandidate {
    const char *id, *text, *uri;
} InkServiceCandidate;

typedef struct InkServiceSuggest {
    const char *kind; /* "file", "command": checked */
    const char *cwd, *text_before;
    uint64_t time_usec;
    const InkServiceCandidate *candidates;
    size_t n_candidates;
    uint32_t limit;
    bool explain;
} InkServiceSuggest;

typedef struct InkServiceItem {
    const char *id, *candidate, *kind, *text, *uri, *reason, *source; /* NULL = left out */
    double score;
} InkServiceItem;

typedef void InkSuggestReply(void *userdata, const InkError *error, const InkServiceItem *items,
                             size_t n_items, uint64_t considered);

typedef struct InkServiceModel {
    char name[128];
    uint64_t size_bytes;
    char path[4096];
    bool is_system, is_default, loaded;
    /* Known once the worker has loaded it; "" and 0 before. */
    char architecture[32], quantization[16];
    uint32_t context_window;
    uint64_t parameters;
} InkServiceModel;

typedef struct InkServiceState {
    /* "starting", "ready", "loading", "idle", "no-model", "failed", "stopping" */
    const char *state;
    char model[128];
    uint32_t context_window;
    uint32_t queue_depth;
    uint64_t memory_resident_bytes;
    const char *network_guard; /* "seccomp", "unit", "none" */
    char kernels[16];          /* "" until a worker has loaded */
} InkServiceState;

typedef struct InkServiceAvailability {
    const char *state;       /* 3.1 of docs/dbus-api.md */
    uint32_t context_window; /* 0 = unknown, left out */
    uint64_t estimated_usec; /* 0 = left out */
    char reason[160];        /* "" = left out */
} InkServiceAvailability;

typedef struct InkServiceTask {
    const char *kind, *state, *priority, *app_id;
    char sender[64];
    uint32_t queue_position;
    uint64_t age_usec, output_tokens;
} InkServiceTask;

/* ---------------------------------------------------------------- operations */

typedef struct InkServiceOps {
    /* Starts a task; `ret_id` is never 0. -EBUSY (queue full), -ENODEV, -ENOENT, -ESHUTDOWN, ... */
    int (*start)(void *service, const InkCaller *caller, const InkTask *task,
                 const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr);
    /* `finished` follows, perhaps before this returns; an unknown id is ignored. */
    void (*cancel)(void *service, uint64_t id, InkCancelReason reason);
    void (*credit)(void *service, uint64_t id, size_t more_bytes);
    /* "queued", "running"; `ret_position` 0 = running. */
    int (*task_state)(void *service, uint64_t id, const char **ret_state, uint32_t *ret_position,
                      InkPriority *ret_priority);
    int (*set_priority)(void *service, uint64_t id, InkPriority priority);

    /* `text` or `messages`, as InkTask. */
    int (*tokenize)(void *service, const InkCaller *caller, const InkTask *input, bool special,
                    bool wants_ids, InkTokensReply *reply, void *userdata, InkError *reterr);
    int (*detokenize)(void *service, const InkCaller *caller, const uint32_t *ids, size_t n,
                      bool special, InkTextReply *reply, void *userdata, InkError *reterr);

    int (*availability)(void *service, const InkCaller *caller, const char *feature,
                        const char *model, InkServiceAvailability *ret, InkError *reterr);
    /* Calls `each` for every installed model. */
    int (*list_models)(void *service, void (*each)(void *userdata, const InkServiceModel *model),
                       void *userdata, InkError *reterr);
    int (*unload)(void *service, const InkCaller *caller, bool force, InkError *reterr);
    void (*state)(void *service, InkServiceState *ret);

    int (*observe)(void *service, const InkCaller *caller, const InkServiceEvent *events, size_t n,
                   bool train, bool dry_run, InkCountReply *reply, void *userdata,
                   InkError *reterr);
    int (*suggest)(void *service, const InkCaller *caller, const InkServiceSuggest *query,
                   InkSuggestReply *reply, void *userdata, InkError *reterr);
    int (*feedback)(void *service, const InkCaller *caller, const char *item_id,
                    const char *outcome, uint64_t accepted_chars, const char *text,
                    InkDoneReply *reply, void *userdata, InkError *reterr);
    bool (*memory_enabled)(void *service); /* cached; "unknown yet" is false */
    int (*set_memory_enabled)(void *service, bool enabled, InkDoneReply *reply, void *userdata,
                              InkError *reterr);
} InkServiceOps;
