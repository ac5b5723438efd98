/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/byte-level.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "engine/bpe.h"
#include "engine/pre-tokenizer.h"

#define MAX_MERGES (4u << 20)

/* The alphabet: bytes that print stand for themselves; the others, in order, for U+0100 and on. */
#define N_ALPHABET (0x100 + 68)

typedef struct ByteLevel {
    InkTokenizerModel model; /* the first member */
    InkBpe bpe;
    const InkPreTokenizer *pre;
} ByteLevel;

/* ------------------------------------------------------------------ the alphabet */

static bool prints(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

size_t ink_byte_level_text(uint8_t byte, char out[2])
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
        size_t n = ink_byte_level_text((uint8_t)byte, text);
        if (ink_utf8_decode(text, n, &code_point) != 0 && code_point < N_ALPHABET)
            byte_of[code_point] = (int16_t)byte;
    }
}

/* Bytes written; SIZE_MAX when a character is not of the alphabet. */
static size_t decode_text(const int16_t byte_of[N_ALPHABET], InkGgufString text, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < text.n_bytes;) {
        uint32_t code_point = (uint8_t)text.text[i];
        size_t n =
            code_point < 0x80 ? 1 : ink_utf8_decode(text.text + i, text.n_bytes - i, &code_point);
        if (n == 0 || code_point >= N_ALPHABET || byte_of[code_point] < 0)
            return SIZE_MAX;
        out[n_out++] = (char)byte_of[code_point];
        i += n;
    }
    return n_out;
}

/* A normal token with a character outside the alphabet stands for its own text, as in Hugging
 * Face's decoder. */
static void decode_pieces(InkVocabulary *v)
{
    int16_t byte_of[N_ALPHABET];
    char piece[INK_VOCABULARY_MAX_TOKEN_BYTES];
    fill_alphabet(byte_of);
    for (uint32_t id = 0; id < v->n; id++) {
        if (v->tokens[id].type != INK_TOKEN_NORMAL && v->tokens[id].type != INK_TOKEN_BYTE)
            continue;
        size_t n = decode_text(byte_of, ink_vocabulary_text(v, id), piece);
        if (n != SIZE_MAX)
            ink_vocabulary_set_piece(v, id, piece, n);
    }
}

/* ------------------------------------------------------------------ load */

static int build_index(InkVocabulary *v, InkError *reterr)
{
    INK_TRY(ink_vocabulary_index_start(v, INK_VOCABULARY_BY_TEXT, reterr));
    for (uint32_t id = 0; id < v->n; id++) {
        InkGgufString text = ink_vocabulary_text(v, id);
        uint64_t hash = ink_vocabulary_hash(text.text, text.n_bytes);
        INK_TRY(ink_vocabulary_index_add(v, id, hash, reterr));
    }
    return ink_vocabulary_index_end(v, reterr);
}

/* Neither a byte nor a merge may become a control token: what a user wrote never does. */
static void fill_byte_ids(ByteLevel *b, const InkVocabulary *v)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        size_t n = ink_byte_level_text((uint8_t)byte, text);
        uint32_t id = ink_vocabulary_find(v, text, n, "", 0);
        b->bpe.byte_ids[byte] = ink_vocabulary_is_special(v, id) ? UINT32_MAX : id;
    }
}

/* Most vocabularies list the results of merges in the merges' order, so the id after the last one
 * is worth a look before the table. */
static uint32_t find_result(const InkVocabulary *v, uint32_t last, InkGgufString left,
                            InkGgufString right)
{
    if (last < v->n - 1 && !v->has_twins &&
        ink_vocabulary_is(v, last + 1, left.text, left.n_bytes, right.text, right.n_bytes))
        return last + 1;
    return ink_vocabulary_find(v, left.text, left.n_bytes, right.text, right.n_bytes);
}

static int add_merge(ByteLevel *bl, const InkVocabulary *v, InkGgufString merge, size_t rank,
                     uint32_t *last, InkError *reterr)
{
    const char *space = merge.n_bytes > 2 ? memchr(merge.text + 1, ' ', merge.n_bytes - 2) : NULL;
    INK_CHECK(space != NULL && merge.n_bytes <= 2 * INK_VOCABULARY_MAX_TOKEN_BYTES + 1, EBADMSG,
              reterr, "tokenizer.ggml.merges: merge %zu is not two tokens and a space", rank);
    InkGgufString a = {merge.text, (size_t)(space - merge.text)};
    InkGgufString b = {space + 1, merge.n_bytes - a.n_bytes - 1};
    uint32_t left = ink_vocabulary_find(v, a.text, a.n_bytes, "", 0);
    uint32_t right = ink_vocabulary_find(v, b.text, b.n_bytes, "", 0);
    uint32_t whole = find_result(v, *last, a, b);
    *last = whole;
    INK_CHECK(left != UINT32_MAX && right != UINT32_MAX && whole != UINT32_MAX, EBADMSG, reterr,
              "tokenizer.ggml.merges: merge %zu has a %s that is no token", rank,
              left == UINT32_MAX    ? "left half"
              : right == UINT32_MAX ? "right half"
                                    : "result");
    INK_CHECK(!ink_vocabulary_is_special(v, whole), EBADMSG, reterr,
              "tokenizer.ggml.merges: merge %zu makes a control token", rank);
    INK_CHECK(ink_bpe_add(&bl->bpe, left, right, (uint32_t)rank, whole) == 0, EBADMSG, reterr,
              "tokenizer.ggml.merges: the pairs collide in the table around merge %zu", rank);
    return 0;
}

static int load_merges(ByteLevel *b, const InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    InkGgufArray merges;
    INK_TRY(ink_gguf_get_array(g, "tokenizer.ggml.merges", INK_GGUF_STRING, &merges, reterr));
    INK_CHECK(merges.n <= MAX_MERGES, EBADMSG, reterr,
              "tokenizer.ggml.merges has %zu elements, the limit is %u", merges.n, MAX_MERGES);
    INK_CHECK(ink_bpe_init(&b->bpe, merges.n) == 0, ENOMEM, reterr, "out of memory for %zu merges",
              merges.n);
    size_t cursor = 0;
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < merges.n; i++)
        INK_TRY(add_merge(b, v, ink_gguf_array_next_string(&merges, &cursor), i, &last, reterr));
    fill_byte_ids(b, v);
    return 0;
}

static int load_pre_tokenizer(ByteLevel *b, const InkGguf *g, InkError *reterr)
{
    InkGgufString pre;
    INK_TRY(ink_gguf_get_string(g, "tokenizer.ggml.pre", NULL, &pre, reterr));
    b->pre = ink_pre_tokenizer_find(pre.text, pre.n_bytes);
    INK_CHECK(b->pre != NULL, EOPNOTSUPP, reterr,
              "tokenizer.ggml.pre \"%s\" is not supported, only %s", ink_gguf_shown(pre).text,
              ink_pre_tokenizer_names());
    b->model.adds_bos = b->pre->adds_bos;
    return 0;
}

/* ------------------------------------------------------------------ encode */

/* A piece that is a token as it stands, for the families whose merges do not count then. */
static uint32_t whole_piece(const InkVocabulary *v, const char *piece, size_t n_bytes)
{
    char text[INK_VOCABULARY_MAX_TOKEN_BYTES];
    size_t n = 0;
    if (n_bytes > sizeof(text) / 2)
        return UINT32_MAX;
    for (size_t i = 0; i < n_bytes; i++)
        n += ink_byte_level_text((uint8_t)piece[i], text + n);
    uint32_t id = ink_vocabulary_find(v, text, n, "", 0);
    /* Its text may be a control token's: no text but a template's becomes one. */
    return id != UINT32_MAX && v->tokens[id].type == INK_TOKEN_NORMAL ? id : UINT32_MAX;
}

static int byte_level_encode(const InkTokenizerModel *m, const InkVocabulary *v, const char *text,
                             size_t n_bytes, InkMergeScratch *scratch, InkTokens *tokens)
{
    const ByteLevel *b = (const ByteLevel *)m;
    while (n_bytes > 0) {
        size_t n = b->pre->next(text, n_bytes);
        uint32_t whole = b->pre->ignores_merges ? whole_piece(v, text, n) : UINT32_MAX;
        if (whole != UINT32_MAX)
            INK_TRY(ink_tokens_push(tokens, whole));
        else
            INK_TRY(ink_bpe_encode(&b->bpe, text, n, scratch, tokens));
        text += n;
        n_bytes -= n;
    }
    return 0;
}

/* ------------------------------------------------------------------ the model */

static InkTokenizerModel *byte_level_free(InkTokenizerModel *m)
{
    if (m != NULL)
        ink_bpe_done(&((ByteLevel *)m)->bpe);
    free(m);
    return NULL;
}

static void byte_level_free_p(ByteLevel **b)
{
    if (*b != NULL)
        byte_level_free(&(*b)->model);
}

int ink_byte_level_open(InkVocabulary *v, const InkGguf *g, InkTokenizerModel **ret,
                        InkError *reterr)
{
    static const InkTokenizerOps ops = {.encode = byte_level_encode, .free = byte_level_free};
    _cleanup_(byte_level_free_p) ByteLevel *b = ink_alloc_array(1, sizeof(ByteLevel));
    INK_CHECK(b != NULL, ENOMEM, reterr, "out of memory for the tokenizer");
    b->model.ops = &ops;
    INK_TRY(load_pre_tokenizer(b, g, reterr));
    decode_pieces(v);
    INK_TRY(build_index(v, reterr));
    INK_TRY(load_merges(b, v, g, reterr));
    *ret = &INK_TAKE(b)->model;
    return 0;
}
