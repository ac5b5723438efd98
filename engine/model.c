/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/model.h"

#include <math.h>
#include <string.h>

#include "engine/base/alloc.h"

#define NAME_BYTES      96
#define VECTOR_ALIGN    16  /* values: 64 bytes */
#define MAX_TYPES       64u /* above the type numbers of GGUF */
#define HASH_START      0xcbf29ce484222325u
#define HASH_MULTIPLIER 0x100000001b3u

/* A vector that is copied once all tensors are found sound: a file that promises many long ones
 * without having them costs no memory. */
typedef struct Vector {
    const float **slot;
    const InkGgufTensor *source;
} Vector;

/* What is gathered while the tables are walked. */
typedef struct Loader {
    const InkGguf *g;
    InkModel *model;
    InkMatrix **matrices; /* in packed order */
    size_t n_matrices;
    Vector *vectors;
    size_t n_vectors;
    size_t n_used; /* tensors of the file that the table names */
    uint64_t shapes_hash;
} Loader;

static size_t round_up(size_t n_values)
{
    return (n_values + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
}

/* The tensor of a spec, with type and shape checked; NULL in *ret when it is optional and absent.
 */
static int find_tensor(Loader *l, const InkTensorSpec *spec, const char *name,
                       const InkGgufTensor **ret, InkError *reterr)
{
    const InkGgufTensor *t = ink_gguf_tensor(l->g, name);
    if (t != NULL)
        l->n_used++;
    else if (spec->or_else != NULL)
        t = ink_gguf_tensor(l->g, spec->or_else);
    if (t == NULL) {
        INK_CHECK(spec->optional, EBADMSG, reterr, "tensor %s is missing", name);
        *ret = NULL;
        return 0;
    }
    size_t n_outputs = ink_architecture_dim(&l->model->hyper, spec->n_outputs);
    size_t n_inputs = ink_architecture_dim(&l->model->hyper, spec->n_inputs);
    INK_CHECK(t->dims[0] == n_inputs && t->dims[1] == n_outputs && t->dims[2] == 1 &&
                  t->dims[3] == 1,
              EBADMSG, reterr, "tensor %s is [%llu, %llu], the metadata says [%zu, %zu]", name,
              (unsigned long long)t->dims[1], (unsigned long long)t->dims[0], n_outputs, n_inputs);
    *ret = t;
    return 0;
}

/* The type of a tensor, and that its bytes are as many as its shape says. */
static int check_bytes(const InkGgufTensor *t, const char *name, const InkQuantType **ret_type,
                       size_t *ret_row_bytes, InkError *reterr)
{
    const InkQuantType *type = ink_quant_type(t->type);
    INK_CHECK(type != NULL, EOPNOTSUPP, reterr, "tensor %s: unknown type %u", name, t->type);
    size_t row_bytes, n_bytes;
    INK_CHECK(ink_quant_row_bytes(type, t->dims[0], &row_bytes), EBADMSG, reterr,
              "tensor %s: rows of %llu values do not fit type %s", name,
              (unsigned long long)t->dims[0], type->name);
    INK_CHECK(ink_size_mul(row_bytes, t->dims[1], &n_bytes) && n_bytes <= t->size_bytes, EBADMSG,
              reterr, "tensor %s is shorter than its shape", name);
    *ret_type = type;
    *ret_row_bytes = row_bytes;
    return 0;
}

static void hash_number(uint64_t *hash, uint64_t number)
{
    for (size_t i = 0; i < 8; i++) {
        *hash ^= (number >> (8 * i)) & 0xff;
        *hash *= HASH_MULTIPLIER;
    }
}

static int load_matrix(Loader *l, InkMatrix *m, const InkGgufTensor *t, const char *name,
                       InkError *reterr)
{
    const InkQuantType *type;
    size_t row_bytes;
    INK_TRY(check_bytes(t, name, &type, &row_bytes, reterr));
    INK_CHECK(type->pack != INK_PACK_NONE, EOPNOTSUPP, reterr,
              "tensor %s: this build does not multiply type %s", name, type->name);
    m->pack = type->pack;
    m->n_outputs = (size_t)t->dims[1];
    m->n_inputs = (size_t)t->dims[0];
    m->n_groups = (m->n_outputs + INK_PACK_ROWS - 1) / INK_PACK_ROWS;
    m->source = t;
    m->packed_off = l->model->packed_bytes;
    size_t end;
    INK_CHECK(ink_kernels_packed_bytes(m->pack, m->n_outputs, m->n_inputs, &m->packed_bytes) &&
                  ink_size_add(m->packed_off, m->packed_bytes, &end) &&
                  ink_size_align(end, INK_MODEL_PACK_ALIGN, &l->model->packed_bytes),
              EBADMSG, reterr, "tensor %s does not fit this machine's addresses", name);
    l->matrices[l->n_matrices++] = m;
    hash_number(&l->shapes_hash, (uint64_t)m->pack);
    hash_number(&l->shapes_hash, t->type);
    hash_number(&l->shapes_hash, m->n_outputs);
    hash_number(&l->shapes_hash, m->n_inputs);
    hash_number(&l->shapes_hash, m->packed_off);
    return 0;
}

static int load_vector(Loader *l, const float **slot, const InkGgufTensor *t, const char *name,
                       InkError *reterr)
{
    const InkQuantType *type;
    size_t row_bytes;
    INK_TRY(check_bytes(t, name, &type, &row_bytes, reterr));
    l->vectors[l->n_vectors++] = (Vector){slot, t};
    return 0;
}

static int copy_vectors(Loader *l, InkError *reterr)
{
    size_t n_values = 0; /* no wrap: each length was checked against the file's bytes */
    for (size_t i = 0; i < l->n_vectors; i++)
        n_values += round_up((size_t)l->vectors[i].source->dims[0]);
    l->model->vectors = ink_alloc_aligned(n_values * sizeof(float));
    INK_CHECK(l->model->vectors != NULL, ENOMEM, reterr, "no memory for %zu norms", l->n_vectors);
    float *values = l->model->vectors;
    for (size_t i = 0; i < l->n_vectors; i++) {
        const InkGgufTensor *t = l->vectors[i].source;
        size_t n = (size_t)t->dims[0];
        ink_quant_type(t->type)->dequantize(t->data, values, n);
        *l->vectors[i].slot = values;
        values += round_up(n);
    }
    const float *factors = l->model->rope_factors;
    for (size_t i = 0; factors != NULL && i < l->model->hyper.n_rope / 2; i++)
        INK_CHECK(isfinite(factors[i]) && factors[i] > 0.0f, EBADMSG, reterr,
                  "tensor rope_freqs.weight: factor %zu is %g, must be above 0", i,
                  (double)factors[i]);
    return 0;
}

static int load_lookup(InkLookup *slot, const InkGgufTensor *t, const char *name, InkError *reterr)
{
    const InkQuantType *type;
    size_t row_bytes;
    INK_TRY(check_bytes(t, name, &type, &row_bytes, reterr));
    *slot = (InkLookup){.rows = t->data, .row_bytes = row_bytes, .type = type};
    return 0;
}

static int load_tensor(Loader *l, const InkTensorSpec *spec, const char *name, void *owner,
                       InkError *reterr)
{
    const InkGgufTensor *t = NULL;
    INK_TRY(find_tensor(l, spec, name, &t, reterr));
    if (t == NULL)
        return 0;
    void *slot = (uint8_t *)owner + spec->slot;
    if (spec->kind == INK_TENSOR_MATRIX)
        return load_matrix(l, slot, t, name, reterr);
    if (spec->kind == INK_TENSOR_VECTOR)
        return load_vector(l, slot, t, name, reterr);
    return load_lookup(slot, t, name, reterr);
}

/* Layers first: the packed order is the order in which a step reads. */
static int load_tensors(Loader *l, InkError *reterr)
{
    InkModel *m = l->model;
    const InkArchitecture *a = m->architecture;
    for (size_t layer = 0; layer < m->hyper.n_layers; layer++) {
        for (size_t i = 0; i < a->n_layer_tensors; i++) {
            char name[NAME_BYTES];
            snprintf(name, sizeof(name), "blk.%zu.%s", layer, a->layer_tensors[i].name);
            INK_TRY(load_tensor(l, &a->layer_tensors[i], name, &m->layers[layer], reterr));
        }
    }
    for (size_t i = 0; i < a->n_tensors; i++)
        INK_TRY(load_tensor(l, &a->tensors[i], a->tensors[i].name, m, reterr));
    return 0;
}

static bool equals(const char *known, const char *text, size_t n_bytes)
{
    return strlen(known) == n_bytes && memcmp(known, text, n_bytes) == 0;
}

/* Whether the architecture's table names this tensor. */
static bool is_named(const InkModel *m, const InkGgufString *name)
{
    const InkArchitecture *a = m->architecture;
    for (size_t i = 0; i < a->n_tensors; i++) {
        if (equals(a->tensors[i].name, name->text, name->n_bytes))
            return true;
    }
    size_t at = 4, layer = 0;
    if (name->n_bytes < at || memcmp(name->text, "blk.", at) != 0)
        return false;
    size_t first_digit = at;
    for (; at < name->n_bytes && name->text[at] >= '0' && name->text[at] <= '9'; at++) {
        layer = layer * 10 + (size_t)(name->text[at] - '0');
        if (layer >= m->hyper.n_layers)
            return false;
    }
    bool plain = at == first_digit + 1 || (at > first_digit && name->text[first_digit] != '0');
    if (!plain || at == name->n_bytes || name->text[at++] != '.')
        return false;
    for (size_t i = 0; i < a->n_layer_tensors; i++) {
        if (equals(a->layer_tensors[i].name, name->text + at, name->n_bytes - at))
            return true;
    }
    return false;
}

/* A tensor without a place is a feature without a place: running the rest would be quietly wrong.
 */
static int refuse_left_over(const Loader *l, InkError *reterr)
{
    size_t n_tensors = ink_gguf_n_tensors(l->g);
    if (l->n_used == n_tensors)
        return 0;
    char shown[64] = "";
    for (size_t i = 0; i < n_tensors; i++) {
        const InkGgufTensor *t = ink_gguf_tensor_at(l->g, i);
        if (is_named(l->model, &t->name))
            continue;
        for (size_t k = 0; k < t->name.n_bytes && k < sizeof(shown) - 1; k++)
            shown[k] = t->name.text[k] > ' ' && t->name.text[k] < 127 ? t->name.text[k] : '?';
        break;
    }
    return INK_RAISE(EOPNOTSUPP, reterr, "tensor %s: the %s family of this build has none", shown,
                     l->model->architecture->name);
}

static int make_room(Loader *l, InkError *reterr)
{
    InkModel *m = l->model;
    const InkArchitecture *a = m->architecture;
    INK_CHECK(ink_gguf_n_tensors(l->g) / a->n_layer_tensors >= m->hyper.n_layers, EBADMSG, reterr,
              "%s.block_count is %zu, but the file has %zu tensors", a->name, m->hyper.n_layers,
              ink_gguf_n_tensors(l->g));
    size_t n = a->n_tensors + a->n_layer_tensors * m->hyper.n_layers;
    m->layers = ink_alloc_array(m->hyper.n_layers, sizeof(*m->layers));
    l->matrices = ink_alloc_array(n, sizeof(InkMatrix *));
    l->vectors = ink_alloc_array(n, sizeof(*l->vectors));
    INK_CHECK(m->layers != NULL && l->matrices != NULL && l->vectors != NULL, ENOMEM, reterr,
              "no memory for the tables of %zu layers", m->hyper.n_layers);
    return 0;
}

static uint64_t count_values(const InkGguf *g, uint32_t type)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ink_gguf_n_tensors(g); i++) {
        const InkGgufTensor *t = ink_gguf_tensor_at(g, i);
        if (t->type == type)
            n += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return n;
}

static void count_parameters(InkModel *m, const InkGguf *g)
{
    uint64_t most = 0;
    for (uint32_t type = 0; type < MAX_TYPES; type++) {
        if (ink_quant_type(type) == NULL)
            continue;
        uint64_t n = count_values(g, type);
        m->n_parameters += n;
        if (n > most) {
            most = n;
            m->quantization = ink_quant_type(type)->name;
        }
    }
}

typedef struct PackJob {
    const InkKernels *kernels;
    InkMatrix *const *matrices;
    size_t n_matrices;
    uint8_t *packed;
} PackJob;

static void pack_share(void *userdata, size_t thread, size_t n_threads)
{
    const PackJob *job = userdata;
    for (size_t i = 0; i < job->n_matrices; i++) {
        const InkMatrix *m = job->matrices[i];
        const InkGgufTensor *t = m->source;
        size_t begin, end;
        ink_threads_range(m->n_groups, thread, n_threads, &begin, &end);
        if (begin == end)
            continue;
        job->kernels->pack[m->pack](t->data, t->size_bytes / m->n_outputs, t->type, m->n_outputs,
                                    m->n_inputs, begin, end, job->packed + m->packed_off);
    }
}

static int pack_all(Loader *l, const InkKernels *kernels, InkThreads *threads,
                    const InkPackCacheOptions *cache, InkError *reterr)
{
    InkModel *m = l->model;
    InkPackCacheHeader header = cache->header;
    header.magic = INK_PACK_CACHE_MAGIC;
    header.layout = INK_PACK_CACHE_LAYOUT;
    header.complete = 1;
    header.shapes_hash = l->shapes_hash;
    header.packed_bytes = m->packed_bytes;
    INK_TRY(ink_pack_store_open(cache->fd, cache->locked, &header, &m->store, reterr));
    if (m->store.state != INK_PACK_STATE_READY) {
        PackJob job = {kernels, l->matrices, l->n_matrices, m->store.packed};
        ink_threads_run(threads, pack_share, &job);
        ink_pack_store_complete(&m->store, &header);
    }
    for (size_t i = 0; i < l->n_matrices; i++)
        l->matrices[i]->packed = m->store.packed + l->matrices[i]->packed_off;
    return 0;
}

int ink_model_open(const InkGguf *g, const InkKernels *kernels, InkThreads *threads,
                   const InkPackCacheOptions *cache, InkModel **ret, InkError *reterr)
{
    _cleanup_(ink_model_close_p) InkModel *m = ink_alloc_array(1, sizeof(*m));
    INK_CHECK(m != NULL, ENOMEM, reterr, "no memory for the model");
    INK_TRY(ink_architecture_find(g, &m->architecture, reterr));
    INK_TRY(ink_architecture_read_hyper(m->architecture, g, &m->hyper, reterr));

    Loader l = {.g = g, .model = m, .shapes_hash = HASH_START};
    int r = make_room(&l, reterr);
    _cleanup_free_ InkMatrix **matrices = l.matrices;
    _cleanup_free_ Vector *vectors = l.vectors;
    INK_TRY(r);
    INK_TRY(load_tensors(&l, reterr));
    INK_TRY(refuse_left_over(&l, reterr));
    INK_TRY(copy_vectors(&l, reterr));
    count_parameters(m, g);
    if (kernels != NULL)
        INK_TRY(pack_all(&l, kernels, threads, cache, reterr));
    *ret = INK_TAKE(m);
    return 0;
}

InkModel *ink_model_close(InkModel *m)
{
    if (m == NULL)
        return NULL;
    ink_pack_store_done(&m->store);
    free(m->layers);
    free(m->vectors);
    free(m);
    return NULL;
}
