/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* From logits to the next token. Order: repeat penalty, top-k, top-p, min-p, temperature, draw.
 * Temperature 0 is argmax (lowest id on ties) and ignores the seed. Random numbers are a function
 * of (seed, step) alone, so that a draw does not depend on batch mates.
 *
 * Shapes: logits [V] f32. Owns: scratch for one vocabulary.
 * Errors: -EINVAL for NaN or +inf logits, or all -inf; -ENOMEM. Thread: one sampler, one thread.
 * Source: Holtzman et al. 2020, 1904.09751 (top-p); Keskar et al. 2019, 1909.05858 (penalty);
 * Nguyen et al. 2024, 2407.01082 (min-p); Steele et al. 2014 (SplitMix64). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

typedef struct InkSamplerParams {
    float temperature;      /* 0 = greedy; up to 10 */
    float top_p;            /* (0, 1]; 1 = off; the token that crosses p is kept */
    float min_p;            /* [0, 1]; 0 = off; relative to the most likely token */
    float repeat_penalty;   /* [0.1, 10]; 1 = off; divides positive logits, multiplies negative */
    uint32_t top_k;         /* 0 = off */
    uint32_t repeat_window; /* the last n tokens of the history, prompt included; 0 = none */
    uint64_t seed;
} InkSamplerParams;

/* The defaults of the bus API (10.1). */
#define INK_SAMPLER_DEFAULTS                                                                       \
    ((InkSamplerParams){.temperature = 0.7f,                                                       \
                        .top_p = 0.95f,                                                            \
                        .min_p = 0.05f,                                                            \
                        .repeat_penalty = 1.0f,                                                    \
                        .top_k = 40,                                                               \
                        .repeat_window = 64})

typedef struct InkSampler InkSampler;

INK_MUST_CHECK int ink_sampler_new(size_t n_vocab, InkSampler **ret, InkError *reterr);
InkSampler *ink_sampler_free(InkSampler *s);
INK_DEFINE_CLEANUP(InkSampler, ink_sampler_free, ink_sampler_free_p)

/* -EINVAL names the field and the range. */
INK_MUST_CHECK int ink_sampler_check(const InkSamplerParams *p, InkError *reterr);

/* `history`: all tokens so far, the newest last; each id in the window is punished once.
 * `n_candidates`: ids >= n_candidates are never drawn (a padded vocabulary).
 * `step`: index of the token in the answer. Does not allocate. */
INK_MUST_CHECK int ink_sampler_draw(InkSampler *s, const InkSamplerParams *p, const float *logits,
                                    size_t n_candidates, const uint32_t *history, size_t n_history,
                                    uint64_t step, uint32_t *ret, InkError *reterr);
