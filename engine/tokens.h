/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A growing array of token ids. Owns: `ids`. Errors: -ENOMEM, -E2BIG above INK_TOKENS_MAX.
 * Thread: one array, one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

#define INK_TOKENS_MAX (8u << 20)

typedef struct InkTokens {
    uint32_t *ids;
    size_t n;
    size_t capacity;
} InkTokens;

#define INK_TOKENS_INIT  ((InkTokens){0})
#define _cleanup_tokens_ _cleanup_(ink_tokens_done)

void ink_tokens_done(InkTokens *t);
INK_MUST_CHECK int ink_tokens_append(InkTokens *t, const uint32_t *ids, size_t n);
INK_MUST_CHECK int ink_tokens_push(InkTokens *t, uint32_t id);
