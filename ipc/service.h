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

/* How the application id was found (docs/dbus-api.md, Who is calling). Of the sandboxed ones it is
 * a boundary, of host programs attribution only. */
typedef enum InkCallerKind {
    INK_CALLER_HOST,    /* app id from cgroup, unit or program name */
    INK_CALLER_FLATPAK, /* from .flatpak-info */
    INK_CALLER_SNAP,    /* from the security label */
    INK_CALLER_UNKNOWN, /* sandboxed, and nobody can say as what: everything is denied */
} InkCallerKind;

/* Who calls. Valid for the call. */
typedef struct InkCaller {
    const char *sender; /* unique name, ":1.42" */
    const char *app_id; /* "exe:busctl", "org.example.App": ipc/identity.h; the scope of rows */
    InkCallerKind kind;
} InkCaller;

/* docs/dbus-api.md, Permissions. A member of the bus names the one that it needs
 * (ipc/bus-private.h). */
typedef enum InkPermission {
    INK_PERMISSION_NONE, /* open to every caller */
    INK_PERMISSION_TEXT,
    INK_PERMISSION_EMBEDDING,
    INK_PERMISSION_RECOMMENDATION,
    INK_PERMISSION_MEMORY,
    INK_PERMISSION_MEMORY_SHARED,
    INK_PERMISSION_PERSONALIZE,
    INK_PERMISSION_MANAGE,
    INK_PERMISSION_MAX,
} InkPermission;

typedef enum InkDecision {
    INK_DECISION_DEFAULT, /* the table of docs/dbus-api.md, Permissions */
    INK_DECISION_ALLOW,
    INK_DECISION_DENY,
    INK_DECISION_MAX,
} InkDecision;

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
    INK_TASK_PROMPT,  /* one turn of `session`: its transcript and `prompt` as the user's words */
    INK_TASK_PREWARM, /* the start of such a turn is read, nothing is answered */
    INK_TASK_IMPORT,  /* a model file; started by import_model, not by start */
} InkTaskKind;

/* What happens to a prompt that does not fit (docs/dbus-api.md, Text); same numbers on the wire. */
typedef enum InkOverflow {
    INK_OVERFLOW_ERROR,
    INK_OVERFLOW_DROP_OLDEST,
    INK_OVERFLOW_TRUNCATE_HEAD,
    INK_OVERFLOW_TRUNCATE_MIDDLE,
    INK_OVERFLOW_MAX,
} InkOverflow;

typedef struct InkChatMessage {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *text;
    size_t n_text_bytes;
} InkChatMessage;

/* Checked by ipc/options.c: ranges hold, text is UTF-8 without NUL and within the limits. */
typedef struct InkTask {
    InkTaskKind kind;
    const char *prompt; /* COMPLETE; PROMPT and PREWARM: the new text */
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
    uint64_t session;          /* PROMPT, PREWARM: of create_session */
    uint32_t context_limit;    /* tokens of prompt and answer; 0 = the model's window */
    InkOverflow overflow;
    bool has_overflow; /* else a session's own policy holds */
    bool has_priority; /* else a session's own class holds */
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
    uint32_t dropped_messages; /* turns that `overflow` has left out */
    uint64_t seed, queue_usec, load_usec, prefill_usec, decode_usec;
    bool priority_lowered; /* typing ran as interactive: it was too long for that class */
    const char *model;     /* name; "" when none was reached; borrowed for the call */
    const char *kernels;   /* of the worker, "" when unknown */
    InkError error;        /* FAILED: code and message */
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
    INK_CANCEL_SESSION, /* its session was closed */
    INK_CANCEL_STALLED, /* nothing was read from the pipe for long */
} InkCancelReason;

/* ------------------------------------------------------- answers by callback */

/* error NULL = success. Lists are borrowed for the call. */
typedef void InkTokensReply(void *userdata, const InkError *error, uint32_t count,
                            const uint32_t *ids, size_t n_ids);
typedef void InkTextReply(void *userdata, const InkError *error, const char *text, size_t n_bytes);
typedef void InkCountReply(void *userdata, const InkError *error, uint64_t count);
typedef void InkDoneReply(void *userdata, const InkError *error);

typedef struct InkServiceTry {
    const char *call; /* "socket AF_INET, stream" */
    int error;        /* errno; 0 = it went through */
} InkServiceTry;

typedef struct InkServiceProof {
    const char *process; /* "inklingd", "inkling-worker" */
    uint32_t pid;
    const InkServiceTry *tries;
    size_t n_tries;
} InkServiceProof;

typedef void InkProofReply(void *userdata, const InkError *error, const InkServiceProof *proofs,
                           size_t n);

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
    /* Known once it was imported, inspected or loaded; "" and 0 before. */
    char architecture[32], quantization[16];
    uint32_t context_window;
    uint64_t parameters;
    char license[64];
    char sha256[65]; /* hexadecimal */
    bool has_template;
} InkServiceModel;

/* What InspectModel tells besides (docs/dbus-api.md, Manager). Borrowed for the reply. */
typedef struct InkServiceTensorType {
    const char *name; /* "Q4_K" */
    uint64_t n_bytes;
} InkServiceTensorType;

typedef struct InkServiceInspection {
    InkServiceModel model;
    uint32_t layers, embedding_length, heads, kv_heads, vocabulary;
    const char *tokenizer; /* "gpt2", "llama" */
    const InkServiceTensorType *tensor_types;
    size_t n_tensor_types;
    const char *const *warnings;
    size_t n_warnings;
    bool was_verified, verified; /* option verify; the file has its recorded hash */
} InkServiceInspection;

typedef void InkInspectReply(void *userdata, const InkError *error,
                             const InkServiceInspection *inspection);

typedef struct InkServiceImport {
    const char *name;
    const char *sha256; /* hexadecimal, must match; NULL = not given */
    bool make_default;
} InkServiceImport;

/* ------------------------------------------------------------------ sessions */

typedef enum InkSessionEnd {
    INK_SESSION_CLOSED, /* Close */
    INK_SESSION_GONE,   /* the owner left the bus: nobody hears it */
    INK_SESSION_IDLE,
    INK_SESSION_USER, /* by a holder of `manage` */
    INK_SESSION_MODEL_CHANGED,
    INK_SESSION_SHUTDOWN,
    INK_SESSION_FORGOTTEN,
    INK_SESSION_END_MAX,
} InkSessionEnd;

typedef struct InkServiceSessionOptions {
    const char *name; /* of a persistent one; NULL = none */
    bool persistent;
    const InkChatMessage *messages; /* `system` has become the first */
    size_t n_messages;
    uint32_t context_limit; /* tokens; 0 = the model's window */
    InkOverflow overflow;
    InkPriority priority;
    bool has_overflow, has_priority; /* else what a persistent one was made with */
} InkServiceSessionOptions;

typedef struct InkServiceTurn {
    const char *role, *text;
    uint64_t time_usec; /* CLOCK_REALTIME */
    uint32_t tokens;    /* 0 = not counted */
} InkServiceTurn;

typedef struct InkServiceSession {
    uint64_t id;
    const char *sender, *app_id; /* of the owner */
    const char *name;            /* "" = none */
    const char *model;
    uint32_t context_window, context_usage;
    uint64_t idle_usec;
    bool persistent, busy;
} InkServiceSession;

/* `id` is never 0. */
typedef void InkSessionReply(void *userdata, const InkError *error, uint64_t id);

/* What a session tells by itself; `userdata` is that of set_session_events. */
typedef struct InkSessionEvents {
    /* Once; the id is invalid afterwards. */
    void (*closed)(void *userdata, uint64_t id, InkSessionEnd reason);
    void (*overflow)(void *userdata, uint64_t id, uint32_t turns_dropped, uint32_t tokens_dropped);
} InkSessionEvents;

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
    const char *state;                    /* docs/dbus-api.md, Manager */
    uint32_t context_window;              /* 0 = unknown, left out */
    uint64_t estimated_usec;              /* 0 = left out */
    char reason[INK_ERROR_MESSAGE_BYTES]; /* "" = left out */
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
    /* ---- who may what: daemon/permissions.c; answered from memory */
    bool (*permitted)(void *service, const InkCaller *caller, InkPermission permission);
    /* Own entries; everybody's for a holder of `manage`. */
    int (*list_permissions)(void *service, const InkCaller *caller,
                            void (*each)(void *userdata, const char *app_id,
                                         InkPermission permission, InkDecision decision,
                                         bool allowed),
                            void *userdata, InkError *reterr);
    /* The reply comes when the decision is on the disk and holds. -EACCES: `manage` for a sandboxed
     * application; -EINVAL: an id that no caller can have. */
    int (*set_permission)(void *service, const InkCaller *caller, const char *app_id,
                          InkPermission permission, InkDecision decision, InkDoneReply *reply,
                          void *userdata, InkError *reterr);
    /* A caller became known, or left: daemon/permissions.c counts the programs that are there. */
    void (*caller_known)(void *service, const InkCaller *caller);
    void (*caller_gone)(void *service, const InkCaller *caller);

    /* ---- sessions: daemon/sessions.c; all but create answer for the owner's id alone */
    void (*set_session_events)(void *service, const InkSessionEvents *events, void *userdata);
    int (*create_session)(void *service, const InkCaller *caller,
                          const InkServiceSessionOptions *options, InkSessionReply *reply,
                          void *userdata, InkError *reterr);
    /* -EALREADY (SessionBusy) while a prompt runs, for append, rewind and clone too. */
    int (*session_append)(void *service, uint64_t id, const InkChatMessage *messages, size_t n,
                          InkDoneReply *reply, void *userdata, InkError *reterr);
    int (*session_rewind)(void *service, uint64_t id, uint32_t turn, InkDoneReply *reply,
                          void *userdata, InkError *reterr);
    int (*session_clone)(void *service, uint64_t id, const InkCaller *caller,
                         InkSessionReply *reply, void *userdata, InkError *reterr);
    /* Tokens that `text` as the next user turn would add, the template's included. */
    int (*session_measure)(void *service, uint64_t id, const char *text, InkCountReply *reply,
                           void *userdata, InkError *reterr);
    int (*session_transcript)(void *service, uint64_t id,
                              void (*each)(void *userdata, const InkServiceTurn *turn),
                              void *userdata, InkError *reterr);
    int (*session_info)(void *service, uint64_t id, InkServiceSession *ret, InkError *reterr);
    /* Closes it (`forgotten`); a persistent one is taken out of the store, which the reply waits
     * for. */
    int (*session_forget)(void *service, uint64_t id, InkDoneReply *reply, void *userdata,
                          InkError *reterr);
    /* The events' `closed` follows, before this returns. Cancels what runs in it. */
    void (*close_session)(void *service, uint64_t id, InkSessionEnd reason);
    void (*list_sessions)(void *service,
                          void (*each)(void *userdata, const InkServiceSession *session),
                          void *userdata);

    /* ---- models: daemon/catalogue.c, daemon/import.c */
    /* A task of kind IMPORT: progress "checking" and "storing", cancel() as any other. Takes `fd`
     * when it succeeds. -EINVAL (name), -EEXIST. */
    int (*import_model)(void *service, const InkCaller *caller, const InkServiceImport *import,
                        int fd, const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr);
    int (*inspect_model)(void *service, const InkCaller *caller, const char *name, bool verify,
                         InkInspectReply *reply, void *userdata, InkError *reterr);
    /* -EBUSY while it is in use, unless `force`. */
    int (*remove_model)(void *service, const InkCaller *caller, const char *name, bool force,
                        InkDoneReply *reply, void *userdata, InkError *reterr);
    int (*set_default_model)(void *service, const InkCaller *caller, const char *name, bool force,
                             InkDoneReply *reply, void *userdata, InkError *reterr);

    /* Every process of the service tries to reach a network, and tells. */
    int (*prove_offline)(void *service, const InkCaller *caller, InkProofReply *reply,
                         void *userdata, InkError *reterr);

    /* Reads the configuration again; -EINVAL names file, line and fault, and nothing changes. */
    int (*reload)(void *service, const InkCaller *caller, InkError *reterr);

    bool (*memory_enabled)(void *service); /* cached; "unknown yet" is false */
    int (*set_memory_enabled)(void *service, bool enabled, InkDoneReply *reply, void *userdata,
                              InkError *reterr);
} InkServiceOps;
