/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/session.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/engine-state.h"

/* --- one session --- */

static size_t blocks_for(size_t n_positions)
{
    return (n_positions + INK_KV_BLOCK - 1) / INK_KV_BLOCK;
}

int ink_session_new(InkEngine *e, size_t n_context, InkSession **ret, InkError *reterr)
{
    INK_CHECK(n_context <= e->info.n_context, EINVAL, reterr, "n_context is %zu, the model has %zu",
              n_context, e->info.n_context);
    _cleanup_(ink_session_free_p) InkSession *s = ink_alloc_array(1, sizeof(*s));
    INK_CHECK(s != NULL, ENOMEM, reterr, "no memory for a session");
    s->engine = e;
    s->n_context = n_context == 0 ? e->info.n_context : n_context;
    s->tokens = ink_alloc_array(s->n_context, sizeof(*s->tokens));
    s->blocks = ink_alloc_array(blocks_for(s->n_context), sizeof(*s->blocks));
    INK_CHECK(s->tokens != NULL && s->blocks != NULL, ENOMEM, reterr,
              "no memory for a session of %zu tokens", s->n_context);
    *ret = INK_TAKE(s);
    return 0;
}

InkSession *ink_session_free(InkSession *s)
{
    if (s == NULL)
        return NULL;
    while (s->n_blocks > 0)
        ink_kv_pool_give(s->engine->kv, s->blocks[--s->n_blocks]);
    if (s->tokens != NULL)
        explicit_bzero(s->tokens, s->length * sizeof(*s->tokens));
    free(s->tokens);
    free(s->blocks);
    free(s);
    return NULL;
}

size_t ink_session_length(const InkSession *s)
{
    return s->length;
}

size_t ink_session_context(const InkSession *s)
{
    return s->n_context;
}

const uint32_t *ink_session_tokens(const InkSession *s)
{
    return s->tokens;
}

/* Drops whatever blocks hold beyond `length`, whether it was committed or not. */
static void drop_from(InkSession *s, size_t length)
{
    InkKvPool *kv = s->engine->kv;
    while (s->n_blocks > blocks_for(length))
        ink_kv_pool_give(kv, s->blocks[--s->n_blocks]);
    s->tail_is_dirty = false;
    if (length % INK_KV_BLOCK != 0) {
        uint32_t last = s->blocks[s->n_blocks - 1];
        s->tail_is_dirty = !ink_kv_pool_is_writable(kv, last);
        if (!s->tail_is_dirty)
            ink_kv_pool_scrub(kv, last, length % INK_KV_BLOCK);
    }
    s->length = length;
}

void ink_session_rewind(InkSession *s, size_t length)
{
    if (length < s->length)
        drop_from(s, length);
}

/* --- what is shared --- */

size_t ink_session_reuse_prefix(InkSession *s, InkPrefixKey key, const uint32_t *tokens, size_t n)
{
    if (s->length != 0)
        return 0;
    if (n > s->n_context)
        n = s->n_context;
    s->length = ink_prefix_cache_take(s->engine->prefixes, key, tokens, n, s->blocks, &s->n_blocks);
    memcpy(s->tokens, tokens, s->length * sizeof(*tokens));
    return s->length;
}

void ink_session_cache_prefix(InkSession *s, InkPrefixKey key, bool has_ended)
{
    bool whole_only = !has_ended || s->tail_is_dirty;
    size_t n = whole_only ? s->length - s->length % INK_KV_BLOCK : s->length;
    ink_prefix_cache_put(s->engine->prefixes, key, s->tokens, n, s->blocks);
}

size_t ink_session_missing_bytes(const InkSession *s, size_t n)
{
    size_t n_blocks = blocks_for(n) + s->tail_is_dirty;
    size_t missing = n_blocks > s->n_blocks ? n_blocks - s->n_blocks : 0;
    return missing * ink_kv_pool_block_bytes(s->engine->kv);
}

size_t ink_engine_cached_tokens(const InkEngine *e, InkPrefixKey key, const uint32_t *prompt,
                                size_t n_prompt)
{
    return ink_prefix_cache_probe(e->prefixes, key, prompt, n_prompt).n_tokens;
}

size_t ink_engine_missing_bytes(const InkEngine *e, InkPrefixKey key, const uint32_t *prompt,
                                size_t n_prompt, size_t n)
{
    InkPrefixMatch match = ink_prefix_cache_probe(e->prefixes, key, prompt, n_prompt);
    return (blocks_for(n) - match.n_used) * ink_kv_pool_block_bytes(e->kv);
}

/* --- a step of many sessions --- */

/* Groups rows into runs and checks all that a caller can get wrong; changes no session's content.
 */
static int plan_runs(InkEngine *e, const InkStepRow *rows, size_t n_rows, size_t *ret_n_runs,
                     InkError *reterr)
{
    InkWorkspace *w = e->workspace;
    size_t n_runs = 0;
    e->n_steps++;
    for (size_t i = 0; i < n_rows; i++) {
        InkSession *s = rows[i].session;
        INK_CHECK(s != NULL && s->engine == e, EINVAL, reterr,
                  "row %zu: not a session of this engine", i);
        INK_CHECK(rows[i].token < e->info.n_vocab, EINVAL, reterr,
                  "row %zu: token %u is not below the vocabulary's %zu", i, rows[i].token,
                  e->info.n_vocab);
        if (i == 0 || rows[i - 1].session != s) {
            INK_CHECK(s->seen_in_step != e->n_steps, EINVAL, reterr,
                      "row %zu: rows of one session do not stand together", i);
            s->seen_in_step = e->n_steps;
            w->runs[n_runs++] = (InkRun){s->blocks, s->length, i, 0};
        }
        InkRun *run = &w->runs[n_runs - 1];
        run->n_rows++;
        INK_CHECK(s->length + run->n_rows <= s->n_context, EMSGSIZE, reterr,
                  "the context window has %zu tokens, %zu are needed", s->n_context,
                  s->length + run->n_rows);
    }
    *ret_n_runs = n_runs;
    return 0;
}

/* A rewound session goes on in a block of its own: others may use the one that it has. */
static void clean_tail(InkSession *s)
{
    InkKvPool *kv = s->engine->kv;
    uint32_t *last = &s->blocks[s->n_blocks - 1], fresh;
    size_t n_slots = s->length % INK_KV_BLOCK;
    if (ink_kv_pool_is_writable(kv, *last)) {
        ink_kv_pool_scrub(kv, *last, n_slots);
    } else {
        if (!ink_kv_pool_take(kv, &fresh))
            return; /* cannot be: room was made */
        ink_kv_pool_copy(kv, *last, fresh, n_slots);
        ink_kv_pool_give(kv, *last);
        *last = fresh;
    }
    s->tail_is_dirty = false;
}

static int grow_sessions(InkEngine *e, const InkStepRow *rows, size_t n_runs, InkError *reterr)
{
    const InkRun *runs = e->workspace->runs;
    size_t n_wanted = 0;
    for (size_t i = 0; i < n_runs; i++) {
        const InkSession *s = rows[runs[i].first_row].session;
        n_wanted += blocks_for(runs[i].first_position + runs[i].n_rows) - s->n_blocks;
        n_wanted += s->tail_is_dirty;
    }
    INK_CHECK(ink_prefix_cache_make_room(e->prefixes, n_wanted), ENOMEM, reterr,
              "max_kv_bytes is used up: %zu more blocks of %zu bytes are needed, %zu are free",
              n_wanted, ink_kv_pool_block_bytes(e->kv), ink_kv_pool_n_free(e->kv));
    for (size_t i = 0; i < n_runs; i++) {
        InkSession *s = rows[runs[i].first_row].session;
        size_t n_blocks = blocks_for(runs[i].first_position + runs[i].n_rows);
        if (s->tail_is_dirty)
            clean_tail(s);
        while (s->n_blocks < n_blocks && ink_kv_pool_take(e->kv, &s->blocks[s->n_blocks]))
            s->n_blocks++;
    }
    return 0;
}

static size_t fill_workspace(InkEngine *e, const InkStepRow *rows, size_t n_runs)
{
    InkWorkspace *w = e->workspace;
    size_t n_logits = 0;
    for (size_t i = 0; i < n_runs; i++) {
        const InkRun *run = &w->runs[i];
        for (size_t k = 0; k < run->n_rows; k++) {
            size_t row = run->first_row + k, position = run->first_position + k;
            w->tokens[row] = rows[row].token;
            w->positions[row] = (uint32_t)position;
            w->blocks[row] = run->blocks[position / INK_KV_BLOCK];
            if (rows[row].wants_logits)
                w->logit_rows[n_logits++] = (uint32_t)row;
        }
    }
    return n_logits;
}

static void commit(InkEngine *e, InkStepRow *rows, size_t n_rows)
{
    const float *logits = e->workspace->logits;
    for (size_t i = 0; i < n_rows; i++) {
        InkSession *s = rows[i].session;
        s->tokens[s->length++] = rows[i].token;
        rows[i].logits = rows[i].wants_logits ? logits : NULL;
        logits += rows[i].wants_logits ? e->workspace->v_stride : 0;
    }
}

int ink_engine_step(InkEngine *e, InkStepRow *rows, size_t n_rows, InkStepCancel *cancel,
                    void *userdata, InkError *reterr)
{
    INK_CHECK(n_rows >= 1 && n_rows <= INK_MAX_STEP_ROWS, EINVAL, reterr,
              "a step has %zu rows, must be 1 to %d", n_rows, INK_MAX_STEP_ROWS);
    InkForwardStep step = {.n_rows = n_rows, .cancel = cancel, .userdata = userdata};
    INK_TRY(plan_runs(e, rows, n_rows, &step.n_runs, reterr));
    INK_TRY(grow_sessions(e, rows, step.n_runs, reterr));
    step.n_logits = fill_workspace(e, rows, step.n_runs);
    int r = ink_forward_step(&e->forward, &step);
    if (r != 0) {
        for (size_t i = 0; i < step.n_runs; i++) {
            InkSession *s = rows[e->workspace->runs[i].first_row].session;
            drop_from(s, s->length);
        }
        return r;
    }
    commit(e, rows, n_rows);
    return 0;
}

int ink_session_prefill(InkSession *s, const uint32_t *tokens, size_t n, const float **ret_logits,
                        InkError *reterr)
{
    InkStepRow *rows = s->engine->prefill_rows;
    size_t before = s->length;
    INK_CHECK(n > 0, EINVAL, reterr, "a prompt needs one token at least");
    INK_CHECK(n <= s->n_context - before, EMSGSIZE, reterr,
              "the context window has %zu tokens, %zu are needed", s->n_context, before + n);
    for (size_t done = 0; done < n;) {
        size_t chunk = n - done < INK_MAX_STEP_ROWS ? n - done : INK_MAX_STEP_ROWS;
        for (size_t i = 0; i < chunk; i++)
            rows[i] = (InkStepRow){
                .session = s, .token = tokens[done + i], .wants_logits = done + i + 1 == n};
        int r = ink_engine_step(s->engine, rows, chunk, NULL, NULL, reterr);
        if (r < 0) {
            ink_session_rewind(s, before);
            return r;
        }
        done += chunk;
        if (done == n && ret_logits != NULL)
            *ret_logits = rows[chunk - 1].logits;
    }
    return 0;
}
