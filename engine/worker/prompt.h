/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* From the strings of a frame to tokens, and what goes when they are too many.
 *
 * A chat is made of turns: a message of the user and all that follows it up to the next one. System
 * messages in front of the first turn always stay, and so does the last turn.
 *
 *   error            nothing is cut
 *   drop-oldest      whole turns go, the oldest first
 *   truncate-head    the same; when that is not enough, the last message of the user loses its
 *                    beginning
 *   truncate-middle  whole turns go, the oldest first, but the first one last of all; then the last
 *                    message of the user loses its middle
 *
 * A plain prompt has no turns: it loses its beginning (drop-oldest too) or its middle. Text is cut
 * between characters; no more goes than must, to within a few words.
 *
 * Owns: nothing. Errors: -EMSGSIZE (too long, or what must stay is), -EINVAL (a role), those of the
 * engine. Thread: that of its engine. */
#pragma once

#include "engine/engine.h"
#include "engine/worker/wire-io.h"

#define INK_PROMPT_MAX_ROLE_BYTES 64u

/* What a list of strings means: n_messages pairs of role and text, or one prompt. `whole`: as a
 * prompt to be answered (beginning of text, generation prompt); else the text alone, with control
 * tokens when `special`. Used by GENERATE and TOKENIZE. */
typedef struct InkPrompt {
    const InkWireString *strings;
    size_t n_messages; /* 0 = strings[0] is a prompt */
    bool whole;
    bool special;
} InkPrompt;

/* Appends to tokens. */
INK_MUST_CHECK int ink_prompt_encode(const InkEngine *e, const InkPrompt *p, InkTokens *tokens,
                                     InkError *reterr);

typedef struct InkPromptCuts {
    uint32_t n_tokens;   /* fewer than it was given with */
    uint32_t n_messages; /* whole ones */
} InkPromptCuts;

/* Into empty `tokens`, n_most at most. */
INK_MUST_CHECK int ink_prompt_fit(const InkEngine *e, const InkPrompt *p, InkWireOverflow overflow,
                                  size_t n_most, InkTokens *tokens, InkPromptCuts *ret,
                                  InkError *reterr);
