/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The members of Manager that are about models, with a service that has none. */
#include "bus-fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INVALID SD_BUS_ERROR_INVALID_ARGS
#define DENIED  SD_BUS_ERROR_ACCESS_DENIED

static int file_of(const char *text)
{
    int fd = memfd_create("model", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void test_models_import_is_a_request_with_a_descriptor(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL, *outcome = NULL;
    _cleanup_close_ int fd = file_of("GGUF and more");
    const char *path, *key, *model = NULL;
    uint32_t status;
    (void)state;
    FixtureSeen seen;
    fixture_listen(bus, &seen);
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "ImportModel", NULL, &reply, "sha{sv}", "new",
                             fd, 2, "default", "b", 1, "handle-token", "s", "mine") >= 0);
    assert_true(sd_bus_message_read(reply, "o", &path) > 0);
    assert_true(strlen(path) > 5 && strcmp(path + strlen(path) - 5, "/mine") == 0);
    fixture_until_finished(bus, &seen, 1);
    assert_string_equal(seen.order, "PF"); /* the reply was waited for by itself */
    assert_int_equal(seen.status, 0);
    assert_int_equal(FAKE_READ(fake->last_default), 1);
    assert_true(sd_bus_call_method(bus, INK_BUS_NAME, path, INK_BUS_REQUEST, "Wait", NULL, &outcome,
                                   "") >= 0);
    assert_true(sd_bus_message_read(outcome, "u", &status) > 0);
    assert_int_equal(status, 0);
    assert_true(sd_bus_message_enter_container(outcome, 'a', "{sv}") > 0);
    while (sd_bus_message_enter_container(outcome, 'e', "sv") > 0) {
        assert_true(sd_bus_message_read(outcome, "s", &key) > 0);
        assert_string_not_equal(key, "text"); /* and nothing else of a generation */
        assert_string_not_equal(key, "seed");
        if (strcmp(key, "model") == 0)
            assert_true(sd_bus_message_read(outcome, "v", "s", &model) > 0);
        else
            assert_true(sd_bus_message_skip(outcome, "v") > 0);
        assert_true(sd_bus_message_exit_container(outcome) >= 0);
    }
    assert_string_equal(model, "new");
}

static void test_models_import_refusals_name_what_is_wrong(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_close_ int fd = file_of("GGUF"), other = file_of("text");
    char long_name[257], digits[66];
    (void)state;
    memset(long_name, 'a', sizeof(long_name));
    long_name[256] = '\0';
    memset(digits, '0', sizeof(digits));
    digits[65] = '\0';
    uint32_t before = FAKE_READ(fake->n_imports);
#define REFUSED(name, part, ...)                                                                   \
    fixture_refused(bus, INK_BUS_MANAGER, "ImportModel", name, part, "sha{sv}", __VA_ARGS__)
    REFUSED(INVALID, "wibble", "a", fd, 1, "wibble", "s", "x");
    REFUSED(INVALID, "default", "a", fd, 1, "default", "s", "yes");
    REFUSED(INVALID, "handle-token", "a", fd, 1, "handle-token", "s", "a/b");
    REFUSED(SD_BUS_ERROR_LIMITS_EXCEEDED, "sha256", "a", fd, 1, "sha256", "s", digits);
    REFUSED(SD_BUS_ERROR_LIMITS_EXCEEDED, "name has 256 bytes", long_name, fd, 0);
    REFUSED(SD_BUS_ERROR_FILE_EXISTS, "taken", "taken", fd, 0);
    REFUSED(INK_BUS_ERROR_PREFIX "ModelInvalid", "GGUF", "a", other, 0);
#undef REFUSED
    assert_int_equal(FAKE_READ(fake->n_imports), before);
    __atomic_store_n(&fake->denied, 1u << INK_PERMISSION_MANAGE, __ATOMIC_SEQ_CST);
    fixture_refused(bus, INK_BUS_MANAGER, "ImportModel", DENIED, "manage", "sha{sv}", "a", fd, 0);
    __atomic_store_n(&fake->denied, 0, __ATOMIC_SEQ_CST);
}

/* Neither what was taken nor what was refused stays open in the service. */
static void test_models_import_keeps_no_descriptor(void **state)
{
    _cleanup_close_ int fd = file_of("GGUF"), other = file_of("text");
    (void)state;
    uint32_t before = FAKE_READ(fake->n_imports);
    for (unsigned round = 0; round < 40; round++) { /* a service has 1024 of them, or fewer */
        _cleanup_bus_ sd_bus *bus = fixture_connect();
        for (unsigned i = 0; i < 30; i++) {
            assert_true(fixture_call(bus, INK_BUS_MANAGER, "ImportModel", NULL, NULL, "sha{sv}",
                                     "a", fd, 0) >= 0);
            assert_true(fixture_call(bus, INK_BUS_MANAGER, "ImportModel", NULL, NULL, "sha{sv}",
                                     "a", other, 0) < 0);
        }
    }
    assert_int_equal(FAKE_READ(fake->n_imports), before + 40 * 30);
}

static unsigned read_inspection(sd_bus *bus, bool verify, bool *ret_path, int *ret_verified)
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *key, *text;
    unsigned n = 0;
    uint64_t bytes;
    *ret_path = false;
    *ret_verified = -1;
    if (verify)
        assert_true(fixture_call(bus, INK_BUS_MANAGER, "InspectModel", NULL, &reply, "sa{sv}", "a",
                                 1, "verify", "b", 1) >= 0);
    else
        assert_true(fixture_call(bus, INK_BUS_MANAGER, "InspectModel", NULL, &reply, "sa{sv}", "a",
                                 0) >= 0);
    assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
    for (; sd_bus_message_enter_container(reply, 'e', "sv") > 0; n++) {
        assert_true(sd_bus_message_read(reply, "s", &key) > 0);
        if (strcmp(key, "tensor-types") == 0) {
            assert_true(sd_bus_message_read(reply, "v", "a{st}", 2, &text, &bytes, &text, &bytes) >
                        0);
            assert_true(bytes == UINT64_MAX);
        } else if (strcmp(key, "verified") == 0) {
            assert_true(sd_bus_message_read(reply, "v", "b", ret_verified) > 0);
        } else {
            *ret_path |= strcmp(key, "path") == 0;
            assert_true(sd_bus_message_skip(reply, "v") > 0);
        }
        assert_true(sd_bus_message_exit_container(reply) >= 0);
    }
    return n;
}

static void test_models_inspect_tells_all_keys_and_paths_to_managers(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    bool path;
    int verified;
    (void)state;
    unsigned n = read_inspection(bus, false, &path, &verified);
    assert_true(path && verified == -1 && n >= 17);
    assert_int_equal(FAKE_READ(fake->last_verify), 0);
    assert_int_equal(read_inspection(bus, true, &path, &verified), n + 1);
    assert_int_equal(verified, 0);
    assert_int_equal(FAKE_READ(fake->last_verify), 1);
    __atomic_store_n(&fake->denied, 1u << INK_PERMISSION_MANAGE, __ATOMIC_SEQ_CST);
    assert_int_equal(read_inspection(bus, false, &path, &verified), n - 1);
    assert_false(path);
    __atomic_store_n(&fake->denied, 0, __ATOMIC_SEQ_CST);
    fixture_refused(bus, INK_BUS_MANAGER, "InspectModel", INK_BUS_ERROR_PREFIX "NoSuchModel",
                    "no such model", "sa{sv}", "missing", 0);
    fixture_refused(bus, INK_BUS_MANAGER, "InspectModel", INVALID, "verify", "sa{sv}", "a", 1,
                    "verify", "u", 1);
}

static void test_models_changes_pass_force_on(void **state)
{
    static const char *const members[] = {"RemoveModel", "SetDefaultModel"};
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint32_t before = FAKE_READ(fake->n_changes);
        fixture_refused(bus, INK_BUS_MANAGER, members[i], INK_BUS_ERROR_PREFIX "Busy", "in use",
                        "sa{sv}", "used", 0);
        fixture_refused(bus, INK_BUS_MANAGER, members[i], INVALID, "wibble", "sa{sv}", "a", 1,
                        "wibble", "b", 1);
        assert_int_equal(FAKE_READ(fake->n_changes), before);
        assert_true(fixture_call(bus, INK_BUS_MANAGER, members[i], NULL, NULL, "sa{sv}", "used", 1,
                                 "force", "b", 1) >= 0);
        assert_int_equal(FAKE_READ(fake->last_force), 1);
        assert_true(fixture_call(bus, INK_BUS_MANAGER, members[i], NULL, NULL, "sa{sv}", "a", 0) >=
                    0);
        assert_int_equal(FAKE_READ(fake->last_force), 0);
        assert_int_equal(FAKE_READ(fake->n_changes), before + 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_import_is_a_request_with_a_descriptor),
        cmocka_unit_test(test_models_import_refusals_name_what_is_wrong),
        cmocka_unit_test(test_models_import_keeps_no_descriptor),
        cmocka_unit_test(test_models_inspect_tells_all_keys_and_paths_to_managers),
        cmocka_unit_test(test_models_changes_pass_force_on),
    };
    return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}
