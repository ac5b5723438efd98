/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/caller.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "ipc/bus-errors.h"
#include "ipc/message-weight.h"
#include "ipc/names.h"

#define CREDENTIALS_USEC 5000000u
#define N_CONFIRMED      2u

typedef struct InkParkedCall {
    struct InkParkedCall *next;
    sd_bus_message *m;
    InkCallerHandler *handler;
    size_t n_bytes;
} InkParkedCall;

struct InkCallers {
    sd_bus *bus;
    InkCallerChange *known, *gone;
    void *userdata;
    /* Folders of processes that are on the host: our own, and the bus's, which is outside of what
     * a unit of ours may be locked into. -1 = not there. */
    int own_process_fd, bus_process_fd;
    sd_bus_slot *bus_call;
    InkCallerEntry *first;
    size_t n;
    size_t parked_bytes; /* of all */
};

/* ----------------------------------------------------------------- entries */

static void free_parked(InkCallerEntry *e)
{
    while (e->parked != NULL) {
        InkParkedCall *p = e->parked;
        e->parked = p->next;
        e->callers->parked_bytes -= p->n_bytes;
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
    sd_bus_slot_unref(e->pid_call);
    if (e->pidfd >= 0)
        close(e->pidfd);
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

/* Sent first, so that it is answered before anything is asked about a caller. A bus that does not
 * tell leaves only our own process to compare with. */
static int on_bus_process(sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkCallers *c = userdata;
    uint32_t pid;
    (void)reterr;
    if (!sd_bus_message_is_method_error(reply, NULL) && sd_bus_message_read(reply, "u", &pid) > 0 &&
        ink_identity_open_process(pid, &c->bus_process_fd) < 0)
        c->bus_process_fd = -1;
    return 1;
}

int ink_callers_new(sd_bus *bus, InkCallerChange *known, InkCallerChange *gone, void *userdata,
                    InkCallers **ret)
{
    _cleanup_(ink_callers_free_p) InkCallers *c = ink_alloc_array(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    c->bus = bus;
    c->known = known;
    c->gone = gone;
    c->userdata = userdata;
    c->bus_process_fd = -1;
    c->own_process_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    INK_TRY(sd_bus_call_method_async(
        bus, &c->bus_call, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
        "GetConnectionUnixProcessID", on_bus_process, c, "s", "org.freedesktop.DBus"));
    *ret = INK_TAKE(c);
    return 0;
}

InkCallers *ink_callers_free(InkCallers *c)
{
    if (c == NULL)
        return NULL;
    while (c->first != NULL)
        remove_entry(c, c->first);
    sd_bus_slot_unref(c->bus_call);
    if (c->own_process_fd >= 0)
        close(c->own_process_fd);
    if (c->bus_process_fd >= 0)
        close(c->bus_process_fd);
    free(c);
    return NULL;
}

bool ink_callers_any_parked(const InkCallers *c)
{
    for (const InkCallerEntry *e = c->first; e != NULL; e = e->next)
        if (e->parked != NULL)
            return true;
    return false;
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

static const char other_user[] = "only the user that the service runs for may call it";
static const char not_told[] =
    "who made this connection cannot be told: the process ended, or gave "
    "its connection away; connect again";

typedef struct Credentials {
    uint32_t uid, pid;
    char label[256]; /* "" = none, or none that could be a snap's */
    int process_fd;  /* owned by the message; -1 = this bus has none */
} Credentials;

static int read_label(sd_bus_message *reply, char out[static 256])
{
    const void *label;
    size_t n;
    INK_TRY(sd_bus_message_enter_container(reply, 'v', "ay"));
    INK_TRY(sd_bus_message_read_array(reply, 'y', &label, &n));
    /* A longer one, or one with a NUL inside, is kept as far as it goes and then fits nothing. */
    snprintf(out, 256, "%.*s", n < 255 ? (int)n : 255, n != 0 ? (const char *)label : "");
    return sd_bus_message_exit_container(reply);
}

static int read_credentials(sd_bus_message *reply, Credentials *ret)
{
    Credentials c = {.uid = UINT32_MAX, .process_fd = -1};
    int r = sd_bus_message_enter_container(reply, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
        const char *key;
        r = sd_bus_message_read_basic(reply, 's', &key);
        if (r <= 0)
            return -EBADMSG;
        if (strcmp(key, "UnixUserID") == 0)
            r = sd_bus_message_read(reply, "v", "u", &c.uid);
        else if (strcmp(key, "ProcessID") == 0)
            r = sd_bus_message_read(reply, "v", "u", &c.pid);
        else if (strcmp(key, "ProcessFD") == 0)
            r = sd_bus_message_read(reply, "v", "h", &c.process_fd);
        else if (strcmp(key, "LinuxSecurityLabel") == 0)
            r = read_label(reply, c.label);
        else
            r = sd_bus_message_skip(reply, "v");
        if (r < 0 || sd_bus_message_exit_container(reply) < 0)
            return -EBADMSG;
    }
    if (r >= 0)
        *ret = c;
    return r;
}

static int refuse(const InkCallerEntry *e, sd_bus_error *reterr)
{
    return sd_bus_error_set(reterr, SD_BUS_ERROR_ACCESS_DENIED, e != NULL ? e->refusal : not_told);
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
        int r = e->refusal != NULL ? refuse(e, &error) : p->handler(c->userdata, e, p->m, &error);
        if (sd_bus_error_is_set(&error))
            (void)sd_bus_reply_method_error(p->m, &error);
        else if (r < 0)
            (void)sd_bus_reply_method_errno(p->m, r, NULL);
        sd_bus_error_free(&error);
        sd_bus_message_unref(p->m);
        c->parked_bytes -= p->n_bytes;
        free(p);
        p = next;
    }
}

static int conclude(InkCallerEntry *e, const char *refusal)
{
    InkCallers *c = e->callers;
    if (e->pidfd >= 0)
        close(INK_TAKE_FD(e->pidfd));
    e->refusal = refusal;
    e->caller.kind = e->identity.kind;
    e->known = true;
    if (refusal == NULL)
        c->known(c->userdata, e);
    run_parked(c, e);
    return 1;
}

/* Nothing is known of it: most likely it left. A later call asks anew. */
static int give_up(InkCallerEntry *e)
{
    InkCallers *c = e->callers;
    e->refusal = not_told;
    run_parked(c, e);
    remove_entry(c, e);
    return 1;
}

static int ask_again(InkCallerEntry *e);

static int on_pid(sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkCallerEntry *e = userdata;
    uint32_t pid = 0;
    (void)reterr;
    if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "u", &pid) <= 0)
        return give_up(e);
    if (pid != e->pid || !ink_identity_is_alive(e->pidfd))
        return conclude(e, not_told);
    if (++e->n_confirmed == N_CONFIRMED)
        return conclude(e, NULL);
    return ask_again(e) < 0 ? give_up(e) : 1;
}

static int ask_again(InkCallerEntry *e)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    INK_TRY(sd_bus_message_new_method_call(e->callers->bus, &m, "org.freedesktop.DBus",
                                           "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                           "GetConnectionUnixProcessID"));
    INK_TRY(sd_bus_message_append(m, "s", e->sender));
    e->pid_call = sd_bus_slot_unref(e->pid_call);
    return sd_bus_call_async(e->callers->bus, &e->pid_call, m, on_pid, e, CREDENTIALS_USEC);
}

/* Reads who the process of e->pidfd is. */
static int look_at_process(InkCallerEntry *e, const char *label, bool is_pinned)
{
    InkCallers *c = e->callers;
    _cleanup_close_ int process_fd = -1;
    uint64_t started_usec;
    const int host_fds[] = {c->own_process_fd, c->bus_process_fd};
    INK_TRY(ink_identity_open_process(e->pid, &process_fd));
    if (!is_pinned) {
        INK_TRY(ink_identity_started_usec(process_fd, &started_usec));
        if (started_usec > e->called_usec || !ink_identity_has_socket(process_fd))
            return -ESRCH;
    }
    ink_identity_read(process_fd, label, host_fds, 2, &e->identity);
    /* Alive after the folder was opened: the folder was its own. */
    return ink_identity_is_alive(e->pidfd) ? 0 : -ESRCH;
}

static int on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    InkCallerEntry *e = userdata;
    Credentials c;
    (void)reterr;
    /* The match was installed before, so that who leaves after this answer is noticed. */
    if (sd_bus_message_is_method_error(reply, NULL) || read_credentials(reply, &c) < 0)
        return give_up(e);
    if (c.uid != geteuid())
        return conclude(e, other_user);
    bool is_pinned = c.process_fd >= 0;
    int r;
    e->pid = c.pid;
    if (is_pinned) {
        e->pidfd = fcntl(c.process_fd, F_DUPFD_CLOEXEC, 3);
        r = e->pidfd >= 0 ? ink_identity_pid_of(e->pidfd, &e->pid) : -errno;
    } else
        r = ink_identity_open_pidfd(e->pid, &e->pidfd);
    if (r >= 0)
        r = look_at_process(e, c.label[0] != '\0' ? c.label : NULL, is_pinned);
    if (r < 0)
        return conclude(e, not_told);
    if (is_pinned)
        return conclude(e, NULL);
    return ask_again(e) < 0 ? give_up(e) : 1;
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
    e->pidfd = -1;
    e->identity = (InkIdentity){INK_CALLER_UNKNOWN, INK_IDENTITY_UNKNOWN};
    e->caller = (InkCaller){e->sender, e->identity.app_id, INK_CALLER_UNKNOWN};
    e->called_usec = ink_clock_usec(CLOCK_BOOTTIME);
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
    size_t n = 0, n_bytes = 0, n_parked_bytes = 0;
    for (InkParkedCall *p = e->parked; p != NULL; p = p->next) {
        n_parked_bytes += p->n_bytes;
        n++;
    }
    if (n >= INK_CALLER_MAX_CALLS)
        return -E2BIG;
    INK_TRY(ink_message_weigh(m, INK_BUS_MAX_CALL_BYTES, &n_bytes));
    if (n_parked_bytes + n_bytes > INK_BUS_MAX_CALLER_BYTES ||
        e->callers->parked_bytes + n_bytes > INK_BUS_MAX_KEPT_BYTES)
        return -E2BIG;
    InkParkedCall *p = ink_alloc_array(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->m = sd_bus_message_ref(m);
    p->handler = handler;
    p->n_bytes = n_bytes;
    e->callers->parked_bytes += n_bytes;
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
        return refuse(NULL, reterr);
    InkCallerEntry *e = ink_callers_find(c, sender);
    if (e == NULL)
        r = new_entry(c, sender, &e);
    if (r == 0 && e->known)
        return e->refusal != NULL ? refuse(e, reterr) : handler(c->userdata, e, m, reterr);
    if (r == 0)
        r = park(e, m, handler);
    if (r >= 0)
        return 1;
    if (r == -EBADMSG)
        return sd_bus_error_set(reterr, SD_BUS_ERROR_INVALID_ARGS, "the call is not readable");
    (void)ink_error_raise(&error, r == -E2BIG ? E2BIG : ENOMEM,
                          r == -E2BIG ? "more than %u connections, or %u unanswered calls or "
                                        "%u MiB in them of one"
                                      : "out of memory for a caller (%u connections, %u calls, "
                                        "%u MiB in them)",
                          INK_CALLERS_MAX, INK_CALLER_MAX_CALLS, INK_BUS_MAX_CALLER_BYTES >> 20);
    return ink_bus_error_set(reterr, &error);
}
