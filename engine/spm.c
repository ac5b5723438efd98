/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/spm.h"

#include <math.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

#define MARK       "\xE2\x96\x81" /* U+2581 */
#define MARK_BYTES 3

#define NO_SYMBOL UINT32_MAX
#define NO_TOKEN  UINT32_MAX

typedef struct Spm {
    InkTokenizerModel model; /* the first member */
    InkGgufArray scores;
    uint32_t byte_ids[256]; /* NO_TOKEN: the vocabulary has none for this byte */
    uint32_t unknown;
    bool collapses;         /* remove_extra_whitespaces */
    size_t longest;         /* bytes of the longest token that text may become */
    uint64_t *powers;       /* of INK_VOCABULARY_HASH_BASE, [longest + 1] */
    bool follows[256][256]; /* [x][y]: y comes after x in some token */
} Spm;

/* One character or a merged run of them, at the index of its first byte. */
typedef struct Symbol {
    uint64_t hash;
    uint32_t previous, next; /* NO_SYMBOL before the first, n_bytes after the last */
    uint32_t id;             /* NO_TOKEN: not merged */
    uint32_t pair;           /* what it and the next one make; NO_TOKEN: nothing */
} Symbol;

#define DEAD 0 /* as `next`: became a part of its left neighbour */

/* ------------------------------------------------------------------ load */

static bool is_mark(const char *text, size_t n_bytes)
{
    return n_bytes >= MARK_BYTES && memcmp(text, MARK, MARK_BYTES) == 0;
}

/* Bytes written: the text with its marks as spaces. */
static size_t unmark(const char *text, size_t n_bytes, char *out)
{
    size_t n_out = 0;
    for (size_t at = 0; at < n_bytes;) {
        const char *lead = memchr(text + at, MARK[0], n_bytes - at);
        size_t n = lead != NULL ? (size_t)(lead - text) - at : n_bytes - at;
        memcpy(out + n_out, text + at, n);
        n_out += n;
        at += n;
        if (lead == NULL)
            break;
        bool found = is_mark(lead, n_bytes - at);
        out[n_out++] = found ? ' ' : MARK[0];
        at += found ? MARK_BYTES : 1;
    }
    return n_out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0xE2>" */
static int load_byte(Spm *s, InkVocabulary *v, uint32_t id, InkError *reterr)
{
    InkGgufString text = ink_vocabulary_text(v, id);
    bool sound = text.n_bytes == 6 && memcmp(text.text, "<0x", 3) == 0 && text.text[5] == '>';
    int high = sound ? hex_digit(text.text[3]) : -1, low = sound ? hex_digit(text.text[4]) : -1;
    INK_CHECK(high >= 0 && low >= 0, EBADMSG, reterr,
              "tokenizer.ggml.tokens: byte token %u is not written as <0xXX>", id);
    char byte = (char)(high * 16 + low);
    ink_vocabulary_set_piece(v, id, &byte, 1);
    if (s->byte_ids[(uint8_t)byte] == NO_TOKEN)
        s->byte_ids[(uint8_t)byte] = id;
    return 0;
}

typedef struct Reading {
    uint64_t hash;
    bool has_space, has_lead; /* a space of its own; what may be a mark */
} Reading;

/* One pass over a token's bytes, since there are millions of them: notes which bytes meet. */
static Reading read_bytes(Spm *s, const char *text, size_t n_bytes, bool after_mark)
{
    Reading r = {0};
    uint8_t last = after_mark ? ' ' : (uint8_t)text[0];
    size_t i = after_mark ? 0 : 1;
    r.hash = ink_vocabulary_hash_byte(0, last);
    r.has_space = !after_mark && last == ' ';
    for (; i < n_bytes; i++) {
        uint8_t byte = (uint8_t)text[i];
        r.has_space |= byte == ' ';
        r.has_lead |= byte == (uint8_t)MARK[0];
        r.hash = ink_vocabulary_hash_byte(r.hash, byte);
        s->follows[last][byte] = true;
        last = byte;
    }
    return r;
}

/* A token with which text may be written. */
static int load_piece(Spm *s, InkVocabulary *v, uint32_t id, InkError *reterr)
{
    char piece[INK_VOCABULARY_MAX_TOKEN_BYTES];
    InkGgufString text = ink_vocabulary_text(v, id);
    if (text.n_bytes == 0)
        return 0;
    bool has_mark = is_mark(text.text, text.n_bytes);
    size_t n_mark = has_mark ? MARK_BYTES : 0, n = text.n_bytes;
    Reading r = read_bytes(s, text.text + n_mark, n - n_mark, has_mark);
    /* One with a space of its own is never merged: spaces of text are marks to merging. */
    bool is_merged = !r.has_space;
    if (r.has_lead) {
        n = unmark(text.text, n, piece);
        r = read_bytes(s, piece, n, false);
        ink_vocabulary_set_piece(v, id, piece, n);
    } else if (has_mark) {
        n -= MARK_BYTES - 1;
        piece[0] = ' ';
        memcpy(piece + 1, text.text + MARK_BYTES, n - 1);
        ink_vocabulary_set_piece(v, id, piece, n);
    }
    if (n > s->longest)
        s->longest = n;
    return is_merged ? ink_vocabulary_index_add(v, id, r.hash, reterr) : 0;
}

static int load_pieces(Spm *s, InkVocabulary *v, InkError *reterr)
{
    memset(s->byte_ids, 0xFF, sizeof(s->byte_ids));
    INK_TRY(ink_vocabulary_index_start(v, INK_VOCABULARY_BY_PIECE, reterr));
    for (uint32_t id = 0; id < v->n; id++) {
        if (v->tokens[id].type == INK_TOKEN_BYTE)
            INK_TRY(load_byte(s, v, id, reterr));
        if (v->tokens[id].type == INK_TOKEN_NORMAL || v->tokens[id].type == INK_TOKEN_USER_DEFINED)
            INK_TRY(load_piece(s, v, id, reterr));
    }
    return ink_vocabulary_index_end(v, reterr);
}

static int load_powers(Spm *s, InkError *reterr)
{
    s->powers = ink_alloc_array(s->longest + 1, sizeof(uint64_t));
    INK_CHECK(s->powers != NULL, ENOMEM, reterr, "out of memory for the tokenizer");
    s->powers[0] = 1;
    for (size_t i = 1; i <= s->longest; i++)
        s->powers[i] = s->powers[i - 1] * INK_VOCABULARY_HASH_BASE;
    return 0;
}

static int load_scores(Spm *s, const InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    static const char key[] = "tokenizer.ggml.scores";
    INK_TRY(ink_gguf_get_array(g, key, INK_GGUF_F32, &s->scores, reterr));
    INK_CHECK(s->scores.n == v->n, EBADMSG, reterr, "%s has %zu elements for %zu tokens", key,
              s->scores.n, v->n);
    for (size_t i = 0; i < v->n; i++)
        INK_CHECK(isfinite(ink_gguf_array_f32(&s->scores, i)), EBADMSG, reterr,
                  "%s: the score of token %zu is not a finite number", key, i);
    return 0;
}

/* The unknown token stands for text of anybody, so it must not be one that means something. */
static int load_unknown(Spm *s, const InkVocabulary *v, const InkGguf *g, InkError *reterr)
{
    static const uint32_t none = NO_TOKEN;
    INK_TRY(ink_gguf_get_u32(g, "tokenizer.ggml.unknown_token_id", 0, (uint32_t)v->n - 1, &none,
                             &s->unknown, reterr));
    if (s->unknown != NO_TOKEN && v->tokens[s->unknown].type == INK_TOKEN_CONTROL)
        s->unknown = NO_TOKEN;
    return 0;
}

/* ------------------------------------------------------------------ rewrite */

/* Bytes that stay: of a run of spaces one, at the ends of the whole text none. */
static size_t collapse(char *text, size_t n_bytes, bool is_first, bool is_last)
{
    size_t n = 0;
    bool after_space = is_first;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] != ' ' || !after_space)
            text[n++] = text[i];
        after_space = text[i] == ' ';
    }
    return n > 0 && is_last && text[n - 1] == ' ' ? n - 1 : n;
}

static int spm_rewrite(const InkTokenizerModel *m, const char *text, size_t n_bytes, bool is_first,
                       bool is_last, char **ret, size_t *ret_n_bytes)
{
    const Spm *s = (const Spm *)m;
    if (!m->adds_space && !s->collapses && memmem(text, n_bytes, MARK, MARK_BYTES) == NULL)
        return 0;
    char *out = ink_alloc_array(n_bytes + 1, 1);
    if (out == NULL)
        return -ENOMEM;
    size_t n_prefix = m->adds_space ? 1 : 0;
    out[0] = ' ';
    size_t n = unmark(text, n_bytes, out + n_prefix);
    if (s->collapses)
        n = collapse(out + n_prefix, n, is_first, is_last);
    *ret = out;
    *ret_n_bytes = n != 0 ? n + n_prefix : 0;
    return 1;
}

/* ------------------------------------------------------------------ encode */

/* Ascending as scores descend. */
static uint32_t priority(const Spm *s, uint32_t id)
{
    float score = ink_gguf_array_f32(&s->scores, id) + 0.0f; /* -0 is 0 */
    uint32_t bits;
    memcpy(&bits, &score, sizeof(bits));
    return bits >> 31 != 0 ? bits : ~(bits | 0x80000000u);
}

/* Where the piece that starts at text ends: merges stay inside. */
static size_t piece_end(const Spm *s, const char *text, size_t n_bytes)
{
    const uint8_t *t = (const uint8_t *)text;
    size_t i = 1;
    for (; i < n_bytes; i++) {
        if (!s->follows[t[i - 1]][t[i]] && (t[i] & 0xC0) != 0x80)
            break;
    }
    return i;
}

static void build_symbols(Symbol *symbols, const char *text, size_t n_bytes)
{
    uint32_t previous = NO_SYMBOL;
    for (size_t at = 0; at < n_bytes;) {
        uint32_t code_point;
        size_t n =
            (uint8_t)text[at] < 0x80 ? 1 : ink_utf8_decode(text + at, n_bytes - at, &code_point);
        n = n != 0 ? n : 1;
        symbols[at] = (Symbol){ink_vocabulary_hash(text + at, n), previous, (uint32_t)(at + n),
                               NO_TOKEN, NO_TOKEN};
        previous = (uint32_t)at;
        at += n;
    }
}

static uint64_t pair_hash(const Spm *s, const Symbol *left, const Symbol *right, size_t n_right)
{
    return left->hash * s->powers[n_right] + right->hash;
}

/* Finds what symbol `left` and the next one make, if anything. */
static void push_pair(const Spm *s, const InkVocabulary *v, const char *text, size_t n_bytes,
                      uint32_t left, InkMergeScratch *scratch)
{
    Symbol *symbols = scratch->symbols;
    uint32_t right = symbols[left].next;
    symbols[left].pair = NO_TOKEN;
    if (right >= n_bytes)
        return;
    uint32_t end = symbols[right].next;
    if (end - left > s->longest)
        return;
    uint64_t hash = pair_hash(s, &symbols[left], &symbols[right], end - right);
    uint32_t id = ink_vocabulary_find_hashed(v, hash, text + left, end - left);
    symbols[left].pair = id;
    if (id != NO_TOKEN)
        ink_merge_push(scratch, (uint64_t)priority(s, id) << 32 | left);
}

static void merge_all(const Spm *s, const InkVocabulary *v, const char *text, size_t n_bytes,
                      InkMergeScratch *scratch)
{
    Symbol *symbols = scratch->symbols;
    while (scratch->n_heap > 0) {
        uint64_t item = ink_merge_pop(scratch);
        uint32_t left = (uint32_t)item;
        /* The place and the score are what decides: if they are still those of the pair that
         * stands here, it is this pair's turn. */
        if (symbols[left].next == DEAD || symbols[left].pair == NO_TOKEN ||
            priority(s, symbols[left].pair) != (uint32_t)(item >> 32))
            continue;
        uint32_t right = symbols[left].next, end = symbols[right].next;
        symbols[left].hash = pair_hash(s, &symbols[left], &symbols[right], end - right);
        symbols[left].id = symbols[left].pair;
        symbols[left].next = end;
        symbols[right].next = DEAD;
        if (end < n_bytes)
            symbols[end].previous = left;
        if (symbols[left].previous != NO_SYMBOL)
            push_pair(s, v, text, n_bytes, symbols[left].previous, scratch);
        push_pair(s, v, text, n_bytes, left, scratch);
    }
}

/* A character that is no token: its bytes, or the unknown token once for all such that follow one
 * another. */
static int push_bytes(const Spm *s, const char *text, size_t n_bytes, bool *is_unknown,
                      InkTokens *tokens)
{
    bool has_all = true;
    for (size_t i = 0; i < n_bytes; i++)
        has_all = has_all && s->byte_ids[(uint8_t)text[i]] != NO_TOKEN;
    if (!has_all) {
        bool again = *is_unknown || s->unknown == NO_TOKEN;
        *is_unknown = true;
        return again ? 0 : ink_tokens_push(tokens, s->unknown);
    }
    *is_unknown = false;
    for (size_t i = 0; i < n_bytes; i++)
        INK_TRY(ink_tokens_push(tokens, s->byte_ids[(uint8_t)text[i]]));
    return 0;
}

static int encode_piece(const Spm *s, const InkVocabulary *v, const char *text, size_t n_bytes,
                        InkMergeScratch *scratch, bool *is_unknown, InkTokens *tokens)
{
    if (n_bytes >= NO_SYMBOL)
        return -E2BIG;
    INK_TRY(ink_merge_reserve(scratch, n_bytes, sizeof(Symbol)));
    Symbol *symbols = scratch->symbols;
    build_symbols(symbols, text, n_bytes);
    for (uint32_t at = 0; at < n_bytes; at = symbols[at].next)
        push_pair(s, v, text, n_bytes, at, scratch);
    merge_all(s, v, text, n_bytes, scratch);
    for (uint32_t at = 0; at < n_bytes; at = symbols[at].next) {
        size_t n = symbols[at].next - at;
        uint32_t id = symbols[at].id;
        if (id == NO_TOKEN)
            id = ink_vocabulary_find_hashed(v, symbols[at].hash, text + at, n);
        if (id == NO_TOKEN) {
            INK_TRY(push_bytes(s, text + at, n, is_unknown, tokens));
            continue;
        }
        *is_unknown = false;
        INK_TRY(ink_tokens_push(tokens, id));
    }
    return 0;
}

static int spm_encode(const InkTokenizerModel *m, const InkVocabulary *v, const char *text,
                      size_t n_bytes, InkMergeScratch *scratch, InkTokens *tokens)
{
    const Spm *s = (const Spm *)m;
    bool is_unknown = false;
    for (size_t at = 0, n; at < n_bytes; at += n) {
        n = piece_end(s, text + at, n_bytes - at);
        INK_TRY(encode_piece(s, v, text + at, n, scratch, &is_unknown, tokens));
    }
    return 0;
}

/* ------------------------------------------------------------------ the model */

static InkTokenizerModel *spm_free(InkTokenizerModel *m)
{
    if (m != NULL)
        free(((Spm *)m)->powers);
    free(m);
    return NULL;
}

static void spm_free_p(Spm **s)
{
    if (*s != NULL)
        spm_free(&(*s)->model);
}

int ink_spm_open(InkVocabulary *v, const InkGguf *g, InkTokenizerModel **ret, InkError *reterr)
{
    static const InkTokenizerOps ops = {spm_encode, spm_rewrite, spm_free};
    static const bool yes = true, no = false;
    _cleanup_(spm_free_p) Spm *s = ink_alloc_array(1, sizeof(Spm));
    INK_CHECK(s != NULL, ENOMEM, reterr, "out of memory for the tokenizer");
    s->model = (InkTokenizerModel){.ops = &ops, .adds_bos = true};
    INK_TRY(ink_gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &yes, &s->model.adds_space,
                              reterr));
    INK_TRY(ink_gguf_get_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &no, &s->collapses,
                              reterr));
    INK_TRY(load_scores(s, v, g, reterr));
    INK_TRY(load_unknown(s, v, g, reterr));
    INK_TRY(load_pieces(s, v, reterr));
    INK_TRY(load_powers(s, reterr));
    *ret = &INK_TAKE(s)->model;
    return 0;
}
