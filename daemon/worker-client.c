/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/worker-client.h"

#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/bounds.h"
#include "daemon/worker-process.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/worker/wire-io.h"
#include "ink-config.h"

/* Until frames that are here are looked at. */
#define UNREAD_USEC 20000u

/* One answer that the worker owes. */
typedef struct Job {
    uint64_t id;
    InkWireType type;
    InkWireStage stage; /* as last told */
    uint64_t granted_bytes, text_bytes;
    uint64_t saved_bytes; /* of credit, for one frame later */
    uint32_t max_tokens, max_lines, n_stops, n_messages;
    uint32_t n_ids;
    bool wants_ids;
    uint64_t cancel_usec; /* 0 = not cancelled */
} Job;

/* A frame that waits for room in the socket. */
typedef struct OutFrame {
    union {
        InkWireHeader header;
        uint8_t bytes[sizeof(InkWireGenerate)];
    };
    size_t size_bytes;
    int fds[INK_WIRE_MAX_FDS];
    size_t n_fds;
} OutFrame;

struct InkWorker {
    sd_event *event;
    char *program;
    InkWorkerTimes times;
    const InkWorkerEvents *events;
    void *userdata;

    InkWorkerState state;
    InkWorkerProcess process;
    int socket;
    sd_event_source *io, *timer;
    uint64_t epoch; /* counts starts and stops, so that a loop over frames notices them */
    uint64_t next_id;
    uint64_t load_id;
    uint64_t last_sign_usec;
    InkWorkerModel model;
    InkWireLoaded loaded;
    GHashTable *jobs; /* &job->id -> Job */
    GQueue out;       /* OutFrame */
    InkWireFrame frame;
};

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata);
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static uint64_t or_default(uint64_t usec, uint64_t fallback)
{
    return usec != 0 ? usec : fallback;
}

int ink_worker_new(sd_event *event, const char *program, const InkWorkerTimes *times,
                   const InkWorkerEvents *events, void *userdata, InkWorker **ret, InkError *reterr)
{
    _cleanup_(ink_worker_free_p) InkWorker *w = ink_alloc_array(1, sizeof *w);
    INK_CHECK(w != NULL, ENOMEM, reterr, "worker: out of memory");
    w->event = sd_event_ref(event);
    w->program = g_strdup(program);
    w->times = (InkWorkerTimes){
        .start_usec = or_default(times->start_usec, INK_LIMIT_START_USEC),
        .load_usec = or_default(times->load_usec, INK_LIMIT_LOAD_USEC),
        .stall_usec = or_default(times->stall_usec, INK_LIMIT_STALL_USEC),
        .silence_usec = or_default(times->silence_usec, INK_LIMIT_SILENCE_USEC),
        .cancel_usec = or_default(times->cancel_usec, INK_LIMIT_CANCEL_USEC),
    };
    w->events = events;
    w->userdata = userdata;
    w->process = INK_WORKER_PROCESS_INIT;
    w->socket = -1;
    w->model = (InkWorkerModel){.model_fd = -1, .cache_fd = -1};
    w->jobs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    g_queue_init(&w->out);
    int r = sd_event_add_time(event, &w->timer, CLOCK_MONOTONIC, 0, 50000, on_timer, w);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
    INK_CHECK(r >= 0, -r, reterr, "worker: no timer: %s", strerror(-r));
    *ret = INK_TAKE(w);
    return 0;
}

InkWorker *ink_worker_free(InkWorker *w)
{
    if (w == NULL)
        return NULL;
    ink_worker_stop(w);
    sd_event_source_disable_unref(w->timer);
    g_hash_table_unref(w->jobs);
    sd_event_unref(w->event);
    g_free(w->program);
    free(w);
    return NULL;
}

static void close_model(InkWorker *w)
{
    if (w->model.model_fd >= 0)
        close(w->model.model_fd);
    if (w->model.cache_fd >= 0)
        close(w->model.cache_fd);
    w->model.model_fd = w->model.cache_fd = -1;
}

static void out_frame_free(void *data)
{
    OutFrame *f = data;
    for (size_t i = 0; i < f->n_fds; i++)
        close(f->fds[i]);
    free(f);
}

void ink_worker_stop(InkWorker *w)
{
    w->epoch++;
    w->state = INK_WORKER_DOWN;
    w->io = sd_event_source_disable_unref(w->io);
    sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
    if (w->socket >= 0)
        close(w->socket);
    w->socket = -1;
    ink_worker_process_kill(&w->process, w->event);
    g_queue_clear_full(&w->out, out_frame_free);
    g_hash_table_remove_all(w->jobs);
    close_model(w);
    w->loaded = (InkWireLoaded){0};
}

static void die(InkWorker *w, const InkError *error)
{
    InkWorkerState before = w->state;
    ink_worker_stop(w);
    w->events->died(w->userdata, before, error);
}

InkWorkerState ink_worker_state(const InkWorker *w)
{
    return w->state;
}

int ink_worker_pid(const InkWorker *w)
{
    return (int)w->process.pid;
}

const InkWireLoaded *ink_worker_loaded(const InkWorker *w)
{
    return w->state == INK_WORKER_READY ? &w->loaded : NULL;
}

size_t ink_worker_n_jobs(const InkWorker *w)
{
    return g_hash_table_size(w->jobs);
}

/* ------------------------------------------------------------------ sending */

/* The loop then sees the end of the socket and takes the usual way. */
static void give_up_socket(InkWorker *w)
{
    shutdown(w->socket, SHUT_RDWR);
}

static bool wants_room(const InkWorker *w)
{
    return !g_queue_is_empty((GQueue *)&w->out);
}

static void watch_room(InkWorker *w)
{
    sd_event_source_set_io_events(w->io, wants_room(w) ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int queue_frame(InkWorker *w, const InkWireHeader *frame, size_t size_bytes, const int *fds,
                       size_t n_fds)
{
    if (g_queue_get_length(&w->out) >= INK_LIMIT_OUT_FRAMES)
        return -ENOBUFS;
    OutFrame *f = ink_alloc_array(1, sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    static_assert(sizeof(InkWireGenerate) >= sizeof(InkWireLoad), "the longest frame");
    memcpy(f->bytes, frame, size_bytes);
    f->size_bytes = size_bytes;
    for (; f->n_fds < n_fds; f->n_fds++) {
        f->fds[f->n_fds] = fcntl(fds[f->n_fds], F_DUPFD_CLOEXEC, 3);
        if (f->fds[f->n_fds] < 0) {
            int code = errno;
            out_frame_free(f);
            return -code;
        }
    }
    g_queue_push_tail(&w->out, f);
    watch_room(w);
    return 0;
}

static int send_frame(InkWorker *w, InkWireHeader *frame, size_t size_bytes, const int *fds,
                      size_t n_fds)
{
    int r = -EAGAIN;
    if (!wants_room(w))
        r = ink_wire_send(w->socket, MSG_DONTWAIT | MSG_NOSIGNAL, frame, size_bytes, NULL, 0, fds,
                          n_fds);
    return r == -EAGAIN ? queue_frame(w, frame, size_bytes, fds, n_fds) : r;
}

static void send_queued(InkWorker *w)
{
    while (wants_room(w)) {
        OutFrame *f = g_queue_peek_head(&w->out);
        int r = ink_wire_send(w->socket, MSG_DONTWAIT | MSG_NOSIGNAL, &f->header, f->size_bytes,
                              NULL, 0, f->fds, f->n_fds);
        if (r == -EAGAIN)
            break;
        if (r < 0) {
            give_up_socket(w);
            break;
        }
        out_frame_free(g_queue_pop_head(&w->out));
    }
    watch_room(w);
}

/* ------------------------------------------------------------------ watching */

/* Its silence is in order: the reader has not taken the text. */
static bool is_parked(const Job *j)
{
    return j->type == INK_WIRE_GENERATE && j->cancel_usec == 0 && j->max_tokens > 0 &&
           j->granted_bytes - j->text_bytes < INK_LIMIT_PARKED_BYTES;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the worker counts as stalled, if nothing comes until then; UINT64_MAX = never. */
static uint64_t stall_time(InkWorker *w)
{
    if (w->state == INK_WORKER_STARTING)
        return w->last_sign_usec + w->times.start_usec;
    if (w->state == INK_WORKER_LOADING)
        return w->last_sign_usec + w->times.load_usec;

    uint64_t at = UINT64_MAX;
    bool any_parked = false, any_owed = false, any_waits = false;
    GHashTableIter i;
    gpointer value;
    g_hash_table_iter_init(&i, w->jobs);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const Job *j = value;
        if (j->cancel_usec != 0) {
            at = sooner(at, later(j->cancel_usec, w->last_sign_usec) + w->times.stall_usec);
            at = sooner(at, j->cancel_usec + w->times.cancel_usec);
        } else if (is_parked(j)) {
            any_parked = true;
        } else if (j->stage == INK_WIRE_STAGE_QUEUED) {
            any_waits = true;
        } else {
            any_owed = true;
        }
    }
    /* One that waits for a place may wait for a parked one. */
    if (any_owed || (any_waits && !any_parked))
        at = sooner(at, w->last_sign_usec + w->times.silence_usec);
    return at;
}

/* Frames do not move the timer: it looks at the clock when it fires. */
static void arm_timer(InkWorker *w)
{
    uint64_t at = w->state == INK_WORKER_DOWN ? UINT64_MAX : stall_time(w);
    sd_event_source_set_time(w->timer, at);
    sd_event_source_set_enabled(w->timer, at == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static bool has_unread(const InkWorker *w)
{
    struct pollfd p = {.fd = w->socket, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) != 0;
}

/* This process itself was stopped, or had no processor, and saw nothing of what the worker sent:
 * the worker has its time once more. (While the machine sleeps, this clock stands still.) */
static void forgive_silence(InkWorker *w)
{
    uint64_t now = ink_clock_monotonic_usec();
    GHashTableIter i;
    gpointer value;
    w->last_sign_usec = now;
    g_hash_table_iter_init(&i, w->jobs);
    while (g_hash_table_iter_next(&i, NULL, &value))
        if (((Job *)value)->cancel_usec != 0)
            ((Job *)value)->cancel_usec = now;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkWorker *w = userdata;
    (void)source;
    if (w->state == INK_WORKER_DOWN)
        return 0;
    if (ink_clock_monotonic_usec() > usec + INK_LIMIT_LATE_USEC)
        forgive_silence(w);
    if (has_unread(w)) { /* it was not silent: this loop was busy */
        sd_event_source_set_time(w->timer, ink_clock_monotonic_usec() + UNREAD_USEC);
        sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
        return 0;
    }
    if (ink_clock_monotonic_usec() < stall_time(w)) {
        arm_timer(w);
        return 0;
    }
    InkError error;
    INK_RAISE(EREMOTEIO, &error, "the worker gave no sign of life and was ended");
    die(w, &error);
    return 0;
}

/* A new job after a quiet time: silence counts from here. */
static void note_work(InkWorker *w)
{
    if (g_hash_table_size(w->jobs) <= 1)
        w->last_sign_usec = ink_clock_monotonic_usec();
    arm_timer(w);
}

/* ------------------------------------------------------------------ commands */

static void take_model(InkWorker *w, InkWorkerModel *model)
{
    close_model(w);
    w->model = *model;
    model->model_fd = model->cache_fd = -1;
}

int ink_worker_start(InkWorker *w, InkWorkerModel *model, InkError *reterr)
{
    take_model(w, model);
    int r = w->state == INK_WORKER_DOWN
                ? ink_worker_process_spawn(w->program, "serve", &w->process, &w->socket, reterr)
                : INK_RAISE(EREMOTEIO, reterr, "the worker is running already");
    if (r >= 0) {
        r = sd_event_add_io(w->event, &w->io, w->socket, EPOLLIN, on_io, w);
        if (r < 0)
            (void)INK_RAISE(EREMOTEIO, reterr, "worker: cannot be watched: %s", strerror(-r));
    }
    if (r < 0) {
        ink_worker_stop(w);
        return r;
    }
    /* Of the same priority as the bus, one message there and one turn here: below it, a flood of
     * calls would hold up every answer; above it, a flood of text every cancel. */
    w->epoch++;
    w->state = INK_WORKER_STARTING;
    w->last_sign_usec = ink_clock_monotonic_usec();
    arm_timer(w);
    return 0;
}

static int send_load(InkWorker *w)
{
    InkWireLoad load = {
        .header = {.type = INK_WIRE_LOAD, .id = w->load_id = ++w->next_id},
        .n_threads = w->model.n_threads,
        .has_cache = w->model.cache_fd >= 0,
        .cache_locked = w->model.cache_fd >= 0 && w->model.cache_locked,
        .max_kv_bytes = w->model.max_kv_bytes,
    };
    memcpy(load.isa, w->model.isa, sizeof load.isa);
    int fds[2] = {w->model.model_fd, w->model.cache_fd};
    int r = send_frame(w, &load.header, sizeof load, fds, 1u + load.has_cache);
    close_model(w);
    return r;
}

static size_t size_of_type(InkWireType type)
{
    if (type == INK_WIRE_GENERATE)
        return sizeof(InkWireGenerate);
    if (type == INK_WIRE_PROBE)
        return sizeof(InkWireHeader);
    return type == INK_WIRE_TOKENIZE ? sizeof(InkWireTokenize) : sizeof(InkWireDetokenize);
}

static void describe_job(Job *j, InkWireType type, const InkWireHeader *frame)
{
    j->type = type;
    j->stage = INK_WIRE_STAGE_QUEUED;
    if (type == INK_WIRE_GENERATE) {
        const InkWireGenerate *g = (const InkWireGenerate *)frame;
        j->granted_bytes = g->credit_bytes;
        j->max_tokens = g->max_tokens;
        j->max_lines = g->max_lines;
        j->n_stops = g->n_stops;
        j->n_messages = g->n_messages;
    } else {
        j->granted_bytes = type == INK_WIRE_DETOKENIZE ? INK_WIRE_MAX_BULK_BYTES
                           : type == INK_WIRE_PROBE    ? INK_WIRE_TEXT_BYTES
                                                       : 0;
        j->wants_ids =
            type == INK_WIRE_TOKENIZE && ((const InkWireTokenize *)frame)->wants_ids != 0;
    }
}

int ink_worker_submit(InkWorker *w, InkWireType type, InkWireHeader *frame, int bulk_fd,
                      uint64_t *ret_id, InkError *reterr)
{
    INK_CHECK(w->state == INK_WORKER_READY, EREMOTEIO, reterr, "the worker is not ready");
    frame->type = type;
    frame->size_bytes = (uint32_t)size_of_type(type);
    frame->id = ++w->next_id;
    int r = send_frame(w, frame, size_of_type(type), &bulk_fd, bulk_fd >= 0);
    if (r == -EPIPE || r == -ECONNRESET) {
        /* It is dying, and the loop will say so: the job dies with it, and is treated so. */
        give_up_socket(w);
        r = 0;
    }
    INK_CHECK(r == 0, EREMOTEIO, reterr, "the worker cannot be reached: %s", strerror(-r));

    Job *j = g_new0(Job, 1);
    describe_job(j, type, frame);
    j->id = frame->id;
    g_hash_table_insert(w->jobs, &j->id, j);
    note_work(w);
    *ret_id = j->id;
    return 0;
}

void ink_worker_cancel(InkWorker *w, uint64_t id)
{
    Job *j = g_hash_table_lookup(w->jobs, &id);
    if (j == NULL || j->cancel_usec != 0)
        return;
    j->cancel_usec = ink_clock_monotonic_usec();
    InkWireHeader frame = {.type = INK_WIRE_CANCEL, .id = id};
    if (send_frame(w, &frame, sizeof frame, NULL, 0) < 0)
        give_up_socket(w);
    arm_timer(w);
}

void ink_worker_trim(InkWorker *w, uint32_t scope, uint64_t keep_bytes)
{
    if (w->state != INK_WORKER_READY)
        return;
    InkWireTrim frame = {
        .header = {.type = INK_WIRE_TRIM}, .scope = scope, .keep_bytes = keep_bytes};
    if (send_frame(w, &frame.header, sizeof frame, NULL, 0) < 0)
        give_up_socket(w);
}

void ink_worker_set_priority(InkWorker *w, uint64_t id, uint32_t priority)
{
    const Job *j = g_hash_table_lookup(w->jobs, &id);
    if (j == NULL || j->type != INK_WIRE_GENERATE || j->cancel_usec != 0)
        return;
    InkWirePriority frame = {
        .header = {.type = INK_WIRE_PRIORITY, .id = id},
        .priority = priority,
    };
    if (send_frame(w, &frame.header, sizeof frame, NULL, 0) < 0)
        give_up_socket(w);
}

void ink_worker_credit(InkWorker *w, uint64_t id, uint64_t more_bytes)
{
    Job *j = g_hash_table_lookup(w->jobs, &id);
    if (j == NULL || j->type != INK_WIRE_GENERATE || j->cancel_usec != 0)
        return;
    uint64_t left_bytes = j->granted_bytes - j->text_bytes;
    more_bytes += j->saved_bytes;
    more_bytes = sooner(more_bytes, INK_WIRE_MAX_CREDIT - left_bytes);
    /* A frame for each token would wake the worker in its step; it has enough to go on with. */
    j->saved_bytes = 0;
    if (more_bytes < INK_LIMIT_CREDIT_STEP && left_bytes >= 2 * INK_LIMIT_PARKED_BYTES) {
        j->saved_bytes = more_bytes;
        return;
    }
    if (more_bytes == 0)
        return;
    if (is_parked(j)) /* it owes progress again, from now on */
        w->last_sign_usec = ink_clock_monotonic_usec();
    j->granted_bytes += more_bytes;
    InkWireCredit frame = {
        .header = {.type = INK_WIRE_CREDIT, .id = id},
        .more_bytes = (uint32_t)more_bytes,
    };
    if (send_frame(w, &frame.header, sizeof frame, NULL, 0) < 0)
        give_up_socket(w);
    arm_timer(w);
}

/* ------------------------------------------------------------------ receiving */

#define REFUSE_UNLESS(cond, what)                                                                  \
    INK_CHECK(cond, EPROTO, reterr, "the worker broke the protocol: " what)

static int take_ready(InkWorker *w, InkError *reterr)
{
    const InkWireReady *ready = &w->frame.ready;
    REFUSE_UNLESS(w->state == INK_WORKER_STARTING, "READY twice");
    REFUSE_UNLESS(ready->version == INK_WIRE_VERSION, "READY: version");
    REFUSE_UNLESS(ready->seccomp == 1 || INK_SEAL_RELAXED, "READY: not sealed");
    w->state = INK_WORKER_LOADING;
    int r = send_load(w);
    INK_CHECK(r == 0, EREMOTEIO, reterr, "the worker cannot be reached: %s", strerror(-r));
    return 0;
}

static int take_loaded(InkWorker *w, InkError *reterr)
{
    const InkWireLoaded *loaded = &w->frame.loaded;
    REFUSE_UNLESS(w->state == INK_WORKER_LOADING && loaded->header.id == w->load_id, "LOADED: id");
    REFUSE_UNLESS(loaded->n_context > 0 && loaded->n_vocab > 0, "LOADED: sizes");
    w->loaded = *loaded;
    w->state = INK_WORKER_READY;
    arm_timer(w);
    w->events->loaded(w->userdata, &w->loaded);
    return 0;
}

static int take_progress(InkWorker *w, Job *j, InkError *reterr)
{
    const InkWireProgress *p = &w->frame.progress;
    if (p->header.id == 0)
        return 0; /* heartbeat */
    double fraction = p->total > 0 ? (double)p->done / (double)p->total : 0;
    if (w->state == INK_WORKER_LOADING && p->header.id == w->load_id) {
        w->events->progress(w->userdata, 0, INK_WIRE_STAGE_LOADING, fraction);
        return 0;
    }
    REFUSE_UNLESS(j != NULL, "PROGRESS: id");
    j->stage = (InkWireStage)p->stage;
    w->events->progress(w->userdata, j->id, j->stage, fraction);
    return 0;
}

static int take_text(InkWorker *w, Job *j, InkError *reterr)
{
    const InkWireText *t = &w->frame.text;
    size_t n_bytes = t->header.size_bytes - sizeof *t;
    REFUSE_UNLESS(j != NULL && j->type != INK_WIRE_TOKENIZE, "TEXT: id");
    REFUSE_UNLESS(t->offset_bytes == j->text_bytes, "TEXT: offset");
    REFUSE_UNLESS(n_bytes <= j->granted_bytes - j->text_bytes, "TEXT: more than was credited");
    j->text_bytes += n_bytes;
    w->events->text(w->userdata, j->id, (const char *)w->frame.bytes + sizeof *t, n_bytes);
    return 0;
}

static int take_ids(InkWorker *w, Job *j, InkError *reterr)
{
    const InkWireIds *f = &w->frame.ids;
    REFUSE_UNLESS(j != NULL && j->type == INK_WIRE_TOKENIZE && j->wants_ids, "IDS: id");
    REFUSE_UNLESS(f->offset == j->n_ids, "IDS: offset");
    /* No text gives more tokens than it and its template have bytes. */
    REFUSE_UNLESS(j->n_ids + f->n <= INK_WIRE_MAX_BULK_BYTES, "IDS: too many");
    static_assert(sizeof(InkWireIds) % sizeof(uint32_t) == 0, "ids are aligned");
    const uint32_t *ids = (const uint32_t *)(w->frame.bytes + sizeof *f);
    for (uint32_t i = 0; i < f->n; i++)
        REFUSE_UNLESS(ids[i] < w->loaded.n_vocab, "IDS: not in the vocabulary");
    j->n_ids += f->n;
    w->events->ids(w->userdata, j->id, ids, f->n);
    return 0;
}

static bool reason_is_possible(const Job *j, uint32_t reason)
{
    bool generates = j->type == INK_WIRE_GENERATE && j->max_tokens > 0;
    switch ((InkWireReason)reason) {
    case INK_WIRE_REASON_STOP:
    case INK_WIRE_REASON_LENGTH:
        return generates;
    case INK_WIRE_REASON_LINES:
        return generates && j->max_lines > 0;
    case INK_WIRE_REASON_STOP_STRING:
        return generates && j->n_stops > 0;
    case INK_WIRE_REASON_CANCELLED:
        return j->cancel_usec != 0;
    case INK_WIRE_REASON_DONE:
        return !generates;
    }
    return false;
}

static int take_finished(InkWorker *w, Job *j, InkError *reterr)
{
    const InkWireFinished f = w->frame.finished;
    REFUSE_UNLESS(j != NULL, "FINISHED: id");
    REFUSE_UNLESS(reason_is_possible(j, f.reason), "FINISHED: reason");
    REFUSE_UNLESS(f.text_bytes == j->text_bytes, "FINISHED: text_bytes");
    REFUSE_UNLESS(f.cached_tokens <= f.prompt_tokens, "FINISHED: cached_tokens");
    if (j->type == INK_WIRE_GENERATE) {
        REFUSE_UNLESS(f.output_tokens <= j->max_tokens, "FINISHED: output_tokens");
        REFUSE_UNLESS(f.prompt_tokens <= w->loaded.n_context, "FINISHED: prompt_tokens");
        REFUSE_UNLESS(f.truncated_tokens <= INK_WIRE_MAX_BULK_BYTES, "FINISHED: truncated_tokens");
        REFUSE_UNLESS(f.dropped_messages == 0 || f.dropped_messages < j->n_messages,
                      "FINISHED: dropped_messages");
    } else if (j->type == INK_WIRE_TOKENIZE && f.reason == INK_WIRE_REASON_DONE) {
        REFUSE_UNLESS(f.prompt_tokens <= INK_WIRE_MAX_BULK_BYTES, "FINISHED: prompt_tokens");
        REFUSE_UNLESS(!j->wants_ids || f.prompt_tokens == j->n_ids, "FINISHED: number of ids");
    }
    uint64_t id = j->id;
    g_hash_table_remove(w->jobs, &id);
    arm_timer(w);
    w->events->finished(w->userdata, id, &f);
    return 0;
}

static int take_failed(InkWorker *w, Job *j, InkError *reterr)
{
    const InkWireFailed *f = &w->frame.failed;
    InkError error = {.code = (int)f->code};
    static_assert(sizeof error.message == sizeof f->message, "message");
    memcpy(error.message, f->message, sizeof error.message);
    if (w->state == INK_WORKER_LOADING && f->header.id == w->load_id) {
        ink_worker_stop(w);
        w->events->load_failed(w->userdata, &error);
        return 0;
    }
    REFUSE_UNLESS(j != NULL, "FAILED: id");
    uint64_t id = j->id;
    g_hash_table_remove(w->jobs, &id);
    arm_timer(w);
    w->events->failed(w->userdata, id, &error);
    return 0;
}

static int take_frame(InkWorker *w, InkError *reterr)
{
    Job *j = g_hash_table_lookup(w->jobs, &w->frame.header.id);
    switch ((InkWireType)w->frame.header.type) {
    case INK_WIRE_READY:
        return take_ready(w, reterr);
    case INK_WIRE_LOADED:
        return take_loaded(w, reterr);
    case INK_WIRE_PROGRESS:
        return take_progress(w, j, reterr);
    case INK_WIRE_TEXT:
        return take_text(w, j, reterr);
    case INK_WIRE_IDS:
        return take_ids(w, j, reterr);
    case INK_WIRE_FINISHED:
        return take_finished(w, j, reterr);
    case INK_WIRE_FAILED:
        return take_failed(w, j, reterr);
    case INK_WIRE_LOAD:
    case INK_WIRE_GENERATE:
    case INK_WIRE_CANCEL:
    case INK_WIRE_CREDIT:
    case INK_WIRE_TOKENIZE:
    case INK_WIRE_DETOKENIZE:
    case INK_WIRE_TRIM:
    case INK_WIRE_PROBE:
    case INK_WIRE_PRIORITY:
        break;
    }
    REFUSE_UNLESS(false, "a frame of the wrong direction");
    return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    InkWorker *w = userdata;
    uint64_t epoch = w->epoch;
    (void)source;
    if ((revents & EPOLLOUT) != 0)
        send_queued(w);
    for (unsigned i = 0; i < INK_LIMIT_FRAMES_PER_TURN && w->epoch == epoch; i++) {
        InkError error = {0};
        int r = ink_wire_receive(fd, MSG_DONTWAIT, INK_WIRE_TO_BROKER, &w->frame, &error);
        if (r == -EAGAIN)
            return 0;
        if (r >= 0) {
            w->last_sign_usec = ink_clock_monotonic_usec();
            r = take_frame(w, &error);
            /* The check refused descriptors already; a frame to the broker carries none. */
        }
        if (w->epoch != epoch)
            return 0;
        if (r == -ECONNRESET)
            (void)INK_RAISE(EREMOTEIO, &error, "the worker died");
        if (r < 0) {
            if (error.code == 0)
                (void)INK_RAISE(EREMOTEIO, &error, "the worker's socket failed: %s", strerror(-r));
            die(w, &error);
        }
    }
    return 0;
}
