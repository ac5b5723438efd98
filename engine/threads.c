/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

/* Longer than the serial gaps between two phases of a step, far shorter than a time slice. With
 * more threads than processors a spinning thread only keeps the one away that it waits for. */
#define SPIN_USEC           40u
#define SPINS_BETWEEN_CLOCK 64u
#define STACK_BYTES         (1u << 20)

/* A counter that threads wait on: spin first, then sleep until it moves. */
typedef struct Gate {
    _Atomic uint32_t value;
    _Atomic uint32_t n_sleeping;
} __attribute__((aligned(64))) Gate;

typedef struct Worker {
    InkThreads *pool;
    size_t index;
    pthread_t thread;
} Worker;

struct InkThreads {
    Gate start;  /* moves when a job is there */
    Gate passed; /* moves when all have reached a barrier */
    _Atomic uint32_t n_arrived __attribute__((aligned(64)));
    size_t n;
    size_t n_started; /* workers that really run, without the caller */
    uint64_t spin_usec;
    InkThreadsJob *job;
    void *userdata;
    bool stopping;
    Worker *workers;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    /* Woken, interrupted or changed meanwhile: the caller looks again in each case. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_wait(Gate *g, uint32_t seen, uint64_t spin_usec)
{
    uint64_t since = 0;
    for (uint32_t i = 0; spin_usec > 0; i++) {
        if (atomic_load_explicit(&g->value, memory_order_acquire) != seen)
            return;
        pause_briefly();
        if (i % SPINS_BETWEEN_CLOCK != SPINS_BETWEEN_CLOCK - 1)
            continue;
        uint64_t now = ink_clock_monotonic_usec();
        if (since == 0)
            since = now;
        else if (now - since >= spin_usec)
            break;
    }
    /* Sleeper: announce, look, sleep. Waker: move, look for sleepers. Both in one total order, so
     * that one of them sees the other. */
    atomic_fetch_add(&g->n_sleeping, 1);
    while (atomic_load(&g->value) == seen)
        futex_wait(&g->value, seen);
    atomic_fetch_sub(&g->n_sleeping, 1);
}

static void gate_open(Gate *g)
{
    atomic_fetch_add(&g->value, 1);
    if (atomic_load(&g->n_sleeping) > 0)
        (void)syscall(SYS_futex, &g->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void ink_threads_barrier(InkThreads *t)
{
    if (t->n == 1)
        return;
    uint32_t seen = atomic_load_explicit(&t->passed.value, memory_order_relaxed);
    if (atomic_fetch_add(&t->n_arrived, 1) + 1 < t->n) {
        gate_wait(&t->passed, seen, t->spin_usec);
        return;
    }
    atomic_store(&t->n_arrived, 0);
    gate_open(&t->passed);
}

static void *worker_main(void *userdata)
{
    Worker *w = userdata;
    InkThreads *t = w->pool;
    for (uint32_t seen = 0;; seen++) {
        gate_wait(&t->start, seen, t->spin_usec);
        if (t->stopping)
            return NULL;
        t->job(t->userdata, w->index, t->n);
        ink_threads_barrier(t);
    }
}

void ink_threads_run(InkThreads *t, InkThreadsJob *job, void *userdata)
{
    t->job = job;
    t->userdata = userdata;
    if (t->n > 1)
        gate_open(&t->start);
    job(userdata, 0, t->n);
    ink_threads_barrier(t);
}

static void settle_on_processor(void *userdata, size_t thread, size_t n_threads)
{
    const cpu_set_t *all = userdata;
    cpu_set_t one;
    (void)n_threads;
    CPU_ZERO(&one);
    for (size_t cpu = 0, n = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, all) && n++ == thread)
            CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one); /* refused: all works as before */
}

void ink_threads_settle(InkThreads *t)
{
    cpu_set_t all;
    CPU_ZERO(&all);
    if (t->n > 1 && sched_getaffinity(0, sizeof(all), &all) == 0 && CPU_COUNT(&all) == (int)t->n)
        ink_threads_run(t, settle_on_processor, &all);
}

static size_t count_processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : (size_t)n;
}

/* The others take no signals: those are for the thread that runs the program's loop. */
static int start_worker(Worker *w)
{
    pthread_attr_t attr;
    int r = pthread_attr_init(&attr);
    if (r != 0)
        return -r;
    r = pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigset_t all, before;
    sigfillset(&all);
    if (r == 0)
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r == 0) {
        r = pthread_create(&w->thread, &attr, worker_main, w);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attr);
    return -r;
}

int ink_threads_new(size_t n_threads, InkThreads **ret, InkError *reterr)
{
    size_t n_processors = count_processors();
    size_t n = n_threads == 0 ? n_processors : n_threads;
    if (n_threads == 0 && n > INK_THREADS_MAX)
        n = INK_THREADS_MAX;
    INK_CHECK(n <= INK_THREADS_MAX, EINVAL, reterr, "n_threads is %zu, at most %d", n,
              INK_THREADS_MAX);

    _cleanup_(ink_threads_free_p) InkThreads *t = ink_alloc_aligned(sizeof(*t));
    INK_CHECK(t != NULL, ENOMEM, reterr, "no memory for the thread pool");
    t->n = n;
    t->spin_usec = n > n_processors ? 0 : SPIN_USEC;
    t->workers = ink_alloc_array(n, sizeof(*t->workers));
    INK_CHECK(t->workers != NULL, ENOMEM, reterr, "no memory for the thread pool");
    for (size_t i = 1; i < n; i++) {
        Worker *w = &t->workers[i];
        w->pool = t;
        w->index = i;
        int r = start_worker(w);
        INK_CHECK(r == 0, -r, reterr, "thread %zu of %zu could not be started", i + 1, n);
        t->n_started++;
    }
    *ret = INK_TAKE(t);
    return 0;
}

InkThreads *ink_threads_free(InkThreads *t)
{
    if (t == NULL)
        return NULL;
    t->stopping = true;
    gate_open(&t->start);
    for (size_t i = 1; i <= t->n_started; i++)
        pthread_join(t->workers[i].thread, NULL);
    free(t->workers);
    free(t);
    return NULL;
}

size_t ink_threads_count(const InkThreads *t)
{
    return t->n;
}
