/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/store-private.h"

#include <string.h>
#include <sys/random.h>

#include "engine/base/alloc.h"
#include "personalize/frecency.h"

/* ------------------------------------------------- suggestions handed out */

static void drop_oldest(InkStore *s)
{
    InkIssued *oldest = &s->issued[s->issued_first];
    s->issued_bytes -= oldest->n_bytes;
    free(oldest->scope); /* one block with place and key */
    *oldest = (InkIssued){0};
    s->issued_first = (s->issued_first + 1) % INK_STORE_MAX_ISSUED;
    s->n_issued--;
}

void ink_store_forget_issued(InkStore *s)
{
    while (s->n_issued > 0)
        drop_oldest(s);
}

static bool is_expired(const InkStore *s, const InkIssued *issued)
{
    return s->monotonic_usec() - issued->issued_usec >= INK_STORE_ITEM_LIFETIME_USEC;
}

static int make_id(char id[INK_STORE_ID_CHARS + 1], InkError *reterr)
{
    unsigned char bytes[INK_STORE_ID_CHARS / 2];
    INK_CHECK(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes), EIO, reterr,
              "no random numbers for the id of a suggestion");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

int ink_store_issue(InkStore *s, const char *scope, InkSuggestKind kind, const char *place,
                    const char *key, char **ret_id, InkError *reterr)
{
    size_t n_scope = strlen(scope) + 1, n_place = strlen(place) + 1, n_key = strlen(key) + 1;
    InkIssued issued = {
        .kind = kind,
        .n_bytes = n_scope + n_place + n_key,
        .issued_usec = s->monotonic_usec(),
    };
    INK_TRY(make_id(issued.id, reterr));
    _cleanup_free_ char *id = ink_memdup(issued.id, sizeof(issued.id));
    _cleanup_free_ char *texts = ink_alloc_array(issued.n_bytes, 1);
    INK_CHECK(id != NULL && texts != NULL, ENOMEM, reterr, "the store is out of memory");
    while (s->n_issued > 0 && (s->n_issued == INK_STORE_MAX_ISSUED ||
                               s->issued_bytes + issued.n_bytes > INK_STORE_MAX_ISSUED_BYTES ||
                               is_expired(s, &s->issued[s->issued_first])))
        drop_oldest(s);
    issued.scope = memcpy(INK_TAKE(texts), scope, n_scope);
    issued.place = memcpy(issued.scope + n_scope, place, n_place);
    issued.key = memcpy(issued.place + n_place, key, n_key);
    s->issued[(s->issued_first + s->n_issued) % INK_STORE_MAX_ISSUED] = issued;
    s->n_issued++;
    s->issued_bytes += issued.n_bytes;
    *ret_id = INK_TAKE(id);
    return 0;
}

static InkIssued *find_issued(InkStore *s, const char *scope, const char *id)
{
    for (size_t i = 0; i < s->n_issued; i++) {
        InkIssued *issued = &s->issued[(s->issued_first + i) % INK_STORE_MAX_ISSUED];
        if (strcmp(issued->id, id) == 0)
            return strcmp(issued->scope, scope) == 0 && !is_expired(s, issued) ? issued : NULL;
    }
    return NULL;
}

/* ----------------------------------------------------------------- feedback */

static int add_feedback(InkStore *s, const InkIssued *issued, InkFeedback outcome,
                        uint64_t accepted_chars, const char *text, uint64_t now_usec,
                        InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_ADD_FEEDBACK);
    ink_rows_bind_text(&rows, 1, issued->scope);
    ink_rows_bind_u64(&rows, 2, issued->kind);
    ink_rows_bind_text(&rows, 3, issued->key);
    ink_rows_bind_u64(&rows, 4, outcome);
    ink_rows_bind_u64(&rows, 5, outcome == INK_FEEDBACK_PARTIAL ? accepted_chars : 0);
    ink_rows_bind_text(&rows, 6, outcome == INK_FEEDBACK_EDITED ? text : NULL);
    ink_rows_bind_u64(&rows, 7, now_usec);
    return ink_rows_next(&rows, reterr);
}

static int move_ranking(InkStore *s, const InkIssued *issued, InkFeedback outcome,
                        uint64_t now_usec, InkError *reterr)
{
    static const struct {
        double weight, factor;
    } moves[INK_FEEDBACK_MAX] = {
        [INK_FEEDBACK_SHOWN] = {0, 1},
        [INK_FEEDBACK_ACCEPTED] = {INK_FRECENCY_ACCEPTED_WEIGHT, 1},
        [INK_FEEDBACK_PARTIAL] = {INK_FRECENCY_PARTIAL_WEIGHT, 1},
        [INK_FEEDBACK_DISMISSED] = {0, INK_FRECENCY_DISMISSED_FACTOR},
        [INK_FEEDBACK_EDITED] = {INK_FRECENCY_PARTIAL_WEIGHT, 1},
    };
    if (outcome == INK_FEEDBACK_SHOWN || issued->key[0] == '\0')
        return 0;
    InkItemChange change = {
        .scope = issued->scope,
        .place = "",
        .key = issued->key,
        .kind = issued->kind,
        .time_usec = now_usec,
        .weight = moves[outcome].weight,
        .factor = moves[outcome].factor,
    };
    INK_TRY(ink_store_change_item(s, &change, reterr));
    change.place = issued->place;
    return change.place[0] != '\0' ? ink_store_change_item(s, &change, reterr) : 0;
}

int ink_store_feedback(InkStore *s, const char *scope, const char *item_id, InkFeedback outcome,
                       uint64_t accepted_chars, const char *text, InkError *reterr)
{
    INK_TRY(ink_store_check_scope(scope, reterr));
    INK_CHECK(outcome >= INK_FEEDBACK_SHOWN && outcome < INK_FEEDBACK_MAX, EINVAL, reterr,
              "the outcome is not known");
    INK_TRY(ink_store_check_text("text", text, INK_STORE_MAX_TEXT_BYTES, reterr));
    InkIssued *issued = item_id != NULL ? find_issued(s, scope, item_id) : NULL;
    INK_CHECK(issued != NULL, ENOMSG, reterr,
              "no such suggestion; ids are valid for %u s and for the application that asked",
              INK_STORE_ITEM_LIFETIME_USEC / 1000000u);
    INK_TRY(ink_store_ready(s, reterr));
    /* told twice, it still happened once */
    if (!s->memory_enabled || (issued->outcomes & (1u << outcome)) != 0)
        return 0;
    uint64_t now_usec = s->real_usec();
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    INK_TRY(add_feedback(s, issued, outcome, accepted_chars, text, now_usec, reterr));
    INK_TRY(move_ranking(s, issued, outcome, now_usec, reterr));
    INK_TRY(ink_store_commit(s, reterr));
    issued->outcomes |= 1u << outcome;
    return 0;
}
