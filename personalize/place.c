/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/place.h"

#include <stdbool.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %00 and broken escapes stay as they are. */
static char *percent_decode(const char *text, size_t n)
{
    char *decoded = ink_alloc_array(n + 1, 1);
    if (decoded == NULL)
        return NULL;
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        int high = text[i] == '%' && n - i > 2 ? hex_value(text[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text[i + 2]) : -1;
        if (low >= 0 && high * 16 + low != 0) {
            decoded[n_out++] = (char)(high * 16 + low);
            i += 2;
        } else {
            decoded[n_out++] = text[i];
        }
    }
    decoded[n_out] = '\0';
    return decoded;
}

char *ink_place_of(const char *path_or_uri)
{
    static const char scheme[] = "file://";
    if (path_or_uri == NULL)
        return ink_memdup("", 1);
    bool is_uri = strncmp(path_or_uri, scheme, sizeof(scheme) - 1) == 0;
    const char *path = path_or_uri;
    if (is_uri)
        path = strchr(path_or_uri + sizeof(scheme) - 1, '/'); /* a host, if any, lies between */
    if (path == NULL || path[0] != '/')
        return ink_memdup("", 1);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (is_uri)
        return percent_decode(path, n);
    char *place = ink_alloc_array(n + 1, 1);
    if (place != NULL)
        memcpy(place, path, n);
    return place;
}

char *ink_place_name(const char *path_or_uri)
{
    size_t n = strlen(path_or_uri);
    while (n > 1 && path_or_uri[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && path_or_uri[begin - 1] != '/')
        begin--;
    const char *name = path_or_uri + begin;
    size_t n_name = n - begin;
    char *decoded = percent_decode(name, n_name);
    if (decoded == NULL || ink_utf8_valid(decoded, strlen(decoded)))
        return decoded;
    memcpy(decoded, name, n_name); /* decoding only shrinks, so it fits */
    decoded[n_name] = '\0';
    return decoded;
}
