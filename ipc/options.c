/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/options.h"

#include <string.h>
#include <sys/random.h>

#include "engine/base/alloc.h"

#define DAY_USEC 86400000000u

const char *const ink_priority_words[INK_PRIORITY_MAX + 1] = {"typing", "interactive", "normal",
                                                              "background", NULL};

InkPriority ink_options_priority(const char *word)
{
    for (int i = 0; i < INK_PRIORITY_MAX; i++)
        if (strcmp(word, ink_priority_words[i]) == 0)
            return (InkPriority)i;
    return INK_PRIORITY_MAX;
}

const char *const ink_overflow_words[INK_OVERFLOW_MAX + 1] = {
    "error", "drop-oldest", "truncate-head", "truncate-middle", NULL};

InkOverflow ink_options_overflow(const char *word)
{
    for (int i = 0; i < INK_OVERFLOW_MAX; i++)
        if (strcmp(word, ink_overflow_words[i]) == 0)
            return (InkOverflow)i;
    return INK_OVERFLOW_MAX;
}

/* ------------------------------------------------------------------ values */

/* A key of the caller in a message: short, and printable where it is not ours. */
static const char *shown_key(const char *key, char out[48])
{
    size_t n = 0;
    for (; key[n] != '\0' && n < 44; n++)
        out[n] = key[n] > ' ' && key[n] < 0x7F ? key[n] : '?';
    strcpy(out + n, key[n] != '\0' ? "..." : "");
    return out;
}

int ink_option_set_u64(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    uint64_t v;
    int r = sd_bus_message_read_basic(m, 't', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    INK_CHECK(v >= o->least && v <= o->most, EINVAL, reterr, "%s is %llu, allowed is %llu to %llu",
              o->key, (unsigned long long)v, (unsigned long long)o->least,
              (unsigned long long)o->most);
    memcpy(field, &v, sizeof(v));
    return 0;
}

int ink_option_set_u32(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    uint32_t v;
    int r = sd_bus_message_read_basic(m, 'u', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    INK_CHECK(v >= o->least && v <= o->most, EINVAL, reterr, "%s is %u, allowed is %llu to %llu",
              o->key, v, (unsigned long long)o->least, (unsigned long long)o->most);
    memcpy(field, &v, sizeof(v));
    return 0;
}

int ink_option_set_double(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    double v;
    int r = sd_bus_message_read_basic(m, 'd', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    /* Written so that NaN fails. */
    INK_CHECK(v >= o->smallest && v <= o->largest, EINVAL, reterr, "%s is %g, allowed is %g to %g",
              o->key, v, o->smallest, o->largest);
    memcpy(field, &v, sizeof(v));
    return 0;
}

int ink_option_set_bool(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    int v;
    int r = sd_bus_message_read_basic(m, 'b', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    *(bool *)field = v != 0;
    return 0;
}

static int check_word(const char *name, const char *value, const char *const *words,
                      InkError *reterr)
{
    char list[160] = "";
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0)
            return 0;
        if (strlen(list) + strlen(words[i]) + 3 < sizeof(list)) {
            strcat(list, i != 0 ? ", " : "");
            strcat(list, words[i]);
        }
    }
    return INK_RAISE(EINVAL, reterr, "%s is none of: %s", name, list);
}

int ink_option_set_string(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    const char *v;
    int r = sd_bus_message_read_basic(m, 's', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    if (o->words != NULL)
        INK_TRY(check_word(o->key, v, o->words, reterr));
    else {
        size_t n = strlen(v);
        INK_CHECK(n >= o->least, EINVAL, reterr, "%s is empty", o->key);
        INK_CHECK(n <= o->most, E2BIG, reterr, "%s has %zu bytes, the limit is %llu", o->key, n,
                  (unsigned long long)o->most);
    }
    *(const char **)field = v;
    return 0;
}

int ink_option_set_token(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    const char *v;
    int r = sd_bus_message_read_basic(m, 's', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    size_t n = strspn(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    INK_CHECK(n >= 1 && n <= 64 && v[n] == '\0', EINVAL, reterr,
              "%s must be 1 to 64 of the characters A-Z a-z 0-9 _", o->key);
    *(const char **)field = v;
    return 0;
}

static int set_stops(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    InkTaskOptions *options = (InkTaskOptions *)((char *)field - o->offset);
    const char *v;
    int r = sd_bus_message_enter_container(m, 'a', "s");
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    while ((r = sd_bus_message_read_basic(m, 's', &v)) > 0) {
        size_t n = strlen(v);
        INK_CHECK(options->n_stops < INK_BUS_MAX_STOPS, EINVAL, reterr,
                  "%s has more than %u strings", o->key, INK_BUS_MAX_STOPS);
        INK_CHECK(n >= 1, EINVAL, reterr, "%s %zu is empty", o->key, options->n_stops);
        INK_CHECK(n <= INK_BUS_MAX_STOP_BYTES, E2BIG, reterr,
                  "%s %zu has %zu bytes, the limit is %u", o->key, options->n_stops, n,
                  INK_BUS_MAX_STOP_BYTES);
        options->stops[options->n_stops++] = v;
    }
    if (r < 0 || sd_bus_message_exit_container(m) < 0)
        return INK_RAISE(EINVAL, reterr, "%s: not readable", o->key);
    return 0;
}

/* ------------------------------------------------------------------ reader */

static int read_value(sd_bus_message *m, const InkOption *o, const char *where, void *target,
                      InkError *reterr)
{
    const char *contents = NULL;
    char type;
    int r = sd_bus_message_peek_type(m, &type, &contents);
    INK_CHECK(r > 0 && contents != NULL, EINVAL, reterr, "%s%s: not readable", where, o->key);
    INK_CHECK(strcmp(contents, o->signature) == 0, EINVAL, reterr,
              "%s%s has type %.32s, wanted is %s", where, o->key, contents, o->signature);
    r = sd_bus_message_enter_container(m, 'v', o->signature);
    INK_CHECK(r > 0, EINVAL, reterr, "%s%s: not readable", where, o->key);
    InkError inner = {0};
    r = o->set(o, m, (char *)target + o->offset, &inner);
    if (r < 0)
        return INK_RAISE(inner.code, reterr, "%s%s", where, inner.message);
    r = sd_bus_message_exit_container(m);
    INK_CHECK(r >= 0, EINVAL, reterr, "%s%s: not readable", where, o->key);
    return 0;
}

static int read_entry(sd_bus_message *m, const InkOption *table, size_t n_rows, const char *where,
                      void *target, uint32_t *seen, InkError *reterr)
{
    const char *key;
    char shown[48];
    int r = sd_bus_message_read_basic(m, 's', &key);
    INK_CHECK(r > 0, EINVAL, reterr, "%soptions are not readable", where);
    if (strncmp(key, "x-", 2) == 0) {
        r = sd_bus_message_skip(m, "v");
        INK_CHECK(r >= 0, EINVAL, reterr, "%s%s: not readable", where, shown_key(key, shown));
        return 0;
    }
    for (size_t i = 0; i < n_rows; i++)
        if (strcmp(table[i].key, key) == 0) {
            INK_CHECK((*seen >> i & 1u) == 0, EINVAL, reterr, "%s%s is given twice", where, key);
            *seen |= 1u << i;
            return read_value(m, &table[i], where, target, reterr);
        }
    return INK_RAISE(EINVAL, reterr, "%sunknown key: %s", where, shown_key(key, shown));
}

int ink_options_read(sd_bus_message *m, const InkOption *table, size_t n_rows, const char *where,
                     void *target, uint32_t *ret_seen, InkError *reterr)
{
    uint32_t seen = 0;
    if (n_rows > INK_OPTIONS_MAX_KEYS)
        return INK_RAISE(E2BIG, reterr, "option table has more than %u rows", INK_OPTIONS_MAX_KEYS);
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");
    INK_CHECK(r >= 0, EINVAL, reterr, "%soptions are not of type a{sv}", where);
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        INK_TRY(read_entry(m, table, n_rows, where, target, &seen, reterr));
        r = sd_bus_message_exit_container(m);
        INK_CHECK(r >= 0, EINVAL, reterr, "%soptions are not readable", where);
    }
    if (r < 0 || sd_bus_message_exit_container(m) < 0)
        return INK_RAISE(EINVAL, reterr, "%soptions are not readable", where);
    if (ret_seen != NULL)
        *ret_seen = seen;
    return 0;
}

int ink_options_read_string(sd_bus_message *m, const char *name, const char **ret, InkError *reterr)
{
    const char *v;
    int r = sd_bus_message_read_basic(m, 's', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", name);
    size_t n = strlen(v);
    INK_CHECK(n <= INK_BUS_MAX_STRING_BYTES, E2BIG, reterr,
              "%s has %zu bytes, the limit of a string is %u", name, n, INK_BUS_MAX_STRING_BYTES);
    *ret = v;
    return 0;
}

int ink_options_read_word(sd_bus_message *m, const char *name, const char *const *words,
                          const char **ret, InkError *reterr)
{
    const char *v;
    INK_TRY(ink_options_read_string(m, name, &v, reterr));
    INK_TRY(check_word(name, v, words, reterr));
    *ret = v;
    return 0;
}

/* -------------------------------------------------------------- generation */

static const char *const stream_words[] = {"none", "delta", NULL};

#define START_ROWS                                                                                 \
    INK_OPTION_WORD("priority", InkTaskOptions, priority, ink_priority_words),                     \
        INK_OPTION_TOKEN(InkTaskOptions, handle_token)

#define GENERATION_ROWS                                                                            \
    START_ROWS,                                                                                    \
        INK_OPTION_U32("max-tokens", InkTaskOptions, task.max_tokens, 1, INK_BUS_MAX_TOKENS),      \
        INK_OPTION_U32("max-lines", InkTaskOptions, task.max_lines, 1, INK_BUS_MAX_TOKENS),        \
        INK_OPTION_DOUBLE("temperature", InkTaskOptions, task.temperature, 0, 10),                 \
        INK_OPTION_DOUBLE("top-p", InkTaskOptions, task.top_p, 1e-6, 1),                           \
        INK_OPTION_DOUBLE("min-p", InkTaskOptions, task.min_p, 0, 1),                              \
        INK_OPTION_DOUBLE("repeat-penalty", InkTaskOptions, task.repeat_penalty, 0.1, 10),         \
        INK_OPTION_U32("top-k", InkTaskOptions, task.top_k, 0, 1000000),                           \
        INK_OPTION_U64("seed", InkTaskOptions, task.seed, 0, UINT64_MAX),                          \
        {"stop", "as", set_stops, offsetof(InkTaskOptions, n_stops)},                              \
        INK_OPTION_WORD("overflow", InkTaskOptions, overflow, ink_overflow_words),                 \
        INK_OPTION_U64("deadline-usec", InkTaskOptions, task.deadline_usec, 1, DAY_USEC),          \
        INK_OPTION_STRING("supersede-key", InkTaskOptions, task.supersede_key, 1, 255),            \
        INK_OPTION_WORD("stream", InkTaskOptions, stream, stream_words),                           \
        INK_OPTION_U64("coalesce-usec", InkTaskOptions, coalesce_usec, 0, 10000000),               \
        INK_OPTION_U64("linger-usec", InkTaskOptions, linger_usec, 0, INK_BUS_MAX_LINGER_USEC)

#define MODEL_ROW INK_OPTION_STRING("model", InkTaskOptions, task.model, 0, 255)

static const InkOption complete_rows[] = {GENERATION_ROWS, MODEL_ROW};
static const InkOption chat_rows[] = {
    GENERATION_ROWS, MODEL_ROW,
    INK_OPTION_STRING("system", InkTaskOptions, system, 1, INK_BUS_MAX_STRING_BYTES)};
/* Of a session: its model and system text are settled. */
static const InkOption prompt_rows[] = {GENERATION_ROWS};
static const InkOption prewarm_rows[] = {START_ROWS};
/* The model is an argument there. */
static const InkOption load_rows[] = {
    START_ROWS, INK_OPTION_U64("hold-usec", InkTaskOptions, task.hold_usec, 0, DAY_USEC)};

static const InkOption import_rows[] = {
    {"handle-token", "s", ink_option_set_token, offsetof(InkTaskOptions, handle_token)},
    INK_OPTION_STRING("sha256", InkTaskOptions, import.sha256, 1, 64),
    INK_OPTION_BOOL("default", InkTaskOptions, import.make_default)};

static const struct {
    const InkOption *rows;
    size_t n_rows;
} tables[] = {
    [INK_TASK_COMPLETE] = {complete_rows, INK_OPTIONS_N(complete_rows)},
    [INK_TASK_CHAT] = {chat_rows, INK_OPTIONS_N(chat_rows)},
    [INK_TASK_LOAD] = {load_rows, INK_OPTIONS_N(load_rows)},
    [INK_TASK_PROMPT] = {prompt_rows, INK_OPTIONS_N(prompt_rows)},
    [INK_TASK_PREWARM] = {prewarm_rows, INK_OPTIONS_N(prewarm_rows)},
    [INK_TASK_IMPORT] = {import_rows, INK_OPTIONS_N(import_rows)},
};

int ink_options_read_task(sd_bus_message *m, InkTaskKind kind, InkTaskOptions *ret,
                          InkError *reterr)
{
    InkTaskOptions o = {
        .task = {.kind = kind,
                 .model = "",
                 .max_tokens = kind == INK_TASK_COMPLETE ? 256 : 512,
                 .temperature = 0.7,
                 .top_p = 0.95,
                 .min_p = 0.05,
                 .repeat_penalty = 1.0,
                 .top_k = 40},
        .stream = "none",
        .coalesce_usec = INK_BUS_COALESCE_USEC,
        .linger_usec = INK_BUS_LINGER_USEC,
    };
    if (getrandom(&o.task.seed, sizeof(o.task.seed), 0) != sizeof(o.task.seed))
        return INK_RAISE(EAGAIN, reterr, "no random numbers for the seed");
    o.task.seed >>= 11; /* so that the result is exact in every JSON reader */
    INK_TRY(ink_options_read(m, tables[kind].rows, tables[kind].n_rows, "", &o, NULL, reterr));
    o.task.has_priority = o.priority != NULL;
    o.task.priority =
        o.priority != NULL ? ink_options_priority(o.priority) : INK_PRIORITY_INTERACTIVE;
    o.task.has_overflow = o.overflow != NULL;
    o.task.overflow = o.overflow != NULL ? ink_options_overflow(o.overflow) : INK_OVERFLOW_ERROR;
    *ret = o;
    return 0;
}
