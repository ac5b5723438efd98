/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The one thread that runs SQLite: jobs go in through a bounded queue, finished ones come back
 * through an eventfd that the loop watches, so that the loop never waits for a disk.
 *
 *   loop thread:  submit ──> queue ──> store thread: run() ──> finished list ──> loop: done(),
 * free()
 *
 * A job is plain data with exactly one owner at a time: the submitter until submit() succeeds, the
 * store thread until run() returned, then the loop. Jobs run in the order of submission.
 * The store is opened by this thread before its first job. When that fails, each job ends with the
 * reason; opening is tried again at most every INK_STORE_THREAD_REOPEN_USEC, so that a disk that
 * has space again (or a file that was moved aside) needs no restart. Owns: the thread, the store,
 * queued and finished jobs. Errors: -EBUSY queue full, -ESHUTDOWN stopping, -ENOMEM, -EIO (a job's
 * error, see personalize/store.h). Thread: all calls from the loop thread. */
#pragma once

#include <systemd/sd-event.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "personalize/store.h"

/* A caller that waits behind this many writes (about 1 ms each) would rather be told so. */
#define INK_STORE_THREAD_MAX_QUEUED    256u
/* Of the arguments of all of them: one call may carry 8 MiB of events. */
#define INK_STORE_THREAD_MAX_BYTES     (32u << 20)
/* Opening checks the whole file; a broken one should not cost that for every job. */
#define INK_STORE_THREAD_REOPEN_USEC   3000000u
/* Finished jobs that one turn of the loop hands out, so that a burst does not stall typing. */
#define INK_STORE_THREAD_JOBS_PER_TURN 16u

typedef struct InkStoreThread InkStoreThread;
typedef struct InkStoreJob InkStoreJob;

/* The head of each job; the job's own fields follow it. */
struct InkStoreJob {
    /* On the store thread, with an open store. Fills `error` (code 0 = success). */
    void (*run)(InkStoreJob *job, InkStore *store);
    /* On the loop thread, exactly once, also when the store could not be opened (`error`). */
    void (*done)(InkStoreJob *job);
    /* On the loop thread, after done(). */
    void (*free)(InkStoreJob *job);
    InkError error;
    size_t n_bytes;    /* of its arguments; constant once it is submitted */
    InkStoreJob *next; /* of the queue that owns it */
};

/* Returns at once; the store opens later, on its thread. */
INK_MUST_CHECK int ink_store_thread_start(sd_event *event, const char *directory,
                                          InkStoreThread **ret, InkError *reterr);
/* Takes the job when it returns 0; else it stays with the caller. */
INK_MUST_CHECK int ink_store_thread_submit(InkStoreThread *t, InkStoreJob *job, InkError *reterr);
/* Runs what is queued, joins the thread, calls every outstanding done(), closes the store.
 * A done() that submits during this gets -ESHUTDOWN. Returns NULL. */
InkStoreThread *ink_store_thread_stop(InkStoreThread *t);
INK_DEFINE_CLEANUP(InkStoreThread, ink_store_thread_stop, ink_store_thread_stop_p)
/* Submitted and not yet done. */
size_t ink_store_thread_n_pending(const InkStoreThread *t);
