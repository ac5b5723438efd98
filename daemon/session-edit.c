/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Making, opening, changing and measuring sessions. A change of a persistent one is in the store
 * before it is in memory, and the reply comes after both. */
#include <string.h>

#include "daemon/bounds.h"
#include "daemon/sessions-private.h"
#include "daemon/store-sessions.h"
#include "engine/base/alloc.h"

/* ------------------------------------------------------------------ make and open */

static int add_messages(InkTranscript *t, const InkChatMessage *messages, size_t n,
                        InkError *reterr)
{
    for (size_t i = 0; i < n; i++) {
        const InkChatMessage *m = &messages[i];
        InkStoredRole role = ink_transcript_role(m->role);
        INK_CHECK(role != 0, EINVAL, reterr, "message %zu: the role is not known", i);
        INK_TRY(ink_transcript_check(t, 1, m->n_text_bytes, reterr));
        INK_TRY(ink_transcript_add(t, role, m->text, m->n_text_bytes, 0, 0, reterr));
    }
    return 0;
}

/* A model that is known to have no template cannot chat; of others the first prompt tells. */
static int check_template(const InkApp *app, const char *model, InkError *reterr)
{
    const InkModelFacts *facts = ink_sessions_model_facts(app, model);
    INK_CHECK(facts == NULL || facts->has_template, EOPNOTSUPP, reterr,
              "this model has no chat template, so it holds no conversation; Complete works, or "
              "another model as the default");
    return 0;
}

static int take_model(InkApp *app, InkConversation *session, InkError *reterr)
{
    g_autofree char *model = NULL;
    INK_TRY(ink_app_find_model(app, "", &model, reterr));
    INK_TRY(check_template(app, model, reterr));
    session->model = ink_memdup(model, strlen(model) + 1);
    INK_CHECK(session->model != NULL, ENOMEM, reterr, "out of memory");
    return 0;
}

typedef struct Opening {
    InkApp *app;
    uint64_t id;
    InkServiceSessionOptions options; /* numbers only */
    InkSessionReply *reply;
    void *userdata;
} Opening;

static void take_stored(InkConversation *session, const InkServiceSessionOptions *options,
                        const InkStoredSession *stored, InkTranscript *turns)
{
    session->stored_id = stored->id;
    session->transcript = *turns;
    *turns = INK_TRANSCRIPT_INIT;
    /* What the file says is checked as if a caller had said it. */
    session->overflow = options->has_overflow                 ? options->overflow
                        : stored->overflow < INK_OVERFLOW_MAX ? (InkOverflow)stored->overflow
                                                              : INK_OVERFLOW_ERROR;
    session->priority = options->has_priority                 ? options->priority
                        : stored->priority < INK_PRIORITY_MAX ? (InkPriority)stored->priority
                                                              : INK_PRIORITY_INTERACTIVE;
    session->context_limit =
        options->context_limit != 0 ? options->context_limit : stored->context_limit;
    session->is_open = true;
    ink_conversation_changed(session);
    ink_conversation_used(session);
}

static void on_opened(void *userdata, const InkError *error, const InkStoredSession *stored,
                      InkTranscript *turns)
{
    g_autofree Opening *o = userdata;
    InkSessions *s = o->app->sessions;
    InkConversation *session = s != NULL ? g_hash_table_lookup(s->table, &o->id) : NULL;
    InkError failed = {0};
    if (error != NULL)
        failed = *error;
    else if (session == NULL)
        (void)INK_RAISE(ESHUTDOWN, &failed, "the service is stopping; call again");
    else if (ink_sessions_check_room(s, session->app_id, session->kind, turns->n_bytes, &failed) ==
             0)
        take_stored(session, &o->options, stored, turns);
    if (failed.code == 0) {
        o->reply(o->userdata, NULL, o->id);
        return;
    }
    if (session != NULL)
        ink_sessions_drop(s, o->id);
    o->reply(o->userdata, &failed, 0);
}

static int check_name_is_free(const InkSessions *s, const InkCaller *caller, const char *name,
                              InkError *reterr)
{
    GHashTableIter i;
    gpointer value;
    g_hash_table_iter_init(&i, s->table);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const InkConversation *other = value;
        INK_CHECK(strcmp(other->name, name) != 0 || strcmp(other->app_id, caller->app_id) != 0,
                  EBUSY, reterr, "this session is open already; one connection has it at a time");
    }
    return 0;
}

static int open_stored(InkSessions *s, InkConversation **session, const InkCaller *caller,
                       const InkServiceSessionOptions *options, InkSessionReply *reply,
                       void *userdata, InkError *reterr)
{
    _cleanup_transcript_ InkTranscript first = INK_TRANSCRIPT_INIT;
    INK_TRY(check_name_is_free(s, caller, options->name, reterr));
    free((*session)->name);
    (*session)->name = ink_memdup(options->name, strlen(options->name) + 1);
    INK_CHECK((*session)->name != NULL, ENOMEM, reterr, "out of memory");
    INK_TRY(add_messages(&first, options->messages, options->n_messages, reterr));
    g_autofree Opening *o = g_new0(Opening, 1);
    *o = (Opening){.app = s->app,
                   .id = (*session)->id,
                   .options = *options,
                   .reply = reply,
                   .userdata = userdata};
    const InkStoredSession made = {.context_limit = options->context_limit,
                                   .overflow = options->overflow,
                                   .priority = options->priority};
    INK_TRY(ink_store_job_open_session(s->app->store, caller->app_id, options->name, &made, &first,
                                       on_opened, o, reterr));
    g_steal_pointer(&o);
    (*session)->persistent = true;
    ink_sessions_add(s, INK_TAKE(*session));
    return 0;
}

int ink_app_create_session(void *service, const InkCaller *caller,
                           const InkServiceSessionOptions *options, InkSessionReply *reply,
                           void *userdata, InkError *reterr)
{
    InkApp *app = service;
    InkSessions *s = app->sessions;
    _cleanup_(ink_conversation_free_p) InkConversation *session = NULL;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    INK_TRY(ink_conversation_new(s, caller, &session, reterr));
    INK_TRY(take_model(app, session, reterr));
    if (options->persistent)
        return open_stored(s, &session, caller, options, reply, userdata, reterr);
    session->context_limit = options->context_limit;
    session->overflow = options->overflow;
    session->priority = options->priority;
    INK_TRY(add_messages(&session->transcript, options->messages, options->n_messages, reterr));
    INK_TRY(ink_sessions_check_room(s, caller->app_id, caller->kind, session->transcript.n_bytes,
                                    reterr));
    session->is_open = true;
    uint64_t id = session->id;
    ink_sessions_add(s, INK_TAKE(session));
    reply(userdata, NULL, id);
    return 0;
}

int ink_app_session_clone(void *service, uint64_t id, const InkCaller *caller,
                          InkSessionReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    InkConversation *from;
    _cleanup_(ink_conversation_free_p) InkConversation *session = NULL;
    INK_TRY(ink_sessions_get_quiet(app, id, &from, reterr));
    INK_TRY(ink_conversation_new(app->sessions, caller, &session, reterr));
    INK_TRY(ink_sessions_check_room(app->sessions, caller->app_id, caller->kind,
                                    from->transcript.n_bytes, reterr));
    INK_TRY(ink_transcript_copy(&from->transcript, &session->transcript, reterr));
    session->model = ink_memdup(from->model, strlen(from->model) + 1);
    INK_CHECK(session->model != NULL, ENOMEM, reterr, "out of memory");
    session->context_limit = from->context_limit;
    session->overflow = from->overflow;
    session->priority = from->priority;
    session->usage = from->usage;
    session->is_open = true;
    ink_conversation_used(from);
    uint64_t clone_id = session->id;
    ink_sessions_add(app->sessions, INK_TAKE(session));
    reply(userdata, NULL, clone_id);
    return 0;
}

/* ------------------------------------------------------------------ changes */

/* What happens to a persistent session when the disk has said yes. */
typedef struct Change {
    InkApp *app;
    uint64_t id;
    InkTranscript more;
    size_t n_kept;
    void (*apply)(struct Change *c, InkConversation *session, InkError *reterr);
    InkDoneReply *reply;
    void *userdata;
} Change;

static void free_change(Change *c)
{
    ink_transcript_done(&c->more);
    g_free(c);
}

INK_DEFINE_CLEANUP(Change, free_change, free_change_p)

static void apply_append(Change *c, InkConversation *session, InkError *reterr)
{
    (void)!ink_transcript_join(&session->transcript, &c->more, reterr);
    ink_conversation_changed(session);
}

static void apply_rewind(Change *c, InkConversation *session, InkError *reterr)
{
    (void)reterr;
    ink_transcript_cut(&session->transcript, c->n_kept);
    ink_conversation_changed(session);
}

static void finish_change(Change *c, const InkError *error)
{
    InkConversation *session = ink_sessions_find(c->app->sessions, c->id);
    InkError failed = {0};
    if (session != NULL) {
        session->storing = false;
        ink_conversation_used(session);
    }
    if (error != NULL)
        failed = *error;
    else if (session != NULL)
        c->apply(c, session, &failed);
    c->reply(c->userdata, failed.code != 0 ? &failed : NULL);
    free_change(c);
}

static void on_changed(void *userdata, const InkError *error)
{
    finish_change(userdata, error);
}

static Change *new_change(InkApp *app, uint64_t id,
                          void (*apply)(Change *, InkConversation *, InkError *),
                          InkDoneReply *reply, void *userdata)
{
    Change *c = g_new0(Change, 1);
    *c = (Change){.app = app, .id = id, .apply = apply, .reply = reply, .userdata = userdata};
    return c;
}

int ink_app_session_append(void *service, uint64_t id, const InkChatMessage *messages, size_t n,
                           InkDoneReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    InkConversation *session;
    INK_TRY(ink_sessions_get_quiet(app, id, &session, reterr));
    _cleanup_(free_change_p) Change *c = new_change(app, id, apply_append, reply, userdata);
    INK_TRY(add_messages(&c->more, messages, n, reterr));
    INK_TRY(ink_transcript_check(&session->transcript, c->more.n, c->more.n_bytes, reterr));
    INK_TRY(ink_sessions_check_room(app->sessions, session->app_id, session->kind, c->more.n_bytes,
                                    reterr));
    if (!session->persistent) {
        finish_change(INK_TAKE(c), NULL);
        return 0;
    }
    INK_TRY(ink_store_job_append_turns(app->store, session->stored_id, session->transcript.n,
                                       &c->more, on_changed, c, reterr));
    session->storing = true;
    (void)INK_TAKE(c);
    return 0;
}

int ink_app_session_rewind(void *service, uint64_t id, uint32_t turn, InkDoneReply *reply,
                           void *userdata, InkError *reterr)
{
    InkApp *app = service;
    InkConversation *session;
    INK_TRY(ink_sessions_get_quiet(app, id, &session, reterr));
    const InkTranscript *t = &session->transcript;
    size_t n_head = t->n > 0 && t->turns[0].role == INK_ROLE_SYSTEM ? 1 : 0;
    INK_CHECK(turn <= t->n - n_head, EINVAL, reterr, "turn is %u, the session has %zu", turn,
              t->n - n_head);
    _cleanup_(free_change_p) Change *c = new_change(app, id, apply_rewind, reply, userdata);
    c->n_kept = n_head + turn;
    if (!session->persistent) {
        finish_change(INK_TAKE(c), NULL);
        return 0;
    }
    INK_TRY(ink_store_job_rewind_session(app->store, session->stored_id, c->n_kept, on_changed, c,
                                         reterr));
    session->storing = true;
    (void)INK_TAKE(c);
    return 0;
}

static void on_forgotten(void *userdata, const InkError *error)
{
    _cleanup_(free_change_p) Change *c = userdata;
    InkConversation *session = ink_sessions_find(c->app->sessions, c->id);
    if (session != NULL)
        session->storing = false;
    c->reply(c->userdata, error);
    if (error == NULL)
        ink_app_close_session(c->app, c->id, INK_SESSION_FORGOTTEN);
}

int ink_app_session_forget(void *service, uint64_t id, InkDoneReply *reply, void *userdata,
                           InkError *reterr)
{
    InkApp *app = service;
    InkConversation *session;
    INK_TRY(ink_sessions_get_quiet(app, id, &session, reterr));
    _cleanup_(free_change_p) Change *c = new_change(app, id, NULL, reply, userdata);
    /* What was computed of it goes too. */
    ink_app_trim_scope(app, session->app_id);
    if (!session->persistent) {
        on_forgotten(INK_TAKE(c), NULL);
        return 0;
    }
    INK_TRY(ink_store_job_remove_session(app->store, session->stored_id, on_forgotten, c, reterr));
    session->storing = true;
    (void)INK_TAKE(c);
    return 0;
}

/* ------------------------------------------------------------------ measuring */

typedef struct Measure {
    InkApp *app;
    uint64_t id, version;
    char *text;
    bool with_text; /* of the count under way */
    InkCountReply *reply;
    void *userdata;
} Measure;

static void free_measure(Measure *m)
{
    if (m->text != NULL)
        ink_wipe_free(m->text, strlen(m->text));
    g_free(m);
}

INK_DEFINE_CLEANUP(Measure, free_measure, free_measure_p)

static void on_counted(void *userdata, const InkError *error, uint32_t count, const uint32_t *ids,
                       size_t n_ids);

/* Counts the transcript, then the transcript with the text behind it; takes `m` when it succeeds.
 */
static int count_next(Measure **m, const InkConversation *session, InkError *reterr)
{
    Measure *taken = *m;
    _cleanup_free_ InkChatMessage *messages = NULL;
    const InkCaller caller = {session->sender, session->app_id, session->kind};
    InkTask input = {.kind = INK_TASK_CHAT, .model = session->model};
    taken->with_text = session->transcript.n == 0 || session->base_version == session->version;
    INK_TRY(ink_conversation_messages(session, taken->with_text ? taken->text : NULL,
                                      strlen(taken->text), &messages, &input.n_messages, reterr));
    input.messages = messages;
    INK_TRY(ink_app_tokenize(taken->app, &caller, &input, false, false, on_counted, taken, reterr));
    *m = NULL;
    return 0;
}

static void on_counted(void *userdata, const InkError *error, uint32_t count, const uint32_t *ids,
                       size_t n_ids)
{
    _cleanup_(free_measure_p) Measure *m = userdata;
    InkConversation *session = ink_sessions_find(m->app->sessions, m->id);
    InkError failed = {0};
    (void)ids;
    (void)n_ids;
    if (error != NULL) {
        failed = *error;
    } else if (session == NULL || session->version != m->version) {
        (void)INK_RAISE(session == NULL ? ENXIO : EALREADY, &failed,
                        "the session was closed or changed while it was measured");
    } else if (!m->with_text) {
        session->base_tokens = count;
        session->base_version = session->version;
        if (count_next(&m, session, &failed) == 0)
            return;
    } else {
        uint32_t base = session->transcript.n > 0 ? session->base_tokens : 0;
        m->reply(m->userdata, NULL, count > base ? count - base : 0);
        return;
    }
    m->reply(m->userdata, &failed, 0);
}

int ink_app_session_measure(void *service, uint64_t id, const char *text, InkCountReply *reply,
                            void *userdata, InkError *reterr)
{
    InkApp *app = service;
    InkConversation *session;
    INK_TRY(ink_sessions_get(app, id, &session, reterr));
    ink_conversation_used(session);
    _cleanup_(free_measure_p) Measure *m = g_new0(Measure, 1);
    *m = (Measure){.app = app,
                   .id = id,
                   .version = session->version,
                   .text = ink_memdup(text, strlen(text) + 1),
                   .reply = reply,
                   .userdata = userdata};
    INK_CHECK(m->text != NULL, ENOMEM, reterr, "out of memory");
    return count_next(&m, session, reterr);
}
