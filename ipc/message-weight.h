/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* How much memory a message holds. sd-bus does not tell, the bus lets 128 MiB through, and a call
 * that waits for its answer is kept whole.
 * Owns: nothing. Errors: -E2BIG, -EBADMSG. Thread: the loop thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-bus.h>

#include "engine/base/error.h"

/* About the bytes of the body. Stops as soon as it is over `max_bytes`, with -E2BIG, so that its
 * own cost is bounded too. Leaves the message rewound. */
INK_MUST_CHECK int ink_message_weigh(sd_bus_message *m, size_t max_bytes, size_t *ret_bytes);
