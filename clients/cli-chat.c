/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `chat`: one question, or a dialogue in a session of the service, which keeps what was said. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli-generate.h"

typedef struct Dialogue {
    Cli *cli;
    const char *name; /* of a persistent session; NULL = an ordinary one */
    char *path;       /* NULL = none open */
} Dialogue;

/* ------------------------------------------------------------------ the session */

static int append_create(sd_bus_message *m, void *userdata)
{
    const Dialogue *d = userdata;
    const char *system = cli_setting(d->cli, "system");
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    if (d->name != NULL)
        INK_TRY(sd_bus_message_append(m, "{sv}{sv}", "persistent", "b", 1, "name", "s", d->name));
    if (system != NULL)
        INK_TRY(sd_bus_message_append(m, "{sv}", "system", "s", system));
    /* A dialogue goes on when the window is full; a person is told what was left out. */
    INK_TRY(sd_bus_message_append(m, "{sv}", "overflow", "s", "drop-oldest"));
    return sd_bus_message_close_container(m);
}

static int report(const Dialogue *d, const InkError *error)
{
    return cli_error(d->cli, ink_client_error_name(d->cli->client), error);
}

/* A method of the session without arguments. */
static int call_session(const Dialogue *d, const char *method, InkClientAppend *append,
                        sd_bus_message **ret, InkError *reterr)
{
    return ink_client_call_object(d->cli->client, d->path, "Session", method, append, NULL, ret,
                                  reterr);
}

static int open_session(Dialogue *d)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error = {0};
    const char *path;
    int r = cli_connect(d->cli);
    if (r != CLI_OK)
        return r;
    free(d->path);
    d->path = NULL;
    if (ink_client_call(d->cli->client, "Manager", "CreateSession", true, append_create, d, &reply,
                        &error) < 0)
        return report(d, &error);
    if (sd_bus_message_read(reply, "o", &path) <= 0)
        return CLI_FAILED;
    d->path = strdup(path);
    return d->path != NULL ? CLI_OK : CLI_FAILED;
}

/* Leaving the bus would do the same, a moment later. */
static void close_session(Dialogue *d)
{
    InkError ignored = {0};
    if (d->path != NULL)
        (void)!call_session(d, "Close", NULL, NULL, &ignored);
    free(d->path);
    d->path = NULL;
}

/* One turn. A session that has ended meanwhile (idle, another model, a new daemon) begins anew. */
static int ask(Dialogue *d, const char *text)
{
    for (int i = 0; i < 2; i++) {
        CliGeneration g = {.cli = d->cli, .kind = CLI_PROMPT, .text = text, .session = d->path};
        int r = cli_generate(&g);
        if (r != CLI_NO_SUCH_THING)
            return r;
        if (d->name == NULL)
            cli_warn(d->cli, "the session has ended; this begins a new one");
        r = open_session(d);
        if (r != CLI_OK)
            return r;
    }
    InkError error = {.code = EIO, .message = "the session ended as soon as it began"};
    return cli_error(d->cli, NULL, &error);
}

/* ------------------------------------------------------------------ on a terminal */

static int append_first_turn(sd_bus_message *m, void *userdata)
{
    (void)userdata;
    return sd_bus_message_append(m, "u", 0u);
}

static void greet(const Dialogue *d)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError ignored = {0};
    size_t n = 0;
    if (d->cli->quiet)
        return;
    fprintf(stderr, "Ask away. /new starts over,%s Ctrl-C stops an answer, Ctrl-D ends.\n",
            d->name != NULL ? " /forget deletes this session," : "");
    if (d->name == NULL || call_session(d, "GetTranscript", NULL, &reply, &ignored) < 0 ||
        sd_bus_message_enter_container(reply, 'a', "(ssa{sv})") <= 0)
        return;
    while (sd_bus_message_skip(reply, "(ssa{sv})") > 0)
        n++;
    if (n > 0)
        fprintf(stderr, "%zu turns so far.\n", n);
}

typedef enum Next { GO_ON, LEAVE } Next;

static Next run_command(Dialogue *d, const char *line)
{
    InkError error = {0};
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
        return LEAVE;
    if (strcmp(line, "/new") == 0) {
        if (call_session(d, "Rewind", append_first_turn, NULL, &error) < 0)
            (void)report(d, &error);
        return GO_ON;
    }
    if (d->name != NULL && strcmp(line, "/forget") == 0) {
        if (call_session(d, "Forget", NULL, NULL, &error) == 0)
            return LEAVE;
        (void)report(d, &error);
        return GO_ON;
    }
    cli_warn(d->cli, "a line that begins with / is a command: /new%s or /quit",
             d->name != NULL ? ", /forget" : "");
    return GO_ON;
}

/* A line, without its end; negative at the end of input. */
static ssize_t read_line(char **line, size_t *capacity)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    fputs("> ", stderr);
    fflush(stderr);
    ssize_t n = getline(line, capacity, stdin);
    if (n < 0)
        fputc('\n', stderr);
    else if (n > 0 && (*line)[n - 1] == '\n')
        (*line)[--n] = '\0';
    return n;
}

static int talk(Dialogue *d)
{
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    greet(d);
    while ((n = read_line(&line, &capacity)) >= 0) {
        if (n == 0)
            continue;
        if (line[0] == '/') {
            if (run_command(d, line) == LEAVE)
                return CLI_OK;
            continue;
        }
        /* An error of one turn (too long, busy, interrupted) has been shown; the dialogue lives. */
        int r = ask(d, line);
        if (d->path == NULL || r == CLI_UNREACHABLE || r == CLI_CLOSED_PIPE)
            return r;
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------ the verb */

static int run_in_session(Cli *cli, const char *name, const char *text)
{
    Dialogue d = {.cli = cli, .name = name};
    if (cli_setting(cli, "model") != NULL)
        return cli_usage(cli, "--model is for a single question; a session has the default model "
                              "(inkling model use NAME)");
    int r = open_session(&d);
    if (r == CLI_OK)
        r = text != NULL ? ask(&d, text) : talk(&d);
    close_session(&d);
    return r;
}

static int run_chat(Cli *cli)
{
    _cleanup_free_ char *text = NULL;
    const char *name = cli_setting(cli, "session");
    size_t n_bytes;
    if (cli->n_positionals == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return run_in_session(cli, name, NULL);
    int r = cli_text(cli, 0, &text, &n_bytes);
    if (r != CLI_OK)
        return r;
    if (name != NULL)
        return run_in_session(cli, name, text);
    CliGeneration g = {.cli = cli, .kind = CLI_CHAT, .text = text};
    return cli_generate(&g);
}

static const CliOption chat_options[] = {
    CLI_GENERATION_OPTIONS,
    {"model", "NAME", NULL, 0, "another installed model, for a single question"},
    {"system", "TEXT", NULL, 0, "how the model shall behave"},
    {"session", "NAME", NULL, 0, "a dialogue that is kept, and opened again by this name"},
    {NULL}};

const CliVerb cli_verb_chat = {
    .name = "chat",
    .arguments = "[TEXT]",
    .summary = "ask and be answered; a dialogue on a terminal without TEXT",
    .options = chat_options,
    .details =
        "With TEXT, or with standard input that is no terminal: one question, one answer.\n"
        "Without: a dialogue, in a session of the service that ends with this command. With\n"
        "--session NAME the service keeps it in its store, until /forget: the next question of\n"
        "that name goes on from there. When the model's window is full the oldest turns are left\n"
        "out of what it reads, with a warning. Ctrl-C stops an answer, which then was not said.\n",
    .examples = "  inkling chat \"What is a haiku?\"\n"
                "  inkling chat --system \"Answer in one sentence.\" \"Why is the sky blue?\"\n"
                "  inkling chat --session garden \"When do I sow beans?\"\n"
                "  inkling chat\n",
    .max_positionals = 1,
    .run = run_chat,
};
