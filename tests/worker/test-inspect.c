/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The frames of wire-inspect.h, and the helper as it is run: the program itself, sealed, behind a
 * socket pair, with the toy models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"
#include "engine/base/sha256.h"
#include "engine/worker/inspect.h"
#include "engine/worker/wire-inspect.h"
#include "engine/worker/wire-io.h"

static InkInspectFrame frame;

/* -- frames ------------------------------------------------------------------------------------ */

static void begin(uint32_t type, size_t n_bytes, size_t n_fds)
{
    memset(&frame, 0, sizeof(frame));
    frame.header = (InkWireHeader){.type = type, .size_bytes = (uint32_t)n_bytes};
    frame.n_fds = n_fds; /* numbers only: the check looks at their count */
}

static void make_job(void)
{
    begin(INK_INSPECT_INSPECT, sizeof(InkInspectJob), 2);
    frame.job.version = INK_INSPECT_VERSION;
    frame.job.copy = 1;
    frame.job.size_bytes = 100;
}

static void make_ready(void)
{
    begin(INK_INSPECT_READY, sizeof(InkInspectReady), 0);
    frame.ready.version = INK_INSPECT_VERSION;
    frame.ready.seccomp = 1;
}

static void make_progress(void)
{
    begin(INK_INSPECT_PROGRESS, sizeof(InkInspectProgress), 0);
    frame.progress.stage = INK_INSPECT_STORING;
    frame.progress.done = frame.progress.total = 9;
}

static void make_result(void)
{
    begin(INK_INSPECT_RESULT, sizeof(InkInspectResult), 0);
    InkInspectResult *m = &frame.result;
    strcpy(m->name, "A model");
    strcpy(m->architecture, "llama");
    strcpy(m->quantization, "Q4_1");
    m->n_layers = m->n_embedding = m->n_heads = m->n_kv_heads = m->n_vocab = m->n_context = 2;
    m->n_parameters = 8;
    m->size_bytes = 100;
    m->n_types = 2;
    strcpy(m->types[0].name, "Q4_1");
    strcpy(m->types[1].name, "F32");
    m->types[0].n_bytes = 60;
    m->types[1].n_bytes = 40;
    m->n_warnings = 1;
    strcpy(m->warnings[0], "no chat template");
}

static void make_failed(void)
{
    begin(INK_INSPECT_FAILED, sizeof(InkWireFailed), 0);
    frame.failed.code = EBADMSG;
    strcpy(frame.failed.message, "why");
}

static const struct {
    void (*make)(void);
    bool to_helper;
} makers[] = {{make_job, true},
              {make_ready, false},
              {make_progress, false},
              {make_result, false},
              {make_failed, false}};
#define N_MAKERS (sizeof(makers) / sizeof(makers[0]))

static int check(size_t received_bytes, bool to_helper)
{
    InkError e = {0};
    int r = ink_inspect_check(&frame, received_bytes, to_helper, &e);
    if (r < 0)
        assert_true(e.code == -r && e.message[0] != '\0');
    return r;
}

static void test_inspect_frames_pass_whole_and_in_their_direction_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MAKERS; i++) {
        makers[i].make();
        size_t n = frame.header.size_bytes;
        assert_int_equal(check(n, makers[i].to_helper), 0);
        assert_int_equal(check(n, !makers[i].to_helper), -EPROTO);
        for (size_t cut = 0; cut < n; cut++) {
            assert_int_equal(check(cut, makers[i].to_helper), -EPROTO); /* the header lies */
            frame.header.size_bytes = (uint32_t)cut;
            assert_int_equal(check(cut, makers[i].to_helper), -EPROTO);
            makers[i].make();
        }
        frame.header.id = 1;
        assert_int_equal(check(n, makers[i].to_helper), -EPROTO);
        makers[i].make();
        frame.n_fds = 3;
        assert_int_equal(check(n, makers[i].to_helper), -EPROTO);
    }
    make_job();
    frame.header.type = INK_WIRE_LOAD;
    assert_int_equal(check(sizeof(InkInspectJob), true), -EPROTO);
}

static void test_inspect_frames_with_bad_fields_are_refused(void **state)
{
    (void)state;
#define REFUSED(maker, helper, change)                                                             \
    do {                                                                                           \
        maker();                                                                                   \
        change;                                                                                    \
        assert_int_equal(check(frame.header.size_bytes, helper), -EPROTO);                         \
    } while (0)
    REFUSED(make_job, true, frame.job.version = 2);
    REFUSED(make_job, true, frame.job.copy = 2);
    REFUSED(make_job, true, frame.job.copy = 0); /* with two descriptors */
    REFUSED(make_job, true, frame.job.hash = 2);
    REFUSED(make_job, true, frame.job.reserved[1] = 1);
    REFUSED(make_job, true, frame.job.size_bytes = 0);
    REFUSED(make_job, true, frame.job.size_bytes = UINT64_MAX);
    REFUSED(make_job, true, frame.n_fds = 1);
    REFUSED(make_ready, false, frame.ready.version = 0);
    REFUSED(make_ready, false, frame.ready.seccomp = 2);
    REFUSED(make_ready, false, frame.ready.reserved[0] = 1);
    REFUSED(make_progress, false, frame.progress.stage = 0);
    REFUSED(make_progress, false, frame.progress.stage = 3);
    REFUSED(make_progress, false, frame.progress.reserved = 1);
    REFUSED(make_progress, false, frame.progress.done = 10);
    REFUSED(make_progress, false, frame.progress.total = 0);
    REFUSED(make_result, false, memset(frame.result.name, 'a', sizeof(frame.result.name)));
    REFUSED(make_result, false, strcpy(frame.result.license, "a\nb"));
    REFUSED(make_result, false, strcpy(frame.result.tokenizer, "\xFF"));
    REFUSED(make_result, false, frame.result.architecture[0] = '\0');
    REFUSED(make_result, false, frame.result.n_layers = 0);
    REFUSED(make_result, false, frame.result.n_kv_heads = 3);
    REFUSED(make_result, false, frame.result.n_parameters = 0);
    REFUSED(make_result, false, frame.result.has_template = 2);
    REFUSED(make_result, false, frame.result.has_sha256 = 2);
    REFUSED(make_result, false, frame.result.sha256[31] = 1);
    REFUSED(make_result, false, frame.result.reserved = 1);
    REFUSED(make_result, false, frame.result.n_types = 0);
    REFUSED(make_result, false, frame.result.n_types = INK_INSPECT_MAX_TYPES + 1);
    REFUSED(make_result, false, frame.result.n_types = 1); /* a second one is there */
    REFUSED(make_result, false, frame.result.types[1].n_bytes = 41);
    REFUSED(make_result, false, frame.result.types[1].n_bytes = UINT64_MAX);
    REFUSED(make_result, false, strcpy(frame.result.types[1].name, "Q4_1"));
    REFUSED(make_result, false, frame.result.types[1].name[0] = '\0');
    REFUSED(make_result, false, frame.result.n_warnings = 0);
    REFUSED(make_result, false, frame.result.n_warnings = 2);
    REFUSED(make_result, false, frame.result.n_warnings = INK_INSPECT_MAX_WARNINGS + 1);
    REFUSED(make_result, false, frame.result.size_bytes = 0);
    REFUSED(make_failed, false, frame.failed.code = 0);
    REFUSED(make_failed, false, frame.failed.code = 4096);
    REFUSED(make_failed, false, frame.failed.reserved = 1);
    REFUSED(make_failed, false, strcpy(frame.failed.message, "\x1b[31m"));
    REFUSED(make_failed, false, strcpy(frame.failed.message, "\xC2\x9B[31m"));
    REFUSED(make_failed, false, strcpy(frame.failed.message, "\xE2\x80\xAE"));
#undef REFUSED
}

/* Else the fuzzer would begin far from what is taken. */
static void test_inspect_seeds_of_the_fuzzer_are_sound(void **state)
{
    (void)state;
    static const char *const seeds[] = {"job",    "job-copy",    "ready", "progress",
                                        "result", "result-full", "failed"};
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        char path[4096];
        uint8_t head[2];
        snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/wire-inspect/%s",
                 getenv("INKLING_SOURCE_DIR"), seeds[i]);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        memset(&frame, 0, sizeof(frame));
        assert_int_equal(fread(head, 1, 2, f), 2);
        size_t n = fread(frame.bytes, 1, sizeof(frame.bytes), f);
        fclose(f);
        frame.n_fds = head[1];
        assert_int_equal(check(n, head[0] % 2 == 0), 0);
    }
}

/* -- the program ------------------------------------------------------------------------------- */

static int wire = -1;
static pid_t helper;
static uint64_t n_progress, last_done;
static uint32_t last_stage;

static void receive(void)
{
    InkError e = {0};
    struct timeval limit = {.tv_sec = 20};
    assert_int_equal(setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    int r = ink_inspect_receive(wire, 0, false, &frame, &e);
    if (r < 0)
        print_error("receive: %s\n", e.message);
    assert_int_equal(r, 0);
}

static void start_helper(void)
{
    char path[4096];
    int pair[2];
    snprintf(path, sizeof(path), "%s/engine/worker/inkling-worker", getenv("INKLING_BUILD_DIR"));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    helper = fork();
    assert_true(helper >= 0);
    if (helper == 0) {
        dup2(pair[1], 3);
        execl(path, "inkling-worker", "--role=inspect", "--fd=3", NULL);
        _exit(127);
    }
    close(pair[1]);
    wire = pair[0];
    receive();
    assert_int_equal(frame.header.type, INK_INSPECT_READY);
    n_progress = last_done = last_stage = 0;
}

static int end_helper(void)
{
    int status = 0;
    close(wire);
    wire = -1;
    assert_int_equal(waitpid(helper, &status, 0), helper);
    return status;
}

static void send_job(int model, int copy, bool hash, uint64_t size_bytes)
{
    InkInspectJob job = {.header = {.type = INK_INSPECT_INSPECT},
                         .version = INK_INSPECT_VERSION,
                         .copy = copy >= 0,
                         .hash = hash,
                         .size_bytes = size_bytes};
    const int fds[2] = {model, copy};
    assert_int_equal(
        ink_wire_send(wire, 0, &job.header, sizeof(job), NULL, 0, fds, copy >= 0 ? 2 : 1), 0);
}

/* The last frame; progress before it is counted and must not go back. */
static void wait_for_answer(void)
{
    for (receive(); frame.header.type == INK_INSPECT_PROGRESS; receive()) {
        assert_true(frame.progress.stage > last_stage ||
                    (frame.progress.stage == last_stage && frame.progress.done >= last_done));
        last_stage = frame.progress.stage;
        last_done = frame.progress.done;
        n_progress++;
    }
}

static int open_toy(const char *name, uint64_t *ret_size)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof(path), "%s/tests/data/%s", getenv("INKLING_SOURCE_DIR"), name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *ret_size = (uint64_t)st.st_size;
    return fd;
}

static char *read_file(int fd, size_t n_bytes)
{
    char *data = malloc(n_bytes);
    assert_non_null(data);
    assert_int_equal(pread(fd, data, n_bytes, 0), (ssize_t)n_bytes);
    return data;
}

static int file_of(const void *data, size_t n_bytes)
{
    int fd = memfd_create("model", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n_bytes), (ssize_t)n_bytes);
    return fd;
}

static void assert_failed(int code, const char *words)
{
    assert_int_equal(frame.header.type, INK_INSPECT_FAILED);
    if (strstr(frame.failed.message, words) == NULL)
        print_error("\"%s\" without \"%s\"\n", frame.failed.message, words);
    assert_non_null(strstr(frame.failed.message, words));
    assert_int_equal(frame.failed.code, code);
}

static void test_inspect_tells_what_is_in_a_file(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama-q.gguf", &size);
    start_helper();
    send_job(fd, -1, false, size);
    wait_for_answer();
    assert_int_equal(frame.header.type, INK_INSPECT_RESULT);
    const InkInspectResult *m = &frame.result;
    assert_string_equal(m->architecture, "llama");
    assert_true(m->n_layers >= 1 && m->n_vocab > 1 && m->n_heads >= m->n_kv_heads);
    assert_int_equal(m->size_bytes, size);
    assert_int_equal(m->has_sha256, 0);
    bool has_quantized = false;
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n_types; i++) {
        has_quantized |= m->types[i].name[0] == 'Q';
        sum += m->types[i].n_bytes;
    }
    assert_true(has_quantized);
    assert_true(sum > size / 2 && sum < size);
    assert_true(WIFEXITED(end_helper()));
    close(fd);
}

static void test_inspect_hashes_and_copies_the_whole_file(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama.gguf", &size), copy = memfd_create("copy", MFD_CLOEXEC);
    char *data = read_file(fd, size);
    InkSha256 s;
    uint8_t sum[INK_SHA256_BYTES];
    ink_sha256_init(&s, true);
    ink_sha256_update(&s, data, size);
    ink_sha256_final(&s, sum);

    start_helper();
    send_job(fd, -1, true, size);
    wait_for_answer();
    assert_int_equal(frame.header.type, INK_INSPECT_RESULT);
    assert_int_equal(frame.result.has_sha256, 1);
    assert_memory_equal(frame.result.sha256, sum, sizeof(sum));
    assert_int_equal(end_helper(), 0);

    start_helper();
    send_job(fd, copy, false, size);
    wait_for_answer();
    assert_int_equal(frame.header.type, INK_INSPECT_RESULT);
    assert_memory_equal(frame.result.sha256, sum, sizeof(sum));
    assert_int_equal(last_stage, INK_INSPECT_STORING);
    assert_int_equal(last_done, size);
    assert_int_equal(end_helper(), 0);
    struct stat st;
    assert_true(fstat(copy, &st) == 0 && (uint64_t)st.st_size == size);
    char *copied = read_file(copy, size);
    assert_memory_equal(copied, data, size);
    free(copied);
    free(data);
    close(copy);
    close(fd);
}

static void test_inspect_refuses_what_is_not_sound_by_name(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama-q.gguf", &size);
    char *data = read_file(fd, size);
    close(fd);

    fd = file_of(data, size / 2);
    start_helper();
    send_job(fd, -1, false, size / 2);
    wait_for_answer();
    assert_failed(EBADMSG, "tensor");
    (void)end_helper();

    start_helper();
    send_job(fd, -1, false, size); /* the broker saw it longer */
    wait_for_answer();
    assert_failed(EBADMSG, "changed while it was read");
    (void)end_helper();
    close(fd);

    fd = file_of("no model at all", 15);
    start_helper();
    send_job(fd, -1, false, 15);
    wait_for_answer();
    assert_int_equal(frame.header.type, INK_INSPECT_FAILED);
    assert_int_equal(frame.failed.code, EBADMSG);
    (void)end_helper();
    close(fd);

    char *family = memmem(data, size, "llama", 5);
    assert_non_null(family);
    memcpy(family, "mamba", 5);
    fd = file_of(data, size);
    start_helper();
    send_job(fd, -1, true, size);
    wait_for_answer();
    assert_failed(EOPNOTSUPP, "mamba");
    (void)end_helper();
    close(fd);
    free(data);
}

/* Each allocation in turn, and all from it on. */
static void test_inspect_without_memory_is_a_clean_error(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama-q.gguf", &size), r = -ENOMEM;
    InkInspectResult result = {0};
    ink_alloc_fail_at(0, false);
    assert_int_equal(ink_inspect_file(fd, size, &result, NULL), 0);
    size_t n = ink_alloc_count();
    assert_true(n > 10 && result.n_layers > 0);
    for (size_t at = 1; at <= n; at += n < 400 ? 1 : n / 400) {
        InkError e = {0};
        ink_alloc_fail_at(at, true);
        r = ink_inspect_file(fd, size, &result, &e);
        ink_alloc_fail_at(0, false);
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(e.code, ENOMEM);
    }
    close(fd);
}

/* Every 97th byte in turn, over the whole header: an answer always comes, and it is no signal. */
static void test_inspect_answers_whatever_byte_is_wrong(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama-q.gguf", &size);
    char *data = read_file(fd, size);
    size_t step = getenv("INKLING_TEST_FULL") != NULL ? 97 : 1511, n_refused = 0;
    close(fd);
    for (size_t at = 0; at < 24000 && at < size; at += step) {
        char before = data[at];
        data[at] = (char)(before ^ 0xA5);
        fd = file_of(data, size);
        data[at] = before;
        start_helper();
        send_job(fd, -1, false, size);
        wait_for_answer();
        n_refused += frame.header.type == INK_INSPECT_FAILED;
        int status = end_helper();
        assert_true(WIFEXITED(status));
        close(fd);
    }
    assert_true(n_refused > 0);
    free(data);
}

static void test_inspect_says_why_a_copy_has_no_room(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama.gguf", &size);
    int copy = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(copy >= 0);
    start_helper();
    send_job(fd, copy, false, size);
    wait_for_answer();
    assert_int_equal(frame.header.type, INK_INSPECT_FAILED);
    assert_true(frame.failed.code == ENOSPC || frame.failed.code == ENODEV);
    (void)end_helper();
    close(copy);
    close(fd);
}

static void test_inspect_ends_when_the_broker_breaks_the_protocol_or_leaves(void **state)
{
    (void)state;
    start_helper();
    InkWireHeader cancel = {.type = INK_WIRE_CANCEL, .id = 1};
    assert_int_equal(ink_wire_send(wire, 0, &cancel, sizeof(cancel), NULL, 0, NULL, 0), 0);
    InkError e = {0};
    assert_true(ink_inspect_receive(wire, 0, false, &frame, &e) < 0);
    int status = end_helper();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);

    start_helper();
    status = end_helper();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A file that is cut while the helper has it mapped. */
static void test_inspect_of_a_shrinking_file_is_a_clean_error(void **state)
{
    (void)state;
    uint64_t size;
    int fd = open_toy("toy-llama.gguf", &size);
    char *data = read_file(fd, size);
    close(fd);
    unsigned n_failed = 0;
    for (unsigned i = 0; i < 20; i++) {
        fd = file_of(data, size);
        start_helper();
        send_job(fd, -1, true, size);
        usleep(i * 100);
        assert_int_equal(ftruncate(fd, 100), 0);
        wait_for_answer();
        if (frame.header.type == INK_INSPECT_FAILED) {
            assert_int_equal(frame.failed.code, EBADMSG); /* whichever was met first */
            n_failed++;
        }
        assert_true(WIFEXITED(end_helper()));
        close(fd);
    }
    assert_true(n_failed > 0);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect_frames_pass_whole_and_in_their_direction_only),
        cmocka_unit_test(test_inspect_frames_with_bad_fields_are_refused),
        cmocka_unit_test(test_inspect_seeds_of_the_fuzzer_are_sound),
        cmocka_unit_test(test_inspect_tells_what_is_in_a_file),
        cmocka_unit_test(test_inspect_hashes_and_copies_the_whole_file),
        cmocka_unit_test(test_inspect_refuses_what_is_not_sound_by_name),
        cmocka_unit_test(test_inspect_without_memory_is_a_clean_error),
        cmocka_unit_test(test_inspect_answers_whatever_byte_is_wrong),
        cmocka_unit_test(test_inspect_says_why_a_copy_has_no_room),
        cmocka_unit_test(test_inspect_ends_when_the_broker_breaks_the_protocol_or_leaves),
        cmocka_unit_test(test_inspect_of_a_shrinking_file_is_a_clean_error),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
