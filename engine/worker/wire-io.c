/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/wire-io.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "engine/base/alloc.h"
#include "engine/base/bytes.h"
#include "engine/base/cleanup.h"
#include "engine/base/utf8.h"

/* More than a machine of this project's kind has; a number above it is a broken frame. */
#define MAX_THREADS 1024u
/* Room for more descriptors than a frame may carry, so that surplus ones arrive and are closed
 * here by name, not left to the kernel's truncation alone. */
#define CONTROL_FDS 8u

#define REQUIRED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

void ink_wire_frame_done(InkWireFrame *f)
{
    for (size_t i = 0; i < INK_WIRE_MAX_FDS; i++) {
        if (f->n_fds > i && f->fds[i] >= 0)
            close(f->fds[i]);
        f->fds[i] = -1;
    }
    f->n_fds = 0;
}

/* -- checks of each frame ---------------------------------------------------------------------- */

#define REFUSE(...) return INK_RAISE(EPROTO, reterr, __VA_ARGS__)

bool ink_wire_is_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

bool ink_wire_is_text(const char *field, size_t n_bytes)
{
    size_t n = strnlen(field, n_bytes);
    return n < n_bytes && ink_utf8_all_printable(field, n);
}

static bool in_range(float value, float least, float most)
{
    return isfinite(value) && value >= least && value <= most;
}

static int check_messages(const char *frame, uint32_t kind, uint32_t n_messages, uint32_t n_stops,
                          InkError *reterr)
{
    if (kind != INK_WIRE_COMPLETE && kind != INK_WIRE_CHAT)
        REFUSE("%s: kind %u is unknown", frame, kind);
    if (kind == INK_WIRE_COMPLETE && n_messages != 0)
        REFUSE("%s: n_messages must be 0 for a prompt", frame);
    if (kind == INK_WIRE_CHAT && n_messages == 0)
        REFUSE("%s: n_messages must be at least 1 for a chat", frame);
    if (n_messages > (INK_WIRE_MAX_STRINGS - n_stops) / 2)
        REFUSE("%s: n_messages is over %u", frame, (INK_WIRE_MAX_STRINGS - n_stops) / 2);
    return 0;
}

static int check_load(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireLoad *l = &f->load;
    (void)tail_bytes;
    if (l->has_cache > 1 || l->cache_locked > 1 || l->cache_locked > l->has_cache)
        REFUSE("LOAD: has_cache or cache_locked is out of range");
    if (!ink_wire_is_zero(l->reserved, sizeof(l->reserved)))
        REFUSE("LOAD: reserved bytes are not 0");
    if (!ink_wire_is_text(l->isa, sizeof(l->isa)))
        REFUSE("LOAD: isa is not a terminated name");
    if (l->n_threads > MAX_THREADS)
        REFUSE("LOAD: n_threads is over %u", MAX_THREADS);
    if (f->n_fds != 1u + l->has_cache)
        REFUSE("LOAD: %zu descriptors instead of %u", f->n_fds, 1u + l->has_cache);
    return 0;
}

static int check_generate(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireGenerate *g = &f->generate;
    (void)tail_bytes;
    if (g->n_stops > INK_WIRE_MAX_STOPS)
        REFUSE("GENERATE: n_stops is over %u", INK_WIRE_MAX_STOPS);
    INK_TRY(check_messages("GENERATE", g->kind, g->n_messages, g->n_stops, reterr));
    if (g->max_tokens > INK_WIRE_MAX_TOKENS)
        REFUSE("GENERATE: max_tokens is over %u", INK_WIRE_MAX_TOKENS);
    if (!in_range(g->temperature, 0.0f, 10.0f))
        REFUSE("GENERATE: temperature is not in 0..10");
    if (!in_range(g->top_p, 0.0f, 1.0f) || g->top_p == 0.0f)
        REFUSE("GENERATE: top_p is not in (0, 1]");
    if (!in_range(g->min_p, 0.0f, 1.0f))
        REFUSE("GENERATE: min_p is not in 0..1");
    if (!in_range(g->repeat_penalty, 0.1f, 10.0f))
        REFUSE("GENERATE: repeat_penalty is not in 0.1..10");
    if (g->credit_bytes > INK_WIRE_MAX_CREDIT)
        REFUSE("GENERATE: credit_bytes is over %u", INK_WIRE_MAX_CREDIT);
    if (g->priority > 3)
        REFUSE("GENERATE: priority %u is unknown", g->priority);
    if (g->overflow > INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE)
        REFUSE("GENERATE: overflow %u is unknown", g->overflow);
    return 0;
}

static int check_credit(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)tail_bytes;
    if (f->credit.more_bytes == 0 || f->credit.more_bytes > INK_WIRE_MAX_CREDIT)
        REFUSE("CREDIT: more_bytes is not in 1..%u", INK_WIRE_MAX_CREDIT);
    if (f->credit.reserved != 0)
        REFUSE("CREDIT: reserved is not 0");
    return 0;
}

static int check_tokenize(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireTokenize *t = &f->tokenize;
    (void)tail_bytes;
    INK_TRY(check_messages("TOKENIZE", t->kind, t->n_messages, 0, reterr));
    if (t->special > 1 || t->wants_ids > 1 || (t->special != 0 && t->kind != INK_WIRE_COMPLETE))
        REFUSE("TOKENIZE: special or wants_ids is out of range");
    if (!ink_wire_is_zero(t->reserved, sizeof(t->reserved)))
        REFUSE("TOKENIZE: reserved bytes are not 0");
    return 0;
}

static int check_detokenize(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)tail_bytes;
    if (f->detokenize.special > 1)
        REFUSE("DETOKENIZE: special is out of range");
    if (!ink_wire_is_zero(f->detokenize.reserved, sizeof(f->detokenize.reserved)))
        REFUSE("DETOKENIZE: reserved bytes are not 0");
    return 0;
}

static int check_trim(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)tail_bytes;
    if (f->trim.reserved != 0)
        REFUSE("TRIM: reserved is not 0");
    return 0;
}

static int check_priority(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)tail_bytes;
    if (f->priority.priority > 3)
        REFUSE("PRIORITY: priority is not in 0..3");
    if (f->priority.reserved != 0)
        REFUSE("PRIORITY: reserved is not 0");
    return 0;
}

static int check_ready(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)tail_bytes;
    if (f->ready.version != INK_WIRE_VERSION)
        REFUSE("READY: version %u instead of %u", f->ready.version, INK_WIRE_VERSION);
    if (f->ready.seccomp > 1)
        REFUSE("READY: seccomp is out of range");
    if (!ink_wire_is_zero(f->ready.reserved, sizeof(f->ready.reserved)))
        REFUSE("READY: reserved bytes are not 0");
    return 0;
}

static int check_loaded(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireLoaded *l = &f->loaded;
    (void)tail_bytes;
    if (!ink_wire_is_text(l->name, sizeof(l->name)))
        REFUSE("LOADED: name is not a terminated text");
    if (!ink_wire_is_text(l->architecture, sizeof(l->architecture)))
        REFUSE("LOADED: architecture is not a terminated text");
    if (!ink_wire_is_text(l->quantization, sizeof(l->quantization)))
        REFUSE("LOADED: quantization is not a terminated text");
    if (!ink_wire_is_text(l->kernels, sizeof(l->kernels)))
        REFUSE("LOADED: kernels is not a terminated text");
    if (l->n_threads == 0 || l->n_threads > MAX_THREADS)
        REFUSE("LOADED: n_threads is not in 1..%u", MAX_THREADS);
    if (l->n_context == 0 || l->n_vocab == 0)
        REFUSE("LOADED: n_context and n_vocab must be at least 1");
    if (l->has_template > 1 || l->cache_used > 1)
        REFUSE("LOADED: has_template or cache_used is out of range");
    if (!ink_wire_is_zero(l->reserved, sizeof(l->reserved)))
        REFUSE("LOADED: reserved bytes are not 0");
    return 0;
}

static int check_progress(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireProgress *p = &f->progress;
    (void)tail_bytes;
    if (p->reserved != 0)
        REFUSE("PROGRESS: reserved is not 0");
    if (p->header.id == 0) {
        if (p->stage != 0 || p->done != 0 || p->total != 0)
            REFUSE("PROGRESS: a heartbeat carries no stage and no numbers");
        return 0;
    }
    if (p->stage < INK_WIRE_STAGE_LOADING || p->stage > INK_WIRE_STAGE_DECODE)
        REFUSE("PROGRESS: stage %u is unknown", p->stage);
    if (p->done > p->total)
        REFUSE("PROGRESS: done is over total");
    return 0;
}

static int check_text(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const char *text = (const char *)f->bytes + sizeof(InkWireText);
    if (tail_bytes == 0 || tail_bytes > INK_WIRE_TEXT_BYTES)
        REFUSE("TEXT: %zu bytes are not in 1..%u", tail_bytes, INK_WIRE_TEXT_BYTES);
    if (f->text.offset_bytes > UINT64_MAX - tail_bytes)
        REFUSE("TEXT: offset_bytes wraps");
    if (!ink_utf8_valid(text, tail_bytes) || memchr(text, 0, tail_bytes) != NULL)
        REFUSE("TEXT: the text is not whole UTF-8 without NUL");
    return 0;
}

static int check_ids(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireIds *i = &f->ids;
    if (i->n == 0 || i->n > INK_WIRE_IDS_PER_FRAME)
        REFUSE("IDS: n is not in 1..%u", INK_WIRE_IDS_PER_FRAME);
    if (tail_bytes != (size_t)i->n * sizeof(uint32_t))
        REFUSE("IDS: %zu bytes for %u ids", tail_bytes, i->n);
    if (i->offset > UINT32_MAX - i->n)
        REFUSE("IDS: offset wraps");
    return 0;
}

static int check_finished(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    const InkWireFinished *e = &f->finished;
    (void)tail_bytes;
    if (e->reason < INK_WIRE_REASON_STOP || e->reason > INK_WIRE_REASON_DONE)
        REFUSE("FINISHED: reason %u is unknown", e->reason);
    if (e->cached_tokens > e->prompt_tokens)
        REFUSE("FINISHED: cached_tokens is over prompt_tokens");
    if (e->output_tokens > INK_WIRE_MAX_TOKENS)
        REFUSE("FINISHED: output_tokens is over %u", INK_WIRE_MAX_TOKENS);
    if (e->lowered_priority > 1)
        REFUSE("FINISHED: lowered_priority is out of range");
    if (!ink_wire_is_zero(e->reserved, sizeof(e->reserved)))
        REFUSE("FINISHED: reserved bytes are not 0");
    return 0;
}

static int check_failed(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)tail_bytes;
    if (f->failed.code == 0 || f->failed.code > 4095) /* MAX_ERRNO of the kernel */
        REFUSE("FAILED: code is not an errno");
    if (!ink_wire_is_text(f->failed.message, sizeof(f->failed.message)))
        REFUSE("FAILED: message is not a terminated text");
    if (f->failed.reserved != 0)
        REFUSE("FAILED: reserved is not 0");
    return 0;
}

static int check_nothing(const InkWireFrame *f, size_t tail_bytes, InkError *reterr)
{
    (void)f, (void)tail_bytes, (void)reterr;
    return 0;
}

typedef enum IdRule { ID_NONE, ID_NEEDED, ID_EITHER } IdRule;

/* One row for each frame: what can be said of it without looking inside, then its own check. */
static const struct FrameRule {
    uint32_t type;
    InkWireSide side;
    const char *name;
    size_t fixed_bytes;
    size_t most_tail_bytes;
    size_t least_fds, most_fds;
    IdRule id;
    int (*check)(const InkWireFrame *f, size_t tail_bytes, InkError *reterr);
} frame_rules[] = {
    {INK_WIRE_LOAD, INK_WIRE_TO_WORKER, "LOAD", sizeof(InkWireLoad), 0, 1, 2, ID_NEEDED,
     check_load},
    {INK_WIRE_GENERATE, INK_WIRE_TO_WORKER, "GENERATE", sizeof(InkWireGenerate), 0, 1, 1, ID_NEEDED,
     check_generate},
    {INK_WIRE_CANCEL, INK_WIRE_TO_WORKER, "CANCEL", sizeof(InkWireHeader), 0, 0, 0, ID_NEEDED,
     check_nothing},
    {INK_WIRE_CREDIT, INK_WIRE_TO_WORKER, "CREDIT", sizeof(InkWireCredit), 0, 0, 0, ID_NEEDED,
     check_credit},
    {INK_WIRE_TOKENIZE, INK_WIRE_TO_WORKER, "TOKENIZE", sizeof(InkWireTokenize), 0, 1, 1, ID_NEEDED,
     check_tokenize},
    {INK_WIRE_DETOKENIZE, INK_WIRE_TO_WORKER, "DETOKENIZE", sizeof(InkWireDetokenize), 0, 1, 1,
     ID_NEEDED, check_detokenize},
    {INK_WIRE_TRIM, INK_WIRE_TO_WORKER, "TRIM", sizeof(InkWireTrim), 0, 0, 0, ID_NONE, check_trim},
    {INK_WIRE_PRIORITY, INK_WIRE_TO_WORKER, "PRIORITY", sizeof(InkWirePriority), 0, 0, 0, ID_NEEDED,
     check_priority},
    {INK_WIRE_PROBE, INK_WIRE_TO_WORKER, "PROBE", sizeof(InkWireHeader), 0, 0, 0, ID_NEEDED,
     check_nothing},
    {INK_WIRE_READY, INK_WIRE_TO_BROKER, "READY", sizeof(InkWireReady), 0, 0, 0, ID_NONE,
     check_ready},
    {INK_WIRE_LOADED, INK_WIRE_TO_BROKER, "LOADED", sizeof(InkWireLoaded), 0, 0, 0, ID_NEEDED,
     check_loaded},
    {INK_WIRE_PROGRESS, INK_WIRE_TO_BROKER, "PROGRESS", sizeof(InkWireProgress), 0, 0, 0, ID_EITHER,
     check_progress},
    {INK_WIRE_TEXT, INK_WIRE_TO_BROKER, "TEXT", sizeof(InkWireText), INK_WIRE_TEXT_BYTES, 0, 0,
     ID_NEEDED, check_text},
    {INK_WIRE_IDS, INK_WIRE_TO_BROKER, "IDS", sizeof(InkWireIds),
     INK_WIRE_IDS_PER_FRAME * sizeof(uint32_t), 0, 0, ID_NEEDED, check_ids},
    {INK_WIRE_FINISHED, INK_WIRE_TO_BROKER, "FINISHED", sizeof(InkWireFinished), 0, 0, 0, ID_NEEDED,
     check_finished},
    {INK_WIRE_FAILED, INK_WIRE_TO_BROKER, "FAILED", sizeof(InkWireFailed), 0, 0, 0, ID_NEEDED,
     check_failed},
};

int ink_wire_check(const InkWireFrame *f, size_t received_bytes, InkWireSide side, InkError *reterr)
{
    if (received_bytes < sizeof(InkWireHeader) || received_bytes > INK_WIRE_MAX_FRAME_BYTES)
        REFUSE("frame of %zu bytes is not in %zu..%u", received_bytes, sizeof(InkWireHeader),
               INK_WIRE_MAX_FRAME_BYTES);
    if (f->header.size_bytes != received_bytes)
        REFUSE("frame says %u bytes and has %zu", f->header.size_bytes, received_bytes);
    if (f->n_fds > INK_WIRE_MAX_FDS)
        REFUSE("frame with more than %u descriptors", INK_WIRE_MAX_FDS);
    for (size_t i = 0; i < sizeof(frame_rules) / sizeof(frame_rules[0]); i++) {
        const struct FrameRule *rule = &frame_rules[i];
        if (rule->type != f->header.type || rule->side != side)
            continue;
        if (received_bytes < rule->fixed_bytes ||
            received_bytes - rule->fixed_bytes > rule->most_tail_bytes)
            REFUSE("%s: wrong size of %zu bytes", rule->name, received_bytes);
        if (f->n_fds < rule->least_fds || f->n_fds > rule->most_fds)
            REFUSE("%s: wrong number of descriptors, %zu", rule->name, f->n_fds);
        if ((rule->id == ID_NEEDED && f->header.id == 0) ||
            (rule->id == ID_NONE && f->header.id != 0))
            REFUSE("%s: wrong id", rule->name);
        return rule->check(f, received_bytes - rule->fixed_bytes, reterr);
    }
    REFUSE("frame type %u is unknown in this direction", f->header.type);
}

/* -- the socket -------------------------------------------------------------------------------- */

/* Moves the descriptors of one message to `fds`; closes and counts those beyond the limit. */
static size_t take_descriptors(struct msghdr *message, int *fds, size_t *n_fds)
{
    size_t n_surplus = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            n_surplus++;
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (*n_fds < INK_WIRE_MAX_FDS) {
                fds[(*n_fds)++] = fd;
            } else {
                close(fd);
                n_surplus++;
            }
        }
    }
    return n_surplus;
}

int ink_wire_receive_message(int socket, int flags, void *bytes, size_t size_bytes,
                             size_t *ret_n_bytes, int fds[INK_WIRE_MAX_FDS], size_t *ret_n_fds,
                             InkError *reterr)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
    } control;
    struct iovec iov = {bytes, size_bytes};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    *ret_n_fds = 0;
    for (size_t i = 0; i < INK_WIRE_MAX_FDS; i++)
        fds[i] = -1;
    ssize_t n;
    do {
        n = recvmsg(socket, &message, (flags & ~MSG_TRUNC) | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        int code = errno == EWOULDBLOCK ? EAGAIN : errno;
        return code == EAGAIN ? -EAGAIN
                              : INK_RAISE(code, reterr, "receiving a frame failed: errno %d", code);
    }
    size_t n_surplus = take_descriptors(&message, fds, ret_n_fds);
    int r = 0;
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || n_surplus != 0)
        r = INK_RAISE(EPROTO, reterr, "frame is over %zu bytes or %u descriptors", size_bytes,
                      INK_WIRE_MAX_FDS);
    else if (n == 0 && *ret_n_fds == 0)
        r = INK_RAISE(ECONNRESET, reterr, "the other end closed the connection");
    for (; r < 0 && *ret_n_fds > 0; (*ret_n_fds)--) {
        close(fds[*ret_n_fds - 1]);
        fds[*ret_n_fds - 1] = -1;
    }
    *ret_n_bytes = (size_t)n;
    return r;
}

int ink_wire_receive(int socket, int flags, InkWireSide side, InkWireFrame *f, InkError *reterr)
{
    size_t n_bytes;
    INK_TRY(ink_wire_receive_message(socket, flags, f->bytes, sizeof(f->bytes), &n_bytes, f->fds,
                                     &f->n_fds, reterr));
    int r = ink_wire_check(f, n_bytes, side, reterr);
    if (r < 0)
        ink_wire_frame_done(f);
    return r;
}

int ink_wire_send(int socket, int flags, InkWireHeader *frame, size_t frame_bytes, const void *tail,
                  size_t tail_bytes, const int *fds, size_t n_fds)
{
    size_t total;
    if (!ink_size_add(frame_bytes, tail_bytes, &total) || total > INK_WIRE_MAX_FRAME_BYTES ||
        frame_bytes < sizeof(InkWireHeader) || n_fds > INK_WIRE_MAX_FDS)
        return -EINVAL;
    frame->size_bytes = (uint32_t)total;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(INK_WIRE_MAX_FDS * sizeof(int))];
    } control = {0};
    struct iovec iov[2] = {{frame, frame_bytes}, {(void *)(uintptr_t)tail, tail_bytes}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = tail_bytes != 0 ? 2 : 1};
    if (n_fds != 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EPIPE ? -ECONNRESET : errno == EWOULDBLOCK ? -EAGAIN : -errno;
    return (size_t)n == total ? 0 : -EPROTO; /* a packet socket takes a message whole */
}

/* -- bulk data --------------------------------------------------------------------------------- */

static int write_all(int fd, const void *data, size_t n_bytes)
{
    const char *p = data;
    while (n_bytes != 0) {
        ssize_t n = write(fd, p, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

int ink_wire_bulk_new(const InkWireString *strings, size_t n, int *ret_fd, InkError *reterr)
{
    INK_CHECK(n >= 1 && n <= INK_WIRE_MAX_STRINGS, E2BIG, reterr,
              "%zu texts in one request are not in 1..%u", n, INK_WIRE_MAX_STRINGS);
    size_t total = (n + 1) * sizeof(uint32_t);
    for (size_t i = 0; i < n; i++)
        if (!ink_size_add(total, strings[i].n_bytes, &total) || total > INK_WIRE_MAX_BULK_BYTES)
            return INK_RAISE(E2BIG, reterr, "the texts of a request are over %u bytes",
                             INK_WIRE_MAX_BULK_BYTES);
    _cleanup_free_ uint32_t *head = ink_alloc_array(n + 1, sizeof(uint32_t));
    INK_CHECK(head != NULL, ENOMEM, reterr, "no memory for the list of %zu texts", n);
    head[0] = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        head[i + 1] = (uint32_t)strings[i].n_bytes;
    _cleanup_close_ int fd = memfd_create("inkling-bulk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return INK_RAISE(errno, reterr, "memfd_create failed: errno %d", errno);
    int r = write_all(fd, head, (n + 1) * sizeof(uint32_t));
    for (size_t i = 0; i < n && r == 0; i++)
        r = write_all(fd, strings[i].data, strings[i].n_bytes);
    if (r < 0)
        return INK_RAISE(-r, reterr, "writing %zu bytes into a memfd failed: errno %d", total, -r);
    if (fcntl(fd, F_ADD_SEALS, REQUIRED_SEALS | F_SEAL_SEAL) < 0)
        return INK_RAISE(errno, reterr, "sealing a memfd failed: errno %d", errno);
    *ret_fd = INK_TAKE_FD(fd);
    return 0;
}

/* Cuts the mapped bytes into strings; they must fill the file exactly. */
static int cut_strings(InkWireBulk *b, InkError *reterr)
{
    InkBytes in = {b->map, b->map_bytes, 0};
    uint32_t n;
    if (ink_bytes_u32(&in, &n) < 0 || n == 0 || n > INK_WIRE_MAX_STRINGS ||
        ink_bytes_left(&in) / sizeof(uint32_t) < n)
        REFUSE("bulk data: the number of strings is not in 1..%u or beyond its end",
               INK_WIRE_MAX_STRINGS);
    b->strings = ink_alloc_array(n, sizeof(*b->strings));
    INK_CHECK(b->strings != NULL, ENOMEM, reterr, "no memory for %u strings", n);
    InkBytes text = {b->map, b->map_bytes, ((size_t)n + 1) * sizeof(uint32_t)};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size;
        const uint8_t *data;
        if (ink_bytes_u32(&in, &size) < 0 || ink_bytes_take(&text, size, &data) < 0)
            REFUSE("bulk data: string %u ends beyond its %zu bytes", i, b->map_bytes);
        b->strings[i] = (InkWireString){data, size};
    }
    if (ink_bytes_left(&text) != 0)
        REFUSE("bulk data: %zu bytes behind the last string", ink_bytes_left(&text));
    b->n = n;
    return 0;
}

int ink_wire_bulk_map(int fd, InkWireBulk *ret, InkError *reterr)
{
    _cleanup_(ink_wire_bulk_done) InkWireBulk b = INK_WIRE_BULK_INIT;
    struct stat st;
    /* Seals first: only then do size and bytes stay as they are checked. */
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & REQUIRED_SEALS) != REQUIRED_SEALS)
        REFUSE("bulk data: the descriptor is not sealed against shrinking, growing and writing");
    if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(uint32_t) ||
        st.st_size > (off_t)INK_WIRE_MAX_BULK_BYTES)
        REFUSE("bulk data: the size is not in 4..%u bytes", INK_WIRE_MAX_BULK_BYTES);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    INK_CHECK(map != MAP_FAILED, ENOMEM, reterr, "mapping %zu bytes failed", (size_t)st.st_size);
    b.map = map;
    b.map_bytes = (size_t)st.st_size;
    INK_TRY(cut_strings(&b, reterr));
    *ret = b;
    b = INK_WIRE_BULK_INIT;
    return 0;
}

void ink_wire_bulk_done(InkWireBulk *b)
{
    if (b->map != NULL)
        munmap(b->map, b->map_bytes);
    free(b->strings);
    *b = INK_WIRE_BULK_INIT;
}
