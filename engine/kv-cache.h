/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Keys and values of all sessions, in blocks of INK_KV_BLOCK positions. A block holds all layers:
 *
 *   block:  [L][K] of  k [S][INK_KV_BLOCK] f16 | v [INK_KV_BLOCK][S] f16
 *
 * The pool reserves addresses for its whole budget at open and touches none of them; a block costs
 * memory from the first time it is handed out, so growing a session allocates nothing. A block is
 * zeroed when it is handed out: attention may read slots of a last block that nothing was written
 * to yet, and those must be numbers. When no block is in use all memory goes back to the system.
 *
 * A block has users, the sessions whose positions it holds, and may be kept, by the prefix cache.
 * It is free when it has neither; kept without users it is idle, and may be had by dropping it.
 * Only a block of one user that nobody keeps may be written to.
 *
 * Owns: the reservation. Errors: -ENOMEM (the budget is used up). Thread: one pool, one thread;
 * during a step its threads write to slots that nobody else reads. */
#pragma once

#include "engine/architecture.h"
#include "engine/kernels/kernels.h"

typedef struct InkKvPool InkKvPool;

INK_MUST_CHECK int ink_kv_pool_new(const InkHyper *h, size_t budget_bytes, InkKvPool **ret,
                                   InkError *reterr);
InkKvPool *ink_kv_pool_free(InkKvPool *p);
INK_DEFINE_CLEANUP(InkKvPool, ink_kv_pool_free, ink_kv_pool_free_p)

size_t ink_kv_pool_block_bytes(const InkKvPool *p);
size_t ink_kv_pool_n_free(const InkKvPool *p);
/* Of blocks with users. */
size_t ink_kv_pool_used_bytes(const InkKvPool *p);
/* Of blocks that are kept and have no user. */
size_t ink_kv_pool_idle_bytes(const InkKvPool *p);
/* A zeroed block with one user; false when there is none left. */
bool ink_kv_pool_take(InkKvPool *p, uint32_t *ret);
/* One more user, one less. */
void ink_kv_pool_share(InkKvPool *p, uint32_t block);
void ink_kv_pool_give(InkKvPool *p, uint32_t block);
bool ink_kv_pool_has_users(const InkKvPool *p, uint32_t block);
bool ink_kv_pool_is_writable(const InkKvPool *p, uint32_t block);
/* Each block is kept once at most. */
void ink_kv_pool_keep(InkKvPool *p, uint32_t block);
void ink_kv_pool_drop(InkKvPool *p, uint32_t block);
/* Copies the first n slots of `from` to `to`, which is fresh. */
void ink_kv_pool_copy(InkKvPool *p, uint32_t from, uint32_t to, size_t n);
/* Gives the memory of free blocks back to the system. */
void ink_kv_pool_shrink(InkKvPool *p);
/* Zeroes the slots [from, INK_KV_BLOCK) of a block: what a rewound session leaves behind must not
 * reach its next tokens, not even as an infinity with weight zero. */
void ink_kv_pool_scrub(InkKvPool *p, uint32_t block, size_t from);

uint16_t *ink_kv_pool_k(const InkKvPool *p, uint32_t block, size_t layer, size_t kv_head);
uint16_t *ink_kv_pool_v(const InkKvPool *p, uint32_t block, size_t layer, size_t kv_head);
