/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What differs between tokenizers (tokenizer.ggml.model): how a vocabulary's texts are read and how
 * a stretch of ordinary text becomes ids. The tokenizer does the rest for all of them: tokens
 * matched as text, who wrote what, decoding. A new one is a file and a row of the table in
 * tokenizer.c.
 *
 * A model never makes a control or unknown token of the vocabulary out of text, except the unknown
 * token for what the vocabulary has no token for.
 * Owns: `open` gives an object that `free` ends. Errors: as tokenizer.h.
 * Thread: immutable after open. */
#pragma once

#include "engine/merge-heap.h"
#include "engine/tokens.h"
#include "engine/vocabulary.h"

typedef struct InkTokenizerModel InkTokenizerModel;

typedef struct InkTokenizerOps {
    /* Appends the ids of text[0..n_bytes), n_bytes > 0. */
    int (*encode)(const InkTokenizerModel *m, const InkVocabulary *v, const char *text,
                  size_t n_bytes, InkMergeScratch *scratch, InkTokens *tokens);
    /* What the vocabulary was trained on in place of a stretch of text; it is the text's first or
     * last one. 0: the stretch as it is; 1: `ret`, which the caller frees. NULL: always as it is.
     */
    int (*rewrite)(const InkTokenizerModel *m, const char *text, size_t n_bytes, bool is_first,
                   bool is_last, char **ret, size_t *ret_n_bytes);
    InkTokenizerModel *(*free)(InkTokenizerModel *m);
} InkTokenizerOps;

struct InkTokenizerModel {
    const InkTokenizerOps *ops;
    bool adds_bos;   /* where the file does not say (tokenizer.ggml.add_bos_token) */
    bool adds_space; /* `rewrite` puts a space before each stretch, decoding takes it away */
};

/* Sets the pieces and builds the index of `v`. */
typedef int InkTokenizerModelOpen(InkVocabulary *v, const InkGguf *g, InkTokenizerModel **ret,
                                  InkError *reterr);
