/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What a worker may send: u8 number of descriptors, then one frame. What the check lets through
 * must keep the promises that the broker builds on. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/worker/wire-io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds)
        abort();
}

static void demand_promises(const InkWireFrame *f, size_t n_bytes)
{
    const char *text = (const char *)f->bytes + sizeof(InkWireText);
    demand(f->n_fds == 0);
    switch (f->header.type) {
    case INK_WIRE_TEXT:
        demand(n_bytes > sizeof(InkWireText));
        demand(ink_utf8_valid(text, n_bytes - sizeof(InkWireText)));
        demand(memchr(text, 0, n_bytes - sizeof(InkWireText)) == NULL);
        break;
    case INK_WIRE_IDS:
        demand(sizeof(InkWireIds) + 4 * (size_t)f->ids.n == n_bytes);
        break;
    case INK_WIRE_FAILED:
        demand(memchr(f->failed.message, 0, sizeof(f->failed.message)) != NULL);
        break;
    case INK_WIRE_LOADED:
        demand(memchr(f->loaded.name, 0, sizeof(f->loaded.name)) != NULL);
        demand(memchr(f->loaded.kernels, 0, sizeof(f->loaded.kernels)) != NULL);
        break;
    case INK_WIRE_PROGRESS:
        demand(f->progress.done <= f->progress.total);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static InkWireFrame f;
    int verdict[2];
    if (size < 1 || size - 1 > INK_WIRE_MAX_FRAME_BYTES)
        return 0;
    for (int i = 0; i < 2; i++) { /* what lies behind the received bytes must not matter */
        memset(f.bytes, i == 0 ? 0 : 0xFF, sizeof(f.bytes));
        memcpy(f.bytes, data + 1, size - 1);
        f.n_fds = data[0] % (INK_WIRE_MAX_FDS + 2);
        InkError e = {0};
        verdict[i] = ink_wire_check(&f, size - 1, INK_WIRE_TO_BROKER, &e);
        demand(verdict[i] == 0 || (verdict[i] == -EPROTO && e.message[0] != '\0'));
    }
    demand(verdict[0] == verdict[1]);
    if (verdict[0] == 0)
        demand_promises(&f, size - 1);
    return 0;
}
