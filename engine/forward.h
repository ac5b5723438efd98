/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One step: rows of any number of sessions through all layers. The caller has filled in the
 * workspace's tokens, positions, blocks, runs and logit_rows; afterwards keys and values are stored
 * and logits [n_logits, V] stand in the workspace.
 *
 * Bits of a row depend on its tokens and the kernel table alone (D1): threads split outputs, heads
 * and rows, never a sum, and no kernel looks at its neighbours. What could break this: a kernel
 * that chooses its order of sums by the number of rows, or a split inside a sum.
 *
 * Threads meet five times a layer: after q/k/v (with rope and the store into the cache, since the
 * job is split by heads), attention, o, gate/up and down. Norms and quantised rows are computed by
 * every thread for itself when rows are few, else they are split, with a meeting each.
 *
 * Errors: none. Thread: the engine's. */
#pragma once

#include "engine/engine.h"
#include "engine/kv-cache.h"
#include "engine/model.h"
#include "engine/threads.h"
#include "engine/workspace.h"

typedef struct InkForward {
    const InkModel *model;
    const InkKernels *kernels;
    InkThreads *threads;
    InkKvPool *kv;
    InkWorkspace *workspace;
} InkForward;

typedef struct InkForwardStep {
    size_t n_rows;
    size_t n_runs;
    size_t n_logits;
    InkStepCancel *cancel; /* or NULL */
    void *userdata;
} InkForwardStep;

/* Fills the workspace's tables of inverse wavelengths; once, at open. */
void ink_forward_prepare(const InkForward *f);
/* 0 or INK_STEP_CANCELLED. */
INK_MUST_CHECK int ink_forward_step(const InkForward *f, const InkForwardStep *step);
