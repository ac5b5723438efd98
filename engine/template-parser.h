/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The state of the template parser, which template-expression.c and template-parse.c share (private
 * to them). Owns: nodes lie in the template's arena. Errors: as in template.h. Thread: one parse,
 * one thread. */
#pragma once

#include <string.h>

#include "engine/template-render.h"

typedef struct InkNodes {
    const InkNode **items;
    size_t n;
    size_t capacity;
} InkNodes;

typedef struct InkParser {
    InkTemplate *t;
    const InkLexeme *at;
    unsigned depth;
    unsigned n_loops; /* around the current statement, within one macro */
    InkNodes called;  /* names that are called */
    bool *bound;      /* names that the template binds somewhere */
    InkError *reterr;
} InkParser;

#define INK_PARSE_FAIL(p, code, format, ...)                                                       \
    INK_RAISE(code, (p)->reterr, "chat template line %u: " format, (p)->at->line, ##__VA_ARGS__)

static inline const char *ink_parser_name_text(const InkParser *p, uint32_t name)
{
    return p->t->names.texts[name];
}

static inline bool ink_parser_at_name(const InkParser *p, const char *text)
{
    return p->at->type == INK_TOKEN_NAME && strcmp(ink_parser_name_text(p, p->at->name), text) == 0;
}

static inline bool ink_parser_at_op(const InkParser *p, const char *text)
{
    return p->at->type == INK_TOKEN_OPERATOR && strcmp(p->at->operator, text) == 0;
}

static inline bool ink_parser_skip_name(InkParser *p, const char *text)
{
    bool found = ink_parser_at_name(p, text);
    p->at += found;
    return found;
}

static inline bool ink_parser_skip_op(InkParser *p, const char *text)
{
    bool found = ink_parser_at_op(p, text);
    p->at += found;
    return found;
}

static inline int ink_parser_expect_op(InkParser *p, const char *text)
{
    if (!ink_parser_skip_op(p, text))
        return INK_PARSE_FAIL(p, EBADMSG, "'%s' is expected", text);
    return 0;
}

static inline int ink_parser_expect(InkParser *p, InkTokenType type, const char *what)
{
    if (p->at->type != type)
        return INK_PARSE_FAIL(p, EBADMSG, "%s is expected", what);
    p->at++;
    return 0;
}

/* Names come from a file: shown cut to a sane length. The lexer lets only ASCII into them. */
static inline int ink_parser_unknown(const InkParser *p, uint32_t line, const char *what,
                                     uint32_t name)
{
    return INK_RAISE(EOPNOTSUPP, p->reterr, "chat template line %u: %s '%.60s' is not supported",
                     line, what, ink_parser_name_text(p, name));
}

static inline int ink_parser_enter(InkParser *p)
{
    if (++p->depth > INK_TEMPLATE_MAX_DEPTH)
        return INK_PARSE_FAIL(p, E2BIG, "nested deeper than %u", INK_TEMPLATE_MAX_DEPTH);
    return 0;
}

/* `*ret` is NULL on failure. */
static inline int ink_parser_allocate(InkParser *p, size_t n, size_t size, void *ret)
{
    void *data = ink_arena_alloc(&p->t->arena, n, size);
    memcpy(ret, &data, sizeof(data));
    return data != NULL ? 0 : ink_template_arena_error(&p->t->arena, p->at->line, p->reterr);
}

static inline int ink_parser_add(InkParser *p, InkNodes *nodes, const InkNode *node)
{
    if (nodes->n == nodes->capacity) {
        size_t capacity = nodes->capacity != 0 ? nodes->capacity * 2 : 4;
        const InkNode **items;
        INK_TRY(ink_parser_allocate(p, capacity, sizeof(InkNode *), &items));
        if (nodes->n != 0)
            memcpy(items, nodes->items, nodes->n * sizeof(InkNode *));
        nodes->items = items;
        nodes->capacity = capacity;
    }
    nodes->items[nodes->n++] = node;
    return 0;
}

/* A growing list of arguments or parameters, in the arena. */
typedef struct InkArgList {
    InkArg *items;
    size_t n, capacity;
} InkArgList;

static inline int ink_parser_add_arg(InkParser *p, InkArgList *args, const InkArg *arg)
{
    if (args->n == args->capacity) {
        size_t capacity = args->capacity != 0 ? args->capacity * 2 : 4;
        InkArg *items;
        INK_TRY(ink_parser_allocate(p, capacity, sizeof(InkArg), &items));
        if (args->n != 0)
            memcpy(items, args->items, args->n * sizeof(InkArg));
        args->items = items;
        args->capacity = capacity;
    }
    args->items[args->n++] = *arg;
    return 0;
}

/* A node on top of `kids`; -E2BIG when the tree becomes too high. */
INK_MUST_CHECK int ink_parser_make(InkParser *p, InkNode node, const InkNodes *kids,
                                   const InkNode **ret);
INK_MUST_CHECK int ink_parser_make_over(InkParser *p, InkNode node, const InkNode *a,
                                        const InkNode *b, const InkNode *c, size_t n,
                                        const InkNode **ret);
INK_MUST_CHECK int ink_parser_expression(InkParser *p, const InkNode **ret);
/* Without "a if b else c", for the list of a loop. */
INK_MUST_CHECK int ink_parser_or(InkParser *p, const InkNode **ret);
/* The filter whose name is next; `value` NULL: what the block around it printed. */
INK_MUST_CHECK int ink_parser_filter(InkParser *p, const InkNode *value, const InkNode **ret);
