/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Statements of the template language. An unknown tag ends here with -EOPNOTSUPP. */
#include "engine/template-parse.h"

#include "engine/template-parser.h"

static int parse_body(InkParser *p, const char *const *ends, const InkNode **ret);

static int end_tag(InkParser *p)
{
    return ink_parser_expect(p, INK_TOKEN_BLOCK_END, "'%}'");
}

/* An expression, or several with commas between: a tuple. */
static int parse_tuple(InkParser *p, bool with_choice, const InkNode **ret)
{
    InkNodes items = {0};
    do {
        bool at_end = p->at->type == INK_TOKEN_BLOCK_END || p->at->type == INK_TOKEN_PRINT_END;
        if (items.n != 0 && at_end)
            break;
        INK_TRY(with_choice ? ink_parser_expression(p, ret) : ink_parser_or(p, ret));
        INK_TRY(ink_parser_add(p, &items, *ret));
    } while (ink_parser_skip_op(p, ","));
    bool comma = p->at[-1].type == INK_TOKEN_OPERATOR && p->at[-1].operator[0] == ',';
    if (items.n == 1 && !comma)
        return 0;
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_TUPLE}, &items, ret);
}

static int parse_target_name(InkParser *p, bool attributes, const InkNode **ret)
{
    uint32_t name = p->at->name;
    INK_TRY(ink_parser_expect(p, INK_TOKEN_NAME, "a name"));
    InkNode node = {.kind = INK_NODE_NAME, .name = name};
    INK_TRY(ink_parser_make(p, node, NULL, ret));
    if (attributes && ink_parser_skip_op(p, ".")) {
        node = (InkNode){.kind = INK_NODE_ATTR, .name = p->at->name};
        INK_TRY(ink_parser_expect(p, INK_TOKEN_NAME, "a name behind '.'"));
        return ink_parser_make_over(p, node, *ret, NULL, NULL, 1, ret);
    }
    p->bound[name] = true;
    return 0;
}

/* Where a value goes: a name, names with commas between, or the attribute of a namespace. */
static int parse_target(InkParser *p, bool attributes, const InkNode **ret)
{
    InkNodes names = {0};
    bool parentheses = ink_parser_skip_op(p, "(");
    bool comma = false;
    do {
        if (names.n != 0 && p->at->type != INK_TOKEN_NAME)
            break;
        INK_TRY(parse_target_name(p, attributes && names.n == 0 && !parentheses, ret));
        INK_TRY(ink_parser_add(p, &names, *ret));
        comma = ink_parser_at_op(p, ",");
    } while (ink_parser_skip_op(p, ","));
    if (parentheses)
        INK_TRY(ink_parser_expect_op(p, ")"));
    if (names.n == 1 && !comma)
        return 0;
    if (names.items[0]->kind != INK_NODE_NAME)
        return INK_PARSE_FAIL(p, EOPNOTSUPP, "an attribute among several targets is not supported");
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_TUPLE}, &names, ret);
}

static int parse_if(InkParser *p, const InkNode **ret)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    InkNodes kids = {0};
    const InkNode *node;
    do {
        INK_TRY(parse_tuple(p, true, &node));
        INK_TRY(ink_parser_add(p, &kids, node));
        INK_TRY(end_tag(p));
        INK_TRY(parse_body(p, ends, &node));
        INK_TRY(ink_parser_add(p, &kids, node));
    } while (ink_parser_skip_name(p, "elif"));
    node = NULL;
    if (ink_parser_skip_name(p, "else")) {
        INK_TRY(end_tag(p));
        INK_TRY(parse_body(p, last, &node));
    }
    p->at++; /* endif */
    INK_TRY(ink_parser_add(p, &kids, node));
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_IF}, &kids, ret);
}

static int parse_for(InkParser *p, const InkNode **ret)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const last[] = {"endfor", NULL};
    const InkNode *parts[5] = {NULL};
    INK_TRY(parse_target(p, false, &parts[0]));
    if (!ink_parser_skip_name(p, "in"))
        return INK_PARSE_FAIL(p, EBADMSG, "'in' is expected");
    INK_TRY(parse_tuple(p, false, &parts[1]));
    if (ink_parser_skip_name(p, "if"))
        INK_TRY(ink_parser_expression(p, &parts[2]));
    if (ink_parser_at_name(p, "recursive"))
        return INK_PARSE_FAIL(p, EOPNOTSUPP, "'recursive' is not supported");
    INK_TRY(end_tag(p));
    p->n_loops++;
    INK_TRY(parse_body(p, ends, &parts[3]));
    p->n_loops--;
    if (ink_parser_skip_name(p, "else")) {
        INK_TRY(end_tag(p));
        INK_TRY(parse_body(p, last, &parts[4]));
    }
    p->at++; /* endfor */
    InkNodes kids = {0};
    for (size_t i = 0; i < 5; i++)
        INK_TRY(ink_parser_add(p, &kids, parts[i]));
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_FOR}, &kids, ret);
}

static int parse_filter_chain(InkParser *p, const InkNode **ret)
{
    const InkNode *chain = NULL;
    do
        INK_TRY(ink_parser_filter(p, chain, &chain));
    while (ink_parser_skip_op(p, "|"));
    *ret = chain;
    return 0;
}

static int parse_set(InkParser *p, const InkNode **ret)
{
    static const char *const ends[] = {"endset", NULL};
    const InkNode *target, *value, *body, *filter = NULL;
    INK_TRY(parse_target(p, true, &target));
    if (ink_parser_skip_op(p, "=")) {
        INK_TRY(parse_tuple(p, true, &value));
        return ink_parser_make_over(p, (InkNode){.kind = INK_NODE_SET}, target, value, NULL, 2,
                                    ret);
    }
    if (ink_parser_skip_op(p, "|"))
        INK_TRY(parse_filter_chain(p, &filter));
    INK_TRY(end_tag(p));
    INK_TRY(parse_body(p, ends, &body));
    p->at++; /* endset */
    InkNode node = {.kind = INK_NODE_SET_BLOCK};
    return ink_parser_make_over(p, node, target, body, filter, 3, ret);
}

static int parse_parameters(InkParser *p, InkNode *macro)
{
    InkArgList args = {0};
    INK_TRY(ink_parser_expect_op(p, "("));
    while (!ink_parser_at_op(p, ")")) {
        InkArg arg = {.name = p->at->name};
        INK_TRY(ink_parser_expect(p, INK_TOKEN_NAME, "the name of a parameter"));
        p->bound[arg.name] = true;
        if (ink_parser_skip_op(p, "="))
            INK_TRY(ink_parser_expression(p, &arg.value));
        INK_TRY(ink_parser_add_arg(p, &args, &arg));
        if (!ink_parser_skip_op(p, ","))
            break;
    }
    macro->args = args.items;
    macro->n_args = args.n;
    return ink_parser_expect_op(p, ")");
}

static int parse_macro(InkParser *p, const InkNode **ret)
{
    static const char *const ends[] = {"endmacro", NULL};
    InkNode node = {.kind = INK_NODE_MACRO, .name = p->at->name, .line = p->at->line};
    INK_TRY(ink_parser_expect(p, INK_TOKEN_NAME, "the name of a macro"));
    p->bound[node.name] = true;
    INK_TRY(parse_parameters(p, &node));
    INK_TRY(end_tag(p));
    unsigned n_loops = p->n_loops;
    const InkNode *body;
    p->n_loops = 0; /* a macro cannot break the loop around its definition */
    INK_TRY(parse_body(p, ends, &body));
    p->n_loops = n_loops;
    p->at++; /* endmacro */
    return ink_parser_make_over(p, node, body, NULL, NULL, 1, ret);
}

static int parse_filter_block(InkParser *p, const InkNode **ret)
{
    static const char *const ends[] = {"endfilter", NULL};
    const InkNode *filter, *body;
    INK_TRY(parse_filter_chain(p, &filter));
    INK_TRY(end_tag(p));
    INK_TRY(parse_body(p, ends, &body));
    p->at++; /* endfilter */
    InkNode node = {.kind = INK_NODE_FILTER_BLOCK};
    return ink_parser_make_over(p, node, filter, body, NULL, 2, ret);
}

static int parse_generation(InkParser *p, const InkNode **ret)
{
    static const char *const ends[] = {"endgeneration", NULL};
    const InkNode *body;
    INK_TRY(end_tag(p));
    INK_TRY(parse_body(p, ends, &body));
    p->at++; /* endgeneration */
    return ink_parser_make_over(p, (InkNode){.kind = INK_NODE_SCOPE}, body, NULL, NULL, 1, ret);
}

static int parse_jump(InkParser *p, InkNodeKind kind, const InkNode **ret)
{
    if (p->n_loops == 0)
        return INK_PARSE_FAIL(p, EBADMSG, "'break' or 'continue' outside of a loop");
    return ink_parser_make(p, (InkNode){.kind = kind}, NULL, ret);
}

static int parse_break(InkParser *p, const InkNode **ret)
{
    return parse_jump(p, INK_NODE_BREAK, ret);
}

static int parse_continue(InkParser *p, const InkNode **ret)
{
    return parse_jump(p, INK_NODE_CONTINUE, ret);
}

/* One tag behind "{%", with all that belongs to it. */
static int parse_statement(InkParser *p, const InkNode **ret)
{
    static const struct {
        const char *name;
        int (*parse)(InkParser *p, const InkNode **ret);
    } tags[] = {
        {"if", parse_if},
        {"for", parse_for},
        {"set", parse_set},
        {"macro", parse_macro},
        {"break", parse_break},
        {"continue", parse_continue},
        {"filter", parse_filter_block},
        {"generation", parse_generation},
    };
    if (p->at->type != INK_TOKEN_NAME)
        return INK_PARSE_FAIL(p, EBADMSG, "the name of a tag is expected");
    INK_TRY(ink_parser_enter(p));
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        if (!ink_parser_skip_name(p, tags[i].name))
            continue;
        INK_TRY(tags[i].parse(p, ret));
        p->depth--;
        return end_tag(p);
    }
    return ink_parser_unknown(p, p->at->line, "tag", p->at->name);
}

static int parse_print(InkParser *p, const InkNode **ret)
{
    const InkNode *value;
    InkNode node = {.kind = INK_NODE_PRINT, .line = p->at->line};
    INK_TRY(parse_tuple(p, true, &value));
    INK_TRY(ink_parser_expect(p, INK_TOKEN_PRINT_END, "'}}'"));
    return ink_parser_make_over(p, node, value, NULL, NULL, 1, ret);
}

static int parse_text(InkParser *p, const InkNode **ret)
{
    InkStr *text;
    INK_TRY(ink_parser_allocate(p, 1, sizeof(InkStr), &text));
    *text = p->at->text;
    InkNode node = {.kind = INK_NODE_TEXT, .value = ink_value_string(text)};
    INK_TRY(ink_parser_make(p, node, NULL, ret));
    p->at++;
    return 0;
}

static bool at_end_name(const InkParser *p, const char *const *ends)
{
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++)
        if (ink_parser_at_name(p, ends[i]))
            return true;
    return false;
}

/* Up to a tag of `ends`, whose name is next then; with NULL to the end of the source. */
static int parse_body(InkParser *p, const char *const *ends, const InkNode **ret)
{
    InkNodes kids = {0};
    for (;;) {
        const InkNode *node = NULL;
        if (p->at->type == INK_TOKEN_TEXT) {
            INK_TRY(parse_text(p, &node));
        } else if (p->at->type == INK_TOKEN_PRINT_BEGIN) {
            p->at++;
            INK_TRY(parse_print(p, &node));
        } else if (p->at->type == INK_TOKEN_BLOCK_BEGIN) {
            p->at++;
            if (at_end_name(p, ends))
                break;
            INK_TRY(parse_statement(p, &node));
        } else if (ends == NULL) {
            break;
        } else {
            while (ends[1] != NULL)
                ends++;
            return INK_PARSE_FAIL(p, EBADMSG, "'{%% %s %%}' is missing", *ends);
        }
        INK_TRY(ink_parser_add(p, &kids, node));
    }
    return ink_parser_make(p, (InkNode){.kind = INK_NODE_BODY}, &kids, ret);
}

/* A call of a name that nobody defines would fail while rendering; it is refused here, by name. */
static int check_called(const InkParser *p)
{
    for (size_t i = 0; i < p->called.n; i++) {
        const InkNode *callee = p->called.items[i];
        const char *name = ink_parser_name_text(p, callee->name);
        if (!p->bound[callee->name] && !ink_template_is_function(name))
            return ink_parser_unknown(p, callee->line, "function", callee->name);
    }
    return 0;
}

int ink_template_parse_tokens(InkTemplate *t, const InkLexeme *tokens, InkError *reterr)
{
    InkParser p = {.t = t, .at = tokens, .reterr = reterr};
    INK_TRY(ink_parser_allocate(&p, t->names.n + 1, sizeof(bool), &p.bound));
    const InkNode *body;
    INK_TRY(parse_body(&p, NULL, &body));
    INK_TRY(check_called(&p));
    t->body = body;
    return 0;
}
