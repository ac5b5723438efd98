/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/pressure.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include "daemon/bounds.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"

#define MONITOR_NAME "org.freedesktop.LowMemoryMonitor"
#define MONITOR_PATH "/org/freedesktop/LowMemoryMonitor"

/* Of GMemoryMonitorWarningLevel: 50 low, 100 medium, 255 critical. */
#define WARNING_CRITICAL 255u

struct InkPressure {
    InkPressureChanged *changed;
    void *userdata;
    uint64_t calm_usec;
    InkPressureLevel level; /* as told */

    int psi_fd; /* -1 = none */
    sd_event_source *psi, *timer;
    sd_bus *bus;
    sd_bus_slot *match;
    InkPressureLevel psi_level, warned_level;
    uint64_t warned_until_usec;
};

/* ------------------------------------------------------------------ judging */

static bool parse_avg10(const char *text, const char *word, unsigned *ret)
{
    unsigned whole, hundredths;
    const char *at = strstr(text, word);
    if (at == NULL || sscanf(at + strlen(word), " avg10=%3u.%2u", &whole, &hundredths) != 2)
        return false;
    *ret = whole * 100 + hundredths;
    return true;
}

bool ink_pressure_parse(const char *text, unsigned *ret_some, unsigned *ret_full)
{
    unsigned some, full = 0;
    if (!parse_avg10(text, "some", &some))
        return false;
    (void)parse_avg10(text, "full", &full); /* a cgroup's may lack it */
    *ret_some = some;
    *ret_full = full;
    return true;
}

/* `fired`: the trigger says that it is short now, whatever the mean of ten seconds says. */
static InkPressureLevel read_psi(InkPressure *p, bool fired)
{
    char text[256];
    unsigned some, full;
    if (p->psi_fd < 0)
        return INK_PRESSURE_NONE;
    (void)lseek(p->psi_fd, 0, SEEK_SET);
    ssize_t n = read(p->psi_fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    if (!ink_pressure_parse(text, &some, &full))
        return fired ? INK_PRESSURE_SOME : INK_PRESSURE_NONE;
    if (full >= INK_LIMIT_PRESSURE_FULL || some >= INK_LIMIT_PRESSURE_SOME)
        return INK_PRESSURE_HIGH;
    return fired || some >= INK_LIMIT_PRESSURE_CALM ? INK_PRESSURE_SOME : INK_PRESSURE_NONE;
}

/* While it is short the loop looks again now and then, and only then. */
static void judge(InkPressure *p)
{
    uint64_t now = ink_clock_monotonic_usec();
    InkPressureLevel level = p->psi_level;
    if (now < p->warned_until_usec && p->warned_level > level)
        level = p->warned_level;
    if (level != INK_PRESSURE_NONE) {
        (void)sd_event_source_set_time(p->timer, now + p->calm_usec);
        (void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
    }
    if (level == p->level)
        return;
    p->level = level;
    p->changed(p->userdata, level);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkPressure *p = userdata;
    (void)source;
    (void)usec;
    p->psi_level = read_psi(p, false);
    judge(p);
    return 0;
}

static int on_psi(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    InkPressure *p = userdata;
    (void)fd;
    if ((revents & EPOLLERR) != 0) { /* the cgroup is gone */
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        p->psi_level = INK_PRESSURE_NONE;
    } else {
        p->psi_level = read_psi(p, true);
    }
    judge(p);
    return 0;
}

static int on_warning(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    InkPressure *p = userdata;
    uint8_t level;
    (void)reterr;
    if (sd_bus_message_read(m, "y", &level) <= 0 || level == 0)
        return 0;
    p->warned_level = level == WARNING_CRITICAL ? INK_PRESSURE_HIGH : INK_PRESSURE_SOME;
    p->warned_until_usec = ink_clock_monotonic_usec() + p->calm_usec;
    judge(p);
    return 0;
}

/* ------------------------------------------------------------------ sources */

static int open_trigger(const char *path, uint32_t *ret_events)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    *ret_events = S_ISFIFO(st.st_mode) ? EPOLLIN : EPOLLPRI;
    /* Ordinary users may ask in multiples of two seconds only. */
    static const char trigger[] = INK_LIMIT_PRESSURE_TRIGGER;
    if (!S_ISFIFO(st.st_mode) && write(fd, trigger, sizeof trigger) != (ssize_t)sizeof trigger)
        return -1;
    return INK_TAKE_FD(fd);
}

/* Of the own cgroup, in the unified hierarchy. */
static bool cgroup_path(char *out, size_t out_bytes)
{
    char text[4096];
    _cleanup_close_ int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    for (char *line = text, *end; line[0] != '\0'; line = end) {
        end = line + strcspn(line, "\n");
        if (end[0] != '\0')
            *end++ = '\0';
        if (strncmp(line, "0::/", 4) == 0) {
            int written = snprintf(out, out_bytes, "/sys/fs/cgroup%s/memory.pressure", line + 3);
            return written > 0 && (size_t)written < out_bytes;
        }
    }
    return false;
}

static void watch_psi(InkPressure *p, sd_event *event, const char *path)
{
    char own[4352];
    uint32_t events = 0;
    if (path != NULL)
        p->psi_fd = open_trigger(path, &events);
    else
        p->psi_fd = open_trigger("/proc/pressure/memory", &events);
    if (p->psi_fd < 0 && path == NULL && cgroup_path(own, sizeof own))
        p->psi_fd = open_trigger(own, &events);
    if (p->psi_fd >= 0 && sd_event_add_io(event, &p->psi, p->psi_fd, events, on_psi, p) < 0) {
        close(p->psi_fd);
        p->psi_fd = -1;
    }
}

static int connect_bus(sd_bus **ret, const char *address)
{
    if (address == NULL)
        return sd_bus_open_system(ret);
    _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
    INK_TRY(sd_bus_new(&bus));
    INK_TRY(sd_bus_set_address(bus, address));
    INK_TRY(sd_bus_set_bus_client(bus, true));
    INK_TRY(sd_bus_start(bus));
    *ret = INK_TAKE(bus);
    return 0;
}

/* Nothing here waits for an answer: a bus that is stuck must not keep the service from starting. */
static void watch_monitor(InkPressure *p, sd_event *event, const char *address)
{
    if (connect_bus(&p->bus, address) < 0 ||
        sd_bus_attach_event(p->bus, event, SD_EVENT_PRIORITY_NORMAL) < 0 ||
        sd_bus_match_signal_async(p->bus, &p->match, MONITOR_NAME, MONITOR_PATH, MONITOR_NAME,
                                  "LowMemoryWarning", on_warning, NULL, p) < 0)
        p->bus = sd_bus_close_unref(p->bus);
}

int ink_pressure_new(sd_event *event, const InkPressureOptions *options,
                     InkPressureChanged *changed, void *userdata, InkPressure **ret,
                     InkError *reterr)
{
    _cleanup_(ink_pressure_free_p) InkPressure *p = ink_alloc_array(1, sizeof *p);
    INK_CHECK(p != NULL, ENOMEM, reterr, "memory pressure: out of memory");
    p->psi_fd = -1;
    p->changed = changed;
    p->userdata = userdata;
    p->calm_usec = options->calm_usec != 0 ? options->calm_usec : INK_LIMIT_PRESSURE_CALM_USEC;
    int r = sd_event_add_time(event, &p->timer, CLOCK_MONOTONIC, 0, p->calm_usec / 8, on_timer, p);
    if (r >= 0)
        r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
    INK_CHECK(r >= 0, ENOMEM, reterr, "memory pressure: no timer: %s", strerror(-r));
    if (options->psi_path == NULL || options->psi_path[0] != '\0')
        watch_psi(p, event, options->psi_path);
    if (options->bus_address == NULL || options->bus_address[0] != '\0')
        watch_monitor(p, event, options->bus_address);
    *ret = INK_TAKE(p);
    return 0;
}

InkPressure *ink_pressure_free(InkPressure *p)
{
    if (p == NULL)
        return NULL;
    sd_event_source_disable_unref(p->psi);
    sd_event_source_disable_unref(p->timer);
    ink_close_p(&p->psi_fd);
    sd_bus_slot_unref(p->match);
    sd_bus_close_unref(p->bus);
    free(p);
    return NULL;
}

InkPressureLevel ink_pressure_level(const InkPressure *p)
{
    return p->level;
}
