/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/permissions.h"

#include "tests/fault/fault-vfs.h"
#include "tests/personalize/store-test.h"

typedef struct Rows {
    size_t n;
    char app[8][INK_STORE_MAX_APP_BYTES + 1];
    uint32_t permission[8];
    bool allowed[8];
} Rows;

static void keep(void *userdata, const InkStoredPermission *row)
{
    Rows *rows = userdata;
    assert_true(rows->n < 8);
    snprintf(rows->app[rows->n], sizeof(rows->app[0]), "%s", row->app);
    rows->permission[rows->n] = row->permission;
    rows->allowed[rows->n++] = row->allowed;
}

static Rows list(InkStore *s)
{
    Rows rows = {0};
    assert_int_equal(ink_store_list_permissions(s, keep, &rows, NULL), 0);
    return rows;
}

static void test_permissions_are_kept_by_application(void **state)
{
    const Place *p = *state;
    InkStore *s = open_store(p);
    assert_int_equal(list(s).n, 0);
    assert_int_equal(ink_store_set_permission(s, "org.b.B", 4, true, NULL), 0);
    assert_int_equal(ink_store_set_permission(s, "org.a.A", 1, true, NULL), 0);
    assert_int_equal(ink_store_set_permission(s, "org.a.A", 7, false, NULL), 0);
    assert_int_equal(ink_store_set_permission(s, "org.a.A", 1, false, NULL), 0); /* another mind */
    ink_store_close(s);
    s = open_store(p);
    Rows rows = list(s);
    assert_int_equal(rows.n, 3);
    assert_string_equal(rows.app[0], "org.a.A");
    assert_int_equal(rows.permission[0], 1);
    assert_false(rows.allowed[0]);
    assert_int_equal(rows.permission[1], 7);
    assert_string_equal(rows.app[2], "org.b.B");
    assert_true(rows.allowed[2]);
    assert_int_equal(ink_store_reset_permission(s, "org.a.A", 7, NULL), 0);
    assert_int_equal(ink_store_reset_permission(s, "org.a.A", 7, NULL), 0); /* is no error */
    assert_int_equal(ink_store_reset_permission(s, "org.c.C", 1, NULL), 0);
    assert_int_equal(list(s).n, 2);
    ink_store_close(s);
}

static void test_permissions_check_the_name(void **state)
{
    const Place *p = *state;
    InkStore *s = open_store(p);
    char name[INK_STORE_MAX_APP_BYTES + 2];
    InkError error = {0};
    memset(name, 'a', sizeof(name));
    name[INK_STORE_MAX_APP_BYTES + 1] = '\0';
    const char *const bad[] = {NULL, "", name, "\xFF"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ink_store_set_permission(s, bad[i], 1, true, &error), -EINVAL);
        assert_non_null(strstr(error.message, "application id"));
        assert_int_equal(ink_store_reset_permission(s, bad[i], 1, &error), -EINVAL);
    }
    name[INK_STORE_MAX_APP_BYTES] = '\0';
    assert_int_equal(ink_store_set_permission(s, name, 1, true, NULL), 0);
    assert_string_equal(list(s).app[0], name);
    ink_store_close(s);
}

static void test_permissions_have_an_end(void **state)
{
    const Place *p = *state;
    InkStore *s = open_store(p);
    InkError error = {0};
    assert_int_equal(ink_store_execute(s,
                                       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                                       " FROM n WHERE i < 65535) INSERT INTO permissions"
                                       " SELECT 'exe:' || i, 1, 1, 0 FROM n",
                                       NULL),
                     0);
    assert_int_equal(ink_store_set_permission(s, "exe:last", 1, true, NULL), 0);
    assert_int_equal(ink_store_set_permission(s, "exe:more", 1, true, &error), -EDQUOT);
    assert_non_null(strstr(error.message, "65536"));
    /* What is there may change, and what goes makes room. */
    assert_int_equal(ink_store_set_permission(s, "exe:last", 1, false, NULL), 0);
    assert_int_equal(ink_store_reset_permission(s, "exe:7", 1, NULL), 0);
    assert_int_equal(ink_store_set_permission(s, "exe:more", 1, true, NULL), 0);
    ink_store_close(s);
}

/* The n-th operation of the disk fails, for all n: what was acknowledged is there after all, and
 * nothing by half. */
static void test_permissions_survive_faults_at_each_operation(void **state)
{
    const Place *p = *state;
    size_t n_points = 0;
    fault_vfs_install();
    for (int kind = FAULT_IOERR; kind <= FAULT_SHORT; kind++)
        for (size_t at = 1;; at++) {
            remove_files(p->directory);
            InkStore *s = open_store(p);
            assert_int_equal(ink_store_set_permission(s, "org.a.A", 1, true, NULL), 0);
            fault_vfs_arm(at, FAULT_CHANGES | FAULT_OPEN, (FaultKind)kind, false);
            InkError error = {0};
            int set = ink_store_set_permission(s, "org.a.A", 2, true, &error);
            assert_true(set == 0 || ((set == -EIO || set == -ENOMEM) && error.message[0] != '\0'));
            int reset = ink_store_reset_permission(s, "org.a.A", 1, &error);
            assert_true(reset == 0 || reset == -EIO || reset == -ENOMEM);
            bool fired = fault_vfs_fired();
            fault_vfs_disarm();
            ink_store_close(s);
            s = open_store(p);
            Rows rows = list(s);
            bool has_one = rows.n > 0 && rows.permission[0] == 1;
            bool has_two = rows.n > 0 && rows.permission[rows.n - 1] == 2;
            assert_int_equal(rows.n, (size_t)has_one + has_two);
            if (set == 0)
                assert_true(has_two);
            if (reset == 0)
                assert_false(has_one);
            ink_store_close(s);
            if (!fired)
                break;
            n_points++;
        }
    fault_vfs_remove();
    assert_true(n_points > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_permissions_are_kept_by_application),
        store_test(test_permissions_check_the_name),
        store_test(test_permissions_have_an_end),
        store_test(test_permissions_survive_faults_at_each_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
