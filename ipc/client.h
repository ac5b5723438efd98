/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* libinkling: the service from a program's side, for the command line, editors and desktop apps.
 * Installed as <inkling.h>; `pkg-config --cflags --libs inkling`. Stands alone: it includes nothing
 * but libc and sd-bus.
 *
 *     InkClient *client = NULL;
 *     InkError error = {0};
 *     char *text = NULL;
 *     if (ink_client_new(&client, &error) < 0 ||
 *         ink_client_complete(client, "Once upon a time", NULL, NULL, &text, &error) < 0)
 *         fprintf(stderr, "%s\n", error.message);
 *
 * or piece by piece: ink_client_start_pipe(), then ink_stream_next() until INK_STREAM_FINISHED; in
 * a main loop of your own with ink_stream_set_blocking(stream, false) and ink_stream_fd().
 *
 * Owns: see each call; free functions take NULL and answer NULL.
 * Errors: 0 or a negative errno, and then InkError has code and message (a NULL InkError is fine,
 * and outputs are untouched); the service's own error as code and message, for which
 * ink_client_error_name() has the bus name; -ENOTCONN when there is no bus, -EHOSTUNREACH when
 * nobody owns or can be activated under the name. Messages never hold the user's text.
 * Thread: one client and its streams, one thread; different clients are independent.
 * Stability: symbols are versioned (ipc/libinkling.map); a signature never changes, structs that
 * the library fills grow at their end with a new soname only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INK_PUBLIC      __attribute__((visibility("default"), warn_unused_result))
#define INK_PUBLIC_FREE __attribute__((visibility("default")))

/* As in engine/base/error.h, which code of this tree includes as well. */
#ifndef INK_ERROR_MESSAGE_BYTES
#define INK_ERROR_MESSAGE_BYTES 240

typedef struct InkError {
    int code;                              /* positive errno; 0 = not set */
    char message[INK_ERROR_MESSAGE_BYTES]; /* for people; always terminated; valid UTF-8 */
} InkError;
#endif

typedef struct InkClient InkClient;
typedef struct InkStream InkStream;

/* Connects to the session bus ($DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus). */
INK_PUBLIC int ink_client_new(InkClient **ret, InkError *reterr);
INK_PUBLIC_FREE InkClient *ink_client_free(InkClient *c);

/* For calls that this header has no wrapper for, and for sd_bus_attach_event(): borrowed. */
INK_PUBLIC sd_bus *ink_client_bus(InkClient *c);
/* Calls wait this long; 0 = the default of 25 s. */
INK_PUBLIC_FREE void ink_client_set_timeout(InkClient *c, uint64_t usec);
/* D-Bus name of the last error ("org.inkling.Inkling1.Error.ContextOverflow"), "" when none. */
INK_PUBLIC_FREE const char *ink_client_error_name(const InkClient *c);
/* Does somebody own the name now? Never starts the service. */
INK_PUBLIC int ink_client_is_running(InkClient *c, bool *ret, InkError *reterr);

/* A method call on the root object of interface INK_BUS_NAME.`interface`; `append` adds the
 * arguments (NULL = none). `auto_start` false = do not activate. `ret` may be NULL. */
typedef int InkClientAppend(sd_bus_message *m, void *userdata);
INK_PUBLIC int ink_client_call(InkClient *c, const char *interface, const char *method,
                               bool auto_start, InkClientAppend *append, void *userdata,
                               sd_bus_message **ret, InkError *reterr);
/* The same of another object: a session or a request, by its path. Never starts the service, which
 * would not have that object. */
INK_PUBLIC int ink_client_call_object(InkClient *c, const char *path, const char *interface,
                                      const char *method, InkClientAppend *append, void *userdata,
                                      sd_bus_message **ret, InkError *reterr);
/* A property as a variant-typed message, positioned inside the variant's content. */
INK_PUBLIC int ink_client_property(InkClient *c, const char *interface, const char *property,
                                   bool auto_start, sd_bus_message **ret, InkError *reterr);

/* A whole answer; waits for it as long as it takes. `append_options` adds a{sv} entries to an open
 * container (sd_bus_message_append(m, "{sv}", "max-tokens", "u", 32)), NULL = none. The text is
 * the caller's to free(). A cut answer (max-tokens) is an answer. */
INK_PUBLIC int ink_client_complete(InkClient *c, const char *prompt,
                                   InkClientAppend *append_options, void *userdata, char **ret_text,
                                   InkError *reterr);

typedef struct InkClientMessage {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *text;
} InkClientMessage;
INK_PUBLIC int ink_client_chat(InkClient *c, const InkClientMessage *messages, size_t n_messages,
                               InkClientAppend *append_options, void *userdata, char **ret_text,
                               InkError *reterr);

/* Generation with the text over a pipe. `append_input` and `append_options` add a{sv} entries to a
 * container that is already open. */
INK_PUBLIC int ink_client_start_pipe(InkClient *c, const char *kind, InkClientAppend *append_input,
                                     InkClientAppend *append_options, void *userdata,
                                     InkStream **ret, InkError *reterr);

typedef enum InkStreamEvent {
    INK_STREAM_NOTHING = 0, /* a stream that does not block has nothing now */
    INK_STREAM_TEXT,        /* frame.text */
    INK_STREAM_PROGRESS,    /* frame.stage, frame.fraction */
    INK_STREAM_FINISHED,    /* frame.status and results; nothing follows */
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
INK_PUBLIC int ink_stream_next(InkStream *s, InkStreamFrame *ret, InkError *reterr);
/* Readable when ink_stream_next() may have something; borrowed. */
INK_PUBLIC int ink_stream_fd(const InkStream *s);
/* Not blocking: ink_stream_next() answers INK_STREAM_NOTHING instead of waiting. */
INK_PUBLIC_FREE void ink_stream_set_blocking(InkStream *s, bool blocking);
/* Request.Cancel; FINISHED still follows. */
INK_PUBLIC int ink_stream_cancel(InkStream *s, InkError *reterr);
INK_PUBLIC_FREE InkStream *ink_stream_free(InkStream *s);

/* For variables with __attribute__((cleanup(...))). */
static inline void ink_client_free_p(InkClient **c)
{
    ink_client_free(*c);
}

static inline void ink_stream_free_p(InkStream **s)
{
    ink_stream_free(*s);
}

#ifdef __cplusplus
}
#endif
