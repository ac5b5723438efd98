/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Persistent sessions as jobs of the store thread.
 *
 * Owns: a copy of what is written, wiped at its end; what a reply is given is borrowed.
 * Errors: as ink_store_thread_submit() for the call (the reply then never comes); those of
 * personalize/conversations.h through the reply. Thread: calls and replies on the loop thread.
 * Replies never come before the call returns. */
#pragma once

#include "daemon/store-thread.h"
#include "daemon/transcript.h"
#include "ipc/service.h"

/* `turns` may be taken (left empty). error NULL = success. */
typedef void InkStoreSessionReply(void *userdata, const InkError *error,
                                  const InkStoredSession *session, InkTranscript *turns);
/* Finds the session and reads its turns, or makes it of `first`. One that is there must begin with
 * `first`, else -EINVAL. */
INK_MUST_CHECK int ink_store_job_open_session(InkStoreThread *t, const char *app_id,
                                              const char *name, const InkStoredSession *options,
                                              const InkTranscript *first,
                                              InkStoreSessionReply *reply, void *userdata,
                                              InkError *reterr);
/* Behind turn `n_known`; what an earlier call that failed has left there goes. */
INK_MUST_CHECK int ink_store_job_append_turns(InkStoreThread *t, uint64_t session, size_t n_known,
                                              const InkTranscript *turns, InkDoneReply *reply,
                                              void *userdata, InkError *reterr);
INK_MUST_CHECK int ink_store_job_rewind_session(InkStoreThread *t, uint64_t session, size_t n_kept,
                                                InkDoneReply *reply, void *userdata,
                                                InkError *reterr);
INK_MUST_CHECK int ink_store_job_remove_session(InkStoreThread *t, uint64_t session,
                                                InkDoneReply *reply, void *userdata,
                                                InkError *reterr);
