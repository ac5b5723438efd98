/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/generation.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/base/utf8.h"

/* -- sending ----------------------------------------------------------------------------------- */

int ink_worker_send(int socket, InkWireHeader *frame, size_t frame_bytes, const void *tail,
                    size_t tail_bytes)
{
    for (;;) {
        int r = ink_wire_send(socket, 0, frame, frame_bytes, tail, tail_bytes, NULL, 0);
        if (r != -EAGAIN)
            return r;
        struct pollfd p = {.fd = socket, .events = POLLOUT};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return -errno;
    }
}

int ink_worker_send_failed(int socket, uint64_t id, int code, const char *message)
{
    InkWireFailed f = {.header = {.type = INK_WIRE_FAILED, .id = id}, .code = (uint32_t)code};
    ink_utf8_copy_printable(f.message, sizeof(f.message), message, strlen(message));
    return ink_worker_send(socket, &f.header, sizeof(f), NULL, 0);
}

void ink_worker_append_text(InkBuffer *out, const char *text, size_t n_bytes)
{
    while (n_bytes != 0) {
        const char *nul = memchr(text, 0, n_bytes);
        size_t n = nul != NULL ? (size_t)(nul - text) : n_bytes;
        ink_buffer_append(out, text, n);
        if (nul != NULL) {
            ink_buffer_append_str(out, "\xEF\xBF\xBD");
            n++;
        }
        text += n;
        n_bytes -= n;
    }
}

size_t ink_worker_text_piece(const char *text, size_t n_bytes, uint64_t most)
{
    size_t n = n_bytes < INK_WIRE_TEXT_BYTES ? n_bytes : INK_WIRE_TEXT_BYTES;
    if (n > most)
        n = (size_t)most;
    while (n > 0 && n < n_bytes && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* -- the beginning ----------------------------------------------------------------------------- */

/* The stream wants terminated strings; those of the frame are not. */
static int init_stream(InkTextStream *stream, const InkWireString *stops, size_t n_stops,
                       InkError *reterr)
{
    static_assert(INK_WIRE_MAX_STOPS <= INK_TEXT_STREAM_MAX_STOPS, "stop strings");
    char copies[INK_WIRE_MAX_STOPS][INK_TEXT_STREAM_MAX_STOP_BYTES + 1];
    const char *pointers[INK_WIRE_MAX_STOPS];
    for (size_t i = 0; i < n_stops; i++) {
        size_t n = stops[i].n_bytes;
        INK_CHECK(n >= 1 && n <= INK_TEXT_STREAM_MAX_STOP_BYTES &&
                      memchr(stops[i].data, 0, n) == NULL,
                  EINVAL, reterr, "stop[%zu]: not 1..%u bytes of text", i,
                  (unsigned)INK_TEXT_STREAM_MAX_STOP_BYTES);
        memcpy(copies[i], stops[i].data, n);
        copies[i][n] = '\0';
        pointers[i] = copies[i];
    }
    return ink_text_stream_init(stream, pointers, n_stops, reterr);
}

static int read_prompt(InkGeneration *g, const InkEngine *e, const InkWireGenerate *frame,
                       const InkWireBulk *bulk, InkError *reterr)
{
    InkPrompt prompt = {.strings = bulk->strings, .n_messages = frame->n_messages, .whole = true};
    size_t n_context = ink_engine_info(e)->n_context, n_most = SIZE_MAX;
    if (frame->context_limit != 0 && frame->context_limit < n_context)
        n_context = frame->context_limit;
    if (frame->overflow != INK_WIRE_OVERFLOW_ERROR) {
        size_t quarter = n_context / 4, room = g->max_tokens < quarter ? g->max_tokens : quarter;
        n_most = n_context - (room > 0 ? room : 1);
    }
    INK_TRY(ink_prompt_fit(e, &prompt, (InkWireOverflow)frame->overflow, n_most, &g->prompt,
                           &g->cuts, reterr));
    INK_CHECK(g->prompt.n >= 1, EINVAL, reterr, "prompt: it is empty, there is nothing to go on");
    INK_CHECK(g->prompt.n < n_context, EMSGSIZE, reterr,
              "the prompt has %zu tokens, the context window has room for %zu of which one is for "
              "the answer",
              g->prompt.n, n_context);
    if (g->max_tokens > n_context - g->prompt.n)
        g->max_tokens = (uint32_t)(n_context - g->prompt.n); /* then the reason is LENGTH */
    g->n_prompt = g->prompt.n;
    return 0;
}

int ink_generation_new(const InkEngine *e, const InkWireGenerate *frame, const InkWireBulk *bulk,
                       InkGeneration **ret, InkError *reterr)
{
    size_t n_prompt = frame->kind == INK_WIRE_CHAT ? 2 * (size_t)frame->n_messages : 1;
    INK_CHECK(bulk->n == n_prompt + frame->n_stops, EPROTO, reterr,
              "GENERATE: %zu strings instead of %zu", bulk->n, n_prompt + frame->n_stops);
    _cleanup_(ink_generation_free_p) InkGeneration *g = ink_alloc_array(1, sizeof(*g));
    INK_CHECK(g != NULL, ENOMEM, reterr, "no memory for a request");
    *g = (InkGeneration){
        .id = frame->header.id,
        .scope = frame->scope,
        .priority = frame->priority,
        .prefix = {.scope = frame->scope},
        .max_tokens = frame->max_tokens,
        .max_lines = frame->max_lines,
        .credit_bytes = frame->credit_bytes,
        .arrived_usec = ink_clock_monotonic_usec(),
        .sampling = {.temperature = frame->temperature,
                     .top_p = frame->top_p,
                     .min_p = frame->min_p,
                     .repeat_penalty = frame->repeat_penalty,
                     .top_k = frame->top_k,
                     .repeat_window = frame->repeat_window,
                     .seed = frame->seed},
    };
    INK_TRY(ink_sampler_check(&g->sampling, reterr));
    INK_TRY(init_stream(&g->stream, bulk->strings + n_prompt, frame->n_stops, reterr));
    INK_TRY(read_prompt(g, e, frame, bulk, reterr));
    *ret = INK_TAKE(g);
    return 0;
}

/* What was computed may serve the next one, however this one ended. */
static void leave_session(InkGeneration *g)
{
    if (g->session != NULL && g->prefix.scope != 0)
        ink_session_cache_prefix(g->session, g->prefix, true);
    g->session = ink_session_free(g->session);
}

InkGeneration *ink_generation_free(InkGeneration *g)
{
    if (g == NULL)
        return NULL;
    leave_session(g);
    ink_tokens_done(&g->prompt);
    ink_text_stream_done(&g->stream);
    ink_buffer_done(&g->out);
    free(g);
    return NULL;
}

size_t ink_generation_most_tokens(const InkGeneration *g)
{
    return g->n_prompt + g->max_tokens;
}

int ink_generation_start(InkGeneration *g, InkEngine *e, InkError *reterr)
{
    INK_TRY(ink_session_new(e, ink_generation_most_tokens(g), &g->session, reterr));
    /* The last token is always computed: logits are not cached. */
    g->n_prefilled =
        ink_session_reuse_prefix(g->session, g->prefix, g->prompt.ids, g->prompt.n - 1);
    if (g->started_usec == 0)
        g->n_cached = g->n_prefilled;
    g->state = INK_GENERATION_PREFILL;
    return 0;
}

int ink_generation_suspend(InkGeneration *g, InkError *reterr)
{
    if (g->state == INK_GENERATION_DECODE) {
        const uint32_t *tokens = ink_session_tokens(g->session);
        size_t n_prompt = g->prompt.n;
        int r = ink_tokens_append(&g->prompt, tokens + n_prompt,
                                  ink_session_length(g->session) - n_prompt);
        if (r == 0)
            r = ink_tokens_push(&g->prompt, g->next_token);
        if (r < 0) {
            g->prompt.n = n_prompt;
            return INK_RAISE(-r, reterr, "no memory for the tokens of an answer");
        }
    }
    leave_session(g);
    g->n_prefilled = 0;
    g->state = INK_GENERATION_QUEUED;
    return 0;
}

/* -- from logits to text ----------------------------------------------------------------------- */

bool ink_generation_is_runnable(const InkGeneration *g)
{
    if (g->cancelled)
        return false;
    if (g->state == INK_GENERATION_PREFILL)
        return true;
    return g->state == INK_GENERATION_DECODE && g->out.size_bytes == 0 && g->credit_bytes != 0;
}

static void end(InkGeneration *g, InkWireReason reason)
{
    g->state = INK_GENERATION_ENDING;
    g->reason = reason;
    g->ended_usec = ink_clock_monotonic_usec();
    leave_session(g); /* its keys and values are free for others */
}

/* Moves fresh text to `out`, up to the newline that is one too many: true when there was one. */
static bool take_lines(InkGeneration *g, const InkBuffer *fresh)
{
    const char *text = fresh->data;
    size_t n = fresh->size_bytes;
    for (size_t i = 0; i < n && g->max_lines != 0; i++)
        if (text[i] == '\n' && ++g->n_lines == g->max_lines) {
            ink_worker_append_text(&g->out, text, i);
            return true;
        }
    ink_worker_append_text(&g->out, text, n);
    return false;
}

/* Takes the text of a token, or (piece NULL) lets out what was held back. */
static int take_text(InkGeneration *g, const char *piece, size_t n_bytes, bool *ret_at_end)
{
    _cleanup_buffer_ InkBuffer fresh = INK_BUFFER_INIT;
    int r = piece != NULL ? ink_text_stream_push(&g->stream, piece, n_bytes, &fresh)
                          : ink_text_stream_finish(&g->stream, &fresh);
    INK_TRY(r);
    INK_TRY(ink_buffer_status(&fresh));
    bool last_line = take_lines(g, &fresh);
    INK_TRY(ink_buffer_status(&g->out));
    if (last_line)
        end(g, INK_WIRE_REASON_LINES);
    else if (r == INK_TEXT_STREAM_STOPPED)
        end(g, INK_WIRE_REASON_STOP_STRING);
    *ret_at_end = last_line || r == INK_TEXT_STREAM_STOPPED;
    return 0;
}

/* The end by token or by length: text that waited for a stop string is text after all. */
static int end_with_rest(InkGeneration *g, InkWireReason reason)
{
    bool at_end;
    INK_TRY(take_text(g, NULL, 0, &at_end));
    if (!at_end)
        end(g, reason);
    return 0;
}

static int draw(InkGeneration *g, const InkEngine *e, InkSampler *sampler, const float *logits,
                uint32_t *ret, InkError *reterr)
{
    int r = ink_sampler_draw(
        sampler, &g->sampling, logits, ink_tokenizer_n_vocab(ink_engine_tokenizer(e)),
        ink_session_tokens(g->session), ink_session_length(g->session), g->n_output, ret, reterr);
    if (r == -EINVAL) /* the parameters were checked, so it is the model's numbers */
        return INK_RAISE(EBADMSG, reterr, "the model computed values that are not numbers");
    return r;
}

void ink_generation_end_prewarm(InkGeneration *g)
{
    end(g, INK_WIRE_REASON_DONE);
}

int ink_generation_accept(InkGeneration *g, const InkEngine *e, InkSampler *sampler,
                          const float *logits, InkError *reterr)
{
    const InkTokenizer *tokenizer = ink_engine_tokenizer(e);
    uint32_t token;
    INK_TRY(draw(g, e, sampler, logits, &token, reterr));
    if (g->state == INK_GENERATION_PREFILL) {
        g->state = INK_GENERATION_DECODE;
        if (g->prefix.scope != 0) /* others with the same beginning need not wait for the end */
            ink_session_cache_prefix(g->session, g->prefix, false);
        if (g->decoding_usec == 0)
            g->decoding_usec = ink_clock_monotonic_usec();
    }
    if (ink_tokenizer_ends_generation(tokenizer, token)) {
        int r = end_with_rest(g, INK_WIRE_REASON_STOP);
        return r < 0 ? INK_RAISE(-r, reterr, "no memory for the text of an answer") : 0;
    }
    const char *piece;
    size_t n_bytes;
    INK_TRY(ink_tokenizer_piece(tokenizer, token, false, &piece, &n_bytes));
    g->next_token = token;
    g->n_output++;
    bool at_end = false;
    int r = n_bytes != 0 ? take_text(g, piece, n_bytes, &at_end) : 0;
    if (r == 0 && !at_end && g->n_output == g->max_tokens)
        r = end_with_rest(g, INK_WIRE_REASON_LENGTH);
    return r < 0 ? INK_RAISE(-r, reterr, "no memory for the text of an answer") : 0;
}

int ink_generation_send_text(InkGeneration *g, int socket)
{
    while (g->out.size_bytes != 0) {
        size_t n = ink_worker_text_piece(g->out.data, g->out.size_bytes, g->credit_bytes);
        if (n == 0)
            break;
        InkWireText t = {.header = {.type = INK_WIRE_TEXT, .id = g->id},
                         .offset_bytes = g->sent_bytes};
        INK_TRY(ink_worker_send(socket, &t.header, sizeof(t), g->out.data, n));
        g->sent_bytes += n;
        g->credit_bytes -= n;
        ink_buffer_consume(&g->out, n);
    }
    return 0;
}

int ink_generation_send_progress(InkGeneration *g, int socket)
{
    InkWireProgress p = {.header = {.type = INK_WIRE_PROGRESS, .id = g->id}};
    switch (g->state) {
    case INK_GENERATION_QUEUED:
        p.stage = INK_WIRE_STAGE_QUEUED;
        p.total = g->prompt.n;
        break;
    case INK_GENERATION_PREFILL:
        p.stage = INK_WIRE_STAGE_PREFILL;
        p.done = g->n_prefilled;
        p.total = g->prompt.n;
        break;
    case INK_GENERATION_DECODE:
    case INK_GENERATION_ENDING:
        p.stage = INK_WIRE_STAGE_DECODE;
        p.done = g->n_output;
        p.total = g->max_tokens;
        break;
    }
    g->told_usec = ink_clock_monotonic_usec();
    return ink_worker_send(socket, &p.header, sizeof(p), NULL, 0);
}

int ink_generation_send_finished(const InkGeneration *g, int socket)
{
    uint64_t end_usec = g->ended_usec != 0 ? g->ended_usec : ink_clock_monotonic_usec();
    uint64_t started = g->started_usec != 0 ? g->started_usec : end_usec;
    uint64_t decoding = g->decoding_usec != 0 ? g->decoding_usec : end_usec;
    InkWireFinished f = {
        .header = {.type = INK_WIRE_FINISHED, .id = g->id},
        .reason = g->cancelled ? INK_WIRE_REASON_CANCELLED : g->reason,
        .prompt_tokens = (uint32_t)g->n_prompt,
        .cached_tokens = (uint32_t)g->n_cached,
        .output_tokens = g->n_output,
        .queue_usec = started - g->arrived_usec,
        .prefill_usec = decoding - started,
        .decode_usec = end_usec - decoding,
        .text_bytes = g->sent_bytes,
        .engine_usec = g->engine_usec,
        .truncated_tokens = g->cuts.n_tokens,
        .dropped_messages = g->cuts.n_messages,
        .lowered_priority = g->lowered_priority,
    };
    return ink_worker_send(socket, &f.header, sizeof(f), NULL, 0);
}
