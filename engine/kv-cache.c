/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/kv-cache.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/base/alloc.h"

struct InkKvPool {
    uint16_t *blocks; /* [n_blocks][block_values] */
    size_t map_bytes;
    size_t n_blocks;
    size_t block_values;
    size_t half_values; /* of k, or v, of one layer and head: S * INK_KV_BLOCK */
    size_t n_heads;     /* L * K */
    size_t n_kv_heads;  /* K */
    size_t head_size;   /* S */
    uint32_t *free;     /* stack of n_free block numbers below n_fresh */
    size_t n_free;
    size_t n_fresh; /* blocks handed out at least once since the memory was last given back */
    size_t n_used;
};

int ink_kv_pool_new(const InkHyper *h, size_t budget_bytes, InkKvPool **ret, InkError *reterr)
{
    _cleanup_(ink_kv_pool_free_p) InkKvPool *p = ink_alloc_array(1, sizeof(*p));
    INK_CHECK(p != NULL, ENOMEM, reterr, "no memory for the KV pool");
    p->head_size = h->n_head_size;
    p->n_kv_heads = h->n_kv_heads;
    p->n_heads = h->n_layers * h->n_kv_heads; /* <= 2^20 */
    p->half_values = h->n_head_size * INK_KV_BLOCK;
    p->block_values = 2 * p->half_values * p->n_heads; /* < 2^35 */
    p->n_blocks = budget_bytes / (p->block_values * sizeof(uint16_t));
    INK_CHECK(p->n_blocks > 0, EINVAL, reterr, "max_kv_bytes is %zu, one block has %zu",
              budget_bytes, p->block_values * sizeof(uint16_t));
    if (p->n_blocks > UINT32_MAX)
        p->n_blocks = UINT32_MAX;
    p->free = ink_alloc_array(p->n_blocks, sizeof(*p->free));
    INK_CHECK(p->free != NULL, ENOMEM, reterr, "no memory for %zu KV blocks", p->n_blocks);
    p->map_bytes = p->n_blocks * p->block_values * sizeof(uint16_t);
    void *map = mmap(NULL, p->map_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    INK_CHECK(map != MAP_FAILED, ENOMEM, reterr, "no addresses for %zu bytes of KV blocks",
              p->map_bytes);
    p->blocks = map;
    *ret = INK_TAKE(p);
    return 0;
}

InkKvPool *ink_kv_pool_free(InkKvPool *p)
{
    if (p == NULL)
        return NULL;
    if (p->blocks != NULL)
        munmap(p->blocks, p->map_bytes);
    free(p->free);
    free(p);
    return NULL;
}

size_t ink_kv_pool_block_bytes(const InkKvPool *p)
{
    return p->block_values * sizeof(uint16_t);
}

size_t ink_kv_pool_n_free(const InkKvPool *p)
{
    return p->n_blocks - p->n_used;
}

size_t ink_kv_pool_used_bytes(const InkKvPool *p)
{
    return p->n_used * ink_kv_pool_block_bytes(p);
}

bool ink_kv_pool_take(InkKvPool *p, uint32_t *ret)
{
    if (p->n_used == p->n_blocks)
        return false;
    p->n_used++;
    if (p->n_free == 0) { /* the system's fresh pages are zero already */
        *ret = (uint32_t)p->n_fresh++;
        return true;
    }
    uint32_t block = p->free[--p->n_free];
    memset(p->blocks + block * p->block_values, 0, ink_kv_pool_block_bytes(p));
    *ret = block;
    return true;
}

void ink_kv_pool_give(InkKvPool *p, uint32_t block)
{
    p->free[p->n_free++] = block;
    if (--p->n_used > 0)
        return;
    /* Private anonymous memory reads as zero after this, or the call failed and the stack stays. */
    if (madvise(p->blocks, p->map_bytes, MADV_DONTNEED) == 0) {
        p->n_free = 0;
        p->n_fresh = 0;
    }
}

void ink_kv_pool_scrub(InkKvPool *p, uint32_t block, size_t from)
{
    if (from >= INK_KV_BLOCK)
        return;
    for (size_t head = 0; head < p->n_heads; head++) {
        uint16_t *k = p->blocks + block * p->block_values + 2 * p->half_values * head;
        uint16_t *v = k + p->half_values;
        for (size_t i = 0; i < p->head_size; i++)
            memset(k + i * INK_KV_BLOCK + from, 0, (INK_KV_BLOCK - from) * sizeof(*k));
        memset(v + from * p->head_size, 0, (INK_KV_BLOCK - from) * p->head_size * sizeof(*v));
    }
}

uint16_t *ink_kv_pool_k(const InkKvPool *p, uint32_t block, size_t layer, size_t kv_head)
{
    return p->blocks + block * p->block_values +
           2 * p->half_values * (layer * p->n_kv_heads + kv_head);
}

uint16_t *ink_kv_pool_v(const InkKvPool *p, uint32_t block, size_t layer, size_t kv_head)
{
    return ink_kv_pool_k(p, block, layer, kv_head) + p->half_values;
}
