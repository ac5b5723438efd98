/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/base/network-probe.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    int family, type;
} sockets[] = {
    {AF_INET, SOCK_STREAM},  {AF_INET, SOCK_DGRAM},    {AF_INET6, SOCK_STREAM},
    {AF_INET6, SOCK_DGRAM},  {AF_NETLINK, SOCK_RAW},   {AF_PACKET, SOCK_RAW},
    {AF_VSOCK, SOCK_STREAM}, {AF_BLUETOOTH, SOCK_RAW},
};
#define N_SOCKETS (sizeof(sockets) / sizeof(sockets[0]))
_Static_assert(N_SOCKETS + 1 == INK_NETWORK_TRIES, "one name for each try");

const char *const ink_network_tries[INK_NETWORK_TRIES] = {
    "socket AF_INET, stream",    "socket AF_INET, datagram", "socket AF_INET6, stream",
    "socket AF_INET6, datagram", "socket AF_NETLINK",        "socket AF_PACKET",
    "socket AF_VSOCK",           "socket AF_BLUETOOTH",      "io_uring_setup",
};

static int outcome(int fd)
{
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

void ink_network_probe(int errors[INK_NETWORK_TRIES])
{
    for (size_t i = 0; i < N_SOCKETS; i++)
        errors[i] = outcome(socket(sockets[i].family, sockets[i].type | SOCK_CLOEXEC, 0));
    unsigned char parameters[120]; /* struct io_uring_params of the kernel */
    memset(parameters, 0, sizeof(parameters));
    errors[N_SOCKETS] = outcome((int)syscall(SYS_io_uring_setup, 4, parameters));
}
