/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the files of the store share. store.c alone speaks to SQLite; the others go through InkRows,
 * one use of one prepared statement:
 *
 *     _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_GET_ITEM);
 *     ink_rows_bind_text(&rows, 1, scope);
 *     while ((r = ink_rows_next(&rows, reterr)) > 0)
 *         ... ink_rows_text(&rows, 0) ...
 *
 * Owns: InkRows resets its statement when it leaves the scope; bound text must live that long.
 * Errors: -EIO and -ENOMEM as store.h. Thread: that of the store. */
#pragma once

#include "personalize/sql.h"
#include "personalize/store.h"

/* A longer command or uri is kept as an event, but nobody wants it proposed. */
#define INK_STORE_MAX_KEY_BYTES   INK_STORE_MAX_URI_BYTES
#define INK_STORE_MAX_SCOPE_BYTES 256u

/* Suggestions that were handed out, for feedback: at most this many, and this much of their text;
 * the oldest go first. 100 of each of 40 replies: more than one person sees in an hour. */
#define INK_STORE_MAX_ISSUED       4096u
#define INK_STORE_MAX_ISSUED_BYTES (4u << 20)
#define INK_STORE_ID_CHARS         32u /* 128 random bits */

typedef struct InkIssued {
    char id[INK_STORE_ID_CHARS + 1];
    char *scope, *key;
    char *place;          /* "" = ranked by all its uses */
    uint64_t issued_usec; /* monotonic */
    size_t n_bytes;
    InkSuggestKind kind;
    unsigned outcomes; /* bits of InkFeedback that came already */
} InkIssued;

struct InkStore {
    struct sqlite3 *db; /* NULL: to be opened again before the next use */
    struct sqlite3_stmt *statements[INK_SQL_MAX];
    char *directory;
    char *path;
    int lock_fd;
    bool memory_enabled;
    bool must_reopen;  /* the connection met an error after which it is not trusted */
    InkIssued *issued; /* a ring of INK_STORE_MAX_ISSUED */
    size_t issued_first, n_issued, issued_bytes;
    /* Clocks, so that a test can turn them. */
    uint64_t (*real_usec)(void);
    uint64_t (*monotonic_usec)(void);
};

typedef struct InkRows {
    InkStore *s;
    InkSql sql;
    int rc; /* first failure of a bind, SQLite's code */
} InkRows;

InkRows ink_rows(InkStore *s, InkSql sql);
void ink_rows_done(InkRows *rows);
#define _cleanup_rows_ _cleanup_(ink_rows_done)
void ink_rows_bind_u64(InkRows *rows, int n, uint64_t value); /* <= INT64_MAX */
void ink_rows_bind_i64(InkRows *rows, int n, int64_t value);
void ink_rows_bind_double(InkRows *rows, int n, double value);
void ink_rows_bind_text(InkRows *rows, int n, const char *text); /* borrowed; NULL = NULL */
void ink_rows_bind_blob(InkRows *rows, int n, const void *data, size_t n_bytes); /* borrowed */
/* 1 = a row, 0 = no more. */
INK_MUST_CHECK int ink_rows_next(InkRows *rows, InkError *reterr);
uint64_t ink_rows_u64(const InkRows *rows, int column); /* negative and NULL read as 0 */
int64_t ink_rows_i64(const InkRows *rows, int column);
double ink_rows_double(const InkRows *rows, int column);
const char *ink_rows_text(const InkRows *rows, int column); /* until next; NULL for NULL */
/* NULL unless it is a blob of exactly n bytes. */
const void *ink_rows_blob(const InkRows *rows, int column, size_t n_bytes);

/* Opens the database again when the last error asked for it. First in each public operation. */
INK_MUST_CHECK int ink_store_ready(InkStore *s, InkError *reterr);
/* One transaction: ready, begin ... commit; rollback is harmless without one. */
INK_MUST_CHECK int ink_store_begin(InkStore *s, InkError *reterr);
INK_MUST_CHECK int ink_store_commit(InkStore *s, InkError *reterr);
void ink_store_rollback(InkStore *s);
/* For _cleanup_ on a local copy of the pointer: rolls back what was not committed. */
static inline void ink_store_rollback_p(InkStore **s)
{
    if (*s != NULL)
        ink_store_rollback(*s);
}

/* SQLite's result code in our words. */
int ink_store_raise(InkStore *s, int rc, InkError *reterr);
/* Reads one number of a pragma or count that is not prepared. */
INK_MUST_CHECK int ink_store_read_number(InkStore *s, const char *sql, int64_t *ret,
                                         InkError *reterr);
/* 1 when the first column of the first row is `expected`, 0 when not. */
INK_MUST_CHECK int ink_store_expect_text(InkStore *s, const char *sql, const char *expected,
                                         InkError *reterr);
INK_MUST_CHECK int ink_store_execute(InkStore *s, const char *sql, InkError *reterr);

/* migrate.c: brings the open file to INK_SCHEMA_LATEST; refuses foreign and newer ones. */
INK_MUST_CHECK int ink_store_migrate(InkStore *s, InkError *reterr);
/* The same judged from the first bytes of the file, before SQLite may touch it. */
INK_MUST_CHECK int ink_store_check_header(const unsigned char *header, size_t n_bytes,
                                          InkError *reterr);
#define INK_STORE_HEADER_BYTES 100u

/* directory.c: makes and checks the directory, takes its lock, makes the file. */
INK_MUST_CHECK int ink_store_lock_directory(const char *directory, int *ret_lock_fd,
                                            InkError *reterr);
typedef struct InkStoreFile {
    bool is_new;     /* no bytes yet */
    bool is_unclean; /* a log was left behind: the last process did not close it */
    uint64_t size_bytes;
} InkStoreFile;
INK_MUST_CHECK int ink_store_check_file(const char *directory, InkStoreFile *ret, InkError *reterr);

/* events.c */
INK_MUST_CHECK int ink_store_check_text(const char *what, const char *text, size_t max_bytes,
                                        InkError *reterr);
INK_MUST_CHECK int ink_store_check_scope(const char *scope, InkError *reterr);
typedef struct InkItemChange {
    const char *scope, *place, *key;
    const char *title; /* NULL = as it was */
    InkSuggestKind kind;
    uint64_t time_usec;
    double weight; /* uses to add; 0 = none */
    double factor; /* for what it had before; 1 = unchanged */
    bool is_use;   /* an event: counts in n_uses and last_usec */
} InkItemChange;
/* Changes the row of items; makes it when weight > 0. Inside a transaction. */
INK_MUST_CHECK int ink_store_change_item(InkStore *s, const InkItemChange *change,
                                         InkError *reterr);
uint64_t ink_store_hash(uint64_t seed, const char *text);
#define INK_STORE_HASH_SEED UINT64_C(14695981039346656037)

/* feedback.c */
INK_MUST_CHECK int ink_store_issue(InkStore *s, const char *scope, InkSuggestKind kind,
                                   const char *place, const char *key, char **ret_id,
                                   InkError *reterr);
void ink_store_forget_issued(InkStore *s);
