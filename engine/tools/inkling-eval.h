/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the subcommands of inkling-eval share: the opened files, the options, the output.
 * Owns: InkEvalRun owns its descriptors and the map. Thread: one. */
#pragma once

#include <stdbool.h>

#include "engine/base/buffer.h"
#include "engine/gguf.h"
#include "engine/tokens.h"

#define INK_EVAL_MAX_INPUT_BYTES ((size_t)64 << 20)

typedef struct InkEvalRun {
    int model_fd;
    int input_fd; /* FILE or standard input; -1 for subcommands without */
    int all_fd;   /* --all, or -1 */
    const void *map;
    size_t map_bytes;
    bool special;              /* --special */
    bool ids;                  /* --ids */
    bool no_generation_prompt; /* --no-generation-prompt */
    size_t n_threads;          /* --threads */
    size_t n_tokens;           /* --tokens */
    size_t n_top;              /* --top */
    size_t window;             /* --window */
} InkEvalRun;

typedef int InkEvalCommand(InkEvalRun *run, InkError *reterr);

InkEvalCommand ink_eval_tokenize, ink_eval_detokenize, ink_eval_template, ink_eval_logits,
    ink_eval_greedy, ink_eval_perplexity, ink_eval_validate;

/* Everything of input_fd; -E2BIG above the limit. */
INK_MUST_CHECK int ink_eval_read_input(const InkEvalRun *run, InkBuffer *ret, InkError *reterr);
/* Ids as a JSON array or separated by white space. */
INK_MUST_CHECK int ink_eval_parse_ids(const char *text, size_t n_bytes, InkTokens *ids,
                                      InkError *reterr);
/* Prints the buffer and a newline, and empties it. */
INK_MUST_CHECK int ink_eval_print_line(InkBuffer *line, InkError *reterr);
void ink_eval_append_ids(InkBuffer *line, const uint32_t *ids, size_t n);
