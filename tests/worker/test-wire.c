/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"
#include "engine/worker/wire-io.h"

static InkWireFrame frame;

static size_t count_descriptors(void)
{
    size_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        n++;
    closedir(folder);
    return n;
}

/* -- sound frames, one of each type ------------------------------------------------------------ */

static void begin(uint32_t type, size_t n_bytes, size_t n_fds)
{
    memset(&frame, 0, sizeof(frame));
    frame.header = (InkWireHeader){.type = type, .size_bytes = (uint32_t)n_bytes, .id = 7};
    frame.n_fds = n_fds; /* numbers only: the check looks at their count */
}

static void make_load(void)
{
    begin(INK_WIRE_LOAD, sizeof(InkWireLoad), 2);
    frame.load.has_cache = 1;
    frame.load.cache_locked = 1;
    memcpy(frame.load.isa, "avx2", 5);
}

static void make_generate(void)
{
    begin(INK_WIRE_GENERATE, sizeof(InkWireGenerate), 1);
    frame.generate.kind = INK_WIRE_CHAT;
    frame.generate.n_messages = 2;
    frame.generate.n_stops = 1;
    frame.generate.max_tokens = 16;
    frame.generate.temperature = 0.7f;
    frame.generate.top_p = 0.95f;
    frame.generate.min_p = 0.05f;
    frame.generate.repeat_penalty = 1.0f;
    frame.generate.credit_bytes = 1024;
    frame.generate.priority = 3;
}

static void make_cancel(void)
{
    begin(INK_WIRE_CANCEL, sizeof(InkWireHeader), 0);
}

static void make_credit(void)
{
    begin(INK_WIRE_CREDIT, sizeof(InkWireCredit), 0);
    frame.credit.more_bytes = 1;
}

static void make_tokenize(void)
{
    begin(INK_WIRE_TOKENIZE, sizeof(InkWireTokenize), 1);
    frame.tokenize.kind = INK_WIRE_COMPLETE;
    frame.tokenize.special = 1;
    frame.tokenize.wants_ids = 1;
}

static void make_detokenize(void)
{
    begin(INK_WIRE_DETOKENIZE, sizeof(InkWireDetokenize), 1);
}

static void make_trim(void)
{
    begin(INK_WIRE_TRIM, sizeof(InkWireTrim), 0);
    frame.header.id = 0;
}

static void make_priority(void)
{
    begin(INK_WIRE_PRIORITY, sizeof(InkWirePriority), 0);
    frame.priority.priority = 3;
}

static void make_ready(void)
{
    begin(INK_WIRE_READY, sizeof(InkWireReady), 0);
    frame.header.id = 0;
    frame.ready.version = INK_WIRE_VERSION;
    frame.ready.seccomp = 1;
}

static void make_loaded(void)
{
    begin(INK_WIRE_LOADED, sizeof(InkWireLoaded), 0);
    memcpy(frame.loaded.name, "model", 6);
    frame.loaded.n_threads = 2;
    frame.loaded.n_context = 2048;
    frame.loaded.n_vocab = 1000;
}

static void make_progress(void)
{
    begin(INK_WIRE_PROGRESS, sizeof(InkWireProgress), 0);
    frame.progress.stage = INK_WIRE_STAGE_PREFILL;
    frame.progress.done = 3;
    frame.progress.total = 3;
}

static void make_text(void)
{
    begin(INK_WIRE_TEXT, sizeof(InkWireText) + 4, 0);
    memcpy(frame.bytes + sizeof(InkWireText), "a\xC3\xA4z", 4);
}

static void make_ids(void)
{
    begin(INK_WIRE_IDS, sizeof(InkWireIds) + 8, 0);
    frame.ids.n = 2;
}

static void make_finished(void)
{
    begin(INK_WIRE_FINISHED, sizeof(InkWireFinished), 0);
    frame.finished.reason = INK_WIRE_REASON_DONE;
    frame.finished.prompt_tokens = 5;
}

static void make_failed(void)
{
    begin(INK_WIRE_FAILED, sizeof(InkWireFailed), 0);
    frame.failed.code = EINVAL;
    memcpy(frame.failed.message, "why", 4);
}

static const struct Maker {
    void (*make)(void);
    InkWireSide side;
} makers[] = {
    {make_load, INK_WIRE_TO_WORKER},     {make_generate, INK_WIRE_TO_WORKER},
    {make_cancel, INK_WIRE_TO_WORKER},   {make_credit, INK_WIRE_TO_WORKER},
    {make_tokenize, INK_WIRE_TO_WORKER}, {make_detokenize, INK_WIRE_TO_WORKER},
    {make_trim, INK_WIRE_TO_WORKER},     {make_priority, INK_WIRE_TO_WORKER},
    {make_ready, INK_WIRE_TO_BROKER},    {make_loaded, INK_WIRE_TO_BROKER},
    {make_progress, INK_WIRE_TO_BROKER}, {make_text, INK_WIRE_TO_BROKER},
    {make_ids, INK_WIRE_TO_BROKER},      {make_finished, INK_WIRE_TO_BROKER},
    {make_failed, INK_WIRE_TO_BROKER},
};
#define N_MAKERS (sizeof(makers) / sizeof(makers[0]))

static int check(size_t received_bytes, InkWireSide side)
{
    InkError e = {0};
    int r = ink_wire_check(&frame, received_bytes, side, &e);
    if (r < 0) {
        assert_int_equal(e.code, -r);
        assert_true(e.message[0] != '\0');
    }
    return r;
}

static void test_wire_check_takes_each_sound_frame_in_its_direction_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MAKERS; i++) {
        InkWireSide other =
            makers[i].side == INK_WIRE_TO_WORKER ? INK_WIRE_TO_BROKER : INK_WIRE_TO_WORKER;
        makers[i].make();
        assert_int_equal(check(frame.header.size_bytes, makers[i].side), 0);
        assert_int_equal(check(frame.header.size_bytes, other), -EPROTO);
    }
}

static void test_wire_check_refuses_wrong_sizes_and_descriptors(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MAKERS; i++) {
        makers[i].make();
        size_t n = frame.header.size_bytes;
        for (size_t cut = 0; cut < n; cut++) /* the header lies about the length */
            assert_int_equal(check(cut, makers[i].side), -EPROTO);
        for (size_t cut = 1; cut < sizeof(InkWireHeader); cut++) {
            frame.header.size_bytes = (uint32_t)cut;
            assert_int_equal(check(cut, makers[i].side), -EPROTO);
        }
        frame.header.size_bytes = (uint32_t)n - 1; /* it tells the truth, of too short a frame */
        if (frame.header.type != INK_WIRE_TEXT)
            assert_int_equal(check(n - 1, makers[i].side), -EPROTO);
        frame.header.size_bytes = (uint32_t)n + 1;
        if (frame.header.type != INK_WIRE_TEXT)
            assert_int_equal(check(n + 1, makers[i].side), -EPROTO);
        makers[i].make();
        frame.n_fds = frame.n_fds == 0 ? 1 : 0;
        assert_int_equal(check(n, makers[i].side), -EPROTO);
        frame.n_fds = INK_WIRE_MAX_FDS + 1;
        assert_int_equal(check(n, makers[i].side), -EPROTO);
        makers[i].make();
        frame.header.id = frame.header.type == INK_WIRE_READY || frame.header.type == INK_WIRE_TRIM;
        assert_int_equal(check(n, makers[i].side),
                         -EPROTO); /* PROGRESS: a heartbeat with numbers */
    }
}

static void test_wire_check_refuses_unknown_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {0, 40, 63, 71, 255, UINT32_MAX};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        make_cancel();
        frame.header.type = types[i];
        assert_int_equal(check(sizeof(InkWireHeader), INK_WIRE_TO_WORKER), -EPROTO);
        assert_int_equal(check(sizeof(InkWireHeader), INK_WIRE_TO_BROKER), -EPROTO);
    }
}

#define assert_refused_after(make, side, change)                                                   \
    do {                                                                                           \
        make();                                                                                    \
        change;                                                                                    \
        assert_int_equal(check(frame.header.size_bytes, side), -EPROTO);                           \
    } while (0)

static void test_wire_check_refuses_bad_fields_to_worker(void **state)
{
    (void)state;
#define REFUSED(make, change) assert_refused_after(make, INK_WIRE_TO_WORKER, change)
    make_load();
    assert_int_equal(check(frame.header.size_bytes, INK_WIRE_TO_WORKER), 0);
    REFUSED(make_load, frame.load.has_cache = 2);
    REFUSED(make_load, frame.load.has_cache = 0); /* but two descriptors, and locked */
    REFUSED(make_load, frame.load.cache_locked = 2);
    REFUSED(make_load, frame.load.reserved[1] = 1);
    REFUSED(make_load, frame.load.n_threads = 1025);
    REFUSED(make_load, frame.n_fds = 1);
    REFUSED(make_load, memset(frame.load.isa, 'a', sizeof(frame.load.isa)));
    REFUSED(make_load, frame.load.isa[0] = '\n');
    REFUSED(make_generate, frame.generate.kind = 0);
    REFUSED(make_generate, frame.generate.kind = 3);
    REFUSED(make_generate, frame.generate.kind = INK_WIRE_COMPLETE); /* with messages */
    REFUSED(make_generate, frame.generate.n_messages = 0);
    REFUSED(make_generate, frame.generate.n_messages = INK_WIRE_MAX_STRINGS / 2);
    REFUSED(make_generate, frame.generate.n_messages = UINT32_MAX);
    REFUSED(make_generate, frame.generate.n_stops = INK_WIRE_MAX_STOPS + 1);
    REFUSED(make_generate, frame.generate.n_stops = UINT32_MAX);
    REFUSED(make_generate, frame.generate.overflow = 4);
    REFUSED(make_generate, frame.generate.max_tokens = INK_WIRE_MAX_TOKENS + 1);
    REFUSED(make_generate, frame.generate.temperature = NAN);
    REFUSED(make_generate, frame.generate.temperature = INFINITY);
    REFUSED(make_generate, frame.generate.temperature = -0.1f);
    REFUSED(make_generate, frame.generate.temperature = 10.1f);
    REFUSED(make_generate, frame.generate.top_p = 0.0f);
    REFUSED(make_generate, frame.generate.top_p = 1.1f);
    REFUSED(make_generate, frame.generate.min_p = -1.0f);
    REFUSED(make_generate, frame.generate.min_p = NAN);
    REFUSED(make_generate, frame.generate.repeat_penalty = 0.0f);
    REFUSED(make_generate, frame.generate.repeat_penalty = 11.0f);
    REFUSED(make_generate, frame.generate.credit_bytes = INK_WIRE_MAX_CREDIT + 1);
    REFUSED(make_generate, frame.generate.priority = 4);
    REFUSED(make_credit, frame.credit.more_bytes = 0);
    REFUSED(make_credit, frame.credit.more_bytes = INK_WIRE_MAX_CREDIT + 1);
    REFUSED(make_credit, frame.credit.reserved = 1);
    REFUSED(make_tokenize, frame.tokenize.kind = 0);
    REFUSED(make_tokenize, frame.tokenize.special = 2);
    REFUSED(make_tokenize, frame.tokenize.wants_ids = 2);
    REFUSED(make_tokenize, frame.tokenize.n_messages = 1);
    REFUSED(make_tokenize, frame.tokenize.reserved[5] = 1);
    REFUSED(make_tokenize, (frame.tokenize.kind = INK_WIRE_CHAT, frame.tokenize.n_messages = 1));
    REFUSED(make_detokenize, frame.detokenize.special = 2);
    REFUSED(make_detokenize, frame.detokenize.reserved[6] = 1);
    REFUSED(make_trim, frame.trim.reserved = 1);
    REFUSED(make_priority, frame.priority.priority = 4);
    REFUSED(make_priority, frame.priority.reserved = 1);
    REFUSED(make_priority, frame.header.id = 0);
#undef REFUSED
}

static void make_long_text(void)
{
    begin(INK_WIRE_TEXT, sizeof(InkWireText) + INK_WIRE_TEXT_BYTES + 1, 0);
    memset(frame.bytes + sizeof(InkWireText), 'a', INK_WIRE_TEXT_BYTES + 1);
}

static void test_wire_check_refuses_bad_fields_to_broker(void **state)
{
    (void)state;
    uint8_t *text = frame.bytes + sizeof(InkWireText);
#define REFUSED(make, change) assert_refused_after(make, INK_WIRE_TO_BROKER, change)
    REFUSED(make_ready, frame.ready.version = INK_WIRE_VERSION + 1);
    REFUSED(make_ready, frame.ready.seccomp = 2);
    REFUSED(make_ready, frame.ready.reserved[0] = 1);
    REFUSED(make_loaded, memset(frame.loaded.name, 'a', sizeof(frame.loaded.name)));
    REFUSED(make_loaded, frame.loaded.name[0] = '\xFF');
    REFUSED(make_loaded, frame.loaded.name[0] = '\x1B');
    REFUSED(make_loaded, memset(frame.loaded.architecture, 'a', sizeof(frame.loaded.architecture)));
    REFUSED(make_loaded, memset(frame.loaded.quantization, 'a', sizeof(frame.loaded.quantization)));
    REFUSED(make_loaded, memset(frame.loaded.kernels, 'a', sizeof(frame.loaded.kernels)));
    REFUSED(make_loaded, frame.loaded.n_threads = 0);
    REFUSED(make_loaded, frame.loaded.n_context = 0);
    REFUSED(make_loaded, frame.loaded.n_vocab = 0);
    REFUSED(make_loaded, frame.loaded.has_template = 2);
    REFUSED(make_loaded, frame.loaded.cache_used = 2);
    REFUSED(make_loaded, frame.loaded.reserved[1] = 1);
    REFUSED(make_progress, frame.progress.stage = 0);
    REFUSED(make_progress, frame.progress.stage = 5);
    REFUSED(make_progress, frame.progress.done = 4);
    REFUSED(make_progress, frame.progress.reserved = 1);
    REFUSED(make_text, frame.header.size_bytes = sizeof(InkWireText)); /* no text */
    REFUSED(make_text, frame.header.size_bytes -= 2);                  /* torn by the length */
    REFUSED(make_text, text[0] = 0xC0);
    REFUSED(make_text, text[3] = 0xE2); /* torn at the end */
    REFUSED(make_text, text[3] = 0);
    REFUSED(make_text, frame.text.offset_bytes = UINT64_MAX - 1);
    REFUSED(make_long_text, (void)0);
    REFUSED(make_ids, frame.ids.n = 0);
    REFUSED(make_ids, frame.ids.n = 3);
    REFUSED(make_ids, frame.ids.n = INK_WIRE_IDS_PER_FRAME + 1);
    REFUSED(make_ids, frame.ids.n = UINT32_MAX);
    REFUSED(make_ids, frame.ids.offset = UINT32_MAX);
    REFUSED(make_finished, frame.finished.reason = 0);
    REFUSED(make_finished, frame.finished.reason = 7);
    REFUSED(make_finished, frame.finished.cached_tokens = 6);
    REFUSED(make_finished, frame.finished.output_tokens = INK_WIRE_MAX_TOKENS + 1);
    REFUSED(make_finished, frame.finished.lowered_priority = 2);
    REFUSED(make_finished, frame.finished.reserved[6] = 1);
    REFUSED(make_failed, frame.failed.code = 0);
    REFUSED(make_failed, frame.failed.code = 4096);
    REFUSED(make_failed, memset(frame.failed.message, 'a', sizeof(frame.failed.message)));
    REFUSED(make_failed, frame.failed.message[1] = '\n');
    REFUSED(make_failed, frame.failed.reserved = 1);
#undef REFUSED
}

/* -- the socket -------------------------------------------------------------------------------- */

static void test_wire_receive_hands_over_descriptors_that_exec_closes(void **state)
{
    (void)state;
    int pair[2], pipes[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(pipe(pipes), 0);
    size_t before = count_descriptors();
    make_load();
    assert_int_equal(
        ink_wire_send(pair[0], 0, &frame.header, sizeof(InkWireLoad), NULL, 0, pipes, 2), 0);
    InkError e = {0};
    assert_int_equal(ink_wire_receive(pair[1], 0, INK_WIRE_TO_WORKER, &frame, &e), 0);
    assert_int_equal(frame.n_fds, 2);
    assert_int_equal(fcntl(frame.fds[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(count_descriptors(), before + 2);
    int taken = INK_TAKE_FD(frame.fds[0]);
    ink_wire_frame_done(&frame);
    assert_int_equal(count_descriptors(), before + 1);
    close(taken);
    close(pipes[0]);
    close(pipes[1]);
    close(pair[0]);
    close(pair[1]);
}

/* Sends raw bytes with n copies of one descriptor, as a broken peer would. */
static void send_raw(int socket, const void *data, size_t n_bytes, size_t n_fds)
{
    char control[CMSG_SPACE(16 * sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)data, n_bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds != 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        for (size_t i = 0; i < n_fds; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &socket, sizeof(int));
    }
    assert_int_equal(sendmsg(socket, &message, 0), n_bytes);
}

static void test_wire_receive_closes_surplus_descriptors(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    size_t before = count_descriptors();
    for (size_t n_fds = 1; n_fds <= 16; n_fds++) {
        make_cancel(); /* carries none */
        send_raw(pair[0], &frame, sizeof(InkWireHeader), n_fds);
        InkError e = {0};
        assert_int_equal(ink_wire_receive(pair[1], 0, INK_WIRE_TO_WORKER, &frame, &e), -EPROTO);
        assert_int_equal(frame.n_fds, 0);
        assert_int_equal(count_descriptors(), before);
    }
    close(pair[0]);
    close(pair[1]);
}

static void test_wire_receive_tells_truncation_silence_and_end(void **state)
{
    (void)state;
    int pair[2];
    InkError e = {0};
    static char large[INK_WIRE_MAX_FRAME_BYTES + 1];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(ink_wire_receive(pair[1], MSG_DONTWAIT, INK_WIRE_TO_WORKER, &frame, &e),
                     -EAGAIN);
    send_raw(pair[0], large, sizeof(large), 0);
    assert_int_equal(ink_wire_receive(pair[1], 0, INK_WIRE_TO_WORKER, &frame, &e), -EPROTO);
    send_raw(pair[0], large, 3, 0);
    assert_int_equal(ink_wire_receive(pair[1], 0, INK_WIRE_TO_WORKER, &frame, &e), -EPROTO);
    close(pair[0]);
    assert_int_equal(ink_wire_receive(pair[1], 0, INK_WIRE_TO_WORKER, &frame, &e), -ECONNRESET);
    make_cancel();
    assert_int_equal(
        ink_wire_send(pair[1], 0, &frame.header, sizeof(InkWireHeader), NULL, 0, NULL, 0),
        -ECONNRESET);
    close(pair[1]);
}

static void test_wire_send_refuses_what_is_too_large_and_tells_a_full_socket(void **state)
{
    (void)state;
    int pair[2];
    static char tail[INK_WIRE_MAX_FRAME_BYTES];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    make_cancel();
    assert_int_equal(ink_wire_send(pair[0], 0, &frame.header, sizeof(InkWireHeader), tail,
                                   sizeof(tail), NULL, 0),
                     -EINVAL);
    int r = 0;
    for (size_t i = 0; i < 100000 && r == 0; i++)
        r = ink_wire_send(pair[0], MSG_DONTWAIT, &frame.header, sizeof(InkWireHeader), tail, 4096,
                          NULL, 0);
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(frame.header.size_bytes, sizeof(InkWireHeader) + 4096);
    close(pair[0]);
    close(pair[1]);
}

/* -- bulk data --------------------------------------------------------------------------------- */

static int make_memfd(const void *data, size_t n_bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n_bytes), n_bytes);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static void test_wire_bulk_carries_strings_through(void **state)
{
    (void)state;
    InkWireString in[] = {{"user", 4}, {"", 0}, {"a\0b", 3}};
    InkError e = {0};
    int fd = -1;
    assert_int_equal(ink_wire_bulk_new(in, 3, &fd, &e), 0);
    assert_int_equal(fcntl(fd, F_GET_SEALS), ALL_SEALS | F_SEAL_SEAL);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    InkWireBulk out = INK_WIRE_BULK_INIT;
    assert_int_equal(ink_wire_bulk_map(fd, &out, &e), 0);
    close(fd);
    assert_int_equal(out.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(out.strings[i].n_bytes, in[i].n_bytes);
        assert_memory_equal(out.strings[i].data, in[i].data, in[i].n_bytes);
    }
    ink_wire_bulk_done(&out);
    assert_null(out.map);
}

static void test_wire_bulk_refuses_what_is_over_its_limits(void **state)
{
    (void)state;
    static InkWireString many[INK_WIRE_MAX_STRINGS + 1];
    char *large = calloc(1, INK_WIRE_MAX_BULK_BYTES);
    assert_non_null(large);
    InkWireString one = {large, INK_WIRE_MAX_BULK_BYTES - 7}, twice[] = {{large, SIZE_MAX}, one};
    InkError e = {0};
    int fd = -1;
    assert_int_equal(ink_wire_bulk_new(many, INK_WIRE_MAX_STRINGS + 1, &fd, &e), -E2BIG);
    assert_int_equal(ink_wire_bulk_new(many, 0, &fd, &e), -E2BIG);
    assert_int_equal(ink_wire_bulk_new(&one, 1, &fd, &e), -E2BIG);
    assert_int_equal(ink_wire_bulk_new(twice, 2, &fd, &e), -E2BIG);
    assert_int_equal(fd, -1);
    one.n_bytes--; /* exactly the limit */
    assert_int_equal(ink_wire_bulk_new(&one, 1, &fd, &e), 0);
    InkWireBulk b = INK_WIRE_BULK_INIT;
    assert_int_equal(ink_wire_bulk_map(fd, &b, &e), 0);
    assert_int_equal(b.map_bytes, INK_WIRE_MAX_BULK_BYTES);
    ink_wire_bulk_done(&b);
    close(fd);
    free(large);
}

static void assert_map_refused(int fd)
{
    InkWireBulk b = INK_WIRE_BULK_INIT;
    InkError e = {0};
    assert_int_equal(ink_wire_bulk_map(fd, &b, &e), -EPROTO);
    assert_null(b.map);
    close(fd);
}

static void test_wire_bulk_refuses_what_is_not_sealed(void **state)
{
    (void)state;
    static const uint32_t sound[] = {1, 4, 0x61616161};
    assert_map_refused(make_memfd(sound, sizeof(sound), 0));
    assert_map_refused(make_memfd(sound, sizeof(sound), F_SEAL_SHRINK | F_SEAL_GROW));
    assert_map_refused(make_memfd(sound, sizeof(sound), F_SEAL_SHRINK | F_SEAL_WRITE));
    assert_map_refused(make_memfd(sound, sizeof(sound), F_SEAL_GROW | F_SEAL_WRITE));
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_map_refused(pipes[0]);
    close(pipes[1]);
    assert_map_refused(open("/dev/zero", O_RDONLY));
    assert_map_refused(open("/proc/self/exe", O_RDONLY));
}

static void test_wire_bulk_refuses_lists_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        uint32_t words[6];
        size_t n_bytes;
    } broken[] = {
        {{0}, 0},                    /* empty */
        {{1}, 3},                    /* not even a count */
        {{0}, 4},                    /* no strings */
        {{1}, 4},                    /* no sizes */
        {{2, 0}, 8},                 /* one size too few */
        {{1, 5, 0}, 12},             /* beyond the end */
        {{1, 3, 0}, 12},             /* a byte behind the last */
        {{2, 2, 3, 0}, 16},          /* the second beyond the end */
        {{2, UINT32_MAX, 5, 0}, 16}, /* sums that wrap in 32 bits */
        {{INK_WIRE_MAX_STRINGS + 1, 0, 0}, 24},
        {{UINT32_MAX, 0, 0}, 24},
        {{0x40000000, 0, 0}, 24}, /* its sizes wrap to 0 bytes */
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        assert_map_refused(make_memfd(broken[i].words, broken[i].n_bytes, ALL_SEALS));
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(huge, (off_t)INK_WIRE_MAX_BULK_BYTES + 1), 0);
    assert_int_equal(fcntl(huge, F_ADD_SEALS, ALL_SEALS), 0);
    assert_map_refused(huge);
}

static void test_wire_bulk_without_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    InkWireString in = {"text", 4};
    InkError e = {0};
    int fd = -1, unused = -1;
    assert_int_equal(ink_wire_bulk_new(&in, 1, &fd, &e), 0);
    size_t before = count_descriptors();
    InkWireBulk b = INK_WIRE_BULK_INIT;
    ink_alloc_fail_at(1, true);
    int made = ink_wire_bulk_new(&in, 1, &unused, &e), mapped = ink_wire_bulk_map(fd, &b, &e);
    ink_alloc_fail_at(0, false);
    assert_int_equal(made, -ENOMEM);
    assert_int_equal(mapped, -ENOMEM);
    assert_int_equal(unused, -1);
    assert_null(b.map);
    assert_int_equal(count_descriptors(), before);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_check_takes_each_sound_frame_in_its_direction_only),
        cmocka_unit_test(test_wire_check_refuses_wrong_sizes_and_descriptors),
        cmocka_unit_test(test_wire_check_refuses_unknown_types),
        cmocka_unit_test(test_wire_check_refuses_bad_fields_to_worker),
        cmocka_unit_test(test_wire_check_refuses_bad_fields_to_broker),
        cmocka_unit_test(test_wire_receive_hands_over_descriptors_that_exec_closes),
        cmocka_unit_test(test_wire_receive_closes_surplus_descriptors),
        cmocka_unit_test(test_wire_receive_tells_truncation_silence_and_end),
        cmocka_unit_test(test_wire_send_refuses_what_is_too_large_and_tells_a_full_socket),
        cmocka_unit_test(test_wire_bulk_carries_strings_through),
        cmocka_unit_test(test_wire_bulk_refuses_what_is_over_its_limits),
        cmocka_unit_test(test_wire_bulk_refuses_what_is_not_sealed),
        cmocka_unit_test(test_wire_bulk_refuses_lists_that_do_not_fit),
        cmocka_unit_test(test_wire_bulk_without_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
