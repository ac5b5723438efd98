/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/tokenizer.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/byte-level.h"
#include "engine/sort.h"
#include "engine/spm.h"
#include "engine/tokenizer-model.h"
#include "engine/vocabulary.h"

#define MAX_TEXT_BYTES ((size_t)16 << 20)

/* Tokens that are matched as text before anything is split, in order of their bytes, so that the
 * longest match is found by narrowing a range byte by byte. */
typedef struct Matched {
    uint32_t *ids;
    uint32_t first[257]; /* ids[first[b] .. first[b + 1]) start with byte b */
} Matched;

struct InkTokenizer {
    InkVocabulary vocabulary;
    InkTokenizerModel *model;
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
    InkGgufString x = ink_vocabulary_piece(userdata, a), y = ink_vocabulary_piece(userdata, b);
    int order = memcmp(x.text, y.text, x.n_bytes < y.n_bytes ? x.n_bytes : y.n_bytes);
    if (order != 0)
        return order < 0;
    return x.n_bytes != y.n_bytes ? x.n_bytes < y.n_bytes : a < b;
}

static bool is_matched(const InkVocabularyToken *t, bool trusted)
{
    if (t->n_piece_bytes == 0)
        return false;
    return t->type == INK_TOKEN_USER_DEFINED ||
           (trusted && (t->type == INK_TOKEN_CONTROL || t->type == INK_TOKEN_UNKNOWN));
}

static int build_matched(Matched *m, const InkVocabulary *v, bool trusted, InkError *reterr)
{
    m->ids = ink_alloc_array(v->n_others, sizeof(uint32_t));
    INK_CHECK(m->ids != NULL, ENOMEM, reterr, "out of memory for %zu special tokens", v->n_others);
    size_t n = 0;
    for (size_t i = 0; i < v->n_others; i++)
        if (is_matched(&v->tokens[v->others[i]], trusted)) {
            m->ids[n++] = v->others[i];
            m->first[(uint8_t)ink_vocabulary_piece(v, v->others[i]).text[0] + 1]++;
        }
    for (size_t b = 1; b <= 256; b++)
        m->first[b] += m->first[b - 1];
    ink_sort_indices(m->ids, n, text_less, v);
    return 0;
}

/* A tokenizer model is a row here and a file. */
static const struct {
    const char *name; /* tokenizer.ggml.model */
    InkTokenizerModelOpen *open;
} models[] = {
    {"gpt2", ink_byte_level_open},
    {"llama", ink_spm_open},
};

static int find_model(const InkGguf *g, InkTokenizerModelOpen **ret, InkError *reterr)
{
    InkGgufString name;
    INK_TRY(ink_gguf_get_string(g, "tokenizer.ggml.model", NULL, &name, reterr));
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        if (strlen(models[i].name) == name.n_bytes &&
            memcmp(models[i].name, name.text, name.n_bytes) == 0) {
            *ret = models[i].open;
            return 0;
        }
    return INK_RAISE(EOPNOTSUPP, reterr,
                     "tokenizer.ggml.model \"%s\" is not supported, only gpt2, llama",
                     ink_gguf_shown(name).text);
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
    static const char *const checked[] = {"tokenizer.ggml.padding_token_id",
                                          "tokenizer.ggml.seperator_token_id",
                                          "tokenizer.ggml.mask_token_id"};
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
    INK_TRY(ink_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->model->adds_bos, &t->adds_bos,
                              reterr));
    t->adds_bos = t->adds_bos && t->bos != INK_TOKEN_NONE;
    return 0;
}

int ink_tokenizer_new(const InkGguf *g, InkTokenizer **ret, InkError *reterr)
{
    _cleanup_(ink_tokenizer_free_p) InkTokenizer *t = ink_alloc_array(1, sizeof(InkTokenizer));
    INK_CHECK(t != NULL, ENOMEM, reterr, "out of memory for the tokenizer");
    InkTokenizerModelOpen *open_model = NULL;
    INK_TRY(find_model(g, &open_model, reterr));
    INK_TRY(ink_vocabulary_init(&t->vocabulary, g, reterr));
    INK_TRY(open_model(&t->vocabulary, g, &t->model, reterr));
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
    if (t->model != NULL)
        t->model->ops->free(t->model);
    free(t->trusted.ids);
    free(t->untrusted.ids);
    free(t);
    return NULL;
}

/* ------------------------------------------------------------------ encode */

typedef struct Encoding {
    const InkTokenizer *t;
    InkTokens *tokens;
    const char *text, *end; /* of all spans */
    InkMergeScratch scratch;
} Encoding;

static void encoding_done(Encoding *e)
{
    ink_merge_scratch_done(&e->scratch);
}

/* First of ids[low..high) whose byte at `depth` is not below `byte`; all of them share the bytes
 * before it and none ends before it. */
static uint32_t lower_bound(const InkVocabulary *v, const uint32_t *ids, uint32_t low,
                            uint32_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)ink_vocabulary_piece(v, ids[middle]).text[depth] < byte)
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
        if (v->tokens[m->ids[low]].n_piece_bytes == depth) {
            found = m->ids[low];
            while (low < high && v->tokens[m->ids[low]].n_piece_bytes == depth)
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

/* Text without a token that matches in it. */
static int encode_stretch(Encoding *e, const char *text, size_t n_bytes)
{
    const InkTokenizerModel *m = e->t->model;
    _cleanup_free_ char *other = NULL;
    if (n_bytes != 0 && m->ops->rewrite != NULL) {
        size_t n_other = 0;
        int r = m->ops->rewrite(m, text, n_bytes, text == e->text, text + n_bytes == e->end, &other,
                                &n_other);
        if (r < 0)
            return r;
        text = r > 0 ? other : text;
        n_bytes = r > 0 ? n_other : n_bytes;
    }
    if (n_bytes == 0)
        return 0;
    return m->ops->encode(m, &e->t->vocabulary, text, n_bytes, &e->scratch, e->tokens);
}

/* Encodes text[*pending..end) up to the last token that matches in text[at..end), and moves
 * *pending behind it. */
static int encode_run(Encoding *e, const Matched *m, size_t at, size_t end, size_t *pending)
{
    const InkVocabulary *v = &e->t->vocabulary;
    while (at < end) {
        uint32_t id = longest_match(v, m, e->text + at, end - at);
        if (id == INK_TOKEN_NONE) {
            at++;
            continue;
        }
        INK_TRY(encode_stretch(e, e->text + *pending, at - *pending));
        INK_TRY(ink_tokens_push(e->tokens, id));
        at += v->tokens[id].n_piece_bytes;
        *pending = at;
    }
    return 0;
}

/* A border is a change of trust: spans of one author are one text, in which Hugging Face would
 * match as well. */
static int encode_spans(Encoding *e, const InkTextSpan *spans, size_t n_spans)
{
    size_t pending = 0, at = 0, end = 0;
    for (size_t i = 0; i < n_spans; at = end) {
        bool trusted = spans[i].trusted;
        const Matched *m = trusted ? &e->t->trusted : &e->t->untrusted;
        for (; i < n_spans && spans[i].trusted == trusted; i++)
            end += spans[i].n_bytes;
        INK_TRY(encode_run(e, m, at, end, &pending));
    }
    return encode_stretch(e, e->text + pending, end - pending);
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
    e.text = joined != NULL ? joined : spans[0].text;
    e.end = e.text + n_bytes;
    int r = encode_spans(&e, spans, n_spans);
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
    InkGgufString piece = ink_vocabulary_piece(&t->vocabulary, id);
    uint8_t type = t->vocabulary.tokens[id].type;
    bool shown = special || type == INK_TOKEN_NORMAL || type == INK_TOKEN_BYTE ||
                 type == INK_TOKEN_USER_DEFINED;
    *ret = piece.text;
    *ret_n_bytes = shown ? piece.n_bytes : 0;
    return 0;
}

/* Does encoding put a space between `previous` and `id`? */
static bool is_space_added(const InkTokenizer *t, uint32_t previous, uint32_t id)
{
    const InkVocabularyToken *tokens = t->vocabulary.tokens;
    if (!t->model->adds_space || tokens[id].type != INK_TOKEN_NORMAL)
        return false;
    return previous >= t->vocabulary.n || tokens[previous].type == INK_TOKEN_CONTROL ||
           tokens[previous].type == INK_TOKEN_USER_DEFINED;
}

int ink_tokenizer_decode(const InkTokenizer *t, uint32_t previous, const uint32_t *ids, size_t n,
                         bool special, InkBuffer *text, InkError *reterr)
{
    for (size_t i = 0; i < n; i++)
        INK_CHECK(ids[i] < t->vocabulary.n, EINVAL, reterr,
                  "token %zu is %u, the vocabulary has %zu", i, ids[i], t->vocabulary.n);
    for (size_t i = 0; i < n; previous = ids[i++]) {
        const char *piece;
        size_t n_bytes;
        INK_TRY(ink_tokenizer_piece(t, ids[i], special, &piece, &n_bytes));
        size_t skip = n_bytes != 0 && piece[0] == ' ' && is_space_added(t, previous, ids[i]);
        ink_buffer_append(text, piece + skip, n_bytes - skip);
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
    return id < t->vocabulary.n && t->vocabulary.tokens[id].type == INK_TOKEN_CONTROL;
}

bool ink_tokenizer_ends_generation(const InkTokenizer *t, uint32_t id)
{
    return id < t->vocabulary.n && t->vocabulary.tokens[id].ends_generation;
}
