/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the parts of the template interpreter share while rendering (private to template*.c).
 * Owns: a render's values lie in its arena; InkOut buffers belong to whoever declared them.
 * Errors: as in template.h; ink_template_fail() adds the line. Thread: one render, one thread. */
#pragma once

#include "engine/template-parse.h"

/* All of one render: arena and open output buffers. */
#define INK_TEMPLATE_MAX_MEMORY_BYTES ((size_t)64 << 20)
/* Nested evaluations; at most this times a node's frames lie on the C stack. */
#define INK_TEMPLATE_MAX_FRAMES       600u
/* range() gives a list. */
#define INK_TEMPLATE_MAX_RANGE        100000

typedef struct InkRender {
    const InkTemplate *t;
    InkArena arena;
    InkScope *scope;
    struct InkOut *out;  /* where statements print to */
    InkValue captured;   /* what the first filter of a block takes */
    size_t n_open_bytes; /* in all InkOut buffers */
    size_t n_steps;
    unsigned n_frames;
    unsigned n_macros; /* macro calls that are running */
    uint32_t line;
    enum { INK_FLOW_NEXT, INK_FLOW_BREAK, INK_FLOW_CONTINUE } flow;
    InkError *reterr;
} InkRender;

/* Text under construction, with a mark for every byte. */
typedef struct InkOut {
    InkRender *r;
    InkBuffer text;
    InkBuffer marks;
} InkOut;

#define _cleanup_out_ _cleanup_(ink_out_done)
void ink_out_done(InkOut *out);
INK_MUST_CHECK int ink_out_add(InkOut *out, const InkStr *s);
INK_MUST_CHECK int ink_out_add_text(InkOut *out, const char *text, size_t n_bytes, bool trusted);
/* Copies the text into the arena. */
INK_MUST_CHECK int ink_out_string(InkOut *out, InkValue *ret);

#define INK_FAIL(r, code, ...) ink_template_fail((r), (code), __VA_ARGS__)
int ink_template_fail(InkRender *r, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Counts steps, and bytes that a step walks over. */
INK_MUST_CHECK int ink_template_charge(InkRender *r, size_t n_bytes);
INK_MUST_CHECK int ink_template_enter(InkRender *r);
void ink_template_leave(InkRender *r);
/* Zeroed memory of the render; `*ret` is NULL on failure. */
INK_MUST_CHECK int ink_template_alloc(InkRender *r, size_t n, size_t size, void *ret);
INK_MUST_CHECK int ink_template_string(InkRender *r, InkStr s, InkValue *ret);
INK_MUST_CHECK int ink_template_list(InkRender *r, const InkValue *items, size_t n, InkValue *ret);

/* template-ops.c: what Python does with values. */
INK_MUST_CHECK int ink_op_print(InkRender *r, InkOut *out, InkValue v);
INK_MUST_CHECK int ink_op_to_string(InkRender *r, InkValue v, InkValue *ret);
INK_MUST_CHECK int ink_op_equal(InkRender *r, InkValue a, InkValue b, bool *ret);
/* -1, 0 or 1. */
INK_MUST_CHECK int ink_op_order(InkRender *r, InkValue a, InkValue b, int *ret);
INK_MUST_CHECK int ink_op_compare(InkRender *r, InkOp op, InkValue a, InkValue b, bool *ret);
INK_MUST_CHECK int ink_op_binary(InkRender *r, InkOp op, InkValue a, InkValue b, InkValue *ret);
/* The items of anything that can be walked through. */
INK_MUST_CHECK int ink_op_items(InkRender *r, InkValue v, const InkValue **ret, size_t *ret_n);
/* v[index], and v.name when `index` is a string that came from a dot. */
INK_MUST_CHECK int ink_op_item(InkRender *r, InkValue v, InkValue index, InkValue *ret);
INK_MUST_CHECK int ink_op_slice(InkRender *r, InkValue v, const InkValue bounds[3], InkValue *ret);
INK_MUST_CHECK int ink_op_json(InkRender *r, InkOut *out, InkValue v, int64_t indent, bool ascii);

/* template-filters.c */
typedef struct InkArgs {
    const InkValue *by_position;
    size_t n_by_position;
    const uint32_t *names;
    const InkValue *by_name;
    size_t n_by_name;
} InkArgs;

/* NULL when it was not given. `index` < 0: by name only. */
const InkValue *ink_args_get(const InkRender *r, const InkArgs *args, int index, const char *name);

/* Index in the table, -1 when not known. */
int ink_template_find_filter(const char *name);
int ink_template_find_test(const char *name);
bool ink_template_is_method(const char *name);
bool ink_template_test_takes_argument(uint32_t index);
INK_MUST_CHECK int ink_template_filter(InkRender *r, uint32_t index, InkValue v,
                                       const InkArgs *args, InkValue *ret);
INK_MUST_CHECK int ink_template_test(InkRender *r, uint32_t index, InkValue v, const InkArgs *args,
                                     bool *ret);

/* template-methods.c: methods of strings and mappings. */
bool ink_template_is_mapping_method(const char *name);
INK_MUST_CHECK int ink_template_method(InkRender *r, InkValue object, const char *name,
                                       const InkArgs *args, InkValue *ret);
/* mode: 1 = left, 2 = right, 3 = both; `chars` NULL = white space. */
INK_MUST_CHECK int ink_template_strip(InkRender *r, const InkStr *s, const InkStr *chars, int mode,
                                      InkValue *ret);
INK_MUST_CHECK int ink_template_replace(InkRender *r, const InkStr *s, const InkStr *from,
                                        const InkStr *to, int64_t n_max, InkValue *ret);
typedef enum InkCase { INK_CASE_LOWER, INK_CASE_UPPER, INK_CASE_TITLE, INK_CASE_CAPITAL } InkCase;
INK_MUST_CHECK int ink_template_case(InkRender *r, const InkStr *s, InkCase wanted, InkValue *ret);
INK_MUST_CHECK int ink_template_mapping_items(InkRender *r, const InkDict *d, InkValue *ret);

/* template-render.c */
INK_MUST_CHECK int ink_template_execute(InkRender *r, const InkNode *body);
INK_MUST_CHECK int ink_template_bind(InkRender *r, InkScope *scope, uint32_t name, InkValue v);
/* The functions that a template may call by name. */
bool ink_template_is_function(const char *name);
