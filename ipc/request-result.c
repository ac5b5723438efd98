/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The keys of 10.2 once, for messages and for the last line of a pipe. */
#include "ipc/request-private.h"

#include <string.h>

const char *ink_request_kind_word(InkTaskKind kind)
{
    static const char *const words[] = {
        [INK_TASK_COMPLETE] = "complete", [INK_TASK_CHAT] = "chat",
        [INK_TASK_LOAD] = "load",         [INK_TASK_PROMPT] = "prompt",
        [INK_TASK_PREWARM] = "prewarm",   [INK_TASK_IMPORT] = "import",
    };
    return words[kind];
}

const char *ink_request_reason_word(InkFinishReason reason)
{
    static const char *const words[INK_FINISH_MAX] = {
        [INK_FINISH_NONE] = "",
        [INK_FINISH_STOP] = "stop",
        [INK_FINISH_LENGTH] = "length",
        [INK_FINISH_LINES] = "lines",
        [INK_FINISH_STOP_STRING] = "stop-string",
        [INK_FINISH_DEADLINE] = "deadline",
        [INK_FINISH_CANCELLED] = "cancelled",
        [INK_FINISH_SUPERSEDED] = "superseded",
    };
    return (unsigned)reason < INK_FINISH_MAX ? words[reason] : "";
}

const char *ink_request_error_name(const InkRequestObject *r)
{
    return r->result.status == INK_TASK_FAILED ? ink_bus_error_name(r->result.error.code) : NULL;
}

/* One result: text, or a number of type u or t. */
typedef struct Row {
    const char *key;
    char type;
    const char *text;
    uint64_t number;
} Row;

#define MAX_ROWS 20

static size_t collect_rows(const InkRequestObject *r, bool with_outcome, Row *rows)
{
    const InkTaskResult *o = &r->result;
    bool generated = r->kind != INK_TASK_LOAD && r->kind != INK_TASK_IMPORT;
    size_t n = 0;
    if (ink_request_reason_word(o->reason)[0] != '\0')
        rows[n++] = (Row){"finish-reason", 's', ink_request_reason_word(o->reason), 0};
    if (generated) {
        rows[n++] = (Row){"prompt-tokens", 'u', NULL, o->prompt_tokens};
        rows[n++] = (Row){"cached-tokens", 'u', NULL, o->cached_tokens};
        rows[n++] = (Row){"output-tokens", 'u', NULL, o->output_tokens};
        rows[n++] = (Row){"truncated-tokens", 'u', NULL, o->truncated_tokens};
        rows[n++] = (Row){"retries", 'u', NULL, o->retries};
        rows[n++] = (Row){"seed", 't', NULL, o->seed};
    }
    if (r->model[0] != '\0')
        rows[n++] = (Row){"model", 's', r->model, 0};
    if (r->kernels[0] != '\0')
        rows[n++] = (Row){"kernels", 's', r->kernels, 0};
    rows[n++] = (Row){"queue-usec", 't', NULL, o->queue_usec};
    rows[n++] = (Row){"load-usec", 't', NULL, o->load_usec};
    if (generated) {
        rows[n++] = (Row){"prefill-usec", 't', NULL, o->prefill_usec};
        rows[n++] = (Row){"decode-usec", 't', NULL, o->decode_usec};
    }
    if (with_outcome && generated && r->delivery != INK_DELIVERY_PIPE)
        rows[n++] = (Row){"text", 's', r->text.data != NULL ? r->text.data : "", 0};
    if (o->priority_lowered)
        rows[n++] = (Row){"priority", 's', ink_priority_words[INK_PRIORITY_INTERACTIVE], 0};
    if (with_outcome && ink_request_error_name(r) != NULL) {
        rows[n++] = (Row){"error-name", 's', ink_request_error_name(r), 0};
        rows[n++] = (Row){"error-message", 's', o->error.message, 0};
    } else if (with_outcome && o->status == INK_TASK_CANCELLED && o->error.message[0] != '\0') {
        rows[n++] = (Row){"error-message", 's', o->error.message, 0}; /* why */
    }
    return n;
}

int ink_request_append_results(const InkRequestObject *r, sd_bus_message *m, bool with_outcome)
{
    Row rows[MAX_ROWS];
    size_t n = collect_rows(r, with_outcome, rows);
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    for (size_t i = 0; i < n; i++) {
        const Row *row = &rows[i];
        if (row->type == 's')
            INK_TRY(sd_bus_message_append(m, "{sv}", row->key, "s", row->text));
        else if (row->type == 'u')
            INK_TRY(sd_bus_message_append(m, "{sv}", row->key, "u", (uint32_t)row->number));
        else
            INK_TRY(sd_bus_message_append(m, "{sv}", row->key, "t", row->number));
    }
    return sd_bus_message_close_container(m);
}

void ink_request_json_results(const InkRequestObject *r, InkBuffer *out)
{
    Row rows[MAX_ROWS];
    size_t n = collect_rows(r, true, rows);
    ink_buffer_printf(out, "{\"finished\":{\"status\":%d", (int)r->result.status);
    for (size_t i = 0; i < n; i++) {
        ink_buffer_printf(out, ",\"%s\":", rows[i].key);
        if (rows[i].type == 's')
            ink_buffer_json_string(out, rows[i].text, strlen(rows[i].text));
        else
            ink_buffer_printf(out, "%llu", (unsigned long long)rows[i].number);
    }
    ink_buffer_append_str(out, "}}");
}
