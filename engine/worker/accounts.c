/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/accounts.h"

/* The class's common mark: it never goes back, and stands still while nobody is there. */
static uint64_t update_least(InkAccounts *a, uint32_t class)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < INK_ACCOUNTS_MAX; i++) {
        const InkAccount *at = &a->accounts[i];
        if (at->n_open > 0 && at->class == class && at->used_usec < least)
            least = at->used_usec;
    }
    if (least != UINT64_MAX && least > a->least_usec[class])
        a->least_usec[class] = least;
    return a->least_usec[class];
}

InkAccount *ink_accounts_enter(InkAccounts *a, uint32_t scope, uint32_t class)
{
    uint64_t least = update_least(a, class);
    InkAccount *place = NULL; /* a closed one of least use tells least */
    for (size_t i = 0; i < INK_ACCOUNTS_MAX; i++) {
        InkAccount *at = &a->accounts[i];
        if ((at->n_open > 0 || at->used_usec > 0) && at->scope == scope && at->class == class) {
            place = at;
            break;
        }
        if (at->n_open == 0 && (place == NULL || at->used_usec < place->used_usec))
            place = at;
    }
    if (place->n_open == 0) {
        bool known = place->scope == scope && place->class == class;
        uint64_t used = known && place->used_usec > least ? place->used_usec : least;
        *place = (InkAccount){.scope = scope, .class = class, .used_usec = used};
    }
    place->n_open++;
    return place;
}

void ink_accounts_leave(InkAccounts *a, InkAccount *account)
{
    update_least(a, account->class);
    account->n_open--;
}
