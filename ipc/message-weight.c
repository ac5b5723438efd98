/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/message-weight.h"

#include <string.h>

/* The protocol allows 64 levels of arrays and structs; variants count, too. */
#define MAX_DEPTH     64u
/* What an element is counted as at least: it costs time to walk over, also where it is a byte. */
#define ELEMENT_BYTES 8u

typedef struct Scale {
    sd_bus_message *m;
    size_t max_bytes, n_bytes;
} Scale;

static int add(Scale *s, size_t n_bytes)
{
    if (n_bytes > s->max_bytes - s->n_bytes)
        return -E2BIG;
    s->n_bytes += n_bytes;
    return 0;
}

static int weigh_basic(Scale *s, char type)
{
    const char *text = "";
    if (type != SD_BUS_TYPE_STRING && type != SD_BUS_TYPE_OBJECT_PATH &&
        type != SD_BUS_TYPE_SIGNATURE) {
        INK_TRY(sd_bus_message_skip(s->m, (char[]){type, '\0'}));
        return add(s, ELEMENT_BYTES);
    }
    INK_TRY(sd_bus_message_read_basic(s->m, type, &text));
    return add(s, strlen(text) + ELEMENT_BYTES);
}

static bool is_block(char type, const char *contents)
{
    return type == SD_BUS_TYPE_ARRAY && contents != NULL && contents[0] != '\0' &&
           contents[1] == '\0' && strchr("ynqiuxtd", contents[0]) != NULL;
}

/* What is left of the container that the message stands in. */
static int weigh(Scale *s, unsigned depth)
{
    char type;
    const char *contents;
    if (depth > MAX_DEPTH)
        return -E2BIG;
    for (int r; (r = sd_bus_message_peek_type(s->m, &type, &contents)) != 0;) {
        if (r < 0)
            return r;
        if (is_block(type, contents)) {
            const void *data;
            size_t n_bytes;
            INK_TRY(sd_bus_message_read_array(s->m, contents[0], &data, &n_bytes));
            INK_TRY(add(s, n_bytes));
        } else if (contents != NULL) {
            INK_TRY(add(s, ELEMENT_BYTES));
            INK_TRY(sd_bus_message_enter_container(s->m, type, contents));
            INK_TRY(weigh(s, depth + 1));
            INK_TRY(sd_bus_message_exit_container(s->m));
        } else {
            INK_TRY(weigh_basic(s, type));
        }
    }
    return 0;
}

int ink_message_weigh(sd_bus_message *m, size_t max_bytes, size_t *ret_bytes)
{
    Scale s = {.m = m, .max_bytes = max_bytes};
    INK_TRY(sd_bus_message_rewind(m, true));
    int r = weigh(&s, 0);
    INK_TRY(sd_bus_message_rewind(m, true));
    if (r < 0)
        return r == -E2BIG ? r : -EBADMSG;
    *ret_bytes = s.n_bytes;
    return 0;
}
