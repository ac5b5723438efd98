/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who is calling. The first method call of a connection is parked while one asynchronous
 * GetConnectionCredentials runs; the answer is kept until the connection leaves the bus, which is
 * noticed by one match for each known caller (a match for all would wake the service for every
 * program of the user).
 *
 * Another user id is refused. For host programs `app_id` is attribution, not a boundary.
 * Owns: entries and parked messages. Errors: -E2BIG over a bound. Thread: the loop thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "engine/base/cleanup.h"
#include "ipc/service.h"

#define INK_CALLERS_MAX        1024u /* connections known at a time */
#define INK_CALLER_MAX_CALLS   64u   /* of one connection without an answer yet */
#define INK_CALLER_MAX_OBJECTS 64u   /* request objects of one connection */

typedef struct InkCallers InkCallers;

typedef struct InkCallerEntry {
    struct InkCallerEntry *next;
    InkCaller caller; /* points to the two below */
    char sender[64];
    char app_id[96];
    bool known, refused;
    size_t n_calls; /* kept messages */
    struct InkParkedCall *parked, **parked_end;
    sd_bus_slot *gone_match, *credentials_call;
    InkCallers *callers;
} InkCallerEntry;

/* Runs a call whose caller is known; as an sd-bus handler. */
typedef int InkCallerHandler(void *userdata, InkCallerEntry *who, sd_bus_message *m,
                             sd_bus_error *reterr);
/* `who` left the bus; it is freed when this returns. */
typedef void InkCallerGone(void *userdata, InkCallerEntry *who);

INK_MUST_CHECK int ink_callers_new(sd_bus *bus, InkCallerGone *gone, void *userdata,
                                   InkCallers **ret);
InkCallers *ink_callers_free(InkCallers *c);
INK_DEFINE_CLEANUP(InkCallers, ink_callers_free, ink_callers_free_p)

/* Runs `handler` now, or when the caller is known. Returns what an sd-bus handler returns. */
int ink_callers_dispatch(InkCallers *c, sd_bus_message *m, InkCallerHandler *handler,
                         sd_bus_error *reterr);
/* The entry of a sender; NULL when it is not (yet) known. */
InkCallerEntry *ink_callers_find(InkCallers *c, const char *sender);
