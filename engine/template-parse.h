/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The parsed form of a chat template (private to template*.c): tokens and the tree of nodes.
 * Owns: all nodes lie in the template's arena. Thread: immutable once parsed. */
#pragma once

#include "engine/template-value.h"
#include "engine/template.h"

/* A chain such as a + b + c is a tree of its own height; rendering recurses over it. */
#define INK_TEMPLATE_MAX_TREE_HEIGHT 200
#define INK_TEMPLATE_MAX_TREE_BYTES  ((size_t)64 << 20)

typedef enum InkTokenType {
    INK_TOKEN_END, /* of the source */
    INK_TOKEN_TEXT,
    INK_TOKEN_BLOCK_BEGIN,
    INK_TOKEN_BLOCK_END,
    INK_TOKEN_PRINT_BEGIN,
    INK_TOKEN_PRINT_END,
    INK_TOKEN_NAME,
    INK_TOKEN_STRING,
    INK_TOKEN_INT,
    INK_TOKEN_FLOAT,
    INK_TOKEN_OPERATOR,
} InkTokenType;

typedef struct InkLexeme {
    InkTokenType type;
    uint32_t line;
    uint32_t name; /* of INK_TOKEN_NAME */
    char operator[3];
    union {
        InkStr text; /* TEXT, STRING */
        int64_t integer;
        double real;
    };
} InkLexeme;

/* Names are numbers: equal text, equal number. 0 is no name. */
typedef struct InkNames {
    const char **texts;
    uint32_t *slots; /* hash table of numbers */
    size_t n;
    size_t n_slots;
} InkNames;

typedef enum InkNodeKind {
    /* expressions */
    INK_NODE_CONST,
    INK_NODE_NAME,
    INK_NODE_LIST,
    INK_NODE_TUPLE,
    INK_NODE_DICT,   /* kids: key, value, key, ... */
    INK_NODE_ATTR,   /* kids: object; name */
    INK_NODE_ITEM,   /* kids: object, index */
    INK_NODE_SLICE,  /* kids: object, from, to, step; NULL = left out */
    INK_NODE_CALL,   /* kids: callee; args */
    INK_NODE_FILTER, /* kids: value (NULL in a filter block); index, args */
    INK_NODE_TEST,   /* kids: value; index, args */
    INK_NODE_NOT,
    INK_NODE_NEGATE,
    INK_NODE_PLUS,
    INK_NODE_BINARY, /* op */
    INK_NODE_AND,
    INK_NODE_OR,
    INK_NODE_COMPARE, /* kids: operands; ops: one less */
    INK_NODE_CHOICE,  /* kids: condition, then, else or NULL */
    /* statements */
    INK_NODE_BODY,
    INK_NODE_TEXT,
    INK_NODE_PRINT,
    INK_NODE_IF,           /* kids: condition, body, condition, body, ..., else body or NULL */
    INK_NODE_FOR,          /* kids: target, list, condition or NULL, body, else body or NULL */
    INK_NODE_SET,          /* kids: target, value */
    INK_NODE_SET_BLOCK,    /* kids: target, body, filter or NULL */
    INK_NODE_MACRO,        /* name, args (parameters with defaults or NULL), kids: body */
    INK_NODE_FILTER_BLOCK, /* kids: filter, body */
    INK_NODE_SCOPE, /* kids: body: `generation` marks text for training and renders as it is */
    INK_NODE_BREAK,
    INK_NODE_CONTINUE,
} InkNodeKind;

typedef enum InkOp {
    INK_OP_ADD,
    INK_OP_SUB,
    INK_OP_MUL,
    INK_OP_DIV,
    INK_OP_FLOOR_DIV,
    INK_OP_MOD,
    INK_OP_CONCAT,
    INK_OP_EQ,
    INK_OP_NE,
    INK_OP_LT,
    INK_OP_LE,
    INK_OP_GT,
    INK_OP_GE,
    INK_OP_IN,
    INK_OP_NOT_IN,
} InkOp;

typedef struct InkArg {
    uint32_t name; /* 0 = by position */
    const struct InkNode *value;
} InkArg;

typedef struct InkNode {
    InkNodeKind kind;
    InkOp op;
    uint32_t line;
    uint32_t height;
    uint32_t name;
    uint32_t index; /* of a filter or test in its table */
    const struct InkNode **kids;
    size_t n_kids;
    const InkArg *args;
    size_t n_args;
    const InkOp *ops;
    InkValue value; /* CONST, TEXT */
} InkNode;

struct InkTemplate {
    InkArena arena;
    InkNames names;
    const InkNode *body;
    /* names that the interpreter itself looks up */
    uint32_t name_messages, name_add_generation_prompt, name_bos_token, name_eos_token, name_tools,
        name_documents, name_loop;
};

/* template-lex.c: the whole source, cut up, with trim_blocks and lstrip_blocks applied. `*ret` is
 * freed by the caller; texts lie in the template's arena. */
INK_MUST_CHECK int ink_template_lex(InkTemplate *t, const char *source, size_t n_bytes,
                                    InkLexeme **ret, InkError *reterr);
/* The number of a name, which is made when new; 0 = out of memory. */
uint32_t ink_template_name(InkTemplate *t, const char *text, size_t n_bytes);

/* template-parse.c */
INK_MUST_CHECK int ink_template_parse_tokens(InkTemplate *t, const InkLexeme *tokens,
                                             InkError *reterr);
/* -ENOMEM or -E2BIG, after the arena gave NULL. */
int ink_template_arena_error(const InkArena *a, uint32_t line, InkError *reterr);
