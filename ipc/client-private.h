/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What client.c and client-stream.c share. Private to libinkling. */
#pragma once

#include "ipc/client.h"

/* Sends `m`, keeps the bus name of an error. Consumes nothing. */
INK_MUST_CHECK int ink_client_send(InkClient *c, sd_bus_message *m, sd_bus_message **ret,
                                   InkError *reterr);
/* Raises for a failed sd-bus call while a message was made or read. */
int ink_client_raise(InkClient *c, int r, const char *what, InkError *reterr);
