/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* SentencePiece's BPE by scores (spm.h): random vocabularies and real files against a plain
 * quadratic merger, and Gemma 3 against the sentencepiece library
 * (tests/data/gemma3-tokenizer-golden.json). INKLING_TEST_FULL=1: 100,000 strings for each file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine/base/utf8.h"
#include "tests/engine/tokenizer-fixture.h"

#define MARK "\xE2\x96\x81"

/* ------------------------------------------------------------------ a plain merger to compare */

/* The rules written down without a thought of speed, over the texts as the file has them: spaces
 * become marks, then the best pair of all merges until there is none. */
typedef struct Plain {
    InkGgufString *texts;
    InkGgufArray types, scores;
    uint32_t *order; /* what may be merged, by text */
    uint32_t *defined;
    uint32_t bytes[256];
    size_t n, n_order, n_defined;
    bool adds_space;
} Plain;

static const Plain *sorted; /* for qsort() */

static int compare_texts(InkGgufString a, InkGgufString b)
{
    int order = memcmp(a.text, b.text, a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes);
    return order != 0 ? order : (a.n_bytes > b.n_bytes) - (a.n_bytes < b.n_bytes);
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = compare_texts(sorted->texts[x], sorted->texts[y]);
    return order != 0 ? order : (x > y) - (x < y);
}

static void plain_open(Plain *p, const InkGguf *g)
{
    InkGgufArray texts;
    static const bool yes = true;
    size_t cursor = 0;
    *p = (Plain){0};
    assert_int_equal(ink_gguf_get_array(g, "tokenizer.ggml.tokens", INK_GGUF_STRING, &texts, NULL),
                     0);
    assert_int_equal(
        ink_gguf_get_array(g, "tokenizer.ggml.token_type", INK_GGUF_I32, &p->types, NULL), 0);
    assert_int_equal(ink_gguf_get_array(g, "tokenizer.ggml.scores", INK_GGUF_F32, &p->scores, NULL),
                     0);
    assert_int_equal(
        ink_gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &yes, &p->adds_space, NULL), 0);
    p->n = texts.n;
    p->texts = calloc(p->n, sizeof(InkGgufString));
    p->order = calloc(p->n, sizeof(uint32_t));
    p->defined = calloc(p->n, sizeof(uint32_t));
    assert_true(p->texts != NULL && p->order != NULL && p->defined != NULL);
    for (uint32_t i = 0; i < p->n; i++) {
        InkGgufString text = p->texts[i] = ink_gguf_array_next_string(&texts, &cursor);
        int64_t type = ink_gguf_array_int(&p->types, i);
        if (type == 1 || type == 4)
            p->order[p->n_order++] = i;
        if (type == 4)
            p->defined[p->n_defined++] = i;
        else if (type == 6)
            p->bytes[strtoul((char[]){text.text[3], text.text[4], 0}, NULL, 16)] = i;
    }
    sorted = p;
    qsort(p->order, p->n_order, sizeof(uint32_t), compare_ids);
}

static void plain_done(Plain *p)
{
    free(p->texts);
    free(p->order);
    free(p->defined);
}

static uint32_t plain_find(const Plain *p, const char *text, size_t n_bytes)
{
    size_t low = 0, high = p->n_order;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_texts(p->texts[p->order[middle]], (InkGgufString){text, n_bytes}) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < p->n_order &&
                 compare_texts(p->texts[p->order[low]], (InkGgufString){text, n_bytes}) == 0;
    return found ? p->order[low] : INK_TOKEN_NONE;
}

/* `text`: with marks for spaces, valid UTF-8. pairs[i]: what parts i and i + 1 make. */
static void plain_merge(const Plain *p, const char *text, size_t n_bytes, InkTokens *out)
{
    size_t starts[2048], n = 0;
    uint32_t pairs[2048];
    for (size_t i = 0; i < n_bytes; i++)
        if (((uint8_t)text[i] & 0xC0) != 0x80)
            starts[n++] = i;
    starts[n] = n_bytes;
    for (size_t i = 0; i + 1 < n; i++)
        pairs[i] = plain_find(p, text + starts[i], starts[i + 2] - starts[i]);
    for (;;) {
        size_t best = SIZE_MAX;
        float best_score = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            float score = pairs[i] != INK_TOKEN_NONE ? ink_gguf_array_f32(&p->scores, pairs[i]) : 0;
            if (pairs[i] != INK_TOKEN_NONE && (best == SIZE_MAX || score > best_score)) {
                best = i;
                best_score = score;
            }
        }
        if (best == SIZE_MAX)
            break;
        memmove(&starts[best + 1], &starts[best + 2], (n - best - 1) * sizeof(starts[0]));
        memmove(&pairs[best], &pairs[best + 1], (n - best - 1) * sizeof(pairs[0]));
        n--;
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++)
            pairs[i] = plain_find(p, text + starts[i], starts[i + 2] - starts[i]);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t id = plain_find(p, text + starts[i], starts[i + 1] - starts[i]);
        for (size_t at = starts[i]; id == INK_TOKEN_NONE && at < starts[i + 1]; at++)
            assert_int_equal(ink_tokens_push(out, p->bytes[(uint8_t)text[at]]), 0);
        if (id != INK_TOKEN_NONE)
            assert_int_equal(ink_tokens_push(out, id), 0);
    }
}

static void plain_stretch(const Plain *p, const char *text, size_t n_bytes, InkTokens *out)
{
    char marked[2048];
    size_t n = 0;
    if (n_bytes == 0)
        return;
    if (p->adds_space) {
        memcpy(marked, MARK, 3);
        n = 3;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        size_t n_put = text[i] == ' ' ? 3 : 1;
        memcpy(marked + n, text[i] == ' ' ? MARK : &text[i], n_put);
        n += n_put;
    }
    plain_merge(p, marked, n, out);
}

static void plain_encode(const Plain *p, const char *text, size_t n_bytes, InkTokens *out)
{
    size_t pending = 0, at = 0;
    while (at < n_bytes) {
        uint32_t longest = INK_TOKEN_NONE;
        for (size_t i = 0; i < p->n_defined; i++) {
            InkGgufString t = p->texts[p->defined[i]];
            if (t.n_bytes != 0 && t.n_bytes <= n_bytes - at &&
                memcmp(t.text, text + at, t.n_bytes) == 0 &&
                (longest == INK_TOKEN_NONE || t.n_bytes > p->texts[longest].n_bytes))
                longest = p->defined[i];
        }
        if (longest == INK_TOKEN_NONE) {
            at++;
            continue;
        }
        plain_stretch(p, text + pending, at - pending, out);
        assert_int_equal(ink_tokens_push(out, longest), 0);
        pending = at += p->texts[longest].n_bytes;
    }
    plain_stretch(p, text + pending, n_bytes - pending, out);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * 0x2545F4914F6CDD1Du >> 20;
}

/* Tokens of the vocabulary cut and joined, so that much can merge, and characters of all planes. */
static size_t random_text(const Plain *p, uint64_t *seed, char *text, size_t room)
{
    size_t n = 0, n_parts = 1 + next_random(seed) % 12;
    for (size_t i = 0; i < n_parts; i++) {
        InkGgufString part = p->texts[next_random(seed) % p->n];
        uint32_t kind = (uint32_t)(next_random(seed) % 8);
        if (kind == 0) {
            char character[4];
            uint32_t plane = (uint32_t)(next_random(seed) % 4);
            uint32_t code_point = (uint32_t)(next_random(seed) % (plane == 0   ? 0x250
                                                                  : plane == 1 ? 0xD800
                                                                  : plane == 2 ? 0x20000
                                                                               : 0x110000));
            size_t n_bytes = ink_utf8_encode(code_point, character);
            memcpy(text + n, character, n_bytes);
            n += n_bytes;
        } else if (kind == 1) {
            size_t n_spaces = 1 + next_random(seed) % 5;
            memset(text + n, " \n\t "[next_random(seed) % 4], n_spaces);
            n += n_spaces;
        } else if (n + part.n_bytes + 8 < room && part.n_bytes < 100 &&
                   ink_utf8_valid(part.text, part.n_bytes)) {
            memcpy(text + n, part.text, part.n_bytes);
            n += part.n_bytes;
        }
    }
    return n;
}

static void compare_with_plain(const Opened *o, size_t n_strings)
{
    Plain p;
    uint64_t seed = 0x1234567;
    plain_open(&p, o->gguf);
    for (size_t i = 0; i < n_strings; i++) {
        char text[512];
        _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT, wanted = INK_TOKENS_INIT;
        InkTextSpan span = {text, random_text(&p, &seed, text, 400), false};
        plain_encode(&p, text, span.n_bytes, &wanted);
        assert_int_equal(ink_tokenizer_encode(o->tokenizer, &span, 1, &ids, NULL), 0);
        if (ids.n != wanted.n ||
            (ids.n != 0 && memcmp(ids.ids, wanted.ids, ids.n * sizeof(uint32_t)) != 0))
            fail_msg("string %zu differs: %.*s", i, (int)span.n_bytes, text);
    }
    plain_done(&p);
}

static size_t n_compared(size_t n)
{
    return getenv("INKLING_TEST_FULL") != NULL ? 100000 : n;
}

/* Short words over three letters and a mark, with few different scores: ties and rivals all over.
 */
static void build_random(InkBuffer *b, uint64_t *seed)
{
    enum { N = 60 };
    build_header(b, 3, 0, 5);
    build_key_text(b, "tokenizer.ggml.model", "llama");
    build_key_array(b, "tokenizer.ggml.tokens", INK_GGUF_STRING, 256 + N);
    for (uint32_t i = 0; i < 256; i++) {
        char byte[8];
        snprintf(byte, sizeof(byte), "<0x%02X>", i);
        build_text(b, byte);
    }
    build_text(b, MARK); /* without it a space is its byte here, the bytes of the mark elsewhere */
    for (size_t i = 1; i < N; i++) {
        char text[32] = "";
        for (size_t k = 0, n = 1 + next_random(seed) % 5; k < n; k++)
            strcat(text, (const char *const[]){"a", "b", "\xC3\xA9", MARK}[next_random(seed) % 4]);
        build_text(b, text);
    }
    build_key_array(b, "tokenizer.ggml.token_type", INK_GGUF_I32, 256 + N);
    for (size_t i = 0; i < 256 + N; i++)
        build_u32(b, i < 256 ? 6 : 1);
    build_key_array(b, "tokenizer.ggml.scores", INK_GGUF_F32, 256 + N);
    for (size_t i = 0; i < 256 + N; i++) {
        float score = -(float)(next_random(seed) % 8);
        ink_buffer_append(b, &score, sizeof(score));
    }
    build_key(b, "tokenizer.ggml.add_space_prefix", INK_GGUF_BOOL);
    build_u8(b, next_random(seed) % 2);
}

static void test_spm_models_random_vocabularies_equal_a_plain_merger(void **state)
{
    (void)state;
    uint64_t seed = 99;
    for (size_t i = 0; i < 40; i++) {
        Opened o = {0};
        build_random(&o.bytes, &seed);
        assert_int_equal(ink_gguf_open(o.bytes.data, o.bytes.size_bytes, &o.gguf, NULL), 0);
        assert_int_equal(ink_tokenizer_new(o.gguf, &o.tokenizer, NULL), 0);
        compare_with_plain(&o, n_compared(4000) / 40);
        opened_done(&o);
    }
}

/* ------------------------------------------------------------------ real files */

static void open_gemma(Opened *o)
{
    open_model(o, "INKLING_TEST_MODEL_GEMMA", "gemma-3-270m-q4_k_m.gguf");
}

static void test_spm_models_gemma_equals_sentencepiece(void **state)
{
    (void)state;
    Opened o;
    open_gemma(&o);
    check_golden(o.tokenizer, "gemma3-tokenizer-golden.json");
    compare_with_plain(&o, n_compared(500));
    opened_done(&o);
}

static void test_spm_models_gemma_round_trips(void **state)
{
    (void)state;
    Opened o;
    open_gemma(&o);
    check_round_trip(o.tokenizer);
    assert_int_equal(ink_tokenizer_n_vocab(o.tokenizer), 262144);
    assert_int_equal(ink_tokenizer_bos(o.tokenizer), 2);
    assert_int_equal(ink_tokenizer_eos(o.tokenizer), 1);
    assert_true(ink_tokenizer_adds_bos(o.tokenizer));
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, 1));
    assert_true(ink_tokenizer_ends_generation(o.tokenizer, 106));  /* <end_of_turn> */
    assert_false(ink_tokenizer_ends_generation(o.tokenizer, 212)); /* </s>, of HTML here */
    opened_done(&o);
}

/* The conformance sets are held against their ids by test-tokenizer.c. */
static void test_spm_models_vectors_equal_a_plain_merger(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-spm", "phi-3"};
    const char *folder = getenv("INKLING_VECTORS_DIR");
    if (folder == NULL || folder[0] == '\0') {
        print_message("no vectors: set INKLING_VECTORS_DIR\n");
        skip();
    }
    for (size_t i = 0; i < 2; i++) {
        Opened o;
        char path[4096];
        snprintf(path, sizeof(path), "%s/ggml-vocab-%s.gguf", folder, names[i]);
        open_file(&o, path);
        compare_with_plain(&o, n_compared(500));
        check_round_trip(o.tokenizer);
        opened_done(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spm_models_random_vocabularies_equal_a_plain_merger),
        cmocka_unit_test(test_spm_models_gemma_equals_sentencepiece),
        cmocka_unit_test(test_spm_models_gemma_round_trips),
        cmocka_unit_test(test_spm_models_vectors_equal_a_plain_merger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
