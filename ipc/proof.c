/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Manager.ProveOffline: every process of the service tries to reach a network and reports. */
#include <string.h>

#include "ipc/bus-private.h"

static int append_tries(sd_bus_message *m, const InkServiceProof *p)
{
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", "tries"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "a(ss)"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "(ss)"));
    for (size_t i = 0; i < p->n_tries; i++) {
        const char *name = p->tries[i].error != 0 ? strerrorname_np(p->tries[i].error) : "open";
        INK_TRY(
            sd_bus_message_append(m, "(ss)", p->tries[i].call, name != NULL ? name : "refused"));
    }
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

static int append_proof(sd_bus_message *m, const InkServiceProof *p)
{
    bool refused = p->n_tries > 0;
    for (size_t i = 0; i < p->n_tries; i++)
        refused = refused && p->tries[i].error != 0;
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(sd_bus_message_append(m, "{sv}{sv}{sv}", "process", "s", p->process, "pid", "u", p->pid,
                                  "refused", "b", (int)refused));
    INK_TRY(append_tries(m, p));
    return sd_bus_message_close_container(m);
}

static int reply_proofs(sd_bus_message *m, const InkServiceProof *proofs, size_t n)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_TRY(sd_bus_message_new_method_return(m, &reply));
    INK_TRY(sd_bus_message_open_container(reply, 'a', "a{sv}"));
    for (size_t i = 0; i < n; i++)
        INK_TRY(append_proof(reply, &proofs[i]));
    INK_TRY(sd_bus_message_close_container(reply));
    return sd_bus_send(NULL, reply, NULL);
}

static void on_proofs(void *userdata, const InkError *error, const InkServiceProof *proofs,
                      size_t n)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else if (reply_proofs(c->m, proofs, n) < 0)
        ink_bus_reply_error(c->m, &(InkError){ENOMEM, "the answer could not be built"});
}

static int prove_offline(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    INK_TRY(ink_options_read(m, NULL, 0, "", NULL, NULL, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    INK_TRY(b->ops->prove_offline(b->service, &who->caller, on_proofs, c, reterr));
    (void)INK_TAKE(c);
    return 0;
}

const InkBusMethod ink_proof_methods[] = {
    {"ProveOffline", INK_PERMISSION_MANAGE, prove_offline},
    {NULL, INK_PERMISSION_NONE, NULL},
};
