/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/base/alloc.h"

/* Logits are looked at in blocks whose maximum is kept: a search for the k best skips nearly all.
 */
#define BLOCK       64
#define LANES       16
/* Up to here the k best are kept in a heap; beyond, everything is sorted by radix in linear time.
 */
#define HEAP_MAX    256
/* Cumulated float logits may miss a p that is meant to be met exactly by this much. */
#define TOP_P_SLACK 1e-6

/* gcc -O2 gives up on these short loops; clang vectorises them as they are. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((optimize("O3")))
#else
#define VECTORISED
#endif

typedef struct Candidate {
    float logit;
    uint32_t id;
} Candidate;

struct InkSampler {
    size_t n_vocab;
    float *logits;      /* [V rounded up to BLOCK], penalised, padded with -inf */
    float *block_max;   /* [V / BLOCK] */
    Candidate *best;    /* [V], best first */
    Candidate *other;   /* [V], the second half of the radix sort */
    double *weights;    /* [V] */
    uint32_t *punished; /* [V], the round in which the id was punished last */
    uint32_t round;
};

InkSampler *ink_sampler_free(InkSampler *s)
{
    if (s == NULL)
        return NULL;
    free(s->logits);
    free(s->block_max);
    free(s->best);
    free(s->other);
    free(s->weights);
    free(s->punished);
    free(s);
    return NULL;
}

int ink_sampler_new(size_t n_vocab, InkSampler **ret, InkError *reterr)
{
    INK_CHECK(n_vocab != 0 && n_vocab < UINT32_MAX - BLOCK, EINVAL, reterr,
              "a vocabulary of %zu tokens cannot be sampled", n_vocab);
    size_t n_padded = (n_vocab + BLOCK - 1) / BLOCK * BLOCK;
    _cleanup_(ink_sampler_free_p) InkSampler *s = ink_alloc_array(1, sizeof(InkSampler));
    INK_CHECK(s != NULL, ENOMEM, reterr, "out of memory");
    s->n_vocab = n_vocab;
    s->logits = ink_alloc_aligned(n_padded * sizeof(float));
    s->block_max = ink_alloc_array(n_padded / BLOCK, sizeof(float));
    s->best = ink_alloc_array(n_vocab, sizeof(Candidate));
    s->other = ink_alloc_array(n_vocab, sizeof(Candidate));
    s->weights = ink_alloc_array(n_vocab, sizeof(double));
    s->punished = ink_alloc_array(n_vocab, sizeof(uint32_t));
    INK_CHECK(s->logits != NULL && s->block_max != NULL && s->best != NULL && s->other != NULL &&
                  s->weights != NULL && s->punished != NULL,
              ENOMEM, reterr, "out of memory");
    *ret = INK_TAKE(s);
    return 0;
}

static int check_range(const char *field, float value, float low, float high, InkError *reterr)
{
    INK_CHECK(value >= low && value <= high, EINVAL, reterr, "%s must be from %g to %g", field,
              (double)low, (double)high);
    return 0;
}

int ink_sampler_check(const InkSamplerParams *p, InkError *reterr)
{
    INK_TRY(check_range("temperature", p->temperature, 0.0f, 10.0f, reterr));
    INK_CHECK(p->top_p > 0.0f && p->top_p <= 1.0f, EINVAL, reterr,
              "top-p must be above 0 and at most 1");
    INK_TRY(check_range("min-p", p->min_p, 0.0f, 1.0f, reterr));
    INK_TRY(check_range("repeat-penalty", p->repeat_penalty, 0.1f, 10.0f, reterr));
    return 0;
}

/* Copies and tells whether all values are numbers below +inf. */
VECTORISED static bool copy_checked(float *restrict to, const float *restrict from, size_t n)
{
    int n_bad = 0;
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
        n_bad |= !(from[i] <= FLT_MAX);
    }
    return n_bad == 0;
}

VECTORISED static void find_block_max(const float *restrict x, size_t n_blocks,
                                      float *restrict block_max)
{
    for (size_t b = 0; b < n_blocks; b++) {
        float lane[LANES];
        for (size_t j = 0; j < LANES; j++)
            lane[j] = x[b * BLOCK + j];
        for (size_t i = LANES; i < BLOCK; i += LANES)
            for (size_t j = 0; j < LANES; j++) {
                float value = x[b * BLOCK + i + j];
                lane[j] = value > lane[j] ? value : lane[j];
            }
        for (size_t n = LANES / 2; n != 0; n /= 2)
            for (size_t j = 0; j < n; j++)
                lane[j] = lane[j + n] > lane[j] ? lane[j + n] : lane[j];
        block_max[b] = lane[0];
    }
}

static void punish(InkSampler *s, const InkSamplerParams *p, const uint32_t *history,
                   size_t n_history, size_t n_candidates)
{
    if (p->repeat_penalty == 1.0f || p->repeat_window == 0)
        return;
    if (++s->round == 0) {
        memset(s->punished, 0, s->n_vocab * sizeof(uint32_t));
        s->round = 1;
    }
    size_t from = n_history > p->repeat_window ? n_history - p->repeat_window : 0;
    for (size_t i = from; i < n_history; i++) {
        uint32_t id = history[i];
        if (id >= n_candidates || s->punished[id] == s->round)
            continue;
        s->punished[id] = s->round;
        float logit = s->logits[id];
        logit = logit > 0.0f ? logit / p->repeat_penalty : logit * p->repeat_penalty;
        s->logits[id] = logit > FLT_MAX ? FLT_MAX : logit; /* a penalty below 1 may overflow */
    }
}

static uint32_t find_first(const InkSampler *s, size_t n_blocks, float max)
{
    size_t b = 0;
    while (b + 1 < n_blocks && s->block_max[b] != max)
        b++;
    size_t i = b * BLOCK;
    while (i + 1 < (b + 1) * BLOCK && s->logits[i] != max)
        i++;
    return (uint32_t)i;
}

static bool better(Candidate a, Candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Restores the heap whose root is the worst candidate. */
static void sift_down(Candidate *heap, size_t n, size_t at)
{
    Candidate moved = heap[at];
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && better(heap[child], heap[child + 1]))
            child++;
        if (!better(moved, heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* The k best into s->best, best first; k <= HEAP_MAX, k <= n. Ids come in ascending order, so that
 * a later one must be strictly larger to get in. */
static void select_by_heap(InkSampler *s, size_t n, size_t k)
{
    Candidate *heap = s->best;
    for (size_t i = 0; i < k; i++)
        heap[i] = (Candidate){s->logits[i], (uint32_t)i};
    for (size_t i = k / 2; i-- > 0;)
        sift_down(heap, k, i);
    for (size_t i = k; i < n;) {
        size_t end = (i / BLOCK + 1) * BLOCK;
        if (s->block_max[i / BLOCK] > heap[0].logit)
            for (size_t j = i; j < end && j < n; j++)
                if (s->logits[j] > heap[0].logit) {
                    heap[0] = (Candidate){s->logits[j], (uint32_t)j};
                    sift_down(heap, k, 0);
                }
        i = end;
    }
    for (size_t left = k; left > 1; left--) {
        Candidate worst = heap[0];
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
        heap[left - 1] = worst;
    }
}

/* A key that sorts ascending from the largest logit to the smallest; -0 and +0 are one. */
static uint32_t sort_key(float logit)
{
    uint32_t bits;
    logit += 0.0f;
    memcpy(&bits, &logit, sizeof(bits));
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

/* Everything at or above `floor` into s->best, best first: a stable radix sort keeps ids in order.
 */
static size_t sort_all(InkSampler *s, size_t n, float floor)
{
    Candidate *from = s->best, *to = s->other;
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++)
        if (s->logits[i] >= floor)
            from[n_kept++] = (Candidate){s->logits[i], (uint32_t)i};
    for (unsigned shift = 0; shift < 32; shift += 8) {
        size_t starts[256] = {0}, sum = 0;
        for (size_t i = 0; i < n_kept; i++)
            starts[sort_key(from[i].logit) >> shift & 255]++;
        for (size_t i = 0; i < 256; i++) {
            size_t count = starts[i];
            starts[i] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n_kept; i++)
            to[starts[sort_key(from[i].logit) >> shift & 255]++] = from[i];
        Candidate *swap = from;
        from = to;
        to = swap;
    }
    return n_kept; /* four passes: the result lies in s->best again */
}

/* How many of the n best are needed to reach p of `total`; n + 1 when they do not. */
static size_t count_top_p(const InkSampler *s, size_t n, float top_p, double total)
{
    double sum = 0.0, max = s->best[0].logit;
    for (size_t i = 0; i < n; i++) {
        sum += exp(s->best[i].logit - max);
        if (sum >= (top_p - TOP_P_SLACK) * total)
            return i + 1;
    }
    return n + 1;
}

static double sum_weights(const InkSampler *s, size_t n, float max)
{
    double total = 0.0;
    for (size_t i = 0; i < n; i++)
        total += exp((double)s->logits[i] - max);
    return total;
}

/* The lowest logit that min-p lets live. */
static float min_p_floor(const InkSamplerParams *p, float max)
{
    return p->min_p > 0.0f ? (float)((double)max + log((double)p->min_p)) : -INFINITY;
}

/* Survivors of top-k, top-p and min-p into s->best, best first; at least one. */
static size_t find_survivors(InkSampler *s, const InkSamplerParams *p, size_t n, float max)
{
    bool all = p->top_k == 0 || p->top_k >= n;
    bool cut_mass = p->top_p < 1.0f;
    size_t n_kept = all ? n : p->top_k;
    float floor = min_p_floor(p, max);
    double total = all && cut_mass ? sum_weights(s, n, max) : 0.0;
    if (n_kept <= HEAP_MAX) {
        select_by_heap(s, n, n_kept);
    } else if (all && cut_mass) {
        /* Usually few tokens carry nearly all of the mass. */
        select_by_heap(s, n, HEAP_MAX);
        n_kept = HEAP_MAX;
        if (count_top_p(s, HEAP_MAX, p->top_p, total) > HEAP_MAX)
            n_kept = sort_all(s, n, -INFINITY);
    } else {
        size_t n_sorted = sort_all(s, n, all ? floor : -INFINITY);
        n_kept = n_sorted < n_kept ? n_sorted : n_kept;
    }
    if (cut_mass) {
        for (size_t i = 0; !all && i < n_kept; i++)
            total += exp((double)s->best[i].logit - max);
        size_t n_top = count_top_p(s, n_kept, p->top_p, total);
        n_kept = n_top < n_kept ? n_top : n_kept;
    }
    while (n_kept > 1 && s->best[n_kept - 1].logit < floor)
        n_kept--;
    return n_kept;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* [0, 1), a function of (seed, step) alone. The seed is mixed first, so that near seeds do not walk
 * the same stream one step apart. */
static double random_unit(uint64_t seed, uint64_t step)
{
    const uint64_t gamma = 0x9E3779B97F4A7C15u;
    uint64_t z = mix(mix(seed + gamma) + (step + 1) * gamma);
    return (double)(z >> 11) * 0x1p-53;
}

static uint32_t draw(InkSampler *s, const InkSamplerParams *p, size_t n_kept, uint64_t step)
{
    double sum = 0.0, max = s->best[0].logit;
    for (size_t i = 0; i < n_kept; i++) {
        s->weights[i] = exp((s->best[i].logit - max) / p->temperature);
        sum += s->weights[i];
    }
    double target = random_unit(p->seed, step) * sum, reached = 0.0;
    uint32_t id = s->best[0].id;
    for (size_t i = 0; i < n_kept && reached <= target; i++) {
        if (s->weights[i] > 0.0)
            id = s->best[i].id;
        reached += s->weights[i];
    }
    return id;
}

int ink_sampler_draw(InkSampler *s, const InkSamplerParams *p, const float *logits,
                     size_t n_candidates, const uint32_t *history, size_t n_history, uint64_t step,
                     uint32_t *ret, InkError *reterr)
{
    INK_TRY(ink_sampler_check(p, reterr));
    INK_CHECK(n_candidates != 0 && n_candidates <= s->n_vocab, EINVAL, reterr,
              "%zu candidates; the vocabulary has %zu", n_candidates, s->n_vocab);
    INK_CHECK(copy_checked(s->logits, logits, n_candidates), EINVAL, reterr,
              "the model gave a logit that is not a finite number");
    size_t n_blocks = (n_candidates + BLOCK - 1) / BLOCK;
    for (size_t i = n_candidates; i < n_blocks * BLOCK; i++)
        s->logits[i] = -INFINITY;
    punish(s, p, history, n_history, n_candidates);
    find_block_max(s->logits, n_blocks, s->block_max);
    float max = s->block_max[0];
    for (size_t b = 1; b < n_blocks; b++)
        max = s->block_max[b] > max ? s->block_max[b] : max;
    INK_CHECK(max > -INFINITY, EINVAL, reterr, "the model gave no token a chance");
    if (p->temperature == 0.0f) {
        *ret = find_first(s, n_blocks, max);
        return 0;
    }
    size_t n_kept = find_survivors(s, p, n_candidates, max);
    *ret = draw(s, p, n_kept, step);
    return 0;
}
