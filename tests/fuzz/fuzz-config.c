/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Any bytes as inkling.conf: the result is within its limits, and warnings are plain text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bounds.h"
#include "daemon/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_warning(void *userdata, const char *message)
{
    (void)userdata;
    for (const char *c = message; *c != '\0'; c++)
        require(*c >= ' ' && *c < 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    InkConfig c;
    if (n_bytes > INK_CONFIG_MAX_BYTES)
        return 0;
    ink_config_parse(&c, (const char *)data, n_bytes, check_warning, NULL);
    require(memchr(c.model, '\0', sizeof c.model) != NULL && strchr(c.model, '/') == NULL);
    require(memchr(c.isa, '\0', sizeof c.isa) != NULL);
    require(c.threads <= 256);
    require(c.idle_usec >= 60000000u && c.idle_usec <= INK_LIMIT_IDLE_MINUTES_MAX * 60000000ull);
    require(c.max_kv_bytes >= (64u << 20));
    return 0;
}
