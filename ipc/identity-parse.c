/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The parsers behind identity.h. They are given what a hostile process may have written. */
#include "ipc/identity.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_made_of(const char *text, size_t n, const char *more)
{
    for (size_t i = 0; i < n; i++)
        if (!is_letter(text[i]) && !is_digit(text[i]) &&
            (text[i] == '\0' || strchr(more, text[i]) == NULL))
            return false;
    return n > 0;
}

/* As Flatpak and D-Bus have it; Flatpak itself asks for two dots. */
static bool is_flatpak_id(const char *id, size_t n)
{
    size_t n_dots = 0;
    if (n > INK_IDENTITY_MAX_BYTES || !is_made_of(id, n, "._-") ||
        (n >= 5 && memcmp(id, "snap.", 5) == 0))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool is_first = i == 0 || id[i - 1] == '.';
        if (is_first && (id[i] == '.' || is_digit(id[i])))
            return false;
        n_dots += id[i] == '.';
    }
    return n_dots > 0 && id[n - 1] != '.';
}

static bool is_snap_name(const char *name, size_t n)
{
    if (n > 64)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(name[i] >= 'a' && name[i] <= 'z') && !is_digit(name[i]) && name[i] != '-' &&
            name[i] != '_')
            return false;
    return n > 0;
}

/* ------------------------------------------------------------ .flatpak-info */

typedef enum Group {
    GROUP_OTHER,
    GROUP_APPLICATION,
    GROUP_INSTANCE,
    GROUP_RUNTIME,
    N_GROUPS
} Group;

typedef struct Info {
    Group group;
    bool seen[N_GROUPS];
    const char *name[N_GROUPS]; /* of name= or instance-id=; NULL = none yet */
    size_t n_name[N_GROUPS];
} Info;

static int read_group(Info *info, const char *line, size_t n)
{
    static const char *const groups[N_GROUPS] = {
        [GROUP_APPLICATION] = "[Application]",
        [GROUP_INSTANCE] = "[Instance]",
        [GROUP_RUNTIME] = "[Runtime]",
    };
    if (n < 3 || line[n - 1] != ']' || memchr(line + 1, ']', n - 2) != NULL)
        return -EBADMSG;
    info->group = GROUP_OTHER;
    for (size_t i = 1; i < N_GROUPS; i++)
        if (strlen(groups[i]) == n && memcmp(groups[i], line, n) == 0) {
            if (info->seen[i])
                return -EBADMSG; /* readers differ on which one holds */
            info->seen[i] = true;
            info->group = (Group)i;
        }
    return 0;
}

static int read_key(Info *info, const char *line, size_t n)
{
    const char *equals = memchr(line, '=', n);
    if (equals == NULL || equals == line)
        return -EBADMSG;
    size_t n_key = (size_t)(equals - line), n_value = n - n_key - 1;
    const char *value = equals + 1,
               *wanted = info->group == GROUP_INSTANCE ? "instance-id" : "name";
    while (n_key > 0 && line[n_key - 1] == ' ')
        n_key--;
    while (n_value > 0 && *value == ' ') {
        value++;
        n_value--;
    }
    if (info->group == GROUP_OTHER || n_key != strlen(wanted) || memcmp(line, wanted, n_key) != 0)
        return 0;
    if (info->name[info->group] != NULL)
        return -EBADMSG;
    info->name[info->group] = value;
    info->n_name[info->group] = n_value;
    return 0;
}

int ink_identity_parse_flatpak(const char *text, size_t n_bytes, InkIdentityName out)
{
    Info info = {0};
    bool has_group = false;
    if (n_bytes > INK_IDENTITY_MAX_FILE_BYTES || memchr(text, '\0', n_bytes) != NULL ||
        !ink_utf8_valid(text, n_bytes))
        return -EBADMSG;
    for (size_t at = 0; at < n_bytes;) {
        const char *line = text + at, *end = memchr(line, '\n', n_bytes - at);
        size_t n = end != NULL ? (size_t)(end - line) : n_bytes - at;
        at += n + 1;
        if (n == 0 || line[0] == '#')
            continue;
        if (line[0] != '[' && !has_group)
            return -EBADMSG;
        has_group = true;
        int r = line[0] == '[' ? read_group(&info, line, n) : read_key(&info, line, n);
        if (r < 0)
            return r;
    }
    Group g = info.seen[GROUP_APPLICATION] ? GROUP_APPLICATION : GROUP_RUNTIME;
    if (info.name[g] == NULL || !is_flatpak_id(info.name[g], info.n_name[g]))
        return -EBADMSG;
    const char *instance = info.name[GROUP_INSTANCE];
    if (info.seen[GROUP_INSTANCE] &&
        (instance == NULL || !is_made_of(instance, info.n_name[GROUP_INSTANCE], "._-")))
        return -EBADMSG;
    memcpy(out, info.name[g], info.n_name[g]);
    out[info.n_name[g]] = '\0';
    return 0;
}

/* --------------------------------------------------------------------- snap */

/* "snap.NAME.APP" or "snap.NAME.hook.HOOK", then perhaps " (enforce)". */
int ink_identity_parse_label(const char *label, InkIdentityName out)
{
    size_t n = strcspn(label, " \n");
    if (strncmp(label, "snap.", 5) != 0)
        return -ENOENT;
    const char *name = label + 5, *dot = memchr(name, '.', n - 5);
    if (dot == NULL || !is_snap_name(name, (size_t)(dot - name)) ||
        !is_made_of(dot + 1, n - (size_t)(dot + 1 - label), "._-"))
        return -EBADMSG;
    snprintf(out, sizeof(InkIdentityName), "snap.%.*s", (int)(dot - name), name);
    return 0;
}

/* ------------------------------------------------------------------- cgroup */

static int hex_digit(char c)
{
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* systemd's \x2d and the like; -1 when it is none or gives a character that no id has. */
static int unescape(const char *text, size_t n, InkIdentityName out, size_t off)
{
    size_t to = off;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\\') {
            if (n - i < 4 || text[i + 1] != 'x' || hex_digit(text[i + 2]) < 0 ||
                hex_digit(text[i + 3]) < 0)
                return -1;
            c = (char)(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
            i += 3;
        }
        if (to >= INK_IDENTITY_MAX_BYTES || !is_made_of(&c, 1, "._-"))
            return -1;
        out[to++] = c;
    }
    out[to] = '\0';
    return to > off ? 0 : -1;
}

static bool ends_with(const char *text, size_t n, const char *end)
{
    size_t n_end = strlen(end);
    return n > n_end && memcmp(text + n - n_end, end, n_end) == 0;
}

static bool is_all_digits(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_digit(text[i]))
            return false;
    return n > 0;
}

/* "app-[LAUNCHER-]APPID-RANDOM.scope", "app-[LAUNCHER-]APPID[@RANDOM].service" and, as some write
 * them, "...-DIGITS.service". A dash inside of a part is written \x2d. */
static int parse_app_unit(const char *unit, size_t n, InkIdentityName out)
{
    bool is_scope = ends_with(unit, n, ".scope");
    const char *begin = unit + 4, *end = unit + n - (is_scope ? 6 : 8);
    const char *at = memchr(begin, '@', (size_t)(end - begin));
    if (at != NULL)
        end = at;
    const char *last = memrchr(begin, '-', (size_t)(end - begin));
    if (is_scope && last == NULL)
        return -ENOENT;
    if (last != NULL &&
        (is_scope || (at == NULL && is_all_digits(last + 1, (size_t)(end - last - 1)))))
        end = last;
    const char *first = memchr(begin, '-', (size_t)(end - begin));
    if (first != NULL)
        begin = first + 1;
    memcpy(out, "app:", 5);
    return begin < end && unescape(begin, (size_t)(end - begin), out, 4) == 0 ? 0 : -ENOENT;
}

/* The innermost unit of a path below the user manager's. */
static int parse_unit_path(const char *path, size_t n, InkIdentityName out)
{
    const char *unit = NULL, *end = path + n;
    size_t n_unit = 0;
    bool below_manager = false;
    for (const char *p = path; p < end;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t n_part = slash != NULL ? (size_t)(slash - p) : (size_t)(end - p);
        if (below_manager && (ends_with(p, n_part, ".service") || ends_with(p, n_part, ".scope"))) {
            unit = p;
            n_unit = n_part;
        }
        below_manager |=
            n_part > 13 && memcmp(p, "user@", 5) == 0 && ends_with(p, n_part, ".service");
        p += n_part + 1;
    }
    if (unit == NULL)
        return -ENOENT;
    if (n_unit > 4 && memcmp(unit, "app-", 4) == 0)
        return parse_app_unit(unit, n_unit, out);
    /* What a bus starts without a unit of its own would all be one. */
    bool is_bus = strncmp(unit, "dbus.service", n_unit) == 0 ||
                  strncmp(unit, "dbus-broker.service", n_unit) == 0;
    if (!ends_with(unit, n_unit, ".service") || is_bus || !is_made_of(unit, n_unit, "._-:@\\") ||
        n_unit > INK_IDENTITY_MAX_BYTES - 5)
        return -ENOENT;
    snprintf(out, sizeof(InkIdentityName), "unit:%.*s", (int)n_unit, unit);
    return 0;
}

int ink_identity_parse_cgroup(const char *text, size_t n_bytes, InkIdentityName out)
{
    static const char *const hierarchies[] = {"0::", "1:name=systemd:"};
    if (memchr(text, '\0', n_bytes) != NULL)
        return -ENOENT;
    for (size_t h = 0; h < 2; h++)
        for (size_t at = 0; at < n_bytes;) {
            const char *line = text + at, *end = memchr(line, '\n', n_bytes - at);
            size_t n = end != NULL ? (size_t)(end - line) : n_bytes - at, skip;
            at += n + 1;
            skip = strlen(hierarchies[h]);
            InkIdentityName found;
            if (n > skip && memcmp(line, hierarchies[h], skip) == 0 &&
                parse_unit_path(line + skip, n - skip, found) == 0) {
                memcpy(out, found, sizeof(found));
                return 0;
            }
        }
    return -ENOENT;
}

/* ------------------------------------------------------------------ program */

/* The name stands in tables, messages and commands: what moves the cursor, or is a blank that is no
 * space, would let a program draw the line of another one. */
static bool is_of_program_name(uint32_t c)
{
    return ink_utf8_is_printable(c) && c != 0xA0 && c != 0xAD && c != 0x1680 && c != 0x180E &&
           !(c >= 0x2000 && c <= 0x200F) && !(c >= 0x202F && c <= 0x206F) && c != 0x2800 &&
           c != 0x3000 && c != 0x3164 && c != 0xFEFF;
}

static bool is_single_space(const char *text, size_t n, size_t at)
{
    return at > 0 && at + 1 < n && text[at - 1] != ' ' && text[at + 1] != ' ';
}

void ink_identity_name_program(const char *path, InkIdentityName out)
{
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    /* the file was replaced while it ran */
    const char *deleted = strstr(base, " (deleted)");
    size_t n = deleted != NULL ? (size_t)(deleted - base) : strlen(base);
    if (n > 64)
        n = 64;
    n -= ink_utf8_torn_tail(base, n);
    if (n == 0 || !ink_utf8_valid(base, n)) {
        base = INK_IDENTITY_UNKNOWN;
        n = strlen(base);
    }
    memcpy(out, "exe:", 5);
    size_t n_out = 4;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t n_char = ink_utf8_decode(base + i, n - i, &c);
        bool plain = is_of_program_name(c) && (c != ' ' || is_single_space(base, n, i));
        if (plain)
            memcpy(out + n_out, base + i, n_char);
        else
            out[n_out] = '_';
        n_out += plain ? n_char : 1;
        i += n_char;
    }
    out[n_out] = '\0';
}

/* ---------------------------------------------------------------------- ids */

int ink_identity_kind_of(const char *app_id, InkCallerKind *ret_kind)
{
    size_t n = strnlen(app_id, INK_IDENTITY_MAX_BYTES + 1);
    if (n > INK_IDENTITY_MAX_BYTES || !ink_utf8_all_printable(app_id, n) ||
        memchr(app_id, '/', n) != NULL)
        return -EINVAL;
    InkCallerKind kind = INK_CALLER_HOST;
    bool valid = false;
    if (strcmp(app_id, INK_IDENTITY_UNKNOWN) == 0) {
        kind = INK_CALLER_UNKNOWN;
        valid = true;
    } else if (strncmp(app_id, "exe:", 4) == 0)
        valid = n > 4;
    else if (strncmp(app_id, "app:", 4) == 0)
        valid = is_made_of(app_id + 4, n - 4, "._-");
    else if (strncmp(app_id, "unit:", 5) == 0)
        valid = is_made_of(app_id + 5, n - 5, "._-:@\\");
    else if (strncmp(app_id, "snap.", 5) == 0) {
        kind = INK_CALLER_SNAP;
        valid = is_snap_name(app_id + 5, n - 5);
    } else {
        kind = INK_CALLER_FLATPAK;
        valid = is_flatpak_id(app_id, n);
    }
    if (!valid)
        return -EINVAL;
    *ret_kind = kind;
    return 0;
}
