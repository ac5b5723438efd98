/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Keys and values of prompts and answers that were computed before, found again by their tokens.
 * One tree for each scope: a node is one block of INK_KV_BLOCK positions with the tokens they hold,
 * its children are what followed. A node may be a leaf of fewer tokens, the end of an answer.
 *
 * Tokens are compared one by one and the scope is looked up first, so a hit is the same adapter and
 * the same tokens from the first one on, in the scope that computed them; there is no hash to
 * collide. Since a step's results do not depend on what else is in the batch, what is found is bit
 * by bit what would be computed.
 *
 * Whole blocks are shared, of a part of a block a copy is made. Blocks are kept for as long as
 * their memory is not wanted: the least recently used leaf that no session uses goes first, and no
 * scope keeps more than its cap. A parent is always used as recently as its children.
 *
 * Owns: nodes and what they keep of the pool. Errors: none; what finds no room is not cached.
 * Thread: that of the pool. */
#pragma once

#include "engine/kv-cache.h"

typedef struct InkPrefixCache InkPrefixCache;

/* What a prefix belongs to besides its tokens; the model is the engine's one. */
typedef struct InkPrefixKey {
    uint32_t scope;   /* 0 = nothing is found and nothing is kept */
    uint64_t adapter; /* generation; 0 = none */
} InkPrefixKey;

INK_MUST_CHECK int ink_prefix_cache_new(InkKvPool *kv, size_t max_scope_bytes, InkPrefixCache **ret,
                                        InkError *reterr);
InkPrefixCache *ink_prefix_cache_free(InkPrefixCache *c);
INK_DEFINE_CLEANUP(InkPrefixCache, ink_prefix_cache_free, ink_prefix_cache_free_p)

typedef struct InkPrefixMatch {
    size_t n_tokens;
    size_t n_blocks; /* whole ones */
    size_t n_used;   /* of these, with users now: they cost a new one nothing */
} InkPrefixMatch;
/* How much of the tokens would be found; changes nothing. */
InkPrefixMatch ink_prefix_cache_probe(const InkPrefixCache *c, InkPrefixKey key,
                                      const uint32_t *tokens, size_t n);

/* Fills in `blocks` (room for n positions) with what is known of the beginning, one user each, the
 * last one a copy when it is a part of a block. Returns the number of tokens found. */
size_t ink_prefix_cache_take(InkPrefixCache *c, InkPrefixKey key, const uint32_t *tokens, size_t n,
                             uint32_t *blocks, size_t *ret_n_blocks);
/* Offers the blocks of n positions; the caller stays a user of each. Where the tree has a whole
 * block of the same tokens already, the caller's is exchanged for that. A last block that is not
 * full must not be written to afterwards. */
void ink_prefix_cache_put(InkPrefixCache *c, InkPrefixKey key, const uint32_t *tokens, size_t n,
                          uint32_t *blocks);

/* Drops idle blocks until the pool has n free ones; false when that cannot be. */
bool ink_prefix_cache_make_room(InkPrefixCache *c, size_t n);
/* Drops until keep_bytes are left; of one scope, or of all (0). With keep_bytes 0 also what
 * sessions use: they go on, and the memory is free when they end. */
void ink_prefix_cache_trim(InkPrefixCache *c, uint32_t scope, size_t keep_bytes);
/* Of one scope, or of all (0). */
size_t ink_prefix_cache_bytes(const InkPrefixCache *c, uint32_t scope);
