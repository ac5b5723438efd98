/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who may what, on the bus: the one refusal, ListPermissions and SetPermission. */
#include <string.h>

#include "ipc/bus-private.h"

const char *const ink_permission_words[] = {
    "text", "embedding", "recommendation", "memory", "memory-shared", "personalize", "manage", NULL,
};
_Static_assert(sizeof(ink_permission_words) / sizeof(ink_permission_words[0]) ==
                   INK_PERMISSION_MAX - INK_PERMISSION_TEXT + 1,
               "a word for each permission");

static const char *word_of(InkPermission permission)
{
    return ink_permission_words[permission - INK_PERMISSION_TEXT];
}

/* Whole and as it is: programs may be named so that a shell reads something else. */
static bool fits_command(const char *app_id)
{
    size_t n =
        strspn(app_id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._@-");
    return n <= 120 && app_id[n] == '\0';
}

int ink_bus_check_permission(InkBus *b, const InkCallerEntry *who, InkPermission permission,
                             InkError *reterr)
{
    const InkCaller *c = &who->caller;
    if (permission == INK_PERMISSION_NONE || b->ops->permitted(b->service, c, permission))
        return 0;
    if (c->kind == INK_CALLER_UNKNOWN)
        return INK_RAISE(EACCES, reterr,
                         "%s is denied: this caller is sandboxed and does not tell as what",
                         word_of(permission));
    if (c->kind != INK_CALLER_HOST && permission == INK_PERMISSION_MANAGE)
        return INK_RAISE(EACCES, reterr, "manage is never given to a sandboxed application");
    if (!fits_command(c->app_id))
        return INK_RAISE(EACCES, reterr,
                         "%s is denied to this application; the user allows it with: "
                         "inkling app allow ID %s, and inkling app list shows the ID",
                         word_of(permission), word_of(permission));
    return INK_RAISE(EACCES, reterr,
                     "%s is denied to this application; the user allows it with: "
                     "inkling app allow %s %s",
                     word_of(permission), c->app_id, word_of(permission));
}

/* ------------------------------------------------------------------ methods */

typedef struct PermissionList {
    sd_bus_message *reply;
    int r;
} PermissionList;

static void each_permission(void *userdata, const char *app_id, InkPermission permission,
                            InkDecision decision, bool allowed)
{
    PermissionList *list = userdata;
    const char *word = decision == INK_DECISION_DEFAULT ? allowed ? "default-allow" : "default-deny"
                       : allowed                        ? "allow"
                                                        : "deny";
    if (list->r >= 0)
        list->r = sd_bus_message_append(list->reply, "(sss)", app_id, word_of(permission), word);
}

static int list_permissions(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_BUS_TRY(sd_bus_message_new_method_return(m, &reply), reterr);
    INK_BUS_TRY(sd_bus_message_open_container(reply, 'a', "(sss)"), reterr);
    PermissionList list = {reply, 0};
    INK_TRY(b->ops->list_permissions(b->service, &who->caller, each_permission, &list, reterr));
    INK_BUS_TRY(list.r, reterr);
    INK_BUS_TRY(sd_bus_message_close_container(reply), reterr);
    INK_BUS_TRY(sd_bus_send(b->bus, reply, NULL), reterr);
    return 0;
}

static size_t index_of(const char *const *words, const char *word)
{
    size_t i = 0;
    while (words[i] != NULL && strcmp(words[i], word) != 0)
        i++;
    return i;
}

static int set_permission(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    static const char *const decisions[] = {"reset", "allow", "deny", NULL}; /* as InkDecision */
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    const char *app_id = "", *permission = "", *decision = "";
    INK_TRY(ink_options_read_string(m, "app_id", &app_id, reterr));
    INK_TRY(ink_options_read_word(m, "permission", ink_permission_words, &permission, reterr));
    INK_TRY(ink_options_read_word(m, "decision", decisions, &decision, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    InkCall *call = c;
    int r = b->ops->set_permission(
        b->service, &who->caller, app_id,
        (InkPermission)(INK_PERMISSION_TEXT + index_of(ink_permission_words, permission)),
        (InkDecision)index_of(decisions, decision), ink_call_on_done, call, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c);
    return 0;
}

const InkBusMethod ink_permission_methods[] = {
    {"ListPermissions", INK_PERMISSION_NONE, list_permissions},
    {"SetPermission", INK_PERMISSION_MANAGE, set_permission},
    {NULL, INK_PERMISSION_NONE, NULL},
};
