/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Tests: what stands behind "is". */
#include "engine/template-render.h"

#include <string.h>

typedef enum Test {
    TEST_DEFINED,
    TEST_UNDEFINED,
    TEST_NONE,
    TEST_STRING,
    TEST_NUMBER,
    TEST_INTEGER,
    TEST_FLOAT,
    TEST_BOOLEAN,
    TEST_TRUE,
    TEST_FALSE,
    TEST_MAPPING,
    TEST_ITERABLE,
    TEST_SEQUENCE,
    TEST_CALLABLE,
    TEST_ODD,
    TEST_EVEN,
    TEST_DIVISIBLE_BY,
    TEST_EQ,
    TEST_NE,
    TEST_LT,
    TEST_LE,
    TEST_GT,
    TEST_GE,
    TEST_IN,
} Test;

static const struct {
    const char *name;
    Test test;
} tests[] = {
    {"defined", TEST_DEFINED},
    {"undefined", TEST_UNDEFINED},
    {"none", TEST_NONE},
    {"string", TEST_STRING},
    {"number", TEST_NUMBER},
    {"integer", TEST_INTEGER},
    {"float", TEST_FLOAT},
    {"boolean", TEST_BOOLEAN},
    {"true", TEST_TRUE},
    {"false", TEST_FALSE},
    {"mapping", TEST_MAPPING},
    {"iterable", TEST_ITERABLE},
    {"sequence", TEST_SEQUENCE},
    {"callable", TEST_CALLABLE},
    {"odd", TEST_ODD},
    {"even", TEST_EVEN},
    {"divisibleby", TEST_DIVISIBLE_BY},
    {"eq", TEST_EQ},
    {"equalto", TEST_EQ},
    {"==", TEST_EQ},
    {"ne", TEST_NE},
    {"!=", TEST_NE},
    {"lt", TEST_LT},
    {"lessthan", TEST_LT},
    {"<", TEST_LT},
    {"le", TEST_LE},
    {"<=", TEST_LE},
    {"gt", TEST_GT},
    {"greaterthan", TEST_GT},
    {">", TEST_GT},
    {"ge", TEST_GE},
    {">=", TEST_GE},
    {"in", TEST_IN},
};

int ink_template_find_test(const char *name)
{
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (strcmp(tests[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool ink_template_test_takes_argument(uint32_t index)
{
    return tests[index].test >= TEST_DIVISIBLE_BY;
}

static bool is_kind(Test test, InkValue v)
{
    bool sequence = ink_value_is_sequence(v) || v.kind == INK_STRING || v.kind == INK_DICT ||
                    v.kind == INK_UNDEFINED;
    switch (test) {
    case TEST_DEFINED:
        return v.kind != INK_UNDEFINED;
    case TEST_UNDEFINED:
        return v.kind == INK_UNDEFINED;
    case TEST_NONE:
        return v.kind == INK_NONE;
    case TEST_STRING:
        return v.kind == INK_STRING;
    case TEST_NUMBER:
        return v.kind == INK_INT || v.kind == INK_FLOAT || v.kind == INK_BOOL;
    case TEST_INTEGER:
        return v.kind == INK_INT;
    case TEST_FLOAT:
        return v.kind == INK_FLOAT;
    case TEST_BOOLEAN:
        return v.kind == INK_BOOL;
    case TEST_TRUE:
        return v.kind == INK_BOOL && v.boolean;
    case TEST_FALSE:
        return v.kind == INK_BOOL && !v.boolean;
    case TEST_MAPPING:
        return v.kind == INK_DICT;
    case TEST_CALLABLE:
        return v.kind == INK_MACRO || v.kind == INK_BUILTIN || v.kind == INK_UNDEFINED;
    case TEST_ITERABLE:
        return sequence || v.kind == INK_LOOP;
    default:
        return sequence;
    }
}

int ink_template_test(InkRender *r, uint32_t index, InkValue v, const InkArgs *args, bool *ret)
{
    static const InkOp ops[] = {INK_OP_EQ, INK_OP_NE, INK_OP_LT, INK_OP_LE,
                                INK_OP_GT, INK_OP_GE, INK_OP_IN};
    Test test = tests[index].test;
    if (test <= TEST_CALLABLE) {
        *ret = is_kind(test, v);
        return 0;
    }
    if (test >= TEST_DIVISIBLE_BY && args->n_by_position != 1)
        return INK_FAIL(r, EINVAL, "test '%s' takes one argument", tests[index].name);
    if (test >= TEST_EQ)
        return ink_op_compare(r, ops[test - TEST_EQ], v, args->by_position[0], ret);
    int64_t i, by = 2;
    if (!ink_value_as_int(v, &i) ||
        (test == TEST_DIVISIBLE_BY && !ink_value_as_int(args->by_position[0], &by)))
        return INK_FAIL(r, EINVAL, "test '%s' takes integers", tests[index].name);
    if (by == 0)
        return INK_FAIL(r, EINVAL, "division by zero");
    bool divides = by == -1 || i % by == 0;
    *ret = test == TEST_ODD ? !divides : divides;
    return 0;
}
