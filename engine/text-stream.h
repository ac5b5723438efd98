/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Token bytes in, text that may be shown out: holds back unfinished UTF-8 sequences and whatever
 * may be the start of a stop string, turns bytes that can never become a character into one U+FFFD
 * each, and ends in front of the first stop string (the earliest position wins, then the longest).
 * Owns: copies of the stop strings and the held bytes. Errors: -EINVAL, -E2BIG, -ENOMEM.
 * Thread: one stream, one thread. */
#pragma once

#include "engine/base/buffer.h"

#define INK_TEXT_STREAM_MAX_STOPS      16
#define INK_TEXT_STREAM_MAX_STOP_BYTES 256

/* Outcome of push: the text ended in front of a stop string; nothing more may be pushed. */
#define INK_TEXT_STREAM_STOPPED 1

typedef struct InkTextStream {
    InkBuffer held;  /* bytes not yet let out */
    InkBuffer stops; /* the stop strings, one after the other */
    size_t stop_sizes_bytes[INK_TEXT_STREAM_MAX_STOPS];
    size_t n_stops;
} InkTextStream;

/* Stop strings must be 1..INK_TEXT_STREAM_MAX_STOP_BYTES of valid UTF-8 each. */
INK_MUST_CHECK int ink_text_stream_init(InkTextStream *s, const char *const *stops, size_t n_stops,
                                        InkError *reterr);
void ink_text_stream_done(InkTextStream *s);
/* Appends to `out` what may be shown now. 0, INK_TEXT_STREAM_STOPPED or -ENOMEM. */
INK_MUST_CHECK int ink_text_stream_push(InkTextStream *s, const char *bytes, size_t n_bytes,
                                        InkBuffer *out);
/* The end of the answer: lets everything out, a torn sequence as one U+FFFD. 0 or -ENOMEM, or
 * INK_TEXT_STREAM_STOPPED when a whole stop string lay inside what was held for a longer one that
 * began before it ("bc" in "abc" with the stops "abcd" and "bc"). */
INK_MUST_CHECK int ink_text_stream_finish(InkTextStream *s, InkBuffer *out);
