/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/forward.h"

#include <math.h>

/* Rows of one attention job: enough for the kernel to use a block of keys several times, few enough
 * that the threads' shares of a triangle of positions come out even. */
#define ATTENTION_ROWS 32u

/* One run through the layers, seen by all threads. */
typedef struct Pass {
    const InkForward *f;
    const InkForwardStep *step;
    bool own_lanes; /* few rows: each thread has its own residual stream */
    bool cancelled; /* written by thread 0 before a barrier, read after it */
} Pass;

/* What one thread needs in every phase. */
typedef struct Worker {
    Pass *pass;
    const InkForward *f;
    const InkHyper *h;
    InkWorkspace *w;
    InkLane *lane;
    InkLane *own;
    size_t thread;
    size_t n_threads;
    size_t n_rows;
    size_t row_begin; /* its share of the row phases: all rows in own lanes */
    size_t row_end;
} Worker;

static void meet(const Worker *k)
{
    ink_threads_barrier(k->f->threads);
}

/* After a phase that is split by rows: its results are needed by everybody. */
static void meet_after_rows(const Worker *k)
{
    if (!k->pass->own_lanes)
        meet(k);
}

static bool wants_quant(const InkMatrix *m)
{
    return m->pack != INK_PACK_F32;
}

static void multiply(const Worker *k, const InkMatrix *m, size_t group_begin, size_t group_end,
                     const InkMatmulInput *input, float *out, size_t out_stride, size_t n_rows)
{
    if (group_begin < group_end)
        k->f->kernels->matmul[m->pack](m->packed, group_begin, group_end, m->n_inputs, input,
                                       n_rows, out, out_stride);
}

/* A matrix of which every thread takes its share of the outputs. */
static void multiply_share(const Worker *k, const InkMatrix *m, const InkMatmulInput *input,
                           float *out, size_t out_stride, size_t n_rows)
{
    size_t begin, end;
    ink_threads_range(m->n_groups, k->thread, k->n_threads, &begin, &end);
    multiply(k, m, begin, end, input, out, out_stride, n_rows);
}

/* --- start of a step --- */

static void look_up_embeddings(const Worker *k)
{
    const InkLookup *table = &k->f->model->embedding;
    for (size_t t = k->row_begin; t < k->row_end; t++) {
        float *x = k->lane->x + t * k->w->d_stride;
        table->type->dequantize(table->rows + k->w->tokens[t] * table->row_bytes, x,
                                k->h->n_embedding);
        for (size_t i = 0; k->h->embedding_scale != 1.0f && i < k->h->n_embedding; i++)
            x[i] *= k->h->embedding_scale;
    }
}

/* Angles in double: in float they are off by whole turns at far positions (A2). */
static void compute_rope_table(const Worker *k, const InkRopeTable *rope)
{
    size_t begin, end, n_pairs = k->h->n_rope / 2;
    ink_threads_range(k->n_rows, k->thread, k->n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        float *cos_sin = rope->cos_sin + t * k->w->rope_stride;
        for (size_t i = 0; i < n_pairs; i++) {
            double angle = k->w->positions[t] * rope->inverse_wavelengths[i];
            cos_sin[2 * i] = (float)cos(angle);
            cos_sin[2 * i + 1] = (float)sin(angle);
        }
    }
}

/* --- row phases --- */

/* x += what the last block has projected, normed first if it has a norm for that. That norm goes
 * through `normed`: in own lanes all threads read the same projected row. */
static void add_projected(const Worker *k, float *x, size_t t, const float *post_norm,
                          float *normed)
{
    const float *projected = k->w->projected + t * k->w->d_stride;
    if (post_norm != NULL) {
        k->f->kernels->rms_norm(projected, post_norm, k->h->n_embedding, k->h->norm_eps, normed);
        projected = normed;
    }
    k->f->kernels->add(x, projected, k->h->n_embedding);
}

/* Adds the last block, if there is one; normed = norm(x), quantised if a matmul wants it. */
static void add_and_norm(const Worker *k, bool add, const float *post_norm, const float *weight,
                         bool quantize)
{
    const InkKernels *kernels = k->f->kernels;
    size_t stride = k->w->d_stride, n = k->h->n_embedding;
    for (size_t t = k->row_begin; t < k->row_end; t++) {
        float *x = k->lane->x + t * stride, *normed = k->lane->normed + t * stride;
        if (add)
            add_projected(k, x, t, post_norm, normed);
        kernels->rms_norm(x, weight, n, k->h->norm_eps, normed);
    }
    if (quantize)
        kernels->quantize_rows(k->lane->normed, stride, k->row_begin, k->row_end, n,
                               &k->lane->quant);
    meet_after_rows(k);
}

static void quantize_for(const Worker *k, const InkMatrix *m, const float *x, size_t x_stride)
{
    if (!wants_quant(m))
        return;
    k->f->kernels->quantize_rows(x, x_stride, k->row_begin, k->row_end, m->n_inputs,
                                 &k->lane->quant);
    meet_after_rows(k);
}

/* --- attention --- */

static void multiply_heads(const Worker *k, const InkMatrix *m, size_t head_begin, size_t head_end,
                           float *out, size_t out_stride)
{
    const InkMatmulInput input = {k->lane->normed, k->w->d_stride, &k->lane->quant};
    size_t n_groups = k->h->n_head_size / INK_PACK_ROWS;
    multiply(k, m, head_begin * n_groups, head_end * n_groups, &input, out, out_stride, k->n_rows);
}

static void rotate_heads(const Worker *k, size_t layer, const float *norm, float *x, size_t stride,
                         size_t head_begin, size_t head_end)
{
    const InkKernels *kernels = k->f->kernels;
    const InkRopeTable *rope = &k->w->ropes[k->h->is_local[layer]];
    size_t n = k->h->n_head_size;
    for (size_t t = 0; t < k->n_rows; t++) {
        const float *cos_sin = rope->cos_sin + t * k->w->rope_stride;
        for (size_t head = head_begin; head < head_end; head++) {
            float *of_head = x + t * stride + head * n;
            if (norm != NULL)
                kernels->rms_norm(of_head, norm, n, k->h->norm_eps, of_head);
            kernels->rope(of_head, cos_sin, k->h->n_rope / 2,
                          k->f->model->architecture->rope_adjacent);
        }
    }
}

static void store_keys(const Worker *k, size_t layer, size_t head_begin, size_t head_end)
{
    size_t n = k->h->n_head_size;
    for (size_t t = 0; t < k->n_rows; t++) {
        size_t slot = k->w->positions[t] % INK_KV_BLOCK;
        for (size_t head = head_begin; head < head_end; head++)
            k->f->kernels->store_f16(k->w->k + t * k->w->ks_stride + head * n, n,
                                     ink_kv_pool_k(k->f->kv, k->w->blocks[t], layer, head) + slot,
                                     INK_KV_BLOCK);
    }
}

static void store_values(const Worker *k, size_t layer, size_t head_begin, size_t head_end)
{
    size_t n = k->h->n_head_size;
    for (size_t t = 0; t < k->n_rows; t++) {
        size_t slot = k->w->positions[t] % INK_KV_BLOCK;
        for (size_t head = head_begin; head < head_end; head++)
            k->f->kernels->store_f16(
                k->w->v + t * k->w->ks_stride + head * n, n,
                ink_kv_pool_v(k->f->kv, k->w->blocks[t], layer, head) + slot * n, 1);
    }
}

/* Part of [begin, end) that lies in [first, first + n), counted from `first`. */
static void clip(size_t begin, size_t end, size_t first, size_t n, size_t *ret_begin,
                 size_t *ret_end)
{
    *ret_begin = begin > first ? begin - first : 0;
    *ret_end = end > first ? end - first : 0;
    if (*ret_end > n)
        *ret_end = n;
    if (*ret_begin > *ret_end)
        *ret_begin = *ret_end;
}

/* q, k and v are one job over H + 2 K heads, so that whoever has a head may rotate and store it. */
static void project_heads(const Worker *k, const InkLayer *layer, size_t layer_index)
{
    size_t n_heads = k->h->n_heads, n_kv = k->h->n_kv_heads, begin, end, a, b;
    ink_threads_range(n_heads + 2 * n_kv, k->thread, k->n_threads, &begin, &end);
    clip(begin, end, 0, n_heads, &a, &b);
    multiply_heads(k, &layer->q, a, b, k->w->q, k->w->hs_stride);
    rotate_heads(k, layer_index, layer->q_norm, k->w->q, k->w->hs_stride, a, b);
    clip(begin, end, n_heads, n_kv, &a, &b);
    multiply_heads(k, &layer->k, a, b, k->w->k, k->w->ks_stride);
    rotate_heads(k, layer_index, layer->k_norm, k->w->k, k->w->ks_stride, a, b);
    store_keys(k, layer_index, a, b);
    clip(begin, end, n_heads + n_kv, n_kv, &a, &b);
    multiply_heads(k, &layer->v, a, b, k->w->v, k->w->ks_stride);
    store_values(k, layer_index, a, b);
    meet(k);
}

/* The kernel decides by blocks: what any position of the row's block sees is looked at. */
static size_t first_block_seen(size_t position, size_t window)
{
    size_t first = position / INK_KV_BLOCK * INK_KV_BLOCK;
    return window > 0 && first >= window ? (first - window + 1) / INK_KV_BLOCK : 0;
}

/* Query heads [head, head + n_heads) of one kv-head, rows [row, row + n_rows) of one run. */
static void attend(const Worker *k, const InkRun *run, size_t layer, size_t head, size_t n_heads,
                   size_t row, size_t n_rows)
{
    size_t kv_head = head / (k->h->n_heads / k->h->n_kv_heads);
    size_t position = run->first_position + row;
    size_t window = k->h->is_local[layer] ? k->h->window : 0;
    size_t n_blocks = (position + n_rows - 1) / INK_KV_BLOCK + 1;
    for (size_t i = first_block_seen(position, window); i < n_blocks; i++) {
        k->own->k_blocks[i] = ink_kv_pool_k(k->f->kv, run->blocks[i], layer, kv_head);
        k->own->v_blocks[i] = ink_kv_pool_v(k->f->kv, run->blocks[i], layer, kv_head);
    }
    size_t at = (run->first_row + row) * k->w->hs_stride + head * k->h->n_head_size;
    const InkAttention job = {
        .k_blocks = k->own->k_blocks,
        .v_blocks = k->own->v_blocks,
        .head_size = k->h->n_head_size,
        .n_heads_per_kv = n_heads,
        .scale = k->h->attention_scale,
        .q = k->w->q + at,
        .q_stride = k->w->hs_stride,
        .out = k->w->attended + at,
        .out_stride = k->w->hs_stride,
        .n_rows = n_rows,
        .first_position = position,
        .window = window,
    };
    k->f->kernels->attention(&job);
}

/* Few rows: each thread takes a range of (run, query head), so that nine heads on two threads are
 * five and four and not six and three. */
static void attend_by_heads(const Worker *k, size_t layer)
{
    size_t n_heads = k->h->n_heads, per_kv = n_heads / k->h->n_kv_heads, begin, end;
    ink_threads_range(k->pass->step->n_runs * n_heads, k->thread, k->n_threads, &begin, &end);
    while (begin < end) {
        const InkRun *run = &k->w->runs[begin / n_heads];
        size_t head = begin % n_heads;
        size_t n = per_kv - head % per_kv;
        if (n > end - begin)
            n = end - begin;
        attend(k, run, layer, head, n, 0, run->n_rows);
        begin += n;
    }
}

/* Many rows: chunks are dealt out in turn, since later rows see more positions. */
static void attend_by_rows(const Worker *k, size_t layer)
{
    size_t per_kv = k->h->n_heads / k->h->n_kv_heads, turn = 0;
    for (size_t i = 0; i < k->pass->step->n_runs; i++) {
        const InkRun *run = &k->w->runs[i];
        for (size_t row = 0; row < run->n_rows; row += ATTENTION_ROWS) {
            size_t n_rows = run->n_rows - row < ATTENTION_ROWS ? run->n_rows - row : ATTENTION_ROWS;
            for (size_t kv_head = 0; kv_head < k->h->n_kv_heads; kv_head++) {
                if (turn++ % k->n_threads == k->thread)
                    attend(k, run, layer, kv_head * per_kv, per_kv, row, n_rows);
            }
        }
    }
}

static void attention_block(const Worker *k, size_t layer_index)
{
    const InkLayer *layer = &k->f->model->layers[layer_index];
    bool first = layer_index == 0;
    bool quantize = wants_quant(&layer->q) || wants_quant(&layer->k) || wants_quant(&layer->v);
    add_and_norm(k, !first, first ? NULL : layer[-1].ffn_post_norm, layer->attention_norm,
                 quantize);
    project_heads(k, layer, layer_index);
    if (k->n_rows <= ATTENTION_ROWS)
        attend_by_heads(k, layer_index);
    else
        attend_by_rows(k, layer_index);
    meet(k);
    quantize_for(k, &layer->o, k->w->attended, k->w->hs_stride);
    const InkMatmulInput input = {k->w->attended, k->w->hs_stride, &k->lane->quant};
    multiply_share(k, &layer->o, &input, k->w->projected, k->w->d_stride, k->n_rows);
    meet(k);
}

/* --- feed-forward --- */

static void feed_forward_block(const Worker *k, const InkLayer *layer)
{
    add_and_norm(k, true, layer->attention_post_norm, layer->ffn_norm,
                 wants_quant(&layer->gate) || wants_quant(&layer->up));
    const InkMatmulInput input = {k->lane->normed, k->w->d_stride, &k->lane->quant};
    size_t stride = k->w->f_stride, begin, end;
    ink_threads_range(layer->gate.n_groups, k->thread, k->n_threads, &begin, &end);
    multiply(k, &layer->gate, begin, end, &input, k->w->gate, stride, k->n_rows);
    multiply(k, &layer->up, begin, end, &input, k->w->up, stride, k->n_rows);
    size_t at = begin * INK_PACK_ROWS, n = (end - begin) * INK_PACK_ROWS;
    const InkKernels *kernels = k->f->kernels;
    bool gelu = k->f->model->architecture->gelu;
    for (size_t t = 0; t < k->n_rows && n > 0; t++)
        (gelu ? kernels->gelu_mul : kernels->silu_mul)(k->w->gate + t * stride + at,
                                                       k->w->up + t * stride + at, n);
    meet(k);
    quantize_for(k, &layer->down, k->w->gate, stride);
    const InkMatmulInput hidden = {k->w->gate, stride, &k->lane->quant};
    multiply_share(k, &layer->down, &hidden, k->w->projected, k->w->d_stride, k->n_rows);
}

/* --- end of a step --- */

/* Norm and head of the rows that want logits, gathered to the front of `normed`. */
static void compute_logits(const Worker *k)
{
    const InkKernels *kernels = k->f->kernels;
    const InkModel *m = k->f->model;
    size_t n = k->pass->step->n_logits, stride = k->w->d_stride, begin = 0, end = n;
    if (!k->pass->own_lanes)
        ink_threads_range(n, k->thread, k->n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        size_t t = k->w->logit_rows[i];
        float *x = k->lane->x + t * stride, *normed = k->lane->normed + i * stride;
        add_projected(k, x, t, m->layers[k->h->n_layers - 1].ffn_post_norm, normed);
        kernels->rms_norm(x, m->output_norm, k->h->n_embedding, k->h->norm_eps, normed);
    }
    if (wants_quant(&m->head))
        kernels->quantize_rows(k->lane->normed, stride, begin, end, k->h->n_embedding,
                               &k->lane->quant);
    meet_after_rows(k);
    const InkMatmulInput input = {k->lane->normed, stride, &k->lane->quant};
    multiply_share(k, &m->head, &input, k->w->logits, k->w->v_stride, n);
}

static void run_pass(void *userdata, size_t thread, size_t n_threads)
{
    Pass *p = userdata;
    const InkForward *f = p->f;
    Worker k = {
        .pass = p,
        .f = f,
        .h = &f->model->hyper,
        .w = f->workspace,
        .own = &f->workspace->own[thread],
        .thread = thread,
        .n_threads = n_threads,
        .n_rows = p->step->n_rows,
        .row_end = p->step->n_rows,
    };
    k.lane = p->own_lanes ? k.own : &f->workspace->shared;
    if (!p->own_lanes)
        ink_threads_range(k.n_rows, thread, n_threads, &k.row_begin, &k.row_end);

    look_up_embeddings(&k);
    for (size_t i = 0; i < k.w->n_ropes; i++)
        compute_rope_table(&k, &k.w->ropes[i]);
    meet(&k);
    for (size_t i = 0; i < k.h->n_layers; i++) {
        attention_block(&k, i);
        feed_forward_block(&k, &f->model->layers[i]);
        if (thread == 0 && p->step->cancel != NULL)
            p->cancelled = p->step->cancel(p->step->userdata);
        meet(&k);
        if (p->cancelled)
            return;
    }
    if (p->step->n_logits > 0)
        compute_logits(&k);
}

void ink_forward_prepare(const InkForward *f)
{
    const InkHyper *h = &f->model->hyper;
    InkRopeTable *ropes = f->workspace->ropes;
    for (size_t i = 0; i < h->n_rope / 2; i++) {
        double factor = f->model->rope_factors != NULL ? f->model->rope_factors[i] : 1.0;
        double exponent = -2.0 * (double)i / (double)h->n_rope;
        ropes[0].inverse_wavelengths[i] = pow(h->rope_base, exponent) / factor / h->rope_factor;
        if (f->workspace->n_ropes > 1)
            ropes[1].inverse_wavelengths[i] = pow(h->rope_base_local, exponent);
    }
}

int ink_forward_step(const InkForward *f, const InkForwardStep *step)
{
    Pass p = {.f = f, .step = step, .own_lanes = step->n_rows <= INK_WORKSPACE_OWN_ROWS};
    ink_threads_run(f->threads, run_pass, &p);
    return p.cancelled ? INK_STEP_CANCELLED : 0;
}
