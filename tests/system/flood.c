/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* flood N: sends N calls of all kinds, cheap and expensive, as fast as the bus takes them, and
 * never reads an answer; then waits, on another connection, until the service is through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "ipc/names.h"

#define LARGE_BYTES   65536u
#define PATIENCE_USEC 120000000u

static char large[LARGE_BYTES + 1];

static int add_arguments(sd_bus_message *m, unsigned i)
{
    switch (i % 8) {
    case 0:
        return sd_bus_message_append(m, "sa{sv}", "Once upon a time", 1, "max-tokens", "u", 64);
    case 1:
        return sd_bus_message_append(m, "sa{sv}", i % 64 == 1 ? large : "Twice", 1, "priority", "s",
                                     "background");
    case 2:
        return sd_bus_message_append(m, "sa{sv}", "one two three", 0);
    case 3:
        return sd_bus_message_append(m, "s", "no such method");
    case 4:
        return sd_bus_message_append(m, "sa{sv}a{sv}", "command", 1, "cwd", "s", "/", 0);
    case 5:
        return sd_bus_message_append(m, "a{sv}", 0);
    case 6:
        return sd_bus_message_append(m, "sa{sv}a{sv}", "complete", 1, "prompt", "s", "x", 1,
                                     "stream", "s", "delta");
    default:
        return sd_bus_message_append(m, "s", INK_BUS_MANAGER);
    }
}

static int send_one(sd_bus *bus, unsigned i)
{
    static const char *const calls[8][2] = {
        {INK_BUS_TEXT, "Complete"},     {INK_BUS_TEXT, "Complete"},
        {INK_BUS_TEXT, "CountTokens"},  {INK_BUS_TEXT, "Nothing"},
        {INK_BUS_RECOMMEND, "Suggest"}, {INK_BUS_MANAGER, "ListRequests"},
        {INK_BUS_TEXT, "Start"},        {"org.freedesktop.DBus.Properties", "GetAll"},
    };
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    uint64_t cookie;
    INK_TRY(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, calls[i % 8][0],
                                           calls[i % 8][1]));
    INK_TRY(add_arguments(m, i));
    INK_TRY(sd_bus_send(bus, m, &cookie));
    return i % 32 == 31 ? sd_bus_flush(bus) : 0;
}

static int flood(unsigned n)
{
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL, *other = NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *ping = NULL;
    INK_TRY(sd_bus_open_user(&bus));
    INK_TRY(sd_bus_open_user(&other));
    uint64_t begin = ink_clock_monotonic_usec();
    for (unsigned i = 0; i < n; i++)
        INK_TRY(send_one(bus, i));
    INK_TRY(sd_bus_flush(bus));
    uint64_t sent = ink_clock_monotonic_usec();
    INK_TRY(sd_bus_message_new_method_call(other, &ping, INK_BUS_NAME, INK_BUS_PATH,
                                           "org.freedesktop.DBus.Peer", "Ping"));
    INK_TRY(sd_bus_call(other, ping, PATIENCE_USEC, NULL, NULL));
    uint64_t end = ink_clock_monotonic_usec();
    printf("flood: %u calls sent in %.1f s, the service was through %.1f s later\n", n,
           (double)(sent - begin) / 1e6, (double)(end - sent) / 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    memset(large, 'x', LARGE_BYTES);
    int r = flood(argc > 1 ? (unsigned)atoi(argv[1]) : 1000);
    if (r < 0)
        fprintf(stderr, "flood: %s\n", strerror(-r));
    return r < 0;
}
