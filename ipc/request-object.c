/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/request-object.h"

#include <fcntl.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "ipc/owned-object.h"
#include "ipc/request-private.h"

#define TIMER_ACCURACY_USEC 1000u

/* ---------------------------------------------------------------- lifetime */

static void unlink_object(InkRequestObject *r)
{
    for (InkRequestObject **at = &r->bus->requests; *at != NULL; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    r->next = NULL;
}

static void drop_call(InkRequestObject *r)
{
    if (r->call != NULL)
        ink_caller_unkeep(r->bus, r->owner, r->call_bytes);
    r->call = sd_bus_message_unref(r->call);
}

/* Forgets the owner and all that leads to it. */
static void detach_owner(InkRequestObject *r)
{
    if (r->owner != NULL)
        r->owner->n_calls -= r->n_waits;
    drop_call(r);
    r->owner = NULL;
    for (size_t i = 0; i < r->n_waits; i++)
        sd_bus_message_unref(r->waits[i]);
    r->n_waits = 0;
    r->pipe = ink_request_pipe_free(r->pipe);
    r->delta_timer = sd_event_source_disable_unref(r->delta_timer);
    r->linger_timer = sd_event_source_disable_unref(r->linger_timer);
}

static InkRequestObject *free_object(InkRequestObject *r)
{
    if (r == NULL)
        return NULL;
    detach_owner(r);
    if (r->bus != NULL)
        unlink_object(r);
    free(r->waits);
    ink_buffer_wipe(&r->text);
    free(r->path);
    free(r);
    return NULL;
}

INK_DEFINE_CLEANUP(InkRequestObject, free_object, free_object_p)

void ink_request_cancel(InkRequestObject *r, InkCancelReason reason)
{
    if (!r->ended && r->task_id != 0)
        r->bus->ops->cancel(r->bus->service, r->task_id, reason);
}

void ink_requests_drop_owner(InkBus *b, InkCallerEntry *who)
{
    for (InkRequestObject *r = b->requests; r != NULL;) {
        if (r->owner != who) {
            r = r->next;
            continue;
        }
        detach_owner(r);
        if (r->ended)
            free_object(r);
        else
            ink_request_cancel(r, INK_CANCEL_GONE);
        r = b->requests; /* the list may have changed; what was detached is not met again */
    }
}

void ink_requests_drop_all(InkBus *b)
{
    for (InkRequestObject *r = b->requests; r != NULL; r = r->next)
        ink_request_cancel(r, INK_CANCEL_SHUTDOWN);
    while (b->requests != NULL) {
        InkRequestObject *r = b->requests;
        detach_owner(r);
        unlink_object(r);
        r->bus = NULL;
        if (r->ended)
            free_object(r);
    }
}

size_t ink_bus_n_active(const InkBus *b)
{
    size_t n = 0;
    for (const InkRequestObject *r = b->requests; r != NULL; r = r->next)
        n += !r->ended;
    return n;
}

static int on_linger(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkRequestObject *r = userdata;
    (void)source;
    (void)usec;
    r->gone = true;
    if (r->pipe == NULL || !ink_request_pipe_is_waiting(r->pipe))
        free_object(r); /* sd-event holds the source while it runs */
    return 0;
}

static void start_linger(InkRequestObject *r, uint64_t usec)
{
    r->linger_timer = sd_event_source_disable_unref(r->linger_timer);
    if (sd_event_add_time_relative(r->bus->event, &r->linger_timer, CLOCK_MONOTONIC, usec,
                                   TIMER_ACCURACY_USEC, on_linger, r) < 0)
        r->linger_timer = NULL; /* out of memory: it goes with its owner */
}

/* ---------------------------------------------------------------- delivery */

static void send_delta(InkRequestObject *r)
{
    if (r->n_delta_bytes >= r->text.size_bytes)
        return;
    ink_request_emit_delta(r, r->n_delta_bytes, r->text.data + r->n_delta_bytes);
    r->n_delta_bytes = r->text.size_bytes;
    r->last_delta_usec = ink_clock_monotonic_usec();
}

static int on_delta_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* A bus that does not read, for it is stopped or overloaded, would make every piece a message of
 * its own in our memory. */
static bool is_congested(const InkRequestObject *r)
{
    uint64_t n = 0;
    return sd_bus_get_n_queued_write(r->bus->bus, &n) >= 0 && n > INK_BUS_MAX_QUEUED_MESSAGES;
}

/* The first piece goes at once, the next ones with the gap that was asked for. */
static void schedule_delta(InkRequestObject *r)
{
    if (!r->wants_delta || r->starting || r->delta_timer != NULL)
        return;
    uint64_t now = ink_clock_monotonic_usec(), due = r->last_delta_usec + r->coalesce_usec;
    if (is_congested(r))
        due = now + INK_BUS_CONGESTED_USEC;
    else if (r->coalesce_usec == 0)
        due = now;
    if (now >= due || sd_event_add_time(r->bus->event, &r->delta_timer, CLOCK_MONOTONIC, due,
                                        TIMER_ACCURACY_USEC, on_delta_timer, r) < 0)
        send_delta(r);
}

static int on_delta_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkRequestObject *r = userdata;
    (void)source;
    (void)usec;
    r->delta_timer = sd_event_source_disable_unref(r->delta_timer);
    if (is_congested(r))
        schedule_delta(r);
    else
        send_delta(r);
    return 0;
}

static void reply_blocking(InkRequestObject *r)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    if (r->call == NULL)
        return;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = sd_bus_message_ref(r->call);
    drop_call(r);
    if (r->result.status == INK_TASK_FAILED)
        ink_bus_reply_error(call, &r->result.error);
    else if (r->result.reason == INK_FINISH_SUPERSEDED)
        (void)sd_bus_reply_method_errorf(call, INK_BUS_ERROR_SUPERSEDED,
                                         "a newer request with the same supersede-key came");
    else if (r->result.status == INK_TASK_CANCELLED)
        /* by what: a service that stops may be called again */
        ink_bus_reply_error(call, r->result.error.code != 0
                                      ? &r->result.error
                                      : &(InkError){ECANCELED, "the request was cancelled"});
    else if (sd_bus_message_new_method_return(call, &reply) < 0 ||
             sd_bus_message_append(reply, "s", r->text.data != NULL ? r->text.data : "") < 0 ||
             ink_request_append_results(r, reply, false) < 0 || sd_bus_send(NULL, reply, NULL) < 0)
        ink_bus_reply_error(call, &(InkError){ENOMEM, "the answer could not be built"});
}

/* The end, told in every form once. */
static void conclude(InkRequestObject *r)
{
    r->delta_timer = sd_event_source_disable_unref(r->delta_timer);
    if (r->wants_delta)
        send_delta(r);
    if (r->pipe != NULL) {
        _cleanup_buffer_ InkBuffer json = INK_BUFFER_INIT;
        ink_request_json_results(r, &json);
        if (ink_buffer_status(&json) == 0)
            ink_request_pipe_finish(r->pipe, json.data, json.size_bytes);
    }
    if (r->delivery != INK_DELIVERY_REPLY || r->wants_delta)
        ink_request_emit_finished(r);
    reply_blocking(r);
    for (size_t i = 0; i < r->n_waits; i++) {
        (void)ink_request_reply_wait(r, r->waits[i]);
        sd_bus_message_unref(r->waits[i]);
        r->owner->n_calls--;
    }
    r->n_waits = 0;
    r->told = true;
    start_linger(r, r->delivery == INK_DELIVERY_REPLY ? 0 : r->linger_usec);
}

/* ------------------------------------------------- what the service tells */

static bool wants_progress(const InkRequestObject *r)
{
    return r->delivery == INK_DELIVERY_SIGNALS || r->wants_delta;
}

static void on_progress(void *userdata, const char *stage, double fraction)
{
    InkRequestObject *r = userdata;
    if (r->owner == NULL || r->ended)
        return;
    if (r->pipe != NULL)
        ink_request_pipe_progress(r->pipe, stage, fraction);
    if (r->starting) {
        snprintf(r->held_stage, sizeof(r->held_stage), "%s", stage);
        r->held_fraction = fraction;
    } else if (wants_progress(r))
        ink_request_emit_progress(r, stage, fraction);
}

static void on_text(void *userdata, uint64_t offset_bytes, const char *text, size_t n_bytes)
{
    InkRequestObject *r = userdata;
    _cleanup_(ink_buffer_wipe) InkBuffer clean = INK_BUFFER_INIT;
    (void)offset_bytes; /* our own count holds when a byte had to be replaced */
    if (r->owner == NULL || r->ended || n_bytes == 0)
        return;
    ink_bus_append_clean(&clean, text, n_bytes);
    if (ink_buffer_status(&clean) < 0) {
        r->text.failed = true; /* the end will say so */
        return;
    }
    if (r->pipe != NULL)
        ink_request_pipe_text(r->pipe, r->n_text_bytes, clean.data, clean.size_bytes, n_bytes);
    if (r->delivery != INK_DELIVERY_PIPE || r->wants_delta)
        ink_buffer_append(&r->text, clean.data, clean.size_bytes);
    r->n_text_bytes += clean.size_bytes;
    schedule_delta(r);
}

static void on_finished(void *userdata, const InkTaskResult *result)
{
    InkRequestObject *r = userdata;
    if (r->ended)
        return;
    r->ended = true;
    r->result = *result;
    r->result.model = r->result.kernels = NULL; /* borrowed for this call only */
    snprintf(r->model, sizeof(r->model), "%s", result->model != NULL ? result->model : "");
    snprintf(r->kernels, sizeof(r->kernels), "%s", result->kernels != NULL ? result->kernels : "");
    if (ink_buffer_status(&r->text) < 0 && result->status == INK_TASK_SUCCESS) {
        r->result.status = INK_TASK_FAILED;
        (void)INK_RAISE(ENOMEM, &r->result.error, "out of memory for the text");
    }
    if (r->owner == NULL)
        free_object(r);
    else if (!r->starting)
        conclude(r);
}

static const InkTaskEvents task_events = {on_progress, on_text, on_finished};

static void on_pipe_credit(void *userdata, size_t n_bytes)
{
    InkRequestObject *r = userdata;
    if (!r->ended && r->task_id != 0)
        r->bus->ops->credit(r->bus->service, r->task_id, n_bytes);
}

static void on_pipe_closed(void *userdata)
{
    InkRequestObject *r = userdata;
    if (!r->ended)
        ink_request_cancel(r, INK_CANCEL_PIPE);
    else if (r->gone)
        start_linger(r, 0);
}

static void on_pipe_stalled(void *userdata)
{
    ink_request_cancel(userdata, INK_CANCEL_STALLED);
}

static const InkRequestPipeEvents pipe_events = {on_pipe_credit, on_pipe_closed, on_pipe_stalled};

/* ------------------------------------------------------------------- start */

/* An ended object gives way to a new one of the same caller. */
static int make_room(InkBus *b, InkCallerEntry *who, InkError *reterr)
{
    InkRequestObject *oldest = NULL;
    size_t n = 0;
    for (InkRequestObject *r = b->requests; r != NULL; r = r->next)
        if (r->owner == who) {
            n++;
            if (r->told && (r->pipe == NULL || !ink_request_pipe_is_waiting(r->pipe)))
                oldest = r; /* newest first: the last one seen is the oldest */
        }
    if (n < INK_CALLER_MAX_OBJECTS)
        return 0;
    INK_CHECK(oldest != NULL, E2BIG, reterr,
              "this connection has %zu unfinished requests, the limit is %u", n,
              INK_CALLER_MAX_OBJECTS);
    free_object(oldest);
    return 0;
}

static int make_path(InkBus *b, InkCallerEntry *who, const char *token, char **ret,
                     InkError *reterr)
{
    _cleanup_free_ char *path = NULL;
    INK_TRY(ink_owned_path(INK_BUS_REQUESTS, who->sender, token, 'r', &path, reterr));
    for (const InkRequestObject *r = b->requests; r != NULL; r = r->next)
        INK_CHECK(strcmp(r->path, path) != 0, EINVAL, reterr,
                  "handle-token is in use by another request of this connection");
    *ret = INK_TAKE(path);
    return 0;
}

static int new_object(InkBus *b, InkCallerEntry *who, const InkTaskOptions *o, InkDelivery delivery,
                      InkRequestObject **ret, InkError *reterr)
{
    _cleanup_free_ char *path = NULL;
    INK_CHECK(!b->stopping, ESHUTDOWN, reterr, "the service is stopping, call again");
    INK_TRY(make_room(b, who, reterr));
    INK_TRY(make_path(b, who, o->handle_token, &path, reterr));
    InkRequestObject *r = ink_alloc_array(1, sizeof(*r));
    INK_CHECK(r != NULL, ENOMEM, reterr, "out of memory for the request");
    r->bus = b;
    r->owner = who;
    r->path = INK_TAKE(path);
    r->kind = o->task.kind;
    r->delivery = delivery;
    r->priority = o->task.priority;
    r->created_usec = ink_clock_monotonic_usec();
    r->starting = true;
    r->wants_delta = strcmp(o->stream, "delta") == 0;
    r->coalesce_usec = o->coalesce_usec;
    r->linger_usec = o->linger_usec;
    r->next = b->requests;
    b->requests = r;
    *ret = r;
    return 0;
}

static int reply_started(InkRequestObject *r, sd_bus_message *m, int read_fd)
{
    if (r->delivery == INK_DELIVERY_SIGNALS)
        return sd_bus_reply_method_return(m, "o", r->path);
    if (r->delivery == INK_DELIVERY_PIPE)
        return sd_bus_reply_method_return(m, "oh", r->path, read_fd);
    r->call = sd_bus_message_ref(m);
    return 0;
}

/* What was held back while starting. */
static void release(InkRequestObject *r)
{
    r->starting = false;
    if (r->held_stage[0] != '\0' && wants_progress(r))
        ink_request_emit_progress(r, r->held_stage, r->held_fraction);
    if (r->ended)
        conclude(r);
    else
        schedule_delta(r);
}

/* An import takes its descriptor, and that of a message is the message's. */
static int start_import(InkBus *b, InkCallerEntry *who, const InkTaskOptions *options,
                        const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    _cleanup_close_ int fd = fcntl(options->import_fd, F_DUPFD_CLOEXEC, 3);
    INK_CHECK(fd >= 0, EBUSY, reterr, "file: no descriptor is free: %s", strerror(errno));
    INK_TRY(
        b->ops->import_model(b->service, &who->caller, &options->import, fd, sink, ret_id, reterr));
    (void)INK_TAKE_FD(fd);
    return 0;
}

static int start_task(InkBus *b, InkCallerEntry *who, const InkTaskOptions *options,
                      const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    if (options->task.kind == INK_TASK_IMPORT)
        return start_import(b, who, options, sink, ret_id, reterr);
    return b->ops->start(b->service, &who->caller, &options->task, sink, ret_id, reterr);
}

int ink_request_start(InkBus *b, InkCallerEntry *who, sd_bus_message *m,
                      const InkTaskOptions *options, InkDelivery delivery, InkError *reterr)
{
    _cleanup_(free_object_p) InkRequestObject *r = NULL;
    _cleanup_close_ int read_fd = -1;
    INK_TRY(new_object(b, who, options, delivery, &r, reterr));
    if (delivery == INK_DELIVERY_PIPE) {
        int e =
            ink_request_pipe_new(b->event, &pipe_events, r, b->pipe_stall_usec, &r->pipe, &read_fd);
        INK_CHECK(e >= 0, e == -ENOMEM ? ENOMEM : EBUSY, reterr, "no pipe: %s", strerror(-e));
    }
    InkTaskSink sink = {
        .events = &task_events,
        .userdata = r,
        .credit_bytes = delivery == INK_DELIVERY_PIPE ? INK_REQUEST_PIPE_CREDIT_BYTES : SIZE_MAX,
        .deferred = delivery == INK_DELIVERY_REPLY && !r->wants_delta,
    };
    uint64_t id = 0;
    if (delivery == INK_DELIVERY_REPLY)
        INK_TRY(ink_caller_keep(b, who, m, &r->call_bytes, reterr));
    int e = start_task(b, who, options, &sink, &id, reterr);
    if (e < 0) {
        if (delivery == INK_DELIVERY_REPLY)
            ink_caller_unkeep(b, who, r->call_bytes);
        return e;
    }
    r->task_id = id;
    e = reply_started(r, m, read_fd);
    if (e < 0) { /* our own connection is broken, or the caller is gone: nobody waits for it */
        InkRequestObject *orphan = INK_TAKE(r);
        detach_owner(orphan);
        if (orphan->ended)
            free_object(orphan);
        else
            ink_request_cancel(orphan, INK_CANCEL_GONE);
        return INK_RAISE(EPROTO, reterr, "the answer could not be sent");
    }
    release(INK_TAKE(r));
    return 0;
}

int ink_request_start_blocking(InkBus *b, InkCallerEntry *who, sd_bus_message *m,
                               InkTaskOptions *options, InkError *reterr)
{
    if (options->task.deadline_usec == 0)
        options->task.deadline_usec = INK_BUS_BLOCKING_USEC;
    return ink_request_start(b, who, m, options, INK_DELIVERY_REPLY, reterr);
}
