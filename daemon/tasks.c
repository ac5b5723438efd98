/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Tasks from the door to their end: admission, the pump that brings them to the worker, cancelling
 * by one function for all reasons, and results. */
#include <float.h>
#include <string.h>

#include "daemon/app-private.h"
#include "daemon/bounds.h"
#include "daemon/log.h"
#include "daemon/model-ops.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/worker/wire-io.h"

/* Tokens that the repeat penalty looks back at. */
#define REPEAT_WINDOW 64u

static InkRequest *find_request(InkApp *app, uint64_t id)
{
    return g_hash_table_lookup(app->requests, &id);
}

InkRequest *ink_app_request_of_wire(InkApp *app, uint64_t wire_id)
{
    return g_hash_table_lookup(app->by_wire_id, &wire_id);
}

/* ------------------------------------------------------------------ the end */

/* Out of all lists, so that nothing finds it during its last callback. */
static void withdraw(InkApp *app, InkRequest *r)
{
    if (r->wire_id != 0)
        g_hash_table_remove(app->by_wire_id, &r->wire_id);
    if (app->alone == r)
        app->alone = NULL;
    g_queue_remove(&app->retries, r);
    ink_admission_remove(app->admission, r, ink_clock_monotonic_usec());
    g_hash_table_steal(app->requests, &r->id);
    r->deadline = sd_event_source_disable_unref(r->deadline);
    ink_app_pump_soon(app);
}

static void fill_times(const InkApp *app, const InkRequest *r, const InkWireFinished *counts,
                       InkTaskResult *result)
{
    uint64_t until = r->sent_usec != 0 ? r->sent_usec : ink_clock_monotonic_usec();
    uint64_t waited = until - r->queued_usec;
    result->load_usec = r->load_usec;
    if (r->sent_usec == 0 && r->state == INK_REQUEST_LOADING) {
        uint64_t from =
            app->load_started_usec > r->queued_usec ? app->load_started_usec : r->queued_usec;
        result->load_usec = until > from ? until - from : 0;
    }
    result->queue_usec = waited > result->load_usec ? waited - result->load_usec : 0;
    if (counts == NULL)
        return;
    result->prompt_tokens = counts->prompt_tokens;
    result->cached_tokens = counts->cached_tokens;
    result->output_tokens = counts->output_tokens;
    result->truncated_tokens = counts->truncated_tokens;
    result->dropped_messages = counts->dropped_messages;
    result->priority_lowered = counts->lowered_priority != 0;
    result->queue_usec += counts->queue_usec;
    result->prefill_usec = counts->prefill_usec;
    result->decode_usec = counts->decode_usec;
}

static void deliver_deferred(InkRequest *r)
{
    if (r->sink.deferred && r->collected.size_bytes > 0)
        r->sink.events->text(r->sink.userdata, 0, r->collected.data, r->collected.size_bytes);
}

static InkRequestState final_state(InkTaskStatus status)
{
    if (status == INK_TASK_SUCCESS)
        return INK_REQUEST_FINISHED;
    return status == INK_TASK_CANCELLED ? INK_REQUEST_CANCELLED : INK_REQUEST_FAILED;
}

void ink_app_finish(InkApp *app, InkRequest *r, InkTaskStatus status, InkFinishReason reason,
                    const InkWireFinished *counts, const InkError *error)
{
    InkTaskResult result = {.status = status,
                            .reason = reason,
                            .retries = r->retries,
                            .model = r->model,
                            .kernels = app->kernels};
    fill_times(app, r, counts, &result);
    if (error != NULL)
        result.error = *error;
    withdraw(app, r);
    r->observer = NULL;
    if (!ink_request_move(r, final_state(status)))
        ink_log_error("request %" PRIu64 " ended in state %d", r->id, (int)r->state);
    if (r->sink.events == NULL) {
        ink_app_answer_tokens(r, counts != NULL ? counts->prompt_tokens : 0,
                              status == INK_TASK_SUCCESS ? NULL : &result.error);
    } else {
        if (r->kind != INK_REQUEST_LOAD)
            result.seed = r->wire.generate.seed;
        if (status != INK_TASK_FAILED)
            deliver_deferred(r);
        r->sink.events->finished(r->sink.userdata, &result);
    }
    ink_request_free(r);
}

void ink_app_finish_failed(InkApp *app, InkRequest *r, const InkError *error)
{
    ink_app_finish(app, r, INK_TASK_FAILED, INK_FINISH_NONE, NULL, error);
}

void ink_app_finish_cancelled(InkApp *app, InkRequest *r, const InkWireFinished *counts)
{
    bool generates = !ink_request_is_short(r);
    InkError error = {0};
    switch (r->cancel_reason) {
    case INK_CANCEL_DEADLINE:
        if (generates) {
            ink_app_finish(app, r, INK_TASK_SUCCESS, INK_FINISH_DEADLINE, counts, NULL);
            return;
        }
        (void)INK_RAISE(ETIME, &error, "the deadline came before the answer");
        ink_app_finish_failed(app, r, &error);
        return;
    case INK_CANCEL_SUPERSEDED:
        (void)INK_RAISE(ECANCELED, &error, "superseded by a newer request of the same key");
        ink_app_finish(app, r, INK_TASK_CANCELLED, INK_FINISH_SUPERSEDED, counts, &error);
        return;
    case INK_CANCEL_SHUTDOWN:
        (void)INK_RAISE(ESHUTDOWN, &error, "the service is stopping; call again");
        break;
    case INK_CANCEL_UNLOAD:
        (void)INK_RAISE(ECANCELED, &error, "cancelled: the model was unloaded");
        break;
    case INK_CANCEL_SESSION:
        (void)INK_RAISE(ECANCELED, &error, "cancelled: the session was closed");
        break;
    case INK_CANCEL_STALLED:
        (void)INK_RAISE(ECANCELED, &error, "cancelled: nothing was read from the pipe for long");
        break;
    case INK_CANCEL_CALLER:
    case INK_CANCEL_GONE:
    case INK_CANCEL_PIPE:
        (void)INK_RAISE(ECANCELED, &error, "the request was cancelled");
        break;
    }
    ink_app_finish(app, r, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, counts, &error);
}

static void cancel_request(InkApp *app, InkRequest *r, InkCancelReason reason)
{
    if (r->cancelling)
        return;
    r->cancelling = true;
    r->cancel_reason = reason;
    if (r->wire_id != 0)
        ink_worker_cancel(app->worker, r->wire_id); /* its FINISHED is the end */
    else
        ink_app_finish_cancelled(app, r, NULL);
}

void ink_app_cancel(void *service, uint64_t id, InkCancelReason reason)
{
    InkApp *app = service;
    InkRequest *r = find_request(app, id);
    if (r != NULL)
        cancel_request(app, r, reason);
    else
        (void)ink_app_cancel_import(app, id, reason);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkRequest *r = userdata;
    (void)source;
    (void)usec;
    cancel_request(r->observer_userdata, r, INK_CANCEL_DEADLINE);
    return 0;
}

/* ------------------------------------------------------------------ several at once */

typedef bool Chooses(const InkRequest *r, const void *userdata);

/* Ids, since an end may change the table while it is walked. */
static GArray *choose(InkApp *app, Chooses *chooses, const void *userdata)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter i;
    gpointer value;
    g_hash_table_iter_init(&i, app->requests);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const InkRequest *r = value;
        if (chooses(r, userdata))
            g_array_append_val(ids, r->id);
    }
    return ids;
}

static bool is_any(const InkRequest *r, const void *userdata)
{
    (void)r;
    (void)userdata;
    return true;
}

static bool waits_for(const InkRequest *r, const void *model)
{
    return r->wire_id == 0 && (model == NULL || strcmp(r->model, model) == 0);
}

static bool is_in_worker(const InkRequest *r, const void *userdata)
{
    (void)userdata;
    return r->wire_id != 0;
}

static bool has_same_key(const InkRequest *r, const void *userdata)
{
    const InkRequest *newer = userdata;
    return r->supersede_key != NULL && strcmp(r->supersede_key, newer->supersede_key) == 0 &&
           strcmp(r->sender, newer->sender) == 0;
}

static void cancel_chosen(InkApp *app, Chooses *chooses, const void *userdata,
                          InkCancelReason reason)
{
    g_autoptr(GArray) ids = choose(app, chooses, userdata);
    for (guint i = 0; i < ids->len; i++)
        ink_app_cancel(app, g_array_index(ids, uint64_t, i), reason);
}

void ink_app_fail_waiting(InkApp *app, const char *model, const InkError *error)
{
    g_autoptr(GArray) ids = choose(app, waits_for, model);
    for (guint i = 0; i < ids->len; i++) {
        InkRequest *r = find_request(app, g_array_index(ids, uint64_t, i));
        if (r != NULL)
            ink_app_finish_failed(app, r, error);
    }
}

static void restart_request(InkApp *app, InkRequest *r, const InkError *error)
{
    g_hash_table_remove(app->by_wire_id, &r->wire_id);
    r->wire_id = 0;
    if (app->alone == r)
        app->alone = NULL;
    if (r->cancelling) {
        ink_app_finish_cancelled(app, r, NULL);
    } else if (r->retries > 0 || !ink_request_is_untouched(r)) {
        if (r->retries > 0)
            ink_poison_add(app->poison, r);
        ink_app_finish_failed(app, r, error);
    } else {
        r->retries = 1;
        ink_buffer_clear(&r->collected);
        g_queue_push_tail(&app->retries, r);
        (void)ink_request_move(r, INK_REQUEST_RESTARTING);
    }
}

void ink_app_restart_tasks(InkApp *app, const InkError *error)
{
    g_autoptr(GArray) ids = choose(app, is_in_worker, NULL);
    InkError failed = {0};
    (void)INK_RAISE(EREMOTEIO, &failed, "%s", error->message);
    for (guint i = 0; i < ids->len; i++) {
        InkRequest *r = find_request(app, g_array_index(ids, uint64_t, i));
        if (r != NULL)
            restart_request(app, r, &failed);
    }
}

static bool is_of_model(const InkRequest *r, const void *model)
{
    return strcmp(r->model, model) == 0;
}

void ink_app_cancel_all(InkApp *app, const char *model, InkCancelReason reason)
{
    cancel_chosen(app, model != NULL ? is_of_model : is_any, model, reason);
    /* Those in the worker wait for its answer, which nobody wants any more. */
    if (ink_worker_n_jobs(app->worker) == 0 || (model != NULL && !ink_residency_has(app, model)))
        return;
    InkError error;
    (void)INK_RAISE(ECANCELED, &error, "the worker was ended");
    ink_worker_stop(app->worker);
    ink_app_restart_tasks(app, &error);
}

void ink_app_mark_loading(InkApp *app, const char *model)
{
    g_autoptr(GArray) ids = choose(app, waits_for, model);
    for (guint i = 0; i < ids->len; i++) {
        InkRequest *r = find_request(app, g_array_index(ids, uint64_t, i));
        if (r != NULL && r->state == INK_REQUEST_QUEUED)
            (void)ink_request_move(r, INK_REQUEST_LOADING); /* which tells it, once */
    }
}

void ink_app_tell_loading(InkApp *app, const char *model, double fraction)
{
    ink_app_mark_loading(app, model);
    g_autoptr(GArray) ids = choose(app, waits_for, model);
    for (guint i = 0; i < ids->len && fraction > 0; i++) {
        InkRequest *r = find_request(app, g_array_index(ids, uint64_t, i));
        if (r != NULL && r->state == INK_REQUEST_LOADING && r->sink.events != NULL)
            r->sink.events->progress(r->sink.userdata, "loading", fraction);
    }
}

/* ------------------------------------------------------------------ the door */

static void on_moved(InkRequest *r, InkRequestState before, void *userdata)
{
    (void)userdata;
    (void)before;
    if (r->sink.events != NULL)
        r->sink.events->progress(r->sink.userdata, ink_request_stage(r->state), 0);
}

int ink_app_find_model(InkApp *app, const char *name, char **ret, InkError *reterr)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model;
    INK_TRY(ink_residency_models(app, &models, reterr));
    INK_TRY(ink_app_choose_model(app, &models, name, &model, reterr));
    char *found = ink_memdup(model->name, strlen(model->name) + 1);
    INK_CHECK(found != NULL, ENOMEM, reterr, "out of memory");
    *ret = found;
    return 0;
}

int ink_app_admit(InkApp *app, InkRequest **r, const char *model, uint64_t deadline_usec,
                  InkError *reterr)
{
    InkRequest *q = *r;
    uint64_t now = ink_clock_monotonic_usec();
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    INK_TRY(ink_app_find_model(app, model, &q->model, reterr));
    INK_TRY(ink_residency_check_pressure(app, q->model, q->priority, reterr));
    INK_CHECK(!ink_poison_contains(app->poison, q), EREMOTEIO, reterr,
              "the worker died twice at this input; it is refused to this program until the "
              "service starts anew");
    if (q->supersede_key != NULL)
        cancel_chosen(app, has_same_key, q, INK_CANCEL_SUPERSEDED);
    if (deadline_usec > 0) {
        uint64_t at = deadline_usec < UINT64_MAX / 2 - now ? now + deadline_usec : UINT64_MAX / 2;
        int s =
            sd_event_add_time(app->event, &q->deadline, CLOCK_MONOTONIC, at, 1000, on_deadline, q);
        INK_CHECK(s >= 0, ENOMEM, reterr, "no timer for the deadline: %s", strerror(-s));
    }
    INK_TRY(ink_admission_add(app->admission, q, now, reterr));
    q->id = ++app->next_id;
    q->observer = on_moved;
    q->observer_userdata = app;
    g_hash_table_insert(app->requests, &q->id, q);
    *r = NULL;
    ink_app_pump_soon(app);
    return 0;
}

/* Turns of sessions are chats by now. */
static bool is_chat(InkTaskKind kind)
{
    return kind == INK_TASK_CHAT || kind == INK_TASK_PROMPT || kind == INK_TASK_PREWARM;
}

static size_t collect_strings(const InkTask *task, InkWireString *strings)
{
    size_t n = 0;
    if (task->kind == INK_TASK_COMPLETE)
        strings[n++] = (InkWireString){task->prompt, task->n_prompt_bytes};
    for (size_t i = 0; is_chat(task->kind) && i < task->n_messages; i++) {
        const InkChatMessage *m = &task->messages[i];
        strings[n++] = (InkWireString){m->role, strlen(m->role)};
        strings[n++] = (InkWireString){m->text, m->n_text_bytes};
    }
    return n;
}

int ink_app_attach_input(InkRequest *r, const InkTask *task, InkError *reterr)
{
    size_t n_most = 2 * task->n_messages + 1 + task->n_stops;
    INK_CHECK(task->n_messages <= INK_WIRE_MAX_STRINGS / 2 && n_most <= INK_WIRE_MAX_STRINGS, E2BIG,
              reterr, "messages: more than %u", INK_WIRE_MAX_STRINGS / 2 - 16);
    _cleanup_free_ InkWireString *strings = ink_alloc_array(n_most, sizeof *strings);
    INK_CHECK(strings != NULL, ENOMEM, reterr, "out of memory");
    size_t n = collect_strings(task, strings);
    r->n_input_strings = n;
    for (size_t i = 0; i < task->n_stops; i++)
        strings[n++] = (InkWireString){task->stops[i], strlen(task->stops[i])};
    for (size_t i = 0; i < n; i++)
        r->bulk_bytes += strings[i].n_bytes;
    INK_CHECK(!r->is_sandboxed || r->bulk_bytes <= INK_LIMIT_PROMPT_BYTES / 2, E2BIG, reterr,
              "the prompt has %zu bytes, the limit of a sandboxed program is %u", r->bulk_bytes,
              INK_LIMIT_PROMPT_BYTES / 2);
    return ink_wire_bulk_new(strings, n, &r->bulk_fd, reterr);
}

/* The door has checked the ranges; the worker would end itself over a value beyond them. */
static float clamp(double value, double least, double most)
{
    return (float)(value >= least ? value <= most ? value : most : least);
}

static void fill_generate(InkWireGenerate *g, const InkTask *task)
{
    bool chat = is_chat(task->kind);
    uint32_t max_tokens =
        task->max_tokens < INK_WIRE_MAX_TOKENS ? task->max_tokens : INK_WIRE_MAX_TOKENS;
    if (task->kind == INK_TASK_PREWARM)
        max_tokens = 0; /* reads, and answers nothing */
    else if (max_tokens == 0)
        max_tokens = 1;
    *g = (InkWireGenerate){
        .kind = chat ? INK_WIRE_CHAT : INK_WIRE_COMPLETE,
        .n_messages = chat ? (uint32_t)task->n_messages : 0,
        .n_stops = (uint32_t)task->n_stops,
        .max_tokens = max_tokens,
        .max_lines = task->max_lines,
        .top_k = task->top_k,
        .repeat_window = REPEAT_WINDOW,
        .temperature = clamp(task->temperature, 0, 10),
        .top_p = clamp(task->top_p, FLT_MIN, 1),
        .min_p = clamp(task->min_p, 0, 1),
        .repeat_penalty = clamp(task->repeat_penalty, 0.125, 10),
        .overflow = task->overflow < INK_OVERFLOW_MAX ? (uint32_t)task->overflow : 0,
        .context_limit = task->context_limit,
        .seed = task->seed,
    };
}

static InkRequestKind kind_of_task(InkTaskKind kind)
{
    if (kind == INK_TASK_LOAD)
        return INK_REQUEST_LOAD;
    return is_chat(kind) ? INK_REQUEST_CHAT : INK_REQUEST_COMPLETE;
}

int ink_app_start_task(void *service, const InkCaller *caller, const InkTask *task,
                       const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    if (task->kind == INK_TASK_PROMPT || task->kind == INK_TASK_PREWARM)
        return ink_app_start_turn(service, caller, task, sink, ret_id, reterr);
    return ink_app_start_generation(service, caller, task, sink, ret_id, reterr);
}

int ink_app_start_generation(InkApp *app, const InkCaller *caller, const InkTask *task,
                             const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    /* One that supersedes may free the place that it needs. */
    if (task->supersede_key == NULL)
        INK_TRY(ink_admission_check(app->admission, caller, task->priority, 0,
                                    ink_clock_monotonic_usec(), reterr));
    _cleanup_(ink_request_free_p) InkRequest *r = ink_request_new(kind_of_task(task->kind), caller);
    INK_CHECK(r != NULL, ENOMEM, reterr, "out of memory");
    r->priority = task->priority;
    r->sink = *sink;
    r->credit_bytes = sink->credit_bytes;
    if (task->supersede_key != NULL) {
        r->supersede_key = ink_memdup(task->supersede_key, strlen(task->supersede_key) + 1);
        INK_CHECK(r->supersede_key != NULL, ENOMEM, reterr, "out of memory");
    }
    if (task->kind == INK_TASK_LOAD) {
        r->hold_usec = task->hold_usec;
    } else {
        INK_CHECK(task->n_stops <= INK_WIRE_MAX_STOPS, E2BIG, reterr, "stop: more than %u strings",
                  INK_WIRE_MAX_STOPS);
        fill_generate(&r->wire.generate, task);
        INK_TRY(ink_app_attach_input(r, task, reterr));
    }
    uint64_t id = app->next_id + 1;
    INK_TRY(ink_app_admit(app, &r, task->model, task->deadline_usec, reterr));
    *ret_id = id;
    return 0;
}

void ink_app_credit(void *service, uint64_t id, size_t more_bytes)
{
    InkRequest *r = find_request(service, id);
    if (r == NULL)
        return;
    r->credit_bytes =
        r->credit_bytes < SIZE_MAX - more_bytes ? r->credit_bytes + more_bytes : SIZE_MAX;
    if (r->wire_id != 0 && !r->sink.deferred)
        ink_worker_credit(((InkApp *)service)->worker, r->wire_id, more_bytes);
}

int ink_app_task_state(void *service, uint64_t id, const char **ret_state, uint32_t *ret_position,
                       InkPriority *ret_priority)
{
    InkApp *app = service;
    const InkRequest *r = find_request(app, id);
    if (r == NULL && ink_app_has_import(app, id)) { /* it never waits, and has no class */
        *ret_state = "running";
        *ret_position = 0;
        *ret_priority = INK_PRIORITY_NORMAL;
        return 0;
    }
    if (r == NULL)
        return -ENXIO;
    bool runs = r->state == INK_REQUEST_PREFILL || r->state == INK_REQUEST_DECODE;
    *ret_state = runs ? "running" : "queued";
    *ret_position =
        runs ? 0 : ink_admission_position(app->admission, r, ink_clock_monotonic_usec());
    *ret_priority = r->priority;
    return 0;
}

int ink_app_set_priority(void *service, uint64_t id, InkPriority priority)
{
    InkApp *app = service;
    InkRequest *r = find_request(app, id);
    if (r == NULL || priority >= INK_PRIORITY_MAX)
        return r == NULL ? -ENXIO : -EINVAL;
    ink_admission_set_priority(app->admission, r, priority, ink_clock_monotonic_usec());
    if (r->wire_id != 0)
        ink_worker_set_priority(app->worker, r->wire_id, priority);
    ink_app_pump_soon(app);
    return 0;
}

/* ------------------------------------------------------------------ the pump */

void ink_app_pump_soon(InkApp *app)
{
    if (app->pump != NULL)
        (void)sd_event_source_set_enabled(app->pump, SD_EVENT_ONESHOT);
}

static void send_or_fail(InkApp *app, InkRequest *r)
{
    InkError error = {0};
    if (ink_app_send(app, r, &error) < 0)
        ink_app_finish_failed(app, r, &error);
}

/* One retry at a time, and nobody beside it. */
static void pump_retry(InkApp *app)
{
    InkRequest *r = g_queue_peek_head(&app->retries);
    if (ink_worker_n_jobs(app->worker) > 0 || !ink_residency_ensure(app, r->model))
        return;
    (void)g_queue_pop_head(&app->retries);
    app->alone = r;
    send_or_fail(app, r);
}

static bool pump_queue(InkApp *app)
{
    InkRequest *r = ink_admission_next(app->admission, ink_clock_monotonic_usec());
    if (r == NULL)
        return false;
    if (ink_worker_n_jobs(app->worker) > 0 && !ink_residency_has(app, r->model))
        return false; /* one model at a time: the others end first */
    if (!ink_residency_ensure(app, r->model))
        return false;
    ink_admission_start(app->admission, r, ink_clock_monotonic_usec());
    send_or_fail(app, r);
    return true;
}

int ink_app_on_pump(sd_event_source *source, void *userdata)
{
    InkApp *app = userdata;
    (void)source;
    if (app->stopping)
        return 0;
    if (!g_queue_is_empty(&app->retries))
        pump_retry(app);
    else
        while (app->alone == NULL && g_queue_is_empty(&app->retries) && pump_queue(app))
            ;
    ink_residency_update_idle(app);
    ink_app_announce(app);
    return 0;
}
