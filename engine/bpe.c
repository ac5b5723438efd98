/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/bpe.h"

#include <string.h>

#include "engine/base/alloc.h"

/* With a table at most 3/4 full and mixed hashes a run this long does not happen by chance. */
#define MAX_PROBES 1024

#define NO_SYMBOL UINT32_MAX

typedef struct Symbol {
    uint32_t id;
    uint32_t previous, next; /* NO_SYMBOL at the ends */
} Symbol;

static size_t slot_of(const InkBpe *b, uint64_t key)
{
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    return (size_t)(h ^ h >> 32) & b->mask;
}

int ink_bpe_init(InkBpe *b, size_t n_merges)
{
    size_t n_slots = 16;
    while (n_slots / 4 * 3 < n_merges)
        if (!ink_size_mul(n_slots, 2, &n_slots))
            return -ENOMEM;
    InkBpeMerge *slots = ink_alloc_array(n_slots, sizeof(InkBpeMerge));
    if (slots == NULL)
        return -ENOMEM;
    *b = (InkBpe){.slots = slots, .mask = n_slots - 1};
    memset(b->byte_ids, 0xFF, sizeof(b->byte_ids));
    return 0;
}

void ink_bpe_done(InkBpe *b)
{
    free(b->slots);
    b->slots = NULL;
}

static uint64_t pair_key(uint32_t left, uint32_t right)
{
    return ((uint64_t)left << 32 | right) + 1;
}

int ink_bpe_add(InkBpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    uint64_t key = pair_key(left, right);
    size_t slot = slot_of(b, key);
    for (size_t probe = 0; probe < MAX_PROBES; probe++, slot = (slot + 1) & b->mask) {
        if (b->slots[slot].key == key)
            return 0;
        if (b->slots[slot].key == 0) {
            b->slots[slot] = (InkBpeMerge){key, rank, id};
            return 0;
        }
    }
    return -EBADMSG;
}

static const InkBpeMerge *find_merge(const InkBpe *b, uint32_t left, uint32_t right)
{
    uint64_t key = pair_key(left, right);
    for (size_t slot = slot_of(b, key); b->slots[slot].key != 0; slot = (slot + 1) & b->mask)
        if (b->slots[slot].key == key)
            return &b->slots[slot];
    return NULL;
}

static void push_pair(const InkBpe *b, const Symbol *symbols, InkMergeScratch *s, uint32_t left)
{
    if (left == NO_SYMBOL || symbols[left].next == NO_SYMBOL)
        return;
    const InkBpeMerge *m = find_merge(b, symbols[left].id, symbols[symbols[left].next].id);
    if (m != NULL)
        ink_merge_push(s, (uint64_t)m->rank << 32 | left);
}

static void merge_all(const InkBpe *b, InkMergeScratch *s)
{
    Symbol *symbols = s->symbols;
    while (s->n_heap > 0) {
        uint64_t item = ink_merge_pop(s);
        uint32_t left = (uint32_t)item, right = symbols[left].next;
        if (symbols[left].id == NO_SYMBOL || right == NO_SYMBOL)
            continue;
        /* A rank names one pair: if it is still this one, nothing has changed here since. */
        const InkBpeMerge *m = find_merge(b, symbols[left].id, symbols[right].id);
        if (m == NULL || m->rank != (uint32_t)(item >> 32))
            continue;
        symbols[left].id = m->id;
        symbols[left].next = symbols[right].next;
        if (symbols[right].next != NO_SYMBOL)
            symbols[symbols[right].next].previous = left;
        symbols[right].id = NO_SYMBOL;
        push_pair(b, symbols, s, symbols[left].previous);
        push_pair(b, symbols, s, left);
    }
}

int ink_bpe_encode(const InkBpe *b, const char *piece, size_t n_bytes, InkMergeScratch *scratch,
                   InkTokens *tokens)
{
    if (n_bytes >= NO_SYMBOL)
        return -E2BIG;
    INK_TRY(ink_merge_reserve(scratch, n_bytes, sizeof(Symbol)));
    Symbol *symbols = scratch->symbols;
    uint32_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        uint32_t id = b->byte_ids[(uint8_t)piece[i]];
        if (id != UINT32_MAX) {
            symbols[n] = (Symbol){id, n - 1, n + 1}; /* n - 1 wraps to NO_SYMBOL */
            n++;
        }
    }
    if (n == 0)
        return 0;
    symbols[n - 1].next = NO_SYMBOL;

    for (uint32_t i = 0; i + 1 < n; i++)
        push_pair(b, symbols, scratch, i);
    merge_all(b, scratch);

    for (uint32_t i = 0; i != NO_SYMBOL; i = symbols[i].next)
        INK_TRY(ink_tokens_push(tokens, symbols[i].id));
    return 0;
}
