/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Inputs at which a worker died twice, by program: a keyed hash of each, no text. The key is random
 * and lives as long as the daemon. Owns: the set. Errors: -ENOMEM, negative errno of the memfd.
 * Thread: the loop thread. */
#pragma once

#include "daemon/request.h"

typedef struct InkPoison InkPoison;

INK_MUST_CHECK int ink_poison_new(InkPoison **ret, InkError *reterr);
InkPoison *ink_poison_free(InkPoison *p);
INK_DEFINE_CLEANUP(InkPoison, ink_poison_free, ink_poison_free_p)

/* Refuses this input to this program from now on. */
void ink_poison_add(InkPoison *p, const InkRequest *r);
bool ink_poison_contains(const InkPoison *p, const InkRequest *r);
