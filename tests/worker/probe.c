/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Seals itself exactly as inkling-worker does, with a second thread that is older than the seal,
 * and then tries from both threads what the seal must refuse. Each attempt is one JSON line with
 * the errno it got (0: it went through), sent as a message on the inherited socket, since that is
 * all that is left. Built for the tests, never installed.
 *
 *   probe worker FD     probe inspect FD     probe tool FD   (a tool writes its lines to standard
 * output) */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "engine/base/cleanup.h"
#include "engine/worker/seal.h"

static int report_fd = -1;
static bool is_worker, inspects; /* who inspects is a worker, too */
static pid_t parent, self;
/* Made before the seal, so that an attempt fails for its own sake and not for want of an object. */
static int other_socket[2] = {-1, -1};
static int program_memfd = -1;
static void *page;

static void send_line(const char *line, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)line, n};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (is_worker)
        (void)!sendmsg(report_fd, &message, MSG_NOSIGNAL);
    else
        (void)!write(STDOUT_FILENO, line, n);
}

static void report(const char *thread, const char *name, long result)
{
    char line[160];
    int code = result < 0 ? errno : 0;
    int n = snprintf(line, sizeof(line), "{\"thread\":\"%s\",\"probe\":\"%s\",\"errno\":%d}\n",
                     thread, name, code);
    send_line(line, (size_t)n);
}

static long try_sendmsg(int fd)
{
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static long try_recvmsg(int fd)
{
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return recvmsg(fd, &message, MSG_DONTWAIT);
}

static void try_files(const char *t)
{
    struct stat st;
    report(t, "open", syscall(SYS_open, "/etc/passwd", O_RDONLY));
    report(t, "openat", openat(AT_FDCWD, "/etc/passwd", O_RDONLY));
    report(t, "openat2", syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", NULL, 0));
    report(t, "creat", syscall(SYS_creat, "/tmp/inkling-probe", 0600));
    report(t, "stat", syscall(SYS_stat, "/etc/passwd", &st));
    report(t, "newfstatat", syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, 0));
    report(t, "newfstatat-empty-path",
           syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, AT_EMPTY_PATH));
    report(t, "statx", syscall(SYS_statx, AT_FDCWD, "/etc/passwd", 0, 0, NULL));
    report(t, "access", syscall(SYS_access, "/etc/passwd", R_OK));
    report(t, "readlink", syscall(SYS_readlink, "/proc/self/exe", &st, sizeof(st)));
    report(t, "unlink", syscall(SYS_unlink, "/tmp/inkling-probe"));
    report(t, "getcwd", syscall(SYS_getcwd, &st, sizeof(st)));
    report(t, "name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/etc", NULL, NULL, 0));
    report(t, "open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, O_RDONLY));
    report(t, "memfd_create", syscall(SYS_memfd_create, "probe", 0));
    report(t, "dup", syscall(SYS_dup, report_fd));
    report(t, "dup2", syscall(SYS_dup2, other_socket[0], report_fd));
    report(t, "dup3", syscall(SYS_dup3, other_socket[0], report_fd, 0));
    report(t, "fcntl-dupfd", fcntl(report_fd, F_DUPFD, 10));
    report(t, "fcntl-setfl", fcntl(report_fd, F_SETFL, O_ASYNC));
    report(t, "fcntl-setown", fcntl(report_fd, F_SETOWN, parent));
    report(t, "pidfd_open", syscall(SYS_pidfd_open, parent, 0));
    report(t, "inotify_init1", syscall(SYS_inotify_init1, 0));
    report(t, "mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    report(t, "chroot", syscall(SYS_chroot, "/"));
    report(t, "setns", setns(report_fd, 0));
    report(t, "unshare-user", unshare(CLONE_NEWUSER));
}

static void try_sockets(const char *t)
{
    static const struct {
        const char *name;
        int family;
    } families[] = {{"socket-unix", AF_UNIX},     {"socket-inet", AF_INET},
                    {"socket-inet6", AF_INET6},   {"socket-netlink", AF_NETLINK},
                    {"socket-packet", AF_PACKET}, {"socket-vsock", AF_VSOCK},
                    {"socket-alg", AF_ALG},       {"socket-bluetooth", AF_BLUETOOTH}};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/none"};
    int pair[2];
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        report(t, families[i].name, socket(families[i].family, SOCK_DGRAM, 0));
    report(t, "socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    report(t, "connect", connect(report_fd, (struct sockaddr *)&address, sizeof(address)));
    report(t, "bind", bind(report_fd, (struct sockaddr *)&address, sizeof(address)));
    report(t, "listen", listen(report_fd, 1));
    report(t, "accept", accept(report_fd, NULL, NULL));
    report(t, "accept4", accept4(report_fd, NULL, NULL, 0));
    report(t, "sendto", sendto(report_fd, "x", 1, MSG_DONTWAIT, NULL, 0));
    report(t, "sendmmsg", sendmmsg(report_fd, NULL, 0, 0));
    report(t, "setsockopt", setsockopt(report_fd, SOL_SOCKET, SO_PASSCRED, &pair[0], sizeof(int)));
    report(t, "sendmsg-other", try_sendmsg(other_socket[0]));
    report(t, "recvmsg-other", try_recvmsg(other_socket[0]));
    report(t, "sendmsg-other-high-bits",
           syscall(SYS_sendmsg, 0x100000000ul | (unsigned)other_socket[0], NULL, 0));
    report(t, "io_uring_setup", syscall(SYS_io_uring_setup, 4, NULL));
    report(t, "io_uring_enter", syscall(SYS_io_uring_enter, report_fd, 0, 0, 0, NULL, 0));
    report(t, "io_uring_register", syscall(SYS_io_uring_register, report_fd, 0, NULL, 0));
}

static void try_processes(const char *t)
{
    char *const arguments[] = {(char *)"true", NULL};
    struct iovec iov = {page, 8};
    union bpf_attr bpf = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    struct perf_event_attr perf = {.size = sizeof(perf), .type = PERF_TYPE_SOFTWARE};
    report(t, "execve", execve("/bin/true", arguments, arguments + 1));
    report(t, "execveat-memfd",
           syscall(SYS_execveat, program_memfd, "", arguments, arguments + 1, AT_EMPTY_PATH));
    long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(0);
    report(t, "clone-process", child);
    child = syscall(SYS_fork);
    if (child == 0)
        _exit(0);
    report(t, "fork", child);
    report(t, "clone-newuser", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
    report(t, "clone3", syscall(SYS_clone3, NULL, 0));
    report(t, "ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    report(t, "ptrace-attach", ptrace(PTRACE_SEIZE, parent, NULL, NULL));
    report(t, "process_vm_readv", process_vm_readv(parent, &iov, 1, &iov, 1, 0));
    report(t, "kill-parent", kill(parent, 0));
    report(t, "tgkill-parent", syscall(SYS_tgkill, parent, parent, 0));
    report(t, "tkill-parent", syscall(SYS_tkill, parent, 0));
    report(t, "rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, parent, 0, NULL));
    report(t, "bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &bpf, sizeof(bpf)));
    report(t, "perf_event_open", syscall(SYS_perf_event_open, &perf, 0, -1, -1, 0));
    report(t, "keyctl", syscall(SYS_keyctl, 0, -3, 0));
    report(t, "add_key", syscall(SYS_add_key, "user", "probe", "x", 1, -2));
    report(t, "seccomp", syscall(SYS_seccomp, 0, 0, NULL));
    report(t, "prctl-dumpable", syscall(SYS_prctl, 4, 1, 0, 0, 0));
    report(t, "prlimit", syscall(SYS_prlimit64, 0, 7, NULL, NULL));
    report(t, "setuid", syscall(SYS_setuid, 0));
    report(t, "personality", syscall(SYS_personality, 0x0400000));
}

static void try_memory(const char *t)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    report(t, "mmap-rwx", p == MAP_FAILED ? -1 : 0);
    p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, program_memfd, 0);
    report(t, "mmap-rx-memfd", p == MAP_FAILED ? -1 : 0);
    report(t, "mprotect-exec", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    report(t, "pkey_mprotect", syscall(SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1));
    report(t, "userfaultfd", syscall(SYS_userfaultfd, 0));
    report(t, "shmget", syscall(SYS_shmget, 0, 4096, 01600));
    report(t, "remap_file_pages", syscall(SYS_remap_file_pages, page, 4096, 0, 0, 0));
}

static void try_all(const char *thread)
{
    try_files(thread);
    if (is_worker) {
        report(thread, "read", read(other_socket[0], page, 1));
        report(thread, "write-other", write(other_socket[0], "x", 1));
    }
    if (is_worker && !inspects) {
        report(thread, "pread64", syscall(SYS_pread64, program_memfd, page, 1, 0));
        report(thread, "pwrite64", syscall(SYS_pwrite64, program_memfd, page, 1, 0));
        report(thread, "fallocate", syscall(SYS_fallocate, program_memfd, 0, 0, 1));
        report(thread, "fsync", syscall(SYS_fsync, program_memfd));
    }
    try_sockets(thread);
    try_processes(thread);
    try_memory(thread);
}

/* What must still work. */
static void *nothing(void *unused)
{
    return unused;
}

static void try_allowed(const char *t)
{
    struct stat st;
    pthread_t thread;
    report(t, "allowed-fstat", fstat(STDERR_FILENO, &st));
    report(t, "allowed-get-seals", fcntl(program_memfd, F_GET_SEALS));
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    report(t, "allowed-mmap", p == MAP_FAILED ? -1 : 0);
    errno = pthread_create(&thread, NULL, nothing, NULL);
    report(t, "allowed-thread", errno != 0 ? -1 : 0);
    if (errno == 0)
        pthread_join(thread, NULL);
    report(t, "allowed-signal-self", syscall(SYS_tgkill, self, syscall(SYS_gettid), 0));
}

static pthread_barrier_t sealed, done;

static void *older_thread(void *unused)
{
    pthread_barrier_wait(&sealed);
    try_all("older");
    pthread_barrier_wait(&done);
    return unused;
}

/* The parent reads /proc/PID/status meanwhile. */
static void wait_for_parent(void)
{
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (is_worker)
        (void)!recvmsg(report_fd, &message, 0);
    else
        (void)!read(STDIN_FILENO, &byte, 1);
}

/* A worker's seal closes every other descriptor, so those to be tried come from the parent. */
static void receive_probe_descriptors(void)
{
    int fds[2] = {-1, -1};
    char byte, control[CMSG_SPACE(sizeof(fds))];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    if (recvmsg(report_fd, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message) != NULL)
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fds));
    other_socket[0] = fds[0];
    program_memfd = fds[1];
}

int main(int argc, char **argv)
{
    inspects = argc == 3 && strcmp(argv[1], "inspect") == 0;
    is_worker = inspects || (argc == 3 && strcmp(argv[1], "worker") == 0);
    if (!is_worker && (argc != 3 || strcmp(argv[1], "tool") != 0))
        return 2;
    InkSealProfile profile = inspects    ? INK_SEAL_INSPECT
                             : is_worker ? INK_SEAL_WORKER
                                         : INK_SEAL_TOOL;
    report_fd = atoi(argv[2]);
    parent = getppid();
    self = getpid();
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    if (page == MAP_FAILED || pthread_barrier_init(&sealed, NULL, 2) != 0 ||
        pthread_barrier_init(&done, NULL, 2) != 0 ||
        pthread_create(&thread, NULL, older_thread, NULL) != 0)
        return 1;
    if (!is_worker)
        receive_probe_descriptors(); /* its own descriptors stay open, and it may not receive later
                                      */
    InkSealStatus status;
    InkError e = {0};
    if (ink_seal(profile, is_worker ? report_fd : -1, &status, &e) < 0) {
        fprintf(stderr, "probe: %s\n", e.message);
        return 1;
    }
    if (is_worker)
        receive_probe_descriptors();
    char line[160];
    int n = snprintf(line, sizeof(line), "{\"sealed\":%s,\"landlock\":%d}\n",
                     status.seccomp ? "true" : "false", status.landlock_abi);
    send_line(line, (size_t)n);
    if (!status.seccomp)
        return 0; /* a relaxed build: nothing to try */
    try_all("main");
    pthread_barrier_wait(&sealed);
    pthread_barrier_wait(&done);
    try_allowed("main");
    send_line("{\"end\":true}\n", 13);
    wait_for_parent();
    return 0;
}
