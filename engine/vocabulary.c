/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/vocabulary.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

/* The table is at most half full: honest texts never make a run this long. */
#define MAX_PROBES 1024

#define MAX_TEXT_BYTES ((size_t)256 << 20)

/* The alphabet: bytes that print stand for themselves; the others, in order, for U+0100 and on. */
#define N_ALPHABET (0x100 + 68)

static bool prints(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

size_t ink_vocabulary_byte_text(uint8_t byte, char out[2])
{
    uint32_t code_point = byte;
    if (!prints(byte)) {
        /* 0x00-0x20, then 0x7F-0xA0, then 0xAD */
        unsigned before = byte <= 0x20 ? byte : byte <= 0xA0 ? 33u + byte - 0x7F : 67u;
        code_point = 0x100 + before;
    }
    char text[4];
    size_t n = ink_utf8_encode(code_point, text);
    memcpy(out, text, n);
    return n;
}

/* byte_of[code point] = byte, or -1 */
static void fill_alphabet(int16_t byte_of[N_ALPHABET])
{
    memset(byte_of, 0xFF, N_ALPHABET * sizeof(int16_t));
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        uint32_t code_point = 0;
        size_t n = ink_vocabulary_byte_text((uint8_t)byte, text);
        if (ink_utf8_decode(text, n, &code_point) != 0 && code_point < N_ALPHABET)
            byte_of[code_point] = (int16_t)byte;
    }
}

/* Bytes written; SIZE_MAX when a character is not of the alphabet. */
static size_t decode_text(const int16_t byte_of[N_ALPHABET], const char *text, size_t n_bytes,
                          char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code_point = (uint8_t)text[i];
        size_t n = code_point < 0x80 ? 1 : ink_utf8_decode(text + i, n_bytes - i, &code_point);
        if (n == 0 || code_point >= N_ALPHABET || byte_of[code_point] < 0)
            return SIZE_MAX;
        out[n_out++] = (char)byte_of[code_point];
        i += n;
    }
    return n_out;
}

/* FNV-1a, because it can go on from `a` to `b`. */
static uint64_t hash_bytes(uint64_t h, const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        h = (h ^ (uint8_t)text[i]) * 0x100000001B3u;
    return h;
}

static uint64_t hash_text(const char *a, size_t n_a, const char *b, size_t n_b)
{
    uint64_t h = hash_bytes(hash_bytes(0xCBF29CE484222325u, a, n_a), b, n_b);
    return (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
}

bool ink_vocabulary_is(const InkVocabulary *v, uint32_t id, const char *a, size_t n_a,
                       const char *b, size_t n_b)
{
    const InkVocabularyToken *t = &v->tokens[id];
    return t->n_text_bytes == n_a + n_b && memcmp(t->text, a, n_a) == 0 &&
           memcmp(t->text + n_a, b, n_b) == 0;
}

uint32_t ink_vocabulary_find(const InkVocabulary *v, const char *a, size_t n_a, const char *b,
                             size_t n_b)
{
    uint64_t h = hash_text(a, n_a, b, n_b);
    for (size_t slot = h >> 32 & v->mask; v->slots[slot] != 0; slot = (slot + 1) & v->mask) {
        if (v->slots[slot] >> 32 != (h & UINT32_MAX))
            continue;
        uint32_t id = (uint32_t)v->slots[slot] - 1;
        if (ink_vocabulary_is(v, id, a, n_a, b, n_b))
            return id;
    }
    return UINT32_MAX;
}

static bool insert(InkVocabulary *v, uint32_t id)
{
    const InkVocabularyToken *t = &v->tokens[id];
    uint64_t h = hash_text(t->text, t->n_text_bytes, "", 0);
    size_t slot = h >> 32 & v->mask;
    for (size_t probe = 0; probe < MAX_PROBES; probe++, slot = (slot + 1) & v->mask) {
        if (v->slots[slot] == 0) {
            v->slots[slot] = (h & UINT32_MAX) << 32 | (id + 1);
            return true;
        }
        if (v->slots[slot] >> 32 != (h & UINT32_MAX))
            continue;
        if (ink_vocabulary_is(v, (uint32_t)v->slots[slot] - 1, t->text, t->n_text_bytes, "", 0)) {
            v->has_twins = true;
            return true; /* the lower id stays */
        }
    }
    return false;
}

/* Tokens that end an answer by their name, in the families that this engine is for. */
static bool is_end_name(const char *text, size_t n_bytes)
{
    static const char *const names[] = {
        "<|im_end|>", "<|endoftext|>",   "<|eot_id|>",      "<|eom_id|>",
        "<|end|>",    "<end_of_turn>",   "<|eot|>",         "</s>",
        "<eos>",      "<|end_of_text|>", "<|end_of_turn|>", "<|endofturn|>",
        "<|return|>", "<|EOT|>",         "<EOT>",           "<｜end▁of▁sentence｜>"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == n_bytes && memcmp(names[i], text, n_bytes) == 0)
            return true;
    return false;
}

static int read_texts(InkVocabulary *v, const InkGgufArray *texts, size_t *ret_n_bytes,
                      InkError *reterr)
{
    size_t cursor = 0, n_bytes = 0;
    for (size_t i = 0; i < v->n; i++) {
        InkGgufString text = ink_gguf_array_next_string(texts, &cursor);
        INK_CHECK(text.n_bytes <= INK_VOCABULARY_MAX_TOKEN_BYTES, EBADMSG, reterr,
                  "tokenizer.ggml.tokens: token %zu has %zu bytes, the limit is %u", i,
                  text.n_bytes, INK_VOCABULARY_MAX_TOKEN_BYTES);
        v->tokens[i] = (InkVocabularyToken){.text = text.text,
                                            .piece = text.text,
                                            .n_text_bytes = (uint16_t)text.n_bytes,
                                            .n_piece_bytes = (uint16_t)text.n_bytes,
                                            .type = INK_TOKEN_NORMAL};
        n_bytes += text.n_bytes;
    }
    INK_CHECK(n_bytes <= MAX_TEXT_BYTES, EBADMSG, reterr,
              "tokenizer.ggml.tokens: %zu bytes of text, the limit is %zu", n_bytes,
              MAX_TEXT_BYTES);
    *ret_n_bytes = n_bytes;
    return 0;
}

static int read_types(InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    static const char key[] = "tokenizer.ggml.token_type";
    InkGgufArray types;
    if (!ink_gguf_has(g, key))
        return 0;
    INK_TRY(ink_gguf_get_array(g, key, INK_GGUF_I32, &types, reterr));
    INK_CHECK(types.n == v->n, EBADMSG, reterr, "%s has %zu elements for %zu tokens", key, types.n,
              v->n);
    for (size_t i = 0; i < v->n; i++) {
        int64_t type = ink_gguf_array_int(&types, i);
        INK_CHECK(type >= INK_TOKEN_NORMAL && type <= INK_TOKEN_BYTE, EBADMSG, reterr,
                  "%s: token %zu has the unknown type %" PRId64, key, i, type);
        v->tokens[i].type = (uint8_t)type;
        v->tokens[i].ends_generation =
            type == INK_TOKEN_CONTROL && is_end_name(v->tokens[i].text, v->tokens[i].n_text_bytes);
    }
    return 0;
}

/* A normal token with a character outside the alphabet stands for its own text, as in Hugging
 * Face's decoder. */
static int decode_pieces(InkVocabulary *v, size_t n_bytes, InkError *reterr)
{
    int16_t byte_of[N_ALPHABET];
    fill_alphabet(byte_of);
    v->arena = ink_alloc_array(n_bytes, 1);
    INK_CHECK(v->arena != NULL, ENOMEM, reterr, "out of memory for the vocabulary");
    char *out = v->arena;
    for (size_t i = 0; i < v->n; i++) {
        InkVocabularyToken *t = &v->tokens[i];
        if (t->type != INK_TOKEN_NORMAL && t->type != INK_TOKEN_BYTE)
            continue;
        size_t n = decode_text(byte_of, t->text, t->n_text_bytes, out);
        if (n == SIZE_MAX)
            continue;
        t->piece = out;
        t->n_piece_bytes = (uint16_t)n;
        out += n;
    }
    return 0;
}

static int build_table(InkVocabulary *v, InkError *reterr)
{
    size_t n_slots = 16;
    while (n_slots < 2 * v->n)
        n_slots *= 2;
    v->slots = ink_alloc_array(n_slots, sizeof(uint64_t));
    INK_CHECK(v->slots != NULL, ENOMEM, reterr, "out of memory for the vocabulary");
    v->mask = n_slots - 1;
    for (size_t i = 0; i < v->n; i++)
        INK_CHECK(insert(v, (uint32_t)i), EBADMSG, reterr,
                  "tokenizer.ggml.tokens: the texts collide in the table around token %zu", i);
    return 0;
}

int ink_vocabulary_init(InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    InkGgufArray texts;
    size_t n_bytes = 0;
    INK_TRY(ink_gguf_get_array(g, "tokenizer.ggml.tokens", INK_GGUF_STRING, &texts, reterr));
    INK_CHECK(texts.n >= 1 && texts.n <= INK_VOCABULARY_MAX_TOKENS, EBADMSG, reterr,
              "tokenizer.ggml.tokens has %zu tokens, allowed are 1 to %u", texts.n,
              INK_VOCABULARY_MAX_TOKENS);
    *v = (InkVocabulary){.n = texts.n};
    v->tokens = ink_alloc_array(texts.n, sizeof(InkVocabularyToken));
    INK_CHECK(v->tokens != NULL, ENOMEM, reterr, "out of memory for %zu tokens", texts.n);
    INK_TRY(read_texts(v, &texts, &n_bytes, reterr));
    INK_TRY(read_types(v, g, reterr));
    INK_TRY(decode_pieces(v, n_bytes, reterr));
    return build_table(v, reterr);
}

void ink_vocabulary_done(InkVocabulary *v)
{
    free(v->tokens);
    free(v->slots);
    free(v->arena);
    *v = (InkVocabulary){0};
}
