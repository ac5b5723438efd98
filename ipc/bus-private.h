/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the files of the bus side share: the bus object, calls that wait for an answer of the
 * service, small helpers for messages. Private to ipc/. Thread: the loop thread. */
#pragma once

#include "engine/base/buffer.h"
#include "ipc/bus-errors.h"
#include "ipc/bus.h"
#include "ipc/caller.h"
#include "ipc/names.h"
#include "ipc/options.h"

typedef struct InkRequestObject InkRequestObject;
typedef struct InkSessionObject InkSessionObject;
typedef struct InkCall InkCall;

#define INK_BUS_N_SLOTS 16u

struct InkBus {
    sd_bus *bus;
    sd_event *event;
    const InkServiceOps *ops;
    void *service;
    InkCallers *callers;
    InkRequestObject *requests; /* newest first */
    InkSessionObject *sessions; /* newest first */
    InkCall *calls;
    sd_bus_slot *slots[INK_BUS_N_SLOTS];
    size_t n_slots;
    bool stopping;
    size_t kept_bytes; /* of calls that wait */
    uint64_t last_call_usec, pipe_stall_usec;
    /* What PropertiesChanged told last. */
    char told_state[32], told_model[128];
    uint32_t told_window;
};

/* A vtable's handlers are this: it finds the method by name and runs it for a known caller that has
 * the permission; who has it not is refused before an argument is read. */
typedef struct InkBusMethod {
    const char *member;
    InkPermission permission; /* stands before `run`, so that no row forgets it */
    int (*run)(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr);
} InkBusMethod;

extern const InkBusMethod ink_manager_methods[], ink_model_methods[], ink_permission_methods[],
    ink_proof_methods[], ink_text_methods[], ink_recommendation_methods[];
extern const sd_bus_vtable ink_manager_vtable[], ink_text_vtable[], ink_recommendation_vtable[],
    ink_memory_vtable[];

/* sd_bus_message_handler_t of all methods of the root object; userdata is the InkBus. */
int ink_bus_on_method(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
/* Sees Properties.Set before the vtables do: see memory.c. */
int ink_memory_filter(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
/* -EACCES with words that name the permission and how it is given. */
INK_MUST_CHECK int ink_bus_check_permission(InkBus *b, const InkCallerEntry *who,
                                            InkPermission permission, InkError *reterr);
/* Of INK_PERMISSION_TEXT on, in order; NULL-terminated. */
extern const char *const ink_permission_words[];
/* Words of Manager.Features; NULL-terminated. */
extern const char *const ink_bus_features[];

/* Turns a failed sd-bus call while a reply is built into an error of ours. */
#define INK_BUS_TRY(expr, reterr)                                                                  \
    do {                                                                                           \
        int ink_bus_r_ = (expr);                                                                   \
        if (ink_bus_r_ < 0)                                                                        \
            return INK_RAISE(ink_bus_r_ == -ENOMEM ? ENOMEM : EPROTO, (reterr),                    \
                             "the answer could not be built");                                     \
    } while (0)

/* ------------------------------------------------------- calls that wait */

/* A method call that the service answers later. It outlives its caller and the bus: the callback
 * of the service ends it. */
struct InkCall {
    InkCall *next;
    InkBus *bus;         /* NULL after ink_bus_free() */
    InkCallerEntry *who; /* NULL when the caller left */
    sd_bus_message *m;
    size_t n_bytes; /* of m */
    bool flag;      /* for the method: see there */
};

INK_MUST_CHECK int ink_call_new(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkCall **ret,
                                InkError *reterr);
/* Takes it out of all lists and frees it. */
InkCall *ink_call_free(InkCall *c);
INK_DEFINE_CLEANUP(InkCall, ink_call_free, ink_call_free_p)
/* An InkDoneReply for a method without outputs: answers the call that `userdata` is. */
void ink_call_on_done(void *userdata, const InkError *error);
/* Counts a kept message of a caller that has no arguments; -E2BIG over the bound. */
INK_MUST_CHECK int ink_caller_add_call(InkCallerEntry *who, InkError *reterr);
/* The same for one that may be large; `ret_bytes` is for ink_caller_unkeep(). Rewinds it. */
INK_MUST_CHECK int ink_caller_keep(InkBus *b, InkCallerEntry *who, sd_bus_message *m,
                                   size_t *ret_bytes, InkError *reterr);
/* `who` NULL: it left, and its counts with it; `b` NULL: the bus ended. */
void ink_caller_unkeep(InkBus *b, InkCallerEntry *who, size_t n_bytes);

/* ---------------------------------------------------------------- requests */

/* The caller left, or the bus ends. */
void ink_requests_drop_owner(InkBus *b, InkCallerEntry *who);
void ink_requests_drop_all(InkBus *b);

/* -------------------------------------------------------------------- text */

/* Appends text of the service as D-Bus can carry it: bytes that are not UTF-8, and NUL, become
 * U+FFFD. */
void ink_bus_append_clean(InkBuffer *b, const char *text, size_t n_bytes);
