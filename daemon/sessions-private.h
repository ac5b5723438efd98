/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What sessions.c (table and life), session-edit.c (making and changing) and session-turn.c
 * (prompts) share. Thread: the loop thread. */
#pragma once

#include <glib.h>

#include "daemon/app-private.h"
#include "daemon/model-ops.h"
#include "daemon/sessions.h"
#include "daemon/transcript.h"

typedef struct InkTurnRun InkTurnRun;

typedef struct InkConversation {
    InkSessions *owner;
    uint64_t id;
    uint64_t stored_id; /* persistent: of the row */
    char *sender, *app_id, *name, *model;
    InkCallerKind kind;
    bool persistent;
    bool is_open; /* else its rows are still being read */
    bool storing; /* a change is on its way to the disk */
    uint32_t context_limit;
    InkOverflow overflow;
    InkPriority priority;
    InkTranscript transcript;
    uint64_t version;     /* of the transcript */
    uint32_t usage;       /* tokens of the last turn, prompt and answer */
    bool usage_is_exact;  /* else the sum of those turns that were counted */
    uint32_t base_tokens; /* of the transcript with its template, at `base_version` */
    uint64_t base_version;
    uint64_t used_usec;  /* monotonic */
    InkTurnRun *running; /* a prompt; NULL = none */
    InkTurnRun *prewarm;
} InkConversation;

struct InkSessions {
    InkApp *app;
    GHashTable *table; /* &id -> InkConversation, owned */
    uint64_t next_id;
    const InkSessionEvents *events;
    void *userdata;
    sd_event_source *idle;
};

/* sessions.c */
InkConversation *ink_sessions_find(InkSessions *s, uint64_t id); /* an open one; NULL = none */
INK_MUST_CHECK int ink_sessions_get(InkApp *app, uint64_t id, InkConversation **ret,
                                    InkError *reterr);
/* The same, and it is not busy. */
INK_MUST_CHECK int ink_sessions_get_quiet(InkApp *app, uint64_t id, InkConversation **ret,
                                          InkError *reterr);
INK_MUST_CHECK int ink_conversation_new(InkSessions *s, const InkCaller *caller,
                                        InkConversation **ret, InkError *reterr);
InkConversation *ink_conversation_free(InkConversation *session);
INK_DEFINE_CLEANUP(InkConversation, ink_conversation_free, ink_conversation_free_p)
/* Into the table; takes it. */
void ink_sessions_add(InkSessions *s, InkConversation *session);
/* Out of the table, without a word. */
void ink_sessions_drop(InkSessions *s, uint64_t id);
/* Its transcript is another one: counts that hung on it are void. */
void ink_conversation_changed(InkConversation *session);
void ink_conversation_used(InkConversation *session);
/* Of the file of that name; NULL = not known. */
const InkModelFacts *ink_sessions_model_facts(const InkApp *app, const char *name);
/* Room for so many bytes more of this program, and of all together? */
INK_MUST_CHECK int ink_sessions_check_room(const InkSessions *s, const char *app_id,
                                           InkCallerKind kind, size_t n_more_bytes,
                                           InkError *reterr);
/* Transcript, then `text` as the user's words (NULL = none): borrowed, to be freed. */
INK_MUST_CHECK int ink_conversation_messages(const InkConversation *session, const char *text,
                                             size_t n_text_bytes, InkChatMessage **ret,
                                             size_t *ret_n, InkError *reterr);

/* session-turn.c: cancels a prompt or prewarm; NULL, and one that waits for the disk, are fine. */
void ink_turn_cancel(InkApp *app, const InkTurnRun *run, InkCancelReason reason);
