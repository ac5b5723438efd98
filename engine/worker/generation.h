/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One answer on its way: from the bulk strings of GENERATE to tokens, through prefill and decode to
 * TEXT frames against credit. It knows nothing of the others; scheduler.h decides when it has rows.
 *
 *   QUEUED -> PREFILL -> DECODE -> ENDING (nothing left to compute; text waits for credit)
 *
 * Owns: tokens, session, text. Errors: those of the engine; -EPROTO (the strings do not fit the
 * frame), -EMSGSIZE (the prompt does not fit the window), -ECONNRESET. Thread: that of its engine.
 */
#pragma once

#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/text-stream.h"
#include "engine/worker/wire-io.h"

#define INK_GENERATION_MAX_ROLE_BYTES 64u

typedef enum InkGenerationState {
    INK_GENERATION_QUEUED,
    INK_GENERATION_PREFILL,
    INK_GENERATION_DECODE,
    INK_GENERATION_ENDING,
} InkGenerationState;

typedef struct InkGeneration {
    uint64_t id;
    uint32_t priority;   /* 0 = typing .. 3 = background */
    uint32_t max_tokens; /* 0 = the prompt is read and nothing is written */
    uint32_t max_lines;
    uint32_t context_limit;
    InkGenerationState state;
    bool cancelled; /* set at any time; takes effect before the next step */
    InkWireReason reason;
    InkSamplerParams sampling;
    InkTokens prompt;
    size_t n_prefilled;
    size_t kv_bytes; /* set aside for it by the scheduler */
    InkSession *session;
    uint32_t next_token; /* DECODE: drawn, not yet stepped */
    uint32_t n_output, n_lines;
    InkTextStream stream;
    InkBuffer out; /* for which credit was lacking */
    uint64_t credit_bytes, sent_bytes;
    uint64_t arrived_usec, started_usec, decoding_usec, ended_usec;
    uint64_t told_usec; /* of the last PROGRESS */
} InkGeneration;

/* What a list of strings means: n_messages pairs of role and text, or one prompt. Appends to
 * tokens. `whole`: as a prompt to be answered (beginning of text, generation prompt); else the text
 * alone, with control tokens when `special`. Used by GENERATE and TOKENIZE. */
typedef struct InkPrompt {
    const InkWireString *strings;
    size_t n_messages; /* 0 = strings[0] is a prompt */
    bool whole;
    bool special;
} InkPrompt;
INK_MUST_CHECK int ink_prompt_encode(const InkEngine *e, const InkPrompt *p, InkTokens *tokens,
                                     InkError *reterr);

INK_MUST_CHECK int ink_generation_new(const InkEngine *e, const InkWireGenerate *frame,
                                      const InkWireBulk *bulk, InkGeneration **ret,
                                      InkError *reterr);
InkGeneration *ink_generation_free(InkGeneration *g);
INK_DEFINE_CLEANUP(InkGeneration, ink_generation_free, ink_generation_free_p)

/* Whether it would take part in a step now: not parked for want of credit, and not at its end. */
bool ink_generation_is_runnable(const InkGeneration *g);
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
