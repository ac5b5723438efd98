/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The store's operations as jobs of the store thread, in the types of ipc/service.h, so that
 * daemon/app.c hands arguments and replies straight on. Arguments are copied before a call returns.
 *
 * Owns: copies; results given to a reply are borrowed for that call.
 * Errors: as ink_store_thread_submit() for the call (the reply then never comes), -EINVAL for a
 * kind or outcome that is not known, -E2BIG for over-long lists; those of personalize/store.h
 * through the reply. Thread: calls and replies on the loop thread. Replies never come before the
 * call returns. */
#pragma once

#include "daemon/store-thread.h"
#include "ipc/service.h"

/* `app_id` in all: the caller's attribution, which is the scope of rows. */
INK_MUST_CHECK int ink_store_job_observe(InkStoreThread *t, const char *app_id,
                                         const InkServiceEvent *events, size_t n, bool train,
                                         bool dry_run, InkCountReply *reply, void *userdata,
                                         InkError *reterr);
INK_MUST_CHECK int ink_store_job_suggest(InkStoreThread *t, const char *app_id,
                                         const InkServiceSuggest *query, InkSuggestReply *reply,
                                         void *userdata, InkError *reterr);
/* outcome: "shown", "accepted", "partial", "dismissed", "edited". */
INK_MUST_CHECK int ink_store_job_feedback(InkStoreThread *t, const char *app_id,
                                          const char *item_id, const char *outcome,
                                          uint64_t accepted_chars, const char *text,
                                          InkDoneReply *reply, void *userdata, InkError *reterr);

/* error NULL = success. Call it once after start, to fill the cache behind the property; it also
 * opens the store. */
typedef void InkStoreMemoryReply(void *userdata, const InkError *error, bool enabled);
INK_MUST_CHECK int ink_store_job_memory_enabled(InkStoreThread *t, InkStoreMemoryReply *reply,
                                                void *userdata, InkError *reterr);
INK_MUST_CHECK int ink_store_job_set_memory_enabled(InkStoreThread *t, bool enabled,
                                                    InkDoneReply *reply, void *userdata,
                                                    InkError *reterr);

/* What the store holds of `app_id`; NULL = of everybody. */
typedef void InkStoreCountsReply(void *userdata, const InkError *error,
                                 const InkStoreCounts *counts);
INK_MUST_CHECK int ink_store_job_counts(InkStoreThread *t, const char *app_id,
                                        InkStoreCountsReply *reply, void *userdata,
                                        InkError *reterr);
