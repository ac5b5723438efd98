/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "clients/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "ipc/names.h"

static const struct {
    const char *name; /* without its prefix */
    int exit;
} exits_by_name[] = {
    {"InvalidArgs", CLI_USAGE},
    {"InvalidSchema", CLI_USAGE},
    {"InvalidGrammar", CLI_USAGE},
    {"NotSupported", CLI_USAGE},
    {"ServiceUnknown", CLI_UNREACHABLE},
    {"NoReply", CLI_UNREACHABLE},
    {"ShuttingDown", CLI_UNREACHABLE},
    {"Disconnected", CLI_UNREACHABLE},
    {"NameHasNoOwner", CLI_UNREACHABLE},
    {"AccessDenied", CLI_DENIED},
    {"QuotaExceeded", CLI_DENIED},
    {"TrainingRefused", CLI_DENIED},
    {"NoModel", CLI_NO_MODEL},
    {"NoSuchModel", CLI_NO_MODEL},
    {"ModelInvalid", CLI_NO_MODEL},
    {"AdapterMismatch", CLI_NO_MODEL},
    {"ContextOverflow", CLI_DOES_NOT_FIT},
    {"LimitsExceeded", CLI_DOES_NOT_FIT},
    {"NoSuchSession", CLI_NO_SUCH_THING},
    {"NoSuchAdapter", CLI_NO_SUCH_THING},
    {"NoSuchItem", CLI_NO_SUCH_THING},
    {"UnknownObject", CLI_NO_SUCH_THING},
    {"Busy", CLI_BUSY},
    {"SessionBusy", CLI_BUSY},
    {"MemoryPressure", CLI_BUSY},
    {"PowerRestricted", CLI_BUSY},
    {"Timeout", CLI_TIMEOUT},
    {"Cancelled", CLI_INTERRUPTED},
};

int cli_exit_of(const char *error_name, int code)
{
    const char *dot = error_name != NULL ? strrchr(error_name, '.') : NULL;
    const char *last = dot != NULL ? dot + 1 : "";
    /* Whatever goes wrong while a service is started by activation: it cannot be reached. */
    if (error_name != NULL && strstr(error_name, ".DBus.Error.Spawn.") != NULL)
        return CLI_UNREACHABLE;
    for (size_t i = 0; i < sizeof(exits_by_name) / sizeof(exits_by_name[0]); i++)
        if (strcmp(exits_by_name[i].name, last) == 0)
            return exits_by_name[i].exit;
    switch (code) {
    case EINVAL:
        return CLI_USAGE;
    case E2BIG:
    case EMSGSIZE:
        return CLI_DOES_NOT_FIT;
    case ENOTCONN:
    case EHOSTUNREACH:
    case EPIPE:
    case ECONNRESET:
        return CLI_UNREACHABLE;
    default:
        return CLI_FAILED;
    }
}

/* Controls that could move the cursor, recolour the terminal or reverse the line. */
static bool must_be_visible(uint32_t code_point)
{
    return code_point != '\n' && code_point != '\t' && !ink_utf8_is_printable(code_point);
}

static void print_visibly(FILE *out, const char *text, size_t n_bytes)
{
    if (!isatty(fileno(out))) {
        fwrite(text, 1, n_bytes, out);
        return;
    }
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code_point;
        size_t n = ink_utf8_decode(text + i, n_bytes - i, &code_point);
        if (n == 0)
            fputs("\xEF\xBF\xBD", out);
        else if (must_be_visible(code_point))
            fprintf(out, "<U+%04X>", (unsigned)code_point);
        else
            fwrite(text + i, 1, n, out);
        i += n != 0 ? n : 1;
    }
}

void cli_print_text(const char *text, size_t n_bytes)
{
    print_visibly(stdout, text, n_bytes);
}

static void print_error_json(const char *name, const char *message)
{
    _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
    ink_buffer_append_str(&line, "{\"error\":{\"name\":");
    ink_buffer_json_string(&line, name, strlen(name));
    ink_buffer_append_str(&line, ",\"message\":");
    ink_buffer_json_string(&line, message, strlen(message));
    ink_buffer_append_str(&line, "}}\n");
    if (line.data != NULL)
        fputs(line.data, stderr);
}

int cli_error(const Cli *cli, const char *name, const InkError *error)
{
    if (name == NULL || name[0] == '\0')
        name = ink_error_name(error->code);
    if (cli != NULL && cli->json) {
        print_error_json(name, error->message);
    } else {
        fputs("inkling: ", stderr);
        print_visibly(stderr, error->message, strlen(error->message));
        fputc('\n', stderr);
    }
    return cli_exit_of(name, error->code);
}

int cli_usage(const Cli *cli, const char *format, ...)
{
    InkError error = {.code = EINVAL};
    va_list args;
    va_start(args, format);
    vsnprintf(error.message, sizeof(error.message), format, args);
    va_end(args);
    return cli_error(cli, NULL, &error);
}

void cli_warn(const Cli *cli, const char *format, ...)
{
    if (cli->quiet || cli->json)
        return;
    va_list args;
    va_start(args, format);
    fputs("inkling: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

int cli_connect(Cli *cli)
{
    if (cli->client != NULL)
        return CLI_OK;
    InkError error = {0};
    if (ink_client_new(&cli->client, &error) < 0)
        return cli_error(cli, NULL, &error);
    if (cli->timeout_usec != 0) /* a little longer, so that the service's own answer wins */
        ink_client_set_timeout(cli->client, cli->timeout_usec + 2000000u);
    return CLI_OK;
}

int cli_call(Cli *cli, const char *interface, const char *method, InkClientAppend *append,
             sd_bus_message **ret)
{
    int r = cli_connect(cli);
    if (r != CLI_OK)
        return r;
    InkError error = {0};
    if (ink_client_call(cli->client, interface, method, true, append, cli, ret, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    return CLI_OK;
}

void cli_format_size(char out[16], uint64_t n_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)n_bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit < 4) {
        value /= 1000;
        unit++;
    }
    snprintf(out, 16, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

int cli_flush(const Cli *cli)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CLI_OK;
    if (errno == EPIPE)
        return CLI_CLOSED_PIPE;
    InkError error;
    ink_error_raise(&error, EIO, "standard output cannot be written: %s", strerror(errno));
    cli_error(cli, NULL, &error);
    return CLI_FAILED;
}
