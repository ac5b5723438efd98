/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One answer on its way: from the bulk strings of GENERATE to tokens, through prefill and decode to
 * TEXT frames against credit. It knows nothing of the others; scheduler.h decides when it has rows.
 *
 *   QUEUED -> PREFILL -> DECODE -> ENDING (nothing left to compute; text waits for credit)
 *
 * One that has to make room for a better class goes back to QUEUED, and what it has written so far
 * is then read as a part of its prompt.
 *
 * Room: prompt and answer together have the context limit of the request, or the model's window.
 * With `error` a prompt may fill all of it but one token, and the answer ends by LENGTH where the
 * limit is. A policy that cuts leaves room for max_tokens, a quarter of the limit at most.
 *
 * Owns: tokens, session, text. Errors: those of the engine; -EPROTO (the strings do not fit the
 * frame), -EMSGSIZE (the prompt does not fit the window), -ECONNRESET. Thread: that of its engine.
 */
#pragma once

#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/text-stream.h"
#include "engine/worker/accounts.h"
#include "engine/worker/prompt.h"
#include "engine/worker/wire-io.h"

typedef enum InkGenerationState {
    INK_GENERATION_QUEUED,
    INK_GENERATION_PREFILL,
    INK_GENERATION_DECODE,
    INK_GENERATION_ENDING,
} InkGenerationState;

typedef struct InkGeneration {
    uint64_t id;
    uint32_t scope;
    uint32_t priority;     /* 0 = typing .. 3 = background */
    bool lowered_priority; /* typing to begin with */
    InkAccount *account;   /* of its scope and class; the scheduler's */
    uint32_t max_tokens;   /* 0 = the prompt is read and nothing is written */
    uint32_t max_lines;
    InkGenerationState state;
    bool cancelled; /* set at any time; takes effect before the next step */
    InkWireReason reason;
    InkSamplerParams sampling;
    InkTokens prompt; /* what is read; after a suspension also what was written before */
    size_t n_prompt;  /* tokens of the prompt itself */
    InkPromptCuts cuts;
    InkPrefixKey prefix; /* scope 0: shares with nobody, or must not be remembered any more */
    size_t n_prefilled;  /* of `prompt` */
    size_t n_cached;     /* of n_prompt, found in the prefix cache */
    size_t n_planned;    /* rows in the step that is being planned; the scheduler's */
    InkSession *session;
    uint32_t next_token; /* DECODE: drawn, not yet stepped */
    uint32_t n_output, n_lines;
    InkTextStream stream;
    InkBuffer out; /* for which credit was lacking */
    uint64_t credit_bytes, sent_bytes;
    uint64_t arrived_usec, started_usec, decoding_usec, ended_usec;
    uint64_t engine_usec; /* its share of the steps' time */
    uint64_t told_usec;   /* of the last PROGRESS */
} InkGeneration;

INK_MUST_CHECK int ink_generation_new(const InkEngine *e, const InkWireGenerate *frame,
                                      const InkWireBulk *bulk, InkGeneration **ret,
                                      InkError *reterr);
InkGeneration *ink_generation_free(InkGeneration *g);
INK_DEFINE_CLEANUP(InkGeneration, ink_generation_free, ink_generation_free_p)

/* Whether it would take part in a step now: not parked for want of credit, and not at its end. */
bool ink_generation_is_runnable(const InkGeneration *g);
/* Tokens of prompt and answer together at most. */
size_t ink_generation_most_tokens(const InkGeneration *g);
/* QUEUED to PREFILL: takes a session, which begins with what is cached of the prompt. */
INK_MUST_CHECK int ink_generation_start(InkGeneration *g, InkEngine *e, InkError *reterr);
/* Back to QUEUED: gives its session away, to be started again later as if nothing had been. */
INK_MUST_CHECK int ink_generation_suspend(InkGeneration *g, InkError *reterr);
/* The prompt has been read, and no answer is wanted. */
void ink_generation_end_prewarm(InkGeneration *g);
/* Draws the next token from the logits behind its last one and takes its text; may end it. */
INK_MUST_CHECK int ink_generation_accept(InkGeneration *g, const InkEngine *e, InkSampler *sampler,
                                         const float *logits, InkError *reterr);
/* Sends what credit allows. 0 or the error of the socket. */
INK_MUST_CHECK int ink_generation_send_text(InkGeneration *g, int socket);
INK_MUST_CHECK int ink_generation_send_progress(InkGeneration *g, int socket);
INK_MUST_CHECK int ink_generation_send_finished(const InkGeneration *g, int socket);

/* sendmsg that waits for room, also on a socket that does not block. */
INK_MUST_CHECK int ink_worker_send(int socket, InkWireHeader *frame, size_t frame_bytes,
                                   const void *tail, size_t tail_bytes);
INK_MUST_CHECK int ink_worker_send_failed(int socket, uint64_t id, int code, const char *message);
/* Appends text for TEXT frames: NUL, which D-Bus cannot carry, becomes U+FFFD. */
void ink_worker_append_text(InkBuffer *out, const char *text, size_t n_bytes);
/* How much of `text` one TEXT frame may carry of at most `most` bytes, at a whole character. */
size_t ink_worker_text_piece(const char *text, size_t n_bytes, uint64_t most);
