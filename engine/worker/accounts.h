/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Engine time of each application in each class: who has used least goes first, so that many
 * requests buy nothing. An application that comes, or comes back, begins where the others of its
 * class are: what it has not used while it was away is not saved up; what it has overdrawn stays.
 *
 * Owns: nothing but itself. Thread: plain data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INK_ACCOUNTS_CLASSES 4u
/* More than requests can be open at a time; the others are remembered while there is room. */
#define INK_ACCOUNTS_MAX     256u

typedef struct InkAccount {
    uint32_t scope, class;
    uint32_t n_open; /* requests that are here */
    uint64_t used_usec;
    uint64_t planned_usec; /* of the step that is being planned; the scheduler's */
} InkAccount;

typedef struct InkAccounts {
    InkAccount accounts[INK_ACCOUNTS_MAX];     /* n_open 0 and used_usec 0: a free place */
    uint64_t least_usec[INK_ACCOUNTS_CLASSES]; /* of the open ones, when there were some last */
} InkAccounts;

/* One more request. At most INK_ACCOUNTS_MAX may be open; valid until its ink_accounts_leave(). */
InkAccount *ink_accounts_enter(InkAccounts *a, uint32_t scope, uint32_t class);
void ink_accounts_leave(InkAccounts *a, InkAccount *account);
