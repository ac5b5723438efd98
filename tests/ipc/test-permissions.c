/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The gate on the bus, with the fake service as the one that decides; and what connections the
 * service is told of. */
#include "tests/ipc/bus-fixture.h"

#include <fcntl.h>
#include <string.h>

#include "engine/base/clock.h"
#include "ipc/bus-private.h"
#include "ipc/identity.h"

#define DENIED  SD_BUS_ERROR_ACCESS_DENIED
#define INVALID SD_BUS_ERROR_INVALID_ARGS

static void deny(uint32_t permissions)
{
    __atomic_store_n(&fake->denied, permissions, __ATOMIC_SEQ_CST);
}

static int allow_all(void **state)
{
    (void)state;
    deny(0);
    return 0;
}

/* This program's id: where it was started from a desktop's scope, that of the scope. */
static const char *own_id(void)
{
    static InkIdentity own;
    _cleanup_close_ int fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ink_identity_read(fd, NULL, NULL, 0, &own);
    return own.app_id;
}

static void test_permissions_each_member_asks_for_its_own(void **state)
{
    static const struct {
        InkPermission permission;
        const char *word;
    } rows[] = {
        {INK_PERMISSION_TEXT, "text"},
        {INK_PERMISSION_RECOMMENDATION, "recommendation"},
        {INK_PERMISSION_MEMORY, "memory"},
        {INK_PERMISSION_MANAGE, "manage"},
    };
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char way[400];
        deny(1u << rows[i].permission);
        snprintf(way, sizeof(way),
                 "%s is denied to this application; the user allows it with: inkling app allow "
                 "%.120s %s",
                 rows[i].word, own_id(), rows[i].word);
#define EITHER(wanted, interface, member, ...)                                                     \
    do {                                                                                           \
        if (rows[i].permission == (wanted))                                                        \
            fixture_refused(bus, interface, member, DENIED, way, __VA_ARGS__);                     \
        else                                                                                       \
            assert_true(fixture_call(bus, interface, member, NULL, NULL, __VA_ARGS__) >= 0);       \
    } while (0)
        EITHER(INK_PERMISSION_TEXT, INK_BUS_TEXT, "Complete", "sa{sv}", "Hi", 1, "max-tokens", "u",
               1);
        EITHER(INK_PERMISSION_TEXT, INK_BUS_TEXT, "CountTokens", "sa{sv}", "Hi", 0);
        EITHER(INK_PERMISSION_TEXT, INK_BUS_MANAGER, "ListModels", "");
        EITHER(INK_PERMISSION_TEXT, INK_BUS_MANAGER, "ListRequests", "a{sv}", 0);
        EITHER(INK_PERMISSION_RECOMMENDATION, INK_BUS_RECOMMEND, "Suggest", "sa{sv}a{sv}",
               "command", 0, 0);
        EITHER(INK_PERMISSION_RECOMMENDATION, INK_BUS_RECOMMEND, "Feedback", "ssa{sv}", "7",
               "shown", 0);
        EITHER(INK_PERMISSION_MEMORY, INK_BUS_RECOMMEND, "Observe", "aa{sv}a{sv}", 0, 0);
        EITHER(INK_PERMISSION_MANAGE, INK_BUS_MANAGER, "Unload", "a{sv}", 1, "force", "b", 1);
        EITHER(INK_PERMISSION_TEXT, INK_BUS_MANAGER, "InspectModel", "sa{sv}", "a", 0);
        EITHER(INK_PERMISSION_MANAGE, INK_BUS_MANAGER, "RemoveModel", "sa{sv}", "a", 0);
        EITHER(INK_PERMISSION_MANAGE, INK_BUS_MANAGER, "SetDefaultModel", "sa{sv}", "a", 0);
        EITHER(INK_PERMISSION_MANAGE, INK_BUS_MANAGER, "SetPermission", "sss", "org.example.One",
               "text", "allow");
        EITHER(INK_PERMISSION_NONE, INK_BUS_MANAGER, "ListPermissions", "");
        EITHER(INK_PERMISSION_NONE, INK_BUS_MANAGER, "GetAvailability", "sa{sv}", "text", 0);
    }
}

static void test_permissions_are_asked_before_arguments(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    deny(1u << INK_PERMISSION_TEXT);
    uint32_t before = FAKE_READ(fake->n_started);
    fixture_refused(bus, INK_BUS_TEXT, "Complete", DENIED, "text", "sa{sv}", "Hi", 1, "wibble", "u",
                    1);
    fixture_refused(bus, INK_BUS_TEXT, "Chat", DENIED, "text", "a(ss)a{sv}", 0, 0);
    assert_int_equal(FAKE_READ(fake->n_started), before);
    deny(0);
    fixture_refused(bus, INK_BUS_TEXT, "Complete", INVALID, "wibble", "sa{sv}", "Hi", 1, "wibble",
                    "u", 1);
}

static void test_permissions_decide_on_the_memory_switch(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    int enabled = 7;
    (void)state;
    deny(1u << INK_PERMISSION_MANAGE);
    uint32_t before = FAKE_READ(fake->n_set_enabled);
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY, "Enabled",
                                    &error, "b", 1) < 0);
    assert_string_equal(error.name, DENIED);
    assert_int_equal(FAKE_READ(fake->n_set_enabled), before);
    /* To see it is open to all. */
    assert_true(sd_bus_get_property_trivial(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY,
                                            "Enabled", NULL, 'b', &enabled) >= 0);
    assert_int_equal(enabled, 0);
}

static void check_availability(sd_bus *bus, const char *feature, const char *wanted)
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *word;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "GetAvailability", NULL, &reply, "sa{sv}",
                             feature, 0) >= 0);
    assert_true(sd_bus_message_read(reply, "s", &word) > 0);
    if (strcmp(word, wanted) != 0)
        fail_msg("%s is %s, not %s", feature, word, wanted);
}

static void test_permissions_availability_says_denied(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    check_availability(bus, "complete", "on-demand");
    deny(1u << INK_PERMISSION_TEXT);
    check_availability(bus, "complete", "denied");
    check_availability(bus, "pipe", "denied");
    check_availability(bus, "text", "denied");
    check_availability(bus, "suggest", "on-demand");
    check_availability(bus, "telepathy", "unsupported"); /* not: "perhaps, if you were allowed" */
    deny(1u << INK_PERMISSION_RECOMMENDATION | 1u << INK_PERMISSION_MEMORY);
    check_availability(bus, "suggest", "denied");
    check_availability(bus, "observe", "denied");
    check_availability(bus, "complete", "on-demand");
}

static void test_permissions_are_listed_and_set(void **state)
{
    const char *const wanted[] = {own_id(),          "text",   "default-allow",
                                  "org.example.One", "memory", "deny"};
    static const char *const words[] = {"text",          "embedding",   "recommendation", "memory",
                                        "memory-shared", "personalize", "manage"};
    static const char *const decisions[] = {"reset", "allow", "deny"};
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *got[3];
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "ListPermissions", NULL, &reply, "") >= 0);
    assert_true(sd_bus_message_enter_container(reply, 'a', "(sss)") > 0);
    for (size_t i = 0; i < 2; i++) {
        assert_true(sd_bus_message_read(reply, "(sss)", &got[0], &got[1], &got[2]) > 0);
        for (size_t j = 0; j < 3; j++)
            assert_string_equal(got[j], wanted[3 * i + j]);
    }
    assert_int_equal(sd_bus_message_at_end(reply, false), 1);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (size_t j = 0; j < 3; j++) {
            assert_true(fixture_call(bus, INK_BUS_MANAGER, "SetPermission", NULL, NULL, "sss",
                                     "org.example.Two", words[i], decisions[j]) >= 0);
            assert_string_equal(fake->last_app_id, "org.example.Two");
            assert_int_equal(fake->last_permission, INK_PERMISSION_TEXT + i);
            assert_int_equal(fake->last_decision, j);
        }
    fixture_refused(bus, INK_BUS_MANAGER, "SetPermission", INVALID, "permission", "sss", "a.b",
                    "everything", "allow");
    fixture_refused(bus, INK_BUS_MANAGER, "SetPermission", INVALID, "permission", "sss", "a.b", "",
                    "allow");
    fixture_refused(bus, INK_BUS_MANAGER, "SetPermission", INVALID, "decision", "sss", "a.b",
                    "text", "maybe");
    fixture_refused(bus, INK_BUS_MANAGER, "SetPermission", DENIED, "never", "sss",
                    "org.example.Bad", "manage", "allow");
}

/* A call of `witness` comes after what happened before; others leave the bus in their own time. */
static void settle(sd_bus *witness, uint32_t n)
{
    uint64_t end = ink_clock_monotonic_usec() + 5000000u;
    do
        assert_true(fixture_call(witness, INK_BUS_MANAGER, "ListModels", NULL, NULL, "") >= 0);
    while (FAKE_READ(fake->n_callers) != n && ink_clock_monotonic_usec() < end);
    assert_int_equal(FAKE_READ(fake->n_callers), n);
}

static void test_permissions_service_is_told_who_is_there(void **state)
{
    _cleanup_bus_ sd_bus *witness = fixture_connect();
    (void)state;
    settle(witness, 1);
    {
        _cleanup_bus_ sd_bus *one = fixture_connect(), *two = fixture_connect();
        for (int again = 0; again < 2; again++) {
            assert_true(fixture_call(one, INK_BUS_MANAGER, "ListModels", NULL, NULL, "") >= 0);
            assert_true(fixture_call(two, INK_BUS_MANAGER, "ListModels", NULL, NULL, "") >= 0);
            assert_int_equal(FAKE_READ(fake->n_callers), 3);
        }
    }
    settle(witness, 1);
}

static bool never(void *service, const InkCaller *caller, InkPermission permission)
{
    (void)service, (void)caller, (void)permission;
    return false;
}

static void test_permissions_refusal_names_a_command_that_works(void **state)
{
    const InkServiceOps ops = {.permitted = never};
    InkBus bus = {.ops = &ops};
    char longest[INK_IDENTITY_MAX_BYTES + 1];
    (void)state;
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "org.", 4);
    longest[INK_IDENTITY_MAX_BYTES] = '\0';
    const char *const ids[] = {"exe:c d",  "exe:;reboot", "exe:$(reboot)", "unit:a\\x2d.service",
                               "exe:it's", longest};
    for (size_t i = 0; i <= sizeof(ids) / sizeof(ids[0]); i++) {
        bool is_plain = i == sizeof(ids) / sizeof(ids[0]);
        InkCallerEntry who = {0};
        InkError e = {0};
        who.caller = (InkCaller){":1.1", is_plain ? "unit:a@b.service" : ids[i], INK_CALLER_HOST};
        assert_int_equal(ink_bus_check_permission(&bus, &who, INK_PERMISSION_TEXT, &e), -EACCES);
        assert_non_null(strstr(e.message, is_plain ? ": inkling app allow unit:a@b.service text"
                                                   : ": inkling app allow ID text, and"));
    }
}

#define with_all(f) cmocka_unit_test_setup_teardown(f, allow_all, allow_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_all(test_permissions_each_member_asks_for_its_own),
        with_all(test_permissions_refusal_names_a_command_that_works),
        with_all(test_permissions_are_asked_before_arguments),
        with_all(test_permissions_decide_on_the_memory_switch),
        with_all(test_permissions_availability_says_denied),
        with_all(test_permissions_are_listed_and_set),
        with_all(test_permissions_service_is_told_who_is_there),
    };
    return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}
