/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* libinkling: the service from a program's side, for the command line, editors and desktop apps.
 *
 *     ink_client_new(&client, &error);
 *     ink_client_start_pipe(client, "complete", &input, &stream, &error);
 *     while ((r = ink_stream_next(stream, &frame, &error)) == INK_STREAM_TEXT) fwrite(...);
 *
 * Owns: see each call. Errors: the service's own error as code and message (ink_client_error_name()
 * has the bus name); -ENOTCONN when there is no bus, -EHOSTUNREACH when nobody owns or can be
 * activated under the name. Thread: one client, one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/error.h"

typedef struct InkClient InkClient;
typedef struct InkStream InkStream;

/* Connects to the session bus ($DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus). */
INK_MUST_CHECK int ink_client_new(InkClient **ret, InkError *reterr);
InkClient *ink_client_free(InkClient *c);
INK_DEFINE_CLEANUP(InkClient, ink_client_free, ink_client_free_p)

/* For calls that this header has no wrapper for. */
sd_bus *ink_client_bus(InkClient *c);
/* Calls wait this long; 0 = the default of 25 s. */
void ink_client_set_timeout(InkClient *c, uint64_t usec);
/* D-Bus name of the last error ("org.inkling.Inkling1.Error.ContextOverflow"), "" when none. */
const char *ink_client_error_name(const InkClient *c);
/* Does somebody own the name now? Never starts the service. */
INK_MUST_CHECK int ink_client_is_running(InkClient *c, bool *ret, InkError *reterr);

/* A method call on the root object of interface INK_BUS_NAME.`interface`; `append` adds the
 * arguments (NULL = none). `auto_start` false = do not activate. `ret` may be NULL. */
typedef int InkClientAppend(sd_bus_message *m, void *userdata);
INK_MUST_CHECK int ink_client_call(InkClient *c, const char *interface, const char *method,
                                   bool auto_start, InkClientAppend *append, void *userdata,
                                   sd_bus_message **ret, InkError *reterr);
/* A property as a variant-typed message, positioned inside the variant's content. */
INK_MUST_CHECK int ink_client_property(InkClient *c, const char *interface, const char *property,
                                       bool auto_start, sd_bus_message **ret, InkError *reterr);

/* Generation with the text over a pipe. `append_input` and `append_options` add a{sv} entries to a
 * container that is already open. */
INK_MUST_CHECK int ink_client_start_pipe(InkClient *c, const char *kind,
                                         InkClientAppend *append_input,
                                         InkClientAppend *append_options, void *userdata,
                                         InkStream **ret, InkError *reterr);

typedef enum InkStreamEvent {
    INK_STREAM_TEXT = 1, /* frame.text */
    INK_STREAM_PROGRESS, /* frame.stage, frame.fraction */
    INK_STREAM_FINISHED, /* frame.status and results; nothing follows */
} InkStreamEvent;

typedef struct InkStreamFrame {
    const char *text; /* borrowed until the next call */
    size_t n_text_bytes;
    uint64_t offset_bytes;
    const char *stage;
    double fraction;
    uint32_t status; /* 0 success, 1 cancelled, 2 failed */
    /* FINISHED: the results as one JSON object, and the usual ones taken out of it. */
    const char *results_json;
    const char *finish_reason, *model, *error_name, *error_message, *kernels;
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    uint64_t queue_usec, load_usec, prefill_usec, decode_usec, seed;
} InkStreamFrame;

/* Waits for the next event; -EPIPE when the daemon died, -EINTR after a signal, so that the caller
 * may cancel. */
INK_MUST_CHECK int ink_stream_next(InkStream *s, InkStreamFrame *ret, InkError *reterr);
/* Request.Cancel; FINISHED still follows. */
INK_MUST_CHECK int ink_stream_cancel(InkStream *s, InkError *reterr);
InkStream *ink_stream_free(InkStream *s);
INK_DEFINE_CLEANUP(InkStream, ink_stream_free, ink_stream_free_p)
