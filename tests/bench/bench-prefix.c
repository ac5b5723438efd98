/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the prefix cache saves, through the worker's own loop on a thread (unsealed):
 *
 *   bench-prefix MODEL [PAIRS]
 *
 * First the time from GENERATE to the first TEXT, cold and with a warm prefix of 512 tokens that
 * is followed by other words; then a chat of five turns, of whose prompts it tells how much was
 * found; then what looking up, taking and putting cost by themselves. JSON lines. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/alloc.h"
#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/session.h"
#include "engine/worker/protocol.h"
#include "engine/worker/wire-io.h"

#define PREFIX_TOKENS 512u
#define MAX_PAIRS     100u
#define TURNS         5u

static int wire[2];
static InkWireFrame frame;
static uint64_t next_id = 1;

static void die(const char *what)
{
    fprintf(stderr, "bench-prefix: %s\n", what);
    exit(1);
}

static void *serve(void *unused)
{
    InkSealStatus seal = {0};
    InkError e = {0};
    int r = ink_worker_serve(wire[1], &seal, &e);
    if (r != -ECONNRESET) /* its ordinary end */
        die(e.message);
    return unused;
}

static void send_frame(InkWireHeader *header, size_t n_bytes, int fd)
{
    if (ink_wire_send(wire[0], 0, header, n_bytes, NULL, 0, &fd, 1) < 0)
        die("the worker is gone");
    close(fd);
}

static int make_bulk(const InkWireString *strings, size_t n)
{
    int fd = -1;
    if (ink_wire_bulk_new(strings, n, &fd, NULL) < 0)
        die("no memfd");
    return fd;
}

typedef struct Answer {
    InkWireFinished finished;
    uint64_t first_text_usec;
    InkBuffer text;
} Answer;

/* Until the request ends. */
static void take_answer(Answer *a)
{
    uint64_t begin = ink_clock_monotonic_usec();
    ink_buffer_clear(&a->text);
    a->first_text_usec = 0;
    for (;;) {
        InkError e = {0};
        if (ink_wire_receive(wire[0], 0, INK_WIRE_TO_BROKER, &frame, &e) < 0)
            die(e.message);
        if (frame.header.type == INK_WIRE_FAILED)
            die(frame.failed.message);
        if (frame.header.type == INK_WIRE_LOADED)
            return;
        if (frame.header.type == INK_WIRE_TEXT) {
            if (a->first_text_usec == 0)
                a->first_text_usec = ink_clock_monotonic_usec() - begin;
            ink_buffer_append(&a->text, frame.bytes + sizeof(InkWireText),
                              frame.header.size_bytes - sizeof(InkWireText));
        }
        if (frame.header.type == INK_WIRE_FINISHED) {
            a->finished = frame.finished;
            return;
        }
    }
}

static void load(const char *path)
{
    Answer a = {0};
    InkWireLoad l = {.header = {.type = INK_WIRE_LOAD, .id = next_id++}};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("the model cannot be opened");
    send_frame(&l.header, sizeof(l), fd);
    take_answer(&a);
}

static void generate(const InkWireString *strings, uint32_t n_messages, uint32_t scope,
                     uint32_t max_tokens, Answer *ret)
{
    InkWireGenerate g = {.header = {.type = INK_WIRE_GENERATE, .id = next_id++},
                         .kind = n_messages > 0 ? INK_WIRE_CHAT : INK_WIRE_COMPLETE,
                         .n_messages = n_messages,
                         .max_tokens = max_tokens,
                         .top_p = 1.0f,
                         .repeat_penalty = 1.0f,
                         .credit_bytes = 1u << 20,
                         .priority = 1,
                         .scope = scope};
    int fd = make_bulk(strings, n_messages > 0 ? 2 * (size_t)n_messages : 1);
    send_frame(&g.header, sizeof(g), fd);
    take_answer(ret);
}

static uint32_t count_tokens(const char *text, size_t n_bytes)
{
    Answer a = {0};
    const InkWireString string = {text, n_bytes};
    InkWireTokenize t = {.header = {.type = INK_WIRE_TOKENIZE, .id = next_id++},
                         .kind = INK_WIRE_COMPLETE};
    send_frame(&t.header, sizeof(t), make_bulk(&string, 1));
    take_answer(&a);
    return a.finished.prompt_tokens;
}

/* Words of a text nobody has seen, as many as are n tokens at least. */
static size_t make_text(char *text, size_t size, uint32_t seed, uint32_t n_tokens)
{
    static const char *const words[] = {"time", "river", "house", "light", "the",   "of",  "and",
                                        "a",    "under", "green", "stone", "voice", "was", "old"};
    size_t n = (size_t)snprintf(text, size, "Story %u. ", seed);
    for (uint32_t i = 0, random = seed * 7919u + 1; n + 32 < size; i++) {
        random = random * 1664525u + 1013904223u;
        n += (size_t)snprintf(text + n, size - n, "%s%s",
                              words[(random >> 16) % (sizeof(words) / sizeof(words[0]))],
                              i % 11 == 10 ? ". " : " ");
        if (i >= n_tokens / 2 && i % 4 == 0 && count_tokens(text, n - 1) >= n_tokens)
            break;
    }
    return n - 1; /* the space belongs to the next word */
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t n)
{
    qsort(values, n, sizeof(*values), by_size);
    return values[n / 2];
}

static void bench_first_token(size_t n_pairs)
{
    static char text[16384];
    uint64_t cold[MAX_PAIRS], warm[MAX_PAIRS], same[MAX_PAIRS];
    Answer a = {0};
    for (uint32_t i = 0; i < n_pairs; i++) {
        size_t n = make_text(text, sizeof(text) - 64, i + 1, PREFIX_TOKENS);
        snprintf(text + n, 64, " Then he said");
        InkWireString prompt = {text, strlen(text)};
        generate(&prompt, 0, i + 1, 2, &a);
        cold[i] = a.first_text_usec;
        snprintf(text + n, 64, " But nobody heard");
        prompt.n_bytes = strlen(text);
        generate(&prompt, 0, i + 1, 2, &a);
        warm[i] = a.first_text_usec;
        if (a.finished.cached_tokens < PREFIX_TOKENS)
            die("the prefix was not found");
        generate(&prompt, 0, i + 1, 2, &a);
        same[i] = a.first_text_usec;
    }
    uint64_t c = median(cold, n_pairs), w = median(warm, n_pairs);
    printf("{\"first_token\":{\"pairs\":%zu,\"prompt_tokens\":%u,\"cached_tokens\":%u,"
           "\"cold_usec\":%llu,\"warm_usec\":%llu,\"same_usec\":%llu,\"ratio\":%.1f}}\n",
           n_pairs, a.finished.prompt_tokens, a.finished.cached_tokens, (unsigned long long)c,
           (unsigned long long)w, (unsigned long long)median(same, n_pairs), (double)c / (double)w);
    ink_buffer_done(&a.text);
}

static void bench_chat(void)
{
    static const char *const asked[TURNS] = {
        "Who wrote the first dictionary of the English language?",
        "What is a lighthouse for? Answer in two sentences.",
        "Please write three lines about rain.",
        "Which of these answers was the shortest?",
        "Thank you. Say good bye in French and in German.",
    };
    InkWireString strings[4 * TURNS + 2] = {{"system", 6}, {"You are a friendly helper.", 26}};
    uint32_t n_messages = 1, n_before = 0;
    for (uint32_t i = 0; i < TURNS; i++) {
        Answer a = {0};
        strings[2 * n_messages] = (InkWireString){"user", 4};
        strings[2 * n_messages + 1] = (InkWireString){asked[i], strlen(asked[i])};
        n_messages++;
        generate(strings, n_messages, 5000, 80, &a);
        printf("{\"turn\":%u,\"prompt_tokens\":%u,\"cached_tokens\":%u,\"known_tokens\":%u,"
               "\"output_tokens\":%u,\"first_text_usec\":%llu}\n",
               i + 1, a.finished.prompt_tokens, a.finished.cached_tokens, n_before,
               a.finished.output_tokens, (unsigned long long)a.first_text_usec);
        n_before = a.finished.prompt_tokens + a.finished.output_tokens;
        strings[2 * n_messages] = (InkWireString){"assistant", 9};
        strings[2 * n_messages + 1] = (InkWireString){a.text.data, a.text.size_bytes};
        n_messages++; /* the text stays until the end of the program */
    }
}

/* Of a timeline of 528 tokens, in a scope that holds as many others as fit. */
static void bench_tree(const char *path)
{
    enum { N = 528, ROUNDS = 200 };
    static uint32_t tokens[N];
    InkEngine *e = NULL;
    InkError error = {0};
    const InkEngineOptions options = {.pack_cache_fd = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ink_engine_open(fd, &options, &e, &error) < 0)
        die(error.message);
    uint64_t usec[3] = {0};
    const InkPrefixKey key = {.scope = 1};
    InkSession *s = NULL;
    for (uint32_t i = 0; i < N; i++)
        tokens[i] = i;
    if (ink_session_new(e, 0, &s, &error) < 0 ||
        ink_session_prefill(s, tokens, N, NULL, &error) < 0)
        die(error.message);
    uint64_t begin = ink_clock_monotonic_usec();
    ink_session_cache_prefix(s, key, true);
    usec[0] = ink_clock_monotonic_usec() - begin;
    ink_session_free(s);
    for (size_t i = 0; i < ROUNDS; i++) {
        begin = ink_clock_monotonic_usec();
        (void)ink_engine_missing_bytes(e, key, tokens, N - 1, N + 64);
        usec[1] += ink_clock_monotonic_usec() - begin;
        if (ink_session_new(e, 0, &s, &error) < 0)
            die(error.message);
        begin = ink_clock_monotonic_usec();
        if (ink_session_reuse_prefix(s, key, tokens, N - 1) != N - 1)
            die("the prefix was not found");
        usec[2] += ink_clock_monotonic_usec() - begin;
        ink_session_free(s);
    }
    printf("{\"tree\":{\"tokens\":%d,\"put_usec\":%llu,\"probe_usec\":%.1f,\"take_usec\":%.1f}}\n",
           N, (unsigned long long)usec[0], (double)usec[1] / ROUNDS, (double)usec[2] / ROUNDS);
    ink_engine_close(e);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    size_t n_pairs = argc > 2 ? strtoul(argv[2], NULL, 10) : 9;
    if (argc < 2 || n_pairs < 1 || n_pairs > MAX_PAIRS)
        die("usage: bench-prefix MODEL [PAIRS]");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire) < 0 ||
        pthread_create(&thread, NULL, serve, NULL) != 0)
        die("no thread");
    load(argv[1]);
    bench_first_token(n_pairs);
    bench_chat();
    shutdown(wire[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    bench_tree(argv[1]);
    return 0;
}
