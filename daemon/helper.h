/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One process of role inspect, for one model file (engine/worker/wire-inspect.h): started, given
 * its job, listened to, ended. What it says is hostile input, as a worker's: a frame that is broken
 * or does not fit what was asked for, silence, and an end without an answer are errors.
 *
 * Owns: the process and its socket; the descriptors of the job are lent for the call that starts.
 * Errors through `ended`: -EBADMSG (the file: not sound, or not for this build), -ENOSPC (no room
 * for the copy), -EIO, -EINVAL, -ENOMEM, -EREMOTEIO (the helper failed).
 * Thread: the loop thread; never waits. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "engine/worker/wire-inspect.h"

typedef struct InkHelper InkHelper;

typedef struct InkHelperJob {
    int model_fd;
    int copy_fd; /* -1 = none */
    bool hash;
    uint64_t size_bytes; /* of the model */
} InkHelperJob;

typedef struct InkHelperEvents {
    void (*progress)(void *userdata, InkInspectStage stage, double fraction); /* NULL = not told */
    /* Once, last, never before start returns; the helper may be freed in it. One of the two is
     * NULL. */
    void (*ended)(void *userdata, const InkInspectResult *result, const InkError *error);
} InkHelperEvents;

INK_MUST_CHECK int ink_helper_start(sd_event *event, const char *program, const InkHelperJob *job,
                                    const InkHelperEvents *events, void *userdata, InkHelper **ret,
                                    InkError *reterr);
/* Kills it if it still runs; without a callback. */
InkHelper *ink_helper_free(InkHelper *h);
INK_DEFINE_CLEANUP(InkHelper, ink_helper_free, ink_helper_free_p)
/* 0 = it has ended. */
int ink_helper_pid(const InkHelper *h);
