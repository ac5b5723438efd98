/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One timeline of tokens: what was stepped so far and its keys and values, in blocks of
 * INK_KV_BLOCK positions that are taken from the engine's budget as the session grows.
 * Owns: its blocks. Errors: -ENOMEM, -EINVAL. Thread: that of its engine. */
#pragma once

#include "engine/engine.h"

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
/* Steps through n tokens in chunks of at most INK_MAX_STEP_ROWS; logits of the last one only. */
INK_MUST_CHECK int ink_session_prefill(InkSession *s, const uint32_t *tokens, size_t n,
                                       const float **ret_logits, InkError *reterr);
