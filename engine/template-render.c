/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Walks the tree of a parsed template. Every evaluation takes a step and a frame, both limited. */
#include "engine/template-render.h"

#include <string.h>

static int evaluate(InkRender *r, const InkNode *node, InkValue *ret);
static int execute(InkRender *r, const InkNode *node);

static const char *name_text(const InkRender *r, uint32_t name)
{
    return r->t->names.texts[name];
}

/* strftime_now is known but never defined: a template has no clock, so that a prompt depends on its
 * messages alone. Templates that ask "is defined" first fall back to a fixed date. */
static const char *const functions[] = {"namespace", "range", "raise_exception", "strftime_now"};

bool ink_template_is_function(const char *name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (strcmp(functions[i], name) == 0)
            return true;
    return false;
}

static int find_binding(InkRender *r, InkBinding *first, uint32_t name, InkBinding **ret)
{
    size_t n = 0;
    for (; first != NULL && first->name != name; first = first->next)
        n++;
    *ret = first;
    return n > 8 ? ink_template_charge(r, n * sizeof(InkBinding)) : 0;
}

int ink_template_bind(InkRender *r, InkScope *scope, uint32_t name, InkValue v)
{
    InkBinding *binding;
    INK_TRY(find_binding(r, scope->bindings, name, &binding));
    if (binding == NULL) {
        INK_TRY(ink_template_alloc(r, 1, sizeof(InkBinding), &binding));
        *binding = (InkBinding){.name = name, .next = scope->bindings};
        scope->bindings = binding;
    }
    binding->value = v;
    return 0;
}

static int push_scope(InkRender *r, InkScope *outer)
{
    InkScope *scope;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkScope), &scope));
    scope->outer = outer;
    r->scope = scope;
    return 0;
}

static int find_name(InkRender *r, uint32_t name, InkValue *ret)
{
    *ret = INK_VALUE_UNDEFINED;
    for (InkScope *scope = r->scope; scope != NULL; scope = scope->outer) {
        InkBinding *binding;
        INK_TRY(ink_template_charge(r, 0));
        INK_TRY(find_binding(r, scope->bindings, name, &binding));
        if (binding != NULL) {
            *ret = binding->value;
            return 0;
        }
    }
    const char *text = name_text(r, name);
    if (ink_template_is_function(text) && strcmp(text, "strftime_now") != 0)
        ret->kind = INK_BUILTIN;
    return 0;
}

static InkValue loop_attribute(const InkLoop *loop, const char *name)
{
    const struct {
        const char *name;
        InkValue value;
    } attributes[] = {
        {"index", ink_value_int((int64_t)loop->index0 + 1, false)},
        {"index0", ink_value_int((int64_t)loop->index0, false)},
        {"revindex", ink_value_int((int64_t)(loop->n - loop->index0), false)},
        {"revindex0", ink_value_int((int64_t)(loop->n - loop->index0) - 1, false)},
        {"first", ink_value_bool(loop->index0 == 0)},
        {"last", ink_value_bool(loop->index0 + 1 == loop->n)},
        {"length", ink_value_int((int64_t)loop->n, false)},
        {"depth", ink_value_int(1, false)}, /* recursive loops are refused */
        {"depth0", ink_value_int(0, false)},
        {"previtem", loop->index0 != 0 ? loop->items[loop->index0 - 1] : INK_VALUE_UNDEFINED},
        {"nextitem",
         loop->index0 + 1 < loop->n ? loop->items[loop->index0 + 1] : INK_VALUE_UNDEFINED},
    };
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
        if (strcmp(attributes[i].name, name) == 0)
            return attributes[i].value;
    return INK_VALUE_UNDEFINED;
}

/* object.name: a method of a mapping hides a key of that name, as in Jinja2. */
static int attribute(InkRender *r, InkValue object, uint32_t name, InkValue *ret)
{
    const char *text = name_text(r, name);
    *ret = INK_VALUE_UNDEFINED;
    if (object.kind == INK_UNDEFINED)
        return INK_FAIL(r, EINVAL, "'%.60s' of an undefined value is asked for", text);
    if (object.kind == INK_NAMESPACE) {
        InkBinding *binding;
        INK_TRY(find_binding(r, object.names->bindings, name, &binding));
        if (binding != NULL)
            *ret = binding->value;
    } else if (object.kind == INK_LOOP) {
        *ret = loop_attribute(object.loop, text);
    } else if (object.kind == INK_DICT && !ink_template_is_mapping_method(text)) {
        InkStr key = {.data = text, .n_bytes = strlen(text), .trusted = true};
        return ink_op_item(r, object, ink_value_string(&key), ret);
    } else if (object.kind == INK_DICT || object.kind == INK_STRING) {
        ret->kind = ink_template_is_method(text) ? INK_BUILTIN : INK_UNDEFINED;
    }
    return 0;
}

static int evaluate_attribute(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue object;
    INK_TRY(evaluate(r, node->kids[0], &object));
    return attribute(r, object, node->name, ret);
}

static int evaluate_item(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue object, index;
    INK_TRY(evaluate(r, node->kids[0], &object));
    INK_TRY(evaluate(r, node->kids[1], &index));
    bool named = object.kind == INK_NAMESPACE || object.kind == INK_LOOP;
    if (!named || index.kind != INK_STRING)
        return ink_op_item(r, object, index, ret);
    for (uint32_t name = 1; name <= r->t->names.n; name++) {
        INK_TRY(ink_template_charge(r, 0));
        if (ink_str_equal(index.string, name_text(r, name)))
            return attribute(r, object, name, ret);
    }
    *ret = INK_VALUE_UNDEFINED;
    return 0;
}

static int evaluate_slice(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue object, bounds[3];
    INK_TRY(evaluate(r, node->kids[0], &object));
    for (size_t i = 0; i < 3; i++) {
        bounds[i] = INK_VALUE_NONE;
        if (node->kids[i + 1] != NULL)
            INK_TRY(evaluate(r, node->kids[i + 1], &bounds[i]));
    }
    return ink_op_slice(r, object, bounds, ret);
}

static int evaluate_sequence(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue *items;
    INK_TRY(ink_template_alloc(r, node->n_kids, sizeof(InkValue), &items));
    for (size_t i = 0; i < node->n_kids; i++)
        INK_TRY(evaluate(r, node->kids[i], &items[i]));
    INK_TRY(ink_template_list(r, items, node->n_kids, ret));
    ret->kind = node->kind == INK_NODE_TUPLE ? INK_TUPLE : INK_LIST;
    return 0;
}

static int evaluate_dict(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkDict *dict;
    InkPair *pairs;
    size_t n = 0;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkDict), &dict));
    INK_TRY(ink_template_alloc(r, node->n_kids / 2, sizeof(InkPair), &pairs));
    for (size_t i = 0; i < node->n_kids; i += 2) {
        InkPair pair;
        bool same = false;
        size_t at = 0;
        INK_TRY(evaluate(r, node->kids[i], &pair.key));
        INK_TRY(evaluate(r, node->kids[i + 1], &pair.value));
        if (ink_value_is_sequence(pair.key) || pair.key.kind >= INK_DICT)
            return INK_FAIL(r, EINVAL, "%s cannot be a key", ink_value_kind_name(pair.key));
        for (; at < n; at++) {
            INK_TRY(ink_op_equal(r, pairs[at].key, pair.key, &same));
            if (same)
                break;
        }
        if (same)
            pairs[at].value = pair.value;
        else
            pairs[n++] = pair;
    }
    *dict = (InkDict){.pairs = pairs, .n = n};
    *ret = (InkValue){.kind = INK_DICT, .dict = dict};
    return 0;
}

static int evaluate_args(InkRender *r, const InkNode *node, InkArgs *ret)
{
    InkValue *by_position, *by_name;
    uint32_t *names;
    InkArgs args = {0};
    INK_TRY(ink_template_alloc(r, node->n_args, sizeof(InkValue), &by_position));
    INK_TRY(ink_template_alloc(r, node->n_args, sizeof(InkValue), &by_name));
    INK_TRY(ink_template_alloc(r, node->n_args, sizeof(uint32_t), &names));
    for (size_t i = 0; i < node->n_args; i++) {
        InkValue v;
        INK_TRY(evaluate(r, node->args[i].value, &v));
        if (node->args[i].name == 0) {
            by_position[args.n_by_position++] = v;
        } else {
            names[args.n_by_name] = node->args[i].name;
            by_name[args.n_by_name++] = v;
        }
    }
    args.by_position = by_position;
    args.by_name = by_name;
    args.names = names;
    *ret = args;
    return 0;
}

static int capture(InkRender *r, const InkNode *body, InkValue *ret)
{
    _cleanup_out_ InkOut out = {.r = r};
    InkOut *outer = r->out;
    r->out = &out;
    int e = execute(r, body);
    r->out = outer;
    INK_TRY(e);
    return ink_out_string(&out, ret);
}

/* The value of parameter number i: given by position, by name, or its default. */
static int bind_parameter(InkRender *r, const InkNode *macro, size_t i, const InkArgs *args)
{
    const InkArg *parameter = &macro->args[i];
    InkValue v = INK_VALUE_UNDEFINED;
    bool given = i < args->n_by_position;
    if (given)
        v = args->by_position[i];
    for (size_t k = 0; !given && k < args->n_by_name; k++)
        if (args->names[k] == parameter->name) {
            v = args->by_name[k];
            given = true;
        }
    if (!given && parameter->value != NULL)
        INK_TRY(evaluate(r, parameter->value, &v));
    return ink_template_bind(r, r->scope, parameter->name, v);
}

static int check_names(InkRender *r, const InkNode *macro, const InkArgs *args)
{
    if (args->n_by_position > macro->n_args)
        return INK_FAIL(r, EINVAL, "macro '%.60s' takes %zu arguments", name_text(r, macro->name),
                        macro->n_args);
    for (size_t k = 0; k < args->n_by_name; k++) {
        bool known = false;
        for (size_t i = 0; !known && i < macro->n_args; i++)
            known = macro->args[i].name == args->names[k];
        if (!known)
            return INK_FAIL(r, EINVAL, "macro '%.60s' has no parameter '%.60s'",
                            name_text(r, macro->name), name_text(r, args->names[k]));
        INK_TRY(ink_template_charge(r, macro->n_args));
    }
    return 0;
}

static int call_macro(InkRender *r, const InkMacro *macro, const InkArgs *args, InkValue *ret)
{
    const InkNode *node = macro->node;
    InkScope *scope = r->scope;
    if (++r->n_macros > INK_TEMPLATE_MAX_DEPTH)
        return INK_FAIL(r, E2BIG, "macros call each other deeper than %u", INK_TEMPLATE_MAX_DEPTH);
    INK_TRY(check_names(r, node, args));
    INK_TRY(push_scope(r, macro->scope));
    for (size_t i = 0; i < node->n_args; i++)
        INK_TRY(bind_parameter(r, node, i, args));
    INK_TRY(capture(r, node->kids[0], ret));
    r->scope = scope;
    r->n_macros--;
    return 0;
}

static int call_namespace(InkRender *r, const InkArgs *args, InkValue *ret)
{
    InkNamespace *names;
    InkScope scope = {0};
    if (args->n_by_position != 0)
        return INK_FAIL(r, EOPNOTSUPP, "namespace() with a mapping is not supported");
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkNamespace), &names));
    for (size_t i = 0; i < args->n_by_name; i++)
        INK_TRY(ink_template_bind(r, &scope, args->names[i], args->by_name[i]));
    names->bindings = scope.bindings;
    *ret = (InkValue){.kind = INK_NAMESPACE, .names = names};
    return 0;
}

static int call_range(InkRender *r, const InkArgs *args, InkValue *ret)
{
    int64_t at[3] = {0, 0, 1};
    size_t n_args = args->n_by_position, n = 0;
    if (n_args < 1 || n_args > 3)
        return INK_FAIL(r, EINVAL, "range() takes 1 to 3 arguments");
    for (size_t i = 0; i < n_args; i++)
        if (!ink_value_as_int(args->by_position[i], &at[n_args == 1 ? 1 : i]))
            return INK_FAIL(r, EINVAL, "range() takes integers");
    if (at[2] == 0)
        return INK_FAIL(r, EINVAL, "the step of range() is 0");
    uint64_t step = at[2] > 0 ? (uint64_t)at[2] : -(uint64_t)at[2];
    uint64_t span =
        at[2] > 0 ? (uint64_t)at[1] - (uint64_t)at[0] : (uint64_t)at[0] - (uint64_t)at[1];
    if (at[2] > 0 ? at[1] > at[0] : at[0] > at[1]) {
        if ((span - 1) / step >= INK_TEMPLATE_MAX_RANGE)
            return INK_FAIL(r, E2BIG, "range() of more than %d", INK_TEMPLATE_MAX_RANGE);
        n = (size_t)((span - 1) / step + 1);
    }
    InkValue *items;
    INK_TRY(ink_template_charge(r, n * sizeof(InkValue)));
    INK_TRY(ink_template_alloc(r, n, sizeof(InkValue), &items));
    for (size_t i = 0; i < n; i++)
        items[i] = ink_value_int(at[0] + (int64_t)i * at[2], false);
    return ink_template_list(r, items, n, ret);
}

/* The template's own words; text of the user does not go into errors. */
static int call_raise(InkRender *r, const InkArgs *args)
{
    char text[160] = "";
    size_t n = 0;
    const InkStr *s = args->n_by_position == 1 && args->by_position[0].kind == INK_STRING
                          ? args->by_position[0].string
                          : NULL;
    for (size_t at = 0, n_char; s != NULL && at < s->n_bytes; at += n_char) {
        uint32_t code_point;
        n_char = ink_str_char(s, at, &code_point);
        if (n + n_char >= sizeof(text))
            break;
        if (!ink_str_mark(s, at) || code_point < 0x20 || code_point > 0x10FFFF)
            continue;
        memcpy(text + n, s->data + at, n_char);
        n += n_char;
    }
    return INK_FAIL(r, EINVAL, "the template refuses the conversation: %s", text);
}

static int call_function(InkRender *r, const char *name, const InkArgs *args, InkValue *ret)
{
    if (strcmp(name, "namespace") == 0)
        return call_namespace(r, args, ret);
    if (strcmp(name, "range") == 0)
        return call_range(r, args, ret);
    return call_raise(r, args);
}

static int evaluate_call(InkRender *r, const InkNode *node, InkValue *ret)
{
    const InkNode *callee = node->kids[0];
    InkValue object = INK_VALUE_UNDEFINED, value;
    InkArgs args;
    bool is_method = callee->kind == INK_NODE_ATTR;
    if (is_method) {
        INK_TRY(evaluate(r, callee->kids[0], &object));
        if (object.kind == INK_UNDEFINED || object.kind == INK_NAMESPACE)
            INK_TRY(attribute(r, object, callee->name, &value));
        else
            value = (InkValue){.kind = INK_BUILTIN};
    } else {
        INK_TRY(find_name(r, callee->name, &value));
    }
    INK_TRY(evaluate_args(r, node, &args));
    r->line = node->line;
    const char *name = name_text(r, callee->name);
    if (value.kind == INK_MACRO)
        return call_macro(r, value.macro, &args, ret);
    if (value.kind == INK_UNDEFINED)
        return INK_FAIL(r, EINVAL, "'%.60s' is undefined and cannot be called", name);
    if (value.kind != INK_BUILTIN)
        return INK_FAIL(r, EINVAL, "%s cannot be called", ink_value_kind_name(value));
    if (is_method)
        return ink_template_method(r, object, name, &args, ret);
    if (!ink_template_is_function(name))
        return INK_FAIL(r, EOPNOTSUPP, "calling a function as '%.60s' is not supported", name);
    return call_function(r, name, &args, ret);
}

static int evaluate_filter(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue v = r->captured;
    InkArgs args;
    if (node->kids[0] != NULL)
        INK_TRY(evaluate(r, node->kids[0], &v));
    INK_TRY(evaluate_args(r, node, &args));
    r->line = node->line;
    return ink_template_filter(r, node->index, v, &args, ret);
}

static int evaluate_test(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue v;
    InkArgs args;
    bool yes;
    INK_TRY(evaluate(r, node->kids[0], &v));
    INK_TRY(evaluate_args(r, node, &args));
    INK_TRY(ink_template_test(r, node->index, v, &args, &yes));
    *ret = ink_value_bool(yes);
    return 0;
}

static int evaluate_sign(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue v;
    bool negate = node->kind == INK_NODE_NEGATE;
    INK_TRY(evaluate(r, node->kids[0], &v));
    if (v.kind == INK_FLOAT) {
        *ret = ink_value_real(negate ? -v.real : v.real, v.untrusted);
        return 0;
    }
    int64_t i;
    if (!ink_value_as_int(v, &i))
        return INK_FAIL(r, EINVAL, "%s has no sign", ink_value_kind_name(v));
    return ink_op_binary(r, negate ? INK_OP_SUB : INK_OP_ADD, ink_value_int(0, false),
                         ink_value_int(i, v.untrusted), ret);
}

static int evaluate_compare(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue left, right;
    bool yes = true;
    INK_TRY(evaluate(r, node->kids[0], &left));
    for (size_t i = 1; yes && i < node->n_kids; i++) {
        INK_TRY(evaluate(r, node->kids[i], &right));
        INK_TRY(ink_op_compare(r, node->ops[i - 1], left, right, &yes));
        left = right;
    }
    *ret = ink_value_bool(yes);
    return 0;
}

static int evaluate_binary(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue left, right;
    INK_TRY(evaluate(r, node->kids[0], &left));
    if ((node->kind == INK_NODE_AND && !ink_value_truth(left)) ||
        (node->kind == INK_NODE_OR && ink_value_truth(left))) {
        *ret = left;
        return 0;
    }
    INK_TRY(evaluate(r, node->kids[1], &right));
    if (node->kind != INK_NODE_BINARY) {
        *ret = right;
        return 0;
    }
    r->line = node->line;
    return ink_op_binary(r, node->op, left, right, ret);
}

static int evaluate_choice(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue condition;
    INK_TRY(evaluate(r, node->kids[0], &condition));
    const InkNode *chosen = node->kids[ink_value_truth(condition) ? 1 : 2];
    *ret = INK_VALUE_UNDEFINED;
    return chosen != NULL ? evaluate(r, chosen, ret) : 0;
}

static int evaluate_not(InkRender *r, const InkNode *node, InkValue *ret)
{
    InkValue v;
    INK_TRY(evaluate(r, node->kids[0], &v));
    *ret = ink_value_bool(!ink_value_truth(v));
    return 0;
}

static int evaluate_const(InkRender *r, const InkNode *node, InkValue *ret)
{
    (void)r;
    *ret = node->value;
    return 0;
}

static int evaluate_name(InkRender *r, const InkNode *node, InkValue *ret)
{
    return find_name(r, node->name, ret);
}

static int evaluate(InkRender *r, const InkNode *node, InkValue *ret)
{
    static int (*const by_kind[])(InkRender * r, const InkNode *node, InkValue *ret) = {
        [INK_NODE_CONST] = evaluate_const,   [INK_NODE_NAME] = evaluate_name,
        [INK_NODE_LIST] = evaluate_sequence, [INK_NODE_TUPLE] = evaluate_sequence,
        [INK_NODE_DICT] = evaluate_dict,     [INK_NODE_ATTR] = evaluate_attribute,
        [INK_NODE_ITEM] = evaluate_item,     [INK_NODE_SLICE] = evaluate_slice,
        [INK_NODE_CALL] = evaluate_call,     [INK_NODE_FILTER] = evaluate_filter,
        [INK_NODE_TEST] = evaluate_test,     [INK_NODE_NOT] = evaluate_not,
        [INK_NODE_NEGATE] = evaluate_sign,   [INK_NODE_PLUS] = evaluate_sign,
        [INK_NODE_BINARY] = evaluate_binary, [INK_NODE_AND] = evaluate_binary,
        [INK_NODE_OR] = evaluate_binary,     [INK_NODE_COMPARE] = evaluate_compare,
        [INK_NODE_CHOICE] = evaluate_choice,
    };
    InkValue v;
    r->line = node->line;
    INK_TRY(ink_template_enter(r));
    INK_TRY(by_kind[node->kind](r, node, &v));
    ink_template_leave(r);
    *ret = v;
    return 0;
}

static int assign(InkRender *r, const InkNode *target, InkValue v)
{
    if (target->kind == INK_NODE_NAME)
        return ink_template_bind(r, r->scope, target->name, v);
    if (target->kind == INK_NODE_ATTR) {
        InkValue object;
        INK_TRY(evaluate(r, target->kids[0], &object));
        if (object.kind != INK_NAMESPACE)
            return INK_FAIL(r, EINVAL, "attributes of %s cannot be set",
                            ink_value_kind_name(object));
        InkScope scope = {.bindings = object.names->bindings};
        INK_TRY(ink_template_bind(r, &scope, target->name, v));
        object.names->bindings = scope.bindings;
        return 0;
    }
    const InkValue *items;
    size_t n;
    INK_TRY(ink_op_items(r, v, &items, &n));
    if (n != target->n_kids)
        return INK_FAIL(r, EINVAL, "%zu values for %zu names", n, target->n_kids);
    for (size_t i = 0; i < n; i++)
        INK_TRY(ink_template_bind(r, r->scope, target->kids[i]->name, items[i]));
    return 0;
}

static int execute_set(InkRender *r, const InkNode *node)
{
    InkValue v;
    INK_TRY(evaluate(r, node->kids[1], &v));
    return assign(r, node->kids[0], v);
}

/* What `body` prints, in a scope of its own, through a chain of filters. */
static int capture_filtered(InkRender *r, const InkNode *body, const InkNode *filter, InkValue *ret)
{
    InkScope *scope = r->scope;
    INK_TRY(push_scope(r, scope));
    INK_TRY(capture(r, body, ret));
    r->scope = scope;
    if (filter == NULL)
        return 0;
    r->captured = *ret;
    return evaluate(r, filter, ret);
}

static int execute_set_block(InkRender *r, const InkNode *node)
{
    InkValue v;
    INK_TRY(capture_filtered(r, node->kids[1], node->kids[2], &v));
    return assign(r, node->kids[0], v);
}

static int execute_filter_block(InkRender *r, const InkNode *node)
{
    InkValue v;
    INK_TRY(capture_filtered(r, node->kids[1], node->kids[0], &v));
    return ink_op_print(r, r->out, v);
}

static int execute_if(InkRender *r, const InkNode *node)
{
    size_t i = 0;
    for (; i + 1 < node->n_kids; i += 2) {
        InkValue condition;
        INK_TRY(evaluate(r, node->kids[i], &condition));
        if (ink_value_truth(condition))
            return execute(r, node->kids[i + 1]);
    }
    return node->kids[i] != NULL ? execute(r, node->kids[i]) : 0;
}

/* The items for which the condition of "for ... if" holds. */
static int filter_items(InkRender *r, const InkNode *node, const InkValue **items, size_t *n)
{
    InkValue *kept;
    size_t n_kept = 0;
    InkScope *scope = r->scope;
    INK_TRY(ink_template_alloc(r, *n, sizeof(InkValue), &kept));
    for (size_t i = 0; i < *n; i++) {
        InkValue condition;
        INK_TRY(push_scope(r, scope));
        INK_TRY(assign(r, node->kids[0], (*items)[i]));
        INK_TRY(evaluate(r, node->kids[2], &condition));
        if (ink_value_truth(condition))
            kept[n_kept++] = (*items)[i];
    }
    r->scope = scope;
    *items = kept;
    *n = n_kept;
    return 0;
}

static int execute_for(InkRender *r, const InkNode *node)
{
    InkValue list;
    InkLoop *loop;
    InkScope *scope = r->scope;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkLoop), &loop));
    INK_TRY(evaluate(r, node->kids[1], &list));
    INK_TRY(ink_op_items(r, list, &loop->items, &loop->n));
    if (node->kids[2] != NULL)
        INK_TRY(filter_items(r, node, &loop->items, &loop->n));
    for (; loop->index0 < loop->n; loop->index0++) {
        INK_TRY(push_scope(r, scope));
        InkValue value = {.kind = INK_LOOP, .loop = loop};
        INK_TRY(ink_template_bind(r, r->scope, r->t->name_loop, value));
        INK_TRY(assign(r, node->kids[0], loop->items[loop->index0]));
        INK_TRY(execute(r, node->kids[3]));
        bool stop = r->flow == INK_FLOW_BREAK;
        r->flow = INK_FLOW_NEXT;
        if (stop)
            break;
    }
    r->scope = scope;
    if (loop->n != 0 || node->kids[4] == NULL)
        return 0;
    INK_TRY(push_scope(r, scope));
    INK_TRY(execute(r, node->kids[4]));
    r->scope = scope;
    return 0;
}

static int execute_macro(InkRender *r, const InkNode *node)
{
    InkMacro *macro;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkMacro), &macro));
    *macro = (InkMacro){.node = node, .scope = r->scope};
    InkValue v = {.kind = INK_MACRO, .macro = macro};
    return ink_template_bind(r, r->scope, node->name, v);
}

static int execute_print(InkRender *r, const InkNode *node)
{
    InkValue v;
    INK_TRY(evaluate(r, node->kids[0], &v));
    return ink_op_print(r, r->out, v);
}

static int execute_text(InkRender *r, const InkNode *node)
{
    return ink_out_add(r->out, node->value.string);
}

static int execute_body(InkRender *r, const InkNode *node)
{
    for (size_t i = 0; i < node->n_kids && r->flow == INK_FLOW_NEXT; i++)
        INK_TRY(execute(r, node->kids[i]));
    return 0;
}

static int execute_scope(InkRender *r, const InkNode *node)
{
    InkScope *scope = r->scope;
    INK_TRY(push_scope(r, scope));
    INK_TRY(execute(r, node->kids[0]));
    r->scope = scope;
    return 0;
}

static int execute_jump(InkRender *r, const InkNode *node)
{
    r->flow = node->kind == INK_NODE_BREAK ? INK_FLOW_BREAK : INK_FLOW_CONTINUE;
    return 0;
}

static int execute(InkRender *r, const InkNode *node)
{
    static int (*const by_kind[])(InkRender * r, const InkNode *node) = {
        [INK_NODE_BODY] = execute_body,
        [INK_NODE_TEXT] = execute_text,
        [INK_NODE_PRINT] = execute_print,
        [INK_NODE_IF] = execute_if,
        [INK_NODE_FOR] = execute_for,
        [INK_NODE_SET] = execute_set,
        [INK_NODE_SET_BLOCK] = execute_set_block,
        [INK_NODE_MACRO] = execute_macro,
        [INK_NODE_FILTER_BLOCK] = execute_filter_block,
        [INK_NODE_SCOPE] = execute_scope,
        [INK_NODE_BREAK] = execute_jump,
        [INK_NODE_CONTINUE] = execute_jump,
    };
    r->line = node->line;
    INK_TRY(ink_template_enter(r));
    INK_TRY(by_kind[node->kind](r, node));
    ink_template_leave(r);
    return 0;
}

int ink_template_execute(InkRender *r, const InkNode *body)
{
    INK_TRY(push_scope(r, r->scope));
    return execute(r, body);
}
