/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/worker-process.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "daemon/bounds.h"
#include "daemon/log.h"
#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"

/* A person's environment may hold secrets, and the worker is where hostile input is read. */
static const char *const kept_variables[] = {
    "INKLING_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "LD_LIBRARY_PATH=",
};

static char **make_environment(void)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    char **list = ink_alloc_array(n + 1, sizeof *list);
    if (list == NULL)
        return NULL;
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < sizeof kept_variables / sizeof *kept_variables; j++)
            if (strncmp(environ[i], kept_variables[j], strlen(kept_variables[j])) == 0) {
                list[n_kept++] = environ[i];
                break;
            }
    return list;
}

static void child_raise_oom_score(void)
{
    /* The files of a process that is not dumpable belong to root; exec() makes it so again. */
    prctl(PR_SET_DUMPABLE, 1);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = write(fd, INK_LIMIT_WORKER_OOM_SCORE, strlen(INK_LIMIT_WORKER_OOM_SCORE));
    (void)n; /* a preference: the kernel may have its reasons */
    close(fd);
}

/* Between fork() and exec(): calls that are safe in a child of a threaded process only. */
_Noreturn static void child_run(const char *path, char *role, char **environment, int socket_fd,
                                pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    child_raise_oom_score();
    int null_fd = open("/dev/null", O_RDWR);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0)
        _exit(127);
    if (socket_fd == INK_WORKER_SOCKET_FD)
        fcntl(socket_fd, F_SETFD, 0);
    else if (dup2(socket_fd, INK_WORKER_SOCKET_FD) < 0)
        _exit(127);
    close_range(INK_WORKER_SOCKET_FD + 1, ~0u, 0);

    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    char name[] = "inkling-worker", fd[] = "--fd=3";
    static_assert(INK_WORKER_SOCKET_FD == 3, "--fd");
    char *args[] = {name, role, fd, NULL};
    execve(path, args, environment);
    _exit(127);
}

int ink_worker_process_spawn(const char *path, const char *role, InkWorkerProcess *ret,
                             int *ret_socket, InkError *reterr)
{
    char argument[32];
    snprintf(argument, sizeof argument, "--role=%s", role);
    INK_CHECK(access(path, X_OK) == 0, EREMOTEIO, reterr, "the worker program is missing: %s",
              strerror(errno));
    _cleanup_free_ char **environment = make_environment();
    INK_CHECK(environment != NULL, ENOMEM, reterr, "worker: out of memory");
    int pair[2];
    INK_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, EREMOTEIO, reterr,
              "worker: no socket pair: %s", strerror(errno));
    _cleanup_close_ int ours = pair[0];
    _cleanup_close_ int theirs = pair[1];
    INK_CHECK(fcntl(ours, F_SETFL, O_NONBLOCK) == 0, EREMOTEIO, reterr, "worker: socket: %s",
              strerror(errno));

    pid_t parent = getpid(), pid = fork();
    INK_CHECK(pid >= 0, EREMOTEIO, reterr, "worker: no process: %s", strerror(errno));
    if (pid == 0)
        child_run(path, argument, environment, theirs, parent);
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        int code = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return INK_RAISE(EREMOTEIO, reterr, "worker: no pidfd: %s", strerror(code));
    }
    *ret = (InkWorkerProcess){.pid = pid, .pidfd = pidfd};
    *ret_socket = INK_TAKE_FD(ours);
    return 0;
}

/* ------------------------------------------------------------------ the end */

static void log_end(const siginfo_t *info)
{
    if (info->si_code == CLD_EXITED && info->si_status != 0)
        ink_log_warning("worker %d exited with %d", (int)info->si_pid, info->si_status);
    else if (info->si_code != CLD_EXITED && info->si_status != SIGKILL)
        ink_log_warning("worker %d died of signal %d", (int)info->si_pid, info->si_status);
}

static int on_gone(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    siginfo_t info = {0};
    (void)revents;
    (void)userdata;
    if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
        return 0;
    if (info.si_pid != 0)
        log_end(&info);
    sd_event_source_disable_unref(source); /* closes the pidfd, too */
    return 0;
}

void ink_worker_process_kill(InkWorkerProcess *p, sd_event *event)
{
    if (p->pid == 0)
        return;
    /* What has died by itself keeps its own reason. */
    (void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
    sd_event_source *source;
    if (event != NULL && sd_event_add_io(event, &source, p->pidfd, EPOLLIN, on_gone, NULL) >= 0) {
        sd_event_source_set_io_fd_own(source, true);
        sd_event_source_set_floating(source, true);
        sd_event_source_unref(source);
    } else {
        waitpid(p->pid, NULL, 0);
        close(p->pidfd);
    }
    *p = INK_WORKER_PROCESS_INIT;
}
