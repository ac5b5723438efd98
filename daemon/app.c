/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/app.h"

#include <string.h>

#include "daemon/app-private.h"
#include "daemon/log.h"
#include "daemon/model-ops.h"
#include "daemon/store-jobs.h"
#include "engine/base/alloc.h"

static void on_memory_known(void *userdata, const InkError *error, bool enabled)
{
    InkApp *app = userdata;
    app->memory_known = true;
    if (error != NULL) {
        ink_log_warning("store: %s", error->message);
        return;
    }
    bool changed = app->memory_enabled != enabled;
    app->memory_enabled = enabled;
    if (changed && app->events != NULL && app->events->memory_enabled_changed != NULL)
        app->events->memory_enabled_changed(app->events_userdata);
}

static void on_permissions_known(void *userdata)
{
    ((InkApp *)userdata)->permissions_known = true;
}

static int start_store(InkApp *app, const InkAppOptions *options, InkError *reterr)
{
    INK_TRY(ink_store_thread_start(app->event, options->data_folder, &app->store, reterr));
    INK_TRY(ink_app_models_init(app, options, reterr));
    INK_TRY(ink_permissions_new(app->store, on_permissions_known, app, &app->permissions, reterr));
    return ink_store_job_memory_enabled(app->store, on_memory_known, app, reterr);
}

bool ink_app_is_ready(const InkApp *app)
{
    return app->memory_known && app->permissions_known;
}

int ink_app_new(sd_event *event, const InkAppOptions *options, InkApp **ret, InkError *reterr)
{
    _cleanup_(ink_app_free_p) InkApp *app = ink_alloc_array(1, sizeof *app);
    INK_CHECK(app != NULL, ENOMEM, reterr, "out of memory");
    app->event = sd_event_ref(event);
    app->config = *options->config;
    app->network_guard = g_strdup(options->network_guard);
    app->requests = g_hash_table_new(g_int64_hash, g_int64_equal);
    app->by_wire_id = g_hash_table_new(g_int64_hash, g_int64_equal);
    app->scopes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_queue_init(&app->retries);
    app->admission = ink_admission_new();
    INK_CHECK(app->admission != NULL, ENOMEM, reterr, "out of memory");
    INK_TRY(ink_poison_new(&app->poison, reterr));
    INK_TRY(ink_residency_init(app, options, reterr));
    int r = sd_event_add_defer(event, &app->pump, ink_app_on_pump, app);
    if (r >= 0)
        r = sd_event_source_set_enabled(app->pump, SD_EVENT_OFF);
    INK_CHECK(r >= 0, -r, reterr, "no event source: %s", strerror(-r));
    INK_TRY(ink_sessions_new(app, &app->sessions, reterr));
    INK_TRY(start_store(app, options, reterr));
    *ret = INK_TAKE(app);
    return 0;
}

void ink_app_stop(InkApp *app)
{
    app->stopping = true;
    app->pump = sd_event_source_disable_unref(app->pump);
    if (app->worker != NULL) {
        ink_app_cancel_all(app, NULL, INK_CANCEL_SHUTDOWN);
        ink_residency_unload(app);
        ink_app_announce(app);
    }
    ink_app_models_stop(app);
    app->sessions = ink_sessions_free(app->sessions);
    app->store = ink_store_thread_stop(app->store);
}

InkApp *ink_app_free(InkApp *app)
{
    if (app == NULL)
        return NULL;
    app->events = NULL;
    ink_app_stop(app);
    ink_app_models_done(app);
    ink_residency_done(app);
    ink_poison_free(app->poison);
    ink_permissions_free(app->permissions);
    ink_admission_free(app->admission);
    g_clear_pointer(&app->requests, g_hash_table_unref);
    g_clear_pointer(&app->by_wire_id, g_hash_table_unref);
    g_clear_pointer(&app->scopes, g_hash_table_unref);
    g_free(app->network_guard);
    sd_event_unref(app->event);
    free(app);
    return NULL;
}

void ink_app_set_events(InkApp *app, const InkAppEvents *events, void *userdata)
{
    app->events = events;
    app->events_userdata = userdata;
    if (app->pump != NULL)
        ink_app_pump_soon(app); /* announces the state */
}

size_t ink_app_n_requests(const InkApp *app)
{
    return g_hash_table_size(app->requests) + ink_app_models_n_active(app);
}

const InkConfig *ink_app_config(const InkApp *app)
{
    return &app->config;
}

bool ink_app_has_worker(const InkApp *app)
{
    return ink_worker_state(app->worker) != INK_WORKER_DOWN;
}

bool ink_app_is_empty(const InkApp *app)
{
    return ink_app_n_requests(app) == 0 && ink_worker_state(app->worker) == INK_WORKER_DOWN &&
           ink_sessions_n(app->sessions) == 0 && ink_store_thread_n_pending(app->store) == 0;
}

static int unload(void *service, const InkCaller *caller, bool force, InkError *reterr)
{
    InkApp *app = service;
    (void)caller;
    INK_CHECK(force || g_hash_table_size(app->requests) == 0, EBUSY, reterr,
              "%u requests run or wait; force ends them", g_hash_table_size(app->requests));
    ink_app_cancel_all(app, NULL, INK_CANCEL_UNLOAD);
    ink_residency_unload(app);
    ink_app_announce(app);
    return 0;
}

/* ------------------------------------------------------------------ store */

static int observe(void *service, const InkCaller *caller, const InkServiceEvent *events, size_t n,
                   bool train, bool dry_run, InkCountReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    return ink_store_job_observe(app->store, caller->app_id, events, n, train, dry_run, reply,
                                 userdata, reterr);
}

static int suggest(void *service, const InkCaller *caller, const InkServiceSuggest *query,
                   InkSuggestReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    return ink_store_job_suggest(app->store, caller->app_id, query, reply, userdata, reterr);
}

static int feedback(void *service, const InkCaller *caller, const char *item_id,
                    const char *outcome, uint64_t accepted_chars, const char *text,
                    InkDoneReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    return ink_store_job_feedback(app->store, caller->app_id, item_id, outcome, accepted_chars,
                                  text, reply, userdata, reterr);
}

/* -------------------------------------------------------------- permissions */

static bool permitted(void *service, const InkCaller *caller, InkPermission permission)
{
    return ink_permissions_allow(((InkApp *)service)->permissions, caller, permission);
}

static int list_permissions(void *service, const InkCaller *caller,
                            void (*each)(void *userdata, const char *app_id,
                                         InkPermission permission, InkDecision decision,
                                         bool allowed),
                            void *userdata, InkError *reterr)
{
    return ink_permissions_list(((InkApp *)service)->permissions, caller, each, userdata, reterr);
}

static int set_permission(void *service, const InkCaller *caller, const char *app_id,
                          InkPermission permission, InkDecision decision, InkDoneReply *reply,
                          void *userdata, InkError *reterr)
{
    InkApp *app = service;
    (void)caller;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    return ink_permissions_set(app->permissions, app_id, permission, decision, reply, userdata,
                               reterr);
}

static void caller_known(void *service, const InkCaller *caller)
{
    ink_permissions_caller_known(((InkApp *)service)->permissions, caller);
}

static void caller_gone(void *service, const InkCaller *caller)
{
    ink_permissions_caller_gone(((InkApp *)service)->permissions, caller);
}

static bool memory_enabled(void *service)
{
    return ((const InkApp *)service)->memory_enabled;
}

/* Keeps the cached switch in step with the store's answer. */
typedef struct MemorySwitch {
    InkApp *app;
    bool enabled;
    InkDoneReply *reply;
    void *userdata;
} MemorySwitch;

static void on_memory_set(void *userdata, const InkError *error)
{
    g_autofree MemorySwitch *s = userdata;
    if (error == NULL)
        on_memory_known(s->app, NULL, s->enabled);
    s->reply(s->userdata, error);
}

static int set_memory_enabled(void *service, bool enabled, InkDoneReply *reply, void *userdata,
                              InkError *reterr)
{
    InkApp *app = service;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    g_autofree MemorySwitch *s = g_new0(MemorySwitch, 1);
    *s = (MemorySwitch){.app = app, .enabled = enabled, .reply = reply, .userdata = userdata};
    INK_TRY(ink_store_job_set_memory_enabled(app->store, enabled, on_memory_set, s, reterr));
    g_steal_pointer(&s);
    return 0;
}

static const InkServiceOps ops = {
    .start = ink_app_start_task,
    .cancel = ink_app_cancel,
    .credit = ink_app_credit,
    .task_state = ink_app_task_state,
    .set_priority = ink_app_set_priority,
    .tokenize = ink_app_tokenize,
    .detokenize = ink_app_detokenize,
    .availability = ink_app_availability,
    .list_models = ink_app_list_models,
    .unload = unload,
    .import_model = ink_app_import_model,
    .inspect_model = ink_app_inspect_model,
    .remove_model = ink_app_remove_model,
    .set_default_model = ink_app_set_default_model,
    .state = ink_app_state,
    .prove_offline = ink_app_prove_offline,
    .reload = ink_app_reload,
    .observe = observe,
    .permitted = permitted,
    .list_permissions = list_permissions,
    .set_permission = set_permission,
    .caller_known = caller_known,
    .caller_gone = caller_gone,
    .suggest = suggest,
    .feedback = feedback,
    .set_session_events = ink_app_set_session_events,
    .create_session = ink_app_create_session,
    .session_append = ink_app_session_append,
    .session_rewind = ink_app_session_rewind,
    .session_clone = ink_app_session_clone,
    .session_measure = ink_app_session_measure,
    .session_transcript = ink_app_session_transcript,
    .session_info = ink_app_session_info,
    .session_forget = ink_app_session_forget,
    .close_session = ink_app_close_session,
    .list_sessions = ink_app_list_sessions,
    .memory_enabled = memory_enabled,
    .set_memory_enabled = set_memory_enabled,
};

const InkServiceOps *ink_app_ops(void)
{
    return &ops;
}
