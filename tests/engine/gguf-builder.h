/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Writes small GGUF files, sound or not, into a buffer for tests.
 * Owns: the caller's buffer. Thread: one buffer, one thread. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/gguf.h"

static inline void build_u8(InkBuffer *b, uint8_t v)
{
    ink_buffer_append(b, &v, sizeof(v));
}

static inline void build_u32(InkBuffer *b, uint32_t v)
{
    ink_buffer_append(b, &v, sizeof(v));
}

static inline void build_u64(InkBuffer *b, uint64_t v)
{
    ink_buffer_append(b, &v, sizeof(v));
}

static inline void build_text(InkBuffer *b, const char *text)
{
    build_u64(b, strlen(text));
    ink_buffer_append_str(b, text);
}

static inline void build_header(InkBuffer *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    ink_buffer_append_str(b, "GGUF");
    build_u32(b, version);
    build_u64(b, n_tensors);
    build_u64(b, n_keys);
}

static inline void build_key(InkBuffer *b, const char *key, uint32_t type)
{
    build_text(b, key);
    build_u32(b, type);
}

static inline void build_key_u32(InkBuffer *b, const char *key, uint32_t value)
{
    build_key(b, key, INK_GGUF_U32);
    build_u32(b, value);
}

static inline void build_key_text(InkBuffer *b, const char *key, const char *value)
{
    build_key(b, key, INK_GGUF_STRING);
    build_text(b, value);
}

static inline void build_key_array(InkBuffer *b, const char *key, uint32_t type, uint64_t n)
{
    build_key(b, key, INK_GGUF_ARRAY);
    build_u32(b, type);
    build_u64(b, n);
}

static inline void build_key_texts(InkBuffer *b, const char *key, const char *const *texts,
                                   size_t n)
{
    build_key_array(b, key, INK_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        build_text(b, texts[i]);
}

static inline void build_tensor(InkBuffer *b, const char *name, uint32_t n_dims,
                                const uint64_t *dims, uint32_t type, uint64_t offset)
{
    build_text(b, name);
    build_u32(b, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        build_u64(b, dims[d]);
    build_u32(b, type);
    build_u64(b, offset);
}

static inline void build_padding(InkBuffer *b, size_t alignment)
{
    while (b->size_bytes % alignment != 0)
        build_u8(b, 0);
}

static inline void build_zeros(InkBuffer *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        build_u8(b, 0);
}
