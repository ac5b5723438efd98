/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Every block that this process frees is zeroed first, whoever frees it. What people write passes
 * through buffers of sd-bus that grow by realloc, and those leave copies behind that nobody could
 * wipe otherwise. Linked into inklingd only: it replaces free and realloc of the C library, which
 * allows that ("Replacing malloc" in its manual) and keeps its own under the names below.
 *
 * Cost: one pass over what is freed, some microseconds a request.
 * Thread: as the functions replaced. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* A sanitizer has an allocator of its own. */
#if !defined(__SANITIZE_ADDRESS__)

extern void __libc_free(void *p);

__attribute__((visibility("default"))) void free(void *p)
{
    if (p == NULL)
        return;
    int error = errno;
    explicit_bzero(p, malloc_usable_size(p));
    __libc_free(p);
    errno = error;
}

/* Never in the C library's own way, which moves a block and leaves the old one as it is. */
__attribute__((visibility("default"))) void *realloc(void *p, size_t n_bytes)
{
    if (p == NULL)
        return malloc(n_bytes);
    if (n_bytes == 0) {
        free(p);
        return NULL;
    }
    size_t room = malloc_usable_size(p);
    if (n_bytes <= room && n_bytes >= room / 2)
        return p;
    void *moved = malloc(n_bytes);
    if (moved == NULL)
        return NULL;
    memcpy(moved, p, n_bytes < room ? n_bytes : room);
    free(p);
    return moved;
}

#endif
