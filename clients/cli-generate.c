/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `complete` and `chat`: text as it is made, Ctrl-C cancels in the service. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "clients/cli.h"
#include "ipc/names.h"

static volatile sig_atomic_t n_interrupts;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    if (++n_interrupts >= 2)
        _exit(CLI_INTERRUPTED);
}

/* No SA_RESTART: a wait for the service must return, so that the cancel goes out at once. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    n_interrupts = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

typedef struct Turn {
    const char *role;
    char *text;
    size_t n_bytes;
} Turn;

typedef struct Generation {
    Cli *cli;
    const char *kind;
    const char *prompt; /* complete */
    const Turn *turns;  /* chat */
    size_t n_turns;
    InkBuffer *answer; /* NULL, or where the text is kept too */
    bool cancelled;
    bool closed_pipe;
    bool ends_with_newline;
    bool any_text;
    bool progress_shown;
} Generation;

static int append_messages(sd_bus_message *m, const Generation *g)
{
    INK_TRY(sd_bus_message_append(m, "s", "messages"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "a(ss)"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "(ss)"));
    for (size_t i = 0; i < g->n_turns; i++)
        INK_TRY(sd_bus_message_append(m, "(ss)", g->turns[i].role, g->turns[i].text));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

/* A text that is too long for a string of the bus goes as a sealed memfd. */
static int append_prompt(sd_bus_message *m, const Generation *g)
{
    size_t n_bytes = strlen(g->prompt);
    if (n_bytes <= INK_BUS_MAX_STRING_BYTES)
        return sd_bus_message_append(m, "sv", "prompt", "s", g->prompt);
    _cleanup_close_ int fd = memfd_create("prompt", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = write(fd, g->prompt + done, n_bytes - done);
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return -errno;
    return sd_bus_message_append(m, "sv", "prompt-fd", "h", fd);
}

static int append_input(sd_bus_message *m, void *userdata)
{
    const Generation *g = userdata;
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    if (g->turns != NULL)
        INK_TRY(append_messages(m, g));
    else
        INK_TRY(append_prompt(m, g));
    return sd_bus_message_close_container(m);
}

static int append_options(sd_bus_message *m, void *userdata)
{
    const Generation *g = userdata;
    INK_TRY(cli_append_settings(m, g->cli));
    if (g->cli->timeout_usec != 0)
        INK_TRY(sd_bus_message_append(m, "{sv}", "deadline-usec", "t", g->cli->timeout_usec));
    return 0;
}

static void clear_progress(Generation *g)
{
    if (g->progress_shown)
        fputs("\r\033[K", stderr);
    g->progress_shown = false;
}

static void show_progress(Generation *g, const InkStreamFrame *frame)
{
    /* The first words are there within a moment; only what takes long is worth a line. */
    bool slow = strcmp(frame->stage, "loading") == 0 || strcmp(frame->stage, "restarting") == 0 ||
                (strcmp(frame->stage, "prefill") == 0 && frame->fraction < 1);
    if (g->cli->quiet || g->cli->json || !isatty(STDERR_FILENO) || !slow || g->any_text)
        return;
    fprintf(stderr, "\r\033[K%s %3.0f %%", frame->stage, frame->fraction * 100);
    g->progress_shown = true;
}

static void cancel(Generation *g, InkStream *stream)
{
    if (g->cancelled)
        return;
    g->cancelled = true;
    InkError ignored;
    /* When even the cancel cannot be sent the stream ends by itself soon. */
    (void)!ink_stream_cancel(stream, &ignored);
}

static void show_text(Generation *g, InkStream *stream, const InkStreamFrame *frame)
{
    clear_progress(g);
    g->any_text = true;
    g->ends_with_newline = frame->text[frame->n_text_bytes - 1] == '\n';
    if (g->answer != NULL)
        ink_buffer_append(g->answer, frame->text, frame->n_text_bytes);
    if (g->cli->json) {
        _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
        ink_buffer_printf(&line, "{\"offset\":%" PRIu64 ",\"text\":", frame->offset_bytes);
        ink_buffer_json_string(&line, frame->text, frame->n_text_bytes);
        ink_buffer_append_str(&line, "}\n");
        if (line.data != NULL)
            fputs(line.data, stdout);
    } else {
        cli_print_text(frame->text, frame->n_text_bytes);
    }
    if (fflush(stdout) != 0) {
        g->closed_pipe = errno == EPIPE;
        cancel(g, stream);
    }
}

static void print_stats(const InkStreamFrame *f)
{
    double seconds = (double)f->decode_usec / 1e6;
    double prefill_seconds = (double)f->prefill_usec / 1e6;
    fprintf(stderr, "%" PRIu64 " tokens", f->output_tokens);
    if (f->output_tokens > 1 && seconds > 0)
        fprintf(stderr, " at %.0f tokens/s", (double)(f->output_tokens - 1) / seconds);
    fprintf(stderr, ", prompt of %" PRIu64 " tokens", f->prompt_tokens);
    if (f->prompt_tokens > 0 && prefill_seconds > 0)
        fprintf(stderr, " in %.0f ms", prefill_seconds * 1e3);
    fprintf(stderr, ", %s", f->model);
    if (f->kernels[0] != '\0')
        fprintf(stderr, ", kernels %s", f->kernels);
    if (f->load_usec != 0)
        fprintf(stderr, ", loaded in %.0f ms", (double)f->load_usec / 1e3);
    fputc('\n', stderr);
}

static int finish(Generation *g, const InkStreamFrame *f)
{
    clear_progress(g);
    if (g->cli->json)
        printf("{\"finished\":%s}\n", f->results_json);
    else if (!g->ends_with_newline && cli_setting(g->cli, "raw") == NULL && !g->closed_pipe)
        putchar('\n');
    if (g->closed_pipe)
        return CLI_CLOSED_PIPE;
    int r = cli_flush(g->cli);
    if (r != CLI_OK)
        return r;
    if (f->status == 2) {
        InkError error = {0};
        ink_error_raise(&error, EREMOTEIO, "%s", f->error_message);
        return cli_error(g->cli, f->error_name, &error);
    }
    if (n_interrupts > 0 || f->status == 1)
        return CLI_INTERRUPTED;
    if (cli_setting(g->cli, "stats") != NULL && !g->cli->json)
        print_stats(f);
    if (strcmp(f->finish_reason, "deadline") == 0) {
        cli_warn(g->cli, "the time of --timeout is over; this is what there was");
        return CLI_TIMEOUT;
    }
    if (strcmp(f->finish_reason, "length") == 0) {
        if (cli_setting(g->cli, "require-complete") != NULL)
            return CLI_CUT;
        if (isatty(STDERR_FILENO))
            cli_warn(g->cli, "cut after %" PRIu64 " tokens; --max-tokens allows more",
                     f->output_tokens);
    }
    return CLI_OK;
}

static int generate(Generation *g)
{
    int r = cli_connect(g->cli);
    if (r != CLI_OK)
        return r;
    catch_interrupts();
    InkError error = {0};
    _cleanup_(ink_stream_free_p) InkStream *stream = NULL;
    if (ink_client_start_pipe(g->cli->client, g->kind, append_input, append_options, g, &stream,
                              &error) < 0)
        return n_interrupts > 0 ? CLI_INTERRUPTED
                                : cli_error(g->cli, ink_client_error_name(g->cli->client), &error);
    for (;;) {
        if (n_interrupts > 0)
            cancel(g, stream);
        InkStreamFrame frame;
        r = ink_stream_next(stream, &frame, &error);
        if (r == -EINTR)
            continue;
        if (r < 0) {
            clear_progress(g);
            return cli_error(g->cli, NULL, &error);
        }
        if (r == INK_STREAM_FINISHED)
            return finish(g, &frame);
        if (r == INK_STREAM_TEXT)
            show_text(g, stream, &frame);
        else
            show_progress(g, &frame);
    }
}

/* The same words mean the same in both verbs. */
#define GENERATION_OPTIONS                                                                         \
    {"max-tokens", "N", "max-tokens", 'u', "tokens at most (256; chat 512)"},                      \
        {"max-lines", "N", "max-lines", 'u', "lines at most"},                                     \
        {"temperature", "X", "temperature", 'd', "0 = always the likeliest token (0.7)"},          \
        {"top-p", "X", "top-p", 'd', "smallest set with this probability (0.95)"},                 \
        {"top-k", "N", "top-k", 'u', "the N likeliest tokens (40; 0 = off)"},                      \
        {"min-p", "X", "min-p", 'd', "relative to the likeliest token (0.05)"},                    \
        {"repeat-penalty", "X", "repeat-penalty", 'd', "above 1: fewer repeats (1.0)"},            \
        {"seed", "N", "seed", 't', "same seed, same text"},                                        \
        {"stop", "TEXT", "stop", 'a', "end in front of this text; may be repeated"},               \
        {"model", "NAME", "model", 's', "another installed model"},                                \
        {"priority", "CLASS", "priority", 's', "typing, interactive, normal or background"},       \
        {"require-complete", NULL, NULL, 0, "exit 7 when the answer is cut by --max-tokens"},      \
        {"raw", NULL, NULL, 0, "no newline is added at the end"},                                  \
    {                                                                                              \
        "stats", NULL, NULL, 0, "one line about tokens and speed on standard error"                \
    }

static const CliOption complete_options[] = {GENERATION_OPTIONS, {NULL}};
static const CliOption chat_options[] = {
    GENERATION_OPTIONS, {"system", "TEXT", "system", 's', "how the model shall behave"}, {NULL}};

static int run_complete(Cli *cli)
{
    _cleanup_free_ char *prompt = NULL;
    size_t n_bytes;
    int r = cli_text(cli, 0, &prompt, &n_bytes);
    if (r != CLI_OK)
        return r;
    Generation g = {.cli = cli, .kind = "complete", .prompt = prompt, .ends_with_newline = true};
    return generate(&g);
}

/* ------------------------------------------------------------------ chat */

#define MAX_TURNS 1000

typedef struct Dialogue {
    Turn *turns;
    size_t n;
} Dialogue;

static void dialogue_done(Dialogue *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->turns[i].text);
    free(d->turns);
}

static int dialogue_add(Dialogue *d, const char *role, char *text)
{
    Turn *grown = realloc(d->turns, (d->n + 1) * sizeof(Turn));
    if (grown == NULL || text == NULL) {
        d->turns = grown != NULL ? grown : d->turns;
        free(text);
        return -ENOMEM;
    }
    d->turns = grown;
    d->turns[d->n++] = (Turn){role, text, strlen(text)};
    return 0;
}

static void dialogue_drop_last(Dialogue *d)
{
    free(d->turns[--d->n].text);
}

/* One question and its answer; a turn that failed leaves no trace. */
static int dialogue_turn(Cli *cli, Dialogue *d, char *question)
{
    if (dialogue_add(d, "user", question) < 0)
        return CLI_FAILED;
    _cleanup_buffer_ InkBuffer answer = INK_BUFFER_INIT;
    Generation g = {.cli = cli,
                    .kind = "chat",
                    .turns = d->turns,
                    .n_turns = d->n,
                    .answer = &answer,
                    .ends_with_newline = true};
    int r = generate(&g);
    if (r != CLI_OK) {
        dialogue_drop_last(d);
        return r;
    }
    return dialogue_add(d, "assistant", ink_buffer_take(&answer)) < 0 ? CLI_FAILED : CLI_OK;
}

static int run_dialogue(Cli *cli)
{
    _cleanup_(dialogue_done) Dialogue d = {0};
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    if (!cli->quiet)
        fputs("Ask away. /new starts over, Ctrl-C stops an answer, Ctrl-D ends.\n", stderr);
    for (;;) {
        signal(SIGINT, SIG_DFL);
        fputs("> ", stderr);
        fflush(stderr);
        ssize_t n = getline(&line, &capacity, stdin);
        if (n < 0) {
            fputc('\n', stderr);
            return CLI_OK;
        }
        if (n > 0 && line[n - 1] == '\n')
            line[--n] = '\0';
        if (n == 0)
            continue;
        if (strcmp(line, "/new") == 0) {
            dialogue_done(&d);
            d = (Dialogue){0};
            continue;
        }
        if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
            return CLI_OK;
        if (d.n + 2 > MAX_TURNS) {
            cli_warn(cli, "%d turns are the limit; /new starts over", MAX_TURNS);
            continue;
        }
        /* An error of one turn (too long, busy, interrupted) has been shown; the dialogue lives. */
        int r = dialogue_turn(cli, &d, strdup(line));
        if (r == CLI_UNREACHABLE || r == CLI_CLOSED_PIPE)
            return r;
    }
}

static int run_chat(Cli *cli)
{
    if (cli->n_positionals == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return run_dialogue(cli);
    char *text = NULL;
    size_t n_bytes;
    int r = cli_text(cli, 0, &text, &n_bytes);
    if (r != CLI_OK)
        return r;
    _cleanup_(dialogue_done) Dialogue d = {0};
    return dialogue_turn(cli, &d, text);
}

const CliVerb cli_verb_complete = {
    .name = "complete",
    .arguments = "[TEXT]",
    .summary = "continue a text",
    .options = complete_options,
    .details = "TEXT is the beginning; \"-\" or no TEXT reads standard input. The continuation is\n"
               "printed as it is made. Ctrl-C cancels it in the service at once.\n",
    .examples = "  inkling complete \"Once upon a time\"\n"
                "  inkling complete --max-tokens 32 --temperature 0 < draft.txt\n"
                "  inkling complete --json \"Dear Sir\" | jq -r .text\n",
    .max_positionals = 1,
    .run = run_complete,
};

const CliVerb cli_verb_chat = {
    .name = "chat",
    .arguments = "[TEXT]",
    .summary = "ask and be answered; a dialogue on a terminal without TEXT",
    .options = chat_options,
    .details = "With TEXT, or with standard input that is no terminal: one question, one answer.\n"
               "Without: a dialogue; its history is kept by this command and ends with it.\n",
    .examples = "  inkling chat \"What is a haiku?\"\n"
                "  inkling chat --system \"Answer in one sentence.\" \"Why is the sky blue?\"\n"
                "  inkling chat\n",
    .max_positionals = 1,
    .run = run_chat,
};
