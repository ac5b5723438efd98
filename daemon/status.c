/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the service tells about itself. Nothing here loads a model or resets the idle clock. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "daemon/model-ops.h"
#include "engine/base/cleanup.h"
#include "engine/base/utf8.h"
#include "ink-config.h"

/* Reading and packing, on a slow machine; a guess for the first load only. */
#define LOAD_BYTES_PER_USEC 500u
#define LOAD_BASE_USEC      50000u

static uint64_t resident_bytes(int pid)
{
    char path[32], text[64];
    snprintf(path, sizeof path, pid == 0 ? "/proc/self/statm" : "/proc/%d/statm", pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    unsigned long long pages = 0;
    if (sscanf(text, "%*u %llu", &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The default model's entry, or NULL with the reason. */
static const InkModel *default_model(const InkApp *app, const InkModels *models, InkError *reterr)
{
    const InkModel *model = NULL;
    return ink_app_choose_model(app, models, "", &model, reterr) < 0 ? NULL : model;
}

static const char *state_word(const InkApp *app, bool has_default)
{
    if (app->stopping)
        return "stopping";
    switch (ink_worker_state(app->worker)) {
    case INK_WORKER_READY:
        return "ready";
    case INK_WORKER_STARTING:
    case INK_WORKER_LOADING:
        return "loading";
    case INK_WORKER_DOWN:
        break;
    }
    if (!has_default)
        return "no-model";
    return app->failed ? "failed" : "idle";
}

static uint32_t window_of(const InkApp *app, const InkModels *models, const char *name)
{
    const InkWireLoaded *loaded = ink_worker_loaded(app->worker);
    const InkModel *model;
    if (loaded != NULL)
        return loaded->n_context;
    if (name[0] == '\0' || ink_models_find(models, name, "", &model, NULL) < 0)
        return 0;
    return ink_app_model_window(app, model);
}

void ink_app_state(void *service, InkServiceState *ret)
{
    InkApp *app = service;
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model = NULL;
    /* With a loaded worker, the folders say nothing that matters here; reading them costs. */
    if (ink_worker_loaded(app->worker) == NULL && ink_residency_models(app, &models, NULL) >= 0)
        model = default_model(app, &models, NULL);

    *ret = (InkServiceState){.network_guard = app->network_guard};
    ret->state = state_word(app, model != NULL);
    const char *name = model != NULL ? model->name : "";
    if (ink_app_has_worker(app))
        name = app->model;
    ink_utf8_copy_cut(ret->model, sizeof ret->model, name);
    ret->context_window = window_of(app, &models, name);
    ret->queue_depth =
        (uint32_t)(ink_admission_n_queued(app->admission) + g_queue_get_length(&app->retries));
    ret->memory_resident_bytes = resident_bytes(0);
    if (ink_worker_pid(app->worker) > 0)
        ret->memory_resident_bytes += resident_bytes(ink_worker_pid(app->worker));
    memcpy(ret->kernels, app->kernels, sizeof ret->kernels);
}

void ink_app_announce(InkApp *app)
{
    InkServiceState now;
    ink_app_state(app, &now);
    if (app->told_state != NULL && strcmp(now.state, app->told_state) == 0 &&
        strcmp(now.model, app->told_model) == 0 && now.context_window == app->told_window)
        return;
    app->told_state = now.state;
    memcpy(app->told_model, now.model, sizeof app->told_model);
    app->told_window = now.context_window;
    if (app->events != NULL && app->events->state_changed != NULL)
        app->events->state_changed(app->events_userdata);
}

/* ------------------------------------------------------------------ availability */

static bool is_in(const char *word, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(word, *list) == 0)
            return true;
    return false;
}

static bool is_refused(const InkApp *app, const InkModel *model)
{
    struct stat st;
    if (model->size_bytes == 0)
        return true;
    return app->refused.inode != 0 && stat(model->path, &st) == 0 &&
           st.st_ino == app->refused.inode && st.st_dev == app->refused.device &&
           (uint64_t)st.st_size == app->refused.size_bytes;
}

static void say(InkServiceAvailability *ret, const char *state, const char *reason)
{
    ret->state = state;
    ink_utf8_copy_cut(ret->reason, sizeof ret->reason, reason);
}

/* Known of a model that was loaded, imported or looked into; else the first call tells. */
static bool has_no_template(const InkApp *app, const InkModel *model)
{
    const InkModelFacts *facts =
        ink_catalogue_facts(app->models->catalogue, model->name, &model->identity);
    return facts != NULL && !facts->has_template;
}

static void model_availability(const InkApp *app, const InkModel *model, const char *feature,
                               InkServiceAvailability *ret)
{
    static const char *const of_chat[] = {"chat", "session", "prewarm", NULL};
    ret->context_window = ink_app_model_window(app, model);
    if (is_refused(app, model)) {
        say(ret, "model-invalid",
            model->size_bytes == 0 ? "the model is not a file with content"
                                   : app->refused_error.message);
        return;
    }
    if (is_in(feature, of_chat) && has_no_template(app, model)) {
        say(ret, "unsupported", "this model has no chat template: it completes texts only");
        return;
    }
    bool same = ink_residency_has(app, model->name);
    if (same && ink_worker_state(app->worker) == INK_WORKER_READY) {
        say(ret, "available", "");
        return;
    }
    if (!same &&
        ink_residency_check_pressure(app, model->name, INK_PRIORITY_INTERACTIVE, NULL) < 0) {
        say(ret, "memory-pressure", "memory is very short; no model is loaded now");
        return;
    }
    ret->estimated_usec = app->load_span_usec != 0
                              ? app->load_span_usec
                              : LOAD_BASE_USEC + model->size_bytes / LOAD_BYTES_PER_USEC;
    if (same)
        say(ret, "loading", "the model is being loaded; a call waits");
    else
        say(ret, "on-demand", "the first call loads the model");
}

int ink_app_availability(void *service, const InkCaller *caller, const char *feature,
                         const char *name, InkServiceAvailability *ret, InkError *reterr)
{
    static const char *const with_model[] = {"text",    "complete", "chat",      "tokens",
                                             "stream",  "pipe",     "supersede", "session",
                                             "prewarm", "overflow", NULL};
    static const char *const with_nothing[] = {"import", "permissions", "manage", NULL};
    static const char *const with_store[] = {"recommendation", "suggest", "feedback", NULL};
    static const char *const with_memory[] = {"observe", "memory", NULL};
    InkApp *app = service;
    (void)caller;
    *ret = (InkServiceAvailability){0};
    if (is_in(feature, with_nothing)) {
        say(ret, "available", "");
        return 0;
    }
    if (is_in(feature, with_store)) {
        say(ret, "available", app->memory_enabled ? "" : "memory is off: candidates only");
        return 0;
    }
    if (is_in(feature, with_memory)) {
        say(ret, app->memory_enabled ? "available" : "disabled",
            app->memory_enabled ? "" : "memory is off; `inkling memory on` switches it on");
        return 0;
    }
    if (!is_in(feature, with_model)) {
        say(ret, "unsupported", "this build has no feature of this name");
        return 0;
    }
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    InkError error = {0};
    const InkModel *model;
    INK_TRY(ink_residency_models(app, &models, reterr));
    if (ink_app_choose_model(app, &models, name, &model, &error) >= 0)
        model_availability(app, model, feature, ret);
    else if (name[0] != '\0' && models.n > 0)
        return INK_RAISE(error.code, reterr, "%s", error.message);
    else
        say(ret, "no-model", error.message);
    return 0;
}
