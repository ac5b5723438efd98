/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* One simulated application of tests/bench/apps.py; the file name it is started by is its identity.
 *     bench-app ROLE SECONDS NUMBER
 * ROLE: typing (NUMBER = ms between keys), chat, normal or background (NUMBER = max-tokens, two at
 * a time), flood (NUMBER calls), mute (never reads), dying (dies at random points). Prints one JSON
 * object: what it asked for, what it got, latencies in milliseconds. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "ipc/client.h"
#include "ipc/names.h"

#define MAX_SAMPLES  100000u
#define FLOOD_WINDOW 32u

typedef struct Tally {
    uint64_t n_asked, n_answered, n_busy, n_quota, n_other, prompt_tokens, output_tokens;
    uint64_t prefill_usec, decode_usec, broker_usec;
} Tally;

typedef struct App {
    const char *role;
    uint64_t end_usec, number, seed;
    Tally *tally; /* shared with children */
    float *first_msec, *done_msec;
    size_t n_samples;
} App;

static uint64_t next_random(App *a)
{
    a->seed = a->seed * 6364136223846793005u + 1442695040888963407u;
    return a->seed >> 33;
}

static void note_error(Tally *t, const char *name)
{
    __atomic_fetch_add(strstr(name, "QuotaExceeded") != NULL    ? &t->n_quota
                       : strstr(name, "Busy") != NULL           ? &t->n_busy
                       : strstr(name, "LimitsExceeded") != NULL ? &t->n_busy
                                                                : &t->n_other,
                       1, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------ one generation */

typedef struct Question {
    char prompt[4096];
    const char *priority, *key;
    uint32_t max_tokens;
} Question;

static int append_input(sd_bus_message *m, void *userdata)
{
    return sd_bus_message_append(m, "{sv}", "prompt", "s", ((Question *)userdata)->prompt);
}

static int append_options(sd_bus_message *m, void *userdata)
{
    const Question *q = userdata;
    INK_TRY(sd_bus_message_append(m, "{sv}{sv}{sv}", "priority", "s", q->priority, "max-tokens",
                                  "u", q->max_tokens, "temperature", "d", 0.0));
    return q->key != NULL ? sd_bus_message_append(m, "{sv}", "supersede-key", "s", q->key) : 0;
}

/* A long answer of the default model: it counts on. */
static void ask_to_count(Question *q, uint64_t from)
{
    snprintf(q->prompt, sizeof(q->prompt), "%llu, %llu, %llu, %llu, %llu,",
             (unsigned long long)from, (unsigned long long)from + 1, (unsigned long long)from + 2,
             (unsigned long long)from + 3, (unsigned long long)from + 4);
}

static void add(uint64_t *to, uint64_t value)
{
    __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}

static void generate(App *a, InkClient *c, Question *q)
{
    __attribute__((cleanup(ink_stream_free_p))) InkStream *s = NULL;
    InkStreamFrame f;
    InkError error = {0};
    uint64_t begin = ink_clock_monotonic_usec(), first = 0;
    add(&a->tally->n_asked, 1);
    int r = ink_client_start_pipe(c, "complete", append_input, append_options, q, &s, &error);
    while (r >= 0 && (r = ink_stream_next(s, &f, &error)) > 0 && r != INK_STREAM_FINISHED)
        if (r == INK_STREAM_TEXT && first == 0)
            first = ink_clock_monotonic_usec();
    if (r < 0 || f.status == 2) {
        note_error(a->tally, r < 0 ? ink_client_error_name(c) : f.error_name);
        usleep(r < 0 ? 20000 : 0);
        return;
    }
    uint64_t done = ink_clock_monotonic_usec();
    add(&a->tally->n_answered, 1);
    add(&a->tally->prompt_tokens, f.prompt_tokens);
    add(&a->tally->output_tokens, f.output_tokens);
    add(&a->tally->prefill_usec, f.prefill_usec);
    add(&a->tally->decode_usec, f.decode_usec);
    if (a->n_samples < MAX_SAMPLES && first != 0) {
        a->first_msec[a->n_samples] = (float)(first - begin) / 1000;
        a->done_msec[a->n_samples++] = (float)(done - begin) / 1000;
    }
}

static InkClient *connect_client(void)
{
    InkClient *c = NULL;
    InkError error = {0};
    if (ink_client_new(&c, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    ink_client_set_timeout(c, 120000000);
    return c;
}

/* ------------------------------------------------------------------- roles */

/* A text that grows by a few letters a time, as an editor asks while somebody types. */
static void run_typing(App *a)
{
    static const char words[] =
        "The harbour was quiet in the early morning and the boats lay still while "
        "the fishermen mended their nets, drank tea and talked about the weather, "
        "the price of diesel and the new school at the top of the hill. ";
    InkClient *c = connect_client();
    size_t n = 40 + next_random(a) % 40;
    while (ink_clock_monotonic_usec() < a->end_usec) {
        Question q = {.priority = "typing", .key = "line", .max_tokens = 8};
        snprintf(q.prompt, sizeof(q.prompt), "%.*s", (int)n, words);
        generate(a, c, &q);
        n = n + 3 < sizeof(words) - 1 ? n + 3 : 40;
        usleep((useconds_t)(a->number * 1000));
    }
    ink_client_free(c);
}

static void run_pair(App *a, const char *priority)
{
    pid_t child = fork(); /* two at a time, one application */
    if (child == 0)
        a->seed++;
    InkClient *c = connect_client();
    while (ink_clock_monotonic_usec() < a->end_usec) {
        Question q = {.priority = priority, .max_tokens = (uint32_t)a->number};
        ask_to_count(&q, next_random(a) % 1000);
        generate(a, c, &q);
    }
    ink_client_free(c);
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
}

typedef struct Flood {
    App *app;
    size_t n_open;
} Flood;

static int on_flood_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    Flood *f = userdata;
    (void)reterr;
    f->n_open--;
    if (sd_bus_message_is_method_error(m, NULL))
        note_error(f->app->tally, sd_bus_message_get_error(m)->name);
    else
        f->app->tally->n_answered++;
    return 1;
}

static int flood_call(Flood *f, sd_bus *bus, uint64_t i)
{
    __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;
    static const char *const members[] = {"CountTokens", "CountTokens", "GetAvailability",
                                          "Complete"};
    const char *member = members[i % 4];
    bool is_manager = i % 4 == 2;
    INK_TRY(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH,
                                           is_manager ? INK_BUS_MANAGER : INK_BUS_TEXT, member));
    INK_TRY(
        sd_bus_message_append(m, "s", is_manager ? "text" : "A flood of words, again and again."));
    if (i % 4 == 3)
        INK_TRY(sd_bus_message_append(m, "a{sv}", 1, "max-tokens", "u", 1u));
    else
        INK_TRY(sd_bus_message_append(m, "a{sv}", 0));
    INK_TRY(sd_bus_call_async(bus, NULL, m, on_flood_reply, f, 60000000));
    f->n_open++;
    f->app->tally->n_asked++;
    return 0;
}

static void run_flood(App *a)
{
    InkClient *c = connect_client();
    sd_bus *bus = ink_client_bus(c);
    Flood f = {.app = a};
    for (uint64_t i = 0;
         (i < a->number || f.n_open > 0) && ink_clock_monotonic_usec() < a->end_usec;) {
        while (i < a->number && f.n_open < FLOOD_WINDOW && flood_call(&f, bus, i) >= 0)
            i++;
        int r = sd_bus_process(bus, NULL);
        if (r < 0)
            break;
        if (r == 0)
            (void)sd_bus_wait(bus, 100000);
    }
    ink_client_free(c);
}

/* Pipes that nobody reads, and signals that nobody takes from the socket. */
static void run_mute(App *a)
{
    InkClient *c = connect_client();
    InkStream *streams[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        Question q = {.priority = "interactive", .max_tokens = 4096};
        InkError error;
        ask_to_count(&q, i);
        a->tally->n_asked++;
        if (ink_client_start_pipe(c, "complete", append_input, append_options, &q, &streams[i],
                                  &error) < 0)
            note_error(a->tally, ink_client_error_name(c));
    }
    while (ink_clock_monotonic_usec() < a->end_usec)
        usleep(50000);
    for (size_t i = 0; i < 4; i++)
        ink_stream_free(streams[i]);
    ink_client_free(c);
}

static void run_dying(App *a)
{
    while (ink_clock_monotonic_usec() < a->end_usec) {
        pid_t child = fork();
        if (child == 0) {
            InkClient *c = connect_client();
            for (;;) {
                Question q = {.priority = "interactive", .max_tokens = 256};
                ask_to_count(&q, next_random(a) % 1000);
                generate(a, c, &q);
            }
        }
        usleep((useconds_t)(next_random(a) % 120000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

/* ------------------------------------------------------------------ result */

static int compare(const void *x, const void *y)
{
    float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

static float percentile(float *values, size_t n, double p)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof(*values), compare);
    return values[(size_t)(p * (double)(n - 1) + 0.5)];
}

static void print_result(App *a)
{
    const Tally *t = a->tally;
    size_t n = a->n_samples;
    printf("{\"role\":\"%s\",\"asked\":%llu,\"answered\":%llu,\"busy\":%llu,\"quota\":%llu,"
           "\"other\":%llu,"
           "\"prompt-tokens\":%llu,\"output-tokens\":%llu,\"engine-ms\":%.1f,\"first-p50\":%.2f,"
           "\"first-p95\":%.2f,\"done-p50\":%.2f,\"done-p95\":%.2f}\n",
           a->role, (unsigned long long)t->n_asked, (unsigned long long)t->n_answered,
           (unsigned long long)t->n_busy, (unsigned long long)t->n_quota,
           (unsigned long long)t->n_other, (unsigned long long)t->prompt_tokens,
           (unsigned long long)t->output_tokens, (double)(t->prefill_usec + t->decode_usec) / 1000,
           (double)percentile(a->first_msec, n, 0.5), (double)percentile(a->first_msec, n, 0.95),
           (double)percentile(a->done_msec, n, 0.5), (double)percentile(a->done_msec, n, 0.95));
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench-app ROLE SECONDS NUMBER\n");
        return 2;
    }
    App a = {
        .role = argv[1],
        .end_usec = ink_clock_monotonic_usec() + strtoull(argv[2], NULL, 10) * 1000000,
        .number = strtoull(argv[3], NULL, 10),
        .seed = (uint64_t)getpid() * 0x9E3779B97F4A7C15u,
        .first_msec = calloc(MAX_SAMPLES, sizeof(float)),
        .done_msec = calloc(MAX_SAMPLES, sizeof(float)),
    };
    void *shared =
        mmap(NULL, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (a.first_msec == NULL || a.done_msec == NULL || shared == MAP_FAILED)
        return 1;
    a.tally = shared;
    if (strcmp(a.role, "typing") == 0)
        run_typing(&a);
    else if (strcmp(a.role, "chat") == 0)
        run_pair(&a, "interactive");
    else if (strcmp(a.role, "normal") == 0 || strcmp(a.role, "background") == 0)
        run_pair(&a, a.role);
    else if (strcmp(a.role, "flood") == 0)
        run_flood(&a);
    else if (strcmp(a.role, "mute") == 0)
        run_mute(&a);
    else if (strcmp(a.role, "dying") == 0)
        run_dying(&a);
    else
        return 2;
    print_result(&a);
    free(a.first_msec);
    free(a.done_msec);
    return 0;
}
