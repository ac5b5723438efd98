/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/bus.h"

#include <signal.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/base/utf8.h"
#include "ipc/bus-private.h"
#include "ipc/message-weight.h"
#include "ipc/request-object.h"
#include "ipc/session-object.h"

const char *const ink_bus_features[] = {
    "complete", "chat",      "session", "prewarm",     "overflow", "tokens",  "stream",
    "pipe",     "supersede", "import",  "permissions", "observe",  "suggest", NULL};

/* ---------------------------------------------------------------- dispatch */

static const struct {
    const char *interface;
    const InkBusMethod *methods;
    const sd_bus_vtable *vtable;
} interfaces[] = {
    {INK_BUS_MANAGER, ink_manager_methods, ink_manager_vtable},
    {INK_BUS_MANAGER, ink_model_methods, NULL},
    {INK_BUS_MANAGER, ink_permission_methods, NULL}, /* in the vtable above */
    {INK_BUS_MANAGER, ink_proof_methods, NULL},
    {INK_BUS_TEXT, ink_text_methods, ink_text_vtable},
    {INK_BUS_RECOMMEND, ink_recommendation_methods, ink_recommendation_vtable},
    {INK_BUS_MEMORY, NULL, ink_memory_vtable},
};

static const InkBusMethod *find_method(sd_bus_message *m)
{
    const char *interface = sd_bus_message_get_interface(m);
    const char *member = sd_bus_message_get_member(m);
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++) {
        /* A call may leave the interface out; no member of the root object has two homes. */
        if (interfaces[i].methods == NULL ||
            (interface != NULL && strcmp(interface, interfaces[i].interface) != 0))
            continue;
        for (const InkBusMethod *at = interfaces[i].methods; at->member != NULL; at++)
            if (strcmp(at->member, member) == 0)
                return at;
    }
    return NULL;
}

static int run_method(void *userdata, InkCallerEntry *who, sd_bus_message *m, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    InkError error = {0};
    const InkBusMethod *method = find_method(m);
    int r = -EOPNOTSUPP;
    if (method != NULL)
        r = ink_bus_check_permission(b, who, method->permission, &error);
    if (method != NULL && r >= 0)
        r = method->run(b, who, m, &error);
    if (r >= 0)
        return 1;
    if (error.code == 0)
        (void)ink_error_raise(&error, -r, "the call failed");
    return ink_bus_error_set(reterr, &error);
}

int ink_bus_on_method(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    return ink_callers_dispatch(b->callers, m, run_method, reterr);
}

/* ------------------------------------------------------- calls that wait */

int ink_caller_add_call(InkCallerEntry *who, InkError *reterr)
{
    INK_CHECK(who->n_calls < INK_CALLER_MAX_CALLS, E2BIG, reterr,
              "this connection has %zu unanswered calls, the limit is %u", who->n_calls,
              INK_CALLER_MAX_CALLS);
    who->n_calls++;
    return 0;
}

int ink_caller_keep(InkBus *b, InkCallerEntry *who, sd_bus_message *m, size_t *ret_bytes,
                    InkError *reterr)
{
    size_t n_bytes = 0;
    int r = ink_message_weigh(m, INK_BUS_MAX_CALL_BYTES, &n_bytes);
    INK_CHECK(r != -E2BIG, E2BIG, reterr, "the call is larger than %u MiB",
              INK_BUS_MAX_CALL_BYTES >> 20);
    INK_CHECK(r >= 0, EINVAL, reterr, "the call is not readable");
    INK_CHECK(who->kept_bytes + n_bytes <= INK_BUS_MAX_CALLER_BYTES, E2BIG, reterr,
              "the unanswered calls of this connection hold more than %u MiB",
              INK_BUS_MAX_CALLER_BYTES >> 20);
    INK_CHECK(b->kept_bytes + n_bytes <= INK_BUS_MAX_KEPT_BYTES, EBUSY, reterr,
              "the unanswered calls of all programs hold more than %u MiB",
              INK_BUS_MAX_KEPT_BYTES >> 20);
    INK_TRY(ink_caller_add_call(who, reterr));
    who->kept_bytes += n_bytes;
    b->kept_bytes += n_bytes;
    *ret_bytes = n_bytes;
    return 0;
}

void ink_caller_unkeep(InkBus *b, InkCallerEntry *who, size_t n_bytes)
{
    if (who != NULL) {
        who->n_calls--;
        who->kept_bytes -= n_bytes;
    }
    if (b != NULL)
        b->kept_bytes -= n_bytes;
}

int ink_call_new(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkCall **ret, InkError *reterr)
{
    INK_CHECK(!b->stopping, ESHUTDOWN, reterr, "the service is stopping, call again");
    InkCall *c = ink_alloc_array(1, sizeof(*c));
    INK_CHECK(c != NULL, ENOMEM, reterr, "out of memory for a call");
    int r = ink_caller_keep(b, who, m, &c->n_bytes, reterr);
    if (r < 0) {
        free(c);
        return r;
    }
    c->bus = b;
    c->who = who;
    c->m = sd_bus_message_ref(m);
    c->next = b->calls;
    b->calls = c;
    *ret = c;
    return 0;
}

InkCall *ink_call_free(InkCall *c)
{
    if (c == NULL)
        return NULL;
    ink_caller_unkeep(c->bus, c->who, c->n_bytes);
    if (c->bus != NULL)
        for (InkCall **at = &c->bus->calls; *at != NULL; at = &(*at)->next)
            if (*at == c) {
                *at = c->next;
                break;
            }
    sd_bus_message_unref(c->m);
    free(c);
    return NULL;
}

static void on_caller_known(void *userdata, InkCallerEntry *who)
{
    InkBus *b = userdata;
    b->ops->caller_known(b->service, &who->caller);
}

void ink_call_on_done(void *userdata, const InkError *error)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else
        (void)sd_bus_reply_method_return(c->m, "");
}

static void on_caller_gone(void *userdata, InkCallerEntry *who)
{
    InkBus *b = userdata;
    if (who->known && who->refusal == NULL)
        b->ops->caller_gone(b->service, &who->caller);
    for (InkCall *c = b->calls; c != NULL; c = c->next)
        if (c->who == who)
            c->who = NULL;
    ink_requests_drop_owner(b, who);
    ink_bus_sessions_drop_owner(b, who);
}

void ink_bus_append_clean(InkBuffer *b, const char *text, size_t n_bytes)
{
    for (size_t at = 0; at < n_bytes;) {
        uint32_t code_point;
        size_t n = ink_utf8_decode(text + at, n_bytes - at, &code_point);
        if (n == 0 || code_point == 0)
            ink_buffer_append_str(b, "\xEF\xBF\xBD");
        else
            ink_buffer_append(b, text + at, n);
        at += n != 0 ? n : 1;
    }
}

/* --------------------------------------------------------------- lifetime */

static int note_call(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkBus *b = userdata;
    (void)reterr;
    if (sd_bus_message_is_method_call(m, NULL, NULL) > 0)
        b->last_call_usec = ink_clock_monotonic_usec();
    return 0;
}

static int add_interfaces(InkBus *b)
{
    INK_TRY(sd_bus_add_filter(b->bus, &b->slots[b->n_slots++], note_call, b));
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++)
        if (interfaces[i].vtable != NULL)
            INK_TRY(sd_bus_add_object_vtable(b->bus, &b->slots[b->n_slots++], INK_BUS_PATH,
                                             interfaces[i].interface, interfaces[i].vtable, b));
    INK_TRY(sd_bus_add_filter(b->bus, &b->slots[b->n_slots++], ink_memory_filter, b));
    INK_TRY(ink_requests_add(b));
    return ink_bus_sessions_init(b);
}

int ink_bus_new(sd_bus *bus, sd_event *event, const InkServiceOps *ops, void *service, InkBus **ret,
                InkError *reterr)
{
    _cleanup_(ink_bus_free_p) InkBus *b = ink_alloc_array(1, sizeof(*b));
    INK_CHECK(b != NULL, ENOMEM, reterr, "out of memory for the bus");
    b->bus = sd_bus_ref(bus);
    b->event = sd_event_ref(event);
    b->ops = ops;
    b->service = service;
    int r = ink_callers_new(bus, on_caller_known, on_caller_gone, b, &b->callers);
    if (r >= 0)
        r = add_interfaces(b);
    INK_CHECK(r >= 0, -r, reterr, "bus objects: %s", strerror(-r));
    /* A reader that closes its pipe must not end the service. */
    struct sigaction old;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
    *ret = INK_TAKE(b);
    return 0;
}

InkBus *ink_bus_free(InkBus *b)
{
    if (b == NULL)
        return NULL;
    b->stopping = true;
    ink_requests_drop_all(b);
    ink_bus_sessions_drop_all(b);
    ink_callers_free(b->callers);
    for (InkCall *c = b->calls; c != NULL; c = c->next)
        c->bus = NULL;
    for (size_t i = 0; i < b->n_slots; i++)
        sd_bus_slot_unref(b->slots[i]);
    sd_event_unref(b->event);
    sd_bus_unref(b->bus);
    free(b);
    return NULL;
}

int ink_bus_claim_name(InkBus *b, InkError *reterr)
{
    int r = sd_bus_request_name(b->bus, INK_BUS_NAME, 0);
    INK_CHECK(r != -EEXIST && r != -EALREADY, EEXIST, reterr, "the name %s is taken", INK_BUS_NAME);
    INK_CHECK(r >= 0, -r, reterr, "the name %s: %s", INK_BUS_NAME, strerror(-r));
    return 0;
}

void ink_bus_state_changed(InkBus *b)
{
    InkServiceState s = {0};
    const char *names[4] = {NULL};
    char *changed[4] = {NULL};
    size_t n = 0;
    b->ops->state(b->service, &s);
    if (strncmp(b->told_state, s.state, sizeof(b->told_state) - 1) != 0)
        names[n++] = "State";
    if (strcmp(b->told_model, s.model) != 0)
        names[n++] = "Model";
    if (b->told_window != s.context_window)
        names[n++] = "ContextWindow";
    if (n == 0)
        return;
    snprintf(b->told_state, sizeof(b->told_state), "%s", s.state);
    memcpy(b->told_model, s.model, sizeof(b->told_model));
    b->told_window = s.context_window;
    for (size_t i = 0; i < n; i++)
        changed[i] = (char *)names[i]; /* sd-bus takes a strv and writes nothing */
    (void)sd_bus_emit_properties_changed_strv(b->bus, INK_BUS_PATH, INK_BUS_MANAGER, changed);
}

void ink_bus_memory_enabled_changed(InkBus *b)
{
    (void)sd_bus_emit_properties_changed(b->bus, INK_BUS_PATH, INK_BUS_MEMORY, "Enabled", NULL);
}

int ink_bus_release_name(InkBus *b, InkError *reterr)
{
    int r = sd_bus_release_name(b->bus, INK_BUS_NAME);
    INK_CHECK(r >= 0, -r, reterr, "the name %s: %s", INK_BUS_NAME, strerror(-r));
    return 0;
}

bool ink_bus_is_quiet(const InkBus *b)
{
    return b->requests == NULL && b->sessions == NULL && b->calls == NULL &&
           !ink_callers_any_parked(b->callers);
}

uint64_t ink_bus_n_unread(const InkBus *b)
{
    uint64_t n = 0;
    (void)sd_bus_get_n_queued_read(b->bus, &n);
    return n;
}

uint64_t ink_bus_last_call_usec(const InkBus *b)
{
    return b->last_call_usec;
}

void ink_bus_set_pipe_stall(InkBus *b, uint64_t span_usec)
{
    b->pipe_stall_usec = span_usec;
}

void ink_bus_stop_accepting(InkBus *b)
{
    b->stopping = true;
}
