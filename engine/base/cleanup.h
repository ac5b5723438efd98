/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Scope-bound ownership: `_cleanup_(fn)` runs fn(&variable) when the variable leaves its scope, and
 * INK_TAKE() hands the value on. With both, a failing path is a plain `return`, and no `goto`
 * exists. Destructors accept NULL and half-built objects. Thread: no state. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Value of `p`, which becomes NULL: the caller of INK_TAKE owns it from here on. */
#define INK_TAKE(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) ink_taken_ = (p);                                                            \
        (p) = NULL;                                                                                \
        ink_taken_;                                                                                \
    })

/* The same for descriptors, whose empty value is -1. */
#define INK_TAKE_FD(fd)                                                                            \
    ({                                                                                             \
        int ink_taken_fd_ = (fd);                                                                  \
        (fd) = -1;                                                                                 \
        ink_taken_fd_;                                                                             \
    })

/* Defines `name(T **p)` for _cleanup_ out of a destructor that takes T *. */
#define INK_DEFINE_CLEANUP(T, destructor, name)                                                    \
    static inline void name(T **p)                                                                 \
    {                                                                                              \
        if (*p != NULL)                                                                            \
            destructor(*p);                                                                        \
    }

static inline void ink_free_p(void *p)
{
    free(*(void **)p);
}

static inline void ink_close_p(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void ink_fclose_p(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}

#define _cleanup_free_   _cleanup_(ink_free_p)
#define _cleanup_close_  _cleanup_(ink_close_p)
#define _cleanup_fclose_ _cleanup_(ink_fclose_p)
