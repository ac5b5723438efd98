/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One task of one caller, from the door to its result: a text to generate, a model to load, tokens
 * to count. Its bulk (prompt, messages, stops) waits in a sealed memfd that the worker maps.
 *
 *   QUEUED -> LOADING -> PREFILL -> DECODE -> FINISHED   (each not final -> FAILED | CANCELLED)
 *                           PREFILL | DECODE -> RESTARTING -> PREFILL   (the worker died, once)
 *
 * A LOAD goes from QUEUED or LOADING to FINISHED; what was LOADING is QUEUED again when the model
 * is there and others go first.
 * Owns: everything in it. Errors: none. Thread: the loop thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/worker/wire.h"
#include "ipc/service.h"

typedef enum InkRequestState {
    INK_REQUEST_QUEUED,
    INK_REQUEST_LOADING,    /* still in the queue, and its model is on the way */
    INK_REQUEST_PREFILL,    /* in the worker */
    INK_REQUEST_DECODE,     /* in the worker, tokens come */
    INK_REQUEST_RESTARTING, /* its worker died; runs again, alone */
    INK_REQUEST_FINISHED,
    INK_REQUEST_FAILED,
    INK_REQUEST_CANCELLED,
    INK_REQUEST_STATE_MAX,
} InkRequestState;

typedef enum InkRequestKind {
    INK_REQUEST_COMPLETE,
    INK_REQUEST_CHAT,
    INK_REQUEST_LOAD,
    INK_REQUEST_TOKENIZE,
    INK_REQUEST_DETOKENIZE,
    INK_REQUEST_PROBE, /* the worker proves that it cannot reach a network */
} InkRequestKind;

typedef struct InkRequest {
    uint64_t id;           /* of the door; never reused */
    uint64_t order;        /* of arrival */
    uint64_t wire_id;      /* in the worker; 0 = not there */
    InkRequestState state; /* ink_request_move() alone writes it */
    InkRequestKind kind;
    InkPriority priority;
    char *app_id, *sender, *model; /* model: name in the catalogue */
    bool is_sandboxed;             /* half of each limit */
    char *supersede_key;           /* NULL = none */
    /* Told of each change, after it; NULL = nobody. */
    void (*observer)(struct InkRequest *r, InkRequestState before, void *userdata);
    void *observer_userdata;

    int bulk_fd; /* -1 = none */
    size_t bulk_bytes;
    size_t n_input_strings; /* at the head of the bulk; stops follow */
    union {                 /* ready but for ids, credit and scope; by kind */
        InkWireGenerate generate;
        InkWireTokenize tokenize;
        InkWireDetokenize detokenize;
        InkWireHeader probe;
    } wire;
    uint64_t hold_usec; /* LOAD */

    InkTaskSink sink;      /* COMPLETE, CHAT, LOAD */
    uint64_t credit_bytes; /* granted by the reader so far */
    uint64_t sent_bytes;   /* of text handed to the sink */
    InkTokensReply *tokens_reply;
    InkTextReply *text_reply;
    void *reply_userdata;
    /* Text of a deferred sink, of DETOKENIZE and PROBE; ids of TOKENIZE. */
    InkBuffer collected;

    sd_event_source *deadline;
    bool cancelling; /* CANCEL is on its way to the worker */
    InkCancelReason cancel_reason;
    uint32_t retries;
    uint64_t queued_usec;     /* when it came, monotonic */
    uint64_t sent_usec;       /* when it went to the worker first; 0 = not yet */
    uint64_t started_usec;    /* of admission.c: when it took a place in the worker */
    InkPriority booked_class; /* whose account it is booked on */
    uint64_t engine_usec;     /* what the worker said that it cost; 0 = nothing said */
    uint64_t load_usec;       /* of its waiting time, spent on loading */
} InkRequest;

/* NULL when memory is short. */
InkRequest *ink_request_new(InkRequestKind kind, const InkCaller *caller);
InkRequest *ink_request_free(InkRequest *r);
INK_DEFINE_CLEANUP(InkRequest, ink_request_free, ink_request_free_p)

bool ink_request_can_move(InkRequestState from, InkRequestState to);
/* False, and nothing changes, when the table has no such transition. */
bool ink_request_move(InkRequest *r, InkRequestState to);

/* No text or answer has left the broker, so that it may run once more. */
bool ink_request_is_untouched(const InkRequest *r);
/* Answered between two steps of the worker; needs no place in the batch. */
bool ink_request_is_short(const InkRequest *r);
bool ink_request_is_final(InkRequestState state);
/* The stage of Progress and the state of lists. */
const char *ink_request_stage(InkRequestState state);
