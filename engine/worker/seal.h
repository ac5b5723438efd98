/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Locks the calling process in before it reads the first byte of input: no new files, sockets,
 * programs, executable memory, namespaces, tracing, signals to others or io_uring, on every thread
 * (seccomp with TSYNC; Landlock with an empty rule set where the kernel has it; NO_NEW_PRIVS; not
 * dumpable; no core file). What stays: memory, threads, futexes, clocks, and sendmsg/recvmsg.
 * Fails closed: an error means that the process must exit.
 * A library of its own (`ink_seal`: base and libseccomp), for worker, engine tools and extractor.
 * Errors: -EOPNOTSUPP (the kernel lacks seccomp), other negative errno. Thread: call once. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"

typedef enum InkSealProfile {
    INK_SEAL_WORKER,  /* sendmsg/recvmsg on `socket_fd` only */
    INK_SEAL_INSPECT, /* the same, and reading and writing at an offset, making room, syncing */
    INK_SEAL_TOOL,    /* read, write, seek, stat on descriptors that are open already; no sockets */
} InkSealProfile;

typedef struct InkSealStatus {
    bool seccomp;
    int landlock_abi; /* 0 = the kernel has none */
} InkSealStatus;

/* `socket_fd`: -1 for INK_SEAL_TOOL. In a build with -Dseal=relaxed (sanitizers) nothing is
 * locked and the status says so. */
INK_MUST_CHECK int ink_seal(InkSealProfile profile, int socket_fd, InkSealStatus *ret,
                            InkError *reterr);
