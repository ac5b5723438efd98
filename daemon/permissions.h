/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Who may what: the person's decisions, cached from the store, over the defaults of
 * docs/dbus-api.md; and which applications are on the bus now, for the listing.
 *
 *   sandboxed (Flatpak, snap)  nothing, until the person allows it; `manage` never
 *   unknown                    nothing, whatever was decided
 *   host                       all but memory-shared; `inkling-http`, which speaks for whoever
 *                              reaches its socket, neither memory nor personalize nor manage
 *
 * Until the store has answered, and while it cannot be opened, defaults hold. A decision holds for
 * the first call after its reply, and the reply comes after it is on the disk.
 *
 * Owns: names and decisions. Errors: of ipc/service.h; -EACCES and -EINVAL of set. Thread: the loop
 * thread. */
#pragma once

#include "daemon/store-thread.h"
#include "engine/base/cleanup.h"
#include "ipc/service.h"

typedef struct InkPermissions InkPermissions;

/* `loaded` is called once, when the store has answered or failed. */
INK_MUST_CHECK int ink_permissions_new(InkStoreThread *store, void (*loaded)(void *userdata),
                                       void *userdata, InkPermissions **ret, InkError *reterr);
/* After the store thread has stopped, since its jobs answer here. */
InkPermissions *ink_permissions_free(InkPermissions *p);
INK_DEFINE_CLEANUP(InkPermissions, ink_permissions_free, ink_permissions_free_p)

bool ink_permissions_allow(const InkPermissions *p, const InkCaller *caller,
                           InkPermission permission);
INK_MUST_CHECK int ink_permissions_list(const InkPermissions *p, const InkCaller *caller,
                                        void (*each)(void *userdata, const char *app_id,
                                                     InkPermission permission, InkDecision decision,
                                                     bool allowed),
                                        void *userdata, InkError *reterr);
INK_MUST_CHECK int ink_permissions_set(InkPermissions *p, const char *app_id,
                                       InkPermission permission, InkDecision decision,
                                       InkDoneReply *reply, void *userdata, InkError *reterr);
void ink_permissions_caller_known(InkPermissions *p, const InkCaller *caller);
void ink_permissions_caller_gone(InkPermissions *p, const InkCaller *caller);
