/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/fakes/fake-service.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "ipc/bus.h"
#include "tests/fakes/fake-sessions.h"

#define PIECE         "word "
#define N_PIECE       (sizeof(PIECE) - 1)
#define WIDE          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde "
#define N_WIDE        (sizeof(WIDE) - 1)
#define ADD(field, n) __atomic_add_fetch(&(field), (n), __ATOMIC_SEQ_CST)

typedef struct FakeTask {
    struct FakeTask *next;
    struct FakeService *service;
    uint64_t id;
    InkTaskSink sink;
    InkTaskKind kind;
    char model[32], key[64], sender[64];
    uint32_t n_left, n_done;
    uint64_t offset_bytes, seed;
    size_t credit_bytes;
    bool stopping;
    InkPriority priority;
    sd_event_source *step, *deadline;
} FakeTask;

typedef struct FakeService {
    FakeSessions sessions; /* first: see there */
    sd_event *event;
    InkBus *bus;
    FakeShared *shared;
    FakeTask *tasks;
    uint64_t next_id;
    bool enabled;
    /* One answer of the store at a time, given from the loop. */
    InkDoneReply *done;
    void *done_userdata;
    sd_event_source *done_source;
} FakeService;

static FakeTask *find_task(FakeService *s, uint64_t id)
{
    FakeTask *t = s->tasks;
    while (t != NULL && t->id != id)
        t = t->next;
    return t;
}

static void finish(FakeTask *t, InkTaskStatus status, InkFinishReason reason, int code)
{
    FakeService *s = t->service;
    InkTaskResult result = {.status = status,
                            .reason = reason,
                            .prompt_tokens = 3,
                            .output_tokens = t->n_done,
                            .seed = t->seed,
                            .queue_usec = 1,
                            .model = "fake",
                            .kernels = "ref",
                            .prefill_usec = 7,
                            .decode_usec = 9};
    if (code != 0)
        (void)ink_error_raise(&result.error, code, "the worker died");
    for (FakeTask **at = &s->tasks; *at != NULL; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    sd_event_source_disable_unref(t->step);
    sd_event_source_disable_unref(t->deadline);
    ADD(s->shared->n_finished, 1);
    fake_sessions_end(&s->sessions, t->id, status);
    t->sink.events->finished(t->sink.userdata, &result);
    free(t);
    __atomic_store_n(&s->shared->n_active, (uint32_t)(s->bus ? ink_bus_n_active(s->bus) : 0),
                     __ATOMIC_SEQ_CST);
}

static void piece(FakeTask *t, const char *text, size_t n)
{
    if (t->credit_bytes != SIZE_MAX)
        t->credit_bytes -= n;
    t->sink.events->text(t->sink.userdata, t->offset_bytes, text, n);
    t->offset_bytes += n;
    t->n_done++;
    ADD(t->service->shared->n_produced_pieces, 1);
}

static int on_step(sd_event_source *source, void *userdata);

static int on_slow(sd_event_source *source, uint64_t usec, void *userdata)
{
    FakeTask *t = userdata;
    sd_event_source_set_time(source, usec + 10000);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return on_step(t->step, t);
}

/* One piece; false when it ended. */
static bool step(FakeTask *t)
{
    if (t->kind == INK_TASK_LOAD) {
        t->sink.events->progress(t->sink.userdata, "loading", 1);
        finish(t, INK_TASK_SUCCESS, INK_FINISH_NONE, 0);
        return false;
    }
    if (strcmp(t->model, "odd") == 0) {
        piece(t,
              "a\0b\xFF"
              "c",
              5);
        finish(t, INK_TASK_SUCCESS, INK_FINISH_STOP, 0);
        return false;
    }
    if (t->n_left == 0 || t->kind == INK_TASK_PREWARM) {
        finish(t, INK_TASK_SUCCESS, INK_FINISH_LENGTH, 0);
        return false;
    }
    t->n_left--;
    if (strcmp(t->model, "wide") == 0)
        piece(t, WIDE, N_WIDE);
    else
        piece(t, PIECE, N_PIECE);
    if (strcmp(t->model, "dies") != 0)
        return true;
    finish(t, INK_TASK_FAILED, INK_FINISH_NONE, EREMOTEIO);
    return false;
}

static int on_step(sd_event_source *source, void *userdata)
{
    FakeTask *t = userdata;
    if (t->credit_bytes < N_WIDE) {
        sd_event_source_set_enabled(source, SD_EVENT_OFF);
        return 0;
    }
    (void)step(t);
    return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    finish(userdata, INK_TASK_SUCCESS, INK_FINISH_DEADLINE, 0);
    return 0;
}

static void note_task(FakeShared *h, const InkCaller *caller, const InkTask *task,
                      const InkTaskSink *sink)
{
    h->last_deferred = sink->deferred;
    h->last_n_messages = (uint32_t)task->n_messages;
    h->last_max_tokens = task->max_tokens;
    h->last_priority = task->priority;
    h->last_overflow = task->has_overflow ? task->overflow : INK_OVERFLOW_MAX;
    h->last_session = task->session;
    h->last_deadline_usec = task->deadline_usec;
    h->last_prompt_bytes = task->n_prompt_bytes;
    h->last_seed = task->seed;
    snprintf(h->last_app_id, sizeof(h->last_app_id), "%s", caller->app_id);
    snprintf(h->last_first_role, sizeof(h->last_first_role), "%s",
             task->n_messages != 0 ? task->messages[0].role : "");
}

static void supersede(FakeService *s, const InkCaller *caller, const InkTask *task)
{
    for (FakeTask *t = s->tasks; t != NULL; t = t->next)
        if (task->supersede_key != NULL && strcmp(t->key, task->supersede_key) == 0 &&
            strcmp(t->sender, caller->sender) == 0) {
            ADD(s->shared->n_cancelled[INK_CANCEL_SUPERSEDED], 1);
            finish(t, INK_TASK_CANCELLED, INK_FINISH_SUPERSEDED, 0);
            return;
        }
}

static int start(void *service, const InkCaller *caller, const InkTask *task,
                 const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    FakeService *s = service;
    if (strcmp(task->model, "missing") == 0)
        return INK_RAISE(ENOENT, reterr, "no such model");
    supersede(s, caller, task);
    FakeTask *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return INK_RAISE(ENOMEM, reterr, "out of memory");
    note_task(s->shared, caller, task, sink);
    t->service = s;
    t->id = *ret_id = ++s->next_id;
    bool is_turn = task->kind == INK_TASK_PROMPT || task->kind == INK_TASK_PREWARM;
    int r = is_turn ? fake_sessions_begin(&s->sessions, caller, task, t->id, reterr) : 0;
    if (r < 0) {
        free(t);
        return r;
    }
    t->sink = *sink;
    t->kind = task->kind;
    t->n_left = task->max_tokens;
    t->seed = task->seed;
    t->priority = task->priority;
    t->credit_bytes = sink->credit_bytes;
    snprintf(t->model, sizeof(t->model), "%s", is_turn ? task->prompt : task->model);
    snprintf(t->key, sizeof(t->key), "%s", task->supersede_key != NULL ? task->supersede_key : "");
    snprintf(t->sender, sizeof(t->sender), "%s", caller->sender);
    t->next = s->tasks;
    s->tasks = t;
    t->sink.events->progress(t->sink.userdata, "prefill", 0.5);
    ADD(s->shared->n_started, 1);
    if (strcmp(t->model, "sync") == 0) {
        while (step(t))
            ;
        return 0;
    }
    if (task->deadline_usec != 0)
        sd_event_add_time_relative(s->event, &t->deadline, CLOCK_MONOTONIC, task->deadline_usec,
                                   1000, on_deadline, t);
    if (strcmp(t->model, "hold") == 0)
        return 0;
    if (strcmp(t->model, "slow") == 0) {
        sd_event_add_time_relative(s->event, &t->step, CLOCK_MONOTONIC, 1000, 1000, on_slow, t);
        return 0;
    }
    sd_event_add_defer(s->event, &t->step, on_step, t);
    sd_event_source_set_priority(t->step, SD_EVENT_PRIORITY_IDLE);
    sd_event_source_set_enabled(t->step, SD_EVENT_ON);
    return 0;
}

static void cancel(void *service, uint64_t id, InkCancelReason reason)
{
    FakeService *s = service;
    FakeTask *t = find_task(s, id);
    if (t == NULL)
        return;
    ADD(s->shared->n_cancelled[reason], 1);
    finish(t, INK_TASK_CANCELLED, INK_FINISH_CANCELLED, 0);
}

static void credit(void *service, uint64_t id, size_t more_bytes)
{
    FakeTask *t = find_task(service, id);
    if (t == NULL)
        return;
    t->credit_bytes += more_bytes;
    if (t->step != NULL && strcmp(t->model, "slow") != 0)
        sd_event_source_set_enabled(t->step, SD_EVENT_ON);
}

static int task_state(void *service, uint64_t id, const char **ret_state, uint32_t *ret_position,
                      InkPriority *ret_priority)
{
    FakeTask *t = find_task(service, id);
    if (t == NULL)
        return -ENXIO;
    *ret_state = strcmp(t->model, "hold") == 0 ? "queued" : "running";
    *ret_position = strcmp(t->model, "hold") == 0 ? 1 : 0;
    *ret_priority = t->priority;
    return 0;
}

static int set_priority(void *service, uint64_t id, InkPriority priority)
{
    FakeTask *t = find_task(service, id);
    if (t == NULL)
        return -ENXIO;
    t->priority = priority;
    return 0;
}

static int tokenize(void *service, const InkCaller *caller, const InkTask *input, bool special,
                    bool wants_ids, InkTokensReply *reply, void *userdata, InkError *reterr)
{
    (void)service;
    (void)caller;
    uint32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    size_t n =
        input->kind == INK_TASK_CHAT ? input->messages[0].n_text_bytes + 4 : input->n_prompt_bytes;
    if (strcmp(input->model, "missing") == 0)
        return INK_RAISE(ENOENT, reterr, "no such model");
    n += special ? 1 : 0;
    reply(userdata, NULL, (uint32_t)n, ids, wants_ids ? (n < 8 ? n : 8) : 0);
    return 0;
}

static int detokenize(void *service, const InkCaller *caller, const uint32_t *ids, size_t n,
                      bool special, InkTextReply *reply, void *userdata, InkError *reterr)
{
    char text[64];
    (void)service;
    (void)caller;
    (void)special;
    (void)reterr;
    if (n != 0 && ids[0] == 999) {
        InkError error = {EINVAL, "token 0 is 999, the vocabulary has 100"};
        reply(userdata, &error, NULL, 0);
        return 0;
    }
    snprintf(text, sizeof(text), "%zu tokens", n);
    reply(userdata, NULL, text, strlen(text));
    return 0;
}

static int availability(void *service, const InkCaller *caller, const char *feature,
                        const char *model, InkServiceAvailability *ret, InkError *reterr)
{
    (void)service;
    (void)caller;
    (void)feature;
    (void)model;
    (void)reterr;
    *ret = (InkServiceAvailability){
        .state = "on-demand", .context_window = 2048, .estimated_usec = 1000};
    return 0;
}

static int list_models(void *service, void (*each)(void *userdata, const InkServiceModel *model),
                       void *userdata, InkError *reterr)
{
    InkServiceModel model = {
        .name = "fake", .size_bytes = 5, .path = "/dev/null", .is_default = true};
    (void)service;
    (void)reterr;
    each(userdata, &model);
    return 0;
}

/* "taken" has that name, "used" is in use, all others are there. */
static int import_model(void *service, const InkCaller *caller, const InkServiceImport *import,
                        int fd, const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr)
{
    FakeService *s = service;
    char first[5] = "";
    (void)caller;
    INK_CHECK(strcmp(import->name, "taken") != 0, EEXIST, reterr, "the name is taken");
    INK_CHECK(pread(fd, first, 4, 0) == 4 && strcmp(first, "GGUF") == 0, EBADMSG, reterr,
              "no GGUF file");
    s->shared->n_imports++;
    s->shared->last_default = import->make_default;
    close(fd);
    *ret_id = ++s->next_id;
    const InkTaskResult result = {.status = INK_TASK_SUCCESS, .model = import->name};
    sink->events->progress(sink->userdata, "storing", 1);
    sink->events->finished(sink->userdata, &result);
    return 0;
}

static int inspect_model(void *service, const InkCaller *caller, const char *name, bool verify,
                         InkInspectReply *reply, void *userdata, InkError *reterr)
{
    static const InkServiceTensorType types[] = {{"Q4_1", 1000}, {"F32", UINT64_MAX}};
    static const char *const warnings[] = {"a warning"};
    FakeService *s = service;
    InkServiceInspection i = {
        .model = {.size_bytes = 5,
                  .path = "/home/fake/a.gguf",
                  .architecture = "llama",
                  .license = "mit",
                  .sha256 = "00ff",
                  .has_template = true},
        .layers = 1,
        .embedding_length = 2,
        .heads = 3,
        .kv_heads = 3,
        .vocabulary = 5,
        .tokenizer = "gpt2",
        .tensor_types = types,
        .n_tensor_types = 2,
        .warnings = warnings,
        .n_warnings = 1,
        .was_verified = verify,
    };
    (void)caller;
    INK_CHECK(strcmp(name, "missing") != 0, ENOENT, reterr, "no such model");
    s->shared->last_verify = verify;
    snprintf(i.model.name, sizeof(i.model.name), "%s", name);
    reply(userdata, NULL, &i);
    return 0;
}

static int change_model(void *service, const InkCaller *caller, const char *name, bool force,
                        InkDoneReply *reply, void *userdata, InkError *reterr)
{
    FakeService *s = service;
    (void)caller;
    INK_CHECK(force || strcmp(name, "used") != 0, EBUSY, reterr, "the model is in use");
    s->shared->n_changes++;
    s->shared->last_force = force;
    reply(userdata, NULL);
    return 0;
}

static int unload(void *service, const InkCaller *caller, bool force, InkError *reterr)
{
    FakeService *s = service;
    (void)caller;
    if (s->tasks != NULL && !force)
        return INK_RAISE(EBUSY, reterr, "requests are running");
    while (s->tasks != NULL)
        cancel(s, s->tasks->id, INK_CANCEL_UNLOAD);
    return 0;
}

static void state(void *service, InkServiceState *ret)
{
    FakeService *s = service;
    *ret = (InkServiceState){.state = s->tasks != NULL ? "ready" : "idle",
                             .model = "fake",
                             .context_window = 2048,
                             .memory_resident_bytes = 4096,
                             .network_guard = "none"};
}

static int observe(void *service, const InkCaller *caller, const InkServiceEvent *events, size_t n,
                   bool train, bool dry_run, InkCountReply *reply, void *userdata, InkError *reterr)
{
    FakeService *s = service;
    (void)caller;
    (void)events;
    (void)train;
    (void)reterr;
    if (!dry_run)
        ADD(s->shared->n_events, (uint32_t)n);
    reply(userdata, NULL, n);
    return 0;
}

static int suggest(void *service, const InkCaller *caller, const InkServiceSuggest *query,
                   InkSuggestReply *reply, void *userdata, InkError *reterr)
{
    InkServiceItem items[8] = {0};
    size_t n = 0;
    (void)service;
    (void)caller;
    (void)reterr;
    for (; n < query->n_candidates && n < query->limit && n < 8; n++)
        items[n] = (InkServiceItem){.id = "7",
                                    .candidate = query->candidates[n].id,
                                    .kind = query->kind,
                                    .text = query->candidates[n].text,
                                    .reason = "because",
                                    .source = "candidates",
                                    .score = 0.5};
    reply(userdata, NULL, items, n, query->n_candidates);
    return 0;
}

static int on_done(sd_event_source *source, void *userdata)
{
    FakeService *s = userdata;
    InkError error = {EIO, "the disk is full"};
    (void)source;
    bool fails = FAKE_READ(s->shared->store_fails) != 0;
    s->done_source = sd_event_source_disable_unref(s->done_source);
    if (!fails && s->done_userdata != NULL)
        ADD(s->shared->n_set_enabled, 1);
    s->done(s->done_userdata, fails ? &error : NULL);
    return 0;
}

static int feedback(void *service, const InkCaller *caller, const char *item_id,
                    const char *outcome, uint64_t accepted_chars, const char *text,
                    InkDoneReply *reply, void *userdata, InkError *reterr)
{
    FakeService *s = service;
    (void)caller;
    (void)outcome;
    (void)accepted_chars;
    (void)text;
    if (strcmp(item_id, "7") != 0)
        return INK_RAISE(ENOMSG, reterr, "no such item, or it is older than an hour");
    ADD(s->shared->n_feedback, 1);
    reply(userdata, NULL);
    return 0;
}

static bool permitted(void *service, const InkCaller *caller, InkPermission permission)
{
    FakeService *s = service;
    return caller->kind == INK_CALLER_HOST &&
           (FAKE_READ(s->shared->denied) & (1u << permission)) == 0;
}

static int list_permissions(void *service, const InkCaller *caller,
                            void (*each)(void *userdata, const char *app_id,
                                         InkPermission permission, InkDecision decision,
                                         bool allowed),
                            void *userdata, InkError *reterr)
{
    (void)service;
    (void)reterr;
    each(userdata, caller->app_id, INK_PERMISSION_TEXT, INK_DECISION_DEFAULT, true);
    each(userdata, "org.example.One", INK_PERMISSION_MEMORY, INK_DECISION_DENY, false);
    return 0;
}

static int set_permission(void *service, const InkCaller *caller, const char *app_id,
                          InkPermission permission, InkDecision decision, InkDoneReply *reply,
                          void *userdata, InkError *reterr)
{
    FakeShared *h = ((FakeService *)service)->shared;
    (void)caller;
    if (strcmp(app_id, "org.example.Bad") == 0)
        return INK_RAISE(EACCES, reterr, "manage is never given to a sandboxed application");
    snprintf(h->last_app_id, sizeof(h->last_app_id), "%s", app_id);
    h->last_permission = permission;
    h->last_decision = decision;
    reply(userdata, NULL);
    return 0;
}

static void caller_known(void *service, const InkCaller *caller)
{
    (void)caller;
    ADD(((FakeService *)service)->shared->n_callers, 1);
}

static void caller_gone(void *service, const InkCaller *caller)
{
    (void)caller;
    ADD(((FakeService *)service)->shared->n_callers, -1);
}

static bool memory_enabled(void *service)
{
    return ((FakeService *)service)->enabled;
}

static int set_memory_enabled(void *service, bool enabled, InkDoneReply *reply, void *userdata,
                              InkError *reterr)
{
    FakeService *s = service;
    if (s->done_source != NULL)
        return INK_RAISE(EBUSY, reterr, "a change is on its way");
    s->done = reply;
    s->done_userdata = userdata;
    if (!FAKE_READ(s->shared->store_fails) && s->enabled != enabled) {
        s->enabled = enabled;
        ink_bus_memory_enabled_changed(s->bus);
    }
    return sd_event_add_defer(s->event, &s->done_source, on_done, s);
}

static int reload(void *service, const InkCaller *caller, InkError *reterr)
{
    FakeService *s = service;
    (void)caller;
    INK_CHECK(__atomic_load_n(&s->shared->reload_fails, __ATOMIC_SEQ_CST) == 0, EINVAL, reterr,
              "inkling.conf: line 3: threads: not a whole number");
    ADD(s->shared->n_reloads, 1);
    return 0;
}

static const InkServiceOps ops = {
    .start = start,
    .cancel = cancel,
    .credit = credit,
    .task_state = task_state,
    .set_priority = set_priority,
    .tokenize = tokenize,
    .detokenize = detokenize,
    .availability = availability,
    .list_models = list_models,
    .unload = unload,
    .import_model = import_model,
    .inspect_model = inspect_model,
    .remove_model = change_model,
    .set_default_model = change_model,
    .state = state,
    .observe = observe,
    .suggest = suggest,
    .feedback = feedback,
    .permitted = permitted,
    .list_permissions = list_permissions,
    .set_permission = set_permission,
    .caller_known = caller_known,
    .caller_gone = caller_gone,
    .reload = reload,
    .set_session_events = fake_set_session_events,
    .create_session = fake_create_session,
    .session_append = fake_session_append,
    .session_rewind = fake_session_rewind,
    .session_clone = fake_session_clone,
    .session_measure = fake_session_measure,
    .session_transcript = fake_session_transcript,
    .session_info = fake_session_info,
    .session_forget = fake_session_forget,
    .close_session = fake_close_session,
    .list_sessions = fake_list_sessions,
    .memory_enabled = memory_enabled,
    .set_memory_enabled = set_memory_enabled,
};

int fake_service_run(const char *address, FakeShared *shared)
{
    FakeService s = {.shared = shared};
    s.sessions.service = &s;
    s.sessions.cancel = cancel;
    s.sessions.n_closed = shared->n_closed;
    InkError error = {0};
    sd_bus *bus = NULL;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int r = sd_event_new(&s.event);
    if (r >= 0)
        r = sd_event_add_signal(s.event, NULL, SIGTERM, NULL, NULL);
    if (r >= 0)
        r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, address);
    if (r >= 0)
        r = sd_bus_set_bus_client(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r >= 0)
        r = ink_bus_new(bus, s.event, &ops, &s, &s.bus, &error);
    if (r >= 0)
        ink_bus_set_pipe_stall(s.bus, FAKE_STALL_USEC);
    /* Else the kernel takes 8 MiB before a bus that does not read is noticed. */
    if (r >= 0)
        r = setsockopt(sd_bus_get_fd(bus), SOL_SOCKET, SO_SNDBUF, &(int){65536}, sizeof(int));
    if (r >= 0)
        r = ink_bus_claim_name(s.bus, &error);
    if (r >= 0)
        r = sd_bus_attach_event(bus, s.event, 0);
    if (r >= 0) {
        __atomic_store_n(&shared->n_ready, 1, __ATOMIC_SEQ_CST);
        r = sd_event_loop(s.event);
    }
    s.bus = ink_bus_free(s.bus);
    sd_bus_flush_close_unref(bus);
    sd_event_unref(s.event);
    return r;
}
