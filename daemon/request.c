/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/request.h"

#include <string.h>

#include "engine/base/alloc.h"

#define BIT(state) (1u << INK_REQUEST_##state)
#define ENDS       (BIT(FAILED) | BIT(CANCELLED))

/* Of each state, where it may go. */
static const unsigned transitions[INK_REQUEST_STATE_MAX] = {
    [INK_REQUEST_QUEUED] = BIT(LOADING) | BIT(PREFILL) | BIT(FINISHED) | ENDS,
    [INK_REQUEST_LOADING] = BIT(QUEUED) | BIT(PREFILL) | BIT(FINISHED) | ENDS,
    [INK_REQUEST_PREFILL] = BIT(DECODE) | BIT(RESTARTING) | BIT(FINISHED) | ENDS,
    [INK_REQUEST_DECODE] = BIT(RESTARTING) | BIT(FINISHED) | ENDS,
    [INK_REQUEST_RESTARTING] = BIT(PREFILL) | BIT(FINISHED) | ENDS,
    [INK_REQUEST_FINISHED] = 0,
    [INK_REQUEST_FAILED] = 0,
    [INK_REQUEST_CANCELLED] = 0,
};

static const char *const stages[INK_REQUEST_STATE_MAX] = {
    [INK_REQUEST_QUEUED] = "queued",         [INK_REQUEST_LOADING] = "loading",
    [INK_REQUEST_PREFILL] = "prefill",       [INK_REQUEST_DECODE] = "decode",
    [INK_REQUEST_RESTARTING] = "restarting", [INK_REQUEST_FINISHED] = "finished",
    [INK_REQUEST_FAILED] = "finished",       [INK_REQUEST_CANCELLED] = "finished",
};

static char *dup_string(const char *text)
{
    return ink_memdup(text, strlen(text) + 1);
}

InkRequest *ink_request_new(InkRequestKind kind, const InkCaller *caller)
{
    _cleanup_(ink_request_free_p) InkRequest *r = ink_alloc_array(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->bulk_fd = -1;
    r->kind = kind;
    r->priority = INK_PRIORITY_INTERACTIVE;
    r->is_sandboxed = caller->kind != INK_CALLER_HOST;
    r->app_id = dup_string(caller->app_id);
    r->sender = dup_string(caller->sender);
    if (r->app_id == NULL || r->sender == NULL)
        return NULL;
    return INK_TAKE(r);
}

InkRequest *ink_request_free(InkRequest *r)
{
    if (r == NULL)
        return NULL;
    sd_event_source_disable_unref(r->deadline);
    if (r->bulk_fd >= 0)
        close(r->bulk_fd);
    ink_buffer_wipe(&r->collected);
    free(r->app_id);
    free(r->sender);
    free(r->model);
    free(r->supersede_key);
    free(r);
    return NULL;
}

bool ink_request_can_move(InkRequestState from, InkRequestState to)
{
    return from < INK_REQUEST_STATE_MAX && to < INK_REQUEST_STATE_MAX &&
           (transitions[from] & (1u << to)) != 0;
}

bool ink_request_move(InkRequest *r, InkRequestState to)
{
    InkRequestState before = r->state;
    if (!ink_request_can_move(before, to))
        return false;
    r->state = to;
    if (r->observer != NULL)
        r->observer(r, before, r->observer_userdata);
    return true;
}

bool ink_request_is_untouched(const InkRequest *r)
{
    return r->sent_bytes == 0;
}

bool ink_request_is_short(const InkRequest *r)
{
    return r->kind != INK_REQUEST_COMPLETE && r->kind != INK_REQUEST_CHAT;
}

bool ink_request_is_final(InkRequestState state)
{
    return transitions[state] == 0;
}

const char *ink_request_stage(InkRequestState state)
{
    return stages[state];
}
