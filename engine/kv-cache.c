/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/kv-cache.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/alloc.h"

typedef struct Holders {
    uint32_t n_users : 31;
    uint32_t is_kept : 1;
} Holders;

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
    size_t n_fresh;   /* blocks handed out at least once since the memory was last given back */
    Holders *holders; /* [n_blocks] */
    size_t n_used, n_idle;
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
    p->holders = ink_alloc_array(p->n_blocks, sizeof(*p->holders));
    INK_CHECK(p->free != NULL && p->holders != NULL, ENOMEM, reterr, "no memory for %zu KV blocks",
              p->n_blocks);
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
    free(p->holders);
    free(p);
    return NULL;
}

size_t ink_kv_pool_block_bytes(const InkKvPool *p)
{
    return p->block_values * sizeof(uint16_t);
}

size_t ink_kv_pool_n_free(const InkKvPool *p)
{
    return p->n_blocks - p->n_used - p->n_idle;
}

size_t ink_kv_pool_used_bytes(const InkKvPool *p)
{
    return p->n_used * ink_kv_pool_block_bytes(p);
}

size_t ink_kv_pool_idle_bytes(const InkKvPool *p)
{
    return p->n_idle * ink_kv_pool_block_bytes(p);
}

bool ink_kv_pool_take(InkKvPool *p, uint32_t *ret)
{
    if (ink_kv_pool_n_free(p) == 0)
        return false;
    uint32_t block;
    if (p->n_free == 0) { /* the system's fresh pages are zero already */
        block = (uint32_t)p->n_fresh++;
    } else {
        block = p->free[--p->n_free];
        memset(p->blocks + block * p->block_values, 0, ink_kv_pool_block_bytes(p));
    }
    p->holders[block] = (Holders){.n_users = 1};
    p->n_used++;
    *ret = block;
    return true;
}

static void release(InkKvPool *p, uint32_t block)
{
    p->free[p->n_free++] = block;
    if (p->n_used > 0 || p->n_idle > 0)
        return;
    /* Private anonymous memory reads as zero after this, or the call failed and the stack stays. */
    if (madvise(p->blocks, p->map_bytes, MADV_DONTNEED) == 0) {
        p->n_free = 0;
        p->n_fresh = 0;
    }
}

void ink_kv_pool_share(InkKvPool *p, uint32_t block)
{
    Holders *h = &p->holders[block];
    if (h->n_users++ == 0) {
        p->n_idle--;
        p->n_used++;
    }
}

void ink_kv_pool_give(InkKvPool *p, uint32_t block)
{
    Holders *h = &p->holders[block];
    if (--h->n_users > 0)
        return;
    p->n_used--;
    if (h->is_kept)
        p->n_idle++;
    else
        release(p, block);
}

bool ink_kv_pool_has_users(const InkKvPool *p, uint32_t block)
{
    return p->holders[block].n_users > 0;
}

bool ink_kv_pool_is_writable(const InkKvPool *p, uint32_t block)
{
    return p->holders[block].n_users == 1 && !p->holders[block].is_kept;
}

void ink_kv_pool_keep(InkKvPool *p, uint32_t block)
{
    p->holders[block].is_kept = 1;
}

void ink_kv_pool_drop(InkKvPool *p, uint32_t block)
{
    Holders *h = &p->holders[block];
    h->is_kept = 0;
    if (h->n_users == 0) {
        p->n_idle--;
        release(p, block);
    }
}

void ink_kv_pool_copy(InkKvPool *p, uint32_t from, uint32_t to, size_t n)
{
    for (size_t head = 0; head < p->n_heads; head++) {
        size_t at = 2 * p->half_values * head;
        const uint16_t *k = p->blocks + from * p->block_values + at, *v = k + p->half_values;
        uint16_t *to_k = p->blocks + to * p->block_values + at, *to_v = to_k + p->half_values;
        for (size_t i = 0; i < p->head_size; i++)
            memcpy(to_k + i * INK_KV_BLOCK, k + i * INK_KV_BLOCK, n * sizeof(*k));
        memcpy(to_v, v, n * p->head_size * sizeof(*v));
    }
}

void ink_kv_pool_shrink(InkKvPool *p)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < p->n_free; i++) {
        uintptr_t begin = (uintptr_t)(p->blocks + p->free[i] * p->block_values);
        uintptr_t end = (begin + ink_kv_pool_block_bytes(p)) / page * page;
        begin = (begin + page - 1) / page * page;
        if (begin < end) /* what fails stays ours, and take() zeroes it in any case */
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
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
