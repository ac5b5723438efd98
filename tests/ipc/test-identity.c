/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who a process is, told from folders made here in the place of /proc/PID: every form that there
 * is, and what a hostile sandbox could put there instead. */
#include "ipc/identity.h"

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"

#define GOOD_INFO                                                                                  \
    "[Application]\nname=org.example.App\nruntime=runtime/org.example.Platform/x86_64/1\n\n"       \
    "[Instance]\ninstance-id=123456789\n\n[Context]\nshared=network;ipc;\n"
#define SLICE "0::/user.slice/user-1000.slice/user@1000.service/"

/* ------------------------------------------------------------- a process's folder */

typedef struct Tree {
    char path[64];
    int fd;
} Tree;

static void put(const Tree *t, const char *name, const char *text, size_t n)
{
    int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
}

static void put_text(const Tree *t, const char *name, const char *text)
{
    put(t, name, text, strlen(text));
}

/* A host program /usr/bin/thing that was started from a terminal. */
static void tree_init(Tree *t)
{
    *t = (Tree){.path = "/tmp/inkling-tree-XXXXXX"};
    assert_non_null(mkdtemp(t->path));
    t->fd = open(t->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(t->fd >= 0);
    assert_int_equal(mkdirat(t->fd, "root", 0700), 0);
    assert_int_equal(mkdirat(t->fd, "attr", 0700), 0);
    put_text(t, "attr/current", "unconfined\n");
    put_text(t, "cgroup", SLICE "app.slice/vte-spawn-0123.scope\n");
    put_text(t, "comm", "a-comm\n");
    put_text(t, "mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    assert_int_equal(symlinkat("/usr/bin/thing", t->fd, "exe"), 0);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void tree_done(Tree *t)
{
    close(t->fd);
    nftw(t->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
#define _cleanup_tree_ _cleanup_(tree_done)

static void check(const Tree *t, const char *label, InkCallerKind kind, const char *app_id)
{
    InkIdentity found;
    InkCallerKind told;
    ink_identity_read(t->fd, label, NULL, 0, &found);
    assert_string_equal(found.app_id, app_id);
    assert_int_equal(found.kind, kind);
    /* Every id that a caller can have says its kind. */
    assert_int_equal(ink_identity_kind_of(app_id, &told), 0);
    assert_int_equal(told, kind);
}

static void check_info(const char *text, size_t n, InkCallerKind kind, const char *app_id)
{
    _cleanup_tree_ Tree t;
    tree_init(&t);
    put(&t, "root/.flatpak-info", text, n);
    check(&t, NULL, kind, app_id);
}

static void check_unknown(const char *info)
{
    check_info(info, strlen(info), INK_CALLER_UNKNOWN, "unknown");
}

/* ------------------------------------------------------------------------ Flatpak */

static void test_identity_flatpak_says_its_name(void **state)
{
    (void)state;
#define IS(info, id) check_info(info, sizeof(info) - 1, INK_CALLER_FLATPAK, id)
    IS(GOOD_INFO, "org.example.App");
    IS("[Application]\nname=org.example.App", "org.example.App");
    IS("# a comment\n\n[Application]\nname = org.example.App\n", "org.example.App");
    IS("[Application]\nname[de]=Anders\nname=org.example.App\n", "org.example.App");
    IS("[Runtime]\nname=org.example.Platform\n", "org.example.Platform");
    IS("[Runtime]\nname=org.example.Platform\n[Application]\nname=org.example.App\n",
       "org.example.App");
    IS("[Other]\nname=org.example.Other\n[Application]\nname=io.github.some-one.App_2\n",
       "io.github.some-one.App_2");
}

static void test_identity_flatpak_unsound_file_is_unknown(void **state)
{
    (void)state;
    static const char *const unsound[] = {
        "",
        "\n",
        "name=org.example.App\n",                   /* no group */
        "[Application]\n",                          /* no name */
        "[Application]\nname=\n",                   /* empty */
        "[Application]\nname\n",                    /* no value */
        "[Application]\nruntime=org.example.App\n", /* another key */
        "[Instance]\ninstance-id=1\n",              /* no application */
        "[Application\nname=org.example.App\n",     /* not closed */
        "[Appli]cation]\nname=org.example.App\n",   /* closed twice */
        "[]\nname=org.example.App\n",               /* no group name */
        "[Application]\nname=org.example.App\nname=org.example.Other\n",
        "[Application]\nname=org.example.App\n[Application]\nname=org.example.App\n",
        "[Application]\nname=org.example.App\n[Instance]\n",
        "[Application]\nname=org.example.App\n[Instance]\ninstance-id=../1\n",
        "[Application]\nname=org.example.App\n[Instance]\ninstance-id=1\ninstance-id=2\n",
        "[Application]\nname=org.example.App\nnonsense\n",
        "[Application]\nname=org.example.App\n=x\n",
        "[Application]\r\nname=org.example.App\r\n", /* not ours to guess */
        "[Application]\nname=org.example.App\r\n",
        "[Application]\nname=org.example.\\x41pp\n", /* no escapes */
        "[Application]\nname=org.example.A\\sb\n",
        "[Application]\nname=org.example.App \n",
        "[Application]\nname=org..App\n",
        "[Application]\nname=.org.App\n",
        "[Application]\nname=org.App.\n",
        "[Application]\nname=org.2nd.App\n",
        "[Application]\nname=nodots\n",
        "[Application]\nname=../../../etc/passwd\n",
        "[Application]\nname=exe:bash\n", /* ids of other kinds */
        "[Application]\nname=app:org.example.App\n",
        "[Application]\nname=unit:foo.service\n",
        "[Application]\nname=snap.firefox\n",
        "[Application]\nname=unknown\n",
        "[Application]\nname=org.example.\xC3\xA4pp\n",
        "[Application]\nname=org.example.App\nx=\xFF\n",
        "[Application]\nname=org.example.App%2F\n",
    };
    for (size_t i = 0; i < sizeof(unsound) / sizeof(unsound[0]); i++)
        check_unknown(unsound[i]);
    check_info(GOOD_INFO "\0", sizeof(GOOD_INFO), INK_CALLER_UNKNOWN, "unknown");
    check_info("\0" GOOD_INFO, sizeof(GOOD_INFO), INK_CALLER_UNKNOWN, "unknown");
}

static void test_identity_flatpak_lengths(void **state)
{
    static char info[INK_IDENTITY_MAX_FILE_BYTES + 2], name[INK_IDENTITY_MAX_BYTES + 2];
    (void)state;
    for (size_t n = INK_IDENTITY_MAX_BYTES; n <= INK_IDENTITY_MAX_BYTES + 1; n++) {
        memset(name, 'a', n);
        memcpy(name, "org.", 4);
        name[n] = '\0';
        snprintf(info, sizeof(info), "[Application]\nname=%s\n", name);
        check_info(info, strlen(info),
                   n <= INK_IDENTITY_MAX_BYTES ? INK_CALLER_FLATPAK : INK_CALLER_UNKNOWN,
                   n <= INK_IDENTITY_MAX_BYTES ? name : "unknown");
    }
    for (size_t n = INK_IDENTITY_MAX_FILE_BYTES; n <= INK_IDENTITY_MAX_FILE_BYTES + 1; n++) {
        memset(info, '#', n);
        memcpy(info, GOOD_INFO, strlen(GOOD_INFO));
        check_info(info, n,
                   n <= INK_IDENTITY_MAX_FILE_BYTES ? INK_CALLER_FLATPAK : INK_CALLER_UNKNOWN,
                   n <= INK_IDENTITY_MAX_FILE_BYTES ? "org.example.App" : "unknown");
    }
}

/* What is there but is no plain file: never opened for reading, never "not a Flatpak". */
static void test_identity_flatpak_no_plain_file_is_unknown(void **state)
{
    enum { LINK, DANGLING, LINK_TO_FIFO, FIFO, FOLDER, DEVICE, N_KINDS };
    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++) {
        _cleanup_tree_ Tree t;
        tree_init(&t);
        put_text(&t, "elsewhere", GOOD_INFO);
        int r = -1;
        switch (kind) {
        case LINK:
            r = symlinkat("../elsewhere", t.fd, "root/.flatpak-info");
            break;
        case DANGLING:
            r = symlinkat("nowhere", t.fd, "root/.flatpak-info");
            break;
        case LINK_TO_FIFO:
            r = mkfifoat(t.fd, "root/fifo", 0600) | symlinkat("fifo", t.fd, "root/.flatpak-info");
            break;
        case FIFO:
            r = mkfifoat(t.fd, "root/.flatpak-info", 0600);
            break;
        case FOLDER:
            r = mkdirat(t.fd, "root/.flatpak-info", 0700);
            break;
        case DEVICE: /* a socket where this is not root */
            r = mknodat(t.fd, "root/.flatpak-info",
                        geteuid() == 0 ? S_IFCHR | 0600 : S_IFSOCK | 0600,
                        geteuid() == 0 ? (1 << 8 | 5) : 0);
            break;
        }
        assert_int_equal(r, 0);
        check(&t, NULL, INK_CALLER_UNKNOWN, "unknown");
    }
}

/* Permissions count only for who is not root. Asserts jump, so what comes back is looked at after.
 */
static void read_as_nobody(int fd, const int *host_fds, size_t n, InkIdentity *ret)
{
    bool is_root = geteuid() == 0;
    int r = is_root ? seteuid(65534) : 0;
    ink_identity_read(fd, NULL, host_fds, n, ret);
    r |= is_root ? seteuid(0) : 0;
    assert_int_equal(r, 0);
}

static void lock_root(Tree *t)
{
    assert_int_equal(mkdirat(t->fd, "locked", 0700), 0);
    assert_int_equal(renameat(t->fd, "root", t->fd, "locked/root"), 0);
    assert_int_equal(symlinkat("locked/root", t->fd, "root"), 0);
    assert_int_equal(fchmodat(t->fd, "locked", 0000, 0), 0);
    assert_int_equal(chmod(t->path, 0755), 0);
    static const char *const files[] = {"cgroup", "comm", "mountinfo"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(fchmodat(t->fd, files[i], 0644, 0), 0);
}

/* A program that may not be looked into is on the host when it sees the very mounts of one. */
static void test_identity_locked_root_is_judged_by_its_mounts(void **state)
{
    _cleanup_tree_ Tree t, host;
    InkIdentity found;
    (void)state;
    tree_init(&t);
    tree_init(&host);
    lock_root(&t);
    assert_int_equal(chmod(host.path, 0755), 0);
    assert_int_equal(fchmodat(host.fd, "mountinfo", 0644, 0), 0);
    read_as_nobody(t.fd, NULL, 0, &found);
    assert_string_equal(found.app_id, "unknown");
    int host_fds[] = {-1, host.fd};
    read_as_nobody(t.fd, host_fds, 2, &found);
    assert_string_equal(found.app_id, "exe:thing");
    assert_int_equal(found.kind, INK_CALLER_HOST);
    static const char *const others[] = {
        "",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\n",
        "21 1 8:1 / / rw - ext4 /dev/sda1 r",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        put_text(&t, "mountinfo", others[i]);
        read_as_nobody(t.fd, host_fds, 2, &found);
        assert_string_equal(found.app_id, "unknown");
    }
    put_text(&t, "mountinfo", "");
    put_text(&host, "mountinfo", "");
    read_as_nobody(t.fd, host_fds, 2, &found);
    assert_string_equal(found.app_id, "unknown");
    assert_int_equal(fchmodat(t.fd, "locked", 0700, 0), 0);
}

static void test_identity_missing_root_is_unknown(void **state)
{
    _cleanup_tree_ Tree t;
    (void)state;
    tree_init(&t);
    /* The main thread of a process ended, others go on: its root is not there any more. */
    assert_int_equal(unlinkat(t.fd, "root", AT_REMOVEDIR), 0);
    check(&t, NULL, INK_CALLER_UNKNOWN, "unknown");
    put_text(&t, "root", "no folder");
    check(&t, NULL, INK_CALLER_UNKNOWN, "unknown");
}

/* --------------------------------------------------------------------------- snap */

static void test_identity_snap_by_label(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        InkCallerKind kind;
        const char *id;
    } rows[] = {
        {"snap.firefox.firefox (enforce)", INK_CALLER_SNAP, "snap.firefox"},
        {"snap.firefox.firefox", INK_CALLER_SNAP, "snap.firefox"},
        {"snap.code.code (complain)", INK_CALLER_SNAP, "snap.code"},
        {"snap.a-b.hook.configure (enforce)", INK_CALLER_SNAP, "snap.a-b"},
        {"snap.app_two.app (enforce)", INK_CALLER_SNAP, "snap.app_two"},
        {"snap.firefox", INK_CALLER_UNKNOWN, "unknown"},
        {"snap.", INK_CALLER_UNKNOWN, "unknown"},
        {"snap..x", INK_CALLER_UNKNOWN, "unknown"},
        {"snap.Fire Fox.x", INK_CALLER_UNKNOWN, "unknown"},
        {"snap.fire/fox.x", INK_CALLER_UNKNOWN, "unknown"},
        {"snap.firefox.", INK_CALLER_UNKNOWN, "unknown"},
        {"snap.org.example.App", INK_CALLER_SNAP, "snap.org"},
        {"unconfined", INK_CALLER_HOST, "exe:thing"},
        {"unconfined_u:unconfined_r:unconfined_t:s0", INK_CALLER_HOST, "exe:thing"},
        {"snapd", INK_CALLER_HOST, "exe:thing"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _cleanup_tree_ Tree t;
        tree_init(&t);
        check(&t, rows[i].label, rows[i].kind, rows[i].id);
        /* and from the process's own file, when the bus does not tell */
        put_text(&t, "attr/current", rows[i].label);
        check(&t, NULL, rows[i].kind, rows[i].id);
    }
    /* What the bus saw at connect time counts, not what the file says now. */
    _cleanup_tree_ Tree t;
    tree_init(&t);
    put_text(&t, "attr/current", "unconfined\n");
    check(&t, "snap.firefox.firefox (enforce)", INK_CALLER_SNAP, "snap.firefox");
    /* A name that is too long for an id. */
    char label[128] = "snap.";
    memset(label + 5, 'a', 65);
    strcpy(label + 70, ".x");
    check(&t, label, INK_CALLER_UNKNOWN, "unknown");
}

/* --------------------------------------------------------------------------- host */

static void test_identity_host_by_cgroup(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        const char *id;
    } rows[] = {
        {"app.slice/app-gnome-org.gnome.Console-1234.scope", "app:org.gnome.Console"},
        {"app.slice/app-org.kde.konsole-9f8e7d.scope", "app:org.kde.konsole"},
        {"app.slice/app-gnome-firefox\\x2desr-77.scope", "app:firefox-esr"},
        {"app.slice/app-flatpak-org.example.App-4711.scope", "app:org.example.App"},
        {"app.slice/app-org.kde.kate@0123456789abcdef.service", "app:org.kde.kate"},
        {"app.slice/app-gnome-org.gnome.Maps-12.service", "app:org.gnome.Maps"},
        {"app.slice/app-gnome\\x2dkeyring\\x2dssh@autostart.service", "app:gnome-keyring-ssh"},
        {"app.slice/app-org.example.Plain.service", "app:org.example.Plain"},
        {"app.slice/app-a-b-c-d-1.scope", "app:exe:thing"}, /* see below */
        {"app.slice/backup.service", "unit:backup.service"},
        {"app.slice/dbus-:1.2-org.example.Thing@0.service",
         "unit:dbus-:1.2-org.example.Thing@0.service"},
        {"app.slice/run-u5.service/child", "unit:run-u5.service"},
        {"app.slice/dbus.service", "exe:thing"},
        {"app.slice/dbus-broker.service", "exe:thing"},
        {"session.slice/init.scope", "exe:thing"},
        {"app.slice/vte-spawn-0123.scope", "exe:thing"},
        {"app.slice/app-.scope", "exe:thing"},
        {"app.slice/app--1.scope", "exe:thing"},
        {"app.slice/app-nodash.scope", "exe:thing"},
        {"app.slice/app-gnome-bad\\x-1.scope", "exe:thing"},
        {"app.slice/app-gnome-bad\\x2-1.scope", "exe:thing"},
        {"app.slice/app-gnome-bad\\x2f-1.scope", "exe:thing"}, /* a slash */
        {"app.slice/app-gnome-bad\\x3a-1.scope", "exe:thing"}, /* a colon */
        {"app.slice/app-gnome-bad\\x00-1.scope", "exe:thing"},
        {"app.slice/app-gnome-sp ace-1.scope", "exe:thing"},
        {"app.slice/sp ace.service", "exe:thing"},
        {"", "exe:thing"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        _cleanup_tree_ Tree t;
        tree_init(&t);
        snprintf(text, sizeof(text), SLICE "%s\n", rows[i].unit);
        put_text(&t, "cgroup", text);
        /* More dashes than parts: what stands between launcher and the number. */
        check(&t, NULL, INK_CALLER_HOST,
              strcmp(rows[i].id, "app:exe:thing") == 0 ? "app:b-c-d" : rows[i].id);
    }
}

static void test_identity_host_other_cgroups(void **state)
{
    (void)state;
    static const struct {
        const char *text, *id;
    } rows[] = {
        /* the old hierarchy, among controllers */
        {"12:cpu:/\n1:name=systemd:/user.slice/user@7.service/app.slice/app-org.a.B-1.scope\n",
         "app:org.a.B"},
        /* not of a user manager */
        {"0::/system.slice/cron.service\n", "exe:thing"},
        {"0::/\n", "exe:thing"},
        {"0::/user.slice/user-0.slice/session-3.scope\n", "exe:thing"},
        {"0::/user@1000.service\n", "exe:thing"},
        {"2:" SLICE "app-org.a.B-1.scope\n", "exe:thing"},
        {"nonsense", "exe:thing"},
        {"", "exe:thing"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _cleanup_tree_ Tree t;
        tree_init(&t);
        put_text(&t, "cgroup", rows[i].text);
        check(&t, NULL, INK_CALLER_HOST, rows[i].id);
    }
    static char longest[INK_IDENTITY_MAX_FILE_BYTES + 100];
    for (size_t n = 240; n < 320; n++) { /* around the longest id: the rest is by program */
        _cleanup_tree_ Tree t;
        InkIdentity found;
        tree_init(&t);
        int at = snprintf(longest, sizeof(longest), SLICE "app-x-");
        memset(longest + at, 'a', n);
        strcpy(longest + at + n, "-1.scope\n");
        put_text(&t, "cgroup", longest);
        ink_identity_read(t.fd, NULL, NULL, 0, &found);
        if (n + 4 <= INK_IDENTITY_MAX_BYTES)
            assert_int_equal(strlen(found.app_id), n + 4);
        else
            assert_string_equal(found.app_id, "exe:thing");
    }
    _cleanup_tree_ Tree t;
    tree_init(&t);
    memset(longest, '\n', INK_IDENTITY_MAX_FILE_BYTES + 1);
    put(&t, "cgroup", longest, INK_IDENTITY_MAX_FILE_BYTES + 1);
    check(&t, NULL, INK_CALLER_HOST, "exe:thing");
    put(&t, "cgroup", SLICE "app-org.a.B-1.scope\0\n", sizeof(SLICE "app-org.a.B-1.scope\0\n") - 1);
    check(&t, NULL, INK_CALLER_HOST, "exe:thing");
}

static void test_identity_host_by_program(void **state)
{
    (void)state;
    static const struct {
        const char *exe, *id;
    } rows[] = {
        {"/usr/bin/busctl", "exe:busctl"},
        {"/usr/bin/busctl (deleted)", "exe:busctl"},
        {"/opt/a b/c d", "exe:c d"},
        {"/tmp/new\nline", "exe:new_line"},
        {"/tmp/\x1b[31m", "exe:_[31m"},
        {"/tmp/\xC2\x9B[31m", "exe:_[31m"},                          /* the same in one character */
        {"/tmp/a\xE2\x80\xAEz", "exe:a_z"},                          /* turns the direction */
        {"/tmp/a\xC2\xA0y\xE2\x80\x8Bz", "exe:a_y_z"},               /* blanks that are no spaces */
        {"/tmp/ curl   text   allow ", "exe:_curl___text___allow_"}, /* the line of another */
        {"/tmp/\xFF\xFE", "exe:unknown"},
        {"/tmp/caf\xC3\xA9", "exe:caf\xC3\xA9"},
        {"/", "exe:unknown"},
        {"/tmp/0123456789012345678901234567890123456789012345678901234567890123456789",
         "exe:0123456789012345678901234567890123456789012345678901234567890123"},
        /* A host program may call itself as it likes, and is none of these by that. */
        {"/tmp/org.example.App", "exe:org.example.App"},
        {"/tmp/snap.firefox", "exe:snap.firefox"},
        {"/tmp/unknown", "exe:unknown"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _cleanup_tree_ Tree t;
        tree_init(&t);
        assert_int_equal(unlinkat(t.fd, "exe", 0), 0);
        assert_int_equal(symlinkat(rows[i].exe, t.fd, "exe"), 0);
        check(&t, NULL, INK_CALLER_HOST, rows[i].id);
    }
    _cleanup_tree_ Tree t;
    tree_init(&t);
    assert_int_equal(unlinkat(t.fd, "exe", 0), 0);
    check(&t, NULL, INK_CALLER_HOST, "exe:a-comm");
    assert_int_equal(unlinkat(t.fd, "comm", 0), 0);
    check(&t, NULL, INK_CALLER_HOST, "exe:unknown");
}

static void test_identity_ids_of_no_caller_are_refused(void **state)
{
    InkCallerKind kind = INK_CALLER_SNAP;
    char text[INK_IDENTITY_MAX_BYTES + 8];
    (void)state;
    static const char *const bad[] = {
        "",        "exe:",     "app:",       "unit:",        "snap.",           "snap.a.b",
        "nodots",  "a..b",     "org.a.B/..", "exe:a/b",      "exe:a\n",         "org.a.B ",
        "app:a/b", "app:a b",  "unit:a b",   "exe:\x7f",     "exe:\xff",        "1.2",
        "org.1.a", " org.a.B", "unknown2",   "exe:\xC2\x9B", "exe:\xE2\x80\xAE"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ink_identity_kind_of(bad[i], &kind), -EINVAL);
    assert_int_equal(kind, INK_CALLER_SNAP);
    memset(text, 'a', sizeof(text));
    memcpy(text, "exe:", 4);
    text[INK_IDENTITY_MAX_BYTES] = '\0';
    assert_int_equal(ink_identity_kind_of(text, &kind), 0);
    text[INK_IDENTITY_MAX_BYTES] = 'a';
    text[INK_IDENTITY_MAX_BYTES + 1] = '\0';
    assert_int_equal(ink_identity_kind_of(text, &kind), -EINVAL);
}

/* ----------------------------------------------------------------- real processes */

typedef struct Child {
    pid_t pid;
    int pidfd, process_fd;
} Child;

/* A child that does `prepare` and then waits to be killed. */
static void child_start(Child *c, bool (*prepare)(void))
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        byte = prepare == NULL || prepare() ? 'y' : 'n';
        (void)!write(ready[1], &byte, 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_int_equal(byte, 'y');
    assert_int_equal(ink_identity_open_pidfd((uint32_t)c->pid, &c->pidfd), 0);
    assert_int_equal(ink_identity_open_process((uint32_t)c->pid, &c->process_fd), 0);
}

static void child_end(Child *c)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    close(c->pidfd);
    close(c->process_fd);
}

static void test_identity_pidfd_tells_life_and_number(void **state)
{
    uint32_t pid = 0;
    int fd = -7;
    uint64_t started_usec = 0, now = ink_clock_usec(CLOCK_BOOTTIME);
    Child c;
    (void)state;
    child_start(&c, NULL);
    assert_true(ink_identity_is_alive(c.pidfd));
    assert_int_equal(ink_identity_pid_of(c.pidfd, &pid), 0);
    assert_int_equal(pid, c.pid);
    assert_int_equal(ink_identity_started_usec(c.process_fd, &started_usec), 0);
    assert_true(started_usec + 1000000 > now);
    assert_true(started_usec <= ink_clock_usec(CLOCK_BOOTTIME));
    kill(c.pid, SIGKILL);
    waitpid(c.pid, NULL, 0);
    assert_false(ink_identity_is_alive(c.pidfd));
    assert_int_equal(ink_identity_pid_of(c.pidfd, &pid), -ESRCH);
    assert_int_equal(ink_identity_started_usec(c.process_fd, &started_usec), -ESRCH);
    assert_int_equal(ink_identity_open_pidfd((uint32_t)c.pid, &fd), -ESRCH);
    assert_int_equal(ink_identity_open_process((uint32_t)c.pid, &fd), -ESRCH);
    assert_int_equal(ink_identity_open_pidfd(0, &fd), -ESRCH);
    assert_int_equal(ink_identity_open_pidfd(UINT32_MAX, &fd), -ESRCH);
    assert_int_equal(fd, -7);
    assert_int_equal(ink_identity_pid_of(STDIN_FILENO, &pid), -ESRCH); /* no pidfd */
    InkIdentity found;
    ink_identity_read(c.process_fd, NULL, NULL, 0, &found);
    assert_string_equal(found.app_id, "unknown");
    close(c.pidfd);
    close(c.process_fd);
}

static bool close_all(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
            close(fd);
    }
    return true;
}

static bool open_socket(void)
{
    int fds[2];
    return close_all() && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0;
}

static void test_identity_sees_whether_there_is_a_socket(void **state)
{
    Child without, with;
    (void)state;
    child_start(&without, close_all);
    child_start(&with, open_socket);
    assert_false(ink_identity_has_socket(without.process_fd));
    assert_true(ink_identity_has_socket(with.process_fd));
    child_end(&without);
    child_end(&with);
}

static bool hide(void)
{
    return (geteuid() != 0 || setresuid(65534, 65534, 65534) == 0) &&
           prctl(PR_SET_DUMPABLE, 0) == 0;
}

static bool hide_in_own_mounts(void)
{
    return (geteuid() == 0 || unshare(CLONE_NEWUSER) == 0) && unshare(CLONE_NEWNS) == 0 && hide();
}

static bool can_unshare(void)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(hide_in_own_mounts() ? 0 : 1);
    waitpid(pid, &status, 0);
    return status == 0;
}

static void test_identity_program_that_hides_itself(void **state)
{
    InkIdentity found;
    Child c;
    (void)state;
    int own = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    child_start(&c, hide);
    read_as_nobody(c.process_fd, &own, 1, &found);
    assert_int_equal(found.kind, INK_CALLER_HOST);
    read_as_nobody(c.process_fd, NULL, 0, &found);
    assert_int_equal(found.kind, INK_CALLER_UNKNOWN);
    child_end(&c);
    if (can_unshare()) {
        child_start(&c, hide_in_own_mounts);
        read_as_nobody(c.process_fd, &own, 1, &found);
        assert_int_equal(found.kind, INK_CALLER_UNKNOWN);
        child_end(&c);
    } else
        print_message("mount namespaces: not permitted here\n");
    close(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_flatpak_says_its_name),
        cmocka_unit_test(test_identity_flatpak_unsound_file_is_unknown),
        cmocka_unit_test(test_identity_flatpak_lengths),
        cmocka_unit_test(test_identity_flatpak_no_plain_file_is_unknown),
        cmocka_unit_test(test_identity_missing_root_is_unknown),
        cmocka_unit_test(test_identity_locked_root_is_judged_by_its_mounts),
        cmocka_unit_test(test_identity_snap_by_label),
        cmocka_unit_test(test_identity_host_by_cgroup),
        cmocka_unit_test(test_identity_host_other_cgroups),
        cmocka_unit_test(test_identity_host_by_program),
        cmocka_unit_test(test_identity_ids_of_no_caller_are_refused),
        cmocka_unit_test(test_identity_pidfd_tells_life_and_number),
        cmocka_unit_test(test_identity_sees_whether_there_is_a_socket),
        cmocka_unit_test(test_identity_program_that_hides_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
