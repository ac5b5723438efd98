/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Which application a process belongs to, told from what the process itself cannot choose once it
 * is in a sandbox: the file /.flatpak-info of its root, its security label; and for host programs,
 * which can pretend anyway, its cgroup, unit or program name.
 *
 *   org.example.App       Flatpak, its id: D-Bus-like with at least one dot, never "snap."
 *   snap.NAME             snap
 *   app:org.example.App   host, cgroup app-[LAUNCHER-]APPID-RANDOM.scope or .service
 *   unit:NAME.service     host, another service of the user manager
 *   exe:BASENAME          host, the rest
 *   unknown               sandboxed, or not to be told apart from that: everything is denied
 *
 * An id says its kind, so that a host program named like a Flatpak has another scope and other
 * permissions than that Flatpak. Whatever is not exactly as expected makes a process unknown, never
 * a host program.
 *
 * Owns: nothing; descriptors are borrowed. Errors: negative errno. Thread: no state.
 * Source: Flatpak's flatpak-run.c for the file, xdg-desktop-portal's xdp-app-info for the order of
 * the questions, systemd's "Desktop Environment Integration" for names of cgroups. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "ipc/service.h"

#define INK_IDENTITY_MAX_BYTES 255u
#define INK_IDENTITY_MAX_FILE_BYTES                                                                \
    65536u /* of .flatpak-info, cgroup; real ones have some 1000                                   \
            */
#define INK_IDENTITY_UNKNOWN "unknown"

typedef struct InkIdentity {
    InkCallerKind kind;
    char app_id[INK_IDENTITY_MAX_BYTES + 1]; /* never empty */
} InkIdentity;

/* The folder /proc/PID of a process that a pidfd holds: while the pidfd lives after this, the
 * folder is that process's. -ESRCH when it is gone. */
INK_MUST_CHECK int ink_identity_open_process(uint32_t pid, int *ret_process_fd);
/* A pidfd of `pid`; -ESRCH. */
INK_MUST_CHECK int ink_identity_open_pidfd(uint32_t pid, int *ret_pidfd);
/* The process, all its threads, has not ended. */
bool ink_identity_is_alive(int pidfd);
/* The pid of a pidfd that came from elsewhere; -ESRCH when it ended or is not in our namespace. */
INK_MUST_CHECK int ink_identity_pid_of(int pidfd, uint32_t *ret_pid);
/* Since boot, in steps of a clock tick; -ESRCH. */
INK_MUST_CHECK int ink_identity_started_usec(int process_fd, uint64_t *ret_usec);
/* Does it hold a socket at all? Who has given its connection away, or has taken over the number of
 * a process that did, often has none. True where that is not to be seen. */
bool ink_identity_has_socket(int process_fd);

/* `process_fd` is /proc/PID or a test's folder; `label` the security label that the bus has seen,
 * NULL = read it. `host_fds` are folders of processes that are surely on the host: one whose root
 * may not be opened is a host program only if it has the very mounts of one of these. Always gives
 * an answer. */
void ink_identity_read(int process_fd, const char *label, const int *host_fds, size_t n_host_fds,
                       InkIdentity *ret);

/* The kind of an id; -EINVAL for what no caller can be called. */
INK_MUST_CHECK int ink_identity_kind_of(const char *app_id, InkCallerKind *ret_kind);

/* ------------------------------------------------------------- identity-parse.c
 * Texts from outside. All: 0, -EBADMSG for what is not as it has to be, -ENOENT for what tells of
 * no application; `out` is an id as above. */

typedef char InkIdentityName[INK_IDENTITY_MAX_BYTES + 1];

INK_MUST_CHECK int ink_identity_parse_flatpak(const char *text, size_t n_bytes,
                                              InkIdentityName out);
INK_MUST_CHECK int ink_identity_parse_label(const char *label, InkIdentityName out);
INK_MUST_CHECK int ink_identity_parse_cgroup(const char *text, size_t n_bytes, InkIdentityName out);
/* The file name of a program or, with no path, a process name; always gives a name. */
void ink_identity_name_program(const char *path, InkIdentityName out);
