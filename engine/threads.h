/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A fixed pool: the calling thread and n - 1 others. A job is split over the threads by the job
 * itself (thread i of n takes its range), so that results never depend on timing. Waiting threads
 * spin for some microseconds and then sleep on a futex; an idle pool uses no CPU.
 * Owns: the threads. Errors: -EAGAIN, -ENOMEM. Thread: run() from the thread that made the pool.
 * The only file of the engine with atomics. */
#pragma once

#include <stddef.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

#define INK_THREADS_MAX 64

typedef struct InkThreads InkThreads;
typedef void InkThreadsJob(void *userdata, size_t thread, size_t n_threads);

/* n_threads 0 = the processors this process may run on, at most INK_THREADS_MAX. */
INK_MUST_CHECK int ink_threads_new(size_t n_threads, InkThreads **ret, InkError *reterr);
InkThreads *ink_threads_free(InkThreads *t);
INK_DEFINE_CLEANUP(InkThreads, ink_threads_free, ink_threads_free_p)
size_t ink_threads_count(const InkThreads *t);

/* Runs the job on every thread; returns when all are done. */
void ink_threads_run(InkThreads *t, InkThreadsJob *job, void *userdata);
/* One processor for each thread, the caller's too, where the pool has as many as there are; for a
 * process that does nothing else. After a sleep the kernel likes to put threads that wake one
 * another on one processor, and for some tens of milliseconds, until it spreads them again, each
 * meeting costs two switches: a short answer took three times as long. */
void ink_threads_settle(InkThreads *t);
/* Inside a job: waits until every thread of the pool has come here. */
void ink_threads_barrier(InkThreads *t);

/* The share [begin, end) of n items for one thread, in order. */
static inline void ink_threads_range(size_t n, size_t thread, size_t n_threads, size_t *ret_begin,
                                     size_t *ret_end)
{
    *ret_begin = n * thread / n_threads;
    *ret_end = n * (thread + 1) / n_threads;
}
