/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Random toy models against the logits that transformers computed for them, at all positions
 * (tests/data/make-toy-model.py), and the bits of logits against every way to compute them (D1). */

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/kernels/kernels.h"
#include "engine/session.h"

/* F32 weights: sums in another order only (the reference rounds keys and values to f16 as we do).
 */
#define TOLERANCE_F32       2e-4f
/* Inputs of every matmul are rounded to 8 bits: 1/254 of the largest of 32, through three layers
 * and the head, on logits of a few units. Weights are exact, the reference has them dequantised. */
#define TOLERANCE_QUANTISED 0.06f
#define PATH_BYTES          512

typedef struct Reference {
    uint32_t n_tokens;
    uint32_t n_vocab;
    uint32_t *tokens;
    float *logits; /* [n_tokens, n_vocab] */
} Reference;

static const char *data_path(char *path, const char *name)
{
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, PATH_BYTES, "%s/tests/data/%s", root != NULL ? root : ".", name);
    return path;
}

static Reference read_reference(const char *name)
{
    char path[PATH_BYTES];
    Reference r = {0};
    FILE *f = fopen(data_path(path, name), "rb");
    assert_non_null(f);
    assert_int_equal(fread(&r.n_tokens, sizeof(r.n_tokens), 1, f), 1);
    assert_int_equal(fread(&r.n_vocab, sizeof(r.n_vocab), 1, f), 1);
    assert_true(r.n_tokens >= 40 && r.n_tokens <= INK_MAX_STEP_ROWS && r.n_vocab == 131);
    r.tokens = calloc(r.n_tokens, sizeof(*r.tokens));
    r.logits = calloc((size_t)r.n_tokens * r.n_vocab, sizeof(*r.logits));
    assert_true(r.tokens != NULL && r.logits != NULL);
    assert_int_equal(fread(r.tokens, sizeof(*r.tokens), r.n_tokens, f), r.n_tokens);
    assert_int_equal(fread(r.logits, sizeof(*r.logits) * r.n_vocab, r.n_tokens, f), r.n_tokens);
    fclose(f);
    return r;
}

static void free_reference(Reference *r)
{
    free(r->tokens);
    free(r->logits);
}

static InkEngine *open_engine_fd(int fd, const char *name, const char *isa, size_t n_threads)
{
    assert_true(fd >= 0);
    const InkEngineOptions options = {
        .n_threads = n_threads, .isa = isa, .pack_cache_fd = -1, .max_kv_bytes = 4 << 20};
    InkEngine *e = NULL;
    InkError error = {0};
    if (ink_engine_open(fd, &options, &e, &error) < 0)
        fail_msg("%s: %s", name, error.message);
    close(fd);
    return e;
}

static InkEngine *open_engine(const char *name, const char *isa, size_t n_threads)
{
    char path[PATH_BYTES];
    return open_engine_fd(open(data_path(path, name), O_RDONLY | O_CLOEXEC), name, isa, n_threads);
}

static InkSession *new_session(InkEngine *e)
{
    InkSession *s = NULL;
    assert_int_equal(ink_session_new(e, 0, &s, NULL), 0);
    return s;
}

/* Appends tokens in one step and copies the logits of all of them. */
static void step_all(InkEngine *e, InkSession *s, const uint32_t *tokens, size_t n, float *logits)
{
    InkStepRow rows[INK_MAX_STEP_ROWS] = {0};
    size_t n_vocab = ink_engine_info(e)->n_vocab;
    for (size_t i = 0; i < n; i++)
        rows[i] = (InkStepRow){.session = s, .token = tokens[i], .wants_logits = true};
    InkError error = {0};
    if (ink_engine_step(e, rows, n, NULL, NULL, &error) != 0)
        fail_msg("step: %s", error.message);
    for (size_t i = 0; i < n; i++)
        memcpy(logits + i * n_vocab, rows[i].logits, n_vocab * sizeof(float));
}

/* The largest error of any logit; closes the engine. */
static float compare_engine(InkEngine *e, const char *name, const char *isa)
{
    char logits_name[64];
    snprintf(logits_name, sizeof(logits_name), "%s.logits", name);
    Reference r = read_reference(logits_name);
    assert_int_equal(ink_engine_info(e)->n_vocab, r.n_vocab);
    InkSession *s = new_session(e);
    size_t n = (size_t)r.n_tokens * r.n_vocab;
    float *logits = calloc(n, sizeof(*logits));
    assert_non_null(logits);
    step_all(e, s, r.tokens, r.n_tokens, logits);
    float worst = 0.0f, largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(logits[i]));
        worst = fmaxf(worst, fabsf(logits[i] - r.logits[i]));
        largest = fmaxf(largest, fabsf(r.logits[i]));
    }
    print_message("%s %s: largest error %.2e of logits up to %.2f\n", name, isa, (double)worst,
                  (double)largest);
    assert_true(largest > 1.0f);
    free(logits);
    ink_session_free(s);
    ink_engine_close(e);
    free_reference(&r);
    return worst;
}

static float compare_with_reference(const char *name, const char *isa)
{
    char model[64];
    snprintf(model, sizeof(model), "%s.gguf", name);
    return compare_engine(open_engine(model, isa, 2), name, isa);
}

static float compare_on_all_kernels(const char *name)
{
    float worst = 0.0f;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++)
        worst = fmaxf(worst, compare_with_reference(name, (*k)->name));
    return worst;
}

static void test_toy_model_untied_matches_transformers(void **state)
{
    (void)state;
    assert_true(compare_on_all_kernels("toy-llama") < TOLERANCE_F32);
}

static void test_toy_model_tied_padded_matches_transformers(void **state)
{
    (void)state;
    assert_true(compare_on_all_kernels("toy-llama-tied") < TOLERANCE_F32);
}

static void test_toy_model_quantised_matches_dequantised(void **state)
{
    (void)state;
    assert_true(compare_on_all_kernels("toy-llama-q") < TOLERANCE_QUANTISED);
}

/* Positions reach beyond the window of 20, and to both sides of its edge. */
static void test_toy_model_gemma3_matches_transformers(void **state)
{
    (void)state;
    assert_true(compare_on_all_kernels("toy-gemma3") < TOLERANCE_F32);
}

/* The file with one value behind a metadata key changed: the key, 4 bytes of type, the value. */
static InkEngine *open_changed(const char *name, const char *key, const void *value)
{
    char path[PATH_BYTES];
    int fd = open(data_path(path, name), O_RDONLY | O_CLOEXEC);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    size_t n_bytes = (size_t)st.st_size;
    uint8_t *copy = malloc(n_bytes), *at;
    assert_non_null(copy);
    assert_int_equal(read(fd, copy, n_bytes), n_bytes);
    close(fd);
    at = memmem(copy, n_bytes, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + 4, value, 4);
    fd = memfd_create("changed", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, copy, n_bytes), n_bytes);
    free(copy);
    return open_engine_fd(fd, name, NULL, 2);
}

/* Each of these is read: the file without it does not agree with transformers any more. */
static void test_toy_model_gemma3_depends_on_each_key(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t u32;
        float f32; /* where it is not 0 */
    } changes[] = {
        {"gemma3.attention.sliding_window", 19, 0},
        {"gemma3.attention.sliding_window", 21, 0},
        {"gemma3.attention.sliding_window", 0, 0},
        {"gemma3.attention.sliding_window_pattern", 2, 0},
        {"gemma3.attention.sliding_window_pattern", 6, 0},
        {"gemma3.rope.freq_base", 0, 50000.0f},
        {"gemma3.rope.freq_base_swa", 0, 400.0f},
        {"gemma3.rope.scaling.factor", 0, 1.0f},
        {"gemma3.attention.layer_norm_rms_epsilon", 0, 1e-2f},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        const void *value = &changes[i].u32;
        if (changes[i].f32 != 0)
            value = &changes[i].f32;
        InkEngine *e = open_changed("toy-gemma3.gguf", changes[i].key, value);
        float error = compare_engine(e, "toy-gemma3", changes[i].key);
        assert_true(error > 10 * TOLERANCE_F32);
    }
}

/* --- batch invariance (D1) --- */

#define N_PROMPT 150

static void make_prompt(uint32_t *tokens, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = (uint32_t)((i * 37 + seed * 11 + i * i % 19) % 100);
}

static void prompt_in_chunks(InkEngine *e, size_t chunk, float *logits)
{
    uint32_t tokens[N_PROMPT];
    size_t n_vocab = ink_engine_info(e)->n_vocab;
    make_prompt(tokens, N_PROMPT, 1);
    InkSession *s = new_session(e);
    for (size_t at = 0; at < N_PROMPT; at += chunk) {
        size_t n = N_PROMPT - at < chunk ? N_PROMPT - at : chunk;
        step_all(e, s, tokens + at, n, logits + at * n_vocab);
    }
    ink_session_free(s);
}

/* The same prompt between rows of three other sessions, all of different lengths and chunks. */
static void prompt_in_company(InkEngine *e, float *logits)
{
    enum { N_OTHERS = 3 };
    uint32_t tokens[N_PROMPT], other_tokens[N_PROMPT];
    InkSession *s = new_session(e), *others[N_OTHERS];
    size_t n_vocab = ink_engine_info(e)->n_vocab;
    make_prompt(tokens, N_PROMPT, 1);
    make_prompt(other_tokens, N_PROMPT, 9);
    for (size_t i = 0; i < N_OTHERS; i++)
        others[i] = new_session(e);
    for (size_t at = 0, round = 0; at < N_PROMPT; round++) {
        InkStepRow rows[INK_MAX_STEP_ROWS] = {0};
        size_t n = 0, own = 0, n_own = 0;
        for (size_t i = 0; i <= N_OTHERS; i++) {
            bool mine = i == round % (N_OTHERS + 1);
            InkSession *of = mine ? s : others[i == N_OTHERS ? round % (N_OTHERS + 1) : i];
            size_t wanted = mine ? 1 + round * 5 % 23 : 1 + (i + round) % 4;
            if (mine) {
                own = n;
                n_own = wanted = N_PROMPT - at < wanted ? N_PROMPT - at : wanted;
            }
            for (size_t k = 0; k < wanted; k++) {
                uint32_t token = mine ? tokens[at + k] : other_tokens[ink_session_length(of) + k];
                rows[n++] = (InkStepRow){.session = of, .token = token, .wants_logits = mine};
            }
        }
        InkError error = {0};
        if (ink_engine_step(e, rows, n, NULL, NULL, &error) != 0)
            fail_msg("step: %s", error.message);
        for (size_t k = 0; k < n_own; k++)
            memcpy(logits + (at + k) * n_vocab, rows[own + k].logits, n_vocab * sizeof(float));
        at += n_own;
    }
    for (size_t i = 0; i < N_OTHERS; i++)
        ink_session_free(others[i]);
    ink_session_free(s);
}

static void check_invariance(const char *model, const char *isa)
{
    static const size_t chunks[] = {1, 7, 64, 512};
    size_t n = 0;
    float *first = NULL, *logits = NULL;
    for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
        InkEngine *e = open_engine(model, isa, n_threads);
        n = N_PROMPT * ink_engine_info(e)->n_vocab;
        if (first == NULL) {
            first = calloc(n, sizeof(*first));
            logits = calloc(n, sizeof(*logits));
            assert_true(first != NULL && logits != NULL);
            prompt_in_chunks(e, 1, first);
        }
        for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
            memset(logits, 0, n * sizeof(*logits));
            prompt_in_chunks(e, chunks[i], logits);
            if (memcmp(logits, first, n * sizeof(*logits)) != 0)
                fail_msg("%s %s: other bits in chunks of %zu on %zu threads", model, isa, chunks[i],
                         n_threads);
        }
        memset(logits, 0, n * sizeof(*logits));
        prompt_in_company(e, logits);
        if (memcmp(logits, first, n * sizeof(*logits)) != 0)
            fail_msg("%s %s: other bits in company on %zu threads", model, isa, n_threads);
        ink_engine_close(e);
    }
    free(first);
    free(logits);
}

static void test_toy_model_bits_depend_on_the_prompt_alone(void **state)
{
    (void)state;
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        check_invariance("toy-llama.gguf", (*k)->name);
        check_invariance("toy-llama-q.gguf", (*k)->name);
        check_invariance("toy-gemma3.gguf", (*k)->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_toy_model_untied_matches_transformers),
        cmocka_unit_test(test_toy_model_tied_padded_matches_transformers),
        cmocka_unit_test(test_toy_model_quantised_matches_dequantised),
        cmocka_unit_test(test_toy_model_gemma3_matches_transformers),
        cmocka_unit_test(test_toy_model_gemma3_depends_on_each_key),
        cmocka_unit_test(test_toy_model_bits_depend_on_the_prompt_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
