/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the broker may send: u8 number of descriptors, u16 bytes of the frame, the frame, and the
 * rest is the memfd of its strings. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"
#include "engine/worker/wire-io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The verdict must not depend on what lies behind the received bytes. */
static int check_twice(const uint8_t *bytes, size_t n_bytes, size_t n_fds)
{
    static InkWireFrame f;
    int verdict[2];
    for (int i = 0; i < 2; i++) {
        memset(f.bytes, i == 0 ? 0 : 0xFF, sizeof(f.bytes));
        memcpy(f.bytes, bytes, n_bytes);
        f.n_fds = n_fds;
        InkError e = {0};
        verdict[i] = ink_wire_check(&f, n_bytes, INK_WIRE_TO_WORKER, &e);
        if (verdict[i] != 0 && (verdict[i] != -EPROTO || e.message[0] == '\0'))
            abort();
    }
    if (verdict[0] != verdict[1])
        abort();
    return verdict[0];
}

static unsigned map_strings(const uint8_t *bytes, size_t n_bytes)
{
    unsigned sum = 0;
    InkWireBulk b = INK_WIRE_BULK_INIT;
    _cleanup_close_ int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, bytes, n_bytes) != (ssize_t)n_bytes ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return 0;
    if (ink_wire_bulk_map(fd, &b, NULL) < 0)
        return b.map != NULL ? abort(), 0 : 0;
    for (size_t i = 0; i < b.n; i++)
        for (size_t k = 0; k < b.strings[i].n_bytes; k++)
            sum += ((const uint8_t *)b.strings[i].data)[k];
    ink_wire_bulk_done(&b);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint16_t n_frame;
    if (size < 3)
        return 0;
    memcpy(&n_frame, data + 1, sizeof(n_frame));
    if (n_frame > size - 3)
        n_frame = (uint16_t)(size - 3);
    (void)check_twice(data + 3, n_frame, data[0] % (INK_WIRE_MAX_FDS + 2));
    static volatile unsigned seen;
    seen = map_strings(data + 3 + n_frame, size - 3 - n_frame);
    (void)seen;
    return 0;
}
