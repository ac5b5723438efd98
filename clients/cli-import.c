/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `inkling model import`: hands a descriptor over, shows how it goes on, and waits. */
#include "clients/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "ipc/names.h"

static volatile sig_atomic_t n_interrupts;

static void on_interrupt(int number)
{
    (void)number;
    if (++n_interrupts >= 2)
        _exit(CLI_INTERRUPTED);
}

typedef struct Import {
    Cli *cli;
    const char *name;
    int fd;
    char path[256]; /* of the request */
    bool shows_progress, has_line, ended, cancelled;
    uint64_t until_usec; /* 0 = no end */
    int answered;        /* negative errno of Wait */
    uint32_t status;
    char error_name[128];
    InkError error;
} Import;

static int append_import(sd_bus_message *m, void *userdata)
{
    const Import *i = userdata;
    const char *sha256 = cli_setting(i->cli, "sha256");
    INK_TRY(sd_bus_message_append(m, "sh", i->name, i->fd));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    if (sha256 != NULL)
        INK_TRY(sd_bus_message_append(m, "{sv}", "sha256", "s", sha256));
    if (cli_setting(i->cli, "default") != NULL)
        INK_TRY(sd_bus_message_append(m, "{sv}", "default", "b", 1));
    return sd_bus_message_close_container(m);
}

/* ------------------------------------------------------------------ waiting */

static void wipe_line(Import *i)
{
    if (i->has_line)
        fprintf(stderr, "\r%*s\r", 40, "");
    i->has_line = false;
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    Import *i = userdata;
    const char *stage;
    double fraction;
    (void)reterr;
    if (!i->shows_progress || sd_bus_message_read(m, "sd", &stage, &fraction) < 0)
        return 0;
    char bar[21];
    int n = fraction > 0 && fraction <= 1 ? (int)(fraction * 20) : 0;
    for (int k = 0; k < 20; k++)
        bar[k] = k < n ? '#' : '.';
    bar[20] = '\0';
    fprintf(stderr, "\r%-8.8s [%s] %3.0f %%", stage, bar, fraction * 100);
    fflush(stderr);
    i->has_line = true;
    return 0;
}

static int read_outcome(Import *i, sd_bus_message *m)
{
    INK_TRY(sd_bus_message_read(m, "u", &i->status));
    json_t *results = cli_read_json(m);
    if (results == NULL)
        return -EPROTO;
    snprintf(i->error_name, sizeof(i->error_name), "%s", cli_json_text(results, "error-name"));
    (void)ink_error_raise(&i->error, EIO, "%s", cli_json_text(results, "error-message"));
    json_decref(results);
    return 0;
}

static int on_end(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    Import *i = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    (void)reterr;
    i->ended = true;
    if (error != NULL) {
        i->answered = -EPROTO;
        snprintf(i->error_name, sizeof(i->error_name), "%s", error->name);
        (void)ink_error_raise(&i->error, EPIPE, "%s",
                              error->message != NULL ? error->message : error->name);
    } else {
        i->answered = read_outcome(i, m);
    }
    return 0;
}

static void cancel(Import *i)
{
    if (i->cancelled)
        return;
    i->cancelled = true;
    (void)sd_bus_call_method_async(ink_client_bus(i->cli->client), NULL, INK_BUS_NAME, i->path,
                                   INK_BUS_REQUEST, "Cancel", NULL, NULL, "");
}

static int wait_for_end(Import *i)
{
    sd_bus *bus = ink_client_bus(i->cli->client);
    while (!i->ended) {
        bool is_late = i->until_usec != 0 && ink_clock_monotonic_usec() >= i->until_usec;
        if (n_interrupts > 0 || is_late)
            cancel(i);
        int r = sd_bus_process(bus, NULL);
        if (r < 0)
            return r;
        if (r == 0 && (r = sd_bus_wait(bus, 200000)) < 0 && r != -EINTR)
            return r;
    }
    return i->answered;
}

/* ------------------------------------------------------------------ all of it */

static int start(Import *i)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error = {0};
    const char *path;
    sd_bus *bus = ink_client_bus(i->cli->client);
    if (ink_client_call(i->cli->client, "Manager", "ImportModel", true, append_import, i, &reply,
                        &error) < 0)
        return cli_error(i->cli, ink_client_error_name(i->cli->client), &error);
    int r = sd_bus_message_read(reply, "o", &path);
    if (r > 0) {
        snprintf(i->path, sizeof(i->path), "%s", path);
        r = sd_bus_match_signal_async(bus, NULL, INK_BUS_NAME, i->path, INK_BUS_REQUEST, "Progress",
                                      on_progress, NULL, i);
    }
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *wait = NULL;
    if (r >= 0)
        r = sd_bus_message_new_method_call(bus, &wait, INK_BUS_NAME, i->path, INK_BUS_REQUEST,
                                           "Wait");
    if (r >= 0) /* as long as it takes */
        r = sd_bus_call_async(bus, NULL, wait, on_end, i, UINT64_MAX);
    if (r >= 0)
        return CLI_OK;
    (void)ink_error_raise(&error, -r, "the import cannot be followed: %s", strerror(-r));
    return cli_error(i->cli, NULL, &error);
}

static int finish(const Import *i, bool was_late)
{
    if (i->answered < 0)
        return cli_error(i->cli, i->error_name, &i->error);
    if (i->status == 0)
        return CLI_OK;
    if (i->status == 1 && n_interrupts > 0)
        return CLI_INTERRUPTED;
    if (i->status == 1 && was_late) {
        InkError error = {0};
        (void)ink_error_raise(&error, ETIME, "the time of --timeout is over; nothing was imported");
        return cli_error(i->cli, "org.freedesktop.DBus.Error.Timeout", &error);
    }
    return cli_error(i->cli, i->error_name, &i->error);
}

int cli_import_model(Cli *cli, const char *name, const char *file)
{
    Import i = {.cli = cli, .name = name};
    /* A FIFO must not hold us up: the service says what it thinks of it. */
    _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cli_usage(cli, "%.150s: %s", file, strerror(errno));
    i.fd = fd;
    i.shows_progress = isatty(STDERR_FILENO) && !cli->quiet && !cli->json;
    if (cli->timeout_usec != 0)
        i.until_usec = ink_clock_monotonic_usec() + cli->timeout_usec;
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int r = start(&i);
    if (r != CLI_OK)
        return r;
    int e = wait_for_end(&i);
    wipe_line(&i);
    if (e < 0 && i.error.code == 0) {
        (void)ink_error_raise(&i.error, EPIPE, "the service died before the import was complete");
        i.answered = e;
    }
    return finish(&i, i.until_usec != 0 && ink_clock_monotonic_usec() >= i.until_usec);
}
