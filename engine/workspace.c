/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/workspace.h"

#include <sys/mman.h>

#include "engine/base/alloc.h"

#define ALIGN_BYTES 64u

/* Hands out regions one after the other; without a base it only adds up their sizes. */
typedef struct Carver {
    uint8_t *base;
    size_t used_bytes;
    bool overflow;
} Carver;

static void *carve(Carver *c, size_t n, size_t size)
{
    size_t n_bytes, end;
    if (!ink_size_mul(n, size, &n_bytes) || !ink_size_add(c->used_bytes, n_bytes, &end) ||
        !ink_size_align(end, ALIGN_BYTES, &end)) {
        c->overflow = true;
        return NULL;
    }
    void *region = c->base != NULL ? c->base + c->used_bytes : NULL;
    c->used_bytes = end;
    return region;
}

static float *carve_rows(Carver *c, size_t n_rows, size_t stride)
{
    return carve(c, n_rows * sizeof(float), stride);
}

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static void carve_lane(Carver *c, const InkWorkspace *w, size_t n_rows, InkLane *lane)
{
    size_t widest = w->d_stride > w->f_stride ? w->d_stride : w->f_stride;
    widest = w->hs_stride > widest ? w->hs_stride : widest;
    InkQuantRows *quant = &lane->quant;
    quant->block_stride = round_up((widest + INK_PACK_K - 1) / INK_PACK_K, 16);
    quant->fine_stride = round_up(n_rows + INK_FINE_PADDING, ALIGN_BYTES);
    lane->x = carve_rows(c, n_rows, w->d_stride);
    lane->normed = carve_rows(c, n_rows, w->d_stride);
    quant->blocks = carve(c, n_rows * sizeof(*quant->blocks), quant->block_stride);
    quant->fine = carve(c, quant->block_stride, quant->fine_stride);
}

static void carve_all(Carver *c, const InkHyper *h, size_t n_threads, InkWorkspace *w)
{
    const size_t n_rows = INK_MAX_STEP_ROWS;
    w->tokens = carve(c, n_rows, sizeof(*w->tokens));
    w->positions = carve(c, n_rows, sizeof(*w->positions));
    w->blocks = carve(c, n_rows, sizeof(*w->blocks));
    w->logit_rows = carve(c, n_rows, sizeof(*w->logit_rows));
    w->runs = carve(c, n_rows, sizeof(*w->runs));
    for (size_t i = 0; i < w->n_ropes; i++) {
        InkRopeTable *rope = &w->ropes[i];
        rope->inverse_wavelengths = carve(c, h->n_rope / 2, sizeof(*rope->inverse_wavelengths));
        rope->cos_sin = carve_rows(c, n_rows, w->rope_stride);
    }

    carve_lane(c, w, n_rows, &w->shared);
    size_t n_blocks = (h->n_context + INK_KV_BLOCK - 1) / INK_KV_BLOCK;
    for (size_t i = 0; i < n_threads; i++) {
        carve_lane(c, w, INK_WORKSPACE_OWN_ROWS, &w->own[i]);
        w->own[i].k_blocks = carve(c, n_blocks, sizeof(*w->own[i].k_blocks));
        w->own[i].v_blocks = carve(c, n_blocks, sizeof(*w->own[i].v_blocks));
    }

    w->q = carve_rows(c, n_rows, w->hs_stride);
    w->k = carve_rows(c, n_rows, w->ks_stride);
    w->v = carve_rows(c, n_rows, w->ks_stride);
    w->attended = carve_rows(c, n_rows, w->hs_stride);
    w->gate = carve_rows(c, n_rows, w->f_stride);
    w->up = carve_rows(c, n_rows, w->f_stride);
    w->projected = carve_rows(c, n_rows, w->d_stride);
    w->logits = carve_rows(c, n_rows, w->v_stride);
}

int ink_workspace_new(const InkHyper *h, size_t n_threads, InkWorkspace **ret, InkError *reterr)
{
    _cleanup_(ink_workspace_free_p) InkWorkspace *w = ink_alloc_array(1, sizeof(*w));
    INK_CHECK(w != NULL, ENOMEM, reterr, "no memory for the workspace");
    w->own = ink_alloc_array(n_threads, sizeof(*w->own));
    INK_CHECK(w->own != NULL, ENOMEM, reterr, "no memory for the workspace");
    w->d_stride = round_up(h->n_embedding, 16);
    w->hs_stride = round_up(h->n_heads * h->n_head_size, 16);
    w->ks_stride = round_up(h->n_kv_heads * h->n_head_size, 16);
    w->f_stride = round_up(h->n_feedforward, 16);
    w->v_stride = round_up(h->n_vocab, 16);
    w->rope_stride = round_up(h->n_rope, 16);
    w->n_ropes = h->window > 0 ? 2 : 1;

    Carver sizes = {0};
    carve_all(&sizes, h, n_threads, w);
    INK_CHECK(!sizes.overflow, ENOMEM, reterr,
              "the workspace does not fit this machine's addresses");
    void *map = mmap(NULL, sizes.used_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    INK_CHECK(map != MAP_FAILED, ENOMEM, reterr, "no addresses for a workspace of %zu bytes",
              sizes.used_bytes);
    w->map = map;
    w->map_bytes = sizes.used_bytes;
    Carver regions = {.base = map};
    carve_all(&regions, h, n_threads, w);
    *ret = INK_TAKE(w);
    return 0;
}

InkWorkspace *ink_workspace_free(InkWorkspace *w)
{
    if (w == NULL)
        return NULL;
    if (w->map != NULL)
        munmap(w->map, w->map_bytes);
    free(w->own);
    free(w);
    return NULL;
}
