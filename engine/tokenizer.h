/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Text to token ids and back, from the vocabulary in a GGUF file (tokenizer.ggml.*).
 *
 * Control tokens ("<|im_end|>") are recognised only in spans that the template wrote: a span
 * carries where it comes from, ordinary text runs across spans (so that merges see what Hugging
 * Face sees), and a control token never matches over a border (a change of trust) or inside text of
 * the user; a vocabulary in which a byte or a merge makes a control token cannot change that.
 * User-defined tokens, which Hugging Face splits wherever they stand, match in everybody's text.
 *
 * Models: "gpt2" (byte-level.h) with the closed set of pre-tokenizer.h, and "llama" (spm.h); an
 * unknown name is refused, since a wrong one costs quality in silence.
 * Owns: everything it needs is copied or points into the GGUF bytes, which must outlive it.
 * Errors: -EBADMSG (vocabulary not sound), -ENOMEM, -E2BIG (more than INK_TOKENS_MAX ids).
 * Thread: immutable after new; encode and decode may run anywhere at once.
 * Source: Sennrich et al. 2016, 1508.07909 (BPE); Radford et al. 2019 (byte-level alphabet). */
#pragma once

#include <stdbool.h>

#include "engine/base/buffer.h"
#include "engine/gguf.h"
#include "engine/tokens.h"

typedef struct InkTokenizer InkTokenizer;

/* One run of text and who wrote it. */
typedef struct InkTextSpan {
    const char *text;
    size_t n_bytes;
    bool trusted; /* written by the template: control tokens count */
} InkTextSpan;

#define INK_TOKEN_NONE UINT32_MAX

INK_MUST_CHECK int ink_tokenizer_new(const InkGguf *g, InkTokenizer **ret, InkError *reterr);
InkTokenizer *ink_tokenizer_free(InkTokenizer *t);
INK_DEFINE_CLEANUP(InkTokenizer, ink_tokenizer_free, ink_tokenizer_free_p)

/* Appends the ids of `spans`; bytes that are not UTF-8 are encoded as the bytes they are, and
 * bytes for which the vocabulary has no token become its unknown token or, without one, are left
 * out, as in Hugging Face. No beginning-of-text token is added: see ink_tokenizer_adds_bos(). */
INK_MUST_CHECK int ink_tokenizer_encode(const InkTokenizer *t, const InkTextSpan *spans,
                                        size_t n_spans, InkTokens *tokens, InkError *reterr);
/* The bytes of one token, borrowed; a part of a character is possible. Control, unknown and unused
 * tokens are empty unless `special`. An id outside the vocabulary is -EINVAL. */
INK_MUST_CHECK int ink_tokenizer_piece(const InkTokenizer *t, uint32_t id, bool special,
                                       const char **ret, size_t *ret_n_bytes);
/* Appends the text of all ids; -EINVAL names the index of a bad one. `previous`: the id before
 * them, INK_TOKEN_NONE where the text starts. Spaces that encoding added (add_space_prefix) are
 * taken away there, so that the text of a prompt and that of its continuation make the whole text.
 */
INK_MUST_CHECK int ink_tokenizer_decode(const InkTokenizer *t, uint32_t previous,
                                        const uint32_t *ids, size_t n, bool special,
                                        InkBuffer *text, InkError *reterr);

size_t ink_tokenizer_n_vocab(const InkTokenizer *t);
/* INK_TOKEN_NONE when the file names none. */
uint32_t ink_tokenizer_bos(const InkTokenizer *t);
uint32_t ink_tokenizer_eos(const InkTokenizer *t);
bool ink_tokenizer_adds_bos(const InkTokenizer *t);
bool ink_tokenizer_is_control(const InkTokenizer *t, uint32_t id);
/* Every token that ends an answer: eos, eot and the known names of the families (E7). */
bool ink_tokenizer_ends_generation(const InkTokenizer *t, uint32_t id);
