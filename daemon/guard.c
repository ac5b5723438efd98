/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/guard.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/socket.h>

static int deny_families(scmp_filter_ctx filter)
{
    int calls[] = {SCMP_SYS(socket), SCMP_SYS(socketpair)};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        INK_TRY(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), calls[i], 1,
                                 SCMP_A0(SCMP_CMP_NE, AF_UNIX)));
    return 0;
}

static int deny_io_uring(scmp_filter_ctx filter)
{
    int calls[] = {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register)};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        INK_TRY(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0));
    return 0;
}

int ink_guard_lock(InkError *reterr)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    INK_CHECK(filter != NULL, ENOMEM, reterr, "network guard: out of memory");

    int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r == 0)
        r = deny_families(filter);
    if (r == 0)
        r = deny_io_uring(filter);
    if (r == 0)
        r = seccomp_load(filter); /* sets NO_NEW_PRIVS, which the worker inherits */
    seccomp_release(filter);
    INK_CHECK(r == 0, EOPNOTSUPP, reterr, "network guard: seccomp filter refused: %s",
              strerror(-r));
    return 0;
}
