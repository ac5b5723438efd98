/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The one error idiom. A fallible function returns 0, a negative errno (and then fills the optional
 * InkError and leaves its outputs untouched), or a positive outcome named in its header.
 *
 * Codes mean the same everywhere, so that ipc/bus-errors.c can map each to one D-Bus name:
 *
 *   EINVAL      argument is wrong            EMSGSIZE   does not fit the context window
 *   E2BIG       over a stated limit          EBADMSG    model file is not sound
 *   ENODEV      no model is installed        ENOENT     no such model
 *   ENOMSG      no such item                 ENXIO      no such object of this caller
 *   EBUSY       a queue is full              EDQUOT     quota used up
 *   EALREADY    the session is busy          EEXIST     a thing of that name is there
 *   ECANCELED   was cancelled                ETIME      time is over
 *   EIO         the store failed             EREMOTEIO  the worker died
 *   EACCES      not permitted                EOPNOTSUPP this build or model cannot do it
 *   ENOMEM      out of memory                ESHUTDOWN  the service is stopping
 *   EPROTO      the other side broke the protocol
 *
 * Messages name the field and the limit, and never hold text of the user. Thread: no state. */
#pragma once

#include <errno.h>
#include <stddef.h>

/* The public header of libinkling (ipc/client.h) stands alone and has the same lines. */
#ifndef INK_ERROR_MESSAGE_BYTES
#define INK_ERROR_MESSAGE_BYTES 240

typedef struct InkError {
    int code;                              /* positive errno; 0 = not set */
    char message[INK_ERROR_MESSAGE_BYTES]; /* for people; always terminated; valid UTF-8 */
} InkError;
#endif

#define INK_MUST_CHECK __attribute__((warn_unused_result))

/* Fills `reterr` (may be NULL) and returns -code. */
int ink_error_raise(InkError *reterr, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "ENAME" of an errno for machine-read output ("EINVAL"); "EUNKNOWN" for what the table above
 * lacks. */
const char *ink_error_name(int code);

#define INK_RAISE(code, reterr, ...) ink_error_raise((reterr), (code), __VA_ARGS__)

#define INK_TRY(expr)                                                                              \
    do {                                                                                           \
        int ink_try_r_ = (expr);                                                                   \
        if (ink_try_r_ < 0)                                                                        \
            return ink_try_r_;                                                                     \
    } while (0)

#define INK_CHECK(cond, code, reterr, ...)                                                         \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return INK_RAISE((code), (reterr), __VA_ARGS__);                                       \
    } while (0)
