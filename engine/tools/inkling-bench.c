/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* inkling-bench MODEL [--threads N] [--isa NAME] [--repeats N] [--json]
 *
 * How fast this machine runs a model: one line for each measure, with the kernel set and the number
 * of threads. Figures are medians; the tool opens its files, seals itself, and only then reads. */
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/alloc.h"
#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/session.h"
#include "engine/threads.h"
#include "engine/worker/seal.h"

#define MAX_REPEATS       101
#define N_SESSIONS        4
#define N_DECODE          128
#define N_FIRST_PROMPT    16
#define CONTEXT           1024 /* at most, of a session here */
#define BANDWIDTH_BYTES   ((size_t)256 << 20)
#define BANDWIDTH_REPEATS 5
#define CACHE_SLACK_BYTES ((off_t)4 << 20)
#define MEMORY_FILE_BYTES 4096

typedef struct Bench {
    const char *model_name;
    const char *isa;
    size_t n_threads;
    size_t n_repeats;
    bool json;
    int model_fd;
    int cache_fd;
    int memory_fd; /* /proc/self/smaps_rollup */
    InkEngine *engine;
    InkEngineInfo info;
    InkSealStatus seal;
    uint32_t tokens[INK_MAX_STEP_ROWS];
    double decode_rate;
} Bench;

/* --- output --- */

static void print_line(const Bench *b, const char *measure, size_t n_tokens, double value,
                       const char *unit)
{
    if (!b->json) {
        char name[64];
        snprintf(name, sizeof(name), n_tokens > 0 ? "%s %zu" : "%s", measure, n_tokens);
        printf("%-34s %12.2f %s\n", name, value, unit);
        return;
    }
    _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
    ink_buffer_printf(&line, "{\"measure\":\"%s\",\"tokens\":%zu,\"value\":", measure, n_tokens);
    ink_buffer_json_double(&line, value);
    ink_buffer_printf(&line, ",\"unit\":\"%s\",\"repeats\":%zu,\"kernels\":\"%s\",\"threads\":%zu,",
                      unit, b->n_repeats, b->info.kernels, b->info.n_threads);
    ink_buffer_append_str(&line, "\"model\":");
    ink_buffer_json_string(&line, b->info.name, strlen(b->info.name));
    ink_buffer_printf(&line, ",\"quantization\":\"%s\",\"sealed\":%s}", b->info.quantization,
                      b->seal.seccomp ? "true" : "false");
    if (ink_buffer_status(&line) == 0)
        printf("%s\n", line.data);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare_doubles);
    return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

static double seconds_since(uint64_t since_usec)
{
    return (double)(ink_clock_monotonic_usec() - since_usec) * 1e-6;
}

/* --- speed of steps --- */

static int measure_prefill(Bench *b, size_t n, InkError *reterr)
{
    double seconds[MAX_REPEATS];
    if (n > b->info.n_context)
        return 0;
    for (size_t i = 0; i < b->n_repeats; i++) {
        _cleanup_(ink_session_free_p) InkSession *s = NULL;
        INK_TRY(ink_session_new(b->engine, n, &s, reterr));
        uint64_t since = ink_clock_monotonic_usec();
        INK_TRY(ink_session_prefill(s, b->tokens, n, NULL, reterr));
        seconds[i] = seconds_since(since);
    }
    print_line(b, "prefill", n, (double)n / median(seconds, b->n_repeats), "t/s");
    return 0;
}

/* Sessions that each begin with one token and then decode together. */
static int decode_once(Bench *b, size_t n_sessions, double *ret_seconds, InkError *reterr)
{
    InkSession *sessions[N_SESSIONS] = {NULL};
    InkStepRow rows[N_SESSIONS];
    size_t n_context = b->info.n_context < CONTEXT ? b->info.n_context : CONTEXT;
    int r = 0;
    for (size_t i = 0; i < n_sessions && r == 0; i++) {
        r = ink_session_new(b->engine, n_context, &sessions[i], reterr);
        if (r == 0)
            r = ink_session_prefill(sessions[i], b->tokens + i, 1, NULL, reterr);
    }
    uint64_t since = ink_clock_monotonic_usec();
    for (size_t n = 0; n < N_DECODE && r == 0; n++) {
        for (size_t i = 0; i < n_sessions; i++)
            rows[i] = (InkStepRow){.session = sessions[i],
                                   .token = b->tokens[(n + i) % INK_MAX_STEP_ROWS],
                                   .wants_logits = true};
        r = ink_engine_step(b->engine, rows, n_sessions, NULL, NULL, reterr);
    }
    *ret_seconds = seconds_since(since);
    for (size_t i = 0; i < n_sessions; i++)
        ink_session_free(sessions[i]);
    return r;
}

static int measure_decode(Bench *b, size_t n_sessions, const char *name, double *ret_rate,
                          InkError *reterr)
{
    double seconds[MAX_REPEATS];
    if (b->info.n_context < N_DECODE + 1)
        return 0;
    for (size_t i = 0; i < b->n_repeats; i++)
        INK_TRY(decode_once(b, n_sessions, &seconds[i], reterr));
    *ret_rate = (double)(N_DECODE * n_sessions) / median(seconds, b->n_repeats);
    print_line(b, name, N_DECODE, *ret_rate, "t/s");
    return 0;
}

/* --- start --- */

static int open_engine(const Bench *b, bool cache, InkEngine **ret, InkError *reterr)
{
    const InkEngineOptions options = {
        .n_threads = b->n_threads,
        .isa = b->isa,
        .pack_cache_fd = cache ? b->cache_fd : -1,
        .pack_cache_locked = cache,
    };
    return ink_engine_open(b->model_fd, &options, ret, reterr);
}

/* Opening alone, and up to the logits of the first token after a short prompt. */
static int measure_open(Bench *b, bool cache, InkError *reterr)
{
    double opened[MAX_REPEATS], first[MAX_REPEATS];
    size_t n = b->info.n_context < N_FIRST_PROMPT ? b->info.n_context : N_FIRST_PROMPT;
    for (size_t i = 0; i < b->n_repeats; i++) {
        _cleanup_(ink_engine_close_p) InkEngine *e = NULL;
        _cleanup_(ink_session_free_p) InkSession *s = NULL;
        uint64_t since = ink_clock_monotonic_usec();
        INK_TRY(open_engine(b, cache, &e, reterr));
        opened[i] = seconds_since(since) * 1e3;
        INK_TRY(ink_session_new(e, n, &s, reterr));
        INK_TRY(ink_session_prefill(s, b->tokens, n, NULL, reterr));
        first[i] = seconds_since(since) * 1e3;
        if (cache && !ink_engine_info(e)->pack_cache_used)
            return 0; /* the file is too small for this model's packed form */
    }
    print_line(b, cache ? "open_cached" : "open_packing", 0, median(opened, b->n_repeats), "ms");
    print_line(b, cache ? "start_to_first_token_cached" : "start_to_first_token_packing", n,
               median(first, b->n_repeats), "ms");
    return 0;
}

/* --- memory --- */

static double kilobytes_of(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at == NULL ? NAN : strtod(at + strlen(key), NULL);
}

static void measure_memory(const Bench *b)
{
    char text[MEMORY_FILE_BYTES];
    if (b->memory_fd < 0 || lseek(b->memory_fd, 0, SEEK_SET) != 0)
        return;
    ssize_t n = read(b->memory_fd, text, sizeof(text) - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    print_line(b, "resident", 0, kilobytes_of(text, "\nRss:") / 1024, "MiB");
    print_line(b, "private_dirty", 0, kilobytes_of(text, "\nPrivate_Dirty:") / 1024, "MiB");
}

typedef uint64_t Vector __attribute__((vector_size(16)));

typedef struct ReadJob {
    const Vector *data;
    size_t n;
    Vector sums[INK_THREADS_MAX];
} ReadJob;

/* Eight sums, so that loads and not additions are what is waited for. */
static void read_share(void *userdata, size_t thread, size_t n_threads)
{
    ReadJob *job = userdata;
    size_t begin, end;
    ink_threads_range(job->n / 8, thread, n_threads, &begin, &end);
    Vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0};
    for (const Vector *p = job->data + 8 * begin, *last = job->data + 8 * end; p < last; p += 8) {
        s0 ^= p[0];
        s1 ^= p[1];
        s2 ^= p[2];
        s3 ^= p[3];
        s4 ^= p[4];
        s5 ^= p[5];
        s6 ^= p[6];
        s7 ^= p[7];
    }
    job->sums[thread] = ((s0 ^ s1) ^ (s2 ^ s3)) ^ ((s4 ^ s5) ^ (s6 ^ s7));
}

static int measure_bandwidth(const Bench *b, InkError *reterr)
{
    _cleanup_(ink_threads_free_p) InkThreads *threads = NULL;
    _cleanup_free_ ReadJob *job = ink_alloc_aligned(sizeof(*job));
    _cleanup_free_ void *buffer = ink_alloc_aligned(BANDWIDTH_BYTES);
    INK_CHECK(job != NULL && buffer != NULL, ENOMEM, reterr, "no memory to measure bandwidth");
    INK_TRY(ink_threads_new(b->info.n_threads, &threads, reterr));
    memset(buffer, 1, BANDWIDTH_BYTES); /* pages of its own, not the page of zeros */
    job->data = buffer;
    job->n = BANDWIDTH_BYTES / sizeof(Vector);
    double best = 0;
    for (size_t i = 0; i < BANDWIDTH_REPEATS; i++) {
        uint64_t since = ink_clock_monotonic_usec();
        ink_threads_run(threads, read_share, job);
        best = fmax(best, (double)BANDWIDTH_BYTES / seconds_since(since));
    }
    print_line(b, "read_bandwidth", 0, best * 1e-9, "GB/s");
    double bound = best / (double)b->info.packed_bytes;
    print_line(b, "decode_of_bandwidth_bound", N_DECODE, 100 * b->decode_rate / bound, "%");
    return 0;
}

/* --- the whole --- */

static int measure_all(Bench *b, InkError *reterr)
{
    double ignored;
    INK_TRY(open_engine(b, true, &b->engine, reterr));
    if (!ink_engine_info(b->engine)->pack_cache_used) { /* written just now: read it back */
        b->engine = ink_engine_close(b->engine);
        INK_TRY(open_engine(b, true, &b->engine, reterr));
    }
    b->info = *ink_engine_info(b->engine);
    for (size_t i = 0; i < INK_MAX_STEP_ROWS; i++)
        b->tokens[i] = (uint32_t)((i * 7919 + 13) % b->info.n_vocab);
    INK_TRY(measure_prefill(b, 16, reterr));
    INK_TRY(measure_prefill(b, 128, reterr));
    INK_TRY(measure_prefill(b, 512, reterr));
    INK_TRY(measure_decode(b, 1, "decode", &b->decode_rate, reterr));
    INK_TRY(measure_decode(b, N_SESSIONS, "decode_4_sessions", &ignored, reterr));
    measure_memory(b);
    b->engine = ink_engine_close(b->engine);
    INK_TRY(measure_open(b, true, reterr));
    INK_TRY(measure_open(b, false, reterr));
    return measure_bandwidth(b, reterr);
}

/* A file without a name that is gone with this process; -1 where there is no room for one. */
static int make_cache_file(int model_fd)
{
    struct stat st;
    if (fstat(model_fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    const char *dir = getenv("TMPDIR");
    _cleanup_close_ int fd = open(dir != NULL ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        fd = memfd_create("inkling-bench-cache", MFD_CLOEXEC);
    if (fd < 0 || posix_fallocate(fd, 0, st.st_size + st.st_size / 4 + CACHE_SLACK_BYTES) != 0)
        return -1;
    return INK_TAKE_FD(fd);
}

static bool parse_number(const char *text, size_t max, size_t *ret)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < 1 || value > max)
        return false;
    *ret = value;
    return true;
}

static const char usage[] =
    "usage: inkling-bench MODEL [--threads N] [--isa ref|avx2|avx512] [--repeats N] [--json]\n";

static int parse_options(int argc, char **argv, Bench *b)
{
    static const struct option options[] = {
        {"threads", required_argument, NULL, 't'}, {"isa", required_argument, NULL, 'i'},
        {"repeats", required_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        }
        if (c == 'i')
            b->isa = optarg;
        else if (c == 'j')
            b->json = true;
        else if (c == 't' && !parse_number(optarg, INK_THREADS_MAX, &b->n_threads))
            return -EINVAL;
        else if (c == 'r' && !parse_number(optarg, MAX_REPEATS, &b->n_repeats))
            return -EINVAL;
        else if (c == '?')
            return -EINVAL;
    }
    if (optind + 1 != argc)
        return -EINVAL;
    b->model_name = argv[optind];
    return 0;
}

int main(int argc, char **argv)
{
    Bench b = {.isa = getenv("INKLING_ISA"), .n_repeats = 5};
    InkError error = {0};
    if (parse_options(argc, argv, &b) < 0) {
        fputs(usage, stderr);
        return 2;
    }
    b.model_fd = open(b.model_name, O_RDONLY | O_CLOEXEC);
    if (b.model_fd < 0) {
        fprintf(stderr, "inkling-bench: %s: %s\n", b.model_name, strerror(errno));
        return 1;
    }
    b.cache_fd = make_cache_file(b.model_fd);
    b.memory_fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    int r = ink_seal(INK_SEAL_TOOL, -1, &b.seal, &error);
    if (r == 0)
        r = measure_all(&b, &error);
    ink_engine_close(b.engine);
    if (r < 0) {
        fprintf(stderr, "inkling-bench: %s\n", error.message);
        return 1;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
