/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* An engine is one loaded model: its weights (mapped and packed), tokenizer, chat template, thread
 * pool and workspace. A session (session.h) is one timeline of tokens with its keys and values. A
 * step runs one batch of rows of any number of sessions through all layers.
 *
 *     ink_engine_open(fd, &options, &engine, &error);
 *     ink_session_new(engine, 2048, &session, &error);
 *     ink_engine_step(engine, rows, n_rows, NULL, &error);     // prompt, in chunks
 *     ... draw a token from rows[i].logits, step again with it ...
 *
 * Owns: everything but the descriptors. Sessions must be freed before their engine.
 * Errors: -EBADMSG (the file; names the field), -ENOMEM, -EOPNOTSUPP (sound, but a family or type
 * that this build does not have), -EMSGSIZE (context), -EINVAL.
 * Thread: one engine, one thread; it runs its own pool inside. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/shapes.h"
#include "engine/template.h"
#include "engine/tokenizer.h"

typedef struct InkEngine InkEngine;
typedef struct InkSession InkSession;

typedef struct InkEngineOptions {
    size_t n_threads;       /* 0 = all processors of this process */
    const char *isa;        /* NULL = best; else "ref", "avx2", "avx512" */
    int pack_cache_fd;      /* -1, or a file of the packed form: read when sound, else written */
    bool pack_cache_locked; /* the caller holds it exclusively: it may be written */
    size_t max_kv_bytes;    /* of sessions and cached prefixes; 0 = INK_ENGINE_DEFAULT_KV_BYTES */
    size_t max_scope_bytes; /* of one scope's cached prefixes; 0 = INK_ENGINE_DEFAULT_SCOPE_BYTES */
} InkEngineOptions;

#define INK_ENGINE_DEFAULT_KV_BYTES    ((size_t)1 << 30)
#define INK_ENGINE_DEFAULT_SCOPE_BYTES ((size_t)256 << 20)

typedef struct InkEngineInfo {
    char name[128];        /* general.name, made printable */
    char architecture[32]; /* "llama" */
    char quantization[16]; /* the type most weights have, "Q4_1" */
    const char *kernels;   /* "avx512" */
    size_t n_threads;
    size_t n_context; /* tokens, as the file was trained */
    size_t n_vocab;
    size_t n_layers;
    size_t n_embedding;
    uint64_t n_parameters;
    size_t packed_bytes; /* of weights as the kernels read them */
    size_t kv_bytes_per_token;
    bool has_template;
    bool pack_cache_used; /* the packed form came from the cache file */
} InkEngineInfo;

/* Maps the model read-only. The descriptor may be closed afterwards. */
INK_MUST_CHECK int ink_engine_open(int model_fd, const InkEngineOptions *options, InkEngine **ret,
                                   InkError *reterr);
InkEngine *ink_engine_close(InkEngine *e);
INK_DEFINE_CLEANUP(InkEngine, ink_engine_close, ink_engine_close_p)

const InkEngineInfo *ink_engine_info(const InkEngine *e);
const InkTokenizer *ink_engine_tokenizer(const InkEngine *e);
/* Bytes of KV blocks in use by sessions. */
size_t ink_engine_kv_bytes(const InkEngine *e);
/* Threads stay on processors of their own from here on; see ink_threads_settle(). */
void ink_engine_settle_threads(InkEngine *e);
/* Bytes of KV blocks that the prefix cache holds, of one scope or of all (0); blocks that sessions
 * use as well count in both. */
size_t ink_engine_cached_bytes(const InkEngine *e, uint32_t scope);
/* Drops cached prefixes, the least recently used first, until keep_bytes are left, and gives free
 * memory back to the system. With keep_bytes 0 nothing of the scope is found any more. */
void ink_engine_trim(InkEngine *e, uint32_t scope, size_t keep_bytes);

/* Renders messages with the file's own template and encodes them; -EOPNOTSUPP without one. */
INK_MUST_CHECK int ink_engine_encode_chat(const InkEngine *e, const InkMessage *messages,
                                          size_t n_messages, bool add_generation_prompt,
                                          InkTokens *tokens, InkError *reterr);
/* The rendered text itself, for tools. */
INK_MUST_CHECK int ink_engine_render_chat(const InkEngine *e, const InkMessage *messages,
                                          size_t n_messages, bool add_generation_prompt,
                                          InkRendered *ret, InkError *reterr);
/* A plain prompt of the user: no control tokens; a beginning-of-text token where the model has
 * one. */
INK_MUST_CHECK int ink_engine_encode_prompt(const InkEngine *e, const char *text, size_t n_bytes,
                                            InkTokens *tokens, InkError *reterr);

/* One row of a step. Rows of one session stand together, in order of position. */
typedef struct InkStepRow {
    InkSession *session;
    uint32_t token;
    bool wants_logits;
    const float *logits; /* out: [V], borrowed until the next step; NULL when not wanted */
} InkStepRow;

/* Asked between layers on the calling thread; true gives the step up. */
typedef bool InkStepCancel(void *userdata);

/* Outcome: given up, no session has changed. */
#define INK_STEP_CANCELLED 1

/* Appends each row's token to its session and computes its keys, values and (if wanted) logits.
 * 1..INK_MAX_STEP_ROWS rows. On failure or cancel no session has changed. -EMSGSIZE when the window
 * of a session is full, -ENOMEM when the KV budget is. */
INK_MUST_CHECK int ink_engine_step(InkEngine *e, InkStepRow *rows, size_t n_rows,
                                   InkStepCancel *cancel, void *userdata, InkError *reterr);
