/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The one SQLite file of a person: what apps observed, what was suggested, what became of it.
 * Every acknowledged write is one committed transaction (WAL, synchronous=FULL); nothing is written
 * while memory is off, save the switch itself. Tables and the crash argument: schema.h.
 *
 * Scope: every read and write names the application it is for; rows of one never reach another.
 * Units: times are CLOCK_REALTIME microseconds.
 * Owns: the database and its prepared statements; results belong to the caller.
 * Errors: -EIO (message has the store's words: full, read-only, damaged, newer schema), -EINVAL
 * (names index and key), -ENOMSG (no such item), -EDQUOT, -ENOMEM.
 * Thread: one store, one thread (daemon/store-thread.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

#define INK_STORE_MAX_EVENTS         256u   /* of one observe */
#define INK_STORE_MAX_TEXT_BYTES     65536u /* of one event */
#define INK_STORE_MAX_URI_BYTES      4096u
#define INK_STORE_MAX_EVENTS_PER_DAY 10000u /* and application; above: -EDQUOT */
#define INK_STORE_MAX_CANDIDATES     256u
#define INK_STORE_MAX_LIMIT          100u
#define INK_STORE_ITEM_LIFETIME_USEC 3600000000u /* ids of suggestions */
#define INK_STORE_FUTURE_SLACK_USEC  60000000u   /* an event may be this far ahead */
#define INK_STORE_MERGE_USEC         1000000u    /* equal events closer than this are one */

typedef struct InkStore InkStore;

typedef enum InkEventKind {
    INK_EVENT_OPENED = 1, /* a uri */
    INK_EVENT_RAN,        /* a command line */
    INK_EVENT_ACCEPTED,   /* a text */
    INK_EVENT_FOCUSED,    /* an application */
    INK_EVENT_MAX,
} InkEventKind;

/* Strings are NUL-terminated UTF-8; NULL = not given. */
typedef struct InkEvent {
    InkEventKind kind;
    const char *uri;
    const char *text;
    const char *title;
    const char *app_id; /* what the event is about, not who reports it */
    uint64_t time_usec; /* 0 = now */
    bool train;
} InkEvent;

typedef enum InkSuggestKind { INK_SUGGEST_FILE = 1, INK_SUGGEST_COMMAND } InkSuggestKind;

typedef struct InkSuggestCandidate {
    const char *id; /* required, unique */
    const char *text;
    const char *uri;
} InkSuggestCandidate;

typedef struct InkSuggestQuery {
    InkSuggestKind kind;
    const char *scope;                     /* whose events: the caller's application id */
    const char *cwd;                       /* commands that ran there come first; NULL = none */
    const char *text_before;               /* file, command: only what contains this; NULL = all */
    const InkSuggestCandidate *candidates; /* join what the store knows */
    size_t n_candidates;
    uint64_t now_usec; /* 0 = the clock */
    size_t limit;
    bool explain;
} InkSuggestQuery;

typedef struct InkSuggestion {
    char *id;          /* for feedback; random, not guessable */
    char *candidate;   /* the caller's id; NULL when it was the store's own */
    char *text;        /* what to show: a command line, or the title or name of a file */
    char *uri;         /* NULL for commands */
    char *reason;      /* with explain: "opened 14 times, last 2 hours ago"; else NULL */
    double score;      /* 0..1, comparable within one reply */
    bool from_history; /* source "history", else "candidates" */
} InkSuggestion;

typedef struct InkSuggestions {
    InkSuggestion *items;
    size_t n;
    size_t considered;
} InkSuggestions;
#define INK_SUGGESTIONS_INIT ((InkSuggestions){0})
void ink_suggestions_done(InkSuggestions *s);

typedef enum InkFeedback {
    INK_FEEDBACK_SHOWN = 1,
    INK_FEEDBACK_ACCEPTED,
    INK_FEEDBACK_PARTIAL,
    INK_FEEDBACK_DISMISSED,
    INK_FEEDBACK_EDITED,
    INK_FEEDBACK_MAX,
} InkFeedback;

/* Opens or makes `directory`/inkling.db (0600 in a 0700 directory that belongs to the caller and is
 * no symbolic link). A newer schema and a damaged file are refused, never emptied. */
INK_MUST_CHECK int ink_store_open(const char *directory, InkStore **ret, InkError *reterr);
InkStore *ink_store_close(InkStore *s);
INK_DEFINE_CLEANUP(InkStore, ink_store_close, ink_store_close_p)

INK_MUST_CHECK int ink_store_memory_enabled(InkStore *s, bool *ret, InkError *reterr);
INK_MUST_CHECK int ink_store_set_memory_enabled(InkStore *s, bool enabled, InkError *reterr);

/* Stores the events of one call in one transaction, or none. `scope`: the reporting application.
 * `ret_accepted`: how many were stored (0 while memory is off; repeats are merged). `dry_run`
 * checks and counts only. */
INK_MUST_CHECK int ink_store_observe(InkStore *s, const char *scope, const InkEvent *events,
                                     size_t n, bool dry_run, size_t *ret_accepted,
                                     InkError *reterr);
/* `ret` must be INK_SUGGESTIONS_INIT. An empty list is a good answer. Reads only, so it answers
 * from what is stored also while memory is off. How it ranks: frecency.h. */
INK_MUST_CHECK int ink_store_suggest(InkStore *s, const InkSuggestQuery *query, InkSuggestions *ret,
                                     InkError *reterr);
/* `text`: for EDITED, kept only while memory is on; `accepted_chars`: for PARTIAL. -ENOMSG when the
 * id is unknown, older than an hour or of another scope. */
INK_MUST_CHECK int ink_store_feedback(InkStore *s, const char *scope, const char *item_id,
                                      InkFeedback outcome, uint64_t accepted_chars,
                                      const char *text, InkError *reterr);

typedef struct InkStoreCounts {
    uint64_t events, feedback, database_bytes, oldest_usec, newest_usec;
} InkStoreCounts;
INK_MUST_CHECK int ink_store_counts(InkStore *s, const char *scope, InkStoreCounts *ret,
                                    InkError *reterr);
