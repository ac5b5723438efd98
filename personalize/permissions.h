/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the person decided for applications, in the table permissions. The numbers of permissions
 * are those of InkPermission (ipc/service.h), which this room does not know; they are part of the
 * file's format and never change their meaning.
 *
 * Owns: nothing; rows are borrowed for the callback.
 * Errors: as personalize/store.h; -EINVAL for an empty or over-long application id.
 * Thread: that of the store. */
#pragma once

#include "personalize/store.h"

#define INK_STORE_MAX_APP_BYTES   255u
#define INK_STORE_MAX_PERMISSIONS 65536u /* rows; beyond: -EDQUOT */

typedef struct InkStoredPermission {
    const char *app;
    uint32_t permission;
    bool allowed;
} InkStoredPermission;

/* Calls `each` for every row, by application. */
INK_MUST_CHECK int ink_store_list_permissions(InkStore *s,
                                              void (*each)(void *userdata,
                                                           const InkStoredPermission *row),
                                              void *userdata, InkError *reterr);
INK_MUST_CHECK int ink_store_set_permission(InkStore *s, const char *app, uint32_t permission,
                                            bool allowed, InkError *reterr);
/* Back to the default; no row is no error. */
INK_MUST_CHECK int ink_store_reset_permission(InkStore *s, const char *app, uint32_t permission,
                                              InkError *reterr);
