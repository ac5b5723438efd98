/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/prefix-cache.h"

#include <string.h>

#include "engine/base/alloc.h"

typedef struct Scope Scope;

typedef struct Node {
    Scope *scope;
    struct Node *parent; /* NULL = begins a prompt */
    struct Node *children, *next, *previous;
    struct Node *newer, *older; /* of its scope, by use */
    uint64_t used_at;
    uint64_t adapter;
    uint32_t block;
    uint32_t n_tokens; /* fewer than INK_KV_BLOCK in a leaf only */
    uint32_t tokens[INK_KV_BLOCK];
} Node;

struct Scope {
    uint32_t number;
    size_t n_nodes;
    Node *roots;
    Node *newest, *oldest;
    Scope *next;
};

struct InkPrefixCache {
    InkKvPool *kv;
    size_t max_scope_nodes;
    Scope *scopes;
    uint64_t clock; /* counts uses */
};

int ink_prefix_cache_new(InkKvPool *kv, size_t max_scope_bytes, InkPrefixCache **ret,
                         InkError *reterr)
{
    InkPrefixCache *c = ink_alloc_array(1, sizeof(*c));
    INK_CHECK(c != NULL, ENOMEM, reterr, "no memory for the prefix cache");
    c->kv = kv;
    c->max_scope_nodes = max_scope_bytes / ink_kv_pool_block_bytes(kv);
    *ret = c;
    return 0;
}

InkPrefixCache *ink_prefix_cache_free(InkPrefixCache *c)
{
    if (c == NULL)
        return NULL;
    ink_prefix_cache_trim(c, 0, 0);
    free(c);
    return NULL;
}

/* --- scopes --- */

static Scope *find_scope(const InkPrefixCache *c, uint32_t number)
{
    for (Scope *s = c->scopes; s != NULL; s = s->next)
        if (s->number == number)
            return s;
    return NULL;
}

static Scope *find_or_add_scope(InkPrefixCache *c, uint32_t number)
{
    Scope *s = find_scope(c, number);
    if (s != NULL || number == 0)
        return s;
    s = ink_alloc_array(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->number = number;
    s->next = c->scopes;
    c->scopes = s;
    return s;
}

static void drop_empty_scopes(InkPrefixCache *c)
{
    for (Scope **at = &c->scopes; *at != NULL;) {
        Scope *s = *at;
        if (s->n_nodes != 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s);
    }
}

/* --- the order of use --- */

static void unlink_use(Node *n)
{
    *(n->newer != NULL ? &n->newer->older : &n->scope->newest) = n->older;
    *(n->older != NULL ? &n->older->newer : &n->scope->oldest) = n->newer;
}

static void link_newest(Node *n)
{
    Scope *s = n->scope;
    n->newer = NULL;
    n->older = s->newest;
    *(s->newest != NULL ? &s->newest->newer : &s->oldest) = n;
    s->newest = n;
}

/* From the leaf to the root, so that a parent is never older than its child. */
static void touch_path(InkPrefixCache *c, Node *leaf)
{
    c->clock++;
    for (Node *n = leaf; n != NULL; n = n->parent) {
        unlink_use(n);
        link_newest(n);
        n->used_at = c->clock;
    }
}

/* --- nodes --- */

static Node **children_of(Scope *s, Node *parent)
{
    return parent != NULL ? &parent->children : &s->roots;
}

static Node *add_node(InkPrefixCache *c, Scope *s, Node *parent, uint64_t adapter,
                      const uint32_t *tokens, size_t n_tokens, uint32_t block)
{
    Node *n = ink_alloc_array(1, sizeof(*n));
    if (n == NULL)
        return NULL;
    Node **list = children_of(s, parent);
    n->scope = s;
    n->parent = parent;
    n->adapter = adapter;
    n->block = block;
    n->n_tokens = (uint32_t)n_tokens;
    memcpy(n->tokens, tokens, n_tokens * sizeof(*tokens));
    n->next = *list;
    if (n->next != NULL)
        n->next->previous = n;
    *list = n;
    link_newest(n);
    s->n_nodes++;
    ink_kv_pool_keep(c->kv, block);
    touch_path(c, n);
    return n;
}

/* Only of a leaf. */
static void remove_node(InkPrefixCache *c, Node *n)
{
    *(n->previous != NULL ? &n->previous->next : children_of(n->scope, n->parent)) = n->next;
    if (n->next != NULL)
        n->next->previous = n->previous;
    unlink_use(n);
    n->scope->n_nodes--;
    ink_kv_pool_drop(c->kv, n->block);
    explicit_bzero(n->tokens, sizeof(n->tokens)); /* they are what somebody wrote */
    free(n);
}

static size_t common_length(const Node *n, const uint32_t *tokens, size_t n_tokens)
{
    size_t most = n_tokens < n->n_tokens ? n_tokens : n->n_tokens, i = 0;
    while (i < most && n->tokens[i] == tokens[i])
        i++;
    return i;
}

/* The child that has most of the tokens; *ret_n = 0 and NULL when none has the first one. */
static Node *find_child(Scope *s, Node *parent, uint64_t adapter, const uint32_t *tokens,
                        size_t n_tokens, size_t *ret_n)
{
    Node *best = NULL;
    size_t best_n = 0;
    for (Node *n = *children_of(s, parent); n != NULL && best_n < INK_KV_BLOCK; n = n->next) {
        size_t length = n->adapter == adapter ? common_length(n, tokens, n_tokens) : 0;
        if (length > best_n) {
            best = n;
            best_n = length;
        }
    }
    *ret_n = best_n;
    return best;
}

/* --- finding --- */

typedef struct Path {
    Node *last;    /* of the whole blocks; NULL = none */
    Node *partial; /* continues it with n_partial tokens; NULL = none */
    size_t n_blocks, n_partial;
} Path;

static Path find_path(Scope *s, InkPrefixKey key, const uint32_t *tokens, size_t n)
{
    Path path = {0};
    for (size_t at = 0; s != NULL && at < n; at += INK_KV_BLOCK) {
        size_t length;
        Node *child = find_child(s, path.last, key.adapter, tokens + at, n - at, &length);
        if (length < INK_KV_BLOCK) {
            path.partial = child;
            path.n_partial = length;
            break;
        }
        path.last = child;
        path.n_blocks++;
    }
    return path;
}

InkPrefixMatch ink_prefix_cache_probe(const InkPrefixCache *c, InkPrefixKey key,
                                      const uint32_t *tokens, size_t n)
{
    Path path = find_path(find_scope(c, key.scope), key, tokens, n);
    InkPrefixMatch match = {.n_tokens = path.n_blocks * INK_KV_BLOCK + path.n_partial,
                            .n_blocks = path.n_blocks};
    for (const Node *at = path.last; at != NULL; at = at->parent)
        match.n_used += ink_kv_pool_has_users(c->kv, at->block);
    return match;
}

/* A copy of the part of a block that fits; false when there is no room for it. */
static bool copy_partial(InkPrefixCache *c, const Path *path, uint32_t *ret)
{
    uint32_t from = path->partial->block;
    ink_kv_pool_share(c->kv, from); /* what makes room must not drop it */
    bool copied = ink_prefix_cache_make_room(c, 1) && ink_kv_pool_take(c->kv, ret);
    if (copied)
        ink_kv_pool_copy(c->kv, from, *ret, path->n_partial);
    ink_kv_pool_give(c->kv, from);
    return copied;
}

size_t ink_prefix_cache_take(InkPrefixCache *c, InkPrefixKey key, const uint32_t *tokens, size_t n,
                             uint32_t *blocks, size_t *ret_n_blocks)
{
    Path path = find_path(find_scope(c, key.scope), key, tokens, n);
    size_t n_blocks = path.n_blocks, n_tokens = path.n_blocks * INK_KV_BLOCK;
    for (const Node *at = path.last; at != NULL; at = at->parent) {
        ink_kv_pool_share(c->kv, at->block);
        blocks[--n_blocks] = at->block;
    }
    n_blocks = path.n_blocks;
    touch_path(c, path.partial != NULL ? path.partial : path.last);
    if (path.partial != NULL && copy_partial(c, &path, &blocks[n_blocks])) {
        n_blocks++;
        n_tokens += path.n_partial;
    }
    *ret_n_blocks = n_blocks;
    return n_tokens;
}

/* --- keeping --- */

static bool is_evictable(const InkPrefixCache *c, const Node *n)
{
    return n->children == NULL && !ink_kv_pool_has_users(c->kv, n->block);
}

static Node *oldest_evictable(const InkPrefixCache *c, const Scope *s)
{
    Node *n = s->oldest;
    while (n != NULL && !is_evictable(c, n))
        n = n->newer;
    return n;
}

/* The node of these tokens under `parent`: the one that is there, or a new one with this block;
 * NULL when there is no room for it. */
static Node *put_block(InkPrefixCache *c, Scope *s, Node *parent, uint64_t adapter,
                       const uint32_t *tokens, size_t n_tokens, uint32_t *block)
{
    size_t length;
    Node *n = find_child(s, parent, adapter, tokens, n_tokens, &length);
    if (n != NULL && length == n_tokens) {
        if (length == INK_KV_BLOCK && n->block != *block) {
            ink_kv_pool_share(c->kv, n->block);
            ink_kv_pool_give(c->kv, *block);
            *block = n->block;
        }
        return n;
    }
    if (n != NULL && length == n->n_tokens && !ink_kv_pool_has_users(c->kv, n->block))
        remove_node(c, n); /* the same end, and less of it */
    while (s->n_nodes >= c->max_scope_nodes) {
        Node *oldest = oldest_evictable(c, s);
        if (oldest == NULL)
            return NULL;
        remove_node(c, oldest);
    }
    return add_node(c, s, parent, adapter, tokens, n_tokens, *block);
}

void ink_prefix_cache_put(InkPrefixCache *c, InkPrefixKey key, const uint32_t *tokens, size_t n,
                          uint32_t *blocks)
{
    Scope *s = find_or_add_scope(c, key.scope);
    if (s == NULL)
        return;
    Node *last = NULL;
    for (size_t at = 0; at < n; at += INK_KV_BLOCK) {
        size_t n_here = n - at < INK_KV_BLOCK ? n - at : INK_KV_BLOCK;
        /* The path so far is in use by the caller, so making room does not take it away. */
        Node *node =
            put_block(c, s, last, key.adapter, tokens + at, n_here, &blocks[at / INK_KV_BLOCK]);
        if (node == NULL)
            break;
        last = node;
    }
    touch_path(c, last);
    drop_empty_scopes(c);
}

/* --- giving up --- */

/* The least recently used of all scopes. */
static Node *oldest_of_all(const InkPrefixCache *c)
{
    Node *oldest = NULL;
    for (const Scope *s = c->scopes; s != NULL; s = s->next) {
        Node *n = oldest_evictable(c, s);
        if (n != NULL && (oldest == NULL || n->used_at < oldest->used_at))
            oldest = n;
    }
    return oldest;
}

bool ink_prefix_cache_make_room(InkPrefixCache *c, size_t n)
{
    while (ink_kv_pool_n_free(c->kv) < n) {
        Node *oldest = oldest_of_all(c);
        if (oldest == NULL)
            return false;
        remove_node(c, oldest);
    }
    drop_empty_scopes(c);
    return true;
}

/* Children are older than their parents, so each one is a leaf when its turn comes. */
static void drop_all(InkPrefixCache *c, Scope *s)
{
    while (s->oldest != NULL)
        remove_node(c, s->oldest);
}

void ink_prefix_cache_trim(InkPrefixCache *c, uint32_t scope, size_t keep_bytes)
{
    for (Scope *s = c->scopes; s != NULL && keep_bytes == 0; s = s->next)
        if (scope == 0 || s->number == scope)
            drop_all(c, s);
    while (ink_prefix_cache_bytes(c, scope) > keep_bytes) {
        Node *oldest = scope == 0 ? oldest_of_all(c) : oldest_evictable(c, find_scope(c, scope));
        if (oldest == NULL)
            break;
        remove_node(c, oldest);
    }
    drop_empty_scopes(c);
    ink_kv_pool_shrink(c->kv);
}

size_t ink_prefix_cache_bytes(const InkPrefixCache *c, uint32_t scope)
{
    size_t n_nodes = 0;
    for (const Scope *s = c->scopes; s != NULL; s = s->next)
        if (scope == 0 || s->number == scope)
            n_nodes += s->n_nodes;
    return n_nodes * ink_kv_pool_block_bytes(c->kv);
}
