/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/text-stream.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

static const char replacement[] = "\xEF\xBF\xBD";

static int check_stop(const char *stop, size_t index, InkError *reterr)
{
    INK_CHECK(stop != NULL, EINVAL, reterr, "stop string %zu is missing", index + 1);
    size_t n_bytes = strnlen(stop, INK_TEXT_STREAM_MAX_STOP_BYTES + 1);
    INK_CHECK(n_bytes != 0, EINVAL, reterr, "stop string %zu is empty", index + 1);
    INK_CHECK(n_bytes <= INK_TEXT_STREAM_MAX_STOP_BYTES, E2BIG, reterr,
              "stop string %zu is longer than %d bytes", index + 1, INK_TEXT_STREAM_MAX_STOP_BYTES);
    INK_CHECK(ink_utf8_valid(stop, n_bytes), EINVAL, reterr, "stop string %zu is not valid UTF-8",
              index + 1);
    return 0;
}

int ink_text_stream_init(InkTextStream *s, const char *const *stops, size_t n_stops,
                         InkError *reterr)
{
    INK_CHECK(n_stops <= INK_TEXT_STREAM_MAX_STOPS, E2BIG, reterr,
              "%zu stop strings; at most %d are allowed", n_stops, INK_TEXT_STREAM_MAX_STOPS);
    _cleanup_(ink_text_stream_done) InkTextStream made = {0};
    for (size_t i = 0; i < n_stops; i++) {
        INK_TRY(check_stop(stops[i], i, reterr));
        made.stop_sizes_bytes[i] = strlen(stops[i]);
        ink_buffer_append(&made.stops, stops[i], made.stop_sizes_bytes[i]);
    }
    INK_CHECK(ink_buffer_status(&made.stops) == 0, ENOMEM, reterr, "out of memory");
    made.n_stops = n_stops;
    *s = made;
    made = (InkTextStream){0};
    return 0;
}

void ink_text_stream_done(InkTextStream *s)
{
    ink_buffer_done(&s->held);
    ink_buffer_done(&s->stops);
    s->n_stops = 0;
}

/* Moves `bytes` behind the held text; what may still become a character stays raw at the very end,
 * where ink_utf8_torn_tail() finds it again. */
static void take_in(InkBuffer *held, const char *bytes, size_t n_bytes)
{
    char pending[4];
    size_t n_pending = held->size_bytes != 0 ? ink_utf8_torn_tail(held->data, held->size_bytes) : 0;
    if (n_pending != 0)
        memcpy(pending, held->data + held->size_bytes - n_pending, n_pending);
    held->size_bytes -= n_pending;
    for (size_t i = 0; i < n_bytes; i++) {
        pending[n_pending++] = bytes[i];
        while (n_pending != 0) {
            uint32_t code_point;
            size_t n_used = ink_utf8_decode(pending, n_pending, &code_point);
            if (n_used != 0) {
                ink_buffer_append(held, pending, n_used);
            } else if (ink_utf8_torn_tail(pending, n_pending) == n_pending) {
                break;
            } else {
                ink_buffer_append_str(held, replacement);
                n_used = 1;
            }
            n_pending -= n_used;
            memmove(pending, pending + n_used, n_pending);
        }
    }
    ink_buffer_append(held, pending, n_pending);
}

typedef enum StopMatch { STOP_NONE, STOP_PARTIAL, STOP_WHOLE } StopMatch;

/* Does a stop string begin at the front of `text`? Whole beats partial: the position decides. */
static StopMatch match_stops(const InkTextStream *s, const char *text, size_t n_bytes)
{
    StopMatch best = STOP_NONE;
    const char *stop = s->stops.data;
    for (size_t i = 0; i < s->n_stops; i++) {
        size_t n_stop = s->stop_sizes_bytes[i];
        if (memcmp(text, stop, n_stop < n_bytes ? n_stop : n_bytes) == 0) {
            if (n_stop <= n_bytes)
                return STOP_WHOLE;
            best = STOP_PARTIAL;
        }
        stop += n_stop;
    }
    return best;
}

/* Lets out what no stop string can claim any more. At the end partial matches are void. */
static int let_out(InkTextStream *s, bool at_end, InkBuffer *out)
{
    InkBuffer *held = &s->held;
    size_t n_torn = held->size_bytes != 0 ? ink_utf8_torn_tail(held->data, held->size_bytes) : 0;
    size_t n_whole = held->size_bytes - n_torn;
    size_t at = 0;
    StopMatch match = STOP_NONE;
    for (; at < n_whole; at++) {
        match = match_stops(s, held->data + at, n_whole - at);
        if (match == STOP_WHOLE || (match == STOP_PARTIAL && !at_end))
            break;
    }
    if (at != 0)
        ink_buffer_append(out, held->data, at);
    INK_TRY(ink_buffer_status(out));
    if (at < n_whole && match == STOP_WHOLE) {
        ink_buffer_clear(held);
        return INK_TEXT_STREAM_STOPPED;
    }
    ink_buffer_consume(held, at);
    return 0;
}

int ink_text_stream_push(InkTextStream *s, const char *bytes, size_t n_bytes, InkBuffer *out)
{
    take_in(&s->held, bytes, n_bytes);
    INK_TRY(ink_buffer_status(&s->held));
    return let_out(s, false, out);
}

int ink_text_stream_finish(InkTextStream *s, InkBuffer *out)
{
    InkBuffer *held = &s->held;
    size_t n_torn = held->size_bytes != 0 ? ink_utf8_torn_tail(held->data, held->size_bytes) : 0;
    held->size_bytes -= n_torn;
    if (n_torn != 0)
        ink_buffer_append_str(held, replacement); /* a stop string may hold this character, too */
    INK_TRY(ink_buffer_status(held));
    return let_out(s, true, out);
}
