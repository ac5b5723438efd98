/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Every bound of the broker, each with its reason. What a caller meets at the door is in
 * ipc/names.h, what a frame may carry in engine/worker/wire.h, the store's in personalize/store.h.
 * (A file called limits.h would hide the C library's.) Thread: constants. */
#pragma once

/* The session bus protects no program of a person from another one, so the daemon must: with 64
 * waiting answers of a second each, the last one is a minute away, and a refusal serves better. */
#define INK_LIMIT_QUEUED                64u
/* One program cannot fill that queue alone. */
#define INK_LIMIT_QUEUED_PER_APP        16u
/* Rows of a decode step share the memory traffic; from four of one program on, others wait. */
#define INK_LIMIT_RUNNING_PER_APP       4u
/* Waiting and running together: while a model is being loaded nothing runs yet, and the requests
 * that would are no queue. So twenty first callers at once are all served. */
#define INK_LIMIT_PENDING_PER_APP       (INK_LIMIT_QUEUED_PER_APP + INK_LIMIT_RUNNING_PER_APP)
/* In the worker at a time, all programs together, of one class and better ones: one batch step. */
#define INK_LIMIT_RUNNING               16u
/* Prompts wait in memfds; so much memory may all of them hold, one prompt being 4 MiB at most. */
#define INK_LIMIT_PENDING_BYTES         (64u << 20)
/* Four of the largest prompts: one program cannot keep the others from waiting. */
#define INK_LIMIT_PENDING_BYTES_PER_APP (16u << 20)
/* Of one prompt; what the door allows (ipc/names.h). Sandboxed programs have half of this and of
 * the limits for each program above and below. */
#define INK_LIMIT_PROMPT_BYTES          (4u << 20)
/* Engine time of `background` that one program has in an hour: a sixth of it, so that six such
 * programs can share an idle machine. */
#define INK_LIMIT_BACKGROUND_USEC       600000000ull
#define INK_LIMIT_BACKGROUND_SPAN_USEC  3600000000ull
/* What a start costs its program's account until the end tells: an answer of middling length. */
#define INK_LIMIT_GUESS_USEC            1000000u
/* Programs whose use of the engine is remembered; beyond it the longest gone are forgotten. */
#define INK_LIMIT_ACCOUNTS              1024u
/* `normal` moves up one class after this wait, so that interactive work cannot starve it. */
#define INK_LIMIT_PROMOTE_USEC          30000000u
/* Counting tokens takes milliseconds; callers' libraries give up at 25 s. */
#define INK_LIMIT_TOKENS_USEC           20000000u

/* Weights come back in well under a second, so ten minutes only spare repeated starts. */
#define INK_LIMIT_IDLE_MINUTES     10u
#define INK_LIMIT_IDLE_MINUTES_MAX 10080u
/* After so long without work the cached prefixes shrink to this: about three thousand tokens of the
 * default model, the conversations of the last minutes. While there is work they may fill the KV
 * budget, since then they save time. */
#define INK_LIMIT_REST_USEC        60000000u
#define INK_LIMIT_REST_CACHE_BYTES (64u << 20)
/* A caller may keep the model resident for a day at most. */
#define INK_LIMIT_HOLD_USEC        86400000000u

/* Conversations in memory. A program that keeps more of them open at a time has forgotten some;
 * sandboxed ones get half. */
#define INK_LIMIT_SESSIONS_PER_APP      16u
#define INK_LIMIT_SESSIONS              256u
/* Text of all of them together, and of one program; one session has 4 MiB at most. */
#define INK_LIMIT_SESSION_BYTES         (64u << 20)
#define INK_LIMIT_SESSION_BYTES_PER_APP (16u << 20)
/* Room that a prompt leaves in its session for the answer: 16 bytes for each of 4096 tokens. */
#define INK_LIMIT_SESSION_ANSWER_BYTES  (64u << 10)
/* Who has not come back by then starts anew; its text need not lie in memory all day. */
#define INK_LIMIT_SESSION_MINUTES       30u

/* The worker shows life every 500 ms of work; after a cancel four missed signs are enough. */
#define INK_LIMIT_STALL_USEC      2000000u
/* Without a cancel nobody is waiting for the stop, and a swapping machine may be slow. */
#define INK_LIMIT_SILENCE_USEC    30000000u
/* Loading shows no life while the kernel reads: 4 GB from a slow disk take a minute and more. */
#define INK_LIMIT_LOAD_USEC       600000000u
/* A worker that shows life but does not end a cancelled request is broken as well. */
#define INK_LIMIT_CANCEL_USEC     10000000u
/* A timer that comes so much later than it was set for: this process did not run. */
#define INK_LIMIT_LATE_USEC       200000u
/* From exec to READY: a few milliseconds of sealing. */
#define INK_LIMIT_START_USEC      10000000u
/* Of one answer whose reader has no back-pressure: 1 KiB for each of 4096 tokens. */
#define INK_LIMIT_ANSWER_BYTES    (4u << 20)
/* Programs whose prefixes are told apart; beyond it all get fresh numbers. */
#define INK_LIMIT_SCOPES          4096u
/* Less credit than this may park a request, whose silence is then in order. */
#define INK_LIMIT_PARKED_BYTES    4096u
/* Credit of a reader that keeps up is saved up to this before a frame tells the worker. */
#define INK_LIMIT_CREDIT_STEP     4096u
/* Frames that wait for a full socket: more than all running requests can need at a time. */
#define INK_LIMIT_OUT_FRAMES      1024u
/* Frames taken in one turn of the loop, so that a flood from the worker does not starve the bus. */
#define INK_LIMIT_FRAMES_PER_TURN 64u

/* First retry at once, then 100 ms doubling to 10 s: a broken file must not cost a core. */
#define INK_LIMIT_BACKOFF_USEC     100000u
#define INK_LIMIT_BACKOFF_MAX_USEC 10000000u
/* A worker that has lived this long is sound: the back-off begins anew. */
#define INK_LIMIT_SOUND_USEC       60000000u
/* Starts in a row that ended before LOADED; then those who wait are told. */
#define INK_LIMIT_START_FAILURES   3u
/* Inputs that killed a worker twice, 32 bytes each; the oldest gives way. */
#define INK_LIMIT_POISON           256u

/* Stalled for 200 ms of two seconds: a person notices that. Hundredths of a percent of ten seconds:
 * below the first it is over; from these on, of some or of all tasks, nothing new begins. */
#define INK_LIMIT_PRESSURE_TRIGGER   "some 200000 2000000"
#define INK_LIMIT_PRESSURE_CALM      500u
#define INK_LIMIT_PRESSURE_SOME      4000u
#define INK_LIMIT_PRESSURE_FULL      1000u
/* How long a warning holds, and how often it is looked whether it is over. */
#define INK_LIMIT_PRESSURE_CALM_USEC 10000000u
/* Idle time of the worker while memory is short. */
#define INK_LIMIT_PRESSURE_IDLE_USEC 2000000u
/* resident=on-demand: the broker waits this long for another call before it leaves, since calls
 * come in groups. */
#define INK_LIMIT_EXIT_USEC          5000000u
/* After systemd was told that we stop, and calls came all the same: below TimeoutStopSec of the
 * unit. */
#define INK_LIMIT_STOPPING_USEC      6000000u

/* Above the broker (0), so that the kernel takes the worker first when memory is short. */
#define INK_LIMIT_WORKER_OOM_SCORE "500"

/* A folder of models is scanned at each request that names one: this keeps it cheap. */
#define INK_LIMIT_MODELS              256u
/* Helpers that look at models, at a time: each maps a file and reads a vocabulary, or hashes it
 * all. One program has half of them at most. */
#define INK_LIMIT_INSPECTIONS         4u
/* A helper syncs 32 MiB between two signs of life, which takes this long on a bad USB stick. */
#define INK_LIMIT_HELPER_SILENCE_USEC 120000000u
/* Room for the packed form beside the model: its size, an eighth and this much. */
#define INK_LIMIT_CACHE_SLACK         (1u << 20)
