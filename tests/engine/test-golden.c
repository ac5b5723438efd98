/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Real models against float32 arithmetic (tests/data/make-model-golden.py): top-1 agreement,
 * Kullback-Leibler divergence, greedy text and perplexity, for every kernel set of this machine.
 * The slow plain C set does a part of the work unless INKLING_TEST_FULL=1. Of Gemma 3 also that the
 * window of its local layers is what makes positions beyond it agree. */
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
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/kernels/kernels.h"

/* A miss is a near tie when the reference's best two are closer than this in log-probability: the
 * activations are rounded to 8 bits, and that is what the rounding moves a logit by. */
#define NEAR_TIE        0.3
#define LEAST_AGREEMENT 0.98
#define MOST_MEAN_KL    0.01

/* One model: where its files are, and how good it must be. */
typedef struct Subject {
    const char *golden_name;
    const char *environment;
    const char *file_name;
    bool large; /* the slower kernel sets do a smaller part of the work */
    double most_perplexity_error;
} Subject;

static Subject smollm2 = {"model-golden", "INKLING_TEST_MODEL", "smollm2-135m-instruct-q4_1.gguf",
                          false, 0.005};
static Subject gemma3 = {"gemma3-golden", "INKLING_TEST_MODEL_GEMMA", "gemma-3-270m-q4_k_m.gguf",
                         true, 0.002};

typedef struct Golden {
    json_t *json;
    uint8_t *data;
    size_t n_ids;
    size_t n; /* positions */
    size_t k;
    const uint32_t *ids;
    size_t stride_bytes;
    const uint8_t *positions;
} Golden;

static const Subject *subject;
static Golden golden;
static int model_fd = -1;
static int packed_fd = -1; /* the weights are packed once for all engines of a model */

static void data_path(const char *name, char path[4096])
{
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, 4096, "%s/tests/data/%s", root != NULL ? root : ".", name);
}

static int open_model(void)
{
    char path[4096];
    const char *given = getenv(subject->environment), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (given != NULL && given[0] != '\0')
        return open(given, O_RDONLY | O_CLOEXEC);
    if (data != NULL && data[0] == '/')
        snprintf(path, sizeof(path), "%s/inkling/models/%s", data, subject->file_name);
    else
        snprintf(path, sizeof(path), "%s/.local/share/inkling/models/%s", home != NULL ? home : "",
                 subject->file_name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int setup(void)
{
    char path[4096], name[64];
    snprintf(name, sizeof(name), "%s.json", subject->golden_name);
    data_path(name, path);
    golden.json = json_load_file(path, 0, NULL);
    snprintf(name, sizeof(name), "%s.bin", subject->golden_name);
    data_path(name, path);
    FILE *file = fopen(path, "rb");
    golden.data = malloc(1 << 20);
    if (golden.json == NULL || file == NULL || golden.data == NULL)
        return -1;
    size_t n_bytes = fread(golden.data, 1, 1 << 20, file);
    fclose(file);
    uint32_t sizes[3];
    if (n_bytes < 20 || memcmp(golden.data, "INKGOLD2", 8) != 0)
        return -1;
    memcpy(sizes, golden.data + 8, sizeof(sizes));
    golden.n_ids = sizes[0];
    golden.n = sizes[1];
    golden.k = sizes[2];
    golden.ids = (const uint32_t *)(const void *)(golden.data + 20);
    golden.positions = golden.data + 20 + golden.n_ids * 4;
    golden.stride_bytes = 8 + golden.k * 8;
    model_fd = open_model();
    packed_fd = memfd_create("packed", MFD_CLOEXEC);
    return n_bytes == 20 + golden.n_ids * 4 + golden.n * golden.stride_bytes ? 0 : -1;
}

static int setup_smollm2(void **state)
{
    (void)state;
    subject = &smollm2;
    return setup();
}

static int setup_gemma3(void **state)
{
    (void)state;
    subject = &gemma3;
    return setup();
}

static int teardown(void **state)
{
    (void)state;
    json_decref(golden.json);
    free(golden.data);
    golden = (Golden){0};
    if (model_fd >= 0)
        close(model_fd);
    if (packed_fd >= 0)
        close(packed_fd);
    model_fd = packed_fd = -1;
    return 0;
}

static void need_model(void)
{
    if (model_fd >= 0)
        return;
    if (getenv("CI") != NULL)
        fail_msg("no model: set %s", subject->environment);
    skip();
}

static bool slow(const char *isa)
{
    bool watched = subject->large && getenv("INKLING_SANITIZED") != NULL;
    return (strcmp(isa, "ref") == 0 || watched) && getenv("INKLING_TEST_FULL") == NULL;
}

/* NULL when this machine lacks the kernel set. */
static InkEngine *open_engine_of(int fd, const char *isa, int pack_cache_fd)
{
    InkEngine *e = NULL;
    InkError error = {0};
    InkEngineOptions options = {
        .isa = isa, .pack_cache_fd = pack_cache_fd, .pack_cache_locked = true};
    int r = ink_engine_open(fd, &options, &e, &error);
    if (r < 0) {
        print_message("%s: %s\n", isa, error.message);
        assert_true(r == -EINVAL || r == -EOPNOTSUPP);
        assert_string_not_equal(isa, "ref");
    }
    return e;
}

/* Whether this set is the one that counts where there is time for one. */
static bool fastest(const char *isa)
{
    return strcmp(isa, ink_kernels_select(NULL)->name) == 0 || getenv("INKLING_TEST_FULL") != NULL;
}

/* NULL also where it is left to the tests of the kernels. */
static InkEngine *open_engine(const char *isa)
{
    bool watched = subject->large && getenv("INKLING_SANITIZED") != NULL;
    if (watched && isa != NULL && !fastest(isa))
        return NULL;
    return open_engine_of(model_fd, isa, packed_fd);
}

static double log_sum(const float *logits, size_t n)
{
    double max = logits[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += logits[i] > max - 30 ? exp(logits[i] - max) : 0; /* together below 1e-7 */
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
    size_t next; /* position of the golden file that comes next */
    size_t end;
    size_t n_positions, n_equal, n_far;
    double widest_miss, kl_sum, kl_max, kl_near_sum, kl_far_sum;
} Score;

/* Positions from here on do not see the whole text in a local layer. */
#define FAR 512

static uint32_t golden_position(size_t i)
{
    uint32_t position;
    memcpy(&position, golden.positions + i * golden.stride_bytes, sizeof(position));
    return position;
}

/* KL over the k best of the reference, with all other tokens as one. */
static void score_position(size_t index, const float *logits, size_t n_vocab, Score *score)
{
    const uint8_t *p = golden.positions + index * golden.stride_bytes;
    float rest_log, first, second;
    memcpy(&rest_log, p + 4, 4);
    const uint8_t *ids = p + 8, *values = p + 8 + golden.k * 4;
    double norm = log_sum(logits, n_vocab), rest = 1.0, kl = 0;
    for (size_t i = 0; i < golden.k; i++) {
        uint32_t id;
        float logp;
        memcpy(&id, ids + 4 * i, 4);
        memcpy(&logp, values + 4 * i, 4);
        double ours = logits[id] - norm;
        kl += exp(logp) * (logp - ours);
        rest -= exp(ours);
    }
    kl += exp(rest_log) * (rest_log - log(rest > 1e-12 ? rest : 1e-12));
    memcpy(&first, values, 4);
    memcpy(&second, values + 4, 4);
    uint32_t best;
    memcpy(&best, ids, 4);
    score->n_positions++;
    bool far = golden_position(index) >= FAR;
    score->n_far += far;
    *(far ? &score->kl_far_sum : &score->kl_near_sum) += kl;
    score->kl_sum += kl;
    score->kl_max = kl > score->kl_max ? kl : score->kl_max;
    if (best_of(logits, n_vocab) == best)
        score->n_equal++;
    else if (first - second > score->widest_miss)
        score->widest_miss = first - second;
}

typedef bool WantsFn(size_t at, const void *userdata);
typedef void RowFn(size_t at, const float *logits, size_t n_vocab, void *userdata);

/* Steps through ids[0..n) in one session and hands the rows of logits that are wanted to `row`. */
static void teacher_force(InkEngine *e, const uint32_t *ids, size_t n, WantsFn *wants, RowFn *row,
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
            rows[i] = (InkStepRow){.session = s,
                                   .token = ids[at + i],
                                   .wants_logits = wants == NULL || wants(at + i, userdata)};
        int r = ink_engine_step(e, rows, n_rows, NULL, NULL, &error);
        if (r < 0)
            print_message("%s\n", error.message);
        assert_int_equal(r, 0);
        for (size_t i = 0; i < n_rows; i++)
            if (rows[i].logits != NULL)
                row(at + i, rows[i].logits, n_vocab, userdata);
    }
}

static bool wants_position(size_t at, const void *userdata)
{
    const Score *score = userdata;
    for (size_t i = score->next; i < score->end && golden_position(i) <= at; i++)
        if (golden_position(i) == at)
            return true;
    return false;
}

static void score_row(size_t at, const float *logits, size_t n_vocab, void *userdata)
{
    Score *score = userdata;
    assert_int_equal(golden_position(score->next), at);
    score_position(score->next++, logits, n_vocab, score);
}

/* The first n positions of the golden file. */
static Score score_positions(InkEngine *e, const char *name, size_t n)
{
    Score score = {.end = n};
    teacher_force(e, golden.ids, golden_position(n - 1) + 1, wants_position, score_row, &score);
    assert_int_equal(score.n_positions, n);
    print_message(
        "%s: %zu positions, top-1 agreement %.2f %%, widest miss %.3f, KL mean %.5f max %.5f\n",
        name, n, 100 * (double)score.n_equal / (double)n, score.widest_miss,
        score.kl_sum / (double)n, score.kl_max);
    return score;
}

static size_t n_slow_positions(void)
{
    return subject->large ? 16 : 96;
}

/* Prints the figures; all sets are measured before one fails the test. */
static bool check_positions(const char *isa)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(isa);
    if (e == NULL)
        return true;
    Score score = score_positions(e, isa, slow(isa) ? n_slow_positions() : golden.n);
    double agreement = (double)score.n_equal / (double)score.n_positions;
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
    if (slow(isa) || (subject->large && !fastest(isa)))
        return; /* thousands of positions */
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(isa);
    if (e == NULL)
        return;
    json_t *about = json_object_get(golden.json, "perplexity");
    json_t *list = json_object_get(golden.json, "ids");
    size_t window = (size_t)json_integer_value(json_object_get(about, "window"));
    json_t *prefix = json_object_get(golden.json, "prefix");
    size_t n = (size_t)json_integer_value(json_object_get(about, "n_tokens"));
    size_t n_prefix = json_array_size(prefix);
    uint32_t *ids = calloc(n_prefix + window, sizeof(uint32_t));
    assert_non_null(ids);
    for (size_t i = 0; i < n_prefix; i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(prefix, i));
    Nll all = {0};
    for (size_t at = 0; at + 1 < n; at += window) {
        size_t n_window = n - at < window ? n - at : window;
        for (size_t i = 0; i < n_window; i++)
            ids[n_prefix + i] = (uint32_t)json_integer_value(json_array_get(list, at + i));
        Nll nll = {.ids = ids, .n = n_prefix + n_window};
        teacher_force(e, nll.ids, nll.n, NULL, nll_row, &nll);
        all.sum += nll.sum;
        all.n_scored += nll.n_scored;
    }
    free(ids);
    double ours = exp(all.sum / (double)all.n_scored);
    double reference = json_number_value(json_object_get(about, "perplexity"));
    print_message("%s: perplexity %.4f, float32 %.4f (%+.3f %%) over %zu tokens\n", isa, ours,
                  reference, 100 * (ours / reference - 1), all.n_scored);
    assert_int_equal(all.n_scored, json_integer_value(json_object_get(about, "n_scored")));
    assert_true(fabs(ours / reference - 1) < subject->most_perplexity_error);
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
        size_t n = 0, n_new = slow(isa) ? n_slow_positions() / 6 : json_array_size(g.ids);
        assert_true(g.n_prompt + n_new < 256);
        for (; n < g.n_prompt; n++)
            ids[n] = (uint32_t)json_integer_value(json_array_get(prompt, n));
        for (size_t i = 0; i + 1 < n_new; i++)
            ids[n++] = (uint32_t)json_integer_value(json_array_get(g.ids, i));
        teacher_force(e, ids, n, NULL, greedy_row, &g);
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

/* The model with another window, in memory: the number lies behind the key and 4 bytes of type. */
static int copy_with_window(uint32_t window)
{
    static const char key[] = "gemma3.attention.sliding_window";
    struct stat st;
    off_t from = 0;
    assert_int_equal(fstat(model_fd, &st), 0);
    size_t n_bytes = (size_t)st.st_size;
    int fd = memfd_create("window", MFD_CLOEXEC);
    assert_true(fd >= 0);
    while ((size_t)from < n_bytes)
        assert_true(sendfile(fd, model_fd, &from, n_bytes - (size_t)from) > 0);
    uint8_t *map = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    uint8_t *at = memmem(map, n_bytes, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + 4, &window, sizeof(window));
    munmap(map, n_bytes);
    return fd;
}

/* With its window the far positions are as near to the reference as the others are; without it
 * they are not, and the others are the same as before. */
static void test_golden_window_is_what_far_positions_need(void **state)
{
    (void)state;
    need_model();
    if (slow("best"))
        skip();
    Score with, without;
    {
        _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(NULL);
        with = score_positions(e, "window of 512", golden.n);
    }
    {
        _cleanup_close_ int fd = copy_with_window(1 << 15);
        _cleanup_(ink_engine_close_p) InkEngine *e = open_engine_of(fd, NULL, -1);
        without = score_positions(e, "no window", golden.n);
    }
    double far_with = with.kl_far_sum / (double)with.n_far;
    double far_without = without.kl_far_sum / (double)without.n_far;
    print_message("KL of %zu far positions: %.5f, without the window %.5f\n", with.n_far, far_with,
                  far_without);
    assert_true(with.n_far > 100 && with.n_positions - with.n_far > 100);
    assert_true(far_with < MOST_MEAN_KL);
    assert_true(far_without > 10 * MOST_MEAN_KL);
    assert_true(with.kl_near_sum == without.kl_near_sum);
}

/* A base model has no chat template: the refusal says what helps. */
static void test_golden_base_model_does_not_chat(void **state)
{
    (void)state;
    need_model();
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(NULL);
    const InkMessage message = {"user", "Hello", 5};
    InkTokens tokens = INK_TOKENS_INIT;
    InkError error = {0};
    assert_false(ink_engine_info(e)->has_template);
    assert_int_equal(ink_engine_encode_chat(e, &message, 1, true, &tokens, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "base model"));
    assert_int_equal(tokens.n, 0);
    ink_tokens_done(&tokens);
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
    _cleanup_(ink_engine_close_p) InkEngine *e = open_engine(NULL);
    InkTokens tokens = INK_TOKENS_INIT;
    assert_int_equal(ink_engine_encode_prompt(e, text, n_bytes, &tokens, NULL), 0);
    json_t *prefix = json_object_get(golden.json, "prefix");
    json_t *list = json_object_get(golden.json, "ids");
    size_t n_prefix = json_array_size(prefix);
    assert_int_equal(tokens.n, n_prefix + json_array_size(list));
    for (size_t i = 0; i < tokens.n; i++) {
        json_t *id = i < n_prefix ? json_array_get(prefix, i) : json_array_get(list, i - n_prefix);
        assert_int_equal(tokens.ids[i], json_integer_value(id));
    }
    ink_tokens_done(&tokens);
    free(text);
}

int main(void)
{
    const struct CMUnitTest of_smollm2[] = {
        cmocka_unit_test(test_golden_positions),
        cmocka_unit_test(test_golden_perplexity),
        cmocka_unit_test(test_golden_greedy_text),
        cmocka_unit_test(test_golden_text_has_the_same_tokens),
    };
    const struct CMUnitTest of_gemma3[] = {
        cmocka_unit_test(test_golden_positions),
        cmocka_unit_test(test_golden_perplexity),
        cmocka_unit_test(test_golden_greedy_text),
        cmocka_unit_test(test_golden_text_has_the_same_tokens),
        cmocka_unit_test(test_golden_window_is_what_far_positions_need),
        cmocka_unit_test(test_golden_base_model_does_not_chat),
    };
    int r = cmocka_run_group_tests_name("smollm2", of_smollm2, setup_smollm2, teardown);
    return cmocka_run_group_tests_name("gemma3", of_gemma3, setup_gemma3, teardown) + r;
}
