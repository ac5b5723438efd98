/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* $XDG_CONFIG_HOME/inkling/inkling.conf: a key file, every key of which is described in the file
 * daemon/inkling.conf that is installed as documentation.
 * Policy: the service starts whatever the file holds. A missing file is all defaults; an unknown
 * group or key, and a value that is wrong or out of range, is reported by line and name with the
 * limit, and the default holds. What the file says is never reported itself, but for names of keys.
 * A file that is read again while the service runs holds as a whole or not at all.
 * Owns: nothing on the heap. Thread: plain data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* A larger file is not a configuration. */
#define INK_CONFIG_MAX_BYTES (64u << 10)

/* What stays when nobody asks for anything. */
typedef enum InkResident {
    INK_RESIDENT_AUTO,   /* the broker; the worker leaves after idle time or when memory is short */
    INK_RESIDENT_ALWAYS, /* the worker too, unless memory is short */
    INK_RESIDENT_ON_DEMAND, /* neither */
} InkResident;

typedef struct InkConfig {
    char model[128];  /* "" = the default order of models.h */
    uint32_t threads; /* 0 = all processors */
    char isa[16];     /* "" = the best of this machine */
    InkResident resident;
    uint64_t idle_usec;
    uint64_t max_kv_bytes;
    uint64_t session_idle_usec;
} InkConfig;

/* Called for each thing that was not understood, with a message that may be logged: "line 3: ...".
 */
typedef void InkConfigWarn(void *userdata, const char *message);

void ink_config_init(InkConfig *c);
/* Reads text of the file; never fails, see above. `c` is initialised first. */
void ink_config_parse(InkConfig *c, const char *text, size_t n_bytes, InkConfigWarn *warn,
                      void *userdata);
/* Reads the file; a missing one is all defaults, one that cannot be read is reported. */
void ink_config_read(InkConfig *c, const char *path, InkConfigWarn *warn, void *userdata);
/* Reads the file again: -EINVAL with the first thing that is not right, and `ret` is untouched. */
INK_MUST_CHECK int ink_config_reload(const char *path, InkConfig *ret, InkError *reterr);
