/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Interface Text: generation and token work. */
#include "ipc/bus-private.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "ipc/request-object.h"
#include "ipc/session-object.h"

#define _cleanup_input_ _cleanup_(ink_task_input_done)

/* -------------------------------------------------------------- generation */

static int complete(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions o;
    INK_TRY(ink_options_read_prompt(m, &in, reterr));
    INK_TRY(ink_options_read_task(m, INK_TASK_COMPLETE, &o, reterr));
    INK_TRY(ink_options_join(&o, &in, reterr));
    return ink_request_start_blocking(b, who, m, &o, reterr);
}

static int chat(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions o;
    INK_TRY(ink_options_read_messages(m, &in, reterr));
    INK_TRY(ink_options_read_task(m, INK_TASK_CHAT, &o, reterr));
    INK_TRY(ink_options_join(&o, &in, reterr));
    return ink_request_start_blocking(b, who, m, &o, reterr);
}

static int start_delivered(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkDelivery delivery,
                           InkError *reterr)
{
    static const char *const kinds[] = {"complete", "chat", "prompt", NULL};
    _cleanup_input_ InkTaskInput in = INK_TASK_INPUT_INIT;
    InkTaskOptions o;
    const char *word = "";
    INK_TRY(ink_options_read_word(m, "kind", kinds, &word, reterr));
    InkTaskKind kind = strcmp(word, "chat") == 0     ? INK_TASK_CHAT
                       : strcmp(word, "prompt") == 0 ? INK_TASK_PROMPT
                                                     : INK_TASK_COMPLETE;
    INK_TRY(ink_options_read_input(m, kind, &in, reterr));
    INK_TRY(ink_options_read_task(m, kind, &o, reterr));
    INK_TRY(ink_options_join(&o, &in, reterr));
    if (kind == INK_TASK_PROMPT)
        INK_TRY(ink_bus_session_id(b, who, in.session, &o.task.session, reterr));
    return ink_request_start(b, who, m, &o, delivery, reterr);
}

static int start(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    return start_delivered(b, who, m, INK_DELIVERY_SIGNALS, reterr);
}

static int start_pipe(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    return start_delivered(b, who, m, INK_DELIVERY_PIPE, reterr);
}

/* ------------------------------------------------------------------ tokens */

typedef struct TokenOptions {
    const char *as, *model;
    bool special;
} TokenOptions;

static const char *const as_words[] = {"text", "chat", NULL};

static const InkOption count_rows[] = {INK_OPTION_WORD("as", TokenOptions, as, as_words),
                                       INK_OPTION_BOOL("special", TokenOptions, special),
                                       INK_OPTION_STRING("model", TokenOptions, model, 0, 255)};
static const InkOption tokenize_rows[] = {INK_OPTION_BOOL("special", TokenOptions, special),
                                          INK_OPTION_STRING("model", TokenOptions, model, 0, 255)};
static const InkOption detokenize_rows[] = {INK_OPTION_BOOL("special", TokenOptions, special)};

/* Of a call that waits, `flag` says that the ids are wanted. */
static void on_tokens(void *userdata, const InkError *error, uint32_t count, const uint32_t *ids,
                      size_t n_ids)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else if (sd_bus_message_new_method_return(c->m, &reply) < 0 ||
             (c->flag ? sd_bus_message_append_array(reply, 'u', ids, n_ids * sizeof(*ids))
                      : sd_bus_message_append(reply, "u", count)) < 0 ||
             sd_bus_send(NULL, reply, NULL) < 0)
        ink_bus_reply_error(c->m, &(InkError){ENOMEM, "the answer could not be built"});
}

static int start_tokenize(InkBus *b, InkCallerEntry *who, sd_bus_message *m, const InkOption *rows,
                          size_t n_rows, bool wants_ids, InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    TokenOptions o = {.as = "text", .model = ""};
    InkTask input = {0};
    const char *text = "";
    INK_TRY(ink_options_read_string(m, "text", &text, reterr));
    INK_TRY(ink_options_read(m, rows, n_rows, "", &o, NULL, reterr));
    InkChatMessage message = {"user", text, strlen(text)};
    input.kind = strcmp(o.as, "chat") == 0 ? INK_TASK_CHAT : INK_TASK_COMPLETE;
    input.model = o.model;
    if (input.kind == INK_TASK_CHAT) {
        input.messages = &message;
        input.n_messages = 1;
    } else {
        input.prompt = text;
        input.n_prompt_bytes = message.n_text_bytes;
    }
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    c->flag = wants_ids;
    InkCall *call = c;
    int r = b->ops->tokenize(b->service, &who->caller, &input, o.special, wants_ids, on_tokens,
                             call, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c); /* the callback has it, or had it */
    return 0;
}

static int count_tokens(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    return start_tokenize(b, who, m, count_rows, INK_OPTIONS_N(count_rows), false, reterr);
}

static int tokenize(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    return start_tokenize(b, who, m, tokenize_rows, INK_OPTIONS_N(tokenize_rows), true, reterr);
}

static void on_text(void *userdata, const InkError *error, const char *text, size_t n_bytes)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    _cleanup_buffer_ InkBuffer clean = INK_BUFFER_INIT;
    if (error != NULL) {
        ink_bus_reply_error(c->m, error);
        return;
    }
    ink_bus_append_clean(&clean, text, n_bytes);
    if (ink_buffer_status(&clean) < 0 ||
        sd_bus_reply_method_return(c->m, "s", clean.data != NULL ? clean.data : "") < 0)
        ink_bus_reply_error(c->m, &(InkError){ENOMEM, "the answer could not be built"});
}

static int detokenize(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    TokenOptions o = {0};
    const void *ids = NULL;
    size_t n_bytes = 0;
    int r = sd_bus_message_read_array(m, 'u', &ids, &n_bytes);
    INK_CHECK(r >= 0, EINVAL, reterr, "tokens are not of type au");
    INK_CHECK(n_bytes / 4 <= INK_BUS_MAX_DETOKENIZE, E2BIG, reterr,
              "there are %zu tokens, the limit is %u", n_bytes / 4, INK_BUS_MAX_DETOKENIZE);
    INK_TRY(
        ink_options_read(m, detokenize_rows, INK_OPTIONS_N(detokenize_rows), "", &o, NULL, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    InkCall *call = c;
    r = b->ops->detokenize(b->service, &who->caller, ids, n_bytes / 4, o.special, on_text, call,
                           reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c);
    return 0;
}

const InkBusMethod ink_text_methods[] = {
    {"Complete", INK_PERMISSION_TEXT, complete},
    {"Chat", INK_PERMISSION_TEXT, chat},
    {"Start", INK_PERMISSION_TEXT, start},
    {"StartPipe", INK_PERMISSION_TEXT, start_pipe},
    {"CountTokens", INK_PERMISSION_TEXT, count_tokens},
    {"Tokenize", INK_PERMISSION_TEXT, tokenize},
    {"Detokenize", INK_PERMISSION_TEXT, detokenize},
    {NULL, INK_PERMISSION_NONE, NULL},
};

#define FLAGS (SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE)

const sd_bus_vtable ink_text_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_NAMES("Complete", "sa{sv}", SD_BUS_PARAM(prompt) SD_BUS_PARAM(options),
                             "sa{sv}", SD_BUS_PARAM(text) SD_BUS_PARAM(result), ink_bus_on_method,
                             FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Chat", "a(ss)a{sv}", SD_BUS_PARAM(messages) SD_BUS_PARAM(options),
                             "sa{sv}", SD_BUS_PARAM(text) SD_BUS_PARAM(result), ink_bus_on_method,
                             FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Start", "sa{sv}a{sv}",
                             SD_BUS_PARAM(kind) SD_BUS_PARAM(input) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(request), ink_bus_on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("StartPipe", "sa{sv}a{sv}",
                             SD_BUS_PARAM(kind) SD_BUS_PARAM(input) SD_BUS_PARAM(options), "oh",
                             SD_BUS_PARAM(request) SD_BUS_PARAM(stream), ink_bus_on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("CountTokens", "sa{sv}", SD_BUS_PARAM(text) SD_BUS_PARAM(options), "u",
                             SD_BUS_PARAM(tokens), ink_bus_on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Tokenize", "sa{sv}", SD_BUS_PARAM(text) SD_BUS_PARAM(options), "au",
                             SD_BUS_PARAM(tokens), ink_bus_on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Detokenize", "aua{sv}", SD_BUS_PARAM(tokens) SD_BUS_PARAM(options),
                             "s", SD_BUS_PARAM(text), ink_bus_on_method, FLAGS),
    SD_BUS_VTABLE_END,
};
