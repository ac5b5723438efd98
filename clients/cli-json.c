/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* An a{sv} of the service as a JSON object with the same keys: what --json prints, and what the
 * verbs take their columns from. */
#include "clients/cli.h"

#include <inttypes.h>
#include <string.h>

static int read_value(sd_bus_message *m, json_t **ret);

static int read_array(sd_bus_message *m, const char *contents, json_t **ret)
{
    bool is_dict = contents[0] == '{';
    json_t *list = is_dict ? json_object() : json_array();
    int r = sd_bus_message_enter_container(m, 'a', contents);
    while (r > 0 && list != NULL) {
        const char *key = NULL;
        json_t *item = NULL;
        char inner[256];
        if (is_dict) { /* "{st}": the contents of an entry are "st" */
            snprintf(inner, sizeof(inner), "%.*s", (int)strlen(contents) - 2, contents + 1);
            r = sd_bus_message_enter_container(m, 'e', inner);
            if (r > 0)
                r = sd_bus_message_read(m, "s", &key);
        }
        if (r > 0)
            r = read_value(m, &item);
        if (r > 0 && is_dict)
            r = sd_bus_message_exit_container(m);
        if (r <= 0 || item == NULL) {
            json_decref(item);
            break;
        }
        if (is_dict)
            json_object_set_new(list, key, item);
        else
            json_array_append_new(list, item);
        r = 1;
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    *ret = list;
    return r < 0 ? r : 1;
}

static int read_variant(sd_bus_message *m, const char *contents, json_t **ret)
{
    int r = sd_bus_message_enter_container(m, 'v', contents);
    if (r > 0)
        r = read_value(m, ret);
    return r > 0 ? sd_bus_message_exit_container(m) : r;
}

static json_t *basic(char type, const void *value)
{
    uint64_t t;
    uint32_t u;
    int b;
    double d;
    const char *s;
    switch (type) {
    case 't':
        memcpy(&t, value, sizeof(t));
        return json_integer(t <= INT64_MAX ? (json_int_t)t : INT64_MAX);
    case 'u':
        memcpy(&u, value, sizeof(u));
        return json_integer(u);
    case 'b':
        memcpy(&b, value, sizeof(b));
        return json_boolean(b);
    case 'd':
        memcpy(&d, value, sizeof(d));
        return json_real(d);
    case 's':
    case 'o':
        memcpy(&s, value, sizeof(s));
        return json_string(s);
    default:
        return NULL;
    }
}

/* 1 = read, 0 = nothing left. Nesting is bounded by the bus. */
static int read_value(sd_bus_message *m, json_t **ret)
{
    char type;
    const char *contents;
    uint64_t value = 0;
    int r = sd_bus_message_peek_type(m, &type, &contents);
    if (r <= 0)
        return r;
    if (type == 'a')
        return read_array(m, contents, ret);
    if (type == 'v')
        return read_variant(m, contents, ret);
    if (strchr("tubdso", type) == NULL)
        return -EPROTO;
    r = sd_bus_message_read_basic(m, type, &value);
    if (r > 0)
        *ret = basic(type, &value);
    return r;
}

json_t *cli_read_json(sd_bus_message *m)
{
    json_t *value = NULL;
    if (read_value(m, &value) > 0)
        return value;
    json_decref(value);
    return NULL;
}

const char *cli_json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

uint64_t cli_json_number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

int cli_print_json(const Cli *cli, const json_t *value)
{
    if (json_dumpf(value, stdout, JSON_COMPACT) < 0)
        return CLI_FAILED;
    putchar('\n');
    return cli_flush(cli);
}
