/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/template-value.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

#define CHUNK_BYTES ((size_t)16 << 10)

typedef struct InkArenaChunk {
    struct InkArenaChunk *next;
    size_t n_used;
    size_t n_bytes;
    _Alignas(max_align_t) char data[];
} InkArenaChunk;

void ink_arena_done(InkArena *a)
{
    while (a->chunks != NULL) {
        InkArenaChunk *chunk = a->chunks;
        a->chunks = chunk->next;
        free(chunk);
    }
    a->n_total_bytes = 0;
}

void *ink_arena_alloc(InkArena *a, size_t n, size_t size)
{
    size_t bytes, whole;
    a->over_limit = true;
    if (!ink_size_mul(n, size, &bytes) || bytes > a->n_max_bytes)
        return NULL;
    bytes = (bytes + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    InkArenaChunk *chunk = a->chunks;
    if (chunk == NULL || chunk->n_bytes - chunk->n_used < bytes) {
        size_t capacity = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
        whole = sizeof(InkArenaChunk) + capacity;
        if (whole > a->n_max_bytes - a->n_total_bytes)
            return NULL;
        a->over_limit = false;
        InkArenaChunk *made = ink_alloc_array(whole, 1);
        if (made == NULL)
            return NULL;
        made->n_bytes = capacity;
        a->n_total_bytes += whole;
        /* A block of its own goes behind the chunk that still has room. */
        if (chunk != NULL && capacity == bytes) {
            made->next = chunk->next;
            chunk->next = made;
        } else {
            made->next = chunk;
            a->chunks = made;
        }
        chunk = made;
    }
    void *data = chunk->data + chunk->n_used;
    chunk->n_used += bytes;
    return data;
}

bool ink_value_truth(InkValue v)
{
    switch (v.kind) {
    case INK_UNDEFINED:
    case INK_NONE:
        return false;
    case INK_BOOL:
        return v.boolean;
    case INK_INT:
        return v.integer != 0;
    case INK_FLOAT:
        return v.real != 0.0;
    case INK_STRING:
        return v.string->n_bytes != 0;
    case INK_LIST:
    case INK_TUPLE:
        return v.list->n != 0;
    case INK_DICT:
        return v.dict->n != 0;
    default:
        return true;
    }
}

const char *ink_value_kind_name(InkValue v)
{
    static const char *const names[] = {
        [INK_UNDEFINED] = "an undefined value",
        [INK_NONE] = "none",
        [INK_BOOL] = "a boolean",
        [INK_INT] = "an integer",
        [INK_FLOAT] = "a float",
        [INK_STRING] = "a string",
        [INK_LIST] = "a list",
        [INK_TUPLE] = "a tuple",
        [INK_DICT] = "a mapping",
        [INK_NAMESPACE] = "a namespace",
        [INK_MACRO] = "a macro",
        [INK_LOOP] = "a loop",
        [INK_BUILTIN] = "a function",
    };
    return names[v.kind];
}

bool ink_value_as_int(InkValue v, int64_t *ret)
{
    if (v.kind != INK_INT && v.kind != INK_BOOL)
        return false;
    *ret = v.kind == INK_INT ? v.integer : v.boolean;
    return true;
}

bool ink_value_as_real(InkValue v, double *ret)
{
    int64_t i;
    if (v.kind == INK_FLOAT)
        *ret = v.real;
    else if (ink_value_as_int(v, &i))
        *ret = (double)i;
    else
        return false;
    return true;
}

bool ink_str_tainted(const InkStr *s)
{
    if (s->marks == NULL)
        return !s->trusted && s->n_bytes != 0;
    return memchr(s->marks, 0, s->n_bytes) != NULL;
}

bool ink_str_mark(const InkStr *s, size_t i)
{
    return s->marks != NULL ? s->marks[i] != 0 : s->trusted;
}

InkStr ink_str_part(const InkStr *s, size_t from, size_t n_bytes)
{
    return (InkStr){.data = s->data + from,
                    .marks = s->marks != NULL ? s->marks + from : NULL,
                    .n_bytes = n_bytes,
                    .trusted = s->trusted};
}

bool ink_str_equal(const InkStr *s, const char *text)
{
    return s->n_bytes == strlen(text) && memcmp(s->data, text, s->n_bytes) == 0;
}

size_t ink_str_char(const InkStr *s, size_t at, uint32_t *ret_code_point)
{
    size_t n = ink_utf8_decode(s->data + at, s->n_bytes - at, ret_code_point);
    if (n != 0)
        return n;
    /* Not equal to any character: beyond Unicode. */
    *ret_code_point = 0x110000u + (uint8_t)s->data[at];
    return 1;
}

size_t ink_str_length(const InkStr *s)
{
    size_t n = 0;
    uint32_t code_point;
    for (size_t at = 0; at < s->n_bytes; n++)
        at += ink_str_char(s, at, &code_point);
    return n;
}

size_t ink_str_offset(const InkStr *s, size_t index)
{
    size_t at = 0;
    uint32_t code_point;
    for (; index > 0 && at < s->n_bytes; index--)
        at += ink_str_char(s, at, &code_point);
    return at;
}

bool ink_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Shortest digits that read back; Python switches to an exponent below 1e-4 and from 1e16 on. */
void ink_format_real(double value, char out[40])
{
    if (isnan(value) || isinf(value)) {
        strcpy(out, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    char digits[32];
    for (int n = 0; n <= 17; n++) {
        snprintf(digits, sizeof(digits), "%.*e", n, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1), n_digits = (int)(e - digits) - (digits[0] == '-');
    n_digits = n_digits > 1 ? n_digits - 1 : 1; /* without the point */
    if (value != 0.0 && (exponent < -4 || exponent >= 16)) {
        snprintf(out, 40, "%.*se%c%02d", (int)(e - digits), digits, exponent < 0 ? '-' : '+',
                 abs(exponent));
        return;
    }
    int decimals = n_digits - 1 - exponent;
    snprintf(out, 40, "%.*f", decimals > 1 ? decimals : 1, value);
}
