/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/personalize/store-test.h"

#include <sqlite3.h>

#include "personalize/schema.h"

#define APP "exe:test"

static void expect_open_fails(const Place *p, const char *words)
{
    InkStore *s = NULL;
    InkError error = {0};
    assert_int_equal(ink_store_open(p->directory, &s, &error), -EIO);
    assert_null(s);
    if (strstr(error.message, words) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", error.message, words);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ------------------------------------------------------------ files and opening */

static void test_store_makes_private_files(void **state)
{
    const Place *p = *state;
    static const char *const names[] = {"inkling.db", "inkling.db-wal", "inkling.db-shm",
                                        "inkling.lock"};
    mode_t before = umask(0);
    InkStore *s = open_enabled(p);
    umask(before);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", p->directory, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    ink_store_close(s);
}

static void test_store_makes_missing_directories(void **state)
{
    Place deep = *(Place *)*state;
    char middle[64];
    snprintf(middle, sizeof(middle), "%s", deep.directory);
    strcat(deep.directory, "/a/b");
    InkStore *s = open_store(&deep);
    ink_store_close(s);
    struct stat st;
    assert_int_equal(stat(deep.directory, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    remove_files(deep.directory);
    rmdir(deep.directory);
    strcat(middle, "/a");
    assert_int_equal(rmdir(middle), 0);
}

static void test_store_sets_pragmas(void **state)
{
    InkStore *s = open_store(*state);
    static const struct {
        const char *sql;
        int64_t expected;
    } rows[] = {
        {"PRAGMA synchronous", 2},
        {"PRAGMA secure_delete", 1},
        {"PRAGMA trusted_schema", 0},
        {"PRAGMA cell_size_check", 1},
        {"PRAGMA foreign_keys", 1},
        {"PRAGMA journal_size_limit", 4194304},
        {"PRAGMA busy_timeout", 2000},
        {"PRAGMA application_id", INK_SCHEMA_APPLICATION_ID},
        {"PRAGMA user_version", INK_SCHEMA_LATEST},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t value = -1;
        assert_int_equal(ink_store_read_number(s, rows[i].sql, &value, NULL), 0);
        assert_int_equal(value, rows[i].expected);
    }
    assert_int_equal(ink_store_expect_text(s, "PRAGMA journal_mode", "wal", NULL), 1);
    ink_store_close(s);
}

static void test_store_second_opener_is_refused(void **state)
{
    const Place *p = *state;
    InkStore *s = open_store(p);
    expect_open_fails(p, "another inkling service");
    ink_store_close(s);
    ink_store_close(open_store(p));
}

static void test_store_refuses_unsafe_directories(void **state)
{
    const Place *p = *state;
    Place link = *p;
    InkStore *s = NULL;
    InkError error = {0};
    assert_int_equal(chmod(p->directory, 0750), 0);
    expect_open_fails(p, "0700");
    assert_int_equal(chmod(p->directory, 0700), 0);
    strcat(link.directory, ".link");
    assert_int_equal(symlink(p->directory, link.directory), 0);
    expect_open_fails(&link, "symbolic link");
    unlink(link.directory);
    assert_int_equal(ink_store_open("relative", &s, &error), -EINVAL);
    if (geteuid() == 0) {
        assert_int_equal(chown(p->directory, 65534, 65534), 0);
        expect_open_fails(p, "belongs to user 65534");
        assert_int_equal(chown(p->directory, 0, 0), 0);
    }
}

static void test_store_refuses_what_is_no_plain_file(void **state)
{
    const Place *p = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char path[128], other[128];
        snprintf(path, sizeof(path), "%s%s", p->database, suffixes[i]);
        snprintf(other, sizeof(other), "%s/other", p->directory);
        assert_int_equal(symlink("/etc/passwd", path), 0);
        expect_open_fails(p, "refused");
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        expect_open_fails(p, "refused");
        unlink(path);
        write_whole(other, "", 0);
        assert_int_equal(link(other, path), 0);
        expect_open_fails(p, "hard links");
        unlink(path);
        unlink(other);
    }
    char lock[128];
    snprintf(lock, sizeof(lock), "%s/inkling.lock", p->directory);
    unlink(lock);
    assert_int_equal(symlink("/etc/passwd", lock), 0);
    expect_open_fails(p, "refused");
}

/* Bytes and time of the file before and after an attempt to open it. */
static void expect_untouched(const Place *p, const char *words)
{
    struct stat before, after;
    size_t n_before, n_after;
    char *was = read_whole(p->database, &n_before);
    assert_int_equal(stat(p->database, &before), 0);
    expect_open_fails(p, words);
    assert_int_equal(stat(p->database, &after), 0);
    char *is = read_whole(p->database, &n_after);
    assert_int_equal(n_after, n_before);
    assert_memory_equal(is, was, n_before);
    assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    free(was);
    free(is);
}

static void test_store_leaves_newer_schema_untouched(void **state)
{
    const Place *p = *state;
    ink_store_close(open_enabled(p));
    run_sql(p->database, "PRAGMA user_version=99");
    expect_untouched(p, "newer inkling");
}

/* The version is known only from the log: the file must not change through a checkpoint either. */
static void test_store_leaves_newer_schema_in_log_untouched(void **state)
{
    const Place *p = *state;
    ink_store_close(open_enabled(p));
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(p->database, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=7", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    expect_untouched(p, "schema 7");
}

static void test_store_leaves_foreign_files_untouched(void **state)
{
    const Place *p = *state;
    run_sql(p->database, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    expect_untouched(p, "not an inkling database");
    unlink(p->database);
    run_sql(p->database, "PRAGMA application_id=5; CREATE TABLE t(x)");
    expect_untouched(p, "not an inkling database");
    static const char text[] = "these are the notes of somebody, no database at all; leave them!";
    write_whole(p->database, text, sizeof(text));
    expect_untouched(p, "not an inkling database");
}

static void test_store_reports_damage(void **state)
{
    const Place *p = *state;
    InkStore *s = open_enabled(p);
    for (size_t i = 0; i < 200; i++) {
        char uri[64];
        snprintf(uri, sizeof(uri), "file:///home/somebody/documents/%zu.txt", i);
        observe_one(s, APP, opened(uri, NOON - i * HOUR), 1);
    }
    ink_store_close(s);
    size_t n;
    char *data = read_whole(p->database, &n);
    assert_true(n > 3 * 4096);
    for (size_t page = 1; page < n / 4096; page++) {
        char saved[64];
        memcpy(saved, data + page * 4096, sizeof(saved));
        memset(data + page * 4096, 0xa5, sizeof(saved));
        write_whole(p->database, data, n);
        expect_untouched(p, "damaged");
        memcpy(data + page * 4096, saved, sizeof(saved));
    }
    write_whole(p->database, data, n / 2); /* cut */
    expect_untouched(p, "damaged");
    write_whole(p->database, data, n);
    s = open_store(p);
    assert_int_equal(n_events(s, APP), 200);
    ink_store_close(s);
    free(data);
}

/* Random bytes anywhere: refused or answered, never worse. Seeded, so it repeats. */
static void test_store_survives_mutated_pages(void **state)
{
    const Place *p = *state;
    InkStore *s = open_enabled(p);
    for (size_t i = 0; i < 60; i++) {
        char text[64];
        snprintf(text, sizeof(text), "make target-%zu", i);
        observe_one(s, APP, ran(text, "/home/somebody", NOON - i * HOUR), 1);
    }
    ink_store_close(s);
    size_t n, n_runs = is_full_run() ? 1500 : 150, n_refused = 0;
    char *data = read_whole(p->database, &n), *copy = malloc(n);
    unsigned seed = 20260301;
    for (size_t i = 0; i < n_runs; i++) {
        memcpy(copy, data, n);
        for (int k = 0; k < 8; k++)
            copy[(size_t)rand_r(&seed) % n] = (char)rand_r(&seed);
        write_whole(p->database, copy, n);
        s = NULL;
        if (ink_store_open(p->directory, &s, NULL) < 0) {
            n_refused++;
            continue;
        }
        InkSuggestions list = INK_SUGGESTIONS_INIT;
        InkSuggestQuery q = {
            .kind = INK_SUGGEST_COMMAND, .scope = APP, .now_usec = NOON, .limit = 5};
        if (ink_store_suggest(s, &q, &list, NULL) == 0)
            ink_suggestions_done(&list);
        InkEvent e = ran("true", NULL, 0);
        size_t accepted;
        (void)!ink_store_observe(s, APP, &e, 1, false, &accepted, NULL);
        ink_store_close(s);
    }
    assert_true(n_refused > 0);
    free(data);
    free(copy);
}

static void test_store_opens_archived_version_1(void **state)
{
    const Place *p = *state;
    const char *source = getenv("INKLING_SOURCE_DIR");
    if (source == NULL)
        skip();
    char path[512];
    snprintf(path, sizeof(path), "%s/tests/personalize/data/v1.sql", source);
    size_t n;
    char *sql = read_whole(path, &n);
    assert_non_null(sql);
    sql[n] = '\0';
    run_sql(p->database, sql);
    free(sql);
    InkStore *s = open_store(p);
    bool enabled = false;
    assert_int_equal(ink_store_memory_enabled(s, &enabled, NULL), 0);
    assert_true(enabled);
    int64_t version = 0;
    assert_int_equal(ink_store_read_number(s, INK_SQL_USER_VERSION, &version, NULL), 0);
    assert_int_equal(version, INK_SCHEMA_LATEST);
    assert_int_equal(n_events(s, "exe:archive"), 4);
    InkSuggestQuery q = {
        .kind = INK_SUGGEST_FILE, .scope = "exe:archive", .now_usec = NOON, .limit = 5};
    InkSuggestions list = INK_SUGGESTIONS_INIT;
    assert_int_equal(ink_store_suggest(s, &q, &list, NULL), 0);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.items[0].uri, "file:///home/somebody/letter.odt");
    ink_suggestions_done(&list);
    ink_store_close(s);
}

/* --------------------------------------------------------------------- observe */

static void expect_refused(InkStore *s, InkEvent e, int code, const char *words)
{
    InkEvent events[3] = {opened("file:///first", 0), opened("file:///second", 0), e};
    InkError error = {0};
    size_t accepted = 77;
    assert_int_equal(ink_store_observe(s, APP, events, 3, false, &accepted, &error), -code);
    assert_int_equal(accepted, 77);
    if (strstr(error.message, words) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", error.message, words);
    assert_int_equal(n_events(s, APP), 0);
}

static void test_store_observe_names_what_is_wrong(void **state)
{
    InkStore *s = open_enabled(*state);
    char *long_text = malloc(INK_STORE_MAX_TEXT_BYTES + 2);
    memset(long_text, 'x', INK_STORE_MAX_TEXT_BYTES + 1);
    long_text[INK_STORE_MAX_TEXT_BYTES + 1] = '\0';
    const char *long_uri = long_text + INK_STORE_MAX_TEXT_BYTES - INK_STORE_MAX_URI_BYTES;
    expect_refused(s, (InkEvent){.kind = 0}, EINVAL, "events[2].kind");
    expect_refused(s, (InkEvent){.kind = INK_EVENT_MAX}, EINVAL, "events[2].kind");
    expect_refused(s, opened(NULL, 0), EINVAL, "events[2].uri is required");
    expect_refused(s, opened("", 0), EINVAL, "events[2].uri is required");
    expect_refused(s, ran(NULL, NULL, 0), EINVAL, "events[2].text is required");
    expect_refused(s, (InkEvent){.kind = INK_EVENT_ACCEPTED}, EINVAL, "events[2].text");
    expect_refused(s, (InkEvent){.kind = INK_EVENT_FOCUSED}, EINVAL, "events[2].app-id");
    expect_refused(s, opened("file:///\xff", 0), EINVAL, "events[2].uri is not valid UTF-8");
    expect_refused(s, opened(long_uri, 0), EINVAL, "events[2].uri is longer than 4096");
    expect_refused(s, ran(long_text, NULL, 0), EINVAL, "events[2].text is longer than 65536");
    expect_refused(s, opened("file:///a", NOON + 61 * SECOND), EINVAL, "events[2].time-usec");
    expect_refused(s, opened("file:///a", UINT64_MAX), EINVAL, "events[2].time-usec");
    InkError error = {0};
    size_t accepted;
    InkEvent *many = calloc(257, sizeof(*many));
    assert_int_equal(ink_store_observe(s, APP, many, 257, false, &accepted, &error), -E2BIG);
    assert_int_equal(ink_store_observe(s, "", many, 1, false, &accepted, &error), -EINVAL);
    assert_int_equal(ink_store_observe(s, APP, NULL, 0, false, &accepted, &error), 0);
    assert_int_equal(accepted, 0);
    /* at the limits */
    observe_one(s, APP, ran(long_text + 1, NULL, 0), 1);
    observe_one(s, APP, opened(long_uri + 1, NOON + 60 * SECOND), 1);
    free(many);
    free(long_text);
    ink_store_close(s);
}

static void test_store_observe_merges_repeats_within_a_second(void **state)
{
    InkStore *s = open_enabled(*state);
    InkEvent events[] = {
        opened("file:///a", NOON),          opened("file:///a", NOON - SECOND + 1),
        opened("file:///a", NOON - SECOND), opened("file:///b", NOON),
        ran("file:///a", NULL, NOON),       ran("file:///a", "", NOON),
    };
    size_t accepted = 0;
    assert_int_equal(ink_store_observe(s, APP, events, 6, false, &accepted, NULL), 0);
    assert_int_equal(accepted, 4);
    observe_one(s, APP, opened("file:///a", NOON + SECOND - 1), 0);
    observe_one(s, APP, opened("file:///a", NOON + SECOND), 1);
    observe_one(s, "exe:other", opened("file:///a", NOON), 1);
    assert_int_equal(n_events(s, APP), 5);
    ink_store_close(s);
}

static void test_store_observe_dry_run_stores_nothing(void **state)
{
    InkStore *s = open_enabled(*state);
    InkEvent events[] = {opened("file:///a", 0), opened("file:///a", 0), opened("file:///b", 0)};
    size_t accepted = 0;
    assert_int_equal(ink_store_observe(s, APP, events, 3, true, &accepted, NULL), 0);
    assert_int_equal(accepted, 2);
    assert_int_equal(n_events(s, APP), 0);
    ink_store_close(s);
}

static void test_store_observe_limits_a_day(void **state)
{
    InkStore *s = open_enabled(*state);
    InkEvent events[250];
    size_t accepted;
    InkError error = {0};
    for (size_t i = 0; i < 40; i++) {
        for (size_t k = 0; k < 250; k++) /* old times: the day of arrival counts */
            events[k] = opened("file:///a", NOON - (i * 250 + k + 1) * 2 * SECOND);
        assert_int_equal(ink_store_observe(s, APP, events, 250, false, &accepted, NULL), 0);
        assert_int_equal(accepted, 250);
    }
    InkEvent one = opened("file:///b", 0);
    assert_int_equal(ink_store_observe(s, APP, &one, 1, false, &accepted, &error), -EDQUOT);
    assert_non_null(strstr(error.message, "wait 43200 s"));
    assert_int_equal(n_events(s, APP), 10000);
    observe_one(s, "exe:other", one, 1);
    test_real += DAY / 2;
    observe_one(s, APP, one, 1);
    ink_store_close(s);
}

/* ---------------------------------------------------------------------- memory */

static void test_store_memory_is_off_at_first(void **state)
{
    const Place *p = *state;
    InkStore *s = open_store(p);
    bool enabled = true;
    assert_int_equal(ink_store_memory_enabled(s, &enabled, NULL), 0);
    assert_false(enabled);
    assert_int_equal(ink_store_set_memory_enabled(s, true, NULL), 0);
    ink_store_close(s);
    s = open_store(p);
    assert_int_equal(ink_store_memory_enabled(s, &enabled, NULL), 0);
    assert_true(enabled);
    ink_store_close(s);
}

static void test_store_writes_nothing_while_memory_is_off(void **state)
{
    const Place *p = *state;
    InkStore *s = open_enabled(p);
    observe_one(s, APP, opened("file:///before", 0), 1);
    assert_int_equal(ink_store_set_memory_enabled(s, false, NULL), 0);
    static const char *const suffixes[] = {"", "-wal"};
    char path[2][128], *was[2];
    size_t n_was[2];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path[i], sizeof(path[i]), "%s%s", p->database, suffixes[i]);
        was[i] = read_whole(path[i], &n_was[i]);
        assert_non_null(was[i]);
    }
    test_real += HOUR;
    observe_one(s, APP, opened("file:///while-off", 0), 0);
    InkSuggestQuery q = {.kind = INK_SUGGEST_FILE, .scope = APP, .limit = 5};
    InkSuggestions list = INK_SUGGESTIONS_INIT;
    assert_int_equal(ink_store_suggest(s, &q, &list, NULL), 0);
    assert_int_equal(list.n, 1); /* what was remembered before still serves */
    assert_int_equal(
        ink_store_feedback(s, APP, list.items[0].id, INK_FEEDBACK_ACCEPTED, 0, NULL, NULL), 0);
    ink_suggestions_done(&list);
    assert_int_equal(ink_store_set_memory_enabled(s, false, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        size_t n_is;
        char *is = read_whole(path[i], &n_is);
        assert_int_equal(n_is, n_was[i]);
        assert_memory_equal(is, was[i], n_is);
        free(is);
        free(was[i]);
    }
    InkStoreCounts c;
    assert_int_equal(ink_store_counts(s, APP, &c, NULL), 0);
    assert_int_equal(c.events, 1);
    assert_int_equal(c.feedback, 0);
    ink_store_close(s);
}

static void test_store_counts_by_scope(void **state)
{
    InkStore *s = open_enabled(*state);
    observe_one(s, APP, opened("file:///a", NOON - 5 * DAY), 1);
    observe_one(s, APP, opened("file:///a", NOON - DAY), 1);
    observe_one(s, "exe:other", opened("file:///a", NOON), 1);
    InkStoreCounts c;
    assert_int_equal(ink_store_counts(s, APP, &c, NULL), 0);
    assert_int_equal(c.events, 2);
    assert_int_equal(c.oldest_usec, NOON - 5 * DAY);
    assert_int_equal(c.newest_usec, NOON - DAY);
    assert_int_equal(ink_store_counts(s, NULL, &c, NULL), 0);
    assert_int_equal(c.events, 3);
    assert_int_equal(ink_store_counts(s, "exe:none", &c, NULL), 0);
    assert_int_equal(c.events, 0);
    assert_int_equal(c.oldest_usec, 0);
    assert_true(c.database_bytes >= 4096);
    ink_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_store_makes_private_files),
        store_test(test_store_makes_missing_directories),
        store_test(test_store_sets_pragmas),
        store_test(test_store_second_opener_is_refused),
        store_test(test_store_refuses_unsafe_directories),
        store_test(test_store_refuses_what_is_no_plain_file),
        store_test(test_store_leaves_newer_schema_untouched),
        store_test(test_store_leaves_newer_schema_in_log_untouched),
        store_test(test_store_leaves_foreign_files_untouched),
        store_test(test_store_reports_damage),
        store_test(test_store_survives_mutated_pages),
        store_test(test_store_opens_archived_version_1),
        store_test(test_store_observe_names_what_is_wrong),
        store_test(test_store_observe_merges_repeats_within_a_second),
        store_test(test_store_observe_dry_run_stores_nothing),
        store_test(test_store_observe_limits_a_day),
        store_test(test_store_memory_is_off_at_first),
        store_test(test_store_writes_nothing_while_memory_is_off),
        store_test(test_store_counts_by_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
