/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/identity.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"

/* Mounts of a desktop with many snaps and containers: some hundred lines. */
#define MAX_MOUNTS_BYTES (4u << 20)

INK_DEFINE_CLEANUP(DIR, closedir, close_dir_p)

/* ---------------------------------------------------------------- processes */

int ink_identity_open_pidfd(uint32_t pid, int *ret_pidfd)
{
    if (pid == 0 || pid > INT32_MAX)
        return -ESRCH;
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (fd < 0)
        return -errno;
    *ret_pidfd = fd;
    return 0;
}

int ink_identity_open_process(uint32_t pid, int *ret_process_fd)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%u", pid);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    *ret_process_fd = fd;
    return 0;
}

bool ink_identity_is_alive(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

/* At most `max` bytes of a file of the process; longer is -E2BIG. The text is terminated. */
static int read_file(int fd, size_t max, char **ret, size_t *ret_n)
{
    size_t n = 0, size = 4096;
    _cleanup_free_ char *text = ink_alloc_array(size + 1, 1);
    if (text == NULL)
        return -ENOMEM;
    for (;;) {
        ssize_t got = read(fd, text + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        n += (size_t)got;
        if (n > max)
            return -E2BIG;
        if (got == 0)
            break;
        if (n < size)
            continue;
        char *more = ink_realloc_array(text, size * 2 + 1, 1);
        if (more == NULL)
            return -ENOMEM;
        text = more;
        size *= 2;
    }
    text[n] = '\0';
    *ret = INK_TAKE(text);
    *ret_n = n;
    return 0;
}

static int read_entry(int process_fd, const char *name, size_t max, char **ret, size_t *ret_n)
{
    _cleanup_close_ int fd = openat(process_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return fd < 0 ? -errno : read_file(fd, max, ret, ret_n);
}

int ink_identity_pid_of(int pidfd, uint32_t *ret_pid)
{
    char path[48];
    _cleanup_free_ char *text = NULL;
    size_t n;
    long pid = 0;
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    int r = read_entry(AT_FDCWD, path, 4096, &text, &n);
    if (r < 0)
        return r;
    const char *line = strstr(text, "\nPid:");
    if (line == NULL || sscanf(line, "\nPid: %ld", &pid) != 1 || pid <= 0 || pid > INT32_MAX)
        return -ESRCH;
    *ret_pid = (uint32_t)pid;
    return 0;
}

int ink_identity_started_usec(int process_fd, uint64_t *ret_usec)
{
    _cleanup_free_ char *text = NULL;
    size_t n;
    unsigned long long ticks;
    int r = read_entry(process_fd, "stat", 4096, &text, &n);
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;
    /* the name in parentheses may hold anything; field 22 counts from 1 */
    const char *rest = strrchr(text, ')');
    if (rest == NULL || sscanf(rest + 1,
                               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                               "%*d %*d %*d %llu",
                               &ticks) != 1)
        return -EBADMSG;
    *ret_usec = ticks * (1000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    return 0;
}

bool ink_identity_has_socket(int process_fd)
{
    int fd = openat(process_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(close_dir_p) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return true;
    }
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char target[16];
        ssize_t n = readlinkat(fd, entry->d_name, target, sizeof(target));
        if (n < 0 ? errno == EACCES || errno == EPERM
                  : n >= 8 && memcmp(target, "socket:[", 8) == 0)
            return true;
    }
    return false;
}

/* ---------------------------------------------------------------- questions */

static void set(InkIdentity *ret, InkCallerKind kind, const char *app_id)
{
    ret->kind = kind;
    snprintf(ret->app_id, sizeof(ret->app_id), "%s", app_id);
}

/* The file is opened without following a link, and looked at before it is opened for reading, so
 * that no pipe or device of the sandbox is touched. -ENOENT: there is none. */
static int read_flatpak(int root_fd, InkIdentityName out)
{
    char path[48];
    struct stat st;
    _cleanup_free_ char *text = NULL;
    size_t n;
    _cleanup_close_ int found = openat(root_fd, ".flatpak-info", O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (found < 0)
        return errno == ENOENT ? -ENOENT : -EBADMSG;
    if (fstat(found, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 ||
        st.st_size > (off_t)INK_IDENTITY_MAX_FILE_BYTES)
        return -EBADMSG;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", found);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || read_file(fd, INK_IDENTITY_MAX_FILE_BYTES, &text, &n) < 0)
        return -EBADMSG;
    return ink_identity_parse_flatpak(text, n, out) < 0 ? -EBADMSG : 0;
}

/* Lines of mountinfo begin with the number of the mount, which no other namespace has, and leave
 * out what lies above the root: the same text is the same namespace and the same root. */
static bool has_mounts_of(int process_fd, const int *host_fds, size_t n_host_fds)
{
    _cleanup_free_ char *own = NULL;
    size_t n_own, n;
    if (read_entry(process_fd, "mountinfo", MAX_MOUNTS_BYTES, &own, &n_own) < 0 || n_own == 0)
        return false;
    for (size_t i = 0; i < n_host_fds; i++) {
        _cleanup_free_ char *other = NULL;
        if (host_fds[i] >= 0 &&
            read_entry(host_fds[i], "mountinfo", MAX_MOUNTS_BYTES, &other, &n) == 0 && n == n_own &&
            memcmp(own, other, n) == 0)
            return true;
    }
    return false;
}

/* -ENOENT: not a snap. A label that cannot be read is none: without the bus's word and with the
 * root readable, the process is at least not confined by AppArmor against this. */
static int read_snap(int process_fd, const char *label, InkIdentityName out)
{
    _cleanup_free_ char *text = NULL;
    size_t n;
    if (label == NULL || label[0] == '\0') {
        if (read_entry(process_fd, "attr/current", 4096, &text, &n) < 0)
            return -ENOENT;
        label = text;
    }
    return ink_identity_parse_label(label, out);
}

static void read_host(int process_fd, InkIdentity *ret)
{
    _cleanup_free_ char *cgroup = NULL, *comm = NULL;
    char exe[4096];
    InkIdentityName name;
    size_t n;
    if (read_entry(process_fd, "cgroup", INK_IDENTITY_MAX_FILE_BYTES, &cgroup, &n) == 0 &&
        ink_identity_parse_cgroup(cgroup, n, name) == 0) {
        set(ret, INK_CALLER_HOST, name);
        return;
    }
    ssize_t got = readlinkat(process_fd, "exe", exe, sizeof(exe) - 1);
    exe[got > 0 ? got : 0] = '\0';
    if (got <= 0 && read_entry(process_fd, "comm", 64, &comm, &n) == 0) {
        comm[strcspn(comm, "\n")] = '\0';
        snprintf(exe, sizeof(exe), "%s", comm);
    }
    ink_identity_name_program(exe, name);
    set(ret, INK_CALLER_HOST, name);
}

void ink_identity_read(int process_fd, const char *label, const int *host_fds, size_t n_host_fds,
                       InkIdentity *ret)
{
    InkIdentityName name;
    set(ret, INK_CALLER_UNKNOWN, INK_IDENTITY_UNKNOWN);
    int r = read_snap(process_fd, label, name);
    bool is_snap = r == 0;
    if (r < 0 && r != -ENOENT)
        return;
    if (is_snap)
        set(ret, INK_CALLER_SNAP, name);
    /* A link of the kernel, not of the process: it cannot lead elsewhere. */
    _cleanup_close_ int root = openat(process_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root >= 0) {
        r = read_flatpak(root, name);
        if (r == 0)
            set(ret, INK_CALLER_FLATPAK, name);
        else if (r != -ENOENT)
            set(ret, INK_CALLER_UNKNOWN, INK_IDENTITY_UNKNOWN);
        else if (!is_snap)
            read_host(process_fd, ret);
        return;
    }
    /* Programs that guard secrets forbid to look into them (prctl PR_SET_DUMPABLE): they are host
     * programs when they see exactly what a host program sees. A sandboxed one does not. */
    if (!is_snap && (errno == EACCES || errno == EPERM) &&
        has_mounts_of(process_fd, host_fds, n_host_fds))
        read_host(process_fd, ret);
}
