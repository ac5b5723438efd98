/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* inkling-worker: started by inklingd with one end of a socket pair. Seals itself before it reads
 * the first byte. Role serve: answers frames until the broker closes its end. Role inspect: looks
 * at one model file and ends. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/inspect.h"
#include "engine/worker/protocol.h"
#include "engine/worker/wire-io.h"

static int usage(void)
{
    fprintf(stderr,
            "usage: inkling-worker --role=serve|inspect --fd=N   (started by inklingd, not by "
            "hand)\n");
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

/* A file that is cut while it is mapped. The call that reads it cannot go on; the broker hears
 * why. Only calls that a handler may make: memory of its own, sendmsg, exit. */
static int inspect_socket = -1;

static void on_bus_error(int number)
{
    InkWireFailed failed = {.header = {.type = INK_INSPECT_FAILED},
                            .code = EBADMSG,
                            .message = "the file changed while it was read, or cannot be read"};
    (void)number;
    (void)!ink_wire_send(inspect_socket, 0, &failed.header, sizeof(failed), NULL, 0, NULL, 0);
    _exit(1);
}

static int run_inspect(int fd, InkError *reterr)
{
    InkSealStatus seal;
    inspect_socket = fd;
    signal(SIGBUS, on_bus_error);
    INK_TRY(ink_seal(INK_SEAL_INSPECT, fd, &seal, reterr));
    return ink_inspect_serve(fd, &seal, reterr);
}

static int run_serve(int fd, InkError *reterr)
{
    InkSealStatus seal;
    INK_TRY(ink_seal(INK_SEAL_WORKER, fd, &seal, reterr));
    return ink_worker_serve(fd, &seal, reterr);
}

int main(int argc, char **argv)
{
    int fd = -1;
    int (*run)(int fd, InkError *reterr) = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--role=serve") == 0)
            run = run_serve;
        else if (strcmp(argv[i], "--role=inspect") == 0)
            run = run_inspect;
        else if (strncmp(argv[i], "--fd=", 5) == 0)
            fd = parse_fd(argv[i] + 5);
        else
            return usage();
    }
    int flags = fd >= 0 ? fcntl(fd, F_GETFL) : -1;
    if (run == NULL || flags < 0)
        return usage();
    InkError e = {0};
    /* Waiting is done in recvmsg itself. */
    if (fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        fprintf(stderr, "inkling-worker: the socket is not usable\n");
        return 1;
    }
    int r = run(fd, &e);
    if (r == 0 || r == -ECONNRESET)
        return 0;
    fprintf(stderr, "inkling-worker: %s\n", e.code != 0 ? e.message : "the connection failed");
    return 1;
}
