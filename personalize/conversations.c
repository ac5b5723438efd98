/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/conversations.h"

#include <string.h>

#include "engine/base/utf8.h"
#include "personalize/store-private.h"

/* ------------------------------------------------------------------- checks */

static int check_name(const char *name, InkError *reterr)
{
    size_t n = name != NULL ? strnlen(name, INK_STORE_MAX_SESSION_NAME_BYTES + 1) : 0;
    INK_CHECK(n >= 1 && n <= INK_STORE_MAX_SESSION_NAME_BYTES, EINVAL, reterr,
              "the name of a session has 1 to %u bytes", INK_STORE_MAX_SESSION_NAME_BYTES);
    for (size_t i = 0; i < n; i++)
        INK_CHECK((unsigned char)name[i] >= ' ' && name[i] != 0x7F, EINVAL, reterr,
                  "the name of a session holds a control character at byte %zu", i);
    INK_CHECK(ink_utf8_valid(name, n), EINVAL, reterr, "the name of a session is not valid UTF-8");
    return 0;
}

static int check_turns(const InkStoredTurn *turns, size_t n, size_t *ret_bytes, InkError *reterr)
{
    size_t n_bytes = 0;
    INK_CHECK(n <= INK_STORE_MAX_CONVERSATION_TURNS, EDQUOT, reterr,
              "%zu turns given, the limit of a session is %u", n, INK_STORE_MAX_CONVERSATION_TURNS);
    for (size_t i = 0; i < n; i++) {
        INK_CHECK(turns[i].role >= INK_ROLE_SYSTEM && turns[i].role < INK_ROLE_MAX, EINVAL, reterr,
                  "turn %zu: the role is not known", i);
        INK_CHECK(turns[i].text != NULL, EINVAL, reterr, "turn %zu: the text is missing", i);
        size_t n_text = strlen(turns[i].text);
        INK_CHECK(n_text <= INK_STORE_MAX_CONVERSATION_BYTES - n_bytes, EDQUOT, reterr,
                  "turn %zu: more than %u bytes, the limit of a session", i,
                  INK_STORE_MAX_CONVERSATION_BYTES);
        INK_CHECK(ink_utf8_valid(turns[i].text, n_text), EINVAL, reterr,
                  "turn %zu: the text is not valid UTF-8", i);
        n_bytes += n_text;
    }
    *ret_bytes = n_bytes;
    return 0;
}

static uint32_t number_u32(const InkRows *rows, int column)
{
    uint64_t v = ink_rows_u64(rows, column);
    return v <= UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

/* ---------------------------------------------------------------- one session */

int ink_store_find_session(InkStore *s, const char *app, const char *name, InkStoredSession *ret,
                           InkError *reterr)
{
    INK_TRY(ink_store_check_scope(app, reterr));
    INK_TRY(check_name(name, reterr));
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_FIND_SESSION);
    ink_rows_bind_text(&rows, 1, app);
    ink_rows_bind_text(&rows, 2, name);
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    INK_CHECK(r > 0, ENOMSG, reterr, "this application has no session of that name");
    *ret = (InkStoredSession){
        .id = ink_rows_u64(&rows, 0),
        .created_usec = ink_rows_u64(&rows, 1),
        .used_usec = ink_rows_u64(&rows, 2),
        .context_limit = number_u32(&rows, 3),
        .overflow = number_u32(&rows, 4),
        .priority = number_u32(&rows, 5),
    };
    return 0;
}

/* Turns and bytes that it has; -ENOMSG when it is gone. */
static int read_size(InkStore *s, uint64_t session, uint64_t *ret_turns, uint64_t *ret_bytes,
                     InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_SIZE_SESSION);
    ink_rows_bind_u64(&rows, 1, session);
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    INK_CHECK(r > 0, ENOMSG, reterr, "the session is not in the store any more");
    *ret_turns = ink_rows_u64(&rows, 0);
    *ret_bytes = ink_rows_u64(&rows, 1);
    return 0;
}

static int touch(InkStore *s, uint64_t session, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_USE_SESSION);
    ink_rows_bind_u64(&rows, 1, session);
    ink_rows_bind_u64(&rows, 2, s->real_usec());
    return ink_rows_next(&rows, reterr);
}

static int add_turns(InkStore *s, uint64_t session, uint64_t first, const InkStoredTurn *turns,
                     size_t n, InkError *reterr)
{
    uint64_t now_usec = s->real_usec();
    for (size_t i = 0; i < n; i++) {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_ADD_TURN);
        ink_rows_bind_u64(&rows, 1, session);
        ink_rows_bind_u64(&rows, 2, first + i);
        ink_rows_bind_u64(&rows, 3, turns[i].role);
        ink_rows_bind_text(&rows, 4, turns[i].text);
        ink_rows_bind_u64(&rows, 5, turns[i].tokens);
        ink_rows_bind_u64(&rows, 6, turns[i].time_usec != 0 ? turns[i].time_usec : now_usec);
        INK_TRY(ink_rows_next(&rows, reterr));
    }
    return 0;
}

/* ------------------------------------------------------------------- writing */

static int check_count(InkStore *s, const char *app, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_COUNT_SESSIONS);
    ink_rows_bind_text(&rows, 1, app);
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    INK_CHECK(r == 0 || ink_rows_u64(&rows, 0) < INK_STORE_MAX_SESSIONS, EDQUOT, reterr,
              "this application keeps %u sessions, the limit; forget one", INK_STORE_MAX_SESSIONS);
    return 0;
}

static int add_session(InkStore *s, const char *app, const char *name,
                       const InkStoredSession *options, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_ADD_SESSION);
    ink_rows_bind_text(&rows, 1, app);
    ink_rows_bind_text(&rows, 2, name);
    ink_rows_bind_u64(&rows, 3, s->real_usec());
    ink_rows_bind_u64(&rows, 4, options->context_limit);
    ink_rows_bind_u64(&rows, 5, options->overflow);
    ink_rows_bind_u64(&rows, 6, options->priority);
    return ink_rows_next(&rows, reterr);
}

int ink_store_new_session(InkStore *s, const char *app, const char *name,
                          const InkStoredSession *options, const InkStoredTurn *turns, size_t n,
                          uint64_t *ret_id, InkError *reterr)
{
    size_t n_bytes;
    InkStoredSession made;
    INK_TRY(ink_store_check_scope(app, reterr));
    INK_TRY(check_name(name, reterr));
    INK_TRY(check_turns(turns, n, &n_bytes, reterr));
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    INK_TRY(check_count(s, app, reterr));
    InkError error = {0};
    int r = ink_store_find_session(s, app, name, &made, &error);
    INK_CHECK(r < 0, EEXIST, reterr, "this application has a session of that name");
    if (r != -ENOMSG)
        return INK_RAISE(-r, reterr, "%s", error.message);
    INK_TRY(add_session(s, app, name, options, reterr));
    INK_TRY(ink_store_find_session(s, app, name, &made, reterr));
    INK_TRY(add_turns(s, made.id, 0, turns, n, reterr));
    INK_TRY(ink_store_commit(s, reterr));
    *ret_id = made.id;
    return 0;
}

static int drop_turns(InkStore *s, uint64_t session, uint64_t first, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_DROP_TURNS);
    ink_rows_bind_u64(&rows, 1, session);
    ink_rows_bind_u64(&rows, 2, first);
    return ink_rows_next(&rows, reterr);
}

int ink_store_append_turns(InkStore *s, uint64_t session, size_t first, const InkStoredTurn *turns,
                           size_t n, InkError *reterr)
{
    uint64_t n_turns = 0, n_bytes = 0;
    size_t n_new_bytes;
    INK_TRY(check_turns(turns, n, &n_new_bytes, reterr));
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    INK_TRY(drop_turns(s, session, first, reterr));
    INK_TRY(read_size(s, session, &n_turns, &n_bytes, reterr));
    INK_CHECK(n_turns == first, EIO, reterr, "the store has %llu turns of the session, not %zu",
              (unsigned long long)n_turns, first);
    INK_CHECK(n_turns + n <= INK_STORE_MAX_CONVERSATION_TURNS, EDQUOT, reterr,
              "the session has %zu turns and would get %zu more, the limit is %u", first, n,
              INK_STORE_MAX_CONVERSATION_TURNS);
    INK_CHECK(n_bytes + n_new_bytes <= INK_STORE_MAX_CONVERSATION_BYTES, EDQUOT, reterr,
              "the session has %llu bytes and would get %zu more, the limit is %u",
              (unsigned long long)n_bytes, n_new_bytes, INK_STORE_MAX_CONVERSATION_BYTES);
    INK_TRY(add_turns(s, session, n_turns, turns, n, reterr));
    INK_TRY(touch(s, session, reterr));
    return ink_store_commit(s, reterr);
}

/* Deleted bytes were overwritten in their pages; the log still has them until it is emptied. That
 * may have to wait for a reader, so that a failure is none of the call: it was committed. */
static void empty_log(InkStore *s)
{
    InkError ignored = {0};
    (void)!ink_store_execute(s, INK_SQL_CHECKPOINT, &ignored);
}

int ink_store_rewind_session(InkStore *s, uint64_t session, size_t n_kept, InkError *reterr)
{
    uint64_t n_turns, n_bytes;
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    INK_TRY(read_size(s, session, &n_turns, &n_bytes, reterr));
    INK_TRY(drop_turns(s, session, n_kept, reterr));
    INK_TRY(touch(s, session, reterr));
    INK_TRY(ink_store_commit(s, reterr));
    empty_log(s);
    return 0;
}

int ink_store_remove_session(InkStore *s, uint64_t session, InkError *reterr)
{
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_REMOVE_SESSION);
        ink_rows_bind_u64(&rows, 1, session);
        INK_TRY(ink_rows_next(&rows, reterr));
    }
    INK_TRY(ink_store_commit(s, reterr));
    empty_log(s);
    return 0;
}

/* ------------------------------------------------------------------- reading */

int ink_store_list_turns(InkStore *s, uint64_t session,
                         int (*each)(void *userdata, const InkStoredTurn *turn), void *userdata,
                         InkError *reterr)
{
    int r;
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_LIST_TURNS);
    ink_rows_bind_u64(&rows, 1, session);
    while ((r = ink_rows_next(&rows, reterr)) > 0) {
        InkStoredTurn turn = {
            .role = (InkStoredRole)number_u32(&rows, 0),
            .text = ink_rows_text(&rows, 1),
            .tokens = number_u32(&rows, 2),
            .time_usec = ink_rows_u64(&rows, 3),
        };
        INK_CHECK(turn.text != NULL && turn.role >= INK_ROLE_SYSTEM && turn.role < INK_ROLE_MAX &&
                      ink_utf8_valid(turn.text, strlen(turn.text)),
                  EIO, reterr, "a turn in the store is damaged");
        INK_TRY(each(userdata, &turn));
    }
    return r;
}
