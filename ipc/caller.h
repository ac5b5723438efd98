/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who is calling. The first method call of a connection is parked while the bus is asked for its
 * credentials and the process behind it is looked at (ipc/identity.h); the answer is kept until the
 * connection leaves the bus, which is noticed by one match for each known caller (a match for all
 * would wake the service for every program of the user).
 *
 *     GetConnectionCredentials -> another user: refused
 *         ProcessFD: a pidfd that the kernel took at connect time: read, still alive: known
 *         else: pidfd_open, read, GetConnectionUnixProcessID twice: same, still alive: known
 *
 * A process that ended while it was looked at took its connection with it, so an answer is an error
 * and the pid, which another program may have by then, was not believed. Twice, because a bus may
 * answer from what it has read before it has seen that a connection is closed; a question that is
 * asked after that answer came meets a later turn of its loop (tests/ipc/test-pid-reuse.c). A bus
 * without ProcessFD does not tell when the connection itself outlives its process (a child has it):
 * such ones are refused when the process is gone, began after the call came, or holds no socket.
 *
 * Owns: entries and parked messages. Errors: -E2BIG over a bound. Thread: the loop thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "engine/base/cleanup.h"
#include "ipc/identity.h"
#include "ipc/service.h"

#define INK_CALLERS_MAX        1024u /* connections known at a time */
#define INK_CALLER_MAX_CALLS   64u   /* of one connection without an answer yet */
#define INK_CALLER_MAX_OBJECTS 64u   /* request objects of one connection */

typedef struct InkCallers InkCallers;

typedef struct InkCallerEntry {
    struct InkCallerEntry *next;
    InkCaller caller; /* points to the two below */
    char sender[64];
    InkIdentity identity;
    uint32_t pid;
    unsigned n_confirmed; /* answers that the name still has this pid */
    int pidfd;            /* while these are awaited, else -1 */
    uint64_t called_usec; /* since boot: the first call came */
    bool known;
    const char *refusal; /* why it may not call; NULL = it may */
    size_t n_calls;      /* kept messages */
    size_t kept_bytes;   /* of these */
    struct InkParkedCall *parked, **parked_end;
    sd_bus_slot *gone_match, *credentials_call, *pid_call;
    InkCallers *callers;
} InkCallerEntry;

/* Runs a call whose caller is known; as an sd-bus handler. */
typedef int InkCallerHandler(void *userdata, InkCallerEntry *who, sd_bus_message *m,
                             sd_bus_error *reterr);
/* `who` became known and may call, or left the bus; after the latter it is freed. */
typedef void InkCallerChange(void *userdata, InkCallerEntry *who);

INK_MUST_CHECK int ink_callers_new(sd_bus *bus, InkCallerChange *known, InkCallerChange *gone,
                                   void *userdata, InkCallers **ret);
InkCallers *ink_callers_free(InkCallers *c);
INK_DEFINE_CLEANUP(InkCallers, ink_callers_free, ink_callers_free_p)

/* Runs `handler` now, or when the caller is known. Returns what an sd-bus handler returns. */
int ink_callers_dispatch(InkCallers *c, sd_bus_message *m, InkCallerHandler *handler,
                         sd_bus_error *reterr);
/* Calls wait until it is known who makes them. */
bool ink_callers_any_parked(const InkCallers *c);
/* The entry of a sender; NULL when it is not (yet) known. */
InkCallerEntry *ink_callers_find(InkCallers *c, const char *sender);
