/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who waits, who runs, and who comes next: classes of priority in strict order, round robin between
 * programs within a class, arrival within a program. Background comes only when nothing else waits
 * or runs. Bounds: bounds.h.
 * Owns: nothing but its own lists; requests belong to daemon/tasks.c.
 * Errors: -EBUSY with the limit in the message, -ENOMEM. Thread: the loop thread. */
#pragma once

#include "daemon/request.h"

typedef struct InkAdmission InkAdmission;

InkAdmission *ink_admission_new(void);
InkAdmission *ink_admission_free(InkAdmission *a);
INK_DEFINE_CLEANUP(InkAdmission, ink_admission_free, ink_admission_free_p)

/* Queues it; sets its order and time. */
INK_MUST_CHECK int ink_admission_add(InkAdmission *a, InkRequest *r, uint64_t now_usec,
                                     InkError *reterr);
/* Who would come next, or NULL: nobody waits, or all who wait are at a limit. */
InkRequest *ink_admission_next(InkAdmission *a, uint64_t now_usec);
/* From the queue into the worker. */
void ink_admission_start(InkAdmission *a, InkRequest *r);
/* Out of the queue or out of the worker: its end. */
void ink_admission_remove(InkAdmission *a, InkRequest *r);

size_t ink_admission_n_queued(const InkAdmission *a);
size_t ink_admission_n_running(const InkAdmission *a);
/* 1 = next; 0 = not in the queue. A guess, since programs take turns. */
uint32_t ink_admission_position(const InkAdmission *a, const InkRequest *r, uint64_t now_usec);
