/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* personalize/permissions.h as jobs of the store thread; see daemon/store-jobs.h for the rules.
 *
 * Owns: copies; rows given to a reply are borrowed for that call.
 * Errors: as ink_store_thread_submit() for the call, those of the store through the reply.
 * Thread: calls and replies on the loop thread. */
#pragma once

#include "daemon/store-thread.h"
#include "ipc/service.h"
#include "personalize/permissions.h"

/* error NULL = these are all rows. */
typedef void InkStorePermissionsReply(void *userdata, const InkError *error,
                                      const InkStoredPermission *rows, size_t n_rows);
INK_MUST_CHECK int ink_store_job_list_permissions(InkStoreThread *t,
                                                  InkStorePermissionsReply *reply, void *userdata,
                                                  InkError *reterr);
/* DEFAULT deletes the decision. */
INK_MUST_CHECK int ink_store_job_set_permission(InkStoreThread *t, const char *app_id,
                                                InkPermission permission, InkDecision decision,
                                                InkDoneReply *reply, void *userdata,
                                                InkError *reterr);
