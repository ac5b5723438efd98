/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A sandboxed program connects, calls, and ends; a host program gets its number while the service
 * finds out who called. If the service takes the one for the other, the call is permitted and the
 * fake service counts a start that nobody was allowed.
 *
 * Numbers are provoked in a pid namespace of this test (/proc/sys/kernel/ns_last_pid), where nobody
 * else takes them. Where that is not permitted the test says so and is skipped. */
#include "tests/ipc/bus-fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_TRIES      200u
#define N_TRIES_FULL 10000u

static const char *not_permitted; /* why there is no namespace; NULL = there is */
static char sandbox[] = "/tmp/inkling-reuse-XXXXXX";

/* ------------------------------------------------------------------ a namespace */

static bool put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? write(fd, text, strlen(text)) : -1;
    if (fd >= 0)
        close(fd);
    return n == (ssize_t)strlen(text);
}

static bool enter_namespaces(void)
{
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare((uid != 0 ? CLONE_NEWUSER : 0) | CLONE_NEWPID | CLONE_NEWNS) < 0)
        return false;
    if (uid == 0)
        return true;
    snprintf(map, sizeof(map), "0 %u 1", uid);
    bool mapped = put("/proc/self/uid_map", map) && put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %u 1", gid);
    return mapped && put("/proc/self/gid_map", map);
}

/* The first process of the namespace; the tests run in its child, so that signals work as ever. */
static int be_init(int (*run)(void))
{
    int status = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0 || !put("/proc/sys/kernel/ns_last_pid", "100"))
        not_permitted = "/proc of a pid namespace";
    pid_t tests = fork();
    if (tests == 0)
        return run();
    while (waitpid(-1, &status, 0) != tests)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run_in_namespace(int (*run)(void))
{
    int status = 0;
    if (!enter_namespaces()) {
        not_permitted = "unshare";
        return run();
    }
    pid_t init = fork();
    if (init == 0)
        exit(be_init(run));
    if (init < 0 || waitpid(init, &status, 0) != init)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* -------------------------------------------------------------------- one try */

typedef struct Try {
    bool kept;    /* a child of the caller holds the connection on */
    bool stopped; /* the service sleeps until the number has changed hands */
    unsigned wait_usec;
} Try;

static void send_call(sd_bus *bus)
{
    _cleanup_message_ sd_bus_message *m = NULL;
    if (sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_TEXT,
                                       "Complete") < 0 ||
        sd_bus_message_append(m, "sa{sv}", "Hello", 1, "max-tokens", "u", 1) < 0 ||
        sd_bus_send(bus, m, NULL) < 0 || sd_bus_flush(bus) < 0)
        _exit(3);
}

/* In a child: connects, goes into the sandbox, calls and ends. */
static void be_caller(const Try *t)
{
    const char *name;
    sd_bus *bus = fixture_connect();
    if (sd_bus_get_unique_name(bus, &name) < 0 || chroot(sandbox) < 0 || chdir("/") < 0)
        _exit(2);
    if (t->kept) {
        pid_t keeper = fork();
        if (keeper == 0) {
            prctl(PR_SET_PDEATHSIG, 0);
            alarm(20);
            for (;;)
                pause();
        }
        /* Whom to end afterwards. */
        char text[16];
        snprintf(text, sizeof(text), "%d", keeper);
        int fd = open("/keeper", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, text, strlen(text)) < 0)
            _exit(4);
    }
    send_call(bus);
    if (t->wait_usec > 0)
        usleep(t->wait_usec);
    _exit(0);
}

static void end_keeper(void)
{
    char path[64], text[16] = "";
    snprintf(path, sizeof(path), "%s/keeper", sandbox);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    kill((pid_t)atoi(text), SIGKILL);
}

/* A host program under this number, -1 when somebody else got it. With a socket, as who is on the
 * bus itself has one: but not where the connection is kept, which only this could tell. */
static pid_t take_number(pid_t number, bool has_socket)
{
    char text[16];
    int fds[2];
    snprintf(text, sizeof(text), "%d", number - 1);
    assert_true(put("/proc/sys/kernel/ns_last_pid", text));
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close_range(3, ~0u, 0);
        if (has_socket && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    if (pid == number)
        return pid;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
}

/* A new host program that calls: once it is answered, all that came before is decided. */
static void call_as_host(void)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Complete", NULL, NULL, "sa{sv}", "Hello", 1,
                             "max-tokens", "u", 1) >= 0);
}

/* True when the number really changed hands. */
static bool run_try(const Try *t, pid_t service)
{
    int status = -1;
    if (t->stopped)
        assert_int_equal(kill(service, SIGSTOP), 0);
    pid_t caller = fork();
    if (caller == 0)
        be_caller(t);
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_int_equal(status, 0);
    pid_t other = take_number(caller, !t->kept);
    if (t->stopped)
        assert_int_equal(kill(service, SIGCONT), 0);
    call_as_host();
    if (t->kept)
        end_keeper();
    if (other > 0) {
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
    }
    return other > 0;
}

static pid_t service_pid(void)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    uint32_t pid;
    assert_true(sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                   "org.freedesktop.DBus", "GetConnectionUnixProcessID", NULL,
                                   &reply, "s", INK_BUS_NAME) >= 0);
    assert_true(sd_bus_message_read(reply, "u", &pid) > 0);
    return (pid_t)pid;
}

static void test_reuse_gives_nobody_the_rights_of_another(void **state)
{
    (void)state;
    if (not_permitted != NULL) {
        /* Not a lack of CI's, as a missing model would be: a container may not do this. */
        print_message("pid reuse cannot be provoked here: %s is not permitted\n", not_permitted);
        skip();
    }
    const char *full = getenv("INKLING_TEST_FULL");
    unsigned n = full != NULL && strcmp(full, "1") == 0 ? N_TRIES_FULL : N_TRIES;
    unsigned n_reused = 0, seed = 7;
    pid_t service = service_pid();
    uint32_t before = FAKE_READ(fake->n_started);
    for (unsigned i = 0; i < n; i++) {
        Try t = {.kept = (i & 1) != 0,
                 .stopped = (i & 2) != 0,
                 .wait_usec = (i & 4) != 0 ? (unsigned)rand_r(&seed) % 400 : 0};
        n_reused += run_try(&t, service);
    }
    unsigned n_wrong = FAKE_READ(fake->n_started) - before - n;
    print_message("%u tries, number reused in %u, wrong identities: %u\n", n, n_reused, n_wrong);
    assert_true(n_reused >= n - n / 20);
    assert_int_equal(n_wrong, 0);
}

/* That the caller of the tries is what it should be: known as sandboxed while it lives. */
static void test_reuse_caller_is_sandboxed(void **state)
{
    int status = -1;
    (void)state;
    if (not_permitted != NULL)
        skip();
    pid_t caller = fork();
    if (caller == 0) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *name;
        sd_bus *bus = fixture_connect();
        if (sd_bus_get_unique_name(bus, &name) < 0 || chroot(sandbox) < 0 ||
            fixture_call(bus, INK_BUS_TEXT, "Complete", &error, NULL, "sa{sv}", "Hello", 0) >= 0)
            _exit(2);
        _exit(strcmp(error.name, SD_BUS_ERROR_ACCESS_DENIED) == 0 &&
                      strstr(error.message, "inkling app allow org.example.Reuse text") != NULL
                  ? 0
                  : 3);
    }
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_int_equal(status, 0);
}

static int group_start(void **state)
{
    static const char info[] = "[Application]\nname=org.example.Reuse\n";
    char path[64];
    if (mkdtemp(sandbox) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/.flatpak-info", sandbox);
    FILE *f = fopen(path, "we");
    if (f == NULL || fputs(info, f) < 0 || fclose(f) != 0)
        return -1;
    return fixture_start(state);
}

static int group_stop(void **state)
{
    static const char *const names[] = {".flatpak-info", "keeper"};
    char path[64];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", sandbox, names[i]);
        unlink(path);
    }
    rmdir(sandbox);
    return fixture_stop(state);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reuse_caller_is_sandboxed),
        cmocka_unit_test(test_reuse_gives_nobody_the_rights_of_another),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}

int main(void)
{
    /* This process may make no more threads, since its namespace's first process has ended: without
     * exit's handlers, one of which is the leak checker. The tests were checked in theirs. */
    int r = run_in_namespace(run);
    fflush(NULL);
    _exit(r);
}
