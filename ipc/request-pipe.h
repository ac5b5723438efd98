/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The write end of a StartPipe stream: JSON objects, one a line, into a non-blocking pipe of
 * 64 KiB. What does not fit waits here; since the service sends no more text than was credited and
 * credit returns only when all that waited has been written, a reader that does not read parks its
 * own request and costs a bounded amount of memory; and one that reads nothing for half a minute
 * gives its place in the worker up.
 *
 * Owns: the write end, event sources, what waits. Errors: negative errno. Thread: the loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

/* Text that may be on its way to one reader, besides what the pipe holds. */
#define INK_REQUEST_PIPE_CREDIT_BYTES 16384u
/* Without a byte being read, while something waits. */
#define INK_REQUEST_PIPE_STALL_USEC   30000000u

typedef struct InkRequestPipe InkRequestPipe;

typedef struct InkRequestPipeEvents {
    /* All that waited is written: this much text may come again. */
    void (*credit)(void *userdata, size_t n_bytes);
    /* The write end is closed: the reader left, or the last line is written. Once, from the loop.
     */
    void (*closed)(void *userdata);
    /* Nothing was read for the stall time: once; if the last line then still waits for as long, the
     * pipe is closed. */
    void (*stalled)(void *userdata);
} InkRequestPipeEvents;

/* `ret_read_fd` is the reader's end, owned by the caller. stall_usec 0 = the default. */
INK_MUST_CHECK int ink_request_pipe_new(sd_event *event, const InkRequestPipeEvents *events,
                                        void *userdata, uint64_t stall_usec, InkRequestPipe **ret,
                                        int *ret_read_fd);
/* Writes what there is room for, if finish() was called; tells nothing. */
InkRequestPipe *ink_request_pipe_free(InkRequestPipe *p);
INK_DEFINE_CLEANUP(InkRequestPipe, ink_request_pipe_free, ink_request_pipe_free_p)

/* {"offset":0,"text":"..."}; `n_credit_bytes`: what credit() gives back for it. */
void ink_request_pipe_text(InkRequestPipe *p, uint64_t offset_bytes, const char *text,
                           size_t n_bytes, size_t n_credit_bytes);
/* {"progress":{"stage":"prefill","fraction":0.5}} */
void ink_request_pipe_progress(InkRequestPipe *p, const char *stage, double fraction);
/* A whole JSON object: the last line. The pipe is closed when it is written. */
void ink_request_pipe_finish(InkRequestPipe *p, const char *json, size_t n_bytes);
/* Is there something that the reader has not taken? */
bool ink_request_pipe_is_waiting(const InkRequestPipe *p);
