/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The broker's end of the frames against a hostile worker, which is this program itself, executed
 * once more: each trick below must cost the worker its life and nothing else. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/worker-client.h"
#include "daemon/worker-process.h"
#include "engine/base/clock.h"
#include "engine/worker/wire-io.h"

/* ------------------------------------------------------------------ the worker */

static const char *trick;
static InkWireFrame frame;

static bool plays(const char *name)
{
    return strcmp(trick, name) == 0;
}

static void put(InkWireHeader *header, size_t n_bytes, const void *tail, size_t n_tail)
{
    if (ink_wire_send(INK_WORKER_SOCKET_FD, 0, header, n_bytes, tail, n_tail, NULL, 0) < 0)
        _exit(0);
}

static void put_text(uint64_t id, uint64_t offset, const char *text)
{
    InkWireText t = {.header = {INK_WIRE_TEXT, 0, id}, .offset_bytes = offset};
    put(&t.header, sizeof t, text, strlen(text));
}

static void put_finished(uint64_t id, uint32_t reason, uint32_t prompt, uint32_t cached,
                         uint32_t output, uint64_t text_bytes)
{
    InkWireFinished f = {.header = {INK_WIRE_FINISHED, 0, id},
                         .reason = reason,
                         .prompt_tokens = prompt,
                         .cached_tokens = cached,
                         .output_tokens = output,
                         .text_bytes = text_bytes};
    put(&f.header, sizeof f, NULL, 0);
}

static void put_ids(uint64_t id, uint32_t offset, uint32_t token)
{
    InkWireIds ids = {.header = {INK_WIRE_IDS, 0, id}, .offset = offset, .n = 1};
    put(&ids.header, sizeof ids, &token, sizeof token);
}

static void put_loaded(uint64_t id)
{
    InkWireLoaded l = {.header = {INK_WIRE_LOADED, 0, id},
                       .name = "x",
                       .kernels = "ref",
                       .n_threads = 1,
                       .n_context = 100,
                       .n_vocab = 10};
    put(&l.header, sizeof l, NULL, 0);
}

static void put_descriptor(uint64_t id)
{
    InkWireProgress p = {.header = {INK_WIRE_PROGRESS, 0, id}, .stage = INK_WIRE_STAGE_PREFILL};
    int fd = STDERR_FILENO;
    (void)!ink_wire_send(INK_WORKER_SOCKET_FD, 0, &p.header, sizeof p, NULL, 0, &fd, 1);
}

static void put_progress(uint64_t id)
{
    InkWireProgress p = {.header = {INK_WIRE_PROGRESS, 0, id}, .stage = INK_WIRE_STAGE_PREFILL};
    put(&p.header, sizeof p, NULL, 0);
}

/* What the job gets; max_tokens 4, credit 8, no stops, no max_lines. */
static void play(uint64_t id)
{
    if (plays("sound")) {
        put_progress(0 + id);
        put_text(id, 0, "ab");
        put_text(id, 2, "cd");
        put_finished(id, INK_WIRE_REASON_STOP, 3, 1, 2, 4);
    } else if (plays("gap")) {
        put_text(id, 1, "a");
    } else if (plays("over-credit")) {
        put_text(id, 0, "123456789");
    } else if (plays("unknown-id")) {
        put_text(id + 1, 0, "a");
    } else if (plays("two-ends")) {
        put_finished(id, INK_WIRE_REASON_STOP, 1, 0, 0, 0);
        put_finished(id, INK_WIRE_REASON_STOP, 1, 0, 0, 0);
    } else if (plays("text-after-end")) {
        put_finished(id, INK_WIRE_REASON_STOP, 1, 0, 0, 0);
        put_text(id, 0, "a");
    } else if (plays("cancelled-unasked")) {
        put_finished(id, INK_WIRE_REASON_CANCELLED, 1, 0, 0, 0);
    } else if (plays("lines-unasked")) {
        put_finished(id, INK_WIRE_REASON_LINES, 1, 0, 0, 0);
    } else if (plays("stop-unasked")) {
        put_finished(id, INK_WIRE_REASON_STOP_STRING, 1, 0, 0, 0);
    } else if (plays("done-of-text")) {
        put_finished(id, INK_WIRE_REASON_DONE, 1, 0, 0, 0);
    } else if (plays("too-many-tokens")) {
        put_finished(id, INK_WIRE_REASON_STOP, 1, 0, 5, 0);
    } else if (plays("prompt-over-window")) {
        put_finished(id, INK_WIRE_REASON_STOP, 101, 0, 0, 0);
    } else if (plays("lost-text")) {
        put_finished(id, INK_WIRE_REASON_STOP, 1, 0, 0, 7);
    } else if (plays("dropped-messages-of-a-prompt")) {
        InkWireFinished f = {.header = {INK_WIRE_FINISHED, 0, id},
                             .reason = INK_WIRE_REASON_STOP,
                             .dropped_messages = 1};
        put(&f.header, sizeof f, NULL, 0);
    } else if (plays("ids-of-text")) {
        put_ids(id, 0, 1);
    } else if (plays("loaded-twice")) {
        put_loaded(id);
    } else if (plays("ready-twice")) {
        InkWireReady r = {
            .header = {INK_WIRE_READY, 0, 0}, .version = INK_WIRE_VERSION, .seccomp = 1};
        put(&r.header, sizeof r, NULL, 0);
    } else if (plays("wrong-direction")) {
        InkWireHeader h = {INK_WIRE_CANCEL, 0, id};
        put(&h, sizeof h, NULL, 0);
    } else if (plays("descriptor")) {
        put_descriptor(id);
    } else if (plays("short-frame")) {
        (void)!send(INK_WORKER_SOCKET_FD, "abc", 3, MSG_NOSIGNAL);
    } else if (plays("id-out-of-vocabulary")) {
        put_ids(id, 0, 10);
    } else if (plays("id-gap")) {
        put_ids(id, 1, 1);
    } else if (plays("id-count")) {
        put_ids(id, 0, 1);
        put_finished(id, INK_WIRE_REASON_DONE, 2, 0, 0, 0);
    } else if (plays("exit")) {
        _exit(3);
    }
}

static int worker_main(void)
{
    trick = getenv("INKLING_TRICK");
    InkWireReady ready = {
        .header = {INK_WIRE_READY, 0, 0}, .version = INK_WIRE_VERSION, .seccomp = 1};
    put(&ready.header, sizeof ready, NULL, 0);
    for (;;) {
        if (ink_wire_receive(INK_WORKER_SOCKET_FD, 0, INK_WIRE_TO_WORKER, &frame, NULL) < 0)
            _exit(0);
        uint64_t id = frame.header.id;
        uint32_t type = frame.header.type;
        ink_wire_frame_done(&frame);
        if (type == INK_WIRE_LOAD) {
            if (plays("count-descriptors")) {
                int n = 0;
                for (int fd = 0; fd < 64; fd++)
                    n += fcntl(fd, F_GETFD) >= 0;
                InkWireFailed f = {.header = {INK_WIRE_FAILED, 0, id}, .code = EBADMSG};
                snprintf(f.message, sizeof f.message, "%d %s", n,
                         getenv("INK_SECRET") != NULL ? "leaks" : "clean");
                put(&f.header, sizeof f, NULL, 0);
            } else {
                put_loaded(plays("loaded-other-id") ? id + 1 : id);
            }
        } else {
            play(id);
        }
    }
}

/* ------------------------------------------------------------------ the broker's side */

typedef struct Seen {
    unsigned n_loaded, n_refused, n_text, n_ids, n_finished, n_failed, n_died;
    char text[64];
    InkError error;
    InkWireFinished finished;
} Seen;

static void on_loaded(void *u, const InkWireLoaded *loaded)
{
    (void)loaded;
    ((Seen *)u)->n_loaded++;
}

static void on_refused(void *u, const InkError *error)
{
    ((Seen *)u)->n_refused++;
    ((Seen *)u)->error = *error;
}

static void on_progress(void *u, uint64_t id, InkWireStage stage, double fraction)
{
    (void)u, (void)id, (void)stage, (void)fraction;
}

static void on_text(void *u, uint64_t id, const char *text, size_t n_bytes)
{
    (void)id;
    strncat(((Seen *)u)->text, text, n_bytes);
    ((Seen *)u)->n_text++;
}

static void on_ids(void *u, uint64_t id, const uint32_t *ids, size_t n)
{
    (void)id, (void)ids;
    ((Seen *)u)->n_ids += (unsigned)n;
}

static void on_finished(void *u, uint64_t id, const InkWireFinished *finished)
{
    (void)id;
    ((Seen *)u)->n_finished++;
    ((Seen *)u)->finished = *finished;
}

static void on_failed(void *u, uint64_t id, const InkError *error)
{
    (void)id, (void)error;
    ((Seen *)u)->n_failed++;
}

static void on_died(void *u, InkWorkerState before, const InkError *error)
{
    (void)before;
    ((Seen *)u)->n_died++;
    ((Seen *)u)->error = *error;
}

static const InkWorkerEvents events = {
    .loaded = on_loaded,
    .load_failed = on_refused,
    .progress = on_progress,
    .text = on_text,
    .ids = on_ids,
    .finished = on_finished,
    .failed = on_failed,
    .died = on_died,
};

static char self[4096];

static void run_while(sd_event *event, const unsigned *a, const unsigned *b)
{
    uint64_t end = ink_clock_monotonic_usec() + 10000000;
    while (*a == 0 && *b == 0 && ink_clock_monotonic_usec() < end)
        assert_true(sd_event_run(event, 100000) >= 0);
    assert_true(*a + *b > 0);
}

static InkWorker *start(sd_event *event, const char *name, Seen *seen)
{
    InkWorker *w = NULL;
    InkWorkerTimes times = {0};
    setenv("INKLING_TRICK", name, 1);
    assert_int_equal(ink_worker_new(event, self, &times, &events, seen, &w, NULL), 0);
    InkWorkerModel model = {.model_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .cache_fd = -1};
    assert_int_equal(ink_worker_start(w, &model, NULL), 0);
    assert_int_equal(model.model_fd, -1);
    return w;
}

static uint64_t submit(InkWorker *w, bool tokenize)
{
    int fd = -1;
    uint64_t id = 0;
    InkWireString text = {"abc", 3};
    assert_int_equal(ink_wire_bulk_new(&text, 1, &fd, NULL), 0);
    InkWireGenerate g = {.kind = INK_WIRE_COMPLETE,
                         .max_tokens = 4,
                         .credit_bytes = 8,
                         .top_p = 1,
                         .repeat_penalty = 1};
    InkWireTokenize t = {.kind = INK_WIRE_COMPLETE, .wants_ids = 1};
    assert_int_equal(tokenize ? ink_worker_submit(w, INK_WIRE_TOKENIZE, &t.header, fd, &id, NULL)
                              : ink_worker_submit(w, INK_WIRE_GENERATE, &g.header, fd, &id, NULL),
                     0);
    close(fd);
    assert_true(id > 0);
    return id;
}

static void test_worker_client_takes_a_sound_answer(void **state)
{
    (void)state;
    sd_event *event = NULL;
    Seen seen = {0};
    assert_true(sd_event_new(&event) >= 0);
    InkWorker *w = start(event, "sound", &seen);
    run_while(event, &seen.n_loaded, &seen.n_died);
    assert_int_equal(ink_worker_state(w), INK_WORKER_READY);
    submit(w, false);
    run_while(event, &seen.n_finished, &seen.n_died);
    assert_int_equal(seen.n_died, 0);
    assert_string_equal(seen.text, "abcd");
    assert_int_equal(seen.finished.prompt_tokens, 3);
    assert_int_equal(ink_worker_n_jobs(w), 0);
    ink_worker_free(w);
    sd_event_unref(event);
}

static void test_worker_client_kills_for_each_trick(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool tokenize;
        const char *message;
    } tricks[] = {
        {"gap", false, "offset"},
        {"over-credit", false, "credited"},
        {"unknown-id", false, "TEXT: id"},
        {"two-ends", false, "FINISHED: id"},
        {"text-after-end", false, "TEXT: id"},
        {"cancelled-unasked", false, "reason"},
        {"lines-unasked", false, "reason"},
        {"stop-unasked", false, "reason"},
        {"done-of-text", false, "reason"},
        {"too-many-tokens", false, "output_tokens"},
        {"prompt-over-window", false, "prompt_tokens"},
        {"lost-text", false, "text_bytes"},
        {"dropped-messages-of-a-prompt", false, "dropped_messages"},
        {"ids-of-text", false, "IDS"},
        {"loaded-twice", false, "LOADED"},
        {"ready-twice", false, "READY"},
        {"wrong-direction", false, "direction"},
        {"descriptor", false, "descriptors"},
        {"short-frame", false, "3 bytes"},
        {"exit", false, "died"},
        {"id-out-of-vocabulary", true, "vocabulary"},
        {"id-gap", true, "offset"},
        {"id-count", true, "number of ids"},
    };
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++) {
        sd_event *event = NULL;
        Seen seen = {0};
        unsigned never = 0;
        assert_true(sd_event_new(&event) >= 0);
        InkWorker *w = start(event, tricks[i].name, &seen);
        run_while(event, &seen.n_loaded, &seen.n_died);
        submit(w, tricks[i].tokenize);
        run_while(event, &seen.n_died, &never);
        assert_int_equal(seen.n_died, 1);
        if (strstr(seen.error.message, tricks[i].message) == NULL)
            fail_msg("%s: %s", tricks[i].name, seen.error.message);
        assert_int_equal(ink_worker_state(w), INK_WORKER_DOWN);
        assert_int_equal(ink_worker_n_jobs(w), 0);
        assert_int_equal(ink_worker_pid(w), 0);
        ink_worker_free(w);
        sd_event_unref(event);
    }
}

static void test_worker_client_refuses_loaded_of_another_id(void **state)
{
    (void)state;
    sd_event *event = NULL;
    Seen seen = {0};
    assert_true(sd_event_new(&event) >= 0);
    InkWorker *w = start(event, "loaded-other-id", &seen);
    run_while(event, &seen.n_loaded, &seen.n_died);
    assert_int_equal(seen.n_loaded, 0);
    assert_int_equal(seen.n_died, 1);
    ink_worker_free(w);
    sd_event_unref(event);
}

static void test_worker_client_hands_over_nothing_but_its_socket(void **state)
{
    (void)state;
    sd_event *event = NULL;
    Seen seen = {0};
    int stray = dup(2); /* not close-on-exec */
    setenv("INK_SECRET", "token", 1);
    assert_true(sd_event_new(&event) >= 0);
    InkWorker *w = start(event, "count-descriptors", &seen);
    run_while(event, &seen.n_refused, &seen.n_died);
    assert_string_equal(seen.error.message, "4 clean");
    ink_worker_free(w);
    sd_event_unref(event);
    close(stray);
}

static void test_worker_client_stop_is_silent_and_restartable(void **state)
{
    (void)state;
    sd_event *event = NULL;
    Seen seen = {0};
    assert_true(sd_event_new(&event) >= 0);
    InkWorker *w = start(event, "sound", &seen);
    run_while(event, &seen.n_loaded, &seen.n_died);
    submit(w, false);
    ink_worker_stop(w);
    assert_int_equal(ink_worker_n_jobs(w), 0);
    assert_int_equal(seen.n_died + seen.n_finished + seen.n_failed, 0);
    InkWorkerModel model = {.model_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .cache_fd = -1};
    assert_int_equal(ink_worker_start(w, &model, NULL), 0);
    seen.n_loaded = 0;
    run_while(event, &seen.n_loaded, &seen.n_died);
    submit(w, false);
    run_while(event, &seen.n_finished, &seen.n_died);
    assert_int_equal(seen.n_died, 0);
    ink_worker_free(w);
    sd_event_unref(event);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--role=serve") == 0)
        return worker_main();
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_client_takes_a_sound_answer),
        cmocka_unit_test(test_worker_client_kills_for_each_trick),
        cmocka_unit_test(test_worker_client_refuses_loaded_of_another_id),
        cmocka_unit_test(test_worker_client_hands_over_nothing_but_its_socket),
        cmocka_unit_test(test_worker_client_stop_is_silent_and_restartable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
