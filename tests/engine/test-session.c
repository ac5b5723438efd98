/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/pack-cache.h"
#include "engine/session.h"

#define MODEL       "toy-llama-q.gguf"
#define N_CONTEXT   512 /* of the toy model */
#define N_VOCAB     131
#define CACHE_BYTES (1 << 20)

static int open_model(void)
{
    char path[512];
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/data/" MODEL, root != NULL ? root : ".");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static InkEngine *open_engine_with(int cache_fd, bool locked, size_t max_kv_bytes)
{
    int fd = open_model();
    const InkEngineOptions options = {.n_threads = 2,
                                      .pack_cache_fd = cache_fd,
                                      .pack_cache_locked = locked,
                                      .max_kv_bytes = max_kv_bytes};
    InkEngine *e = NULL;
    InkError error = {0};
    if (ink_engine_open(fd, &options, &e, &error) < 0)
        fail_msg("%s", error.message);
    close(fd);
    return e;
}

static InkEngine *open_engine(void)
{
    return open_engine_with(-1, false, 0);
}

static InkSession *new_session(InkEngine *e, size_t n_context)
{
    InkSession *s = NULL;
    assert_int_equal(ink_session_new(e, n_context, &s, NULL), 0);
    return s;
}

static void make_tokens(uint32_t *tokens, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = (uint32_t)((i * 31 + seed * 17 + i * i % 13) % 100);
}

static void prefill(InkSession *s, const uint32_t *tokens, size_t n, float *logits)
{
    const float *found = NULL;
    InkError error = {0};
    if (ink_session_prefill(s, tokens, n, &found, &error) < 0)
        fail_msg("%s", error.message);
    assert_non_null(found);
    memcpy(logits, found, N_VOCAB * sizeof(*logits));
}

static int step_one(InkEngine *e, InkSession *s, uint32_t token, InkError *reterr)
{
    InkStepRow row = {.session = s, .token = token, .wants_logits = true};
    return ink_engine_step(e, &row, 1, NULL, NULL, reterr);
}

/* --- the window --- */

static void test_session_context_is_full_at_exactly_n(void **state)
{
    (void)state;
    enum { N = 37 };
    uint32_t tokens[N + 1];
    float logits[N_VOCAB];
    InkError error = {0};
    InkEngine *e = open_engine();
    InkSession *s = new_session(e, N);
    make_tokens(tokens, N + 1, 1);
    assert_int_equal(ink_session_context(s), N);

    assert_int_equal(ink_session_prefill(s, tokens, N + 1, NULL, &error), -EMSGSIZE);
    assert_non_null(strstr(error.message, "37"));
    assert_non_null(strstr(error.message, "38"));
    assert_int_equal(ink_session_length(s), 0);

    prefill(s, tokens, N - 1, logits);
    assert_int_equal(step_one(e, s, tokens[N - 1], &error), 0);
    assert_int_equal(ink_session_length(s), N);
    assert_int_equal(step_one(e, s, tokens[N], &error), -EMSGSIZE);
    assert_int_equal(ink_session_length(s), N);
    assert_memory_equal(ink_session_tokens(s), tokens, N * sizeof(*tokens));

    InkSession *too_long = NULL;
    assert_int_equal(ink_session_new(e, N_CONTEXT + 1, &too_long, &error), -EINVAL);
    assert_null(too_long);
    ink_session_free(s);
    ink_engine_close(e);
}

static void test_session_whole_window_in_chunks(void **state)
{
    (void)state;
    uint32_t tokens[N_CONTEXT];
    float whole[N_VOCAB], parts[N_VOCAB];
    InkEngine *e = open_engine();
    InkSession *a = new_session(e, 0), *b = new_session(e, 0);
    make_tokens(tokens, N_CONTEXT, 2);
    prefill(a, tokens, N_CONTEXT, whole);
    for (size_t at = 0; at < N_CONTEXT; at += 100)
        prefill(b, tokens + at, N_CONTEXT - at < 100 ? N_CONTEXT - at : 100, parts);
    assert_memory_equal(whole, parts, sizeof(whole));
    ink_session_free(a);
    ink_session_free(b);
    assert_int_equal(ink_engine_kv_bytes(e), 0);
    ink_engine_close(e);
}

static void test_session_refuses_wrong_rows(void **state)
{
    (void)state;
    InkError error = {0};
    InkEngine *e = open_engine(), *other = open_engine();
    InkSession *a = new_session(e, 0), *b = new_session(e, 0), *foreign = new_session(other, 0);
    InkStepRow rows[3] = {{.session = a}, {.session = b}, {.session = a}};
    assert_int_equal(ink_engine_step(e, rows, 3, NULL, NULL, &error), -EINVAL);
    assert_int_equal(ink_engine_step(e, rows, 0, NULL, NULL, &error), -EINVAL);
    assert_int_equal(ink_engine_step(e, rows, INK_MAX_STEP_ROWS + 1, NULL, NULL, &error), -EINVAL);
    assert_int_equal(step_one(e, foreign, 1, &error), -EINVAL);
    assert_int_equal(step_one(e, NULL, 1, &error), -EINVAL);
    assert_int_equal(step_one(e, a, N_VOCAB, &error), -EINVAL);
    assert_non_null(strstr(error.message, "131"));
    assert_int_equal(ink_session_prefill(a, NULL, 0, NULL, &error), -EINVAL);
    assert_int_equal(ink_session_length(a) + ink_session_length(b), 0);
    assert_int_equal(ink_engine_kv_bytes(e), 0);
    ink_session_free(a);
    ink_session_free(b);
    ink_session_free(foreign);
    ink_engine_close(e);
    ink_engine_close(other);
}

/* --- timelines --- */

static void test_session_rewind_equals_a_fresh_one(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 15, 16, 17, 40};
    uint32_t first[50], second[20];
    float fresh_logits[N_VOCAB], logits[N_VOCAB];
    InkEngine *e = open_engine();
    make_tokens(first, 50, 3);
    make_tokens(second, 20, 8);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t n = lengths[i];
        InkSession *s = new_session(e, 0), *fresh = new_session(e, 0);
        prefill(s, first, 50, logits);
        ink_session_rewind(s, 60);
        assert_int_equal(ink_session_length(s), 50);
        ink_session_rewind(s, n);
        assert_int_equal(ink_session_length(s), n);
        prefill(s, second, 20, logits);
        if (n > 0)
            prefill(fresh, first, n, fresh_logits);
        prefill(fresh, second, 20, fresh_logits);
        assert_memory_equal(logits, fresh_logits, sizeof(logits));
        ink_session_free(s);
        ink_session_free(fresh);
    }
    assert_int_equal(ink_engine_kv_bytes(e), 0);
    ink_engine_close(e);
}

/* Blocks go from one session to the next one; nothing of the first may be seen by the second. */
static void test_session_reused_blocks_are_clean(void **state)
{
    (void)state;
    uint32_t tokens[40];
    float alone[N_VOCAB], after[N_VOCAB], ignored[N_VOCAB];
    InkEngine *e = open_engine();
    InkSession *keeper = new_session(e, 0), *s = new_session(e, 0);
    make_tokens(tokens, 40, 4);
    prefill(keeper, tokens, 3, ignored); /* so that the pool never becomes empty */
    prefill(s, tokens, 20, alone);
    ink_session_free(s);
    s = new_session(e, 0);
    make_tokens(tokens, 40, 5);
    prefill(s, tokens, 40, ignored);
    ink_session_free(s);
    s = new_session(e, 0);
    make_tokens(tokens, 40, 4);
    prefill(s, tokens, 20, after);
    assert_memory_equal(alone, after, sizeof(alone));
    ink_session_free(s);
    ink_session_free(keeper);
    ink_engine_close(e);
}

/* --- cancel --- */

typedef struct Canceller {
    size_t n_asked;
    size_t cancel_at;
} Canceller;

static bool ask(void *userdata)
{
    Canceller *c = userdata;
    return ++c->n_asked == c->cancel_at;
}

static void test_session_cancel_leaves_no_trace(void **state)
{
    (void)state;
    uint32_t tokens[60];
    float with[N_VOCAB], without[N_VOCAB];
    InkEngine *e = open_engine();
    make_tokens(tokens, 60, 6);
    for (size_t layer = 1; layer <= ink_engine_info(e)->n_layers; layer++) {
        InkSession *s = new_session(e, 0), *plain = new_session(e, 0);
        prefill(s, tokens, 21, with);
        size_t kv_bytes = ink_engine_kv_bytes(e);
        InkStepRow rows[30];
        for (size_t i = 0; i < 30; i++)
            rows[i] = (InkStepRow){.session = s, .token = 99};
        Canceller c = {.cancel_at = layer};
        assert_int_equal(ink_engine_step(e, rows, 30, ask, &c, NULL), INK_STEP_CANCELLED);
        assert_int_equal(c.n_asked, layer);
        assert_int_equal(ink_session_length(s), 21);
        assert_int_equal(ink_engine_kv_bytes(e), kv_bytes);
        prefill(s, tokens + 21, 39, with);
        prefill(plain, tokens, 60, without);
        assert_memory_equal(with, without, sizeof(with));
        ink_session_free(s);
        ink_session_free(plain);
    }
    ink_engine_close(e);
}

/* --- budgets --- */

static void test_session_kv_budget_is_refused_and_recovers(void **state)
{
    (void)state;
    uint32_t tokens[64];
    float logits[N_VOCAB];
    InkError error = {0};
    InkEngine *e = open_engine();
    size_t block_bytes = ink_engine_info(e)->kv_bytes_per_token * 16;
    ink_engine_close(e);
    e = open_engine_with(-1, false, 4 * block_bytes);
    InkSession *a = new_session(e, 0), *b = new_session(e, 0);
    make_tokens(tokens, 64, 7);
    prefill(a, tokens, 48, logits);
    assert_int_equal(ink_engine_kv_bytes(e), 3 * block_bytes);
    assert_int_equal(ink_session_prefill(b, tokens, 17, NULL, &error), -ENOMEM);
    assert_non_null(strstr(error.message, "max_kv_bytes"));
    assert_int_equal(ink_session_length(b), 0);
    assert_int_equal(ink_engine_kv_bytes(e), 3 * block_bytes);
    prefill(b, tokens, 16, logits);
    assert_int_equal(step_one(e, a, 1, &error), -ENOMEM);
    assert_int_equal(ink_session_length(a), 48);
    ink_session_rewind(a, 32);
    assert_int_equal(step_one(e, b, 1, &error), 0);
    assert_int_equal(ink_session_length(b), 17);
    ink_session_free(a);
    ink_session_free(b);
    ink_engine_close(e);

    int fd = open_model();
    const InkEngineOptions options = {.n_threads = 1, .pack_cache_fd = -1, .max_kv_bytes = 100};
    e = NULL;
    assert_int_equal(ink_engine_open(fd, &options, &e, &error), -EINVAL);
    assert_non_null(strstr(error.message, "max_kv_bytes"));
    assert_null(e);
    close(fd);
}

/* A step must not allocate: a machine that is short of memory may not stop in the middle. */
static void test_session_steps_do_not_allocate(void **state)
{
    (void)state;
    InkEngine *e = open_engine();
    InkSession *s = new_session(e, 0);
    ink_alloc_fail_at(1, true);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(step_one(e, s, i, NULL), 0);
    assert_int_equal(ink_alloc_count(), 0);
    ink_alloc_fail_at(0, false);
    ink_session_free(s);
    ink_engine_close(e);
}

/* --- opening --- */

static void test_session_open_refuses_what_is_no_file(void **state)
{
    (void)state;
    const InkEngineOptions options = {.n_threads = 1, .pack_cache_fd = -1};
    InkEngine *e = NULL;
    InkError error = {0};
    int pipes[2], dir = open("/", O_RDONLY | O_DIRECTORY), empty = memfd_create("empty", 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(ink_engine_open(dir, &options, &e, &error), -EBADMSG);
    assert_non_null(strstr(error.message, "directory"));
    assert_int_equal(ink_engine_open(pipes[0], &options, &e, &error), -EBADMSG);
    assert_non_null(strstr(error.message, "regular"));
    assert_int_equal(ink_engine_open(empty, &options, &e, &error), -EBADMSG);
    assert_non_null(strstr(error.message, "empty"));
    assert_int_equal(ink_engine_open(-1, &options, &e, &error), -EINVAL);
    const InkEngineOptions unknown = {.n_threads = 1, .pack_cache_fd = -1, .isa = "abacus"};
    int fd = open_model();
    assert_int_equal(ink_engine_open(fd, &unknown, &e, &error), -EINVAL);
    assert_non_null(strstr(error.message, "isa"));
    assert_null(e);
    close(fd);
    close(dir);
    close(empty);
    close(pipes[0]);
    close(pipes[1]);
}

/* The k-th allocation fails, for every k: an error each time, and (with ASan) nothing is left. */
static void test_session_open_survives_every_failing_allocation(void **state)
{
    (void)state;
    int fd = open_model();
    const InkEngineOptions options = {.n_threads = 2, .pack_cache_fd = -1, .max_kv_bytes = 1 << 20};
    InkError error = {0};
    size_t k = 1;
    for (; k < 100000; k++) {
        InkEngine *e = NULL;
        ink_alloc_fail_at(k, false);
        int r = ink_engine_open(fd, &options, &e, &error);
        size_t n_asked = ink_alloc_count();
        ink_alloc_fail_at(0, false);
        if (r == 0) {
            ink_engine_close(e);
            if (n_asked < k)
                break; /* there is no k-th one: all have been tried */
            continue;  /* what failed could be done without */
        }
        assert_null(e);
        assert_int_equal(r, -ENOMEM);
    }
    assert_true(k > 10 && k < 100000);
    close(fd);
}

/* Every tensor's shape and many values are checked: flip bytes of the metadata, never crash. */
static void test_session_open_survives_damaged_metadata(void **state)
{
    (void)state;
    int fd = open_model();
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    size_t n_bytes = (size_t)st.st_size, n_refused = 0;
    uint8_t *good = malloc(n_bytes);
    assert_non_null(good);
    assert_int_equal(pread(fd, good, n_bytes, 0), st.st_size);
    const InkEngineOptions options = {.n_threads = 1, .pack_cache_fd = -1, .max_kv_bytes = 1 << 20};
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < (getenv("INKLING_TEST_FULL") != NULL ? 3000 : 150); i++) {
        int damaged = memfd_create("damaged", MFD_CLOEXEC);
        assert_int_equal(write(damaged, good, n_bytes), st.st_size);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        uint8_t byte = (uint8_t)(random >> 32);
        off_t at = (off_t)(random % (i % 2 == 0 ? 1200 : 12000));
        assert_int_equal(pwrite(damaged, &byte, 1, at), 1);
        InkEngine *e = NULL;
        InkError error = {0};
        int r = ink_engine_open(damaged, &options, &e, &error);
        assert_true((r == 0) == (e != NULL));
        assert_true(r == 0 || error.message[0] != '\0');
        n_refused += r < 0;
        ink_engine_close(e);
        close(damaged);
    }
    assert_true(n_refused > 0);
    free(good);
    close(fd);
}

/* What a file may claim, and the refusal: `at` counts from the end of the first occurrence of
 * `key`; the value of a metadata key lies 4 bytes (its type) behind it. */
typedef struct Damage {
    const char *key;
    int at;
    uint32_t value;
    int error;
    const char *message;
} Damage;

static const Damage damages[] = {
    {"general.architecture", 12, 0x7878, -EOPNOTSUPP, "supports: llama"},
    {"llama.block_count", 4, 0, -EBADMSG, "llama.block_count"},
    {"llama.block_count", 4, 1025, -EBADMSG, "llama.block_count"},
    {"llama.block_count", 4, 4, -EBADMSG, "llama.block_count is 4"},
    {"llama.block_count", 4, 2, -EOPNOTSUPP, "blk.2."},
    {"llama.context_length", 4, 0, -EBADMSG, "llama.context_length"},
    {"llama.context_length", 4, 0xffffffff, -EBADMSG, "llama.context_length"},
    {"llama.embedding_length", 4, 128, -EBADMSG, "tensor"},
    {"llama.feed_forward_length", 4, 64, -EBADMSG, "tensor blk.0.ffn_gate.weight"},
    {"llama.attention.head_count", 4, 0, -EBADMSG, "llama.attention.head_count"},
    {"llama.attention.head_count", 4, 8, -EBADMSG, "tensor blk.0.attn_q.weight"},
    {"llama.attention.head_count_kv", 4, 4, -EBADMSG, "head_count_kv"},
    {"llama.attention.head_count_kv", 4, 7, -EBADMSG, "head_count_kv"},
    {"llama.attention.key_length", 4, 24, -EOPNOTSUPP, "multiple of 16"},
    {"llama.attention.value_length", 4, 16, -EOPNOTSUPP, "llama.attention.value_length"},
    {"llama.rope.dimension_count", 4, 31, -EBADMSG, "llama.rope.dimension_count"},
    {"llama.rope.dimension_count", 4, 34, -EBADMSG, "llama.rope.dimension_count"},
    {"llama.rope.freq_base", 4, 0x7fc00000, -EBADMSG, "llama.rope.freq_base"},
    {"llama.attention.layer_norm_rms_epsilon", 4, 0, -EBADMSG, "layer_norm_rms_epsilon"},
    {"llama.vocab_size", 4, 130, -EBADMSG, "llama.vocab_size is 130"},
    {"blk.1.ffn_up.weight", -4, 0x74676878, -EBADMSG, "blk.1.ffn_up.weight is missing"},
    {"token_embd.weight", -4, 0x74676878, -EBADMSG, "token_embd.weight is missing"},
};

static void test_session_open_names_what_is_wrong(void **state)
{
    (void)state;
    int fd = open_model();
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    size_t n_bytes = (size_t)st.st_size;
    uint8_t *file = malloc(n_bytes);
    assert_non_null(file);
    const InkEngineOptions options = {.n_threads = 1, .pack_cache_fd = -1, .max_kv_bytes = 1 << 20};
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const Damage *d = &damages[i];
        assert_int_equal(pread(fd, file, n_bytes, 0), st.st_size);
        uint8_t *key = memmem(file, n_bytes, d->key, strlen(d->key));
        assert_non_null(key);
        memcpy(key + strlen(d->key) + d->at, &d->value, sizeof(d->value));
        int damaged = memfd_create("damaged", MFD_CLOEXEC);
        assert_int_equal(write(damaged, file, n_bytes), st.st_size);
        InkEngine *e = NULL;
        InkError error = {0};
        int r = ink_engine_open(damaged, &options, &e, &error);
        if (r != d->error || strstr(error.message, d->message) == NULL)
            fail_msg("%s = %u: %d, \"%s\"", d->key, d->value, r, error.message);
        assert_null(e);
        close(damaged);
    }
    free(file);
    close(fd);
}

/* --- cache of packed weights --- */

static int new_cache(off_t n_bytes)
{
    int fd = memfd_create("cache", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, n_bytes), 0);
    return fd;
}

static void logits_with_cache(int cache_fd, bool locked, float *logits, bool *ret_used)
{
    uint32_t tokens[30];
    make_tokens(tokens, 30, 2);
    InkEngine *e = open_engine_with(cache_fd, locked, 0);
    *ret_used = ink_engine_info(e)->pack_cache_used;
    InkSession *s = new_session(e, 0);
    prefill(s, tokens, 30, logits);
    ink_session_free(s);
    ink_engine_close(e);
}

static void test_session_pack_cache_is_written_and_reused(void **state)
{
    (void)state;
    float plain[N_VOCAB], logits[N_VOCAB];
    bool used;
    int fd = new_cache(CACHE_BYTES);
    logits_with_cache(-1, false, plain, &used);
    assert_false(used);
    logits_with_cache(fd, false, logits, &used); /* not locked: not written */
    assert_false(used);
    logits_with_cache(fd, true, logits, &used);
    assert_false(used);
    assert_memory_equal(plain, logits, sizeof(plain));
    logits_with_cache(fd, false, logits, &used);
    assert_true(used);
    assert_memory_equal(plain, logits, sizeof(plain));
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, CACHE_BYTES);
    close(fd);
}

static void test_session_pack_cache_refuses_every_changed_field(void **state)
{
    (void)state;
    float plain[N_VOCAB], logits[N_VOCAB];
    bool used;
    int fd = new_cache(CACHE_BYTES);
    logits_with_cache(fd, true, plain, &used);
    for (off_t at = 0; at < (off_t)sizeof(InkPackCacheHeader); at += 4) {
        uint32_t good, bad;
        assert_int_equal(pread(fd, &good, sizeof(good), at), sizeof(good));
        bad = good ^ 0x10;
        assert_int_equal(pwrite(fd, &bad, sizeof(bad), at), sizeof(bad));
        logits_with_cache(fd, false, logits, &used);
        assert_false(used);
        assert_memory_equal(plain, logits, sizeof(plain));
        assert_int_equal(pwrite(fd, &good, sizeof(good), at), sizeof(good));
    }
    logits_with_cache(fd, false, logits, &used);
    assert_true(used);

    /* Cut off inside the packed bytes, then to nothing: ignored both times, locked or not. */
    static const off_t lengths[] = {100000, 4096, 10, 0};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(ftruncate(fd, lengths[i]), 0);
        logits_with_cache(fd, i % 2 == 0, logits, &used);
        assert_false(used);
        assert_memory_equal(plain, logits, sizeof(plain));
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, lengths[i]);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_context_is_full_at_exactly_n),
        cmocka_unit_test(test_session_whole_window_in_chunks),
        cmocka_unit_test(test_session_refuses_wrong_rows),
        cmocka_unit_test(test_session_rewind_equals_a_fresh_one),
        cmocka_unit_test(test_session_reused_blocks_are_clean),
        cmocka_unit_test(test_session_cancel_leaves_no_trace),
        cmocka_unit_test(test_session_kv_budget_is_refused_and_recovers),
        cmocka_unit_test(test_session_steps_do_not_allocate),
        cmocka_unit_test(test_session_open_refuses_what_is_no_file),
        cmocka_unit_test(test_session_open_survives_every_failing_allocation),
        cmocka_unit_test(test_session_open_survives_damaged_metadata),
        cmocka_unit_test(test_session_open_names_what_is_wrong),
        cmocka_unit_test(test_session_pack_cache_is_written_and_reused),
        cmocka_unit_test(test_session_pack_cache_refuses_every_changed_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
