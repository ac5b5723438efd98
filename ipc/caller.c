/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/caller.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "ipc/bus-errors.h"

#define CREDENTIALS_USEC 5000000u

typedef struct InkParkedCall {
    struct InkParkedCall *next;
    sd_bus_message *m;
    InkCallerHandler *handler;
} InkParkedCall;

struct InkCallers {
    sd_bus *bus;
    InkCallerGone *gone;
    void *userdata;
    InkCallerEntry *first;
    size_t n;
};

/* ----------------------------------------------------------------- entries */

static void free_parked(InkCallerEntry *e)
{
    while (e->parked != NULL) {
        InkParkedCall *p = e->parked;
        e->parked = p->next;
        sd_bus_message_unref(p->m);
        free(p);
    }
    e->parked_end = &e->parked;
}

static void free_entry(InkCallerEntry *e)
{
    free_parked(e);
    sd_bus_slot_unref(e->gone_match);
    sd_bus_slot_unref(e->credentials_call);
    free(e);
}

static void remove_entry(InkCallers *c, InkCallerEntry *e)
{
    for (InkCallerEntry **at = &c->first; *at != NULL; at = &(*at)->next)
        if (*at == e) {
            *at = e->next;
            c->n--;
            break;
        }
    c->gone(c->userdata, e);
    free_entry(e);
}

int ink_callers_new(sd_bus *bus, InkCallerGone *gone, void *userdata, InkCallers **ret)
{
    InkCallers *c = ink_alloc_array(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    c->bus = bus;
    c->gone = gone;
    c->userdata = userdata;
    *ret = c;
    return 0;
}

InkCallers *ink_callers_free(InkCallers *c)
{
    if (c == NULL)
        return NULL;
    while (c->first != NULL)
        remove_entry(c, c->first);
    free(c);
    return NULL;
}

InkCallerEntry *ink_callers_find(InkCallers *c, const char *sender)
{
    if (sender == NULL)
        return NULL;
    for (InkCallerEntry **at = &c->first; *at != NULL; at = &(*at)->next)
        if (strcmp((*at)->sender, sender) == 0) {
            InkCallerEntry *e = *at; /* to the front: who calls will call again */
            *at = e->next;
            e->next = c->first;
            c->first = e;
            return e;
        }
    return NULL;
}

/* ---------------------------------------------------------------- identity */

static void clean_name(char *name)
{
    for (char *p = name; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7F || *p == '/')
            *p = '_';
    if (name[0] == '\0' || !ink_utf8_valid(name, strlen(name)))
        strcpy(name, "unknown");
}

/* The program's file name; the process name where the link is not readable. */
static void read_app_id(uint32_t pid, char out[96])
{
    char path[64], name[4096] = "";
    snprintf(path, sizeof(path), "/proc/%u/exe", pid);
    ssize_t n = pid != 0 ? readlink(path, name, sizeof(name) - 1) : -1;
    if (n <= 0 && pid != 0) {
        snprintf(path, sizeof(path), "/proc/%u/comm", pid);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        n = fd >= 0 ? read(fd, name, 64) : -1;
        if (n > 0 && name[n - 1] == '\n')
            n--;
    }
    name[n > 0 ? n : 0] = '\0';
    char *base = strrchr(name, '/');
    base = base != NULL ? base + 1 : name;
    char *deleted = strstr(base, " (deleted)"); /* the file was replaced while it ran */
    if (deleted != NULL)
        *deleted = '\0';
    base[strnlen(base, 64)] = '\0';
    clean_name(base);
    snprintf(out, 96, "exe:%.80s", base);
}

static int read_credentials(sd_bus_message *reply, uint32_t *ret_uid, uint32_t *ret_pid)
{
    uint32_t uid = UINT32_MAX, pid = 0;
    int r = sd_bus_message_enter_container(reply, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
        const char *key;
        r = sd_bus_message_read_basic(reply, 's', &key);
        if (r <= 0)
            return -EBADMSG;
        if (strcmp(key, "UnixUserID") == 0)
            r = sd_bus_message_read(reply, "v", "u", &uid);
        else if (strcmp(key, "ProcessID") == 0)
            r = sd_bus_message_read(reply, "v", "u", &pid);
        else
            r = sd_bus_message_skip(reply, "v");
        if (r < 0 || sd_bus_message_exit_container(reply) < 0)
            return -EBADMSG;
    }
    *ret_uid = uid;
    *ret_pid = pid;
    return r;
}

static int refuse(sd_bus_error *reterr)
{
    return sd_bus_error_set(reterr, SD_BUS_ERROR_ACCESS_DENIED,
                            "only the user that the service runs for may call it");
}

/* Runs what was parked, in order. A handler may not free the entry. */
static void run_parked(InkCallers *c, InkCallerEntry *e)
{
    InkParkedCall *p = e->parked;
    e->parked = NULL;
    e->parked_end = &e->parked;
    while (p != NULL) {
        InkParkedCall *next = p->next;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = e->refused ? refuse(&error) : p->handler(c->userdata, e, p->m, &error);
        if (sd_bus_error_is_set(&error))
            (void)sd_bus_reply_method_error(p->m, &error);
        else if (r < 0)
            (void)sd_bus_reply_method_errno(p->m, r, NULL);
        sd_bus_error_free(&error);
        sd_bus_message_unref(p->m);
        free(p);
        p = next;
    }
}

static int on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkCallerEntry *e = userdata;
    InkCallers *c = e->callers;
    uint32_t uid, pid;
    (void)reterr;
    /* The match was installed before, so that who leaves after this answer is noticed. */
    if (sd_bus_message_is_method_error(reply, NULL) || read_credentials(reply, &uid, &pid) < 0) {
        e->refused = true; /* most likely it left; else nobody knows who it is */
        run_parked(c, e);
        remove_entry(c, e);
        return 1;
    }
    e->refused = uid != geteuid();
    read_app_id(pid, e->app_id);
    e->known = true;
    run_parked(c, e);
    return 1;
}

static int on_name_owner(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkCallerEntry *e = userdata;
    const char *name, *before, *after;
    (void)reterr;
    if (sd_bus_message_read(m, "sss", &name, &before, &after) > 0 && strcmp(name, e->sender) == 0 &&
        after[0] == '\0')
        remove_entry(e->callers, e);
    return 0;
}

static int new_entry(InkCallers *c, const char *sender, InkCallerEntry **ret)
{
    char match[256];
    if (strlen(sender) >= sizeof((*ret)->sender) || c->n >= INK_CALLERS_MAX)
        return -E2BIG;
    InkCallerEntry *e = ink_alloc_array(1, sizeof(*e));
    if (e == NULL)
        return -ENOMEM;
    strcpy(e->sender, sender);
    e->caller = (InkCaller){e->sender, e->app_id, INK_CALLER_HOST};
    e->parked_end = &e->parked;
    e->callers = c;
    snprintf(match, sizeof(match),
             "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
             "member='NameOwnerChanged',arg0='%s'",
             sender);
    int r = sd_bus_add_match_async(c->bus, &e->gone_match, match, on_name_owner, NULL, e);
    sd_bus_message *m = NULL;
    if (r >= 0)
        r = sd_bus_message_new_method_call(c->bus, &m, "org.freedesktop.DBus",
                                           "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                           "GetConnectionCredentials");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", sender);
    if (r >= 0)
        r = sd_bus_call_async(c->bus, &e->credentials_call, m, on_credentials, e, CREDENTIALS_USEC);
    sd_bus_message_unref(m);
    if (r < 0) {
        free_entry(e);
        return r;
    }
    e->next = c->first;
    c->first = e;
    c->n++;
    *ret = e;
    return 0;
}

static int park(InkCallerEntry *e, sd_bus_message *m, InkCallerHandler *handler)
{
    size_t n = 0;
    for (InkParkedCall *p = e->parked; p != NULL; p = p->next)
        n++;
    if (n >= INK_CALLER_MAX_CALLS)
        return -E2BIG;
    InkParkedCall *p = ink_alloc_array(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->m = sd_bus_message_ref(m);
    p->handler = handler;
    *e->parked_end = p;
    e->parked_end = &p->next;
    return 1;
}

int ink_callers_dispatch(InkCallers *c, sd_bus_message *m, InkCallerHandler *handler,
                         sd_bus_error *reterr)
{
    const char *sender = sd_bus_message_get_sender(m);
    InkError error = {0};
    int r = 0;
    if (sender == NULL)
        return refuse(reterr);
    InkCallerEntry *e = ink_callers_find(c, sender);
    if (e == NULL)
        r = new_entry(c, sender, &e);
    if (r == 0 && e->known)
        return e->refused ? refuse(reterr) : handler(c->userdata, e, m, reterr);
    if (r == 0)
        r = park(e, m, handler);
    if (r >= 0)
        return 1;
    (void)ink_error_raise(&error, r == -E2BIG ? E2BIG : ENOMEM,
                          r == -E2BIG ? "more than %u connections, or %u unanswered calls of one"
                                      : "out of memory for a caller (%u connections, %u calls)",
                          INK_CALLERS_MAX, INK_CALLER_MAX_CALLS);
    return ink_bus_error_set(reterr, &error);
}
