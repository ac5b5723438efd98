/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/architecture.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/kernels.h"
#include "engine/model.h"

#define KEY_BYTES 96

/* --- the families --- */

#define MODEL(member) offsetof(InkModel, member)
#define LAYER(member) offsetof(InkLayer, member)

static const InkTensorSpec llama_tensors[] = {
    {"token_embd.weight", INK_TENSOR_LOOKUP, INK_DIM_V, INK_DIM_D, MODEL(embedding)},
    {"output_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, MODEL(output_norm)},
    {"output.weight", INK_TENSOR_MATRIX, INK_DIM_V, INK_DIM_D, MODEL(head),
     .or_else = "token_embd.weight"},
    {"rope_freqs.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_ROPE_PAIRS, MODEL(rope_factors),
     .optional = true},
};

static const InkTensorSpec llama_layer_tensors[] = {
    {"attn_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, LAYER(attention_norm)},
    {"attn_q.weight", INK_TENSOR_MATRIX, INK_DIM_HS, INK_DIM_D, LAYER(q)},
    {"attn_k.weight", INK_TENSOR_MATRIX, INK_DIM_KS, INK_DIM_D, LAYER(k)},
    {"attn_v.weight", INK_TENSOR_MATRIX, INK_DIM_KS, INK_DIM_D, LAYER(v)},
    {"attn_output.weight", INK_TENSOR_MATRIX, INK_DIM_D, INK_DIM_HS, LAYER(o)},
    {"ffn_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, LAYER(ffn_norm)},
    {"ffn_gate.weight", INK_TENSOR_MATRIX, INK_DIM_F, INK_DIM_D, LAYER(gate)},
    {"ffn_up.weight", INK_TENSOR_MATRIX, INK_DIM_F, INK_DIM_D, LAYER(up)},
    {"ffn_down.weight", INK_TENSOR_MATRIX, INK_DIM_D, INK_DIM_F, LAYER(down)},
};

/* Norms hold 1 + w already. The two norms after a block stand before it is added. */
static const InkTensorSpec gemma3_tensors[] = {
    {"token_embd.weight", INK_TENSOR_LOOKUP, INK_DIM_V, INK_DIM_D, MODEL(embedding)},
    {"output_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, MODEL(output_norm)},
    {"output.weight", INK_TENSOR_MATRIX, INK_DIM_V, INK_DIM_D, MODEL(head),
     .or_else = "token_embd.weight"},
};

static const InkTensorSpec gemma3_layer_tensors[] = {
    {"attn_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, LAYER(attention_norm)},
    {"attn_q.weight", INK_TENSOR_MATRIX, INK_DIM_HS, INK_DIM_D, LAYER(q)},
    {"attn_k.weight", INK_TENSOR_MATRIX, INK_DIM_KS, INK_DIM_D, LAYER(k)},
    {"attn_v.weight", INK_TENSOR_MATRIX, INK_DIM_KS, INK_DIM_D, LAYER(v)},
    {"attn_q_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_S, LAYER(q_norm)},
    {"attn_k_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_S, LAYER(k_norm)},
    {"attn_output.weight", INK_TENSOR_MATRIX, INK_DIM_D, INK_DIM_HS, LAYER(o)},
    {"post_attention_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D,
     LAYER(attention_post_norm)},
    {"ffn_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, LAYER(ffn_norm)},
    {"ffn_gate.weight", INK_TENSOR_MATRIX, INK_DIM_F, INK_DIM_D, LAYER(gate)},
    {"ffn_up.weight", INK_TENSOR_MATRIX, INK_DIM_F, INK_DIM_D, LAYER(up)},
    {"ffn_down.weight", INK_TENSOR_MATRIX, INK_DIM_D, INK_DIM_F, LAYER(down)},
    {"post_ffw_norm.weight", INK_TENSOR_VECTOR, INK_DIM_ONE, INK_DIM_D, LAYER(ffn_post_norm)},
};

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static const InkArchitecture architectures[] = {
    {
        .name = "llama",
        .tensors = llama_tensors,
        .n_tensors = N_OF(llama_tensors),
        .layer_tensors = llama_layer_tensors,
        .n_layer_tensors = N_OF(llama_layer_tensors),
        .rope_adjacent = true,
        .rope_base = 1e4f,
    },
    {
        .name = "gemma3",
        .tensors = gemma3_tensors,
        .n_tensors = N_OF(gemma3_tensors),
        .layer_tensors = gemma3_layer_tensors,
        .n_layer_tensors = N_OF(gemma3_layer_tensors),
        .gelu = true,
        .scale_embedding = true,
        .rope_base = 1e6f,
        .rope_base_local = 1e4f,
        .local_period = 6,
        .n_layers_scaled_by_width = 62,
    },
};

/* --- reading the metadata --- */

int ink_architecture_find(const InkGguf *g, const InkArchitecture **ret, InkError *reterr)
{
    InkGgufString name;
    INK_TRY(ink_gguf_get_string(g, "general.architecture", NULL, &name, reterr));
    for (size_t i = 0; i < N_OF(architectures); i++) {
        const InkArchitecture *a = &architectures[i];
        if (strlen(a->name) == name.n_bytes && memcmp(a->name, name.text, name.n_bytes) == 0) {
            *ret = a;
            return 0;
        }
    }
    /* The name comes from the file: only what can be a name is repeated. */
    char shown[32] = "";
    for (size_t i = 0; i < name.n_bytes && i < sizeof(shown) - 1; i++) {
        char c = name.text[i];
        shown[i] = c > ' ' && c < 127 ? c : '?';
    }
    char known[KEY_BYTES] = "";
    for (size_t i = 0; i < N_OF(architectures); i++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "", architectures[i].name);
    }
    return INK_RAISE(EOPNOTSUPP, reterr, "general.architecture is \"%s\"; this build supports: %s",
                     shown, known);
}

static int get_u32(const InkArchitecture *a, const InkGguf *g, const char *name, uint32_t min,
                   uint32_t max, const uint32_t *fallback, size_t *ret, InkError *reterr)
{
    char key[KEY_BYTES];
    uint32_t value;
    snprintf(key, sizeof(key), "%s.%s", a->name, name);
    INK_TRY(ink_gguf_get_u32(g, key, min, max, fallback, &value, reterr));
    *ret = value;
    return 0;
}

/* A float above 0 and at most `max`. */
static int get_positive(const InkArchitecture *a, const InkGguf *g, const char *name, float max,
                        const float *fallback, float *ret, InkError *reterr)
{
    char key[KEY_BYTES];
    float value;
    snprintf(key, sizeof(key), "%s.%s", a->name, name);
    INK_TRY(ink_gguf_get_f32(g, key, fallback, &value, reterr));
    INK_CHECK(isfinite(value) && value > 0.0f && value <= max, EBADMSG, reterr,
              "%s is %g, must be above 0 and at most %g", key, (double)value, (double)max);
    *ret = value;
    return 0;
}

/* Features that change the numbers: a file that asks for one is refused, not run without it. */
static int refuse_unknown_features(const InkArchitecture *a, const InkGguf *g, InkError *reterr)
{
    static const char *const features[] = {"expert_count", "attention.causal",
                                           "attn_logit_softcapping", "final_logit_softcapping",
                                           "attention.sliding_window"};
    size_t n = N_OF(features) - (a->local_period > 0 ? 1 : 0); /* the last one is read then */
    for (size_t i = 0; i < n; i++) {
        char key[KEY_BYTES];
        snprintf(key, sizeof(key), "%s.%s", a->name, features[i]);
        if (!ink_gguf_has(g, key))
            continue;
        float number;
        uint32_t count;
        bool flag, harmless = false;
        if (ink_gguf_get_bool(g, key, NULL, &flag, NULL) == 0)
            harmless = flag;
        else if (ink_gguf_get_f32(g, key, NULL, &number, NULL) == 0)
            harmless = number == 0.0f;
        else if (ink_gguf_get_u32(g, key, 0, UINT32_MAX, NULL, &count, NULL) == 0)
            harmless = count == 0;
        INK_CHECK(harmless, EOPNOTSUPP, reterr, "%s: this build does not have that feature", key);
    }
    return 0;
}

static int read_heads(const InkArchitecture *a, const InkGguf *g, InkHyper *h, InkError *reterr)
{
    INK_TRY(
        get_u32(a, g, "attention.head_count", 1, INK_MODEL_MAX_HEADS, NULL, &h->n_heads, reterr));
    const uint32_t as_heads = (uint32_t)h->n_heads;
    INK_TRY(
        get_u32(a, g, "attention.head_count_kv", 1, as_heads, &as_heads, &h->n_kv_heads, reterr));
    INK_CHECK(h->n_heads % h->n_kv_heads == 0, EBADMSG, reterr,
              "%s.attention.head_count %zu is no multiple of head_count_kv %zu", a->name,
              h->n_heads, h->n_kv_heads);

    const uint32_t none = 0;
    size_t key_length, value_length;
    INK_TRY(get_u32(a, g, "attention.key_length", 0, UINT32_MAX, &none, &key_length, reterr));
    INK_TRY(get_u32(a, g, "attention.value_length", 0, UINT32_MAX, &none, &value_length, reterr));
    if (key_length == 0) {
        INK_CHECK(h->n_embedding % h->n_heads == 0, EBADMSG, reterr,
                  "%s.embedding_length %zu is no multiple of attention.head_count %zu", a->name,
                  h->n_embedding, h->n_heads);
        key_length = h->n_embedding / h->n_heads;
    }
    INK_CHECK(key_length % 16 == 0 && key_length <= INK_MODEL_MAX_HEAD, EOPNOTSUPP, reterr,
              "%s.attention.key_length is %zu, must be a multiple of 16 up to %u", a->name,
              key_length, INK_MODEL_MAX_HEAD);
    INK_CHECK(value_length == 0 || value_length == key_length, EOPNOTSUPP, reterr,
              "%s.attention.value_length %zu differs from the key length %zu", a->name,
              value_length, key_length);
    h->n_head_size = key_length;
    bool by_width = h->n_layers == a->n_layers_scaled_by_width;
    INK_CHECK(!by_width || h->n_embedding >= h->n_heads, EBADMSG, reterr,
              "%s.embedding_length %zu is less than attention.head_count %zu", a->name,
              h->n_embedding, h->n_heads);
    h->attention_scale = 1.0f / sqrtf((float)(by_width ? h->n_embedding / h->n_heads : key_length));
    return 0;
}

/* A factor without a type is linear, as writers of older files meant it. */
static int read_rope_scaling(const InkArchitecture *a, const InkGguf *g, InkHyper *h,
                             InkError *reterr)
{
    char key[KEY_BYTES];
    const InkGgufString linear = {"linear", 6};
    InkGgufString type;
    snprintf(key, sizeof(key), "%s.rope.scaling.type", a->name);
    INK_TRY(ink_gguf_get_string(g, key, &linear, &type, reterr));
    h->rope_factor = 1.0f;
    if (type.n_bytes == 4 && memcmp(type.text, "none", 4) == 0)
        return 0;
    INK_CHECK(type.n_bytes == linear.n_bytes && memcmp(type.text, linear.text, type.n_bytes) == 0,
              EOPNOTSUPP, reterr, "%s is \"%s\"; this build supports: none, linear", key,
              ink_gguf_shown(type).text);
    const float one = 1.0f;
    return get_positive(a, g, "rope.scaling.factor", 1e6f, &one, &h->rope_factor, reterr);
}

static int read_rope(const InkArchitecture *a, const InkGguf *g, InkHyper *h, InkError *reterr)
{
    const uint32_t whole_head = (uint32_t)h->n_head_size;
    INK_TRY(get_u32(a, g, "rope.dimension_count", 2, whole_head, &whole_head, &h->n_rope, reterr));
    INK_CHECK(h->n_rope % 2 == 0, EBADMSG, reterr, "%s.rope.dimension_count is %zu, must be even",
              a->name, h->n_rope);
    INK_TRY(get_positive(a, g, "rope.freq_base", 1e12f, &a->rope_base, &h->rope_base, reterr));
    INK_TRY(read_rope_scaling(a, g, h, reterr));
    if (a->local_period == 0)
        return 0;
    float base; /* the key has two spellings */
    INK_TRY(get_positive(a, g, "rope.local.freq_base", 1e12f, &a->rope_base_local, &base, reterr));
    return get_positive(a, g, "rope.freq_base_swa", 1e12f, &base, &h->rope_base_local, reterr);
}

/* Which layers are local: a period, or a flag for each layer. */
static int read_local_layers(const InkArchitecture *a, const InkGguf *g, InkHyper *h,
                             InkError *reterr)
{
    if (a->local_period == 0)
        return 0;
    const uint32_t none = 0;
    INK_TRY(get_u32(a, g, "attention.sliding_window", 0, UINT32_MAX, &none, &h->window, reterr));
    if (h->window == 0)
        return 0;
    char key[KEY_BYTES];
    InkGgufArray flags;
    snprintf(key, sizeof(key), "%s.attention.sliding_window_pattern", a->name);
    if (ink_gguf_get_array(g, key, INK_GGUF_BOOL, &flags, NULL) == 0) {
        INK_CHECK(flags.n == h->n_layers, EBADMSG, reterr, "%s has %zu flags for %zu layers", key,
                  flags.n, h->n_layers);
        for (size_t i = 0; i < h->n_layers; i++)
            h->is_local[i] = flags.data[i] != 0;
        return 0;
    }
    uint32_t period;
    INK_TRY(ink_gguf_get_u32(g, key, 1, INK_MODEL_MAX_LAYERS, &a->local_period, &period, reterr));
    for (size_t i = 0; i < h->n_layers; i++)
        h->is_local[i] = (i + 1) % period != 0;
    return 0;
}

int ink_architecture_read_hyper(const InkArchitecture *a, const InkGguf *g, InkHyper *ret,
                                InkError *reterr)
{
    InkHyper h = {0};
    INK_TRY(refuse_unknown_features(a, g, reterr));
    INK_TRY(get_u32(a, g, "block_count", 1, INK_MODEL_MAX_LAYERS, NULL, &h.n_layers, reterr));
    INK_TRY(get_u32(a, g, "context_length", 1, INK_MODEL_MAX_CONTEXT, NULL, &h.n_context, reterr));
    INK_TRY(
        get_u32(a, g, "embedding_length", 1, INK_MODEL_MAX_WIDTH, NULL, &h.n_embedding, reterr));
    INK_TRY(get_u32(a, g, "feed_forward_length", 1, INK_MODEL_MAX_WIDTH, NULL, &h.n_feedforward,
                    reterr));
    INK_TRY(read_heads(a, g, &h, reterr));
    INK_TRY(read_rope(a, g, &h, reterr));
    INK_TRY(read_local_layers(a, g, &h, reterr));
    h.embedding_scale = a->scale_embedding ? sqrtf((float)h.n_embedding) : 1.0f;
    INK_TRY(
        get_positive(a, g, "attention.layer_norm_rms_epsilon", 1.0f, NULL, &h.norm_eps, reterr));

    /* The embedding says how many rows there are; the metadata may only agree. */
    const InkGgufTensor *embedding = ink_gguf_tensor(g, a->tensors[0].name);
    INK_CHECK(embedding != NULL, EBADMSG, reterr, "tensor %s is missing", a->tensors[0].name);
    INK_CHECK(embedding->dims[1] >= 1 && embedding->dims[1] <= INK_MODEL_MAX_VOCAB, EBADMSG, reterr,
              "tensor %s has %llu rows, must be 1 to %u", a->tensors[0].name,
              (unsigned long long)embedding->dims[1], INK_MODEL_MAX_VOCAB);
    const uint32_t rows = (uint32_t)embedding->dims[1];
    INK_TRY(get_u32(a, g, "vocab_size", 0, UINT32_MAX, &rows, &h.n_vocab, reterr));
    INK_CHECK(h.n_vocab == rows, EBADMSG, reterr, "%s.vocab_size is %zu, but tensor %s has %u rows",
              a->name, h.n_vocab, a->tensors[0].name, rows);
    *ret = h;
    return 0;
}

size_t ink_architecture_dim(const InkHyper *h, InkDim dim)
{
    const size_t dims[INK_DIM_MAX] = {
        [INK_DIM_ONE] = 1,
        [INK_DIM_D] = h->n_embedding,
        [INK_DIM_HS] = h->n_heads * h->n_head_size,
        [INK_DIM_KS] = h->n_kv_heads * h->n_head_size,
        [INK_DIM_S] = h->n_head_size,
        [INK_DIM_F] = h->n_feedforward,
        [INK_DIM_V] = h->n_vocab,
        [INK_DIM_ROPE_PAIRS] = h->n_rope / 2,
    };
    return dims[dim];
}
