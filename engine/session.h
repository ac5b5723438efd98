/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One timeline of tokens: what was stepped so far and its keys and values, in blocks of
 * INK_KV_BLOCK positions that are taken from the engine's budget as the session grows. Blocks that
 * were computed before may be had from the engine's prefix cache, and left to it.
 * Owns: its blocks. Errors: -ENOMEM, -EINVAL. Thread: that of its engine. */
#pragma once

#include "engine/engine.h"
#include "engine/prefix-cache.h"

/* n_context: tokens at most; 0 = the model's own window; more than that is -EINVAL. */
INK_MUST_CHECK int ink_session_new(InkEngine *e, size_t n_context, InkSession **ret,
                                   InkError *reterr);
InkSession *ink_session_free(InkSession *s);
INK_DEFINE_CLEANUP(InkSession, ink_session_free, ink_session_free_p)

size_t ink_session_length(const InkSession *s);
size_t ink_session_context(const InkSession *s);
/* The tokens so far, borrowed until the next step. */
const uint32_t *ink_session_tokens(const InkSession *s);
/* Forgets everything from position `length` on. */
void ink_session_rewind(InkSession *s, size_t length);

/* Begins an empty session with what is cached of these tokens, as if they had been stepped; returns
 * their number. Logits are not cached: leave out the last token of a prompt. */
size_t ink_session_reuse_prefix(InkSession *s, InkPrefixKey key, const uint32_t *tokens, size_t n);
/* Leaves the blocks so far to the cache: the whole ones, which the session uses on, or all of them
 * when it `has_ended` and will be freed. */
void ink_session_cache_prefix(InkSession *s, InkPrefixKey key, bool has_ended);
/* Bytes that the session still takes from the budget to grow to n tokens. */
size_t ink_session_missing_bytes(const InkSession *s, size_t n);
/* Of a session that is not there yet and would begin by reusing a prefix of `prompt`: how much of
 * it there is, and what it would then miss to grow to n tokens. */
size_t ink_engine_cached_tokens(const InkEngine *e, InkPrefixKey key, const uint32_t *prompt,
                                size_t n_prompt);
size_t ink_engine_missing_bytes(const InkEngine *e, InkPrefixKey key, const uint32_t *prompt,
                                size_t n_prompt, size_t n);

/* Steps through n tokens in chunks of at most INK_MAX_STEP_ROWS; logits of the last one only. */
INK_MUST_CHECK int ink_session_prefill(InkSession *s, const uint32_t *tokens, size_t n,
                                       const float **ret_logits, InkError *reterr);
