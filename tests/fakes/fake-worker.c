/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Stands in for inkling-worker in tests of the daemon: the same frames, no model, no seal, and a
 * behaviour that the environment names.
 *
 *   fake-worker --role=serve --fd=N      INKLING_FAKE_SCRIPT=...
 *
 *   echo             answers with INKLING_FAKE_TEXT (or a fixed line), 8 bytes a token, on credit
 *   slow             the same text again and again, a token every 20 ms, until cancelled or at
 *                    max_tokens
 *   die-before-text  SIGKILL on GENERATE         die-after-text   SIGKILL after the first token
 *   die-once:FILE    SIGKILL on GENERATE if FILE was not there (it is made then), else echo
 *   stall            takes GENERATE, then neither heartbeat nor answer; ignores CANCEL
 *   garbage          answers GENERATE with a broken frame
 *   fail-load        FAILED for LOAD             stall-load       no answer to LOAD
 *   no-template      the model has no chat template; else as echo
 *   no-ready         no READY                    unsealed         READY says that no filter holds
 *
 * With --role=inspect it becomes the real program.
 * TOKENIZE counts one token for each byte; DETOKENIZE takes ids as bytes. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/worker/wire-io.h"

#define MAX_REQUESTS 64
#define TOKEN_BYTES  8
#define SLOW_USEC    20000

typedef struct Request {
    uint64_t id; /* 0 = free place */
    uint64_t credit_bytes, sent_bytes, due_usec;
    uint32_t prompt_tokens, output_tokens, max_tokens;
} Request;

static int wire;
static const char *script = "echo";
static const char *text = "It was a fake that told this story, and it told it well.";
static Request requests[MAX_REQUESTS];

static bool plays(const char *name)
{
    return strcmp(script, name) == 0;
}

static void send_frame(InkWireHeader *frame, size_t n_bytes, const void *tail, size_t n_tail)
{
    if (ink_wire_send(wire, 0, frame, n_bytes, tail, n_tail, NULL, 0) < 0)
        exit(0); /* the daemon is gone */
}

static void send_finished(const Request *q, InkWireReason reason)
{
    InkWireFinished f = {.header = {.type = INK_WIRE_FINISHED, .id = q->id},
                         .reason = reason,
                         .prompt_tokens = q->prompt_tokens,
                         .output_tokens = q->output_tokens,
                         .queue_usec = 1,
                         .prefill_usec = 2,
                         .decode_usec = 3,
                         .text_bytes = q->sent_bytes};
    send_frame(&f.header, sizeof(f), NULL, 0);
}

static void send_failed(uint64_t id, int code, const char *message)
{
    InkWireFailed f = {.header = {.type = INK_WIRE_FAILED, .id = id}, .code = (uint32_t)code};
    snprintf(f.message, sizeof(f.message), "%s", message);
    send_frame(&f.header, sizeof(f), NULL, 0);
}

static void send_text(Request *q, const char *piece, size_t n_bytes)
{
    InkWireText t = {.header = {.type = INK_WIRE_TEXT, .id = q->id}, .offset_bytes = q->sent_bytes};
    send_frame(&t.header, sizeof(t), piece, n_bytes);
    q->sent_bytes += n_bytes;
}

static Request *find(uint64_t id)
{
    for (size_t i = 0; i < MAX_REQUESTS; i++)
        if (requests[i].id == id)
            return &requests[i];
    return NULL;
}

/* Bytes of the next token: up to 8, never a torn character. */
static size_t next_piece(const Request *q, const char **ret)
{
    size_t n_text = strlen(text), at = q->sent_bytes % n_text;
    size_t n = n_text - at < TOKEN_BYTES ? n_text - at : TOKEN_BYTES;
    while (at + n < n_text && ((unsigned char)text[at + n] & 0xC0) == 0x80)
        n++;
    *ret = text + at;
    return n;
}

/* Gives the next token of one request; false when there is nothing to give now. */
static bool advance(Request *q)
{
    const char *piece;
    size_t n = next_piece(q, &piece);
    if (q->id == 0 || plays("stall") || n > q->credit_bytes)
        return false;
    if (plays("slow") && ink_clock_monotonic_usec() < q->due_usec)
        return false;
    q->due_usec = ink_clock_monotonic_usec() + SLOW_USEC;
    q->credit_bytes -= n;
    send_text(q, piece, n);
    q->output_tokens++;
    if (plays("die-after-text"))
        raise(SIGKILL);
    bool at_end = !plays("slow") && q->sent_bytes == strlen(text);
    if (at_end || q->output_tokens == q->max_tokens) {
        send_finished(q, at_end ? INK_WIRE_REASON_STOP : INK_WIRE_REASON_LENGTH);
        q->id = 0;
    }
    return true;
}

static uint32_t count_bytes(int fd, size_t n_skipped_strings)
{
    InkWireBulk bulk = INK_WIRE_BULK_INIT;
    InkError e;
    if (ink_wire_bulk_map(fd, &bulk, &e) < 0) {
        fprintf(stderr, "fake-worker: %s\n", e.message);
        exit(1);
    }
    size_t n = 0;
    for (size_t i = 0; i + n_skipped_strings < bulk.n; i++)
        n += bulk.strings[i].n_bytes;
    ink_wire_bulk_done(&bulk);
    return (uint32_t)n;
}

static void on_load(const InkWireFrame *f)
{
    if (plays("stall-load"))
        return;
    if (plays("fail-load")) {
        send_failed(f->header.id, EBADMSG, "tensor data: the file ends before tensor 3");
        return;
    }
    InkWireLoaded l = {.header = {.type = INK_WIRE_LOADED, .id = f->header.id},
                       .name = "Fake model",
                       .architecture = "fake",
                       .quantization = "F32",
                       .kernels = "ref",
                       .n_threads = 1,
                       .n_context = 2048,
                       .n_vocab = 256,
                       .has_template = !plays("no-template"),
                       .n_parameters = 1000,
                       .packed_bytes = 4000,
                       .kv_bytes_per_token = 16,
                       .load_usec = 10};
    send_frame(&l.header, sizeof(l), NULL, 0);
}

static void on_generate(const InkWireFrame *f)
{
    if (strncmp(script, "die-once:", 9) == 0) {
        int fd = open(script + 9, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0)
            raise(SIGKILL);
    }
    if (plays("die-before-text"))
        raise(SIGKILL);
    if (plays("garbage")) {
        InkWireFinished broken = {.header = {.type = INK_WIRE_FINISHED, .id = f->header.id},
                                  .reason = 4711};
        send_frame(&broken.header, sizeof(broken), NULL, 0);
        return;
    }
    Request *q = find(0);
    if (q == NULL) {
        send_failed(f->header.id, EBUSY, "64 requests are queued already");
        return;
    }
    *q = (Request){.id = f->header.id,
                   .credit_bytes = f->generate.credit_bytes,
                   .prompt_tokens = count_bytes(f->fds[0], f->generate.n_stops),
                   .max_tokens = f->generate.max_tokens};
    if (q->max_tokens == 0 && !plays("stall")) { /* a prewarm */
        send_finished(q, INK_WIRE_REASON_DONE);
        q->id = 0;
    }
}

static void on_tokenize(const InkWireFrame *f)
{
    InkWireBulk bulk = INK_WIRE_BULK_INIT;
    Request q = {.id = f->header.id, .prompt_tokens = count_bytes(f->fds[0], 0)};
    if (ink_wire_bulk_map(f->fds[0], &bulk, NULL) < 0)
        exit(1);
    uint32_t offset = 0;
    for (size_t i = 0; f->tokenize.wants_ids && i < bulk.n; i++)
        for (size_t at = 0; at < bulk.strings[i].n_bytes;) {
            static uint32_t ids[INK_WIRE_IDS_PER_FRAME];
            InkWireIds out = {.header = {.type = INK_WIRE_IDS, .id = q.id}, .offset = offset};
            const uint8_t *bytes = bulk.strings[i].data;
            for (; at < bulk.strings[i].n_bytes && out.n < INK_WIRE_IDS_PER_FRAME; at++)
                ids[out.n++] = bytes[at];
            send_frame(&out.header, sizeof(out), ids, out.n * sizeof(uint32_t));
            offset += out.n;
        }
    ink_wire_bulk_done(&bulk);
    send_finished(&q, INK_WIRE_REASON_DONE);
}

static void on_detokenize(const InkWireFrame *f)
{
    InkWireBulk bulk = INK_WIRE_BULK_INIT;
    Request q = {.id = f->header.id};
    if (ink_wire_bulk_map(f->fds[0], &bulk, NULL) < 0)
        exit(1);
    size_t n = bulk.strings[0].n_bytes / sizeof(uint32_t);
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        memcpy(&id, (const char *)bulk.strings[0].data + i * sizeof(id), sizeof(id));
        if (id == 0 || id > 127) {
            send_failed(q.id, EINVAL, "ids: an id is not in the vocabulary of 256 tokens");
            ink_wire_bulk_done(&bulk);
            return;
        }
        char c = (char)id;
        send_text(&q, &c, 1);
    }
    q.prompt_tokens = (uint32_t)n;
    ink_wire_bulk_done(&bulk);
    send_finished(&q, INK_WIRE_REASON_DONE);
}

static void on_frame(const InkWireFrame *f)
{
    Request *q = f->header.id != 0 ? find(f->header.id) : NULL;
    switch (f->header.type) {
    case INK_WIRE_LOAD:
        on_load(f);
        break;
    case INK_WIRE_GENERATE:
        on_generate(f);
        break;
    case INK_WIRE_TOKENIZE:
        on_tokenize(f);
        break;
    case INK_WIRE_DETOKENIZE:
        on_detokenize(f);
        break;
    case INK_WIRE_CREDIT:
        if (q != NULL)
            q->credit_bytes += f->credit.more_bytes;
        break;
    case INK_WIRE_CANCEL:
        if (q != NULL && !plays("stall")) {
            send_finished(q, INK_WIRE_REASON_CANCELLED);
            q->id = 0;
        }
        break;
    }
}

static void serve(void)
{
    static InkWireFrame frame;
    InkWireReady ready = {.header = {.type = INK_WIRE_READY},
                          .version = INK_WIRE_VERSION,
                          .seccomp = !plays("unsealed"),
                          .landlock_abi = 1};
    if (!plays("no-ready"))
        send_frame(&ready.header, sizeof(ready), NULL, 0);
    for (bool moved = false;; moved = false) {
        for (size_t i = 0; i < MAX_REQUESTS; i++)
            moved |= advance(&requests[i]);
        struct pollfd p = {.fd = wire, .events = POLLIN};
        if (poll(&p, 1, moved ? 0 : plays("slow") ? SLOW_USEC / 4000 : -1) <= 0)
            continue;
        InkError e;
        int r = ink_wire_receive(wire, MSG_DONTWAIT, INK_WIRE_TO_WORKER, &frame, &e);
        if (r == -EAGAIN)
            continue;
        if (r < 0) {
            if (r != -ECONNRESET)
                fprintf(stderr, "fake-worker: %s\n", e.message);
            exit(r == -ECONNRESET ? 0 : 1);
        }
        on_frame(&frame);
        ink_wire_frame_done(&frame);
    }
}

/* A helper that looks at model files is the real one always. */
static void become_helper(char **argv)
{
    char path[4096];
    const char *build = getenv("INKLING_BUILD_DIR");
    snprintf(path, sizeof(path), "%s/engine/worker/inkling-worker", build != NULL ? build : ".");
    execv(path, argv);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--role=inspect") == 0) {
        become_helper(argv);
        return 127;
    }
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--fd=", 5) == 0)
            wire = atoi(argv[i] + 5);
    if (wire <= 2) {
        fprintf(stderr, "usage: fake-worker --role=serve --fd=N\n");
        return 2;
    }
    if (getenv("INKLING_FAKE_SCRIPT") != NULL)
        script = getenv("INKLING_FAKE_SCRIPT");
    if (getenv("INKLING_FAKE_TEXT") != NULL && getenv("INKLING_FAKE_TEXT")[0] != '\0')
        text = getenv("INKLING_FAKE_TEXT");
    serve();
    return 0;
}
