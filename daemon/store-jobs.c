/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/store-jobs.h"

#include <string.h>

#include "engine/base/alloc.h"

/* One struct for every kind of job: arguments as copies in one block of text, results as plain
 * data. The store thread writes the results, the loop thread reads them after that. */
typedef struct Job {
    InkStoreJob base; /* first: the thread knows only this */
    char *texts;      /* all strings of the arguments */
    size_t n_texts_bytes, texts_off;
    char *scope; /* NULL = everybody, for counts */
    void *userdata;
    union {
        InkCountReply *count;
        InkSuggestReply *suggest;
        InkDoneReply *done;
        InkStoreMemoryReply *memory;
        InkStoreCountsReply *counts;
    } reply;

    InkEvent *events;
    size_t n_events;
    bool flag; /* dry_run, or the state to set; a result for memory_enabled */
    size_t n_accepted;

    InkSuggestQuery query;
    InkSuggestCandidate *candidates;
    InkSuggestions suggestions;

    char *item_id, *text;
    InkFeedback outcome;
    uint64_t accepted_chars;
    InkStoreCounts counts;
} Job;

static void free_job(InkStoreJob *base)
{
    Job *job = (Job *)base;
    ink_suggestions_done(&job->suggestions);
    free(job->candidates);
    free(job->events);
    free(job->texts);
    free(job);
}

static void free_job_p(Job **job)
{
    if (*job != NULL)
        free_job(&(*job)->base);
}

static const InkError *error_of(const Job *job)
{
    return job->base.error.code != 0 ? &job->base.error : NULL;
}

static int out_of_memory(InkError *reterr)
{
    return INK_RAISE(ENOMEM, reterr, "no memory for a job of the store");
}

/* ----------------------------------------------------------- copies of texts */

static size_t size_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

/* Room was made by new_job(); a text that would not fit is our own mistake. */
static char *keep(Job *job, const char *text)
{
    size_t n = size_of(text);
    if (n == 0 || n > job->n_texts_bytes - job->texts_off)
        return NULL;
    char *copy = memcpy(job->texts + job->texts_off, text, n);
    job->texts_off += n;
    return copy;
}

/* A job with room for `n_texts_bytes` of arguments beside the scope, which may be NULL. */
static Job *new_job(const char *scope, size_t n_texts_bytes, void (*run)(InkStoreJob *, InkStore *),
                    void (*done)(InkStoreJob *), void *userdata)
{
    _cleanup_(free_job_p) Job *job = ink_alloc_array(1, sizeof(*job));
    if (job == NULL)
        return NULL;
    if (!ink_size_add(n_texts_bytes, size_of(scope), &job->n_texts_bytes))
        return NULL;
    job->texts = ink_alloc_array(job->n_texts_bytes, 1);
    if (job->texts == NULL)
        return NULL;
    job->base.run = run;
    job->base.done = done;
    job->base.free = free_job;
    job->scope = keep(job, scope);
    job->userdata = userdata;
    return INK_TAKE(job);
}

static int submit(InkStoreThread *t, Job **job, InkError *reterr)
{
    (*job)->base.n_bytes = (*job)->n_texts_bytes + (*job)->n_events * sizeof(InkEvent) +
                           (*job)->query.n_candidates * sizeof(InkSuggestCandidate);
    INK_TRY(ink_store_thread_submit(t, &(*job)->base, reterr));
    *job = NULL;
    return 0;
}

static int find_name(const char *const names[], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (names[i] != NULL && name != NULL && strcmp(names[i], name) == 0)
            return (int)i;
    return 0; /* no kind or outcome has this number */
}

/* ------------------------------------------------------------------- observe */

static void run_observe(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_observe(store, job->scope, job->events, job->n_events, job->flag,
                             &job->n_accepted, &base->error);
}

static void done_observe(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->reply.count(job->userdata, error_of(job), job->n_accepted);
}

static int copy_event(Job *job, const InkServiceEvent *from, bool train, InkEvent *to, size_t index,
                      InkError *reterr)
{
    static const char *const kinds[INK_EVENT_MAX] = {
        [INK_EVENT_OPENED] = "opened",
        [INK_EVENT_RAN] = "ran",
        [INK_EVENT_ACCEPTED] = "accepted",
        [INK_EVENT_FOCUSED] = "focused",
    };
    int kind = find_name(kinds, INK_EVENT_MAX, from->kind);
    INK_CHECK(kind != 0, EINVAL, reterr,
              "events[%zu].kind is none of opened, ran, accepted, focused", index);
    *to = (InkEvent){
        .kind = (InkEventKind)kind,
        .uri = keep(job, from->uri),
        .text = keep(job, from->text),
        .title = keep(job, from->title),
        .app_id = keep(job, from->app_id),
        .time_usec = from->time_usec,
        .train = train,
    };
    return 0;
}

int ink_store_job_observe(InkStoreThread *t, const char *app_id, const InkServiceEvent *events,
                          size_t n, bool train, bool dry_run, InkCountReply *reply, void *userdata,
                          InkError *reterr)
{
    INK_CHECK(n <= INK_STORE_MAX_EVENTS, E2BIG, reterr, "%zu events given, at most %u in one call",
              n, INK_STORE_MAX_EVENTS);
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += size_of(events[i].uri) + size_of(events[i].text) + size_of(events[i].title) +
                   size_of(events[i].app_id);
    _cleanup_(free_job_p) Job *job = new_job(app_id, n_bytes, run_observe, done_observe, userdata);
    if (job == NULL)
        return out_of_memory(reterr);
    job->events = ink_alloc_array(n, sizeof(*job->events));
    if (job->events == NULL)
        return out_of_memory(reterr);
    for (size_t i = 0; i < n; i++)
        INK_TRY(copy_event(job, &events[i], train, &job->events[i], i, reterr));
    job->n_events = n;
    job->flag = dry_run;
    job->reply.count = reply;
    return submit(t, &job, reterr);
}

/* ------------------------------------------------------------------- suggest */

static const char *const suggest_kinds[] = {
    [INK_SUGGEST_FILE] = "file",
    [INK_SUGGEST_COMMAND] = "command",
};
#define N_SUGGEST_KINDS (sizeof(suggest_kinds) / sizeof(suggest_kinds[0]))

static void run_suggest(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_suggest(store, &job->query, &job->suggestions, &base->error);
}

static void done_suggest(InkStoreJob *base)
{
    Job *job = (Job *)base;
    const InkSuggestions *s = &job->suggestions;
    InkServiceItem items[INK_STORE_MAX_LIMIT];
    size_t n = s->n < INK_STORE_MAX_LIMIT ? s->n : INK_STORE_MAX_LIMIT;
    for (size_t i = 0; i < n; i++)
        items[i] = (InkServiceItem){
            .id = s->items[i].id,
            .candidate = s->items[i].candidate,
            .kind = suggest_kinds[job->query.kind],
            .text = s->items[i].text,
            .uri = s->items[i].uri,
            .reason = s->items[i].reason,
            .source = s->items[i].from_history ? "history" : "candidates",
            .score = s->items[i].score,
        };
    job->reply.suggest(job->userdata, error_of(job), items, n, s->considered);
}

static size_t size_of_query(const InkServiceSuggest *q)
{
    size_t n_bytes = size_of(q->cwd) + size_of(q->text_before);
    for (size_t i = 0; i < q->n_candidates; i++)
        n_bytes += size_of(q->candidates[i].id) + size_of(q->candidates[i].text) +
                   size_of(q->candidates[i].uri);
    return n_bytes;
}

int ink_store_job_suggest(InkStoreThread *t, const char *app_id, const InkServiceSuggest *query,
                          InkSuggestReply *reply, void *userdata, InkError *reterr)
{
    int kind = find_name(suggest_kinds, N_SUGGEST_KINDS, query->kind);
    INK_CHECK(kind != 0, EINVAL, reterr, "kind is none of file, command");
    INK_CHECK(query->n_candidates <= INK_STORE_MAX_CANDIDATES, E2BIG, reterr,
              "%zu candidates given, at most %u in one call", query->n_candidates,
              INK_STORE_MAX_CANDIDATES);
    _cleanup_(free_job_p) Job *job =
        new_job(app_id, size_of_query(query), run_suggest, done_suggest, userdata);
    if (job == NULL)
        return out_of_memory(reterr);
    job->candidates = ink_alloc_array(query->n_candidates, sizeof(*job->candidates));
    if (job->candidates == NULL)
        return out_of_memory(reterr);
    for (size_t i = 0; i < query->n_candidates; i++)
        job->candidates[i] = (InkSuggestCandidate){
            .id = keep(job, query->candidates[i].id),
            .text = keep(job, query->candidates[i].text),
            .uri = keep(job, query->candidates[i].uri),
        };
    job->query = (InkSuggestQuery){
        .kind = (InkSuggestKind)kind,
        .scope = job->scope,
        .cwd = keep(job, query->cwd),
        .text_before = keep(job, query->text_before),
        .candidates = job->candidates,
        .n_candidates = query->n_candidates,
        .now_usec = query->time_usec,
        .limit = query->limit,
        .explain = query->explain,
    };
    job->reply.suggest = reply;
    return submit(t, &job, reterr);
}

/* ------------------------------------------------------------------ feedback */

static void run_feedback(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_feedback(store, job->scope, job->item_id, job->outcome, job->accepted_chars,
                              job->text, &base->error);
}

static void done_plain(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->reply.done(job->userdata, error_of(job));
}

int ink_store_job_feedback(InkStoreThread *t, const char *app_id, const char *item_id,
                           const char *outcome, uint64_t accepted_chars, const char *text,
                           InkDoneReply *reply, void *userdata, InkError *reterr)
{
    static const char *const outcomes[INK_FEEDBACK_MAX] = {
        [INK_FEEDBACK_SHOWN] = "shown",     [INK_FEEDBACK_ACCEPTED] = "accepted",
        [INK_FEEDBACK_PARTIAL] = "partial", [INK_FEEDBACK_DISMISSED] = "dismissed",
        [INK_FEEDBACK_EDITED] = "edited",
    };
    int number = find_name(outcomes, INK_FEEDBACK_MAX, outcome);
    INK_CHECK(number != 0, EINVAL, reterr,
              "outcome is none of shown, accepted, partial, dismissed, edited");
    _cleanup_(free_job_p) Job *job =
        new_job(app_id, size_of(item_id) + size_of(text), run_feedback, done_plain, userdata);
    if (job == NULL)
        return out_of_memory(reterr);
    job->item_id = keep(job, item_id);
    job->text = keep(job, text);
    job->outcome = (InkFeedback)number;
    job->accepted_chars = accepted_chars;
    job->reply.done = reply;
    return submit(t, &job, reterr);
}

/* ------------------------------------------------------- memory switch, counts */

static void run_memory_enabled(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_memory_enabled(store, &job->flag, &base->error);
}

static void done_memory_enabled(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->reply.memory(job->userdata, error_of(job), job->flag);
}

int ink_store_job_memory_enabled(InkStoreThread *t, InkStoreMemoryReply *reply, void *userdata,
                                 InkError *reterr)
{
    _cleanup_(free_job_p) Job *job =
        new_job(NULL, 0, run_memory_enabled, done_memory_enabled, userdata);
    if (job == NULL)
        return out_of_memory(reterr);
    job->reply.memory = reply;
    return submit(t, &job, reterr);
}

static void run_set_memory_enabled(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_set_memory_enabled(store, job->flag, &base->error);
}

int ink_store_job_set_memory_enabled(InkStoreThread *t, bool enabled, InkDoneReply *reply,
                                     void *userdata, InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = new_job(NULL, 0, run_set_memory_enabled, done_plain, userdata);
    if (job == NULL)
        return out_of_memory(reterr);
    job->flag = enabled;
    job->reply.done = reply;
    return submit(t, &job, reterr);
}

static void run_counts(InkStoreJob *base, InkStore *store)
{
    Job *job = (Job *)base;
    (void)!ink_store_counts(store, job->scope, &job->counts, &base->error);
}

static void done_counts(InkStoreJob *base)
{
    Job *job = (Job *)base;
    job->reply.counts(job->userdata, error_of(job), &job->counts);
}

int ink_store_job_counts(InkStoreThread *t, const char *app_id, InkStoreCountsReply *reply,
                         void *userdata, InkError *reterr)
{
    _cleanup_(free_job_p) Job *job = new_job(app_id, 0, run_counts, done_counts, userdata);
    if (job == NULL)
        return out_of_memory(reterr);
    job->reply.counts = reply;
    return submit(t, &job, reterr);
}
