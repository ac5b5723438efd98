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
    GKeyFile *file;
    InkConfigWarn *warn;
    void *userdata;
} Reader;

static void warn(const Reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(const Reader *r, const char *format, ...)
{
    char message[INK_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    r->warn(r->userdata, message);
}

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
        warn(r, "%s: not a name of up to %zu letters, digits and -_.+; default used", key,
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
        warn(r, "%s: not a whole number from %u to %u; %u used", key, min, max, *out);
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
    warn(r, "isa: not one of auto, ref, avx2, avx512; auto used");
}

static void read_memory(const Reader *r)
{
    g_autofree char *resident = get_value(r, "memory", "resident");
    if (resident != NULL && strcmp(resident, "always") == 0)
        r->config->resident = true;
    else if (resident != NULL && strcmp(resident, "auto") != 0)
        warn(r, "resident: not one of auto, always; auto used");

    uint32_t minutes = INK_LIMIT_IDLE_MINUTES, mib = DEFAULT_KV_MIB;
    read_number(r, "memory", "idle-minutes", 1, INK_LIMIT_IDLE_MINUTES_MAX, &minutes);
    read_number(r, "memory", "max-kv-mib", MIN_KV_MIB, MAX_KV_MIB, &mib);
    r->config->idle_usec = (uint64_t)minutes * USEC_PER_MINUTE;
    r->config->max_kv_bytes = (uint64_t)mib << 20;
}

static const struct {
    const char *group, *key;
} keys[] = {
    {"model", "model"},     {"model", "threads"},       {"model", "isa"},
    {"memory", "resident"}, {"memory", "idle-minutes"}, {"memory", "max-kv-mib"},
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
            warn(r, "unknown group [%s]; known: [model], [memory]", shown_group);
            continue;
        }
        g_auto(GStrv) names = g_key_file_get_keys(r->file, groups[i], NULL, NULL);
        for (size_t j = 0; names != NULL && names[j] != NULL; j++) {
            if (is_known(groups[i], names[j]))
                continue;
            printable(names[j], shown);
            warn(r, "unknown key %s in [%s]; ignored", shown, shown_group);
        }
    }
}

void ink_config_init(InkConfig *c)
{
    *c = (InkConfig){
        .idle_usec = (uint64_t)INK_LIMIT_IDLE_MINUTES * USEC_PER_MINUTE,
        .max_kv_bytes = (uint64_t)DEFAULT_KV_MIB << 20,
    };
}

void ink_config_parse(InkConfig *c, const char *text, size_t n_bytes, InkConfigWarn *warn_func,
                      void *userdata)
{
    ink_config_init(c);
    g_autoptr(GKeyFile) file = g_key_file_new();
    Reader reader = {.config = c, .file = file, .warn = warn_func, .userdata = userdata};
    if (memchr(text, '\0', n_bytes) != NULL) {
        warn(&reader, "not a text file; all defaults used");
        return;
    }
    /* GLib's message could quote the file, so that only its kind is told. */
    if (n_bytes > 0 && !g_key_file_load_from_data(file, text, n_bytes, G_KEY_FILE_NONE, NULL)) {
        warn(&reader, "not a key file ([group], then key=value lines); all defaults used");
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
            warn(&reader, "cannot be opened: %s; all defaults used", strerror(errno));
        return;
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > INK_CONFIG_MAX_BYTES) {
        warn(&reader, "not a regular file of up to %u KiB; all defaults used",
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
        warn(&reader, "cannot be read; all defaults used");
    else
        ink_config_parse(c, text, n, warn_func, userdata);
}
