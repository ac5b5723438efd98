/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/vocabulary.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/alloc.h"

/* The table is at most half full: honest texts never make a run this long. */
#define MAX_PROBES 1024

#define MAX_TEXT_BYTES ((size_t)256 << 20)

#define SLOT_ID_BITS 21
_Static_assert(INK_VOCABULARY_MAX_TOKENS < 1u << SLOT_ID_BITS, "an id and one fits a slot");
_Static_assert(sizeof(InkVocabularyToken) == 12, "a vocabulary is large");

/* ------------------------------------------------------------------ the table */

static uint64_t hash_power(size_t n)
{
    uint64_t power = 1, base = INK_VOCABULARY_HASH_BASE;
    for (; n != 0; n >>= 1, base *= base)
        power *= (n & 1) != 0 ? base : 1;
    return power;
}

static uint64_t mix(uint64_t h)
{
    return (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
}

static size_t first_slot(const InkVocabulary *v, uint64_t mixed)
{
    return (size_t)(mixed >> 32) & v->mask;
}

static uint32_t slot_tag(uint64_t mixed)
{
    return (uint32_t)mixed & ~((1u << SLOT_ID_BITS) - 1);
}

static uint32_t slot_id(uint32_t slot)
{
    return (slot & ((1u << SLOT_ID_BITS) - 1)) - 1;
}

static InkGgufString key_of(const InkVocabulary *v, uint32_t id)
{
    return v->key == INK_VOCABULARY_BY_PIECE ? ink_vocabulary_piece(v, id)
                                             : ink_vocabulary_text(v, id);
}

bool ink_vocabulary_is(const InkVocabulary *v, uint32_t id, const char *a, size_t n_a,
                       const char *b, size_t n_b)
{
    InkGgufString key = key_of(v, id);
    return key.n_bytes == n_a + n_b && memcmp(key.text, a, n_a) == 0 &&
           memcmp(key.text + n_a, b, n_b) == 0;
}

uint32_t ink_vocabulary_find(const InkVocabulary *v, const char *a, size_t n_a, const char *b,
                             size_t n_b)
{
    uint64_t h = ink_vocabulary_hash(a, n_a) * hash_power(n_b) + ink_vocabulary_hash(b, n_b);
    uint64_t mixed = mix(h);
    uint32_t tag = slot_tag(mixed);
    for (size_t slot = first_slot(v, mixed); v->slots[slot] != 0; slot = (slot + 1) & v->mask) {
        uint32_t id = slot_id(v->slots[slot]);
        if (slot_tag(v->slots[slot]) == tag && ink_vocabulary_is(v, id, a, n_a, b, n_b))
            return id;
    }
    return UINT32_MAX;
}

uint32_t ink_vocabulary_find_hashed(const InkVocabulary *v, uint64_t hash, const char *text,
                                    size_t n_bytes)
{
    uint64_t mixed = mix(hash);
    uint32_t tag = slot_tag(mixed);
    for (size_t slot = first_slot(v, mixed); v->slots[slot] != 0; slot = (slot + 1) & v->mask) {
        uint32_t id = slot_id(v->slots[slot]);
        if (slot_tag(v->slots[slot]) == tag && ink_vocabulary_is(v, id, text, n_bytes, "", 0))
            return id;
    }
    return UINT32_MAX;
}

static bool insert(InkVocabulary *v, uint32_t id, uint64_t mixed)
{
    uint32_t tag = slot_tag(mixed);
    size_t slot = first_slot(v, mixed);
    for (size_t probe = 0; probe < MAX_PROBES; probe++, slot = (slot + 1) & v->mask) {
        if (v->slots[slot] == 0) {
            v->slots[slot] = tag | (id + 1);
            return true;
        }
        if (slot_tag(v->slots[slot]) != tag)
            continue;
        InkGgufString key = key_of(v, id);
        if (ink_vocabulary_is(v, slot_id(v->slots[slot]), key.text, key.n_bytes, "", 0)) {
            v->has_twins = true;
            return true; /* the lower id stays */
        }
    }
    return false;
}

int ink_vocabulary_index_start(InkVocabulary *v, InkVocabularyKey key, InkError *reterr)
{
    size_t n_slots = 16;
    while (n_slots < 2 * v->n)
        n_slots *= 2;
    v->slots = ink_alloc_array(n_slots, sizeof(uint32_t));
    INK_CHECK(v->slots != NULL, ENOMEM, reterr, "out of memory for the vocabulary");
    v->mask = n_slots - 1;
    v->key = key;
    return 0;
}

int ink_vocabulary_index_end(InkVocabulary *v, InkError *reterr)
{
    for (size_t i = 0; i < v->n_waiting; i++)
        INK_CHECK(insert(v, v->waiting[i], v->waiting_hash[i]), EBADMSG, reterr,
                  "tokenizer.ggml.tokens: the texts collide in the table around token %" PRIu32,
                  v->waiting[i]);
    v->n_waiting = 0;
    return 0;
}

int ink_vocabulary_index_add(InkVocabulary *v, uint32_t id, uint64_t hash, InkError *reterr)
{
    uint64_t mixed = mix(hash);
    if (v->n_waiting == INK_VOCABULARY_N_WAITING)
        INK_TRY(ink_vocabulary_index_end(v, reterr));
    __builtin_prefetch(&v->slots[first_slot(v, mixed)], 1);
    v->waiting[v->n_waiting] = id;
    v->waiting_hash[v->n_waiting++] = mixed;
    return 0;
}

/* ------------------------------------------------------------------ texts and types */

/* Tokens that end an answer by their name, in the families that this engine is for. */
static bool is_end_name(InkGgufString text)
{
#define NAME(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
    static const InkGgufString names[] = {
        NAME("<|im_end|>"),      NAME("<|endoftext|>"),
        NAME("<|eot_id|>"),      NAME("<|eom_id|>"),
        NAME("<|end|>"),         NAME("<end_of_turn>"),
        NAME("<|eot|>"),         NAME("</s>"),
        NAME("<eos>"),           NAME("<|end_of_text|>"),
        NAME("<|end_of_turn|>"), NAME("<|endofturn|>"),
        NAME("<|return|>"),      NAME("<|EOT|>"),
        NAME("<EOT>"),           NAME("<｜end▁of▁sentence｜>"),
    };
#undef NAME
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].n_bytes == text.n_bytes && memcmp(names[i].text, text.text, text.n_bytes) == 0)
            return true;
    return false;
}

static int read_texts(InkVocabulary *v, const InkGgufArray *texts, InkError *reterr)
{
    size_t cursor = 0, n_bytes = 0;
    v->texts = (const char *)texts->data;
    for (size_t i = 0; i < v->n; i++) {
        InkGgufString text = ink_gguf_array_next_string(texts, &cursor);
        n_bytes += text.n_bytes;
        INK_CHECK(text.n_bytes <= INK_VOCABULARY_MAX_TOKEN_BYTES, EBADMSG, reterr,
                  "tokenizer.ggml.tokens: token %zu has %zu bytes, the limit is %u", i,
                  text.n_bytes, INK_VOCABULARY_MAX_TOKEN_BYTES);
        INK_CHECK(n_bytes <= MAX_TEXT_BYTES, EBADMSG, reterr,
                  "tokenizer.ggml.tokens: over %zu bytes of text", MAX_TEXT_BYTES);
        uint32_t at = (uint32_t)(cursor - text.n_bytes);
        v->tokens[i] = (InkVocabularyToken){.text_at = at,
                                            .piece_at = at,
                                            .n_text_bytes = (uint32_t)text.n_bytes,
                                            .n_piece_bytes = (uint32_t)text.n_bytes,
                                            .type = INK_TOKEN_NORMAL};
    }
    /* Pages of it that no piece needs are never touched. */
    v->arena = ink_alloc_array(n_bytes, 1);
    INK_CHECK(v->arena != NULL, ENOMEM, reterr, "out of memory for the vocabulary");
    return 0;
}

static int read_types(InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    static const char key[] = "tokenizer.ggml.token_type";
    InkGgufArray types;
    size_t n_others = 0;
    if (!ink_gguf_has(g, key))
        return 0;
    INK_TRY(ink_gguf_get_array(g, key, INK_GGUF_I32, &types, reterr));
    INK_CHECK(types.n == v->n, EBADMSG, reterr, "%s has %zu elements for %zu tokens", key, types.n,
              v->n);
    for (uint32_t id = 0; id < v->n; id++) {
        int64_t type = ink_gguf_array_int(&types, id);
        INK_CHECK(type >= INK_TOKEN_NORMAL && type <= INK_TOKEN_BYTE, EBADMSG, reterr,
                  "%s: token %" PRIu32 " has the unknown type %" PRId64, key, id, type);
        if (type == INK_TOKEN_NORMAL)
            continue;
        v->tokens[id].type = (uint32_t)type;
        v->tokens[id].ends_generation =
            type == INK_TOKEN_CONTROL && is_end_name(ink_vocabulary_text(v, id));
        n_others++;
    }
    v->others = ink_alloc_array(n_others, sizeof(uint32_t));
    INK_CHECK(v->others != NULL, ENOMEM, reterr, "out of memory for the vocabulary");
    for (uint32_t id = 0; id < v->n; id++)
        if (v->tokens[id].type != INK_TOKEN_NORMAL)
            v->others[v->n_others++] = id;
    return 0;
}

void ink_vocabulary_set_piece(InkVocabulary *v, uint32_t id, const char *piece, size_t n_bytes)
{
    InkVocabularyToken *t = &v->tokens[id];
    memcpy(v->arena + v->n_arena_bytes, piece, n_bytes);
    t->own_piece = true;
    t->piece_at = (uint32_t)v->n_arena_bytes;
    t->n_piece_bytes = (uint32_t)n_bytes;
    v->n_arena_bytes += n_bytes;
}

int ink_vocabulary_init(InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    InkGgufArray texts;
    INK_TRY(ink_gguf_get_array(g, "tokenizer.ggml.tokens", INK_GGUF_STRING, &texts, reterr));
    INK_CHECK(texts.n >= 1 && texts.n <= INK_VOCABULARY_MAX_TOKENS, EBADMSG, reterr,
              "tokenizer.ggml.tokens has %zu tokens, allowed are 1 to %u", texts.n,
              INK_VOCABULARY_MAX_TOKENS);
    *v = (InkVocabulary){.n = texts.n};
    v->tokens = ink_alloc_array(texts.n, sizeof(InkVocabularyToken));
    INK_CHECK(v->tokens != NULL, ENOMEM, reterr, "out of memory for %zu tokens", texts.n);
    INK_TRY(read_texts(v, &texts, reterr));
    return read_types(v, g, reterr);
}

void ink_vocabulary_done(InkVocabulary *v)
{
    free(v->tokens);
    free(v->arena);
    free(v->others);
    free(v->slots);
    *v = (InkVocabulary){0};
}
