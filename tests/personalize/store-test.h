/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Shared by the tests of the store: a temporary directory, turnable clocks, short calls.
 * Thread: one. */
#pragma once

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <dirent.h>

#include <cmocka.h>

#include "personalize/store-private.h"

#define SECOND UINT64_C(1000000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)
/* 2026-03-01 12:00 UTC */
#define NOON   (UINT64_C(1772366400) * SECOND)

static uint64_t test_real = NOON, test_monotonic = SECOND;

static inline uint64_t test_real_usec(void)
{
    return test_real;
}

static inline uint64_t test_monotonic_usec(void)
{
    return test_monotonic;
}

typedef struct Place {
    char directory[64];
    char database[96];
} Place;

static inline void remove_files(const char *directory)
{
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
}

static inline int place_setup(void **state)
{
    Place *p = calloc(1, sizeof(*p));
    const char *tmp = getenv("INKLING_TEST_TMP");
    snprintf(p->directory, sizeof(p->directory), "%s/inkling-store-XXXXXX",
             tmp != NULL && strlen(tmp) < 32 ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->directory));
    snprintf(p->database, sizeof(p->database), "%s/inkling.db", p->directory);
    test_real = NOON;
    test_monotonic = SECOND;
    *state = p;
    return 0;
}

static inline int place_teardown(void **state)
{
    Place *p = *state;
    chmod(p->directory, 0700);
    remove_files(p->directory);
    rmdir(p->directory);
    free(p);
    return 0;
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)

static inline InkStore *open_store(const Place *p)
{
    InkStore *s = NULL;
    InkError error = {0};
    int r = ink_store_open(p->directory, &s, &error);
    if (r < 0)
        fail_msg("open: %s", error.message);
    s->real_usec = test_real_usec;
    s->monotonic_usec = test_monotonic_usec;
    return s;
}

static inline InkStore *open_enabled(const Place *p)
{
    InkStore *s = open_store(p);
    assert_int_equal(ink_store_set_memory_enabled(s, true, NULL), 0);
    return s;
}

static inline void observe_one(InkStore *s, const char *scope, InkEvent e, size_t expected)
{
    size_t accepted = 99;
    InkError error = {0};
    if (ink_store_observe(s, scope, &e, 1, false, &accepted, &error) < 0)
        fail_msg("observe: %s", error.message);
    assert_int_equal(accepted, expected);
}

static inline InkEvent opened(const char *uri, uint64_t time_usec)
{
    return (InkEvent){.kind = INK_EVENT_OPENED, .uri = uri, .time_usec = time_usec};
}

static inline InkEvent ran(const char *text, const char *uri, uint64_t time_usec)
{
    return (InkEvent){.kind = INK_EVENT_RAN, .text = text, .uri = uri, .time_usec = time_usec};
}

static inline uint64_t n_events(InkStore *s, const char *scope)
{
    InkStoreCounts c = {0};
    assert_int_equal(ink_store_counts(s, scope, &c, NULL), 0);
    return c.events;
}

/* Whole content of a file; NULL and 0 when it is missing. */
static inline char *read_whole(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    *ret_n = 0;
    if (f == NULL)
        return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    assert_in_range(n, 0, 1 << 28);
    char *data = malloc((size_t)n + 1);
    assert_int_equal(fread(data, 1, (size_t)n, f), n);
    fclose(f);
    *ret_n = (size_t)n;
    return data;
}

static inline void write_whole(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static inline bool is_full_run(void)
{
    const char *full = getenv("INKLING_TEST_FULL");
    return full != NULL && strcmp(full, "1") == 0;
}
