/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Rates of the kernels on the shapes of SmolLM2-135M, for each table and one or two threads.
 *
 *   bench-kernels [TABLE [huge | types]]
 *
 * "types" measures each packed layout alone, on the shapes of Gemma 3 270M's widest matrices: 1 row
 * as GB/s and 128 rows as GMAC/s, and its head of 262,144 outputs. "huge" asks for huge pages under
 * the weights, which a packed copy in memory may have and a mapped file has not.
 *
 * Matmuls: GMAC/s over one layer's q, o, gate, up and down matrices, each of 30 layers its own, so
 * that one column finds its weights as cold as decoding does. Decode: GB/s of body and head against
 * a plain read of the same bytes. */

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/alloc.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/kernels/kernels.h"

#define MAX_THREADS 2
#define N_LAYERS    30
#define WIDTH       576u
#define HIDDEN      1536u
#define VOCABULARY  49152u
#define MAX_ROWS    512
#define N_REPEATS   5

typedef struct Shape {
    size_t n_outputs, n_inputs;
} Shape;

static const Shape layer_shapes[] = {{WIDTH, WIDTH},  {WIDTH, WIDTH},  {384, WIDTH},
                                     {HIDDEN, WIDTH}, {HIDDEN, WIDTH}, {WIDTH, HIDDEN}};
#define N_SHAPES (sizeof layer_shapes / sizeof layer_shapes[0])

typedef struct Bench {
    uint8_t *body; /* all layers, packed Q4_1 */
    size_t n_body_bytes;
    uint8_t *head; /* packed Q8_0 */
    size_t n_head_bytes;
    uint8_t *types; /* as many bytes as Gemma's head, for each layout in turn */
    uint8_t *file;  /* as many bytes as the body: a tensor to pack */
    uint16_t *kv;   /* keys and values of MAX_POSITIONS */
    float *x, *out;
    InkQuantRows quant;
} Bench;

typedef struct Job {
    const Bench *bench;
    const InkKernels *kernels;
    size_t n_rows;
    size_t thread, n_threads;
} Job;

typedef void JobFn(const Job *job);

static volatile uint64_t sink;

static void share(const Job *job, size_t n, size_t *ret_begin, size_t *ret_end)
{
    *ret_begin = n * job->thread / job->n_threads;
    *ret_end = n * (job->thread + 1) / job->n_threads;
}

static void run_body(const Job *job)
{
    const uint8_t *weights = job->bench->body;
    InkMatmulInput input = {.quant = &job->bench->quant};
    for (size_t layer = 0; layer < N_LAYERS; layer++) {
        for (size_t i = 0; i < N_SHAPES; i++) {
            const Shape *shape = &layer_shapes[i];
            size_t begin, end, n_bytes = 0;
            share(job, shape->n_outputs / INK_PACK_ROWS, &begin, &end);
            job->kernels->matmul[INK_PACK_Q4_1](weights, begin, end, shape->n_inputs, &input,
                                                job->n_rows, job->bench->out, HIDDEN);
            (void)ink_kernels_packed_bytes(INK_PACK_Q4_1, shape->n_outputs, shape->n_inputs,
                                           &n_bytes);
            weights += n_bytes;
        }
    }
}

static void run_head(const Job *job)
{
    InkMatmulInput input = {.quant = &job->bench->quant};
    size_t begin, end;
    share(job, VOCABULARY / INK_PACK_ROWS, &begin, &end);
    job->kernels->matmul[INK_PACK_Q8_0](job->bench->head, begin, end, WIDTH, &input, job->n_rows,
                                        job->bench->out, VOCABULARY);
}

static void run_token(const Job *job)
{
    run_body(job);
    run_head(job);
}

static void read_bytes(const uint8_t *bytes, size_t n_bytes)
{
    typedef uint64_t Words __attribute__((vector_size(16), may_alias));
    const Words *words = (const Words *)bytes;
    Words sums[4] = {{0}, {0}, {0}, {0}};
    for (size_t i = 0; i + 4 <= n_bytes / sizeof *words; i += 4) {
        sums[0] ^= words[i];
        sums[1] ^= words[i + 1];
        sums[2] ^= words[i + 2];
        sums[3] ^= words[i + 3];
    }
    Words sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
    sink += sum[0] ^ sum[1];
}

static void run_read(const Job *job)
{
    size_t begin, end;
    share(job, job->bench->n_body_bytes / 64, &begin, &end);
    read_bytes(job->bench->body + 64 * begin, 64 * (end - begin));
    share(job, job->bench->n_head_bytes / 64, &begin, &end);
    read_bytes(job->bench->head + 64 * begin, 64 * (end - begin));
}

static void run_pack(const Job *job)
{
    const Bench *b = job->bench;
    size_t row_bytes = WIDTH / INK_PACK_K * sizeof(InkBlockQ4_1), begin, end;
    size_t n_outputs = b->n_body_bytes / row_bytes;
    share(job, n_outputs / INK_PACK_ROWS, &begin, &end);
    job->kernels->pack[INK_PACK_Q4_1](b->file, row_bytes, INK_TYPE_Q4_1, n_outputs, WIDTH, begin,
                                      end, b->body);
}

/* A layer's attention: three kv-heads of three heads; n_rows rows at the end of MAX_POSITIONS, or
 * one row (decode). Each thread takes rows. */
#define HEAD_SIZE     64
#define MAX_POSITIONS 2048

static void attend(const Job *job, size_t first_position)
{
    const uint16_t *k_blocks[MAX_POSITIONS / INK_KV_BLOCK];
    const uint16_t *v_blocks[MAX_POSITIONS / INK_KV_BLOCK];
    size_t n_block = HEAD_SIZE * INK_KV_BLOCK, begin, end;
    for (size_t b = 0; b < MAX_POSITIONS / INK_KV_BLOCK; b++) {
        k_blocks[b] = job->bench->kv + 2 * b * n_block;
        v_blocks[b] = k_blocks[b] + n_block;
    }
    share(job, job->n_rows, &begin, &end);
    InkAttention a = {.k_blocks = k_blocks,
                      .v_blocks = v_blocks,
                      .head_size = HEAD_SIZE,
                      .n_heads_per_kv = 3,
                      .scale = 0.125f,
                      .q = job->bench->x + begin * WIDTH,
                      .q_stride = WIDTH,
                      .out = job->bench->out + begin * WIDTH,
                      .out_stride = WIDTH,
                      .n_rows = end - begin,
                      .first_position = first_position + begin};
    for (size_t h = 0; h < 3; h++, a.q += 3 * HEAD_SIZE, a.out += 3 * HEAD_SIZE)
        job->kernels->attention(&a);
}

static void run_attention_prompt(const Job *job)
{
    attend(job, 0);
}

static void run_attention_late(const Job *job)
{
    attend(job, MAX_POSITIONS - job->n_rows);
}

static void run_quantize(const Job *job)
{
    InkQuantRows quant = job->bench->quant;
    size_t begin, end;
    share(job, job->n_rows, &begin, &end);
    job->kernels->quantize_rows(job->bench->x, HIDDEN, begin, end, HIDDEN, &quant);
}

static void run_silu(const Job *job)
{
    size_t begin, end;
    share(job, job->n_rows, &begin, &end);
    for (size_t t = begin; t < end; t++)
        job->kernels->silu_mul(job->bench->out + t * HIDDEN, job->bench->x + t * HIDDEN, HIDDEN);
}

typedef struct Start {
    Job job;
    JobFn *run;
    pthread_barrier_t *barrier;
} Start;

static void *thread_main(void *data)
{
    const Start *start = data;
    for (int i = 0; i < N_REPEATS; i++) {
        pthread_barrier_wait(start->barrier);
        start->run(&start->job);
        pthread_barrier_wait(start->barrier);
    }
    return NULL;
}

/* Seconds of the fastest repeat; negative when a thread cannot be made. */
static double measure(Job job, JobFn *run)
{
    pthread_barrier_t barrier;
    pthread_t thread;
    Start other = {job, run, &barrier};
    double best = 1e9;
    other.job.thread = 1;
    pthread_barrier_init(&barrier, NULL, (unsigned)job.n_threads);
    if (job.n_threads > 1 && pthread_create(&thread, NULL, thread_main, &other) != 0)
        return -1;
    for (int i = 0; i < N_REPEATS; i++) {
        pthread_barrier_wait(&barrier);
        uint64_t begin = ink_clock_monotonic_usec();
        run(&job);
        pthread_barrier_wait(&barrier);
        double seconds = (double)(ink_clock_monotonic_usec() - begin) * 1e-6;
        best = seconds < best ? seconds : best;
    }
    if (job.n_threads > 1)
        pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    return best;
}

static void bench_table(const Bench *bench, const InkKernels *kernels, size_t n_threads)
{
    static const size_t columns[] = {1, 4, 16, 64, 512};
    bool is_ref = kernels == &ink_kernels_ref;
    Job job = {bench, kernels, 1, 0, n_threads};
    double n_bytes = (double)(bench->n_body_bytes + bench->n_head_bytes);
    double body_macs = (double)bench->n_body_bytes / sizeof(InkPackedQ4_1) * 512;

    double read = measure(job, run_read);
    printf("%s, %zu thread(s): plain read %.1f GB/s\n", kernels->name, n_threads,
           n_bytes / read * 1e-9);
    double token = measure(job, run_token);
    double body = measure(job, run_body), head = measure(job, run_head);
    printf("  decode: body %.1f GB/s, head %.1f GB/s, token %.3f ms, %.0f %% of plain read\n",
           (double)bench->n_body_bytes / body * 1e-9, (double)bench->n_head_bytes / head * 1e-9,
           token * 1e3, 100 * read / token);
    for (size_t i = 0; i < (is_ref ? 2 : 5); i++) {
        job.n_rows = columns[i];
        double seconds = measure(job, run_body);
        printf("  Q4_1 T=%-3zu %7.1f GMAC/s, %8.3f ms\n", job.n_rows,
               body_macs * (double)job.n_rows / seconds * 1e-9, seconds * 1e3);
    }
    if (is_ref)
        return;
    job.n_rows = 512;
    double prompt = measure(job, run_attention_prompt), late = measure(job, run_attention_late);
    double macs = 2.0 * 9 * HEAD_SIZE * 512;
    printf("  attention of a layer: 512 rows %.3f ms (%.1f GMAC/s); 512 rows after 1536 %.3f ms "
           "(%.1f GMAC/s)\n",
           prompt * 1e3, macs * 256.5 / prompt * 1e-9, late * 1e3, macs * 1792.5 / late * 1e-9);
    double quantize = measure(job, run_quantize), silu = measure(job, run_silu);
    printf("  quantize 512 x 1536 %.3f ms, silu %.3f ms", quantize * 1e3, silu * 1e3);
    job.n_rows = 1;
    if (n_threads == 1)
        printf(", attention of one row after 2047 %.4f ms", measure(job, run_attention_late) * 1e3);
    printf(", pack body %.1f ms\n", measure(job, run_pack) * 1e3);
}

#define TYPES_WIDTH  1024u
#define TYPES_ROWS   128u
#define TYPES_OUTPUT (64u * 1024) /* of all matrices; cold when the next row comes */
#define GEMMA_WIDTH  640u
#define GEMMA_VOCAB  262144u

typedef struct TypeRun {
    const Bench *bench;
    const uint8_t *weights;
    InkPack pack;
    size_t n_outputs, n_inputs;
} TypeRun;

static TypeRun type_run; /* what run_type() multiplies */

static void run_type(const Job *job)
{
    const TypeRun *run = &type_run;
    InkMatmulInput input = {.quant = &run->bench->quant};
    size_t begin, end;
    share(job, run->n_outputs / INK_PACK_ROWS, &begin, &end);
    /* One row writes all outputs; more of them write those of a matrix, over and over. */
    size_t n_each = job->n_rows == 1 ? end - begin : 768 / INK_PACK_ROWS, n_bytes = 0;
    (void)ink_kernels_packed_bytes(run->pack, INK_PACK_ROWS, run->n_inputs, &n_bytes);
    for (size_t g = begin; g < end; g += n_each) {
        size_t n = end - g < n_each ? end - g : n_each;
        job->kernels->matmul[run->pack](
            run->weights + g * n_bytes, 0, n, run->n_inputs, &input, job->n_rows,
            run->bench->out + (job->n_rows == 1 ? g * INK_PACK_ROWS : job->thread * 768), HIDDEN);
    }
}

static void bench_types(const Bench *bench, const InkKernels *kernels, size_t n_threads)
{
    static const uint32_t types[] = {INK_TYPE_Q4_1, INK_TYPE_Q8_0, INK_TYPE_Q5_0,
                                     INK_TYPE_Q4_K, INK_TYPE_Q6_K, INK_TYPE_Q8_0};
    Job job = {bench, kernels, 1, 0, n_threads};
    printf("%s, %zu thread(s)\n", kernels->name, n_threads);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const InkQuantType *type = ink_quant_type(types[i]);
        bool is_head = i == 5;
        size_t n_bytes = 0;
        type_run = (TypeRun){bench, bench->types, type->pack, is_head ? GEMMA_VOCAB : TYPES_OUTPUT,
                             is_head ? GEMMA_WIDTH : TYPES_WIDTH};
        (void)ink_kernels_packed_bytes(type->pack, type_run.n_outputs, type_run.n_inputs, &n_bytes);
        double macs = (double)type_run.n_outputs * (double)type_run.n_inputs;
        job.n_rows = 1;
        double row = measure(job, run_type);
        printf("  %s%s 1 row %6.1f GB/s, %7.3f ms", type->name, is_head ? " head" : "",
               (double)n_bytes / row * 1e-9, row * 1e3);
        if (!is_head) {
            job.n_rows = kernels == &ink_kernels_ref ? 2 : TYPES_ROWS;
            double rows = measure(job, run_type);
            printf(", %zu rows %7.1f GMAC/s", job.n_rows, macs * (double)job.n_rows / rows * 1e-9);
        }
        printf("\n");
    }
}

static size_t body_bytes(void)
{
    size_t sum = 0, n_bytes = 0;
    for (size_t i = 0; i < N_SHAPES; i++) {
        if (ink_kernels_packed_bytes(INK_PACK_Q4_1, layer_shapes[i].n_outputs,
                                     layer_shapes[i].n_inputs, &n_bytes))
            sum += n_bytes;
    }
    return sum * N_LAYERS;
}

/* For the life of the program. */
static uint8_t *map_weights(size_t n_bytes, bool want_huge)
{
    void *bytes = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return NULL;
    (void)madvise(bytes, n_bytes, want_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return bytes;
}

static bool bench_init(Bench *b, bool want_huge)
{
    size_t n_rows = MAX_ROWS;
    b->n_body_bytes = body_bytes();
    b->n_head_bytes = VOCABULARY * (WIDTH / INK_PACK_K) * sizeof(InkBlockQ8_0);
    b->body = map_weights(b->n_body_bytes, want_huge);
    b->head = map_weights(b->n_head_bytes, want_huge);
    size_t n_type_bytes = (size_t)GEMMA_VOCAB * GEMMA_WIDTH / INK_PACK_K * sizeof(InkBlockQ8_0);
    b->types = map_weights(n_type_bytes, want_huge);
    b->file = ink_alloc_aligned(b->n_body_bytes);
    b->kv = ink_alloc_aligned((size_t)MAX_POSITIONS * HEAD_SIZE * 2 * sizeof(uint16_t));
    b->x = ink_alloc_aligned(n_rows * HIDDEN * sizeof(float));
    b->out = ink_alloc_aligned(n_rows * HIDDEN * sizeof(float));
    b->quant = (InkQuantRows){.blocks = ink_alloc_aligned(n_rows * 48 * sizeof(InkQuantBlock)),
                              .fine = ink_alloc_aligned(48 * (n_rows + INK_FINE_PADDING)),
                              .block_stride = 48,
                              .fine_stride = n_rows + INK_FINE_PADDING};
    if (!b->types || !b->body || !b->head || !b->file || !b->kv || !b->x || !b->out ||
        !b->quant.blocks || !b->quant.fine)
        return false;
    /* 0x11 bytes are sound scales too: small, normal halves. */
    memset(b->types, 0x11, n_type_bytes);
    memset(b->body, 0x11, b->n_body_bytes);
    memset(b->file, 0x11, b->n_body_bytes);
    memset(b->head, 0x11, b->n_head_bytes);
    memset(b->kv, 0x11, (size_t)MAX_POSITIONS * HEAD_SIZE * 2 * sizeof(uint16_t));
    for (size_t i = 0; i < n_rows * HIDDEN; i++)
        b->x[i] = (float)(i % 37) - 18.0f;
    ink_kernels_ref.quantize_rows(b->x, HIDDEN, 0, n_rows, HIDDEN, &b->quant);
    return true;
}

static void bench_done(Bench *b)
{
    free(b->file);
    free(b->kv);
    free(b->x);
    free(b->out);
    free(b->quant.blocks);
    free(b->quant.fine);
}

int main(int argc, char **argv)
{
    __attribute__((cleanup(bench_done))) Bench bench = {0};
    if (!bench_init(&bench, argc > 2 && strcmp(argv[2], "huge") == 0)) {
        fprintf(stderr, "bench-kernels: out of memory\n");
        return 1;
    }
    for (const InkKernels *const *k = ink_kernels_available(); *k != NULL; k++) {
        if (argc > 1 && strcmp(argv[1], (*k)->name) != 0)
            continue;
        for (size_t n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
            (argc > 2 && strcmp(argv[2], "types") == 0 ? bench_types : bench_table)(&bench, *k,
                                                                                    n_threads);
    }
    return 0;
}
