/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/store-private.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "personalize/frecency.h"
#include "personalize/place.h"

#define DAY_USEC         UINT64_C(86400000000)
#define MAX_TITLE_BYTES  4096u
#define MAX_APP_ID_BYTES 256u

uint64_t ink_store_hash(uint64_t seed, const char *text)
{
    /* FNV-1a; only to find, never to decide. NULL and "" differ. */
    if (text == NULL)
        return (seed ^ 0xff) * UINT64_C(1099511628211);
    for (const char *p = text;; p++) {
        seed = (seed ^ (unsigned char)*p) * UINT64_C(1099511628211);
        if (*p == '\0')
            return seed;
    }
}

int ink_store_check_text(const char *what, const char *text, size_t max_bytes, InkError *reterr)
{
    if (text == NULL)
        return 0;
    size_t n = strnlen(text, max_bytes + 1);
    INK_CHECK(n <= max_bytes, EINVAL, reterr, "%s is longer than %zu bytes", what, max_bytes);
    INK_CHECK(ink_utf8_valid(text, n), EINVAL, reterr, "%s is not valid UTF-8", what);
    return 0;
}

int ink_store_check_scope(const char *scope, InkError *reterr)
{
    INK_CHECK(scope != NULL && scope[0] != '\0', EINVAL, reterr, "the application id is missing");
    return ink_store_check_text("the application id", scope, INK_STORE_MAX_SCOPE_BYTES, reterr);
}

/* ------------------------------------------------------------------- checks */

static int check_field(size_t index, const char *key, const char *value, bool is_required,
                       size_t max_bytes, InkError *reterr)
{
    if (value == NULL || value[0] == '\0') {
        INK_CHECK(!is_required, EINVAL, reterr, "events[%zu].%s is required for this kind", index,
                  key);
        return 0;
    }
    char what[64];
    snprintf(what, sizeof(what), "events[%zu].%s", index, key);
    return ink_store_check_text(what, value, max_bytes, reterr);
}

static int check_event(const InkEvent *e, size_t index, uint64_t now_usec, InkError *reterr)
{
    INK_CHECK(e->kind >= INK_EVENT_OPENED && e->kind < INK_EVENT_MAX, EINVAL, reterr,
              "events[%zu].kind is not known", index);
    INK_TRY(check_field(index, "uri", e->uri, e->kind == INK_EVENT_OPENED, INK_STORE_MAX_URI_BYTES,
                        reterr));
    INK_TRY(check_field(index, "text", e->text,
                        e->kind == INK_EVENT_RAN || e->kind == INK_EVENT_ACCEPTED,
                        INK_STORE_MAX_TEXT_BYTES, reterr));
    INK_TRY(check_field(index, "title", e->title, false, MAX_TITLE_BYTES, reterr));
    INK_TRY(check_field(index, "app-id", e->app_id, e->kind == INK_EVENT_FOCUSED, MAX_APP_ID_BYTES,
                        reterr));
    INK_CHECK(e->time_usec <= now_usec || e->time_usec - now_usec <= INK_STORE_FUTURE_SLACK_USEC,
              EINVAL, reterr, "events[%zu].time-usec is more than %u s in the future", index,
              INK_STORE_FUTURE_SLACK_USEC / 1000000u);
    return 0;
}

/* -------------------------------------------------------------------- items */

static int add_item(InkStore *s, const InkItemChange *c, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_ADD_ITEM);
    ink_rows_bind_text(&rows, 1, c->scope);
    ink_rows_bind_u64(&rows, 2, c->kind);
    ink_rows_bind_text(&rows, 3, c->place);
    ink_rows_bind_text(&rows, 4, c->key);
    ink_rows_bind_text(&rows, 5, c->title);
    ink_rows_bind_u64(&rows, 6, c->is_use ? 1 : 0);
    ink_rows_bind_u64(&rows, 7, c->time_usec);
    ink_rows_bind_double(&rows, 8, ink_frecency_first(c->time_usec, c->weight));
    return ink_rows_next(&rows, reterr);
}

int ink_store_change_item(InkStore *s, const InkItemChange *c, InkError *reterr)
{
    uint64_t id, n_uses, last_usec;
    double rank;
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_GET_ITEM);
        ink_rows_bind_text(&rows, 1, c->scope);
        ink_rows_bind_u64(&rows, 2, c->kind);
        ink_rows_bind_text(&rows, 3, c->place);
        ink_rows_bind_text(&rows, 4, c->key);
        int r = ink_rows_next(&rows, reterr);
        INK_TRY(r);
        if (r == 0)
            return c->weight > 0 ? add_item(s, c, reterr) : 0;
        id = ink_rows_u64(&rows, 0);
        n_uses = ink_rows_u64(&rows, 3);
        last_usec = ink_rows_u64(&rows, 4);
        rank = ink_frecency_scale(ink_rows_double(&rows, 5), c->factor);
    }
    bool is_newest = c->is_use && c->time_usec >= last_usec;
    if (c->weight > 0)
        rank = ink_frecency_add(rank, c->time_usec, c->weight);
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_SET_ITEM);
    ink_rows_bind_u64(&rows, 1, id);
    ink_rows_bind_text(&rows, 2, is_newest ? c->title : NULL);
    ink_rows_bind_u64(&rows, 3, n_uses + (c->is_use ? 1 : 0));
    ink_rows_bind_u64(&rows, 4, is_newest ? c->time_usec : last_usec);
    ink_rows_bind_double(&rows, 5, rank);
    return ink_rows_next(&rows, reterr);
}

/* What of the event Suggest can propose later. */
static int change_items(InkStore *s, const char *scope, const InkEvent *e, uint64_t time_usec,
                        InkError *reterr)
{
    bool is_file = e->kind == INK_EVENT_OPENED;
    const char *key = is_file ? e->uri : e->text;
    if ((!is_file && e->kind != INK_EVENT_RAN) || strlen(key) > INK_STORE_MAX_KEY_BYTES)
        return 0;
    InkItemChange change = {
        .scope = scope,
        .place = "",
        .key = key,
        .title = e->title,
        .kind = is_file ? INK_SUGGEST_FILE : INK_SUGGEST_COMMAND,
        .time_usec = time_usec,
        .weight = 1,
        .factor = 1,
        .is_use = true,
    };
    INK_TRY(ink_store_change_item(s, &change, reterr));
    if (is_file)
        return 0;
    _cleanup_free_ char *place = ink_place_of(e->uri);
    INK_CHECK(place != NULL, ENOMEM, reterr, "the store is out of memory");
    change.place = place;
    return place[0] != '\0' ? ink_store_change_item(s, &change, reterr) : 0;
}

/* ------------------------------------------------------------------- events */

/* "" is as good as not given; one spelling, so that repeats are found. */
static InkEvent normalised(const InkEvent *e)
{
    InkEvent n = *e;
    const char **fields[] = {&n.uri, &n.text, &n.title, &n.app_id};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (*fields[i] != NULL && (*fields[i])[0] == '\0')
            *fields[i] = NULL;
    return n;
}

static void bind_content(InkRows *rows, const InkEvent *e)
{
    ink_rows_bind_u64(rows, 5, e->kind);
    ink_rows_bind_text(rows, 6, e->uri);
    ink_rows_bind_text(rows, 7, e->text);
    ink_rows_bind_text(rows, 8, e->title);
    ink_rows_bind_text(rows, 9, e->app_id);
}

/* 1 when an equal event lies less than INK_STORE_MERGE_USEC away. */
static int is_repeat(InkStore *s, const char *scope, const InkEvent *e, int64_t digest,
                     uint64_t time_usec, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_FIND_REPEAT);
    ink_rows_bind_text(&rows, 1, scope);
    ink_rows_bind_i64(&rows, 2, digest);
    ink_rows_bind_i64(&rows, 3, (int64_t)time_usec - INK_STORE_MERGE_USEC);
    ink_rows_bind_i64(&rows, 4, (int64_t)time_usec + INK_STORE_MERGE_USEC);
    bind_content(&rows, e);
    return ink_rows_next(&rows, reterr);
}

/* 1 when stored, 0 when it was a repeat. */
static int add_event(InkStore *s, const char *scope, const InkEvent *given, uint64_t now_usec,
                     InkError *reterr)
{
    InkEvent e = normalised(given);
    uint64_t time_usec = e.time_usec != 0 ? e.time_usec : now_usec;
    uint64_t hash = ink_store_hash(INK_STORE_HASH_SEED + e.kind, e.uri);
    hash = ink_store_hash(ink_store_hash(ink_store_hash(hash, e.text), e.title), e.app_id);
    int repeat = is_repeat(s, scope, &e, (int64_t)hash, time_usec, reterr);
    INK_TRY(repeat);
    if (repeat)
        return 0;
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_ADD_EVENT);
        ink_rows_bind_text(&rows, 1, scope);
        ink_rows_bind_i64(&rows, 2, (int64_t)hash);
        ink_rows_bind_u64(&rows, 3, time_usec);
        ink_rows_bind_u64(&rows, 4, e.train ? 1 : 0);
        bind_content(&rows, &e);
        INK_TRY(ink_rows_next(&rows, reterr));
    }
    INK_TRY(change_items(s, scope, &e, time_usec, reterr));
    return 1;
}

/* The limit counts by day of arrival (UTC), so that an old history may be brought in. */
static int count_usage(InkStore *s, const char *scope, size_t n_added, uint64_t now_usec,
                       InkError *reterr)
{
    uint64_t day = now_usec / DAY_USEC, n_today = 0;
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_GET_USAGE);
        ink_rows_bind_text(&rows, 1, scope);
        ink_rows_bind_u64(&rows, 2, day);
        int r = ink_rows_next(&rows, reterr);
        INK_TRY(r);
        if (r > 0)
            n_today = ink_rows_u64(&rows, 0);
    }
    INK_CHECK(n_today + n_added <= INK_STORE_MAX_EVENTS_PER_DAY, EDQUOT, reterr,
              "%" PRIu64 " of %u events of today are used and this call has %zu more; wait %" PRIu64
              " s",
              n_today, INK_STORE_MAX_EVENTS_PER_DAY, n_added,
              (DAY_USEC - now_usec % DAY_USEC + 999999) / 1000000);
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_SET_USAGE);
    ink_rows_bind_text(&rows, 1, scope);
    ink_rows_bind_u64(&rows, 2, day);
    ink_rows_bind_u64(&rows, 3, n_today + n_added);
    return ink_rows_next(&rows, reterr);
}

int ink_store_observe(InkStore *s, const char *scope, const InkEvent *events, size_t n,
                      bool dry_run, size_t *ret_accepted, InkError *reterr)
{
    uint64_t now_usec = s->real_usec();
    INK_TRY(ink_store_check_scope(scope, reterr));
    INK_CHECK(n <= INK_STORE_MAX_EVENTS, E2BIG, reterr, "%zu events given, at most %u in one call",
              n, INK_STORE_MAX_EVENTS);
    for (size_t i = 0; i < n; i++)
        INK_TRY(check_event(&events[i], i, now_usec, reterr));
    INK_TRY(ink_store_ready(s, reterr));
    if (!s->memory_enabled || n == 0) {
        *ret_accepted = 0;
        return 0;
    }
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    size_t n_added = 0;
    for (size_t i = 0; i < n; i++) {
        int r = add_event(s, scope, &events[i], now_usec, reterr);
        INK_TRY(r);
        n_added += (size_t)r;
    }
    if (n_added > 0) {
        INK_TRY(count_usage(s, scope, n_added, now_usec, reterr));
        if (!dry_run)
            INK_TRY(ink_store_commit(s, reterr));
    }
    *ret_accepted = n_added;
    return 0;
}
