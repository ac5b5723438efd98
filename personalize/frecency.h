/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* How often and how lately, in one number. Each use counts 2^(-age / 28 days), the decay that
 * Firefox uses since version 147 (0.975 a day); the last use counts up to two more, which fade with
 * a half-life of one day:
 *
 *     value(now) = sum_i w_i 2^(-(now - t_i) / 28 d)  +  2 x 2^(-(now - t_last) / 1 d)
 *
 * Why this: on thirteen people's own logs most-recent, most-frequent and frecency rules lay within
 * .02 MRR of each other and the blends ahead, so the simplest blend that needs no list of visits is
 * enough until the online mixture of a later issue.
 *
 * The sum is kept as rank = log2(sum_i w_i 2^(t_i / 28 d)): one number that time does not change,
 * so that an index on it is in the right order for ever, and sum(now) = 2^(rank - now / 28 d).
 * Adding uses is commutative, so the order in which old events arrive does not matter.
 *
 * Units: times in microseconds (CLOCK_REALTIME). Thread: no state. */
#pragma once

#include <stdint.h>

#define INK_FRECENCY_HALF_LIFE_USEC        (28.0 * 86400e6)
#define INK_FRECENCY_RECENT_HALF_LIFE_USEC (1.0 * 86400e6)
#define INK_FRECENCY_RECENT_WEIGHT         2.0

/* Feedback moves the sum: an accepted suggestion counts as a use, a partly or edited one as half,
 * a dismissed one takes a fifth off what was there. `shown` changes nothing. */
#define INK_FRECENCY_ACCEPTED_WEIGHT  1.0
#define INK_FRECENCY_PARTIAL_WEIGHT   0.5
#define INK_FRECENCY_DISMISSED_FACTOR 0.8

/* The rank of one use with weight > 0. */
double ink_frecency_first(uint64_t time_usec, double weight);
double ink_frecency_add(double rank, uint64_t time_usec, double weight);
double ink_frecency_scale(double rank, double factor); /* factor > 0 */
/* Never negative; finite. A use after `now_usec` counts as one at `now_usec` for the second term.
 */
double ink_frecency_value(double rank, uint64_t last_usec, uint64_t now_usec);
/* value -> 0..1, in the same order: v / (v + 1). */
double ink_frecency_unit(double value);
