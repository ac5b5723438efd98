/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Bytes become an a{sv} as sd-bus hands it over (it has checked the marshalling by then): each
 * entry is a key out of ours or out of the bytes, a type and a value. The readers must take it or
 * refuse it with a message; what they take must be in range. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/bytes.h"
#include "engine/base/utf8.h"
#include "ipc/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {
    "max-tokens",     "max-lines",   "temperature",   "top-p",         "min-p",
    "repeat-penalty", "top-k",       "seed",          "stop",          "system",
    "model",          "priority",    "deadline-usec", "supersede-key", "stream",
    "coalesce-usec",  "linger-usec", "handle-token",  "hold-usec",     "prompt",
    "overflow"};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

static sd_bus *make_bus(void)
{
    static sd_bus *bus;
    int fds[2];
    if (bus == NULL &&
        (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 || sd_bus_new(&bus) < 0 ||
         sd_bus_set_fd(bus, fds[0], fds[0]) < 0 || sd_bus_start(bus) < 0))
        abort();
    return bus;
}

/* The next n bytes; zeros stay where the input has ended. */
static void take(InkBytes *in, void *out, size_t n)
{
    const uint8_t *p;
    n = n < ink_bytes_left(in) ? n : ink_bytes_left(in);
    if (ink_bytes_take(in, n, &p) == 0)
        memcpy(out, p, n);
}

static int append_value(sd_bus_message *m, uint8_t type, InkBytes *in)
{
    uint64_t number = 0;
    double real = 0;
    char text[300] = "";
    take(in, &number, sizeof(number));
    memcpy(&real, &number, sizeof(real));
    memset(text, (int)(number >> 8 & 0x7F) | 1, number % 299);
    char *stops[20] = {NULL};
    for (size_t i = 0; i < number % 19; i++)
        stops[i] = text;
    switch (type % 6) {
    case 0:
        return sd_bus_message_append(m, "v", "u", (uint32_t)number);
    case 1:
        return sd_bus_message_append(m, "v", "t", number);
    case 2:
        return sd_bus_message_append(m, "v", "d", real);
    case 3:
        return sd_bus_message_append(m, "v", "s", text);
    case 4:
        return sd_bus_message_append(m, "v", "b", (int)(number & 1));
    default:
        INK_TRY(sd_bus_message_open_container(m, 'v', "as"));
        INK_TRY(sd_bus_message_append_strv(m, stops));
        return sd_bus_message_close_container(m);
    }
}

static int append_entry(sd_bus_message *m, InkBytes *in)
{
    uint8_t choice = 0, type = 0;
    const uint8_t *raw;
    char own[9] = "x-";
    take(in, &choice, sizeof(choice));
    take(in, &type, sizeof(type));
    const char *key = keys[choice % N_KEYS];
    if (choice >= 240 && ink_bytes_take(in, 8, &raw) == 0 &&
        ink_utf8_valid((const char *)raw, strnlen((const char *)raw, 8))) {
        memcpy(own, raw, 8);
        key = own;
    }
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", key));
    INK_TRY(append_value(m, type, in));
    return sd_bus_message_close_container(m);
}

static void check(const InkTaskOptions *o, int r, const InkError *error)
{
    bool sound = r == 0 ? o->task.max_tokens >= 1 && o->task.max_tokens <= INK_BUS_MAX_TOKENS &&
                              o->n_stops <= INK_BUS_MAX_STOPS && o->task.temperature >= 0 &&
                              o->task.top_p > 0 && o->task.priority < INK_PRIORITY_MAX &&
                              o->task.overflow < INK_OVERFLOW_MAX &&
                              o->linger_usec <= INK_BUS_MAX_LINGER_USEC
                        : error->code == -r && error->message[0] != '\0' &&
                              ink_utf8_valid(error->message, strlen(error->message));
    if (!sound)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    InkBytes in = {data, size, 0};
    uint8_t kind = 0;
    sd_bus_message *m = NULL;
    InkTaskOptions o;
    InkError error = {0};
    if (sd_bus_message_new_method_call(make_bus(), &m, "a.b", "/a", "a.b", "C") < 0)
        abort();
    take(&in, &kind, sizeof(kind));
    bool built = sd_bus_message_open_container(m, 'a', "{sv}") >= 0;
    while (built && ink_bytes_left(&in) > 0)
        built = append_entry(m, &in) >= 0;
    if (built && sd_bus_message_close_container(m) >= 0 && sd_bus_message_seal(m, 1, 0) >= 0 &&
        sd_bus_message_rewind(m, true) >= 0) {
        int r = ink_options_read_task(m, (InkTaskKind)(kind % 5), &o, &error);
        check(&o, r, &error);
    }
    sd_bus_message_unref(m);
    return 0;
}
