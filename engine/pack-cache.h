/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Where packed weights live: in a cache file that is mapped read-only (start in milliseconds, clean
 * pages that all processes share), in a cache file that is being written, or in memory of this
 * process.
 *
 * File: header of INK_PACK_CACHE_HEADER_BYTES, then the packed bytes (model.h). It is as long as
 *       its maker wants, at least the sum of both; it is never grown or written with anything but
 *       stores to the mapping, since a sealed process has no other way. `complete` is cleared
 *       first and set last, with a sync in between, so that a half-written file is never taken.
 * The file is a hostile input: the header must equal, field by field, what this process would
 * write, and the rest is numbers only. Whoever holds it for writing must keep others away (lock),
 * and must have its bytes allocated on the disk (posix_fallocate): a store to a hole of a full disk
 * kills.
 *
 * Owns: the mapping. Errors: -ENOMEM; whatever is wrong with the file only means that it is not
 * used. Thread: one store, one thread. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

#define INK_PACK_CACHE_HEADER_BYTES 4096u
#define INK_PACK_CACHE_MAGIC        0x314b4341504b4e49u /* "INKPACK1" */
/* Goes up with every change of quant-blocks.h's packed layouts or of model.h's order. */
#define INK_PACK_CACHE_LAYOUT       1u

typedef struct InkPackCacheHeader {
    uint64_t magic;
    uint32_t layout;
    uint32_t complete; /* 1 = all of it is there */
    uint64_t source_dev;
    uint64_t source_ino;
    uint64_t source_bytes;
    int64_t source_mtime_sec;
    int64_t source_mtime_nsec;
    uint64_t shapes_hash; /* of every matrix: layout, shape, offset */
    uint64_t packed_bytes;
} InkPackCacheHeader;

typedef struct InkPackCacheOptions {
    int fd;                    /* of the cache file, or -1; borrowed */
    bool locked;               /* it may be written */
    InkPackCacheHeader header; /* source_*: the model file; the model fills in the rest */
} InkPackCacheOptions;

typedef enum InkPackState {
    INK_PACK_STATE_READY,     /* bytes are packed already; read-only */
    INK_PACK_STATE_FILE,      /* to be packed, into the file */
    INK_PACK_STATE_ANONYMOUS, /* to be packed, into memory */
} InkPackState;

typedef struct InkPackStore {
    InkPackState state;
    uint8_t *map; /* mapped */
    size_t map_bytes;
    uint8_t *packed; /* inside the map */
} InkPackStore;

#define INK_PACK_STORE_INIT ((InkPackStore){0})

/* `wanted`: the header of the complete file. */
INK_MUST_CHECK int ink_pack_store_open(int fd, bool locked, const InkPackCacheHeader *wanted,
                                       InkPackStore *ret, InkError *reterr);
/* All is packed: marks a file as complete and makes the bytes read-only. */
void ink_pack_store_complete(InkPackStore *s, const InkPackCacheHeader *wanted);
void ink_pack_store_done(InkPackStore *s);
