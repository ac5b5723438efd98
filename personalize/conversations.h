/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Persistent sessions: conversations that outlive the service, by application and name. Turns are
 * appended in one transaction, so that a question never stands there without its answer.
 *
 * Scope: every call names the application; a name of another one is not there.
 * Owns: results are borrowed for the callback. Errors: as personalize/store.h; -ENOMSG (no such
 * name), -EDQUOT (too many). Thread: that of the store. */
#pragma once

#include "personalize/store.h"

#define INK_STORE_MAX_SESSION_NAME_BYTES 128u
#define INK_STORE_MAX_SESSIONS           1000u      /* of one application */
#define INK_STORE_MAX_CONVERSATION_BYTES (4u << 20) /* text of one session */
#define INK_STORE_MAX_CONVERSATION_TURNS 1024u

typedef enum InkStoredRole {
    INK_ROLE_SYSTEM = 1,
    INK_ROLE_USER,
    INK_ROLE_ASSISTANT,
    INK_ROLE_TOOL,
    INK_ROLE_MAX,
} InkStoredRole;

typedef struct InkStoredTurn {
    InkStoredRole role;
    const char *text;
    uint32_t tokens;    /* 0 = not counted */
    uint64_t time_usec; /* 0 = now */
} InkStoredTurn;

typedef struct InkStoredSession {
    uint64_t id;
    uint64_t created_usec, used_usec;
    uint32_t context_limit, overflow, priority;
} InkStoredSession;

/* Finds the session; -ENOMSG. */
INK_MUST_CHECK int ink_store_find_session(InkStore *s, const char *app, const char *name,
                                          InkStoredSession *ret, InkError *reterr);
/* Makes it with its first turns, in one transaction. */
INK_MUST_CHECK int ink_store_new_session(InkStore *s, const char *app, const char *name,
                                         const InkStoredSession *options,
                                         const InkStoredTurn *turns, size_t n, uint64_t *ret_id,
                                         InkError *reterr);
/* Calls `each` for every turn in order; a negative return of it ends the walk with that. */
INK_MUST_CHECK int ink_store_list_turns(InkStore *s, uint64_t session,
                                        int (*each)(void *userdata, const InkStoredTurn *turn),
                                        void *userdata, InkError *reterr);
/* `first`: how many turns the caller knows of. What stands behind them is dropped: it was left by a
 * call whose failure came after its transaction had reached the disk. */
INK_MUST_CHECK int ink_store_append_turns(InkStore *s, uint64_t session, size_t first,
                                          const InkStoredTurn *turns, size_t n, InkError *reterr);
/* Drops every turn from number `n_kept` on. */
INK_MUST_CHECK int ink_store_rewind_session(InkStore *s, uint64_t session, size_t n_kept,
                                            InkError *reterr);
/* With all its turns; no row is no error. */
INK_MUST_CHECK int ink_store_remove_session(InkStore *s, uint64_t session, InkError *reterr);
