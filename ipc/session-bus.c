/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Interface Session: methods and properties of one session object. */
#include "ipc/session-private.h"

#include <string.h>

#include "ipc/request-object.h"

#define _cleanup_input_ _cleanup_(ink_task_input_done)

typedef struct SessionMethod {
    const char *member;
    InkPermission permission;
    int (*run)(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m, InkError *reterr);
} SessionMethod;

/* -------------------------------------------------------------- prompting */

static int read_turn(InkSessionObject *o, sd_bus_message *m, InkTaskKind kind, InkTaskInput *in,
                     InkTaskOptions *ret, InkError *reterr)
{
    if (kind == INK_TASK_PREWARM) {
        INK_TRY(ink_options_read_string(m, "prefix", &in->prompt, reterr));
        in->n_prompt_bytes = strlen(in->prompt);
    } else {
        INK_TRY(ink_options_read_text(m, in, reterr));
    }
    INK_TRY(ink_options_read_task(m, kind, ret, reterr));
    INK_TRY(ink_options_join(ret, in, reterr));
    ret->task.session = o->id;
    return 0;
}

static int prompt(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions options;
    INK_TRY(read_turn(o, m, INK_TASK_PROMPT, &in, &options, reterr));
    return ink_request_start_blocking(o->bus, who, m, &options, reterr);
}

static int start_prompt(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m,
                        InkError *reterr)
{
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions options;
    INK_TRY(read_turn(o, m, INK_TASK_PROMPT, &in, &options, reterr));
    return ink_request_start(o->bus, who, m, &options, INK_DELIVERY_SIGNALS, reterr);
}

static int prewarm(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions options;
    INK_TRY(read_turn(o, m, INK_TASK_PREWARM, &in, &options, reterr));
    return ink_request_start(o->bus, who, m, &options, INK_DELIVERY_SIGNALS, reterr);
}

/* --------------------------------------------------------------- changing */

static int append(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    const InkChatMessage *messages = NULL;
    size_t n = 0;
    INK_TRY(ink_options_read_messages(m, &in, reterr));
    INK_TRY(ink_options_read(m, NULL, 0, "", NULL, NULL, reterr));
    INK_TRY(ink_options_join_system(&in, NULL, &messages, &n, reterr));
    INK_TRY(ink_call_new(o->bus, who, m, &c, reterr));
    InkCall *call = c;
    INK_TRY(o->bus->ops->session_append(o->bus->service, o->id, messages, n, ink_call_on_done, call,
                                        reterr));
    (void)INK_TAKE(c); /* the callback has it, or had it */
    return 0;
}

static int rewind_turns(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m,
                        InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    uint32_t turn = 0;
    INK_CHECK(sd_bus_message_read_basic(m, 'u', &turn) > 0, EINVAL, reterr, "turn: not readable");
    INK_TRY(ink_call_new(o->bus, who, m, &c, reterr));
    InkCall *call = c;
    INK_TRY(
        o->bus->ops->session_rewind(o->bus->service, o->id, turn, ink_call_on_done, call, reterr));
    (void)INK_TAKE(c);
    return 0;
}

static int forget(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    INK_TRY(ink_call_new(o->bus, who, m, &c, reterr));
    InkCall *call = c;
    INK_TRY(o->bus->ops->session_forget(o->bus->service, o->id, ink_call_on_done, call, reterr));
    (void)INK_TAKE(c);
    return 0;
}

typedef struct CloneOptions {
    const char *handle_token;
} CloneOptions;

static const InkOption clone_rows[] = {INK_OPTION_TOKEN(CloneOptions, handle_token)};

static int clone_session(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m,
                         InkError *reterr)
{
    _cleanup_(ink_bus_session_free_p) InkSessionObject *clone = NULL;
    CloneOptions options = {0};
    INK_TRY(ink_options_read(m, clone_rows, INK_OPTIONS_N(clone_rows), "", &options, NULL, reterr));
    INK_TRY(ink_bus_session_new(o->bus, who, m, options.handle_token, &clone, reterr));
    InkSessionObject *made = clone;
    INK_TRY(o->bus->ops->session_clone(o->bus->service, o->id, &who->caller, ink_bus_session_made,
                                       made, reterr));
    (void)INK_TAKE(clone);
    return 0;
}

static int close_session(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m,
                         InkError *reterr)
{
    InkBus *b = o->bus;
    InkSessionEnd reason = o->owner == who ? INK_SESSION_CLOSED : INK_SESSION_USER;
    INK_BUS_TRY(sd_bus_reply_method_return(m, ""), reterr);
    b->ops->close_session(b->service, o->id, reason); /* frees the object */
    return 0;
}

/* ---------------------------------------------------------------- looking */

static void on_count(void *userdata, const InkError *error, uint64_t count)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else
        (void)sd_bus_reply_method_return(c->m, "u", (uint32_t)count);
}

static int measure_usage(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m,
                         InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    const char *text = "";
    INK_TRY(ink_options_read_string(m, "text", &text, reterr));
    INK_TRY(ink_call_new(o->bus, who, m, &c, reterr));
    InkCall *call = c;
    INK_TRY(o->bus->ops->session_measure(o->bus->service, o->id, text, on_count, call, reterr));
    (void)INK_TAKE(c);
    return 0;
}

typedef struct TurnList {
    sd_bus_message *reply;
    int r;
} TurnList;

static int append_turn(sd_bus_message *m, const InkServiceTurn *turn)
{
    INK_TRY(sd_bus_message_open_container(m, 'r', "ssa{sv}"));
    INK_TRY(sd_bus_message_append(m, "ss", turn->role, turn->text));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(sd_bus_message_append(m, "{sv}", "time-usec", "t", turn->time_usec));
    if (turn->tokens != 0)
        INK_TRY(sd_bus_message_append(m, "{sv}", "tokens", "u", turn->tokens));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

static void each_turn(void *userdata, const InkServiceTurn *turn)
{
    TurnList *list = userdata;
    if (list->r >= 0)
        list->r = append_turn(list->reply, turn);
}

static int get_transcript(InkSessionObject *o, InkCallerEntry *who, sd_bus_message *m,
                          InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkBus *b = o->bus;
    (void)who;
    INK_BUS_TRY(sd_bus_message_new_method_return(m, &reply), reterr);
    INK_BUS_TRY(sd_bus_message_sensitive(reply), reterr);
    INK_BUS_TRY(sd_bus_message_open_container(reply, 'a', "(ssa{sv})"), reterr);
    TurnList list = {reply, 0};
    INK_TRY(b->ops->session_transcript(b->service, o->id, each_turn, &list, reterr));
    INK_BUS_TRY(list.r, reterr);
    INK_BUS_TRY(sd_bus_message_close_container(reply), reterr);
    INK_BUS_TRY(sd_bus_send(b->bus, reply, NULL), reterr);
    return 0;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    const InkSessionObject *o = userdata;
    InkServiceSession info;
    InkError error = {0};
    (void)bus;
    (void)path;
    (void)interface;
    if (o->bus->ops->session_info(o->bus->service, o->id, &info, &error) < 0)
        return ink_bus_error_set(reterr, &error);
    if (strcmp(property, "AppId") == 0)
        return sd_bus_message_append(reply, "s", info.app_id);
    if (strcmp(property, "Model") == 0)
        return sd_bus_message_append(reply, "s", info.model);
    if (strcmp(property, "ContextWindow") == 0)
        return sd_bus_message_append(reply, "u", info.context_window);
    return sd_bus_message_append(reply, "u", info.context_usage);
}

/* --------------------------------------------------------------- dispatch */

/* Closing and forgetting are open to an owner that was denied the rest meanwhile. */
static const SessionMethod methods[] = {
    {"Prompt", INK_PERMISSION_TEXT, prompt},
    {"StartPrompt", INK_PERMISSION_TEXT, start_prompt},
    {"Prewarm", INK_PERMISSION_TEXT, prewarm},
    {"Append", INK_PERMISSION_TEXT, append},
    {"MeasureUsage", INK_PERMISSION_TEXT, measure_usage},
    {"GetTranscript", INK_PERMISSION_TEXT, get_transcript},
    {"Rewind", INK_PERMISSION_TEXT, rewind_turns},
    {"Clone", INK_PERMISSION_TEXT, clone_session},
    {"Forget", INK_PERMISSION_NONE, forget},
    {"Close", INK_PERMISSION_NONE, close_session},
};

static const SessionMethod *find_method(const char *member)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(methods[i].member, member) == 0)
            return &methods[i];
    return NULL;
}

/* Whoever sees an object is known: the owner made it by a call, the other one was looked up. */
static int on_method(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkSessionObject *o = userdata;
    InkBus *b = o->bus;
    InkError error = {0};
    InkCallerEntry *who = ink_callers_find(b->callers, sd_bus_message_get_sender(m));
    const SessionMethod *method = find_method(sd_bus_message_get_member(m));
    int r = method != NULL && who != NULL ? 0 : -EOPNOTSUPP;
    if (r >= 0)
        r = ink_bus_check_permission(b, who, method->permission, &error);
    if (r >= 0)
        r = method->run(o, who, m, &error);
    if (r >= 0)
        return 1;
    if (error.code == 0)
        (void)ink_error_raise(&error, -r, "the call failed");
    return ink_bus_error_set(reterr, &error);
}

#define FLAGS (SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE)

const sd_bus_vtable ink_bus_session_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_NAMES("Prompt", "sa{sv}", SD_BUS_PARAM(text) SD_BUS_PARAM(options), "sa{sv}",
                             SD_BUS_PARAM(text) SD_BUS_PARAM(result), on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("StartPrompt", "sa{sv}", SD_BUS_PARAM(text) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(request), on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Append", "a(ss)a{sv}", SD_BUS_PARAM(messages) SD_BUS_PARAM(options),
                             "", , on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Prewarm", "sa{sv}", SD_BUS_PARAM(prefix) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(request), on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("MeasureUsage", "s", SD_BUS_PARAM(text), "u", SD_BUS_PARAM(tokens),
                             on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("GetTranscript", "", , "a(ssa{sv})", SD_BUS_PARAM(turns), on_method,
                             FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Rewind", "u", SD_BUS_PARAM(turn), "", , on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Clone", "a{sv}", SD_BUS_PARAM(options), "o", SD_BUS_PARAM(session),
                             on_method, FLAGS),
    SD_BUS_METHOD("Forget", "", "", on_method, FLAGS),
    SD_BUS_METHOD("Close", "", "", on_method, FLAGS),
    SD_BUS_SIGNAL_WITH_NAMES("Closed", "sa{sv}", SD_BUS_PARAM(reason) SD_BUS_PARAM(details), 0),
    SD_BUS_SIGNAL_WITH_NAMES("ContextOverflow", "uu",
                             SD_BUS_PARAM(turns_dropped) SD_BUS_PARAM(tokens_dropped), 0),
    SD_BUS_PROPERTY("AppId", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Model", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("ContextWindow", "u", get_property, 0, 0),
    SD_BUS_PROPERTY("ContextUsage", "u", get_property, 0, 0),
    SD_BUS_VTABLE_END,
};
