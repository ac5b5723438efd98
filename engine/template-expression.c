/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Expressions of the template language, by recursive descent in the shape of Jinja2's own grammar.
 * Anything outside the part that is known ends here with -EOPNOTSUPP, its name and its line. */
#include "engine/template-parser.h"

static int parse_unary(InkParser *p, bool with_filter, const InkNode **ret);

/* A node on top of `kids`; rendering recurses over the height, which is limited here. */
int ink_parser_make(InkParser *p, InkNode node, const InkNodes *kids, const InkNode **ret)
{
    InkNode *made;
    INK_TRY(ink_parser_allocate(p, 1, sizeof(InkNode), &made));
    *made = node;
    made->line = node.line != 0 ? node.line : p->at->line;
    if (kids != NULL) {
        made->kids = kids->items;
        made->n_kids = kids->n;
    }
    for (size_t i = 0; i < made->n_kids; i++)
        if (made->kids[i] != NULL && made->kids[i]->height > made->height)
            made->height = made->kids[i]->height;
    for (size_t i = 0; i < made->n_args; i++)
        if (made->args[i].value != NULL && made->args[i].value->height > made->height)
            made->height = made->args[i].value->height;
    if (++made->height > INK_TEMPLATE_MAX_TREE_HEIGHT)
        return INK_PARSE_FAIL(p, E2BIG, "an expression is built of more than %d steps",
                              INK_TEMPLATE_MAX_TREE_HEIGHT);
    *ret = made;
    return 0;
}

int ink_parser_make_over(InkParser *p, InkNode node, const InkNode *a, const InkNode *b,
                         const InkNode *c, size_t n, const InkNode **ret)
{
    const InkNode *all[3] = {a, b, c};
    InkNodes kids = {0};
    for (size_t i = 0; i < n; i++)
        INK_TRY(ink_parser_add(p, &kids, all[i]));
    return ink_parser_make(p, node, &kids, ret);
}

static int make_const(InkParser *p, InkValue value, const InkNode **ret)
{
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_CONST, .value = value}, NULL, ret);
}

static int make_string(InkParser *p, InkStr text, InkNodeKind kind, const InkNode **ret)
{
    InkStr *copy;
    INK_TRY(ink_parser_allocate(p, 1, sizeof(InkStr), &copy));
    *copy = text;
    return ink_parser_make(p, (InkNode){.kind = kind, .value = ink_value_string(copy)}, NULL, ret);
}

/* Strings side by side are one, as in Python. */
static int parse_strings(InkParser *p, const InkNode **ret)
{
    const InkLexeme *first = p->at;
    size_t n_bytes = 0;
    for (; p->at->type == INK_TOKEN_STRING; p->at++)
        n_bytes += p->at->text.n_bytes;
    if (p->at == first + 1)
        return make_string(p, first->text, INK_NODE_CONST, ret);
    char *text, *end;
    INK_TRY(ink_parser_allocate(p, n_bytes + 1, 1, &text));
    end = text;
    for (const InkLexeme *s = first; s < p->at; s++) {
        memcpy(end, s->text.data, s->text.n_bytes);
        end += s->text.n_bytes;
    }
    return make_string(p, (InkStr){.data = text, .n_bytes = n_bytes, .trusted = true},
                       INK_NODE_CONST, ret);
}

/* Expressions up to `end`, separated by commas; one at the end is fine. */
static int parse_list(InkParser *p, const char *end, InkNodes *nodes, bool *ret_comma)
{
    while (!ink_parser_at_op(p, end)) {
        const InkNode *item;
        INK_TRY(ink_parser_expression(p, &item));
        INK_TRY(ink_parser_add(p, nodes, item));
        if (!ink_parser_skip_op(p, ","))
            break;
        *ret_comma = true;
    }
    return ink_parser_expect_op(p, end);
}

static int parse_parentheses(InkParser *p, const InkNode **ret)
{
    InkNodes items = {0};
    bool comma = false;
    p->at++;
    INK_TRY(parse_list(p, ")", &items, &comma));
    if (items.n == 1 && !comma) {
        *ret = items.items[0];
        return 0;
    }
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_TUPLE}, &items, ret);
}

static int parse_dict(InkParser *p, const InkNode **ret)
{
    InkNodes pairs = {0};
    p->at++;
    while (!ink_parser_at_op(p, "}")) {
        const InkNode *key, *value;
        INK_TRY(ink_parser_expression(p, &key));
        INK_TRY(ink_parser_expect_op(p, ":"));
        INK_TRY(ink_parser_expression(p, &value));
        INK_TRY(ink_parser_add(p, &pairs, key));
        INK_TRY(ink_parser_add(p, &pairs, value));
        if (!ink_parser_skip_op(p, ","))
            break;
    }
    INK_TRY(ink_parser_expect_op(p, "}"));
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_DICT}, &pairs, ret);
}

static int parse_name(InkParser *p, const InkNode **ret)
{
    static const struct {
        const char *text;
        InkValue value;
    } constants[] = {
        {"true", {.kind = INK_BOOL, .boolean = true}},
        {"True", {.kind = INK_BOOL, .boolean = true}},
        {"false", {.kind = INK_BOOL, .boolean = false}},
        {"False", {.kind = INK_BOOL, .boolean = false}},
        {"none", {.kind = INK_NONE}},
        {"None", {.kind = INK_NONE}},
    };
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
        if (ink_parser_skip_name(p, constants[i].text))
            return make_const(p, constants[i].value, ret);
    uint32_t name = p->at->name;
    INK_TRY(ink_parser_make(p, (InkNode){.kind = INK_NODE_NAME, .name = name}, NULL, ret));
    p->at++;
    return 0;
}

static int parse_primary(InkParser *p, const InkNode **ret)
{
    const InkLexeme *token = p->at;
    switch (token->type) {
    case INK_TOKEN_NAME:
        return parse_name(p, ret);
    case INK_TOKEN_STRING:
        return parse_strings(p, ret);
    case INK_TOKEN_INT:
        p->at++;
        return make_const(p, ink_value_int(token->integer, false), ret);
    case INK_TOKEN_FLOAT:
        p->at++;
        return make_const(p, ink_value_real(token->real, false), ret);
    default:
        break;
    }
    if (ink_parser_at_op(p, "("))
        return parse_parentheses(p, ret);
    if (ink_parser_at_op(p, "{"))
        return parse_dict(p, ret);
    if (ink_parser_skip_op(p, "[")) {
        InkNodes items = {0};
        bool comma = false;
        INK_TRY(parse_list(p, "]", &items, &comma));
        return ink_parser_make(p, (InkNode){.kind = INK_NODE_LIST}, &items, ret);
    }
    return INK_PARSE_FAIL(p, EBADMSG, "an expression is expected");
}

static bool at_keyword_argument(const InkParser *p)
{
    return p->at->type == INK_TOKEN_NAME && p->at[1].type == INK_TOKEN_OPERATOR &&
           strcmp(p->at[1].operator, "=") == 0;
}

/* The arguments behind an opening parenthesis that was passed. */
static int parse_args(InkParser *p, InkNode *node)
{
    InkArgList args = {0};
    while (!ink_parser_at_op(p, ")")) {
        if (ink_parser_at_op(p, "*") || ink_parser_at_op(p, "**"))
            return INK_PARSE_FAIL(p, EOPNOTSUPP, "unpacking arguments with '*' is not supported");
        InkArg arg = {0};
        if (at_keyword_argument(p)) {
            arg.name = p->at->name;
            p->at += 2;
        } else if (args.n != 0 && args.items[args.n - 1].name != 0) {
            return INK_PARSE_FAIL(p, EBADMSG, "an argument without a name follows one with a name");
        }
        INK_TRY(ink_parser_expression(p, &arg.value));
        INK_TRY(ink_parser_add_arg(p, &args, &arg));
        if (!ink_parser_skip_op(p, ","))
            break;
    }
    node->args = args.items;
    node->n_args = args.n;
    return ink_parser_expect_op(p, ")");
}

static int parse_call(InkParser *p, const InkNode *callee, const InkNode **ret)
{
    InkNode node = {.kind = INK_NODE_CALL, .line = p->at->line};
    p->at++;
    INK_TRY(parse_args(p, &node));
    if (callee->kind == INK_NODE_NAME)
        INK_TRY(ink_parser_add(p, &p->called, callee));
    else if (callee->kind != INK_NODE_ATTR)
        return INK_PARSE_FAIL(p, EOPNOTSUPP, "calling the value of an expression is not supported");
    else if (!ink_template_is_method(ink_parser_name_text(p, callee->name)))
        return ink_parser_unknown(p, node.line, "method", callee->name);
    return ink_parser_make_over(p, node, callee, NULL, NULL, 1, ret);
}

/* [index] or [from:to:step], behind the bracket. */
static int parse_index(InkParser *p, const InkNode *object, const InkNode **ret)
{
    const InkNode *parts[3] = {NULL, NULL, NULL};
    size_t n_colons = 0;
    if (!ink_parser_at_op(p, ":"))
        INK_TRY(ink_parser_expression(p, &parts[0]));
    while (n_colons < 2 && ink_parser_skip_op(p, ":")) {
        n_colons++;
        if (!ink_parser_at_op(p, ":") && !ink_parser_at_op(p, "]"))
            INK_TRY(ink_parser_expression(p, &parts[n_colons]));
    }
    INK_TRY(ink_parser_expect_op(p, "]"));
    if (n_colons == 0)
        return ink_parser_make_over(p, (InkNode){.kind = INK_NODE_ITEM}, object, parts[0], NULL, 2,
                                    ret);
    InkNodes kids = {0};
    INK_TRY(ink_parser_add(p, &kids, object));
    for (size_t i = 0; i < 3; i++)
        INK_TRY(ink_parser_add(p, &kids, parts[i]));
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_SLICE}, &kids, ret);
}

static int parse_attribute(InkParser *p, const InkNode *object, const InkNode **ret)
{
    const InkLexeme *token = p->at++;
    if (token->type == INK_TOKEN_NAME)
        return ink_parser_make_over(p, (InkNode){.kind = INK_NODE_ATTR, .name = token->name},
                                    object, NULL, NULL, 1, ret);
    if (token->type != INK_TOKEN_INT)
        return INK_PARSE_FAIL(p, EBADMSG, "a name is expected behind '.'");
    const InkNode *index;
    INK_TRY(make_const(p, ink_value_int(token->integer, false), &index));
    return ink_parser_make_over(p, (InkNode){.kind = INK_NODE_ITEM}, object, index, NULL, 2, ret);
}

static int parse_postfix(InkParser *p, const InkNode **node)
{
    for (;;) {
        if (ink_parser_skip_op(p, "."))
            INK_TRY(parse_attribute(p, *node, node));
        else if (ink_parser_skip_op(p, "["))
            INK_TRY(parse_index(p, *node, node));
        else if (ink_parser_at_op(p, "("))
            INK_TRY(parse_call(p, *node, node));
        else
            return 0;
    }
}

/* Filters that take the name of a filter or test: checked here when it is written out. */
static int check_inner_names(InkParser *p, const char *filter, const InkNode *node)
{
    bool by_attribute = strcmp(filter, "selectattr") == 0 || strcmp(filter, "rejectattr") == 0;
    bool is_map = strcmp(filter, "map") == 0;
    if (!by_attribute && !is_map && strcmp(filter, "select") != 0 && strcmp(filter, "reject") != 0)
        return 0;
    size_t index = by_attribute ? 1 : 0;
    if (index >= node->n_args || node->args[index].name != 0)
        return 0;
    const InkNode *arg = node->args[index].value;
    if (arg->kind != INK_NODE_CONST || arg->value.kind != INK_STRING)
        return INK_PARSE_FAIL(p, EOPNOTSUPP, "%s needs a name that is written out", filter);
    const InkStr *s = arg->value.string;
    char name[64] = "";
    if (s->n_bytes < sizeof(name))
        memcpy(name, s->data, s->n_bytes);
    if ((is_map ? ink_template_find_filter(name) : ink_template_find_test(name)) < 0)
        return INK_PARSE_FAIL(p, EOPNOTSUPP, "the name given to '%s' is not supported", filter);
    return 0;
}

/* One filter behind '|'; `value` is NULL in a filter block. */
int ink_parser_filter(InkParser *p, const InkNode *value, const InkNode **ret)
{
    InkNode node = {.kind = INK_NODE_FILTER, .line = p->at->line, .name = p->at->name};
    INK_TRY(ink_parser_expect(p, INK_TOKEN_NAME, "the name of a filter"));
    int index = ink_template_find_filter(ink_parser_name_text(p, node.name));
    if (index < 0 || ink_parser_at_op(p, "."))
        return ink_parser_unknown(p, node.line, "filter", node.name);
    node.index = (uint32_t)index;
    if (ink_parser_skip_op(p, "("))
        INK_TRY(parse_args(p, &node));
    INK_TRY(check_inner_names(p, ink_parser_name_text(p, node.name), &node));
    return ink_parser_make_over(p, node, value, NULL, NULL, 1, ret);
}

static int parse_test(InkParser *p, const InkNode *value, const InkNode **ret)
{
    bool negated = ink_parser_skip_name(p, "not");
    InkNode node = {.kind = INK_NODE_TEST, .line = p->at->line, .name = p->at->name};
    INK_TRY(ink_parser_expect(p, INK_TOKEN_NAME, "the name of a test"));
    int index = ink_template_find_test(ink_parser_name_text(p, node.name));
    if (index < 0)
        return ink_parser_unknown(p, node.line, "test", node.name);
    node.index = (uint32_t)index;
    if (ink_parser_skip_op(p, "(")) {
        INK_TRY(parse_args(p, &node));
    } else if (ink_template_test_takes_argument(node.index)) {
        InkArg *arg;
        INK_TRY(ink_parser_allocate(p, 1, sizeof(InkArg), &arg));
        INK_TRY(ink_parser_enter(p));
        INK_TRY(parse_primary(p, &arg->value));
        INK_TRY(parse_postfix(p, &arg->value));
        p->depth--;
        node.args = arg;
        node.n_args = 1;
    }
    INK_TRY(ink_parser_make_over(p, node, value, NULL, NULL, 1, ret));
    return negated
               ? ink_parser_make_over(p, (InkNode){.kind = INK_NODE_NOT}, *ret, NULL, NULL, 1, ret)
               : 0;
}

static int parse_filters(InkParser *p, const InkNode **node)
{
    for (;;) {
        if (ink_parser_skip_op(p, "|"))
            INK_TRY(ink_parser_filter(p, *node, node));
        else if (ink_parser_skip_name(p, "is"))
            INK_TRY(parse_test(p, *node, node));
        else if (ink_parser_at_op(p, "("))
            INK_TRY(parse_call(p, *node, node));
        else
            return 0;
    }
}

static int parse_unary(InkParser *p, bool with_filter, const InkNode **ret)
{
    INK_TRY(ink_parser_enter(p));
    if (ink_parser_at_op(p, "-") || ink_parser_at_op(p, "+")) {
        InkNodeKind kind = ink_parser_at_op(p, "-") ? INK_NODE_NEGATE : INK_NODE_PLUS;
        p->at++;
        INK_TRY(parse_unary(p, false, ret));
        INK_TRY(ink_parser_make_over(p, (InkNode){.kind = kind}, *ret, NULL, NULL, 1, ret));
    } else {
        INK_TRY(parse_primary(p, ret));
    }
    INK_TRY(parse_postfix(p, ret));
    if (with_filter)
        INK_TRY(parse_filters(p, ret));
    if (ink_parser_at_op(p, "**"))
        return INK_PARSE_FAIL(p, EOPNOTSUPP, "operator '**' is not supported");
    p->depth--;
    return 0;
}

/* Left-associative operators from the strongest level (0) to the weakest (2). */
static int parse_binary(InkParser *p, int level, const InkNode **ret)
{
    static const struct {
        int level;
        const char *text;
        InkOp op;
    } operators[] = {
        {0, "*", INK_OP_MUL}, {0, "/", INK_OP_DIV},    {0, "//", INK_OP_FLOOR_DIV},
        {0, "%", INK_OP_MOD}, {1, "~", INK_OP_CONCAT}, {2, "+", INK_OP_ADD},
        {2, "-", INK_OP_SUB},
    };
    INK_TRY(level == 0 ? parse_unary(p, true, ret) : parse_binary(p, level - 1, ret));
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (operators[i].level != level || !ink_parser_at_op(p, operators[i].text))
            continue;
        const InkNode *left = *ret, *right;
        uint32_t line = p->at++->line;
        INK_TRY(level == 0 ? parse_unary(p, true, &right) : parse_binary(p, level - 1, &right));
        InkNode node = {.kind = INK_NODE_BINARY, .op = operators[i].op, .line = line};
        INK_TRY(ink_parser_make_over(p, node, left, right, NULL, 2, ret));
        i = SIZE_MAX; /* from the first operator again */
    }
    return 0;
}

static bool parse_comparison(InkParser *p, InkOp *ret)
{
    static const char *const texts[] = {"==", "!=", "<", "<=", ">", ">="};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (ink_parser_skip_op(p, texts[i])) {
            *ret = INK_OP_EQ + (InkOp)i;
            return true;
        }
    *ret = INK_OP_IN;
    if (ink_parser_skip_name(p, "in"))
        return true;
    *ret = INK_OP_NOT_IN;
    bool not_in = ink_parser_at_name(p, "not") && p->at[1].type == INK_TOKEN_NAME &&
                  strcmp(ink_parser_name_text(p, p->at[1].name), "in") == 0;
    p->at += not_in ? 2 : 0;
    return not_in;
}

static int parse_compare(InkParser *p, const InkNode **ret)
{
    InkNodes operands = {0};
    InkOp ops[INK_TEMPLATE_MAX_DEPTH];
    size_t n_ops = 0;
    INK_TRY(parse_binary(p, 2, ret));
    INK_TRY(ink_parser_add(p, &operands, *ret));
    while (n_ops < INK_TEMPLATE_MAX_DEPTH && parse_comparison(p, &ops[n_ops])) {
        const InkNode *operand;
        INK_TRY(parse_binary(p, 2, &operand));
        INK_TRY(ink_parser_add(p, &operands, operand));
        n_ops++;
    }
    if (n_ops == 0)
        return 0;
    InkOp *copy;
    INK_TRY(ink_parser_allocate(p, n_ops, sizeof(InkOp), &copy));
    memcpy(copy, ops, n_ops * sizeof(InkOp));
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_COMPARE, .ops = copy}, &operands, ret);
}

static int parse_not(InkParser *p, const InkNode **ret)
{
    if (!ink_parser_skip_name(p, "not"))
        return parse_compare(p, ret);
    INK_TRY(ink_parser_enter(p));
    INK_TRY(parse_not(p, ret));
    p->depth--;
    return ink_parser_make_over(p, (InkNode){.kind = INK_NODE_NOT}, *ret, NULL, NULL, 1, ret);
}

static int parse_and(InkParser *p, const InkNode **ret)
{
    INK_TRY(parse_not(p, ret));
    while (ink_parser_skip_name(p, "and")) {
        const InkNode *left = *ret, *right;
        INK_TRY(parse_not(p, &right));
        INK_TRY(
            ink_parser_make_over(p, (InkNode){.kind = INK_NODE_AND}, left, right, NULL, 2, ret));
    }
    return 0;
}

int ink_parser_or(InkParser *p, const InkNode **ret)
{
    INK_TRY(parse_and(p, ret));
    while (ink_parser_skip_name(p, "or")) {
        const InkNode *left = *ret, *right;
        INK_TRY(parse_and(p, &right));
        INK_TRY(ink_parser_make_over(p, (InkNode){.kind = INK_NODE_OR}, left, right, NULL, 2, ret));
    }
    return 0;
}

int ink_parser_expression(InkParser *p, const InkNode **ret)
{
    INK_TRY(ink_parser_enter(p));
    INK_TRY(ink_parser_or(p, ret));
    while (ink_parser_skip_name(p, "if")) {
        const InkNode *then = *ret, *condition, *otherwise = NULL;
        INK_TRY(ink_parser_or(p, &condition));
        if (ink_parser_skip_name(p, "else"))
            INK_TRY(ink_parser_expression(p, &otherwise));
        InkNode node = {.kind = INK_NODE_CHOICE};
        INK_TRY(ink_parser_make_over(p, node, condition, then, otherwise, 3, ret));
    }
    p->depth--;
    return 0;
}
