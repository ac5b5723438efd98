/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/permissions.h"

#include "personalize/store-private.h"

static int check_app(const char *app, InkError *reterr)
{
    INK_CHECK(app != NULL && app[0] != '\0', EINVAL, reterr, "the application id is missing");
    return ink_store_check_text("the application id", app, INK_STORE_MAX_APP_BYTES, reterr);
}

int ink_store_list_permissions(InkStore *s,
                               void (*each)(void *userdata, const InkStoredPermission *row),
                               void *userdata, InkError *reterr)
{
    int r;
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_LIST_PERMISSIONS);
    while ((r = ink_rows_next(&rows, reterr)) > 0) {
        InkStoredPermission row = {
            .app = ink_rows_text(&rows, 0),
            .permission = (uint32_t)ink_rows_u64(&rows, 1),
            .allowed = ink_rows_u64(&rows, 2) == 1,
        };
        if (row.app != NULL)
            each(userdata, &row);
    }
    return r;
}

/* 1 = it has a row already, 0 = there is room for a new one. */
static int check_room(InkStore *s, const char *app, uint32_t permission, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_COUNT_PERMISSIONS);
    ink_rows_bind_text(&rows, 1, app);
    ink_rows_bind_u64(&rows, 2, permission);
    INK_TRY(ink_rows_next(&rows, reterr));
    if (ink_rows_u64(&rows, 1) > 0)
        return 1;
    INK_CHECK(ink_rows_u64(&rows, 0) < INK_STORE_MAX_PERMISSIONS, EDQUOT, reterr,
              "%u decisions are stored, more are not kept; reset some", INK_STORE_MAX_PERMISSIONS);
    return 0;
}

int ink_store_set_permission(InkStore *s, const char *app, uint32_t permission, bool allowed,
                             InkError *reterr)
{
    INK_TRY(check_app(app, reterr));
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    INK_TRY(check_room(s, app, permission, reterr));
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_SET_PERMISSION);
        ink_rows_bind_text(&rows, 1, app);
        ink_rows_bind_u64(&rows, 2, permission);
        ink_rows_bind_u64(&rows, 3, allowed ? 1 : 0);
        ink_rows_bind_u64(&rows, 4, s->real_usec());
        INK_TRY(ink_rows_next(&rows, reterr));
    }
    return ink_store_commit(s, reterr);
}

int ink_store_reset_permission(InkStore *s, const char *app, uint32_t permission, InkError *reterr)
{
    INK_TRY(check_app(app, reterr));
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    {
        _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_RESET_PERMISSION);
        ink_rows_bind_text(&rows, 1, app);
        ink_rows_bind_u64(&rows, 2, permission);
        INK_TRY(ink_rows_next(&rows, reterr));
    }
    return ink_store_commit(s, reterr);
}
