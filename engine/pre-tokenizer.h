/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Splits text into the pieces inside which BPE merges: the regular expressions of the model
 * families, written by hand over utf8proc's categories. A closed set; each is a row of one table.
 * Bytes that are not UTF-8 each count as one character of no category.
 * Owns: nothing. Thread: no state. Source: the `pre_tokenizer` of each family's tokenizer.json. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct InkPreTokenizer {
    const char *name; /* tokenizer.ggml.pre */
    /* Length in bytes of the first piece of text[0..n_bytes), n_bytes > 0; never 0. */
    size_t (*next)(const char *text, size_t n_bytes);
    bool ignores_merges; /* a piece that is a token stays one, whatever the merges say */
    bool adds_bos;       /* where the file does not say (tokenizer.ggml.add_bos_token) */
} InkPreTokenizer;

/* NULL for a name that is not in the set. */
const InkPreTokenizer *ink_pre_tokenizer_find(const char *name, size_t n_bytes);
/* The names, comma-separated, for messages. */
const char *ink_pre_tokenizer_names(void);
