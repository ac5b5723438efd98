/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/protocol.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/base/network-probe.h"
#include "engine/base/utf8.h"
#include "engine/worker/scheduler.h"

/* Frames that came during a step and wait for its end. When they are this many the rest stays in
 * the socket, which holds the broker back. */
#define MAX_WAITING      128u /* each with a descriptor: seal.c has room for them */
/* Between two looks at the socket during a step; a layer of a large model takes longer. */
#define POLL_USEC        500u
/* Ids that are turned into text at a time, so that the limit on the text is seen early. */
#define DECODE_CHUNK_IDS 4096u
/* Waiting frames are answered for about this long, then those being written have a step, and the
 * socket is looked at: a prompt of some megabytes takes longer alone. */
#define FRAMES_USEC      20000u

/* A frame to the worker has no tail, so this is all of it. */
typedef struct WaitingFrame {
    uint8_t bytes[sizeof(InkWireGenerate)];
    int fds[INK_WIRE_MAX_FDS];
    size_t n_fds;
} WaitingFrame;

static_assert(sizeof(InkWireGenerate) >= sizeof(InkWireLoad), "largest frame to the worker");

typedef struct Worker {
    int socket;
    InkEngine *engine;
    InkScheduler *scheduler;
    InkWireFrame frame; /* the one being looked at */
    WaitingFrame waiting[MAX_WAITING];
    size_t first_waiting, n_waiting;
    uint64_t polled_usec;
    InkError error; /* of a frame that came during a step */
} Worker;

static void worker_free_p(Worker **w)
{
    if (*w == NULL)
        return;
    ink_wire_frame_done(&(*w)->frame);
    for (size_t i = 0; i < (*w)->n_waiting; i++) {
        WaitingFrame *f = &(*w)->waiting[((*w)->first_waiting + i) % MAX_WAITING];
        for (size_t k = 0; k < f->n_fds; k++)
            close(f->fds[k]);
    }
    ink_scheduler_free((*w)->scheduler);
    ink_engine_close((*w)->engine);
    free(*w);
}

/* -- taking frames in -------------------------------------------------------------------------- */

static void put_waiting(Worker *w)
{
    WaitingFrame *f = &w->waiting[(w->first_waiting + w->n_waiting++) % MAX_WAITING];
    memcpy(f->bytes, w->frame.bytes, sizeof(f->bytes));
    memcpy(f->fds, w->frame.fds, sizeof(f->fds));
    f->n_fds = w->frame.n_fds;
    w->frame.n_fds = 0; /* handed on */
}

static bool get_waiting(Worker *w)
{
    if (w->n_waiting == 0)
        return false;
    WaitingFrame *f = &w->waiting[w->first_waiting];
    memcpy(w->frame.bytes, f->bytes, sizeof(f->bytes));
    memcpy(w->frame.fds, f->fds, sizeof(f->fds));
    w->frame.n_fds = f->n_fds;
    w->first_waiting = (w->first_waiting + 1) % MAX_WAITING;
    w->n_waiting--;
    return true;
}

/* The request that waits under this id, if any. */
static WaitingFrame *find_waiting(Worker *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_waiting; i++) {
        WaitingFrame *f = &w->waiting[(w->first_waiting + i) % MAX_WAITING];
        InkWireHeader h;
        memcpy(&h, f->bytes, sizeof(h));
        if (h.id == id && (h.type == INK_WIRE_GENERATE || h.type == INK_WIRE_TOKENIZE ||
                           h.type == INK_WIRE_DETOKENIZE || h.type == INK_WIRE_PROBE))
            return f;
    }
    return NULL;
}

/* Its place is left to a CANCEL of an id that is gone, which does nothing. */
static int cancel_waiting(Worker *w, WaitingFrame *f)
{
    for (size_t i = 0; i < f->n_fds; i++)
        close(f->fds[i]);
    f->n_fds = 0;
    memcpy(f->bytes, w->frame.bytes, sizeof(InkWireHeader));
    InkWireFinished finished = {.header = {.type = INK_WIRE_FINISHED, .id = w->frame.header.id},
                                .reason = INK_WIRE_REASON_CANCELLED};
    return ink_worker_send(w->socket, &finished.header, sizeof(finished), NULL, 0);
}

/* CANCEL, CREDIT and PRIORITY of a known answer count at once, and so does a CANCEL of what still
 * waits; everything else keeps its turn. */
static int take_frame(Worker *w, InkError *reterr)
{
    const InkWireHeader *h = &w->frame.header;
    bool known = w->scheduler != NULL && ink_scheduler_has(w->scheduler, h->id);
    if (known && h->type == INK_WIRE_CANCEL) {
        ink_scheduler_cancel(w->scheduler, h->id);
        return 0;
    }
    if (known && h->type == INK_WIRE_PRIORITY) {
        ink_scheduler_set_priority(w->scheduler, h->id, w->frame.priority.priority);
        return 0;
    }
    if (known && h->type == INK_WIRE_CREDIT)
        return ink_scheduler_credit(w->scheduler, h->id, w->frame.credit.more_bytes, reterr);
    WaitingFrame *waiting = h->type == INK_WIRE_CANCEL ? find_waiting(w, h->id) : NULL;
    if (waiting != NULL) {
        int r = cancel_waiting(w, waiting);
        return r < 0 ? INK_RAISE(-r, reterr, "sending a frame failed: errno %d", -r) : 0;
    }
    put_waiting(w);
    return 0;
}

/* Takes in all that has arrived, after waiting for the first frame if `wait`. */
static int take_in(Worker *w, bool wait, InkError *reterr)
{
    for (; w->n_waiting < MAX_WAITING; wait = false) {
        int r = ink_wire_receive(w->socket, wait ? 0 : MSG_DONTWAIT, INK_WIRE_TO_WORKER, &w->frame,
                                 reterr);
        if (r == -EAGAIN && !wait)
            return 0;
        if (r == -EAGAIN) { /* a socket that does not block of itself */
            struct pollfd p = {.fd = w->socket, .events = POLLIN};
            if (poll(&p, 1, -1) < 0 && errno != EINTR)
                return INK_RAISE(errno, reterr, "poll failed: errno %d", errno);
            continue;
        }
        INK_TRY(r);
        INK_TRY(take_frame(w, reterr));
    }
    return 0;
}

static int poll_between_layers(void *userdata)
{
    Worker *w = userdata;
    uint64_t now = ink_clock_monotonic_usec();
    if (now - w->polled_usec < POLL_USEC)
        return 0;
    w->polled_usec = now;
    return take_in(w, false, &w->error);
}

/* -- answering --------------------------------------------------------------------------------- */

static int send_failed(Worker *w, int r, const InkError *e)
{
    return ink_worker_send_failed(w->socket, w->frame.header.id, -r, e->message);
}

static int send_done(Worker *w, size_t n_tokens, uint64_t text_bytes)
{
    InkWireFinished f = {.header = {.type = INK_WIRE_FINISHED, .id = w->frame.header.id},
                         .reason = INK_WIRE_REASON_DONE,
                         .prompt_tokens = (uint32_t)n_tokens,
                         .text_bytes = text_bytes};
    return ink_worker_send(w->socket, &f.header, sizeof(f), NULL, 0);
}

/* Copies a name of the model into a frame's field: whole characters, no controls. */
static void copy_name(char *field, size_t n_bytes, const char *name)
{
    ink_utf8_copy_printable(field, n_bytes, name, strlen(name));
}

static int send_loaded(Worker *w, uint64_t load_usec)
{
    const InkEngineInfo *info = ink_engine_info(w->engine);
    InkWireLoaded l = {
        .header = {.type = INK_WIRE_LOADED, .id = w->frame.header.id},
        .n_threads = (uint32_t)info->n_threads,
        .n_context = (uint32_t)info->n_context,
        .n_vocab = (uint32_t)info->n_vocab,
        .has_template = info->has_template,
        .cache_used = info->pack_cache_used,
        .n_parameters = info->n_parameters,
        .packed_bytes = info->packed_bytes,
        .kv_bytes_per_token = info->kv_bytes_per_token,
        .load_usec = load_usec,
    };
    copy_name(l.name, sizeof(l.name), info->name);
    copy_name(l.architecture, sizeof(l.architecture), info->architecture);
    copy_name(l.quantization, sizeof(l.quantization), info->quantization);
    copy_name(l.kernels, sizeof(l.kernels), info->kernels);
    return ink_worker_send(w->socket, &l.header, sizeof(l), NULL, 0);
}

static int open_model(Worker *w, InkError *reterr)
{
    const InkWireLoad *l = &w->frame.load;
    InkEngineOptions options = {
        .n_threads = l->n_threads,
        .isa = l->isa[0] != '\0' ? l->isa : NULL,
        .pack_cache_fd = l->has_cache ? w->frame.fds[1] : -1,
        .pack_cache_locked = l->cache_locked,
        .max_kv_bytes = l->max_kv_bytes,
    };
    _cleanup_(ink_engine_close_p) InkEngine *e = NULL;
    INK_TRY(ink_engine_open(w->frame.fds[0], &options, &e, reterr));
    ink_engine_settle_threads(e);
    INK_TRY(ink_scheduler_new(e, options.max_kv_bytes, w->socket, &w->scheduler, reterr));
    w->engine = INK_TAKE(e);
    return 0;
}

static int on_load(Worker *w, InkError *reterr)
{
    INK_CHECK(w->engine == NULL, EPROTO, reterr, "LOAD: a model is loaded already");
    uint64_t start = ink_clock_monotonic_usec();
    InkWireProgress p = {.header = {.type = INK_WIRE_PROGRESS, .id = w->frame.header.id},
                         .stage = INK_WIRE_STAGE_LOADING};
    INK_TRY(ink_worker_send(w->socket, &p.header, sizeof(p), NULL, 0));
    InkError e = {0};
    int r = open_model(w, &e);
    return r < 0 ? send_failed(w, r, &e) : send_loaded(w, ink_clock_monotonic_usec() - start);
}

/* Maps the frame's strings. Broken ones are the broker's fault and end the connection; want of
 * memory fails this request alone, and then *ret_answered is set. */
static int map_strings(Worker *w, InkWireBulk *bulk, bool *ret_answered, InkError *reterr)
{
    InkError e = {0};
    int r = ink_wire_bulk_map(w->frame.fds[0], bulk, &e);
    *ret_answered = r == -ENOMEM;
    if (r == -ENOMEM)
        return send_failed(w, r, &e);
    if (r < 0 && reterr != NULL)
        *reterr = e;
    return r;
}

static int on_generate(Worker *w, InkError *reterr)
{
    _cleanup_(ink_wire_bulk_done) InkWireBulk bulk = INK_WIRE_BULK_INIT;
    _cleanup_(ink_generation_free_p) InkGeneration *g = NULL;
    bool answered;
    InkError e = {0};
    INK_CHECK(!ink_scheduler_has(w->scheduler, w->frame.header.id), EPROTO, reterr,
              "GENERATE: its id is in use");
    INK_TRY(map_strings(w, &bulk, &answered, reterr));
    if (answered)
        return 0;
    uint64_t begin = ink_clock_monotonic_usec();
    int r = ink_generation_new(w->engine, &w->frame.generate, &bulk, &g, &e);
    if (r == -EPROTO)
        return INK_RAISE(EPROTO, reterr, "%s", e.message);
    /* Some megabytes of text cost a second, also of one that is refused then. */
    uint64_t usec = ink_clock_monotonic_usec() - begin;
    ink_scheduler_charge(w->scheduler, w->frame.generate.scope, w->frame.generate.priority, usec);
    if (g != NULL)
        g->engine_usec = usec;
    if (r == 0)
        r = ink_scheduler_add(w->scheduler, &g, &e);
    return r < 0 ? send_failed(w, r, &e) : 0;
}

static int send_ids(Worker *w, const InkTokens *tokens)
{
    for (size_t at = 0; at < tokens->n;) {
        size_t n =
            tokens->n - at < INK_WIRE_IDS_PER_FRAME ? tokens->n - at : INK_WIRE_IDS_PER_FRAME;
        InkWireIds ids = {.header = {.type = INK_WIRE_IDS, .id = w->frame.header.id},
                          .offset = (uint32_t)at,
                          .n = (uint32_t)n};
        INK_TRY(ink_worker_send(w->socket, &ids.header, sizeof(ids), tokens->ids + at,
                                n * sizeof(uint32_t)));
        at += n;
    }
    return 0;
}

static int on_tokenize(Worker *w, InkError *reterr)
{
    _cleanup_(ink_wire_bulk_done) InkWireBulk bulk = INK_WIRE_BULK_INIT;
    _cleanup_tokens_ InkTokens tokens = INK_TOKENS_INIT;
    const InkWireTokenize *t = &w->frame.tokenize;
    bool answered;
    InkError e = {0};
    INK_TRY(map_strings(w, &bulk, &answered, reterr));
    if (answered)
        return 0;
    bool chat = t->kind == INK_WIRE_CHAT;
    INK_CHECK(bulk.n == (chat ? 2 * (size_t)t->n_messages : 1), EPROTO, reterr,
              "TOKENIZE: %zu strings do not fit its n_messages", bulk.n);
    InkPrompt prompt = {
        .strings = bulk.strings, .n_messages = t->n_messages, .whole = chat, .special = t->special};
    int r = ink_prompt_encode(w->engine, &prompt, &tokens, &e);
    if (r < 0)
        return send_failed(w, r, &e);
    if (t->wants_ids)
        INK_TRY(send_ids(w, &tokens));
    return send_done(w, tokens.n, 0);
}

/* The text of n ids as whole characters. */
static int decode_ids(const Worker *w, const InkWireString *bytes, bool special, InkBuffer *text,
                      InkError *reterr)
{
    const InkTokenizer *tokenizer = ink_engine_tokenizer(w->engine);
    _cleanup_(ink_text_stream_done) InkTextStream stream = {0};
    _cleanup_buffer_ InkBuffer raw = INK_BUFFER_INIT, whole = INK_BUFFER_INIT;
    uint32_t ids[DECODE_CHUNK_IDS], previous = INK_TOKEN_NONE;
    size_t n_ids = bytes->n_bytes / sizeof(uint32_t);
    INK_TRY(ink_text_stream_init(&stream, NULL, 0, reterr));
    for (size_t at = 0, n; at < n_ids; at += n) {
        n = n_ids - at < DECODE_CHUNK_IDS ? n_ids - at : DECODE_CHUNK_IDS;
        memcpy(ids, (const char *)bytes->data + at * sizeof(uint32_t), n * sizeof(uint32_t));
        for (size_t i = 0; i < n; i++)
            INK_CHECK(ids[i] < ink_tokenizer_n_vocab(tokenizer), EINVAL, reterr,
                      "ids[%zu] is not in the vocabulary of %zu tokens", at + i,
                      ink_tokenizer_n_vocab(tokenizer));
        ink_buffer_clear(&raw);
        INK_TRY(ink_tokenizer_decode(tokenizer, previous, ids, n, special, &raw, reterr));
        previous = ids[n - 1];
        INK_TRY(ink_text_stream_push(&stream, raw.data != NULL ? raw.data : "", raw.size_bytes,
                                     &whole));
        INK_CHECK(whole.size_bytes <= INK_WIRE_MAX_BULK_BYTES, E2BIG, reterr,
                  "the text of these ids is over %u bytes", INK_WIRE_MAX_BULK_BYTES);
    }
    INK_TRY(ink_text_stream_finish(&stream, &whole));
    if (whole.size_bytes != 0)
        ink_worker_append_text(text, whole.data, whole.size_bytes);
    INK_CHECK(!text->failed && !whole.failed, ENOMEM, reterr, "no memory for the text of %zu ids",
              n_ids);
    return 0;
}

static int on_detokenize(Worker *w, InkError *reterr)
{
    _cleanup_(ink_wire_bulk_done) InkWireBulk bulk = INK_WIRE_BULK_INIT;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    bool answered;
    InkError e = {0};
    INK_TRY(map_strings(w, &bulk, &answered, reterr));
    if (answered)
        return 0;
    INK_CHECK(bulk.n == 1 && bulk.strings[0].n_bytes % sizeof(uint32_t) == 0, EPROTO, reterr,
              "DETOKENIZE: not one string of u32 ids");
    int r = decode_ids(w, &bulk.strings[0], w->frame.detokenize.special, &text, &e);
    if (r < 0)
        return send_failed(w, r, &e);
    for (size_t at = 0; at < text.size_bytes;) {
        InkWireText t = {.header = {.type = INK_WIRE_TEXT, .id = w->frame.header.id},
                         .offset_bytes = at};
        size_t n = ink_worker_text_piece(text.data + at, text.size_bytes - at, UINT64_MAX);
        INK_TRY(ink_worker_send(w->socket, &t.header, sizeof(t), text.data + at, n));
        at += n;
    }
    return send_done(w, bulk.strings[0].n_bytes / sizeof(uint32_t), text.size_bytes);
}

static int on_probe(Worker *w, InkError *reterr)
{
    int errors[INK_NETWORK_TRIES];
    char text[INK_NETWORK_TRIES * 12] = "";
    size_t n = 0;
    ink_network_probe(errors);
    for (size_t i = 0; i < INK_NETWORK_TRIES; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, i > 0 ? " %d" : "%d", errors[i]);
    InkWireText t = {.header = {.type = INK_WIRE_TEXT, .id = w->frame.header.id}};
    int r = ink_worker_send(w->socket, &t.header, sizeof(t), text, n);
    INK_CHECK(r >= 0, -r, reterr, "PROBE: the answer was not sent");
    return send_done(w, 0, n);
}

static int on_frame(Worker *w, InkError *reterr)
{
    const InkWireHeader *h = &w->frame.header;
    if (h->type == INK_WIRE_LOAD)
        return on_load(w, reterr);
    INK_CHECK(w->engine != NULL, EPROTO, reterr, "frame type %u before a model is loaded", h->type);
    switch (h->type) {
    case INK_WIRE_GENERATE:
        return on_generate(w, reterr);
    case INK_WIRE_CANCEL:
        ink_scheduler_cancel(w->scheduler, h->id);
        return 0;
    case INK_WIRE_CREDIT:
        return ink_scheduler_credit(w->scheduler, h->id, w->frame.credit.more_bytes, reterr);
    case INK_WIRE_TOKENIZE:
        return on_tokenize(w, reterr);
    case INK_WIRE_DETOKENIZE:
        return on_detokenize(w, reterr);
    case INK_WIRE_PRIORITY: /* its answer waited in front of it */
        ink_scheduler_set_priority(w->scheduler, h->id, w->frame.priority.priority);
        return 0;
    case INK_WIRE_PROBE:
        return on_probe(w, reterr);
    case INK_WIRE_TRIM:
        ink_scheduler_trim(w->scheduler, w->frame.trim.scope, w->frame.trim.keep_bytes);
        return 0;
    }
    return INK_RAISE(EPROTO, reterr, "frame type %u is unknown", h->type);
}

/* -- the loop ---------------------------------------------------------------------------------- */

static int answer_waiting(Worker *w, InkError *reterr)
{
    uint64_t begin = ink_clock_monotonic_usec();
    while (get_waiting(w)) {
        int r = on_frame(w, reterr);
        ink_wire_frame_done(&w->frame);
        INK_TRY(r);
        if (ink_clock_monotonic_usec() - begin >= FRAMES_USEC)
            break;
    }
    return 0;
}

static int serve_once(Worker *w, InkError *reterr)
{
    bool runnable = w->scheduler != NULL && ink_scheduler_is_runnable(w->scheduler);
    INK_TRY(take_in(w, !runnable && w->n_waiting == 0, reterr));
    if (w->scheduler != NULL)
        INK_TRY(ink_scheduler_settle(w->scheduler)); /* what was cancelled ends before more comes */
    INK_TRY(answer_waiting(w, reterr));
    if (w->scheduler == NULL)
        return 0;
    INK_TRY(ink_scheduler_settle(w->scheduler));
    if (!ink_scheduler_is_runnable(w->scheduler))
        return 0;
    int r = ink_scheduler_step(w->scheduler, poll_between_layers, w, reterr);
    if (r < 0 && w->error.code != 0 && reterr != NULL)
        *reterr = w->error; /* what was wrong with the frame, and not just where it was seen */
    return r;
}

int ink_worker_serve(int socket, const InkSealStatus *seal, InkError *reterr)
{
    _cleanup_(worker_free_p) Worker *w = ink_alloc_array(1, sizeof(*w));
    INK_CHECK(w != NULL, ENOMEM, reterr, "no memory for the connection");
    w->socket = socket;
    InkWireReady ready = {.header = {.type = INK_WIRE_READY},
                          .version = INK_WIRE_VERSION,
                          .seccomp = seal->seccomp,
                          .landlock_abi =
                              (uint8_t)(seal->landlock_abi < 255 ? seal->landlock_abi : 255)};
    int r = ink_worker_send(socket, &ready.header, sizeof(ready), NULL, 0);
    while (r >= 0)
        r = serve_once(w, reterr);
    return r;
}
