/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Sessions of the fake service: transcripts of up to FAKE_MAX_TURNS short turns, in memory. What a
 * prompt does is chosen by its text, with the words that the option `model` has for other tasks
 * ("hold", "slow", ...); "overflow" tells of 2 turns and 30 tokens dropped. A persistent session of
 * the name "taken" cannot be opened. Thread: one. */
#pragma once

#include "ipc/service.h"

#define FAKE_MAX_TURNS    8u
#define FAKE_MAX_SESSIONS 8u

typedef struct FakeSession {
    uint64_t id, task_id; /* 0 = free; 0 = not busy */
    char sender[64], app_id[96], name[64];
    char roles[FAKE_MAX_TURNS][16], texts[FAKE_MAX_TURNS][64];
    uint32_t n;
    bool persistent;
} FakeSession;

/* The first member of the fake service, so that its operations find it. */
typedef struct FakeSessions {
    FakeSession list[FAKE_MAX_SESSIONS];
    uint64_t next_id;
    const InkSessionEvents *events;
    void *userdata;
    void *service;
    void (*cancel)(void *service, uint64_t id, InkCancelReason reason);
    uint32_t *n_closed; /* by reason */
} FakeSessions;

/* A task of kind PROMPT or PREWARM starts or ends. */
int fake_sessions_begin(FakeSessions *s, const InkCaller *caller, const InkTask *task,
                        uint64_t task_id, InkError *reterr);
void fake_sessions_end(FakeSessions *s, uint64_t task_id, InkTaskStatus status);

/* Operations. */
void fake_set_session_events(void *service, const InkSessionEvents *events, void *userdata);
int fake_create_session(void *service, const InkCaller *caller,
                        const InkServiceSessionOptions *options, InkSessionReply *reply,
                        void *userdata, InkError *reterr);
int fake_session_append(void *service, uint64_t id, const InkChatMessage *messages, size_t n,
                        InkDoneReply *reply, void *userdata, InkError *reterr);
int fake_session_rewind(void *service, uint64_t id, uint32_t turn, InkDoneReply *reply,
                        void *userdata, InkError *reterr);
int fake_session_clone(void *service, uint64_t id, const InkCaller *caller, InkSessionReply *reply,
                       void *userdata, InkError *reterr);
int fake_session_measure(void *service, uint64_t id, const char *text, InkCountReply *reply,
                         void *userdata, InkError *reterr);
int fake_session_transcript(void *service, uint64_t id,
                            void (*each)(void *userdata, const InkServiceTurn *turn),
                            void *userdata, InkError *reterr);
int fake_session_info(void *service, uint64_t id, InkServiceSession *ret, InkError *reterr);
int fake_session_forget(void *service, uint64_t id, InkDoneReply *reply, void *userdata,
                        InkError *reterr);
void fake_close_session(void *service, uint64_t id, InkSessionEnd reason);
void fake_list_sessions(void *service,
                        void (*each)(void *userdata, const InkServiceSession *session),
                        void *userdata);
