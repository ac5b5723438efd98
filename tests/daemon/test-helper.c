/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the broker makes of a helper that does not do as it should: tests/fakes/fake-helper.c says
 * what the script says. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "daemon/helper.h"
#include "engine/base/clock.h"
#include "ink-config.h"

#define SIZE 1000u

typedef struct Seen {
    unsigned n_progress, n_ends;
    InkError error;
    bool has_result;
    InkInspectStage stage;
    double fraction;
    InkHelper *helper;
} Seen;

static void on_progress(void *userdata, InkInspectStage stage, double fraction)
{
    Seen *seen = userdata;
    assert_int_equal(seen->n_ends, 0);
    seen->n_progress++;
    seen->stage = stage;
    seen->fraction = fraction;
}

static void on_ended(void *userdata, const InkInspectResult *result, const InkError *error)
{
    Seen *seen = userdata;
    assert_true((result == NULL) != (error == NULL));
    seen->n_ends++;
    seen->has_result = result != NULL;
    if (error != NULL)
        seen->error = *error;
    assert_int_equal(ink_helper_pid(seen->helper), 0);
    seen->helper = ink_helper_free(seen->helper); /* as its owners do */
}

static const InkHelperEvents events = {.progress = on_progress, .ended = on_ended};

static void start(sd_event *event, const char *script, bool copy, Seen *seen)
{
    char path[4096];
    InkError error = {0};
    *seen = (Seen){0};
    snprintf(path, sizeof path, "%s/tests/fakes/fake-helper", getenv("INKLING_BUILD_DIR"));
    setenv("INKLING_FAKE_HELPER", script, 1);
    _cleanup_close_ int model = memfd_create("model", MFD_CLOEXEC);
    _cleanup_close_ int target = memfd_create("copy", MFD_CLOEXEC);
    const InkHelperJob job = {
        .model_fd = model, .copy_fd = copy ? target : -1, .hash = true, .size_bytes = SIZE};
    int r = ink_helper_start(event, path, &job, &events, seen, &seen->helper, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(r, 0);
}

static Seen play(const char *script, bool copy)
{
    Seen seen;
    sd_event *event = NULL;
    assert_true(sd_event_new(&event) >= 0);
    start(event, script, copy, &seen);
    uint64_t until = ink_clock_monotonic_usec() + 10000000;
    while (seen.n_ends == 0 && ink_clock_monotonic_usec() < until)
        assert_true(sd_event_run(event, 100000) >= 0);
    assert_int_equal(seen.n_ends, 1);
    sd_event_unref(event);
    return seen;
}

static size_t count_descriptors(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void test_helper_that_does_as_it_should(void **state)
{
    (void)state;
    Seen seen = play("rwmcsR", true); /* the model's descriptor is open for writing */
    assert_true(seen.has_result);
    assert_int_equal(seen.n_progress, 2);
    assert_int_equal(seen.stage, INK_INSPECT_STORING);
    assert_true(seen.fraction == 0.5);
    seen = play("rwccR", false);
    assert_true(seen.has_result);
}

static void test_helper_errors_are_those_that_it_may_have(void **state)
{
    (void)state;
    Seen seen = play("rwf", true);
    assert_int_equal(seen.error.code, EBADMSG);
    assert_string_equal(seen.error.message, "model file: the fake says so");
    seen = play("rwcn", true);
    assert_int_equal(seen.error.code, ENOSPC);
    seen = play("rwo", true); /* no bus error of ours to be chosen by a helper */
    assert_int_equal(seen.error.code, EREMOTEIO);
}

static void test_helper_that_breaks_the_protocol_is_ended(void **state)
{
    static const struct {
        const char *script;
        bool copy;
    } rows[] = {
        {"", true},                                      /* no word at all */
        {"R", true},                                     /* before READY */
        {"f", true},     {"c", true},     {"rr.", true}, /* READY twice */
        {"g", true},     {"rwg", true},   {"rw", true},  /* no answer */
        {"rwc", true},   {"rwcb.", true},                /* progress goes back */
        {"rwsc.", true},                                 /* stages go back */
        {"rwt.", true},                                  /* of another file */
        {"rws.", false},                                 /* stores, and nobody asked for a copy */
        {"rwh", true},                                   /* a copy without its hash */
        {"rwz", true},                                   /* of another size */
    };
    size_t before = count_descriptors();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Seen seen = play(rows[i].script, rows[i].copy);
        if (seen.has_result || seen.error.code != EREMOTEIO)
            print_error("\"%s\": %d %s\n", rows[i].script, seen.error.code, seen.error.message);
        assert_false(seen.has_result);
        assert_int_equal(seen.error.code, EREMOTEIO);
    }
    if (!INK_SEAL_RELAXED) {
        Seen seen = play("uwR", true);
        assert_int_equal(seen.error.code, EREMOTEIO);
    }
    assert_int_equal(count_descriptors(), before);
}

static void test_helper_can_be_let_go_at_any_time(void **state)
{
    static const char *const scripts[] = {".", "r.", "rw.", "rwcc.", "rwcsR"};
    size_t before = count_descriptors();
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        sd_event *event = NULL;
        Seen seen;
        assert_true(sd_event_new(&event) >= 0);
        start(event, scripts[i], true, &seen);
        assert_true(ink_helper_pid(seen.helper) > 0);
        for (unsigned k = 0; k < 5 && seen.n_ends == 0; k++)
            assert_true(sd_event_run(event, 2000) >= 0);
        seen.helper = ink_helper_free(seen.helper);
        assert_true(sd_event_run(event, 2000) >= 0);
        sd_event_unref(event);
    }
    assert_int_equal(count_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_helper_that_does_as_it_should),
        cmocka_unit_test(test_helper_errors_are_those_that_it_may_have),
        cmocka_unit_test(test_helper_that_breaks_the_protocol_is_ended),
        cmocka_unit_test(test_helper_can_be_let_go_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
