/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Whether a worker with a model is there: started on demand, replaced after a death with growing
 * pauses, ended after idle minutes or when memory is short. No timer runs but while one of these is
 * pending. All spans are of CLOCK_MONOTONIC, which stands still while the machine sleeps: a worker
 * that could not work was not idle, and it was not silent. */
#include <string.h>

#include "daemon/app-private.h"
#include "daemon/bounds.h"
#include "daemon/log.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkApp *app = userdata;
    (void)source;
    (void)usec;
    if (ink_worker_n_jobs(app->worker) > 0)
        return 0;
    ink_log_info("worker ended after idle time");
    ink_residency_unload(app);
    ink_app_announce(app);
    return 0;
}

/* Conversations that pause keep the last ones' prefixes; the rest of the memory is other programs'.
 */
static int on_rest(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkApp *app = userdata;
    (void)source;
    (void)usec;
    if (ink_worker_n_jobs(app->worker) == 0)
        ink_worker_trim(app->worker, 0, INK_LIMIT_REST_CACHE_BYTES);
    return 0;
}

static int on_backoff(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    ink_app_pump_soon(userdata);
    return 0;
}

static int add_timer(InkApp *app, sd_event_source **ret, uint64_t accuracy_usec,
                     sd_event_time_handler_t handler)
{
    INK_TRY(sd_event_add_time(app->event, ret, CLOCK_MONOTONIC, 0, accuracy_usec, handler, app));
    return sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

/* What can be made again is given back: prefixes, and the worker when it has nothing to do.
 * Nobody's running request is ended for it. */
static void on_pressure(void *userdata, InkPressureLevel level)
{
    static const char *const words[INK_PRESSURE_MAX] = {"is no longer short", "is short",
                                                        "is very short"};
    InkApp *app = userdata;
    ink_log_info("memory %s", words[level]);
    ink_admission_hold_background(app->admission, level != INK_PRESSURE_NONE);
    if (level != INK_PRESSURE_NONE) {
        ink_worker_trim(app->worker, 0, 0);
        if (g_hash_table_size(app->requests) == 0)
            ink_residency_unload(app);
    }
    ink_app_pump_soon(app);
}

int ink_residency_check_pressure(const InkApp *app, const char *model, InkPriority priority,
                                 InkError *reterr)
{
    if (ink_pressure_level(app->pressure) != INK_PRESSURE_HIGH)
        return 0;
    INK_CHECK(priority != INK_PRIORITY_BACKGROUND, ENOMEM, reterr,
              "memory is very short: no background work now; try again in a minute");
    INK_CHECK(ink_residency_has(app, model), ENOMEM, reterr,
              "memory is very short: no model is loaded now; try again in a minute");
    return 0;
}

int ink_residency_init(InkApp *app, const InkAppOptions *options, InkError *reterr)
{
    app->config_path = g_strdup(options->config_path);
    app->model_folder = g_strdup(options->model_folder);
    app->system_model_folder = g_strdup(options->system_model_folder);
    app->cache_folder = g_strdup(options->cache_folder);
    app->backoff_usec = options->backoff_usec != 0 ? options->backoff_usec : INK_LIMIT_BACKOFF_USEC;
    INK_TRY(ink_worker_new(app->event, options->worker_program, &options->times,
                           &ink_app_worker_events, app, &app->worker, reterr));
    int r = add_timer(app, &app->idle, 1000000, on_idle);
    if (r >= 0)
        r = add_timer(app, &app->rest, 1000000, on_rest);
    if (r >= 0)
        r = add_timer(app, &app->backoff, 1000, on_backoff);
    INK_CHECK(r >= 0, -r, reterr, "no timer: %s", strerror(-r));
    return ink_pressure_new(app->event, &options->pressure, on_pressure, app, &app->pressure,
                            reterr);
}

void ink_residency_done(InkApp *app)
{
    app->pressure = ink_pressure_free(app->pressure);
    app->worker = ink_worker_free(app->worker);
    app->idle = sd_event_source_disable_unref(app->idle);
    app->rest = sd_event_source_disable_unref(app->rest);
    app->backoff = sd_event_source_disable_unref(app->backoff);
    g_free(app->model);
    g_free(app->config_path);
    g_free(app->model_folder);
    g_free(app->system_model_folder);
    g_free(app->cache_folder);
}

int ink_residency_models(const InkApp *app, InkModels *ret, InkError *reterr)
{
    return ink_models_scan(app->model_folder, app->system_model_folder, ret, reterr);
}

bool ink_residency_has(const InkApp *app, const char *model)
{
    return ink_worker_state(app->worker) != INK_WORKER_DOWN && app->model != NULL &&
           strcmp(app->model, model) == 0;
}

/* ------------------------------------------------------------------ starting */

static int open_model(InkApp *app, const char *name, InkWorkerModel *ret, InkError *reterr)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model;
    InkModelIdentity identity;
    _cleanup_close_ int fd = -1;
    INK_TRY(ink_residency_models(app, &models, reterr));
    INK_TRY(ink_models_find(&models, name, "", &model, reterr));
    INK_TRY(ink_models_open(model, &fd, &identity, reterr));
    if (ink_models_same(&identity, &app->refused)) {
        *reterr = app->refused_error;
        return -reterr->code;
    }
    *ret = (InkWorkerModel){
        .cache_fd = -1,
        .n_threads = app->config.threads,
        .max_kv_bytes = app->config.max_kv_bytes,
    };
    memcpy(ret->isa, app->config.isa, sizeof ret->isa);
    ret->cache_fd =
        ink_models_open_cache(app->cache_folder, &identity, &models, &ret->cache_locked);
    ret->model_fd = INK_TAKE_FD(fd);
    app->identity = identity;
    return 0;
}

static uint64_t backoff_span(const InkApp *app)
{
    if (app->n_deaths <= 1)
        return 0;
    unsigned doublings = app->n_deaths - 2 < 16 ? app->n_deaths - 2 : 16;
    uint64_t span = app->backoff_usec << doublings;
    return span < INK_LIMIT_BACKOFF_MAX_USEC ? span : INK_LIMIT_BACKOFF_MAX_USEC;
}

static void note_death(InkApp *app)
{
    app->n_deaths++;
    app->backoff_until_usec = ink_clock_monotonic_usec() + backoff_span(app);
}

static void start_worker(InkApp *app, const char *name)
{
    InkError error = {0};
    InkWorkerModel model;
    /* A name of the request that waits for it may be freed below. */
    g_autofree char *wanted = g_strdup(name);
    if (open_model(app, wanted, &model, &error) < 0) {
        app->failed = error.code != ENOENT;
        ink_app_fail_waiting(app, wanted, &error);
        return;
    }
    g_free(app->model);
    app->model = g_strdup(wanted);
    app->load_started_usec = ink_clock_monotonic_usec();
    app->outdated = false;
    if (ink_worker_start(app->worker, &model, &error) < 0) {
        note_death(app);
        app->failed = true;
        ink_app_fail_waiting(app, wanted, &error);
        return;
    }
    ink_app_mark_loading(app, wanted);
}

static void wait_for_backoff(InkApp *app)
{
    (void)sd_event_source_set_time(app->backoff, app->backoff_until_usec);
    (void)sd_event_source_set_enabled(app->backoff, SD_EVENT_ONESHOT);
}

bool ink_residency_ensure(InkApp *app, const char *model)
{
    bool same = ink_residency_has(app, model);
    InkWorkerState state = ink_worker_state(app->worker);
    if (state == INK_WORKER_READY && same)
        return true;
    if (state == INK_WORKER_STARTING || state == INK_WORKER_LOADING) {
        if (same)
            ink_app_mark_loading(app, model);
        return false;
    }
    if (state == INK_WORKER_READY)
        ink_worker_stop(app->worker); /* another model; the caller saw that nothing runs */
    if (ink_clock_monotonic_usec() < app->backoff_until_usec)
        wait_for_backoff(app);
    else
        start_worker(app, model);
    return false;
}

/* ------------------------------------------------------------------ what became of it */

void ink_residency_loaded(InkApp *app, const InkWireLoaded *loaded)
{
    app->loaded_usec = ink_clock_monotonic_usec();
    app->load_span_usec = app->loaded_usec - app->load_started_usec;
    app->failed = false;
    app->n_start_failures = 0;
    memcpy(app->kernels, loaded->kernels, sizeof app->kernels);
    ink_log_info("worker %d loaded a model of %" PRIu64 " parameters in %" PRIu64
                 " ms (kernels %s, packed form %s)",
                 ink_worker_pid(app->worker), loaded->n_parameters, app->load_span_usec / 1000,
                 loaded->kernels, loaded->cache_used ? "from the cache" : "made");
}

void ink_residency_refused(InkApp *app, const InkError *error)
{
    InkError told = *error;
    if (told.code == EBADMSG || told.code == EOPNOTSUPP) {
        /* The file's fault: it will not get better until it is another file. Its bus name is
         * ModelInvalid, whichever field it was. */
        told.code = EBADMSG;
        app->refused = app->identity;
        app->refused_error = told;
    } else if (told.code != ENOMEM) {
        told.code = EREMOTEIO;
    }
    app->failed = true;
    ink_log_warning("the worker refused the model: %s", told.message);
    ink_app_fail_waiting(app, app->model, &told);
}

void ink_residency_died(InkApp *app, InkWorkerState before, const InkError *error)
{
    uint64_t now = ink_clock_monotonic_usec();
    if (before == INK_WORKER_READY && now - app->loaded_usec >= INK_LIMIT_SOUND_USEC)
        app->n_deaths = 0;
    note_death(app);
    if (before == INK_WORKER_READY || ++app->n_start_failures < INK_LIMIT_START_FAILURES)
        return;
    InkError told = {0};
    (void)INK_RAISE(EREMOTEIO, &told, "the worker ended %u times while it loaded the model: %.120s",
                    INK_LIMIT_START_FAILURES, error->message);
    app->failed = true;
    app->n_start_failures = 0;
    ink_app_fail_waiting(app, app->model, &told);
}

void ink_residency_hold(InkApp *app, uint64_t span_usec)
{
    uint64_t span = span_usec < INK_LIMIT_HOLD_USEC ? span_usec : INK_LIMIT_HOLD_USEC;
    uint64_t until = ink_clock_monotonic_usec() + span;
    if (until > app->hold_until_usec)
        app->hold_until_usec = until;
}

void ink_residency_unload(InkApp *app)
{
    ink_worker_stop(app->worker);
    app->hold_until_usec = 0;
    (void)sd_event_source_set_enabled(app->idle, SD_EVENT_OFF);
}

void ink_residency_update_idle(InkApp *app)
{
    bool busy = ink_worker_n_jobs(app->worker) > 0 || g_hash_table_size(app->requests) > 0;
    bool is_short = ink_pressure_level(app->pressure) != INK_PRESSURE_NONE;
    if (!busy && app->outdated && ink_worker_state(app->worker) == INK_WORKER_READY)
        ink_residency_unload(app);
    bool rests = !busy && ink_worker_state(app->worker) == INK_WORKER_READY;
    bool may_end = rests && (app->config.resident != INK_RESIDENT_ALWAYS || is_short);
    (void)sd_event_source_set_enabled(app->rest, rests ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(app->idle, may_end ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    if (!rests)
        return;
    uint64_t now = ink_clock_monotonic_usec(), at = now + app->config.idle_usec;
    (void)sd_event_source_set_time(app->rest, now + INK_LIMIT_REST_USEC);
    if (at < app->hold_until_usec)
        at = app->hold_until_usec;
    if (is_short)
        at = now + INK_LIMIT_PRESSURE_IDLE_USEC;
    (void)sd_event_source_set_time(app->idle, at);
}

/* ------------------------------------------------------------------ settings */

int ink_app_reload(void *service, const InkCaller *caller, InkError *reterr)
{
    InkApp *app = service;
    InkConfig config;
    (void)caller;
    INK_CHECK(app->config_path != NULL, EOPNOTSUPP, reterr, "there is no configuration to read");
    INK_TRY(ink_config_reload(app->config_path, &config, reterr));
    /* These are the worker's from its start on: it is replaced when it has nothing to do. */
    app->outdated |= config.threads != app->config.threads ||
                     strcmp(config.isa, app->config.isa) != 0 ||
                     config.max_kv_bytes != app->config.max_kv_bytes;
    app->config = config;
    ink_log_info("inkling.conf was read again");
    if (app->sessions != NULL)
        ink_sessions_reconfigured(app->sessions);
    if (app->events != NULL && app->events->config_changed != NULL)
        app->events->config_changed(app->events_userdata);
    ink_app_pump_soon(app);
    return 0;
}
