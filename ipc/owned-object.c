/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/owned-object.h"

#include <string.h>
#include <sys/random.h>

#include "engine/base/alloc.h"

int ink_owned_path(const char *folder, const char *sender, const char *token, char letter,
                   char **ret, InkError *reterr)
{
    char random_token[24];
    if (token == NULL) {
        uint64_t random;
        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
            return INK_RAISE(ENOMEM, reterr, "no random numbers for a path");
        snprintf(random_token, sizeof(random_token), "%c%016llx", letter,
                 (unsigned long long)random);
        token = random_token;
    }
    _cleanup_buffer_ InkBuffer path = INK_BUFFER_INIT;
    ink_buffer_printf(&path, "%s/", folder);
    for (const char *p = sender; *p != '\0'; p++)
        if (*p != ':')
            ink_buffer_append_char(&path, *p == '.' ? '_' : *p);
    ink_buffer_printf(&path, "/%s", token);
    INK_CHECK(ink_buffer_status(&path) == 0, ENOMEM, reterr, "out of memory for a path");
    *ret = ink_buffer_take(&path);
    return 0;
}

const char *ink_owned_current_sender(sd_bus *bus)
{
    sd_bus_message *m = sd_bus_get_current_message(bus);
    return m != NULL ? sd_bus_message_get_sender(m) : NULL;
}

void ink_owned_nodes_done(InkOwnedNodes *nodes)
{
    for (size_t i = 0; i < nodes->n; i++)
        free(nodes->paths[i]);
    free(nodes->paths);
    *nodes = INK_OWNED_NODES_INIT;
}

int ink_owned_nodes_add(InkOwnedNodes *nodes, const char *path)
{
    char *copy = ink_memdup(path, strlen(path) + 1);
    char **grown = ink_realloc_array(nodes->paths, nodes->n + 2, sizeof(*grown));
    if (grown != NULL)
        nodes->paths = grown;
    if (copy == NULL || grown == NULL) {
        free(copy);
        return -ENOMEM;
    }
    grown[nodes->n++] = copy;
    grown[nodes->n] = NULL;
    return 0;
}
