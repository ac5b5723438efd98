/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/permissions.h"

#include <glib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/store-permissions.h"
#include "engine/base/alloc.h"
#include "ipc/identity.h"

typedef struct App {
    unsigned n_present; /* connections */
    InkDecision decisions[INK_PERMISSION_MAX];
} App;

struct InkPermissions {
    InkStoreThread *store;
    GHashTable *apps; /* app id -> App, owned; only those with a decision or a connection */
    void (*loaded)(void *userdata);
    void *userdata;
    bool is_complete; /* the store's rows are in */
};

/* ----------------------------------------------------------------- defaults */

static bool is_http_bridge(const char *app_id)
{
    return strcmp(app_id, "exe:inkling-http") == 0 || strcmp(app_id, "app:inkling-http") == 0 ||
           strcmp(app_id, "unit:inkling-http.service") == 0;
}

static bool is_default_allowed(const char *app_id, InkCallerKind kind, InkPermission permission)
{
    if (kind != INK_CALLER_HOST || permission == INK_PERMISSION_MEMORY_SHARED)
        return false;
    return !is_http_bridge(app_id) ||
           (permission != INK_PERMISSION_MEMORY && permission != INK_PERMISSION_PERSONALIZE &&
            permission != INK_PERMISSION_MANAGE);
}

static bool is_allowed(const App *app, const char *app_id, InkCallerKind kind,
                       InkPermission permission)
{
    InkDecision decision = app != NULL ? app->decisions[permission] : INK_DECISION_DEFAULT;
    if (kind == INK_CALLER_UNKNOWN ||
        (kind != INK_CALLER_HOST && permission == INK_PERMISSION_MANAGE))
        return false;
    return decision == INK_DECISION_DEFAULT ? is_default_allowed(app_id, kind, permission)
                                            : decision == INK_DECISION_ALLOW;
}

bool ink_permissions_allow(const InkPermissions *p, const InkCaller *caller,
                           InkPermission permission)
{
    if (permission == INK_PERMISSION_NONE)
        return true;
    return is_allowed(g_hash_table_lookup(p->apps, caller->app_id), caller->app_id, caller->kind,
                      permission);
}

/* ------------------------------------------------------------- applications */

static App *get_app(InkPermissions *p, const char *app_id)
{
    App *app = g_hash_table_lookup(p->apps, app_id);
    if (app == NULL) {
        app = g_new0(App, 1);
        g_hash_table_insert(p->apps, g_strdup(app_id), app);
    }
    return app;
}

static void drop_if_idle(InkPermissions *p, const char *app_id)
{
    const App *app = g_hash_table_lookup(p->apps, app_id);
    if (app == NULL || app->n_present > 0)
        return;
    for (size_t i = 0; i < INK_PERMISSION_MAX; i++)
        if (app->decisions[i] != INK_DECISION_DEFAULT)
            return;
    g_hash_table_remove(p->apps, app_id);
}

static void decide(InkPermissions *p, const char *app_id, InkPermission permission,
                   InkDecision decision)
{
    get_app(p, app_id)->decisions[permission] = decision;
    drop_if_idle(p, app_id);
}

void ink_permissions_caller_known(InkPermissions *p, const InkCaller *caller)
{
    get_app(p, caller->app_id)->n_present++;
}

void ink_permissions_caller_gone(InkPermissions *p, const InkCaller *caller)
{
    App *app = g_hash_table_lookup(p->apps, caller->app_id);
    if (app == NULL || app->n_present == 0)
        return;
    app->n_present--;
    drop_if_idle(p, caller->app_id);
}

/* -------------------------------------------------------------------- store */

static void on_listed(void *userdata, const InkError *error, const InkStoredPermission *rows,
                      size_t n_rows)
{
    InkPermissions *p = userdata;
    InkCallerKind kind;
    if (error != NULL)
        ink_log_warning("permissions: %s; defaults hold", error->message);
    for (size_t i = 0; error == NULL && i < n_rows; i++)
        if (rows[i].permission > INK_PERMISSION_NONE && rows[i].permission < INK_PERMISSION_MAX &&
            ink_identity_kind_of(rows[i].app, &kind) == 0)
            decide(p, rows[i].app, (InkPermission)rows[i].permission,
                   rows[i].allowed ? INK_DECISION_ALLOW : INK_DECISION_DENY);
    p->is_complete = error == NULL;
    if (p->loaded != NULL)
        p->loaded(p->userdata);
    p->loaded = NULL;
}

int ink_permissions_new(InkStoreThread *store, void (*loaded)(void *userdata), void *userdata,
                        InkPermissions **ret, InkError *reterr)
{
    _cleanup_(ink_permissions_free_p) InkPermissions *p = ink_alloc_array(1, sizeof *p);
    INK_CHECK(p != NULL, ENOMEM, reterr, "out of memory");
    p->store = store;
    p->loaded = loaded;
    p->userdata = userdata;
    p->apps = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    INK_TRY(ink_store_job_list_permissions(store, on_listed, p, reterr));
    *ret = INK_TAKE(p);
    return 0;
}

InkPermissions *ink_permissions_free(InkPermissions *p)
{
    if (p == NULL)
        return NULL;
    g_clear_pointer(&p->apps, g_hash_table_unref);
    free(p);
    return NULL;
}

typedef struct Change {
    InkPermissions *permissions;
    InkPermission permission;
    InkDecision decision;
    InkDoneReply *reply;
    void *userdata;
    char app_id[INK_IDENTITY_MAX_BYTES + 1];
} Change;

static void on_set(void *userdata, const InkError *error)
{
    g_autofree Change *c = userdata;
    InkPermissions *p = c->permissions;
    if (error == NULL) {
        decide(p, c->app_id, c->permission, c->decision);
        /* The store works again: what it could not say at the start. */
        if (!p->is_complete)
            (void)!ink_store_job_list_permissions(p->store, on_listed, p, NULL);
    }
    c->reply(c->userdata, error);
}

int ink_permissions_set(InkPermissions *p, const char *app_id, InkPermission permission,
                        InkDecision decision, InkDoneReply *reply, void *userdata, InkError *reterr)
{
    InkCallerKind kind;
    INK_CHECK(ink_identity_kind_of(app_id, &kind) == 0, EINVAL, reterr,
              "app_id is none that a caller can have; ListPermissions tells those that are there");
    INK_CHECK(decision != INK_DECISION_ALLOW || kind != INK_CALLER_UNKNOWN, EACCES, reterr,
              "what is sandboxed and does not tell as what is never allowed anything");
    INK_CHECK(decision != INK_DECISION_ALLOW || kind == INK_CALLER_HOST ||
                  permission != INK_PERMISSION_MANAGE,
              EACCES, reterr, "manage is never given to a sandboxed application");
    g_autofree Change *c = g_new0(Change, 1);
    *c = (Change){p, permission, decision, reply, userdata, ""};
    memcpy(c->app_id, app_id, strlen(app_id) + 1);
    INK_TRY(
        ink_store_job_set_permission(p->store, app_id, permission, decision, on_set, c, reterr));
    g_steal_pointer(&c);
    return 0;
}

/* --------------------------------------------------------------------- list */

int ink_permissions_list(const InkPermissions *p, const InkCaller *caller,
                         void (*each)(void *userdata, const char *app_id, InkPermission permission,
                                      InkDecision decision, bool allowed),
                         void *userdata, InkError *reterr)
{
    (void)reterr;
    bool sees_all = ink_permissions_allow(p, caller, INK_PERMISSION_MANAGE);
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(p->apps), (GCompareFunc)strcmp);
    for (GList *at = names; at != NULL; at = at->next) {
        const char *app_id = at->data;
        const App *app = g_hash_table_lookup(p->apps, app_id);
        InkCallerKind kind = INK_CALLER_UNKNOWN;
        if ((!sees_all && strcmp(app_id, caller->app_id) != 0) ||
            ink_identity_kind_of(app_id, &kind) < 0)
            continue;
        for (InkPermission i = INK_PERMISSION_TEXT; i < INK_PERMISSION_MAX; i++)
            each(userdata, app_id, i, app->decisions[i], is_allowed(app, app_id, kind, i));
    }
    return 0;
}
