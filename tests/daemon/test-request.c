/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/request.h"
#include "engine/base/alloc.h"

static const InkCaller caller = {.sender = ":1.7", .app_id = "exe:test"};

/* The table once more, as a drawing: rows are from, columns are to, in the order of the enum. */
static const char *const allowed[INK_REQUEST_STATE_MAX] = {
    /*             QLPDRFXC */
    /* QUEUED     */ ".LP..FXC",
    /* LOADING    */ "Q.P..FXC",
    /* PREFILL    */ "...DRFXC",
    /* DECODE     */ "....RFXC",
    /* RESTARTING */ "..P..FXC",
    /* FINISHED   */ "........",
    /* FAILED     */ "........",
    /* CANCELLED  */ "........",
};

typedef struct Seen {
    unsigned n;
    InkRequestState before;
} Seen;

static void note(InkRequest *r, InkRequestState before, void *userdata)
{
    (void)r;
    Seen *seen = userdata;
    seen->n++;
    seen->before = before;
}

static void test_request_moves_by_the_table_only(void **state)
{
    (void)state;
    for (InkRequestState from = 0; from < INK_REQUEST_STATE_MAX; from++)
        for (InkRequestState to = 0; to < INK_REQUEST_STATE_MAX; to++) {
            bool may = allowed[from][to] != '.';
            assert_int_equal(ink_request_can_move(from, to), may);
            InkRequest *r = ink_request_new(INK_REQUEST_COMPLETE, &caller);
            assert_non_null(r);
            Seen seen = {0};
            r->state = from;
            r->observer = note;
            r->observer_userdata = &seen;
            assert_int_equal(ink_request_move(r, to), may);
            assert_int_equal(r->state, may ? to : from);
            assert_int_equal(seen.n, may ? 1 : 0);
            if (may)
                assert_int_equal(seen.before, from);
            ink_request_free(r);
        }
    assert_false(ink_request_can_move(INK_REQUEST_STATE_MAX, INK_REQUEST_QUEUED));
    assert_false(ink_request_can_move(INK_REQUEST_QUEUED, INK_REQUEST_STATE_MAX));
}

static void test_request_final_states_are_the_three_ends(void **state)
{
    (void)state;
    for (InkRequestState s = 0; s < INK_REQUEST_STATE_MAX; s++) {
        assert_int_equal(ink_request_is_final(s), s >= INK_REQUEST_FINISHED);
        assert_non_null(ink_request_stage(s));
    }
    assert_string_equal(ink_request_stage(INK_REQUEST_RESTARTING), "restarting");
}

static void test_request_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 3; n++) {
        ink_alloc_fail_at(n, false);
        InkRequest *r = ink_request_new(INK_REQUEST_COMPLETE, &caller);
        ink_alloc_fail_at(0, false);
        assert_null(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_moves_by_the_table_only),
        cmocka_unit_test(test_request_final_states_are_the_three_ends),
        cmocka_unit_test(test_request_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
