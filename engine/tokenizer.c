/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/tokenizer.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/bpe.h"
#include "engine/pre-tokenizer.h"
#include "engine/sort.h"
#include "engine/vocabulary.h"

#define MAX_MERGES     (4u << 20)
#define MAX_TEXT_BYTES ((size_t)16 << 20)

/* Tokens that are matched as text before anything is split, in order of their bytes, so that the
 * longest match is found by narrowing a range byte by byte. */
typedef struct Matched {
    uint32_t *ids;
    uint32_t first[257]; /* ids[first[b] .. first[b + 1]) start with byte b */
} Matched;

struct InkTokenizer {
    InkVocabulary vocabulary;
    InkBpe bpe;
    const InkPreTokenizer *pre;
    /* Control and unknown tokens count only where the template speaks. User-defined ones
     * ("<think>", runs of blanks) are ordinary text for which the training had one id: Hugging Face
     * splits them wherever they stand, so they match in both. */
    Matched trusted, untrusted;
    uint32_t bos, eos;
    bool adds_bos;
};

/* ------------------------------------------------------------------ load */

static bool text_less(const void *userdata, uint32_t a, uint32_t b)
{
    const InkVocabulary *v = userdata;
    const InkVocabularyToken *x = &v->tokens[a], *y = &v->tokens[b];
    size_t n = x->n_text_bytes < y->n_text_bytes ? x->n_text_bytes : y->n_text_bytes;
    int order = memcmp(x->text, y->text, n);
    if (order != 0)
        return order < 0;
    return x->n_text_bytes != y->n_text_bytes ? x->n_text_bytes < y->n_text_bytes : a < b;
}

static bool is_matched(const InkVocabularyToken *t, bool trusted)
{
    if (t->n_text_bytes == 0)
        return false;
    return t->type == INK_TOKEN_USER_DEFINED ||
           (trusted && (t->type == INK_TOKEN_CONTROL || t->type == INK_TOKEN_UNKNOWN));
}

static int build_matched(Matched *m, const InkVocabulary *v, bool trusted, InkError *reterr)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        n += is_matched(&v->tokens[i], trusted);
    m->ids = ink_alloc_array(n, sizeof(uint32_t));
    INK_CHECK(m->ids != NULL, ENOMEM, reterr, "out of memory for %zu special tokens", n);
    n = 0;
    for (size_t i = 0; i < v->n; i++)
        if (is_matched(&v->tokens[i], trusted)) {
            m->ids[n++] = (uint32_t)i;
            m->first[(uint8_t)v->tokens[i].text[0] + 1]++;
        }
    for (size_t b = 1; b <= 256; b++)
        m->first[b] += m->first[b - 1];
    ink_sort_indices(m->ids, n, text_less, v);
    return 0;
}

static bool is_control(const InkTokenizer *t, uint32_t id)
{
    return id < t->vocabulary.n && (t->vocabulary.tokens[id].type == INK_TOKEN_CONTROL ||
                                    t->vocabulary.tokens[id].type == INK_TOKEN_UNKNOWN);
}

/* Neither a byte nor a merge may become a control token: what a user wrote never does. */
static void fill_byte_ids(InkTokenizer *t)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        size_t n = ink_vocabulary_byte_text((uint8_t)byte, text);
        uint32_t id = ink_vocabulary_find(&t->vocabulary, text, n, "", 0);
        t->bpe.byte_ids[byte] = is_control(t, id) ? INK_TOKEN_NONE : id;
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

static int add_merge(InkTokenizer *t, InkGgufString merge, size_t rank, uint32_t *last,
                     InkError *reterr)
{
    const InkVocabulary *v = &t->vocabulary;
    const char *space = merge.n_bytes > 2 ? memchr(merge.text + 1, ' ', merge.n_bytes - 2) : NULL;
    INK_CHECK(space != NULL && merge.n_bytes <= 2 * INK_VOCABULARY_MAX_TOKEN_BYTES + 1, EBADMSG,
              reterr, "tokenizer.ggml.merges: merge %zu is not two tokens and a space", rank);
    InkGgufString a = {merge.text, (size_t)(space - merge.text)};
    InkGgufString b = {space + 1, merge.n_bytes - a.n_bytes - 1};
    uint32_t left = ink_vocabulary_find(v, a.text, a.n_bytes, "", 0);
    uint32_t right = ink_vocabulary_find(v, b.text, b.n_bytes, "", 0);
    uint32_t whole = find_result(v, *last, a, b);
    *last = whole;
    INK_CHECK(left != INK_TOKEN_NONE && right != INK_TOKEN_NONE && whole != INK_TOKEN_NONE, EBADMSG,
              reterr, "tokenizer.ggml.merges: merge %zu has a %s that is no token", rank,
              left == INK_TOKEN_NONE    ? "left half"
              : right == INK_TOKEN_NONE ? "right half"
                                        : "result");
    INK_CHECK(!is_control(t, whole), EBADMSG, reterr,
              "tokenizer.ggml.merges: merge %zu makes a control token", rank);
    INK_CHECK(ink_bpe_add(&t->bpe, left, right, (uint32_t)rank, whole) == 0, EBADMSG, reterr,
              "tokenizer.ggml.merges: the pairs collide in the table around merge %zu", rank);
    return 0;
}

static int load_merges(InkTokenizer *t, const InkGguf *g, InkError *reterr)
{
    InkGgufArray merges;
    INK_TRY(ink_gguf_get_array(g, "tokenizer.ggml.merges", INK_GGUF_STRING, &merges, reterr));
    INK_CHECK(merges.n <= MAX_MERGES, EBADMSG, reterr,
              "tokenizer.ggml.merges has %zu elements, the limit is %u", merges.n, MAX_MERGES);
    INK_CHECK(ink_bpe_init(&t->bpe, merges.n) == 0, ENOMEM, reterr, "out of memory for %zu merges",
              merges.n);
    size_t cursor = 0;
    uint32_t last = INK_TOKEN_NONE;
    for (size_t i = 0; i < merges.n; i++)
        INK_TRY(add_merge(t, ink_gguf_array_next_string(&merges, &cursor), i, &last, reterr));
    fill_byte_ids(t);
    return 0;
}

static int load_kind(InkTokenizer *t, const InkGguf *g, InkError *reterr)
{
    InkGgufString model, pre;
    INK_TRY(ink_gguf_get_string(g, "tokenizer.ggml.model", NULL, &model, reterr));
    INK_CHECK(model.n_bytes == 4 && memcmp(model.text, "gpt2", 4) == 0, EOPNOTSUPP, reterr,
              "tokenizer.ggml.model \"%s\" is not supported, only \"gpt2\"",
              ink_gguf_shown(model).text);
    INK_TRY(ink_gguf_get_string(g, "tokenizer.ggml.pre", NULL, &pre, reterr));
    t->pre = ink_pre_tokenizer_find(pre.text, pre.n_bytes);
    INK_CHECK(t->pre != NULL, EOPNOTSUPP, reterr,
              "tokenizer.ggml.pre \"%s\" is not supported, only %s", ink_gguf_shown(pre).text,
              ink_pre_tokenizer_names());
    return 0;
}

/* INK_TOKEN_NONE when the key is not there. */
static int special_id(const InkTokenizer *t, const InkGguf *g, const char *key, uint32_t *ret,
                      InkError *reterr)
{
    static const uint32_t none = INK_TOKEN_NONE;
    return ink_gguf_get_u32(g, key, 0, (uint32_t)t->vocabulary.n - 1, &none, ret, reterr);
}

static int load_special_ids(InkTokenizer *t, const InkGguf *g, InkError *reterr)
{
    static const char *const checked[] = {
        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id",
        "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.mask_token_id"};
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    uint32_t id;
    INK_TRY(special_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, reterr));
    INK_TRY(special_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, reterr));
    for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++)
        INK_TRY(special_id(t, g, checked[i], &id, reterr));
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        INK_TRY(special_id(t, g, ends[i], &id, reterr));
        if (id != INK_TOKEN_NONE)
            t->vocabulary.tokens[id].ends_generation = true;
    }
    INK_TRY(ink_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->pre->adds_bos, &t->adds_bos,
                              reterr));
    t->adds_bos = t->adds_bos && t->bos != INK_TOKEN_NONE;
    return 0;
}

int ink_tokenizer_new(const InkGguf *g, InkTokenizer **ret, InkError *reterr)
{
    _cleanup_(ink_tokenizer_free_p) InkTokenizer *t = ink_alloc_array(1, sizeof(InkTokenizer));
    INK_CHECK(t != NULL, ENOMEM, reterr, "out of memory for the tokenizer");
    INK_TRY(load_kind(t, g, reterr));
    INK_TRY(ink_vocabulary_init(&t->vocabulary, g, reterr));
    INK_TRY(load_merges(t, g, reterr));
    INK_TRY(load_special_ids(t, g, reterr));
    INK_TRY(build_matched(&t->trusted, &t->vocabulary, true, reterr));
    INK_TRY(build_matched(&t->untrusted, &t->vocabulary, false, reterr));
    *ret = INK_TAKE(t);
    return 0;
}

InkTokenizer *ink_tokenizer_free(InkTokenizer *t)
{
    if (t == NULL)
        return NULL;
    ink_vocabulary_done(&t->vocabulary);
    ink_bpe_done(&t->bpe);
    free(t->trusted.ids);
    free(t->untrusted.ids);
    free(t);
    return NULL;
}

/* ------------------------------------------------------------------ encode */

typedef struct Encoding {
    const InkTokenizer *t;
    InkTokens *tokens;
    InkBpeScratch scratch;
} Encoding;

static void encoding_done(Encoding *e)
{
    ink_bpe_scratch_done(&e->scratch);
}

/* First of ids[low..high) whose byte at `depth` is not below `byte`; all of them share the bytes
 * before it and none ends before it. */
static uint32_t lower_bound(const InkVocabulary *v, const uint32_t *ids, uint32_t low,
                            uint32_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)v->tokens[ids[middle]].text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that text starts with; INK_TOKEN_NONE when there is none. */
static uint32_t longest_match(const InkVocabulary *v, const Matched *m, const char *text,
                              size_t n_bytes)
{
    uint32_t low = m->first[(uint8_t)text[0]], high = m->first[(uint8_t)text[0] + 1];
    uint32_t found = INK_TOKEN_NONE;
    for (size_t depth = 1; low < high; depth++) {
        /* Shorter texts sort first, so those that end here stand at the front. */
        if (v->tokens[m->ids[low]].n_text_bytes == depth) {
            found = m->ids[low];
            while (low < high && v->tokens[m->ids[low]].n_text_bytes == depth)
                low++;
        }
        if (depth == n_bytes)
            break;
        unsigned byte = (uint8_t)text[depth];
        low = lower_bound(v, m->ids, low, high, depth, byte);
        high = lower_bound(v, m->ids, low, high, depth, byte + 1);
    }
    return found;
}

/* A piece that is a token as it stands, for the families whose merges do not count then. */
static uint32_t whole_piece(const InkVocabulary *v, const char *piece, size_t n_bytes)
{
    char text[INK_VOCABULARY_MAX_TOKEN_BYTES];
    size_t n = 0;
    if (n_bytes > sizeof(text) / 2)
        return INK_TOKEN_NONE;
    for (size_t i = 0; i < n_bytes; i++)
        n += ink_vocabulary_byte_text((uint8_t)piece[i], text + n);
    uint32_t id = ink_vocabulary_find(v, text, n, "", 0);
    /* Its text may be a control token's: no text but a template's becomes one. */
    return id != INK_TOKEN_NONE && v->tokens[id].type == INK_TOKEN_NORMAL ? id : INK_TOKEN_NONE;
}

static int encode_text(Encoding *e, const char *text, size_t n_bytes)
{
    const InkTokenizer *t = e->t;
    while (n_bytes > 0) {
        size_t n = t->pre->next(text, n_bytes);
        uint32_t whole =
            t->pre->ignores_merges ? whole_piece(&t->vocabulary, text, n) : INK_TOKEN_NONE;
        if (whole != INK_TOKEN_NONE)
            INK_TRY(ink_tokens_push(e->tokens, whole));
        else
            INK_TRY(ink_bpe_encode(&t->bpe, text, n, &e->scratch, e->tokens));
        text += n;
        n_bytes -= n;
    }
    return 0;
}

/* `text`: all spans one after the other. A border is a change of trust: spans of one author are one
 * text, in which Hugging Face would match as well. */
static int encode_spans(Encoding *e, const char *text, const InkTextSpan *spans, size_t n_spans)
{
    const InkVocabulary *v = &e->t->vocabulary;
    size_t pending = 0, at = 0, end = 0;
    for (size_t i = 0; i < n_spans;) {
        bool trusted = spans[i].trusted;
        const Matched *m = trusted ? &e->t->trusted : &e->t->untrusted;
        for (; i < n_spans && spans[i].trusted == trusted; i++)
            end += spans[i].n_bytes;
        while (at < end) {
            uint32_t id = longest_match(v, m, text + at, end - at);
            if (id == INK_TOKEN_NONE) {
                at++;
                continue;
            }
            INK_TRY(encode_text(e, text + pending, at - pending));
            INK_TRY(ink_tokens_push(e->tokens, id));
            at += v->tokens[id].n_text_bytes;
            pending = at;
        }
    }
    return encode_text(e, text + pending, end - pending);
}

static int join_spans(const InkTextSpan *spans, size_t n_spans, size_t n_bytes, char **ret,
                      InkError *reterr)
{
    char *text = ink_alloc_array(n_bytes, 1);
    INK_CHECK(text != NULL, ENOMEM, reterr, "out of memory for %zu bytes of text", n_bytes);
    size_t at = 0;
    for (size_t i = 0; i < n_spans; i++) {
        if (spans[i].n_bytes != 0)
            memcpy(text + at, spans[i].text, spans[i].n_bytes);
        at += spans[i].n_bytes;
    }
    *ret = text;
    return 0;
}

int ink_tokenizer_encode(const InkTokenizer *t, const InkTextSpan *spans, size_t n_spans,
                         InkTokens *tokens, InkError *reterr)
{
    _cleanup_free_ char *joined = NULL;
    _cleanup_(encoding_done) Encoding e = {.t = t, .tokens = tokens};
    size_t n_bytes = 0;
    for (size_t i = 0; i < n_spans; i++)
        INK_CHECK(ink_size_add(n_bytes, spans[i].n_bytes, &n_bytes) && n_bytes <= MAX_TEXT_BYTES,
                  E2BIG, reterr, "the text has more than %zu bytes", MAX_TEXT_BYTES);
    if (n_bytes == 0)
        return 0;
    if (n_spans > 1)
        INK_TRY(join_spans(spans, n_spans, n_bytes, &joined, reterr));

    size_t n_before = tokens->n;
    int r = encode_spans(&e, joined != NULL ? joined : spans[0].text, spans, n_spans);
    if (r < 0)
        tokens->n = n_before;
    if (r == -E2BIG)
        return INK_RAISE(E2BIG, reterr, "the text has more than %u tokens", INK_TOKENS_MAX);
    return r < 0 ? INK_RAISE(-r, reterr, "out of memory while encoding %zu bytes", n_bytes) : 0;
}

/* ------------------------------------------------------------------ decode, facts */

int ink_tokenizer_piece(const InkTokenizer *t, uint32_t id, bool special, const char **ret,
                        size_t *ret_n_bytes)
{
    if (id >= t->vocabulary.n)
        return -EINVAL;
    const InkVocabularyToken *token = &t->vocabulary.tokens[id];
    bool shown = special || token->type == INK_TOKEN_NORMAL || token->type == INK_TOKEN_BYTE ||
                 token->type == INK_TOKEN_USER_DEFINED;
    *ret = token->piece;
    *ret_n_bytes = shown ? token->n_piece_bytes : 0;
    return 0;
}

int ink_tokenizer_decode(const InkTokenizer *t, const uint32_t *ids, size_t n, bool special,
                         InkBuffer *text, InkError *reterr)
{
    for (size_t i = 0; i < n; i++)
        INK_CHECK(ids[i] < t->vocabulary.n, EINVAL, reterr,
                  "token %zu is %u, the vocabulary has %zu", i, ids[i], t->vocabulary.n);
    for (size_t i = 0; i < n; i++) {
        const char *piece;
        size_t n_bytes;
        INK_TRY(ink_tokenizer_piece(t, ids[i], special, &piece, &n_bytes));
        ink_buffer_append(text, piece, n_bytes);
    }
    INK_CHECK(ink_buffer_status(text) == 0, ENOMEM, reterr, "out of memory while decoding");
    return 0;
}

size_t ink_tokenizer_n_vocab(const InkTokenizer *t)
{
    return t->vocabulary.n;
}

uint32_t ink_tokenizer_bos(const InkTokenizer *t)
{
    return t->bos;
}

uint32_t ink_tokenizer_eos(const InkTokenizer *t)
{
    return t->eos;
}

bool ink_tokenizer_adds_bos(const InkTokenizer *t)
{
    return t->adds_bos;
}

bool ink_tokenizer_is_control(const InkTokenizer *t, uint32_t id)
{
    return is_control(t, id);
}

bool ink_tokenizer_ends_generation(const InkTokenizer *t, uint32_t id)
{
    return id < t->vocabulary.n && t->vocabulary.tokens[id].ends_generation;
}
