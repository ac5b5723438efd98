/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The service's side of the bus: objects, requests and their owners, the well-known name.
 *
 * A request object belongs to the unique name that made it: others get UnknownObject, and its
 * disconnect cancels all it has (InkServiceOps.cancel with INK_CANCEL_GONE).
 * Owns: slots and request objects; borrows bus, event loop and ops.
 * Errors: negative errno of sd-bus; -EEXIST when the name is taken. Thread: the loop thread. */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "engine/base/cleanup.h"
#include "ipc/service.h"

typedef struct InkBus InkBus;

/* Adds all vtables; call before ink_bus_claim_name(). */
INK_MUST_CHECK int ink_bus_new(sd_bus *bus, sd_event *event, const InkServiceOps *ops,
                               void *service, InkBus **ret, InkError *reterr);
InkBus *ink_bus_free(InkBus *b);
INK_DEFINE_CLEANUP(InkBus, ink_bus_free, ink_bus_free_p)
INK_MUST_CHECK int ink_bus_claim_name(InkBus *b, InkError *reterr);

/* After a change of state, model, window or the memory switch: PropertiesChanged. */
void ink_bus_state_changed(InkBus *b);
void ink_bus_memory_enabled_changed(InkBus *b);
/* Refuses new work with ShuttingDown from here on. */
void ink_bus_stop_accepting(InkBus *b);
/* Request objects that have not ended. */
size_t ink_bus_n_active(const InkBus *b);

/* Nobody waits for an answer, and no request object is there, ended ones included. */
bool ink_bus_is_quiet(const InkBus *b);
/* When the last method call came, monotonic; 0 = none yet. Counts every member, also those that
 * are answered before anybody of ours sees them. */
uint64_t ink_bus_last_call_usec(const InkBus *b);
/* Messages that are here and were not looked at. */
uint64_t ink_bus_n_unread(const InkBus *b);
/* What the bus sent before it answered is in the queue when this returns. */
INK_MUST_CHECK int ink_bus_release_name(InkBus *b, InkError *reterr);
/* Instead of INK_REQUEST_PIPE_STALL_USEC; for tests. */
void ink_bus_set_pipe_stall(InkBus *b, uint64_t span_usec);
