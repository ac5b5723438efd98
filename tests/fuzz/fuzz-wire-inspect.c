/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Frames of a helper and to it: u8 direction, u8 number of descriptors, then the frame. What is
 * taken must be fit to be shown: each text ends in its field. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/wire-inspect.h"
#include "engine/worker/wire-io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shown(const InkInspectResult *m)
{
    uint64_t sum = 0;
    if (!ink_wire_is_text(m->name, sizeof(m->name)) ||
        !ink_wire_is_text(m->license, sizeof(m->license)) ||
        !ink_wire_is_text(m->tokenizer, sizeof(m->tokenizer)) || m->architecture[0] == '\0')
        abort();
    if (m->n_types > INK_INSPECT_MAX_TYPES || m->n_warnings > INK_INSPECT_MAX_WARNINGS)
        abort();
    for (size_t i = 0; i < m->n_types; i++)
        if (__builtin_add_overflow(sum, m->types[i].n_bytes, &sum) || sum > m->size_bytes)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static InkInspectFrame f;
    int verdict[2];
    if (size < 2 || size - 2 > sizeof(f.bytes))
        return 0;
    bool to_helper = data[0] % 2 == 0;
    for (int i = 0; i < 2; i++) { /* nothing behind the received bytes counts */
        memset(f.bytes, i == 0 ? 0 : 0xFF, sizeof(f.bytes));
        memcpy(f.bytes, data + 2, size - 2);
        f.n_fds = data[1] % (INK_WIRE_MAX_FDS + 2);
        InkError e = {0};
        verdict[i] = ink_inspect_check(&f, size - 2, to_helper, &e);
        if (verdict[i] != 0 && (verdict[i] != -EPROTO || e.message[0] == '\0'))
            abort();
    }
    if (verdict[0] != verdict[1])
        abort();
    if (verdict[0] == 0 && f.header.type == INK_INSPECT_RESULT)
        check_shown(&f.result);
    return 0;
}
