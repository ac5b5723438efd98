/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the verbs of the command `inkling` share: parsed arguments, output, errors and exit codes.
 * The command is a client of the bus and nothing else.
 * Owns: Cli owns its client; settings point into argv. Thread: one. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "ipc/client.h"

/* Exit codes; docs/cli.md says the same to people. */
typedef enum CliExit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 3,
    CLI_DENIED = 4,
    CLI_NO_MODEL = 5,
    CLI_DOES_NOT_FIT = 6,
    CLI_CUT = 7,
    CLI_NO_SUCH_THING = 8,
    CLI_BUSY = 9,
    CLI_TIMEOUT = 124,
    CLI_INTERRUPTED = 130,
    CLI_CLOSED_PIPE = 141,
} CliExit;

/* An option of a verb. With a bus key its value goes to the service under that key and type:
 * 'u', 't', 'd', 's', 'b' (no value), 'a' (string list, repeatable). Type 0: for the verb itself.
 */
typedef struct CliOption {
    const char *name;       /* without the dashes */
    const char *value_name; /* NULL = takes none */
    const char *key;
    char type;
    const char *help;
} CliOption;

typedef struct CliSetting {
    const CliOption *option;
    const char *value; /* NULL for options without one */
} CliSetting;

#define CLI_MAX_SETTINGS    64
#define CLI_MAX_POSITIONALS 8

typedef struct Cli Cli;

typedef struct CliVerb {
    const char *name;
    const char *arguments; /* "[TEXT]" */
    const char *summary;
    const CliOption *options; /* ends with a NULL name; NULL = none */
    const char *details;      /* for --help: what is read, what is printed */
    const char *examples;
    size_t max_positionals;
    int (*run)(Cli *cli);
} CliVerb;

struct Cli {
    const CliVerb *verb;
    bool json, quiet;
    uint64_t timeout_usec; /* 0 = none */
    CliSetting settings[CLI_MAX_SETTINGS];
    size_t n_settings;
    const char *positionals[CLI_MAX_POSITIONALS];
    size_t n_positionals;
    InkClient *client; /* NULL until cli_connect() */
};

/* cli-options.c: fills `cli` from argv[first..]; 0, or an exit code after a message. */
int cli_parse(Cli *cli, const CliVerb *verb, int argc, char **argv, int first);
/* Parses a value for the bus; false after a message. */
bool cli_check_setting(const CliSetting *s);
/* Value of an option of the verb itself: NULL when absent, "" for one that takes no value. */
const char *cli_setting(const Cli *cli, const char *name);
/* Appends all settings with a bus key as a{sv} entries (an InkClientAppend over the Cli). */
int cli_append_settings(sd_bus_message *m, void *cli);
/* Appends a whole a{sv} of them. */
int cli_append_settings_dict(sd_bus_message *m, void *cli);
/* The text: the positional `index`, or standard input for "-" and when it is missing and standard
 * input is no terminal. Frees nothing of argv: *ret is always to be freed. An exit code. */
int cli_text(const Cli *cli, size_t index, char **ret, size_t *ret_n_bytes);
bool cli_parse_span(const char *text, uint64_t *ret_usec);

/* cli-output.c */
int cli_connect(Cli *cli);
/* Prints an error by the conventions and returns its exit code. `name` NULL = by the code. */
int cli_error(const Cli *cli, const char *name, const InkError *error);
int cli_usage(const Cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_warn(const Cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_exit_of(const char *error_name, int code);
/* Text of a model or record: on a terminal control characters are made visible. */
void cli_print_text(const char *text, size_t n_bytes);
/* "98.4 MB" */
void cli_format_size(char out[16], uint64_t n_bytes);
/* Flushes standard output; CLI_OK or the code for a closed pipe or a full disk. */
int cli_flush(const Cli *cli);

/* cli-json.c: the next value of a message as JSON, with the keys of the bus; NULL when it is not
 * readable. The caller's to json_decref(). */
json_t *cli_read_json(sd_bus_message *m);
/* "" and 0 for what is not there. */
const char *cli_json_text(const json_t *object, const char *key);
uint64_t cli_json_number(const json_t *object, const char *key);
int cli_print_json(const Cli *cli, const json_t *value);

/* cli-import.c: all of it but the line at the end; an exit code. */
int cli_import_model(Cli *cli, const char *name, const char *file);

/* cli-offline.c: the proof of `doctor --offline`; an exit code. Needs a running service. */
int cli_prove_offline(Cli *cli);

/* Method call with the settings of the verb as the last argument; see client.h. */
int cli_call(Cli *cli, const char *interface, const char *method, InkClientAppend *append,
             sd_bus_message **ret);

extern const CliVerb cli_verb_complete, cli_verb_chat, cli_verb_tokens, cli_verb_suggest,
    cli_verb_observe, cli_verb_memory, cli_verb_status, cli_verb_doctor, cli_verb_version,
    cli_verb_app, cli_verb_model;
