/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tables of filters and tests: what is not here is refused when a template is parsed. */
#include "engine/template-render.h"

#include <errno.h>
#include <string.h>

const InkValue *ink_args_get(const InkRender *r, const InkArgs *args, int index, const char *name)
{
    if (index >= 0 && (size_t)index < args->n_by_position)
        return &args->by_position[index];
    for (size_t i = 0; i < args->n_by_name; i++)
        if (strcmp(r->t->names.texts[args->names[i]], name) == 0)
            return &args->by_name[i];
    return NULL;
}

static int string_arg(InkRender *r, const InkArgs *args, int index, const char *name,
                      const InkStr **ret)
{
    const InkValue *v = ink_args_get(r, args, index, name);
    InkValue text;
    *ret = NULL;
    if (v == NULL || v->kind == INK_NONE)
        return 0;
    INK_TRY(ink_op_to_string(r, *v, &text));
    *ret = text.string;
    return 0;
}

static int filter_trim(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkStr *chars;
    INK_TRY(string_arg(r, args, 0, "chars", &chars));
    INK_TRY(ink_op_to_string(r, v, &v));
    return ink_template_strip(r, v.string, chars, 3, ret);
}

static int filter_string(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return ink_op_to_string(r, v, ret);
}

static int to_case(InkRender *r, InkValue v, InkCase wanted, InkValue *ret)
{
    INK_TRY(ink_op_to_string(r, v, &v));
    return ink_template_case(r, v.string, wanted, ret);
}

static int filter_upper(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return to_case(r, v, INK_CASE_UPPER, ret);
}

static int filter_lower(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return to_case(r, v, INK_CASE_LOWER, ret);
}

static int filter_capitalize(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    return to_case(r, v, INK_CASE_CAPITAL, ret);
}

/* Unlike str.title(), the filter begins words behind space, hyphens and opening brackets only. */
static int filter_title(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    _cleanup_out_ InkOut out = {.r = r};
    (void)args;
    INK_TRY(ink_op_to_string(r, v, &v));
    const InkStr *s = v.string;
    size_t from = 0;
    for (size_t at = 0, n; at <= s->n_bytes; at += n) {
        uint32_t c = ' ';
        n = at < s->n_bytes ? ink_str_char(s, at, &c) : 1;
        bool border = ink_is_space(c) || (c < 0x80 && c != 0 && strchr("-({[<", (int)c) != NULL);
        if (!border)
            continue;
        InkStr word = ink_str_part(s, from, at - from);
        InkValue cased;
        INK_TRY(ink_template_charge(r, 0));
        INK_TRY(ink_template_case(r, &word, INK_CASE_CAPITAL, &cased));
        INK_TRY(ink_out_add(&out, cased.string));
        if (at < s->n_bytes)
            INK_TRY(ink_out_add_text(&out, s->data + at, n, ink_str_mark(s, at)));
        from = at + n;
    }
    return ink_out_string(&out, ret);
}

static int filter_length(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    size_t n = 0;
    bool untrusted = false;
    if (v.kind == INK_STRING) {
        INK_TRY(ink_template_charge(r, v.string->n_bytes));
        n = ink_str_length(v.string);
        untrusted = ink_str_tainted(v.string);
    } else if (ink_value_is_sequence(v)) {
        n = v.list->n;
    } else if (v.kind == INK_DICT) {
        n = v.dict->n;
    } else if (v.kind != INK_UNDEFINED) {
        return INK_FAIL(r, EINVAL, "%s has no length", ink_value_kind_name(v));
    }
    *ret = ink_value_int((int64_t)n, untrusted);
    return 0;
}

static int filter_join(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkStr *separator;
    const InkValue *items;
    size_t n;
    if (ink_args_get(r, args, 1, "attribute") != NULL)
        return INK_FAIL(r, EOPNOTSUPP, "join by attribute is not supported");
    INK_TRY(string_arg(r, args, 0, "d", &separator));
    INK_TRY(ink_op_items(r, v, &items, &n));
    _cleanup_out_ InkOut out = {.r = r};
    for (size_t i = 0; i < n; i++) {
        InkValue text;
        INK_TRY(ink_template_charge(r, 0));
        if (i != 0 && separator != NULL)
            INK_TRY(ink_out_add(&out, separator));
        INK_TRY(ink_op_to_string(r, items[i], &text));
        INK_TRY(ink_out_add(&out, text.string));
    }
    return ink_out_string(&out, ret);
}

static int filter_default(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *fallback = ink_args_get(r, args, 0, "default_value");
    const InkValue *boolean = ink_args_get(r, args, 1, "boolean");
    bool empty = v.kind == INK_UNDEFINED ||
                 (boolean != NULL && ink_value_truth(*boolean) && !ink_value_truth(v));
    *ret = v;
    if (!empty)
        return 0;
    if (fallback == NULL)
        return ink_template_string(r, (InkStr){.data = "", .trusted = true}, ret);
    *ret = *fallback;
    return 0;
}

static int filter_first(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *items;
    size_t n;
    (void)args;
    INK_TRY(ink_op_items(r, v, &items, &n));
    *ret = n != 0 ? items[0] : INK_VALUE_UNDEFINED;
    return 0;
}

static int filter_last(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *items;
    size_t n;
    (void)args;
    INK_TRY(ink_op_items(r, v, &items, &n));
    *ret = n != 0 ? items[n - 1] : INK_VALUE_UNDEFINED;
    return 0;
}

static int filter_list(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *items;
    size_t n;
    (void)args;
    INK_TRY(ink_op_items(r, v, &items, &n));
    return ink_template_list(r, items, n, ret);
}

static int filter_reverse(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue backwards[3] = {INK_VALUE_NONE, INK_VALUE_NONE, ink_value_int(-1, false)};
    (void)args;
    if (v.kind != INK_STRING)
        INK_TRY(filter_list(r, v, args, &v));
    return ink_op_slice(r, v, backwards, ret);
}

static int filter_items(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    if (v.kind == INK_UNDEFINED)
        return ink_template_list(r, NULL, 0, ret);
    if (v.kind != INK_DICT)
        return INK_FAIL(r, EINVAL, "%s has no items", ink_value_kind_name(v));
    return ink_template_mapping_items(r, v.dict, ret);
}

/* By key; letters of either case are one, as by default in Jinja2. */
static int filter_dictsort(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    if (v.kind != INK_DICT)
        return INK_FAIL(r, EINVAL, "%s has no items", ink_value_kind_name(v));
    if (args->n_by_position + args->n_by_name != 0)
        return INK_FAIL(r, EOPNOTSUPP, "dictsort with arguments is not supported");
    INK_TRY(ink_template_mapping_items(r, v.dict, ret));
    InkValue *items, *keys;
    size_t n = v.dict->n;
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &items));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &keys));
    for (size_t i = 0; i < n; i++) {
        InkValue item = ret->list->items[i], key = item.list->items[0];
        if (key.kind == INK_STRING)
            INK_TRY(ink_template_case(r, key.string, INK_CASE_LOWER, &key));
        size_t at = i;
        for (; at > 0; at--) {
            int order;
            INK_TRY(ink_template_charge(r, 0));
            INK_TRY(ink_op_order(r, keys[at - 1], key, &order));
            if (order <= 0)
                break;
            keys[at] = keys[at - 1];
            items[at] = items[at - 1];
        }
        keys[at] = key;
        items[at] = item;
    }
    return ink_template_list(r, items, n, ret);
}

static int filter_replace(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkStr *from, *to;
    const InkValue *count = ink_args_get(r, args, 2, "count");
    int64_t n_max = -1;
    INK_TRY(string_arg(r, args, 0, "old", &from));
    INK_TRY(string_arg(r, args, 1, "new", &to));
    if (from == NULL || to == NULL)
        return INK_FAIL(r, EINVAL, "replace lacks an argument");
    if (count != NULL && count->kind != INK_NONE && !ink_value_as_int(*count, &n_max))
        return INK_FAIL(r, EINVAL, "the count of replace must be an integer");
    INK_TRY(ink_op_to_string(r, v, &v));
    return ink_template_replace(r, v.string, from, to, n_max, ret);
}

/* Spaces in front of every line but the first (all with first=true), empty ones left out. */
static int filter_indent(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *width = ink_args_get(r, args, 0, "width");
    const InkValue *first = ink_args_get(r, args, 1, "first");
    const InkValue *blank = ink_args_get(r, args, 2, "blank");
    int64_t n_spaces = 4;
    if (width != NULL && (!ink_value_as_int(*width, &n_spaces) || n_spaces < 0 || n_spaces > 64))
        return INK_FAIL(r, EINVAL, "the width of indent must be from 0 to 64");
    char spaces[64];
    memset(spaces, ' ', sizeof(spaces));
    INK_TRY(ink_op_to_string(r, v, &v));
    const InkStr *s = v.string;
    _cleanup_out_ InkOut out = {.r = r};
    bool wanted = first != NULL && ink_value_truth(*first);
    bool empty_too = blank != NULL && ink_value_truth(*blank);
    for (size_t at = 0; at < s->n_bytes;) {
        const char *end = memchr(s->data + at, '\n', s->n_bytes - at);
        size_t n = end != NULL ? (size_t)(end - s->data) + 1 - at : s->n_bytes - at;
        InkStr line = ink_str_part(s, at, n);
        if (wanted && (empty_too || s->data[at] != '\n'))
            INK_TRY(ink_out_add_text(&out, spaces, (size_t)n_spaces, true));
        INK_TRY(ink_out_add(&out, &line));
        wanted = true;
        at += n;
    }
    return ink_out_string(&out, ret);
}

static int filter_tojson(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *ascii = ink_args_get(r, args, 0, "ensure_ascii");
    const InkValue *indent = ink_args_get(r, args, 1, "indent");
    int64_t n_indent = -1;
    if (ink_args_get(r, args, 2, "separators") != NULL ||
        ink_args_get(r, args, 3, "sort_keys") != NULL)
        return INK_FAIL(r, EOPNOTSUPP, "tojson with separators or sort_keys is not supported");
    if (indent != NULL && indent->kind != INK_NONE &&
        (!ink_value_as_int(*indent, &n_indent) || n_indent < 0))
        return INK_FAIL(r, EOPNOTSUPP, "tojson: indent must be an integer");
    _cleanup_out_ InkOut out = {.r = r};
    bool only_ascii = ascii != NULL && ink_value_truth(*ascii);
    INK_TRY(ink_op_json(r, &out, v, n_indent, only_ascii));
    return ink_out_string(&out, ret);
}

/* Whether a number made from v comes from the user; looks at every byte of a string. */
static int find_taint(InkRender *r, InkValue v, bool *ret)
{
    if (v.kind == INK_STRING)
        INK_TRY(ink_template_charge(r, v.string->n_bytes));
    *ret = v.kind == INK_STRING ? ink_str_tainted(v.string) : v.untrusted;
    return 0;
}

/* Text as a C string; "" when it does not fit a number. */
static void number_text(InkValue v, char out[64])
{
    out[0] = '\0';
    if (v.kind == INK_STRING && v.string->n_bytes < 64 &&
        memchr(v.string->data, '\0', v.string->n_bytes) == NULL) {
        memcpy(out, v.string->data, v.string->n_bytes);
        out[v.string->n_bytes] = '\0';
    }
}

static int filter_int(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *fallback = ink_args_get(r, args, 0, "default");
    char text[64], *end = text;
    double real = 0.0;
    int64_t value = 0;
    bool untrusted, good = ink_value_as_int(v, &value);
    INK_TRY(find_taint(r, v, &untrusted));
    if (!good && v.kind == INK_STRING) {
        number_text(v, text);
        errno = 0;
        value = strtoll(text, &end, 10);
        good = end != text && errno == 0;
        if (good && *end != '\0') {
            real = strtod(text, &end);
            value = (int64_t)(real > -9e18 && real < 9e18 ? real : 0);
        }
        good = good && end[strspn(end, " \t\n\r")] == '\0';
    } else if (!good && ink_value_as_real(v, &real)) {
        good = real > -9e18 && real < 9e18;
        value = good ? (int64_t)real : 0;
    }
    *ret = good               ? ink_value_int(value, untrusted)
           : fallback != NULL ? *fallback
                              : ink_value_int(0, untrusted);
    return 0;
}

static int filter_float(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *fallback = ink_args_get(r, args, 0, "default");
    char text[64], *end = text;
    double value = 0.0;
    bool untrusted, good = ink_value_as_real(v, &value);
    INK_TRY(find_taint(r, v, &untrusted));
    if (!good && v.kind == INK_STRING) {
        number_text(v, text);
        value = strtod(text, &end);
        good = end != text && end[strspn(end, " \t\n\r")] == '\0';
    }
    *ret = good               ? ink_value_real(value, untrusted)
           : fallback != NULL ? *fallback
                              : ink_value_real(0.0, untrusted);
    return 0;
}

static int filter_abs(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    (void)args;
    if (v.kind == INK_FLOAT)
        *ret = ink_value_real(v.real < 0 ? -v.real : v.real, v.untrusted);
    else if (v.kind == INK_INT && v.integer > INT64_MIN)
        *ret = ink_value_int(v.integer < 0 ? -v.integer : v.integer, v.untrusted);
    else
        return INK_FAIL(r, EINVAL, "%s has no absolute value", ink_value_kind_name(v));
    return 0;
}

/* item.a.b of "a.b". */
static int find_attribute(InkRender *r, InkValue item, InkValue path, InkValue *ret)
{
    *ret = item;
    if (path.kind != INK_STRING)
        return ink_op_item(r, item, path, ret);
    const InkStr *s = path.string;
    for (size_t at = 0; at <= s->n_bytes;) {
        const char *dot = at < s->n_bytes ? memchr(s->data + at, '.', s->n_bytes - at) : NULL;
        size_t n = dot != NULL ? (size_t)(dot - s->data) - at : s->n_bytes - at;
        InkStr part = ink_str_part(s, at, n);
        INK_TRY(ink_op_item(r, *ret, ink_value_string(&part), ret));
        at += n + 1;
    }
    return 0;
}

static int named_index(InkRender *r, const InkArgs *args, size_t at, int (*find)(const char *name),
                       uint32_t *ret)
{
    InkStr none = {.data = "", .trusted = true};
    const InkStr *s = at < args->n_by_position && args->by_position[at].kind == INK_STRING
                          ? args->by_position[at].string
                          : &none;
    char name[64] = "";
    if (s->n_bytes < sizeof(name) && s->n_bytes != 0)
        memcpy(name, s->data, s->n_bytes);
    int index = find(name);
    if (index < 0)
        return INK_FAIL(r, EOPNOTSUPP, "the name given to a filter is not supported");
    *ret = (uint32_t)index;
    return 0;
}

static InkArgs rest_of(const InkArgs *args, size_t n)
{
    n = n < args->n_by_position ? n : args->n_by_position;
    return (InkArgs){.by_position = args->by_position + n,
                     .n_by_position = args->n_by_position - n};
}

/* select, reject, selectattr and rejectattr. */
static int keep(InkRender *r, InkValue v, const InkArgs *args, bool by_attribute, bool wanted,
                InkValue *ret)
{
    const InkValue *items;
    size_t n, n_kept = 0, at = by_attribute ? 1 : 0;
    InkValue *kept;
    bool has_test = args->n_by_position > at;
    uint32_t test = 0;
    if (by_attribute && args->n_by_position == 0)
        return INK_FAIL(r, EINVAL, "selectattr lacks an argument");
    if (has_test)
        INK_TRY(named_index(r, args, at, ink_template_find_test, &test));
    InkArgs rest = rest_of(args, at + 1);
    if (!ink_value_truth(v)) /* none too */
        return ink_template_list(r, NULL, 0, ret);
    INK_TRY(ink_op_items(r, v, &items, &n));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &kept));
    for (size_t i = 0; i < n; i++) {
        InkValue subject = items[i];
        bool yes;
        INK_TRY(ink_template_charge(r, 0));
        if (by_attribute)
            INK_TRY(find_attribute(r, items[i], args->by_position[0], &subject));
        if (has_test)
            INK_TRY(ink_template_test(r, test, subject, &rest, &yes));
        else
            yes = ink_value_truth(subject);
        if (yes == wanted)
            kept[n_kept++] = items[i];
    }
    return ink_template_list(r, kept, n_kept, ret);
}

static int filter_select(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    return keep(r, v, args, false, true, ret);
}

static int filter_reject(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    return keep(r, v, args, false, false, ret);
}

static int filter_selectattr(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    return keep(r, v, args, true, true, ret);
}

static int filter_rejectattr(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    return keep(r, v, args, true, false, ret);
}

static int filter_map(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret)
{
    const InkValue *attribute = ink_args_get(r, args, -1, "attribute"), *items;
    const InkValue *fallback = ink_args_get(r, args, -1, "default");
    size_t n;
    InkValue *mapped;
    uint32_t filter = 0;
    if (attribute == NULL)
        INK_TRY(named_index(r, args, 0, ink_template_find_filter, &filter));
    InkArgs rest = rest_of(args, 1);
    if (!ink_value_truth(v)) /* none too */
        return ink_template_list(r, NULL, 0, ret);
    INK_TRY(ink_op_items(r, v, &items, &n));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &mapped));
    for (size_t i = 0; i < n; i++) {
        INK_TRY(ink_template_enter(r));
        if (attribute == NULL)
            INK_TRY(ink_template_filter(r, filter, items[i], &rest, &mapped[i]));
        else
            INK_TRY(find_attribute(r, items[i], *attribute, &mapped[i]));
        if (mapped[i].kind == INK_UNDEFINED && fallback != NULL)
            mapped[i] = *fallback;
        ink_template_leave(r);
    }
    return ink_template_list(r, mapped, n, ret);
}

typedef struct Filter {
    const char *name;
    int (*call)(InkRender *r, InkValue v, const InkArgs *args, InkValue *ret);
} Filter;

static const Filter filters[] = {
    {"trim", filter_trim},
    {"tojson", filter_tojson},
    {"upper", filter_upper},
    {"lower", filter_lower},
    {"title", filter_title},
    {"capitalize", filter_capitalize},
    {"length", filter_length},
    {"count", filter_length},
    {"join", filter_join},
    {"default", filter_default},
    {"d", filter_default},
    {"first", filter_first},
    {"last", filter_last},
    {"list", filter_list},
    {"string", filter_string},
    {"safe", filter_string}, /* nothing is escaped, so nothing needs to be safe */
    {"int", filter_int},
    {"float", filter_float},
    {"abs", filter_abs},
    {"map", filter_map},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {"items", filter_items},
    {"dictsort", filter_dictsort},
    {"replace", filter_replace},
    {"indent", filter_indent},
    {"reverse", filter_reverse},
};

int ink_template_find_filter(const char *name)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        if (strcmp(filters[i].name, name) == 0)
            return (int)i;
    return -1;
}

int ink_template_filter(InkRender *r, uint32_t index, InkValue v, const InkArgs *args,
                        InkValue *ret)
{
    return filters[index].call(r, v, args, ret);
}
