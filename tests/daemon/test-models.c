/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/models.h"

static const InkModels none = INK_MODELS_INIT;
static char folder[64], user[96], sys_folder[96], cache[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/ink-models-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(user, sizeof user, "%s/user", folder);
    snprintf(sys_folder, sizeof sys_folder, "%s/system", folder);
    snprintf(cache, sizeof cache, "%s/cache", folder);
    return mkdir(user, 0700) | mkdir(sys_folder, 0755);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *where, const char *name, const char *content)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", where, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static InkModels scan(void)
{
    InkModels m = INK_MODELS_INIT;
    assert_int_equal(ink_models_scan(user, sys_folder, &m, NULL), 0);
    return m;
}

static const InkModel *find(const InkModels *m, const char *name, const char *configured, int *ret)
{
    const InkModel *model = NULL;
    InkError error = {0};
    *ret = ink_models_find(m, name, configured, &model, &error);
    assert_int_equal(error.code, -*ret);
    return model;
}

static void test_models_scan_takes_gguf_names_the_users_first(void **state)
{
    (void)state;
    put(user, "b.gguf", "users");
    put(user, "notes.txt", "x");
    put(user, ".hidden.gguf", "x");
    put(user, "\xFF.gguf", "x");
    put(user, "\x1b[2J.gguf", "x"); /* names stand in tables and messages */
    put(user, "\xC2\x9B[2J.gguf", "x");
    put(user, "a\nb.gguf", "x");
    put(user, ".gguf", "x");
    put(sys_folder, "b.gguf", "systems, longer");
    put(sys_folder, "a.gguf", "x");
    InkModels m = scan();
    assert_int_equal(m.n, 2);
    assert_string_equal(m.items[0].name, "a");
    assert_true(m.items[0].is_system);
    assert_string_equal(m.items[1].name, "b");
    assert_false(m.items[1].is_system);
    assert_int_equal(m.items[1].size_bytes, 5);
    ink_models_done(&m);
}

static void test_models_default_follows_configuration_then_name(void **state)
{
    (void)state;
    int r;
    InkModels m = scan();
    assert_null(find(&m, "", "", &r));
    assert_int_equal(r, -ENODEV);
    put(user, "zoo.gguf", "x");
    put(user, "alpha.gguf", "x");
    ink_models_done(&m);
    m = scan();
    assert_string_equal(find(&m, "", "", &r)->name, "alpha");
    assert_string_equal(find(&m, "", "zoo", &r)->name, "zoo");
    assert_null(find(&m, "", "gone", &r));
    assert_int_equal(r, -ENODEV);
    assert_null(find(&m, "gone", "", &r));
    assert_int_equal(r, -ENOENT);
    put(user, INK_MODELS_DEFAULT ".gguf", "x");
    ink_models_done(&m);
    m = scan();
    assert_string_equal(find(&m, "", "", &r)->name, INK_MODELS_DEFAULT);
    ink_models_done(&m);
}

static void test_models_missing_folders_are_empty(void **state)
{
    (void)state;
    InkModels m = INK_MODELS_INIT;
    assert_int_equal(ink_models_scan("/nonexistent/a", "/nonexistent/b", &m, NULL), 0);
    assert_int_equal(m.n, 0);
    ink_models_done(&m);
}

static void test_models_cache_is_sized_locked_and_replaced(void **state)
{
    (void)state;
    InkModelIdentity first = {.device = 1, .inode = 2, .size_bytes = 8u << 20, .mtime_nsec = 3};
    InkModelIdentity second = first;
    second.mtime_nsec++;
    bool locked = false;
    int fd = ink_models_open_cache(cache, &first, &none, &locked);
    assert_true(fd >= 0 && locked);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, (9u << 20) + (1u << 20));
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(cache, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);

    int other = ink_models_open_cache(cache, &first, &none, &locked);
    assert_true(other >= 0);
    assert_false(locked);
    close(other);

    other = ink_models_open_cache(cache, &second, &none, &locked); /* the file has changed */
    assert_true(other >= 0 && locked);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    close(other);
    close(fd);
}

static void test_models_cache_refuses_links_and_open_folders(void **state)
{
    (void)state;
    InkModelIdentity identity = {.device = 1, .inode = 2, .size_bytes = 100, .mtime_nsec = 3};
    bool locked = false;
    assert_int_equal(mkdir(cache, 0700), 0);
    assert_int_equal(chmod(cache, 0777), 0);
    assert_int_equal(ink_models_open_cache(cache, &identity, &none, &locked), -1);
    assert_int_equal(ink_models_open_cache("/proc/nonexistent", &identity, &none, &locked), -1);
    identity.size_bytes = UINT64_MAX - 7; /* sums wrap */
    assert_int_equal(chmod(cache, 0700), 0);
    assert_int_equal(ink_models_open_cache(cache, &identity, &none, &locked), -1);
}

static void test_models_cache_keeps_those_of_installed_models(void **state)
{
    (void)state;
    put(user, "a.gguf", "first");
    put(user, "b.gguf", "second, longer");
    InkModels m = scan();
    bool locked;
    int a = ink_models_open_cache(cache, &m.items[0].identity, &m, &locked);
    int b = ink_models_open_cache(cache, &m.items[1].identity, &m, &locked);
    struct stat st;
    assert_true(a >= 0 && b >= 0 && fstat(a, &st) == 0);
    assert_int_equal(st.st_nlink, 1);
    char *path = ink_models_cache_path(cache, &m.items[0].identity);
    assert_int_equal(access(path, F_OK), 0);
    m.n--; /* b is not there any more, says the list */
    int again = ink_models_open_cache(cache, &m.items[0].identity, &m, &locked);
    assert_true(again >= 0 && fstat(b, &st) == 0);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(access(path, F_OK), 0);
    free(path);
    m.n++;
    ink_models_done(&m);
    close(again);
    close(b);
    close(a);
}

static void test_models_names_are_words(void **state)
{
    (void)state;
    char long_name[130];
    memset(long_name, 'a', sizeof long_name);
    long_name[127] = '\0';
    static const char *const good[] = {"a", "7b", "smollm2-135m-instruct-q4_1", "a.b-c_d"};
    static const char *const bad[] = {"",    ".a",  "-a",   "_a",        "A",      "a/b", "a b",
                                      "a..", "a\n", "a\\b", "a\xC3\xA4", "../etc", "a*",  "a.."};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(ink_models_is_name(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ink_models_is_name(bad[i]));
    assert_true(ink_models_is_name(long_name));
    long_name[127] = 'a';
    long_name[128] = '\0';
    assert_false(ink_models_is_name(long_name));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_models_scan_takes_gguf_names_the_users_first),
        WITH_FOLDER(test_models_default_follows_configuration_then_name),
        WITH_FOLDER(test_models_missing_folders_are_empty),
        WITH_FOLDER(test_models_cache_is_sized_locked_and_replaced),
        WITH_FOLDER(test_models_cache_keeps_those_of_installed_models),
        WITH_FOLDER(test_models_names_are_words),
        WITH_FOLDER(test_models_cache_refuses_links_and_open_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
