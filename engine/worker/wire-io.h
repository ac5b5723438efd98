/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Sending and receiving frames of wire.h, and checking them: used by both ends.
 * Owns: descriptors received belong to the caller. Errors: -EPROTO (broken frame), -EAGAIN (would
 * block), -ECONNRESET (the peer is gone), other negative errno of sendmsg/recvmsg/mmap.
 * Thread: no state. Part of the library `ink_wire`, which needs base alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/worker/wire.h"

typedef struct InkWireFrame {
    union {
        InkWireHeader header;
        InkWireLoad load;
        InkWireGenerate generate;
        InkWireCredit credit;
        InkWireTokenize tokenize;
        InkWireDetokenize detokenize;
        InkWireTrim trim;
        InkWirePriority priority;
        InkWireReady ready;
        InkWireLoaded loaded;
        InkWireProgress progress;
        InkWireText text;
        InkWireIds ids;
        InkWireFinished finished;
        InkWireFailed failed;
        uint8_t bytes[INK_WIRE_MAX_FRAME_BYTES];
    };
    int fds[INK_WIRE_MAX_FDS]; /* -1 = none; take with INK_TAKE_FD, the rest is closed by _done */
    size_t n_fds;
} InkWireFrame;

void ink_wire_frame_done(InkWireFrame *f);

typedef enum InkWireSide { INK_WIRE_TO_WORKER, INK_WIRE_TO_BROKER } InkWireSide;

/* Checks everything that can be checked without state: length, type for this direction, number of
 * descriptors, enumerations, ranges, terminated strings, UTF-8 of TEXT, reserved zeros. */
INK_MUST_CHECK int ink_wire_check(const InkWireFrame *f, size_t received_bytes, InkWireSide side,
                                  InkError *reterr);
/* One frame; flags as of recvmsg (MSG_DONTWAIT). 0, or -EAGAIN, -ECONNRESET, -EPROTO, ... */
INK_MUST_CHECK int ink_wire_receive(int socket, int flags, InkWireSide side, InkWireFrame *f,
                                    InkError *reterr);
/* The same before any check, for the frames of wire-inspect.h. On failure no descriptor is left. */
INK_MUST_CHECK int ink_wire_receive_message(int socket, int flags, void *bytes, size_t size_bytes,
                                            size_t *ret_n_bytes, int fds[INK_WIRE_MAX_FDS],
                                            size_t *ret_n_fds, InkError *reterr);
/* What frames hold: reserved bytes; a terminated field of valid UTF-8 without control characters,
 * which goes into logs and replies. */
bool ink_wire_is_zero(const uint8_t *bytes, size_t n);
bool ink_wire_is_text(const char *field, size_t n_bytes);
/* Sends `frame_bytes` (header.size_bytes of them) followed by `tail`; sets header.size_bytes. */
INK_MUST_CHECK int ink_wire_send(int socket, int flags, InkWireHeader *frame, size_t frame_bytes,
                                 const void *tail, size_t tail_bytes, const int *fds, size_t n_fds);

/* Bulk data: makes the sealed memfd of n strings. */
typedef struct InkWireString {
    const void *data;
    size_t n_bytes;
} InkWireString;
INK_MUST_CHECK int ink_wire_bulk_new(const InkWireString *strings, size_t n, int *ret_fd,
                                     InkError *reterr);

/* A mapped list; strings point into the map. */
typedef struct InkWireBulk {
    void *map;
    size_t map_bytes;
    InkWireString *strings;
    size_t n;
} InkWireBulk;
#define INK_WIRE_BULK_INIT ((InkWireBulk){0})
INK_MUST_CHECK int ink_wire_bulk_map(int fd, InkWireBulk *ret, InkError *reterr);
void ink_wire_bulk_done(InkWireBulk *b);
