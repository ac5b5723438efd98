/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Chat templates: an interpreter for the part of Jinja2 that model files use, with limits on steps,
 * depth and output, since a template is a file's word and may be hostile. What it does not know is
 * refused when the template is parsed, by name and line; nothing is skipped.
 *
 * Rendered text remembers who wrote it: literals of the template are trusted, message texts and
 * roles are not, through every filter and concatenation. The spans feed ink_tokenizer_encode().
 *
 * Owns: a parsed template is self-contained; spans point into the output's buffer.
 * Errors: -EOPNOTSUPP (unknown construct), -EBADMSG (syntax), -EINVAL (raise_exception and type
 * errors while rendering), -E2BIG (a limit), -ENOMEM.
 * Thread: a parsed template is immutable; one render, one thread.
 * Source: Jinja2's documented semantics with trim_blocks and lstrip_blocks, as transformers sets.
 */
#pragma once

#include <stdbool.h>

#include "engine/base/buffer.h"
#include "engine/tokenizer.h"

#define INK_TEMPLATE_MAX_BYTES        (256u << 10)
#define INK_TEMPLATE_MAX_STEPS        2000000u
#define INK_TEMPLATE_MAX_DEPTH        64u
#define INK_TEMPLATE_MAX_OUTPUT_BYTES (16u << 20)

typedef struct InkTemplate InkTemplate;

typedef struct InkMessage {
    const char *role; /* NUL-terminated */
    const char *text;
    size_t n_text_bytes;
} InkMessage;

typedef struct InkTemplateInput {
    const InkMessage *messages;
    size_t n_messages;
    bool add_generation_prompt;
    const char *bos_token; /* NULL = undefined in the template */
    const char *eos_token;
} InkTemplateInput;

typedef struct InkRendered {
    InkBuffer text;
    InkTextSpan *spans;
    size_t n_spans;
} InkRendered;

#define INK_RENDERED_INIT  ((InkRendered){0})
#define _cleanup_rendered_ _cleanup_(ink_rendered_done)
void ink_rendered_done(InkRendered *r);

INK_MUST_CHECK int ink_template_parse(const char *source, size_t n_bytes, InkTemplate **ret,
                                      InkError *reterr);
InkTemplate *ink_template_free(InkTemplate *t);
INK_DEFINE_CLEANUP(InkTemplate, ink_template_free, ink_template_free_p)

/* `ret` must be INK_RENDERED_INIT; it stays so on failure. */
INK_MUST_CHECK int ink_template_render(const InkTemplate *t, const InkTemplateInput *input,
                                       InkRendered *ret, InkError *reterr);
