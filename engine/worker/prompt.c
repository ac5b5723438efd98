/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/prompt.h"

#include <string.h>

#include "engine/base/alloc.h"

/* Cutting stops when no more than this part of what is kept could be had back. */
#define CUT_PART        256u
#define FIRST_CUT_BYTES 256u

/* -- encoding ---------------------------------------------------------------------------------- */

static int check_role(const InkWireString *role, size_t i, InkError *reterr)
{
    INK_CHECK(role->n_bytes >= 1 && role->n_bytes <= INK_PROMPT_MAX_ROLE_BYTES &&
                  memchr(role->data, 0, role->n_bytes) == NULL,
              EINVAL, reterr, "messages[%zu]: the role is not a name of 1..%u bytes", i,
              INK_PROMPT_MAX_ROLE_BYTES);
    return 0;
}

static int encode_chat(const InkEngine *e, const InkPrompt *p, InkTokens *tokens, InkError *reterr)
{
    size_t n = p->n_messages;
    _cleanup_free_ InkMessage *messages = ink_alloc_array(n, sizeof(InkMessage));
    _cleanup_free_ char *roles = ink_alloc_array(n, INK_PROMPT_MAX_ROLE_BYTES + 1);
    INK_CHECK(messages != NULL && roles != NULL, ENOMEM, reterr, "no memory for %zu messages", n);
    for (size_t i = 0; i < n; i++) {
        const InkWireString *role = &p->strings[2 * i], *text = &p->strings[2 * i + 1];
        INK_TRY(check_role(role, i, reterr));
        char *copy = roles + i * (INK_PROMPT_MAX_ROLE_BYTES + 1);
        memcpy(copy, role->data, role->n_bytes); /* terminated: the block came zeroed */
        messages[i] = (InkMessage){.role = copy, .text = text->data, .n_text_bytes = text->n_bytes};
    }
    return ink_engine_encode_chat(e, messages, n, p->whole, tokens, reterr);
}

int ink_prompt_encode(const InkEngine *e, const InkPrompt *p, InkTokens *tokens, InkError *reterr)
{
    if (p->n_messages != 0)
        return encode_chat(e, p, tokens, reterr);
    const InkWireString *s = &p->strings[0];
    if (p->whole)
        return ink_engine_encode_prompt(e, s->data, s->n_bytes, tokens, reterr);
    InkTextSpan span = {.text = s->data, .n_bytes = s->n_bytes, .trusted = p->special};
    return ink_tokenizer_encode(ink_engine_tokenizer(e), &span, 1, tokens, reterr);
}

/* -- what is left out -------------------------------------------------------------------------- */

/* A prompt with turns and a piece of one text left out. */
typedef struct Cutter {
    const InkEngine *engine;
    const InkPrompt *prompt;
    bool from_middle;
    size_t n_most;
    size_t n_head;          /* messages in front of the first turn */
    size_t *turns;          /* first message of each */
    size_t n_turns;         /* 0 = a plain prompt */
    InkWireString *strings; /* of what is tried */
    char *joined;           /* of a text without its middle */
    InkTokens *tokens;
} Cutter;

static bool has_role(const InkPrompt *p, size_t message, const char *role)
{
    const InkWireString *s = &p->strings[2 * message];
    return s->n_bytes == strlen(role) && memcmp(s->data, role, s->n_bytes) == 0;
}

static void find_turns(Cutter *c)
{
    const InkPrompt *p = c->prompt;
    while (c->n_head + 1 < p->n_messages && has_role(p, c->n_head, "system"))
        c->n_head++;
    for (size_t i = c->n_head; i < p->n_messages; i++)
        if (i == c->n_head || has_role(p, i, "user"))
            c->turns[c->n_turns++] = i;
}

static void cutter_done(Cutter *c)
{
    free(c->turns);
    free(c->strings);
    free(c->joined);
}

static int cutter_init(Cutter *c, InkError *reterr)
{
    size_t n = c->prompt->n_messages;
    c->turns = ink_alloc_array(n + 1, sizeof(*c->turns));
    c->strings = ink_alloc_array(2 * n + 1, sizeof(*c->strings));
    INK_CHECK(c->turns != NULL && c->strings != NULL, ENOMEM, reterr, "no memory for %zu messages",
              n);
    find_turns(c);
    return 0;
}

/* Where the turns that stay on both sides of n dropped ones end and begin. */
static void find_gap(const Cutter *c, size_t n_dropped, size_t *ret_begin, size_t *ret_end)
{
    bool first_stays = c->from_middle && n_dropped + 2 <= c->n_turns;
    size_t first = first_stays ? 1 : 0;
    *ret_begin = c->n_turns == 0 ? 0 : c->turns[first];
    *ret_end = c->n_turns == 0 ? 0 : c->turns[first + n_dropped];
}

/* Encodes without n turns; in place of the last text of the user, `text` if given. */
static int try_cut(Cutter *c, size_t n_dropped, const InkWireString *text, InkError *reterr)
{
    const InkPrompt *p = c->prompt;
    InkPrompt cut = *p;
    size_t begin, end, n = 0;
    find_gap(c, n_dropped, &begin, &end);
    for (size_t i = 0; i < p->n_messages; i++)
        if (i < begin || i >= end) {
            bool last = c->n_turns > 0 && i == c->turns[c->n_turns - 1];
            c->strings[2 * n] = p->strings[2 * i];
            c->strings[2 * n + 1] = last && text != NULL ? *text : p->strings[2 * i + 1];
            n++;
        }
    if (p->n_messages == 0)
        c->strings[0] = text != NULL ? *text : p->strings[0];
    cut.strings = c->strings;
    cut.n_messages = n;
    c->tokens->n = 0;
    return ink_prompt_encode(c->engine, &cut, c->tokens, reterr);
}

static bool fits(const Cutter *c)
{
    return c->tokens->n <= c->n_most;
}

/* The fewest turns without which it fits, all but the last if that is not enough; `tokens` are what
 * is left then. It begins at the short end, so that no try takes much longer than what fits. */
static int drop_turns(Cutter *c, size_t *ret_n_dropped, InkError *reterr)
{
    size_t too_few = 0, enough = c->n_turns - 1;
    *ret_n_dropped = enough;
    if (enough == 0)
        return 0;
    INK_TRY(try_cut(c, enough, NULL, reterr));
    if (!fits(c))
        return 0;
    for (size_t n_more = 1; n_more < enough; n_more *= 2) {
        INK_TRY(try_cut(c, enough - n_more, NULL, reterr));
        if (!fits(c)) {
            too_few = enough - n_more;
            break;
        }
        enough -= n_more;
    }
    while (enough - too_few > 1) {
        size_t middle = too_few + (enough - too_few) / 2;
        INK_TRY(try_cut(c, middle, NULL, reterr));
        *(fits(c) ? &enough : &too_few) = middle;
    }
    *ret_n_dropped = enough;
    return try_cut(c, enough, NULL, reterr);
}

static bool continues_character(const char *text, size_t n_bytes, size_t at)
{
    return at < n_bytes && ((unsigned char)text[at] & 0xC0) == 0x80;
}

/* n_kept bytes of the text or a little less. */
static InkWireString keep_bytes(Cutter *c, const InkWireString *text, size_t n_kept)
{
    const char *from = text->data;
    size_t n = text->n_bytes, n_front = c->from_middle ? n_kept / 2 : 0;
    size_t tail = n - (n_kept - n_front);
    while (n_front > 0 && continues_character(from, n, n_front))
        n_front--;
    while (continues_character(from, n, tail))
        tail++;
    if (n_front == 0)
        return (InkWireString){from + tail, n - tail};
    memcpy(c->joined, from, n_front);
    memcpy(c->joined + n_front, from + tail, n - tail);
    return (InkWireString){c->joined, n_front + n - tail};
}

static int cut_text(Cutter *c, size_t n_dropped, InkError *reterr)
{
    const InkPrompt *p = c->prompt;
    const InkWireString *text = &p->strings[c->n_turns > 0 ? 2 * c->turns[c->n_turns - 1] + 1 : 0];
    size_t least = 0, most = text->n_bytes;
    c->joined = ink_alloc_array(text->n_bytes + 1, 1);
    INK_CHECK(c->joined != NULL, ENOMEM, reterr, "no memory for a text of %zu bytes",
              text->n_bytes);
    InkWireString kept = keep_bytes(c, text, 0);
    INK_TRY(try_cut(c, n_dropped, &kept, reterr));
    INK_CHECK(fits(c), EMSGSIZE, reterr,
              "the prompt has %zu tokens without all that may be cut, there is room for %zu",
              c->tokens->n, c->n_most);
    for (size_t more = FIRST_CUT_BYTES; more < most; more *= 2) { /* as with turns */
        kept = keep_bytes(c, text, more);
        INK_TRY(try_cut(c, n_dropped, &kept, reterr));
        if (!fits(c)) {
            most = more;
            break;
        }
        least = more;
    }
    while (most - least > 1 + least / CUT_PART) {
        size_t middle = least + (most - least) / 2;
        kept = keep_bytes(c, text, middle);
        INK_TRY(try_cut(c, n_dropped, &kept, reterr));
        *(fits(c) ? &least : &most) = middle;
    }
    kept = keep_bytes(c, text, least);
    return try_cut(c, n_dropped, &kept, reterr);
}

static int cut(Cutter *c, InkWireOverflow overflow, InkPromptCuts *ret, InkError *reterr)
{
    size_t n_whole = c->tokens->n, n_dropped = 0, begin, end;
    c->from_middle = overflow == INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE;
    INK_TRY(cutter_init(c, reterr));
    if (c->n_turns > 0)
        INK_TRY(drop_turns(c, &n_dropped, reterr));
    bool may_cut_text = overflow != INK_WIRE_OVERFLOW_DROP_OLDEST || c->n_turns == 0;
    if (!fits(c) && may_cut_text)
        INK_TRY(cut_text(c, n_dropped, reterr));
    INK_CHECK(fits(c), EMSGSIZE, reterr,
              "the last turn alone has %zu tokens, there is room for %zu", c->tokens->n, c->n_most);
    find_gap(c, n_dropped, &begin, &end);
    ret->n_messages = (uint32_t)(end - begin);
    ret->n_tokens = n_whole > c->tokens->n ? (uint32_t)(n_whole - c->tokens->n) : 0;
    return 0;
}

int ink_prompt_fit(const InkEngine *e, const InkPrompt *p, InkWireOverflow overflow, size_t n_most,
                   InkTokens *tokens, InkPromptCuts *ret, InkError *reterr)
{
    *ret = (InkPromptCuts){0};
    INK_TRY(ink_prompt_encode(e, p, tokens, reterr));
    if (tokens->n <= n_most)
        return 0;
    INK_CHECK(overflow != INK_WIRE_OVERFLOW_ERROR, EMSGSIZE, reterr,
              "the prompt has %zu tokens, the context window has room for %zu", tokens->n, n_most);
    Cutter c = {.engine = e, .prompt = p, .n_most = n_most, .tokens = tokens};
    int r = cut(&c, overflow, ret, reterr);
    cutter_done(&c);
    return r;
}
