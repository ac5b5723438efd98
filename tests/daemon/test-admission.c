/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/admission.h"
#include "daemon/bounds.h"

#define SECOND 1000000u

static InkRequest *new_request(const char *app, InkPriority priority)
{
    InkCaller caller = {.sender = ":1.1", .app_id = app};
    InkRequest *r = ink_request_new(INK_REQUEST_COMPLETE, &caller);
    assert_non_null(r);
    r->priority = priority;
    return r;
}

static InkRequest *add(InkAdmission *a, const char *app, InkPriority priority)
{
    InkRequest *r = new_request(app, priority);
    InkError error = {0};
    assert_int_equal(ink_admission_add(a, r, 0, &error), 0);
    return r;
}

static void drop(InkAdmission *a, InkRequest *r)
{
    ink_admission_remove(a, r);
    ink_request_free(r);
}

static InkRequest *take(InkAdmission *a, uint64_t now_usec)
{
    InkRequest *r = ink_admission_next(a, now_usec);
    if (r != NULL)
        ink_admission_start(a, r);
    return r;
}

static void test_admission_classes_come_in_strict_order(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *normal = add(a, "a", INK_PRIORITY_NORMAL);
    InkRequest *background = add(a, "b", INK_PRIORITY_BACKGROUND);
    InkRequest *typing = add(a, "c", INK_PRIORITY_TYPING);
    InkRequest *interactive = add(a, "d", INK_PRIORITY_INTERACTIVE);
    assert_int_equal(ink_admission_position(a, normal, 0), 3);
    assert_ptr_equal(take(a, 0), typing);
    assert_ptr_equal(take(a, 0), interactive);
    assert_ptr_equal(take(a, 0), normal);
    assert_null(take(a, 0)); /* background only when nobody else runs */
    drop(a, typing);
    drop(a, interactive);
    drop(a, normal);
    assert_ptr_equal(take(a, 0), background);
    assert_int_equal(ink_admission_position(a, background, 0), 0);
    drop(a, background);
    ink_admission_free(a);
}

static void test_admission_normal_moves_up_after_half_a_minute(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *old = add(a, "a", INK_PRIORITY_NORMAL);
    InkRequest *fresh = new_request("b", INK_PRIORITY_INTERACTIVE);
    assert_int_equal(ink_admission_add(a, fresh, 29 * SECOND, NULL), 0);
    assert_ptr_equal(ink_admission_next(a, 29 * SECOND), fresh);
    assert_ptr_equal(ink_admission_next(a, 30 * SECOND), old);
    drop(a, old);
    drop(a, fresh);
    ink_admission_free(a);
}

static void test_admission_programs_take_turns(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *many[8], *few[2];
    for (size_t i = 0; i < 8; i++)
        many[i] = add(a, "many", INK_PRIORITY_INTERACTIVE);
    for (size_t i = 0; i < 2; i++)
        few[i] = add(a, "few", INK_PRIORITY_INTERACTIVE);
    /* One each in turn, then what is left, and no more than four of one at a time. */
    InkRequest *expected[] = {many[0], few[0], many[1], few[1], many[2], many[3]};
    for (size_t i = 0; i < 6; i++)
        assert_ptr_equal(take(a, 0), expected[i]);
    assert_null(take(a, 0));
    assert_int_equal(ink_admission_n_running(a), 6);
    drop(a, many[0]);
    assert_ptr_equal(take(a, 0), many[4]);
    for (size_t i = 1; i < 8; i++)
        drop(a, many[i]);
    drop(a, few[0]);
    drop(a, few[1]);
    assert_int_equal(ink_admission_n_running(a), 0);
    ink_admission_free(a);
}

static void test_admission_refuses_more_than_twenty_of_one_program(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *list[INK_LIMIT_PENDING_PER_APP];
    for (size_t i = 0; i < INK_LIMIT_PENDING_PER_APP; i++)
        list[i] = add(a, "a", INK_PRIORITY_INTERACTIVE);
    InkRequest *extra = new_request("a", INK_PRIORITY_INTERACTIVE);
    InkError error = {0};
    assert_int_equal(ink_admission_add(a, extra, 0, &error), -EBUSY);
    assert_non_null(strstr(error.message, "20"));
    /* One that starts to run takes its place along; one that ends gives it back. */
    InkRequest *running = take(a, 0);
    assert_non_null(running);
    assert_int_equal(ink_admission_add(a, extra, 0, &error), -EBUSY);
    assert_ptr_equal(running, list[0]);
    drop(a, running);
    assert_int_equal(ink_admission_add(a, extra, 0, &error), 0);
    drop(a, extra);
    for (size_t i = 1; i < INK_LIMIT_PENDING_PER_APP; i++)
        drop(a, list[i]);
    ink_admission_free(a);
}

static void test_admission_refuses_more_than_sixty_four_in_all(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *list[INK_LIMIT_QUEUED];
    char app[16];
    for (size_t i = 0; i < INK_LIMIT_QUEUED; i++) {
        snprintf(app, sizeof app, "app%zu", i % 8);
        list[i] = add(a, app, INK_PRIORITY_INTERACTIVE);
    }
    InkRequest *extra = new_request("newcomer", INK_PRIORITY_TYPING);
    InkError error = {0};
    assert_int_equal(ink_admission_add(a, extra, 0, &error), -EBUSY);
    assert_non_null(strstr(error.message, "64"));
    ink_request_free(extra);
    assert_int_equal(ink_admission_n_queued(a), INK_LIMIT_QUEUED);
    for (size_t i = 0; i < INK_LIMIT_QUEUED; i++)
        drop(a, list[i]);
    assert_int_equal(ink_admission_n_queued(a), 0);
    ink_admission_free(a);
}

static void test_admission_bounds_the_bytes_that_wait(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *big = new_request("a", INK_PRIORITY_INTERACTIVE);
    big->bulk_bytes = INK_LIMIT_PENDING_BYTES;
    InkRequest *small = new_request("b", INK_PRIORITY_INTERACTIVE);
    small->bulk_bytes = 1;
    assert_int_equal(ink_admission_add(a, big, 0, NULL), 0);
    assert_int_equal(ink_admission_add(a, small, 0, NULL), -EBUSY);
    drop(a, big);
    assert_int_equal(ink_admission_add(a, small, 0, NULL), 0);
    drop(a, small);
    ink_admission_free(a);
}

static void test_admission_background_takes_no_place_from_others(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *background[INK_LIMIT_RUNNING_PER_APP];
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++) {
        background[i] = add(a, "a", INK_PRIORITY_BACKGROUND);
        assert_ptr_equal(take(a, 0), background[i]);
    }
    InkRequest *more = add(a, "a", INK_PRIORITY_BACKGROUND);
    assert_null(take(a, 0));
    /* It stands back in the worker, so the same program need not wait for its end. */
    InkRequest *typing[INK_LIMIT_RUNNING_PER_APP + 1];
    for (size_t i = 0; i <= INK_LIMIT_RUNNING_PER_APP; i++)
        typing[i] = add(a, "a", INK_PRIORITY_TYPING);
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++)
        assert_ptr_equal(take(a, 0), typing[i]);
    assert_null(take(a, 0));
    for (size_t i = 0; i <= INK_LIMIT_RUNNING_PER_APP; i++)
        drop(a, typing[i]);
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++)
        drop(a, background[i]);
    drop(a, more);
    ink_admission_free(a);
}

static void test_admission_lower_classes_cannot_fill_the_worker(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *normal[INK_LIMIT_RUNNING];
    char app[16];
    for (size_t i = 0; i < INK_LIMIT_RUNNING; i++) {
        snprintf(app, sizeof app, "app%zu", i / INK_LIMIT_RUNNING_PER_APP);
        normal[i] = add(a, app, INK_PRIORITY_NORMAL);
        assert_ptr_equal(take(a, 0), normal[i]);
    }
    InkRequest *extra = add(a, "other", INK_PRIORITY_NORMAL);
    assert_null(take(a, 0));
    InkRequest *typing = add(a, "other", INK_PRIORITY_TYPING);
    assert_ptr_equal(take(a, 0), typing);
    for (size_t i = 0; i < INK_LIMIT_RUNNING; i++)
        drop(a, normal[i]);
    drop(a, extra);
    drop(a, typing);
    assert_int_equal(ink_admission_n_running(a), 0);
    ink_admission_free(a);
}

static void test_admission_short_requests_need_no_place(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *list[INK_LIMIT_RUNNING_PER_APP];
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++) {
        list[i] = add(a, "a", INK_PRIORITY_INTERACTIVE);
        assert_ptr_equal(take(a, 0), list[i]);
    }
    InkRequest *text = add(a, "a", INK_PRIORITY_INTERACTIVE);
    assert_null(ink_admission_next(a, 0));
    InkRequest *count = add(a, "a", INK_PRIORITY_INTERACTIVE);
    count->kind = INK_REQUEST_TOKENIZE;
    assert_ptr_equal(take(a, 0), count);
    drop(a, count);
    drop(a, text);
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++)
        drop(a, list[i]);
    ink_admission_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admission_classes_come_in_strict_order),
        cmocka_unit_test(test_admission_normal_moves_up_after_half_a_minute),
        cmocka_unit_test(test_admission_programs_take_turns),
        cmocka_unit_test(test_admission_refuses_more_than_twenty_of_one_program),
        cmocka_unit_test(test_admission_refuses_more_than_sixty_four_in_all),
        cmocka_unit_test(test_admission_bounds_the_bytes_that_wait),
        cmocka_unit_test(test_admission_background_takes_no_place_from_others),
        cmocka_unit_test(test_admission_lower_classes_cannot_fill_the_worker),
        cmocka_unit_test(test_admission_short_requests_need_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
