/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* inkling-worker: started by inklingd with one end of a socket pair. Seals itself before it reads
 * the first byte, then serves frames until the broker closes its end. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/protocol.h"

static int usage(void)
{
    fprintf(stderr,
            "usage: inkling-worker --role=serve --fd=N   (started by inklingd, not by hand)\n");
    return 2;
}

/* A descriptor number above standard error, or -1. */
static int parse_fd(const char *text)
{
    char *end;
    errno = 0;
    long fd = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && fd > 2 && fd < 1 << 20 ? (int)fd : -1;
}

int main(int argc, char **argv)
{
    int fd = -1;
    bool serve = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--role=serve") == 0)
            serve = true;
        else if (strncmp(argv[i], "--fd=", 5) == 0)
            fd = parse_fd(argv[i] + 5);
        else
            return usage();
    }
    int flags = fd >= 0 ? fcntl(fd, F_GETFL) : -1;
    if (!serve || flags < 0)
        return usage();
    InkError e = {0};
    InkSealStatus seal;
    /* Waiting is done in recvmsg itself. */
    if (fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
        ink_seal(INK_SEAL_WORKER, fd, &seal, &e) < 0) {
        fprintf(stderr, "inkling-worker: %s\n",
                e.code != 0 ? e.message : "the socket is not usable");
        return 1;
    }
    int r = ink_worker_serve(fd, &seal, &e);
    if (r == -ECONNRESET)
        return 0;
    fprintf(stderr, "inkling-worker: %s\n", e.code != 0 ? e.message : "the connection failed");
    return 1;
}
