/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/store-sessions.h"

#include <string.h>

#include "engine/base/alloc.h"

typedef struct Job {
    InkStoreJob base; /* first: the thread knows only this */
    char *app_id, *name;
    InkStoredSession session; /* options, then what was found */
    size_t n_known;           /* or kept */
    InkTranscript turns;      /* to be written */
    InkTranscript found;
    InkStoreSessionReply *opened;
    InkDoneReply *done;
    void *userdata;
} Job;

static void free_job(InkStoreJob *base)
{
    Job *job = (Job *)base;
    ink_transcript_done(&job->turns);
    ink_transcript_done(&job->found);
    free(job->app_id);
    free(job->name);
    free(job);
}

static void free_job_p(Job **job)
{
    if (*job != NULL)
        free_job(&(*job)->base);
}

static void tell_done(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->done(job->userdata, base->error.code != 0 ? &base->error : NULL);
}

static int new_job(void (*run)(InkStoreJob *, InkStore *), const InkTranscript *turns,
                   InkDoneReply *done, void *userdata, Job **ret, InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = ink_alloc_array(1, sizeof(*job));
    INK_CHECK(job != NULL, ENOMEM, reterr, "no memory for a job of the store");
    job->base.run = run;
    job->base.done = tell_done;
    job->base.free = free_job;
    job->done = done;
    job->userdata = userdata;
    if (turns != NULL)
        INK_TRY(ink_transcript_copy(turns, &job->turns, reterr));
    *ret = INK_TAKE(job);
    return 0;
}

static int submit(InkStoreThread *t, Job **job, InkError *reterr)
{
    const InkTranscript *turns = &(*job)->turns;
    (*job)->base.n_bytes = turns->n_bytes + turns->n * sizeof(*turns->turns);
    INK_TRY(ink_store_thread_submit(t, &(*job)->base, reterr));
    *job = NULL;
    return 0;
}

/* As personalize/ wants them; borrowed from the transcript. */
static int list_stored(const InkTranscript *t, InkStoredTurn **ret, InkError *reterr)
{
    InkStoredTurn *list = ink_alloc_array(t->n, sizeof(*list));
    INK_CHECK(list != NULL, ENOMEM, reterr, "no memory for a job of the store");
    for (size_t i = 0; i < t->n; i++)
        list[i] = (InkStoredTurn){.role = t->turns[i].role,
                                  .text = t->turns[i].text,
                                  .tokens = t->turns[i].tokens,
                                  .time_usec = t->turns[i].time_usec};
    *ret = list;
    return 0;
}

/* ------------------------------------------------------------------ open */

static int collect_turn(void *userdata, const InkStoredTurn *turn)
{
    Job *job = userdata;
    size_t n = strlen(turn->text);
    /* The file is a stranger's as far as bounds go. */
    INK_TRY(ink_transcript_check(&job->found, 1, n, &job->base.error));
    return ink_transcript_add(&job->found, turn->role, turn->text, n, turn->tokens, turn->time_usec,
                              &job->base.error);
}

static int check_beginning(const Job *job, InkError *reterr)
{
    const InkTranscript *given = &job->turns, *found = &job->found;
    bool same = given->n <= found->n;
    for (size_t i = 0; same && i < given->n; i++)
        same = given->turns[i].role == found->turns[i].role &&
               strcmp(given->turns[i].text, found->turns[i].text) == 0;
    INK_CHECK(
        same, EINVAL, reterr,
        "the session of this name exists and begins otherwise: leave out system and messages");
    return 0;
}

static int make(Job *job, InkStore *store, InkError *reterr)
{
    _cleanup_free_ InkStoredTurn *list = NULL;
    INK_TRY(list_stored(&job->turns, &list, reterr));
    INK_TRY(ink_store_new_session(store, job->app_id, job->name, &job->session, list, job->turns.n,
                                  &job->session.id, reterr));
    return ink_transcript_copy(&job->turns, &job->found, reterr);
}

static int open_session(Job *job, InkStore *store, InkError *reterr)
{
    InkError error = {0};
    int r = ink_store_find_session(store, job->app_id, job->name, &job->session, &error);
    if (r == -ENOMSG)
        return make(job, store, reterr);
    if (r < 0)
        return INK_RAISE(-r, reterr, "%s", error.message);
    INK_TRY(ink_store_list_turns(store, job->session.id, collect_turn, job, reterr));
    return check_beginning(job, reterr);
}

static void run_open(InkStoreJob *base, InkStore *store)
{
    (void)!open_session((Job *)base, store, &base->error);
}

static void tell_opened(InkStoreJob *base)
{
    Job *job = (Job *)base;
    bool failed = base->error.code != 0;
    job->opened(job->userdata, failed ? &base->error : NULL, failed ? NULL : &job->session,
                failed ? NULL : &job->found);
}

int ink_store_job_open_session(InkStoreThread *t, const char *app_id, const char *name,
                               const InkStoredSession *options, const InkTranscript *first,
                               InkStoreSessionReply *reply, void *userdata, InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = NULL;
    INK_TRY(new_job(run_open, first, NULL, userdata, &job, reterr));
    job->base.done = tell_opened;
    job->opened = reply;
    job->session = *options;
    job->app_id = ink_memdup(app_id, strlen(app_id) + 1);
    job->name = ink_memdup(name, strlen(name) + 1);
    INK_CHECK(job->app_id != NULL && job->name != NULL, ENOMEM, reterr,
              "no memory for a job of the store");
    return submit(t, &job, reterr);
}

/* ------------------------------------------------------------------ changes */

static int append(Job *job, InkStore *store, InkError *reterr)
{
    _cleanup_free_ InkStoredTurn *list = NULL;
    INK_TRY(list_stored(&job->turns, &list, reterr));
    return ink_store_append_turns(store, job->session.id, job->n_known, list, job->turns.n, reterr);
}

static void run_append(InkStoreJob *base, InkStore *store)
{
    (void)!append((Job *)base, store, &base->error);
}

static void run_rewind(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_rewind_session(store, job->session.id, job->n_known, &base->error);
}

static void run_remove(InkStoreJob *base, InkStore *store)
{
    (void)!ink_store_remove_session(store, ((Job *)base)->session.id, &base->error);
}

int ink_store_job_append_turns(InkStoreThread *t, uint64_t session, size_t n_known,
                               const InkTranscript *turns, InkDoneReply *reply, void *userdata,
                               InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = NULL;
    INK_TRY(new_job(run_append, turns, reply, userdata, &job, reterr));
    job->session.id = session;
    job->n_known = n_known;
    return submit(t, &job, reterr);
}

int ink_store_job_rewind_session(InkStoreThread *t, uint64_t session, size_t n_kept,
                                 InkDoneReply *reply, void *userdata, InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = NULL;
    INK_TRY(new_job(run_rewind, NULL, reply, userdata, &job, reterr));
    job->session.id = session;
    job->n_known = n_kept;
    return submit(t, &job, reterr);
}

int ink_store_job_remove_session(InkStoreThread *t, uint64_t session, InkDoneReply *reply,
                                 void *userdata, InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = NULL;
    INK_TRY(new_job(run_remove, NULL, reply, userdata, &job, reterr));
    job->session.id = session;
    return submit(t, &job, reterr);
}
