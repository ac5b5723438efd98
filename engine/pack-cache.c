/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/pack-cache.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/alloc.h"

static_assert(sizeof(InkPackCacheHeader) == 72, "every byte of the header is a field");
static_assert(sizeof(InkPackCacheHeader) <= INK_PACK_CACHE_HEADER_BYTES, "header page");

static bool map_file(int fd, bool writable, size_t n_bytes, InkPackStore *ret)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *map = mmap(NULL, n_bytes, protection, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return false;
    *ret = (InkPackStore){
        .map = map,
        .map_bytes = n_bytes,
        .packed = (uint8_t *)map + INK_PACK_CACHE_HEADER_BYTES,
    };
    return true;
}

static bool open_ready(int fd, size_t n_bytes, const InkPackCacheHeader *wanted, InkPackStore *ret)
{
    InkPackStore s;
    if (!map_file(fd, false, n_bytes, &s))
        return false;
    /* Copied before it is looked at: others may write to the file meanwhile. */
    InkPackCacheHeader found;
    memcpy(&found, s.map, sizeof(found));
    if (memcmp(&found, wanted, sizeof(found)) != 0) {
        ink_pack_store_done(&s);
        return false;
    }
    s.state = INK_PACK_STATE_READY;
    *ret = s;
    return true;
}

static bool open_for_packing(int fd, size_t n_bytes, InkPackStore *ret)
{
    InkPackStore s;
    if (!map_file(fd, true, n_bytes, &s))
        return false;
    s.state = INK_PACK_STATE_FILE;
    memset(s.map, 0, sizeof(InkPackCacheHeader));
    if (msync(s.map, INK_PACK_CACHE_HEADER_BYTES, MS_SYNC) < 0) {
        ink_pack_store_done(&s);
        return false;
    }
    *ret = s;
    return true;
}

static int open_anonymous(size_t n_bytes, InkPackStore *ret, InkError *reterr)
{
    void *map = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    INK_CHECK(map != MAP_FAILED, ENOMEM, reterr, "no memory for %zu bytes of packed weights",
              n_bytes);
    *ret = (InkPackStore){
        .state = INK_PACK_STATE_ANONYMOUS, .map = map, .map_bytes = n_bytes, .packed = map};
    return 0;
}

int ink_pack_store_open(int fd, bool locked, const InkPackCacheHeader *wanted, InkPackStore *ret,
                        InkError *reterr)
{
    size_t n_bytes;
    INK_CHECK(wanted->packed_bytes > 0 && wanted->packed_bytes <= SIZE_MAX / 2 &&
                  ink_size_add(wanted->packed_bytes, INK_PACK_CACHE_HEADER_BYTES, &n_bytes),
              ENOMEM, reterr, "packed weights have %llu bytes",
              (unsigned long long)wanted->packed_bytes);
    struct stat st;
    bool usable = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= 0 &&
                  (uint64_t)st.st_size >= n_bytes;
    if (usable && open_ready(fd, n_bytes, wanted, ret))
        return 0;
    if (usable && locked && open_for_packing(fd, n_bytes, ret))
        return 0;
    return open_anonymous(wanted->packed_bytes, ret, reterr);
}

void ink_pack_store_complete(InkPackStore *s, const InkPackCacheHeader *wanted)
{
    /* A file that could not be synced stays incomplete; its bytes in memory are good all the same.
     */
    if (s->state == INK_PACK_STATE_FILE && msync(s->map, s->map_bytes, MS_SYNC) == 0) {
        memcpy(s->map, wanted, sizeof(*wanted));
        (void)msync(s->map, INK_PACK_CACHE_HEADER_BYTES, MS_SYNC);
    }
    (void)mprotect(s->map, s->map_bytes, PROT_READ);
}

void ink_pack_store_done(InkPackStore *s)
{
    if (s->map != NULL)
        munmap(s->map, s->map_bytes);
    *s = INK_PACK_STORE_INIT;
}
