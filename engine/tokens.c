/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/tokens.h"

#include <string.h>

#include "engine/base/alloc.h"

void ink_tokens_done(InkTokens *t)
{
    free(t->ids);
    *t = INK_TOKENS_INIT;
}

int ink_tokens_append(InkTokens *t, const uint32_t *ids, size_t n)
{
    if (n > INK_TOKENS_MAX || t->n > INK_TOKENS_MAX - n)
        return -E2BIG;
    if (t->n + n > t->capacity) {
        size_t capacity = t->capacity < 32 ? 32 : t->capacity;
        while (capacity < t->n + n)
            capacity *= 2;
        uint32_t *grown = ink_realloc_array(t->ids, capacity, sizeof(uint32_t));
        if (grown == NULL)
            return -ENOMEM;
        t->ids = grown;
        t->capacity = capacity;
    }
    if (n != 0)
        memcpy(t->ids + t->n, ids, n * sizeof(uint32_t));
    t->n += n;
    return 0;
}

int ink_tokens_push(InkTokens *t, uint32_t id)
{
    return ink_tokens_append(t, &id, 1);
}
