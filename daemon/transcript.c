/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/transcript.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

static const char *const words[INK_ROLE_MAX] = {
    [INK_ROLE_SYSTEM] = "system",
    [INK_ROLE_USER] = "user",
    [INK_ROLE_ASSISTANT] = "assistant",
    [INK_ROLE_TOOL] = "tool",
};

InkStoredRole ink_transcript_role(const char *word)
{
    for (int role = INK_ROLE_SYSTEM; role < INK_ROLE_MAX; role++)
        if (strcmp(words[role], word) == 0)
            return (InkStoredRole)role;
    return 0;
}

const char *ink_transcript_word(InkStoredRole role)
{
    return words[role];
}

void ink_wipe_free(char *text, size_t n_bytes)
{
    if (text != NULL)
        explicit_bzero(text, n_bytes);
    free(text);
}

void ink_transcript_cut(InkTranscript *t, size_t n_kept)
{
    while (t->n > n_kept) {
        InkTurn *last = &t->turns[--t->n];
        t->n_bytes -= last->n_text_bytes;
        ink_wipe_free(last->text, last->n_text_bytes);
    }
}

void ink_transcript_done(InkTranscript *t)
{
    ink_transcript_cut(t, 0);
    free(t->turns);
    *t = INK_TRANSCRIPT_INIT;
}

static int grow(InkTranscript *t, size_t n_more, InkError *reterr)
{
    InkTurn *turns = ink_realloc_array(t->turns, t->n + n_more, sizeof(*turns));
    INK_CHECK(turns != NULL, ENOMEM, reterr, "out of memory for the session");
    t->turns = turns;
    return 0;
}

int ink_transcript_add(InkTranscript *t, InkStoredRole role, const char *text, size_t n_bytes,
                       uint32_t tokens, uint64_t time_usec, InkError *reterr)
{
    INK_TRY(grow(t, 1, reterr));
    char *copy = ink_alloc_array(n_bytes + 1, 1);
    INK_CHECK(copy != NULL, ENOMEM, reterr, "out of memory for the session");
    if (n_bytes > 0)
        memcpy(copy, text, n_bytes);
    t->turns[t->n++] = (InkTurn){
        .role = role,
        .tokens = tokens,
        .time_usec = time_usec != 0 ? time_usec : ink_clock_real_usec(),
        .text = copy,
        .n_text_bytes = n_bytes,
    };
    t->n_bytes += n_bytes;
    return 0;
}

int ink_transcript_check(const InkTranscript *t, size_t n_more_turns, size_t n_more_bytes,
                         InkError *reterr)
{
    INK_CHECK(n_more_turns <= INK_STORE_MAX_CONVERSATION_TURNS - t->n, E2BIG, reterr,
              "the session has %zu turns and would get %zu more, the limit is %u", t->n,
              n_more_turns, INK_STORE_MAX_CONVERSATION_TURNS);
    INK_CHECK(n_more_bytes <= INK_STORE_MAX_CONVERSATION_BYTES - t->n_bytes, E2BIG, reterr,
              "the session has %zu bytes and would get %zu more, the limit is %u", t->n_bytes,
              n_more_bytes, INK_STORE_MAX_CONVERSATION_BYTES);
    return 0;
}

int ink_transcript_join(InkTranscript *t, InkTranscript *more, InkError *reterr)
{
    if (more->n == 0)
        return 0;
    INK_TRY(grow(t, more->n, reterr));
    memcpy(t->turns + t->n, more->turns, more->n * sizeof(*more->turns));
    t->n += more->n;
    t->n_bytes += more->n_bytes;
    free(more->turns);
    *more = INK_TRANSCRIPT_INIT;
    return 0;
}

int ink_transcript_copy(const InkTranscript *from, InkTranscript *ret, InkError *reterr)
{
    _cleanup_transcript_ InkTranscript copy = INK_TRANSCRIPT_INIT;
    for (size_t i = 0; i < from->n; i++) {
        const InkTurn *turn = &from->turns[i];
        INK_TRY(ink_transcript_add(&copy, turn->role, turn->text, turn->n_text_bytes, turn->tokens,
                                   turn->time_usec, reterr));
    }
    *ret = copy;
    copy = INK_TRANSCRIPT_INIT;
    return 0;
}

uint32_t ink_transcript_tokens(const InkTranscript *t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->turns[i].tokens;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}
