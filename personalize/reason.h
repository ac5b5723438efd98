/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Why something was suggested, in words. Owns: the result is the caller's.
 * Errors: NULL when memory is short. Thread: no state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "personalize/store.h"

/* "opened 14 times, last 2 hours ago"; `here`: the uses are those in the directory asked about. */
char *ink_reason_for_history(InkSuggestKind kind, uint64_t n_uses, uint64_t last_usec,
                             uint64_t now_usec, bool here);
char *ink_reason_for_candidate(void);
