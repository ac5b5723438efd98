/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tree by itself against a plain list of all that was put into it, and then behind sessions,
 * where a hit must not change one bit of what comes after it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/session.h"

/* --- the tree alone --- */

#define TREE_TOKENS 70 /* of the longest timeline: four blocks and a part */
#define TREE_HEAD   16

static const InkHyper tree_hyper = {.n_layers = 2, .n_kv_heads = 1, .n_head_size = TREE_HEAD};

typedef struct Tree {
    InkKvPool *kv;
    InkPrefixCache *cache;
    size_t block_bytes;
} Tree;

static Tree tree_new(size_t n_blocks, size_t n_scope_blocks)
{
    Tree t = {.block_bytes = 2 * 2 * TREE_HEAD * INK_KV_BLOCK * sizeof(uint16_t)};
    assert_int_equal(ink_kv_pool_new(&tree_hyper, n_blocks * t.block_bytes, &t.kv, NULL), 0);
    assert_int_equal(ink_kv_pool_block_bytes(t.kv), t.block_bytes);
    assert_int_equal(ink_prefix_cache_new(t.kv, n_scope_blocks * t.block_bytes, &t.cache, NULL), 0);
    return t;
}

/* Nothing may be left once the tree is empty. */
static void tree_free(Tree *t, size_t n_blocks)
{
    ink_prefix_cache_trim(t->cache, 0, 0);
    assert_int_equal(ink_prefix_cache_bytes(t->cache, 0), 0);
    assert_int_equal(ink_kv_pool_used_bytes(t->kv), 0);
    assert_int_equal(ink_kv_pool_idle_bytes(t->kv), 0);
    assert_int_equal(ink_kv_pool_n_free(t->kv), n_blocks);
    ink_prefix_cache_free(t->cache);
    ink_kv_pool_free(t->kv);
}

/* What a slot holds stands for the whole timeline up to it, as keys and values do. */
static uint16_t mark_of(InkPrefixKey key, const uint32_t *tokens, size_t n)
{
    uint32_t h = key.scope * 2654435761u + (uint32_t)key.adapter * 97u + 12345u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ tokens[i]) * 16777619u + 7u;
    return (uint16_t)(1 + h % 65535u);
}

static void write_slot(const Tree *t, uint32_t block, size_t slot, uint16_t mark)
{
    for (size_t layer = 0; layer < 2; layer++)
        for (size_t i = 0; i < TREE_HEAD; i++) {
            ink_kv_pool_k(t->kv, block, layer, 0)[i * INK_KV_BLOCK + slot] = mark;
            ink_kv_pool_v(t->kv, block, layer, 0)[slot * TREE_HEAD + i] = mark;
        }
}

static void assert_slot(const Tree *t, uint32_t block, size_t slot, uint16_t mark)
{
    for (size_t layer = 0; layer < 2; layer++)
        for (size_t i = 0; i < TREE_HEAD; i++) {
            assert_int_equal(ink_kv_pool_k(t->kv, block, layer, 0)[i * INK_KV_BLOCK + slot], mark);
            assert_int_equal(ink_kv_pool_v(t->kv, block, layer, 0)[slot * TREE_HEAD + i], mark);
        }
}

typedef struct Timeline {
    InkPrefixKey key;
    uint32_t tokens[TREE_TOKENS];
    uint32_t blocks[TREE_TOKENS / INK_KV_BLOCK + 1];
    size_t n, n_blocks, n_found;
} Timeline;

/* Begins with what is found and "computes" the rest. False when the pool has no more blocks. */
static bool timeline_run(Tree *t, Timeline *l, size_t n_prompt)
{
    InkPrefixMatch match = ink_prefix_cache_probe(t->cache, l->key, l->tokens, n_prompt);
    l->n_found =
        ink_prefix_cache_take(t->cache, l->key, l->tokens, n_prompt, l->blocks, &l->n_blocks);
    assert_true(l->n_found <= match.n_tokens);
    assert_true(l->n_found >= match.n_blocks * INK_KV_BLOCK);
    assert_true(match.n_used <= match.n_blocks);
    for (size_t i = 0; i < l->n_found; i++)
        assert_slot(t, l->blocks[i / INK_KV_BLOCK], i % INK_KV_BLOCK,
                    mark_of(l->key, l->tokens, i + 1));
    for (size_t i = l->n_found; i < l->n_blocks * INK_KV_BLOCK; i++) /* scrubbed */
        assert_slot(t, l->blocks[i / INK_KV_BLOCK], i % INK_KV_BLOCK, 0);
    for (size_t i = l->n_found; i < l->n; i++) {
        if (i / INK_KV_BLOCK == l->n_blocks) {
            if (!ink_prefix_cache_make_room(t->cache, 1))
                return false;
            assert_true(ink_kv_pool_take(t->kv, &l->blocks[l->n_blocks]));
            l->n_blocks++;
        }
        assert_true(ink_kv_pool_is_writable(t->kv, l->blocks[i / INK_KV_BLOCK]));
        write_slot(t, l->blocks[i / INK_KV_BLOCK], i % INK_KV_BLOCK,
                   mark_of(l->key, l->tokens, i + 1));
    }
    return true;
}

static void timeline_end(Tree *t, Timeline *l)
{
    while (l->n_blocks > 0)
        ink_kv_pool_give(t->kv, l->blocks[--l->n_blocks]);
}

static void timeline_put(Tree *t, Timeline *l, size_t n)
{
    ink_prefix_cache_put(t->cache, l->key, l->tokens, n, l->blocks);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Few different tokens, and rare changes, so that beginnings agree in all ways. */
static void timeline_draw(Timeline *l, uint32_t *random)
{
    *l = (Timeline){
        .key = {.scope = 1 + next_random(random) % 3, .adapter = next_random(random) % 8 == 0},
        .n = 1 + next_random(random) % TREE_TOKENS};
    for (size_t i = 0; i < l->n; i++)
        l->tokens[i] = next_random(random) % 24 == 0;
}

static size_t common_tokens(const Timeline *a, const Timeline *b, size_t n)
{
    size_t i = 0;
    if (a->key.scope != b->key.scope || a->key.adapter != b->key.adapter)
        return 0;
    while (i < n && i < b->n && a->tokens[i] == b->tokens[i])
        i++;
    return i;
}

/* With room for all: exactly the longest beginning that was ever put is found, and no other. */
static void test_prefix_cache_finds_the_longest_beginning(void **state)
{
    (void)state;
    enum { N = 300, BLOCKS = 8 * N };
    static Timeline all[N];
    Tree t = tree_new(BLOCKS, BLOCKS);
    uint32_t random = 42;
    size_t n_hits = 0, n_partial = 0;
    for (size_t i = 0; i < N; i++) {
        Timeline *l = &all[i];
        timeline_draw(l, &random);
        size_t best = 0;
        for (size_t k = 0; k < i; k++) {
            size_t n = common_tokens(l, &all[k], l->n);
            best = n > best ? n : best;
        }
        assert_true(timeline_run(&t, l, l->n));
        assert_int_equal(l->n_found, best);
        n_hits += best > 0;
        n_partial += best % INK_KV_BLOCK != 0;
        timeline_put(&t, l, l->n / INK_KV_BLOCK * INK_KV_BLOCK); /* as after its prompt */
        timeline_put(&t, l, l->n);
        timeline_end(&t, l);
        assert_int_equal(ink_kv_pool_used_bytes(t.kv), 0);
    }
    assert_true(n_hits > N / 2 && n_partial > N / 4);
    tree_free(&t, BLOCKS);
}

/* Too little room, timelines that live at the same time, trims: never a wrong slot, no leak. */
static void test_prefix_cache_survives_shortage(void **state)
{
    (void)state;
    enum { N = 12, BLOCKS = 24, SCOPE_BLOCKS = 11, ROUNDS = 4000 };
    static Timeline live[N];
    Tree t = tree_new(BLOCKS, SCOPE_BLOCKS);
    uint32_t random = 7;
    size_t n_found = 0, n_refused = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        Timeline *l = &live[next_random(&random) % N];
        if (l->n_blocks != 0) {
            if (next_random(&random) % 4 != 0)
                timeline_put(&t, l, l->n);
            timeline_end(&t, l);
            continue;
        }
        timeline_draw(l, &random);
        if (!timeline_run(&t, l, l->n)) {
            n_refused++;
            timeline_end(&t, l);
            continue;
        }
        n_found += l->n_found;
        if (next_random(&random) % 2 == 0)
            timeline_put(&t, l, l->n / INK_KV_BLOCK * INK_KV_BLOCK);
        if (next_random(&random) % 64 == 0)
            ink_prefix_cache_trim(t.cache, next_random(&random) % 4,
                                  next_random(&random) % 8 * t.block_bytes);
        for (uint32_t scope = 1; scope <= 3; scope++)
            assert_true(ink_prefix_cache_bytes(t.cache, scope) <= SCOPE_BLOCKS * t.block_bytes);
    }
    assert_true(n_found > 1000 && n_refused > 10);
    for (size_t i = 0; i < N; i++)
        timeline_end(&t, &live[i]);
    tree_free(&t, BLOCKS);
}

/* One timeline of n tokens that is put and over. */
static void put_once(Tree *t, uint32_t scope, uint32_t first_token, size_t n)
{
    Timeline l = {.key = {.scope = scope}, .n = n};
    for (size_t i = 0; i < n; i++)
        l.tokens[i] = first_token + (uint32_t)i;
    assert_true(timeline_run(t, &l, n));
    timeline_put(t, &l, n);
    timeline_end(t, &l);
}

static size_t found(const Tree *t, uint32_t scope, uint32_t first_token, size_t n)
{
    uint32_t tokens[TREE_TOKENS];
    for (size_t i = 0; i < n; i++)
        tokens[i] = first_token + (uint32_t)i;
    return ink_prefix_cache_probe(t->cache, (InkPrefixKey){.scope = scope}, tokens, n).n_tokens;
}

static void test_prefix_cache_drops_the_least_recently_used_leaf(void **state)
{
    (void)state;
    Tree t = tree_new(8, 8);
    put_once(&t, 1, 100, 48);
    put_once(&t, 2, 200, 48);
    put_once(&t, 1, 100, 16); /* uses the first block of the older one */
    put_once(&t, 3, 300, 48); /* one block more than there are */
    assert_int_equal(found(&t, 1, 100, 48), 32);
    assert_int_equal(found(&t, 2, 200, 48), 48);
    assert_true(ink_prefix_cache_make_room(t.cache, 3));
    assert_int_equal(found(&t, 1, 100, 48), 16);
    assert_int_equal(found(&t, 2, 200, 48), 16);
    assert_int_equal(found(&t, 3, 300, 48), 48);
    assert_true(ink_prefix_cache_make_room(t.cache, 8));
    assert_false(ink_prefix_cache_make_room(t.cache, 9));
    assert_int_equal(ink_prefix_cache_bytes(t.cache, 0), 0);
    tree_free(&t, 8);
}

static void test_prefix_cache_scope_has_a_cap_of_its_own(void **state)
{
    (void)state;
    Tree t = tree_new(64, 4);
    put_once(&t, 1, 100, 48);
    for (uint32_t i = 0; i < 10; i++)
        put_once(&t, 2, 1000 + 100 * i, 40);
    assert_int_equal(ink_prefix_cache_bytes(t.cache, 2), 4 * t.block_bytes);
    assert_int_equal(found(&t, 2, 1900, 40), 40);
    assert_int_equal(found(&t, 1, 100, 48), 48); /* the other scope paid nothing */
    put_once(&t, 3, 100, 70);                    /* longer than its cap: the beginning is kept */
    assert_int_equal(found(&t, 3, 100, 70), 64);
    tree_free(&t, 64);
}

static void test_prefix_cache_trim_forgets_one_scope(void **state)
{
    (void)state;
    Tree t = tree_new(64, 64);
    Timeline user = {.key = {.scope = 1}, .n = 48};
    put_once(&t, 1, 100, 48);
    put_once(&t, 2, 100, 48);
    for (size_t i = 0; i < user.n; i++)
        user.tokens[i] = 100 + (uint32_t)i;
    assert_true(timeline_run(&t, &user, user.n));
    assert_int_equal(user.n_found, 48);
    ink_prefix_cache_trim(t.cache, 1, 16 * t.block_bytes);
    assert_int_equal(found(&t, 1, 100, 48), 48); /* less than what may stay */
    ink_prefix_cache_trim(t.cache, 1, 0);
    assert_int_equal(found(&t, 1, 100, 48), 0);
    assert_int_equal(found(&t, 2, 100, 48), 48);
    for (size_t i = 0; i < user.n; i++) /* it goes on with what it has */
        assert_slot(&t, user.blocks[i / INK_KV_BLOCK], i % INK_KV_BLOCK,
                    mark_of(user.key, user.tokens, i + 1));
    assert_int_equal(ink_kv_pool_used_bytes(t.kv), 3 * t.block_bytes);
    timeline_end(&t, &user);
    assert_int_equal(ink_kv_pool_used_bytes(t.kv), 0);
    ink_prefix_cache_trim(t.cache, 0, t.block_bytes);
    assert_int_equal(ink_prefix_cache_bytes(t.cache, 0), t.block_bytes);
    tree_free(&t, 64);
}

static void test_prefix_cache_without_memory_caches_nothing(void **state)
{
    (void)state;
    for (size_t n = 1; n < 6; n++) { /* the first allocation is the scope, the others are nodes */
        Tree t = tree_new(64, 64);
        Timeline l = {.key = {.scope = 5}, .n = 60};
        for (size_t i = 0; i < l.n; i++)
            l.tokens[i] = (uint32_t)i;
        assert_true(timeline_run(&t, &l, l.n));
        ink_alloc_fail_at(n, true);
        timeline_put(&t, &l, l.n);
        ink_alloc_fail_at(0, false);
        timeline_end(&t, &l);
        assert_int_equal(found(&t, 5, 0, 60), n > 2 ? (n - 2) * INK_KV_BLOCK : 0);
        tree_free(&t, 64);
    }
}

/* --- behind sessions --- */

#define N_VOCAB 131 /* of both toys */
#define N_TEXT  120

static InkEngine *open_engine_of(const char *model, size_t n_threads, size_t max_kv_bytes)
{
    char path[512];
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/data/%s", root != NULL ? root : ".", model);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const InkEngineOptions options = {
        .n_threads = n_threads, .pack_cache_fd = -1, .max_kv_bytes = max_kv_bytes};
    InkEngine *e = NULL;
    InkError error = {0};
    if (ink_engine_open(fd, &options, &e, &error) < 0)
        fail_msg("%s", error.message);
    close(fd);
    assert_int_equal(ink_engine_info(e)->n_vocab, N_VOCAB);
    return e;
}

static InkEngine *open_engine(size_t n_threads, size_t max_kv_bytes)
{
    return open_engine_of("toy-llama-q.gguf", n_threads, max_kv_bytes);
}

static InkSession *new_session(InkEngine *e)
{
    InkSession *s = NULL;
    assert_int_equal(ink_session_new(e, 0, &s, NULL), 0);
    return s;
}

static void make_tokens(uint32_t *tokens, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = (uint32_t)((i * 31 + seed * 17 + i * i % 13) % 100);
}

/* Logits of the last token; in steps of at most `chunk` rows. */
static void read_tokens(InkSession *s, const uint32_t *tokens, size_t n, size_t chunk,
                        float *logits)
{
    const float *found_logits = NULL;
    for (size_t at = 0; at < n; at += chunk) {
        InkError error = {0};
        size_t n_here = n - at < chunk ? n - at : chunk;
        if (ink_session_prefill(s, tokens + at, n_here, &found_logits, &error) < 0)
            fail_msg("%s", error.message);
    }
    assert_non_null(found_logits);
    memcpy(logits, found_logits, N_VOCAB * sizeof(*logits));
}

static const InkPrefixKey mine = {.scope = 1};

static void cache_text(InkEngine *e, const uint32_t *tokens, size_t n)
{
    float ignored[N_VOCAB];
    InkSession *s = new_session(e);
    read_tokens(s, tokens, n, 512, ignored);
    ink_session_cache_prefix(s, mine, true);
    ink_session_free(s);
}

/* Fills all memory with a stranger's keys and values, so that nothing is right by chance. */
static void dirty_memory(InkEngine *e)
{
    float ignored[N_VOCAB];
    uint32_t tokens[500];
    InkSession *s = new_session(e);
    make_tokens(tokens, 500, 77);
    read_tokens(s, tokens, 500, 512, ignored);
    ink_session_free(s);
}

/* Hits of every length around the borders of blocks; alone, in pieces of all sizes. */
static void check_hits(const char *model)
{
    static const size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 95, 112, 119};
    static const size_t chunks[] = {1, 7, 64, 512};
    for (size_t n_threads = 1; n_threads <= 2; n_threads++) {
        InkEngine *e = open_engine_of(model, n_threads, 0);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            uint32_t text[N_TEXT], other[N_TEXT];
            float cold[N_VOCAB], warm[N_VOCAB];
            size_t n_same = lengths[i];
            make_tokens(text, N_TEXT, 1);
            make_tokens(other, N_TEXT, 1);
            for (size_t k = n_same; k < N_TEXT; k++)
                other[k] = (text[k] + 1 + (uint32_t)k % 3) % 100;
            InkSession *s = new_session(e);
            read_tokens(s, other, N_TEXT, 512, cold);
            ink_session_free(s);
            dirty_memory(e);
            cache_text(e, text, N_TEXT);
            for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
                s = new_session(e);
                assert_int_equal(ink_session_reuse_prefix(s, mine, other, N_TEXT - 1), n_same);
                assert_int_equal(ink_session_length(s), n_same);
                assert_memory_equal(ink_session_tokens(s), other, n_same * sizeof(*other));
                read_tokens(s, other + n_same, N_TEXT - n_same, chunks[c], warm);
                assert_memory_equal(warm, cold, sizeof(cold));
                ink_session_free(s);
            }
            ink_engine_trim(e, 0, 0);
            assert_int_equal(ink_engine_kv_bytes(e), 0);
            assert_int_equal(ink_engine_cached_bytes(e, 0), 0);
        }
        ink_engine_close(e);
    }
}

static void test_prefix_cache_hit_changes_no_bit(void **state)
{
    (void)state;
    check_hits("toy-llama-q.gguf");
}

/* Local layers see a window only, which lies in shared blocks, in own ones, or in both. */
static void test_prefix_cache_hit_changes_no_bit_behind_a_window(void **state)
{
    (void)state;
    check_hits("toy-gemma3.gguf");
}

/* The same prompt twice needs its last token only. */
static void test_prefix_cache_same_prompt_costs_one_token(void **state)
{
    (void)state;
    uint32_t text[N_TEXT];
    float cold[N_VOCAB], warm[N_VOCAB];
    InkEngine *e = open_engine(2, 0);
    make_tokens(text, N_TEXT, 3);
    for (size_t n = 1; n <= N_TEXT; n += n < 50 ? 1 : 7) {
        InkSession *s = new_session(e);
        assert_int_equal(ink_session_reuse_prefix(s, (InkPrefixKey){.scope = 2}, text, n), 0);
        read_tokens(s, text, n, 512, cold);
        ink_session_cache_prefix(s, mine, true);
        ink_session_free(s);
        s = new_session(e);
        assert_int_equal(ink_session_reuse_prefix(s, mine, text, n - 1), n - 1);
        read_tokens(s, text + n - 1, 1, 1, warm);
        assert_memory_equal(warm, cold, sizeof(cold));
        ink_session_free(s);
        ink_engine_trim(e, 0, 0);
    }
    ink_engine_close(e);
}

/* Warm and cold sessions in one batch, several on the same blocks. */
static void test_prefix_cache_hits_in_a_mixed_batch(void **state)
{
    (void)state;
    enum { N = 4 };
    uint32_t texts[N][N_TEXT];
    float cold[N][N_VOCAB];
    InkSession *s[N];
    InkStepRow rows[N * N_TEXT];
    size_t n_rows = 0, n_found[N];
    InkEngine *e = open_engine(2, 0);
    for (size_t i = 0; i < N; i++) {
        make_tokens(texts[i], N_TEXT, 4);
        for (size_t k = 40 + 10 * i; k < N_TEXT; k++)
            texts[i][k] = (uint32_t)((texts[i][k] + i) % 100);
        s[i] = new_session(e);
        read_tokens(s[i], texts[i], N_TEXT, 512, cold[i]);
        ink_session_free(s[i]);
    }
    dirty_memory(e);
    cache_text(e, texts[0], N_TEXT);
    for (size_t i = 0; i < N; i++) {
        InkPrefixKey key = {.scope = i == 3 ? 2 : 1};
        s[i] = new_session(e);
        n_found[i] = ink_session_reuse_prefix(s[i], key, texts[i], N_TEXT - 1);
        for (size_t k = n_found[i]; k < N_TEXT; k++)
            rows[n_rows++] = (InkStepRow){
                .session = s[i], .token = texts[i][k], .wants_logits = k + 1 == N_TEXT};
    }
    assert_int_equal(n_found[0], N_TEXT - 1);
    assert_int_equal(n_found[1], 50);
    assert_int_equal(n_found[2], 60);
    assert_int_equal(n_found[3], 0);
    assert_int_equal(ink_engine_step(e, rows, n_rows, NULL, NULL, NULL), 0);
    for (size_t i = 0, at = 0; i < N; i++) {
        at += N_TEXT - n_found[i];
        assert_memory_equal(rows[at - 1].logits, cold[i], sizeof(cold[i]));
    }
    /* One goes, the others do not notice. */
    ink_session_cache_prefix(s[0], mine, true);
    ink_session_free(s[0]);
    ink_engine_trim(e, 1, 0);
    dirty_memory(e);
    for (size_t i = 1; i < N; i++) {
        float after[N_VOCAB], before[N_VOCAB];
        uint32_t more[] = {5, 6, 7};
        InkSession *fresh = new_session(e);
        read_tokens(fresh, texts[i], N_TEXT, 512, before);
        read_tokens(fresh, more, 3, 1, before);
        read_tokens(s[i], more, 3, 1, after);
        assert_memory_equal(after, before, sizeof(after));
        ink_session_free(fresh);
        ink_session_free(s[i]);
    }
    assert_int_equal(ink_engine_kv_bytes(e), 0);
    ink_engine_close(e);
}

/* Two that computed the same end up with one copy; a block is counted once. */
static void test_prefix_cache_equal_blocks_become_one(void **state)
{
    (void)state;
    uint32_t text[64];
    float logits[N_VOCAB], other[N_VOCAB];
    InkEngine *e = open_engine(2, 0);
    size_t block_bytes = ink_engine_info(e)->kv_bytes_per_token * INK_KV_BLOCK;
    make_tokens(text, 64, 9);
    InkSession *a = new_session(e), *b = new_session(e);
    read_tokens(a, text, 64, 512, logits);
    read_tokens(b, text, 64, 7, other);
    assert_int_equal(ink_engine_kv_bytes(e), 8 * block_bytes);
    ink_session_cache_prefix(a, mine, false);
    ink_session_cache_prefix(b, mine, false);
    assert_int_equal(ink_engine_kv_bytes(e), 4 * block_bytes);
    assert_int_equal(ink_engine_cached_bytes(e, 1), 4 * block_bytes);
    assert_int_equal(ink_session_missing_bytes(a, 65), block_bytes);
    assert_int_equal(ink_engine_missing_bytes(e, mine, text, 63, 65), 2 * block_bytes);
    ink_session_free(a);
    read_tokens(b, text, 20, 7, other); /* goes on writing, not into what is shared */
    ink_session_free(b);
    assert_int_equal(ink_engine_kv_bytes(e), 0);
    assert_int_equal(ink_engine_missing_bytes(e, mine, text, 63, 65), 5 * block_bytes);
    InkSession *c = new_session(e);
    assert_int_equal(ink_session_reuse_prefix(c, mine, text, 63), 63);
    read_tokens(c, text + 63, 1, 1, other);
    assert_memory_equal(logits, other, sizeof(logits));
    ink_session_free(c);
    ink_engine_close(e);
}

/* A session that is wound back into a shared block goes on in a copy of it. */
static void test_prefix_cache_rewind_copies_what_is_shared(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 8, 15, 16, 17, 31, 47};
    uint32_t text[64], more[20];
    float kept[N_VOCAB], logits[N_VOCAB], fresh_logits[N_VOCAB];
    make_tokens(text, 64, 5);
    make_tokens(more, 20, 6);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t n = lengths[i];
        InkEngine *e = open_engine(2, 0);
        InkSession *s = new_session(e), *fresh = new_session(e);
        read_tokens(fresh, text, n, 512, fresh_logits);
        read_tokens(fresh, more, 20, 512, fresh_logits);
        ink_session_free(fresh);
        dirty_memory(e);
        read_tokens(s, text, 64, 512, kept);
        ink_session_cache_prefix(s, mine, false);
        ink_session_rewind(s, n);
        if (i % 2 == 0) /* the cache gives its hold up in between */
            ink_engine_trim(e, 0, 0);
        read_tokens(s, more, 20, 512, logits);
        assert_memory_equal(logits, fresh_logits, sizeof(logits));
        ink_session_free(s);
        s = new_session(e);
        size_t n_found = ink_session_reuse_prefix(s, mine, text, 63);
        assert_int_equal(n_found, i % 2 == 0 ? 0 : 63);
        read_tokens(s, text + n_found, 64 - n_found, 512, logits);
        assert_memory_equal(logits, kept, sizeof(logits));
        ink_session_free(s);
        assert_int_equal(ink_engine_kv_bytes(e), 0);
        ink_engine_close(e);
    }
}

/* Live sessions take the memory of what is only cached, and what is found after that is right. */
static void test_prefix_cache_gives_way_to_sessions(void **state)
{
    (void)state;
    uint32_t text[64], other[N_TEXT];
    float cold[N_VOCAB], warm[N_VOCAB];
    InkEngine *e = open_engine(2, 0);
    size_t block_bytes = ink_engine_info(e)->kv_bytes_per_token * INK_KV_BLOCK;
    ink_engine_close(e);
    e = open_engine(2, 9 * block_bytes);
    make_tokens(text, 64, 1);
    make_tokens(other, N_TEXT, 2);
    InkSession *s = new_session(e);
    read_tokens(s, text, 64, 512, cold);
    ink_session_cache_prefix(s, mine, true);
    ink_session_free(s);
    assert_int_equal(ink_engine_cached_bytes(e, 0), 4 * block_bytes);
    s = new_session(e);
    read_tokens(s, other, 100, 512, warm); /* needs 7 of the 9 */
    assert_int_equal(ink_engine_cached_bytes(e, 0), 2 * block_bytes);
    InkSession *again = new_session(e);
    assert_int_equal(ink_session_reuse_prefix(again, mine, text, 63), 32);
    InkError error = {0}; /* and no further: what is in use is not dropped */
    assert_int_equal(ink_session_prefill(again, text + 32, 32, NULL, &error), -ENOMEM);
    ink_session_free(s);
    read_tokens(again, text + 32, 32, 512, warm);
    assert_memory_equal(warm, cold, sizeof(cold));
    ink_session_free(again);
    ink_engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix_cache_finds_the_longest_beginning),
        cmocka_unit_test(test_prefix_cache_survives_shortage),
        cmocka_unit_test(test_prefix_cache_drops_the_least_recently_used_leaf),
        cmocka_unit_test(test_prefix_cache_scope_has_a_cap_of_its_own),
        cmocka_unit_test(test_prefix_cache_trim_forgets_one_scope),
        cmocka_unit_test(test_prefix_cache_without_memory_caches_nothing),
        cmocka_unit_test(test_prefix_cache_hit_changes_no_bit),
        cmocka_unit_test(test_prefix_cache_hit_changes_no_bit_behind_a_window),
        cmocka_unit_test(test_prefix_cache_same_prompt_costs_one_token),
        cmocka_unit_test(test_prefix_cache_hits_in_a_mixed_batch),
        cmocka_unit_test(test_prefix_cache_equal_blocks_become_one),
        cmocka_unit_test(test_prefix_cache_rewind_copies_what_is_shared),
        cmocka_unit_test(test_prefix_cache_gives_way_to_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
