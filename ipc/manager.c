/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Interface Manager: state of the service, models, the caller's own requests. */
#include "ipc/bus-private.h"

#include <string.h>

#include "ink-config.h"
#include "ipc/request-object.h"
#include "ipc/session-object.h"

/* ------------------------------------------------------------ availability */

typedef struct AvailabilityOptions {
    const char *model;
} AvailabilityOptions;

static const InkOption availability_rows[] = {
    INK_OPTION_STRING("model", AvailabilityOptions, model, 0, 255)};

/* What a feature needs; the rest needs `text`. */
static const struct {
    const char *feature;
    InkPermission permission;
} needs[] = {
    {"import", INK_PERMISSION_MANAGE},
    {"permissions", INK_PERMISSION_MANAGE},
    {"observe", INK_PERMISSION_MEMORY},
    {"suggest", INK_PERMISSION_RECOMMENDATION},
};

/* False for what is neither a word of Features nor a permission. */
static bool find_feature(const char *feature, InkPermission *ret_permission)
{
    *ret_permission = INK_PERMISSION_TEXT;
    for (size_t i = 0; ink_permission_words[i] != NULL; i++)
        if (strcmp(ink_permission_words[i], feature) == 0) {
            *ret_permission = (InkPermission)(INK_PERMISSION_TEXT + i);
            return true;
        }
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
        if (strcmp(needs[i].feature, feature) == 0)
            *ret_permission = needs[i].permission;
    for (size_t i = 0; ink_bus_features[i] != NULL; i++)
        if (strcmp(ink_bus_features[i], feature) == 0)
            return true;
    return false;
}

static int append_availability(sd_bus_message *reply, const InkServiceAvailability *a)
{
    INK_TRY(sd_bus_message_append(reply, "s", a->state));
    INK_TRY(sd_bus_message_open_container(reply, 'a', "{sv}"));
    if (a->context_window != 0)
        INK_TRY(sd_bus_message_append(reply, "{sv}", "context-window", "u", a->context_window));
    if (a->estimated_usec != 0)
        INK_TRY(sd_bus_message_append(reply, "{sv}", "estimated-usec", "t", a->estimated_usec));
    if (a->reason[0] != '\0')
        INK_TRY(sd_bus_message_append(reply, "{sv}", "reason", "s", a->reason));
    return sd_bus_message_close_container(reply);
}

static int get_availability(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    AvailabilityOptions o = {.model = ""};
    InkServiceAvailability a = {.state = "unsupported",
                                .reason = "this build has no feature of that name"};
    const char *feature = "";
    InkPermission permission;
    InkError denied = {0};
    INK_TRY(ink_options_read_string(m, "feature", &feature, reterr));
    INK_TRY(ink_options_read(m, availability_rows, INK_OPTIONS_N(availability_rows), "", &o, NULL,
                             reterr));
    bool is_known = find_feature(feature, &permission);
    if (is_known && ink_bus_check_permission(b, who, permission, &denied) < 0) {
        a = (InkServiceAvailability){.state = "denied"};
        snprintf(a.reason, sizeof(a.reason), "%s", denied.message);
    } else if (is_known) {
        a = (InkServiceAvailability){.state = "unsupported"};
        INK_TRY(b->ops->availability(b->service, &who->caller, feature, o.model, &a, reterr));
    }
    INK_BUS_TRY(sd_bus_message_new_method_return(m, &reply), reterr);
    INK_BUS_TRY(append_availability(reply, &a), reterr);
    INK_BUS_TRY(sd_bus_send(b->bus, reply, NULL), reterr);
    return 0;
}

/* ------------------------------------------------------------------ models */

static int load(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    InkTaskOptions o;
    const char *model = "";
    INK_TRY(ink_options_read_string(m, "model", &model, reterr));
    INK_CHECK(strlen(model) <= 255, E2BIG, reterr, "model has %zu bytes, the limit is 255",
              strlen(model));
    INK_TRY(ink_options_read_task(m, INK_TASK_LOAD, &o, reterr));
    o.task.model = model;
    return ink_request_start(b, who, m, &o, INK_DELIVERY_SIGNALS, reterr);
}

typedef struct UnloadOptions {
    bool force;
} UnloadOptions;

static const InkOption unload_rows[] = {INK_OPTION_BOOL("force", UnloadOptions, force)};

static int unload(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    UnloadOptions o = {0};
    INK_TRY(ink_options_read(m, unload_rows, INK_OPTIONS_N(unload_rows), "", &o, NULL, reterr));
    INK_TRY(b->ops->unload(b->service, &who->caller, o.force, reterr));
    INK_BUS_TRY(sd_bus_reply_method_return(m, ""), reterr);
    return 0;
}

static int list_requests(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_TRY(ink_options_read(m, NULL, 0, "", NULL, NULL, reterr));
    INK_BUS_TRY(sd_bus_message_new_method_return(m, &reply), reterr);
    INK_BUS_TRY(ink_requests_append_list(b, who, reply), reterr);
    INK_BUS_TRY(sd_bus_send(b->bus, reply, NULL), reterr);
    return 0;
}

static int reload(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    INK_TRY(b->ops->reload(b->service, &who->caller, reterr));
    INK_BUS_TRY(sd_bus_reply_method_return(m, ""), reterr);
    return 0;
}

const InkBusMethod ink_manager_methods[] = {
    {"GetAvailability", INK_PERMISSION_NONE, get_availability},
    {"Load", INK_PERMISSION_TEXT, load},
    {"Unload", INK_PERMISSION_MANAGE, unload},
    {"CreateSession", INK_PERMISSION_TEXT, ink_bus_on_create_session},
    {"ListSessions", INK_PERMISSION_TEXT, ink_bus_on_list_sessions},
    {"ListRequests", INK_PERMISSION_TEXT, list_requests},
    {"Reload", INK_PERMISSION_MANAGE, reload},
    {NULL, INK_PERMISSION_NONE, NULL},
};

/* -------------------------------------------------------------- properties */

static int get_constant(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    (void)bus;
    (void)path;
    (void)interface;
    (void)userdata;
    (void)reterr;
    if (strcmp(property, "Version") == 0)
        return sd_bus_message_append(reply, "s", INK_VERSION);
    if (strcmp(property, "ApiRevision") == 0)
        return sd_bus_message_append(reply, "u", INK_API_REVISION);
    INK_TRY(sd_bus_message_open_container(reply, 'a', "s"));
    for (size_t i = 0; ink_bus_features[i] != NULL; i++)
        INK_TRY(sd_bus_message_append(reply, "s", ink_bus_features[i]));
    return sd_bus_message_close_container(reply);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    InkServiceState s = {.state = "starting", .network_guard = "none"};
    (void)bus;
    (void)path;
    (void)interface;
    (void)reterr;
    b->ops->state(b->service, &s);
    if (strcmp(property, "State") == 0)
        return sd_bus_message_append(reply, "s", s.state);
    if (strcmp(property, "Model") == 0)
        return sd_bus_message_append(reply, "s", s.model);
    if (strcmp(property, "ContextWindow") == 0)
        return sd_bus_message_append(reply, "u", s.context_window);
    if (strcmp(property, "QueueDepth") == 0)
        return sd_bus_message_append(reply, "u", s.queue_depth);
    if (strcmp(property, "MemoryResident") == 0)
        return sd_bus_message_append(reply, "t", s.memory_resident_bytes);
    return sd_bus_message_append(reply, "s", s.network_guard);
}

const sd_bus_vtable ink_manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_NAMES(
        "GetAvailability", "sa{sv}", SD_BUS_PARAM(feature) SD_BUS_PARAM(options), "sa{sv}",
        SD_BUS_PARAM(state) SD_BUS_PARAM(details), ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("Load", "sa{sv}", SD_BUS_PARAM(model) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(request), ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("Unload", "a{sv}", SD_BUS_PARAM(options), "", , ink_bus_on_method,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("ListModels", "", , "aa{sv}", SD_BUS_PARAM(models), ink_bus_on_method,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("ImportModel", "sha{sv}",
                             SD_BUS_PARAM(name) SD_BUS_PARAM(file) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(request), ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("InspectModel", "sa{sv}", SD_BUS_PARAM(name) SD_BUS_PARAM(options),
                             "a{sv}", SD_BUS_PARAM(details), ink_bus_on_method,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("RemoveModel", "sa{sv}", SD_BUS_PARAM(name) SD_BUS_PARAM(options), "",
                             , ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("SetDefaultModel", "sa{sv}", SD_BUS_PARAM(name) SD_BUS_PARAM(options),
                             "", , ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("CreateSession", "a{sv}", SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(session), ink_bus_on_method,
                             SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
    SD_BUS_METHOD_WITH_NAMES("ListSessions", "a{sv}", SD_BUS_PARAM(options), "aa{sv}",
                             SD_BUS_PARAM(sessions), ink_bus_on_method,
                             SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
    SD_BUS_METHOD_WITH_NAMES("ListRequests", "a{sv}", SD_BUS_PARAM(options), "aa{sv}",
                             SD_BUS_PARAM(requests), ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("ListPermissions", "", , "a(sss)", SD_BUS_PARAM(permissions),
                             ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("SetPermission", "sss",
                             SD_BUS_PARAM(app_id) SD_BUS_PARAM(permission) SD_BUS_PARAM(decision),
                             "", , ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Reload", "", "", ink_bus_on_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("ProveOffline", "a{sv}", SD_BUS_PARAM(options), "aa{sv}",
                             SD_BUS_PARAM(processes), ink_bus_on_method,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Version", "s", get_constant, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("ApiRevision", "u", get_constant, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Features", "as", get_constant, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Model", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("ContextWindow", "u", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("QueueDepth", "u", get_state, 0, 0),
    SD_BUS_PROPERTY("MemoryResident", "t", get_state, 0, 0),
    SD_BUS_PROPERTY("NetworkGuard", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};
