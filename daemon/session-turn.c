/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One prompt of a session on its way: it stands between the task and the caller's sink, keeps the
 * answer, and when that has ended well puts question and answer into the transcript, before the
 * caller hears of the end. */
#include <string.h>

#include "daemon/bounds.h"
#include "daemon/sessions-private.h"
#include "daemon/store-sessions.h"
#include "engine/base/alloc.h"

struct InkTurnRun {
    InkApp *app;
    uint64_t session_id; /* looked up each time: it may have been closed */
    uint64_t task_id;
    bool is_prewarm;
    InkTaskSink sink;
    InkTranscript turns; /* the question; at the end the answer too */
    char *answer;
    size_t n_answer_bytes, n_answer_room;
    bool answer_failed;
    /* Of the end, while the disk is waited for. */
    InkTaskResult result;
    char model[128], kernels[16];
};

static InkTurnRun *free_run(InkTurnRun *run)
{
    if (run == NULL)
        return NULL;
    ink_transcript_done(&run->turns);
    ink_wipe_free(run->answer, run->n_answer_room);
    free(run);
    return NULL;
}

INK_DEFINE_CLEANUP(InkTurnRun, free_run, free_run_p)

void ink_turn_cancel(InkApp *app, const InkTurnRun *run, InkCancelReason reason)
{
    if (run != NULL)
        ink_app_cancel(app, run->task_id, reason);
}

/* ------------------------------------------------------------------ the answer */

static void on_progress(void *userdata, const char *stage, double fraction)
{
    InkTurnRun *run = userdata;
    run->sink.events->progress(run->sink.userdata, stage, fraction);
}

/* Grows by copying, since realloc() would leave the old bytes where they were. */
static bool make_room(InkTurnRun *run, size_t n_more)
{
    if (n_more <= run->n_answer_room - run->n_answer_bytes)
        return true;
    size_t room = 2 * (run->n_answer_bytes + n_more);
    char *grown = ink_alloc_array(room, 1);
    if (grown == NULL)
        return false;
    if (run->n_answer_bytes > 0)
        memcpy(grown, run->answer, run->n_answer_bytes);
    ink_wipe_free(run->answer, run->n_answer_room);
    run->answer = grown;
    run->n_answer_room = room;
    return true;
}

static void on_text(void *userdata, uint64_t offset_bytes, const char *text, size_t n_bytes)
{
    InkTurnRun *run = userdata;
    if (make_room(run, n_bytes)) {
        memcpy(run->answer + run->n_answer_bytes, text, n_bytes);
        run->n_answer_bytes += n_bytes;
    } else {
        run->answer_failed = true;
    }
    run->sink.events->text(run->sink.userdata, offset_bytes, text, n_bytes);
}

/* ------------------------------------------------------------------ the end */

static InkConversation *session_of(const InkTurnRun *run)
{
    return ink_sessions_find(run->app->sessions, run->session_id);
}

/* The last word to the caller. Frees the run; the session is free for the next prompt. */
static void deliver(InkTurnRun *run)
{
    _cleanup_(free_run_p) InkTurnRun *ended = run;
    const InkTaskResult *result = &run->result;
    InkConversation *session = session_of(run);
    if (session != NULL) {
        if (session->running == run)
            session->running = NULL;
        if (session->prewarm == run)
            session->prewarm = NULL;
        ink_conversation_used(session);
        const InkSessions *s = session->owner;
        if (result->status == INK_TASK_SUCCESS && s->events != NULL &&
            (result->dropped_messages > 0 || result->truncated_tokens > 0))
            s->events->overflow(s->userdata, session->id, result->dropped_messages,
                                result->truncated_tokens);
    }
    run->sink.events->finished(run->sink.userdata, result);
}

static void fail(InkTurnRun *run, int code, const char *message)
{
    run->result.status = INK_TASK_FAILED;
    run->result.reason = INK_FINISH_NONE;
    (void)INK_RAISE(code, &run->result.error, "%s", message);
}

/* On the disk, if it had to be; now it is in the transcript too. */
static void keep_turns(InkTurnRun *run, InkConversation *session)
{
    InkError error = {0};
    uint32_t usage = run->result.prompt_tokens + run->result.output_tokens;
    if (ink_transcript_join(&session->transcript, &run->turns, &error) < 0) {
        fail(run, error.code, error.message);
        return;
    }
    ink_conversation_changed(session);
    session->usage = usage;
    session->usage_is_exact = true;
}

static void on_stored(void *userdata, const InkError *error)
{
    InkTurnRun *run = userdata;
    InkConversation *session = session_of(run);
    if (session != NULL)
        session->storing = false;
    if (error != NULL)
        fail(run, error->code, error->message);
    else if (session != NULL)
        keep_turns(run, session);
    deliver(run);
}

/* The new part of the prompt: all of it but what the last turn had already. */
static uint32_t question_tokens(const InkTurnRun *run, const InkConversation *session)
{
    uint32_t n = run->result.prompt_tokens;
    if (run->result.truncated_tokens > 0 || (session->transcript.n > 0 && !session->usage_is_exact))
        return 0;
    return n > session->usage ? n - session->usage : 0;
}

static int collect_turns(InkTurnRun *run, InkConversation *session, InkError *reterr)
{
    INK_CHECK(!run->answer_failed, ENOMEM, reterr, "out of memory for the answer");
    INK_TRY(ink_transcript_add(&run->turns, INK_ROLE_ASSISTANT, run->answer, run->n_answer_bytes,
                               run->result.output_tokens, 0, reterr));
    run->turns.turns[0].tokens = question_tokens(run, session);
    INK_TRY(ink_transcript_check(&session->transcript, run->turns.n, run->turns.n_bytes, reterr));
    if (!session->persistent)
        return 0;
    INK_TRY(ink_store_job_append_turns(run->app->store, session->stored_id, session->transcript.n,
                                       &run->turns, on_stored, run, reterr));
    session->storing = true;
    return 0;
}

/* An answer counts that came to an end, was cut at max-tokens, or at its deadline: what was given
 * out is what was said. Nothing at all, cut by the deadline, is no answer. */
static bool counts(const InkTurnRun *run)
{
    return !run->is_prewarm && run->result.status == INK_TASK_SUCCESS &&
           (run->n_answer_bytes > 0 || run->result.reason != INK_FINISH_DEADLINE);
}

static void on_finished(void *userdata, const InkTaskResult *result)
{
    InkTurnRun *run = userdata;
    InkConversation *session = session_of(run);
    InkError error = {0};
    run->result = *result;
    snprintf(run->model, sizeof run->model, "%s", result->model);
    snprintf(run->kernels, sizeof run->kernels, "%s", result->kernels);
    run->result.model = run->model;
    run->result.kernels = run->kernels;
    if (session != NULL && counts(run)) {
        if (collect_turns(run, session, &error) < 0)
            fail(run, error.code, error.message);
        else if (session->storing)
            return; /* on_stored() goes on */
        else
            keep_turns(run, session);
    }
    deliver(run);
}

static const InkTaskEvents turn_events = {
    .progress = on_progress, .text = on_text, .finished = on_finished};

/* ------------------------------------------------------------------ the start */

/* The session's model is that of its first day, as long as it is the default one. */
static int check_model(InkApp *app, InkConversation *session, InkError *reterr)
{
    g_autofree char *model = NULL;
    INK_TRY(ink_app_find_model(app, "", &model, reterr));
    if (strcmp(session->model, model) == 0)
        return 0;
    ink_app_close_session(app, session->id, INK_SESSION_MODEL_CHANGED);
    return INK_RAISE(ENXIO, reterr, "the session has ended: another model is the default one now");
}

static int find_session(InkApp *app, const InkCaller *caller, const InkTask *task,
                        InkConversation **ret, InkError *reterr)
{
    InkConversation *session;
    INK_TRY(ink_sessions_get(app, task->session, &session, reterr));
    INK_CHECK(strcmp(session->sender, caller->sender) == 0, ENXIO, reterr,
              "there is no such session any more");
    INK_TRY(ink_sessions_get_quiet(app, task->session, &session, reterr));
    size_t n_more_bytes = task->n_prompt_bytes + INK_LIMIT_SESSION_ANSWER_BYTES;
    INK_TRY(ink_transcript_check(&session->transcript, 2, n_more_bytes, reterr));
    INK_TRY(
        ink_sessions_check_room(app->sessions, caller->app_id, caller->kind, n_more_bytes, reterr));
    INK_TRY(check_model(app, session, reterr));
    *ret = session;
    return 0;
}

static int new_run(InkApp *app, const InkConversation *session, const InkTask *task,
                   const InkTaskSink *sink, InkTurnRun **ret, InkError *reterr)
{
    _cleanup_(free_run_p) InkTurnRun *run = ink_alloc_array(1, sizeof *run);
    INK_CHECK(run != NULL, ENOMEM, reterr, "out of memory");
    run->app = app;
    run->session_id = session->id;
    run->sink = *sink;
    run->is_prewarm = task->kind == INK_TASK_PREWARM;
    INK_TRY(ink_transcript_add(&run->turns, INK_ROLE_USER, task->prompt, task->n_prompt_bytes, 0, 0,
                               reterr));
    *ret = INK_TAKE(run);
    return 0;
}

int ink_app_start_turn(InkApp *app, const InkCaller *caller, const InkTask *task,
                       const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    _cleanup_(free_run_p) InkTurnRun *run = NULL;
    _cleanup_free_ InkChatMessage *messages = NULL;
    InkConversation *session = NULL;
    InkTask chat = *task;
    INK_TRY(find_session(app, caller, task, &session, reterr));
    INK_TRY(new_run(app, session, task, sink, &run, reterr));
    INK_TRY(ink_conversation_messages(session, task->prompt, task->n_prompt_bytes, &messages,
                                      &chat.n_messages, reterr));
    chat.messages = messages;
    chat.model = session->model;
    chat.context_limit = session->context_limit;
    chat.overflow = task->has_overflow ? task->overflow : session->overflow;
    chat.priority = task->has_priority ? task->priority : session->priority;
    /* What was read ahead stays in the cache; the prompt is not to wait for the rest of it. */
    ink_turn_cancel(app, session->prewarm, INK_CANCEL_SUPERSEDED);
    InkTaskSink own = *sink;
    own.events = &turn_events;
    own.userdata = run;
    /* No task ends before its start has returned: the queue runs from the loop. */
    INK_TRY(ink_app_start_generation(app, caller, &chat, &own, &run->task_id, reterr));
    *ret_id = run->task_id;
    if (run->is_prewarm)
        session->prewarm = INK_TAKE(run);
    else
        session->running = INK_TAKE(run);
    return 0;
}
