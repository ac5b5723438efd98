/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `status`, `doctor` and `version`: how the service is. None of them starts it or loads a model. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli.h"
#include "ink-config.h"
#include "ipc/names.h"

typedef struct Status {
    bool bus, running;
    char problem[INK_ERROR_MESSAGE_BYTES]; /* of the bus */
    char version[64], state[32], model[128], network_guard[32];
    uint32_t context_window, queue_depth, api_revision;
    uint64_t memory_resident;
    int memory_enabled;
} Status;

static bool read_string(Cli *cli, const char *interface, const char *property, char *out,
                        size_t size)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error;
    const char *text;
    if (ink_client_property(cli->client, interface, property, false, &reply, &error) < 0 ||
        sd_bus_message_read(reply, "s", &text) < 0)
        return false;
    snprintf(out, size, "%s", text);
    return true;
}

static bool read_number(Cli *cli, const char *interface, const char *property, char type, void *out)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error;
    return ink_client_property(cli->client, interface, property, false, &reply, &error) >= 0 &&
           sd_bus_message_read_basic(reply, type, out) >= 0;
}

static void read_status(Cli *cli, Status *s)
{
    *s = (Status){0};
    InkError error = {0};
    if (cli->client == NULL && ink_client_new(&cli->client, &error) < 0) {
        snprintf(s->problem, sizeof(s->problem), "%s", error.message);
        return;
    }
    s->bus = true;
    if (ink_client_is_running(cli->client, &s->running, &error) < 0) {
        s->bus = false;
        snprintf(s->problem, sizeof(s->problem), "%s", error.message);
        return;
    }
    if (!s->running)
        return;
    read_string(cli, "Manager", "Version", s->version, sizeof(s->version));
    read_string(cli, "Manager", "State", s->state, sizeof(s->state));
    read_string(cli, "Manager", "Model", s->model, sizeof(s->model));
    read_string(cli, "Manager", "NetworkGuard", s->network_guard, sizeof(s->network_guard));
    read_number(cli, "Manager", "ContextWindow", 'u', &s->context_window);
    read_number(cli, "Manager", "ApiRevision", 'u', &s->api_revision);
    read_number(cli, "Manager", "QueueDepth", 'u', &s->queue_depth);
    read_number(cli, "Manager", "MemoryResident", 't', &s->memory_resident);
    read_number(cli, "Memory", "Enabled", 'b', &s->memory_enabled);
}

static bool is_healthy(const Status *s)
{
    return strcmp(s->state, "ready") == 0 || strcmp(s->state, "idle") == 0 ||
           strcmp(s->state, "loading") == 0 || strcmp(s->state, "starting") == 0;
}

static int exit_of(const Status *s)
{
    return !s->bus || !s->running ? CLI_UNREACHABLE : is_healthy(s) ? CLI_OK : CLI_FAILED;
}

static void print_json(const Status *s)
{
    _cleanup_buffer_ InkBuffer out = INK_BUFFER_INIT;
    ink_buffer_printf(&out, "{\"running\":%s,\"version\":", s->running ? "true" : "false");
    ink_buffer_json_string(&out, s->version, strlen(s->version));
    ink_buffer_append_str(&out, ",\"state\":");
    ink_buffer_json_string(&out, s->state, strlen(s->state));
    ink_buffer_append_str(&out, ",\"model\":");
    ink_buffer_json_string(&out, s->model, strlen(s->model));
    ink_buffer_printf(&out,
                      ",\"context-window\":%" PRIu32 ",\"queue-depth\":%" PRIu32
                      ",\"memory-resident\":%" PRIu64 ",\"memory-enabled\":%s,\"network-guard\":",
                      s->context_window, s->queue_depth, s->memory_resident,
                      s->memory_enabled ? "true" : "false");
    ink_buffer_json_string(&out, s->network_guard, strlen(s->network_guard));
    ink_buffer_append_str(&out, "}");
    if (ink_buffer_status(&out) == 0)
        puts(out.data);
}

static int run_status(Cli *cli)
{
    Status s;
    read_status(cli, &s);
    if (!s.bus) {
        InkError error;
        ink_error_raise(&error, ENOTCONN, "%s", s.problem);
        return cli_error(cli, NULL, &error);
    }
    if (cli->json) {
        print_json(&s);
    } else if (!s.running) {
        printf("state    not running; it starts with the first call\n");
    } else {
        char size[16];
        cli_format_size(size, s.memory_resident);
        printf("state    %s\n", s.state);
        printf("model    %s", s.model[0] != '\0' ? s.model : "none installed");
        if (s.context_window != 0)
            printf(", window of %" PRIu32 " tokens", s.context_window);
        printf("\nmemory   %s resident\nqueue    %" PRIu32 " waiting\n", size, s.queue_depth);
        printf("learns   %s\n", s.memory_enabled ? "yes, memory is on" : "no, memory is off");
        printf("network  none (%s)\nversion  %s\n", s.network_guard, s.version);
    }
    int r = cli_flush(cli);
    return r != CLI_OK ? r : exit_of(&s);
}

static int run_version(Cli *cli)
{
    Status s;
    read_status(cli, &s);
    if (cli->json) {
        _cleanup_buffer_ InkBuffer out = INK_BUFFER_INIT;
        ink_buffer_append_str(&out, "{\"command\":");
        ink_buffer_json_string(&out, INK_VERSION, strlen(INK_VERSION));
        ink_buffer_append_str(&out, ",\"service\":");
        if (s.running)
            ink_buffer_json_string(&out, s.version, strlen(s.version));
        else
            ink_buffer_append_str(&out, "null");
        ink_buffer_append_str(&out, "}");
        if (ink_buffer_status(&out) == 0)
            puts(out.data);
    } else {
        printf("command  %s\nservice  %s\n", INK_VERSION, s.running ? s.version : "not running");
    }
    return cli_flush(cli);
}

/* ---------------------------------------------------------------- doctor */

typedef enum Verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL } Verdict;

typedef struct Doctor {
    Cli *cli;
    size_t n_warn, n_fail;
    bool first;
} Doctor;

static void report(Doctor *d, Verdict verdict, const char *check, const char *found,
                   const char *remedy)
{
    static const char *const words[] = {"ok", "warn", "fail"};
    d->n_warn += verdict == VERDICT_WARN;
    d->n_fail += verdict == VERDICT_FAIL;
    if (d->cli->json) {
        _cleanup_buffer_ InkBuffer out = INK_BUFFER_INIT;
        ink_buffer_printf(&out, "{\"check\":\"%s\",\"verdict\":\"%s\",\"found\":", check,
                          words[verdict]);
        ink_buffer_json_string(&out, found, strlen(found));
        ink_buffer_append_str(&out, ",\"remedy\":");
        ink_buffer_json_string(&out, remedy, strlen(remedy));
        ink_buffer_append_str(&out, "}");
        if (ink_buffer_status(&out) == 0)
            puts(out.data);
        return;
    }
    printf("%-5s %-12s %s\n", words[verdict], check, found);
    if (remedy[0] != '\0')
        printf("      %-12s -> %s\n", "", remedy);
}

static bool is_activatable(Cli *cli)
{
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *name;
    if (sd_bus_call_method(ink_client_bus(cli->client), "org.freedesktop.DBus",
                           "/org/freedesktop/DBus", "org.freedesktop.DBus", "ListActivatableNames",
                           &error, &reply, "") < 0 ||
        sd_bus_message_enter_container(reply, 'a', "s") < 0)
        return false;
    while (sd_bus_message_read(reply, "s", &name) > 0)
        if (strcmp(name, INK_BUS_NAME) == 0)
            return true;
    return false;
}

static size_t count_models(Cli *cli)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error;
    size_t n = 0;
    if (ink_client_call(cli->client, "Manager", "ListModels", false, NULL, NULL, &reply, &error) <
            0 ||
        sd_bus_message_enter_container(reply, 'a', "a{sv}") < 0)
        return 0;
    while (sd_bus_message_skip(reply, "a{sv}") > 0)
        n++;
    return n;
}

static int append_complete(sd_bus_message *m, void *userdata)
{
    (void)userdata;
    return sd_bus_message_append(m, "sa{sv}", "complete", 0);
}

static void check_model(Doctor *d, const Status *s)
{
    size_t n = count_models(d->cli);
    char found[192];
    if (n == 0) {
        report(d, VERDICT_FAIL, "model", "none installed",
               "./dev try fetches the default model; or: inkling model import NAME FILE");
        return;
    }
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error;
    const char *state = "unknown";
    if (ink_client_call(d->cli->client, "Manager", "GetAvailability", false, append_complete, NULL,
                        &reply, &error) < 0 ||
        sd_bus_message_read(reply, "s", &state) < 0)
        state = "unknown";
    bool usable = strcmp(state, "available") == 0 || strcmp(state, "on-demand") == 0 ||
                  strcmp(state, "loading") == 0;
    snprintf(found, sizeof(found), "%zu installed, %s is the default: %s", n,
             s->model[0] != '\0' ? s->model : "none", state);
    report(d, usable ? VERDICT_OK : VERDICT_FAIL, "model", found,
           usable ? "" : "inkling-eval validate MODEL says what is wrong with the file");
}

static void check_service(Doctor *d, const Status *s)
{
    char found[192], size[16];
    snprintf(found, sizeof(found), "%s, version %s", s->state, s->version);
    /* Without a model the service is as it should be; the next line says what to do. */
    bool is_well = is_healthy(s) || strcmp(s->state, "no-model") == 0;
    report(d, is_well ? VERDICT_OK : VERDICT_FAIL, "service", found,
           is_well ? "" : "journalctl --user -u inkling.service shows why");
    if (strcmp(s->version, INK_VERSION) != 0)
        report(d, VERDICT_WARN, "versions", "command " INK_VERSION " and service differ",
               "end the old service: systemctl --user restart inkling.service");
    check_model(d, s);
    cli_format_size(size, s->memory_resident);
    snprintf(found, sizeof(found), "%s resident, %" PRIu32 " requests waiting", size,
             s->queue_depth);
    report(d, VERDICT_OK, "load", found, "");
    bool guarded = strcmp(s->network_guard, "none") != 0 && s->network_guard[0] != '\0';
    snprintf(found, sizeof(found), "internet sockets are %s",
             guarded ? "forbidden to every process of it" : "not forbidden");
    report(d, guarded ? VERDICT_OK : VERDICT_FAIL, "offline", found,
           guarded ? "" : "the kernel lacks seccomp; inkling has no use for a network either way");
    report(d, VERDICT_OK, "memory",
           s->memory_enabled ? "on: what apps observe is kept" : "off: nothing is written", "");
}

static int run_doctor(Cli *cli)
{
    Doctor d = {.cli = cli};
    Status s;
    read_status(cli, &s);
    if (s.bus && cli_setting(cli, "offline") != NULL) {
        if (s.running)
            return cli_prove_offline(cli);
        report(&d, VERDICT_FAIL, "service", "not running, so nothing can be proven",
               "inkling complete hello starts it; then ask again");
        cli_flush(cli);
        return CLI_UNREACHABLE;
    }
    if (!s.bus) {
        report(&d, VERDICT_FAIL, "bus", s.problem,
               "log in to a desktop or `loginctl enable-linger`; in a checkout: ./dev shell");
        cli_flush(cli);
        return CLI_UNREACHABLE;
    }
    report(&d, VERDICT_OK, "bus", "the session bus answers", "");
    bool activatable = is_activatable(cli);
    report(&d,
           activatable ? VERDICT_OK
           : s.running ? VERDICT_WARN
                       : VERDICT_FAIL,
           "activation",
           activatable ? "the first call starts the service" : "the bus cannot start the service",
           activatable ? "" : "./dev install, or ./dev try in a checkout, then try again");
    if (s.running)
        check_service(&d, &s);
    else
        report(&d, VERDICT_WARN, "service", "not running, so its model was not checked",
               activatable ? "inkling complete hello starts it; then ask again" : "");
    int r = cli_flush(cli);
    if (r != CLI_OK)
        return r;
    return !s.running ? CLI_UNREACHABLE : d.n_fail + d.n_warn > 0 ? CLI_FAILED : CLI_OK;
}

const CliVerb cli_verb_status = {
    .name = "status",
    .arguments = "",
    .summary = "state, model, memory, queue",
    .details = "Does not start the service. Exit 0 healthy, 1 degraded, 3 not running.\n",
    .examples = "  inkling status\n  inkling status --json\n",
    .run = run_status,
};

static const CliOption doctor_options[] = {
    {"offline", NULL, NULL, 0, "prove that no process of the service can reach a network"},
    {0},
};

const CliVerb cli_verb_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "is everything in place, and what to do if not",
    .options = doctor_options,
    .details = "Does not start the service. Exit 0 all well, 1 something to do, 3 not running.\n"
               "With --offline every process of the service tries to open a network socket, and\n"
               "what the kernel says of it is read from /proc; exit 1 if a proof is missing.\n",
    .examples = "  inkling doctor\n  inkling doctor --offline\n",
    .run = run_doctor,
};

const CliVerb cli_verb_version = {
    .name = "version",
    .arguments = "",
    .summary = "versions of command and service",
    .examples = "  inkling version\n",
    .run = run_version,
};
