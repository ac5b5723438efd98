/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What app.c, tasks.c, tokens.c, residency.c and status.c share. Private to daemon/.
 * Thread: the loop thread. */
#pragma once

#include <glib.h>

#include "daemon/admission.h"
#include "daemon/app.h"
#include "daemon/models.h"
#include "daemon/permissions.h"
#include "daemon/poison.h"
#include "daemon/sessions.h"
#include "daemon/pressure.h"
#include "daemon/store-thread.h"

struct InkApp {
    sd_event *event;
    const InkAppEvents *events;
    void *events_userdata;
    InkConfig config;
    char *config_path; /* NULL = none */
    char *model_folder, *system_model_folder, *cache_folder, *network_guard;
    uint64_t backoff_usec;

    InkStoreThread *store;
    bool memory_enabled;
    bool memory_known; /* the store has answered once, or cannot be opened */
    InkPermissions *permissions;
    bool permissions_known; /* the same */
    bool stopping;

    InkSessions *sessions; /* NULL before the first and after the last day */

    /* tasks.c */
    InkAdmission *admission;
    InkPoison *poison;
    GHashTable *requests; /* &id -> InkRequest, owned */
    GHashTable *by_wire_id;
    GHashTable *scopes; /* app id -> number */
    GQueue retries;     /* RESTARTING, in order; borrowed */
    InkRequest *alone;  /* a retry in the worker: nobody joins it */
    uint64_t next_id;
    uint32_t next_scope;
    sd_event_source *pump;

    /* residency.c */
    InkWorker *worker;
    char *model; /* that the worker has or loads; NULL = none */
    InkModelIdentity identity;
    InkModelIdentity refused; /* a file that the worker refused; all 0 = none */
    InkError refused_error;
    bool failed; /* the last attempt to load went wrong */
    uint64_t load_started_usec, loaded_usec, load_span_usec;
    uint64_t hold_until_usec, backoff_until_usec;
    unsigned n_start_failures, n_deaths;
    sd_event_source *idle, *rest, *backoff;
    InkPressure *pressure;
    bool outdated; /* the worker was started with settings that are not those of now */
    char kernels[16];

    struct InkAppModels *models; /* model-ops.h */

    /* status.c: as last announced */
    const char *told_state;
    char told_model[128];
    uint32_t told_window;
};

/* tasks.c */
int ink_app_start_task(void *service, const InkCaller *caller, const InkTask *task,
                       const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr);
/* The same of all kinds but PROMPT and PREWARM, or of these with their messages filled in. Nothing
 * has ended when it returns. */
int ink_app_start_generation(InkApp *app, const InkCaller *caller, const InkTask *task,
                             const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr);
/* The installed model of this name, "" = the default; to be freed. */
int ink_app_find_model(InkApp *app, const char *name, char **ret, InkError *reterr);
void ink_app_cancel(void *service, uint64_t id, InkCancelReason reason);
void ink_app_credit(void *service, uint64_t id, size_t more_bytes);
int ink_app_task_state(void *service, uint64_t id, const char **ret_state, uint32_t *ret_position,
                       InkPriority *ret_priority);
int ink_app_set_priority(void *service, uint64_t id, InkPriority priority);
/* Resolves the model, checks what is refused, queues it. Takes `r` when it succeeds. */
int ink_app_admit(InkApp *app, InkRequest **r, const char *model, uint64_t deadline_usec,
                  InkError *reterr);
/* Fills in prompt or messages, then stops, as the bulk of a request. */
int ink_app_attach_input(InkRequest *r, const InkTask *task, InkError *reterr);
/* Of one model, NULL = of all. */
void ink_app_cancel_all(InkApp *app, const char *model, InkCancelReason reason);
/* Ends with `error` what waits for `model` (NULL = any). */
void ink_app_fail_waiting(InkApp *app, const char *model, const InkError *error);
/* The worker's jobs are gone: runs them again, alone, or ends them. */
void ink_app_restart_tasks(InkApp *app, const InkError *error);
/* Those who wait for it learn, once, that it is being loaded; and how far that is. */
void ink_app_mark_loading(InkApp *app, const char *model);
void ink_app_tell_loading(InkApp *app, const char *model, double fraction);
/* Runs the queue at the end of this turn of the loop. */
void ink_app_pump_soon(InkApp *app);
int ink_app_on_pump(sd_event_source *source, void *userdata);

/* tasks-worker.c */
extern const InkWorkerEvents ink_app_worker_events;
int ink_app_send(InkApp *app, InkRequest *r, InkError *reterr);
/* Drops what the worker keeps of this application's prompts. */
void ink_app_trim_scope(InkApp *app, const char *app_id);

/* tasks.c, for tasks-worker.c: ends */
InkRequest *ink_app_request_of_wire(InkApp *app, uint64_t wire_id);
void ink_app_finish(InkApp *app, InkRequest *r, InkTaskStatus status, InkFinishReason reason,
                    const InkWireFinished *counts, const InkError *error);
void ink_app_finish_cancelled(InkApp *app, InkRequest *r, const InkWireFinished *counts);
void ink_app_finish_failed(InkApp *app, InkRequest *r, const InkError *error);

/* tokens.c */
int ink_app_tokenize(void *service, const InkCaller *caller, const InkTask *input, bool special,
                     bool wants_ids, InkTokensReply *reply, void *userdata, InkError *reterr);
int ink_app_detokenize(void *service, const InkCaller *caller, const uint32_t *ids, size_t n,
                       bool special, InkTextReply *reply, void *userdata, InkError *reterr);
/* error NULL = it is done. */
void ink_app_answer_tokens(InkRequest *r, uint32_t count, const InkError *error);

/* proof.c */
int ink_app_prove_offline(void *service, const InkCaller *caller, InkProofReply *reply,
                          void *userdata, InkError *reterr);

/* residency.c */
int ink_residency_init(InkApp *app, const InkAppOptions *options, InkError *reterr);
void ink_residency_done(InkApp *app);
/* True when the worker has this model; else something is under way, or what waits was failed. */
bool ink_residency_ensure(InkApp *app, const char *model);
bool ink_residency_has(const InkApp *app, const char *model);
void ink_residency_hold(InkApp *app, uint64_t span_usec);
/* Ends the worker; nothing may run in it. */
void ink_residency_unload(InkApp *app);
/* Arms or disarms the idle clock. */
void ink_residency_update_idle(InkApp *app);
void ink_residency_loaded(InkApp *app, const InkWireLoaded *loaded);
void ink_residency_refused(InkApp *app, const InkError *error);
void ink_residency_died(InkApp *app, InkWorkerState before, const InkError *error);
/* Refuses what would have to load a model, or can wait, while memory is very short. */
int ink_residency_check_pressure(const InkApp *app, const char *model, InkPriority priority,
                                 InkError *reterr);
int ink_app_reload(void *service, const InkCaller *caller, InkError *reterr);
int ink_residency_models(const InkApp *app, InkModels *ret, InkError *reterr);

/* status.c */
int ink_app_availability(void *service, const InkCaller *caller, const char *feature,
                         const char *model, InkServiceAvailability *ret, InkError *reterr);
void ink_app_state(void *service, InkServiceState *ret);
/* Tells the bus when the state is another one. */
void ink_app_announce(InkApp *app);
