/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/admission.h"

#include <glib.h>
#include <string.h>

#include "daemon/bounds.h"
#include "engine/base/alloc.h"

/* One program, while it has requests here. */
typedef struct App {
    uint32_t n_queued, n_running;
    uint64_t last_turn; /* when it was served last, in turns */
} App;

struct InkAdmission {
    InkRequest *queued[INK_LIMIT_QUEUED];
    size_t n_queued;
    size_t n_pending_bytes;
    uint64_t turn;
    uint64_t order;
    GHashTable *apps;    /* app id -> App */
    GHashTable *running; /* set of InkRequest * */
};

InkAdmission *ink_admission_new(void)
{
    InkAdmission *a = ink_alloc_array(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->apps = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    a->running = g_hash_table_new(g_direct_hash, g_direct_equal);
    return a;
}

InkAdmission *ink_admission_free(InkAdmission *a)
{
    if (a == NULL)
        return NULL;
    g_hash_table_unref(a->apps);
    g_hash_table_unref(a->running);
    free(a);
    return NULL;
}

static App *get_app(const InkAdmission *a, const InkRequest *r)
{
    return g_hash_table_lookup(a->apps, r->app_id);
}

int ink_admission_add(InkAdmission *a, InkRequest *r, uint64_t now_usec, InkError *reterr)
{
    App *app = get_app(a, r);
    INK_CHECK(a->n_queued < INK_LIMIT_QUEUED, EBUSY, reterr,
              "%u requests wait already, of all programs", INK_LIMIT_QUEUED);
    INK_CHECK(app == NULL || app->n_queued + app->n_running < INK_LIMIT_PENDING_PER_APP, EBUSY,
              reterr, "%u requests of this program run or wait already, the limit",
              INK_LIMIT_PENDING_PER_APP);
    INK_CHECK(a->n_pending_bytes + r->bulk_bytes <= INK_LIMIT_PENDING_BYTES, EBUSY, reterr,
              "the prompts that wait hold more than %u MiB together",
              INK_LIMIT_PENDING_BYTES >> 20);
    if (app == NULL) {
        app = g_new0(App, 1);
        app->last_turn = a->turn; /* the end of this round */
        g_hash_table_insert(a->apps, g_strdup(r->app_id), app);
    }
    r->order = ++a->order;
    r->queued_usec = now_usec;
    a->queued[a->n_queued++] = r;
    a->n_pending_bytes += r->bulk_bytes;
    app->n_queued++;
    return 0;
}

/* The class it counts as now. */
static InkPriority effective_class(const InkRequest *r, uint64_t now_usec)
{
    if (r->priority == INK_PRIORITY_NORMAL && now_usec - r->queued_usec >= INK_LIMIT_PROMOTE_USEC)
        return INK_PRIORITY_INTERACTIVE;
    return r->priority;
}

static bool goes_before(const InkAdmission *a, const InkRequest *x, const InkRequest *y,
                        uint64_t now_usec)
{
    InkPriority class_x = effective_class(x, now_usec), class_y = effective_class(y, now_usec);
    if (class_x != class_y)
        return class_x < class_y;
    const App *app_x = get_app(a, x), *app_y = get_app(a, y);
    if (app_x->last_turn != app_y->last_turn)
        return app_x->last_turn < app_y->last_turn;
    return x->order < y->order;
}

static bool foreground_runs(const InkAdmission *a)
{
    GHashTableIter i;
    gpointer key;
    g_hash_table_iter_init(&i, a->running);
    while (g_hash_table_iter_next(&i, &key, NULL))
        if (((const InkRequest *)key)->priority != INK_PRIORITY_BACKGROUND)
            return true;
    return false;
}

/* A lower class never keeps a better one out: the worker holds places for that (scheduler.h), and
 * background stands back there, so that it does not even count among its own program's. Counted
 * afresh, since the class of a running request may change. */
static bool may_start(const InkAdmission *a, const InkRequest *r)
{
    if (ink_request_is_short(r))
        return true;
    size_t n_before = 0, n_of_app = 0;
    GHashTableIter i;
    gpointer key;
    g_hash_table_iter_init(&i, a->running);
    while (g_hash_table_iter_next(&i, &key, NULL)) {
        const InkRequest *other = key;
        if (ink_request_is_short(other))
            continue;
        bool stands_back =
            other->priority == INK_PRIORITY_BACKGROUND && other->priority > r->priority;
        n_before += other->priority <= r->priority;
        n_of_app += !stands_back && strcmp(other->app_id, r->app_id) == 0;
    }
    if (n_before >= INK_LIMIT_RUNNING || n_of_app >= INK_LIMIT_RUNNING_PER_APP)
        return false;
    return r->priority != INK_PRIORITY_BACKGROUND || !foreground_runs(a);
}

InkRequest *ink_admission_next(InkAdmission *a, uint64_t now_usec)
{
    InkRequest *best = NULL;
    for (size_t i = 0; i < a->n_queued; i++)
        if (may_start(a, a->queued[i]) &&
            (best == NULL || goes_before(a, a->queued[i], best, now_usec)))
            best = a->queued[i];
    return best;
}

static bool take_from_queue(InkAdmission *a, InkRequest *r)
{
    for (size_t i = 0; i < a->n_queued; i++) {
        if (a->queued[i] != r)
            continue;
        a->n_queued--;
        for (size_t j = i; j < a->n_queued; j++)
            a->queued[j] = a->queued[j + 1];
        get_app(a, r)->n_queued--;
        return true;
    }
    return false;
}

void ink_admission_start(InkAdmission *a, InkRequest *r)
{
    if (!take_from_queue(a, r))
        return;
    App *app = get_app(a, r);
    g_hash_table_add(a->running, r);
    if (ink_request_is_short(r))
        return;
    app->n_running++;
    app->last_turn = ++a->turn;
}

void ink_admission_remove(InkAdmission *a, InkRequest *r)
{
    App *app = get_app(a, r);
    bool ran = g_hash_table_remove(a->running, r);
    if (ran && !ink_request_is_short(r))
        app->n_running--;
    if (!ran && !take_from_queue(a, r))
        return;
    a->n_pending_bytes -= r->bulk_bytes;
    if (app != NULL && app->n_queued == 0 && app->n_running == 0)
        g_hash_table_remove(a->apps, r->app_id);
}

size_t ink_admission_n_queued(const InkAdmission *a)
{
    return a->n_queued;
}

size_t ink_admission_n_running(const InkAdmission *a)
{
    return g_hash_table_size(a->running);
}

uint32_t ink_admission_position(const InkAdmission *a, const InkRequest *r, uint64_t now_usec)
{
    uint32_t n_before = 0;
    bool found = false;
    for (size_t i = 0; i < a->n_queued; i++) {
        if (a->queued[i] == r)
            found = true;
        else if (goes_before(a, a->queued[i], r, now_usec))
            n_before++;
    }
    return found ? n_before + 1 : 0;
}
