/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/sessions.h"

#include <string.h>

#include "daemon/bounds.h"
#include "daemon/sessions-private.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"

/* Of the idle clock: one wake-up ends all that came to their time around it. */
#define IDLE_ACCURACY_USEC 1000000u

/* ------------------------------------------------------------------ one session */

InkConversation *ink_conversation_free(InkConversation *session)
{
    if (session == NULL)
        return NULL;
    ink_transcript_done(&session->transcript);
    free(session->sender);
    free(session->app_id);
    free(session->model);
    if (session->name != NULL)
        ink_wipe_free(session->name, strlen(session->name));
    free(session);
    return NULL;
}

static void free_value(gpointer session)
{
    ink_conversation_free(session);
}

static char *copy_of(const char *text)
{
    return ink_memdup(text, strlen(text) + 1);
}

static bool is_busy(const InkConversation *session)
{
    return session->running != NULL || session->storing;
}

void ink_conversation_changed(InkConversation *session)
{
    session->version++;
    session->usage = ink_transcript_tokens(&session->transcript);
    session->usage_is_exact = false;
}

int ink_conversation_messages(const InkConversation *session, const char *text, size_t n_text_bytes,
                              InkChatMessage **ret, size_t *ret_n, InkError *reterr)
{
    const InkTranscript *t = &session->transcript;
    InkChatMessage *messages = ink_alloc_array(t->n + 1, sizeof *messages);
    INK_CHECK(messages != NULL, ENOMEM, reterr, "out of memory");
    size_t n = 0;
    for (; n < t->n; n++)
        messages[n] = (InkChatMessage){ink_transcript_word(t->turns[n].role), t->turns[n].text,
                                       t->turns[n].n_text_bytes};
    if (text != NULL)
        messages[n++] = (InkChatMessage){"user", text, n_text_bytes};
    *ret = messages;
    *ret_n = n;
    return 0;
}

/* ------------------------------------------------------------------ the table */

InkConversation *ink_sessions_find(InkSessions *s, uint64_t id)
{
    InkConversation *session = s != NULL ? g_hash_table_lookup(s->table, &id) : NULL;
    return session != NULL && session->is_open ? session : NULL;
}

int ink_sessions_get(InkApp *app, uint64_t id, InkConversation **ret, InkError *reterr)
{
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    *ret = ink_sessions_find(app->sessions, id);
    INK_CHECK(*ret != NULL, ENXIO, reterr, "there is no such session any more");
    return 0;
}

int ink_sessions_get_quiet(InkApp *app, uint64_t id, InkConversation **ret, InkError *reterr)
{
    InkConversation *session;
    INK_TRY(ink_sessions_get(app, id, &session, reterr));
    INK_CHECK(!is_busy(session), EALREADY, reterr,
              "a prompt runs in this session; it takes one at a time");
    *ret = session;
    return 0;
}

static uint32_t half_if_boxed(uint32_t limit, InkCallerKind kind)
{
    return kind == INK_CALLER_HOST ? limit : limit / 2;
}

static int check_number(const InkSessions *s, const InkCaller *caller, InkError *reterr)
{
    unsigned n_of_app = 0;
    unsigned most = half_if_boxed(INK_LIMIT_SESSIONS_PER_APP, caller->kind);
    GHashTableIter i;
    gpointer value;
    g_hash_table_iter_init(&i, s->table);
    while (g_hash_table_iter_next(&i, NULL, &value))
        n_of_app += strcmp(((InkConversation *)value)->app_id, caller->app_id) == 0;
    INK_CHECK(n_of_app < most, E2BIG, reterr,
              "this program has %u sessions open, the limit is %u; close one", n_of_app, most);
    INK_CHECK(g_hash_table_size(s->table) < INK_LIMIT_SESSIONS, EBUSY, reterr,
              "%u sessions are open, of all programs", INK_LIMIT_SESSIONS);
    return 0;
}

int ink_sessions_check_room(const InkSessions *s, const char *app_id, InkCallerKind kind,
                            size_t n_more_bytes, InkError *reterr)
{
    size_t n_bytes = 0, n_of_app = 0;
    size_t most = half_if_boxed(INK_LIMIT_SESSION_BYTES_PER_APP, kind);
    GHashTableIter i;
    gpointer value;
    g_hash_table_iter_init(&i, s->table);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const InkConversation *session = value;
        n_bytes += session->transcript.n_bytes;
        if (strcmp(session->app_id, app_id) == 0)
            n_of_app += session->transcript.n_bytes;
    }
    INK_CHECK(n_of_app + n_more_bytes <= most, E2BIG, reterr,
              "the open sessions of this program hold %zu bytes and would get %zu more, the limit "
              "is %zu; close one",
              n_of_app, n_more_bytes, most);
    INK_CHECK(n_bytes + n_more_bytes <= INK_LIMIT_SESSION_BYTES, EBUSY, reterr,
              "the sessions of all programs hold more than %u MiB together",
              INK_LIMIT_SESSION_BYTES >> 20);
    return 0;
}

int ink_conversation_new(InkSessions *s, const InkCaller *caller, InkConversation **ret,
                         InkError *reterr)
{
    INK_TRY(check_number(s, caller, reterr));
    _cleanup_(ink_conversation_free_p) InkConversation *session =
        ink_alloc_array(1, sizeof *session);
    INK_CHECK(session != NULL, ENOMEM, reterr, "out of memory");
    session->owner = s;
    session->id = ++s->next_id;
    session->kind = caller->kind;
    session->sender = copy_of(caller->sender);
    session->app_id = copy_of(caller->app_id);
    session->name = copy_of("");
    session->version = 1;
    INK_CHECK(session->sender != NULL && session->app_id != NULL && session->name != NULL, ENOMEM,
              reterr, "out of memory");
    *ret = INK_TAKE(session);
    return 0;
}

/* ------------------------------------------------------------------ the idle clock */

static uint64_t idle_span(const InkSessions *s)
{
    return s->app->config.session_idle_usec;
}

static void arm_idle(InkSessions *s, uint64_t at_usec)
{
    (void)sd_event_source_set_time(s->idle, at_usec);
    (void)sd_event_source_set_enabled(s->idle, SD_EVENT_ONESHOT);
}

/* The clock is not set anew at each use: it wakes once, looks, and sleeps for the rest. */
static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkSessions *s = userdata;
    uint64_t now = ink_clock_monotonic_usec(), next = UINT64_MAX;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter i;
    gpointer value;
    (void)source;
    (void)usec;
    g_hash_table_iter_init(&i, s->table);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        InkConversation *session = value;
        if (is_busy(session) || !session->is_open)
            session->used_usec = now;
        if (now - session->used_usec >= idle_span(s))
            g_array_append_val(ids, session->id);
        else if (session->used_usec + idle_span(s) < next)
            next = session->used_usec + idle_span(s);
    }
    for (guint n = 0; n < ids->len; n++)
        ink_app_close_session(s->app, g_array_index(ids, uint64_t, n), INK_SESSION_IDLE);
    if (next != UINT64_MAX)
        arm_idle(s, next);
    return 0;
}

void ink_conversation_used(InkConversation *session)
{
    session->used_usec = ink_clock_monotonic_usec();
}

void ink_sessions_add(InkSessions *s, InkConversation *session)
{
    ink_conversation_used(session);
    if (g_hash_table_size(s->table) == 0)
        arm_idle(s, session->used_usec + idle_span(s));
    g_hash_table_insert(s->table, &session->id, session);
}

void ink_sessions_drop(InkSessions *s, uint64_t id)
{
    g_hash_table_remove(s->table, &id);
    if (g_hash_table_size(s->table) == 0)
        (void)sd_event_source_set_enabled(s->idle, SD_EVENT_OFF);
}

/* ------------------------------------------------------------------ lifetime */

int ink_sessions_new(InkApp *app, InkSessions **ret, InkError *reterr)
{
    InkSessions *s = ink_alloc_array(1, sizeof *s);
    INK_CHECK(s != NULL, ENOMEM, reterr, "out of memory");
    s->app = app;
    s->table = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, free_value);
    int r = sd_event_add_time(app->event, &s->idle, CLOCK_MONOTONIC, UINT64_MAX, IDLE_ACCURACY_USEC,
                              on_idle, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->idle, SD_EVENT_OFF);
    *ret = s;
    if (r >= 0)
        return 0;
    *ret = ink_sessions_free(s);
    return INK_RAISE(-r, reterr, "no timer for sessions: %s", strerror(-r));
}

typedef bool Chooses(const InkConversation *session, const void *userdata);

static void close_chosen(InkSessions *s, Chooses *chooses, const void *userdata,
                         InkSessionEnd reason)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter i;
    gpointer value;
    g_hash_table_iter_init(&i, s->table);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const InkConversation *session = value;
        if (chooses(session, userdata))
            g_array_append_val(ids, session->id);
    }
    for (guint n = 0; n < ids->len; n++)
        ink_app_close_session(s->app, g_array_index(ids, uint64_t, n), reason);
}

static bool is_any(const InkConversation *session, const void *userdata)
{
    (void)session;
    (void)userdata;
    return true;
}

InkSessions *ink_sessions_free(InkSessions *s)
{
    if (s == NULL)
        return NULL;
    close_chosen(s, is_any, NULL, INK_SESSION_SHUTDOWN);
    sd_event_source_disable_unref(s->idle);
    g_hash_table_unref(s->table);
    free(s);
    return NULL;
}

size_t ink_sessions_n(const InkSessions *s)
{
    return g_hash_table_size(s->table);
}

static bool has_other_model(const InkConversation *session, const void *model)
{
    return strcmp(session->model, model) != 0;
}

void ink_sessions_check_model(InkSessions *s)
{
    g_autofree char *model = NULL;
    InkError ignored = {0};
    /* Without any model the next prompt says so; a session waits for one. */
    if (ink_app_find_model(s->app, "", &model, &ignored) == 0)
        close_chosen(s, has_other_model, model, INK_SESSION_MODEL_CHANGED);
}

void ink_sessions_reconfigured(InkSessions *s)
{
    if (g_hash_table_size(s->table) > 0)
        arm_idle(s, ink_clock_monotonic_usec()); /* which looks when the next one is due */
    ink_sessions_check_model(s);
}

void ink_app_close_session(void *service, uint64_t id, InkSessionEnd reason)
{
    InkApp *app = service;
    InkSessions *s = app->sessions;
    InkConversation *session = s != NULL ? g_hash_table_lookup(s->table, &id) : NULL;
    if (session == NULL)
        return;
    bool was_open = session->is_open;
    session->is_open = false; /* a callback below does not find it */
    ink_turn_cancel(app, session->prewarm, INK_CANCEL_SESSION);
    ink_turn_cancel(app, session->running, INK_CANCEL_SESSION);
    ink_sessions_drop(s, id);
    if (was_open && s->events != NULL)
        s->events->closed(s->userdata, id, reason);
}

void ink_app_set_session_events(void *service, const InkSessionEvents *events, void *userdata)
{
    InkSessions *s = ((InkApp *)service)->sessions;
    if (s == NULL)
        return;
    s->events = events;
    s->userdata = userdata;
}

/* ------------------------------------------------------------------ what is told */

const InkModelFacts *ink_sessions_model_facts(const InkApp *app, const char *name)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model;
    if (ink_residency_models(app, &models, NULL) < 0 ||
        ink_models_find(&models, name, "", &model, NULL) < 0)
        return NULL;
    return ink_catalogue_facts(app->models->catalogue, model->name, &model->identity);
}

static uint32_t window_of(const InkConversation *session)
{
    const InkModelFacts *facts = ink_sessions_model_facts(session->owner->app, session->model);
    uint32_t window = facts != NULL ? facts->context_window : 0;
    if (session->context_limit != 0 && (window == 0 || session->context_limit < window))
        window = session->context_limit;
    return window;
}

static void describe(const InkConversation *session, InkServiceSession *ret)
{
    uint64_t now = ink_clock_monotonic_usec();
    *ret = (InkServiceSession){
        .id = session->id,
        .sender = session->sender,
        .app_id = session->app_id,
        .name = session->name,
        .model = session->model,
        .context_window = window_of(session),
        .context_usage = session->usage,
        .idle_usec = is_busy(session) ? 0 : now - session->used_usec,
        .persistent = session->persistent,
        .busy = is_busy(session),
    };
}

int ink_app_session_info(void *service, uint64_t id, InkServiceSession *ret, InkError *reterr)
{
    InkConversation *session = ink_sessions_find(((InkApp *)service)->sessions, id);
    INK_CHECK(session != NULL, ENXIO, reterr, "there is no such session any more");
    describe(session, ret);
    return 0;
}

void ink_app_list_sessions(void *service,
                           void (*each)(void *userdata, const InkServiceSession *session),
                           void *userdata)
{
    InkSessions *s = ((InkApp *)service)->sessions;
    GHashTableIter i;
    gpointer value;
    if (s == NULL)
        return;
    g_hash_table_iter_init(&i, s->table);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        InkServiceSession row;
        if (!((InkConversation *)value)->is_open)
            continue;
        describe(value, &row);
        each(userdata, &row);
    }
}

int ink_app_session_transcript(void *service, uint64_t id,
                               void (*each)(void *userdata, const InkServiceTurn *turn),
                               void *userdata, InkError *reterr)
{
    InkConversation *session;
    INK_TRY(ink_sessions_get(service, id, &session, reterr));
    ink_conversation_used(session);
    for (size_t n = 0; n < session->transcript.n; n++) {
        const InkTurn *turn = &session->transcript.turns[n];
        InkServiceTurn told = {.role = ink_transcript_word(turn->role),
                               .text = turn->text,
                               .time_usec = turn->time_usec,
                               .tokens = turn->tokens};
        each(userdata, &told);
    }
    return 0;
}
