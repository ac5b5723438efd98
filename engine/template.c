/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/template.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/template-render.h"

void ink_rendered_done(InkRendered *r)
{
    ink_buffer_done(&r->text);
    free(r->spans);
    *r = INK_RENDERED_INIT;
}

InkTemplate *ink_template_free(InkTemplate *t)
{
    if (t == NULL)
        return NULL;
    ink_arena_done(&t->arena);
    free(t->names.texts);
    free(t->names.slots);
    free(t);
    return NULL;
}

static int add_own_names(InkTemplate *t, InkError *reterr)
{
    const struct {
        const char *text;
        uint32_t *name;
    } own[] = {
        {"messages", &t->name_messages},
        {"add_generation_prompt", &t->name_add_generation_prompt},
        {"bos_token", &t->name_bos_token},
        {"eos_token", &t->name_eos_token},
        {"tools", &t->name_tools},
        {"documents", &t->name_documents},
        {"loop", &t->name_loop},
    };
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        *own[i].name = ink_template_name(t, own[i].text, strlen(own[i].text));
        if (*own[i].name == 0)
            return ink_template_arena_error(&t->arena, 1, reterr);
    }
    return 0;
}

int ink_template_parse(const char *source, size_t n_bytes, InkTemplate **ret, InkError *reterr)
{
    INK_CHECK(n_bytes <= INK_TEMPLATE_MAX_BYTES, E2BIG, reterr,
              "the chat template has %zu bytes; at most %u are allowed", n_bytes,
              INK_TEMPLATE_MAX_BYTES);
    _cleanup_(ink_template_free_p) InkTemplate *t = ink_alloc_array(1, sizeof(InkTemplate));
    INK_CHECK(t != NULL, ENOMEM, reterr, "out of memory");
    t->arena.n_max_bytes = INK_TEMPLATE_MAX_TREE_BYTES;
    _cleanup_free_ InkLexeme *tokens = NULL;
    INK_TRY(add_own_names(t, reterr));
    INK_TRY(ink_template_lex(t, source, n_bytes, &tokens, reterr));
    INK_TRY(ink_template_parse_tokens(t, tokens, reterr));
    *ret = INK_TAKE(t);
    return 0;
}

static int bind_text(InkRender *r, uint32_t name, const char *text)
{
    InkValue v;
    if (text == NULL)
        return 0;
    InkStr s = {.data = text, .n_bytes = strlen(text), .trusted = true};
    INK_TRY(ink_template_string(r, s, &v));
    return ink_template_bind(r, r->scope, name, v);
}

static int make_message(InkRender *r, const InkMessage *m, InkValue *ret)
{
    static const InkStr keys[] = {{.data = "role", .n_bytes = 4, .trusted = true},
                                  {.data = "content", .n_bytes = 7, .trusted = true}};
    InkPair *pairs;
    InkDict *dict;
    INK_TRY(ink_template_alloc(r, 2, sizeof(InkPair), &pairs));
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkDict), &dict));
    pairs[0].key = ink_value_string(&keys[0]);
    pairs[1].key = ink_value_string(&keys[1]);
    InkStr role = {.data = m->role, .n_bytes = strlen(m->role)};
    InkStr text = {.data = m->n_text_bytes != 0 ? m->text : "", .n_bytes = m->n_text_bytes};
    INK_TRY(ink_template_string(r, role, &pairs[0].value));
    INK_TRY(ink_template_string(r, text, &pairs[1].value));
    *dict = (InkDict){.pairs = pairs, .n = 2};
    *ret = (InkValue){.kind = INK_DICT, .dict = dict};
    return 0;
}

/* As transformers calls a template: without tools and documents, which are none. */
static int bind_input(InkRender *r, const InkTemplateInput *input)
{
    const InkTemplate *t = r->t;
    InkValue *items, messages;
    INK_TRY(ink_template_alloc(r, 1, sizeof(InkScope), &r->scope));
    INK_TRY(ink_template_alloc(r, input->n_messages, sizeof(InkValue), &items));
    for (size_t i = 0; i < input->n_messages; i++)
        INK_TRY(make_message(r, &input->messages[i], &items[i]));
    INK_TRY(ink_template_list(r, items, input->n_messages, &messages));
    INK_TRY(ink_template_bind(r, r->scope, t->name_messages, messages));
    INK_TRY(ink_template_bind(r, r->scope, t->name_add_generation_prompt,
                              ink_value_bool(input->add_generation_prompt)));
    INK_TRY(ink_template_bind(r, r->scope, t->name_tools, INK_VALUE_NONE));
    INK_TRY(ink_template_bind(r, r->scope, t->name_documents, INK_VALUE_NONE));
    INK_TRY(bind_text(r, t->name_bos_token, input->bos_token));
    return bind_text(r, t->name_eos_token, input->eos_token);
}

/* Runs of equal marks. With spans == NULL they are only counted. */
static size_t find_spans(const char *text, const char *marks, size_t n_bytes, InkTextSpan *spans)
{
    size_t n = 0;
    for (size_t from = 0, to; from < n_bytes; from = to, n++) {
        const char *end = memchr(marks + from, !marks[from], n_bytes - from);
        to = end != NULL ? (size_t)(end - marks) : n_bytes;
        if (spans != NULL)
            spans[n] = (InkTextSpan){
                .text = text + from, .n_bytes = to - from, .trusted = marks[from] != 0};
    }
    return n;
}

static int render(InkRender *r, InkOut *out, const InkTemplateInput *input, InkRendered *ret)
{
    r->out = out;
    INK_TRY(bind_input(r, input));
    INK_TRY(ink_template_execute(r, r->t->body));
    size_t n_bytes = out->text.size_bytes;
    size_t n = find_spans(out->text.data, out->marks.data, n_bytes, NULL);
    InkTextSpan *spans = ink_alloc_array(n, sizeof(InkTextSpan));
    INK_CHECK(spans != NULL, ENOMEM, r->reterr, "out of memory");
    find_spans(out->text.data, out->marks.data, n_bytes, spans);
    ret->spans = spans;
    ret->n_spans = n;
    ret->text = out->text;
    out->text = INK_BUFFER_INIT;
    return 0;
}

int ink_template_render(const InkTemplate *t, const InkTemplateInput *input, InkRendered *ret,
                        InkError *reterr)
{
    InkRender r = {.t = t, .reterr = reterr, .line = 1};
    InkOut out = {.r = &r};
    r.arena.n_max_bytes = INK_TEMPLATE_MAX_MEMORY_BYTES;
    int e = render(&r, &out, input, ret);
    ink_out_done(&out);
    ink_arena_done(&r.arena);
    return e;
}
