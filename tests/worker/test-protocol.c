/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The whole loop of the worker on a thread, unsealed (test-seal.c has the seal), with the toy model
 * behind a real socket pair: order of frames, answers, and what a broker that breaks the protocol
 * gets. */
#include "answers.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "engine/worker/protocol.h"

static int wire[2]; /* ours, the worker's */
static pthread_t thread;
static int outcome;
static InkError outcome_error;

static void *serve(void *unused)
{
    InkSealStatus seal = {.seccomp = true, .landlock_abi = 7};
    outcome = ink_worker_serve(wire[1], &seal, &outcome_error);
    close(wire[1]);
    return unused;
}

static void begin(void)
{
    clear_answers();
    outcome = 0;
    outcome_error = (InkError){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
}

static void join_worker(int expected)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (outcome != expected)
        print_error("outcome: %s\n", outcome_error.message);
    assert_int_equal(outcome, expected);
    close(wire[0]);
    clear_answers();
}

/* The broker hangs up. */
static void hang_up(void)
{
    assert_int_equal(shutdown(wire[0], SHUT_RDWR), 0);
    join_worker(-ECONNRESET);
}

/* The worker hangs up, because the last frame broke the protocol. */
static void expect_broken(const char *word)
{
    while (receive_answer(wire[0], 0))
        ;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(outcome, -EPROTO);
    if (strstr(outcome_error.message, word) == NULL)
        fail_msg("\"%s\" is not in: %s", word, outcome_error.message);
    close(wire[0]);
    clear_answers();
}

static void send_to_worker(void *frame, size_t n_bytes, int fd)
{
    assert_int_equal(ink_wire_send(wire[0], 0, frame, n_bytes, NULL, 0, &fd, fd >= 0), 0);
    if (fd >= 0)
        close(fd);
}

static void wait_for(uint64_t id)
{
    while (!answers[id].ended)
        assert_true(receive_answer(wire[0], 0));
}

static void send_load(uint64_t id, int model)
{
    InkWireLoad l = {.header = {.type = INK_WIRE_LOAD, .id = id}, .n_threads = 2};
    send_to_worker(&l, sizeof(l), model);
}

static void load(void)
{
    send_load(1, open_toy("toy-llama.gguf"));
    wait_for(1);
    assert_false(answers[1].failed);
}

static void send_prompt(InkWireGenerate request, const char *prompt)
{
    send_to_worker(&request, sizeof(request), make_bulk(&prompt, 1));
}

static void send_header(uint32_t type, uint64_t id)
{
    InkWireHeader h = {.type = type, .id = id};
    send_to_worker(&h, sizeof(h), -1);
}

static void send_credit(uint64_t id, uint32_t more_bytes)
{
    InkWireCredit c = {.header = {.type = INK_WIRE_CREDIT, .id = id}, .more_bytes = more_bytes};
    send_to_worker(&c, sizeof(c), -1);
}

static void expect_failed(uint64_t id, int code, const char *word)
{
    wait_for(id);
    assert_true(answers[id].failed);
    assert_int_equal(answers[id].failure.code, code);
    if (strstr(answers[id].failure.message, word) == NULL)
        fail_msg("\"%s\" is not in: %s", word, answers[id].failure.message);
}

/* -- what a good broker sees ------------------------------------------------------------------- */

static void test_protocol_ready_comes_first_and_load_is_answered(void **state)
{
    (void)state;
    begin();
    assert_true(receive_answer(wire[0], 0));
    assert_int_equal(n_ready, 1);
    load();
    const InkWireLoaded *l = &answers[1].loaded;
    assert_string_equal(l->architecture, "llama");
    assert_int_equal(l->n_context, 512);
    assert_int_equal(l->n_threads, 2);
    assert_true(l->n_vocab >= 100 && l->n_parameters > 1000 && l->kv_bytes_per_token > 0);
    assert_true(l->kernels[0] != '\0');
    hang_up();
}

static void test_protocol_failed_load_can_be_repeated(void **state)
{
    (void)state;
    begin();
    int text = memfd_create("model", MFD_CLOEXEC);
    assert_int_equal(write(text, "this is no model", 16), 16);
    send_load(1, text);
    expect_failed(1, EBADMSG, "");
    send_load(2, memfd_create("empty", MFD_CLOEXEC));
    expect_failed(2, EBADMSG, "");
    send_load(3, open_toy("toy-llama.gguf"));
    wait_for(3);
    assert_false(answers[3].failed);
    hang_up();
}

static void test_protocol_answers_a_prompt_and_a_chat(void **state)
{
    (void)state;
    begin();
    load();
    send_prompt(make_request(2, 1, 8), "hello and");
    InkWireGenerate chat = make_request(3, 1, 8);
    const char *const messages[] = {"system", "and", "user", "hello"};
    chat.kind = INK_WIRE_CHAT;
    chat.n_messages = 2;
    send_to_worker(&chat, sizeof(chat), make_bulk(messages, 4));
    wait_for(2);
    wait_for(3);
    assert_false(answers[2].failed);
    assert_false(answers[3].failed);
    assert_true(answers[3].finished.prompt_tokens > answers[2].finished.prompt_tokens);
    InkWireTokenize t = {
        .header = {.type = INK_WIRE_TOKENIZE, .id = 4}, .kind = INK_WIRE_CHAT, .n_messages = 2};
    send_to_worker(&t, sizeof(t), make_bulk(messages, 4));
    wait_for(4);
    assert_int_equal(answers[4].finished.prompt_tokens, answers[3].finished.prompt_tokens);
    assert_int_equal(answers[4].ids.size_bytes, 0); /* the count alone */
    hang_up();
}

static void test_protocol_tokens_go_there_and_back(void **state)
{
    (void)state;
    static const char text[] = "hello and other words\n";
    const char *strings[] = {text};
    begin();
    load();
    InkWireTokenize t = {
        .header = {.type = INK_WIRE_TOKENIZE, .id = 2}, .kind = INK_WIRE_COMPLETE, .wants_ids = 1};
    send_to_worker(&t, sizeof(t), make_bulk(strings, 1));
    wait_for(2);
    assert_int_equal(answers[2].finished.reason, INK_WIRE_REASON_DONE);
    assert_int_equal(answers[2].ids.size_bytes, answers[2].finished.prompt_tokens * 4);
    InkWireDetokenize d = {.header = {.type = INK_WIRE_DETOKENIZE, .id = 3}};
    InkWireString ids = {answers[2].ids.data, answers[2].ids.size_bytes};
    int fd = -1;
    assert_int_equal(ink_wire_bulk_new(&ids, 1, &fd, NULL), 0);
    send_to_worker(&d, sizeof(d), fd);
    wait_for(3);
    assert_string_equal(text_of(3), text);
    assert_int_equal(answers[3].finished.prompt_tokens, answers[2].finished.prompt_tokens);
    hang_up();
}

static void test_protocol_special_tokens_count_only_where_asked_for(void **state)
{
    (void)state;
    const char *strings[] = {"<|im_end|>"};
    begin();
    load();
    for (uint8_t special = 0; special <= 1; special++) {
        InkWireTokenize t = {.header = {.type = INK_WIRE_TOKENIZE, .id = 2u + special},
                             .kind = INK_WIRE_COMPLETE,
                             .special = special};
        send_to_worker(&t, sizeof(t), make_bulk(strings, 1));
        wait_for(2u + special);
    }
    assert_true(answers[2].finished.prompt_tokens > 1);
    assert_int_equal(answers[3].finished.prompt_tokens, 1);
    hang_up();
}

static void test_protocol_many_ids_and_much_text_come_in_pieces(void **state)
{
    (void)state;
    size_t n = 3 * INK_WIRE_IDS_PER_FRAME + 1;
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, '7', n);
    text[n] = '\0';
    const char *strings[] = {text};
    begin();
    load();
    InkWireTokenize t = {
        .header = {.type = INK_WIRE_TOKENIZE, .id = 2}, .kind = INK_WIRE_COMPLETE, .wants_ids = 1};
    send_to_worker(&t, sizeof(t), make_bulk(strings, 1));
    wait_for(2);
    assert_int_equal(answers[2].finished.prompt_tokens, n);
    assert_int_equal(answers[2].ids.size_bytes, n * 4);
    InkWireDetokenize d = {.header = {.type = INK_WIRE_DETOKENIZE, .id = 3}};
    InkWireString ids = {answers[2].ids.data, answers[2].ids.size_bytes};
    int fd = -1;
    assert_int_equal(ink_wire_bulk_new(&ids, 1, &fd, NULL), 0);
    send_to_worker(&d, sizeof(d), fd);
    wait_for(3);
    assert_string_equal(text_of(3), text);
    free(text);
    hang_up();
}

static void test_protocol_users_mistakes_fail_alone(void **state)
{
    (void)state;
    begin();
    load();
    InkWireGenerate request = make_request(2, 1, 8);
    const char *const no_role[] = {"", "text"};
    request.kind = INK_WIRE_CHAT;
    request.n_messages = 1;
    send_to_worker(&request, sizeof(request), make_bulk(no_role, 2));
    expect_failed(2, EINVAL, "role");
    char prompt[2001];
    memset(prompt, '7', 2000);
    prompt[2000] = '\0';
    send_prompt(make_request(3, 1, 8), prompt);
    expect_failed(3, EMSGSIZE, "2000");
    request = make_request(4, 1, 8);
    request.n_stops = 1;
    const char *const long_stop[] = {"hello", prompt};
    send_to_worker(&request, sizeof(request), make_bulk(long_stop, 2));
    expect_failed(4, EINVAL, "stop[0]");
    InkWireDetokenize d = {.header = {.type = INK_WIRE_DETOKENIZE, .id = 5}};
    const uint32_t ids[] = {5, 4000000000u};
    InkWireString bytes = {ids, sizeof(ids)};
    int fd = -1;
    assert_int_equal(ink_wire_bulk_new(&bytes, 1, &fd, NULL), 0);
    send_to_worker(&d, sizeof(d), fd);
    expect_failed(5, EINVAL, "ids[1]");
    send_prompt(make_request(6, 1, 2), "hello");
    wait_for(6);
    assert_false(answers[6].failed);
    hang_up();
}

static void test_protocol_credit_and_cancel_reach_a_parked_answer(void **state)
{
    (void)state;
    begin();
    load();
    InkWireGenerate parked = make_request(2, 3, 100), other = make_request(3, 3, 100);
    parked.credit_bytes = 0;
    parked.temperature = other.temperature = 0.0f; /* the same text for both */
    send_prompt(parked, "hello and");
    send_prompt(other, "hello and");
    wait_for(3);
    assert_false(answers[2].ended);
    assert_int_equal(answers[2].text.size_bytes, 0);
    send_header(INK_WIRE_CANCEL, 77); /* unknown: ignored */
    send_credit(77, 5);
    send_credit(2, 1u << 20);
    wait_for(2);
    assert_int_equal(answers[2].finished.reason, answers[3].finished.reason);
    assert_string_equal(text_of(2), text_of(3));
    parked.header.id = 4;
    send_prompt(parked, "hello and");
    send_header(INK_WIRE_CANCEL, 4);
    wait_for(4);
    assert_int_equal(answers[4].finished.reason, INK_WIRE_REASON_CANCELLED);
    hang_up();
}

/* Prompts that take long to read hold up neither a cancel of others nor their own. */
static void test_protocol_cancel_overtakes_long_prompts(void **state)
{
    enum { N_BYTES = 1 << 20, FIRST = 3, LAST = 10 };
    (void)state;
    begin();
    load();
    InkWireGenerate parked = make_request(2, 3, 100);
    parked.credit_bytes = 0;
    send_prompt(parked, "hello and");
    size_t n_before = n_frames;
    while (n_frames == n_before) /* its progress: it is in the scheduler */
        assert_true(receive_answer(wire[0], 0));
    char *prompt = malloc(N_BYTES + 1);
    assert_non_null(prompt);
    memset(prompt, '7', N_BYTES);
    prompt[N_BYTES] = '\0';
    for (uint64_t id = FIRST; id <= LAST; id++)
        send_prompt(make_request(id, 1, 8), prompt);
    free(prompt);
    send_header(INK_WIRE_CANCEL, 2);
    send_header(INK_WIRE_CANCEL, LAST);
    for (uint64_t id = 2; id <= LAST; id++)
        wait_for(id);
    assert_int_equal(answers[2].finished.reason, INK_WIRE_REASON_CANCELLED);
    assert_false(answers[LAST].failed);
    assert_int_equal(answers[LAST].finished.reason, INK_WIRE_REASON_CANCELLED);
    assert_true(answers[FIRST].failed && answers[LAST - 1].failed);
    assert_true(answers[2].ended_at < answers[LAST - 1].ended_at);
    assert_true(answers[LAST].ended_at < answers[LAST - 1].ended_at);
    hang_up();
}

static void test_protocol_hanging_up_in_the_middle_ends_the_worker(void **state)
{
    (void)state;
    begin();
    load();
    for (uint64_t id = 2; id < 12; id++)
        send_prompt(make_request(id, id, 400), "hello and");
    hang_up();
    assert_int_equal(outcome, -ECONNRESET); /* not a step that failed */
}

/* A model whose numbers are not numbers, as a damaged or hostile file has them. */
static int make_nan_model(void)
{
    static char bytes[1 << 20];
    int toy = open_toy("toy-llama.gguf"), fd = memfd_create("nan", MFD_CLOEXEC);
    ssize_t n = read(toy, bytes, sizeof(bytes));
    close(toy);
    assert_true(fd >= 0 && n > 65536 && n < (ssize_t)sizeof(bytes));
    memset(bytes + n - 32768, 0xFF, 32768);
    assert_int_equal(write(fd, bytes, (size_t)n), n);
    return fd;
}

static void test_protocol_not_a_number_fails_the_request_and_not_the_worker(void **state)
{
    (void)state;
    begin();
    send_load(1, make_nan_model());
    wait_for(1);
    assert_false(answers[1].failed);
    for (uint64_t id = 2; id < 4; id++) {
        send_prompt(make_request(id, 1, 8), "hello and");
        expect_failed(id, EBADMSG, "not numbers");
    }
    hang_up();
}

static void send_trim(uint32_t scope)
{
    InkWireTrim t = {.header = {.type = INK_WIRE_TRIM}, .scope = scope};
    assert_int_equal(ink_wire_send(wire[0], 0, &t.header, sizeof(t), NULL, 0, NULL, 0), 0);
}

static void test_protocol_trim_forgets_what_was_read(void **state)
{
    (void)state;
    begin();
    load();
    for (uint64_t id = 2; id <= 5; id++) {
        InkWireGenerate request = make_request(id, 1, id == 2 ? 0 : 4); /* the first reads ahead */
        request.scope = 7;
        if (id == 4)
            send_trim(8);
        if (id == 5)
            send_trim(7);
        send_prompt(request, "hello and hello and hello and hello");
        wait_for(id);
    }
    assert_int_equal(answers[2].finished.reason, INK_WIRE_REASON_DONE);
    uint32_t n = answers[2].finished.prompt_tokens;
    assert_int_equal(answers[3].finished.cached_tokens, n - 1);
    assert_int_equal(answers[4].finished.cached_tokens, n - 1);
    assert_int_equal(answers[5].finished.cached_tokens, 0);
    assert_string_equal(text_of(5), text_of(3));
    hang_up();
}

static void test_protocol_policies_cut_and_say_so(void **state)
{
    (void)state;
    static char text[4096];
    for (size_t i = 0; i < 2000; i++)
        text[i] = i % 5 == 4 ? ' ' : 'a';
    begin();
    load();
    InkWireGenerate request = make_request(2, 1, 8);
    request.context_limit = 100;
    send_prompt(request, text);
    expect_failed(2, EMSGSIZE, "100");
    for (uint32_t overflow = 1; overflow <= 3; overflow++) {
        request.header.id = 2 + overflow;
        request.overflow = overflow;
        send_prompt(request, text);
        wait_for(2 + overflow);
        const InkWireFinished *f = &answers[2 + overflow].finished;
        assert_false(answers[2 + overflow].failed);
        assert_true(f->prompt_tokens <= 92 && f->prompt_tokens > 80); /* 8 are for the answer */
        assert_true(f->truncated_tokens > 100);
        assert_int_equal(f->dropped_messages, 0);
    }
    InkWireGenerate chat = request;
    const char *const messages[] = {"user", text, "assistant", "hello", "user", "and"};
    chat.header.id = 6;
    chat.kind = INK_WIRE_CHAT;
    chat.n_messages = 3;
    chat.overflow = INK_WIRE_OVERFLOW_DROP_OLDEST;
    send_to_worker(&chat, sizeof(chat), make_bulk(messages, 6));
    wait_for(6);
    assert_int_equal(answers[6].finished.dropped_messages, 2);
    assert_true(answers[6].finished.truncated_tokens > 100);
    hang_up();
}

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

static void test_protocol_many_requests_leave_nothing_behind(void **state)
{
    (void)state;
    size_t n_waves = getenv("INKLING_TEST_FULL") != NULL ? 1000 : 100;
    size_t n_descriptors = 0, before_kib = 0;
    InkWireLoad small = {.header = {.type = INK_WIRE_LOAD, .id = 1},
                         .n_threads = 1,
                         .max_kv_bytes = 1 << 20}; /* soon full of cached prefixes */
    begin();
    send_to_worker(&small, sizeof(small), open_toy("toy-llama.gguf"));
    wait_for(1);
    for (size_t wave = 0; wave < n_waves; wave++) {
        if (wave == n_waves / 2) {
            n_descriptors = count_descriptors();
            before_kib = resident_kib();
        }
        for (uint64_t id = 2; id < 12; id++) {
            static const char *const prompts[] = {"hello", "hello and", "and so on", "x y z"};
            InkWireGenerate request = make_request(id, wave, 4);
            request.scope = (uint32_t)(id % 3);
            ink_buffer_done(&answers[id].text);
            answers[id] = (Answer){0};
            send_prompt(request, prompts[(wave + id) % 4]);
            if (id % 5 == 0)
                send_header(INK_WIRE_CANCEL, id);
        }
        for (uint64_t id = 2; id < 12; id++)
            wait_for(id);
        for (uint64_t id = 2; id < 12; id++)
            assert_false(answers[id].failed);
    }
    assert_int_equal(count_descriptors(), n_descriptors);
    assert_true(resident_kib() <= before_kib + RESIDENT_SLACK_KIB);
    hang_up();
}

/* Sends as a broker does, which never waits for room and reads meanwhile. */
static void send_and_read(void *frame, size_t n_bytes, int fd)
{
    int r;
    while ((r = ink_wire_send(wire[0], MSG_DONTWAIT, frame, n_bytes, NULL, 0, &fd, fd >= 0)) ==
           -EAGAIN)
        assert_true(receive_answer(wire[0], 0));
    assert_int_equal(r, 0);
    if (fd >= 0)
        close(fd);
}

/* More than the worker takes in during a step: the rest waits in the socket, nothing is lost, and
 * no descriptor is left. */
static void test_protocol_more_frames_than_may_wait_are_all_answered(void **state)
{
    enum { ROUNDS = 3, FIRST = 3 };
    (void)state;
    const char *text = "hello and other words\n";
    size_t n_descriptors = count_descriptors();
    struct rlimit usual, sealed;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    sealed = usual;
    sealed.rlim_cur = 256; /* as seal.c has it */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &sealed), 0);
    begin();
    load();
    char *prompt = malloc(2001);
    assert_non_null(prompt);
    memset(prompt, '7', 2000);
    prompt[2000] = '\0';
    for (size_t round = 0; round < ROUNDS; round++) {
        InkWireGenerate writing = make_request(2, 3, 200);
        send_prompt(writing, "hello and");
        for (uint64_t id = FIRST; id <= MAX_ANSWERS; id++) {
            InkWireTokenize t = {.header = {.type = INK_WIRE_TOKENIZE, .id = id},
                                 .kind = INK_WIRE_COMPLETE};
            const char *strings[] = {id % 2 != 0 ? text : prompt};
            InkWireCredit c = {.header = {.type = INK_WIRE_CREDIT, .id = id + 1000},
                               .more_bytes = 1};
            send_and_read(&t, sizeof(t), make_bulk(strings, 1));
            send_and_read(&c, sizeof(c), -1); /* nobody's, and waits all the same */
        }
        for (uint64_t id = 2; id <= MAX_ANSWERS; id++) {
            wait_for(id);
            assert_false(answers[id].failed);
            assert_true(answers[id].finished.prompt_tokens > 0);
        }
        assert_int_equal(answers[FIRST].finished.prompt_tokens,
                         answers[FIRST + 2].finished.prompt_tokens);
        clear_answers();
    }
    free(prompt);
    hang_up();
    assert_int_equal(count_descriptors(), n_descriptors);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

/* -- what a broken broker gets ----------------------------------------------------------------- */

static void test_protocol_broken_frames_end_the_connection(void **state)
{
    (void)state;
    begin();
    assert_int_equal(send(wire[0], "garbage", 7, 0), 7);
    expect_broken("frame");
    begin();
    InkWireReady wrong_way = {.header = {.type = INK_WIRE_READY}, .version = INK_WIRE_VERSION};
    send_to_worker(&wrong_way, sizeof(wrong_way), -1);
    expect_broken("type 64");
    begin();
    send_header(INK_WIRE_CANCEL, 0);
    expect_broken("id");
    begin();
    InkWireLoad no_model = {.header = {.type = INK_WIRE_LOAD, .id = 1}};
    send_to_worker(&no_model, sizeof(no_model), -1);
    expect_broken("descriptors");
}

static void test_protocol_wrong_order_ends_the_connection(void **state)
{
    (void)state;
    begin();
    send_prompt(make_request(2, 1, 8), "hello");
    expect_broken("before a model is loaded");
    begin();
    load();
    send_load(2, open_toy("toy-llama.gguf"));
    expect_broken("loaded already");
    begin();
    load();
    InkWireGenerate parked = make_request(2, 1, 8);
    parked.credit_bytes = 0;
    send_prompt(parked, "hello");
    send_prompt(parked, "hello");
    expect_broken("in use");
    begin();
    load();
    send_prompt(parked, "hello");
    send_credit(2, INK_WIRE_MAX_CREDIT);
    send_credit(2, 1);
    expect_broken("outstanding");
}

static void test_protocol_broken_bulk_data_ends_the_connection(void **state)
{
    (void)state;
    InkWireGenerate request = make_request(2, 1, 8);
    const char *const two[] = {"hello", "and"};
    begin();
    load();
    int open_memfd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(open_memfd, "\1\0\0\0\1\0\0\0a", 9), 9);
    send_to_worker(&request, sizeof(request), open_memfd);
    expect_broken("sealed");
    begin();
    load();
    send_to_worker(&request, sizeof(request), make_bulk(two, 2)); /* one too many */
    expect_broken("strings");
    begin();
    load();
    InkWireTokenize t = {.header = {.type = INK_WIRE_TOKENIZE, .id = 2}, .kind = INK_WIRE_COMPLETE};
    send_to_worker(&t, sizeof(t), make_bulk(two, 2));
    expect_broken("strings");
    begin();
    load();
    InkWireDetokenize d = {.header = {.type = INK_WIRE_DETOKENIZE, .id = 2}};
    send_to_worker(&d, sizeof(d), make_bulk(two, 1)); /* 5 bytes are no ids */
    expect_broken("u32");
}

static void test_protocol_broken_frame_during_a_step_ends_the_connection(void **state)
{
    (void)state;
    begin();
    load();
    for (uint64_t id = 2; id < 30; id++)
        send_prompt(make_request(id, id, 400), "hello and");
    assert_int_equal(send(wire[0], "garbage", 7, 0), 7);
    expect_broken("frame of 7 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol_ready_comes_first_and_load_is_answered),
        cmocka_unit_test(test_protocol_failed_load_can_be_repeated),
        cmocka_unit_test(test_protocol_answers_a_prompt_and_a_chat),
        cmocka_unit_test(test_protocol_tokens_go_there_and_back),
        cmocka_unit_test(test_protocol_special_tokens_count_only_where_asked_for),
        cmocka_unit_test(test_protocol_many_ids_and_much_text_come_in_pieces),
        cmocka_unit_test(test_protocol_users_mistakes_fail_alone),
        cmocka_unit_test(test_protocol_credit_and_cancel_reach_a_parked_answer),
        cmocka_unit_test(test_protocol_cancel_overtakes_long_prompts),
        cmocka_unit_test(test_protocol_more_frames_than_may_wait_are_all_answered),
        cmocka_unit_test(test_protocol_hanging_up_in_the_middle_ends_the_worker),
        cmocka_unit_test(test_protocol_not_a_number_fails_the_request_and_not_the_worker),
        cmocka_unit_test(test_protocol_trim_forgets_what_was_read),
        cmocka_unit_test(test_protocol_policies_cut_and_say_so),
        cmocka_unit_test(test_protocol_many_requests_leave_nothing_behind),
        cmocka_unit_test(test_protocol_broken_frames_end_the_connection),
        cmocka_unit_test(test_protocol_wrong_order_ends_the_connection),
        cmocka_unit_test(test_protocol_broken_bulk_data_ends_the_connection),
        cmocka_unit_test(test_protocol_broken_frame_during_a_step_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
