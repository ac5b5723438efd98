/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/store-thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

typedef struct JobList {
    InkStoreJob *first, *last;
} JobList;

struct InkStoreThread {
    /* Shared, under `mutex`. */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    JobList queued, finished;
    size_t n_queued, queued_bytes;
    bool stopping;
    int event_fd; /* written by the thread, read by the loop */

    /* Of the loop thread. */
    sd_event_source *source;
    pthread_t thread;
    bool has_thread, has_mutex, has_cond;
    size_t n_pending;

    /* Of the store thread; after it was joined, of stop(). */
    char *directory;
    InkStore *store;
    InkError open_error;
    uint64_t opened_usec; /* when it was last tried, monotonic */
};

static void push(JobList *list, InkStoreJob *job)
{
    job->next = NULL;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static InkStoreJob *pop(JobList *list)
{
    InkStoreJob *job = list->first;
    if (job == NULL)
        return NULL;
    list->first = job->next;
    if (list->first == NULL)
        list->last = NULL;
    job->next = NULL;
    return job;
}

/* ------------------------------------------------------------- store thread */

static bool open_when_due(InkStoreThread *t)
{
    if (t->store != NULL)
        return true;
    uint64_t now_usec = ink_clock_monotonic_usec();
    if (t->opened_usec != 0 && now_usec - t->opened_usec < INK_STORE_THREAD_REOPEN_USEC)
        return false;
    t->opened_usec = now_usec;
    t->open_error = (InkError){0};
    return ink_store_open(t->directory, &t->store, &t->open_error) == 0;
}

/* The counter is far from full, so this never waits. */
static void wake_loop(InkStoreThread *t)
{
    uint64_t one = 1;
    while (write(t->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void *thread_main(void *userdata)
{
    InkStoreThread *t = userdata;
    pthread_setname_np(pthread_self(), "store");
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        while (t->queued.first == NULL && !t->stopping)
            pthread_cond_wait(&t->wake, &t->mutex);
        InkStoreJob *job = pop(&t->queued);
        if (job == NULL)
            break; /* stopping, and all is done */
        t->n_queued--;
        t->queued_bytes -= job->n_bytes;
        pthread_mutex_unlock(&t->mutex);

        if (open_when_due(t))
            job->run(job, t->store);
        else
            job->error = t->open_error;

        pthread_mutex_lock(&t->mutex);
        push(&t->finished, job);
        wake_loop(t);
    }
    pthread_mutex_unlock(&t->mutex);
    /* here, because closing writes the log back into the file */
    t->store = ink_store_close(t->store);
    return NULL;
}

/* -------------------------------------------------------------- loop thread */

static bool finish_one(InkStoreThread *t)
{
    pthread_mutex_lock(&t->mutex);
    InkStoreJob *job = pop(&t->finished);
    pthread_mutex_unlock(&t->mutex);
    if (job == NULL)
        return false;
    t->n_pending--;
    job->done(job);
    job->free(job);
    return true;
}

static int on_finished(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    (void)source;
    (void)revents;
    InkStoreThread *t = userdata;
    uint64_t n;
    if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    for (size_t i = 0; i < INK_STORE_THREAD_JOBS_PER_TURN; i++)
        if (!finish_one(t))
            return 0;
    wake_loop(t); /* the rest in the next turn, after what else is waiting */
    return 0;
}

static int start_thread(InkStoreThread *t, InkError *reterr)
{
    /* signals are for the loop thread */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&t->thread, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    INK_CHECK(r == 0, r, reterr, "the store thread cannot be started: %s", strerror(r));
    t->has_thread = true;
    return 0;
}

int ink_store_thread_start(sd_event *event, const char *directory, InkStoreThread **ret,
                           InkError *reterr)
{
    _cleanup_(ink_store_thread_stop_p) InkStoreThread *t = ink_alloc_array(1, sizeof(*t));
    INK_CHECK(t != NULL, ENOMEM, reterr, "no memory for the store thread");
    t->event_fd = -1;
    t->directory = ink_memdup(directory, strlen(directory) + 1);
    INK_CHECK(t->directory != NULL, ENOMEM, reterr, "no memory for the store thread");
    t->has_mutex = pthread_mutex_init(&t->mutex, NULL) == 0;
    t->has_cond = pthread_cond_init(&t->wake, NULL) == 0;
    INK_CHECK(t->has_mutex && t->has_cond, ENOMEM, reterr, "no memory for the store thread");
    t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    INK_CHECK(t->event_fd >= 0, errno, reterr, "no eventfd for the store thread: %s",
              strerror(errno));
    int r = sd_event_add_io(event, &t->source, t->event_fd, EPOLLIN, on_finished, t);
    INK_CHECK(r >= 0, -r, reterr, "the loop cannot watch the store thread: %s", strerror(-r));
    (void)sd_event_source_set_description(t->source, "store-thread");
    INK_TRY(start_thread(t, reterr));
    *ret = INK_TAKE(t);
    return 0;
}

int ink_store_thread_submit(InkStoreThread *t, InkStoreJob *job, InkError *reterr)
{
    pthread_mutex_lock(&t->mutex);
    bool stopping = t->stopping, full = t->n_queued >= INK_STORE_THREAD_MAX_QUEUED;
    bool heavy = t->queued_bytes > 0 && t->queued_bytes + job->n_bytes > INK_STORE_THREAD_MAX_BYTES;
    if (!stopping && !full && !heavy) {
        push(&t->queued, job);
        t->n_queued++;
        t->queued_bytes += job->n_bytes;
        t->n_pending++;
        pthread_cond_signal(&t->wake);
    }
    pthread_mutex_unlock(&t->mutex);
    INK_CHECK(!stopping, ESHUTDOWN, reterr, "the service is stopping");
    INK_CHECK(!full, EBUSY, reterr, "%u calls wait for the store already",
              INK_STORE_THREAD_MAX_QUEUED);
    INK_CHECK(!heavy, EBUSY, reterr, "the calls that wait for the store hold more than %u MiB",
              INK_STORE_THREAD_MAX_BYTES >> 20);
    return 0;
}

InkStoreThread *ink_store_thread_stop(InkStoreThread *t)
{
    if (t == NULL)
        return NULL;
    if (t->has_thread) {
        pthread_mutex_lock(&t->mutex);
        t->stopping = true;
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->mutex);
        pthread_join(t->thread, NULL);
        while (finish_one(t))
            ;
    }
    sd_event_source_disable_unref(t->source);
    ink_close_p(&t->event_fd);
    if (t->has_cond)
        pthread_cond_destroy(&t->wake);
    if (t->has_mutex)
        pthread_mutex_destroy(&t->mutex);
    free(t->directory);
    free(t);
    return NULL;
}

size_t ink_store_thread_n_pending(const InkStoreThread *t)
{
    return t->n_pending;
}
