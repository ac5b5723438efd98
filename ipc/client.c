/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/client.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "ipc/bus-errors.h"
#include "ipc/client-private.h"
#include "ipc/names.h"

#define DEFAULT_TIMEOUT_USEC 25000000u

struct InkClient {
    sd_bus *bus;
    uint64_t timeout_usec;
    char error_name[128];
};

int ink_client_new(InkClient **ret, InkError *reterr)
{
    _cleanup_(ink_client_free_p) InkClient *c = ink_alloc_array(1, sizeof(*c));
    INK_CHECK(c != NULL, ENOMEM, reterr, "out of memory");
    c->timeout_usec = DEFAULT_TIMEOUT_USEC;
    int r = sd_bus_open_user(&c->bus);
    INK_CHECK(r >= 0, ENOTCONN, reterr,
              "no session bus: %s ($DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus)",
              strerror(-r));
    *ret = INK_TAKE(c);
    return 0;
}

InkClient *ink_client_free(InkClient *c)
{
    if (c == NULL)
        return NULL;
    sd_bus_flush_close_unref(c->bus);
    free(c);
    return NULL;
}

sd_bus *ink_client_bus(InkClient *c)
{
    return c->bus;
}

void ink_client_set_timeout(InkClient *c, uint64_t usec)
{
    c->timeout_usec = usec != 0 ? usec : DEFAULT_TIMEOUT_USEC;
}

const char *ink_client_error_name(const InkClient *c)
{
    return c->error_name;
}

int ink_client_raise(InkClient *c, int r, const char *what, InkError *reterr)
{
    bool broken = r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE || r == -ESHUTDOWN;
    c->error_name[0] = '\0';
    return INK_RAISE(broken ? ENOTCONN : -r, reterr, "%s: %s", what,
                     broken ? "the session bus is gone" : strerror(-r));
}

int ink_client_raise_named(InkClient *c, const char *name, const char *message, InkError *reterr)
{
    snprintf(c->error_name, sizeof(c->error_name), "%s", name);
    return INK_RAISE(ink_bus_error_code(name), reterr, "%s", message);
}

/* The service's own words where there are some. */
static int raise_bus_error(InkClient *c, int r, const sd_bus_error *error, InkError *reterr)
{
    if (!sd_bus_error_is_set(error))
        return ink_client_raise(c, r, "the call failed", reterr);
    snprintf(c->error_name, sizeof(c->error_name), "%s", error->name);
    int code = ink_bus_error_code(error->name);
    /* sd-bus makes up this error when its own wait ends, with an errno of its own. */
    if (r == -ETIMEDOUT || strcmp(error->name, SD_BUS_ERROR_TIMEOUT) == 0)
        code = ETIME;
    return INK_RAISE(code, reterr, "%s", error->message != NULL ? error->message : error->name);
}

int ink_client_send(InkClient *c, sd_bus_message *m, sd_bus_message **ret, InkError *reterr)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    c->error_name[0] = '\0';
    int r = sd_bus_call(c->bus, m, c->timeout_usec, &error, &reply);
    if (r < 0) {
        r = raise_bus_error(c, r, &error, reterr);
        sd_bus_error_free(&error);
        return r;
    }
    if (ret != NULL)
        *ret = reply;
    else
        sd_bus_message_unref(reply);
    return 0;
}

int ink_client_is_running(InkClient *c, bool *ret, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
    int owned = 0;
    int r =
        sd_bus_message_new_method_call(c->bus, &m, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                       "org.freedesktop.DBus", "NameHasOwner");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", INK_BUS_NAME);
    if (r < 0)
        return ink_client_raise(c, r, "NameHasOwner", reterr);
    INK_TRY(ink_client_send(c, m, &reply, reterr));
    r = sd_bus_message_read(reply, "b", &owned);
    if (r <= 0)
        return ink_client_raise(c, r < 0 ? r : -EPROTO, "NameHasOwner", reterr);
    *ret = owned != 0;
    return 0;
}

static int new_call(InkClient *c, const char *path, const char *interface, const char *method,
                    bool auto_start, sd_bus_message **ret, InkError *reterr)
{
    int r = sd_bus_message_new_method_call(c->bus, ret, INK_BUS_NAME, path, interface, method);
    if (r >= 0)
        r = sd_bus_message_set_auto_start(*ret, auto_start);
    return r < 0 ? ink_client_raise(c, r, method, reterr) : 0;
}

static int call(InkClient *c, const char *path, const char *interface, const char *method,
                bool auto_start, InkClientAppend *append, void *userdata, sd_bus_message **ret,
                InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    char full[128];
    snprintf(full, sizeof(full), INK_BUS_NAME ".%s", interface);
    INK_TRY(new_call(c, path, full, method, auto_start, &m, reterr));
    int r = append != NULL ? append(m, userdata) : 0;
    if (r < 0)
        return ink_client_raise(c, r, method, reterr);
    return ink_client_send(c, m, ret, reterr);
}

int ink_client_call(InkClient *c, const char *interface, const char *method, bool auto_start,
                    InkClientAppend *append, void *userdata, sd_bus_message **ret, InkError *reterr)
{
    return call(c, INK_BUS_PATH, interface, method, auto_start, append, userdata, ret, reterr);
}

int ink_client_call_object(InkClient *c, const char *path, const char *interface,
                           const char *method, InkClientAppend *append, void *userdata,
                           sd_bus_message **ret, InkError *reterr)
{
    return call(c, path, interface, method, false, append, userdata, ret, reterr);
}

int ink_client_property(InkClient *c, const char *interface, const char *property, bool auto_start,
                        sd_bus_message **ret, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
    char full[128], type;
    const char *contents = NULL;
    snprintf(full, sizeof(full), INK_BUS_NAME ".%s", interface);
    INK_TRY(new_call(c, INK_BUS_PATH, "org.freedesktop.DBus.Properties", "Get", auto_start, &m,
                     reterr));
    int r = sd_bus_message_append(m, "ss", full, property);
    if (r < 0)
        return ink_client_raise(c, r, property, reterr);
    INK_TRY(ink_client_send(c, m, &reply, reterr));
    r = sd_bus_message_peek_type(reply, &type, &contents);
    if (r > 0 && contents != NULL)
        r = sd_bus_message_enter_container(reply, 'v', contents);
    if (r <= 0)
        return ink_client_raise(c, r < 0 ? r : -EPROTO, property, reterr);
    *ret = INK_TAKE(reply);
    return 0;
}
