/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/frecency.h"

#include <math.h>

/* 2^60 uses: beyond any log; keeps the value finite when `now` lies far before the uses. */
#define MAX_EXPONENT 60.0

double ink_frecency_first(uint64_t time_usec, double weight)
{
    return (double)time_usec / INK_FRECENCY_HALF_LIFE_USEC + log2(weight);
}

double ink_frecency_add(double rank, uint64_t time_usec, double weight)
{
    double use = ink_frecency_first(time_usec, weight);
    double high = fmax(rank, use), low = fmin(rank, use);
    return high + log2(1.0 + exp2(low - high));
}

double ink_frecency_scale(double rank, double factor)
{
    return rank + log2(factor);
}

double ink_frecency_value(double rank, uint64_t last_usec, uint64_t now_usec)
{
    double exponent = rank - (double)now_usec / INK_FRECENCY_HALF_LIFE_USEC;
    double age_usec = now_usec > last_usec ? (double)(now_usec - last_usec) : 0.0;
    return exp2(fmin(exponent, MAX_EXPONENT)) +
           INK_FRECENCY_RECENT_WEIGHT * exp2(-age_usec / INK_FRECENCY_RECENT_HALF_LIFE_USEC);
}

double ink_frecency_unit(double value)
{
    return value / (value + 1.0);
}
