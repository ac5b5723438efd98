/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A hostile vocabulary meets hostile text. Input: u16 length of the text, the text, a GGUF file.
 * What a user wrote never becomes a control token, whatever the file says; all ids are of the
 * vocabulary; what encodes also decodes. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool good)
{
    if (!good)
        abort();
}

static void check_spans(const InkTokenizer *t, const InkTextSpan *spans, size_t n_spans)
{
    InkTokens ids = INK_TOKENS_INIT;
    InkBuffer text = INK_BUFFER_INIT;
    InkError error;
    require(ink_tokenizer_encode(t, spans, n_spans, &ids, &error) == 0);
    bool any_trusted = false;
    for (size_t i = 0; i < n_spans; i++)
        any_trusted = any_trusted || spans[i].trusted;
    for (size_t i = 0; i < ids.n; i++) {
        require(ids.ids[i] < ink_tokenizer_n_vocab(t));
        require(any_trusted || !ink_tokenizer_is_control(t, ids.ids[i]));
        (void)ink_tokenizer_ends_generation(t, ids.ids[i]);
    }
    require(ink_tokenizer_decode(t, INK_TOKEN_NONE, ids.ids, ids.n, true, &text, &error) == 0);
    ink_buffer_done(&text);
    ink_tokens_done(&ids);
}

static void check_ids(const InkTokenizer *t)
{
    const char *piece;
    size_t n;
    size_t n_vocab = ink_tokenizer_n_vocab(t);
    for (uint32_t id = 0; id < n_vocab && id < 2000; id++)
        require(ink_tokenizer_piece(t, id, id % 2 == 0, &piece, &n) == 0);
    require(ink_tokenizer_piece(t, (uint32_t)n_vocab, true, &piece, &n) == -EINVAL);
    require(ink_tokenizer_bos(t) == INK_TOKEN_NONE || ink_tokenizer_bos(t) < n_vocab);
    require(ink_tokenizer_eos(t) == INK_TOKEN_NONE || ink_tokenizer_eos(t) < n_vocab);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint16_t n_text;
    InkGguf *g = NULL;
    InkTokenizer *t = NULL;
    InkError error;
    if (size < 2)
        return 0;
    memcpy(&n_text, data, 2);
    if (n_text > size - 2)
        return 0;
    const char *text = (const char *)data + 2;
    if (ink_gguf_open(data + 2 + n_text, size - 2 - n_text, &g, &error) < 0)
        return 0;
    if (ink_tokenizer_new(g, &t, &error) == 0) {
        size_t half = n_text / 2;
        check_spans(t, &(InkTextSpan){text, n_text, false}, 1);
        check_spans(t, &(InkTextSpan){text, n_text, true}, 1);
        check_spans(t,
                    (const InkTextSpan[]){{text, half, true},
                                          {text + half, n_text - half, false},
                                          {text, half, true}},
                    3);
        check_ids(t);
        ink_tokenizer_free(t);
    }
    ink_gguf_close(g);
    return 0;
}
