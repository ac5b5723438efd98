/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Stands in for inkling-worker --role=inspect in tests of the daemon: says what its script says,
 * one letter for each frame, and ends.
 *
 *   INKLING_FAKE_HELPER=...   r READY   u READY without a seal   w waits for the job
 *     m ends when it could write to the model
 *     c, s PROGRESS of checking, storing at half of the job's size   b one that goes back to 0
 *     t PROGRESS of another total   R RESULT of the job   h RESULT without a hash
 *     z RESULT of another size   f FAILED with EBADMSG   n FAILED with ENOSPC   o FAILED with EPERM
 *     g garbage   . waits for ever */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/worker/wire-inspect.h"
#include "engine/worker/wire-io.h"

#define WIRE 3

static InkInspectFrame job;

static void send_frame(InkWireHeader *header, uint32_t type, size_t n_bytes)
{
    header->type = type;
    if (ink_wire_send(WIRE, 0, header, n_bytes, NULL, 0, NULL, 0) < 0)
        exit(0); /* the daemon has had enough */
}

static void send_progress(InkInspectStage stage, uint64_t done, uint64_t total)
{
    InkInspectProgress p = {.stage = stage, .done = done, .total = total};
    send_frame(&p.header, INK_INSPECT_PROGRESS, sizeof(p));
}

static void send_result(uint64_t size_bytes, bool has_sha256)
{
    InkInspectResult m = {.architecture = "llama",
                          .quantization = "F32",
                          .n_layers = 1,
                          .n_embedding = 1,
                          .n_heads = 1,
                          .n_kv_heads = 1,
                          .n_vocab = 1,
                          .n_context = 1,
                          .n_parameters = 1,
                          .n_types = 1,
                          .has_sha256 = has_sha256,
                          .size_bytes = size_bytes,
                          .types = {{"F32", 4}}};
    send_frame(&m.header, INK_INSPECT_RESULT, sizeof(m));
}

static void send_failed(uint32_t code)
{
    InkWireFailed f = {.code = code, .message = "the fake says so"};
    send_frame(&f.header, INK_INSPECT_FAILED, sizeof(f));
}

static void send_ready(bool sealed)
{
    InkInspectReady r = {.version = INK_INSPECT_VERSION, .seccomp = sealed};
    send_frame(&r.header, INK_INSPECT_READY, sizeof(r));
}

static void play(char letter)
{
    uint64_t size = job.job.size_bytes;
    switch (letter) {
    case 'r':
    case 'u':
        send_ready(letter == 'r');
        break;
    case 'w':
        if (ink_inspect_receive(WIRE, 0, true, &job, NULL) < 0)
            exit(1);
        break;
    case 'm':
        if ((fcntl(job.fds[0], F_GETFL) & O_ACCMODE) != O_RDONLY || write(job.fds[0], "x", 1) >= 0)
            exit(1);
        break;
    case 'c':
    case 's':
        send_progress(letter == 'c' ? INK_INSPECT_CHECKING : INK_INSPECT_STORING, size / 2, size);
        break;
    case 'b':
        send_progress(INK_INSPECT_CHECKING, 0, size);
        break;
    case 't':
        send_progress(INK_INSPECT_CHECKING, 1, size + 1);
        break;
    case 'R':
    case 'h':
        send_result(size, letter == 'R');
        break;
    case 'z':
        send_result(size + 1, true);
        break;
    case 'f':
    case 'n':
    case 'o':
        send_failed(letter == 'f' ? EBADMSG : letter == 'n' ? ENOSPC : EPERM);
        break;
    case 'g':
        (void)!send(WIRE, "garbage", 7, 0);
        break;
    default:
        pause();
    }
}

int main(void)
{
    const char *script = getenv("INKLING_FAKE_HELPER");
    int flags = 0;
    socklen_t n = sizeof(flags);
    if (script == NULL || getsockopt(WIRE, SOL_SOCKET, SO_TYPE, &flags, &n) < 0) {
        fprintf(stderr, "usage: started by a test, with INKLING_FAKE_HELPER\n");
        return 2;
    }
    for (; *script != '\0'; script++)
        play(*script);
    ink_inspect_frame_done(&job);
    return 0;
}
