/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `inkling model`: the installed models. */
#include "clients/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipc/names.h"

/* Hashing a model of many gigabytes from a slow disk. */
#define VERIFY_TIMEOUT_USEC UINT64_C(3600000000)

static void json_decref_p(json_t **value)
{
    json_decref(*value);
}

static int unreadable(const Cli *cli)
{
    InkError error = {0};
    (void)ink_error_raise(&error, EPROTO, "the answer of the service is not readable");
    return cli_error(cli, NULL, &error);
}

/* A call of Manager whose answer is one value, or none (`ret` NULL). */
static int call(Cli *cli, const char *method, InkClientAppend *append, void *userdata, json_t **ret)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error = {0};
    if (ink_client_call(cli->client, "Manager", method, true, append, userdata, &reply, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    if (ret != NULL && (*ret = cli_read_json(reply)) == NULL)
        return unreadable(cli);
    return CLI_OK;
}

/* ------------------------------------------------------------------ list */

static bool is_set(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static const char *or_dash(const char *text)
{
    return text[0] != '\0' ? text : "-";
}

static void print_row(const json_t *m)
{
    char size[16], window[24] = "-";
    const char *name = cli_json_text(m, "name");
    cli_format_size(size, cli_json_number(m, "size"));
    if (cli_json_number(m, "context-window") != 0)
        snprintf(window, sizeof(window), "%" PRIu64, cli_json_number(m, "context-window"));
    cli_print_text(name, strlen(name));
    printf("%*s  %9s  %-8s  %-6s  %7s  %-12s  %s%s%s%s\n",
           strlen(name) < 32 ? (int)(32 - strlen(name)) : 0, "", size,
           or_dash(cli_json_text(m, "architecture")), or_dash(cli_json_text(m, "quantization")),
           window, or_dash(cli_json_text(m, "license")), is_set(m, "default") ? "default" : "",
           is_set(m, "default") && is_set(m, "loaded") ? ", " : "",
           is_set(m, "loaded") ? "loaded" : "",
           strcmp(cli_json_text(m, "source"), "system") == 0 ? " (system)" : "");
}

static void print_header(const Cli *cli)
{
    if (!cli->quiet)
        printf("%-32s  %9s  %-8s  %-6s  %7s  %-12s  %s\n", "NAME", "SIZE", "FAMILY", "TYPE",
               "WINDOW", "LICENSE", "");
}

/* All of them, or the row of one. */
static int print_list(Cli *cli, const char *only)
{
    _cleanup_(json_decref_p) json_t *list = NULL;
    size_t index;
    json_t *m;
    int r = call(cli, "ListModels", NULL, NULL, &list);
    if (r != CLI_OK)
        return r;
    if (cli->json && only == NULL)
        return cli_print_json(cli, list);
    if (!cli->json && (only == NULL ? json_array_size(list) > 0 : true))
        print_header(cli);
    json_array_foreach(list, index, m)
    {
        if (only != NULL && strcmp(cli_json_text(m, "name"), only) != 0)
            continue;
        if (cli->json)
            return cli_print_json(cli, m);
        print_row(m);
    }
    if (json_array_size(list) == 0)
        cli_warn(cli, "no model is installed; inkling model import NAME FILE brings one");
    return cli_flush(cli);
}

/* ------------------------------------------------------------------ info, verify */

typedef struct Inspect {
    const char *name;
    bool verify;
} Inspect;

static int append_inspect(sd_bus_message *m, void *userdata)
{
    const Inspect *i = userdata;
    INK_TRY(sd_bus_message_append(m, "s", i->name));
    if (i->verify)
        return sd_bus_message_append(m, "a{sv}", 1, "verify", "b", 1);
    return sd_bus_message_append(m, "a{sv}", 0);
}

static void print_text(const char *label, const char *text)
{
    if (text[0] == '\0')
        return;
    printf("%-10s ", label);
    cli_print_text(text, strlen(text));
    putchar('\n');
}

static void print_types(const json_t *m)
{
    const char *key, *separator = "";
    json_t *bytes;
    printf("%-10s ", "tensors");
    json_object_foreach(json_object_get(m, "tensor-types"), key, bytes)
    {
        char size[16];
        cli_format_size(size, (uint64_t)json_integer_value(bytes));
        printf("%s%s %s", separator, size, key);
        separator = ", ";
    }
    putchar('\n');
}

static void print_warnings(const json_t *m)
{
    size_t index;
    json_t *warning;
    json_array_foreach(json_object_get(m, "warnings"), index, warning)
        print_text("warning", json_string_value(warning));
}

static void print_info(const json_t *m)
{
    char size[16];
    cli_format_size(size, cli_json_number(m, "size"));
    print_text("name", cli_json_text(m, "name"));
    printf("%-10s %s, %s%s%s\n", "file", size, cli_json_text(m, "source"),
           is_set(m, "default") ? ", default" : "", is_set(m, "loaded") ? ", loaded" : "");
    print_text("path", cli_json_text(m, "path"));
    printf("%-10s %s, %" PRIu64 " layers of %" PRIu64 ", %" PRIu64 " heads (%" PRIu64
           " for keys and values), %" PRIu64 " parameters\n",
           "family", cli_json_text(m, "architecture"), cli_json_number(m, "layers"),
           cli_json_number(m, "embedding-length"), cli_json_number(m, "heads"),
           cli_json_number(m, "kv-heads"), cli_json_number(m, "parameters"));
    printf("%-10s %" PRIu64 " tokens\n", "window", cli_json_number(m, "context-window"));
    print_types(m);
    printf("%-10s %s, %" PRIu64 " tokens\n", "vocabulary", cli_json_text(m, "tokenizer"),
           cli_json_number(m, "vocabulary"));
    printf("%-10s %s\n", "chat", is_set(m, "chat-template") ? "yes" : "no");
    print_text("license", cli_json_text(m, "license"));
    print_text("sha256", cli_json_text(m, "sha256"));
    print_warnings(m);
}

static int run_info(Cli *cli, const char *name)
{
    _cleanup_(json_decref_p) json_t *m = NULL;
    int r = call(cli, "InspectModel", append_inspect, &(Inspect){name, false}, &m);
    if (r != CLI_OK)
        return r;
    if (cli->json)
        return cli_print_json(cli, m);
    print_info(m);
    return cli_flush(cli);
}

static int run_verify(Cli *cli, const char *name)
{
    _cleanup_(json_decref_p) json_t *m = NULL;
    if (cli->timeout_usec == 0)
        ink_client_set_timeout(cli->client, VERIFY_TIMEOUT_USEC);
    int r = call(cli, "InspectModel", append_inspect, &(Inspect){name, true}, &m);
    if (r != CLI_OK)
        return r;
    const json_t *verified = json_object_get(m, "verified");
    bool differs = json_is_false(verified);
    if (cli->json) {
        r = cli_print_json(cli, m);
    } else {
        printf("%-8s %s  %s\n",
               verified == NULL ? "recorded"
               : differs        ? "differs"
                                : "ok",
               cli_json_text(m, "sha256"), cli_json_text(m, "name"));
        if (!cli->quiet)
            print_warnings(m);
        r = cli_flush(cli);
    }
    return r != CLI_OK ? r : differs ? CLI_NO_MODEL : CLI_OK;
}

/* ------------------------------------------------------------------ use, remove */

typedef struct Change {
    const Cli *cli;
    const char *name;
} Change;

static int append_change(sd_bus_message *m, void *userdata)
{
    const Change *c = userdata;
    INK_TRY(sd_bus_message_append(m, "s", c->name));
    if (cli_setting(c->cli, "force") != NULL)
        return sd_bus_message_append(m, "a{sv}", 1, "force", "b", 1);
    return sd_bus_message_append(m, "a{sv}", 0);
}

static int run_use(Cli *cli, const char *name)
{
    int r = call(cli, "SetDefaultModel", append_change, &(Change){cli, name}, NULL);
    return r != CLI_OK ? r : print_list(cli, name[0] != '\0' ? name : NULL);
}

static int confirm(const Cli *cli, const char *name)
{
    char answer[16] = "";
    if (cli_setting(cli, "yes") != NULL)
        return CLI_OK;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return cli_usage(cli, "model remove asks on a terminal; elsewhere say -y");
    fprintf(stderr, "remove the model \"%s\" and its file? [y/N] ", name);
    if (fgets(answer, sizeof(answer), stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y')) {
        fprintf(stderr, "nothing was removed\n");
        return CLI_FAILED;
    }
    return CLI_OK;
}

static int run_remove(Cli *cli, const char *name)
{
    int r = confirm(cli, name);
    if (r == CLI_OK)
        r = call(cli, "RemoveModel", append_change, &(Change){cli, name}, NULL);
    if (r != CLI_OK)
        return r;
    if (cli->json) {
        _cleanup_(json_decref_p) json_t *removed = json_pack("{s:s}", "removed", name);
        return removed != NULL ? cli_print_json(cli, removed) : CLI_FAILED;
    }
    printf("removed %s\n", name);
    return cli_flush(cli);
}

/* ------------------------------------------------------------------ the verb */

static int run_list(Cli *cli, const char *name)
{
    (void)name;
    return print_list(cli, NULL);
}

static int run_import(Cli *cli, const char *name)
{
    int r = cli_import_model(cli, name, cli->positionals[2]);
    return r != CLI_OK ? r : print_list(cli, name);
}

static const struct {
    const char *word;
    size_t least, most; /* arguments behind it */
    const char *wants;
    const char *options[2]; /* that it takes */
    int (*run)(Cli *cli, const char *name);
} verbs[] = {
    {"list", 0, 0, "no argument", {NULL}, run_list},
    {"info", 0, 1, "at most a name", {NULL}, run_info},
    {"import", 2, 2, "a name and a file", {"sha256", "default"}, run_import},
    {"use", 1, 1, "a name", {"force"}, run_use},
    {"remove", 1, 1, "a name", {"force", "yes"}, run_remove},
    {"verify", 0, 1, "at most a name", {NULL}, run_verify},
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static int run_model(Cli *cli)
{
    const char *word = cli->n_positionals > 0 ? cli->positionals[0] : "";
    size_t v = 0, n = cli->n_positionals > 0 ? cli->n_positionals - 1 : 0;
    while (v < N_VERBS && strcmp(verbs[v].word, word) != 0)
        v++;
    if (v == N_VERBS)
        return cli_usage(cli, "model needs list, info, import, use, remove or verify");
    if (n < verbs[v].least || n > verbs[v].most)
        return cli_usage(cli, "model %s takes %s", word, verbs[v].wants);
    for (size_t i = 0; i < cli->n_settings; i++) {
        const char *name = cli->settings[i].option->name;
        bool known = false;
        for (size_t k = 0; k < 2 && verbs[v].options[k] != NULL; k++)
            known |= strcmp(verbs[v].options[k], name) == 0;
        if (!known)
            return cli_usage(cli, "--%s is not for model %s", name, word);
    }
    int r = cli_connect(cli);
    return r != CLI_OK ? r : verbs[v].run(cli, n > 0 ? cli->positionals[1] : "");
}

static const CliOption options[] = {
    {.name = "sha256", .value_name = "HEX", .help = "import: the file must have this hash"},
    {.name = "default", .help = "import: it becomes the default"},
    {.name = "force", .help = "use, remove: although requests use a model"},
    {.name = "yes", .help = "remove: do not ask; also -y"},
    {.name = NULL},
};

const CliVerb cli_verb_model = {
    .name = "model",
    .arguments = "list|info|import|use|remove|verify",
    .summary = "which models there are; bring, choose, check, remove",
    .options = options,
    .details = "  model list                what is installed\n"
               "  model info [NAME]         what is in it, without loading it\n"
               "  model import NAME FILE    checks and copies a GGUF file; prints its line\n"
               "  model use NAME            the new default\n"
               "  model remove NAME         asks on a terminal, needs -y elsewhere\n"
               "  model verify [NAME]       reads it all: ok, or what differs (exit 5)\n"
               "Without NAME it is the default. Names are made of a-z 0-9 . _ -. Exit 5: no such\n"
               "model, damaged or not supported; 9: in use, or another import runs.\n",
    .examples = "  inkling model import tiny ~/Downloads/tiny.gguf --default\n"
                "  inkling model verify\n"
                "  inkling model remove tiny\n",
    .max_positionals = 3,
    .run = run_model,
};
