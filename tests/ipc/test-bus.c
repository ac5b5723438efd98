/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Every method of the root object over a private bus: what it answers, what it refuses and in which
 * words; the shipped XML beside live introspection. */
#include "tests/ipc/bus-fixture.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ipc/message-weight.h"

#define INVALID SD_BUS_ERROR_INVALID_ARGS
#define LIMITS  SD_BUS_ERROR_LIMITS_EXCEEDED

static void test_bus_complete_answers(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *text;
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Complete", NULL, &reply, "sa{sv}", "Hello", 2,
                             "max-tokens", "u", 3, "x-note", "s", "ignored") >= 0);
    assert_true(sd_bus_message_read(reply, "s", &text) > 0);
    assert_string_equal(text, "word word word ");
    assert_int_equal(fake->last_deadline_usec, INK_BUS_BLOCKING_USEC);
    assert_int_equal(fake->last_deferred, 1);
    assert_int_equal(fake->last_max_tokens, 3);
    assert_int_equal(fake->last_priority, INK_PRIORITY_INTERACTIVE);
    assert_true(strncmp(fake->last_app_id, "exe:ipc-test-bus", 16) == 0 ||
                strncmp(fake->last_app_id, "app:", 4) == 0); /* started from a desktop's scope */
}

static void test_bus_chat_puts_system_first(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Chat", NULL, NULL, "a(ss)a{sv}", 1, "user", "Hi",
                             1, "system", "s", "Be brief.") >= 0);
    assert_int_equal(fake->last_n_messages, 2);
    assert_string_equal(fake->last_first_role, "system");
    assert_int_equal(fake->last_max_tokens, 512);
    fixture_refused(bus, INK_BUS_TEXT, "Chat", INVALID, "system", "a(ss)a{sv}", 1, "system", "Hi",
                    1, "system", "s", "Be brief.");
    fixture_refused(bus, INK_BUS_TEXT, "Chat", INVALID, "role", "a(ss)a{sv}", 1, "boss", "Hi", 0);
    fixture_refused(bus, INK_BUS_TEXT, "Chat", INVALID, "empty", "a(ss)a{sv}", 0, 0);
    fixture_refused(bus, INK_BUS_TEXT, "Chat", INVALID, "empty", "a(ss)a{sv}", 1, "user", "", 0);
}

static void test_bus_refuses_wrong_options(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    uint32_t before = FAKE_READ(fake->n_started);
    (void)state;
#define REFUSED(name, part, ...)                                                                   \
    fixture_refused(bus, INK_BUS_TEXT, "Complete", name, part, "sa{sv}", "Hello", __VA_ARGS__)
    REFUSED(INVALID, "no-such-key", 1, "no-such-key", "u", 1);
    REFUSED(INVALID, "system", 1, "system", "s", "only chat has it");
    REFUSED(INVALID, "max-tokens has type s, wanted is u", 1, "max-tokens", "s", "16");
    REFUSED(INVALID, "max-tokens has type i, wanted is u", 1, "max-tokens", "i", -1);
    REFUSED(INVALID, "max-tokens is 0, allowed is 1 to 4096", 1, "max-tokens", "u", 0);
    REFUSED(INVALID, "max-tokens is 4294967295", 1, "max-tokens", "u", UINT32_MAX);
    REFUSED(INVALID, "temperature is -1, allowed is 0 to 10", 1, "temperature", "d", -1.0);
    REFUSED(INVALID, "temperature is nan", 1, "temperature", "d", (double)NAN);
    REFUSED(INVALID, "top-p is inf", 1, "top-p", "d", (double)INFINITY);
    REFUSED(INVALID, "min-p is 1.5", 1, "min-p", "d", 1.5);
    REFUSED(INVALID, "repeat-penalty is 0", 1, "repeat-penalty", "d", 0.0);
    REFUSED(INVALID, "top-k", 1, "top-k", "u", UINT32_MAX);
    REFUSED(INVALID, "deadline-usec", 1, "deadline-usec", "t", UINT64_MAX);
    REFUSED(INVALID, "linger-usec", 1, "linger-usec", "t", (uint64_t)60000001);
    REFUSED(INVALID, "priority is none of", 1, "priority", "s", "urgent");
    REFUSED(INVALID, "handle-token", 1, "handle-token", "s", "a/b");
    REFUSED(INVALID, "stop 0 is empty", 1, "stop", "as", 1, "");
    REFUSED(INVALID, "max-tokens is given twice", 2, "max-tokens", "u", 5, "max-tokens", "u", 5);
    REFUSED(INK_BUS_ERROR_PREFIX "NoSuchModel", "no such model", 1, "model", "s", "missing");
    fixture_refused(bus, INK_BUS_TEXT, "Complete", INVALID, "0 bytes", "sa{sv}", "", 0);
    fixture_refused(bus, INK_BUS_TEXT, "CountTokens", INVALID, "as is none of", "sa{sv}", "x", 1,
                    "as", "s", "prose");
    assert_int_equal(FAKE_READ(fake->n_started), before);
}

static void test_bus_refuses_long_strings(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_free_ char *text = malloc(INK_BUS_MAX_STRING_BYTES + 2);
    (void)state;
    memset(text, 'a', INK_BUS_MAX_STRING_BYTES + 1);
    text[INK_BUS_MAX_STRING_BYTES + 1] = '\0';
    fixture_refused(bus, INK_BUS_TEXT, "Complete", LIMITS, "262145", "sa{sv}", text, 0);
    fixture_refused(bus, INK_BUS_TEXT, "Chat", LIMITS, "262144", "a(ss)a{sv}", 1, "user", text, 0);
    fixture_refused(bus, INK_BUS_TEXT, "Tokenize", LIMITS, "262145", "sa{sv}", text, 0);
    text[INK_BUS_MAX_STRING_BYTES] = '\0';
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Complete", NULL, NULL, "sa{sv}", text, 1,
                             "max-tokens", "u", 1) >= 0);
    assert_int_equal(fake->last_prompt_bytes, INK_BUS_MAX_STRING_BYTES);
}

static int make_memfd(const void *data, size_t n, int seals)
{
    int fd = memfd_create("prompt", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    if (data != NULL)
        assert_int_equal(pwrite(fd, data, n, 0), (ssize_t)n);
    if (seals != 0)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void start_fd_refused(sd_bus *bus, const char *name, const char *part, int fd)
{
    fixture_refused(bus, INK_BUS_TEXT, "Start", name, part, "sa{sv}a{sv}", "complete", 1,
                    "prompt-fd", "h", fd, 0);
    close(fd);
}

static void test_bus_takes_sealed_prompts(void **state)
{
    const int sealed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_free_ char *text = malloc(INK_BUS_MAX_PROMPT_BYTES);
    (void)state;
    memset(text, 'a', INK_BUS_MAX_PROMPT_BYTES);
    int fd = make_memfd(text, INK_BUS_MAX_PROMPT_BYTES, sealed);
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Start", NULL, NULL, "sa{sv}a{sv}", "complete", 1,
                             "prompt-fd", "h", fd, 0) >= 0);
    close(fd);
    assert_int_equal(fake->last_prompt_bytes, INK_BUS_MAX_PROMPT_BYTES);
    start_fd_refused(bus, INVALID, "sealed", make_memfd("abc", 3, 0));
    start_fd_refused(bus, INVALID, "sealed", make_memfd("abc", 3, F_SEAL_WRITE));
    start_fd_refused(bus, INVALID, "sealed", open("/dev/null", O_RDONLY | O_CLOEXEC));
    start_fd_refused(bus, INVALID, "0 bytes", make_memfd(NULL, 0, sealed));
    start_fd_refused(bus, INVALID, "NUL", make_memfd("a\0b", 3, sealed));
    start_fd_refused(bus, INVALID, "UTF-8",
                     make_memfd("a\xFF"
                                "b",
                                3, sealed));
    start_fd_refused(bus, LIMITS, "5000000", make_memfd(NULL, 5000000, sealed));
    fixture_refused(bus, INK_BUS_TEXT, "Start", INVALID, "missing", "sa{sv}a{sv}", "complete", 0,
                    0);
    fixture_refused(bus, INK_BUS_TEXT, "Start", INVALID, "messages", "sa{sv}a{sv}", "complete", 1,
                    "messages", "a(ss)", 0, 0);
    fixture_refused(bus, INK_BUS_TEXT, "Start", INVALID, "kind", "sa{sv}a{sv}", "embed", 0, 0);
}

static void test_bus_counts_tokens(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *counted = NULL, *chat = NULL, *ids = NULL, *text = NULL;
    uint32_t n = 0;
    const void *array;
    const char *word;
    size_t n_bytes;
    (void)state;
    assert_true(
        fixture_call(bus, INK_BUS_TEXT, "CountTokens", NULL, &counted, "sa{sv}", "abc", 0) >= 0);
    assert_true(sd_bus_message_read(counted, "u", &n) > 0);
    assert_int_equal(n, 3);
    assert_true(fixture_call(bus, INK_BUS_TEXT, "CountTokens", NULL, &chat, "sa{sv}", "abc", 1,
                             "as", "s", "chat") >= 0);
    assert_true(sd_bus_message_read(chat, "u", &n) > 0);
    assert_int_equal(n, 7);
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Tokenize", NULL, &ids, "sa{sv}", "abc", 1,
                             "special", "b", 1) >= 0);
    assert_true(sd_bus_message_read_array(ids, 'u', &array, &n_bytes) > 0);
    assert_int_equal(n_bytes, 16);
    assert_true(fixture_call(bus, INK_BUS_TEXT, "Detokenize", NULL, &text, "aua{sv}", 2, 5, 6, 0) >=
                0);
    assert_true(sd_bus_message_read(text, "s", &word) > 0);
    assert_string_equal(word, "2 tokens");
    fixture_refused(bus, INK_BUS_TEXT, "Detokenize", INVALID, "vocabulary", "aua{sv}", 1, 999, 0);
    fixture_refused(bus, INK_BUS_TEXT, "Tokenize", INK_BUS_ERROR_PREFIX "NoSuchModel", "model",
                    "sa{sv}", "abc", 1, "model", "s", "missing");
}

static void test_bus_refuses_many_tokens(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *m = NULL;
    _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    uint32_t *ids = calloc(INK_BUS_MAX_DETOKENIZE + 1, sizeof(*ids));
    (void)state;
    assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_TEXT,
                                               "Detokenize") >= 0);
    assert_true(sd_bus_message_append_array(m, 'u', ids, (INK_BUS_MAX_DETOKENIZE + 1) * 4) >= 0);
    assert_true(sd_bus_message_append(m, "a{sv}", 0) >= 0);
    assert_true(sd_bus_call(bus, m, 0, &error, NULL) < 0);
    assert_string_equal(error.name, LIMITS);
    assert_non_null(strstr(error.message, "65537"));
    free(ids);
}

static void test_bus_manager_answers(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *known = NULL, *unknown = NULL, *models = NULL, *none = NULL;
    const char *word, *key;
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "GetAvailability", NULL, &known, "sa{sv}",
                             "complete", 0) >= 0);
    assert_true(sd_bus_message_read(known, "s", &word) > 0);
    assert_string_equal(word, "on-demand");
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "GetAvailability", NULL, &unknown, "sa{sv}",
                             "telepathy", 0) >= 0);
    assert_true(sd_bus_message_read(unknown, "s", &word) > 0);
    assert_string_equal(word, "unsupported");
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "ListModels", NULL, &models, "") >= 0);
    assert_true(sd_bus_message_enter_container(models, 'a', "a{sv}") > 0);
    assert_true(sd_bus_message_enter_container(models, 'a', "{sv}") > 0);
    assert_true(sd_bus_message_enter_container(models, 'e', "sv") > 0);
    assert_true(sd_bus_message_read(models, "s", &key) > 0);
    assert_true(sd_bus_message_read(models, "v", "s", &word) > 0);
    assert_string_equal(key, "name");
    assert_string_equal(word, "fake");
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "ListRequests", NULL, &none, "a{sv}", 0) >= 0);
    assert_true(sd_bus_message_enter_container(none, 'a', "a{sv}") >= 0);
    assert_int_equal(sd_bus_message_at_end(none, false), 1);
    fixture_refused(bus, INK_BUS_MANAGER, "ListRequests", INVALID, "limit", "a{sv}", 1, "limit",
                    "u", 3);
}

static void test_bus_unload_needs_force_while_busy(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    FixtureSeen seen;
    (void)state;
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "hold", 1, "");
    fixture_refused(bus, INK_BUS_MANAGER, "Unload", INK_BUS_ERROR_PREFIX "Busy", "running", "a{sv}",
                    0);
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_UNLOAD]);
    assert_true(
        fixture_call(bus, INK_BUS_MANAGER, "Unload", NULL, NULL, "a{sv}", 1, "force", "b", 1) >= 0);
    assert_int_equal(FAKE_READ(fake->n_cancelled[INK_CANCEL_UNLOAD]), before + 1);
    fixture_until_finished(bus, &seen, 1);
    assert_int_equal(seen.status, INK_TASK_CANCELLED);
}

static void test_bus_properties_are_typed(void **state)
{
    static const struct {
        const char *interface, *property, *type;
    } rows[] = {
        {INK_BUS_MANAGER, "Version", "s"},      {INK_BUS_MANAGER, "ApiRevision", "u"},
        {INK_BUS_MANAGER, "Features", "as"},    {INK_BUS_MANAGER, "State", "s"},
        {INK_BUS_MANAGER, "Model", "s"},        {INK_BUS_MANAGER, "ContextWindow", "u"},
        {INK_BUS_MANAGER, "QueueDepth", "u"},   {INK_BUS_MANAGER, "MemoryResident", "t"},
        {INK_BUS_MANAGER, "NetworkGuard", "s"}, {INK_BUS_RECOMMEND, "Kinds", "as"},
        {INK_BUS_MEMORY, "Enabled", "b"},
    };
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        assert_true(sd_bus_get_property(bus, INK_BUS_NAME, INK_BUS_PATH, rows[i].interface,
                                        rows[i].property, NULL, &reply, rows[i].type) >= 0);
    }
    _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MANAGER, "State",
                                    &error, "s", "ready") < 0);
    assert_string_equal(error.name, SD_BUS_ERROR_PROPERTY_READ_ONLY);
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    (void)m;
    (void)reterr;
    ++*(int *)userdata;
    return 0;
}

static void test_bus_memory_switch_is_acknowledged_when_stored(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL, wrong = SD_BUS_ERROR_NULL;
    int enabled = -1, n_changed = 0;
    (void)state;
    assert_true(sd_bus_match_signal(bus, NULL, INK_BUS_NAME, INK_BUS_PATH,
                                    "org.freedesktop.DBus.Properties", "PropertiesChanged",
                                    on_changed, &n_changed) >= 0);
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY, "Enabled",
                                    NULL, "b", 1) >= 0);
    assert_int_equal(FAKE_READ(fake->n_set_enabled), 1);
    assert_true(sd_bus_get_property_trivial(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY,
                                            "Enabled", NULL, 'b', &enabled) >= 0);
    assert_int_equal(enabled, 1);
    while (sd_bus_process(bus, NULL) > 0)
        ;
    assert_int_equal(n_changed, 1);
    fake->store_fails = 1;
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY, "Enabled",
                                    &error, "b", 0) < 0);
    fake->store_fails = 0;
    assert_string_equal(error.name, INK_BUS_ERROR_PREFIX "StorageFailed");
    assert_true(sd_bus_set_property(bus, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_MEMORY, "Enabled",
                                    &wrong, "s", "yes") < 0);
    assert_string_equal(wrong.name, INVALID);
    assert_int_equal(FAKE_READ(fake->n_set_enabled), 1);
}

static void test_bus_observe_checks_every_event(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    uint32_t n = 0, before = FAKE_READ(fake->n_events);
    (void)state;
#define OBSERVE_REFUSED(name, part, ...)                                                           \
    fixture_refused(bus, INK_BUS_RECOMMEND, "Observe", name, part, "aa{sv}a{sv}", __VA_ARGS__, 0)
    OBSERVE_REFUSED(INVALID, "event 1: kind is missing", 2, 2, "kind", "s", "ran", "text", "s",
                    "make", 1, "text", "s", "x");
    OBSERVE_REFUSED(INVALID, "event 0: text is missing", 1, 1, "kind", "s", "ran");
    OBSERVE_REFUSED(INVALID, "event 0: uri is missing", 1, 1, "kind", "s", "opened");
    OBSERVE_REFUSED(INVALID, "event 0: app-id is missing", 1, 1, "kind", "s", "focused");
    OBSERVE_REFUSED(INVALID, "event 0: kind is none of", 1, 1, "kind", "s", "ate");
    OBSERVE_REFUSED(INVALID, "event 0: unknown key: colour", 1, 1, "colour", "s", "red");
    OBSERVE_REFUSED(INVALID, "future", 1, 3, "kind", "s", "ran", "text", "s", "x", "time-usec", "t",
                    (uint64_t)INT64_MAX);
    assert_int_equal(FAKE_READ(fake->n_events), before);
    assert_true(fixture_call(bus, INK_BUS_RECOMMEND, "Observe", NULL, &reply, "aa{sv}a{sv}", 1, 2,
                             "kind", "s", "ran", "text", "s", "make", 1, "train", "b", 0) >= 0);
    assert_true(sd_bus_message_read(reply, "u", &n) > 0);
    assert_int_equal(n, 1);
    assert_int_equal(FAKE_READ(fake->n_events), before + 1);
}

static void test_bus_suggest_and_feedback(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *key, *value;
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_RECOMMEND, "Suggest", NULL, &reply, "sa{sv}a{sv}", "file",
                             1, "candidates", "aa{sv}", 2, 1, "id", "s", "a", 1, "id", "s", "b", 1,
                             "limit", "u", 1) >= 0);
    assert_true(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
    assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
    assert_true(sd_bus_message_enter_container(reply, 'e', "sv") > 0);
    assert_true(sd_bus_message_read(reply, "s", &key) > 0);
    assert_true(sd_bus_message_read(reply, "v", "s", &value) > 0);
    assert_string_equal(key, "id");
    assert_string_equal(value, "7");
#define SUGGEST_REFUSED(part, kind, ...)                                                           \
    fixture_refused(bus, INK_BUS_RECOMMEND, "Suggest", INVALID, part, "sa{sv}a{sv}", kind,         \
                    __VA_ARGS__)
    SUGGEST_REFUSED("kind is none of: file, command", "reply", 0, 0);
    SUGGEST_REFUSED("limit is 0", "file", 0, 1, "limit", "u", 0);
    SUGGEST_REFUSED("candidate 1: id is that of candidate 0", "file", 1, "candidates", "aa{sv}", 2,
                    1, "id", "s", "a", 1, "id", "s", "a", 0);
    SUGGEST_REFUSED("candidate 0: id is missing", "file", 1, "candidates", "aa{sv}", 1, 0, 0);
    SUGGEST_REFUSED("context: unknown key", "file", 1, "mood", "s", "good", 0);
    assert_true(fixture_call(bus, INK_BUS_RECOMMEND, "Feedback", NULL, NULL, "ssa{sv}", "7",
                             "accepted", 0) >= 0);
    fixture_refused(bus, INK_BUS_RECOMMEND, "Feedback", INK_BUS_ERROR_PREFIX "NoSuchItem", "item",
                    "ssa{sv}", "8", "accepted", 0);
    fixture_refused(bus, INK_BUS_RECOMMEND, "Feedback", INVALID, "accepted-chars", "ssa{sv}", "7",
                    "partial", 0);
    fixture_refused(bus, INK_BUS_RECOMMEND, "Feedback", INVALID, "outcome", "ssa{sv}", "7", "loved",
                    0);
    assert_int_equal(FAKE_READ(fake->n_feedback), 1);
}

/* ------------------------------------------------------- weights of messages */

static sd_bus_message *new_message(sd_bus *bus)
{
    sd_bus_message *m = NULL;
    assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_TEXT,
                                               "Chat") >= 0);
    return m;
}

static int weigh(sd_bus_message *m, size_t max_bytes, size_t *ret)
{
    assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
    return ink_message_weigh(m, max_bytes, ret);
}

static void test_bus_weighs_messages_by_their_content(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    size_t n = 0;
    (void)state;
    _cleanup_message_ sd_bus_message *empty = new_message(bus);
    assert_int_equal(weigh(empty, 0, &n), 0);
    assert_int_equal(n, 0);

    _cleanup_message_ sd_bus_message *mixed = new_message(bus);
    assert_true(sd_bus_message_append(mixed, "a(ss)a{sv}", 2, "user", "hello", "user", "you", 1,
                                      "max-tokens", "u", 7) >= 0);
    assert_int_equal(weigh(mixed, 1000, &n), 0);
    assert_in_range(n, 17 + 10, 200);
    size_t exact = n;
    assert_int_equal(ink_message_weigh(mixed, exact, &n), 0);
    assert_int_equal(ink_message_weigh(mixed, exact - 1, &n), -E2BIG);
    const char *role; /* rewound, also when it was too much */
    assert_true(sd_bus_message_enter_container(mixed, 'a', "(ss)") > 0);
    assert_true(sd_bus_message_read(mixed, "(ss)", &role, NULL) > 0);
    assert_string_equal(role, "user");

    _cleanup_message_ sd_bus_message *block = new_message(bus);
    _cleanup_free_ uint32_t *ids = calloc(100000, sizeof(*ids));
    assert_true(sd_bus_message_append_array(block, 'u', ids, 100000 * sizeof(*ids)) >= 0);
    assert_int_equal(weigh(block, 1 << 20, &n), 0);
    assert_int_equal(n, 100000 * sizeof(*ids));
    assert_int_equal(ink_message_weigh(block, 399999, &n), -E2BIG);
}

static void test_bus_weighs_no_deeper_than_the_protocol(void **state)
{
    enum { DEPTH = 100 };
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *deep = new_message(bus);
    size_t n = 0;
    (void)state;
    for (unsigned i = 0; i + 1 < DEPTH; i++)
        assert_true(sd_bus_message_open_container(deep, 'v', "v") >= 0);
    assert_true(sd_bus_message_append(deep, "v", "y", 7) >= 0);
    for (unsigned i = 0; i + 1 < DEPTH; i++)
        assert_true(sd_bus_message_close_container(deep) >= 0);
    assert_int_equal(weigh(deep, 1 << 20, &n), -E2BIG);
}

static void test_bus_reload_tells_what_is_wrong(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "Reload", NULL, NULL, "") >= 0);
    assert_int_equal(FAKE_READ(fake->n_reloads), 1);
    __atomic_store_n(&fake->reload_fails, 1, __ATOMIC_SEQ_CST);
    fixture_refused(bus, INK_BUS_MANAGER, "Reload", SD_BUS_ERROR_INVALID_ARGS, "line 3", "");
    __atomic_store_n(&fake->reload_fails, 0, __ATOMIC_SEQ_CST);
    assert_int_equal(FAKE_READ(fake->n_reloads), 1);
}

static void test_bus_unknown_members_are_refused(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    (void)state;
    fixture_refused(bus, INK_BUS_TEXT, "Fill", SD_BUS_ERROR_UNKNOWN_METHOD, "Fill", "ssa{sv}", "a",
                    "b", 0);
    fixture_refused(bus, INK_BUS_TEXT, "Complete", SD_BUS_ERROR_INVALID_ARGS, "", "s", "a");
}

/* ------------------------------------------------------------ introspection */

typedef struct Members {
    char *line[256];
    size_t n;
} Members;

static void attribute(const char *tag, size_t n_tag, const char *name, char out[128])
{
    char key[32];
    snprintf(key, sizeof(key), " %s=\"", name);
    const char *at = memmem(tag, n_tag, key, strlen(key));
    out[0] = '\0';
    if (at != NULL)
        snprintf(out, 128, "%.*s", (int)strcspn(at + strlen(key), "\""), at + strlen(key));
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One sorted line for each member of our interfaces: "Text method Complete | in s prompt | ...". */
static void read_members(const char *xml, const char *only, Members *out)
{
    char interface[128] = "", line[1024] = "", name[128], type[128], other[128], value[128];
    for (const char *at = strchr(xml, '<'); at != NULL; at = strchr(at + 1, '<')) {
        if (strncmp(at, "<!--", 4) == 0) {
            at = strstr(at, "-->");
            continue;
        }
        size_t n = strcspn(at, ">");
        attribute(at, n, "name", name);
        attribute(at, n, "type", type);
        bool closed = at[n - 1] == '/', end = false;
        bool ours = strncmp(interface, INK_BUS_NAME, strlen(INK_BUS_NAME)) == 0 &&
                    (only == NULL || strcmp(interface, only) == 0);
        if (strncmp(at, "<interface ", 11) == 0)
            strcpy(interface, name);
        else if (strncmp(at, "<method ", 8) == 0 || strncmp(at, "<signal ", 8) == 0 ||
                 strncmp(at, "<property ", 10) == 0) {
            attribute(at, n, "access", other);
            snprintf(line, sizeof(line), "%s %.6s %s %s %s", interface, at + 1, name, type, other);
            end = closed;
        } else if (strncmp(at, "<arg ", 5) == 0) {
            attribute(at, n, "direction", other);
            size_t used = strlen(line);
            snprintf(line + used, sizeof(line) - used, " | %s %s %s", other, type, name);
        } else if (strncmp(at, "<annotation ", 12) == 0) {
            attribute(at, n, "value", value);
            size_t used = strlen(line);
            snprintf(line + used, sizeof(line) - used, " | %s=%s", name, value);
        } else if (strncmp(at, "</method", 8) == 0 || strncmp(at, "</signal", 8) == 0 ||
                   strncmp(at, "</property", 10) == 0)
            end = true;
        if (end && ours) {
            assert_true(out->n < 256);
            out->line[out->n++] = strdup(line);
        }
    }
    qsort(out->line, out->n, sizeof(out->line[0]), compare_lines);
}

static void free_members(Members *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->line[i]);
}

static void read_live(sd_bus *bus, const char *path, Members *out)
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *xml;
    assert_true(sd_bus_call_method(bus, INK_BUS_NAME, path, "org.freedesktop.DBus.Introspectable",
                                   "Introspect", NULL, &reply, "") >= 0);
    assert_true(sd_bus_message_read(reply, "s", &xml) > 0);
    read_members(xml, NULL, out);
}

static void test_bus_xml_is_what_runs(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_free_ char *xml = calloc(1, 65536);
    char path[4096];
    Members live = {0}, shipped = {0};
    FixtureSeen seen;
    (void)state;
    const char *source = getenv("INKLING_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/ipc/org.inkling.Inkling1.xml", source != NULL ? source : ".");
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_true(fread(xml, 1, 65535, f) > 0);
    read_members(xml, NULL, &shipped);
    fixture_listen(bus, &seen);
    fixture_start_request(bus, &seen, "hold", 1, "");
    read_live(bus, INK_BUS_PATH, &live);
    read_live(bus, seen.path, &live);
    _cleanup_message_ sd_bus_message *session = NULL;
    const char *session_path;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "CreateSession", NULL, &session, "a{sv}", 0) >=
                0);
    assert_true(sd_bus_message_read(session, "o", &session_path) > 0);
    read_live(bus, session_path, &live);
    qsort(live.line, live.n, sizeof(live.line[0]), compare_lines);
    for (size_t i = 0; i < live.n && i < shipped.n; i++)
        assert_string_equal(live.line[i], shipped.line[i]);
    assert_int_equal(live.n, shipped.n);
    assert_true(live.n > 50); /* or the objects were not there */
    free_members(&live);
    free_members(&shipped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bus_complete_answers),
        cmocka_unit_test(test_bus_chat_puts_system_first),
        cmocka_unit_test(test_bus_refuses_wrong_options),
        cmocka_unit_test(test_bus_refuses_long_strings),
        cmocka_unit_test(test_bus_takes_sealed_prompts),
        cmocka_unit_test(test_bus_counts_tokens),
        cmocka_unit_test(test_bus_refuses_many_tokens),
        cmocka_unit_test(test_bus_manager_answers),
        cmocka_unit_test(test_bus_unload_needs_force_while_busy),
        cmocka_unit_test(test_bus_properties_are_typed),
        cmocka_unit_test(test_bus_memory_switch_is_acknowledged_when_stored),
        cmocka_unit_test(test_bus_observe_checks_every_event),
        cmocka_unit_test(test_bus_suggest_and_feedback),
        cmocka_unit_test(test_bus_weighs_messages_by_their_content),
        cmocka_unit_test(test_bus_weighs_no_deeper_than_the_protocol),
        cmocka_unit_test(test_bus_reload_tells_what_is_wrong),
        cmocka_unit_test(test_bus_unknown_members_are_refused),
        cmocka_unit_test(test_bus_xml_is_what_runs),
    };
    return cmocka_run_group_tests_name("ipc/bus", tests, fixture_start, fixture_stop);
}
