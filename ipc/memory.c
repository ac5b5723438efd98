/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Interface Memory: the switch. A property setter of sd-bus has to answer before it returns, but
 * the switch may be acknowledged only when the store has written it. So a filter takes
 * Properties.Set of this one property before the vtable sees it, and the answer is sent by the
 * store's callback. */
#include "ipc/bus-private.h"

#include <string.h>

static int set_enabled(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    const char *interface, *property, *contents = NULL;
    int enabled;
    char type;
    INK_TRY(ink_bus_check_permission(b, who, INK_PERMISSION_MANAGE, reterr));
    int r = sd_bus_message_read(m, "ss", &interface, &property);
    INK_CHECK(r > 0, EINVAL, reterr, "the call is not readable");
    r = sd_bus_message_peek_type(m, &type, &contents);
    INK_CHECK(r > 0 && contents != NULL, EINVAL, reterr, "Enabled: not readable");
    INK_CHECK(strcmp(contents, "b") == 0, EINVAL, reterr, "Enabled has type %.32s, wanted is b",
              contents);
    r = sd_bus_message_read(m, "v", "b", &enabled);
    INK_CHECK(r > 0, EINVAL, reterr, "Enabled: not readable");
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    InkCall *call = c;
    r = b->ops->set_memory_enabled(b->service, enabled != 0, ink_call_on_done, call, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c);
    return 0;
}

static int run_set_enabled(void *userdata, InkCallerEntry *who, sd_bus_message *m,
                           sd_bus_error *reterr)
{
    InkError error = {0};
    int r = set_enabled(userdata, who, m, &error);
    if (r >= 0)
        return 1;
    if (error.code == 0)
        (void)ink_error_raise(&error, -r, "the switch could not be set");
    return ink_bus_error_set(reterr, &error);
}

int ink_memory_filter(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    const char *interface, *property;
    if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "Set") <= 0 ||
        strcmp(sd_bus_message_get_path(m), INK_BUS_PATH) != 0 ||
        !sd_bus_message_has_signature(m, "ssv"))
        return 0;
    int r = sd_bus_message_read(m, "ss", &interface, &property);
    bool ours = r > 0 && strcmp(interface, INK_BUS_MEMORY) == 0 && strcmp(property, "Enabled") == 0;
    (void)sd_bus_message_rewind(m, true);
    return ours ? ink_callers_dispatch(b->callers, m, run_set_enabled, reterr) : 0;
}

static int get_enabled(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    (void)bus;
    (void)path;
    (void)interface;
    (void)property;
    (void)reterr;
    return sd_bus_message_append(reply, "b", (int)b->ops->memory_enabled(b->service));
}

/* The filter answers before this can run; the vtable needs a setter to say "readwrite". */
static int refuse_set(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *value, void *userdata, sd_bus_error *reterr)
{
    (void)bus;
    (void)path;
    (void)interface;
    (void)property;
    (void)value;
    (void)userdata;
    return sd_bus_error_set(reterr, SD_BUS_ERROR_INVALID_ARGS,
                            "Set needs the interface and the property by name");
}

const sd_bus_vtable ink_memory_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_WRITABLE_PROPERTY("Enabled", "b", get_enabled, refuse_set, 0,
                             SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE | SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};
