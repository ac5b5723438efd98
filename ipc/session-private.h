/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What session-object.c (life) and session-bus.c (methods and properties) share.
 * Thread: the loop thread. */
#pragma once

#include "ipc/session-object.h"

struct InkSessionObject {
    InkSessionObject *next;
    InkBus *bus;           /* NULL after ink_bus_free() */
    InkCallerEntry *owner; /* NULL when the owner left before the answer */
    char *path;
    uint64_t id;   /* 0 = hidden: the service has not answered yet */
    InkCall *call; /* that waits for it */
};

/* The object of this path, if it belongs to `sender`. */
InkSessionObject *ink_bus_session_find(InkBus *b, const char *path, const char *sender);
/* Makes a hidden object and starts `create`, whose reply shows it. */
INK_MUST_CHECK int ink_bus_session_new(InkBus *b, InkCallerEntry *who, sd_bus_message *m,
                                       const char *token, InkSessionObject **ret, InkError *reterr);
InkSessionObject *ink_bus_session_free(InkSessionObject *o);
INK_DEFINE_CLEANUP(InkSessionObject, ink_bus_session_free, ink_bus_session_free_p)
/* An InkSessionReply; `userdata` is the hidden object. */
void ink_bus_session_made(void *userdata, const InkError *error, uint64_t id);

extern const sd_bus_vtable ink_bus_session_vtable[];
