/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The weights of one model: matrices packed for the kernels (in the cache file, or in memory of
 * this process), norms as f32, and the embedding as it lies in the mapped file, of which single
 * rows are read.
 *
 * Packed bytes: for each layer q, k, v, o, gate, up, down in the order of the architecture's table,
 * then the head, each at a multiple of INK_MODEL_PACK_ALIGN.
 *
 * Owns: what is packed and copied; borrows the GGUF (the embedding lies in its bytes).
 * Errors: -EBADMSG, -EOPNOTSUPP, -ENOMEM. Thread: immutable after open. */
#pragma once

#include "engine/architecture.h"
#include "engine/kernels/kernels.h"
#include "engine/pack-cache.h"
#include "engine/threads.h"

#define INK_MODEL_PACK_ALIGN 4096u

/* One linear layer, [N, M]. */
typedef struct InkMatrix {
    InkPack pack;
    size_t n_outputs; /* N */
    size_t n_inputs;  /* M */
    size_t n_groups;  /* of INK_PACK_ROWS outputs */
    size_t packed_off;
    size_t packed_bytes;
    const uint8_t *packed; /* mapped */
    const InkGgufTensor *source;
} InkMatrix;

/* A table of which rows are read one at a time, [V, D]. */
typedef struct InkLookup {
    const uint8_t *rows; /* mapped */
    size_t row_bytes;
    const InkQuantType *type;
} InkLookup;

typedef struct InkLayer {
    const float *attention_norm; /* [D] */
    InkMatrix q, k, v;           /* [H S, D], [K S, D] */
    const float *q_norm;         /* [S] of each head, or NULL */
    const float *k_norm;
    InkMatrix o;                      /* [D, H S] */
    const float *attention_post_norm; /* [D] or NULL */
    const float *ffn_norm;            /* [D] */
    InkMatrix gate, up;               /* [F, D] */
    InkMatrix down;                   /* [D, F] */
    const float *ffn_post_norm;       /* [D] or NULL */
} InkLayer;

typedef struct InkModel {
    const InkArchitecture *architecture;
    InkHyper hyper;
    InkLookup embedding;
    const float *output_norm;  /* [D] */
    const float *rope_factors; /* [n_rope / 2] or NULL: wavelengths are multiplied by these */
    InkMatrix head;            /* [V, D] */
    InkLayer *layers;          /* [L] */
    uint64_t n_parameters;
    const char *quantization; /* name of the type that most weights have */
    size_t packed_bytes;
    InkPackStore store;
    float *vectors; /* all norms, each 64-byte aligned */
} InkModel;

/* `source`: the model file, by which a cache file is recognised. `kernels` NULL: all is checked,
 * nothing is packed, and the other two are not looked at. */
INK_MUST_CHECK int ink_model_open(const InkGguf *g, const InkKernels *kernels, InkThreads *threads,
                                  const InkPackCacheOptions *cache, InkModel **ret,
                                  InkError *reterr);
InkModel *ink_model_close(InkModel *m);
INK_DEFINE_CLEANUP(InkModel, ink_model_close, ink_model_close_p)
