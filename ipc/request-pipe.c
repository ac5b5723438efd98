/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/request-pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/buffer.h"
#include "engine/base/clock.h"

struct InkRequestPipe {
    const InkRequestPipeEvents *events;
    void *userdata;
    int fd;                  /* -1 after the last line, or when the reader left */
    sd_event_source *source; /* wants EPOLLOUT only while the pipe is full */
    sd_event_source *soon;   /* writes what was added, at the end of this turn of the loop */
    sd_event_source *stall;  /* runs while something waits */
    uint64_t stall_usec;
    uint64_t moved_usec; /* when the reader last took something, or nothing waited */
    InkBuffer waiting;
    size_t n_written_bytes; /* of `waiting` */
    size_t n_credit_bytes;  /* of text in `waiting` */
    bool finishing, stalled, waits_for_room;
};

static void close_write_end(InkRequestPipe *p)
{
    p->source = sd_event_source_disable_unref(p->source);
    p->soon = sd_event_source_disable_unref(p->soon);
    p->stall = sd_event_source_disable_unref(p->stall);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    ink_buffer_wipe(&p->waiting);
    p->n_written_bytes = 0;
}

static void tell_closed(InkRequestPipe *p)
{
    bool told = p->fd < 0;
    close_write_end(p);
    if (!told)
        p->events->closed(p->userdata);
}

static void arm_stall(InkRequestPipe *p)
{
    (void)sd_event_source_set_time(p->stall, p->moved_usec + p->stall_usec);
    (void)sd_event_source_set_enabled(p->stall, SD_EVENT_ONESHOT);
}

/* Progress does not move the timer, which would cost for each token: it looks when it fires. */
static int on_stall(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkRequestPipe *p = userdata;
    uint64_t now = ink_clock_monotonic_usec();
    (void)source;
    (void)usec;
    if (p->waiting.size_bytes == 0)
        return 0;
    if (now < p->moved_usec + p->stall_usec) {
        arm_stall(p);
        return 0;
    }
    if (p->finishing) {
        tell_closed(p); /* the end was told in other ways; nobody reads this one */
        return 0;
    }
    p->moved_usec = now; /* for the last line, which follows */
    arm_stall(p);
    if (!p->stalled)
        p->events->stalled(p->userdata);
    p->stalled = true;
    return 0;
}

/* Before a line is added. */
static void watch_stall(InkRequestPipe *p)
{
    int enabled = SD_EVENT_OFF;
    if (p->waiting.size_bytes == 0)
        p->moved_usec = ink_clock_monotonic_usec();
    (void)sd_event_source_get_enabled(p->stall, &enabled);
    if (enabled == SD_EVENT_OFF)
        arm_stall(p);
}

/* Writes until the pipe is full. True when nothing waits any more. */
static bool write_out(InkRequestPipe *p)
{
    while (p->n_written_bytes < p->waiting.size_bytes) {
        ssize_t n = write(p->fd, p->waiting.data + p->n_written_bytes,
                          p->waiting.size_bytes - p->n_written_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0) {
            tell_closed(p);
            return false;
        }
        p->n_written_bytes += (size_t)n;
        p->moved_usec = ink_clock_monotonic_usec();
    }
    ink_buffer_clear(&p->waiting);
    p->n_written_bytes = 0;
    return true;
}

/* Two calls of epoll_ctl for each token would cost more than the write itself. */
static void wait_for_room(InkRequestPipe *p, bool wanted)
{
    if (wanted != p->waits_for_room)
        (void)sd_event_source_set_io_events(p->source, wanted ? EPOLLOUT : 0);
    p->waits_for_room = wanted;
}

static void write_and_give_credit(InkRequestPipe *p)
{
    bool written = write_out(p);
    if (p->fd < 0)
        return;
    /* Interest in EPOLLERR remains without any event asked for. */
    wait_for_room(p, !written);
    if (!written)
        return;
    if (p->finishing) {
        tell_closed(p);
        return;
    }
    size_t n = p->n_credit_bytes;
    p->n_credit_bytes = 0;
    if (n != 0)
        p->events->credit(p->userdata, n);
}

static int on_soon(sd_event_source *source, void *userdata)
{
    InkRequestPipe *p = userdata;
    (void)source;
    if (p->fd >= 0 && !p->waits_for_room)
        write_and_give_credit(p);
    return 0;
}

static int on_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    InkRequestPipe *p = userdata;
    (void)source;
    (void)fd;
    if ((revents & (EPOLLERR | EPOLLHUP)) != 0)
        tell_closed(p);
    else if (p->fd >= 0)
        write_and_give_credit(p);
    return 0;
}

int ink_request_pipe_new(sd_event *event, const InkRequestPipeEvents *events, void *userdata,
                         uint64_t stall_usec, InkRequestPipe **ret, int *ret_read_fd)
{
    _cleanup_(ink_request_pipe_free_p) InkRequestPipe *p = ink_alloc_array(1, sizeof(*p));
    _cleanup_close_ int read_fd = -1;
    int fds[2];
    if (p == NULL)
        return -ENOMEM;
    p->fd = -1;
    p->events = events;
    p->userdata = userdata;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    read_fd = fds[0];
    p->fd = fds[1];
    /* The read end stays blocking: a shell may be the reader. */
    if (fcntl(p->fd, F_SETFL, O_WRONLY | O_NONBLOCK) < 0)
        return -errno;
    INK_TRY(sd_event_add_io(event, &p->source, p->fd, 0, on_event, p));
    INK_TRY(sd_event_add_defer(event, &p->soon, on_soon, p));
    INK_TRY(sd_event_source_set_enabled(p->soon, SD_EVENT_OFF));
    p->stall_usec = stall_usec != 0 ? stall_usec : INK_REQUEST_PIPE_STALL_USEC;
    INK_TRY(
        sd_event_add_time(event, &p->stall, CLOCK_MONOTONIC, 0, p->stall_usec / 8, on_stall, p));
    INK_TRY(sd_event_source_set_enabled(p->stall, SD_EVENT_OFF));
    *ret = INK_TAKE(p);
    *ret_read_fd = INK_TAKE_FD(read_fd);
    return 0;
}

/* The loop may be over (the service ends): the last line goes as far as there is room. */
static void write_last_line(InkRequestPipe *p)
{
    while (p->fd >= 0 && p->finishing && p->n_written_bytes < p->waiting.size_bytes) {
        ssize_t n = write(p->fd, p->waiting.data + p->n_written_bytes,
                          p->waiting.size_bytes - p->n_written_bytes);
        if (n <= 0 && (n == 0 || errno != EINTR))
            break;
        p->n_written_bytes += n > 0 ? (size_t)n : 0;
    }
}

InkRequestPipe *ink_request_pipe_free(InkRequestPipe *p)
{
    if (p == NULL)
        return NULL;
    write_last_line(p);
    close_write_end(p);
    free(p);
    return NULL;
}

/* Lines are written from the loop only, never from inside a call of the service: what happens then
 * (credit, a closed pipe) may come back to it. */
static void line_added(InkRequestPipe *p)
{
    ink_buffer_append_char(&p->waiting, '\n');
    if (ink_buffer_status(&p->waiting) < 0 ||
        sd_event_source_set_enabled(p->soon, SD_EVENT_ONESHOT) < 0)
        tell_closed(p); /* a stream with a hole would be worse than none */
}

void ink_request_pipe_text(InkRequestPipe *p, uint64_t offset_bytes, const char *text,
                           size_t n_bytes, size_t n_credit_bytes)
{
    if (p->fd < 0 || p->finishing)
        return;
    watch_stall(p);
    ink_buffer_printf(&p->waiting, "{\"offset\":%llu,\"text\":", (unsigned long long)offset_bytes);
    ink_buffer_json_string(&p->waiting, text, n_bytes);
    ink_buffer_append_char(&p->waiting, '}');
    p->n_credit_bytes += n_credit_bytes;
    line_added(p);
}

void ink_request_pipe_progress(InkRequestPipe *p, const char *stage, double fraction)
{
    /* A reader that lags needs no news of the way. */
    if (p->fd < 0 || p->finishing || p->waiting.size_bytes > INK_REQUEST_PIPE_CREDIT_BYTES)
        return;
    watch_stall(p);
    ink_buffer_append_str(&p->waiting, "{\"progress\":{\"stage\":");
    ink_buffer_json_string(&p->waiting, stage, strlen(stage));
    ink_buffer_append_str(&p->waiting, ",\"fraction\":");
    ink_buffer_json_double(&p->waiting, fraction);
    ink_buffer_append_str(&p->waiting, "}}");
    line_added(p);
}

void ink_request_pipe_finish(InkRequestPipe *p, const char *json, size_t n_bytes)
{
    if (p->fd < 0 || p->finishing)
        return;
    watch_stall(p);
    ink_buffer_append(&p->waiting, json, n_bytes);
    line_added(p);
    p->finishing = true;
}

bool ink_request_pipe_is_waiting(const InkRequestPipe *p)
{
    return p->fd >= 0 && p->waiting.size_bytes != 0;
}
