/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tokens of a GGUF file with byte-level BPE: texts, the bytes they stand for, types, and a
 * table from text to id. Private to the tokenizer.
 *
 * Normal tokens are written in the byte-level alphabet (a printable character for each byte; the
 * space is U+0120) and are decoded once; other types are literal text. Two tokens of one text are
 * accepted: both decode, the lower id is what text becomes.
 * Owns: the tables and the decoded bytes; texts point into the GGUF bytes.
 * Errors: -EBADMSG (names the metadata key), -ENOMEM. Thread: immutable after init. */
#pragma once

#include <stdbool.h>

#include "engine/gguf.h"

#define INK_VOCABULARY_MAX_TOKENS      (1u << 20)
#define INK_VOCABULARY_MAX_TOKEN_BYTES 4096u

/* tokenizer.ggml.token_type */
typedef enum InkTokenType {
    INK_TOKEN_NORMAL = 1,
    INK_TOKEN_UNKNOWN = 2,
    INK_TOKEN_CONTROL = 3,
    INK_TOKEN_USER_DEFINED = 4,
    INK_TOKEN_UNUSED = 5,
    INK_TOKEN_BYTE = 6,
} InkTokenType;

typedef struct InkVocabularyToken {
    const char *text;  /* as in the file */
    const char *piece; /* the bytes it stands for */
    uint16_t n_text_bytes;
    uint16_t n_piece_bytes;
    uint8_t type; /* InkTokenType */
    bool ends_generation;
} InkVocabularyToken;

typedef struct InkVocabulary {
    InkVocabularyToken *tokens;
    size_t n;
    uint64_t *slots; /* hash << 32 | id + 1; 0 = free */
    size_t mask;
    char *arena;    /* decoded pieces */
    bool has_twins; /* two tokens have one text */
} InkVocabulary;

INK_MUST_CHECK int ink_vocabulary_init(InkVocabulary *v, const InkGguf *g, InkError *reterr);
void ink_vocabulary_done(InkVocabulary *v);

/* The id of the text a + b (either may be empty), UINT32_MAX when there is none. */
uint32_t ink_vocabulary_find(const InkVocabulary *v, const char *a, size_t n_a, const char *b,
                             size_t n_b);
/* Is a + b the text of token `id`? */
bool ink_vocabulary_is(const InkVocabulary *v, uint32_t id, const char *a, size_t n_a,
                       const char *b, size_t n_b);
/* Writes the byte-level alphabet's 1 or 2 bytes for `byte`. */
size_t ink_vocabulary_byte_text(uint8_t byte, char out[2]);
