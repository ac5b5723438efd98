/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Tasks while they are in the worker: sending them, and what the worker says about them. */
#include <string.h>

#include "daemon/app-private.h"
#include "daemon/bounds.h"
#include "daemon/log.h"
#include "daemon/model-ops.h"
#include "engine/base/clock.h"

/* Prefixes of one program never serve another one: each has a number that is used once. */
static uint32_t scope_of(InkApp *app, const char *app_id)
{
    gpointer known = g_hash_table_lookup(app->scopes, app_id);
    if (known != NULL)
        return GPOINTER_TO_UINT(known);
    if (g_hash_table_size(app->scopes) >= INK_LIMIT_SCOPES)
        g_hash_table_remove_all(app->scopes);
    uint32_t scope = ++app->next_scope;
    g_hash_table_insert(app->scopes, g_strdup(app_id), GUINT_TO_POINTER(scope));
    return scope;
}

void ink_app_trim_scope(InkApp *app, const char *app_id)
{
    gpointer known = g_hash_table_lookup(app->scopes, app_id);
    if (known != NULL)
        ink_worker_trim(app->worker, GPOINTER_TO_UINT(known), 0);
}

static uint32_t first_credit(const InkRequest *r)
{
    if (r->sink.deferred || r->credit_bytes == SIZE_MAX)
        return INK_LIMIT_ANSWER_BYTES;
    return r->credit_bytes < INK_WIRE_MAX_CREDIT ? (uint32_t)r->credit_bytes : INK_WIRE_MAX_CREDIT;
}

static void note_waiting(const InkApp *app, InkRequest *r)
{
    if (r->sent_usec != 0)
        return; /* a retry: told once */
    r->sent_usec = ink_clock_monotonic_usec();
    uint64_t from =
        app->load_started_usec > r->queued_usec ? app->load_started_usec : r->queued_usec;
    r->load_usec = app->loaded_usec > from ? app->loaded_usec - from : 0;
}

int ink_app_send(InkApp *app, InkRequest *r, InkError *reterr)
{
    note_waiting(app, r);
    switch (r->kind) {
    case INK_REQUEST_LOAD:
        ink_residency_hold(app, r->hold_usec);
        ink_app_finish(app, r, INK_TASK_SUCCESS, INK_FINISH_NONE, NULL, NULL);
        return 0;
    case INK_REQUEST_COMPLETE:
    case INK_REQUEST_CHAT:
        r->wire.generate.scope = scope_of(app, r->app_id);
        r->wire.generate.priority = r->priority;
        r->wire.generate.credit_bytes = first_credit(r);
        INK_TRY(ink_worker_submit(app->worker, INK_WIRE_GENERATE, &r->wire.generate.header,
                                  r->bulk_fd, &r->wire_id, reterr));
        break;
    case INK_REQUEST_TOKENIZE:
        INK_TRY(ink_worker_submit(app->worker, INK_WIRE_TOKENIZE, &r->wire.tokenize.header,
                                  r->bulk_fd, &r->wire_id, reterr));
        break;
    case INK_REQUEST_PROBE:
        INK_TRY(ink_worker_submit(app->worker, INK_WIRE_PROBE, &r->wire.probe, -1, &r->wire_id,
                                  reterr));
        break;
    case INK_REQUEST_DETOKENIZE:
        INK_TRY(ink_worker_submit(app->worker, INK_WIRE_DETOKENIZE, &r->wire.detokenize.header,
                                  r->bulk_fd, &r->wire_id, reterr));
        break;
    }
    g_hash_table_insert(app->by_wire_id, &r->wire_id, r);
    (void)ink_request_move(r, INK_REQUEST_PREFILL);
    return 0;
}

/* ------------------------------------------------------------------ events */

static void on_loaded(void *userdata, const InkWireLoaded *loaded)
{
    InkApp *app = userdata;
    ink_residency_loaded(app, loaded);
    ink_app_model_loaded(app, loaded);
    ink_app_pump_soon(app);
}

static void on_load_failed(void *userdata, const InkError *error)
{
    ink_residency_refused(userdata, error);
    ink_app_pump_soon(userdata);
}

static void on_progress(void *userdata, uint64_t id, InkWireStage stage, double fraction)
{
    InkApp *app = userdata;
    if (id == 0) {
        ink_app_tell_loading(app, app->model, fraction);
        return;
    }
    InkRequest *r = ink_app_request_of_wire(app, id);
    if (r == NULL || r->cancelling)
        return;
    if (stage == INK_WIRE_STAGE_DECODE && r->state == INK_REQUEST_PREFILL)
        (void)ink_request_move(r, INK_REQUEST_DECODE);
    if (r->sink.events != NULL && stage >= INK_WIRE_STAGE_PREFILL)
        r->sink.events->progress(r->sink.userdata,
                                 stage == INK_WIRE_STAGE_DECODE ? "decode" : "prefill", fraction);
}

static void on_text(void *userdata, uint64_t id, const char *text, size_t n_bytes)
{
    InkApp *app = userdata;
    InkRequest *r = ink_app_request_of_wire(app, id);
    if (r == NULL)
        return;
    if (r->state == INK_REQUEST_PREFILL)
        (void)ink_request_move(r, INK_REQUEST_DECODE);
    if (r->sink.events == NULL || r->sink.deferred) {
        ink_buffer_append(&r->collected, text, n_bytes);
        return;
    }
    uint64_t offset_bytes = r->sent_bytes;
    r->sent_bytes += n_bytes;
    r->sink.events->text(r->sink.userdata, offset_bytes, text, n_bytes);
}

static void on_ids(void *userdata, uint64_t id, const uint32_t *ids, size_t n)
{
    InkRequest *r = ink_app_request_of_wire(userdata, id);
    if (r != NULL)
        ink_buffer_append(&r->collected, ids, n * sizeof *ids);
}

static InkFinishReason reason_of_wire(uint32_t reason)
{
    switch ((InkWireReason)reason) {
    case INK_WIRE_REASON_STOP:
        return INK_FINISH_STOP;
    case INK_WIRE_REASON_LENGTH:
        return INK_FINISH_LENGTH;
    case INK_WIRE_REASON_LINES:
        return INK_FINISH_LINES;
    case INK_WIRE_REASON_STOP_STRING:
        return INK_FINISH_STOP_STRING;
    case INK_WIRE_REASON_CANCELLED:
        return INK_FINISH_CANCELLED;
    case INK_WIRE_REASON_DONE:
        break;
    }
    return INK_FINISH_NONE;
}

static void on_finished(void *userdata, uint64_t id, const InkWireFinished *finished)
{
    InkApp *app = userdata;
    InkRequest *r = ink_app_request_of_wire(app, id);
    if (r == NULL)
        return;
    InkError error = {0};
    r->engine_usec = finished->engine_usec;
    if (finished->reason == INK_WIRE_REASON_CANCELLED) {
        ink_app_finish_cancelled(app, r, finished);
    } else if (ink_buffer_status(&r->collected) < 0) {
        (void)INK_RAISE(ENOMEM, &error, "the answer did not fit into memory");
        ink_app_finish_failed(app, r, &error);
    } else {
        ink_app_finish(app, r, INK_TASK_SUCCESS, reason_of_wire(finished->reason), finished, NULL);
    }
}

/* The worker chooses among what it can mean; any other number would become a wrong bus error. */
static int code_of_worker(int code)
{
    static const int allowed[] = {EINVAL,     E2BIG,  EMSGSIZE,  EBADMSG,
                                  EOPNOTSUPP, ENOMEM, ECANCELED, EBUSY};
    for (size_t i = 0; i < G_N_ELEMENTS(allowed); i++)
        if (allowed[i] == code)
            return code;
    return EREMOTEIO;
}

static void on_failed(void *userdata, uint64_t id, const InkError *error)
{
    InkApp *app = userdata;
    InkRequest *r = ink_app_request_of_wire(app, id);
    if (r == NULL)
        return;
    InkError checked = *error;
    checked.code = code_of_worker(error->code);
    if (checked.code == ECANCELED && r->cancelling)
        ink_app_finish_cancelled(app, r, NULL);
    else
        ink_app_finish_failed(app, r, &checked);
}

static void on_died(void *userdata, InkWorkerState before, const InkError *error)
{
    InkApp *app = userdata;
    ink_log_warning("worker ended: %s", error->message);
    ink_residency_died(app, before, error);
    ink_app_restart_tasks(app, error);
    ink_app_pump_soon(app);
}

const InkWorkerEvents ink_app_worker_events = {
    .loaded = on_loaded,
    .load_failed = on_load_failed,
    .progress = on_progress,
    .text = on_text,
    .ids = on_ids,
    .finished = on_finished,
    .failed = on_failed,
    .died = on_died,
};
