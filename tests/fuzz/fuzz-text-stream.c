/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Bytes in pieces, with stop strings cut from the input: what is shown is always valid UTF-8 and
 * never holds a stop string. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/text-stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char stops[3][9] = {"", "", ""};
    const char *list[3] = {stops[0], stops[1], stops[2]};
    if (size < 2)
        return 0;
    size_t n_stops = data[0] % 4, piece = 1 + data[1] % 7, at = 2;
    for (size_t i = 0; i < n_stops; i++)
        for (size_t n = 0; n < 8 && at < size && data[at++] != 0; n++)
            stops[i][n] = (char)data[at - 1];
    _cleanup_(ink_text_stream_done) InkTextStream s = {0};
    _cleanup_buffer_ InkBuffer out = INK_BUFFER_INIT;
    if (ink_text_stream_init(&s, list, n_stops, NULL) < 0)
        return 0;
    int r = 0;
    for (; r == 0 && at < size; at += piece) {
        r = ink_text_stream_push(&s, (const char *)data + at, size - at < piece ? size - at : piece,
                                 &out);
        require(s.held.size_bytes < 8 + 4 + 3 * piece + 3);
    }
    if (r == 0)
        r = ink_text_stream_finish(&s, &out);
    require(r == 0 || r == INK_TEXT_STREAM_STOPPED);
    require(ink_utf8_valid(out.size_bytes != 0 ? out.data : "", out.size_bytes));
    for (size_t i = 0; out.size_bytes != 0 && i < n_stops; i++)
        require(memmem(out.data, out.size_bytes, stops[i], strlen(stops[i])) == NULL);
    return 0;
}
