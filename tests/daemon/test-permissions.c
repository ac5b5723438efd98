/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/permissions.h"

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "ipc/identity.h"
#include "personalize/permissions.h"
#include "tests/personalize/store-test.h"

#define FLATPAK "org.example.App"

static const InkCaller host = {":1.1", "exe:tool", INK_CALLER_HOST},
                       http = {":1.2", "exe:inkling-http", INK_CALLER_HOST},
                       flatpak = {":1.3", FLATPAK, INK_CALLER_FLATPAK},
                       snap = {":1.4", "snap.thing", INK_CALLER_SNAP},
                       unknown = {":1.5", INK_IDENTITY_UNKNOWN, INK_CALLER_UNKNOWN},
                       lookalike = {":1.6", "app:" FLATPAK, INK_CALLER_HOST};

typedef struct Fixture {
    Place *place;
    sd_event *event;
    InkStoreThread *thread;
    InkPermissions *p;
    size_t n_loaded, n_done;
    int last_code;
} Fixture;

static void on_loaded(void *userdata)
{
    ((Fixture *)userdata)->n_loaded++;
}

static void on_done(void *userdata, const InkError *error)
{
    Fixture *f = userdata;
    f->last_code = error != NULL ? error->code : 0;
    f->n_done++;
}

static void run_until(Fixture *f, const size_t *counter, size_t n)
{
    uint64_t end = ink_clock_monotonic_usec() + 10 * SECOND;
    while (*counter < n && ink_clock_monotonic_usec() < end)
        assert_true(sd_event_run(f->event, 100000) >= 0);
    assert_int_equal(*counter, n);
}

static void start(Fixture *f)
{
    f->n_loaded = 0;
    assert_int_equal(ink_store_thread_start(f->event, f->place->directory, &f->thread, NULL), 0);
    assert_int_equal(ink_permissions_new(f->thread, on_loaded, f, &f->p, NULL), 0);
    assert_int_equal(f->n_loaded, 0);
}

static void stop(Fixture *f)
{
    f->thread = ink_store_thread_stop(f->thread);
    f->p = ink_permissions_free(f->p);
}

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));
    void *place = NULL;
    place_setup(&place);
    f->place = place;
    assert_true(sd_event_new(&f->event) >= 0);
    start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    void *place = f->place;
    stop(f);
    sd_event_unref(f->event);
    place_teardown(&place);
    free(f);
    return 0;
}

static int decide(Fixture *f, const char *app_id, InkPermission permission, InkDecision decision)
{
    InkError error = {0};
    size_t n = f->n_done;
    int r = ink_permissions_set(f->p, app_id, permission, decision, on_done, f, &error);
    if (r < 0) {
        assert_true(error.message[0] != '\0');
        return r;
    }
    run_until(f, &f->n_done, n + 1);
    return -f->last_code;
}

/* "tERM.p-": a letter for what is allowed, in the order of InkPermission. */
static const char *rights(const Fixture *f, const InkCaller *caller)
{
    static char out[INK_PERMISSION_MAX];
    static const char letters[] = "-terMSpm";
    assert_true(ink_permissions_allow(f->p, caller, INK_PERMISSION_NONE));
    for (InkPermission i = INK_PERMISSION_TEXT; i < INK_PERMISSION_MAX; i++)
        out[i - 1] = ink_permissions_allow(f->p, caller, i) ? letters[i] : '.';
    return out;
}

static void check_defaults(const Fixture *f)
{
    assert_string_equal(rights(f, &host), "terM.pm");
    assert_string_equal(rights(f, &lookalike), "terM.pm");
    assert_string_equal(rights(f, &http), "ter....");
    assert_string_equal(rights(f, &flatpak), ".......");
    assert_string_equal(rights(f, &snap), ".......");
    assert_string_equal(rights(f, &unknown), ".......");
}

static void test_permissions_defaults(void **state)
{
    Fixture *f = *state;
    check_defaults(f); /* the store has not answered yet */
    run_until(f, &f->n_loaded, 1);
    check_defaults(f);
    const InkCaller bridges[] = {{":1.7", "unit:inkling-http.service", INK_CALLER_HOST},
                                 {":1.8", "app:inkling-http", INK_CALLER_HOST}};
    assert_string_equal(rights(f, &bridges[0]), "ter....");
    assert_string_equal(rights(f, &bridges[1]), "ter....");
}

static void test_permissions_decisions_hold_at_once_and_for_good(void **state)
{
    Fixture *f = *state;
    for (int life = 0; life < 2; life++) {
        run_until(f, &f->n_loaded, 1);
        if (life == 0) {
            for (InkPermission i = INK_PERMISSION_TEXT; i < INK_PERMISSION_MANAGE; i++)
                assert_int_equal(decide(f, FLATPAK, i, INK_DECISION_ALLOW), 0);
            assert_int_equal(decide(f, "snap.thing", INK_PERMISSION_TEXT, INK_DECISION_ALLOW), 0);
            assert_int_equal(decide(f, "exe:tool", INK_PERMISSION_TEXT, INK_DECISION_DENY), 0);
            assert_int_equal(decide(f, "exe:tool", INK_PERMISSION_MANAGE, INK_DECISION_DENY), 0);
            assert_int_equal(
                decide(f, "exe:inkling-http", INK_PERMISSION_MEMORY, INK_DECISION_ALLOW), 0);
        }
        assert_string_equal(rights(f, &flatpak), "terMSp.");
        assert_string_equal(rights(f, &snap), "t......");
        assert_string_equal(rights(f, &host), ".erM.p.");
        assert_string_equal(rights(f, &http), "terM...");
        /* A host program that calls itself as the Flatpak does is another one. */
        assert_string_equal(rights(f, &lookalike), "terM.pm");
        stop(f);
        start(f);
    }
    run_until(f, &f->n_loaded, 1);
    for (InkPermission i = INK_PERMISSION_TEXT; i < INK_PERMISSION_MANAGE; i++)
        assert_int_equal(decide(f, FLATPAK, i, INK_DECISION_DEFAULT), 0);
    assert_int_equal(decide(f, "exe:tool", INK_PERMISSION_TEXT, INK_DECISION_DEFAULT), 0);
    assert_string_equal(rights(f, &flatpak), ".......");
    assert_string_equal(rights(f, &host), "terM.p.");
}

static void test_permissions_refuses_what_is_never_given(void **state)
{
    Fixture *f = *state;
    run_until(f, &f->n_loaded, 1);
    assert_int_equal(decide(f, FLATPAK, INK_PERMISSION_MANAGE, INK_DECISION_ALLOW), -EACCES);
    assert_int_equal(decide(f, "snap.thing", INK_PERMISSION_MANAGE, INK_DECISION_ALLOW), -EACCES);
    assert_int_equal(decide(f, "unknown", INK_PERMISSION_TEXT, INK_DECISION_ALLOW), -EACCES);
    assert_int_equal(decide(f, "not an id", INK_PERMISSION_TEXT, INK_DECISION_ALLOW), -EINVAL);
    assert_int_equal(decide(f, "", INK_PERMISSION_TEXT, INK_DECISION_DENY), -EINVAL);
    assert_int_equal(f->n_done, 0);
    check_defaults(f);
    /* To deny or to take back is always possible. */
    assert_int_equal(decide(f, FLATPAK, INK_PERMISSION_MANAGE, INK_DECISION_DENY), 0);
    assert_int_equal(decide(f, FLATPAK, INK_PERMISSION_MANAGE, INK_DECISION_DEFAULT), 0);
}

/* Rows that this build would not write, as an edited file or a later version may have them. */
static void test_permissions_rows_of_no_sense_change_nothing(void **state)
{
    Fixture *f = *state;
    run_until(f, &f->n_loaded, 1);
    stop(f);
    InkStore *s = open_store(f->place);
    for (uint32_t permission = 0; permission < 12; permission++) {
        assert_int_equal(ink_store_set_permission(s, "unknown", permission, true, NULL), 0);
        if (permission == 0 || permission >= INK_PERMISSION_MANAGE) {
            assert_int_equal(ink_store_set_permission(s, FLATPAK, permission, true, NULL), 0);
            assert_int_equal(ink_store_set_permission(s, "snap.thing", permission, true, NULL), 0);
        }
        assert_int_equal(ink_store_set_permission(s, "not an id", permission, true, NULL), 0);
    }
    ink_store_close(s);
    start(f);
    run_until(f, &f->n_loaded, 1);
    check_defaults(f);
}

typedef struct Listed {
    size_t n, n_mine, n_decided;
    char apps[256];
} Listed;

static void keep(void *userdata, const char *app_id, InkPermission permission, InkDecision decision,
                 bool allowed)
{
    Listed *l = userdata;
    l->n++;
    l->n_mine += strcmp(app_id, FLATPAK) == 0;
    l->n_decided += decision != INK_DECISION_DEFAULT;
    if (permission == INK_PERMISSION_TEXT)
        snprintf(l->apps + strlen(l->apps), sizeof(l->apps) - strlen(l->apps), "%s%c ", app_id,
                 allowed ? '+' : '-');
}

static Listed list(const Fixture *f, const InkCaller *caller)
{
    Listed l = {0};
    assert_int_equal(ink_permissions_list(f->p, caller, keep, &l, NULL), 0);
    return l;
}

static void test_permissions_lists_who_is_there_or_decided_on(void **state)
{
    Fixture *f = *state;
    run_until(f, &f->n_loaded, 1);
    assert_int_equal(list(f, &host).n, 0);
    ink_permissions_caller_known(f->p, &host);
    ink_permissions_caller_known(f->p, &flatpak);
    ink_permissions_caller_known(f->p, &flatpak);
    assert_int_equal(decide(f, "snap.thing", INK_PERMISSION_TEXT, INK_DECISION_ALLOW), 0);
    assert_string_equal(list(f, &host).apps, "exe:tool+ " FLATPAK "- snap.thing+ ");
    assert_int_equal(list(f, &host).n, 3 * (INK_PERMISSION_MAX - 1));
    assert_int_equal(list(f, &host).n_decided, 1);
    /* Others see themselves, also when nothing was decided. */
    Listed own = list(f, &flatpak);
    assert_int_equal(own.n, INK_PERMISSION_MAX - 1);
    assert_int_equal(own.n_mine, own.n);
    ink_permissions_caller_gone(f->p, &flatpak);
    assert_int_equal(list(f, &flatpak).n, INK_PERMISSION_MAX - 1);
    ink_permissions_caller_gone(f->p, &flatpak);
    ink_permissions_caller_gone(f->p, &flatpak); /* nobody is gone twice */
    ink_permissions_caller_gone(f->p, &host);
    assert_string_equal(list(f, &host).apps, "snap.thing+ ");
    assert_int_equal(decide(f, "snap.thing", INK_PERMISSION_TEXT, INK_DECISION_DEFAULT), 0);
    assert_int_equal(list(f, &host).n, 0);
}

static void test_permissions_without_a_store_defaults_hold(void **state)
{
    Fixture *f = *state;
    run_until(f, &f->n_loaded, 1);
    assert_int_equal(decide(f, "exe:tool", INK_PERMISSION_TEXT, INK_DECISION_DENY), 0);
    stop(f);
    assert_int_equal(chmod(f->place->directory, 0755), 0); /* the store refuses such a folder */
    start(f);
    run_until(f, &f->n_loaded, 1);
    check_defaults(f);
    assert_int_equal(decide(f, FLATPAK, INK_PERMISSION_TEXT, INK_DECISION_ALLOW), -EIO);
    assert_string_equal(rights(f, &flatpak), ".......");
    assert_int_equal(chmod(f->place->directory, 0700), 0);
    if (getenv("INKLING_TEST_FULL") == NULL) { /* the store is tried again after seconds */
        stop(f);
        start(f);
        run_until(f, &f->n_loaded, 1);
    } else {
        while (decide(f, FLATPAK, INK_PERMISSION_TEXT, INK_DECISION_ALLOW) < 0)
            assert_true(sd_event_run(f->event, 100000) >= 0);
        size_t n = f->n_done; /* behind the list that the first change asked for */
        assert_int_equal(decide(f, FLATPAK, INK_PERMISSION_TEXT, INK_DECISION_DEFAULT), 0);
        assert_int_equal(f->n_done, n + 1);
    }
    assert_string_equal(rights(f, &host), ".erM.pm");
}

static void test_permissions_without_memory_change_nothing(void **state)
{
    Fixture *f = *state;
    run_until(f, &f->n_loaded, 1);
    ink_alloc_fail_at(1, false);
    assert_int_equal(ink_permissions_set(f->p, FLATPAK, INK_PERMISSION_TEXT, INK_DECISION_ALLOW,
                                         on_done, f, NULL),
                     -ENOMEM);
    ink_alloc_fail_at(0, false);
    assert_int_equal(f->n_done, 0);
    check_defaults(f);
    InkPermissions *none = NULL;
    for (size_t at = 1; at <= 2; at++) {
        ink_alloc_fail_at(at, false);
        assert_int_equal(ink_permissions_new(f->thread, on_loaded, f, &none, NULL), -ENOMEM);
        ink_alloc_fail_at(0, false);
        assert_null(none);
    }
}

#define with_store(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_store(test_permissions_defaults),
        with_store(test_permissions_decisions_hold_at_once_and_for_good),
        with_store(test_permissions_refuses_what_is_never_given),
        with_store(test_permissions_rows_of_no_sense_change_nothing),
        with_store(test_permissions_lists_who_is_there_or_decided_on),
        with_store(test_permissions_without_a_store_defaults_hold),
        with_store(test_permissions_without_memory_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
