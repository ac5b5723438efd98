/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The default model against float32 arithmetic (tests/data/make-model-golden.py): top-1 agreement,
 * Kullback-Leibler divergence, greedy text and perplexity, for every kernel set of this machine.
 * The slow plain C set does a part of the work unless INKLING_TEST_FULL=1. */
#include "engine/session.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A miss is a near tie when the reference's best two are closer than this in log-probability: the
 * activations are rounded to 8 bits, and that is what the rounding moves a logit by. */
#define NEAR_TIE              0.3
#define LEAST_AGREEMENT       0.98
#define MOST_MEAN_KL          0.01
#define MOST_PERPLEXITY_ERROR 0.005

typedef struct Golden {
    json_t *json;
    uint8_t *data;
    size_t n;
    size_t k;
    const uint16_t *ids; /* n + 1 */
    size_t stride_bytes;
    const uint8_t *positions;
} Golden;

static Golden golden;
static int model_fd = -1;

static void data_path(const char *name, char path[4096])
{
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, 4096, "%s/tests/data/%s", root != NULL ? root : ".", name);
}

static int open_model(void)
{
    char path[4096];
    const char *given = getenv("INKLING_TEST_MODEL"), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME"), *name = "inkling/models/smollm2-135m-instruct-q4_1.gguf";
    if (given != NULL && given[0] != '\0')
        return open(given, O_RDONLY | O_CLOEXEC);
    if (data != NULL && data[0] == '/')
        snprintf(path, sizeof(path), "%s/%s", data, name);
    else
        snprintf(path, sizeof(path), "%s/.local/share/%s", home != NULL ? home : "", name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int setup(void **state)
{
    (void)state;
    char path[4096];
    data_path("model-golden.json", path);
    golden.json = json_load_file(path, 0, NULL);
    data_path("model-golden.bin", path);
    FILE *file = fopen(path, "rb");
    golden.data = malloc(1 << 20);
    if (golden.json == NULL || file == NULL || golden.data == NULL)
        return -1;
    size_t n_bytes = fread(golden.data, 1, 1 << 20, file);
    fclose(file);
    uint32_t sizes[2];
    if (n_bytes < 16 || memcmp(golden.data, "INKGOLD1", 8) != 0)
        return -1;
    memcpy(sizes, golden.data + 8, 8);
    golden.n = sizes[0];
    golden.k = sizes[1];
    golden.ids = (const uint16_t *)(const void *)(golden.data + 16);
    golden.positions = golden.data + 16 + (golden.n + 1) * 2;
    golden.stride_bytes = 4 + golden.k * 6;
    model_fd = open_model();
    return n_bytes == 16 + (golden.n + 1) * 2 + golden.n * golden.stride_bytes ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(golden.json);
    free(golden.data);
    if (model_fd >= 0)
        close(model_fd);
    return 0;
}

static void need_model(void)
{
    if (model_fd >= 0)
        return;
    if (getenv("CI") != NULL)
        fail_msg("no model: set INKLING_TEST_MODEL");
    skip();
}

static bool slow(const char *isa)
{
    return strcmp(isa, "ref") == 0 && getenv("INKLING_TEST_FULL") == NULL;
}

/* NULL when this machine lacks the kernel set. */
static InkEngine *open_engine(const char *isa)
{
    InkEngine *e = NULL;
    InkError error = {0};
    InkEngineOptions options = {.isa = isa, .pack_cache_fd = -1};
    int r = ink_engine_open(model_fd, &options, &e, &error);
    if (r < 0) {
        print_message("%s: %s\n", isa, error.message);
        assert_true(r == -EINVAL || r == -EOPNOTSUPP);
        assert_string_not_equal(isa, "ref");
    }
    return e;
}

static double log_sum(const float *logits, size_t n)
{
    double max = logits[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return max + log(sum);
}

static uint32_t best_of(const float *logits, size_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

typedef struct Score {
    size_t n_positions, n_equal;
    double widest_miss, kl_sum, kl_max;
} Score;

/* Position `at`: KL over the k best of the reference, with all other tokens as one. */
static void score_position(size_t at, const float *logits, size_t n_vocab, Score *score)
{
    const uint8_t *p = golden.positions + at * golden.stride_bytes;
    float rest_log, first, second;
    memcpy(&rest_log, p, 4);
    const uint8_t *ids = p + 4, *values = p + 4 + golden.k * 2;
    double norm = log_sum(logits, n_vocab), rest = 1.0, kl = 0;
    for (size_t i = 0; i < golden.k; i++) {
        uint16_t id;
        float logp;
        memcpy(&id, ids + 2 * i, 2);
        memcpy(&logp, values + 4 * i, 4);
        double ours = logits[id] - norm;
        kl += exp(logp) * (logp - ours);
        rest -= exp(ours);
    }
    kl += exp(rest_log) * (rest_log - log(rest > 1e-12 ? rest : 1e-12));
    memcpy(&first, values, 4);
    memcpy(&second, values + 4, 4);
    uint16_t best;
    memcpy(&best, ids, 2);
    score->n_positions++;
    score->kl_sum += kl;
    score->kl_max = kl > score->kl_max ? kl : score->kl_max;
    if (best_of(logits, n_vocab) == best)
        score->n_equal++;
    else if (first - second > score->widest_miss)
        score->widest_miss = first - second;
}

/* Steps through ids[0..n) in one session and hands each row of logits to `row`. */
static void teacher_force(InkEngine *e, const uint32_t *ids, size_t n,
                          void (*row)(size_t at, const float *logits, size_t n_vocab,
                                      void *userdata),
                          void *userdata)
{
    enum { CHUNK = 32 };
    InkError error = {0};
    size_t n_vocab = ink_engine_info(e)->n_vocab;
    _cleanup_(ink_session_free_p) InkSession *s = NULL;
    assert_int_equal(ink_session_new(e, n, &s, &error), 0);
    for (size_t at = 0; at < n; at += CHUNK) {
        InkStepRow rows[CHUNK];
        size_t n_rows = n - at < CHUNK ? n - at : CHUNK;
        for (size_t i = 0; i < n_rows; i++)
            rows[i] = (InkStepRow){.session = s, .token = ids[at + i], .wants_logits = true};
        int r = ink_engine_step(e, rows, n_rows, NULL, NULL, &error);
        if (r < 0)
            print_message("%s\n", error.message);
        assert_int_equal(r, 0);
        for (size_t i = 0; i < n_rows; i++)
            row(at + i, rows[i].logits, n_vocab, userdata);
    }
}

static void score_row(size_t at, const float *logits, size_t n_vocab, void *userdata)
{
    score_position(at, logits, n_vocab, userdata);
}

/* Prints the figures; all sets are measured before one fails the test. */
static bool check_positions(const char *isa)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(isa);
    if (e == NULL)
        return true;
    size_t n = slow(isa) ? 96 : golden.n;
    uint32_t *ids = calloc(n, sizeof(uint32_t));
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = golden.ids[i];
    Score score = {0};
    teacher_force(e, ids, n, score_row, &score);
    free(ids);
    double agreement = (double)score.n_equal / (double)score.n_positions;
    print_message(
        "%s: %zu positions, top-1 agreement %.2f %%, widest miss %.3f, KL mean %.5f max %.5f\n",
        isa, score.n_positions, 100 * agreement, score.widest_miss,
        score.kl_sum / (double)score.n_positions, score.kl_max);
    return agreement >= LEAST_AGREEMENT && score.widest_miss < NEAR_TIE &&
           score.kl_sum / (double)score.n_positions < MOST_MEAN_KL;
}

typedef struct Nll {
    const uint32_t *ids;
    size_t n, n_scored;
    double sum;
} Nll;

static void nll_row(size_t at, const float *logits, size_t n_vocab, void *userdata)
{
    Nll *nll = userdata;
    if (at + 1 == nll->n)
        return;
    nll->sum += log_sum(logits, n_vocab) - logits[nll->ids[at + 1]];
    nll->n_scored++;
}

static void check_perplexity(const char *isa)
{
    if (slow(isa))
        return; /* thousands of positions */
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(isa);
    if (e == NULL)
        return;
    json_t *about = json_object_get(golden.json, "perplexity");
    json_t *list = json_object_get(golden.json, "ids");
    size_t window = (size_t)json_integer_value(json_object_get(about, "window"));
    size_t n = json_array_size(list);
    uint32_t *ids = calloc(n, sizeof(uint32_t));
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    Nll all = {0};
    for (size_t at = 0; at + 1 < n; at += window) {
        Nll nll = {.ids = ids + at, .n = n - at < window ? n - at : window};
        teacher_force(e, nll.ids, nll.n, nll_row, &nll);
        all.sum += nll.sum;
        all.n_scored += nll.n_scored;
    }
    free(ids);
    double ours = exp(all.sum / (double)all.n_scored);
    double reference = json_number_value(json_object_get(about, "perplexity"));
    print_message("%s: perplexity %.4f, float32 %.4f (%+.3f %%) over %zu tokens\n", isa, ours,
                  reference, 100 * (ours / reference - 1), all.n_scored);
    assert_int_equal(all.n_scored, json_integer_value(json_object_get(about, "n_scored")));
    assert_true(fabs(ours / reference - 1) < MOST_PERPLEXITY_ERROR);
}

typedef struct Greedy {
    const json_t *ids, *margins;
    size_t n_prompt, n_equal, n_seen;
    double widest_miss;
} Greedy;

static void greedy_row(size_t at, const float *logits, size_t n_vocab, void *userdata)
{
    Greedy *g = userdata;
    if (at + 1 < g->n_prompt)
        return;
    size_t i = at + 1 - g->n_prompt;
    double margin = json_number_value(json_array_get(g->margins, i));
    g->n_seen++;
    if (best_of(logits, n_vocab) == json_integer_value(json_array_get(g->ids, i)))
        g->n_equal++;
    else if (margin > g->widest_miss)
        g->widest_miss = margin;
}

/* Along the reference's own text, so that one near tie does not end the comparison. */
static void check_greedy(const char *isa)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(isa);
    if (e == NULL)
        return;
    json_t *list = json_object_get(golden.json, "greedy");
    size_t n_seen = 0, n_equal = 0;
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *one = json_array_get(list, k), *prompt = json_object_get(one, "prompt_ids");
        Greedy g = {.ids = json_object_get(one, "ids"),
                    .margins = json_object_get(one, "margins"),
                    .n_prompt = json_array_size(prompt)};
        uint32_t ids[256];
        size_t n = 0, n_new = slow(isa) ? 16 : json_array_size(g.ids);
        assert_true(g.n_prompt + n_new < 256);
        for (; n < g.n_prompt; n++)
            ids[n] = (uint32_t)json_integer_value(json_array_get(prompt, n));
        for (size_t i = 0; i + 1 < n_new; i++)
            ids[n++] = (uint32_t)json_integer_value(json_array_get(g.ids, i));
        teacher_force(e, ids, n, greedy_row, &g);
        assert_true(g.widest_miss < NEAR_TIE);
        n_seen += g.n_seen;
        n_equal += g.n_equal;
    }
    print_message("%s: %zu of %zu greedy tokens are the reference's\n", isa, n_equal, n_seen);
    assert_true((double)n_equal >= 0.95 * (double)n_seen);
}

static const char *const sets[] = {"ref", "avx2", "avx512"};

static void test_golden_positions(void **state)
{
    (void)state;
    need_model();
    bool good = true;
    for (size_t i = 0; i < 3; i++)
        good = check_positions(sets[i]) && good;
    assert_true(good);
}

static void test_golden_perplexity(void **state)
{
    (void)state;
    need_model();
    for (size_t i = 0; i < 3; i++)
        check_perplexity(sets[i]);
}

static void test_golden_greedy_text(void **state)
{
    (void)state;
    need_model();
    for (size_t i = 0; i < 3; i++)
        check_greedy(sets[i]);
}

/* The reference's ids come from transformers' tokenizer. */
static void test_golden_text_has_the_same_tokens(void **state)
{
    (void)state;
    need_model();
    char path[4096], *text = malloc(1 << 16);
    data_path("public-domain.txt", path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_non_null(text);
    size_t n_bytes = fread(text, 1, 1 << 16, file);
    fclose(file);
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine("ref");
    InkTextSpan span = {text, n_bytes, false};
    InkTokens tokens = INK_TOKENS_INIT;
    assert_int_equal(ink_tokenizer_encode(ink_engine_tokenizer(e), &span, 1, &tokens, NULL), 0);
    json_t *list = json_object_get(golden.json, "ids");
    assert_int_equal(tokens.n, json_array_size(list));
    for (size_t i = 0; i < tokens.n; i++)
        assert_int_equal(tokens.ids[i], json_integer_value(json_array_get(list, i)));
    ink_tokens_done(&tokens);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_positions),
        cmocka_unit_test(test_golden_perplexity),
        cmocka_unit_test(test_golden_greedy_text),
        cmocka_unit_test(test_golden_text_has_the_same_tokens),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
