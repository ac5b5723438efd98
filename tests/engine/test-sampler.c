/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float next_unit(void)
{
    return (float)(next_random() >> 40) * 0x1p-24f;
}

static InkSampler *make(size_t n)
{
    InkSampler *s = NULL;
    InkError error;
    assert_int_equal(ink_sampler_new(n, &s, &error), 0);
    return s;
}

static uint32_t draw(InkSampler *s, const InkSamplerParams *p, const float *logits, size_t n,
                     const uint32_t *history, size_t n_history, uint64_t step)
{
    uint32_t id = UINT32_MAX;
    InkError error;
    assert_int_equal(ink_sampler_draw(s, p, logits, n, history, n_history, step, &id, &error), 0);
    assert_true(id < n);
    return id;
}

/* How many different tokens come up in many draws: the size of the kept set. */
static size_t count_kept(const InkSamplerParams *wanted, const float *logits, size_t n)
{
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(n);
    bool seen[64] = {false};
    size_t n_seen = 0;
    InkSamplerParams p = *wanted;
    for (uint64_t step = 0; step < 3000; step++) {
        uint32_t id = draw(s, &p, logits, n, NULL, 0, step);
        n_seen += !seen[id];
        seen[id] = true;
    }
    return n_seen;
}

static const InkSamplerParams open_params = {
    .temperature = 1.0f, .top_p = 1.0f, .repeat_penalty = 1.0f};

static void test_sampler_kept_set_sizes(void **state)
{
    (void)state;
    const float logits[] = {logf(0.1f), logf(0.2f), logf(0.3f), logf(0.4f)};
    const struct {
        float top_p, min_p;
        uint32_t top_k;
        size_t n_kept;
    } cases[] = {
        {1.0f, 0, 0, 4},
        {0.7f, 0, 0, 2},
        {0.8f, 0, 0, 3},
        {1e-6f, 0, 0, 1},
        {0.4f, 0, 0, 1},
        {0.41f, 0, 0, 2},
        {1.0f, 0.24f, 0, 4},
        {1.0f, 0.26f, 0, 3},
        {1.0f, 0.51f, 0, 2},
        {1.0f, 0.76f, 0, 1},
        {1.0f, 1.0f, 0, 1},
        {1.0f, 0, 1, 1},
        {1.0f, 0, 2, 2},
        {1.0f, 0, 3, 3},
        {1.0f, 0, 99, 4},
        /* top-p looks at what top-k left: .4 and .3 are 57 % and 43 % of their sum */
        {0.5f, 0, 2, 1},
        {0.6f, 0, 2, 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        InkSamplerParams p = open_params;
        p.top_p = cases[i].top_p;
        p.min_p = cases[i].min_p;
        p.top_k = cases[i].top_k;
        assert_int_equal(count_kept(&p, logits, 4), cases[i].n_kept);
        /* Temperature comes last: it changes how often, not which. */
        p.temperature = 3.0f;
        assert_int_equal(count_kept(&p, logits, 4), cases[i].n_kept);
    }
}

static void test_sampler_ties_go_to_the_lower_id(void **state)
{
    (void)state;
    float logits[200];
    for (size_t i = 0; i < 200; i++)
        logits[i] = i >= 50 && i % 3 == 0 ? 5.0f : 0.0f;
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(200);
    InkSamplerParams p = open_params;
    p.top_k = 2;
    bool seen[200] = {false};
    for (uint64_t step = 0; step < 200; step++)
        seen[draw(s, &p, logits, 200, NULL, 0, step)] = true;
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(seen[i], i == 51 || i == 54);
    p.temperature = 0.0f;
    for (uint64_t seed = 0; seed < 10; seed++) {
        p.seed = seed;
        assert_int_equal(draw(s, &p, logits, 200, NULL, 0, seed), 51);
    }
}

static void test_sampler_penalty_table(void **state)
{
    (void)state;
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(4);
    InkSamplerParams p = open_params;
    p.temperature = 0.0f;
    p.repeat_penalty = 2.0f;
    p.repeat_window = 3;
    const float positive[] = {4.0f, 3.0f, 2.5f, -1.0f}, negative[] = {-1.0f, -1.5f, -2.5f, -9.0f};
    const uint32_t once[] = {0}, often[] = {0, 0, 0}, old[] = {0, 3, 3, 3}, both[] = {0, 1},
                   foreign[] = {77, 4000000000u};
    assert_int_equal(draw(s, &p, positive, 4, once, 1, 0), 1); /* 2 3 2.5 */
    assert_int_equal(draw(s, &p, positive, 4, both, 2, 0), 2); /* 2 1.5 2.5 */
    assert_int_equal(draw(s, &p, positive, 4, old, 4, 0), 0);  /* out of the window */
    assert_int_equal(draw(s, &p, positive, 4, foreign, 2, 0), 0);
    assert_int_equal(draw(s, &p, negative, 4, once, 1, 0), 1);  /* -2 -1.5 */
    assert_int_equal(draw(s, &p, negative, 4, often, 3, 0), 1); /* once, though seen thrice */
    const float twice[] = {-1.0f, -3.0f, -9.0f, -9.0f};
    assert_int_equal(draw(s, &p, twice, 4, often, 3, 0), 0); /* -2, and not -8 */
    p.repeat_window = 0;
    assert_int_equal(draw(s, &p, positive, 4, once, 1, 0), 0);
    p.repeat_window = 9;
    p.repeat_penalty = 0.1f;
    const float huge[] = {FLT_MAX, FLT_MAX, 0.0f, 0.0f};
    assert_int_equal(draw(s, &p, huge, 4, once, 1, 0), 0); /* stays finite: a tie */
}

static void test_sampler_refuses_bad_input(void **state)
{
    (void)state;
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(100);
    float logits[100] = {0};
    uint32_t id = 7;
    InkError error;
    InkSamplerParams p = INK_SAMPLER_DEFAULTS;
    const float bad[] = {NAN, INFINITY};
    for (size_t i = 0; i < 2; i++) {
        logits[99] = bad[i];
        assert_int_equal(ink_sampler_draw(s, &p, logits, 100, NULL, 0, 0, &id, &error), -EINVAL);
        assert_int_equal(ink_sampler_draw(s, &p, logits, 99, NULL, 0, 0, &id, &error), 0);
        id = 7;
    }
    for (size_t i = 0; i < 100; i++)
        logits[i] = -INFINITY;
    assert_int_equal(ink_sampler_draw(s, &p, logits, 100, NULL, 0, 0, &id, &error), -EINVAL);
    assert_int_equal(ink_sampler_draw(s, &p, logits, 101, NULL, 0, 0, &id, &error), -EINVAL);
    assert_int_equal(ink_sampler_draw(s, &p, logits, 0, NULL, 0, 0, &id, &error), -EINVAL);
    assert_int_equal(id, 7);
    logits[42] = -1e30f;
    for (uint64_t step = 0; step < 50; step++)
        assert_int_equal(draw(s, &p, logits, 100, NULL, 0, step), 42);
    const struct {
        InkSamplerParams p;
        const char *field;
    } wrong[] = {
        {{.temperature = -0.1f, .top_p = 1, .repeat_penalty = 1}, "temperature"},
        {{.temperature = 10.1f, .top_p = 1, .repeat_penalty = 1}, "temperature"},
        {{.temperature = NAN, .top_p = 1, .repeat_penalty = 1}, "temperature"},
        {{.top_p = 0, .repeat_penalty = 1}, "top-p"},
        {{.top_p = 1.01f, .repeat_penalty = 1}, "top-p"},
        {{.top_p = NAN, .repeat_penalty = 1}, "top-p"},
        {{.top_p = 1, .min_p = -0.1f, .repeat_penalty = 1}, "min-p"},
        {{.top_p = 1, .min_p = 1.1f, .repeat_penalty = 1}, "min-p"},
        {{.top_p = 1, .repeat_penalty = 0.05f}, "repeat-penalty"},
        {{.top_p = 1, .repeat_penalty = INFINITY}, "repeat-penalty"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(ink_sampler_check(&wrong[i].p, &error), -EINVAL);
        assert_non_null(strstr(error.message, wrong[i].field));
    }
}

static void test_sampler_depends_on_seed_and_step_alone(void **state)
{
    (void)state;
    enum { N = 1000 };
    _cleanup_(ink_sampler_free_p) InkSampler *a = make(N);
    _cleanup_(ink_sampler_free_p) InkSampler *b = make(N);
    float logits[N], other[N];
    random_state = 3;
    for (size_t i = 0; i < N; i++) {
        logits[i] = next_unit();
        other[i] = next_unit();
    }
    InkSamplerParams p = open_params, q = open_params;
    q.seed = 1;
    size_t n_same = 0, n_shifted = 0;
    for (uint64_t step = 0; step < 300; step++) {
        uint32_t first = draw(a, &p, logits, N, NULL, 0, step);
        draw(b, &q, other, N, NULL, 0, 299 - step);
        assert_int_equal(draw(b, &p, logits, N, NULL, 0, step), first);
        n_same += draw(a, &q, logits, N, NULL, 0, step) == first;
        n_shifted += draw(a, &q, logits, N, NULL, 0, step + 1) == first;
    }
    assert_true(n_same < 10);
    assert_true(n_shifted < 10);
}

static void test_sampler_frequencies_follow_the_distribution(void **state)
{
    (void)state;
    const float logits[] = {logf(0.1f), logf(0.2f), logf(0.3f), logf(0.4f)};
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(4);
    double count[4] = {0}, chi2 = 0;
    for (uint64_t step = 0; step < 40000; step++)
        count[draw(s, &open_params, logits, 4, NULL, 0, step)]++;
    for (size_t i = 0; i < 4; i++) {
        double expected = 4000.0 * (double)(i + 1);
        chi2 += (count[i] - expected) * (count[i] - expected) / expected;
    }
    assert_true(chi2 < 16.3); /* three degrees of freedom: 0.1 % */
}

typedef struct Entry {
    float logit;
    uint32_t id;
} Entry;

static int compare_entries(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static double mix_unit(uint64_t seed, uint64_t step)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15u;
    for (int round = 0; round < 2; round++) {
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        z += round == 0 ? (step + 1) * 0x9E3779B97F4A7C15u : 0;
    }
    return (double)(z >> 11) * 0x1p-53;
}

/* The definition, with a full sort. */
static uint32_t draw_by_sorting(const InkSamplerParams *p, const float *logits, size_t n,
                                const uint32_t *history, size_t n_history, uint64_t step)
{
    Entry *e = calloc(n, sizeof(Entry));
    assert_non_null(e);
    for (uint32_t i = 0; i < n; i++) {
        bool punished = false;
        for (size_t k = 0; k < n_history && k < p->repeat_window; k++)
            punished |= history[n_history - 1 - k] == i;
        float x = logits[i];
        if (punished)
            x = x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty;
        e[i] = (Entry){x, i};
    }
    qsort(e, n, sizeof(Entry), compare_entries);
    double max = e[0].logit, total = 0, sum = 0;
    if (p->top_k != 0 && p->top_k < n)
        n = p->top_k;
    for (size_t i = 0; i < n; i++)
        total += exp(e[i].logit - max);
    for (size_t i = 0; p->top_p < 1.0f && i < n; i++) {
        sum += exp(e[i].logit - max);
        if (sum >= (p->top_p - 1e-6) * total)
            n = i + 1;
    }
    float floor = p->min_p > 0 ? (float)(max + log(p->min_p)) : -INFINITY;
    while (n > 1 && e[n - 1].logit < floor)
        n--;
    uint32_t id = e[0].id;
    if (p->temperature > 0) {
        total = sum = 0;
        for (size_t i = 0; i < n; i++)
            total += exp((e[i].logit - max) / p->temperature);
        double target = mix_unit(p->seed, step) * total;
        for (size_t i = 0; i < n && sum <= target; i++) {
            id = e[i].id;
            sum += exp((e[i].logit - max) / p->temperature);
        }
    }
    free(e);
    return id;
}

static void test_sampler_equals_a_full_sort(void **state)
{
    (void)state;
    enum { V = 2000 };
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(V);
    float *logits = calloc(V, sizeof(float));
    uint32_t history[100];
    assert_non_null(logits);
    random_state = 11;
    const uint32_t ks[] = {0, 1, 2, 40, 256, 257, 1000, 5000};
    const float ps[] = {1.0f, 0.95f, 0.5f, 0.999f, 0.01f}, ms[] = {0.0f, 0.05f, 0.5f, 1.0f};
    for (size_t round = 0; round < 500; round++) {
        size_t n = 1 + next_random() % V;
        bool coarse = next_random() % 3 == 0; /* many ties */
        float scale = next_unit() * 20.0f;
        for (size_t i = 0; i < n; i++) {
            float x = (next_unit() + next_unit() + next_unit() - 1.5f) * scale;
            logits[i] = coarse ? rintf(x) : x;
        }
        for (size_t i = 0; i < 100; i++)
            history[i] = (uint32_t)(next_random() % V);
        InkSamplerParams p = {.temperature = next_random() % 8 == 0 ? 0.0f : next_unit() * 3.0f,
                              .top_p = ps[next_random() % 5],
                              .min_p = ms[next_random() % 4],
                              .repeat_penalty = 0.5f + next_unit() * 2.0f,
                              .top_k = ks[next_random() % 8],
                              .repeat_window = (uint32_t)(next_random() % 130),
                              .seed = next_random()};
        uint64_t step = next_random() % 1000;
        assert_int_equal(draw(s, &p, logits, n, history, 100, step),
                         draw_by_sorting(&p, logits, n, history, 100, step));
    }
    free(logits);
}

/* Printed, with a bound that only a broken build misses. */
static void test_sampler_speed(void **state)
{
    (void)state;
    enum { V = 49152, N = 300 };
    _cleanup_(ink_sampler_free_p) InkSampler *s = make(V);
    float *logits = calloc(V, sizeof(float));
    assert_non_null(logits);
    random_state = 5;
    for (size_t i = 0; i < V; i++)
        logits[i] = (next_unit() + next_unit() + next_unit()) * 10.0f;
    InkSamplerParams p = INK_SAMPLER_DEFAULTS;
    double best = 1e9;
    for (uint64_t step = 0; step < N; step++) {
        uint64_t from = ink_clock_monotonic_usec();
        for (uint64_t k = 0; k < 4; k++)
            draw(s, &p, logits, V, NULL, 0, 4 * step + k);
        double usec = (double)(ink_clock_monotonic_usec() - from) / 4;
        best = usec < best ? usec : best;
    }
    print_message("a draw of 49,152 with top-k 40 takes %.1f us\n", best);
    assert_true(best < 2000.0);
    free(logits);
}

static void test_sampler_survives_failed_allocations(void **state)
{
    (void)state;
    int r = -ENOMEM;
    for (size_t n = 1; r == -ENOMEM; n++) {
        _cleanup_(ink_sampler_free_p) InkSampler *s = NULL;
        ink_alloc_fail_at(n, false);
        r = ink_sampler_new(100, &s, NULL);
        ink_alloc_fail_at(0, false);
        assert_true((r == 0) == (s != NULL));
    }
    assert_int_equal(r, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampler_kept_set_sizes),
        cmocka_unit_test(test_sampler_ties_go_to_the_lower_id),
        cmocka_unit_test(test_sampler_penalty_table),
        cmocka_unit_test(test_sampler_refuses_bad_input),
        cmocka_unit_test(test_sampler_depends_on_seed_and_step_alone),
        cmocka_unit_test(test_sampler_frequencies_follow_the_distribution),
        cmocka_unit_test(test_sampler_equals_a_full_sort),
        cmocka_unit_test(test_sampler_speed),
        cmocka_unit_test(test_sampler_survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
