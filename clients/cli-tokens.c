/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `tokens`: how many tokens a text has, which, and where the borders are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli.h"

static const CliOption options[] = {
    {"ids", NULL, NULL, 0, "the token ids, one line"},
    {"pieces", NULL, NULL, 0, "each token with its text, one a line"},
    {"chat", NULL, NULL, 0, "count what the chat template adds as well"},
    {"special", NULL, NULL, 0, "control tokens such as <|im_end|> in TEXT count as such"},
    {NULL},
};

typedef struct Input {
    const char *text;
    bool special;
    const char *as; /* NULL: Tokenize, which has no such option */
    const uint32_t *ids;
    size_t n_ids;
} Input;

static int append_text(sd_bus_message *m, void *userdata)
{
    const Input *in = userdata;
    INK_TRY(sd_bus_message_append(m, "s", in->text));
    if (in->as != NULL)
        return sd_bus_message_append(m, "a{sv}", 1, "as", "s", in->as);
    return sd_bus_message_append(m, "a{sv}", 1, "special", "b", (int)in->special);
}

static int append_ids(sd_bus_message *m, void *userdata)
{
    const Input *in = userdata;
    INK_TRY(sd_bus_message_append_array(m, 'u', in->ids, in->n_ids * sizeof(uint32_t)));
    return sd_bus_message_append(m, "a{sv}", 1, "special", "b", 1);
}

static int call_text(Cli *cli, const char *method, InkClientAppend *append, Input *in,
                     sd_bus_message **ret)
{
    int r = cli_connect(cli);
    if (r != CLI_OK)
        return r;
    InkError error = {0};
    if (ink_client_call(cli->client, "Text", method, true, append, in, ret, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    return CLI_OK;
}

static int broken_reply(const Cli *cli)
{
    InkError error;
    ink_error_raise(&error, EPROTO, "the service's answer has an unexpected form");
    return cli_error(cli, NULL, &error);
}

static int print_count(Cli *cli, Input *in)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    in->as = cli_setting(cli, "chat") != NULL ? "chat" : "text";
    int r = call_text(cli, "CountTokens", append_text, in, &reply);
    if (r != CLI_OK)
        return r;
    uint32_t n;
    if (sd_bus_message_read(reply, "u", &n) < 0)
        return broken_reply(cli);
    printf(cli->json ? "{\"tokens\":%" PRIu32 "}\n" : "%" PRIu32 "\n", n);
    return cli_flush(cli);
}

static int print_piece(Cli *cli, Input *in, size_t index)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    Input one = {.ids = &in->ids[index], .n_ids = 1};
    int r = call_text(cli, "Detokenize", append_ids, &one, &reply);
    if (r != CLI_OK)
        return r;
    const char *piece;
    if (sd_bus_message_read(reply, "s", &piece) < 0)
        return broken_reply(cli);
    _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
    ink_buffer_json_string(&line, piece, strlen(piece));
    if (ink_buffer_status(&line) < 0)
        return CLI_FAILED;
    if (cli->json)
        printf("{\"id\":%" PRIu32 ",\"text\":%s}\n", in->ids[index], line.data);
    else
        printf("%6" PRIu32 "  %s\n", in->ids[index], line.data);
    return CLI_OK;
}

static int print_ids(Cli *cli, Input *in)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r = call_text(cli, "Tokenize", append_text, in, &reply);
    if (r != CLI_OK)
        return r;
    const void *ids;
    size_t n_bytes;
    if (sd_bus_message_read_array(reply, 'u', &ids, &n_bytes) < 0)
        return broken_reply(cli);
    in->ids = ids;
    in->n_ids = n_bytes / sizeof(uint32_t);
    if (cli_setting(cli, "pieces") != NULL) {
        for (size_t i = 0; i < in->n_ids && r == CLI_OK; i++)
            r = print_piece(cli, in, i);
        return r != CLI_OK ? r : cli_flush(cli);
    }
    if (cli->json)
        printf("{\"tokens\":%zu,\"ids\":[", in->n_ids);
    for (size_t i = 0; i < in->n_ids; i++)
        printf("%s%" PRIu32, i == 0 ? "" : cli->json ? "," : " ", in->ids[i]);
    printf(cli->json ? "]}\n" : "\n");
    return cli_flush(cli);
}

static int run(Cli *cli)
{
    bool ids = cli_setting(cli, "ids") != NULL || cli_setting(cli, "pieces") != NULL;
    if (ids && cli_setting(cli, "chat") != NULL)
        return cli_usage(cli, "--chat counts only; it cannot be used with --ids or --pieces");
    _cleanup_free_ char *text = NULL;
    size_t n_bytes;
    int r = cli_text(cli, 0, &text, &n_bytes);
    if (r != CLI_OK)
        return r;
    Input in = {.text = text, .special = cli_setting(cli, "special") != NULL};
    return ids || in.special ? print_ids(cli, &in) : print_count(cli, &in);
}

const CliVerb cli_verb_tokens = {
    .name = "tokens",
    .arguments = "[TEXT]",
    .summary = "count the tokens of a text",
    .options = options,
    .details = "TEXT, or standard input for \"-\" and when TEXT is missing.\n",
    .examples = "  inkling tokens \"How many tokens is this?\"\n"
                "  inkling tokens --pieces \"12 naïve cafés\"\n"
                "  inkling tokens --chat < question.txt\n",
    .max_positionals = 1,
    .run = run,
};
