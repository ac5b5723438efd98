/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A cache file with any content and length: it is taken only when its header is the wanted one, and
 * whatever is taken can be read to the end. The first byte says whether the file may be written. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/pack-cache.h"

#define PACKED_BYTES 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const InkPackCacheHeader wanted = {
    .magic = INK_PACK_CACHE_MAGIC,
    .layout = INK_PACK_CACHE_LAYOUT,
    .complete = 1,
    .source_dev = 1,
    .source_ino = 2,
    .source_bytes = 3,
    .source_mtime_sec = 4,
    .source_mtime_nsec = 5,
    .shapes_hash = 6,
    .packed_bytes = PACKED_BYTES,
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_complete(const uint8_t *file, size_t size)
{
    return size >= INK_PACK_CACHE_HEADER_BYTES + PACKED_BYTES &&
           memcmp(file, &wanted, sizeof(wanted)) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool locked = data[0] & 1;
    data++;
    size--;
    _cleanup_close_ int fd = memfd_create("cache", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    InkPackStore s = INK_PACK_STORE_INIT;
    check(ink_pack_store_open(fd, locked, &wanted, &s, NULL) == 0);
    check((s.state == INK_PACK_STATE_READY) == is_complete(data, size));
    check(locked || s.state != INK_PACK_STATE_FILE);
    unsigned sum = 0;
    for (size_t i = 0; i < PACKED_BYTES; i++)
        sum += s.packed[i];
    if (s.state != INK_PACK_STATE_READY) {
        memset(s.packed, (int)(sum & 0xff), PACKED_BYTES);
        ink_pack_store_complete(&s, &wanted);
    }
    bool written = s.state == INK_PACK_STATE_FILE;
    ink_pack_store_done(&s);

    /* What was written is taken the next time, and the file has kept its length. */
    struct stat st;
    check(fstat(fd, &st) == 0 && st.st_size == (off_t)size);
    if (written) {
        check(ink_pack_store_open(fd, false, &wanted, &s, NULL) == 0);
        check(s.state == INK_PACK_STATE_READY && s.packed[0] == (sum & 0xff));
        ink_pack_store_done(&s);
    }
    return 0;
}
