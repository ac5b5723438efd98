/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A family of models is a table: which tensors it has and of what shape, in letters (shapes.h), and
 * the few switches in which its steps differ. A new family is a new row in architecture.c; a switch
 * that no family here needs does not exist.
 *
 * Steps of a layer, in the order in which forward.c takes them; those in brackets are skipped where
 * the family has no tensor for them:
 *   attention_norm -> q, k, v [-> q_norm, k_norm] -> rope -> attention -> o [-> norm] -> add
 *   ffn_norm -> gate, up -> activation(gate) * up -> down [-> norm] -> add
 * A layer is global or local. A local one sees the last `window` positions only, and its rope has a
 * base of its own.
 *
 * Owns: nothing, constant tables.
 * Errors: -EBADMSG (a value is missing or out of its range, a shape is wrong), -EOPNOTSUPP (sound,
 * but not of this build). Thread: constant. Source: RMSNorm 1910.07467; RoPE 2104.09864;
 * GQA 2305.13245; SwiGLU 2002.05202; Gemma 3 2503.19786. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gguf.h"

#define INK_MODEL_MAX_LAYERS  1024u
#define INK_MODEL_MAX_WIDTH   (1u << 17) /* D, F; products of two fit 64 bits with ease */
#define INK_MODEL_MAX_HEADS   1024u
#define INK_MODEL_MAX_VOCAB   (1u << 21)
#define INK_MODEL_MAX_CONTEXT (1u << 20)
#define INK_MODEL_MAX_HEAD    512u /* what the attention kernel takes */

/* Sizes and constants of one model, from its metadata; every one is in range and they agree. */
typedef struct InkHyper {
    size_t n_layers;      /* L */
    size_t n_context;     /* tokens */
    size_t n_embedding;   /* D */
    size_t n_heads;       /* H */
    size_t n_kv_heads;    /* K */
    size_t n_head_size;   /* S, multiple of 16 */
    size_t n_feedforward; /* F */
    size_t n_vocab;       /* V: rows of the embedding, >= tokens of the tokenizer */
    size_t n_rope;        /* leading values of a head that are rotated, even, <= S */
    size_t window;        /* positions that a local layer sees, its own among them; 0 = no such */
    float norm_eps;
    float embedding_scale; /* of looked-up rows, not of a tied head */
    float attention_scale; /* of scores before the softmax */
    float rope_base;
    float rope_factor; /* global layers: positions are divided by it */
    float rope_base_local;
    bool is_local[INK_MODEL_MAX_LAYERS];
} InkHyper;

/* Letters of a shape. A vector has INK_DIM_ONE outputs. */
typedef enum InkDim {
    INK_DIM_ONE,
    INK_DIM_D,
    INK_DIM_HS, /* H * S */
    INK_DIM_KS, /* K * S */
    INK_DIM_S,
    INK_DIM_F,
    INK_DIM_V,
    INK_DIM_ROPE_PAIRS,
    INK_DIM_MAX,
} InkDim;

typedef enum InkTensorKind {
    INK_TENSOR_MATRIX, /* packed for the kernels: InkMatrix */
    INK_TENSOR_VECTOR, /* becomes f32: const float * */
    INK_TENSOR_LOOKUP, /* read row by row from the file: InkLookup */
} InkTensorKind;

typedef struct InkTensorSpec {
    const char *name; /* in a layer: after "blk.N." */
    InkTensorKind kind;
    InkDim n_outputs;    /* N: dims[1] in the file */
    InkDim n_inputs;     /* M: dims[0] in the file */
    size_t slot;         /* offset of its place in InkModel or InkLayer (model.h) */
    const char *or_else; /* the tensor that serves when this one is absent (tied head), or NULL */
    bool optional;
} InkTensorSpec;

typedef struct InkArchitecture {
    const char *name; /* general.architecture and prefix of its metadata */
    const InkTensorSpec *tensors;
    size_t n_tensors;
    const InkTensorSpec *layer_tensors;
    size_t n_layer_tensors;
    bool rope_adjacent;   /* pairs (2i, 2i+1); else halves of a head (i, i + n/2) */
    bool gelu;            /* the gate's activation is the tanh form of GELU; else SiLU */
    bool scale_embedding; /* by sqrt(D) */
    /* What holds where the file does not say. */
    float rope_base;
    float rope_base_local;
    uint32_t local_period; /* of so many layers all but the last are local; 0 = no local layers */
    /* The model of so many layers scales scores by sqrt(D / H); no key tells. 0 = none does. */
    size_t n_layers_scaled_by_width;
} InkArchitecture;

/* The family that the file names. */
INK_MUST_CHECK int ink_architecture_find(const InkGguf *g, const InkArchitecture **ret,
                                         InkError *reterr);
/* Reads and checks the metadata. */
INK_MUST_CHECK int ink_architecture_read_hyper(const InkArchitecture *a, const InkGguf *g,
                                               InkHyper *ret, InkError *reterr);
/* The number that a letter stands for. */
size_t ink_architecture_dim(const InkHyper *h, InkDim dim);
