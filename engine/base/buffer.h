/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A growing byte buffer, and the JSON writer on top of it (inkling writes JSON in many places; only
 * the engine's schema reader and the clients parse it, with jansson).
 * A buffer that could not grow remembers it: append calls then do nothing, and ink_buffer_status()
 * gives -ENOMEM once at the end, so that a chain of appends needs one check.
 * Owns: `data`; ink_buffer_done() frees it. Thread: one buffer, one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

typedef struct InkBuffer {
    char *data; /* always terminated by a NUL beyond size_bytes when not NULL */
    size_t size_bytes;
    size_t capacity_bytes;
    bool failed;
} InkBuffer;

#define INK_BUFFER_INIT  ((InkBuffer){0})
#define _cleanup_buffer_ _cleanup_(ink_buffer_done)

void ink_buffer_done(InkBuffer *b);
/* The same after its bytes were overwritten, for what a person has said. (What realloc() left
 * behind while it grew is not reached.) */
void ink_buffer_wipe(InkBuffer *b);
/* Empties it; keeps the memory; clears `failed`. */
void ink_buffer_clear(InkBuffer *b);
void ink_buffer_append(InkBuffer *b, const void *data, size_t n_bytes);
void ink_buffer_append_str(InkBuffer *b, const char *text);
void ink_buffer_append_char(InkBuffer *b, char c);
void ink_buffer_printf(InkBuffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first n bytes. */
void ink_buffer_consume(InkBuffer *b, size_t n_bytes);
/* 0 or -ENOMEM. */
INK_MUST_CHECK int ink_buffer_status(const InkBuffer *b);
/* The text, owned by the caller from here on ("" when empty); NULL when the buffer failed. */
char *ink_buffer_take(InkBuffer *b);

/* JSON: a quoted string. Bytes that are not UTF-8 become U+FFFD; controls are escaped. */
void ink_buffer_json_string(InkBuffer *b, const char *text, size_t n_bytes);
/* A number that reads back as the same double; null for what JSON cannot hold. */
void ink_buffer_json_double(InkBuffer *b, double value);
