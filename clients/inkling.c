/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The command `inkling`: finds the verb, prints help, hands over. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli.h"
#include "ink-config.h"

static const CliVerb *const verbs[] = {
    &cli_verb_complete, &cli_verb_chat,   &cli_verb_tokens,  &cli_verb_suggest,
    &cli_verb_observe,  &cli_verb_memory, &cli_verb_app,     &cli_verb_model,
    &cli_verb_status,   &cli_verb_doctor, &cli_verb_version,
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const char global_help[] =
    "Options of every verb:\n"
    "  --json           machine-readable output; errors as JSON on standard error\n"
    "  --quiet          no progress and no warnings\n"
    "  --timeout SPAN   30, 30s, 2min: what exists by then is printed, exit 124\n"
    "  --help           this help, or that of a verb\n"
    "  --               the rest is text\n";

static int print_help(void)
{
    printf("inkling: private text completion and suggestions from a model on this machine\n\n"
           "Usage: inkling VERB [OPTION...] [TEXT]\n\nVerbs:\n");
    for (size_t i = 0; i < N_VERBS; i++) {
        char left[48];
        snprintf(left, sizeof(left), "%s %s", verbs[i]->name, verbs[i]->arguments);
        /* One that is wider than its column has its summary below. */
        printf("  %-22s%s%s\n", left, strlen(left) > 22 ? "\n                         " : " ",
               verbs[i]->summary);
    }
    printf("\n%s\nExamples:\n"
           "  inkling complete \"Once upon a time\"\n"
           "  inkling chat \"What is a haiku?\"\n"
           "  inkling doctor\n\n"
           "`inkling VERB --help` tells more. Exit codes: 0 done, 1 failed, 2 wrong use,\n"
           "3 service not reachable, 4 denied, 5 no usable model, 6 does not fit, 7 cut,\n"
           "8 no such thing, 9 busy, 124 time is over, 130 interrupted.\n",
           global_help);
    return cli_flush(NULL);
}

static int print_verb_help(const CliVerb *verb)
{
    printf("inkling %s: %s\n\nUsage: inkling %s [OPTION...]%s%s\n", verb->name, verb->summary,
           verb->name, verb->arguments[0] != '\0' ? " " : "", verb->arguments);
    if (verb->details != NULL)
        printf("\n%s", verb->details);
    if (verb->options != NULL)
        printf("\nOptions:\n");
    for (const CliOption *o = verb->options; o != NULL && o->name != NULL; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value_name != NULL ? " " : "",
                 o->value_name != NULL ? o->value_name : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("\n%s\nExamples:\n%s", global_help, verb->examples);
    return cli_flush(NULL);
}

static size_t edit_distance(const char *a, const char *b)
{
    size_t row[32], n = strlen(b);
    if (n >= 31)
        return 32;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

static const CliVerb *find_verb(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const CliVerb *nearest = verbs[0];
    for (size_t i = 1; i < N_VERBS; i++)
        if (edit_distance(name, verbs[i]->name) < edit_distance(name, nearest->name))
            nearest = verbs[i];
    /* A word of which more than half would change is no slip of the hand. */
    if (edit_distance(name, nearest->name) * 2 > strlen(nearest->name))
        return cli_usage(NULL, "unknown verb \"%.32s\"; see inkling --help", name);
    return cli_usage(NULL, "unknown verb \"%.32s\"; did you mean \"%s\"?", name, nearest->name);
}

static bool asks_for_help(int argc, char **argv, int first)
{
    for (int i = first; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* numbers read and print the same everywhere */
    signal(SIGPIPE, SIG_IGN);   /* a closed pipe is an exit code, after the cancel is sent */

    /* Global flags may stand before the verb. */
    int first = 1;
    while (first < argc && argv[first][0] == '-') {
        if (strcmp(argv[first], "--help") == 0 || strcmp(argv[first], "-h") == 0)
            return print_help();
        if (strcmp(argv[first], "--version") == 0) {
            printf("inkling %s\n", INK_VERSION);
            return cli_flush(NULL);
        }
        if (strcmp(argv[first], "--json") != 0 && strcmp(argv[first], "--quiet") != 0)
            return cli_usage(NULL, "\"%.40s\" needs a verb before it; see inkling --help",
                             argv[first]);
        first++;
    }
    if (first >= argc) {
        print_help();
        return CLI_USAGE;
    }
    if (strcmp(argv[first], "help") == 0)
        return first + 1 < argc && find_verb(argv[first + 1]) != NULL
                   ? print_verb_help(find_verb(argv[first + 1]))
                   : print_help();
    const CliVerb *verb = find_verb(argv[first]);
    if (verb == NULL)
        return unknown_verb(argv[first]);
    if (asks_for_help(argc, argv, first + 1))
        return print_verb_help(verb);

    Cli cli = {.verb = verb};
    for (int i = 1; i < first; i++) {
        cli.json |= strcmp(argv[i], "--json") == 0;
        cli.quiet |= strcmp(argv[i], "--quiet") == 0;
    }
    int r = cli_parse(&cli, verb, argc, argv, first + 1);
    if (r == CLI_OK)
        r = verb->run(&cli);
    ink_client_free(cli.client);
    return r;
}
