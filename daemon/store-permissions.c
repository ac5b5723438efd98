/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/store-permissions.h"

#include <string.h>

#include "engine/base/alloc.h"

typedef struct Job {
    InkStoreJob base; /* first: the thread knows only this */
    void *userdata;
    InkStorePermissionsReply *list;
    InkDoneReply *done;
    char app_id[INK_STORE_MAX_APP_BYTES + 1];
    InkPermission permission;
    InkDecision decision;
    InkStoredPermission *rows; /* `app` of each is owned */
    size_t n_rows, n_room;
    bool out_of_memory;
} Job;

static void free_job(InkStoreJob *base)
{
    Job *job = (Job *)base;
    for (size_t i = 0; i < job->n_rows; i++)
        free((char *)job->rows[i].app);
    free(job->rows);
    free(job);
}

static int submit(InkStoreThread *t, Job *job, InkError *reterr)
{
    job->base.free = free_job;
    int r = ink_store_thread_submit(t, &job->base, reterr);
    if (r < 0)
        free_job(&job->base);
    return r;
}

static const InkError *error_of(const Job *job)
{
    return job->base.error.code != 0 ? &job->base.error : NULL;
}

/* --------------------------------------------------------------------- list */

static void keep_row(void *userdata, const InkStoredPermission *row)
{
    Job *job = userdata;
    if (job->out_of_memory)
        return;
    job->out_of_memory = true;
    if (job->n_rows == job->n_room) {
        size_t n = job->n_room != 0 ? job->n_room * 2 : 16;
        InkStoredPermission *more = ink_realloc_array(job->rows, n, sizeof(*more));
        if (more == NULL)
            return;
        job->rows = more;
        job->n_room = n;
    }
    size_t n_bytes = strlen(row->app) + 1;
    char *app = ink_alloc_array(n_bytes, 1);
    if (app == NULL)
        return;
    memcpy(app, row->app, n_bytes);
    job->rows[job->n_rows] = *row;
    job->rows[job->n_rows++].app = app;
    job->out_of_memory = false;
}

static void run_list(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    if (ink_store_list_permissions(store, keep_row, job, &base->error) >= 0 && job->out_of_memory)
        (void)INK_RAISE(ENOMEM, &base->error, "no memory for the list of permissions");
}

static void done_list(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->list(job->userdata, error_of(job), job->rows, job->n_rows);
}

int ink_store_job_list_permissions(InkStoreThread *t, InkStorePermissionsReply *reply,
                                   void *userdata, InkError *reterr)
{
    Job *job = ink_alloc_array(1, sizeof(*job));
    INK_CHECK(job != NULL, ENOMEM, reterr, "no memory for a job of the store");
    job->base.run = run_list;
    job->base.done = done_list;
    job->list = reply;
    job->userdata = userdata;
    return submit(t, job, reterr);
}

/* ---------------------------------------------------------------------- set */

static void run_set(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    if (job->decision == INK_DECISION_DEFAULT)
        (void)!ink_store_reset_permission(store, job->app_id, job->permission, &base->error);
    else
        (void)!ink_store_set_permission(store, job->app_id, job->permission,
                                        job->decision == INK_DECISION_ALLOW, &base->error);
}

static void done_set(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->done(job->userdata, error_of(job));
}

int ink_store_job_set_permission(InkStoreThread *t, const char *app_id, InkPermission permission,
                                 InkDecision decision, InkDoneReply *reply, void *userdata,
                                 InkError *reterr)
{
    size_t n = strlen(app_id);
    INK_CHECK(n <= INK_STORE_MAX_APP_BYTES, EINVAL, reterr,
              "the application id has %zu bytes, the limit is %u", n, INK_STORE_MAX_APP_BYTES);
    Job *job = ink_alloc_array(1, sizeof(*job));
    INK_CHECK(job != NULL, ENOMEM, reterr, "no memory for a job of the store");
    job->base.run = run_set;
    job->base.done = done_set;
    job->done = reply;
    job->userdata = userdata;
    job->permission = permission;
    job->decision = decision;
    memcpy(job->app_id, app_id, n + 1);
    return submit(t, job, reterr);
}
