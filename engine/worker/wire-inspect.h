/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The frames between inklingd and a helper, `inkling-worker --role=inspect`: a process that looks
 * at one model file, for one call, and ends. It is sealed as the worker is before it reads its
 * first byte, and the broker distrusts it in the same way. Sockets, headers and descriptors are
 * those of wire.h; the type numbers differ, so that neither role takes the other's frames.
 *
 *   helper: READY     broker: INSPECT     helper: PROGRESS..., then one RESULT or FAILED
 *
 * With `copy` the helper copies the first file into the second one, hashes what it writes, makes it
 * durable, and looks at the copy, which nobody else can change. Cancelling is killing it.
 * Checks need base alone (library `ink_wire`). Thread: plain data. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/worker/wire.h"

#define INK_INSPECT_VERSION       1u
#define INK_INSPECT_MAX_WARNINGS  8u
#define INK_INSPECT_WARNING_BYTES 160u
#define INK_INSPECT_MAX_TYPES     24u
/* Progress while it works; a tenth of what people notice as a stop. */
#define INK_INSPECT_PROGRESS_USEC 100000u

typedef enum InkInspectType {
    /* broker to helper */
    INK_INSPECT_INSPECT = 128, /* InkInspectJob; fds: model, then the copy's file if `copy` */
    /* helper to broker */
    INK_INSPECT_READY = 192, /* InkInspectReady; id 0; sealed and waiting */
    INK_INSPECT_PROGRESS,    /* InkInspectProgress */
    INK_INSPECT_RESULT,      /* InkInspectResult */
    INK_INSPECT_FAILED,      /* InkWireFailed */
} InkInspectType;

typedef struct InkInspectJob {
    InkWireHeader header;
    uint32_t version; /* INK_INSPECT_VERSION */
    uint8_t copy;
    uint8_t hash;        /* of the whole file; implied by copy */
    uint8_t reserved[2]; /* 0 */
    uint64_t size_bytes; /* that the broker saw; another size is a file that changes */
} InkInspectJob;
static_assert(sizeof(InkInspectJob) == 32, "inspect job");

typedef struct InkInspectReady {
    InkWireHeader header;
    uint32_t version;     /* INK_INSPECT_VERSION */
    uint8_t seccomp;      /* 1 = the filter holds */
    uint8_t landlock_abi; /* 0 = the kernel has none */
    uint8_t reserved[2];  /* 0 */
} InkInspectReady;
static_assert(sizeof(InkInspectReady) == 24, "inspect ready");

typedef enum InkInspectStage {
    INK_INSPECT_CHECKING = 1, /* also hashing without a copy */
    INK_INSPECT_STORING,
} InkInspectStage;

typedef struct InkInspectProgress {
    InkWireHeader header;
    uint32_t stage;       /* InkInspectStage */
    uint32_t reserved;    /* 0 */
    uint64_t done, total; /* bytes; done <= total */
} InkInspectProgress;
static_assert(sizeof(InkInspectProgress) == 40, "inspect progress");

typedef struct InkInspectTensorType {
    char name[16]; /* "Q4_1" */
    uint64_t n_bytes;
} InkInspectTensorType;
static_assert(sizeof(InkInspectTensorType) == 24, "inspect tensor type");

typedef struct InkInspectResult {
    InkWireHeader header;
    char
        name[128]; /* general.name, made printable; texts are terminated, "" = the file says none */
    char architecture[32];
    char quantization[16]; /* the type most weights have */
    char tokenizer[32];    /* tokenizer.ggml.model */
    char license[64];
    uint32_t n_layers, n_embedding, n_heads, n_kv_heads, n_vocab, n_context;
    uint8_t has_template; /* that this build can run */
    uint8_t has_sha256;
    uint8_t n_types, n_warnings;
    uint32_t reserved; /* 0 */
    uint64_t n_parameters;
    uint64_t size_bytes;
    uint8_t sha256[32];
    InkInspectTensorType types[INK_INSPECT_MAX_TYPES];
    char warnings[INK_INSPECT_MAX_WARNINGS][INK_INSPECT_WARNING_BYTES];
} InkInspectResult;
static_assert(sizeof(InkInspectResult) == 2224, "inspect result");

typedef struct InkInspectFrame {
    union {
        InkWireHeader header;
        InkInspectJob job;
        InkInspectReady ready;
        InkInspectProgress progress;
        InkInspectResult result;
        InkWireFailed failed;
        uint8_t bytes[sizeof(InkInspectResult)];
    };
    int fds[INK_WIRE_MAX_FDS]; /* -1 = none; what is not taken is closed by _done */
    size_t n_fds;
} InkInspectFrame;

void ink_inspect_frame_done(InkInspectFrame *f);

/* As ink_wire_check: all that can be checked without knowing what went before. */
INK_MUST_CHECK int ink_inspect_check(const InkInspectFrame *f, size_t received_bytes,
                                     bool to_helper, InkError *reterr);
/* As ink_wire_receive. Frames are sent with ink_wire_send. */
INK_MUST_CHECK int ink_inspect_receive(int socket, int flags, bool to_helper, InkInspectFrame *f,
                                       InkError *reterr);
