/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One text on its way to standard output: what `complete` and `chat` share.
 * Owns: nothing. Thread: one. */
#pragma once

#include "clients/cli.h"

typedef enum CliGenerationKind {
    CLI_COMPLETE,
    CLI_CHAT,   /* one question, with the verb's --system in front */
    CLI_PROMPT, /* the same in a session */
} CliGenerationKind;

typedef struct CliGeneration {
    Cli *cli;
    CliGenerationKind kind;
    const char *text;
    const char *session; /* PROMPT: its path */
    /* The rest is of cli_generate(). */
    bool cancelled;
    bool closed_pipe;
    bool ends_with_newline;
    bool any_text;
    bool progress_shown;
} CliGeneration;

/* Streams the answer; an exit code. CLI_NO_SUCH_THING without a word: the session is gone. */
int cli_generate(CliGeneration *g);

/* The same words mean the same in both verbs. */
#define CLI_GENERATION_OPTIONS                                                                     \
    {"max-tokens", "N", "max-tokens", 'u', "tokens at most (256; chat 512)"},                      \
        {"max-lines", "N", "max-lines", 'u', "lines at most"},                                     \
        {"temperature", "X", "temperature", 'd', "0 = always the likeliest token (0.7)"},          \
        {"top-p", "X", "top-p", 'd', "smallest set with this probability (0.95)"},                 \
        {"top-k", "N", "top-k", 'u', "the N likeliest tokens (40; 0 = off)"},                      \
        {"min-p", "X", "min-p", 'd', "relative to the likeliest token (0.05)"},                    \
        {"repeat-penalty", "X", "repeat-penalty", 'd', "above 1: fewer repeats (1.0)"},            \
        {"seed", "N", "seed", 't', "same seed, same text"},                                        \
        {"stop", "TEXT", "stop", 'a', "end in front of this text; may be repeated"},               \
        {"overflow", "POLICY", "overflow", 's',                                                    \
         "what does not fit: error, drop-oldest, truncate-head, truncate-middle"},                 \
        {"priority", "CLASS", "priority", 's', "typing, interactive, normal or background"},       \
        {"require-complete", NULL, NULL, 0, "exit 7 when the answer is cut by --max-tokens"},      \
        {"raw", NULL, NULL, 0, "no newline is added at the end"},                                  \
    {                                                                                              \
        "stats", NULL, NULL, 0, "one line about tokens and speed on standard error"                \
    }
