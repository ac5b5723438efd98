/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Values of the template interpreter (private to template*.c). Strings remember for each byte
 * whether the template wrote it; values are immutable but for namespaces, so that nothing can
 * contain itself. Owns: everything lies in the arena of one render (or of one parsed template for
 * its literals). Errors: NULL from the arena = out of memory or over its limit. Thread: one arena,
 * one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buffer.h"

typedef struct InkArena {
    struct InkArenaChunk *chunks; /* the newest first */
    size_t n_total_bytes;         /* of all chunks */
    size_t n_max_bytes;
    bool over_limit; /* why the last request failed */
} InkArena;

void ink_arena_done(InkArena *a);
/* Zeroed and aligned for any type. */
void *ink_arena_alloc(InkArena *a, size_t n, size_t size);

/* marks == NULL: every byte is as `trusted` says; else one byte each, 1 = trusted. */
typedef struct InkStr {
    const char *data;
    const uint8_t *marks;
    size_t n_bytes;
    bool trusted;
} InkStr;

typedef enum InkKind {
    INK_UNDEFINED,
    INK_NONE,
    INK_BOOL,
    INK_INT,
    INK_FLOAT,
    INK_STRING,
    INK_LIST,
    INK_TUPLE,
    INK_DICT,
    INK_NAMESPACE,
    INK_MACRO,
    INK_LOOP,
    INK_BUILTIN, /* a function or method that was named but not called */
} InkKind;

struct InkNode;
struct InkScope;

typedef struct InkValue {
    InkKind kind;
    bool untrusted; /* numbers only: made from text of the user */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const InkStr *string;
        const struct InkList *list; /* tuples too */
        const struct InkDict *dict;
        struct InkNamespace *names;
        const struct InkMacro *macro;
        const struct InkLoop *loop;
    };
} InkValue;

typedef struct InkList {
    const InkValue *items;
    size_t n;
} InkList;

typedef struct InkPair {
    InkValue key;
    InkValue value;
} InkPair;

typedef struct InkDict {
    const InkPair *pairs; /* in the order in which they were written */
    size_t n;
} InkDict;

typedef struct InkBinding {
    uint32_t name;
    InkValue value;
    struct InkBinding *next;
} InkBinding;

typedef struct InkNamespace {
    InkBinding *bindings;
} InkNamespace;

typedef struct InkScope {
    InkBinding *bindings;
    struct InkScope *outer;
} InkScope;

typedef struct InkMacro {
    const struct InkNode *node;
    InkScope *scope; /* in which it was defined */
} InkMacro;

typedef struct InkLoop {
    const InkValue *items;
    size_t n;
    size_t index0;
    size_t depth0;
} InkLoop;

#define INK_VALUE_UNDEFINED ((InkValue){.kind = INK_UNDEFINED})
#define INK_VALUE_NONE      ((InkValue){.kind = INK_NONE})

static inline InkValue ink_value_bool(bool b)
{
    return (InkValue){.kind = INK_BOOL, .boolean = b};
}

static inline InkValue ink_value_int(int64_t i, bool untrusted)
{
    return (InkValue){.kind = INK_INT, .untrusted = untrusted, .integer = i};
}

static inline InkValue ink_value_real(double d, bool untrusted)
{
    return (InkValue){.kind = INK_FLOAT, .untrusted = untrusted, .real = d};
}

static inline InkValue ink_value_string(const InkStr *s)
{
    return (InkValue){.kind = INK_STRING, .string = s};
}

static inline bool ink_value_is_sequence(InkValue v)
{
    return v.kind == INK_LIST || v.kind == INK_TUPLE;
}

bool ink_value_truth(InkValue v);
/* "a string": for error messages. */
const char *ink_value_kind_name(InkValue v);
/* int of a bool or int. */
bool ink_value_as_int(InkValue v, int64_t *ret);
bool ink_value_as_real(InkValue v, double *ret);

/* Is any byte not written by the template? */
bool ink_str_tainted(const InkStr *s);
bool ink_str_mark(const InkStr *s, size_t i);
/* Part of a string, sharing its bytes. */
InkStr ink_str_part(const InkStr *s, size_t from, size_t n_bytes);
bool ink_str_equal(const InkStr *s, const char *text);
/* Bytes of the character at `at`: a byte that is not UTF-8 counts as one. */
size_t ink_str_char(const InkStr *s, size_t at, uint32_t *ret_code_point);
size_t ink_str_length(const InkStr *s);
/* Byte offset of the character number `index`, which is at most the length. */
size_t ink_str_offset(const InkStr *s, size_t index);
/* What Python's str.isspace() says of one character. */
bool ink_is_space(uint32_t code_point);
/* As Python prints a float. */
void ink_format_real(double value, char out[40]);
