/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Clocks in microseconds. Spans and deadlines use the monotonic one, stored times the real one.
 * Thread: safe. */
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t ink_clock_usec(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static inline uint64_t ink_clock_monotonic_usec(void)
{
    return ink_clock_usec(CLOCK_MONOTONIC);
}

static inline uint64_t ink_clock_real_usec(void)
{
    return ink_clock_usec(CLOCK_REALTIME);
}
