/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Runs the probe (probe.c) and reads its lines: every attempt must be refused, from the thread that
 * sealed and from one that is older than the seal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/worker/wire.h"
#include "ink-config.h"

/* Each thread tries at least this many things; the issue asks for 18. */
#define LEAST_PROBES 70

typedef struct Probe {
    pid_t pid;
    int wire;   /* our end of the socket */
    int output; /* of a tool */
    int input;
} Probe;

static void probe_path(char *path, size_t n)
{
    const char *build = getenv("INKLING_BUILD_DIR");
    assert_non_null(build);
    snprintf(path, n, "%s/tests/worker/probe", build);
}

static void pass_descriptors(int wire)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    int memfd = memfd_create("program", MFD_CLOEXEC);
    assert_true(memfd >= 0);
    int program = open("/bin/true", O_RDONLY | O_CLOEXEC);
    char block[4096];
    for (ssize_t n = 1; n > 0;) {
        n = read(program, block, sizeof(block));
        assert_true(n <= 0 || write(memfd, block, (size_t)n) == n);
    }
    close(program);
    int fds[2] = {pair[0], memfd};
    char control[CMSG_SPACE(sizeof(fds))] = {0};
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    assert_int_equal(sendmsg(wire, &message, 0), 1);
    close(pair[0]); /* the other end stays with us unseen, so that a send could succeed */
    close(memfd);
}

static void start(Probe *p, const char *role)
{
    int pair[2], output[2], input[2];
    char path[4096], fd[16];
    probe_path(path, sizeof(path));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    snprintf(fd, sizeof(fd), "%d", pair[1]);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        fcntl(pair[1], F_SETFD, 0);
        execl(path, "probe", role, fd, NULL);
        _exit(127);
    }
    close(pair[1]);
    close(output[1]);
    close(input[0]);
    p->wire = pair[0];
    p->output = output[0];
    p->input = input[1];
    pass_descriptors(p->wire);
}

/* The next line without its newline; false at the end. */
static bool next_line(const Probe *p, bool is_worker, char *line, size_t n)
{
    size_t used = 0;
    if (is_worker) {
        ssize_t got = recv(p->wire, line, n - 1, 0);
        used = got > 0 ? (size_t)got : 0;
    } else {
        while (used < n - 1 && read(p->output, line + used, 1) == 1 && line[used] != '\n')
            used++;
    }
    line[used] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return used != 0;
}

static bool is_refusal(int code)
{
    return code == EPERM || code == EACCES || code == EAFNOSUPPORT || code == ENOSYS;
}

static void check_status(pid_t pid)
{
    char path[64], line[256];
    int seccomp = -1, no_new_privs = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        sscanf(line, "Seccomp: %d", &seccomp);
        sscanf(line, "NoNewPrivs: %d", &no_new_privs);
    }
    fclose(file);
    assert_int_equal(seccomp, 2);
    assert_int_equal(no_new_privs, 1);
}

static void finish(Probe *p)
{
    int status;
    (void)!send(p->wire, "x", 1, MSG_NOSIGNAL);
    (void)!write(p->input, "x", 1);
    close(p->wire);
    close(p->output);
    close(p->input);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_true(WIFEXITED(status)); /* no refusal kills: SIGSYS would show here */
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void check_all_refused(const char *role)
{
    bool is_worker = strcmp(role, "tool") != 0, ended = false;
    size_t n_main = 0, n_older = 0, n_allowed = 0, n_wrong = 0;
    char line[256], thread[16], name[64];
    int code;
    Probe p;
    if (INK_SEAL_RELAXED)
        skip();
    start(&p, role);
    assert_true(next_line(&p, is_worker, line, sizeof(line)));
    assert_non_null(strstr(line, "\"sealed\":true"));
    while (!ended && next_line(&p, is_worker, line, sizeof(line))) {
        ended = strcmp(line, "{\"end\":true}") == 0;
        if (ended)
            break;
        assert_int_equal(sscanf(line,
                                "{\"thread\":\"%15[a-z]\",\"probe\":\"%63[^\"]\",\"errno\":%d}",
                                thread, name, &code),
                         3);
        bool allowed = strncmp(name, "allowed-", 8) == 0;
        bool wrong = allowed ? code != 0 : !is_refusal(code);
        if (wrong)
            print_error("%s from thread %s: errno %d\n", name, thread, code);
        n_wrong += wrong;
        n_allowed += allowed;
        n_main += !allowed && strcmp(thread, "main") == 0;
        n_older += !allowed && strcmp(thread, "older") == 0;
    }
    assert_true(ended);
    check_status(p.pid);
    finish(&p);
    assert_int_equal(n_wrong, 0);
    assert_true(n_main >= LEAST_PROBES);
    assert_int_equal(n_older, n_main);
    assert_int_equal(n_allowed, 5);
}

static void test_seal_worker_refuses_everything_from_both_threads(void **state)
{
    (void)state;
    check_all_refused("worker");
}

static void test_seal_inspect_refuses_everything_from_both_threads(void **state)
{
    (void)state;
    check_all_refused("inspect");
}

static void test_seal_tool_refuses_everything_but_its_files(void **state)
{
    (void)state;
    check_all_refused("tool");
}

/* Whether a seal holds is decided when the program is built, by nobody later. */
static void test_seal_environment_cannot_relax_it(void **state)
{
    static const char *const names[] = {
        "INKLING_SEAL", "INKLING_SEAL_RELAXED", "INK_SEAL",          "INK_SEAL_RELAXED",
        "SEAL",         "INKLING_DEBUG",        "INKLING_NO_SANDBOX"};
    static const char *const values[] = {"relaxed", "0", "1", "off"};
    (void)state;
    for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            setenv(names[i], values[v], 1);
        check_all_refused("worker");
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
}

/* -- the worker program itself ----------------------------------------------------------------- */

static pid_t start_worker(const char *first, int *ret_wire)
{
    int pair[2];
    char path[4096], fd[32];
    const char *build = getenv("INKLING_BUILD_DIR");
    assert_non_null(build);
    snprintf(path, sizeof(path), "%s/engine/worker/inkling-worker", build);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    snprintf(fd, sizeof(fd), "--fd=%d", pair[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        fcntl(pair[1], F_SETFD, 0);
        execl(path, "inkling-worker", first, fd, NULL);
        _exit(127);
    }
    close(pair[1]);
    *ret_wire = pair[0];
    return pid;
}

static int exit_status(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_ready(int wire)
{
    struct pollfd p = {.fd = wire, .events = POLLIN};
    InkWireReady ready = {0};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(recv(wire, &ready, sizeof(ready), 0), sizeof(ready));
    assert_int_equal(ready.header.type, INK_WIRE_READY);
    assert_int_equal(ready.version, INK_WIRE_VERSION);
    assert_int_equal(ready.seccomp, !INK_SEAL_RELAXED);
}

static void test_seal_worker_is_sealed_when_it_says_ready(void **state)
{
    (void)state;
    int wire;
    pid_t pid = start_worker("--role=serve", &wire);
    expect_ready(wire);
    if (!INK_SEAL_RELAXED)
        check_status(pid);
    close(wire); /* its ordinary end */
    assert_int_equal(exit_status(pid), 0);
}

static void test_seal_worker_exits_on_a_broken_frame_and_on_wrong_use(void **state)
{
    (void)state;
    int wire;
    pid_t pid = start_worker("--role=serve", &wire);
    expect_ready(wire);
    assert_int_equal(send(wire, "garbage", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(exit_status(pid), 1);
    close(wire);
    static const char *const wrong[] = {"--role=train", "--role=serve --fd=0", "serve", "--help"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        pid = start_worker(wrong[i], &wire);
        assert_int_equal(exit_status(pid), 2);
        close(wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seal_worker_refuses_everything_from_both_threads),
        cmocka_unit_test(test_seal_inspect_refuses_everything_from_both_threads),
        cmocka_unit_test(test_seal_tool_refuses_everything_but_its_files),
        cmocka_unit_test(test_seal_environment_cannot_relax_it),
        cmocka_unit_test(test_seal_worker_is_sealed_when_it_says_ready),
        cmocka_unit_test(test_seal_worker_exits_on_a_broken_frame_and_on_wrong_use),
    };
    signal(SIGPIPE, SIG_IGN); /* a probe may be gone before its pipe is written */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
