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

static uint64_t clock_usec; /* at which requests end */

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
    ink_admission_remove(a, r, clock_usec);
    ink_request_free(r);
}

static InkRequest *take(InkAdmission *a, uint64_t now_usec)
{
    InkRequest *r = ink_admission_next(a, now_usec);
    if (r != NULL)
        ink_admission_start(a, r, now_usec);
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
    enum { N_BIG = INK_LIMIT_PENDING_BYTES / INK_LIMIT_PENDING_BYTES_PER_APP };
    InkRequest *big[N_BIG];
    char app[16];
    for (size_t i = 0; i < N_BIG; i++) {
        snprintf(app, sizeof app, "app%zu", i);
        big[i] = new_request(app, INK_PRIORITY_INTERACTIVE);
        big[i]->bulk_bytes = INK_LIMIT_PENDING_BYTES_PER_APP;
        assert_int_equal(ink_admission_add(a, big[i], 0, NULL), 0);
    }
    InkRequest *small = new_request("b", INK_PRIORITY_INTERACTIVE);
    small->bulk_bytes = 1;
    assert_int_equal(ink_admission_add(a, small, 0, NULL), -EBUSY);
    for (size_t i = 0; i < N_BIG; i++)
        drop(a, big[i]);
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

static void test_admission_long_answers_do_not_hold_up_typing_of_the_same_program(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *chats[INK_LIMIT_RUNNING_PER_APP];
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++) {
        chats[i] = add(a, "a", INK_PRIORITY_INTERACTIVE);
        assert_ptr_equal(take(a, 0), chats[i]);
    }
    InkRequest *more = add(a, "a", INK_PRIORITY_INTERACTIVE);
    assert_null(take(a, 0));
    InkRequest *typing = add(a, "a", INK_PRIORITY_TYPING);
    assert_ptr_equal(take(a, 0), typing);
    /* Better ones count for a lower one. */
    InkRequest *normal = add(a, "a", INK_PRIORITY_NORMAL);
    assert_null(take(a, 0));
    drop(a, typing);
    drop(a, normal);
    drop(a, more);
    for (size_t i = 0; i < INK_LIMIT_RUNNING_PER_APP; i++)
        drop(a, chats[i]);
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

/* Ends `r`, which has cost `usec` of the engine, and lets the clock go on as far. */
static void finish(InkAdmission *a, InkRequest *r, uint64_t usec)
{
    clock_usec += usec;
    r->engine_usec = usec;
    drop(a, r);
}

static InkRequest *add_now(InkAdmission *a, const char *app, InkPriority priority)
{
    InkRequest *r = new_request(app, priority);
    InkError error = {0};
    int result = ink_admission_add(a, r, clock_usec, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(result, 0);
    return r;
}

/* One place: fifteen programs with requests of 20 ms to 1.4 s, each with a full queue, and one
 * whose requests come one after the other. */
static void test_admission_shares_time_and_not_requests(void **state)
{
    (void)state;
    enum { N_APPS = 16 };
    InkAdmission *a = ink_admission_new();
    InkRequest *waiting[N_APPS] = {0}, *second[N_APPS] = {0};
    double used[N_APPS] = {0}, sum = 0, squares = 0;
    char app[16];
    clock_usec = 1;
    for (unsigned turn = 0; turn < 4000; turn++) {
        for (unsigned i = 0; i < N_APPS; i++) {
            snprintf(app, sizeof app, "app%u", i);
            if (waiting[i] == NULL)
                waiting[i] = add_now(a, app, INK_PRIORITY_INTERACTIVE);
            if (second[i] == NULL && i != 0)
                second[i] = add_now(a, app, INK_PRIORITY_INTERACTIVE);
        }
        InkRequest *r = take(a, clock_usec);
        for (unsigned i = 0; i < N_APPS; i++)
            if (r == waiting[i] || r == second[i]) {
                uint64_t cost = 20000u + 92000u * i;
                waiting[i] = r == waiting[i] ? second[i] : waiting[i];
                second[i] = NULL;
                used[i] += (double)cost;
                finish(a, r, cost);
                break;
            }
    }
    for (unsigned i = 0; i < N_APPS; i++) {
        sum += used[i];
        squares += used[i] * used[i];
        if (waiting[i] != NULL)
            drop(a, waiting[i]);
        if (second[i] != NULL)
            drop(a, second[i]);
    }
    double jain = sum * sum / (N_APPS * squares);
    printf("Jain index of 16 programs, costs 1 to 70: %.4f\n", jain);
    assert_true(jain > 0.99);
    ink_admission_free(a);
}

/* "late" was here once, and then "busy" worked for a long time beside "other". It comes back in
 * `class`, and a new one comes: from here on they take turns, none catches up. */
static void check_turns(InkPriority class)
{
    InkAdmission *a = ink_admission_new();
    clock_usec = 1;
    finish(a, (add_now(a, "late", INK_PRIORITY_NORMAL), take(a, clock_usec)), 1000);
    InkRequest *r = add_now(a, "busy", INK_PRIORITY_NORMAL);
    for (unsigned i = 0; i < 60; i++) {
        InkRequest *next = add_now(a, i % 2 ? "busy" : "other", INK_PRIORITY_NORMAL);
        assert_ptr_equal(take(a, clock_usec), r);
        finish(a, r, SECOND);
        r = next;
    }
    unsigned n[3] = {0};
    static const char *const apps[] = {"busy", "late", "new"};
    InkRequest *of[3] = {r, NULL, NULL};
    for (unsigned i = 0; i < 30; i++) {
        for (unsigned k = 0; k < 3; k++)
            if (of[k] == NULL) {
                of[k] = add_now(a, apps[k], k == 1 ? class : INK_PRIORITY_NORMAL);
                ink_admission_set_priority(a, of[k], INK_PRIORITY_NORMAL, clock_usec);
            }
        InkRequest *taken = take(a, clock_usec);
        for (unsigned k = 0; k < 3; k++)
            if (of[k] == taken) {
                of[k] = NULL;
                n[k]++;
            }
        finish(a, taken, SECOND);
    }
    for (unsigned k = 0; k < 3; k++) {
        assert_in_range(n[k], 9, 11);
        if (of[k] != NULL)
            drop(a, of[k]);
    }
    ink_admission_free(a);
}

static void test_admission_idle_programs_save_nothing_up(void **state)
{
    (void)state;
    check_turns(INK_PRIORITY_NORMAL);
}

static void test_admission_a_change_of_class_finds_nothing_saved_up(void **state)
{
    (void)state;
    check_turns(INK_PRIORITY_BACKGROUND);
}

static void test_admission_background_has_a_quota_of_an_hour(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkCaller host = {":1.1", "a", INK_CALLER_HOST}, boxed = {":1.2", "b", INK_CALLER_FLATPAK};
    InkError error = {0};
    clock_usec = 7200 * (uint64_t)SECOND;
    /* One microsecond less than all of it is served still. */
    add_now(a, "a", INK_PRIORITY_BACKGROUND);
    finish(a, take(a, clock_usec), INK_LIMIT_BACKGROUND_USEC - 1);
    assert_int_equal(ink_admission_check(a, &host, INK_PRIORITY_BACKGROUND, 0, clock_usec, &error),
                     0);
    add_now(a, "a", INK_PRIORITY_BACKGROUND);
    finish(a, take(a, clock_usec), 1);
    assert_int_equal(ink_admission_check(a, &host, INK_PRIORITY_BACKGROUND, 0, clock_usec, &error),
                     -EDQUOT);
    assert_non_null(strstr(error.message, "600 engine seconds"));
    unsigned seconds = 0;
    const char *wait = strstr(error.message, "wait ");
    assert_non_null(wait);
    assert_int_equal(sscanf(wait, "wait %u s", &seconds), 1);
    assert_in_range(seconds, 2400, 3600);
    uint64_t span = ink_admission_background_wait_usec(a, "a", false, clock_usec);
    assert_int_equal(seconds, span / SECOND + 1);
    /* Exactly as long as was said; other classes and other programs are not touched. */
    assert_int_equal(ink_admission_check(a, &host, INK_PRIORITY_NORMAL, 0, clock_usec, &error), 0);
    assert_int_equal(ink_admission_check(a, &boxed, INK_PRIORITY_BACKGROUND, 0, clock_usec, NULL),
                     0);
    assert_int_equal(
        ink_admission_check(a, &host, INK_PRIORITY_BACKGROUND, 0, clock_usec + span - 1, NULL),
        -EDQUOT);
    assert_int_equal(
        ink_admission_check(a, &host, INK_PRIORITY_BACKGROUND, 0, clock_usec + span, NULL), 0);

    /* A sandboxed one has half. */
    InkRequest *r = ink_request_new(INK_REQUEST_COMPLETE, &boxed);
    r->priority = INK_PRIORITY_BACKGROUND;
    assert_int_equal(ink_admission_add(a, r, clock_usec, NULL), 0);
    finish(a, take(a, clock_usec), INK_LIMIT_BACKGROUND_USEC / 2);
    assert_int_equal(ink_admission_check(a, &boxed, INK_PRIORITY_BACKGROUND, 0, clock_usec, &error),
                     -EDQUOT);
    assert_non_null(strstr(error.message, "300 engine seconds"));
    ink_admission_free(a);
}

static void test_admission_sandboxed_programs_have_half(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkCaller boxed = {":1.1", "org.example.Boxed", INK_CALLER_FLATPAK};
    InkRequest *list[INK_LIMIT_PENDING_PER_APP / 2];
    InkError error = {0};
    for (size_t i = 0; i < INK_LIMIT_PENDING_PER_APP / 2; i++) {
        list[i] = ink_request_new(INK_REQUEST_COMPLETE, &boxed);
        assert_int_equal(ink_admission_add(a, list[i], 0, &error), 0);
    }
    assert_int_equal(ink_admission_check(a, &boxed, INK_PRIORITY_NORMAL, 0, 0, &error), -EBUSY);
    assert_non_null(strstr(error.message, "10 requests"));
    assert_non_null(strstr(error.message, "try again in about "));
    assert_ptr_equal(take(a, 0), list[0]);
    assert_ptr_equal(take(a, 0), list[1]);
    assert_null(take(a, 0));
    for (size_t i = 0; i < INK_LIMIT_PENDING_PER_APP / 2; i++)
        drop(a, list[i]);
    ink_admission_free(a);
}

static void test_admission_one_program_cannot_hold_all_bytes(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *big = new_request("a", INK_PRIORITY_NORMAL);
    big->bulk_bytes = INK_LIMIT_PENDING_BYTES_PER_APP;
    InkCaller same = {":1.1", "a", INK_CALLER_HOST}, other = {":1.2", "b", INK_CALLER_HOST};
    InkError error = {0};
    assert_int_equal(ink_admission_add(a, big, 0, &error), 0);
    assert_int_equal(ink_admission_check(a, &same, INK_PRIORITY_NORMAL, 1, 0, &error), -EBUSY);
    assert_non_null(strstr(error.message, "16 MiB"));
    assert_int_equal(ink_admission_check(a, &other, INK_PRIORITY_NORMAL, 1, 0, NULL), 0);
    drop(a, big);
    assert_int_equal(ink_admission_check(a, &same, INK_PRIORITY_NORMAL, 1, 0, NULL), 0);
    ink_admission_free(a);
}

static void test_admission_background_waits_while_memory_is_short(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    InkRequest *r = add(a, "a", INK_PRIORITY_BACKGROUND);
    ink_admission_hold_background(a, true);
    assert_null(take(a, 0));
    InkRequest *normal = add(a, "a", INK_PRIORITY_NORMAL);
    assert_ptr_equal(take(a, 0), normal);
    drop(a, normal);
    ink_admission_hold_background(a, false);
    assert_ptr_equal(take(a, 0), r);
    drop(a, r);
    ink_admission_free(a);
}

static void test_admission_accounts_are_bounded(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    char app[24];
    clock_usec = SECOND;
    InkRequest *kept = add_now(a, "kept", INK_PRIORITY_NORMAL);
    add_now(a, "indebted", INK_PRIORITY_BACKGROUND);
    drop(a, kept);
    kept = NULL;
    finish(a, take(a, clock_usec), INK_LIMIT_BACKGROUND_USEC);
    kept = add_now(a, "kept", INK_PRIORITY_NORMAL);
    for (unsigned i = 0; i < 2 * INK_LIMIT_ACCOUNTS; i++) {
        snprintf(app, sizeof app, "app%u", i);
        clock_usec++;
        drop(a, add_now(a, app, INK_PRIORITY_NORMAL));
        assert_true(ink_admission_n_apps(a) <= INK_LIMIT_ACCOUNTS);
    }
    /* Debts are not washed away by a crowd of names. */
    assert_true(ink_admission_background_wait_usec(a, "indebted", false, clock_usec) > 0);
    drop(a, kept);
    ink_admission_free(a);
}

/* A crowd of names must not drop the account of a program whose call is being counted. */
static void test_admission_short_ones_keep_their_account(void **state)
{
    (void)state;
    InkAdmission *a = ink_admission_new();
    char app[24];
    clock_usec = SECOND;
    InkRequest *counted = new_request("kept", INK_PRIORITY_INTERACTIVE);
    InkError error = {0};
    counted->kind = INK_REQUEST_TOKENIZE;
    counted->bulk_bytes = INK_LIMIT_PENDING_BYTES_PER_APP;
    assert_int_equal(ink_admission_add(a, counted, clock_usec, &error), 0);
    assert_ptr_equal(take(a, clock_usec), counted);
    for (unsigned i = 0; i < 2 * INK_LIMIT_ACCOUNTS; i++) {
        snprintf(app, sizeof app, "app%u", i);
        clock_usec++;
        drop(a, add_now(a, app, INK_PRIORITY_NORMAL));
    }
    const InkCaller caller = {.sender = ":1.1", .app_id = "kept"};
    assert_int_equal(ink_admission_check(a, &caller, INK_PRIORITY_NORMAL, 1, clock_usec, &error),
                     -EBUSY);
    drop(a, counted);
    assert_int_equal(ink_admission_check(a, &caller, INK_PRIORITY_NORMAL, 1, clock_usec, &error),
                     0);
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
        cmocka_unit_test(test_admission_long_answers_do_not_hold_up_typing_of_the_same_program),
        cmocka_unit_test(test_admission_lower_classes_cannot_fill_the_worker),
        cmocka_unit_test(test_admission_short_requests_need_no_place),
        cmocka_unit_test(test_admission_shares_time_and_not_requests),
        cmocka_unit_test(test_admission_idle_programs_save_nothing_up),
        cmocka_unit_test(test_admission_background_has_a_quota_of_an_hour),
        cmocka_unit_test(test_admission_sandboxed_programs_have_half),
        cmocka_unit_test(test_admission_one_program_cannot_hold_all_bytes),
        cmocka_unit_test(test_admission_background_waits_while_memory_is_short),
        cmocka_unit_test(test_admission_accounts_are_bounded),
        cmocka_unit_test(test_admission_a_change_of_class_finds_nothing_saved_up),
        cmocka_unit_test(test_admission_short_ones_keep_their_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
