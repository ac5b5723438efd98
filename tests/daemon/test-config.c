/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/bounds.h"
#include "daemon/config.h"

typedef struct Warnings {
    unsigned n;
    char text[4096];
} Warnings;

static void collect(void *userdata, const char *message)
{
    Warnings *w = userdata;
    w->n++;
    strncat(w->text, message, sizeof w->text - strlen(w->text) - 2);
    strcat(w->text, "\n");
}

static Warnings parse(InkConfig *c, const char *text)
{
    Warnings w = {0};
    ink_config_parse(c, text, strlen(text), collect, &w);
    return w;
}

static void assert_defaults(const InkConfig *c)
{
    assert_string_equal(c->model, "");
    assert_int_equal(c->threads, 0);
    assert_string_equal(c->isa, "");
    assert_int_equal(c->resident, INK_RESIDENT_AUTO);
    assert_int_equal(c->idle_usec, INK_LIMIT_IDLE_MINUTES * 60000000ull);
    assert_int_equal(c->max_kv_bytes, 1ull << 30);
}

static void test_config_empty_is_all_defaults(void **state)
{
    (void)state;
    InkConfig c;
    assert_int_equal(parse(&c, "").n, 0);
    assert_defaults(&c);
}

static void test_config_reads_every_key(void **state)
{
    (void)state;
    InkConfig c;
    Warnings w = parse(&c, "[model]\nmodel = my-model_1.5\nthreads=3\nisa=avx2\n"
                           "[memory]\nresident=always\nidle-minutes=1\nmax-kv-mib=64\n");
    assert_string_equal(w.text, "");
    assert_string_equal(c.model, "my-model_1.5");
    assert_int_equal(c.threads, 3);
    assert_string_equal(c.isa, "avx2");
    assert_int_equal(c.resident, INK_RESIDENT_ALWAYS);
    assert_int_equal(c.idle_usec, 60000000);
    assert_int_equal(c.max_kv_bytes, 64 << 20);
    assert_int_equal(parse(&c, "[memory]\nresident = on-demand\n").n, 0);
    assert_int_equal(c.resident, INK_RESIDENT_ON_DEMAND);
}

static void test_config_names_what_it_does_not_know(void **state)
{
    (void)state;
    InkConfig c;
    Warnings w = parse(&c, "[model]\nthread=3\nthreads=2\n[network]\nport=80\n");
    assert_int_equal(w.n, 2);
    assert_non_null(strstr(w.text, "unknown key thread in [model]"));
    assert_non_null(strstr(w.text, "unknown group [network]"));
    assert_int_equal(c.threads, 2); /* the rest counts */
}

static void test_config_refuses_values_beyond_limits_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *key, *limit;
    } cases[] = {
        {"[model]\nthreads=-1\n", "threads", "0 to 256"},
        {"[model]\nthreads=257\n", "threads", "0 to 256"},
        {"[model]\nthreads=many\n", "threads", "0 to 256"},
        {"[model]\nthreads=99999999999999999999999\n", "threads", "0 to 256"},
        {"[model]\nisa=sse9\n", "isa", "avx512"},
        {"[model]\nmodel=../../etc/passwd\n", "model", "letters"},
        {"[memory]\nresident=perhaps\n", "resident", "on-demand"},
        {"[memory]\nidle-minutes=0\n", "idle-minutes", "1 to 10080"},
        {"[memory]\nidle-minutes=10081\n", "idle-minutes", "1 to 10080"},
        {"[memory]\nmax-kv-mib=63\n", "max-kv-mib", "64 to 1048576"},
        {"[memory]\nmax-kv-mib=\n", "max-kv-mib", "64 to 1048576"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        InkConfig c;
        Warnings w = parse(&c, cases[i].text);
        assert_int_equal(w.n, 1);
        assert_non_null(strstr(w.text, cases[i].key));
        assert_non_null(strstr(w.text, cases[i].limit));
        assert_defaults(&c);
    }
}

static void test_config_refuses_what_is_no_key_file(void **state)
{
    (void)state;
    InkConfig c;
    assert_int_equal(parse(&c, "threads=3\n").n, 1);
    assert_defaults(&c);
    assert_int_equal(parse(&c, "[model\nthreads=3\n").n, 1);
    assert_defaults(&c);
    Warnings w = {0};
    ink_config_parse(&c, "[model]\0threads=3\n", 18, collect, &w);
    assert_int_equal(w.n, 1);
    assert_defaults(&c);
}

static void test_config_warnings_never_show_values(void **state)
{
    (void)state;
    InkConfig c;
    Warnings w = parse(&c, "[model]\nmodel=s3cret value\nisa=s3cret\nthreads=s3cret\n");
    assert_int_equal(w.n, 3);
    assert_null(strstr(w.text, "s3cret"));
}

static void test_config_shipped_file_documents_every_key_and_default(void **state)
{
    (void)state;
    char path[4096], line[512], text[8192] = "";
    snprintf(path, sizeof path, "%s/daemon/inkling.conf", getenv("INKLING_SOURCE_DIR"));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    /* With its keys switched on it must be known, complete and equal to the defaults. */
    while (fgets(line, sizeof line, f) != NULL) {
        bool key = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
        strcat(text, line + (key ? 1 : 0));
    }
    fclose(f);
    InkConfig c;
    Warnings w = parse(&c, text);
    assert_string_equal(w.text, "");
    assert_defaults(&c);
    static const char *const keys[] = {
        "model=", "threads=", "isa=", "resident=", "idle-minutes=", "max-kv-mib="};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(strstr(text, keys[i]));
}

static void test_config_read_survives_files_that_are_none(void **state)
{
    (void)state;
    char folder[] = "/tmp/ink-config-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/inkling.conf", folder);
    InkConfig c;
    Warnings w = {0};
    ink_config_read(&c, path, collect, &w); /* missing */
    assert_int_equal(w.n, 0);
    assert_defaults(&c);
    assert_int_equal(mkfifo(path, 0600), 0);
    ink_config_read(&c, path, collect, &w);
    assert_int_equal(w.n, 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    ink_config_read(&c, path, collect, &w);
    assert_int_equal(w.n, 2);
    assert_int_equal(rmdir(path), 0);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    for (unsigned i = 0; i <= INK_CONFIG_MAX_BYTES; i++)
        fputc('\n', f);
    fclose(f);
    ink_config_read(&c, path, collect, &w);
    assert_int_equal(w.n, 3);
    assert_non_null(strstr(w.text, "64 KiB"));
    f = fopen(path, "we");
    fputs("[model]\nthreads=2\n", f);
    fclose(f);
    ink_config_read(&c, path, collect, &w);
    assert_int_equal(w.n, 3);
    assert_int_equal(c.threads, 2);
    unlink(path);
    rmdir(folder);
}

static void test_config_names_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *start;
    } cases[] = {
        {"[model]\n# threads=4\nthreads=many\n", "line 3: threads: "},
        {"[model]\nthreads=2\n[memory]\n\n  idle-minutes = 0 \n", "line 5: idle-minutes: "},
        {"[model]\nthreads=1\nthreads=x\n", "line 3: threads: "},
        {"[memory]\nresident=maybe\n", "line 2: resident: "},
        {"[model]\r\nisa=sse9\r\n", "line 2: isa: "},
        {"[model]\nmodel=a b\n", "line 2: model: "},
        {"\n[net]\n", "line 2: unknown group [net]"},
        {"[model]\nx=1\nthreads=1\ny=2\n", "line 2: unknown key x"},
        {"# one\n[model]\nthreads\n", "line 3: not a key file"},
        {"threads=1\n", "line 1: not a key file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        InkConfig c;
        Warnings w = parse(&c, cases[i].text);
        assert_memory_equal(w.text, cases[i].start, strlen(cases[i].start));
    }
}

static void test_config_reload_takes_all_or_nothing(void **state)
{
    (void)state;
    char path[] = "/tmp/ink-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char good[] = "[model]\nthreads=3\n";
    static const char bad[] = "[model]\nthreads=4\nisa=sse9\n";
    InkConfig c;
    InkError error = {0};
    ink_config_init(&c);
    assert_int_equal(write(fd, good, sizeof good - 1), sizeof good - 1);
    assert_int_equal(ink_config_reload(path, &c, &error), 0);
    assert_int_equal(c.threads, 3);
    assert_int_equal(pwrite(fd, bad, sizeof bad - 1, 0), sizeof bad - 1);
    assert_int_equal(ink_config_reload(path, &c, &error), -EINVAL);
    assert_non_null(strstr(error.message, "inkling.conf: line 3: isa"));
    assert_int_equal(c.threads, 3);
    close(fd);
    unlink(path);
    assert_int_equal(ink_config_reload(path, &c, &error), 0); /* missing: defaults */
    assert_int_equal(c.threads, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_empty_is_all_defaults),
        cmocka_unit_test(test_config_reads_every_key),
        cmocka_unit_test(test_config_names_what_it_does_not_know),
        cmocka_unit_test(test_config_refuses_values_beyond_limits_by_name),
        cmocka_unit_test(test_config_refuses_what_is_no_key_file),
        cmocka_unit_test(test_config_warnings_never_show_values),
        cmocka_unit_test(test_config_shipped_file_documents_every_key_and_default),
        cmocka_unit_test(test_config_read_survives_files_that_are_none),
        cmocka_unit_test(test_config_names_the_line),
        cmocka_unit_test(test_config_reload_takes_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
