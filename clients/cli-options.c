/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "clients/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "ipc/names.h"

static const CliOption json_flag = {.name = "json"}, quiet_flag = {.name = "quiet"},
                       timeout_flag = {.name = "timeout", .value_name = "SPAN"};

static const CliOption *find_option(const CliVerb *verb, const char *name, size_t n_bytes)
{
    const CliOption *const global[] = {&json_flag, &quiet_flag, &timeout_flag};
    for (size_t i = 0; i < 3; i++)
        if (strlen(global[i]->name) == n_bytes && memcmp(global[i]->name, name, n_bytes) == 0)
            return global[i];
    for (const CliOption *o = verb->options; o != NULL && o->name != NULL; o++)
        if (strlen(o->name) == n_bytes && memcmp(o->name, name, n_bytes) == 0)
            return o;
    return NULL;
}

bool cli_parse_span(const char *text, uint64_t *ret_usec)
{
    static const struct {
        const char *unit;
        double usec;
    } units[] = {{"", 1e6},     {"s", 1e6},  {"sec", 1e6},  {"ms", 1e3},   {"us", 1.0},
                 {"min", 60e6}, {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6}};
    char *end;
    double value = strtod(text, &end);
    if (end == text || !isfinite(value) || value <= 0)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].unit) == 0 && value * units[i].usec < 1e15) {
            *ret_usec = (uint64_t)(value * units[i].usec);
            return *ret_usec > 0;
        }
    return false;
}

static bool parse_unsigned(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max)
        return false;
    *ret = value;
    return true;
}

static bool parse_double(const char *text, double *ret)
{
    char *end;
    *ret = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*ret);
}

bool cli_check_setting(const CliSetting *s)
{
    uint64_t n;
    double d;
    switch (s->option->type) {
    case 'u':
        return parse_unsigned(s->value, UINT32_MAX, &n);
    case 't':
        return parse_unsigned(s->value, UINT64_MAX, &n);
    case 'd':
        return parse_double(s->value, &d);
    default:
        return true;
    }
}

static int apply_option(Cli *cli, const CliOption *o, const char *value)
{
    if (o == &json_flag)
        cli->json = true;
    else if (o == &quiet_flag)
        cli->quiet = true;
    else if (o == &timeout_flag) {
        if (!cli_parse_span(value, &cli->timeout_usec))
            return cli_usage(cli, "--timeout: \"%.32s\" is no time span such as 30, 500ms or 2min",
                             value);
    } else {
        if (cli->n_settings == CLI_MAX_SETTINGS)
            return cli_usage(cli, "more than %d options", CLI_MAX_SETTINGS);
        CliSetting s = {o, value};
        if (!cli_check_setting(&s))
            return cli_usage(cli, "--%s: \"%.32s\" is not a %s", o->name, value,
                             o->type == 'd' ? "number" : "whole number from 0 on");
        if (o->type != 'a' && cli_setting(cli, o->name) != NULL)
            return cli_usage(cli, "--%s is given twice", o->name);
        cli->settings[cli->n_settings++] = s;
    }
    return CLI_OK;
}

static int report_surplus(const Cli *cli)
{
    const CliVerb *verb = cli->verb;
    if (verb->max_positionals == 0)
        return cli_usage(cli, "%s takes no argument", verb->name);
    if (strstr(verb->arguments, "TEXT") != NULL || strstr(verb->arguments, "VALUE") != NULL)
        return cli_usage(cli, "too many arguments for %s; quote a text of several words",
                         verb->name);
    return cli_usage(cli, "too many arguments for %s; see inkling %s --help", verb->name,
                     verb->name);
}

int cli_parse(Cli *cli, const CliVerb *verb, int argc, char **argv, int first)
{
    bool options_end = false;
    for (int i = first; i < argc; i++) {
        const char *arg = argv[i];
        if (!options_end && strcmp(arg, "--") == 0) {
            options_end = true;
            continue;
        }
        /* The one short option, of verbs that would ask. */
        if (!options_end && strcmp(arg, "-y") == 0 && find_option(verb, "yes", 3) != NULL)
            arg = "--yes";
        if (options_end || strncmp(arg, "--", 2) != 0) {
            if (!options_end && arg[0] == '-' && arg[1] != '\0')
                return cli_usage(cli, "unknown option \"%.32s\"; see inkling %s --help", arg,
                                 verb->name);
            if (cli->n_positionals == verb->max_positionals)
                return report_surplus(cli);
            cli->positionals[cli->n_positionals++] = arg;
            continue;
        }
        const char *equals = strchr(arg, '=');
        size_t n = equals != NULL ? (size_t)(equals - arg - 2) : strlen(arg + 2);
        const CliOption *o = find_option(verb, arg + 2, n);
        if (o == NULL)
            return cli_usage(cli, "unknown option \"%.*s\"; see inkling %s --help",
                             (int)(n + 2 > 40 ? 40 : n + 2), arg, verb->name);
        const char *value = NULL;
        if (o->value_name != NULL) {
            value = equals != NULL ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
            if (value == NULL)
                return cli_usage(cli, "--%s needs a value: --%s %s", o->name, o->name,
                                 o->value_name);
        } else if (equals != NULL) {
            return cli_usage(cli, "--%s takes no value", o->name);
        }
        int r = apply_option(cli, o, value);
        if (r != CLI_OK)
            return r;
    }
    return CLI_OK;
}

const char *cli_setting(const Cli *cli, const char *name)
{
    for (size_t i = 0; i < cli->n_settings; i++)
        if (strcmp(cli->settings[i].option->name, name) == 0)
            return cli->settings[i].value != NULL ? cli->settings[i].value : "";
    return NULL;
}

static int append_strings(sd_bus_message *m, const Cli *cli, const CliOption *option)
{
    INK_TRY(sd_bus_message_open_container(m, 'v', "as"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "s"));
    for (size_t i = 0; i < cli->n_settings; i++)
        if (cli->settings[i].option == option)
            INK_TRY(sd_bus_message_append(m, "s", cli->settings[i].value));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

static int append_value(sd_bus_message *m, const Cli *cli, const CliSetting *s)
{
    uint64_t n = 0;
    double d = 0;
    switch (s->option->type) {
    case 'u':
        parse_unsigned(s->value, UINT32_MAX, &n);
        return sd_bus_message_append(m, "v", "u", (uint32_t)n);
    case 't':
        parse_unsigned(s->value, UINT64_MAX, &n);
        return sd_bus_message_append(m, "v", "t", n);
    case 'd':
        parse_double(s->value, &d);
        return sd_bus_message_append(m, "v", "d", d);
    case 'b':
        return sd_bus_message_append(m, "v", "b", 1);
    case 'a':
        return append_strings(m, cli, s->option);
    default:
        return sd_bus_message_append(m, "v", "s", s->value);
    }
}

static bool is_first_of_option(const Cli *cli, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (cli->settings[i].option == cli->settings[index].option)
            return false;
    return true;
}

int cli_append_settings(sd_bus_message *m, void *userdata)
{
    const Cli *cli = userdata;
    for (size_t i = 0; i < cli->n_settings; i++) {
        const CliSetting *s = &cli->settings[i];
        if (s->option->type == 0 || !is_first_of_option(cli, i))
            continue;
        INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
        INK_TRY(sd_bus_message_append(m, "s", s->option->key));
        INK_TRY(append_value(m, cli, s));
        INK_TRY(sd_bus_message_close_container(m));
    }
    return 0;
}

int cli_append_settings_dict(sd_bus_message *m, void *userdata)
{
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    INK_TRY(cli_append_settings(m, userdata));
    return sd_bus_message_close_container(m);
}

static int read_standard_input(const Cli *cli, char **ret, size_t *ret_n_bytes)
{
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    char piece[65536];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            return CLI_INTERRUPTED;
        if (n < 0)
            return cli_usage(cli, "standard input cannot be read: %s", strerror(errno));
        if (n == 0)
            break;
        ink_buffer_append(&text, piece, (size_t)n);
        if (text.size_bytes > INK_BUS_MAX_PROMPT_BYTES) {
            InkError error;
            ink_error_raise(&error, E2BIG, "standard input is larger than the limit of %u bytes",
                            INK_BUS_MAX_PROMPT_BYTES);
            return cli_error(cli, NULL, &error);
        }
    }
    if (memchr(text.data != NULL ? text.data : "", '\0', text.size_bytes) != NULL)
        return cli_usage(cli,
                         "standard input holds a NUL byte; the text must be UTF-8 without NUL");
    if (!ink_utf8_valid(text.data != NULL ? text.data : "", text.size_bytes))
        return cli_usage(cli, "standard input is not UTF-8");
    *ret_n_bytes = text.size_bytes;
    *ret = ink_buffer_take(&text);
    return *ret != NULL ? CLI_OK : CLI_FAILED;
}

int cli_text(const Cli *cli, size_t index, char **ret, size_t *ret_n_bytes)
{
    const char *given = cli->n_positionals > index ? cli->positionals[index] : NULL;
    if (given == NULL && isatty(STDIN_FILENO))
        return cli_usage(cli, "%s needs a text: as an argument, or on standard input",
                         cli->verb->name);
    if (given == NULL || strcmp(given, "-") == 0)
        return read_standard_input(cli, ret, ret_n_bytes);
    *ret_n_bytes = strlen(given);
    if (!ink_utf8_valid(given, *ret_n_bytes))
        return cli_usage(cli, "the text is not UTF-8");
    *ret = strdup(given);
    return *ret != NULL ? CLI_OK : CLI_FAILED;
}
