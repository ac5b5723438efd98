/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Byte-pair merging of one piece: symbols start as bytes; the pair of the lowest rank merges first,
 * of equal ranks the leftmost. O(n log n) in the bytes of the piece, so that a megabyte without a
 * space stays harmless.
 * Owns: ink_bpe_done() frees the table.
 * Errors: -ENOMEM, -E2BIG (tokens full), -EBADMSG (ink_bpe_add). Thread: a built table is
 * immutable; one scratch, one thread. Source: Sennrich et al. 2016, 1508.07909. */
#pragma once

#include "engine/merge-heap.h"
#include "engine/tokens.h"

typedef struct InkBpeMerge {
    uint64_t key; /* (left << 32 | right) + 1; 0 = free slot */
    uint32_t rank;
    uint32_t id; /* of the merged token */
} InkBpeMerge;

typedef struct InkBpe {
    InkBpeMerge *slots; /* open addressing, [mask + 1] */
    size_t mask;
    uint32_t byte_ids[256]; /* UINT32_MAX: the vocabulary has no token for this byte */
} InkBpe;

/* Room for n merges; every byte without a token. */
INK_MUST_CHECK int ink_bpe_init(InkBpe *b, size_t n_merges);
void ink_bpe_done(InkBpe *b);
/* Merges are added in order of rank; one that is there already keeps its lower rank. -EBADMSG when
 * the pairs collide so much that look-ups would be slow, which no honest vocabulary does. */
INK_MUST_CHECK int ink_bpe_add(InkBpe *b, uint32_t left, uint32_t right, uint32_t rank,
                               uint32_t id);
/* Appends the ids of one piece. Bytes that have no token are left out, as Hugging Face does. */
INK_MUST_CHECK int ink_bpe_encode(const InkBpe *b, const char *piece, size_t n_bytes,
                                  InkMergeScratch *scratch, InkTokens *tokens);
