/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Session objects: the face of the service's sessions on the bus, one path each. They hold no text;
 * what a session is, the service knows (ipc/service.h).
 *
 * An object is made hidden, so that its path is taken, and shown when the service has answered. It
 * goes when the service says `closed`, which every end leads to; the owner's leaving closes it.
 * Owns: paths. Thread: the loop thread. */
#pragma once

#include "ipc/bus-private.h"

/* Fallback vtable and node enumerator under INK_BUS_SESSIONS; listens to the service. */
INK_MUST_CHECK int ink_bus_sessions_init(InkBus *b);
/* The caller left, or the bus ends: its sessions are closed. */
void ink_bus_sessions_drop_owner(InkBus *b, InkCallerEntry *who);
void ink_bus_sessions_drop_all(InkBus *b);

/* Method Manager.CreateSession, ListSessions. */
int ink_bus_on_create_session(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr);
int ink_bus_on_list_sessions(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr);

/* The session of this path if it is the caller's; -ENXIO. */
INK_MUST_CHECK int ink_bus_session_id(InkBus *b, const InkCallerEntry *who, const char *path,
                                      uint64_t *ret_id, InkError *reterr);
