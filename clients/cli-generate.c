/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Text as it is made, for `complete` and `chat`; Ctrl-C cancels in the service. */
#include "clients/cli-generate.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

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

static int append_messages(sd_bus_message *m, const CliGeneration *g)
{
    const char *system = cli_setting(g->cli, "system");
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", "messages"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "a(ss)"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "(ss)"));
    if (system != NULL)
        INK_TRY(sd_bus_message_append(m, "(ss)", "system", system));
    INK_TRY(sd_bus_message_append(m, "(ss)", "user", g->text));
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

/* A text that is too long for a string of the bus goes as a sealed memfd. */
static int append_text(sd_bus_message *m, const char *key, const char *fd_key, const char *text)
{
    size_t n_bytes = strlen(text);
    if (n_bytes <= INK_BUS_MAX_STRING_BYTES)
        return sd_bus_message_append(m, "{sv}", key, "s", text);
    _cleanup_close_ int fd = memfd_create("prompt", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = write(fd, text + done, n_bytes - done);
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return -errno;
    return sd_bus_message_append(m, "{sv}", fd_key, "h", fd);
}

static int append_input(sd_bus_message *m, void *userdata)
{
    const CliGeneration *g = userdata;
    switch (g->kind) {
    case CLI_COMPLETE:
        return append_text(m, "prompt", "prompt-fd", g->text);
    case CLI_CHAT:
        return append_messages(m, g);
    case CLI_PROMPT:
        INK_TRY(sd_bus_message_append(m, "{sv}", "session", "o", g->session));
        return append_text(m, "text", "text-fd", g->text);
    }
    return -EINVAL;
}

static int append_options(sd_bus_message *m, void *userdata)
{
    const CliGeneration *g = userdata;
    const char *model = g->kind == CLI_CHAT ? cli_setting(g->cli, "model") : NULL;
    INK_TRY(cli_append_settings(m, g->cli));
    if (model != NULL)
        INK_TRY(sd_bus_message_append(m, "{sv}", "model", "s", model));
    if (g->cli->timeout_usec != 0)
        INK_TRY(sd_bus_message_append(m, "{sv}", "deadline-usec", "t", g->cli->timeout_usec));
    return 0;
}

static void clear_progress(CliGeneration *g)
{
    if (g->progress_shown)
        fputs("\r\033[K", stderr);
    g->progress_shown = false;
}

static void show_progress(CliGeneration *g, const InkStreamFrame *frame)
{
    /* The first words are there within a moment; only what takes long is worth a line. */
    bool slow = strcmp(frame->stage, "loading") == 0 || strcmp(frame->stage, "restarting") == 0 ||
                (strcmp(frame->stage, "prefill") == 0 && frame->fraction < 1);
    if (g->cli->quiet || g->cli->json || !isatty(STDERR_FILENO) || !slow || g->any_text)
        return;
    fprintf(stderr, "\r\033[K%s %3.0f %%", frame->stage, frame->fraction * 100);
    g->progress_shown = true;
}

static void cancel(CliGeneration *g, InkStream *stream)
{
    if (g->cancelled)
        return;
    g->cancelled = true;
    InkError ignored;
    /* When even the cancel cannot be sent the stream ends by itself soon. */
    (void)!ink_stream_cancel(stream, &ignored);
}

static void show_text(CliGeneration *g, InkStream *stream, const InkStreamFrame *frame)
{
    clear_progress(g);
    g->any_text = true;
    g->ends_with_newline = frame->text[frame->n_text_bytes - 1] == '\n';
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

static void warn_of_dropped(const CliGeneration *g, const InkStreamFrame *f)
{
    json_t *results = json_loads(f->results_json, JSON_DECODE_INT_AS_REAL, NULL);
    double n = json_number_value(json_object_get(results, "truncated-tokens"));
    json_decref(results);
    if (n > 0)
        cli_warn(g->cli, "%.0f tokens of what came before did not fit and were left out", n);
}

static int finish(CliGeneration *g, const InkStreamFrame *f)
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
    warn_of_dropped(g, f);
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

/* A session that is gone is the caller's to say. */
static int refused(const CliGeneration *g, const InkError *error)
{
    const char *name = ink_client_error_name(g->cli->client);
    int r = cli_exit_of(name, error->code);
    bool gone = g->kind == CLI_PROMPT && (r == CLI_NO_SUCH_THING || r == CLI_UNREACHABLE);
    return gone ? CLI_NO_SUCH_THING : cli_error(g->cli, name, error);
}

int cli_generate(CliGeneration *g)
{
    static const char *const kinds[] = {"complete", "chat", "prompt"};
    g->ends_with_newline = true;
    int r = cli_connect(g->cli);
    if (r != CLI_OK)
        return r;
    catch_interrupts();
    InkError error = {0};
    _cleanup_(ink_stream_free_p) InkStream *stream = NULL;
    if (ink_client_start_pipe(g->cli->client, kinds[g->kind], append_input, append_options, g,
                              &stream, &error) < 0)
        return n_interrupts > 0 ? CLI_INTERRUPTED : refused(g, &error);
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

static const CliOption complete_options[] = {
    CLI_GENERATION_OPTIONS, {"model", "NAME", "model", 's', "another installed model"}, {NULL}};
static int run_complete(Cli *cli)
{
    _cleanup_free_ char *text = NULL;
    size_t n_bytes;
    int r = cli_text(cli, 0, &text, &n_bytes);
    if (r != CLI_OK)
        return r;
    CliGeneration g = {.cli = cli, .kind = CLI_COMPLETE, .text = text};
    return cli_generate(&g);
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
