/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The frames between inklingd and inkling-worker: one SOCK_SEQPACKET message each, fixed-width
 * little-endian structs behind one header, descriptors by SCM_RIGHTS. Both ends distrust the other:
 * a frame of a wrong size, type, enumeration value, id or number of descriptors ends the connection
 * (the worker exits, the broker kills and replaces it); nothing is guessed.
 *
 * Bulk data (prompts, messages, token ids) travels in a sealed memfd: a list of byte strings,
 * u32 n, u32 sizes_bytes[n], then the bytes, without padding. The worker maps it only when it
 * carries all of F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE.
 *
 * Order: READY first; LOAD answered by LOADED or FAILED with the same id; then any number of
 * GENERATE, TOKENIZE and DETOKENIZE, each answered by exactly one FINISHED or FAILED with its id.
 * Back-pressure: TEXT is sent only against credit in bytes, given in GENERATE and by CREDIT; a
 * request without credit is parked alone.
 * Thread: plain data. */
#pragma once

#include <assert.h>
#include <stdint.h>

#define INK_WIRE_VERSION         2u
#define INK_WIRE_MAX_FRAME_BYTES 65536u
#define INK_WIRE_MAX_BULK_BYTES  (16u << 20)
#define INK_WIRE_MAX_STRINGS     4096u /* of one memfd: 1 prompt or 2 per message, and stops */
#define INK_WIRE_MAX_FDS         2u
#define INK_WIRE_MAX_STOPS       16u
#define INK_WIRE_MAX_TOKENS      4096u       /* of one answer */
#define INK_WIRE_MAX_CREDIT      (64u << 20) /* outstanding bytes of one request */
#define INK_WIRE_TEXT_BYTES      16384u      /* of one TEXT frame at most */
#define INK_WIRE_IDS_PER_FRAME   8192u
#define INK_WIRE_MESSAGE_BYTES   240u

typedef enum InkWireType {
    /* broker to worker */
    INK_WIRE_LOAD = 1,   /* InkWireLoad; fds: model, then the pack cache if `has_cache` */
    INK_WIRE_GENERATE,   /* InkWireGenerate; fd: strings prompt | role, text, ...; then the stops */
    INK_WIRE_CANCEL,     /* header only; an unknown id is ignored (it may just have finished) */
    INK_WIRE_CREDIT,     /* InkWireCredit; an unknown id is ignored */
    INK_WIRE_TOKENIZE,   /* InkWireTokenize; fd: strings as GENERATE, without stops */
    INK_WIRE_DETOKENIZE, /* InkWireDetokenize; fd: one string of u32 ids */
    INK_WIRE_TRIM,       /* InkWireTrim; id 0; after LOADED, not answered */
    INK_WIRE_PRIORITY,   /* InkWirePriority; an unknown id is ignored */
    INK_WIRE_PROBE,      /* header only; answered as DETOKENIZE is: the errno of each try of
                            engine/base/network-probe.h, in decimal with spaces between */
    /* worker to broker */
    INK_WIRE_READY = 64, /* InkWireReady; id 0; sealed and waiting */
    INK_WIRE_LOADED,     /* InkWireLoaded */
    INK_WIRE_PROGRESS,   /* InkWireProgress; also the heartbeat, at least every 500 ms of work */
    INK_WIRE_TEXT,       /* InkWireText, then 1..INK_WIRE_TEXT_BYTES bytes of UTF-8, no NUL */
    INK_WIRE_IDS,        /* InkWireIds, then u32 ids[n] */
    INK_WIRE_FINISHED,   /* InkWireFinished */
    INK_WIRE_FAILED,     /* InkWireFailed */
} InkWireType;

typedef struct InkWireHeader {
    uint32_t type;       /* InkWireType */
    uint32_t size_bytes; /* of the whole frame; must equal the message's length */
    uint64_t id;         /* chosen by the broker, never reused, 0 = none */
} InkWireHeader;
static_assert(sizeof(InkWireHeader) == 16, "wire header");

typedef struct InkWireLoad {
    InkWireHeader header;
    uint32_t n_threads; /* 0 = all */
    uint8_t has_cache;
    uint8_t cache_locked; /* the worker may write it */
    uint8_t reserved[2];  /* 0 */
    char isa[16];         /* "" = best; terminated */
    uint64_t max_kv_bytes;
} InkWireLoad;
static_assert(sizeof(InkWireLoad) == 48, "wire load");

typedef enum InkWireKind {
    INK_WIRE_COMPLETE = 1, /* strings: prompt */
    INK_WIRE_CHAT,         /* strings: role, text, ... */
} InkWireKind;

/* What happens to a prompt that does not fit (generation.h says what each one cuts). */
typedef enum InkWireOverflow {
    INK_WIRE_OVERFLOW_ERROR,
    INK_WIRE_OVERFLOW_DROP_OLDEST,
    INK_WIRE_OVERFLOW_TRUNCATE_HEAD,
    INK_WIRE_OVERFLOW_TRUNCATE_MIDDLE,
} InkWireOverflow;

typedef struct InkWireGenerate {
    InkWireHeader header;
    uint32_t kind;       /* InkWireKind */
    uint32_t n_messages; /* chat: 1..; complete: 0 */
    uint32_t n_stops;    /* strings at the end of the list */
    uint32_t max_tokens; /* ..INK_WIRE_MAX_TOKENS; 0 = read the prompt only, then DONE (prewarm) */
    uint32_t max_lines;  /* 0 = no limit */
    uint32_t top_k;
    uint32_t repeat_window;
    float temperature, top_p, min_p, repeat_penalty;
    uint32_t credit_bytes;  /* to begin with */
    uint32_t priority;      /* 0 = typing, 1 = interactive, 2 = normal, 3 = background */
    uint32_t scope;         /* prefixes are never shared across scopes; 0 = shares with nobody */
    uint32_t overflow;      /* InkWireOverflow */
    uint32_t context_limit; /* tokens of prompt and answer together; 0 = the model's window */
    uint64_t seed;
} InkWireGenerate;
static_assert(sizeof(InkWireGenerate) == 88, "wire generate");

typedef struct InkWireCredit {
    InkWireHeader header;
    uint32_t more_bytes;
    uint32_t reserved; /* 0 */
} InkWireCredit;
static_assert(sizeof(InkWireCredit) == 24, "wire credit");

typedef struct InkWireTokenize {
    InkWireHeader header;
    uint32_t kind;       /* COMPLETE: the text alone; CHAT: with the template around it */
    uint32_t n_messages; /* as in GENERATE */
    uint8_t special;     /* COMPLETE only: control tokens in the text count as such */
    uint8_t wants_ids;   /* IDS frames before FINISHED; else the count alone */
    uint8_t reserved[6]; /* 0 */
} InkWireTokenize;
static_assert(sizeof(InkWireTokenize) == 32, "wire tokenize");

typedef struct InkWireDetokenize {
    InkWireHeader header;
    uint8_t special;
    uint8_t reserved[7]; /* 0 */
} InkWireDetokenize;     /* answered by TEXT frames (no credit needed), then FINISHED */
static_assert(sizeof(InkWireDetokenize) == 24, "wire detokenize");

/* Drops cached prefixes, the least recently used first, until keep_bytes are left: when memory is
 * short, or (of one scope, 0 bytes) when what an application said shall be forgotten. Blocks that a
 * running request uses leave with it. */
typedef struct InkWireTrim {
    InkWireHeader header;
    uint32_t scope;    /* 0 = all */
    uint32_t reserved; /* 0 */
    uint64_t keep_bytes;
} InkWireTrim;
static_assert(sizeof(InkWireTrim) == 32, "wire trim");

/* A running or waiting answer changes its class. */
typedef struct InkWirePriority {
    InkWireHeader header;
    uint32_t priority; /* as in GENERATE */
    uint32_t reserved; /* 0 */
} InkWirePriority;
static_assert(sizeof(InkWirePriority) == 24, "wire priority");

typedef struct InkWireReady {
    InkWireHeader header;
    uint32_t version;     /* INK_WIRE_VERSION */
    uint8_t seccomp;      /* 1 = the filter holds on all threads */
    uint8_t landlock_abi; /* 0 = the kernel has none */
    uint8_t reserved[2];
} InkWireReady;
static_assert(sizeof(InkWireReady) == 24, "wire ready");

typedef struct InkWireLoaded {
    InkWireHeader header;
    char name[128];
    char architecture[32];
    char quantization[16];
    char kernels[16];
    uint32_t n_threads;
    uint32_t n_context;
    uint32_t n_vocab;
    uint8_t has_template;
    uint8_t cache_used;
    uint8_t reserved[2];
    uint64_t n_parameters;
    uint64_t packed_bytes;
    uint64_t kv_bytes_per_token;
    uint64_t load_usec;
} InkWireLoaded;
static_assert(sizeof(InkWireLoaded) == 256, "wire loaded");

typedef enum InkWireStage {
    INK_WIRE_STAGE_LOADING = 1,
    INK_WIRE_STAGE_QUEUED, /* accepted, waits for a place in the batch */
    INK_WIRE_STAGE_PREFILL,
    INK_WIRE_STAGE_DECODE,
} InkWireStage;

typedef struct InkWireProgress {
    InkWireHeader header; /* id 0: heartbeat of the whole worker, stage and numbers 0 */
    uint32_t stage;       /* InkWireStage */
    uint32_t reserved;
    uint64_t done, total; /* tokens; done <= total */
} InkWireProgress;
static_assert(sizeof(InkWireProgress) == 40, "wire progress");

typedef struct InkWireText {
    InkWireHeader header;
    uint64_t offset_bytes; /* of this piece in the whole text: no gaps */
} InkWireText;
static_assert(sizeof(InkWireText) == 24, "wire text");

typedef struct InkWireIds {
    InkWireHeader header;
    uint32_t offset; /* of the first id here: no gaps */
    uint32_t n;      /* 1..INK_WIRE_IDS_PER_FRAME */
} InkWireIds;
static_assert(sizeof(InkWireIds) == 24, "wire ids");

typedef enum InkWireReason {
    INK_WIRE_REASON_STOP = 1, /* end-of-generation token */
    INK_WIRE_REASON_LENGTH,   /* max_tokens */
    INK_WIRE_REASON_LINES,    /* max_lines */
    INK_WIRE_REASON_STOP_STRING,
    INK_WIRE_REASON_CANCELLED, /* by CANCEL */
    INK_WIRE_REASON_DONE,      /* TOKENIZE, DETOKENIZE, GENERATE with max_tokens 0 */
} InkWireReason;

typedef struct InkWireFinished {
    InkWireHeader header;
    uint32_t reason;        /* InkWireReason */
    uint32_t prompt_tokens; /* that were read, after truncation */
    uint32_t cached_tokens; /* of these, taken from the prefix cache */
    uint32_t output_tokens;
    uint64_t queue_usec, prefill_usec, decode_usec;
    uint64_t text_bytes;       /* of all TEXT frames */
    uint64_t engine_usec;      /* its share of the time of the steps it was in */
    uint32_t truncated_tokens; /* of the prompt as given, cut by `overflow` */
    uint32_t dropped_messages; /* whole ones, by drop-oldest */
    uint8_t lowered_priority;  /* typing, but too long for it: it ran as interactive */
    uint8_t reserved[7];       /* 0 */
} InkWireFinished;
static_assert(sizeof(InkWireFinished) == 88, "wire finished");

typedef struct InkWireFailed {
    InkWireHeader header;
    uint32_t code;                        /* an errno of engine/base/error.h */
    char message[INK_WIRE_MESSAGE_BYTES]; /* terminated UTF-8 without text of the user */
    uint32_t reserved;
} InkWireFailed;
static_assert(sizeof(InkWireFailed) == 264, "wire failed");
