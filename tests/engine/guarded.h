/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Random values that are the same in every run, and buffers that notice a write behind their end:
 * for tests of kernels, after cmocka's header. */
#pragma once

#include "engine/base/alloc.h"

#define CANARY_BYTES 64
#define CANARY       0xa5

static uint32_t random_state = 1;

static inline uint32_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static inline float random_float(float scale)
{
    return ((float)(random_bits() >> 8) * 0x1p-23f - 1.0f) * scale;
}

/* Aligned bytes followed by a canary. */
static inline void *guarded_new(size_t n_bytes)
{
    uint8_t *bytes = ink_alloc_aligned(n_bytes + CANARY_BYTES);
    assert_non_null(bytes);
    memset(bytes, CANARY, n_bytes + CANARY_BYTES);
    return bytes;
}

static inline void guarded_check(const void *buffer, size_t n_bytes)
{
    for (size_t i = 0; i < CANARY_BYTES; i++)
        assert_int_equal(((const uint8_t *)buffer)[n_bytes + i], CANARY);
}
