/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/config.h"

#include <fcntl.h>
#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/bounds.h"
#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"

/* Threads beyond this only wait for each other. */
#define MAX_THREADS     256u
#define DEFAULT_KV_MIB  1024u
#define MIN_KV_MIB      64u
#define MAX_KV_MIB      (1u << 20)
#define MAX_NAME_SHOWN  48
#define USEC_PER_MINUTE 60000000u

typedef struct Reader {
    InkConfig *config;
    const char *text; /* for numbers of lines; NULL = there is none */
    size_t n_bytes;
    GKeyFile *file;
    InkConfigWarn *warn;
    void *userdata;
} Reader;

static void warn(const Reader *r, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* line 0: it is about the whole file. */
static void warn(const Reader *r, unsigned line, const char *format, ...)
{
    char message[INK_ERROR_MESSAGE_BYTES];
    int n = line > 0 ? snprintf(message, sizeof message, "line %u: ", line) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(message + n, sizeof message - (size_t)n, format, args);
    va_end(args);
    r->warn(r->userdata, message);
}

/* ------------------------------------------------------------------ lines */

typedef struct Line {
    const char *at;
    size_t n_bytes;
    unsigned number;
} Line;

/* The next line of the text, without blanks around it. */
static bool next_line(const Reader *r, Line *line)
{
    const char *end = r->text + r->n_bytes;
    const char *begin = line->number == 0 ? r->text : line->at + line->n_bytes;
    if (line->number > 0) {
        begin = memchr(begin, '\n', (size_t)(end - begin));
        begin = begin == NULL ? end : begin + 1;
    }
    if (begin >= end)
        return false;
    const char *stop = memchr(begin, '\n', (size_t)(end - begin));
    if (stop == NULL)
        stop = end;
    while (begin < stop && g_ascii_isspace(*begin))
        begin++;
    while (stop > begin && g_ascii_isspace(stop[-1]))
        stop--;
    *line = (Line){begin, (size_t)(stop - begin), line->number + 1};
    return true;
}

static bool is_group(const Line *line)
{
    return line->n_bytes >= 2 && line->at[0] == '[' && line->at[line->n_bytes - 1] == ']';
}

static bool starts_with(const Line *line, const char *word, size_t from)
{
    size_t n = strlen(word);
    return line->n_bytes >= from + n && memcmp(line->at + from, word, n) == 0;
}

/* Where a key stands (the last one counts), or a group (key NULL); 0 = not found. */
static unsigned line_of(const Reader *r, const char *group, const char *key)
{
    Line line = {0};
    unsigned found = 0;
    bool in_group = false;
    while (next_line(r, &line)) {
        if (is_group(&line)) {
            in_group = line.n_bytes == strlen(group) + 2 && starts_with(&line, group, 1);
            if (in_group && key == NULL)
                return line.number;
        } else if (in_group && key != NULL && starts_with(&line, key, 0)) {
            size_t i = strlen(key);
            while (i < line.n_bytes && g_ascii_isspace(line.at[i]))
                i++;
            if (i < line.n_bytes && line.at[i] == '=')
                found = line.number;
        }
    }
    return found;
}

/* The first line that no key file has. */
static unsigned bad_line(const Reader *r)
{
    Line line = {0};
    bool has_group = false;
    while (next_line(r, &line)) {
        bool group = is_group(&line);
        has_group |= group;
        bool key = has_group && line.n_bytes > 0 && line.at[0] != '=' && line.at[0] != '[' &&
                   memchr(line.at, '=', line.n_bytes) != NULL;
        if (line.n_bytes > 0 && line.at[0] != '#' && !group && !key)
            return line.number;
    }
    return 0;
}

/* ------------------------------------------------------------------ values */

/* A name out of the file, safe for a log line. */
static void printable(const char *name, char out[MAX_NAME_SHOWN + 1])
{
    size_t n = 0;
    for (; name[n] != '\0' && n < MAX_NAME_SHOWN; n++)
        out[n] = name[n] > ' ' && name[n] < 127 ? name[n] : '?';
    out[n] = '\0';
}

static bool is_name(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (!(g_ascii_isalnum(*c) || *c == '-' || *c == '_' || *c == '.' || *c == '+'))
            return false;
    return text[0] != '.';
}

static char *get_value(const Reader *r, const char *group, const char *key)
{
    char *value = g_key_file_get_value(r->file, group, key, NULL);
    return value == NULL ? NULL : g_strstrip(value);
}

static void read_name(const Reader *r, const char *group, const char *key, char *out,
                      size_t out_bytes)
{
    g_autofree char *value = get_value(r, group, key);
    if (value == NULL)
        return;
    if (strlen(value) >= out_bytes || !is_name(value)) {
        warn(r, line_of(r, group, key),
             "%s: not a name of up to %zu letters, digits and -_.+; default used", key,
             out_bytes - 1);
        return;
    }
    memcpy(out, value, strlen(value) + 1);
}

static void read_number(const Reader *r, const char *group, const char *key, uint32_t min,
                        uint32_t max, uint32_t *out)
{
    g_autofree char *value = get_value(r, group, key);
    if (value == NULL)
        return;
    guint64 number;
    if (!g_ascii_string_to_unsigned(value, 10, min, max, &number, NULL)) {
        warn(r, line_of(r, group, key), "%s: not a whole number from %u to %u; %u used", key, min,
             max, *out);
        return;
    }
    *out = (uint32_t)number;
}

static void read_model(const Reader *r)
{
    read_name(r, "model", "model", r->config->model, sizeof r->config->model);
    read_number(r, "model", "threads", 0, MAX_THREADS, &r->config->threads);

    char isa[sizeof r->config->isa] = "";
    read_name(r, "model", "isa", isa, sizeof isa);
    static const char *const known[] = {"", "auto", "ref", "avx2", "avx512"};
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (strcmp(isa, known[i]) == 0) {
            memcpy(r->config->isa, i < 2 ? "" : isa, i < 2 ? 1 : sizeof isa);
            return;
        }
    warn(r, line_of(r, "model", "isa"), "isa: not one of auto, ref, avx2, avx512; auto used");
}

static void read_memory(const Reader *r)
{
    g_autofree char *resident = get_value(r, "memory", "resident");
    if (resident != NULL && strcmp(resident, "always") == 0)
        r->config->resident = INK_RESIDENT_ALWAYS;
    else if (resident != NULL && strcmp(resident, "on-demand") == 0)
        r->config->resident = INK_RESIDENT_ON_DEMAND;
    else if (resident != NULL && strcmp(resident, "auto") != 0)
        warn(r, line_of(r, "memory", "resident"),
             "resident: not one of auto, always, on-demand; auto used");

    uint32_t minutes = INK_LIMIT_IDLE_MINUTES, mib = DEFAULT_KV_MIB;
    uint32_t session_minutes = INK_LIMIT_SESSION_MINUTES;
    read_number(r, "memory", "idle-minutes", 1, INK_LIMIT_IDLE_MINUTES_MAX, &minutes);
    read_number(r, "memory", "max-kv-mib", MIN_KV_MIB, MAX_KV_MIB, &mib);
    r->config->idle_usec = (uint64_t)minutes * USEC_PER_MINUTE;
    r->config->max_kv_bytes = (uint64_t)mib << 20;
    read_number(r, "memory", "session-idle-minutes", 1, INK_LIMIT_IDLE_MINUTES_MAX,
                &session_minutes);
    r->config->session_idle_usec = (uint64_t)session_minutes * USEC_PER_MINUTE;
}

static const struct {
    const char *group, *key;
} keys[] = {
    {"model", "model"},
    {"model", "threads"},
    {"model", "isa"},
    {"memory", "resident"},
    {"memory", "idle-minutes"},
    {"memory", "max-kv-mib"},
    {"memory", "session-idle-minutes"},
};

static bool is_known(const char *group, const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (strcmp(keys[i].group, group) == 0 && (key == NULL || strcmp(keys[i].key, key) == 0))
            return true;
    return false;
}

static void report_unknown(const Reader *r)
{
    char shown[MAX_NAME_SHOWN + 1], shown_group[MAX_NAME_SHOWN + 1];
    g_auto(GStrv) groups = g_key_file_get_groups(r->file, NULL);
    for (size_t i = 0; groups[i] != NULL; i++) {
        printable(groups[i], shown_group);
        if (!is_known(groups[i], NULL)) {
            warn(r, line_of(r, groups[i], NULL), "unknown group [%s]; known: [model], [memory]",
                 shown_group);
            continue;
        }
        g_auto(GStrv) names = g_key_file_get_keys(r->file, groups[i], NULL, NULL);
        for (size_t j = 0; names != NULL && names[j] != NULL; j++) {
            if (is_known(groups[i], names[j]))
                continue;
            printable(names[j], shown);
            warn(r, line_of(r, groups[i], names[j]), "unknown key %s in [%s]; ignored", shown,
                 shown_group);
        }
    }
}

void ink_config_init(InkConfig *c)
{
    *c = (InkConfig){
        .idle_usec = (uint64_t)INK_LIMIT_IDLE_MINUTES * USEC_PER_MINUTE,
        .max_kv_bytes = (uint64_t)DEFAULT_KV_MIB << 20,
        .session_idle_usec = (uint64_t)INK_LIMIT_SESSION_MINUTES * USEC_PER_MINUTE,
    };
}

void ink_config_parse(InkConfig *c, const char *text, size_t n_bytes, InkConfigWarn *warn_func,
                      void *userdata)
{
    ink_config_init(c);
    g_autoptr(GKeyFile) file = g_key_file_new();
    Reader reader = {.config = c,
                     .text = text,
                     .n_bytes = n_bytes,
                     .file = file,
                     .warn = warn_func,
                     .userdata = userdata};
    if (memchr(text, '\0', n_bytes) != NULL) {
        warn(&reader, 0, "not a text file; all defaults used");
        return;
    }
    /* GLib's message could quote the file, so that only its kind is told. */
    if (n_bytes > 0 && !g_key_file_load_from_data(file, text, n_bytes, G_KEY_FILE_NONE, NULL)) {
        warn(&reader, bad_line(&reader),
             "not a key file ([group], then key=value lines); all defaults used");
        return;
    }
    report_unknown(&reader);
    read_model(&reader);
    read_memory(&reader);
}

void ink_config_read(InkConfig *c, const char *path, InkConfigWarn *warn_func, void *userdata)
{
    ink_config_init(c);
    Reader reader = {.config = c, .warn = warn_func, .userdata = userdata};
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        if (errno != ENOENT)
            warn(&reader, 0, "cannot be opened: %s; all defaults used", strerror(errno));
        return;
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > INK_CONFIG_MAX_BYTES) {
        warn(&reader, 0, "not a regular file of up to %u KiB; all defaults used",
             INK_CONFIG_MAX_BYTES >> 10);
        return;
    }
    _cleanup_free_ char *text = ink_alloc_array(INK_CONFIG_MAX_BYTES, 1);
    size_t n = 0;
    ssize_t got = text == NULL ? -1 : 1;
    while (got > 0 && n < INK_CONFIG_MAX_BYTES) {
        got = read(fd, text + n, INK_CONFIG_MAX_BYTES - n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (got < 0)
        warn(&reader, 0, "cannot be read; all defaults used");
    else
        ink_config_parse(c, text, n, warn_func, userdata);
}

static void keep_first(void *userdata, const char *message)
{
    char *first = userdata;
    if (first[0] == '\0')
        snprintf(first, INK_ERROR_MESSAGE_BYTES, "%s", message);
}

int ink_config_reload(const char *path, InkConfig *ret, InkError *reterr)
{
    char first[INK_ERROR_MESSAGE_BYTES] = "";
    InkConfig config;
    ink_config_read(&config, path, keep_first, first);
    INK_CHECK(first[0] == '\0', EINVAL, reterr, "inkling.conf: %.160s; nothing was changed", first);
    *ret = config;
    return 0;
}
