/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Operators of the template language on values, as Python has them. */
#include "engine/template-render.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

/* Walking over this many bytes costs one step. */
#define BYTES_PER_STEP 64

int ink_template_fail(InkRender *r, int code, const char *format, ...)
{
    char message[INK_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    return INK_RAISE(code, r->reterr, "chat template line %u: %s", r->line, message);
}

int ink_template_charge(InkRender *r, size_t n_bytes)
{
    r->n_steps += 1 + n_bytes / BYTES_PER_STEP;
    if (r->n_steps > INK_TEMPLATE_MAX_STEPS)
        return INK_FAIL(r, E2BIG, "took more than %u steps", INK_TEMPLATE_MAX_STEPS);
    return 0;
}

int ink_template_enter(InkRender *r)
{
    if (++r->n_frames > INK_TEMPLATE_MAX_FRAMES)
        return INK_FAIL(r, E2BIG, "nested deeper than %u evaluations", INK_TEMPLATE_MAX_FRAMES);
    return ink_template_charge(r, 0);
}

void ink_template_leave(InkRender *r)
{
    r->n_frames--;
}

int ink_template_alloc(InkRender *r, size_t n, size_t size, void *ret)
{
    r->arena.n_max_bytes = INK_TEMPLATE_MAX_MEMORY_BYTES - r->n_open_bytes;
    void *data =
        r->arena.n_total_bytes <= r->arena.n_max_bytes ? ink_arena_alloc(&r->arena, n, size) : NULL;
    if (data == NULL) {
        r->arena.over_limit |= r->arena.n_total_bytes > r->arena.n_max_bytes;
        r->arena.n_max_bytes = INK_TEMPLATE_MAX_MEMORY_BYTES;
    }
    memcpy(ret, &data, sizeof(data));
    return data != NULL ? 0 : ink_template_arena_error(&r->arena, r->line, r->reterr);
}

int ink_template_string(InkRender *r, InkStr s, InkValue *ret)
{
    InkStr *copy;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkStr), &copy));
    *copy = s;
    *ret = ink_value_string(copy);
    return 0;
}

int ink_template_list(InkRender *r, const InkValue *items, size_t n, InkValue *ret)
{
    InkList *list;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkList), &list));
    *list = (InkList){.items = items, .n = n};
    *ret = (InkValue){.kind = INK_LIST, .list = list};
    return 0;
}

void ink_out_done(InkOut *out)
{
    if (out->r != NULL)
        out->r->n_open_bytes -= 2 * out->text.size_bytes;
    ink_buffer_done(&out->text);
    ink_buffer_done(&out->marks);
}

static int out_reserve(InkOut *out, size_t n_bytes)
{
    InkRender *r = out->r;
    INK_TRY(ink_template_charge(r, n_bytes));
    if (n_bytes > INK_TEMPLATE_MAX_OUTPUT_BYTES ||
        out->text.size_bytes > INK_TEMPLATE_MAX_OUTPUT_BYTES - n_bytes)
        return INK_FAIL(r, E2BIG, "gives more than %u bytes", INK_TEMPLATE_MAX_OUTPUT_BYTES);
    size_t used = r->arena.n_total_bytes + r->n_open_bytes;
    if (used > INK_TEMPLATE_MAX_MEMORY_BYTES || 2 * n_bytes > INK_TEMPLATE_MAX_MEMORY_BYTES - used)
        return INK_FAIL(r, E2BIG, "needs more than %zu MiB", INK_TEMPLATE_MAX_MEMORY_BYTES >> 20);
    return 0;
}

static int out_settle(InkOut *out, size_t size_before)
{
    out->r->n_open_bytes += 2 * (out->text.size_bytes - size_before);
    if (ink_buffer_status(&out->text) < 0 || ink_buffer_status(&out->marks) < 0)
        return INK_RAISE(ENOMEM, out->r->reterr, "out of memory");
    return 0;
}

int ink_out_add(InkOut *out, const InkStr *s)
{
    if (s->marks == NULL)
        return ink_out_add_text(out, s->data, s->n_bytes, s->trusted);
    INK_TRY(out_reserve(out, s->n_bytes));
    size_t before = out->text.size_bytes;
    ink_buffer_append(&out->text, s->data, s->n_bytes);
    ink_buffer_append(&out->marks, s->marks, s->n_bytes);
    return out_settle(out, before);
}

int ink_out_add_text(InkOut *out, const char *text, size_t n_bytes, bool trusted)
{
    char marks[256];
    if (n_bytes == 0)
        return 0;
    INK_TRY(out_reserve(out, n_bytes));
    size_t before = out->text.size_bytes;
    ink_buffer_append(&out->text, text, n_bytes);
    memset(marks, trusted, n_bytes < sizeof(marks) ? n_bytes : sizeof(marks));
    for (size_t left = n_bytes; left != 0;) {
        size_t n = left < sizeof(marks) ? left : sizeof(marks);
        ink_buffer_append(&out->marks, marks, n);
        left -= n;
    }
    return out_settle(out, before);
}

int ink_out_string(InkOut *out, InkValue *ret)
{
    InkRender *r = out->r;
    size_t n = out->text.size_bytes;
    if (n == 0)
        return ink_template_string(r, (InkStr){.data = "", .trusted = true}, ret);
    char *data;
    INK_TRY(ink_template_alloc(r, n, 1, &data));
    memcpy(data, out->text.data, n);
    InkStr s = {.data = data, .n_bytes = n, .trusted = out->marks.data[0] != 0};
    if (memchr(out->marks.data, !s.trusted, n) != NULL) {
        uint8_t *marks;
        INK_TRY(ink_template_alloc(r, n, 1, &marks));
        memcpy(marks, out->marks.data, n);
        s.marks = marks;
    }
    return ink_template_string(r, s, ret);
}

/* Escapes of one character inside quotes, as repr() and json.dumps() write them; 0 = as it is. */
static size_t escape(uint32_t c, char quote, bool json, bool ascii, char out[16])
{
    if (c == (uint32_t)quote || c == '\\')
        return (size_t)snprintf(out, 16, "\\%c", (char)c);
    if (c == '\n' || c == '\r' || c == '\t')
        return (size_t)snprintf(out, 16, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    if (json && (c == '\b' || c == '\f'))
        return (size_t)snprintf(out, 16, "\\%c", c == '\b' ? 'b' : 'f');
    if (json && c >= 0x10000 && ascii && c < 0x110000)
        return (size_t)snprintf(out, 16, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                                0xDC00 + ((c - 0x10000) & 0x3FF));
    if (json && (c < 0x20 || (ascii && c > 0x7E && c < 0x10000)))
        return (size_t)snprintf(out, 16, "\\u%04x", c);
    if (!json && (c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD))
        return (size_t)snprintf(out, 16, "\\x%02x", c);
    return 0;
}

static int add_quoted(InkRender *r, InkOut *out, const InkStr *s, bool json, bool ascii)
{
    char quote = '"';
    if (!json && (s->n_bytes == 0 || memchr(s->data, '\'', s->n_bytes) == NULL ||
                  memchr(s->data, '"', s->n_bytes) != NULL))
        quote = '\'';
    INK_TRY(ink_template_charge(r, s->n_bytes));
    INK_TRY(ink_out_add_text(out, &quote, 1, true));
    size_t from = 0, n;
    for (size_t at = 0; at < s->n_bytes; at += n) {
        uint32_t code_point;
        char text[16];
        n = ink_str_char(s, at, &code_point);
        size_t n_escape = escape(code_point, quote, json, ascii, text);
        if (n_escape == 0)
            continue;
        InkStr part = ink_str_part(s, from, at - from);
        INK_TRY(ink_out_add(out, &part));
        INK_TRY(ink_out_add_text(out, text, n_escape, ink_str_mark(s, at)));
        from = at + n;
    }
    InkStr part = ink_str_part(s, from, s->n_bytes - from);
    INK_TRY(ink_out_add(out, &part));
    return ink_out_add_text(out, &quote, 1, true);
}

static int add_plain(InkRender *r, InkOut *out, InkValue v, bool json)
{
    char text[40];
    switch (v.kind) {
    case INK_NONE:
        strcpy(text, json ? "null" : "None");
        break;
    case INK_BOOL:
        strcpy(text, v.boolean ? (json ? "true" : "True") : (json ? "false" : "False"));
        break;
    case INK_INT:
        snprintf(text, sizeof(text), "%" PRId64, v.integer);
        break;
    case INK_FLOAT:
        ink_format_real(v.real, text);
        break;
    default:
        return INK_FAIL(r, EINVAL, "%s cannot be printed", ink_value_kind_name(v));
    }
    return ink_out_add_text(out, text, strlen(text), !v.untrusted);
}

static int add_text(InkOut *out, const char *text)
{
    return ink_out_add_text(out, text, strlen(text), true);
}

/* repr() */
static int add_repr(InkRender *r, InkOut *out, InkValue v)
{
    if (v.kind == INK_STRING)
        return add_quoted(r, out, v.string, false, false);
    if (v.kind == INK_UNDEFINED)
        return add_text(out, "Undefined");
    if (!ink_value_is_sequence(v) && v.kind != INK_DICT)
        return add_plain(r, out, v, false);
    INK_TRY(ink_template_enter(r));
    bool list = v.kind == INK_LIST, dict = v.kind == INK_DICT;
    size_t n = dict ? v.dict->n : v.list->n;
    INK_TRY(add_text(out, dict ? "{" : list ? "[" : "("));
    for (size_t i = 0; i < n; i++) {
        if (i != 0)
            INK_TRY(add_text(out, ", "));
        if (dict) {
            INK_TRY(add_repr(r, out, v.dict->pairs[i].key));
            INK_TRY(add_text(out, ": "));
        }
        INK_TRY(add_repr(r, out, dict ? v.dict->pairs[i].value : v.list->items[i]));
    }
    ink_template_leave(r);
    return add_text(out, dict ? "}" : list ? "]" : n == 1 ? ",)" : ")");
}

int ink_op_print(InkRender *r, InkOut *out, InkValue v)
{
    if (v.kind == INK_STRING)
        return ink_out_add(out, v.string);
    if (v.kind == INK_UNDEFINED)
        return 0;
    return add_repr(r, out, v);
}

int ink_op_to_string(InkRender *r, InkValue v, InkValue *ret)
{
    if (v.kind == INK_STRING) {
        *ret = v;
        return 0;
    }
    _cleanup_out_ InkOut out = {.r = r};
    INK_TRY(ink_op_print(r, &out, v));
    return ink_out_string(&out, ret);
}

static int json_break(InkOut *out, int64_t indent, unsigned depth)
{
    static const char spaces[] = "                                                                ";
    if (indent < 0)
        return 0;
    INK_TRY(add_text(out, "\n"));
    for (size_t left = (size_t)indent * depth; left != 0;) {
        size_t n = left < sizeof(spaces) - 1 ? left : sizeof(spaces) - 1;
        INK_TRY(ink_out_add_text(out, spaces, n, true));
        left -= n;
    }
    return 0;
}

static int json_value(InkRender *r, InkOut *out, InkValue v, int64_t indent, bool ascii,
                      unsigned depth)
{
    if (v.kind == INK_STRING)
        return add_quoted(r, out, v.string, true, ascii);
    if (v.kind == INK_FLOAT && !isfinite(v.real))
        return add_text(out, isnan(v.real) ? "NaN" : v.real > 0 ? "Infinity" : "-Infinity");
    if (!ink_value_is_sequence(v) && v.kind != INK_DICT)
        return add_plain(r, out, v, true);
    INK_TRY(ink_template_enter(r));
    bool dict = v.kind == INK_DICT;
    size_t n = dict ? v.dict->n : v.list->n;
    INK_TRY(add_text(out, dict ? "{" : "["));
    for (size_t i = 0; i < n; i++) {
        if (i != 0)
            INK_TRY(add_text(out, indent < 0 ? ", " : ","));
        INK_TRY(json_break(out, indent, depth + 1));
        if (dict) {
            if (v.dict->pairs[i].key.kind != INK_STRING)
                return INK_FAIL(r, EOPNOTSUPP, "tojson of a key that is not a string");
            INK_TRY(add_quoted(r, out, v.dict->pairs[i].key.string, true, ascii));
            INK_TRY(add_text(out, ": "));
        }
        INK_TRY(json_value(r, out, dict ? v.dict->pairs[i].value : v.list->items[i], indent, ascii,
                           depth + 1));
    }
    if (n != 0)
        INK_TRY(json_break(out, indent, depth));
    ink_template_leave(r);
    return add_text(out, dict ? "}" : "]");
}

int ink_op_json(InkRender *r, InkOut *out, InkValue v, int64_t indent, bool ascii)
{
    if (indent > 64)
        return INK_FAIL(r, E2BIG, "tojson indents by more than 64");
    return json_value(r, out, v, indent, ascii, 0);
}

static int equal_items(InkRender *r, InkValue a, InkValue b, bool *ret)
{
    *ret = a.list->n == b.list->n;
    for (size_t i = 0; *ret && i < a.list->n; i++)
        INK_TRY(ink_op_equal(r, a.list->items[i], b.list->items[i], ret));
    return 0;
}

static int find_key(InkRender *r, const InkDict *d, InkValue key, const InkPair **ret)
{
    *ret = NULL;
    for (size_t i = 0; *ret == NULL && i < d->n; i++) {
        bool same;
        INK_TRY(ink_op_equal(r, d->pairs[i].key, key, &same));
        *ret = same ? &d->pairs[i] : NULL;
    }
    return 0;
}

static int equal_dicts(InkRender *r, const InkDict *a, const InkDict *b, bool *ret)
{
    *ret = a->n == b->n;
    for (size_t i = 0; *ret && i < a->n; i++) {
        const InkPair *pair;
        INK_TRY(find_key(r, b, a->pairs[i].key, &pair));
        if (pair != NULL)
            INK_TRY(ink_op_equal(r, a->pairs[i].value, pair->value, ret));
        else
            *ret = false;
    }
    return 0;
}

int ink_op_equal(InkRender *r, InkValue a, InkValue b, bool *ret)
{
    double x, y;
    int64_t i, j;
    INK_TRY(ink_template_enter(r));
    *ret = false;
    if (ink_value_as_int(a, &i) && ink_value_as_int(b, &j)) {
        *ret = i == j;
    } else if (ink_value_as_real(a, &x) && ink_value_as_real(b, &y)) {
        *ret = x == y;
    } else if (a.kind == b.kind) {
        if (a.kind == INK_STRING) {
            INK_TRY(ink_template_charge(r, a.string->n_bytes));
            *ret = a.string->n_bytes == b.string->n_bytes &&
                   memcmp(a.string->data, b.string->data, a.string->n_bytes) == 0;
        } else if (ink_value_is_sequence(a)) {
            INK_TRY(equal_items(r, a, b, ret));
        } else if (a.kind == INK_DICT) {
            INK_TRY(equal_dicts(r, a.dict, b.dict, ret));
        } else {
            *ret = a.kind == INK_NONE || a.kind == INK_UNDEFINED || a.names == b.names;
        }
    }
    ink_template_leave(r);
    return 0;
}

int ink_op_order(InkRender *r, InkValue a, InkValue b, int *ret)
{
    double x, y;
    int64_t i, j;
    if (ink_value_as_int(a, &i) && ink_value_as_int(b, &j)) {
        *ret = i < j ? -1 : i > j;
    } else if (ink_value_as_real(a, &x) && ink_value_as_real(b, &y)) {
        *ret = x < y ? -1 : x > y;
    } else if (a.kind == INK_STRING && b.kind == INK_STRING) {
        size_t n = a.string->n_bytes < b.string->n_bytes ? a.string->n_bytes : b.string->n_bytes;
        INK_TRY(ink_template_charge(r, n));
        int order = memcmp(a.string->data, b.string->data, n);
        order = order != 0 ? order : (a.string->n_bytes > n) - (b.string->n_bytes > n);
        *ret = order < 0 ? -1 : order > 0;
    } else {
        return INK_FAIL(r, EINVAL, "%s and %s have no order", ink_value_kind_name(a),
                        ink_value_kind_name(b));
    }
    return 0;
}

static int contains(InkRender *r, InkValue item, InkValue in, bool *ret)
{
    *ret = false;
    if (in.kind == INK_UNDEFINED)
        return 0;
    if (in.kind == INK_DICT) {
        const InkPair *pair;
        INK_TRY(find_key(r, in.dict, item, &pair));
        *ret = pair != NULL;
        return 0;
    }
    if (in.kind == INK_STRING && item.kind == INK_STRING) {
        INK_TRY(ink_template_charge(r, in.string->n_bytes + item.string->n_bytes));
        *ret = memmem(in.string->data, in.string->n_bytes, item.string->data,
                      item.string->n_bytes) != NULL;
        return 0;
    }
    if (!ink_value_is_sequence(in))
        return INK_FAIL(r, EINVAL, "%s in %s cannot be asked for", ink_value_kind_name(item),
                        ink_value_kind_name(in));
    for (size_t i = 0; !*ret && i < in.list->n; i++)
        INK_TRY(ink_op_equal(r, in.list->items[i], item, ret));
    return 0;
}

int ink_op_compare(InkRender *r, InkOp op, InkValue a, InkValue b, bool *ret)
{
    int order;
    if (op == INK_OP_EQ || op == INK_OP_NE)
        INK_TRY(ink_op_equal(r, a, b, ret));
    else if (op == INK_OP_IN || op == INK_OP_NOT_IN)
        INK_TRY(contains(r, a, b, ret));
    else {
        INK_TRY(ink_op_order(r, a, b, &order));
        *ret = op == INK_OP_LT   ? order < 0
               : op == INK_OP_LE ? order <= 0
               : op == INK_OP_GT ? order > 0
                                 : order >= 0;
    }
    if (op == INK_OP_NE || op == INK_OP_NOT_IN)
        *ret = !*ret;
    return 0;
}

static int add_lists(InkRender *r, InkValue a, InkValue b, InkValue *ret)
{
    size_t n = a.list->n + b.list->n;
    InkValue *items;
    INK_TRY(ink_template_charge(r, n * sizeof(InkValue)));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &items));
    if (a.list->n != 0)
        memcpy(items, a.list->items, a.list->n * sizeof(InkValue));
    if (b.list->n != 0)
        memcpy(items + a.list->n, b.list->items, b.list->n * sizeof(InkValue));
    INK_TRY(ink_template_list(r, items, n, ret));
    ret->kind = a.kind;
    return 0;
}

static int repeat_string(InkRender *r, const InkStr *s, int64_t n, InkValue *ret)
{
    _cleanup_out_ InkOut out = {.r = r};
    for (int64_t i = 0; s->n_bytes != 0 && i < n; i++)
        INK_TRY(ink_out_add(&out, s));
    return ink_out_string(&out, ret);
}

static int binary_int(InkRender *r, InkOp op, int64_t a, int64_t b, bool untrusted, InkValue *ret)
{
    int64_t value = 0;
    bool wraps = false;
    if (op == INK_OP_ADD)
        wraps = __builtin_add_overflow(a, b, &value);
    else if (op == INK_OP_SUB)
        wraps = __builtin_sub_overflow(a, b, &value);
    else if (op == INK_OP_MUL)
        wraps = __builtin_mul_overflow(a, b, &value);
    else if (b == 0)
        return INK_FAIL(r, EINVAL, "division by zero");
    else if (b == -1) /* also the one division that wraps */
        wraps = op == INK_OP_FLOOR_DIV && __builtin_sub_overflow(0, a, &value);
    else if (op == INK_OP_FLOOR_DIV)
        value = a / b - (a % b != 0 && (a < 0) != (b < 0));
    else
        value = a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
    if (wraps)
        return INK_FAIL(r, E2BIG, "an integer does not fit 64 bits");
    *ret = ink_value_int(value, untrusted);
    return 0;
}

static int binary_real(InkRender *r, InkOp op, double a, double b, bool untrusted, InkValue *ret)
{
    double value = op == INK_OP_ADD ? a + b : op == INK_OP_SUB ? a - b : a * b;
    if (op == INK_OP_DIV || op == INK_OP_FLOOR_DIV || op == INK_OP_MOD) {
        if (b == 0.0)
            return INK_FAIL(r, EINVAL, "division by zero");
        value = op == INK_OP_DIV ? a / b : op == INK_OP_FLOOR_DIV ? floor(a / b) : fmod(a, b);
        if (op == INK_OP_MOD && value != 0.0 && (value < 0.0) != (b < 0.0))
            value += b;
    }
    *ret = ink_value_real(value, untrusted);
    return 0;
}

static int concatenate(InkRender *r, InkValue a, InkValue b, InkValue *ret)
{
    _cleanup_out_ InkOut out = {.r = r};
    INK_TRY(ink_op_print(r, &out, a));
    INK_TRY(ink_op_print(r, &out, b));
    return ink_out_string(&out, ret);
}

int ink_op_binary(InkRender *r, InkOp op, InkValue a, InkValue b, InkValue *ret)
{
    int64_t i, j;
    double x, y;
    bool untrusted = a.untrusted || b.untrusted;
    if (op == INK_OP_CONCAT || (op == INK_OP_ADD && a.kind == INK_STRING && b.kind == INK_STRING))
        return concatenate(r, a, b, ret);
    if (op == INK_OP_ADD && ink_value_is_sequence(a) && a.kind == b.kind)
        return add_lists(r, a, b, ret);
    if (op == INK_OP_MUL && a.kind == INK_STRING && ink_value_as_int(b, &j))
        return repeat_string(r, a.string, j, ret);
    if (op == INK_OP_MUL && b.kind == INK_STRING && ink_value_as_int(a, &i))
        return repeat_string(r, b.string, i, ret);
    if (op != INK_OP_DIV && ink_value_as_int(a, &i) && ink_value_as_int(b, &j))
        return binary_int(r, op, i, j, untrusted, ret);
    if (ink_value_as_real(a, &x) && ink_value_as_real(b, &y))
        return binary_real(r, op, x, y, untrusted, ret);
    if (op == INK_OP_MOD && a.kind == INK_STRING)
        return INK_FAIL(r, EOPNOTSUPP, "formatting a string with '%%' is not supported");
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "~"};
    return INK_FAIL(r, EINVAL, "operator '%s' does not take %s and %s", signs[op],
                    ink_value_kind_name(a), ink_value_kind_name(b));
}

static int items_of_string(InkRender *r, const InkStr *s, const InkValue **ret, size_t *ret_n)
{
    size_t n = ink_str_length(s), at = 0;
    InkValue *items;
    InkStr *chars;
    INK_TRY(ink_template_charge(r, n * BYTES_PER_STEP));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &items));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkStr), &chars));
    for (size_t i = 0; i < n; i++) {
        uint32_t code_point;
        size_t n_bytes = ink_str_char(s, at, &code_point);
        chars[i] = ink_str_part(s, at, n_bytes);
        items[i] = ink_value_string(&chars[i]);
        at += n_bytes;
    }
    *ret = items;
    *ret_n = n;
    return 0;
}

int ink_op_items(InkRender *r, InkValue v, const InkValue **ret, size_t *ret_n)
{
    if (v.kind == INK_STRING)
        return items_of_string(r, v.string, ret, ret_n);
    if (ink_value_is_sequence(v)) {
        *ret = v.list->items;
        *ret_n = v.list->n;
        return 0;
    }
    if (v.kind != INK_DICT && v.kind != INK_UNDEFINED)
        return INK_FAIL(r, EINVAL, "%s cannot be walked through", ink_value_kind_name(v));
    size_t n = v.kind == INK_DICT ? v.dict->n : 0;
    InkValue *items;
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &items));
    for (size_t i = 0; i < n; i++)
        items[i] = v.dict->pairs[i].key;
    *ret = items;
    *ret_n = n;
    return 0;
}

static int item_of_string(InkRender *r, const InkStr *s, int64_t index, InkValue *ret)
{
    INK_TRY(ink_template_charge(r, 2 * s->n_bytes));
    size_t n = ink_str_length(s);
    index += index < 0 ? (int64_t)n : 0;
    *ret = INK_VALUE_UNDEFINED;
    if (index < 0 || (uint64_t)index >= n)
        return 0;
    uint32_t code_point;
    size_t at = ink_str_offset(s, (size_t)index);
    return ink_template_string(r, ink_str_part(s, at, ink_str_char(s, at, &code_point)), ret);
}

int ink_op_item(InkRender *r, InkValue v, InkValue index, InkValue *ret)
{
    int64_t i;
    *ret = INK_VALUE_UNDEFINED;
    if (v.kind == INK_UNDEFINED)
        return INK_FAIL(r, EINVAL, "an item of an undefined value is asked for");
    if (v.kind == INK_DICT) {
        const InkPair *pair;
        INK_TRY(find_key(r, v.dict, index, &pair));
        if (pair != NULL)
            *ret = pair->value;
        return 0;
    }
    if (!ink_value_as_int(index, &i))
        return 0;
    if (v.kind == INK_STRING)
        return item_of_string(r, v.string, i, ret);
    if (!ink_value_is_sequence(v))
        return 0;
    i += i < 0 ? (int64_t)v.list->n : 0;
    if (i >= 0 && (uint64_t)i < v.list->n)
        *ret = v.list->items[i];
    return 0;
}

/* Python's slice.indices(): from, to and step for a sequence of n items. */
static int slice_bounds(InkRender *r, const InkValue bounds[3], int64_t n, int64_t out[3])
{
    int64_t step = 1;
    if (bounds[2].kind != INK_NONE && !ink_value_as_int(bounds[2], &step))
        return INK_FAIL(r, EINVAL, "the bounds of a slice must be integers");
    if (step == 0)
        return INK_FAIL(r, EINVAL, "the step of a slice is 0");
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    out[0] = step > 0 ? low : high;
    out[1] = step > 0 ? high : low;
    for (size_t k = 0; k < 2; k++) {
        int64_t i;
        if (bounds[k].kind == INK_NONE)
            continue;
        if (!ink_value_as_int(bounds[k], &i))
            return INK_FAIL(r, EINVAL, "the bounds of a slice must be integers");
        i += i < 0 ? n : 0;
        out[k] = i < low ? low : i > high ? high : i;
    }
    /* More than the length is the same as the length, and cannot wrap. */
    out[2] = step > n ? n + 1 : step < -n ? -n - 1 : step;
    return 0;
}

int ink_op_slice(InkRender *r, InkValue v, const InkValue bounds[3], InkValue *ret)
{
    const InkValue *items;
    size_t n;
    int64_t at[3];
    if (v.kind != INK_STRING && !ink_value_is_sequence(v))
        return INK_FAIL(r, EINVAL, "%s cannot be sliced", ink_value_kind_name(v));
    if (v.kind == INK_STRING && (bounds[2].kind == INK_NONE)) {
        INK_TRY(ink_template_charge(r, 3 * v.string->n_bytes));
        INK_TRY(slice_bounds(r, bounds, (int64_t)ink_str_length(v.string), at));
        size_t from = ink_str_offset(v.string, (size_t)at[0]);
        size_t to = at[1] > at[0] ? ink_str_offset(v.string, (size_t)at[1]) : from;
        return ink_template_string(r, ink_str_part(v.string, from, to - from), ret);
    }
    INK_TRY(ink_op_items(r, v, &items, &n));
    INK_TRY(slice_bounds(r, bounds, (int64_t)n, at));
    InkValue *kept;
    size_t n_kept = 0;
    INK_TRY(ink_template_charge(r, n * sizeof(InkValue)));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &kept));
    for (int64_t i = at[0]; at[2] > 0 ? i < at[1] : i > at[1]; i += at[2])
        kept[n_kept++] = items[i];
    if (v.kind != INK_STRING) {
        INK_TRY(ink_template_list(r, kept, n_kept, ret));
        ret->kind = v.kind;
        return 0;
    }
    _cleanup_out_ InkOut out = {.r = r};
    for (size_t i = 0; i < n_kept; i++)
        INK_TRY(ink_out_add(&out, kept[i].string));
    return ink_out_string(&out, ret);
}
