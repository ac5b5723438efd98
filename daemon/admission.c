/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/admission.h"

#include <glib.h>
#include <string.h>

#include "daemon/bounds.h"
#include "engine/base/alloc.h"

/* What a start books until its end is known; a middling answer. */
#define GUESS_USEC INK_LIMIT_GUESS_USEC

/* The quota of background slides in steps of five minutes. */
#define N_SLICES   12u
#define SLICE_USEC (INK_LIMIT_BACKGROUND_SPAN_USEC / N_SLICES)

/* One program, and for a while after its last request. */
typedef struct App {
    uint32_t n_queued, n_running;
    uint32_t n_short; /* running ones that take no place */
    size_t pending_bytes;
    uint64_t used_usec[INK_PRIORITY_MAX]; /* on a scale of its own for each class */
    uint64_t background_usec[N_SLICES];   /* by number of the slice */
    uint64_t slice;                       /* the newest of these */
    uint64_t seen_usec;
} App;

struct InkAdmission {
    InkRequest *queued[INK_LIMIT_QUEUED];
    size_t n_queued;
    size_t n_pending_bytes;
    uint64_t order;
    uint64_t floor_usec[INK_PRIORITY_MAX];   /* where a newcomer begins */
    uint64_t ceiling_usec[INK_PRIORITY_MAX]; /* the largest account ever */
    uint64_t mean_span_usec;                 /* of requests, start to end */
    bool background_held;
    GHashTable *apps;    /* app id -> App */
    GHashTable *running; /* set of InkRequest * */
};

InkAdmission *ink_admission_new(void)
{
    InkAdmission *a = ink_alloc_array(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->mean_span_usec = GUESS_USEC;
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

static App *get_app(const InkAdmission *a, const char *app_id)
{
    return g_hash_table_lookup(a->apps, app_id);
}

/* Sandboxed programs have half of each. */
static uint32_t half_if(uint32_t limit, bool sandboxed)
{
    return sandboxed ? limit / 2 : limit;
}

/* ------------------------------------------------------------------ the quota of background */

static uint64_t background_used(const App *app, uint64_t now_usec)
{
    uint64_t now = now_usec / SLICE_USEC, sum = 0;
    for (uint64_t s = app->slice; s + N_SLICES > now; s--) {
        if (s + N_SLICES > app->slice)
            sum += app->background_usec[s % N_SLICES];
        if (s == 0)
            break;
    }
    return sum;
}

static void book_background(App *app, uint64_t span_usec, uint64_t now_usec)
{
    uint64_t now = now_usec / SLICE_USEC;
    if (now >= app->slice + N_SLICES)
        memset(app->background_usec, 0, sizeof app->background_usec);
    else
        for (uint64_t s = app->slice + 1; s <= now; s++)
            app->background_usec[s % N_SLICES] = 0;
    app->slice = now;
    app->background_usec[now % N_SLICES] += span_usec;
}

uint64_t ink_admission_background_wait_usec(const InkAdmission *a, const char *app_id,
                                            bool sandboxed, uint64_t now_usec)
{
    const App *app = get_app(a, app_id);
    uint64_t quota = INK_LIMIT_BACKGROUND_USEC / (sandboxed ? 2u : 1u);
    if (app == NULL || background_used(app, now_usec) < quota)
        return 0;
    /* When enough of the oldest slices have left the hour. */
    for (uint64_t n = 1; n < N_SLICES; n++) {
        uint64_t at = (now_usec / SLICE_USEC + n) * SLICE_USEC;
        if (background_used(app, at) < quota)
            return at - now_usec;
    }
    return INK_LIMIT_BACKGROUND_SPAN_USEC;
}

/* ------------------------------------------------------------------ the door */

/* A guess for people: when one of `n_running` ends. */
static unsigned wait_seconds(const InkAdmission *a, size_t n_running)
{
    uint64_t usec = a->mean_span_usec / (n_running > 0 ? n_running : 1);
    uint64_t seconds = usec / 1000000 + 1;
    return (unsigned)(seconds < 600 ? seconds : 600);
}

static int check_app(const InkAdmission *a, const App *app, bool sandboxed, size_t bulk_bytes,
                     InkError *reterr)
{
    uint32_t most = half_if(INK_LIMIT_PENDING_PER_APP, sandboxed);
    INK_CHECK(app->n_queued + app->n_running < most, EBUSY, reterr,
              "%u requests of this program run or wait already, the limit; try again in about %u s",
              most, wait_seconds(a, app->n_running));
    uint32_t most_bytes = half_if(INK_LIMIT_PENDING_BYTES_PER_APP, sandboxed);
    INK_CHECK(app->pending_bytes + bulk_bytes <= most_bytes, EBUSY, reterr,
              "the prompts of this program that wait hold more than %u MiB together; "
              "try again in about %u s",
              most_bytes >> 20, wait_seconds(a, app->n_running));
    return 0;
}

static int check(const InkAdmission *a, const char *app_id, bool sandboxed, InkPriority priority,
                 size_t bulk_bytes, uint64_t now_usec, InkError *reterr)
{
    size_t n_running = g_hash_table_size(a->running);
    INK_CHECK(a->n_queued < INK_LIMIT_QUEUED, EBUSY, reterr,
              "%u requests wait already, of all programs; try again in about %u s",
              INK_LIMIT_QUEUED, wait_seconds(a, n_running));
    const App *app = get_app(a, app_id);
    if (app != NULL)
        INK_TRY(check_app(a, app, sandboxed, bulk_bytes, reterr));
    INK_CHECK(a->n_pending_bytes + bulk_bytes <= INK_LIMIT_PENDING_BYTES, EBUSY, reterr,
              "the prompts that wait hold more than %u MiB together; try again in about %u s",
              INK_LIMIT_PENDING_BYTES >> 20, wait_seconds(a, n_running));
    if (priority != INK_PRIORITY_BACKGROUND)
        return 0;
    uint64_t wait_usec = ink_admission_background_wait_usec(a, app_id, sandboxed, now_usec);
    INK_CHECK(wait_usec == 0, EDQUOT, reterr,
              "this program has used its %u engine seconds of background work in an hour; "
              "wait %" PRIu64 " s",
              (unsigned)(INK_LIMIT_BACKGROUND_USEC / 1000000 / (sandboxed ? 2u : 1u)),
              wait_usec / 1000000 + 1);
    return 0;
}

int ink_admission_check(InkAdmission *a, const InkCaller *caller, InkPriority priority,
                        size_t bulk_bytes, uint64_t now_usec, InkError *reterr)
{
    return check(a, caller->app_id, caller->kind != INK_CALLER_HOST, priority, bulk_bytes, now_usec,
                 reterr);
}

/* Accounts of those who are gone, the one of the longest ago first. One that still owes background
 * time goes last. */
static void make_room(InkAdmission *a, uint64_t now_usec)
{
    if (g_hash_table_size(a->apps) < INK_LIMIT_ACCOUNTS)
        return;
    GHashTableIter i;
    gpointer key, value, oldest = NULL;
    uint64_t oldest_usec = UINT64_MAX;
    g_hash_table_iter_init(&i, a->apps);
    while (g_hash_table_iter_next(&i, &key, &value)) {
        const App *app = value;
        uint64_t at = app->seen_usec +
                      (background_used(app, now_usec) > 0 ? INK_LIMIT_BACKGROUND_SPAN_USEC : 0u);
        if (app->n_queued + app->n_running + app->n_short == 0 && at < oldest_usec) {
            oldest = key;
            oldest_usec = at;
        }
    }
    if (oldest != NULL)
        g_hash_table_remove(a->apps, oldest);
}

/* ------------------------------------------------------------------ accounts */

/* The class it counts as now. */
static InkPriority effective_class(const InkRequest *r, uint64_t now_usec)
{
    if (r->priority == INK_PRIORITY_NORMAL && now_usec - r->queued_usec >= INK_LIMIT_PROMOTE_USEC)
        return INK_PRIORITY_INTERACTIVE;
    return r->priority;
}

typedef struct Busy {
    uint64_t least_usec; /* account of those who are busy in a class; UINT64_MAX = nobody */
    bool has_app;        /* the program asked about is one of them */
} Busy;

static void look(const InkAdmission *a, const InkRequest *r, const App *app, InkPriority class,
                 uint64_t now_usec, Busy *busy)
{
    if (effective_class(r, now_usec) != class)
        return;
    const App *of = get_app(a, r->app_id);
    busy->has_app |= of == app;
    if (of != app && of->used_usec[class] < busy->least_usec)
        busy->least_usec = of->used_usec[class];
}

/* Before `app` gets a request of this class. */
static void enter_class(InkAdmission *a, App *app, InkPriority class, uint64_t now_usec)
{
    Busy busy = {.least_usec = UINT64_MAX};
    for (size_t i = 0; i < a->n_queued; i++)
        look(a, a->queued[i], app, class, now_usec, &busy);
    GHashTableIter i;
    gpointer key;
    g_hash_table_iter_init(&i, a->running);
    while (g_hash_table_iter_next(&i, &key, NULL))
        look(a, key, app, class, now_usec, &busy);
    if (busy.has_app)
        return;
    /* Nobody is busy: all begin anew, and equal. */
    uint64_t least = busy.least_usec != UINT64_MAX ? busy.least_usec : a->ceiling_usec[class];
    if (least > a->floor_usec[class])
        a->floor_usec[class] = least;
    /* Who asks again right after its answer has not been idle: it keeps up to one answer's lag, or
     * programs that ask one thing after the other would lose a turn each time. */
    uint64_t least_account = a->floor_usec[class];
    if (app->seen_usec != 0 && now_usec - app->seen_usec < GUESS_USEC)
        least_account -= least_account < GUESS_USEC ? least_account : GUESS_USEC;
    if (app->used_usec[class] < least_account)
        app->used_usec[class] = least_account;
}

static void book(InkAdmission *a, App *app, InkPriority class, uint64_t more, uint64_t less)
{
    uint64_t used = app->used_usec[class] + more;
    app->used_usec[class] = used > less ? used - less : 0;
    if (app->used_usec[class] > a->ceiling_usec[class])
        a->ceiling_usec[class] = app->used_usec[class];
}

int ink_admission_add(InkAdmission *a, InkRequest *r, uint64_t now_usec, InkError *reterr)
{
    INK_TRY(check(a, r->app_id, r->is_sandboxed, r->priority, r->bulk_bytes, now_usec, reterr));
    App *app = get_app(a, r->app_id);
    if (app == NULL) {
        make_room(a, now_usec);
        app = g_new0(App, 1);
        app->slice = now_usec / SLICE_USEC;
        g_hash_table_insert(a->apps, g_strdup(r->app_id), app);
    }
    r->order = ++a->order;
    r->queued_usec = now_usec;
    enter_class(a, app, r->priority, now_usec);
    a->queued[a->n_queued++] = r;
    a->n_pending_bytes += r->bulk_bytes;
    app->pending_bytes += r->bulk_bytes;
    app->n_queued++;
    app->seen_usec = now_usec;
    return 0;
}

/* One that came into the class by waiting has not entered it at its floor. */
static uint64_t account_of(const InkAdmission *a, const InkRequest *r, InkPriority class)
{
    uint64_t used = get_app(a, r->app_id)->used_usec[class];
    if (class == r->priority)
        return used;
    return used > a->floor_usec[class] ? used : a->floor_usec[class];
}

static bool goes_before(const InkAdmission *a, const InkRequest *x, const InkRequest *y,
                        uint64_t now_usec)
{
    InkPriority class_x = effective_class(x, now_usec), class_y = effective_class(y, now_usec);
    if (class_x != class_y)
        return class_x < class_y;
    uint64_t used_x = account_of(a, x, class_x), used_y = account_of(a, y, class_y);
    return used_x != used_y ? used_x < used_y : x->order < y->order;
}

/* ------------------------------------------------------------------ who may start */

static bool foreground_is_there(const InkAdmission *a)
{
    for (size_t i = 0; i < a->n_queued; i++)
        if (a->queued[i]->priority != INK_PRIORITY_BACKGROUND)
            return true;
    GHashTableIter i;
    gpointer key;
    g_hash_table_iter_init(&i, a->running);
    while (g_hash_table_iter_next(&i, &key, NULL))
        if (((const InkRequest *)key)->priority != INK_PRIORITY_BACKGROUND)
            return true;
    return false;
}

/* A lower class never keeps a better one out, not even that of the same program, whose long answers
 * must not hold up its typing: the worker holds places for that (scheduler.h), and lower ones stand
 * back there. Counted afresh, since the class of a running request may change. */
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
        bool counts = other->priority <= r->priority;
        n_before += counts;
        n_of_app += counts && strcmp(other->app_id, r->app_id) == 0;
    }
    if (n_before >= INK_LIMIT_RUNNING ||
        n_of_app >= half_if(INK_LIMIT_RUNNING_PER_APP, r->is_sandboxed))
        return false;
    return r->priority != INK_PRIORITY_BACKGROUND ||
           (!a->background_held && !foreground_is_there(a));
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
        get_app(a, r->app_id)->n_queued--;
        return true;
    }
    return false;
}

void ink_admission_start(InkAdmission *a, InkRequest *r, uint64_t now_usec)
{
    if (!take_from_queue(a, r))
        return;
    App *app = get_app(a, r->app_id);
    g_hash_table_add(a->running, r);
    r->started_usec = now_usec;
    if (ink_request_is_short(r)) {
        app->n_short++;
        return;
    }
    app->n_running++;
    r->booked_class = effective_class(r, now_usec);
    book(a, app, r->booked_class, GUESS_USEC, 0);
}

/* What it has cost. The worker is not believed more than the clock. */
static uint64_t cost_of(const InkAdmission *a, const InkRequest *r, uint64_t now_usec)
{
    uint64_t span = now_usec > r->started_usec ? now_usec - r->started_usec : 0;
    if (r->engine_usec == 0)
        return span / (g_hash_table_size(a->running) + 1);
    return r->engine_usec < span ? r->engine_usec : span;
}

static void settle(InkAdmission *a, App *app, const InkRequest *r, uint64_t now_usec)
{
    uint64_t span = now_usec > r->started_usec ? now_usec - r->started_usec : 0;
    uint64_t cost = cost_of(a, r, now_usec);
    app->n_running--;
    book(a, app, r->booked_class, cost, GUESS_USEC);
    if (r->priority == INK_PRIORITY_BACKGROUND)
        book_background(app, cost, now_usec);
    a->mean_span_usec = (a->mean_span_usec * 7 + span) / 8;
}

void ink_admission_remove(InkAdmission *a, InkRequest *r, uint64_t now_usec)
{
    App *app = get_app(a, r->app_id);
    bool ran = g_hash_table_remove(a->running, r);
    if (ran && ink_request_is_short(r))
        app->n_short--;
    else if (ran)
        settle(a, app, r, now_usec);
    else if (!take_from_queue(a, r))
        return;
    a->n_pending_bytes -= r->bulk_bytes;
    app->pending_bytes -= r->bulk_bytes;
    app->seen_usec = now_usec;
}

void ink_admission_set_priority(InkAdmission *a, InkRequest *r, InkPriority priority,
                                uint64_t now_usec)
{
    App *app = get_app(a, r->app_id);
    if (app != NULL && priority != r->priority)
        enter_class(a, app, priority, now_usec);
    r->priority = priority;
}

void ink_admission_hold_background(InkAdmission *a, bool held)
{
    a->background_held = held;
}

size_t ink_admission_n_queued(const InkAdmission *a)
{
    return a->n_queued;
}

size_t ink_admission_n_running(const InkAdmission *a)
{
    return g_hash_table_size(a->running);
}

size_t ink_admission_n_apps(const InkAdmission *a)
{
    return g_hash_table_size(a->apps);
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
