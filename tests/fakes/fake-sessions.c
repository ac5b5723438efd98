/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/fakes/fake-sessions.h"

#include <stdio.h>
#include <string.h>

static FakeSession *find(FakeSessions *s, uint64_t id)
{
    for (size_t i = 0; i < FAKE_MAX_SESSIONS; i++)
        if (s->list[i].id == id)
            return &s->list[i];
    return NULL;
}

static int get(FakeSessions *s, uint64_t id, bool quiet, FakeSession **ret, InkError *reterr)
{
    FakeSession *session = id != 0 ? find(s, id) : NULL;
    INK_CHECK(session != NULL, ENXIO, reterr, "no such session");
    INK_CHECK(!quiet || session->task_id == 0, EALREADY, reterr, "a prompt runs");
    *ret = session;
    return 0;
}

static int add(FakeSession *session, const char *role, const char *text, InkError *reterr)
{
    INK_CHECK(session->n < FAKE_MAX_TURNS, E2BIG, reterr, "the session has %u turns", session->n);
    snprintf(session->roles[session->n], sizeof(session->roles[0]), "%s", role);
    snprintf(session->texts[session->n++], sizeof(session->texts[0]), "%s", text);
    return 0;
}

void fake_set_session_events(void *service, const InkSessionEvents *events, void *userdata)
{
    FakeSessions *s = service;
    s->events = events;
    s->userdata = userdata;
}

static int make(FakeSessions *s, const InkCaller *caller, FakeSession **ret, InkError *reterr)
{
    FakeSession *session = find(s, 0);
    INK_CHECK(session != NULL, E2BIG, reterr, "%u sessions are open", FAKE_MAX_SESSIONS);
    *session = (FakeSession){.id = ++s->next_id};
    snprintf(session->sender, sizeof(session->sender), "%s", caller->sender);
    snprintf(session->app_id, sizeof(session->app_id), "%s", caller->app_id);
    *ret = session;
    return 0;
}

int fake_create_session(void *service, const InkCaller *caller,
                        const InkServiceSessionOptions *options, InkSessionReply *reply,
                        void *userdata, InkError *reterr)
{
    FakeSessions *s = service;
    FakeSession *session;
    const InkError taken = {EBUSY, "this session is open already"};
    if (options->persistent && strcmp(options->name, "taken") == 0) {
        reply(userdata, &taken, 0);
        return 0;
    }
    INK_TRY(make(s, caller, &session, reterr));
    session->persistent = options->persistent;
    snprintf(session->name, sizeof(session->name), "%s",
             options->name != NULL ? options->name : "");
    for (size_t i = 0; i < options->n_messages; i++)
        INK_TRY(add(session, options->messages[i].role, options->messages[i].text, reterr));
    reply(userdata, NULL, session->id);
    return 0;
}

int fake_session_append(void *service, uint64_t id, const InkChatMessage *messages, size_t n,
                        InkDoneReply *reply, void *userdata, InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(service, id, true, &session, reterr));
    for (size_t i = 0; i < n; i++)
        INK_TRY(add(session, messages[i].role, messages[i].text, reterr));
    reply(userdata, NULL);
    return 0;
}

int fake_session_rewind(void *service, uint64_t id, uint32_t turn, InkDoneReply *reply,
                        void *userdata, InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(service, id, true, &session, reterr));
    INK_CHECK(turn <= session->n, EINVAL, reterr, "turn is %u, the session has %u", turn,
              session->n);
    session->n = turn;
    reply(userdata, NULL);
    return 0;
}

int fake_session_clone(void *service, uint64_t id, const InkCaller *caller, InkSessionReply *reply,
                       void *userdata, InkError *reterr)
{
    FakeSession *session, *clone;
    INK_TRY(get(service, id, true, &session, reterr));
    INK_TRY(make(service, caller, &clone, reterr));
    memcpy(clone->roles, session->roles, sizeof(clone->roles));
    memcpy(clone->texts, session->texts, sizeof(clone->texts));
    clone->n = session->n;
    reply(userdata, NULL, clone->id);
    return 0;
}

int fake_session_measure(void *service, uint64_t id, const char *text, InkCountReply *reply,
                         void *userdata, InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(service, id, false, &session, reterr));
    reply(userdata, NULL, strlen(text) + 4);
    return 0;
}

int fake_session_transcript(void *service, uint64_t id,
                            void (*each)(void *userdata, const InkServiceTurn *turn),
                            void *userdata, InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(service, id, false, &session, reterr));
    for (uint32_t i = 0; i < session->n; i++) {
        InkServiceTurn turn = {session->roles[i], session->texts[i], 1700000000000000u + i, 2 * i};
        each(userdata, &turn);
    }
    return 0;
}

static InkServiceSession describe(const FakeSession *session)
{
    return (InkServiceSession){.id = session->id,
                               .sender = session->sender,
                               .app_id = session->app_id,
                               .name = session->name,
                               .model = "fake",
                               .context_window = 2048,
                               .context_usage = 10 * session->n,
                               .idle_usec = 5,
                               .persistent = session->persistent,
                               .busy = session->task_id != 0};
}

int fake_session_info(void *service, uint64_t id, InkServiceSession *ret, InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(service, id, false, &session, reterr));
    *ret = describe(session);
    return 0;
}

void fake_list_sessions(void *service,
                        void (*each)(void *userdata, const InkServiceSession *session),
                        void *userdata)
{
    FakeSessions *s = service;
    for (size_t i = 0; i < FAKE_MAX_SESSIONS; i++)
        if (s->list[i].id != 0) {
            InkServiceSession row = describe(&s->list[i]);
            each(userdata, &row);
        }
}

void fake_close_session(void *service, uint64_t id, InkSessionEnd reason)
{
    FakeSessions *s = service;
    FakeSession *session = id != 0 ? find(s, id) : NULL;
    if (session == NULL)
        return;
    uint64_t task_id = session->task_id;
    *session = (FakeSession){0};
    if (task_id != 0)
        s->cancel(s->service, task_id, INK_CANCEL_SESSION);
    __atomic_add_fetch(&s->n_closed[reason], 1, __ATOMIC_SEQ_CST);
    if (s->events != NULL)
        s->events->closed(s->userdata, id, reason);
}

int fake_session_forget(void *service, uint64_t id, InkDoneReply *reply, void *userdata,
                        InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(service, id, true, &session, reterr));
    reply(userdata, NULL);
    fake_close_session(service, id, INK_SESSION_FORGOTTEN);
    return 0;
}

int fake_sessions_begin(FakeSessions *s, const InkCaller *caller, const InkTask *task,
                        uint64_t task_id, InkError *reterr)
{
    FakeSession *session;
    INK_TRY(get(s, task->session, true, &session, reterr));
    INK_CHECK(strcmp(session->sender, caller->sender) == 0, ENXIO, reterr, "no such session");
    if (task->kind == INK_TASK_PREWARM)
        return 0;
    session->task_id = task_id;
    return add(session, "user", task->prompt, reterr);
}

void fake_sessions_end(FakeSessions *s, uint64_t task_id, InkTaskStatus status)
{
    for (size_t i = 0; i < FAKE_MAX_SESSIONS; i++) {
        FakeSession *session = &s->list[i];
        if (session->id == 0 || session->task_id != task_id)
            continue;
        session->task_id = 0;
        if (status != INK_TASK_SUCCESS) {
            session->n--;
            continue;
        }
        bool drops = strcmp(session->texts[session->n - 1], "overflow") == 0;
        (void)!add(session, "assistant", "word", NULL);
        if (drops && s->events != NULL)
            s->events->overflow(s->userdata, session->id, 2, 30);
    }
}
