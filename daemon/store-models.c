/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/store-models.h"

#include <fcntl.h>
#include <glib.h>
#include <string.h>

#include "engine/base/alloc.h"

/* The store thread writes what it found, the loop thread reads it after that. */
typedef struct Listed {
    InkStoreJob base; /* first: the thread knows only this */
    GArray *rows;     /* InkStoredModel, its strings owned */
    char chosen[256];
    InkStoreModelsReply *reply;
    void *userdata;
} Listed;

typedef struct Change {
    InkStoreJob base; /* first */
    char *name, *remove_path, *cache_path, *choose, *forget;
    bool has_row, remove_row, has_file;
    InkModelFacts facts;
    InkModelRecord record;
    InkModelFile file;
    InkDoneReply *reply;
    void *userdata;
} Change;

/* -- reading ----------------------------------------------------------------------------------- */

static void keep_row(void *userdata, const InkStoredModel *row)
{
    InkStoredModel copy = *row;
    copy.name = g_strdup(row->name);
    copy.architecture = g_strdup(row->architecture);
    copy.quantization = g_strdup(row->quantization);
    copy.license = g_strdup(row->license);
    g_array_append_val((GArray *)userdata, copy);
}

static void drop_row(void *data)
{
    InkStoredModel *row = data;
    g_free((char *)(uintptr_t)row->name);
    g_free((char *)(uintptr_t)row->architecture);
    g_free((char *)(uintptr_t)row->quantization);
    g_free((char *)(uintptr_t)row->license);
}

static void run_list(InkStoreJob *base, InkStore *store)
{
    Listed *job = (Listed *)base;
    if (ink_store_list_models(store, keep_row, job->rows, &base->error) == 0)
        (void)!ink_store_default_model(store, job->chosen, &base->error);
}

static void done_list(InkStoreJob *base)
{
    Listed *job = (Listed *)base;
    job->reply(job->userdata, base->error.code != 0 ? &base->error : NULL,
               (const InkStoredModel *)(void *)job->rows->data, job->rows->len, job->chosen);
}

static void free_list(InkStoreJob *base)
{
    Listed *job = (Listed *)base;
    g_array_unref(job->rows);
    g_free(job);
}

int ink_store_job_list_models(InkStoreThread *t, InkStoreModelsReply *reply, void *userdata,
                              InkError *reterr)
{
    Listed *job = g_new0(Listed, 1);
    job->base = (InkStoreJob){.run = run_list, .done = done_list, .free = free_list};
    job->rows = g_array_new(FALSE, FALSE, sizeof(InkStoredModel));
    g_array_set_clear_func(job->rows, drop_row);
    job->reply = reply;
    job->userdata = userdata;
    int r = ink_store_thread_submit(t, &job->base, reterr);
    if (r < 0)
        free_list(&job->base);
    return r;
}

/* -- changing ---------------------------------------------------------------------------------- */

static int sync_folder_of(const char *path, InkError *reterr)
{
    g_autofree char *folder = g_path_get_dirname(path);
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    INK_CHECK(fd >= 0 && fsync(fd) == 0, EIO, reterr, "the models folder: %s", strerror(errno));
    return 0;
}

static int remove_file(const Change *job, InkError *reterr)
{
    INK_CHECK(unlink(job->remove_path) == 0 || errno == ENOENT, EIO, reterr,
              "the model cannot be removed: %s", strerror(errno));
    if (job->cache_path != NULL)
        (void)unlink(job->cache_path);
    return sync_folder_of(job->remove_path, reterr);
}

static int change_rows(const Change *job, InkStore *store, InkError *reterr)
{
    if (job->forget != NULL)
        INK_TRY(ink_store_remove_model(store, job->forget, reterr));
    if (job->has_row) {
        InkStoredModel row = ink_catalogue_row(job->name, &job->facts, &job->record);
        INK_TRY(ink_store_put_model(store, &row, reterr));
    }
    if (job->remove_row)
        INK_TRY(ink_store_remove_model(store, job->name, reterr));
    if (job->choose != NULL)
        INK_TRY(ink_store_set_default_model(store, job->choose, reterr));
    return 0;
}

static void apply(Change *job, InkStore *store)
{
    InkStoreJob *base = &job->base;
    if (job->has_file && ink_model_file_publish(&job->file, &base->error) < 0)
        return;
    if (job->remove_path != NULL && remove_file(job, &base->error) < 0)
        return;
    if (change_rows(job, store, &base->error) < 0 && job->has_file) {
        ink_model_file_withdraw(&job->file);
        (void)!ink_store_remove_model(store, job->name, NULL);
    }
}

static void run_change(InkStoreJob *base, InkStore *store)
{
    Change *job = (Change *)base;
    apply(job, store);
    ink_model_file_done(&job->file); /* here, where it holds up nobody */
}

static void done_change(InkStoreJob *base)
{
    Change *job = (Change *)base;
    job->reply(job->userdata, base->error.code != 0 ? &base->error : NULL);
}

static void free_change(InkStoreJob *base)
{
    Change *job = (Change *)base;
    ink_model_file_done(&job->file);
    g_free(job->name);
    g_free(job->remove_path);
    g_free(job->cache_path);
    g_free(job->choose);
    g_free(job->forget);
    g_free(job);
}

int ink_store_job_change_model(InkStoreThread *t, const InkStoreModelChange *change,
                               InkDoneReply *reply, void *userdata, InkError *reterr)
{
    Change *job = g_new0(Change, 1);
    job->base = (InkStoreJob){.run = run_change, .done = done_change, .free = free_change};
    job->file = INK_MODEL_FILE_INIT;
    job->name = g_strdup(change->name);
    job->remove_path = g_strdup(change->remove_path);
    job->cache_path = g_strdup(change->cache_path);
    job->choose = g_strdup(change->choose);
    job->forget = g_strdup(change->forget);
    job->remove_row = change->remove_row;
    job->has_row = change->facts != NULL;
    if (job->has_row) {
        job->facts = *change->facts;
        job->record = *change->record;
    }
    job->reply = reply;
    job->userdata = userdata;
    job->has_file = change->file != NULL;
    if (job->has_file)
        job->file = *change->file;
    int r = ink_store_thread_submit(t, &job->base, reterr);
    if (r < 0) {
        job->file = INK_MODEL_FILE_INIT; /* stays the caller's */
        free_change(&job->base);
    } else if (change->file != NULL) {
        *change->file = INK_MODEL_FILE_INIT;
    }
    return r;
}

/* -- dropping ---------------------------------------------------------------------------------- */

static void run_drop(InkStoreJob *base, InkStore *store)
{
    (void)store;
    ink_model_file_done(&((Change *)base)->file);
}

static void done_drop(InkStoreJob *base)
{
    (void)base;
}

void ink_store_job_drop_file(InkStoreThread *t, InkModelFile *file)
{
    Change *job = g_new0(Change, 1);
    job->base = (InkStoreJob){.run = run_drop, .done = done_drop, .free = free_change};
    job->file = *file;
    *file = INK_MODEL_FILE_INIT;
    if (ink_store_thread_submit(t, &job->base, NULL) < 0)
        free_change(&job->base);
}
