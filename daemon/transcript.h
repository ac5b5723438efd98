/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The turns of a conversation in memory: bounded, and wiped when they go.
 *
 * Owns: the texts. Errors: -E2BIG (both numbers), -ENOMEM. Thread: plain data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "personalize/conversations.h"

typedef struct InkTurn {
    InkStoredRole role;
    uint32_t tokens; /* 0 = not counted */
    uint64_t time_usec;
    char *text;
    size_t n_text_bytes;
} InkTurn;

typedef struct InkTranscript {
    InkTurn *turns;
    size_t n, n_bytes;
} InkTranscript;

#define INK_TRANSCRIPT_INIT  ((InkTranscript){0})
#define _cleanup_transcript_ _cleanup_(ink_transcript_done)

/* 0 for a word that is none of system, user, assistant, tool. */
InkStoredRole ink_transcript_role(const char *word);
const char *ink_transcript_word(InkStoredRole role);

void ink_transcript_done(InkTranscript *t);
/* Copies the text; time now when `time_usec` is 0. The bounds are the caller's to check. */
INK_MUST_CHECK int ink_transcript_add(InkTranscript *t, InkStoredRole role, const char *text,
                                      size_t n_bytes, uint32_t tokens, uint64_t time_usec,
                                      InkError *reterr);
/* Would so much more keep within the bounds of one session? */
INK_MUST_CHECK int ink_transcript_check(const InkTranscript *t, size_t n_more_turns,
                                        size_t n_more_bytes, InkError *reterr);
/* Moves the turns of `more` behind those of `t`; on failure nothing has moved. */
INK_MUST_CHECK int ink_transcript_join(InkTranscript *t, InkTranscript *more, InkError *reterr);
INK_MUST_CHECK int ink_transcript_copy(const InkTranscript *from, InkTranscript *ret,
                                       InkError *reterr);
/* Drops every turn from number `n_kept` on. */
void ink_transcript_cut(InkTranscript *t, size_t n_kept);
/* Of the turns that were counted. */
uint32_t ink_transcript_tokens(const InkTranscript *t);

/* Frees a text after its bytes were overwritten; NULL is fine. */
void ink_wipe_free(char *text, size_t n_bytes);
