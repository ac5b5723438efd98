/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* GGUF v2 and v3, little-endian, read in place from a byte range that the caller keeps mapped.
 * Every count, offset, length, type and dimension is checked before use, so that what these
 * accessors return may be used without another look; a refusal is -EBADMSG and names the field.
 *
 * File: "GGUF", u32 version, u64 n_tensors, u64 n_metadata;
 *       metadata: string key, u32 type, value (arrays: u32 element type, u64 n, elements);
 *       tensors: string name, u32 n_dims (1..4), u64 dims[n_dims], u32 type, u64 offset;
 *       padding to general.alignment (power of two, default 32); tensor data.
 *
 * Units: sizes and offsets in bytes; dims[0] is the contiguous one.
 * Owns: its two tables; names, strings and data point into the caller's bytes.
 * Errors: -EBADMSG, -ENOMEM. Thread: immutable after open, share freely.
 * Source: the GGUF specification, in our own words. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

#define INK_GGUF_MAX_DIMS       4
#define INK_GGUF_MAX_TENSORS    65536
#define INK_GGUF_MAX_METADATA   65536
#define INK_GGUF_MAX_KEY_BYTES  65535
#define INK_GGUF_MAX_NAME_BYTES 255
#define INK_GGUF_MAX_ALIGNMENT  65536

typedef enum InkGgufValueType {
    INK_GGUF_U8 = 0,
    INK_GGUF_I8 = 1,
    INK_GGUF_U16 = 2,
    INK_GGUF_I16 = 3,
    INK_GGUF_U32 = 4,
    INK_GGUF_I32 = 5,
    INK_GGUF_F32 = 6,
    INK_GGUF_BOOL = 7,
    INK_GGUF_STRING = 8,
    INK_GGUF_ARRAY = 9,
    INK_GGUF_U64 = 10,
    INK_GGUF_I64 = 11,
    INK_GGUF_F64 = 12,
} InkGgufValueType;

typedef struct InkGgufString {
    const char *text; /* not terminated; any bytes */
    size_t n_bytes;
} InkGgufString;

typedef struct InkGgufArray {
    InkGgufValueType type; /* of the elements; never INK_GGUF_ARRAY */
    size_t n;
    const uint8_t *data; /* first element; strings: u64 length and bytes, checked to the end */
    size_t size_bytes;
} InkGgufArray;

typedef struct InkGgufTensor {
    InkGgufString name;
    uint32_t type; /* a row of ink_quant_type() */
    uint32_t n_dims;
    uint64_t dims[INK_GGUF_MAX_DIMS]; /* unused ones are 1 */
    const uint8_t *data; /* borrowed from the caller's bytes, aligned as the file says */
    size_t size_bytes;
} InkGgufTensor;

/* A name out of a file made fit for a message: printable UTF-8, cut to its first 64 bytes. */
typedef struct InkGgufShown {
    char text[68];
} InkGgufShown;

typedef struct InkGguf InkGguf;

INK_MUST_CHECK int ink_gguf_open(const void *data, size_t size_bytes, InkGguf **ret,
                                 InkError *reterr);
InkGguf *ink_gguf_close(InkGguf *g);
INK_DEFINE_CLEANUP(InkGguf, ink_gguf_close, ink_gguf_close_p)

uint32_t ink_gguf_version(const InkGguf *g);
size_t ink_gguf_n_tensors(const InkGguf *g);
const InkGgufTensor *ink_gguf_tensor_at(const InkGguf *g, size_t i);
/* NULL when there is none of that name. */
const InkGgufTensor *ink_gguf_tensor(const InkGguf *g, const char *name);

bool ink_gguf_has(const InkGguf *g, const char *key);
/* Integer of any width and sign (C6), or a float for _f32; -EBADMSG names the key when it is
 * missing, of another type, or outside [min, max]. `fallback` NULL = the key is required. */
INK_MUST_CHECK int ink_gguf_get_u32(const InkGguf *g, const char *key, uint32_t min, uint32_t max,
                                    const uint32_t *fallback, uint32_t *ret, InkError *reterr);
INK_MUST_CHECK int ink_gguf_get_f32(const InkGguf *g, const char *key, const float *fallback,
                                    float *ret, InkError *reterr);
INK_MUST_CHECK int ink_gguf_get_bool(const InkGguf *g, const char *key, const bool *fallback,
                                     bool *ret, InkError *reterr);
INK_MUST_CHECK int ink_gguf_get_string(const InkGguf *g, const char *key,
                                       const InkGgufString *fallback, InkGgufString *ret,
                                       InkError *reterr);
/* `type`: what the elements must be; integers of every width count as INK_GGUF_I32. */
INK_MUST_CHECK int ink_gguf_get_array(const InkGguf *g, const char *key, InkGgufValueType type,
                                      InkGgufArray *ret, InkError *reterr);

/* Walks an array of strings: *cursor starts at 0; call n times. */
InkGgufString ink_gguf_array_next_string(const InkGgufArray *a, size_t *cursor);
/* Element i < n of an integer array of any width, or of a float array. */
int64_t ink_gguf_array_int(const InkGgufArray *a, size_t i);
float ink_gguf_array_f32(const InkGgufArray *a, size_t i);
InkGgufShown ink_gguf_shown(InkGgufString name);
