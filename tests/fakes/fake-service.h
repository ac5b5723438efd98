/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A service without a model for tests of the bus side. It runs in a process of its own
 * (fake_service_run) and counts into shared memory. What a task does is chosen by its option
 * `model`:
 *
 *   ""       max-tokens pieces "word " as fast as credit and loop allow, then "length"
 *   "sync"   the same, all of it before start() returns
 *   "hold"   nothing until it is cancelled or its deadline comes
 *   "slow"   as "", one piece every 10 ms
 *   "wide"   as "", pieces of 64 bytes
 *   "odd"    one piece with a NUL and a byte that is not UTF-8
 *   "missing" start() fails with ENOENT
 *   "dies"   one piece, then FAILED with EREMOTEIO */
#pragma once

#include <stdint.h>

#include "ipc/service.h"

/* Of pipes that nobody reads. */
#define FAKE_STALL_USEC 1000000u

typedef struct FakeShared {
    uint32_t n_started, n_finished, n_produced_pieces, n_cancelled[16];
    uint32_t n_events, n_feedback, n_set_enabled, n_active, n_ready;
    uint32_t last_deferred, last_n_messages, last_max_tokens, last_priority;
    uint32_t last_permission, last_decision, n_callers;
    uint32_t store_fails, reload_fails; /* set by the test */
    uint32_t n_reloads;
    uint32_t denied; /* set by the test: bits of InkPermission */
    uint32_t n_closed[INK_SESSION_END_MAX], last_overflow; /* INK_OVERFLOW_MAX = not given */
    uint32_t n_imports, n_changes, last_default, last_force, last_verify; /* of models */
    uint64_t last_session;
    uint64_t last_deadline_usec, last_prompt_bytes, last_seed;
    char last_app_id[256], last_first_role[16];
} FakeShared;

#define FAKE_READ(field) __atomic_load_n(&(field), __ATOMIC_SEQ_CST)

/* Serves until SIGTERM; 0 or negative errno. */
int fake_service_run(const char *address, FakeShared *shared);
