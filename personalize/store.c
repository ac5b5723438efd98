/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/store.h"

#include <limits.h>
#include <sqlite3.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "personalize/store-private.h"

/* A person's own tool may hold the file for a moment. */
#define BUSY_TIMEOUT_MSEC  2000
/* No value of ours is longer; a damaged length is refused before it is allocated. */
#define MAX_VALUE_BYTES    (5 << 20) /* a turn of a session may have 4 MiB */
/* Up to here (about 75 ms) the whole file is checked at each open, beyond it only after a crash.
 */
#define ALWAYS_CHECK_BYTES (32u << 20)

static const char *const sql_texts[INK_SQL_MAX] = {
#define SQL_TEXT(name, text) [INK_SQL_##name] = text,
    INK_SQL_LIST(SQL_TEXT)
#undef SQL_TEXT
};

/* ------------------------------------------------------------------ errors */

int ink_store_raise(InkStore *s, int rc, InkError *reterr)
{
    const char *words = sqlite3_errstr(rc);
    int system = s->db != NULL ? sqlite3_system_errno(s->db) : 0;
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return INK_RAISE(ENOMEM, reterr, "the store is out of memory");
    case SQLITE_FULL:
        return INK_RAISE(EIO, reterr, "the store cannot write: the disk is full (%s)", words);
    case SQLITE_READONLY:
        /* the file was moved aside or replaced: the next use looks at what is there now */
        s->must_reopen = s->must_reopen || rc == SQLITE_READONLY_DBMOVED;
        return INK_RAISE(EIO, reterr, "the store cannot write: read-only (%s)", words);
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM)
            return INK_RAISE(ENOMEM, reterr, "the store is out of memory");
        /* A write that failed was rolled back. After a failed sync nobody knows what reached the
         * disk, and the kernel says so only once: recover from the files instead. */
        s->must_reopen = s->must_reopen || rc != SQLITE_IOERR_WRITE;
        return INK_RAISE(EIO, reterr, "the store failed: I/O error (%s%s%s)", words,
                         system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        s->must_reopen = true;
        return INK_RAISE(EIO, reterr,
                         "inkling.db is damaged (%s); nothing was removed, move it aside to start "
                         "anew",
                         words);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return INK_RAISE(EIO, reterr, "the store is locked by another program (%s)", words);
    case SQLITE_CANTOPEN:
        s->must_reopen = true;
        return INK_RAISE(EIO, reterr, "the store cannot be opened (%s%s%s)", words,
                         system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
    default:
        return INK_RAISE(EIO, reterr, "the store failed (%s)", words);
    }
}

/* ------------------------------------------------------------- one statement */

InkRows ink_rows(InkStore *s, InkSql sql)
{
    return (InkRows){.s = s, .sql = sql, .rc = SQLITE_OK};
}

void ink_rows_done(InkRows *rows)
{
    sqlite3_stmt *statement = rows->s->statements[rows->sql];
    if (statement == NULL)
        return;
    sqlite3_reset(statement); /* repeats the error of the last step, which was reported */
    sqlite3_clear_bindings(statement);
}

static void bound(InkRows *rows, int rc)
{
    if (rows->rc == SQLITE_OK)
        rows->rc = rc;
}

void ink_rows_bind_i64(InkRows *rows, int n, int64_t value)
{
    bound(rows, sqlite3_bind_int64(rows->s->statements[rows->sql], n, value));
}

void ink_rows_bind_u64(InkRows *rows, int n, uint64_t value)
{
    ink_rows_bind_i64(rows, n, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

void ink_rows_bind_double(InkRows *rows, int n, double value)
{
    bound(rows, sqlite3_bind_double(rows->s->statements[rows->sql], n, value));
}

void ink_rows_bind_text(InkRows *rows, int n, const char *text)
{
    bound(rows, sqlite3_bind_text(rows->s->statements[rows->sql], n, text, -1, SQLITE_STATIC));
}

void ink_rows_bind_blob(InkRows *rows, int n, const void *data, size_t n_bytes)
{
    bound(rows,
          sqlite3_bind_blob(rows->s->statements[rows->sql], n, data, (int)n_bytes, SQLITE_STATIC));
}

int ink_rows_next(InkRows *rows, InkError *reterr)
{
    int rc = rows->rc;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(rows->s->statements[rows->sql]);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return ink_store_raise(rows->s, rc, reterr);
}

uint64_t ink_rows_u64(const InkRows *rows, int column)
{
    int64_t value = sqlite3_column_int64(rows->s->statements[rows->sql], column);
    return value > 0 ? (uint64_t)value : 0;
}

int64_t ink_rows_i64(const InkRows *rows, int column)
{
    return sqlite3_column_int64(rows->s->statements[rows->sql], column);
}

const void *ink_rows_blob(const InkRows *rows, int column, size_t n_bytes)
{
    sqlite3_stmt *statement = rows->s->statements[rows->sql];
    if (sqlite3_column_type(statement, column) != SQLITE_BLOB ||
        (size_t)sqlite3_column_bytes(statement, column) != n_bytes)
        return NULL;
    return sqlite3_column_blob(statement, column);
}

double ink_rows_double(const InkRows *rows, int column)
{
    return sqlite3_column_double(rows->s->statements[rows->sql], column);
}

const char *ink_rows_text(const InkRows *rows, int column)
{
    return (const char *)sqlite3_column_text(rows->s->statements[rows->sql], column);
}

/* ------------------------------------------- statements used while opening */

static void finalize_p(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

int ink_store_read_number(InkStore *s, const char *sql, int64_t *ret, InkError *reterr)
{
    _cleanup_(finalize_p) sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return ink_store_raise(s, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, reterr);
    *ret = sqlite3_column_int64(statement, 0);
    return 0;
}

int ink_store_expect_text(InkStore *s, const char *sql, const char *expected, InkError *reterr)
{
    _cleanup_(finalize_p) sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return ink_store_raise(s, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, reterr);
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    return text != NULL && strcmp(text, expected) == 0;
}

int ink_store_execute(InkStore *s, const char *sql, InkError *reterr)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : ink_store_raise(s, rc, reterr);
}

/* ------------------------------------------------------------ open and close */

static void close_database(InkStore *s)
{
    for (size_t i = 0; i < INK_SQL_MAX; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
    }
    /* What is not trusted must not be copied out of the log; the next open recovers from it. */
    if (s->db != NULL && s->must_reopen)
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(s->db);
    s->db = NULL;
    s->must_reopen = false;
}

static int configure(InkStore *s, InkError *reterr)
{
    static const struct {
        int option, value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        /* until the file is known to be ours, closing must not write */
        {SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int rc = sqlite3_db_config(s->db, options[i].option, options[i].value, NULL);
        if (rc != SQLITE_OK)
            return ink_store_raise(s, rc, reterr);
    }
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MSEC);
    return ink_store_execute(s, INK_SQL_PRAGMAS, reterr);
}

static int prepare_statements(InkStore *s, InkError *reterr)
{
    for (size_t i = 0; i < INK_SQL_MAX; i++) {
        int rc = sqlite3_prepare_v3(s->db, sql_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &s->statements[i], NULL);
        if (rc != SQLITE_OK) {
            /* our SQL is right, so a table or column that is missing means a damaged file */
            return ink_store_raise(s, rc == SQLITE_ERROR ? SQLITE_CORRUPT : rc, reterr);
        }
    }
    return 0;
}

static int read_memory_enabled(InkStore *s, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_GET_SETTING);
    ink_rows_bind_text(&rows, 1, "memory-enabled");
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    /* a missing row means off: nothing may be written without a clear yes */
    s->memory_enabled = r > 0 && ink_rows_u64(&rows, 0) == 1;
    return 0;
}

static int open_parts(InkStore *s, InkError *reterr)
{
    InkStoreFile file;
    INK_TRY(ink_store_check_file(s->directory, &file, reterr));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(s->path, &s->db, flags, NULL);
    if (rc != SQLITE_OK)
        return ink_store_raise(s, rc, reterr);
    INK_TRY(configure(s, reterr));
    if (!file.is_new && (file.is_unclean || file.size_bytes <= ALWAYS_CHECK_BYTES)) {
        int is_sound = ink_store_expect_text(s, INK_SQL_QUICK_CHECK, "ok", reterr);
        INK_TRY(is_sound);
        if (!is_sound)
            return ink_store_raise(s, SQLITE_CORRUPT, reterr);
    }
    INK_TRY(ink_store_migrate(s, reterr));
    INK_TRY(prepare_statements(s, reterr));
    INK_TRY(read_memory_enabled(s, reterr));
    rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return rc == SQLITE_OK ? 0 : ink_store_raise(s, rc, reterr);
}

static int open_database(InkStore *s, InkError *reterr)
{
    int r = open_parts(s, reterr);
    if (r < 0)
        close_database(s);
    return r;
}

int ink_store_ready(InkStore *s, InkError *reterr)
{
    if (s->must_reopen)
        close_database(s);
    return s->db != NULL ? 0 : open_database(s, reterr);
}

int ink_store_open(const char *directory, InkStore **ret, InkError *reterr)
{
    _cleanup_(ink_store_close_p) InkStore *s = ink_alloc_array(1, sizeof(*s));
    INK_CHECK(s != NULL, ENOMEM, reterr, "the store is out of memory");
    s->lock_fd = -1;
    s->real_usec = ink_clock_real_usec;
    s->monotonic_usec = ink_clock_monotonic_usec;
    s->directory = ink_memdup(directory, strlen(directory) + 1);
    s->issued = ink_alloc_array(INK_STORE_MAX_ISSUED, sizeof(*s->issued));
    _cleanup_buffer_ InkBuffer path = INK_BUFFER_INIT;
    ink_buffer_printf(&path, "%s/inkling.db", directory);
    s->path = ink_buffer_take(&path);
    INK_CHECK(s->directory != NULL && s->issued != NULL && s->path != NULL, ENOMEM, reterr,
              "the store is out of memory");
    INK_TRY(ink_store_lock_directory(directory, &s->lock_fd, reterr));
    INK_TRY(open_database(s, reterr));
    *ret = INK_TAKE(s);
    return 0;
}

InkStore *ink_store_close(InkStore *s)
{
    if (s == NULL)
        return NULL;
    close_database(s);
    ink_store_forget_issued(s);
    free(s->issued);
    free(s->path);
    free(s->directory);
    ink_close_p(&s->lock_fd); /* last: until here nobody else may open the files */
    free(s);
    return NULL;
}

/* -------------------------------------------------------------- transactions */

static int run_alone(InkStore *s, InkSql sql, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, sql);
    return ink_rows_next(&rows, reterr);
}

int ink_store_begin(InkStore *s, InkError *reterr)
{
    INK_TRY(ink_store_ready(s, reterr));
    return run_alone(s, INK_SQL_BEGIN, reterr);
}

int ink_store_commit(InkStore *s, InkError *reterr)
{
    return run_alone(s, INK_SQL_COMMIT, reterr);
}

void ink_store_rollback(InkStore *s)
{
    if (s->db == NULL || sqlite3_get_autocommit(s->db))
        return; /* SQLite rolls back by itself on some errors */
    if (s->statements[INK_SQL_ROLLBACK] == NULL) {
        sqlite3_exec(s->db, INK_SQL_ABANDON, NULL, NULL, NULL);
        return;
    }
    if (run_alone(s, INK_SQL_ROLLBACK, NULL) < 0)
        s->must_reopen = true;
}

/* ------------------------------------------------------- settings and counts */

int ink_store_memory_enabled(InkStore *s, bool *ret, InkError *reterr)
{
    INK_TRY(ink_store_ready(s, reterr));
    *ret = s->memory_enabled;
    return 0;
}

int ink_store_set_memory_enabled(InkStore *s, bool enabled, InkError *reterr)
{
    INK_TRY(ink_store_ready(s, reterr));
    if (s->memory_enabled == enabled)
        return 0; /* nothing to write */
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_SET_SETTING);
        ink_rows_bind_text(&rows, 1, "memory-enabled");
        ink_rows_bind_u64(&rows, 2, enabled ? 1 : 0);
        INK_TRY(ink_rows_next(&rows, reterr));
    }
    INK_TRY(ink_store_commit(s, reterr));
    s->memory_enabled = enabled;
    return 0;
}

static int count(InkStore *s, InkSql sql, const char *scope, uint64_t *ret_n,
                 uint64_t *ret_oldest_usec, uint64_t *ret_newest_usec, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, sql);
    if (scope != NULL)
        ink_rows_bind_text(&rows, 1, scope);
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    *ret_n = r > 0 ? ink_rows_u64(&rows, 0) : 0;
    if (ret_oldest_usec != NULL) {
        *ret_oldest_usec = r > 0 ? ink_rows_u64(&rows, 1) : 0;
        *ret_newest_usec = r > 0 ? ink_rows_u64(&rows, 2) : 0;
    }
    return 0;
}

int ink_store_counts(InkStore *s, const char *scope, InkStoreCounts *ret, InkError *reterr)
{
    InkStoreCounts c = {0};
    uint64_t n_pages, page_bytes;
    INK_TRY(ink_store_ready(s, reterr));
    INK_TRY(count(s, scope != NULL ? INK_SQL_COUNT_EVENTS : INK_SQL_COUNT_ALL_EVENTS, scope,
                  &c.events, &c.oldest_usec, &c.newest_usec, reterr));
    INK_TRY(count(s, scope != NULL ? INK_SQL_COUNT_FEEDBACK : INK_SQL_COUNT_ALL_FEEDBACK, scope,
                  &c.feedback, NULL, NULL, reterr));
    INK_TRY(count(s, INK_SQL_PAGE_COUNT, NULL, &n_pages, NULL, NULL, reterr));
    INK_TRY(count(s, INK_SQL_PAGE_SIZE, NULL, &page_bytes, NULL, NULL, reterr));
    c.database_bytes = n_pages * page_bytes;
    *ret = c;
    return 0;
}
