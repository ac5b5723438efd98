/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The worker, or a helper that inspects, as a process: executed with its end of a SOCK_SEQPACKET
 * pair as descriptor 3, null, null and the log as 0 to 2, no other descriptor, a short list of
 * environment variables, and a higher score for the kernel's out-of-memory killer. It dies with the
 * broker. Owns: the pidfd. Errors: negative errno of fork and friends. Thread: the loop thread. */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "engine/base/error.h"

#define INK_WORKER_SOCKET_FD 3

typedef struct InkWorkerProcess {
    pid_t pid; /* 0 = none */
    int pidfd;
} InkWorkerProcess;
#define INK_WORKER_PROCESS_INIT ((InkWorkerProcess){.pidfd = -1})

/* `role`: "serve", "inspect". */
INK_MUST_CHECK int ink_worker_process_spawn(const char *path, const char *role,
                                            InkWorkerProcess *ret, int *ret_socket,
                                            InkError *reterr);
/* SIGKILL; it is reaped by the loop when it is gone. `p` is empty afterwards. */
void ink_worker_process_kill(InkWorkerProcess *p, sd_event *event);
