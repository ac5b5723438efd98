/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What client.c and client-stream.c share. Private to libinkling. */
#pragma once

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "ipc/client.h"

/* Sends `m`, keeps the bus name of an error. Consumes nothing. */
INK_MUST_CHECK int ink_client_send(InkClient *c, sd_bus_message *m, sd_bus_message **ret,
                                   InkError *reterr);
/* Raises for a failed sd-bus call while a message was made or read. */
int ink_client_raise(InkClient *c, int r, const char *what, InkError *reterr);
/* Raises an error that the service has named. */
int ink_client_raise_named(InkClient *c, const char *name, const char *message, InkError *reterr);
