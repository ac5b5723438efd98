/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What request-object.c (life and delivery), request-bus.c (its face on the bus) and
 * request-result.c (the words of its end) share. Thread: the loop thread. */
#pragma once

#include "ipc/request-object.h"
#include "ipc/request-pipe.h"

struct InkRequestObject {
    InkRequestObject *next;
    InkBus *bus;           /* NULL after ink_bus_free() */
    InkCallerEntry *owner; /* NULL when the owner left */
    char *path;
    InkTaskKind kind;
    InkDelivery delivery;
    InkPriority priority;
    uint64_t task_id; /* 0 until started */
    uint64_t created_usec;

    bool starting; /* the method reply is not sent: hold everything back */
    bool ended;    /* the service said finished */
    bool told;     /* Finished is out; the object lingers */
    bool gone;     /* lingered: no more on the bus, a pipe may still drain */
    bool wants_delta;

    uint64_t coalesce_usec, linger_usec, last_delta_usec;
    InkBuffer text;        /* all of it; with a pipe and no Delta: nothing */
    uint64_t n_text_bytes; /* told by the service so far, cleaned */
    size_t n_delta_bytes;  /* of `text`, sent as Delta */
    char held_stage[24];   /* Progress told while starting */
    double held_fraction;
    sd_event_source *delta_timer, *linger_timer;

    sd_bus_message *call; /* REPLY: kept */
    size_t call_bytes;
    sd_bus_message **waits;
    size_t n_waits;
    InkRequestPipe *pipe;

    InkTaskResult result; /* of an ended one; strings are the two below */
    char model[128], kernels[16];
};

/* ------------------------------------------------------------ request-result.c */

const char *ink_request_kind_word(InkTaskKind kind);
/* "" for none. */
const char *ink_request_reason_word(InkFinishReason reason);
/* Bus name of what went wrong; NULL for success and cancelled. */
const char *ink_request_error_name(const InkRequestObject *r);
/* Appends an a{sv}: `with_outcome` adds text and error, as Finished and Wait have them. */
INK_MUST_CHECK int ink_request_append_results(const InkRequestObject *r, sd_bus_message *m,
                                              bool with_outcome);
/* {"finished":{...}} */
void ink_request_json_results(const InkRequestObject *r, InkBuffer *out);

/* --------------------------------------------------------------- request-bus.c */

void ink_request_emit_progress(InkRequestObject *r, const char *stage, double fraction);
void ink_request_emit_delta(InkRequestObject *r, size_t offset_bytes, const char *text);
void ink_request_emit_finished(InkRequestObject *r);
int ink_request_reply_wait(InkRequestObject *r, sd_bus_message *m);

/* The object of this path, if it belongs to `sender`. */
InkRequestObject *ink_request_find(InkBus *b, const char *path, const char *sender);

/* ------------------------------------------------------------ request-object.c */

void ink_request_cancel(InkRequestObject *r, InkCancelReason reason);
