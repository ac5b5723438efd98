/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tokens of a GGUF file (tokenizer.ggml.tokens, .token_type): texts, the bytes they stand for,
 * types, and one table from text or bytes to id. Private to the tokenizer and its models.
 *
 * How a text is read belongs to the tokenizer's model (tokenizer-model.h): as it comes from here a
 * token stands for its own text; the model gives other pieces with ink_vocabulary_set_piece() and
 * then has the table built over what it looks up. Two tokens of one text are accepted: both decode,
 * the lower id is what text becomes.
 * 12 bytes a token and 8 to 16 for the table: a quarter of a million tokens are common, and they
 * are on the way to the first answer. Owns: the tables and the pieces that are no texts; texts
 * point into the GGUF bytes. Errors: -EBADMSG (names the metadata key), -ENOMEM. Thread: immutable
 * after the index is built.
 */
#pragma once

#include <stdbool.h>

#include "engine/gguf.h"

#define INK_VOCABULARY_MAX_TOKENS      (1u << 20)
#define INK_VOCABULARY_MAX_TOKEN_BYTES 4096u
#define INK_VOCABULARY_N_WAITING       32

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
    uint32_t text_at;  /* in the file's texts */
    uint32_t piece_at; /* there too, or in the arena when own_piece */
    uint32_t n_text_bytes : 13;
    uint32_t n_piece_bytes : 13;
    uint32_t type : 3; /* InkTokenType */
    bool own_piece : 1;
    bool ends_generation : 1;
} InkVocabularyToken;

typedef enum InkVocabularyKey {
    INK_VOCABULARY_BY_TEXT,
    INK_VOCABULARY_BY_PIECE,
} InkVocabularyKey;

typedef struct InkVocabulary {
    InkVocabularyToken *tokens;
    size_t n;
    const char *texts; /* of the file */
    char *arena;       /* pieces that are no texts */
    size_t n_arena_bytes;
    uint32_t *others; /* ids of all types but normal, ascending */
    size_t n_others;
    uint32_t *slots; /* 11 bits of the hash << 21 | id + 1; 0 = free */
    size_t mask;
    InkVocabularyKey key;
    bool has_twins; /* two tokens of the table have one key */
    /* A table of a large vocabulary does not fit the nearest cache: tokens wait here until their
     * slots have come. */
    uint32_t waiting[INK_VOCABULARY_N_WAITING];
    uint64_t waiting_hash[INK_VOCABULARY_N_WAITING];
    size_t n_waiting;
} InkVocabulary;

INK_MUST_CHECK int ink_vocabulary_init(InkVocabulary *v, const InkGguf *g, InkError *reterr);
void ink_vocabulary_done(InkVocabulary *v);

/* The bytes a token stands for, if they are not its text; at most as many as its text has, and once
 * for each token. */
void ink_vocabulary_set_piece(InkVocabulary *v, uint32_t id, const char *piece, size_t n_bytes);

/* Builds the table: start, add the tokens in order with the hashes of their keys, end. */
INK_MUST_CHECK int ink_vocabulary_index_start(InkVocabulary *v, InkVocabularyKey key,
                                              InkError *reterr);
INK_MUST_CHECK int ink_vocabulary_index_add(InkVocabulary *v, uint32_t id, uint64_t hash,
                                            InkError *reterr);
INK_MUST_CHECK int ink_vocabulary_index_end(InkVocabulary *v, InkError *reterr);

/* The id of the key a + b (either may be empty), UINT32_MAX when there is none. */
uint32_t ink_vocabulary_find(const InkVocabulary *v, const char *a, size_t n_a, const char *b,
                             size_t n_b);
/* The same for one text of which the hash is known. */
uint32_t ink_vocabulary_find_hashed(const InkVocabulary *v, uint64_t hash, const char *text,
                                    size_t n_bytes);
/* Is a + b the key of token `id`? */
bool ink_vocabulary_is(const InkVocabulary *v, uint32_t id, const char *a, size_t n_a,
                       const char *b, size_t n_b);

/* A polynomial over the bytes, each one more than it is, so that leading zeros count:
 * hash(a + b) is hash(a) * INK_VOCABULARY_HASH_BASE ** n_b + hash(b), so who knows the hashes of
 * two neighbours has that of both without reading them. The hash of no bytes is 0. */
#define INK_VOCABULARY_HASH_BASE 0x9E3779B97F4A7C55u

static inline uint64_t ink_vocabulary_hash_byte(uint64_t hash, uint8_t byte)
{
    return hash * INK_VOCABULARY_HASH_BASE + byte + 1u;
}

static inline uint64_t ink_vocabulary_hash(const char *text, size_t n_bytes)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < n_bytes; i++)
        hash = ink_vocabulary_hash_byte(hash, (uint8_t)text[i]);
    return hash;
}

static inline InkGgufString ink_vocabulary_text(const InkVocabulary *v, uint32_t id)
{
    const InkVocabularyToken *t = &v->tokens[id];
    return (InkGgufString){v->texts + t->text_at, t->n_text_bytes};
}

static inline InkGgufString ink_vocabulary_piece(const InkVocabulary *v, uint32_t id)
{
    const InkVocabularyToken *t = &v->tokens[id];
    return (InkGgufString){(t->own_piece ? v->arena : v->texts) + t->piece_at, t->n_piece_bytes};
}

/* Tokens that no text but a template's may become; false for an id beyond the vocabulary. */
static inline bool ink_vocabulary_is_special(const InkVocabulary *v, uint32_t id)
{
    return id < v->n &&
           (v->tokens[id].type == INK_TOKEN_CONTROL || v->tokens[id].type == INK_TOKEN_UNKNOWN);
}
