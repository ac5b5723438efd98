/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/session-object.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "ipc/owned-object.h"
#include "ipc/session-private.h"

/* ---------------------------------------------------------------- lifetime */

InkSessionObject *ink_bus_session_free(InkSessionObject *o)
{
    if (o == NULL)
        return NULL;
    if (o->bus != NULL)
        for (InkSessionObject **at = &o->bus->sessions; *at != NULL; at = &(*at)->next)
            if (*at == o) {
                *at = o->next;
                break;
            }
    ink_call_free(o->call);
    free(o->path);
    free(o);
    return NULL;
}

int ink_bus_session_new(InkBus *b, InkCallerEntry *who, sd_bus_message *m, const char *token,
                        InkSessionObject **ret, InkError *reterr)
{
    _cleanup_(ink_bus_session_free_p) InkSessionObject *o = ink_alloc_array(1, sizeof(*o));
    INK_CHECK(o != NULL, ENOMEM, reterr, "out of memory for the session");
    INK_TRY(ink_owned_path(INK_BUS_SESSIONS, who->sender, token, 's', &o->path, reterr));
    for (const InkSessionObject *other = b->sessions; other != NULL; other = other->next)
        INK_CHECK(strcmp(other->path, o->path) != 0, EINVAL, reterr,
                  "handle-token is in use by another session of this connection");
    INK_TRY(ink_call_new(b, who, m, &o->call, reterr));
    o->owner = who;
    o->bus = b;
    o->next = b->sessions;
    b->sessions = o;
    *ret = INK_TAKE(o);
    return 0;
}

void ink_bus_session_made(void *userdata, const InkError *error, uint64_t id)
{
    InkSessionObject *o = userdata;
    _cleanup_(ink_call_free_p) InkCall *call = INK_TAKE(o->call);
    o->id = error == NULL ? id : 0;
    if (error != NULL)
        ink_bus_reply_error(call->m, error);
    else if (o->bus != NULL && o->owner != NULL &&
             sd_bus_reply_method_return(call->m, "o", o->path) >= 0)
        return;
    /* Nobody is there any more who could close it. */
    InkBus *b = call->bus;
    if (o->id != 0 && b != NULL) {
        b->ops->close_session(b->service, o->id, INK_SESSION_GONE); /* frees it */
        return;
    }
    ink_bus_session_free(o);
}

void ink_bus_sessions_drop_owner(InkBus *b, InkCallerEntry *who)
{
    for (InkSessionObject *o = b->sessions; o != NULL;) {
        InkSessionObject *next = o->next;
        if (o->owner == who && o->id != 0) {
            b->ops->close_session(b->service, o->id, INK_SESSION_GONE);
            next = b->sessions; /* the list has changed */
        } else if (o->owner == who) {
            o->owner = NULL; /* waits for the service */
        }
        o = next;
    }
}

void ink_bus_sessions_drop_all(InkBus *b)
{
    while (b->sessions != NULL) {
        InkSessionObject *o = b->sessions;
        b->sessions = o->next;
        o->bus = NULL;
        o->owner = NULL;
        if (o->id == 0)
            continue; /* its callback frees it */
        b->ops->close_session(b->service, o->id, INK_SESSION_SHUTDOWN);
        ink_bus_session_free(o);
    }
    b->ops->set_session_events(b->service, NULL, NULL);
}

/* ------------------------------------------------------------------ lookup */

InkSessionObject *ink_bus_session_find(InkBus *b, const char *path, const char *sender)
{
    for (InkSessionObject *o = b->sessions; o != NULL && sender != NULL; o = o->next)
        if (o->id != 0 && strcmp(o->owner->sender, sender) == 0 && strcmp(o->path, path) == 0)
            return o;
    return NULL;
}

static InkSessionObject *find_id(InkBus *b, uint64_t id)
{
    InkSessionObject *o = b->sessions;
    while (o != NULL && o->id != id)
        o = o->next;
    return o;
}

int ink_bus_session_id(InkBus *b, const InkCallerEntry *who, const char *path, uint64_t *ret_id,
                       InkError *reterr)
{
    const InkSessionObject *o = ink_bus_session_find(b, path, who->sender);
    INK_CHECK(o != NULL, ENXIO, reterr, "this connection has no session of that path");
    *ret_id = o->id;
    return 0;
}

/* A foreign session is not found, exactly as a missing one. Who manages the service may close it,
 * and nothing else. */
static InkSessionObject *find_to_close(InkBus *b, sd_bus *bus, const char *path)
{
    sd_bus_message *m = sd_bus_get_current_message(bus);
    InkCallerEntry *who = ink_callers_find(b->callers, ink_owned_current_sender(bus));
    if (who == NULL || !who->known || who->refusal != NULL ||
        !sd_bus_message_is_method_call(m, INK_BUS_SESSION, "Close") ||
        !b->ops->permitted(b->service, &who->caller, INK_PERMISSION_MANAGE))
        return NULL;
    for (InkSessionObject *o = b->sessions; o != NULL; o = o->next)
        if (o->id != 0 && strcmp(o->path, path) == 0)
            return o;
    return NULL;
}

static int find_object(sd_bus *bus, const char *path, const char *interface, void *userdata,
                       void **ret_found, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    (void)interface;
    (void)reterr;
    InkSessionObject *o = ink_bus_session_find(b, path, ink_owned_current_sender(bus));
    if (o == NULL)
        o = find_to_close(b, bus, path);
    *ret_found = o;
    return o != NULL;
}

static int list_nodes(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                      sd_bus_error *reterr)
{
    _cleanup_(ink_owned_nodes_done) InkOwnedNodes nodes = INK_OWNED_NODES_INIT;
    InkBus *b = userdata;
    const char *sender = ink_owned_current_sender(bus);
    (void)prefix;
    (void)reterr;
    for (InkSessionObject *o = b->sessions; o != NULL; o = o->next)
        if (ink_bus_session_find(b, o->path, sender) == o)
            INK_TRY(ink_owned_nodes_add(&nodes, o->path));
    *ret_nodes = INK_TAKE(nodes.paths);
    nodes.n = 0;
    return 0;
}

/* ------------------------------------------------- what the service tells */

static sd_bus_message *new_signal(const InkSessionObject *o, const char *member)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    if (sd_bus_message_new_signal(o->bus->bus, &m, o->path, INK_BUS_SESSION, member) < 0 ||
        sd_bus_message_set_destination(m, o->owner->sender) < 0)
        return NULL;
    return INK_TAKE(m);
}

static void on_closed(void *userdata, uint64_t id, InkSessionEnd reason)
{
    static const char *const words[INK_SESSION_END_MAX] = {
        [INK_SESSION_CLOSED] = "closed",
        [INK_SESSION_GONE] = "closed",
        [INK_SESSION_IDLE] = "idle",
        [INK_SESSION_USER] = "user",
        [INK_SESSION_MODEL_CHANGED] = "model-changed",
        [INK_SESSION_SHUTDOWN] = "shutdown",
        [INK_SESSION_FORGOTTEN] = "forgotten",
    };
    InkSessionObject *o = find_id(userdata, id);
    if (o == NULL)
        return;
    if (reason != INK_SESSION_GONE && o->owner != NULL) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_signal(o, "Closed");
        if (m != NULL && sd_bus_message_append(m, "sa{sv}", words[reason], 0) >= 0)
            (void)sd_bus_send(o->bus->bus, m, NULL);
    }
    ink_bus_session_free(o);
}

static void on_overflow(void *userdata, uint64_t id, uint32_t turns_dropped,
                        uint32_t tokens_dropped)
{
    const InkSessionObject *o = find_id(userdata, id);
    if (o == NULL || o->owner == NULL)
        return;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_signal(o, "ContextOverflow");
    if (m != NULL && sd_bus_message_append(m, "uu", turns_dropped, tokens_dropped) >= 0)
        (void)sd_bus_send(o->bus->bus, m, NULL);
}

static const InkSessionEvents session_events = {.closed = on_closed, .overflow = on_overflow};

int ink_bus_sessions_init(InkBus *b)
{
    b->ops->set_session_events(b->service, &session_events, b);
    INK_TRY(sd_bus_add_fallback_vtable(b->bus, &b->slots[b->n_slots++], INK_BUS_SESSIONS,
                                       INK_BUS_SESSION, ink_bus_session_vtable, find_object, b));
    return sd_bus_add_node_enumerator(b->bus, &b->slots[b->n_slots++], INK_BUS_SESSIONS, list_nodes,
                                      b);
}

/* ------------------------------------------------------------------ create */

typedef struct CreateOptions {
    InkTaskInput input;
    InkServiceSessionOptions session;
    const char *system, *overflow, *priority, *handle_token;
} CreateOptions;

static int set_messages(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    CreateOptions *options = (CreateOptions *)((char *)field - o->offset);
    return ink_options_read_messages(m, &options->input, reterr);
}

/* It is shown in lists and is a part of a command line. */
static int set_name(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    INK_TRY(ink_option_set_string(o, m, field, reterr));
    const char *name = *(const char **)field;
    INK_CHECK(ink_utf8_all_printable(name, strlen(name)), EINVAL, reterr,
              "%s holds a control character", o->key);
    return 0;
}

static const InkOption create_rows[] = {
    INK_OPTION_STRING("system", CreateOptions, system, 1, INK_BUS_MAX_STRING_BYTES),
    {"messages", "a(ss)", set_messages, offsetof(CreateOptions, input)},
    INK_OPTION_BOOL("persistent", CreateOptions, session.persistent),
    {"name", "s", set_name, offsetof(CreateOptions, session.name), 1, INK_BUS_MAX_SESSION_NAME},
    INK_OPTION_U32("context-limit", CreateOptions, session.context_limit, INK_BUS_MIN_CONTEXT,
                   INK_BUS_MAX_CONTEXT),
    INK_OPTION_WORD("overflow", CreateOptions, overflow, ink_overflow_words),
    INK_OPTION_WORD("priority", CreateOptions, priority, ink_priority_words),
    INK_OPTION_TOKEN(CreateOptions, handle_token),
};

static int read_create(sd_bus_message *m, CreateOptions *o, InkError *reterr)
{
    InkServiceSessionOptions *s = &o->session;
    INK_TRY(ink_options_read(m, create_rows, INK_OPTIONS_N(create_rows), "", o, NULL, reterr));
    INK_CHECK(!s->persistent || s->name != NULL, EINVAL, reterr,
              "name is missing: a persistent session is found again by it");
    INK_CHECK(s->persistent || s->name == NULL, EINVAL, reterr,
              "name is for persistent sessions only");
    INK_TRY(ink_options_join_system(&o->input, o->system, &s->messages, &s->n_messages, reterr));
    s->has_overflow = o->overflow != NULL;
    if (s->has_overflow)
        s->overflow = ink_options_overflow(o->overflow);
    s->has_priority = o->priority != NULL;
    s->priority = s->has_priority ? ink_options_priority(o->priority) : INK_PRIORITY_INTERACTIVE;
    return 0;
}

static void create_options_done(CreateOptions *o)
{
    ink_task_input_done(&o->input);
}

int ink_bus_on_create_session(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(create_options_done) CreateOptions options = {.input = INK_TASK_INPUT_INIT};
    _cleanup_(ink_bus_session_free_p) InkSessionObject *o = NULL;
    INK_TRY(read_create(m, &options, reterr));
    INK_TRY(ink_bus_session_new(b, who, m, options.handle_token, &o, reterr));
    InkSessionObject *made = o;
    int r = b->ops->create_session(b->service, &who->caller, &options.session, ink_bus_session_made,
                                   made, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(o); /* the callback has it, or had it */
    return 0;
}

/* -------------------------------------------------------------------- list */

typedef struct SessionList {
    InkBus *bus;
    const InkCallerEntry *who;
    sd_bus_message *reply;
    bool all;
    int r;
} SessionList;

static int append_row(const SessionList *list, const InkSessionObject *o,
                      const InkServiceSession *session)
{
    sd_bus_message *m = list->reply;
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}", "path", "o", o->path, "app-id",
                                  "s", session->app_id, "context-usage", "u",
                                  session->context_usage, "context-window", "u",
                                  session->context_window, "persistent", "b",
                                  (int)session->persistent, "idle-usec", "t", session->idle_usec));
    if (o->owner == list->who && session->name[0] != '\0')
        INK_TRY(sd_bus_message_append(m, "{sv}", "name", "s", session->name));
    return sd_bus_message_close_container(m);
}

static void each_session(void *userdata, const InkServiceSession *session)
{
    SessionList *list = userdata;
    const InkSessionObject *o = find_id(list->bus, session->id);
    if (list->r >= 0 && o != NULL && (list->all || o->owner == list->who))
        list->r = append_row(list, o, session);
}

int ink_bus_on_list_sessions(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_TRY(ink_options_read(m, NULL, 0, "", NULL, NULL, reterr));
    INK_BUS_TRY(sd_bus_message_new_method_return(m, &reply), reterr);
    INK_BUS_TRY(sd_bus_message_open_container(reply, 'a', "a{sv}"), reterr);
    SessionList list = {.bus = b,
                        .who = who,
                        .reply = reply,
                        .all = b->ops->permitted(b->service, &who->caller, INK_PERMISSION_MANAGE)};
    b->ops->list_sessions(b->service, each_session, &list);
    INK_BUS_TRY(list.r, reterr);
    INK_BUS_TRY(sd_bus_message_close_container(reply), reterr);
    INK_BUS_TRY(sd_bus_send(b->bus, reply, NULL), reterr);
    return 0;
}
