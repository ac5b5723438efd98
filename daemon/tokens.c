/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Tokenize and Detokenize: short requests that take the queue's way to the worker, so that limits,
 * retries and deadlines are the same as for a text. */
#include <string.h>

#include "daemon/app-private.h"
#include "daemon/bounds.h"
#include "engine/base/alloc.h"
#include "engine/worker/wire-io.h"

void ink_app_answer_tokens(InkRequest *r, uint32_t count, const InkError *error)
{
    const InkBuffer *b = &r->collected;
    if (r->kind == INK_REQUEST_TOKENIZE)
        r->tokens_reply(r->reply_userdata, error, error == NULL ? count : 0,
                        error == NULL ? (const uint32_t *)b->data : NULL,
                        error == NULL ? b->size_bytes / sizeof(uint32_t) : 0);
    else
        r->text_reply(r->reply_userdata, error, error == NULL && b->data != NULL ? b->data : "",
                      error == NULL ? b->size_bytes : 0);
}

int ink_app_tokenize(void *service, const InkCaller *caller, const InkTask *input, bool special,
                     bool wants_ids, InkTokensReply *reply, void *userdata, InkError *reterr)
{
    bool chat = input->kind == INK_TASK_CHAT;
    _cleanup_(ink_request_free_p) InkRequest *r = ink_request_new(INK_REQUEST_TOKENIZE, caller);
    INK_CHECK(r != NULL, ENOMEM, reterr, "out of memory");
    r->tokens_reply = reply;
    r->reply_userdata = userdata;
    r->wire.tokenize = (InkWireTokenize){
        .kind = chat ? INK_WIRE_CHAT : INK_WIRE_COMPLETE,
        .n_messages = chat ? (uint32_t)input->n_messages : 0,
        .special = special && !chat,
        .wants_ids = wants_ids,
    };
    INK_TRY(ink_app_attach_input(r, input, reterr));
    return ink_app_admit(service, &r, input->model != NULL ? input->model : "",
                         INK_LIMIT_TOKENS_USEC, reterr);
}

int ink_app_detokenize(void *service, const InkCaller *caller, const uint32_t *ids, size_t n,
                       bool special, InkTextReply *reply, void *userdata, InkError *reterr)
{
    _cleanup_(ink_request_free_p) InkRequest *r = ink_request_new(INK_REQUEST_DETOKENIZE, caller);
    INK_CHECK(r != NULL, ENOMEM, reterr, "out of memory");
    r->text_reply = reply;
    r->reply_userdata = userdata;
    r->wire.detokenize.special = special;
    InkWireString list = {.data = ids};
    INK_CHECK(ink_size_mul(n, sizeof *ids, &list.n_bytes), E2BIG, reterr, "ids: too many");
    r->bulk_bytes = list.n_bytes;
    r->n_input_strings = 1;
    INK_TRY(ink_wire_bulk_new(&list, 1, &r->bulk_fd, reterr));
    return ink_app_admit(service, &r, "", INK_LIMIT_TOKENS_USEC, reterr);
}
