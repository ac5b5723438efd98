/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* ImportModel: a descriptor becomes an installed model.
 *
 *   door (name, file, room) -> helper: checks, copies, hashes, syncs -> hash as asked?
 *     -> store thread: name, folder synced, row, default -> finished
 *
 * Until the store thread gives it its name the copy is nameless: whatever ends the import, or the
 * daemon, leaves nothing. From then on it is not cancelled any more. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/bounds.h"
#include "daemon/helper.h"
#include "daemon/log.h"
#include "daemon/model-ops.h"
#include "daemon/store-models.h"
#include "engine/base/clock.h"
#include "engine/base/sha256.h"

struct InkImport {
    InkApp *app;
    uint64_t id, started_usec, size_bytes;
    InkTaskSink sink;
    char *name;
    bool has_sha256, make_default;
    uint8_t sha256[INK_SHA256_BYTES];
    InkModelFile file;
    InkHelper *helper; /* NULL: the store thread has it */
    InkModelIdentity identity;
    InkModelFacts facts;
    InkModelRecord record;
};

static InkImport *import_free(InkImport *i)
{
    if (i == NULL)
        return NULL;
    ink_helper_free(i->helper);
    ink_model_file_done(&i->file);
    g_free(i->name);
    g_free(i);
    return NULL;
}

INK_DEFINE_CLEANUP(InkImport, import_free, import_free_p)

/* Nothing is left behind when the caller hears of the end, and the loop frees no gigabytes: the
 * helper does, whose copy of the descriptor is the last one, or else the store thread. */
static void drop_file(InkImport *i)
{
    ink_model_file_hide(&i->file);
    if (i->helper != NULL)
        ink_model_file_done(&i->file);
    else if (i->file.fd >= 0)
        ink_store_job_drop_file(i->app->store, &i->file);
    i->helper = ink_helper_free(i->helper);
}

/* Its sink hears it last; it is gone when this returns. */
static void finish(InkImport *i, InkTaskStatus status, const InkError *error)
{
    InkApp *app = i->app;
    InkTaskResult result = {.status = status, .model = i->name, .kernels = ""};
    result.load_usec = ink_clock_monotonic_usec() - i->started_usec;
    if (status == INK_TASK_CANCELLED)
        result.reason = INK_FINISH_CANCELLED;
    if (error != NULL)
        result.error = *error;
    app->models->import = NULL;
    const InkTaskSink sink = i->sink;
    drop_file(i);
    sink.events->finished(sink.userdata, &result);
    import_free(i);
    ink_app_pump_soon(app);
}

static void finish_failed(InkImport *i, const InkError *error)
{
    ink_log_info("an import failed: %s", error->message);
    finish(i, INK_TASK_FAILED, error);
}

/* ------------------------------------------------------------------ the store's part */

static void on_kept(void *userdata, const InkError *error)
{
    InkImport *i = userdata;
    InkApp *app = i->app;
    if (error != NULL) {
        finish_failed(i, error);
        return;
    }
    ink_catalogue_put_facts(app->models->catalogue, i->name, &i->facts);
    ink_catalogue_put_record(app->models->catalogue, i->name, &i->record);
    if (i->make_default) {
        g_free(app->models->chosen);
        app->models->chosen = g_strdup(i->name);
        if (!app->stopping)
            ink_sessions_check_model(app->sessions);
    }
    ink_log_info("a model of %" PRIu64 " bytes was imported in %" PRIu64 " ms", i->size_bytes,
                 (ink_clock_monotonic_usec() - i->started_usec) / 1000);
    finish(i, INK_TASK_SUCCESS, NULL);
}

static int check_hash(const InkImport *i, const InkInspectResult *result, InkError *reterr)
{
    char found[INK_SHA256_HEX_BYTES];
    ink_sha256_to_hex(result->sha256, found);
    INK_CHECK(!i->has_sha256 || memcmp(i->sha256, result->sha256, sizeof i->sha256) == 0, EBADMSG,
              reterr, "sha256 of the file is %s, not the one that was asked for", found);
    return 0;
}

static int keep(InkImport *i, const InkInspectResult *result, InkError *reterr)
{
    struct stat st;
    INK_TRY(check_hash(i, result, reterr));
    INK_CHECK(fstat(i->file.fd, &st) == 0, EIO, reterr, "the copy: %s", strerror(errno));
    i->identity = ink_models_identity(&st);
    i->record = (InkModelRecord){.identity = i->identity, .imported_usec = ink_clock_real_usec()};
    memcpy(i->record.sha256, result->sha256, sizeof i->record.sha256);
    i->facts = ink_model_facts(&i->identity, result);
    g_autofree char *forget = ink_app_forget_surplus(i->app);
    const InkStoreModelChange change = {
        .name = i->name,
        .forget = forget,
        .facts = &i->facts,
        .record = &i->record,
        .file = &i->file,
        .choose = i->make_default ? i->name : NULL,
    };
    return ink_store_job_change_model(i->app->store, &change, on_kept, i, reterr);
}

/* ------------------------------------------------------------------ the helper's part */

static void on_progress(void *userdata, InkInspectStage stage, double fraction)
{
    InkImport *i = userdata;
    i->sink.events->progress(i->sink.userdata,
                             stage == INK_INSPECT_STORING ? "storing" : "checking", fraction);
}

static int raise_no_room(const InkImport *i, InkError *reterr)
{
    uint64_t n_free = ink_model_file_free_bytes(&i->file);
    return INK_RAISE(EIO, reterr,
                     "the disk is full: the model needs %" PRIu64 " bytes, %" PRIu64 " are free",
                     i->size_bytes, n_free);
}

static void on_ended(void *userdata, const InkInspectResult *result, const InkError *error)
{
    InkImport *i = userdata;
    InkError why = {0};
    i->helper = ink_helper_free(i->helper);
    if (error != NULL && error->code == ENOSPC)
        (void)raise_no_room(i, &why);
    else if (error != NULL)
        why = *error;
    else if (keep(i, result, &why) >= 0)
        return;
    finish_failed(i, &why);
}

static const InkHelperEvents helper_events = {.progress = on_progress, .ended = on_ended};

/* ------------------------------------------------------------------ the door */

static int check_default(const InkApp *app, const InkServiceImport *import, InkError *reterr)
{
    INK_CHECK(!import->make_default || app->config.model[0] == '\0' ||
                  strcmp(app->config.model, import->name) == 0,
              EOPNOTSUPP, reterr,
              "default: inkling.conf names the default model with its key `model`, which goes "
              "first; change it there");
    return 0;
}

static int check_name(const InkApp *app, const char *name, InkError *reterr)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    INK_CHECK(ink_models_is_name(name), EINVAL, reterr,
              "name: 1 to %d of a-z, 0-9, '.', '_' and '-', the first a letter or digit, no \"..\"",
              INK_MODELS_MAX_NAME_BYTES);
    INK_TRY(ink_residency_models(app, &models, reterr));
    INK_CHECK(models.n < INK_LIMIT_MODELS, E2BIG, reterr,
              "%zu models are installed, the limit is %u", models.n, INK_LIMIT_MODELS);
    for (size_t i = 0; i < models.n; i++)
        INK_CHECK(models.items[i].is_system || strcmp(models.items[i].name, name) != 0, EEXIST,
                  reterr, "a model of this name is installed already");
    return 0;
}

static int check_file(int fd, uint64_t *ret_size, InkError *reterr)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    INK_CHECK(flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY, EINVAL,
              reterr, "file: not open for reading");
    INK_CHECK(fstat(fd, &st) == 0 && S_ISREG(st.st_mode), EINVAL, reterr,
              "file: not a regular file; a pipe, a folder or a device is not read");
    INK_CHECK(st.st_size > 0, EBADMSG, reterr, "file: 0 bytes long");
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int start(InkImport *i, int fd, InkError *reterr)
{
    InkApp *app = i->app;
    INK_TRY(ink_model_file_create(app->model_folder, i->name, true, &i->file, reterr));
    if (i->size_bytes > ink_model_file_free_bytes(&i->file))
        return raise_no_room(i, reterr);
    const InkHelperJob job = {
        .model_fd = fd, .copy_fd = i->file.fd, .hash = true, .size_bytes = i->size_bytes};
    return ink_helper_start(app->event, app->models->worker_program, &job, &helper_events, i,
                            &i->helper, reterr);
}

int ink_app_import_model(void *service, const InkCaller *caller, const InkServiceImport *import,
                         int fd, const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    InkApp *app = service;
    uint64_t size_bytes = 0;
    (void)caller;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    INK_CHECK(app->models->import == NULL, EBUSY, reterr,
              "another import runs; only one at a time is done");
    INK_TRY(check_name(app, import->name, reterr));
    INK_TRY(check_default(app, import, reterr));
    INK_TRY(check_file(fd, &size_bytes, reterr));
    _cleanup_(import_free_p) InkImport *i = g_new0(InkImport, 1);
    i->app = app;
    i->file = INK_MODEL_FILE_INIT;
    i->sink = *sink;
    i->size_bytes = size_bytes;
    i->name = g_strdup(import->name);
    i->make_default = import->make_default;
    i->has_sha256 = import->sha256 != NULL;
    i->started_usec = ink_clock_monotonic_usec();
    INK_CHECK(!i->has_sha256 || ink_sha256_from_hex(import->sha256, i->sha256), EINVAL, reterr,
              "sha256: not 64 hexadecimal digits");
    INK_TRY(start(i, fd, reterr));
    close(fd);
    i->id = ++app->next_id;
    *ret_id = i->id;
    app->models->import = INK_TAKE(i);
    return 0;
}

/* ------------------------------------------------------------------ cancelling */

bool ink_app_has_import(const InkApp *app, uint64_t id)
{
    return app->models->import != NULL && app->models->import->id == id;
}

bool ink_app_cancel_import(InkApp *app, uint64_t id, InkCancelReason reason)
{
    if (!ink_app_has_import(app, id))
        return false;
    InkImport *i = app->models->import;
    if (i->helper == NULL)
        return true; /* it is on its way into the folder: a moment, and it is done */
    InkError error = {0};
    if (reason == INK_CANCEL_SHUTDOWN)
        (void)INK_RAISE(ESHUTDOWN, &error, "the service is stopping; call again");
    else
        (void)INK_RAISE(ECANCELED, &error, "the import was cancelled");
    finish(i, INK_TASK_CANCELLED, &error);
    return true;
}

void ink_import_stop(InkApp *app)
{
    if (app->models->import != NULL)
        (void)ink_app_cancel_import(app, app->models->import->id, INK_CANCEL_SHUTDOWN);
}
