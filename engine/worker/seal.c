/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/seal.h"

#include "ink-config.h"

#if INK_SEAL_RELAXED

int ink_seal(InkSealProfile profile, int socket_fd, InkSealStatus *ret, InkError *reterr)
{
    (void)profile, (void)socket_fd, (void)reterr;
    *ret = (InkSealStatus){.seccomp = false, .landlock_abi = 0};
    return 0;
}

#else

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/cleanup.h"

/* Frames that wait keep theirs (MAX_WAITING of protocol.c), one may bring some more, and those that
 * are closed as surplus need room first. With too few the kernel cuts a frame, which ends the
 * worker. */
#define MAX_DESCRIPTORS         256

/* The headers of Debian 12 lack the newer of these. */
#define LANDLOCK_CREATE_VERSION 1u
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* -- Landlock: no path, no TCP port, no signal or abstract socket beyond this process -----------
 */

typedef struct LandlockRuleset {
    uint64_t handled_fs;
    uint64_t handled_net; /* ABI 4 */
    uint64_t scoped;      /* ABI 6 */
} LandlockRuleset;

/* Rights that each ABI knows: asking for one that the kernel does not know is an error, and leaving
 * one out that it knows would leave that one open. ABI 5 brought ioctl on devices. */
static uint64_t landlock_fs_rights(int abi)
{
    static const unsigned n_rights[] = {0, 13, 14, 15, 15, 16};
    unsigned n = abi < 5 ? n_rights[abi] : n_rights[5];
    return (UINT64_C(1) << n) - 1;
}

static int apply_landlock(int *ret_abi, InkError *reterr)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_VERSION);
    if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
        *ret_abi = 0; /* seccomp alone keeps every path shut; READY tells the broker */
        return 0;
    }
    INK_CHECK(abi >= 1 && abi < INT_MAX, EOPNOTSUPP, reterr, "Landlock does not tell its version");
    LandlockRuleset ruleset = {.handled_fs = landlock_fs_rights((int)abi),
                               .handled_net = abi >= 4 ? 3 : 0,
                               .scoped = abi >= 6 ? 3 : 0};
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    _cleanup_close_ int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return INK_RAISE(errno, reterr, "Landlock (ABI %ld) failed: errno %d", abi, errno);
    /* Proof that it holds, before seccomp hides it: an empty rule set opens nothing. */
    int probe = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (probe >= 0) {
        close(probe);
        return INK_RAISE(EOPNOTSUPP, reterr, "Landlock (ABI %ld) is set and does not hold", abi);
    }
    *ret_abi = (int)abi;
    return 0;
}

/* In libc's fstat() of Debian 12 the system call is newfstatat with an empty path, and no filter
 * can look behind a pointer: allowing that would allow stat of every path. So programs that link
 * this file get an fstat() that is the plain call, and newfstatat stays shut. */
int fstat(int fd, struct stat *st)
{
    return (int)syscall(SYS_fstat, fd, st);
}

/* -- seccomp ----------------------------------------------------------------------------------- */

/* Refused calls return EPERM instead of killing: the call does not happen either way, a probe can
 * see and count each refusal, and a call that a new libc tries first and can do without (as clone3)
 * does not take the service down. */
#define REFUSED SCMP_ACT_ERRNO(EPERM)

/* Calls that both profiles have whatever their arguments: memory, threads, clocks, signals to
 * itself, the end. sysinfo is what qsort of this libc asks for the size of memory. */
static const int common_calls[] = {
    SCMP_SYS(brk),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(fstat),
    SCMP_SYS(futex),
    SCMP_SYS(getpid),
    SCMP_SYS(getrandom),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(madvise),
    SCMP_SYS(mremap),
    SCMP_SYS(msync),
    SCMP_SYS(munmap),
    SCMP_SYS(nanosleep),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sysinfo),
};

/* Reading and writing what is open already. */
static const int tool_calls[] = {
    SCMP_SYS(lseek), SCMP_SYS(pread64), SCMP_SYS(read),
    SCMP_SYS(readv), SCMP_SYS(write),   SCMP_SYS(writev),
};

/* What a helper does with the files that it is handed: none of these opens one. */
static const int inspect_calls[] = {
    SCMP_SYS(fallocate),
    SCMP_SYS(fsync),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
};

/* Flags of clone that no thread needs; CLONE_THREAD itself must be set. */
#define CLONE_MASK                                                                                 \
    (CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |  \
     CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE | CLONE_VFORK | CLONE_PARENT)

static int allow_calls(scmp_filter_ctx filter, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Calls that are let through for some arguments only; `value` is compared under `mask`. */
typedef struct ArgumentRule {
    int call;
    unsigned argument;
    uint64_t mask, value;
} ArgumentRule;

/* A descriptor or option number: the kernel looks at 32 bits, so does the rule. */
#define INT_MASK UINT64_C(0xFFFFFFFF)

static int allow_argument_rules(scmp_filter_ctx filter, const ArgumentRule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct scmp_arg_cmp compare = {.arg = rules[i].argument,
                                       .op = SCMP_CMP_MASKED_EQ,
                                       .datum_a = rules[i].mask,
                                       .datum_b = rules[i].value};
        int r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, 1, &compare);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_common_rules(scmp_filter_ctx filter)
{
    const ArgumentRule rules[] = {
        {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
        {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
        {SCMP_SYS(clone), 0, CLONE_MASK, CLONE_THREAD},
        {SCMP_SYS(tgkill), 0, INT_MASK, (uint64_t)getpid()}, /* as libc's own end does */
        {SCMP_SYS(fcntl), 1, INT_MASK, F_GETFD},
        {SCMP_SYS(fcntl), 1, INT_MASK, F_GETFL},
        {SCMP_SYS(fcntl), 1, INT_MASK, F_GET_SEALS},
        {SCMP_SYS(prctl), 0, INT_MASK, PR_SET_NAME},
        {SCMP_SYS(prctl), 0, INT_MASK, PR_SET_VMA},
        {SCMP_SYS(sched_setaffinity), 0, INT_MASK, 0}, /* of the calling thread */
    };
    int r = allow_calls(filter, common_calls, sizeof(common_calls) / sizeof(common_calls[0]));
    if (r == 0)
        r = allow_argument_rules(filter, rules, sizeof(rules) / sizeof(rules[0]));
    /* Its flags lie in memory, where no filter can look; libc then falls back to clone. */
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return r;
}

static int add_profile_rules(scmp_filter_ctx filter, InkSealProfile profile, int socket_fd)
{
    const ArgumentRule worker_rules[] = {
        {SCMP_SYS(sendmsg), 0, INT_MASK, (uint64_t)socket_fd},
        {SCMP_SYS(recvmsg), 0, INT_MASK, (uint64_t)socket_fd},
        {SCMP_SYS(write), 0, INT_MASK, STDERR_FILENO},
        {SCMP_SYS(writev), 0, INT_MASK, STDERR_FILENO},
    };
    const ArgumentRule tool_rules[] = {
        {SCMP_SYS(ioctl), 1, INT_MASK, TCGETS}, /* isatty(), for the buffering of output */
    };
    int r = 0;
    if (profile == INK_SEAL_INSPECT)
        r = allow_calls(filter, inspect_calls, sizeof(inspect_calls) / sizeof(inspect_calls[0]));
    if (profile != INK_SEAL_TOOL)
        return r < 0 ? r
                     : allow_argument_rules(filter, worker_rules,
                                            sizeof(worker_rules) / sizeof(worker_rules[0]));
    r = allow_calls(filter, tool_calls, sizeof(tool_calls) / sizeof(tool_calls[0]));
    return r < 0 ? r
                 : allow_argument_rules(filter, tool_rules,
                                        sizeof(tool_rules) / sizeof(tool_rules[0]));
}

static void filter_release_p(scmp_filter_ctx *filter)
{
    if (*filter != NULL)
        seccomp_release(*filter);
}

static int apply_seccomp(InkSealProfile profile, int socket_fd, InkError *reterr)
{
    _cleanup_(filter_release_p) scmp_filter_ctx filter = seccomp_init(REFUSED);
    INK_CHECK(filter != NULL, ENOMEM, reterr, "no memory for the seccomp filter");
    int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, REFUSED);
    if (r == 0) /* a tree instead of a list: futex and recvmsg are on the hot path */
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = add_common_rules(filter);
    if (r == 0)
        r = add_profile_rules(filter, profile, socket_fd);
    if (r == 0)
        r = seccomp_load(filter);
    INK_CHECK(r == 0, EOPNOTSUPP, reterr, "the seccomp filter was not taken: errno %d", -r);
    INK_CHECK(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0, EOPNOTSUPP, reterr,
              "the seccomp filter is loaded and does not hold");
    return 0;
}

/* -- the rest ---------------------------------------------------------------------------------- */

static int limit(int resource, rlim_t most, InkError *reterr)
{
    struct rlimit l = {.rlim_cur = most, .rlim_max = most}, now;
    if (getrlimit(resource, &now) == 0 && now.rlim_max < most)
        l = (struct rlimit){.rlim_cur = now.rlim_max, .rlim_max = now.rlim_max};
    if (setrlimit(resource, &l) < 0)
        return INK_RAISE(errno, reterr, "resource limit %d failed: errno %d", resource, errno);
    return 0;
}

/* Whatever the parent left open is not for a worker. */
static int close_all_but(int socket_fd, InkError *reterr)
{
    int r = 0;
    if (socket_fd > STDERR_FILENO + 1)
        r = close_range(STDERR_FILENO + 1, (unsigned)socket_fd - 1, 0);
    if (r == 0)
        r = close_range((unsigned)socket_fd + 1, ~0u, 0);
    if (r < 0)
        return INK_RAISE(errno, reterr, "closing inherited descriptors failed: errno %d", errno);
    return 0;
}

int ink_seal(InkSealProfile profile, int socket_fd, InkSealStatus *ret, InkError *reterr)
{
    InkSealStatus status = {0};
    if (profile != INK_SEAL_TOOL) {
        INK_CHECK(socket_fd > STDERR_FILENO && fcntl(socket_fd, F_GETFD) >= 0, EINVAL, reterr,
                  "socket_fd %d is not an open descriptor above 2", socket_fd);
        INK_TRY(close_all_but(socket_fd, reterr));
    }
    INK_TRY(limit(RLIMIT_CORE, 0, reterr));
    INK_TRY(limit(RLIMIT_NOFILE, MAX_DESCRIPTORS, reterr));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return INK_RAISE(errno, reterr, "prctl failed: errno %d", errno);
    /* The kernel's own refusal of executable memory, since 6.3; seccomp refuses it as well. */
    if (prctl(PR_SET_MDWE, 1, 0, 0, 0) < 0 && errno != EINVAL)
        return INK_RAISE(errno, reterr, "PR_SET_MDWE failed: errno %d", errno);
    INK_TRY(apply_landlock(&status.landlock_abi, reterr));
    INK_TRY(apply_seccomp(profile, socket_fd, reterr));
    status.seccomp = true;
    *ret = status;
    return 0;
}

#endif
