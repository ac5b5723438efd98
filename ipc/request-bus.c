/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The face of request objects on the bus: vtable, who may see which, signals to the owner alone. */
#include "ipc/request-private.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "ipc/owned-object.h"

/* ------------------------------------------------------------------ lookup */

InkRequestObject *ink_request_find(InkBus *b, const char *path, const char *sender)
{
    for (InkRequestObject *r = b->requests; r != NULL && sender != NULL; r = r->next)
        if (r->owner != NULL && !r->gone && strcmp(r->owner->sender, sender) == 0 &&
            strcmp(r->path, path) == 0)
            return r;
    return NULL;
}

/* A foreign object is not found, exactly as a missing one. */
static int find_object(sd_bus *bus, const char *path, const char *interface, void *userdata,
                       void **ret_found, sd_bus_error *reterr)
{
    (void)interface;
    (void)reterr;
    InkRequestObject *r = ink_request_find(userdata, path, ink_owned_current_sender(bus));
    if (r == NULL)
        return 0;
    *ret_found = r;
    return 1;
}

static int list_nodes(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                      sd_bus_error *reterr)
{
    _cleanup_(ink_owned_nodes_done) InkOwnedNodes nodes = INK_OWNED_NODES_INIT;
    InkBus *b = userdata;
    const char *sender = ink_owned_current_sender(bus);
    (void)prefix;
    (void)reterr;
    for (InkRequestObject *r = b->requests; r != NULL; r = r->next)
        if (ink_request_find(b, r->path, sender) == r)
            INK_TRY(ink_owned_nodes_add(&nodes, r->path));
    *ret_nodes = INK_TAKE(nodes.paths);
    nodes.n = 0;
    return 0;
}

/* ----------------------------------------------------------------- signals */

static sd_bus_message *new_signal(InkRequestObject *r, const char *member)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    if (sd_bus_message_new_signal(r->bus->bus, &m, r->path, INK_BUS_REQUEST, member) < 0 ||
        sd_bus_message_sensitive(m) < 0 || sd_bus_message_set_destination(m, r->owner->sender) < 0)
        return NULL;
    return INK_TAKE(m);
}

/* A signal that cannot be sent means that the bus is gone, which its own handler notices. */
void ink_request_emit_progress(InkRequestObject *r, const char *stage, double fraction)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_signal(r, "Progress");
    if (m != NULL && sd_bus_message_append(m, "sda{sv}", stage, fraction, 0) >= 0)
        (void)sd_bus_send(r->bus->bus, m, NULL);
}

void ink_request_emit_delta(InkRequestObject *r, size_t offset_bytes, const char *text)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_signal(r, "Delta");
    if (m != NULL && sd_bus_message_append(m, "tsa{sv}", (uint64_t)offset_bytes, text, 0) >= 0)
        (void)sd_bus_send(r->bus->bus, m, NULL);
}

void ink_request_emit_finished(InkRequestObject *r)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_signal(r, "Finished");
    if (m != NULL && sd_bus_message_append(m, "u", (uint32_t)r->result.status) >= 0 &&
        ink_request_append_results(r, m, true) >= 0)
        (void)sd_bus_send(r->bus->bus, m, NULL);
}

int ink_request_reply_wait(InkRequestObject *r, sd_bus_message *m)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_TRY(sd_bus_message_new_method_return(m, &reply));
    INK_TRY(sd_bus_message_append(reply, "u", (uint32_t)r->result.status));
    INK_TRY(ink_request_append_results(r, reply, true));
    return sd_bus_send(NULL, reply, NULL);
}

/* ----------------------------------------------------------------- methods */

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkRequestObject *r = userdata;
    (void)reterr;
    ink_request_cancel(r, INK_CANCEL_CALLER);
    return sd_bus_reply_method_return(m, "");
}

static int on_wait(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkRequestObject *r = userdata;
    InkError error = {0};
    if (r->told)
        return ink_request_reply_wait(r, m);
    if (ink_caller_add_call(r->owner, &error) < 0)
        return ink_bus_error_set(reterr, &error);
    sd_bus_message **waits = ink_realloc_array(r->waits, r->n_waits + 1, sizeof(*waits));
    if (waits == NULL) {
        r->owner->n_calls--;
        return -ENOMEM;
    }
    r->waits = waits;
    r->waits[r->n_waits++] = sd_bus_message_ref(m);
    return 1;
}

/* State, position and class of a task that may have just ended. */
static void get_task_state(InkRequestObject *r, const char **ret_state, uint32_t *ret_position)
{
    *ret_state = "finished";
    *ret_position = 0;
    if (r->ended)
        return;
    InkPriority priority = r->priority;
    if (r->bus->ops->task_state(r->bus->service, r->task_id, ret_state, ret_position, &priority) ==
        0)
        r->priority = priority;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkRequestObject *r = userdata;
    const char *state;
    uint32_t position;
    (void)bus;
    (void)path;
    (void)interface;
    (void)reterr;
    get_task_state(r, &state, &position);
    if (strcmp(property, "State") == 0)
        return sd_bus_message_append(reply, "s", state);
    if (strcmp(property, "QueuePosition") == 0)
        return sd_bus_message_append(reply, "u", position);
    return sd_bus_message_append(reply, "s", ink_priority_words[r->priority]);
}

static int set_priority(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *value, void *userdata, sd_bus_error *reterr)
{
    InkRequestObject *r = userdata;
    InkError error = {0};
    const char *word = "";
    (void)bus;
    (void)path;
    (void)interface;
    (void)property;
    if (ink_options_read_word(value, "Priority", ink_priority_words, &word, &error) < 0)
        return ink_bus_error_set(reterr, &error);
    InkPriority priority = ink_options_priority(word);
    int e = r->ended ? 0 : r->bus->ops->set_priority(r->bus->service, r->task_id, priority);
    if (e < 0) {
        (void)INK_RAISE(-e, &error, "the class of this request cannot be changed");
        return ink_bus_error_set(reterr, &error);
    }
    r->priority = priority;
    return 1;
}

static const sd_bus_vtable request_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Cancel", "", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("Wait", "", , "ua{sv}", SD_BUS_PARAM(status) SD_BUS_PARAM(results),
                             on_wait, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
    SD_BUS_SIGNAL_WITH_NAMES("Progress", "sda{sv}",
                             SD_BUS_PARAM(stage) SD_BUS_PARAM(fraction) SD_BUS_PARAM(details), 0),
    SD_BUS_SIGNAL_WITH_NAMES("Delta", "tsa{sv}",
                             SD_BUS_PARAM(offset) SD_BUS_PARAM(text) SD_BUS_PARAM(details), 0),
    SD_BUS_SIGNAL_WITH_NAMES("Finished", "ua{sv}", SD_BUS_PARAM(status) SD_BUS_PARAM(results), 0),
    SD_BUS_PROPERTY("State", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("QueuePosition", "u", get_property, 0, 0),
    SD_BUS_WRITABLE_PROPERTY("Priority", "s", get_property, set_priority, 0,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int ink_requests_add(InkBus *b)
{
    INK_TRY(sd_bus_add_fallback_vtable(b->bus, &b->slots[b->n_slots++], INK_BUS_REQUESTS,
                                       INK_BUS_REQUEST, request_vtable, find_object, b));
    return sd_bus_add_node_enumerator(b->bus, &b->slots[b->n_slots++], INK_BUS_REQUESTS, list_nodes,
                                      b);
}

/* -------------------------------------------------------------------- list */

static int append_row(InkRequestObject *r, sd_bus_message *m)
{
    const char *state;
    uint32_t position;
    get_task_state(r, &state, &position);
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}", "path", "o", r->path, "app-id",
                                  "s", r->owner->identity.app_id, "kind", "s",
                                  ink_request_kind_word(r->kind), "state", "s", state, "priority",
                                  "s", ink_priority_words[r->priority], "age-usec", "t",
                                  ink_clock_monotonic_usec() - r->created_usec));
    if (r->ended && r->kind != INK_TASK_LOAD && r->kind != INK_TASK_IMPORT)
        INK_TRY(sd_bus_message_append(m, "{sv}", "output-tokens", "u", r->result.output_tokens));
    return sd_bus_message_close_container(m);
}

int ink_requests_append_list(InkBus *b, InkCallerEntry *who, sd_bus_message *reply)
{
    bool sees_all = b->ops->permitted(b->service, &who->caller, INK_PERMISSION_MANAGE);
    INK_TRY(sd_bus_message_open_container(reply, 'a', "a{sv}"));
    for (InkRequestObject *r = b->requests; r != NULL; r = r->next)
        if ((r->owner == who || (sees_all && r->owner != NULL)) && !r->gone)
            INK_TRY(append_row(r, reply));
    return sd_bus_message_close_container(reply);
}
