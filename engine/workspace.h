/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The memory of a step: one mapping carved into regions at open, so that a step allocates nothing.
 * Pages that no step has used cost nothing, so every region has room for INK_MAX_STEP_ROWS rows.
 *
 *   +--------------------------------------------------------------------------------------+
 *   | tokens, positions, blocks [T]   runs [T]   logit_rows [T]   inverse_wavelengths [2]  |
 *   +--------------------------------------------------------------------------------------+
 *   | shared lane:  x [T, D]   normed [T, D]   quant [T, max(D, H S, F)]                   |
 *   | own lanes, one for each thread: the same for INK_WORKSPACE_OWN_ROWS rows, and the     |
 *   |               tables of block pointers for attention, [context / INK_KV_BLOCK] twice |
 *   +--------------------------------------------------------------------------------------+
 *   | cos_sin [2] [T, n_rope]   q [T, H S]   k, v [T, K S]   attended [T, H S]             |
 *   | gate, up [T, F]   projected [T, D]                                                   |
 *   +--------------------------------------------------------------------------------------+
 *   | logits [T, V]                                                                        |
 *   +--------------------------------------------------------------------------------------+
 *
 * Every region starts at a multiple of 64 bytes, every row of f32 at a multiple of 16 values.
 * Owns: the mapping. Errors: -ENOMEM. Thread: regions are split between threads by forward.c. */
#pragma once

#include "engine/architecture.h"
#include "engine/kernels/kernels.h"
#include "engine/shapes.h"

/* Up to so many rows every thread computes norms and quantised rows for itself: less work than
 * waiting for the others. */
#define INK_WORKSPACE_OWN_ROWS 6u

/* One session's rows in a step. */
typedef struct InkRun {
    const uint32_t *blocks; /* borrowed from the session */
    size_t first_position;
    size_t first_row;
    size_t n_rows;
} InkRun;

/* The angles of one kind of layers. */
typedef struct InkRopeTable {
    double *inverse_wavelengths; /* [n_rope / 2] */
    float *cos_sin;              /* [T, n_rope] of this step's rows */
} InkRopeTable;

/* The residual stream and the input of the next matmul. */
typedef struct InkLane {
    float *x;
    float *normed;
    InkQuantRows quant;
    const uint16_t **k_blocks; /* own lanes only */
    const uint16_t **v_blocks;
} InkLane;

typedef struct InkWorkspace {
    uint8_t *map; /* mapped */
    size_t map_bytes;
    size_t d_stride; /* rows of D, H S, K S, F and V values */
    size_t hs_stride;
    size_t ks_stride;
    size_t f_stride;
    size_t v_stride;
    size_t rope_stride;

    uint32_t *tokens;      /* [T] */
    uint32_t *positions;   /* [T] */
    uint32_t *blocks;      /* [T] KV block of the row's position */
    uint32_t *logit_rows;  /* [T] rows that want logits, in order */
    InkRun *runs;          /* [T] */
    InkRopeTable ropes[2]; /* of global layers, of local ones */
    size_t n_ropes;        /* 1 where no layer is local */

    InkLane shared;
    InkLane *own; /* [n_threads] */
    float *q;
    float *k;
    float *v;
    float *attended;
    float *gate;
    float *up;
    float *projected;
    float *logits;
} InkWorkspace;

INK_MUST_CHECK int ink_workspace_new(const InkHyper *h, size_t n_threads, InkWorkspace **ret,
                                     InkError *reterr);
InkWorkspace *ink_workspace_free(InkWorkspace *w);
INK_DEFINE_CLEANUP(InkWorkspace, ink_workspace_free, ink_workspace_free_p)
