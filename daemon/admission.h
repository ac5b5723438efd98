/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who waits, who runs, and who comes next: classes of priority in strict order; within a class the
 * program that has used the least engine time, so that many requests buy nothing; within a program
 * the order of arrival. Background comes only when nothing else waits or runs and memory is not
 * short.
 *
 * The turns are a deficit round robin that is paid afterwards, since nobody knows a request's cost
 * before: each program has an account of engine microseconds for each class. A start books a guess,
 * the end corrects it. A newcomer, or one that was idle, begins at the least account of those who
 * are busy in the class: it owes nothing, and has saved nothing up.
 *
 * Owns: its own lists and accounts; requests belong to daemon/tasks.c. Bounds: bounds.h; sandboxed
 * programs have half. Times are monotonic.
 * Errors: -EBUSY and -EDQUOT with the limit and the seconds to wait in the message, -ENOMEM.
 * Thread: the loop thread. */
#pragma once

#include "daemon/request.h"

typedef struct InkAdmission InkAdmission;

InkAdmission *ink_admission_new(void);
InkAdmission *ink_admission_free(InkAdmission *a);
INK_DEFINE_CLEANUP(InkAdmission, ink_admission_free, ink_admission_free_p)

/* Would a request of this caller and class with so many bytes be queued? Cheap, so that a flood is
 * refused before anything is built for it. */
INK_MUST_CHECK int ink_admission_check(InkAdmission *a, const InkCaller *caller,
                                       InkPriority priority, size_t bulk_bytes, uint64_t now_usec,
                                       InkError *reterr);
/* Queues it; sets its order and time. The same refusals. */
INK_MUST_CHECK int ink_admission_add(InkAdmission *a, InkRequest *r, uint64_t now_usec,
                                     InkError *reterr);
/* Who would come next, or NULL: nobody waits, or all who wait are at a limit. */
InkRequest *ink_admission_next(InkAdmission *a, uint64_t now_usec);
/* From the queue into the worker. */
void ink_admission_start(InkAdmission *a, InkRequest *r, uint64_t now_usec);
/* Out of the queue or out of the worker: its end. Books r->engine_usec, or a share of the time that
 * went by when the worker did not say (0). */
void ink_admission_remove(InkAdmission *a, InkRequest *r, uint64_t now_usec);

/* The owner wants another class: its program enters it as with a new request, with nothing saved
 * up. */
void ink_admission_set_priority(InkAdmission *a, InkRequest *r, InkPriority priority,
                                uint64_t now_usec);

/* While memory is short, background waits. */
void ink_admission_hold_background(InkAdmission *a, bool held);
/* Until `background` of this program is served again; 0 = it is. */
uint64_t ink_admission_background_wait_usec(const InkAdmission *a, const char *app_id,
                                            bool sandboxed, uint64_t now_usec);

size_t ink_admission_n_queued(const InkAdmission *a);
size_t ink_admission_n_running(const InkAdmission *a);
/* Programs with an account; for tests of the bound. */
size_t ink_admission_n_apps(const InkAdmission *a);
/* 1 = next; 0 = not in the queue. A guess, since programs take turns. */
uint32_t ink_admission_position(const InkAdmission *a, const InkRequest *r, uint64_t now_usec);
