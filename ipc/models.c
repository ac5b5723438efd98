/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Interface Manager: the installed models. Its vtable rows are in manager.c. */
#include "ipc/bus-private.h"

#include <string.h>

#include "ipc/request-object.h"

#define MAX_NAME_BYTES 255u

static int read_name(sd_bus_message *m, const char **ret, InkError *reterr)
{
    INK_TRY(ink_options_read_string(m, "name", ret, reterr));
    INK_CHECK(strlen(*ret) <= MAX_NAME_BYTES, E2BIG, reterr, "name has %zu bytes, the limit is %u",
              strlen(*ret), MAX_NAME_BYTES);
    return 0;
}

/* ------------------------------------------------------------------ the list */

/* What is known of its abilities; nothing before somebody has looked into the file. */
static int append_features(sd_bus_message *m, const InkServiceModel *model)
{
    if (model->architecture[0] == '\0')
        return 0;
    if (model->has_template)
        return sd_bus_message_append(m, "{sv}", "features", "as", 2, "complete", "chat");
    return sd_bus_message_append(m, "{sv}", "features", "as", 1, "complete");
}

static int append_text(sd_bus_message *m, const char *key, const char *text)
{
    return text[0] != '\0' ? sd_bus_message_append(m, "{sv}", key, "s", text) : 0;
}

/* Entries of an open a{sv}. A path tells of the person's home. */
static int append_model(sd_bus_message *m, const InkServiceModel *model, bool with_path)
{
    INK_TRY(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}", "name", "s", model->name, "size", "t",
                                  model->size_bytes, "source", "s",
                                  model->is_system ? "system" : "user", "default", "b",
                                  (int)model->is_default, "loaded", "b", (int)model->loaded));
    if (with_path)
        INK_TRY(append_text(m, "path", model->path));
    INK_TRY(append_text(m, "architecture", model->architecture));
    INK_TRY(append_text(m, "quantization", model->quantization));
    INK_TRY(append_text(m, "license", model->license));
    INK_TRY(append_text(m, "sha256", model->sha256));
    if (model->context_window != 0)
        INK_TRY(sd_bus_message_append(m, "{sv}", "context-window", "u", model->context_window));
    if (model->parameters != 0)
        INK_TRY(sd_bus_message_append(m, "{sv}", "parameters", "t", model->parameters));
    return append_features(m, model);
}

typedef struct ModelList {
    sd_bus_message *reply;
    bool with_path;
    int r;
} ModelList;

static int append_row(const ModelList *list, const InkServiceModel *model)
{
    INK_TRY(sd_bus_message_open_container(list->reply, 'a', "{sv}"));
    INK_TRY(append_model(list->reply, model, list->with_path));
    return sd_bus_message_close_container(list->reply);
}

static void each_model(void *userdata, const InkServiceModel *model)
{
    ModelList *list = userdata;
    if (list->r >= 0)
        list->r = append_row(list, model);
}

static int list_models(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_BUS_TRY(sd_bus_message_new_method_return(m, &reply), reterr);
    INK_BUS_TRY(sd_bus_message_open_container(reply, 'a', "a{sv}"), reterr);
    ModelList list = {
        .reply = reply,
        .with_path = b->ops->permitted(b->service, &who->caller, INK_PERMISSION_MANAGE),
    };
    INK_TRY(b->ops->list_models(b->service, each_model, &list, reterr));
    INK_BUS_TRY(list.r, reterr);
    INK_BUS_TRY(sd_bus_message_close_container(reply), reterr);
    INK_BUS_TRY(sd_bus_send(b->bus, reply, NULL), reterr);
    return 0;
}

/* ------------------------------------------------------------------ importing */

static int import_model(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    InkTaskOptions o;
    const char *name = "";
    int fd;
    INK_TRY(read_name(m, &name, reterr));
    INK_CHECK(sd_bus_message_read_basic(m, 'h', &fd) > 0, EINVAL, reterr, "file: not readable");
    INK_TRY(ink_options_read_task(m, INK_TASK_IMPORT, &o, reterr));
    o.import.name = name;
    o.import_fd = fd;
    return ink_request_start(b, who, m, &o, INK_DELIVERY_SIGNALS, reterr);
}

/* ------------------------------------------------------------------ looking */

typedef struct InspectOptions {
    bool verify;
} InspectOptions;

static const InkOption inspect_rows[] = {INK_OPTION_BOOL("verify", InspectOptions, verify)};

static int append_tensor_types(sd_bus_message *m, const InkServiceInspection *i)
{
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", "tensor-types"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "a{st}"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{st}"));
    for (size_t k = 0; k < i->n_tensor_types; k++)
        INK_TRY(
            sd_bus_message_append(m, "{st}", i->tensor_types[k].name, i->tensor_types[k].n_bytes));
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

static int append_warnings(sd_bus_message *m, const InkServiceInspection *i)
{
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", "warnings"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "as"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "s"));
    for (size_t k = 0; k < i->n_warnings; k++)
        INK_TRY(sd_bus_message_append(m, "s", i->warnings[k]));
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

static int append_inspection(sd_bus_message *m, const InkServiceInspection *i, bool with_path)
{
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(append_model(m, &i->model, with_path));
    INK_TRY(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}", "layers", "u", i->layers,
                                  "embedding-length", "u", i->embedding_length, "heads", "u",
                                  i->heads, "kv-heads", "u", i->kv_heads, "vocabulary", "u",
                                  i->vocabulary, "chat-template", "b", (int)i->model.has_template));
    INK_TRY(append_text(m, "tokenizer", i->tokenizer));
    INK_TRY(append_tensor_types(m, i));
    INK_TRY(append_warnings(m, i));
    if (i->was_verified)
        INK_TRY(sd_bus_message_append(m, "{sv}", "verified", "b", (int)i->verified));
    return sd_bus_message_close_container(m);
}

/* Of a call that waits, `flag` says that it may see the path. */
static void on_inspected(void *userdata, const InkError *error,
                         const InkServiceInspection *inspection)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else if (sd_bus_message_new_method_return(c->m, &reply) < 0 ||
             append_inspection(reply, inspection, c->flag) < 0 ||
             sd_bus_send(NULL, reply, NULL) < 0)
        ink_bus_reply_error(c->m, &(InkError){ENOMEM, "the answer could not be built"});
}

static int inspect_model(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    InspectOptions o = {0};
    const char *name = "";
    INK_TRY(read_name(m, &name, reterr));
    INK_TRY(ink_options_read(m, inspect_rows, INK_OPTIONS_N(inspect_rows), "", &o, NULL, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    c->flag = b->ops->permitted(b->service, &who->caller, INK_PERMISSION_MANAGE);
    INK_TRY(
        b->ops->inspect_model(b->service, &who->caller, name, o.verify, on_inspected, c, reterr));
    (void)INK_TAKE(c); /* the callback has it, or had it */
    return 0;
}

/* ------------------------------------------------------------------ changing */

typedef struct ChangeOptions {
    bool force;
} ChangeOptions;

static const InkOption change_rows[] = {INK_OPTION_BOOL("force", ChangeOptions, force)};

static void on_changed(void *userdata, const InkError *error)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else
        (void)sd_bus_reply_method_return(c->m, "");
}

typedef int Change(void *service, const InkCaller *caller, const char *name, bool force,
                   InkDoneReply *reply, void *userdata, InkError *reterr);

static int start_change(InkBus *b, InkCallerEntry *who, sd_bus_message *m, Change *change,
                        InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    ChangeOptions o = {0};
    const char *name = "";
    INK_TRY(read_name(m, &name, reterr));
    INK_TRY(ink_options_read(m, change_rows, INK_OPTIONS_N(change_rows), "", &o, NULL, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    INK_TRY(change(b->service, &who->caller, name, o.force, on_changed, c, reterr));
    (void)INK_TAKE(c);
    return 0;
}

static int remove_model(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    return start_change(b, who, m, b->ops->remove_model, reterr);
}

static int set_default_model(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    return start_change(b, who, m, b->ops->set_default_model, reterr);
}

const InkBusMethod ink_model_methods[] = {
    {"ListModels", INK_PERMISSION_TEXT, list_models},
    {"ImportModel", INK_PERMISSION_MANAGE, import_model},
    {"InspectModel", INK_PERMISSION_TEXT, inspect_model},
    {"RemoveModel", INK_PERMISSION_MANAGE, remove_model},
    {"SetDefaultModel", INK_PERMISSION_MANAGE, set_default_model},
    {NULL, INK_PERMISSION_NONE, NULL},
};
