/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Sessions: conversations that the broker holds, so that they outlive a worker. A prompt is a chat
 * of the transcript and the new text; what it computed before comes out of the worker's prefix
 * cache. Question and answer join the transcript together when the answer has ended well, in the
 * store first if the session is persistent; a turn that failed or was cancelled leaves no trace.
 * One that ended at max-tokens or its deadline counts with the text that was given out.
 *
 *   opening (persistent) --store--> open --prompt--> busy --end, store--> open
 *   open or busy --Close, owner gone, idle, model change, shutdown--> gone, its text wiped
 *
 * No timer runs while there is no session, and none ends one that is busy.
 * Owns: transcripts. Errors: -ENXIO (no such session of this caller), -EALREADY (a prompt runs),
 * -EBUSY (too many; the name is open already), -E2BIG, -EOPNOTSUPP (no chat template), those of
 * tasks and of the store. Thread: the loop thread. */
#pragma once

#include "daemon/app.h"
#include "ipc/service.h"

typedef struct InkSessions InkSessions;

INK_MUST_CHECK int ink_sessions_new(InkApp *app, InkSessions **ret, InkError *reterr);
/* Ends all with `shutdown`. */
InkSessions *ink_sessions_free(InkSessions *s);
size_t ink_sessions_n(const InkSessions *s);
/* Ends those whose model is not the default one any more (`model-changed`). Call it when the
 * default was set anew, and when a model was removed. */
void ink_sessions_check_model(InkSessions *s);
/* The settings are others now: the idle time, and perhaps the default model. */
void ink_sessions_reconfigured(InkSessions *s);

/* Operations of InkServiceOps; `service` is the InkApp. */
void ink_app_set_session_events(void *service, const InkSessionEvents *events, void *userdata);
int ink_app_create_session(void *service, const InkCaller *caller,
                           const InkServiceSessionOptions *options, InkSessionReply *reply,
                           void *userdata, InkError *reterr);
int ink_app_session_append(void *service, uint64_t id, const InkChatMessage *messages, size_t n,
                           InkDoneReply *reply, void *userdata, InkError *reterr);
int ink_app_session_rewind(void *service, uint64_t id, uint32_t turn, InkDoneReply *reply,
                           void *userdata, InkError *reterr);
int ink_app_session_clone(void *service, uint64_t id, const InkCaller *caller,
                          InkSessionReply *reply, void *userdata, InkError *reterr);
int ink_app_session_measure(void *service, uint64_t id, const char *text, InkCountReply *reply,
                            void *userdata, InkError *reterr);
int ink_app_session_transcript(void *service, uint64_t id,
                               void (*each)(void *userdata, const InkServiceTurn *turn),
                               void *userdata, InkError *reterr);
int ink_app_session_info(void *service, uint64_t id, InkServiceSession *ret, InkError *reterr);
int ink_app_session_forget(void *service, uint64_t id, InkDoneReply *reply, void *userdata,
                           InkError *reterr);
void ink_app_close_session(void *service, uint64_t id, InkSessionEnd reason);
void ink_app_list_sessions(void *service,
                           void (*each)(void *userdata, const InkServiceSession *session),
                           void *userdata);

/* Of start(): tasks of kind PROMPT and PREWARM. */
int ink_app_start_turn(InkApp *app, const InkCaller *caller, const InkTask *task,
                       const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr);
