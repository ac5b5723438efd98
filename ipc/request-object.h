/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Request objects: one task of one caller, its text on the way to the caller, and what is left of
 * it for a while after its end.
 *
 *     starting --reply--> running --finished()--> ended --linger--> freed
 *
 * While `starting` the service may already call back; what it tells waits until the method reply
 * is sent, so that the order is reply, Progress and Delta, Finished. An object is freed from the
 * loop only, never inside one of its own handlers. An owner that leaves ends it at once: the object
 * then is an orphan that nobody sees, until the service says finished.
 *
 * Owns: text, kept messages, pipe, timers. Thread: the loop thread. */
#pragma once

#include "ipc/bus-private.h"

typedef enum InkDelivery {
    INK_DELIVERY_REPLY,   /* the method call waits for the whole text */
    INK_DELIVERY_SIGNALS, /* Start, Load */
    INK_DELIVERY_PIPE,    /* StartPipe */
} InkDelivery;

/* Fallback vtable and node enumerator under INK_BUS_REQUESTS. */
INK_MUST_CHECK int ink_requests_add(InkBus *b);

/* Starts the task and answers `m` (REPLY: when it ends). */
INK_MUST_CHECK int ink_request_start(InkBus *b, InkCallerEntry *who, sd_bus_message *m,
                                     const InkTaskOptions *options, InkDelivery delivery,
                                     InkError *reterr);

/* A method call that waits for the text: with the deadline that all have. */
INK_MUST_CHECK int ink_request_start_blocking(InkBus *b, InkCallerEntry *who, sd_bus_message *m,
                                              InkTaskOptions *options, InkError *reterr);

/* Appends an aa{sv} of the caller's own requests; of all, for who manages. No text. */
INK_MUST_CHECK int ink_requests_append_list(InkBus *b, InkCallerEntry *who, sd_bus_message *reply);
