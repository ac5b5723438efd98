/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What a sandbox or a desktop may have written, by the first byte: .flatpak-info, security label,
 * cgroup, path of a program. Whatever is taken for an id is one, and one of its own kind: no text
 * makes a sandboxed application a host program, or the other way round. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void require_kind(const InkIdentityName name, InkCallerKind kind)
{
    InkCallerKind found;
    require(memchr(name, '\0', sizeof(InkIdentityName)) != NULL);
    require(ink_identity_kind_of(name, &found) == 0 && found == kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    InkIdentityName name;
    InkCallerKind kind;
    if (n_bytes == 0)
        return 0;
    /* Copies of the exact size, so that a sanitizer sees what is read behind the end. */
    size_t n = n_bytes - 1;
    char *text = malloc(n), *string = malloc(n_bytes);
    require((text != NULL || n == 0) && string != NULL);
    if (n > 0)
        memcpy(text, data + 1, n);
    memcpy(string, data + 1, n);
    string[n] = '\0';
    memset(name, 'x', sizeof(name));
    switch (data[0] % 5) {
    case 0:
        if (ink_identity_parse_flatpak(text, n, name) == 0)
            require_kind(name, INK_CALLER_FLATPAK);
        break;
    case 1:
        if (ink_identity_parse_label(string, name) == 0)
            require_kind(name, INK_CALLER_SNAP);
        break;
    case 2:
        if (ink_identity_parse_cgroup(text, n, name) == 0)
            require_kind(name, INK_CALLER_HOST);
        break;
    case 3:
        ink_identity_name_program(string, name);
        require_kind(name, INK_CALLER_HOST);
        break;
    default:
        if (ink_identity_kind_of(string, &kind) == 0)
            require(strlen(string) <= INK_IDENTITY_MAX_BYTES && strchr(string, '/') == NULL);
    }
    free(text);
    free(string);
    return 0;
}
