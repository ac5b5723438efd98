/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/threads.h"

#define N_ITEMS 997

typedef struct Sums {
    InkThreads *pool;
    uint32_t items[N_ITEMS];
    uint64_t partial[INK_THREADS_MAX];
    uint64_t totals[INK_THREADS_MAX];
} Sums;

static InkThreads *new_pool(size_t n)
{
    InkThreads *t = NULL;
    InkError error = {0};
    assert_int_equal(ink_threads_new(n, &t, &error), 0);
    return t;
}

/* Two phases with a barrier: the second one of every thread needs what all have done in the first.
 */
static void add_up(void *userdata, size_t thread, size_t n_threads)
{
    Sums *s = userdata;
    size_t begin, end;
    ink_threads_range(N_ITEMS, thread, n_threads, &begin, &end);
    s->partial[thread] = 0;
    for (size_t i = begin; i < end; i++) {
        s->items[i]++;
        s->partial[thread] += s->items[i];
    }
    ink_threads_barrier(s->pool);
    s->totals[thread] = 0;
    for (size_t i = 0; i < n_threads; i++)
        s->totals[thread] += s->partial[i];
    ink_threads_barrier(s->pool);
}

/* How many jobs had the right sums on all threads. */
static size_t run_jobs(size_t n_threads, size_t n_jobs)
{
    Sums sums = {.pool = new_pool(n_threads)};
    assert_int_equal(ink_threads_count(sums.pool), n_threads);
    size_t n_right = 0;
    for (size_t job = 1; job <= n_jobs; job++) {
        ink_threads_run(sums.pool, add_up, &sums);
        size_t n_agree = 0;
        for (size_t i = 0; i < n_threads; i++)
            n_agree += sums.totals[i] == (uint64_t)N_ITEMS * job;
        n_right += n_agree == n_threads;
    }
    ink_threads_free(sums.pool);
    return n_right;
}

static void test_threads_many_tiny_jobs(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 3; n++)
        assert_int_equal(run_jobs(n, 3000), 3000);
}

static void test_threads_more_than_processors_finish(void **state)
{
    (void)state;
    uint64_t since = ink_clock_monotonic_usec();
    assert_int_equal(run_jobs(8, 300), 300);
    /* 900 barriers of eight threads: some hundred microseconds each when threads yield, a time
     * slice of several milliseconds for every thread that spins instead. */
    assert_true(ink_clock_monotonic_usec() - since < 5000000);
}

static void test_threads_idle_pool_uses_no_cpu(void **state)
{
    (void)state;
    Sums sums = {.pool = new_pool(2)};
    ink_threads_run(sums.pool, add_up, &sums);
    struct timespec settle = {.tv_nsec = 5000000}, idle = {.tv_nsec = 200000000};
    nanosleep(&settle, NULL);
    uint64_t before = ink_clock_usec(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&idle, NULL);
    uint64_t used = ink_clock_usec(CLOCK_PROCESS_CPUTIME_ID) - before;
    assert_true(used < 1000);
    ink_threads_run(sums.pool, add_up, &sums);
    assert_int_equal(sums.totals[1], 2 * N_ITEMS);
    ink_threads_free(sums.pool);
}

static void test_threads_ranges_cover_all(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++) {
        for (size_t threads = 1; threads < 9; threads++) {
            size_t next = 0;
            for (size_t i = 0; i < threads; i++) {
                size_t begin, end;
                ink_threads_range(n, i, threads, &begin, &end);
                assert_int_equal(begin, next);
                assert_true(end >= begin && end - begin <= n / threads + 1);
                next = end;
            }
            assert_int_equal(next, n);
        }
    }
}

static void test_threads_refuses_and_runs_out_of_memory(void **state)
{
    (void)state;
    InkThreads *t = NULL;
    InkError error = {0};
    assert_int_equal(ink_threads_new(INK_THREADS_MAX + 1, &t, &error), -EINVAL);
    assert_non_null(strstr(error.message, "n_threads"));
    for (size_t i = 1; i <= 2; i++) {
        ink_alloc_fail_at(i, false);
        assert_int_equal(ink_threads_new(2, &t, &error), -ENOMEM);
        ink_alloc_fail_at(0, false);
    }
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_many_tiny_jobs),
        cmocka_unit_test(test_threads_more_than_processors_finish),
        cmocka_unit_test(test_threads_idle_pool_uses_no_cpu),
        cmocka_unit_test(test_threads_ranges_cover_all),
        cmocka_unit_test(test_threads_refuses_and_runs_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
