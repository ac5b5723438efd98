/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `suggest`, `observe` and `memory`: recommendations and what they learn from. */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli.h"
#include "engine/base/clock.h"
#include "engine/base/utf8.h"
#include "ipc/names.h"

/* "file:///home/me/a%20b" of a path, which need not exist; NULL when memory is short. */
static char *uri_of(const char *path)
{
    if (strstr(path, "://") != NULL)
        return strdup(path);
    _cleanup_buffer_ InkBuffer uri = INK_BUFFER_INIT;
    ink_buffer_append_str(&uri, "file://");
    char full[PATH_MAX];
    if (realpath(path, full) == NULL) {
        char here[PATH_MAX];
        if (path[0] == '/' || getcwd(here, sizeof(here)) == NULL)
            here[0] = '\0';
        snprintf(full, sizeof(full), "%.*s%s%s", PATH_MAX / 2, here, here[0] != '\0' ? "/" : "",
                 path);
    }
    for (const char *p = full; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("/-_.~!$&'()*+,;=:@", c) != NULL;
        if (plain)
            ink_buffer_append_char(&uri, *p);
        else
            ink_buffer_printf(&uri, "%%%02X", c);
    }
    return ink_buffer_take(&uri);
}

static int append_entry(sd_bus_message *m, const char *key, const char *value)
{
    return value != NULL ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

/* --------------------------------------------------------------- suggest */

static const CliOption suggest_options[] = {
    {"limit", "N", "limit", 'u', "proposals at most (5)"},
    {"explain", NULL, "explain", 'b', "say why"},
    {"candidates", "FILE", NULL, 0,
     "rank these too: one a line, or JSON lines with id, text, uri; - is standard input"},
    {"cwd", "DIRECTORY", NULL, 0, "where you are (the current directory)"},
    {"feedback", "ID", NULL, 0, "say what became of a proposal; OUTCOME is the argument"},
    {NULL},
};

typedef struct Candidates {
    json_t *rows; /* array of objects with id, text, uri */
} Candidates;

static void candidates_done(Candidates *c)
{
    json_decref(c->rows);
}

static int read_candidate(const Cli *cli, Candidates *c, const char *line, size_t number)
{
    json_t *row = NULL;
    if (line[0] == '{') {
        json_error_t problem;
        row = json_loads(line, JSON_REJECT_DUPLICATES, &problem);
        if (row == NULL || !json_is_string(json_object_get(row, "id"))) {
            json_decref(row);
            return cli_usage(cli, "--candidates: line %zu is no JSON object with an \"id\"",
                             number);
        }
    } else {
        row = json_pack("{s:o, s:s}", "id", json_sprintf("line-%zu", number), "text", line);
        if (row == NULL)
            return cli_usage(cli, "--candidates: line %zu is not UTF-8", number);
        if (line[0] == '/' || strstr(line, "://") != NULL) {
            _cleanup_free_ char *uri = uri_of(line);
            json_object_set_new(row, "uri", json_string(uri));
        }
    }
    json_array_append_new(c->rows, row);
    return CLI_OK;
}

static int read_candidates(const Cli *cli, const char *path, Candidates *c)
{
    _cleanup_fclose_ FILE *file =
        strcmp(path, "-") == 0 ? fdopen(dup(STDIN_FILENO), "r") : fopen(path, "re");
    if (file == NULL)
        return cli_usage(cli, "--candidates: the file cannot be read: %s", strerror(errno));
    c->rows = json_array();
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0, number = 0;
    for (ssize_t n = getline(&line, &capacity, file); n >= 0; n = getline(&line, &capacity, file)) {
        number++;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (n == 0)
            continue;
        if (json_array_size(c->rows) == INK_BUS_MAX_CANDIDATES)
            return cli_usage(cli, "--candidates: more than %u lines", INK_BUS_MAX_CANDIDATES);
        int r = read_candidate(cli, c, line, number);
        if (r != CLI_OK)
            return r;
    }
    return CLI_OK;
}

static int append_candidates(sd_bus_message *m, const Candidates *c)
{
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", "candidates"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "aa{sv}"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "a{sv}"));
    size_t i;
    json_t *row;
    json_array_foreach(c->rows, i, row)
    {
        INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
        INK_TRY(append_entry(m, "id", json_string_value(json_object_get(row, "id"))));
        INK_TRY(append_entry(m, "text", json_string_value(json_object_get(row, "text"))));
        INK_TRY(append_entry(m, "uri", json_string_value(json_object_get(row, "uri"))));
        INK_TRY(sd_bus_message_close_container(m));
    }
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

typedef struct SuggestCall {
    Cli *cli;
    const char *kind, *text, *cwd;
    const Candidates *candidates;
} SuggestCall;

static int append_suggest(sd_bus_message *m, void *userdata)
{
    const SuggestCall *call = userdata;
    INK_TRY(sd_bus_message_append(m, "s", call->kind));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(append_entry(m, "text-before", call->text));
    INK_TRY(append_entry(m, "cwd", call->cwd));
    if (call->candidates->rows != NULL)
        INK_TRY(append_candidates(m, call->candidates));
    INK_TRY(sd_bus_message_close_container(m));
    return cli_append_settings_dict(m, call->cli);
}

/* A dictionary of the bus as a JSON object: the value types that items have. */
static int read_dict(sd_bus_message *m, json_t *object)
{
    INK_TRY(sd_bus_message_enter_container(m, 'a', "{sv}"));
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        const char *key, *content;
        INK_TRY(sd_bus_message_read(m, "s", &key));
        INK_TRY(sd_bus_message_peek_type(m, NULL, &content));
        const char *text;
        double number;
        uint64_t wide;
        uint32_t narrow;
        if (strcmp(content, "s") == 0) {
            INK_TRY(sd_bus_message_read(m, "v", "s", &text));
            json_object_set_new(object, key, json_string(text));
        } else if (strcmp(content, "d") == 0) {
            INK_TRY(sd_bus_message_read(m, "v", "d", &number));
            json_object_set_new(object, key, json_real(number));
        } else if (strcmp(content, "t") == 0) {
            INK_TRY(sd_bus_message_read(m, "v", "t", &wide));
            json_object_set_new(object, key, json_integer((json_int_t)wide));
        } else if (strcmp(content, "u") == 0) {
            INK_TRY(sd_bus_message_read(m, "v", "u", &narrow));
            json_object_set_new(object, key, json_integer(narrow));
        } else {
            INK_TRY(sd_bus_message_skip(m, "v"));
        }
        INK_TRY(sd_bus_message_exit_container(m));
    }
    return sd_bus_message_exit_container(m);
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void print_item(const Cli *cli, const json_t *item)
{
    if (cli->json) {
        _cleanup_free_ char *line = json_dumps(item, JSON_COMPACT | JSON_REAL_PRECISION(6));
        puts(line != NULL ? line : "null");
        return;
    }
    printf("%.2f  ", json_real_value(json_object_get(item, "score")));
    const char *uri = string_of(item, "uri"), *text = string_of(item, "text");
    cli_print_text(text, strlen(text));
    if (uri[0] != '\0' && strcmp(uri, text) != 0) {
        fputs("  ", stdout);
        cli_print_text(uri, strlen(uri));
    }
    if (string_of(item, "reason")[0] != '\0')
        printf("  (%s)", string_of(item, "reason"));
    putchar('\n');
}

static int print_items(const Cli *cli, sd_bus_message *reply)
{
    INK_TRY(sd_bus_message_enter_container(reply, 'a', "a{sv}"));
    while (sd_bus_message_at_end(reply, 0) == 0) {
        json_t *item = json_object();
        int r = read_dict(reply, item);
        if (r >= 0)
            print_item(cli, item);
        json_decref(item);
        INK_TRY(r);
    }
    return sd_bus_message_exit_container(reply);
}

static int send_feedback(Cli *cli);

static int run_suggest(Cli *cli)
{
    if (cli_setting(cli, "feedback") != NULL)
        return send_feedback(cli);
    if (cli->n_positionals == 0)
        return cli_usage(cli, "suggest needs a KIND: file or command");
    _cleanup_(candidates_done) Candidates candidates = {0};
    const char *path = cli_setting(cli, "candidates");
    int r = path != NULL ? read_candidates(cli, path, &candidates) : CLI_OK;
    if (r != CLI_OK)
        return r;
    char here[PATH_MAX];
    const char *cwd = cli_setting(cli, "cwd");
    if (cwd == NULL)
        cwd = getcwd(here, sizeof(here));
    if (cwd != NULL && !ink_utf8_valid(cwd, strlen(cwd)))
        cwd = NULL; /* the bus carries UTF-8 only; without it the place just does not count */
    SuggestCall call = {cli, cli->positionals[0],
                        cli->n_positionals > 1 ? cli->positionals[1] : NULL, cwd, &candidates};
    r = cli_connect(cli);
    if (r != CLI_OK)
        return r;
    InkError error = {0};
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    if (ink_client_call(cli->client, "Recommendation", "Suggest", true, append_suggest, &call,
                        &reply, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    if (print_items(cli, reply) < 0) {
        ink_error_raise(&error, EPROTO, "the service's answer has an unexpected form");
        return cli_error(cli, NULL, &error);
    }
    return cli_flush(cli);
}

static int append_feedback(sd_bus_message *m, void *userdata)
{
    const Cli *cli = userdata;
    return sd_bus_message_append(m, "ssa{sv}", cli_setting(cli, "feedback"), cli->positionals[0],
                                 0);
}

static int send_feedback(Cli *cli)
{
    if (cli->n_positionals != 1)
        return cli_usage(cli, "suggest --feedback ID needs an OUTCOME: shown, accepted, partial, "
                              "dismissed or edited");
    return cli_call(cli, "Recommendation", "Feedback", append_feedback, NULL);
}

/* --------------------------------------------------------------- observe */

static const CliOption observe_options[] = {
    {"title", "TEXT", NULL, 0, "what a person would call it"},
    {"cwd", "DIRECTORY", NULL, 0, "where a command ran (the current directory)"},
    {"ago", "SPAN", NULL, 0, "it happened so long ago: 90s, 2h, 3d (now)"},
    {"dry-run", NULL, "dry-run", 'b', "check and count, store nothing"},
    {NULL},
};

typedef struct ObserveCall {
    Cli *cli;
    const char *kind, *text, *uri, *app_id;
    uint64_t time_usec; /* 0 = now */
} ObserveCall;

static int append_observe(sd_bus_message *m, void *userdata)
{
    const ObserveCall *call = userdata;
    INK_TRY(sd_bus_message_open_container(m, 'a', "a{sv}"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(append_entry(m, "kind", call->kind));
    INK_TRY(append_entry(m, "text", call->text));
    INK_TRY(append_entry(m, "uri", call->uri));
    INK_TRY(append_entry(m, "app-id", call->app_id));
    INK_TRY(append_entry(m, "title", cli_setting(call->cli, "title")));
    if (call->time_usec != 0)
        INK_TRY(sd_bus_message_append(m, "{sv}", "time-usec", "t", call->time_usec));
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return cli_append_settings_dict(m, call->cli);
}

static int run_observe(Cli *cli)
{
    if (cli->n_positionals != 2)
        return cli_usage(cli, "observe needs KIND and VALUE: opened FILE, ran COMMAND, accepted "
                              "TEXT or focused APPLICATION");
    const char *kind = cli->positionals[0], *value = cli->positionals[1];
    ObserveCall call = {.cli = cli, .kind = kind};
    const char *ago = cli_setting(cli, "ago");
    uint64_t ago_usec;
    if (ago != NULL) {
        if (!cli_parse_span(ago, &ago_usec) || ago_usec >= ink_clock_real_usec())
            return cli_usage(cli, "--ago: \"%.32s\" is no time span such as 90s, 2h or 3d", ago);
        call.time_usec = ink_clock_real_usec() - ago_usec;
    }
    _cleanup_free_ char *uri = NULL;
    if (strcmp(kind, "opened") == 0) {
        call.uri = uri = uri_of(value);
    } else if (strcmp(kind, "focused") == 0) {
        call.app_id = value;
    } else {
        call.text = value;
        const char *cwd = cli_setting(cli, "cwd");
        if (strcmp(kind, "ran") == 0)
            call.uri = uri = uri_of(cwd != NULL ? cwd : ".");
    }
    int r = cli_connect(cli);
    if (r != CLI_OK)
        return r;
    InkError error = {0};
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    if (ink_client_call(cli->client, "Recommendation", "Observe", true, append_observe, &call,
                        &reply, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    uint32_t accepted;
    if (sd_bus_message_read(reply, "u", &accepted) < 0)
        accepted = 0;
    if (cli->json)
        printf("{\"accepted\":%" PRIu32 "}\n", accepted);
    else if (accepted == 0 && cli_setting(cli, "dry-run") == NULL)
        cli_warn(cli, "nothing was stored: memory is off (inkling memory on), or it was a repeat");
    return cli_flush(cli);
}

/* ---------------------------------------------------------------- memory */

static int print_memory(Cli *cli)
{
    InkError error = {0};
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int enabled;
    if (ink_client_property(cli->client, "Memory", "Enabled", true, &reply, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    if (sd_bus_message_read(reply, "b", &enabled) < 0)
        return CLI_FAILED;
    printf(cli->json ? "{\"enabled\":%s}\n" : "memory is %s\n",
           cli->json ? (enabled ? "true" : "false") : (enabled ? "on" : "off"));
    return cli_flush(cli);
}

static int run_memory(Cli *cli)
{
    const char *wanted = cli->n_positionals == 1 ? cli->positionals[0] : "";
    if (strcmp(wanted, "on") != 0 && strcmp(wanted, "off") != 0)
        return cli_usage(cli, "memory needs \"on\" or \"off\"");
    int r = cli_connect(cli);
    if (r != CLI_OK)
        return r;
    _cleanup_(sd_bus_error_free) sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    InkError error = {0};
    r = sd_bus_set_property(ink_client_bus(cli->client), INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY,
                            "Enabled", &bus_error, "b", (int)(strcmp(wanted, "on") == 0));
    if (r < 0) {
        ink_error_raise(&error, -r, "%s",
                        bus_error.message != NULL ? bus_error.message : strerror(-r));
        return cli_error(cli, bus_error.name, &error);
    }
    return print_memory(cli);
}

const CliVerb cli_verb_suggest = {
    .name = "suggest",
    .arguments = "KIND [TEXT]",
    .summary = "propose a file or a command, best first",
    .options = suggest_options,
    .details = "KIND is file or command; TEXT keeps only what contains it. An empty list is an\n"
               "answer too. Proposals come from what was observed while memory is on.\n",
    .examples = "  inkling suggest file\n"
                "  inkling suggest command make --explain\n"
                "  ls -d \"$PWD\"/* | inkling suggest file --candidates -\n"
                "  inkling suggest --feedback ID accepted\n",
    .max_positionals = 2,
    .run = run_suggest,
};

const CliVerb cli_verb_observe = {
    .name = "observe",
    .arguments = "KIND VALUE",
    .summary = "tell what was opened or run, so that suggest can learn",
    .options = observe_options,
    .details =
        "KIND is opened (a file or URI), ran (a command line), accepted (a text) or focused\n"
        "(an application). Nothing is stored while memory is off. Prints nothing.\n",
    .examples = "  inkling observe opened report.odt\n"
                "  inkling observe ran \"make check\"\n"
                "  inkling observe ran \"git fetch\" --ago 2h\n",
    .max_positionals = 2,
    .run = run_observe,
};

const CliVerb cli_verb_memory = {
    .name = "memory",
    .arguments = "on|off",
    .summary = "switch remembering on or off; it is off at first",
    .details = "While it is off nothing that apps report is written anywhere.\n",
    .examples = "  inkling memory on\n",
    .max_positionals = 1,
    .run = run_memory,
};
