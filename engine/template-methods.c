/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Methods of strings and mappings. Every result keeps the marks of the bytes it is made of. */
#include "engine/template-render.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

static bool in_chars(const InkStr *chars, uint32_t code_point)
{
    uint32_t other;
    if (chars == NULL)
        return ink_is_space(code_point);
    for (size_t at = 0; at < chars->n_bytes;) {
        at += ink_str_char(chars, at, &other);
        if (other == code_point)
            return true;
    }
    return false;
}

int ink_template_strip(InkRender *r, const InkStr *s, const InkStr *chars, int mode, InkValue *ret)
{
    size_t from = 0, kept = 0;
    bool leading = (mode & 1) != 0;
    INK_TRY(ink_template_charge(r, s->n_bytes * (chars != NULL ? 1 + chars->n_bytes : 1)));
    for (size_t at = 0; at < s->n_bytes;) {
        uint32_t code_point;
        at += ink_str_char(s, at, &code_point);
        bool strip = in_chars(chars, code_point);
        leading = leading && strip;
        if (leading)
            from = at;
        if (!strip)
            kept = at;
    }
    size_t to = (mode & 2) != 0 && kept > from ? kept : (mode & 2) != 0 ? from : s->n_bytes;
    return ink_template_string(r, ink_str_part(s, from, to - from), ret);
}

/* What replaces text of the user is not the template's word, since the user decided that it stands
 * there. */
static int add_replacement(InkOut *out, const InkStr *to, bool tainted)
{
    return tainted ? ink_out_add_text(out, to->data, to->n_bytes, false) : ink_out_add(out, to);
}

/* Replacing nothing: `to` goes in front of every character and behind the last. */
static int put_between(InkRender *r, InkOut *out, const InkStr *s, const InkStr *to)
{
    bool tainted = ink_str_tainted(s);
    for (size_t at = 0, n; at < s->n_bytes; at += n) {
        uint32_t code_point;
        n = ink_str_char(s, at, &code_point);
        InkStr part = ink_str_part(s, at, n);
        INK_TRY(ink_template_charge(r, 0));
        INK_TRY(add_replacement(out, to, tainted));
        INK_TRY(ink_out_add(out, &part));
    }
    return add_replacement(out, to, tainted);
}

int ink_template_replace(InkRender *r, const InkStr *s, const InkStr *from, const InkStr *to,
                         int64_t n_max, InkValue *ret)
{
    _cleanup_out_ InkOut out = {.r = r};
    INK_TRY(ink_template_charge(r, s->n_bytes));
    if (from->n_bytes == 0) {
        if (n_max >= 0)
            return INK_FAIL(r, EOPNOTSUPP, "replacing nothing a limited number of times");
        INK_TRY(put_between(r, &out, s, to));
        return ink_out_string(&out, ret);
    }
    size_t at = 0;
    for (; n_max != 0; n_max--) {
        const char *found = memmem(s->data + at, s->n_bytes - at, from->data, from->n_bytes);
        if (found == NULL)
            break;
        size_t n = (size_t)(found - s->data) - at;
        InkStr before = ink_str_part(s, at, n);
        InkStr match = ink_str_part(s, at + n, from->n_bytes);
        INK_TRY(ink_out_add(&out, &before));
        INK_TRY(add_replacement(&out, to, ink_str_tainted(&match)));
        at += n + from->n_bytes;
    }
    InkStr rest = ink_str_part(s, at, s->n_bytes - at);
    INK_TRY(ink_out_add(&out, &rest));
    return ink_out_string(&out, ret);
}

static bool is_cased(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}

/* One character in the wanted case; the simple mappings of Unicode, and the sharp s. */
static size_t map_case(uint32_t c, InkCase wanted, bool word_start, char out[8])
{
    bool upper = wanted == INK_CASE_UPPER || (wanted != INK_CASE_LOWER && word_start);
    if (c == 0xDF && upper) {
        memcpy(out, wanted == INK_CASE_UPPER ? "SS" : "Ss", 2);
        return 2;
    }
    utf8proc_int32_t mapped = (utf8proc_int32_t)c;
    if (upper)
        mapped = wanted == INK_CASE_UPPER ? utf8proc_toupper(mapped) : utf8proc_totitle(mapped);
    else
        mapped = utf8proc_tolower(mapped);
    return ink_utf8_encode((uint32_t)mapped, out);
}

int ink_template_case(InkRender *r, const InkStr *s, InkCase wanted, InkValue *ret)
{
    _cleanup_out_ InkOut out = {.r = r};
    bool word_start = true;
    for (size_t at = 0, n; at < s->n_bytes; at += n) {
        uint32_t code_point;
        char text[8];
        n = ink_str_char(s, at, &code_point);
        bool valid = code_point <= 0x10FFFF;
        size_t n_text = valid ? map_case(code_point, wanted, word_start, text) : 0;
        if (n_text != 0)
            INK_TRY(ink_out_add_text(&out, text, n_text, ink_str_mark(s, at)));
        else
            INK_TRY(ink_out_add_text(&out, s->data + at, n, ink_str_mark(s, at)));
        word_start = wanted == INK_CASE_TITLE && !(valid && is_cased(code_point));
    }
    return ink_out_string(&out, ret);
}

int ink_template_mapping_items(InkRender *r, const InkDict *d, InkValue *ret)
{
    InkValue *items;
    INK_TRY(ink_template_alloc(r, d->n, sizeof(InkValue), &items));
    for (size_t i = 0; i < d->n; i++) {
        InkValue *pair;
        INK_TRY(ink_template_charge(r, 0));
        INK_TRY(ink_template_alloc(r, 2, sizeof(InkValue), &pair));
        pair[0] = d->pairs[i].key;
        pair[1] = d->pairs[i].value;
        INK_TRY(ink_template_list(r, pair, 2, &items[i]));
        items[i].kind = INK_TUPLE;
    }
    return ink_template_list(r, items, d->n, ret);
}

typedef struct Parts {
    InkRender *r;
    InkValue *items;
    size_t n;
    size_t capacity;
} Parts;

static int add_part(Parts *parts, InkStr s)
{
    if (parts->n == parts->capacity) {
        size_t capacity = parts->capacity != 0 ? parts->capacity * 2 : 8;
        InkValue *items;
        INK_TRY(ink_template_alloc(parts->r, capacity, sizeof(InkValue), &items));
        if (parts->n != 0)
            memcpy(items, parts->items, parts->n * sizeof(InkValue));
        parts->items = items;
        parts->capacity = capacity;
    }
    INK_TRY(ink_template_charge(parts->r, 0));
    return ink_template_string(parts->r, s, &parts->items[parts->n++]);
}

static int split_space(Parts *parts, const InkStr *s, int64_t n_max)
{
    size_t from = 0;
    bool inside = false;
    for (size_t at = 0, n; at < s->n_bytes; at += n) {
        uint32_t code_point;
        n = ink_str_char(s, at, &code_point);
        bool space = ink_is_space(code_point);
        if (inside && space) {
            INK_TRY(add_part(parts, ink_str_part(s, from, at - from)));
            inside = false;
        } else if (!inside && !space) {
            inside = true;
            from = at;
            if (n_max >= 0 && (int64_t)parts->n == n_max) {
                InkValue rest;
                InkStr tail = ink_str_part(s, from, s->n_bytes - from);
                INK_TRY(ink_template_strip(parts->r, &tail, NULL, 2, &rest));
                return add_part(parts, *rest.string);
            }
        }
    }
    return inside ? add_part(parts, ink_str_part(s, from, s->n_bytes - from)) : 0;
}

static int split_at(Parts *parts, const InkStr *s, const InkStr *separator, int64_t n_max)
{
    size_t at = 0;
    for (; n_max != 0; n_max--) {
        const char *found =
            memmem(s->data + at, s->n_bytes - at, separator->data, separator->n_bytes);
        if (found == NULL)
            break;
        size_t n = (size_t)(found - s->data) - at;
        INK_TRY(add_part(parts, ink_str_part(s, at, n)));
        at += n + separator->n_bytes;
    }
    return add_part(parts, ink_str_part(s, at, s->n_bytes - at));
}

/* The string given at `index` or by name; NULL when it is not given or none. */
static int string_arg(InkRender *r, const InkArgs *args, int index, const char *name,
                      const InkStr **ret)
{
    const InkValue *v = ink_args_get(r, args, index, name);
    *ret = NULL;
    if (v == NULL || v->kind == INK_NONE)
        return 0;
    if (v->kind != INK_STRING)
        return INK_FAIL(r, EINVAL, "%s where a string is expected", ink_value_kind_name(*v));
    *ret = v->string;
    return 0;
}

static int needed_string(InkRender *r, const InkArgs *args, int index, const InkStr **ret)
{
    INK_TRY(string_arg(r, args, index, "", ret));
    return *ret != NULL ? 0 : INK_FAIL(r, EINVAL, "a method lacks an argument");
}

static int int_arg(InkRender *r, const InkArgs *args, int index, const char *name, int64_t fallback,
                   int64_t *ret)
{
    const InkValue *v = ink_args_get(r, args, index, name);
    *ret = fallback;
    if (v != NULL && !ink_value_as_int(*v, ret))
        return INK_FAIL(r, EINVAL, "%s where an integer is expected", ink_value_kind_name(*v));
    return 0;
}

static int do_split(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    const InkStr *separator;
    int64_t n_max;
    Parts parts = {.r = r};
    INK_TRY(string_arg(r, args, 0, "sep", &separator));
    INK_TRY(int_arg(r, args, 1, "maxsplit", -1, &n_max));
    INK_TRY(ink_template_charge(r, self.string->n_bytes));
    if (separator != NULL && separator->n_bytes == 0)
        return INK_FAIL(r, EINVAL, "split by an empty string");
    INK_TRY(separator != NULL ? split_at(&parts, self.string, separator, n_max)
                              : split_space(&parts, self.string, n_max));
    return ink_template_list(r, parts.items, parts.n, ret);
}

static int do_strip_mode(InkRender *r, InkValue self, const InkArgs *args, int mode, InkValue *ret)
{
    const InkStr *chars;
    INK_TRY(string_arg(r, args, 0, "chars", &chars));
    return ink_template_strip(r, self.string, chars, mode, ret);
}

static int do_strip(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    return do_strip_mode(r, self, args, 3, ret);
}

static int do_lstrip(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    return do_strip_mode(r, self, args, 1, ret);
}

static int do_rstrip(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    return do_strip_mode(r, self, args, 2, ret);
}

static int begins_or_ends(InkRender *r, const InkStr *s, InkValue with, bool end, bool *ret)
{
    if (with.kind == INK_TUPLE) {
        *ret = false;
        for (size_t i = 0; !*ret && i < with.list->n; i++) {
            if (with.list->items[i].kind != INK_STRING)
                return INK_FAIL(r, EINVAL, "a string is expected");
            INK_TRY(begins_or_ends(r, s, with.list->items[i], end, ret));
        }
        return 0;
    }
    if (with.kind != INK_STRING)
        return INK_FAIL(r, EINVAL, "%s where a string is expected", ink_value_kind_name(with));
    size_t n = with.string->n_bytes;
    INK_TRY(ink_template_charge(r, n));
    *ret =
        n <= s->n_bytes && memcmp(s->data + (end ? s->n_bytes - n : 0), with.string->data, n) == 0;
    return 0;
}

static int do_startswith(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    bool yes;
    if (args->n_by_position != 1)
        return INK_FAIL(r, EOPNOTSUPP, "startswith takes one argument");
    INK_TRY(begins_or_ends(r, self.string, args->by_position[0], false, &yes));
    *ret = ink_value_bool(yes);
    return 0;
}

static int do_endswith(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    bool yes;
    if (args->n_by_position != 1)
        return INK_FAIL(r, EOPNOTSUPP, "endswith takes one argument");
    INK_TRY(begins_or_ends(r, self.string, args->by_position[0], true, &yes));
    *ret = ink_value_bool(yes);
    return 0;
}

static int do_replace(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    const InkStr *from, *to;
    int64_t n_max;
    INK_TRY(needed_string(r, args, 0, &from));
    INK_TRY(needed_string(r, args, 1, &to));
    INK_TRY(int_arg(r, args, 2, "count", -1, &n_max));
    return ink_template_replace(r, self.string, from, to, n_max, ret);
}

static int do_upper(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return ink_template_case(r, self.string, INK_CASE_UPPER, ret);
}

static int do_lower(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return ink_template_case(r, self.string, INK_CASE_LOWER, ret);
}

static int do_title(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return ink_template_case(r, self.string, INK_CASE_TITLE, ret);
}

static int do_capitalize(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return ink_template_case(r, self.string, INK_CASE_CAPITAL, ret);
}

static int do_items(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return ink_template_mapping_items(r, self.dict, ret);
}

static int do_get(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    const InkValue *fallback = ink_args_get(r, args, 1, "default");
    if (args->n_by_position == 0)
        return INK_FAIL(r, EINVAL, "get lacks an argument");
    INK_TRY(ink_op_item(r, self, args->by_position[0], ret));
    if (ret->kind == INK_UNDEFINED)
        *ret = fallback != NULL ? *fallback : INK_VALUE_NONE;
    return 0;
}

static int do_keys(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    const InkValue *items;
    size_t n;
    (void)args;
    INK_TRY(ink_op_items(r, self, &items, &n));
    return ink_template_list(r, items, n, ret);
}

static int do_values(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    InkValue *items;
    (void)args;
    INK_TRY(ink_template_alloc(r, self.dict->n, sizeof(InkValue), &items));
    for (size_t i = 0; i < self.dict->n; i++)
        items[i] = self.dict->pairs[i].value;
    return ink_template_list(r, items, self.dict->n, ret);
}

/* Known by name, so that a template that may never call them can be used; transformers' sandbox
 * forbids them too. */
static int do_change(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret)
{
    (void)self, (void)args, (void)ret;
    return INK_FAIL(r, EINVAL, "a template may not change a list or mapping");
}

typedef struct Method {
    const char *name;
    InkKind kind;
    int (*call)(InkRender *r, InkValue self, const InkArgs *args, InkValue *ret);
} Method;

static const Method methods[] = {
    {"split", INK_STRING, do_split},
    {"strip", INK_STRING, do_strip},
    {"lstrip", INK_STRING, do_lstrip},
    {"rstrip", INK_STRING, do_rstrip},
    {"startswith", INK_STRING, do_startswith},
    {"endswith", INK_STRING, do_endswith},
    {"replace", INK_STRING, do_replace},
    {"upper", INK_STRING, do_upper},
    {"lower", INK_STRING, do_lower},
    {"title", INK_STRING, do_title},
    {"capitalize", INK_STRING, do_capitalize},
    {"items", INK_DICT, do_items},
    {"get", INK_DICT, do_get},
    {"keys", INK_DICT, do_keys},
    {"values", INK_DICT, do_values},
    {"append", INK_LIST, do_change},
    {"pop", INK_LIST, do_change},
    {"pop", INK_DICT, do_change},
    {"update", INK_DICT, do_change},
};

#define N_METHODS (sizeof(methods) / sizeof(methods[0]))

bool ink_template_is_method(const char *name)
{
    for (size_t i = 0; i < N_METHODS; i++)
        if (strcmp(methods[i].name, name) == 0)
            return true;
    return false;
}

bool ink_template_is_mapping_method(const char *name)
{
    for (size_t i = 0; i < N_METHODS; i++)
        if (methods[i].kind == INK_DICT && strcmp(methods[i].name, name) == 0)
            return true;
    return false;
}

int ink_template_method(InkRender *r, InkValue object, const char *name, const InkArgs *args,
                        InkValue *ret)
{
    for (size_t i = 0; i < N_METHODS; i++)
        if (methods[i].kind == object.kind && strcmp(methods[i].name, name) == 0)
            return methods[i].call(r, object, args, ret);
    return INK_FAIL(r, EINVAL, "%s has no method '%.60s'", ink_value_kind_name(object), name);
}
