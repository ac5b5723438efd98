/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/poison.h"

#include <glib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/bounds.h"
#include "engine/base/alloc.h"
#include "engine/worker/wire-io.h"

#define DIGEST_BYTES 32

struct InkPoison {
    uint8_t key[DIGEST_BYTES];
    uint8_t digests[INK_LIMIT_POISON][DIGEST_BYTES];
    size_t n;    /* filled */
    size_t next; /* the oldest, once all are filled */
};

int ink_poison_new(InkPoison **ret, InkError *reterr)
{
    _cleanup_(ink_poison_free_p) InkPoison *p = ink_alloc_array(1, sizeof *p);
    INK_CHECK(p != NULL, ENOMEM, reterr, "out of memory");
    ssize_t n = getrandom(p->key, sizeof p->key, 0);
    INK_CHECK(n == (ssize_t)sizeof p->key, EIO, reterr, "no random numbers from the kernel");
    *ret = INK_TAKE(p);
    return 0;
}

InkPoison *ink_poison_free(InkPoison *p)
{
    free(p);
    return NULL;
}

static void add_part(GHmac *hmac, const void *data, size_t n_bytes)
{
    uint64_t size = n_bytes;
    g_hmac_update(hmac, (const guchar *)&size, sizeof size);
    g_hmac_update(hmac, data, (gssize)n_bytes);
}

/* Over program, kind and input, not over options: another seed does not make it another input. */
static bool digest(const InkPoison *p, const InkRequest *r, uint8_t out[DIGEST_BYTES])
{
    if (r->bulk_fd < 0)
        return false;
    _cleanup_(ink_wire_bulk_done) InkWireBulk bulk = INK_WIRE_BULK_INIT;
    if (ink_wire_bulk_map(r->bulk_fd, &bulk, NULL) < 0)
        return false;
    GHmac *hmac = g_hmac_new(G_CHECKSUM_SHA256, p->key, sizeof p->key);
    uint32_t kind = r->kind;
    add_part(hmac, r->app_id, strlen(r->app_id));
    add_part(hmac, &kind, sizeof kind);
    for (size_t i = 0; i < r->n_input_strings && i < bulk.n; i++)
        add_part(hmac, bulk.strings[i].data, bulk.strings[i].n_bytes);
    gsize n = DIGEST_BYTES;
    g_hmac_get_digest(hmac, out, &n);
    g_hmac_unref(hmac);
    return n == DIGEST_BYTES;
}

void ink_poison_add(InkPoison *p, const InkRequest *r)
{
    if (!digest(p, r, p->digests[p->next]))
        return;
    p->next = (p->next + 1) % INK_LIMIT_POISON;
    if (p->n < INK_LIMIT_POISON)
        p->n++;
}

bool ink_poison_contains(const InkPoison *p, const InkRequest *r)
{
    uint8_t wanted[DIGEST_BYTES];
    if (p->n == 0 || !digest(p, r, wanted))
        return false;
    for (size_t i = 0; i < p->n; i++)
        if (memcmp(p->digests[i], wanted, DIGEST_BYTES) == 0)
            return true;
    return false;
}
