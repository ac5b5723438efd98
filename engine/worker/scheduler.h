/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Runs all answers of a worker together. One step is one batch of rows through the model: a decode
 * row of every answer that is being written, then pieces of prompts that are still being read.
 *
 * Order. Answers being written share each step, whatever their class, so that nobody waits for
 * another's long answer; only background stands back while any other class can run, and all but
 * every eighth step while somebody types, which is over soon. Prompts are
 * read in strict order of class, and in short pieces while somebody writes, so that the writing
 * stays even. Within a class the rows of a step, and admission, go to the application (scope) that
 * has used least engine time so far (accounts.h). While a typing request runs, other classes read
 * in every eighth step only; one that is not short runs as interactive from then on, and its
 * FINISHED says so. A few places are kept for the better classes, so that a full worker still takes
 * in a typing request. An answer whose credit is used up is parked: it has no row and no place
 * until CREDIT comes.
 *
 * Keys and values are set aside at admission for the longest answer that may come, so that no
 * answer dies half-way for want of memory; who does not fit waits. Blocks that several use count
 * once, and cached ones are free for the asking. When a better class does not fit, the worst one
 * below it goes back to the queue; its keys and values stay cached while memory allows, so that it
 * goes on where it was.
 *
 * Owns: generations given to it, a sampler. Borrows the engine and the socket. Errors: -ECONNRESET
 * and other errors of the socket, -ENOMEM; what goes wrong with one answer ends that one with
 * FAILED. Thread: that of its engine. */
#pragma once

#include "engine/worker/generation.h"

/* Beyond this the shares are too small to be of use; the memory of one more is small. */
#define INK_SCHEDULER_MAX_SESSIONS         16u
/* As on the bus: 64 in all wait, `Busy` beyond (docs/dbus-api.md, Limits). */
#define INK_SCHEDULER_MAX_QUEUED           64u
/* Prompt rows of a step in which somebody writes: bounds the gap between two tokens. */
#define INK_SCHEDULER_SHARED_ROWS          128u
/* What a typing request may have as such: new tokens, and tokens of its prompt to be read. */
#define INK_SCHEDULER_TYPING_TOKENS        32u
#define INK_SCHEDULER_TYPING_PROMPT_TOKENS 512u
/* While typing runs the others read and write in every so manieth step: typing without a pause by
 * one program slows them down and does not stop them. */
#define INK_SCHEDULER_TYPING_STEPS         8u
/* So long after a typing request the next one is expected, and steps are kept short. */
#define INK_SCHEDULER_TYPING_USEC          10000000u
/* Half of what the frames promise (500 ms), so that a slow layer does not break the promise. */
#define INK_SCHEDULER_HEARTBEAT_USEC       250000u

typedef struct InkScheduler InkScheduler;

/* Called between layers: takes in what has arrived and calls ink_scheduler_cancel() or _credit()
 * for it; a negative error gives the step up, and ink_scheduler_step() returns it. */
typedef int InkSchedulerPoll(void *userdata);

INK_MUST_CHECK int ink_scheduler_new(InkEngine *e, size_t max_kv_bytes, int socket,
                                     InkScheduler **ret, InkError *reterr);
InkScheduler *ink_scheduler_free(InkScheduler *s);
INK_DEFINE_CLEANUP(InkScheduler, ink_scheduler_free, ink_scheduler_free_p)

/* Takes the generation over (*g becomes NULL), or answers -EBUSY (queue full), -ENOMEM (would never
 * fit) and leaves it with the caller. */
INK_MUST_CHECK int ink_scheduler_add(InkScheduler *s, InkGeneration **g, InkError *reterr);
/* Books time that a request of this scope and class has cost outside of steps. */
void ink_scheduler_charge(InkScheduler *s, uint32_t scope, uint32_t class, uint64_t usec);
/* As the frame TRIM says. */
void ink_scheduler_trim(InkScheduler *s, uint32_t scope, size_t keep_bytes);
bool ink_scheduler_has(const InkScheduler *s, uint64_t id);
/* These ignore an id that is not there. From the next step on; typing that is too long for that
 * class becomes interactive at once. */
void ink_scheduler_set_priority(InkScheduler *s, uint64_t id, uint32_t priority);
void ink_scheduler_cancel(InkScheduler *s, uint64_t id);
/* -EPROTO: more than INK_WIRE_MAX_CREDIT outstanding. */
INK_MUST_CHECK int ink_scheduler_credit(InkScheduler *s, uint64_t id, uint32_t more_bytes,
                                        InkError *reterr);

/* Sends text that credit now allows, ends what is cancelled or done, admits who waits. */
INK_MUST_CHECK int ink_scheduler_settle(InkScheduler *s);
/* Whether a step would do anything; true only after ink_scheduler_settle(). */
bool ink_scheduler_is_runnable(const InkScheduler *s);
/* One batch (or one that was given up because somebody in it was cancelled: between two layers when
 * nobody else is in it, else not twice in a row), then settle. */
INK_MUST_CHECK int ink_scheduler_step(InkScheduler *s, InkSchedulerPoll *poll, void *userdata,
                                      InkError *reterr);
