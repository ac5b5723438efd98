/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Reads a{sv} containers of callers: one table for each method, a row for each key with its type,
 * its range and the function that stores it. The same reader serves options, inputs, contexts,
 * events and candidates.
 *
 * Unknown keys, wrong types, values out of range and keys given twice are -EINVAL naming the key;
 * too long strings are -E2BIG with both numbers. Keys starting with "x-" are skipped.
 *
 * Owns: nothing but what ink_task_input_done() frees; strings are borrowed from the message.
 * Thread: no state. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"
#include "ipc/names.h"
#include "ipc/service.h"

typedef struct InkOption InkOption;

/* The reader stands on the value, whose type has been checked. */
typedef int InkOptionSet(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);

struct InkOption {
    const char *key;
    const char *signature; /* D-Bus type of the value */
    InkOptionSet *set;
    size_t offset;            /* of the field in the target */
    uint64_t least, most;     /* integers; strings: bytes */
    double smallest, largest; /* doubles, inclusive */
    const char *const *words; /* strings: one of these, NULL-terminated; NULL = any */
};

#define INK_OPTIONS_MAX_KEYS 32u

/* Reads one a{sv}. `ret_seen` (may be NULL) gets bit i for row i. `where` is put before the key in
 * messages ("event 3: "); "" = nothing. On failure `target` may be half-filled: throw it away. */
INK_MUST_CHECK int ink_options_read(sd_bus_message *m, const InkOption *table, size_t n_rows,
                                    const char *where, void *target, uint32_t *ret_seen,
                                    InkError *reterr);

/* A string argument of a method, under the limit that all have. */
INK_MUST_CHECK int ink_options_read_string(sd_bus_message *m, const char *name, const char **ret,
                                           InkError *reterr);
/* A method's string argument that is one of `words`. */
INK_MUST_CHECK int ink_options_read_word(sd_bus_message *m, const char *name,
                                         const char *const *words, const char **ret,
                                         InkError *reterr);

/* ----------------------------------------------------------- generation */

extern const char *const ink_priority_words[INK_PRIORITY_MAX + 1];

/* INK_PRIORITY_MAX when it is none. */
InkPriority ink_options_priority(const char *word);

extern const char *const ink_overflow_words[INK_OVERFLOW_MAX + 1];
/* INK_OVERFLOW_MAX when it is none. */
InkOverflow ink_options_overflow(const char *word);

/* What a method asks for besides the task. */
typedef struct InkTaskOptions {
    InkTask task; /* prompt, messages and stops point into the rest of this and the message */
    const char *stops[INK_BUS_MAX_STOPS];
    size_t n_stops;
    const char *system;
    const char *priority; /* NULL = not given */
    const char *overflow; /* NULL = not given */
    const char *stream;
    uint64_t coalesce_usec, linger_usec;
    const char *handle_token; /* NULL = choose one */
    InkServiceImport import;  /* IMPORT */
    int import_fd;            /* IMPORT: of the message */
} InkTaskOptions;

/* Defaults of 10.1; fills seed from the kernel's random numbers where none is given. */
INK_MUST_CHECK int ink_options_read_task(sd_bus_message *m, InkTaskKind kind, InkTaskOptions *ret,
                                         InkError *reterr);

/* Prompt or messages of a generation. */
typedef struct InkTaskInput {
    const char *prompt;
    size_t n_prompt_bytes;
    InkChatMessage *messages; /* room for one more at the front is kept for `system` */
    size_t n_messages;
    const char *session; /* path of a session, for a prompt of it */
    char *owned;         /* content of a memfd */
} InkTaskInput;

#define INK_TASK_INPUT_INIT ((InkTaskInput){0})
void ink_task_input_done(InkTaskInput *in);

/* Argument `prompt` s; argument `messages` a(ss); argument `input` a{sv} of Start. */
INK_MUST_CHECK int ink_options_read_prompt(sd_bus_message *m, InkTaskInput *in, InkError *reterr);
/* The same of argument `text` s. */
INK_MUST_CHECK int ink_options_read_text(sd_bus_message *m, InkTaskInput *in, InkError *reterr);
INK_MUST_CHECK int ink_options_read_messages(sd_bus_message *m, InkTaskInput *in, InkError *reterr);
INK_MUST_CHECK int ink_options_read_input(sd_bus_message *m, InkTaskKind kind, InkTaskInput *in,
                                          InkError *reterr);
/* The messages with `system` (NULL = none) in front; checks their sum. */
INK_MUST_CHECK int ink_options_join_system(InkTaskInput *in, const char *system,
                                           const InkChatMessage **ret, size_t *ret_n,
                                           InkError *reterr);
/* Joins the two: puts `system` in front, checks sums, points the task at the input. */
INK_MUST_CHECK int ink_options_join(InkTaskOptions *options, InkTaskInput *in, InkError *reterr);

/* ------------------------------------------------- setters for other tables */

int ink_option_set_u32(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);
int ink_option_set_u64(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);
int ink_option_set_double(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);
int ink_option_set_bool(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);
/* least 1 refuses the empty string. */
int ink_option_set_string(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);

#define INK_OPTION_BOOL(key, T, field)                                                             \
    {                                                                                              \
        key, "b", ink_option_set_bool, offsetof(T, field)                                          \
    }
#define INK_OPTION_U32(key, T, field, least, most)                                                 \
    {                                                                                              \
        key, "u", ink_option_set_u32, offsetof(T, field), least, most                              \
    }
#define INK_OPTION_U64(key, T, field, least, most)                                                 \
    {                                                                                              \
        key, "t", ink_option_set_u64, offsetof(T, field), least, most                              \
    }
#define INK_OPTION_DOUBLE(key, T, field, smallest, largest)                                        \
    {                                                                                              \
        key, "d", ink_option_set_double, offsetof(T, field), 0, 0, smallest, largest               \
    }
#define INK_OPTION_STRING(key, T, field, least, most)                                              \
    {                                                                                              \
        key, "s", ink_option_set_string, offsetof(T, field), least, most                           \
    }
#define INK_OPTION_WORD(key, T, field, words)                                                      \
    {                                                                                              \
        key, "s", ink_option_set_string, offsetof(T, field), 0, 0, 0, 0, words                     \
    }
/* handle-token: becomes a part of an object path. */
int ink_option_set_token(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr);
#define INK_OPTION_TOKEN(T, field)                                                                 \
    {                                                                                              \
        "handle-token", "s", ink_option_set_token, offsetof(T, field)                              \
    }
#define INK_OPTIONS_N(table) (sizeof(table) / sizeof((table)[0]))
