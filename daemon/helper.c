/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/helper.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/bounds.h"
#include "daemon/log.h"
#include "daemon/worker-process.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/worker/wire-io.h"
#include "ink-config.h"

struct InkHelper {
    sd_event *event;
    const InkHelperEvents *events;
    void *userdata;
    InkWorkerProcess process;
    int socket;
    int fds[2]; /* of the job, until it is sent */
    InkInspectJob job;
    bool is_ready;
    uint32_t stage; /* as last told */
    uint64_t done;
    sd_event_source *io, *timer;
    InkInspectFrame frame;
};

static void stop(InkHelper *h)
{
    h->io = sd_event_source_disable_unref(h->io);
    h->timer = sd_event_source_disable_unref(h->timer);
    if (h->socket >= 0)
        close(h->socket);
    h->socket = -1;
    for (size_t i = 0; i < 2; i++) {
        if (h->fds[i] >= 0)
            close(h->fds[i]);
        h->fds[i] = -1;
    }
    ink_worker_process_kill(&h->process, h->event);
}

InkHelper *ink_helper_free(InkHelper *h)
{
    if (h == NULL)
        return NULL;
    stop(h);
    sd_event_unref(h->event);
    free(h);
    return NULL;
}

int ink_helper_pid(const InkHelper *h)
{
    return (int)h->process.pid;
}

/* `h` may be gone when this returns. */
static void end(InkHelper *h, const InkInspectResult *result, const InkError *error)
{
    stop(h);
    h->events->ended(h->userdata, result, error);
}

static void end_broken(InkHelper *h, const char *why)
{
    InkError error = {0};
    ink_log_warning("a helper that looked at a model was ended: %s", why);
    (void)INK_RAISE(EREMOTEIO, &error, "the model could not be looked at: %s", why);
    end(h, NULL, &error);
}

/* -- frames ------------------------------------------------------------------------------------ */

/* The helper chooses among what it can mean. */
static int code_of_helper(uint32_t code)
{
    switch (code) {
    case EBADMSG:
    case EOPNOTSUPP: /* sound, but not of this build: a model that cannot serve, by its bus name */
        return EBADMSG;
    case ENOSPC:
    case EDQUOT:
        return ENOSPC;
    case EINVAL:
    case ENOMEM:
        return (int)code;
    case EIO:
    case EFBIG:
    case EROFS:
        return EIO;
    default:
        return EREMOTEIO;
    }
}

static void take_failed(InkHelper *h)
{
    InkError error = {0};
    (void)INK_RAISE(code_of_helper(h->frame.failed.code), &error, "model file: %.200s",
                    h->frame.failed.message);
    end(h, NULL, &error);
}

static int send_job(InkHelper *h)
{
    int r = ink_wire_send(h->socket, MSG_DONTWAIT, &h->job.header, sizeof h->job, NULL, 0, h->fds,
                          1u + h->job.copy);
    for (size_t i = 0; i < 2; i++) {
        if (h->fds[i] >= 0)
            close(h->fds[i]);
        h->fds[i] = -1;
    }
    return r;
}

static bool progress_fits(const InkHelper *h, const InkInspectProgress *p)
{
    bool onward = p->stage > h->stage || (p->stage == h->stage && p->done >= h->done);
    return onward && p->total == h->job.size_bytes &&
           (p->stage == INK_INSPECT_CHECKING || h->job.copy);
}

static bool result_fits(const InkHelper *h, const InkInspectResult *m)
{
    return m->size_bytes == h->job.size_bytes && m->has_sha256 == (h->job.copy | h->job.hash);
}

/* False when `h` may be gone. */
static bool take_frame(InkHelper *h)
{
    const InkInspectFrame *f = &h->frame;
    switch ((InkInspectType)f->header.type) {
    case INK_INSPECT_READY:
        if (h->is_ready || (f->ready.seccomp == 0 && !INK_SEAL_RELAXED) || send_job(h) < 0)
            break;
        h->is_ready = true;
        return true;
    case INK_INSPECT_PROGRESS:
        if (!h->is_ready || !progress_fits(h, &f->progress))
            break;
        h->stage = f->progress.stage;
        h->done = f->progress.done;
        if (h->events->progress != NULL)
            h->events->progress(h->userdata, (InkInspectStage)h->stage,
                                (double)f->progress.done / (double)f->progress.total);
        return true;
    case INK_INSPECT_RESULT:
        if (!h->is_ready || !result_fits(h, &f->result))
            break;
        InkInspectResult result = f->result;
        end(h, &result, NULL);
        return false;
    case INK_INSPECT_FAILED:
        if (!h->is_ready)
            break;
        take_failed(h);
        return false;
    case INK_INSPECT_INSPECT:
        break;
    }
    end_broken(h, "it broke the protocol");
    return false;
}

static void arm(InkHelper *h, uint64_t span_usec)
{
    (void)sd_event_source_set_time(h->timer, ink_clock_monotonic_usec() + span_usec);
    (void)sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    InkHelper *h = userdata;
    (void)source;
    (void)revents;
    InkError error = {0};
    int r = ink_inspect_receive(fd, MSG_DONTWAIT, false, &h->frame, &error);
    if (r == -EAGAIN)
        return 0;
    if (r == -ECONNRESET)
        end_broken(h, "its process ended without an answer");
    else if (r < 0)
        end_broken(h, error.message);
    else if (take_frame(h))
        arm(h, INK_LIMIT_HELPER_SILENCE_USEC);
    return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    end_broken(userdata, "it gave no sign of life");
    return 0;
}

/* -- start ------------------------------------------------------------------------------------- */

static int keep_descriptor(int fd, int *ret, InkError *reterr)
{
    *ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    INK_CHECK(*ret >= 0, ENOMEM, reterr, "no descriptor for a helper: %s", strerror(errno));
    return 0;
}

/* A caller's descriptor may be open for writing, too; a helper that a file has turned must not be
 * able to change the person's own copy of it. */
static int keep_read_only(int fd, int *ret, InkError *reterr)
{
    char path[32];
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
        return keep_descriptor(fd, ret, reterr);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *ret = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    INK_CHECK(*ret >= 0, EINVAL, reterr,
              "file: open for writing, and it cannot be opened for reading only: %s",
              strerror(errno));
    return 0;
}

int ink_helper_start(sd_event *event, const char *program, const InkHelperJob *job,
                     const InkHelperEvents *events, void *userdata, InkHelper **ret,
                     InkError *reterr)
{
    _cleanup_(ink_helper_free_p) InkHelper *h = ink_alloc_array(1, sizeof *h);
    INK_CHECK(h != NULL, ENOMEM, reterr, "out of memory for a helper");
    h->event = sd_event_ref(event);
    h->events = events;
    h->userdata = userdata;
    h->process = INK_WORKER_PROCESS_INIT;
    h->socket = h->fds[0] = h->fds[1] = -1;
    h->job = (InkInspectJob){
        .header = {.type = INK_INSPECT_INSPECT},
        .version = INK_INSPECT_VERSION,
        .copy = job->copy_fd >= 0,
        .hash = job->hash,
        .size_bytes = job->size_bytes,
    };
    INK_TRY(keep_read_only(job->model_fd, &h->fds[0], reterr));
    if (job->copy_fd >= 0)
        INK_TRY(keep_descriptor(job->copy_fd, &h->fds[1], reterr));
    INK_TRY(ink_worker_process_spawn(program, "inspect", &h->process, &h->socket, reterr));
    int r = sd_event_add_io(event, &h->io, h->socket, EPOLLIN, on_io, h);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &h->timer, CLOCK_MONOTONIC, INK_LIMIT_START_USEC,
                                       100000, on_silence, h);
    INK_CHECK(r >= 0, EREMOTEIO, reterr, "a helper cannot be watched: %s", strerror(-r));
    /* Below the bus, as the worker's. */
    (void)sd_event_source_set_priority(h->io, SD_EVENT_PRIORITY_NORMAL + 10);
    *ret = INK_TAKE(h);
    return 0;
}
