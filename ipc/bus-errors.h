/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The one place where errno codes and D-Bus error names meet, for the service and for libinkling.
 * Owns: nothing. Thread: no state. */
#pragma once

#include <systemd/sd-bus.h>

#include "engine/base/error.h"

#define INK_BUS_ERROR_SUPERSEDED "org.inkling.Inkling1.Error.Superseded"

/* Bus name of a positive errno; org.freedesktop.DBus.Error.Failed for what the table lacks. */
const char *ink_bus_error_name(int code);
/* Positive errno of a bus name; EIO for an unknown one. */
int ink_bus_error_code(const char *name);

/* Fills `reterr` for a handler that fails at once; returns -error->code. */
int ink_bus_error_set(sd_bus_error *reterr, const InkError *error);
/* Answers a kept message. What goes wrong here can only mean that the caller is gone. */
void ink_bus_reply_error(sd_bus_message *call, const InkError *error);
