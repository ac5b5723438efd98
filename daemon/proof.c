/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The proof of offline operation: this process tries to reach a network, and the worker, if one is
 * there, is asked to do the same. No worker is started for it. */
#include <string.h>
#include <unistd.h>

#include "daemon/app-private.h"
#include "daemon/bounds.h"
#include "engine/base/network-probe.h"

typedef struct Asked {
    InkProofReply *reply;
    void *userdata;
    uint32_t worker_pid;
} Asked;

static void name_tries(const int errors[INK_NETWORK_TRIES], InkServiceTry tries[INK_NETWORK_TRIES])
{
    for (size_t i = 0; i < INK_NETWORK_TRIES; i++)
        tries[i] = (InkServiceTry){ink_network_tries[i], errors[i]};
}

/* What the worker says is hostile: so many decimals of errno, and nothing else. */
static bool parse_errors(const char *text, size_t n_bytes, int errors[INK_NETWORK_TRIES])
{
    g_autofree char *copy = g_strndup(text, n_bytes);
    g_auto(GStrv) words = g_strsplit(copy, " ", INK_NETWORK_TRIES + 1);
    if (g_strv_length(words) != INK_NETWORK_TRIES)
        return false;
    for (size_t i = 0; i < INK_NETWORK_TRIES; i++) {
        guint64 value;
        if (!g_ascii_string_to_unsigned(words[i], 10, 0, 4095, &value, NULL))
            return false;
        errors[i] = (int)value;
    }
    return true;
}

static void reply_with(const Asked *a, const int *worker_errors)
{
    int own_errors[INK_NETWORK_TRIES];
    InkServiceTry own[INK_NETWORK_TRIES], others[INK_NETWORK_TRIES];
    ink_network_probe(own_errors);
    name_tries(own_errors, own);
    if (worker_errors != NULL)
        name_tries(worker_errors, others);
    const InkServiceProof proofs[] = {
        {"inklingd", (uint32_t)getpid(), own, INK_NETWORK_TRIES},
        {"inkling-worker", a->worker_pid, others, INK_NETWORK_TRIES},
    };
    a->reply(a->userdata, NULL, proofs, worker_errors != NULL ? 2 : 1);
}

static void on_worker(void *userdata, const InkError *error, const char *text, size_t n_bytes)
{
    g_autofree Asked *a = userdata;
    int errors[INK_NETWORK_TRIES];
    InkError broken;
    (void)INK_RAISE(EREMOTEIO, &broken, "the worker's proof is not readable");
    if (error != NULL)
        a->reply(a->userdata, error, NULL, 0);
    else if (!parse_errors(text, n_bytes, errors))
        a->reply(a->userdata, &broken, NULL, 0);
    else
        reply_with(a, errors);
}

int ink_app_prove_offline(void *service, const InkCaller *caller, InkProofReply *reply,
                          void *userdata, InkError *reterr)
{
    InkApp *app = service;
    Asked asked = {reply, userdata, (uint32_t)ink_worker_pid(app->worker)};
    if (ink_worker_state(app->worker) != INK_WORKER_READY) {
        reply_with(&asked, NULL);
        return 0;
    }
    _cleanup_(ink_request_free_p) InkRequest *r = ink_request_new(INK_REQUEST_PROBE, caller);
    INK_CHECK(r != NULL, ENOMEM, reterr, "out of memory");
    g_autofree Asked *kept = g_memdup2(&asked, sizeof asked);
    r->text_reply = on_worker;
    r->reply_userdata = kept;
    INK_TRY(ink_app_admit(app, &r, app->model, INK_LIMIT_TOKENS_USEC, reterr));
    g_steal_pointer(&kept);
    return 0;
}
