/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/personalize/store-test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/fault/fault-vfs.h"

#define APP        "exe:test"
#define MAX_EVENTS 4096

/* What the store said it had stored, by number of the event. */
typedef struct Acks {
    bool tried[MAX_EVENTS], acked[MAX_EVENTS];
} Acks;

static Acks acks;

static int observe_numbers(InkStore *s, size_t first, size_t n, InkError *reterr)
{
    InkEvent events[8];
    char texts[8][32];
    assert_true(n <= 8 && first + n <= MAX_EVENTS);
    for (size_t i = 0; i < n; i++) {
        snprintf(texts[i], sizeof(texts[i]), "command %zu", first + i);
        events[i] = ran(texts[i], "/src", NOON - (first + i) * 2 * SECOND);
        acks.tried[first + i] = true;
    }
    size_t accepted = 1000;
    int r = ink_store_observe(s, APP, events, n, false, &accepted, reterr);
    if (r < 0) {
        assert_true(r == -EIO || r == -ENOMEM);
        assert_int_equal(accepted, 1000);
        return r;
    }
    /* while memory is off (a fault hit the switch) success means that nothing is kept; else a
     * repeat of one that was thought lost is merged */
    for (size_t i = 0; i < n && s->memory_enabled; i++)
        acks.acked[first + i] = true;
    return 0;
}

static sqlite3_int64 number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    sqlite3_int64 value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* Sound, all that was acknowledged, nothing that was not tried, nothing by half. */
static void check_database(const Place *p)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    bool present[MAX_EVENTS] = {false};
    assert_int_equal(sqlite3_open(p->database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT text FROM events", -1, &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        long n = strtol(text + strlen("command "), NULL, 10);
        assert_in_range(n, 0, MAX_EVENTS - 1);
        assert_true(acks.tried[n]);
        assert_false(present[n]);
        present[n] = true;
    }
    sqlite3_finalize(statement);
    for (size_t i = 0; i < MAX_EVENTS; i++)
        if (acks.acked[i] && !present[i])
            fail_msg("acknowledged event %zu is lost", i);
    /* events, their items and the count of the day change together */
    sqlite3_int64 n = number(db, "SELECT count(*) FROM events");
    assert_int_equal(number(db, "SELECT coalesce(sum(n_uses), 0) FROM items WHERE place = ''"), n);
    assert_int_equal(number(db, "SELECT coalesce(sum(n_uses), 0) FROM items WHERE place <> ''"), n);
    assert_int_equal(number(db, "SELECT coalesce(sum(n_events), 0) FROM usage"), n);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Everything the store does, as far as it lets us; asks for typed errors only. */
static void work(InkStore *s, size_t first)
{
    InkError error = {0};
    for (size_t i = 0; i < 3; i++)
        (void)!observe_numbers(s, first + i, 1, &error);
    (void)!observe_numbers(s, first + 3, 4, &error);
    int r = ink_store_set_memory_enabled(s, false, &error);
    assert_true(r == 0 || r == -EIO || r == -ENOMEM);
    r = ink_store_set_memory_enabled(s, true, &error);
    assert_true(r == 0 || r == -EIO || r == -ENOMEM);
    InkSuggestQuery q = {.kind = INK_SUGGEST_COMMAND, .scope = APP, .now_usec = NOON, .limit = 5};
    InkSuggestions list = INK_SUGGESTIONS_INIT;
    r = ink_store_suggest(s, &q, &list, &error);
    assert_true(r == 0 || r == -EIO || r == -ENOMEM);
    if (list.n > 0) {
        r = ink_store_feedback(s, APP, list.items[0].id, INK_FEEDBACK_DISMISSED, 0, NULL, &error);
        assert_true(r == 0 || r == -EIO || r == -ENOMEM);
    }
    ink_suggestions_done(&list);
    assert_true(error.code == 0 || error.message[0] != '\0');
    assert_null(strstr(error.message, "command")); /* no text of the user */
}

static void start_anew(const Place *p)
{
    remove_files(p->directory);
    memset(&acks, 0, sizeof(acks));
    test_real = NOON;
}

/* The walk: the n-th operation fails, for all n; afterwards the same store works on. */
static void walk(const Place *p, unsigned ops, FaultKind kind, bool sticky, size_t stride)
{
    size_t n_points = 0;
    for (size_t at = 1;; at += stride) {
        start_anew(p);
        InkStore *s = open_enabled(p);
        assert_int_equal(observe_numbers(s, 0, 2, NULL), 0);
        fault_vfs_arm(at, ops, kind, sticky);
        work(s, 10);
        bool fired = fault_vfs_fired();
        fault_vfs_disarm();
        InkError error = {0};
        if (ink_store_set_memory_enabled(s, true, &error) < 0 ||
            observe_numbers(s, 50, 2, &error) < 0)
            fail_msg("point %zu: not well after the fault: %s", at, error.message);
        ink_store_close(s);
        check_database(p);
        if (!fired)
            break;
        n_points++;
    }
    assert_true(n_points > 1);
    print_message("kind %d, sticky %d: %zu points\n", kind, sticky, n_points);
}

static void test_faults_at_each_operation_leave_nothing_half_done(void **state)
{
    const Place *p = *state;
    size_t stride = is_full_run() ? 1 : 7;
    fault_vfs_install();
    for (int sticky = 0; sticky < 2; sticky++) {
        walk(p, FAULT_CHANGES | FAULT_OPEN, FAULT_IOERR, sticky != 0, stride);
        walk(p, FAULT_WRITE, FAULT_FULL, sticky != 0, stride);
        walk(p, FAULT_WRITE, FAULT_SHORT, sticky != 0, stride);
    }
    fault_vfs_remove();
}

/* The same while the store opens: new, after a clean close, and with a log to recover. */
static void test_faults_while_opening_are_reported(void **state)
{
    const Place *p = *state;
    size_t stride = is_full_run() ? 1 : 5;
    fault_vfs_install();
    for (int kind = FAULT_IOERR; kind <= FAULT_SHORT; kind++)
        for (int is_new = 0; is_new < 2; is_new++)
            for (size_t at = 1;; at += stride) {
                start_anew(p);
                if (!is_new) {
                    InkStore *before = open_enabled(p);
                    assert_int_equal(observe_numbers(before, 0, 2, NULL), 0);
                    ink_store_close(before);
                }
                InkStore *s = NULL;
                InkError error = {0};
                fault_vfs_arm(at, FAULT_ALL, (FaultKind)kind, false);
                int r = ink_store_open(p->directory, &s, &error);
                bool fired = fault_vfs_fired();
                fault_vfs_disarm();
                assert_true(r == 0 || r == -EIO || r == -ENOMEM);
                assert_true(r == 0 ? s != NULL : s == NULL && error.message[0] != '\0');
                ink_store_close(s);
                ink_store_close(open_store(p)); /* the next one is well */
                check_database(p);
                if (!fired)
                    break;
            }
    fault_vfs_remove();
}

/* A power cut at every change of the disk, under three models of what was still in flight. */
static void test_power_cuts_lose_nothing_acknowledged(void **state)
{
    const Place *p = *state;
    size_t stride = is_full_run() ? 1 : 4, n_cuts = 0;
    unsigned n_seeds = is_full_run() ? 8 : 1;
    for (FaultLoss loss = FAULT_LOSE_ALL; loss <= FAULT_KEEP_ALL; loss++)
        for (unsigned seed = 1; seed <= (loss == FAULT_KEEP_SOME_SECTORS ? n_seeds : 1); seed++)
            for (size_t at = 1;; at += stride) {
                start_anew(p);
                fault_vfs_install(); /* anew: it must not know the files of the last round */
                InkStore *s = open_enabled(p);
                /* many checkpoints, so that cuts hit these too */
                assert_int_equal(ink_store_execute(s, "PRAGMA wal_autocheckpoint=12", NULL), 0);
                fault_vfs_arm(at, FAULT_CHANGES, FAULT_CRASH, true);
                for (size_t i = 0; i < 3; i++)
                    work(s, 10 + 10 * i);
                ink_store_close(s);
                bool fired = fault_vfs_fired();
                fault_vfs_recover(loss, seed + (unsigned)at);
                fault_vfs_remove();
                ink_store_close(open_store(p));
                check_database(p);
                if (!fired)
                    break;
                n_cuts++;
            }
    print_message("%zu power cuts\n", n_cuts);
    assert_true(n_cuts > 50);
}

/* ------------------------------------------------------------------- kill -9 */

static void observe_until_killed(const Place *p, size_t first, size_t n, int fd)
{
    InkStore *s = NULL;
    if (ink_store_open(p->directory, &s, NULL) < 0)
        _exit(1);
    s->real_usec = test_real_usec;
    for (size_t i = first; i < first + n; i++) {
        uint32_t ack = (uint32_t)i;
        if (observe_numbers(s, i, 1, NULL) < 0 || write(fd, &ack, sizeof(ack)) != sizeof(ack))
            _exit(2);
    }
    ink_store_close(s);
    _exit(0);
}

static void test_kill_loses_nothing_acknowledged(void **state)
{
    const Place *p = *state;
    size_t n_kills = is_full_run() ? 50 : 3, next = 0, n_killed = 0;
    const size_t n_total = 1000;
    unsigned seed = 9;
    start_anew(p);
    ink_store_close(open_enabled(p));
    for (size_t i = 0; i <= n_kills && next < n_total; i++) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            observe_until_killed(p, next, n_total - next, pipe_fds[1]);
        close(pipe_fds[1]);
        /* after a random number of acknowledgements, the last child after all */
        size_t n_wanted =
            i == n_kills ? SIZE_MAX : 1 + (size_t)rand_r(&seed) % (n_total / (n_kills + 1));
        uint32_t ack;
        size_t n_read = 0;
        while (read(pipe_fds[0], &ack, sizeof(ack)) == sizeof(ack)) {
            acks.tried[ack] = acks.acked[ack] = true;
            next = ack + 1;
            if (++n_read == n_wanted)
                kill(child, SIGKILL);
        }
        close(pipe_fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        n_killed += WIFSIGNALED(status);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        acks.tried[next] = true; /* may have been committed before the acknowledgement was sent */
        ink_store_close(open_store(p));
        check_database(p);
    }
    assert_int_equal(n_killed, n_kills);
    assert_int_equal(next, n_total);
}

/* ------------------------------------------------- real full and read-only disks */

/* The largest file: what a quota or a full disk does, for any user. */
static void test_file_size_limit_is_reported_and_passes(void **state)
{
    const Place *p = *state;
    start_anew(p);
    InkStore *s = open_enabled(p);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = before;
    small.rlim_cur = 200 << 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    InkError error = {0};
    size_t i = 0;
    while (i < 1000 && observe_numbers(s, i, 1, &error) == 0)
        i++;
    assert_true(i > 0 && i < 1000);
    assert_non_null(strstr(error.message, "I/O error"));
    InkSuggestQuery q = {.kind = INK_SUGGEST_COMMAND, .scope = APP, .now_usec = NOON, .limit = 5};
    InkSuggestions list = INK_SUGGESTIONS_INIT;
    assert_int_equal(ink_store_suggest(s, &q, &list, NULL), 0); /* reading goes on */
    assert_int_equal(list.n, i < 5 ? i : 5);
    ink_suggestions_done(&list);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(observe_numbers(s, 2000, 2, &error), 0);
    ink_store_close(s);
    check_database(p);
}

/* A file system of one megabyte, mounted for this test when that is allowed. */
static bool mount_small(const Place *p)
{
    return mount("tmpfs", p->directory, "tmpfs", 0, "size=1m,mode=0700") == 0;
}

static void fill_disk(const char *path)
{
    static const char zeros[4096];
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    close(fd);
}

static void test_full_disk_is_reported_and_passes(void **state)
{
    const Place *p = *state;
    start_anew(p);
    if (!mount_small(p))
        skip();
    char ballast[128];
    snprintf(ballast, sizeof(ballast), "%s/ballast", p->directory);
    fill_disk(ballast);
    InkStore *s = NULL;
    InkError error = {0};
    int r = ink_store_open(p->directory, &s, &error); /* no room for the schema */
    assert_int_equal(r, -EIO);
    assert_non_null(strstr(error.message, "full"));
    unlink(ballast);
    s = open_enabled(p);
    assert_int_equal(observe_numbers(s, 0, 3, NULL), 0);
    fill_disk(ballast);
    size_t i = 10;
    while (i < 1000 && observe_numbers(s, i, 1, &error) == 0)
        i++;
    assert_true(i < 1000);
    assert_non_null(strstr(error.message, "disk is full"));
    unlink(ballast);
    assert_int_equal(observe_numbers(s, 2000, 3, &error), 0);
    ink_store_close(s);
    check_database(p);
    assert_int_equal(umount(p->directory), 0);
}

static void test_read_only_disk_is_reported_and_passes(void **state)
{
    const Place *p = *state;
    start_anew(p);
    if (!mount_small(p))
        skip();
    InkStore *s = open_enabled(p);
    assert_int_equal(observe_numbers(s, 0, 3, NULL), 0);
    ink_store_close(s);
    s = NULL;
    InkError error = {0};
    assert_int_equal(mount(NULL, p->directory, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(ink_store_open(p->directory, &s, &error), -EIO);
    assert_non_null(strstr(error.message, "Read-only"));
    assert_int_equal(mount(NULL, p->directory, NULL, MS_REMOUNT, "size=1m"), 0);
    s = open_store(p);
    assert_int_equal(observe_numbers(s, 10, 3, NULL), 0);
    ink_store_close(s);
    check_database(p);
    assert_int_equal(umount(p->directory), 0);
}

/* Without root's rights a directory without w is as good as a read-only disk. */
static void test_unwritable_directory_is_reported(void **state)
{
    const Place *p = *state;
    start_anew(p);
    if (geteuid() == 0)
        assert_int_equal(chown(p->directory, 65534, 65534), 0);
    assert_int_equal(chmod(p->directory, 0500), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
            _exit(9);
        InkStore *s = NULL;
        InkError error = {0};
        int r = ink_store_open(p->directory, &s, &error);
        _exit(r == -EIO && strstr(error.message, "Permission denied") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(p->directory, 0700), 0);
}

static int fault_teardown(void **state)
{
    const Place *p = *state;
    (void)umount2(p->directory, MNT_DETACH); /* left over by a failed test; else not mounted */
    return place_teardown(state);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, place_setup, fault_teardown)
    const struct CMUnitTest tests[] = {
        T(test_faults_at_each_operation_leave_nothing_half_done),
        T(test_faults_while_opening_are_reported),
        T(test_power_cuts_lose_nothing_acknowledged),
        T(test_kill_loses_nothing_acknowledged),
        T(test_file_size_limit_is_reported_and_passes),
        T(test_full_disk_is_reported_and_passes),
        T(test_read_only_disk_is_reported_and_passes),
        T(test_unwritable_directory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
