/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Names on the bus, and every limit that a caller can meet at the door. Thread: constants. */
#pragma once

#define INK_BUS_NAME         "org.inkling.Inkling1"
#define INK_BUS_PATH         "/org/inkling/Inkling1"
#define INK_BUS_REQUESTS     INK_BUS_PATH "/request"
#define INK_BUS_SESSIONS     INK_BUS_PATH "/session"
#define INK_BUS_MANAGER      INK_BUS_NAME ".Manager"
#define INK_BUS_TEXT         INK_BUS_NAME ".Text"
#define INK_BUS_RECOMMEND    INK_BUS_NAME ".Recommendation"
#define INK_BUS_MEMORY       INK_BUS_NAME ".Memory"
#define INK_BUS_REQUEST      INK_BUS_NAME ".Request"
#define INK_BUS_SESSION      INK_BUS_NAME ".Session"
#define INK_BUS_ERROR_PREFIX INK_BUS_NAME ".Error."

#define INK_API_REVISION 1u

/* A larger string argument would cost the bus its memory: use KEY-fd. */
#define INK_BUS_MAX_STRING_BYTES    (256u << 10)
/* Of one prompt or all messages together, by argument or descriptor. */
#define INK_BUS_MAX_PROMPT_BYTES    (4u << 20)
#define INK_BUS_MAX_MESSAGES        1024u
#define INK_BUS_MAX_STOPS           16u
#define INK_BUS_MAX_STOP_BYTES      256u
#define INK_BUS_MAX_TOKENS          4096u
#define INK_BUS_MAX_LINGER_USEC     60000000u
#define INK_BUS_LINGER_USEC         5000000u
#define INK_BUS_COALESCE_USEC       20000u
/* Callers' libraries give up at 25 s. */
#define INK_BUS_BLOCKING_USEC       20000000u
/* Method calls that wait for their answer are kept whole: one of them, those of one connection,
 * all together. Those that wait for their caller to be known are counted apart. */
#define INK_BUS_MAX_CALL_BYTES      (8u << 20)
#define INK_BUS_MAX_CALLER_BYTES    (16u << 20)
#define INK_BUS_MAX_KEPT_BYTES      (64u << 20)
/* Messages that wait for a bus that does not read; beyond it pieces of text wait and grow. */
#define INK_BUS_MAX_QUEUED_MESSAGES 1024u
#define INK_BUS_CONGESTED_USEC      50000u
#define INK_BUS_MAX_EVENTS          256u
#define INK_BUS_MAX_CANDIDATES      256u
#define INK_BUS_MAX_DETOKENIZE      65536u
/* Of a persistent session; bytes. */
#define INK_BUS_MAX_SESSION_NAME    128u
/* context-limit of a session; fewer tokens than this hold no turn. */
#define INK_BUS_MIN_CONTEXT         64u
#define INK_BUS_MAX_CONTEXT         (1u << 20)
