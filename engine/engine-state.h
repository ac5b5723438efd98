/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What stands behind the two handles of engine.h; for engine.c and session.c only. */
#pragma once

#include "engine/engine.h"
#include "engine/forward.h"
#include "engine/prefix-cache.h"
#include "engine/session.h"

struct InkEngine {
    InkEngineInfo info;
    uint8_t *file; /* mapped: token strings and embedding rows are read from it */
    size_t file_bytes;
    InkGguf *gguf;
    InkTokenizer *tokenizer;
    InkTemplate *template; /* NULL: template_error says why */
    InkError template_error;
    char *bos_text; /* NULL when the file names none */
    char *eos_text;
    InkThreads *threads;
    InkModel *model;
    InkWorkspace *workspace;
    InkKvPool *kv;
    InkPrefixCache *prefixes;
    InkForward forward;
    uint64_t n_steps;         /* marks the sessions that a step has seen */
    InkStepRow *prefill_rows; /* [INK_MAX_STEP_ROWS] */
};

struct InkSession {
    InkEngine *engine;
    size_t n_context;
    size_t length;
    uint32_t *tokens; /* [n_context] */
    uint32_t *blocks; /* [n_context / INK_KV_BLOCK, rounded up] */
    size_t n_blocks;
    bool tail_is_dirty; /* the last block holds more than `length` tells; cleaned before it grows */
    uint64_t seen_in_step;
};
