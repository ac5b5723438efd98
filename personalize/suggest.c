/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/store-private.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "personalize/frecency.h"
#include "personalize/place.h"
#include "personalize/reason.h"

/* Items looked at for one answer: the best by rank and the latest, of all and of the directory.
 * More could not change the first 100, and these cost about a millisecond. */
#define BY_RANK 1000u
#define BY_LAST 200u
#define HERE    200u
/* With text_before, how far down the ranking the search for matches goes (about 1.2 us each, so
 * that an answer over 100,000 events stays below 5 ms). */
#define SCANNED 3000u

#define MAX_ID_BYTES 256u
#define NO_CANDIDATE SIZE_MAX

/* Where an entry stands before its value counts. */
typedef enum Tier { TIER_UNKNOWN, TIER_KNOWN, TIER_HERE } Tier;

typedef struct Entry {
    char *key; /* "" for a candidate without one */
    char *title;
    uint64_t hash;
    uint64_t n_uses, last_usec;
    double value, rank;
    size_t candidate; /* index, or NO_CANDIDATE */
    Tier tier;
} Entry;

typedef struct Pool {
    const InkSuggestQuery *query;
    uint64_t now_usec;
    char *place; /* "" = none */
    Entry *entries;
    size_t n, capacity;
} Pool;

static void pool_done(Pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->entries[i].key);
        free(p->entries[i].title);
    }
    free(p->entries);
    free(p->place);
}

static int out_of_memory(InkError *reterr)
{
    return INK_RAISE(ENOMEM, reterr, "the store is out of memory");
}

static char *copy_text(const char *text)
{
    return ink_memdup(text, strlen(text) + 1);
}

void ink_suggestions_done(InkSuggestions *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->items[i].id);
        free(s->items[i].candidate);
        free(s->items[i].text);
        free(s->items[i].uri);
        free(s->items[i].reason);
    }
    free(s->items);
    *s = INK_SUGGESTIONS_INIT;
}

/* ------------------------------------------------------------------- checks */

static int check_candidates(const InkSuggestQuery *q, InkError *reterr)
{
    INK_CHECK(q->n_candidates <= INK_STORE_MAX_CANDIDATES, E2BIG, reterr,
              "%zu candidates given, at most %u in one call", q->n_candidates,
              INK_STORE_MAX_CANDIDATES);
    for (size_t i = 0; i < q->n_candidates; i++) {
        const InkSuggestCandidate *c = &q->candidates[i];
        char what[64];
        INK_CHECK(c->id != NULL && c->id[0] != '\0', EINVAL, reterr,
                  "candidates[%zu].id is required", i);
        snprintf(what, sizeof(what), "candidates[%zu].id", i);
        INK_TRY(ink_store_check_text(what, c->id, MAX_ID_BYTES, reterr));
        snprintf(what, sizeof(what), "candidates[%zu].text", i);
        INK_TRY(ink_store_check_text(what, c->text, INK_STORE_MAX_TEXT_BYTES, reterr));
        snprintf(what, sizeof(what), "candidates[%zu].uri", i);
        INK_TRY(ink_store_check_text(what, c->uri, INK_STORE_MAX_URI_BYTES, reterr));
        for (size_t j = 0; j < i; j++)
            INK_CHECK(strcmp(c->id, q->candidates[j].id) != 0, EINVAL, reterr,
                      "candidates[%zu].id is that of candidates[%zu]", i, j);
    }
    return 0;
}

static int check_query(const InkSuggestQuery *q, InkError *reterr)
{
    INK_TRY(ink_store_check_scope(q->scope, reterr));
    INK_CHECK(q->kind == INK_SUGGEST_FILE || q->kind == INK_SUGGEST_COMMAND, EINVAL, reterr,
              "the kind of suggestion is not known");
    INK_CHECK(q->limit <= INK_STORE_MAX_LIMIT, EINVAL, reterr, "limit is %zu, at most %u", q->limit,
              INK_STORE_MAX_LIMIT);
    INK_TRY(ink_store_check_text("cwd", q->cwd, INK_STORE_MAX_URI_BYTES, reterr));
    INK_CHECK(q->text_before == NULL || ink_utf8_valid(q->text_before, strlen(q->text_before)),
              EINVAL, reterr, "text-before is not valid UTF-8");
    return check_candidates(q, reterr);
}

/* ---------------------------------------------------------------- gathering */

static int has_filter(const InkSuggestQuery *q)
{
    return q->text_before != NULL && q->text_before[0] != '\0';
}

/* 1 when the text is part of what the person sees, whatever the case of ASCII letters. */
static int matches(const InkSuggestQuery *q, const char *key, const char *title, InkError *reterr)
{
    if (!has_filter(q))
        return 1;
    if ((key != NULL && strcasestr(key, q->text_before) != NULL) ||
        (title != NULL && strcasestr(title, q->text_before) != NULL))
        return 1;
    if (q->kind != INK_SUGGEST_FILE || key == NULL || strchr(key, '%') == NULL)
        return 0;
    _cleanup_free_ char *name = ink_place_name(key);
    return name == NULL ? out_of_memory(reterr) : strcasestr(name, q->text_before) != NULL;
}

static Entry *find(Pool *p, const char *key, uint64_t hash)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->entries[i].hash == hash && strcmp(p->entries[i].key, key) == 0)
            return &p->entries[i];
    return NULL;
}

/* Takes a copy of the texts in `entry`. */
static int add_entry(Pool *p, Entry entry, InkError *reterr)
{
    if (p->n == p->capacity) {
        size_t capacity = p->capacity != 0 ? 2 * p->capacity : 64;
        Entry *entries = ink_realloc_array(p->entries, capacity, sizeof(*entries));
        if (entries == NULL)
            return out_of_memory(reterr);
        p->entries = entries;
        p->capacity = capacity;
    }
    _cleanup_free_ char *key = copy_text(entry.key);
    _cleanup_free_ char *title = entry.title != NULL ? copy_text(entry.title) : NULL;
    if (key == NULL || (entry.title != NULL && title == NULL))
        return out_of_memory(reterr);
    entry.key = INK_TAKE(key);
    entry.title = INK_TAKE(title);
    p->entries[p->n++] = entry;
    return 0;
}

/* The row that `rows` stands on (INK_SQL_ITEM_COLUMNS); its texts are borrowed from it. */
static Entry entry_of_row(const Pool *p, const InkRows *rows, const char *key, Tier tier)
{
    Entry e = {
        .key = (char *)key,
        .title = (char *)ink_rows_text(rows, 2),
        .hash = ink_store_hash(INK_STORE_HASH_SEED, key),
        .n_uses = ink_rows_u64(rows, 3),
        .last_usec = ink_rows_u64(rows, 4),
        .rank = ink_rows_double(rows, 5),
        .candidate = NO_CANDIDATE,
        .tier = tier,
    };
    e.value = ink_frecency_value(e.rank, e.last_usec, p->now_usec);
    return e;
}

static int gather(InkStore *s, Pool *p, const char *place, Tier tier, size_t n_max,
                  InkError *reterr)
{
    const InkSuggestQuery *q = p->query;
    bool is_search = has_filter(q);
    size_t n_here = p->n, n_begin = p->n;
    _cleanup_rows_ InkRows rows = ink_rows(s, is_search ? INK_SQL_ALL_ITEMS : INK_SQL_TOP_ITEMS);
    ink_rows_bind_text(&rows, 1, q->scope);
    ink_rows_bind_u64(&rows, 2, q->kind);
    ink_rows_bind_text(&rows, 3, place);
    ink_rows_bind_u64(&rows, 4, is_search ? SCANNED : n_max);
    if (!is_search)
        ink_rows_bind_u64(&rows, 5, BY_LAST);
    int r;
    while (p->n - n_begin < n_max + BY_LAST && (r = ink_rows_next(&rows, reterr)) != 0) {
        INK_TRY(r);
        const char *key = ink_rows_text(&rows, 1);
        if (key == NULL)
            return out_of_memory(reterr); /* the column is NOT NULL */
        int match = matches(q, key, ink_rows_text(&rows, 2), reterr);
        INK_TRY(match);
        if (!match)
            continue;
        Entry e = entry_of_row(p, &rows, key, tier);
        /* what ran here is in the pool already, with its uses here */
        Pool here = {.entries = p->entries, .n = n_here};
        if (tier == TIER_HERE || find(&here, key, e.hash) == NULL)
            INK_TRY(add_entry(p, e, reterr));
    }
    return 0;
}

/* 1 when the store knows `key` in that place; the entry is then in the pool. */
static int look_up(InkStore *s, Pool *p, const char *place, const char *key, Tier tier,
                   InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_GET_ITEM);
    ink_rows_bind_text(&rows, 1, p->query->scope);
    ink_rows_bind_u64(&rows, 2, p->query->kind);
    ink_rows_bind_text(&rows, 3, place);
    ink_rows_bind_text(&rows, 4, key);
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    if (r > 0)
        INK_TRY(add_entry(p, entry_of_row(p, &rows, key, tier), reterr));
    return r;
}

static int join_candidate(InkStore *s, Pool *p, size_t index, InkError *reterr)
{
    const InkSuggestQuery *q = p->query;
    const InkSuggestCandidate *c = &q->candidates[index];
    const char *key = q->kind == INK_SUGGEST_FILE ? c->uri : c->text;
    int match = matches(q, key, c->text, reterr);
    if (match <= 0)
        return match;
    if (key == NULL || strlen(key) > INK_STORE_MAX_KEY_BYTES)
        key = "";
    uint64_t hash = ink_store_hash(INK_STORE_HASH_SEED, key);
    Entry *known = key[0] != '\0' ? find(p, key, hash) : NULL;
    if (known == NULL && key[0] != '\0') {
        int r = 0;
        if (p->place[0] != '\0')
            r = look_up(s, p, p->place, key, TIER_HERE, reterr);
        if (r == 0)
            r = look_up(s, p, "", key, TIER_KNOWN, reterr);
        INK_TRY(r);
        if (r > 0)
            known = &p->entries[p->n - 1];
    }
    if (known != NULL && known->candidate == NO_CANDIDATE) {
        known->candidate = index;
        return 0;
    }
    return add_entry(p, (Entry){.key = (char *)key, .hash = hash, .candidate = index}, reterr);
}

/* ------------------------------------------------------------------ ranking */

static int compare(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->tier != y->tier)
        return x->tier > y->tier ? -1 : 1;
    if (x->tier == TIER_UNKNOWN) /* the order of the caller */
        return x->candidate < y->candidate ? -1 : 1;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    if (x->last_usec != y->last_usec)
        return x->last_usec > y->last_usec ? -1 : 1;
    return strcmp(x->key, y->key);
}

/* Each tier has its own stretch of 0..1, so that scores fall with the order. */
static double score_of(const Pool *p, const Entry *e)
{
    double unit = ink_frecency_unit(e->value);
    switch (e->tier) {
    case TIER_HERE:
        return 0.5 + 0.5 * unit;
    case TIER_KNOWN:
        return p->place[0] != '\0' ? 0.1 + 0.4 * unit : 0.1 + 0.9 * unit;
    case TIER_UNKNOWN:
        break;
    }
    return 0.1 * (1.0 - (double)(e->candidate + 1) / (double)(p->query->n_candidates + 1));
}

/* The words for a person: the caller's, else the command, else title or name of the file. */
static char *display_text(const Pool *p, const Entry *e)
{
    const InkSuggestCandidate *c =
        e->candidate != NO_CANDIDATE ? &p->query->candidates[e->candidate] : NULL;
    if (c != NULL && c->text != NULL)
        return copy_text(c->text);
    if (p->query->kind == INK_SUGGEST_COMMAND)
        return copy_text(e->key);
    return e->title != NULL ? copy_text(e->title) : ink_place_name(e->key);
}

static int fill_item(InkStore *s, const Pool *p, const Entry *e, InkSuggestion *item,
                     InkError *reterr)
{
    const InkSuggestQuery *q = p->query;
    bool is_known = e->tier != TIER_UNKNOWN;
    item->score = score_of(p, e);
    item->from_history = is_known;
    item->text = display_text(p, e);
    if (item->text == NULL)
        return out_of_memory(reterr);
    if (e->candidate != NO_CANDIDATE) {
        item->candidate = copy_text(q->candidates[e->candidate].id);
        if (item->candidate == NULL)
            return out_of_memory(reterr);
    }
    if (q->kind == INK_SUGGEST_FILE && e->key[0] != '\0') {
        item->uri = copy_text(e->key);
        if (item->uri == NULL)
            return out_of_memory(reterr);
    }
    if (q->explain) {
        item->reason = is_known ? ink_reason_for_history(q->kind, e->n_uses, e->last_usec,
                                                         p->now_usec, e->tier == TIER_HERE)
                                : ink_reason_for_candidate();
        if (item->reason == NULL)
            return out_of_memory(reterr);
    }
    return ink_store_issue(s, q->scope, q->kind, p->place, e->key, &item->id, reterr);
}

static void suggestions_done_p(InkSuggestions *s)
{
    ink_suggestions_done(s);
}

int ink_store_suggest(InkStore *s, const InkSuggestQuery *query, InkSuggestions *ret,
                      InkError *reterr)
{
    INK_TRY(check_query(query, reterr));
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_(pool_done) Pool pool = {
        .query = query,
        .now_usec = query->now_usec != 0 ? query->now_usec : s->real_usec(),
        /* directories matter for commands only */
        .place = ink_place_of(query->kind == INK_SUGGEST_COMMAND ? query->cwd : NULL),
    };
    if (pool.place == NULL)
        return out_of_memory(reterr);
    if (pool.place[0] != '\0')
        INK_TRY(gather(s, &pool, pool.place, TIER_HERE, HERE, reterr));
    INK_TRY(gather(s, &pool, "", TIER_KNOWN, BY_RANK, reterr));
    for (size_t i = 0; i < query->n_candidates; i++)
        INK_TRY(join_candidate(s, &pool, i, reterr));
    if (pool.n > 1)
        qsort(pool.entries, pool.n, sizeof(*pool.entries), compare);

    _cleanup_(suggestions_done_p) InkSuggestions list = {.considered = pool.n};
    size_t n = pool.n < query->limit ? pool.n : query->limit;
    list.items = ink_alloc_array(n, sizeof(*list.items));
    if (list.items == NULL)
        return out_of_memory(reterr);
    while (list.n < n) {
        size_t i = list.n++; /* counted first, so that a half-filled item is freed too */
        INK_TRY(fill_item(s, &pool, &pool.entries[i], &list.items[i], reterr));
    }
    *ret = list;
    list = INK_SUGGESTIONS_INIT;
    return 0;
}
