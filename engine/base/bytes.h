/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Bounded little-endian reader: the only way in which parsers of this project look at bytes from
 * outside. A read past the end returns -EBADMSG and moves nothing.
 * Owns: nothing; `data` must outlive the reader. Thread: one reader, one thread. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "engine/base/error.h"

typedef struct InkBytes {
    const uint8_t *data;
    size_t size_bytes;
    size_t offset; /* <= size_bytes */
} InkBytes;

static inline size_t ink_bytes_left(const InkBytes *b)
{
    return b->size_bytes - b->offset;
}

/* Borrows the next n bytes. */
static inline int ink_bytes_take(InkBytes *b, size_t n, const uint8_t **ret)
{
    if (n > ink_bytes_left(b))
        return -EBADMSG;
    *ret = b->data + b->offset;
    b->offset += n;
    return 0;
}

#define INK_BYTES_DEFINE_READ(name, T)                                                             \
    INK_MUST_CHECK static inline int ink_bytes_##name(InkBytes *b, T *ret)                         \
    {                                                                                              \
        const uint8_t *p;                                                                          \
        if (ink_bytes_take(b, sizeof(T), &p) < 0)                                                  \
            return -EBADMSG;                                                                       \
        memcpy(ret, p, sizeof(T));                                                                 \
        return 0;                                                                                  \
    }

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "inkling reads little-endian files in place");
INK_BYTES_DEFINE_READ(u8, uint8_t)
INK_BYTES_DEFINE_READ(u16, uint16_t)
INK_BYTES_DEFINE_READ(u32, uint32_t)
INK_BYTES_DEFINE_READ(u64, uint64_t)
INK_BYTES_DEFINE_READ(f32, float)
