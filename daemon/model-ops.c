/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/model-ops.h"

#include <string.h>

#include "daemon/log.h"
#include "daemon/store-models.h"
#include "engine/base/clock.h"
#include "engine/base/sha256.h"
#include "engine/base/utf8.h"

/* ------------------------------------------------------------------ start and end */

static void on_listed(void *userdata, const InkError *error, const InkStoredModel *rows, size_t n,
                      const char *chosen)
{
    InkApp *app = userdata;
    if (error != NULL)
        return; /* the memory switch, asked for next, says so in the log */
    for (size_t i = 0; i < n; i++)
        ink_catalogue_put_stored(app->models->catalogue, &rows[i]);
    g_free(app->models->chosen);
    app->models->chosen = g_strdup(chosen);
    ink_app_pump_soon(app); /* announces */
}

int ink_app_models_init(InkApp *app, const InkAppOptions *options, InkError *reterr)
{
    app->models = g_new0(InkAppModels, 1);
    app->models->catalogue = ink_catalogue_new();
    app->models->worker_program = g_strdup(options->worker_program);
    app->models->chosen = g_strdup("");
    g_queue_init(&app->models->inspections);
    ink_model_file_sweep(app->model_folder);
    return ink_store_job_list_models(app->store, on_listed, app, reterr);
}

void ink_app_models_stop(InkApp *app)
{
    if (app->models == NULL)
        return;
    ink_import_stop(app);
    ink_inspections_stop(app);
}

void ink_app_models_done(InkApp *app)
{
    if (app->models == NULL)
        return;
    ink_catalogue_free(app->models->catalogue);
    g_free(app->models->worker_program);
    g_free(app->models->chosen);
    g_free(app->models);
    app->models = NULL;
}

size_t ink_app_models_n_active(const InkApp *app)
{
    return (app->models->import != NULL) + g_queue_get_length(&app->models->inspections);
}

/* ------------------------------------------------------------------ what is known */

static bool is_installed(const InkModels *models, const char *name)
{
    for (size_t i = 0; i < models->n; i++)
        if (strcmp(models->items[i].name, name) == 0)
            return true;
    return false;
}

int ink_app_choose_model(const InkApp *app, const InkModels *models, const char *name,
                         const InkModel **ret, InkError *reterr)
{
    const char *preferred = app->config.model;
    if (preferred[0] == '\0' && is_installed(models, app->models->chosen))
        preferred = app->models->chosen;
    return ink_models_find(models, name, preferred, ret, reterr);
}

uint32_t ink_app_model_window(const InkApp *app, const InkModel *model)
{
    const InkModelFacts *facts =
        ink_catalogue_facts(app->models->catalogue, model->name, &model->identity);
    return facts != NULL ? facts->context_window : 0;
}

char *ink_app_forget_surplus(InkApp *app)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    if (ink_residency_models(app, &models, NULL) < 0)
        return NULL;
    char *name = g_strdup(ink_catalogue_surplus(app->models->catalogue, &models));
    if (name != NULL)
        ink_catalogue_remove(app->models->catalogue, name);
    return name;
}

void ink_app_model_loaded(InkApp *app, const InkWireLoaded *loaded)
{
    ink_catalogue_put_loaded(app->models->catalogue, app->model, &app->identity, loaded);
}

void ink_app_describe_model(const InkApp *app, const InkModel *model, InkServiceModel *ret)
{
    const InkCatalogue *c = app->models->catalogue;
    const InkModelFacts *facts = ink_catalogue_facts(c, model->name, &model->identity);
    const InkModelRecord *record = ink_catalogue_record(c, model->name);
    *ret = (InkServiceModel){.size_bytes = model->size_bytes, .is_system = model->is_system};
    ink_utf8_copy_cut(ret->name, sizeof ret->name, model->name);
    ink_utf8_copy_cut(ret->path, sizeof ret->path, model->path);
    ret->loaded = ink_worker_loaded(app->worker) != NULL && strcmp(app->model, model->name) == 0 &&
                  ink_models_same(&app->identity, &model->identity);
    if (facts != NULL) {
        memcpy(ret->architecture, facts->architecture, sizeof ret->architecture);
        memcpy(ret->quantization, facts->quantization, sizeof ret->quantization);
        memcpy(ret->license, facts->license, sizeof ret->license);
        ret->context_window = facts->context_window;
        ret->parameters = facts->parameters;
        ret->has_template = facts->has_template;
    }
    if (record != NULL && ink_models_same(&record->identity, &model->identity))
        ink_sha256_to_hex(record->sha256, ret->sha256);
}

int ink_app_list_models(void *service, void (*each)(void *userdata, const InkServiceModel *model),
                        void *userdata, InkError *reterr)
{
    InkApp *app = service;
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *preferred = NULL;
    INK_TRY(ink_residency_models(app, &models, reterr));
    if (ink_app_choose_model(app, &models, "", &preferred, NULL) < 0)
        preferred = NULL;
    for (size_t i = 0; i < models.n; i++) {
        InkServiceModel m;
        ink_app_describe_model(app, &models.items[i], &m);
        m.is_default = &models.items[i] == preferred;
        each(userdata, &m);
    }
    return 0;
}

/* ------------------------------------------------------------------ changing */

/* A change on its way through the store thread. */
typedef struct Change {
    InkApp *app;
    char *name;
    bool clears_choice;
    InkDoneReply *reply;
    void *userdata;
} Change;

static void change_free(Change *c)
{
    g_free(c->name);
    g_free(c);
}

static void change_free_p(Change **c)
{
    if (*c != NULL)
        change_free(*c);
}

static Change *change_new(InkApp *app, const char *name, InkDoneReply *reply, void *userdata)
{
    Change *c = g_new0(Change, 1);
    *c = (Change){.app = app, .name = g_strdup(name), .reply = reply, .userdata = userdata};
    return c;
}

static void choose(InkApp *app, const char *name)
{
    g_free(app->models->chosen);
    app->models->chosen = g_strdup(name);
}

static void answer_change(Change *c, const InkError *error)
{
    InkApp *app = c->app;
    c->reply(c->userdata, error);
    change_free(c);
    if (app->stopping)
        return;
    ink_sessions_check_model(app->sessions);
    ink_app_announce(app);
}

/* Of all that wait or run, those of this model, or (others) of every other one. */
static unsigned count_requests(const InkApp *app, const char *model, bool others)
{
    GHashTableIter i;
    gpointer value;
    unsigned n = 0;
    g_hash_table_iter_init(&i, app->requests);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const InkRequest *r = value;
        n += (strcmp(r->model, model) == 0) != others;
    }
    return n;
}

/* -- removing */

static void on_removed(void *userdata, const InkError *error)
{
    Change *c = userdata;
    if (error == NULL) {
        ink_catalogue_remove(c->app->models->catalogue, c->name);
        if (c->clears_choice)
            choose(c->app, "");
    }
    answer_change(c, error);
}

/* Nothing uses it any more when this returns; a worker that has it mapped is ended. */
static void end_uses(InkApp *app, const char *name)
{
    ink_app_cancel_all(app, name, INK_CANCEL_UNLOAD);
    if (ink_residency_has(app, name))
        ink_residency_unload(app);
}

int ink_app_remove_model(void *service, const InkCaller *caller, const char *name, bool force,
                         InkDoneReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model;
    (void)caller;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    INK_CHECK(name[0] != '\0', EINVAL, reterr, "name: empty; say which model is to be removed");
    INK_TRY(ink_residency_models(app, &models, reterr));
    INK_TRY(ink_models_find(&models, name, "", &model, reterr));
    INK_CHECK(!model->is_system, EACCES, reterr,
              "this model is the administrator's and lies in a system folder; it is not removed "
              "from here");
    unsigned n = count_requests(app, name, false);
    INK_CHECK(force || n == 0, EBUSY, reterr, "%u requests use this model; force ends them", n);

    g_autofree char *cache_path = ink_models_cache_path(app->cache_folder, &model->identity);
    _cleanup_(change_free_p) Change *c = change_new(app, name, reply, userdata);
    c->clears_choice = strcmp(app->models->chosen, name) == 0;
    const InkStoreModelChange change = {
        .name = name,
        .remove_path = model->path,
        .cache_path = cache_path,
        .remove_row = true,
        .choose = c->clears_choice ? "" : NULL,
    };
    INK_TRY(ink_store_job_change_model(app->store, &change, on_removed, c, reterr));
    c = NULL;
    end_uses(app, model->name);
    return 0;
}

/* -- the default */

static void on_chosen(void *userdata, const InkError *error)
{
    Change *c = userdata;
    InkApp *app = c->app;
    if (error == NULL) {
        choose(app, c->name);
        bool is_held = ink_clock_monotonic_usec() < app->hold_until_usec;
        /* What waits for nobody gives way at once; what runs ends first, by itself. */
        if (!app->stopping && app->model != NULL && strcmp(app->model, c->name) != 0 &&
            g_hash_table_size(app->requests) == 0 && !is_held)
            ink_residency_unload(app);
    }
    answer_change(c, error);
}

static int check_usable(const InkApp *app, const char *name, InkError *reterr)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model;
    InkModelIdentity identity;
    _cleanup_close_ int fd = -1;
    INK_TRY(ink_residency_models(app, &models, reterr));
    INK_TRY(ink_models_find(&models, name, "", &model, reterr));
    INK_TRY(ink_models_open(model, &fd, &identity, reterr));
    if (ink_models_same(&identity, &app->refused))
        return INK_RAISE(app->refused_error.code, reterr, "%s", app->refused_error.message);
    return 0;
}

int ink_app_set_default_model(void *service, const InkCaller *caller, const char *name, bool force,
                              InkDoneReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    (void)caller;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    INK_CHECK(app->config.model[0] == '\0', EOPNOTSUPP, reterr,
              "inkling.conf names the default model with its key `model`, which goes first; change "
              "it there");
    if (name[0] != '\0')
        INK_TRY(check_usable(app, name, reterr));
    unsigned n = name[0] != '\0' ? count_requests(app, name, true) : 0;
    INK_CHECK(force || n == 0, EBUSY, reterr,
              "%u requests use another model; with force they end on it, and new ones use this one",
              n);
    _cleanup_(change_free_p) Change *c = change_new(app, name, reply, userdata);
    const InkStoreModelChange change = {.name = name, .choose = name};
    INK_TRY(ink_store_job_change_model(app->store, &change, on_chosen, c, reterr));
    c = NULL;
    return 0;
}
