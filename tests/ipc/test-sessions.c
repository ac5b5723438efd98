/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Session objects over a private bus: methods, ownership, ends, what others see. */
#include "tests/ipc/bus-fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

#define BUSY    INK_BUS_ERROR_PREFIX "SessionBusy"
#define INVALID SD_BUS_ERROR_INVALID_ARGS
#define UNKNOWN SD_BUS_ERROR_UNKNOWN_OBJECT

/* A method of a session; 0 or negative errno with `error` filled. */
static int session_call(sd_bus *bus, const char *path, const char *member, sd_bus_error *error,
                        sd_bus_message **ret, const char *types, ...)
{
    _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
    va_list args;
    assert_true(
        sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, path, INK_BUS_SESSION, member) >= 0);
    va_start(args, types);
    if (types[0] != '\0')
        assert_true(sd_bus_message_appendv(m, types, args) >= 0);
    va_end(args);
    int r = sd_bus_call(bus, m, 0, error, &reply);
    if (r >= 0 && ret != NULL)
        *ret = INK_TAKE(reply);
    return r;
}

#define assert_call(...) assert_true(session_call(__VA_ARGS__) >= 0)

static void assert_refused(int r, sd_bus_error *error, const char *name, const char *part)
{
    assert_true(r < 0);
    assert_string_equal(error->name, name);
    if (strstr(error->message, part) == NULL)
        fail_msg("\"%s\" does not tell of \"%s\"", error->message, part);
    sd_bus_error_free(error);
}

#define refused(name, part, bus, path, member, ...)                                                \
    do {                                                                                           \
        sd_bus_error error_ = SD_BUS_ERROR_NULL;                                                   \
        int r_ = session_call(bus, path, member, &error_, NULL, __VA_ARGS__);                      \
        assert_refused(r_, &error_, name, part);                                                   \
    } while (0)

static void create(sd_bus *bus, char path[256])
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *made;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "CreateSession", NULL, &reply, "a{sv}", 0) >= 0);
    assert_true(sd_bus_message_read(reply, "o", &made) > 0);
    snprintf(path, 256, "%s", made);
}

/* Turns as "role:text|". */
static void read_transcript(sd_bus *bus, const char *path, char out[512])
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *role, *text;
    out[0] = '\0';
    assert_call(bus, path, "GetTranscript", NULL, &reply, "");
    assert_true(sd_bus_message_enter_container(reply, 'a', "(ssa{sv})") > 0);
    while (sd_bus_message_enter_container(reply, 'r', "ssa{sv}") > 0) {
        assert_true(sd_bus_message_read(reply, "ss", &role, &text) > 0);
        assert_true(sd_bus_message_skip(reply, "a{sv}") >= 0);
        assert_true(sd_bus_message_exit_container(reply) >= 0);
        size_t at = strlen(out);
        snprintf(out + at, 512 - at, "%s:%s|", role, text);
    }
}

static void assert_transcript(sd_bus *bus, const char *path, const char *wanted)
{
    char shown[512];
    read_transcript(bus, path, shown);
    assert_string_equal(shown, wanted);
}

/* What a connection hears of its sessions, in order: "closed:REASON ", "overflow:T/N ". */
typedef struct Heard {
    char events[256];
} Heard;

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    Heard *heard = userdata;
    size_t at = strlen(heard->events);
    const char *reason;
    uint32_t turns, tokens;
    (void)reterr;
    if (sd_bus_message_is_signal(m, INK_BUS_SESSION, "Closed") > 0 &&
        sd_bus_message_read(m, "s", &reason) > 0)
        snprintf(heard->events + at, sizeof(heard->events) - at, "closed:%s ", reason);
    else if (sd_bus_message_is_signal(m, INK_BUS_SESSION, "ContextOverflow") > 0 &&
             sd_bus_message_read(m, "uu", &turns, &tokens) > 0)
        snprintf(heard->events + at, sizeof(heard->events) - at, "overflow:%u/%u ", turns, tokens);
    else if (sd_bus_message_is_signal(m, INK_BUS_REQUEST, "Finished") > 0)
        snprintf(heard->events + at, sizeof(heard->events) - at, "finished ");
    return 0;
}

static void listen(sd_bus *bus, Heard *heard)
{
    *heard = (Heard){{0}};
    assert_true(sd_bus_match_signal(bus, NULL, INK_BUS_NAME, NULL, INK_BUS_SESSION, NULL, on_signal,
                                    heard) >= 0);
    assert_true(sd_bus_match_signal(bus, NULL, INK_BUS_NAME, NULL, INK_BUS_REQUEST, NULL, on_signal,
                                    heard) >= 0);
}

static void until_heard(sd_bus *bus, const Heard *heard, const char *wanted)
{
    uint64_t until = ink_clock_monotonic_usec() + 5000000;
    while (strcmp(heard->events, wanted) != 0 && ink_clock_monotonic_usec() < until)
        if (sd_bus_process(bus, NULL) == 0)
            assert_true(sd_bus_wait(bus, 100000) >= 0);
    assert_string_equal(heard->events, wanted);
}

static void start_prompt(sd_bus *bus, const char *path, const char *text, char request[256])
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *made;
    assert_call(bus, path, "StartPrompt", NULL, &reply, "sa{sv}", text, 1, "max-tokens", "u", 2u);
    assert_true(sd_bus_message_read(reply, "o", &made) > 0);
    snprintf(request, 256, "%s", made);
}

static void request_call(sd_bus *bus, const char *path, const char *member)
{
    assert_true(
        sd_bus_call_method(bus, INK_BUS_NAME, path, INK_BUS_REQUEST, member, NULL, NULL, "") >= 0);
}

/* ------------------------------------------------------------------ turns */

static void test_sessions_prompt_and_remember(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *made = NULL, *reply = NULL;
    const char *path, *text;
    (void)state;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "CreateSession", NULL, &made, "a{sv}", 2,
                             "system", "s", "be brief", "messages", "a(ss)", 1, "user",
                             "hey") >= 0);
    assert_true(sd_bus_message_read(made, "o", &path) > 0);
    assert_call(bus, path, "Prompt", NULL, &reply, "sa{sv}", "hi", 1, "max-tokens", "u", 2u);
    assert_true(sd_bus_message_read(reply, "s", &text) > 0);
    assert_string_equal(text, "word word ");
    assert_transcript(bus, path, "system:be brief|user:hey|user:hi|assistant:word|");
    assert_call(bus, path, "Append", NULL, NULL, "a(ss)a{sv}", 1, "tool", "42", 0);
    assert_call(bus, path, "Rewind", NULL, NULL, "u", 1u);
    assert_transcript(bus, path, "system:be brief|");
}

static void test_sessions_prompt_options(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char path[256];
    (void)state;
    create(bus, path);
    assert_call(bus, path, "Prompt", NULL, NULL, "sa{sv}", "hi", 0);
    assert_int_equal(FAKE_READ(fake->last_max_tokens), 512);
    assert_int_equal(fake->last_deadline_usec, INK_BUS_BLOCKING_USEC);
    assert_int_equal(FAKE_READ(fake->last_overflow), INK_OVERFLOW_MAX);
    assert_int_not_equal(fake->last_session, 0);
    assert_call(bus, path, "Prompt", NULL, NULL, "sa{sv}", "hi", 2, "overflow", "s",
                "truncate-head", "max-tokens", "u", 1u);
    assert_int_equal(FAKE_READ(fake->last_overflow), INK_OVERFLOW_TRUNCATE_HEAD);
    refused(INVALID, "text is empty", bus, path, "Prompt", "sa{sv}", "", 0);
    refused(INVALID, "unknown key: model", bus, path, "Prompt", "sa{sv}", "x", 1, "model", "s",
            "y");
    refused(INVALID, "unknown key: system", bus, path, "Prompt", "sa{sv}", "x", 1, "system", "s",
            "y");
    refused(INVALID, "overflow is none of", bus, path, "Prompt", "sa{sv}", "x", 1, "overflow", "s",
            "cut");
    refused(INVALID, "unknown key: max-tokens", bus, path, "Prewarm", "sa{sv}", "x", 1,
            "max-tokens", "u", 3u);
    refused(INVALID, "role", bus, path, "Append", "a(ss)a{sv}", 1, "nobody", "x", 0);
    refused(INVALID, "empty", bus, path, "Append", "a(ss)a{sv}", 0, 0);
    refused(INVALID, "turn is 99", bus, path, "Rewind", "u", 99u);
}

static void test_sessions_are_serial(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char path[256], request[256];
    Heard heard;
    (void)state;
    listen(bus, &heard);
    create(bus, path);
    start_prompt(bus, path, "hold", request);
    refused(BUSY, "runs", bus, path, "Prompt", "sa{sv}", "hi", 0);
    refused(BUSY, "runs", bus, path, "Append", "a(ss)a{sv}", 1, "user", "x", 0);
    refused(BUSY, "runs", bus, path, "Rewind", "u", 0u);
    refused(BUSY, "runs", bus, path, "Clone", "a{sv}", 0);
    request_call(bus, request, "Cancel");
    until_heard(bus, &heard, "finished ");
    assert_transcript(bus, path, "");
    assert_call(bus, path, "Prompt", NULL, NULL, "sa{sv}", "hi", 0);
}

static void test_sessions_stream_over_a_pipe(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    char path[256], line[4096] = "";
    const char *request;
    int fd = -1;
    (void)state;
    create(bus, path);
    assert_true(fixture_call(bus, INK_BUS_TEXT, "StartPipe", NULL, &reply, "sa{sv}a{sv}", "prompt",
                             2, "session", "o", path, "text", "s", "hi", 1, "max-tokens", "u",
                             2u) >= 0);
    assert_true(sd_bus_message_read(reply, "oh", &request, &fd) > 0);
    size_t n = 0;
    for (ssize_t got; (got = read(fd, line + n, sizeof(line) - 1 - n)) > 0;)
        n += (size_t)got;
    assert_non_null(strstr(line, "{\"offset\":0,\"text\":\"word \"}"));
    assert_non_null(strstr(line, "{\"finished\":{\"status\":0"));
    assert_transcript(bus, path, "user:hi|assistant:word|");
    fixture_refused(bus, INK_BUS_TEXT, "Start", INVALID, "session is missing", "sa{sv}a{sv}",
                    "prompt", 1, "text", "s", "hi", 0);
    fixture_refused(bus, INK_BUS_TEXT, "Start", INVALID, "text or text-fd is missing",
                    "sa{sv}a{sv}", "prompt", 1, "session", "o", path, 0);
    fixture_refused(bus, INK_BUS_TEXT, "Start", INVALID, "unknown key: prompt", "sa{sv}a{sv}",
                    "prompt", 2, "session", "o", path, "prompt", "s", "hi", 0);
    fixture_refused(bus, INK_BUS_TEXT, "Start", UNKNOWN, "no session", "sa{sv}a{sv}", "prompt", 2,
                    "session", "o", "/org/inkling/Inkling1/session/1_1/none", "text", "s", "hi", 0);
}

static void test_sessions_prewarm_leaves_no_turn(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL, *ended = NULL;
    char path[256];
    const char *request;
    uint32_t status = 9;
    (void)state;
    create(bus, path);
    assert_call(bus, path, "Prewarm", NULL, &reply, "sa{sv}", "", 1, "priority", "s", "typing");
    assert_true(sd_bus_message_read(reply, "o", &request) > 0);
    assert_true(sd_bus_call_method(bus, INK_BUS_NAME, request, INK_BUS_REQUEST, "Wait", NULL,
                                   &ended, "") >= 0);
    assert_true(sd_bus_message_read(ended, "u", &status) > 0);
    assert_int_equal(status, INK_TASK_SUCCESS);
    assert_int_equal(FAKE_READ(fake->last_priority), INK_PRIORITY_TYPING);
    assert_transcript(bus, path, "");
}

static void test_sessions_tell_of_what_was_dropped(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char path[256], request[256];
    Heard heard;
    (void)state;
    listen(bus, &heard);
    create(bus, path);
    start_prompt(bus, path, "overflow", request);
    until_heard(bus, &heard, "overflow:2/30 finished ");
}

static void test_sessions_measure_and_describe_themselves(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL;
    char path[256], *model = NULL, *app = NULL;
    uint32_t tokens = 0, window = 0, usage = 7;
    (void)state;
    create(bus, path);
    assert_call(bus, path, "MeasureUsage", NULL, &reply, "s", "four");
    assert_true(sd_bus_message_read(reply, "u", &tokens) > 0);
    assert_int_equal(tokens, 8);
    assert_call(bus, path, "Prompt", NULL, NULL, "sa{sv}", "hi", 0);
    assert_true(sd_bus_get_property_string(bus, INK_BUS_NAME, path, INK_BUS_SESSION, "Model", NULL,
                                           &model) >= 0);
    assert_true(sd_bus_get_property_string(bus, INK_BUS_NAME, path, INK_BUS_SESSION, "AppId", NULL,
                                           &app) >= 0);
    assert_true(sd_bus_get_property_trivial(bus, INK_BUS_NAME, path, INK_BUS_SESSION,
                                            "ContextWindow", NULL, 'u', &window) >= 0);
    assert_true(sd_bus_get_property_trivial(bus, INK_BUS_NAME, path, INK_BUS_SESSION,
                                            "ContextUsage", NULL, 'u', &usage) >= 0);
    assert_string_equal(model, "fake");
    assert_non_null(strstr(app, "test-sessions"));
    assert_int_equal(window, 2048);
    assert_int_equal(usage, 20);
    free(model);
    free(app);
}

/* -------------------------------------------------------------------- making */

static void test_sessions_refuse_wrong_options(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char name[INK_BUS_MAX_SESSION_NAME + 2];
    (void)state;
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
#define create_refused(error, part, ...)                                                           \
    fixture_refused(bus, INK_BUS_MANAGER, "CreateSession", error, part, "a{sv}", __VA_ARGS__)
    create_refused(INVALID, "unknown key: use-case", 1, "use-case", "s", "chat");
    create_refused(INVALID, "unknown key: tools", 1, "tools", "a(sss)", 0);
    create_refused(INVALID, "name is missing", 1, "persistent", "b", 1);
    create_refused(INVALID, "persistent sessions only", 1, "name", "s", "mine");
    create_refused(INVALID, "control character", 2, "persistent", "b", 1, "name", "s", "a\nb");
    create_refused(INVALID, "control character", 2, "persistent", "b", 1, "name", "s", "\xC2\x9B");
    create_refused(INVALID, "name is empty", 2, "persistent", "b", 1, "name", "s", "");
    create_refused(SD_BUS_ERROR_LIMITS_EXCEEDED, "129 bytes, the limit is 128", 2, "persistent",
                   "b", 1, "name", "s", name);
    create_refused(INVALID, "context-limit is 63", 1, "context-limit", "u", 63u);
    create_refused(INVALID, "overflow is none of", 1, "overflow", "s", "cut");
    create_refused(INVALID, "priority is none of", 1, "priority", "s", "first");
    create_refused(INVALID, "system is given", 2, "system", "s", "a", "messages", "a(ss)", 1,
                   "system", "b");
    create_refused(INVALID, "1 to 64", 1, "handle-token", "s", "a-b");
    create_refused(INK_BUS_ERROR_PREFIX "Busy", "open already", 2, "persistent", "b", 1, "name",
                   "s", "taken");
}

static void test_sessions_handle_token_is_unique(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    _cleanup_message_ sd_bus_message *reply = NULL, *clone = NULL;
    const char *path, *unique;
    char wanted[256];
    (void)state;
    /* A token whose session could not be made is free again. */
    for (int i = 0; i < 2; i++)
        fixture_refused(bus, INK_BUS_MANAGER, "CreateSession", INK_BUS_ERROR_PREFIX "Busy",
                        "open already", "a{sv}", 3, "persistent", "b", 1, "name", "s", "taken",
                        "handle-token", "s", "mine");
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "CreateSession", NULL, &reply, "a{sv}", 1,
                             "handle-token", "s", "mine") >= 0);
    assert_true(sd_bus_message_read(reply, "o", &path) > 0);
    assert_true(sd_bus_get_unique_name(bus, &unique) >= 0);
    snprintf(wanted, sizeof(wanted), INK_BUS_SESSIONS "/1_%s/mine", strchr(unique, '.') + 1);
    assert_string_equal(path, wanted);
    fixture_refused(bus, INK_BUS_MANAGER, "CreateSession", INVALID, "in use", "a{sv}", 1,
                    "handle-token", "s", "mine");
    refused(INVALID, "in use", bus, path, "Clone", "a{sv}", 1, "handle-token", "s", "mine");
    assert_call(bus, path, "Append", NULL, NULL, "a(ss)a{sv}", 1, "user", "x", 0);
    assert_call(bus, path, "Clone", NULL, &clone, "a{sv}", 1, "handle-token", "s", "yours");
    assert_true(sd_bus_message_read(clone, "o", &path) > 0);
    assert_non_null(strstr(path, "/yours"));
    assert_transcript(bus, path, "user:x|");
}

/* ----------------------------------------------------------------------- ends */

static void test_sessions_close_ends_the_prompt_first(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    uint32_t before = FAKE_READ(fake->n_cancelled[INK_CANCEL_SESSION]);
    char path[256], request[256];
    Heard heard;
    (void)state;
    listen(bus, &heard);
    create(bus, path);
    start_prompt(bus, path, "hold", request);
    assert_call(bus, path, "Close", NULL, NULL, "");
    until_heard(bus, &heard, "finished closed:closed ");
    assert_int_equal(FAKE_READ(fake->n_cancelled[INK_CANCEL_SESSION]), before + 1);
    refused(UNKNOWN, "", bus, path, "Close", "");
}

static void test_sessions_forget_tells_so(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char path[256];
    Heard heard;
    (void)state;
    listen(bus, &heard);
    create(bus, path);
    assert_call(bus, path, "Forget", NULL, NULL, "");
    until_heard(bus, &heard, "closed:forgotten ");
}

static void test_sessions_end_with_their_owner(void **state)
{
    uint32_t before = FAKE_READ(fake->n_closed[INK_SESSION_GONE]);
    char path[256], other[256], request[256];
    (void)state;
    sd_bus *bus = fixture_connect();
    create(bus, path);
    create(bus, other);
    start_prompt(bus, path, "hold", request);
    sd_bus_flush_close_unref(bus);
    fixture_wait(&fake->n_closed[INK_SESSION_GONE], before + 2);
}

/* ---------------------------------------------------------------- who sees it */

static void test_sessions_are_hidden_from_others(void **state)
{
    _cleanup_bus_ sd_bus *owner = fixture_connect(), *other = fixture_connect();
    _cleanup_error_ sd_bus_error foreign = SD_BUS_ERROR_NULL, missing = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *mine = NULL, *theirs = NULL;
    char path[256], unused[256];
    const char *xml;
    (void)state;
    create(owner, path);
    create(other, unused); /* known to the service, with `manage` */
    char *token = strrchr(path, '/') + 1;
    assert_true(session_call(other, path, "GetTranscript", &foreign, NULL, "") < 0);
    assert_true(
        session_call(other, INK_BUS_SESSIONS "/1_2/none", "GetTranscript", &missing, NULL, "") < 0);
    assert_string_equal(foreign.name, UNKNOWN);
    assert_string_equal(missing.name, UNKNOWN);
    /* The same words but for the path that the caller gave itself. */
    assert_non_null(strstr(foreign.message, path));
    assert_non_null(strstr(missing.message, "/none"));
    assert_int_equal(strlen(foreign.message) - strlen(path),
                     strlen(missing.message) - strlen(INK_BUS_SESSIONS "/1_2/none"));
    fixture_refused(other, INK_BUS_TEXT, "Start", UNKNOWN, "no session", "sa{sv}a{sv}", "prompt", 2,
                    "session", "o", path, "text", "s", "hi", 0);
    char parent[256];
    snprintf(parent, sizeof(parent), "%.*s", (int)(token - 1 - path), path);
    assert_true(sd_bus_call_method(owner, INK_BUS_NAME, parent,
                                   "org.freedesktop.DBus.Introspectable", "Introspect", NULL, &mine,
                                   "") >= 0);
    assert_true(sd_bus_message_read(mine, "s", &xml) > 0);
    assert_non_null(strstr(xml, token));
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int r = sd_bus_call_method(other, INK_BUS_NAME, parent, "org.freedesktop.DBus.Introspectable",
                               "Introspect", &error, &theirs, "");
    if (r >= 0) {
        assert_true(sd_bus_message_read(theirs, "s", &xml) > 0);
        assert_null(strstr(xml, token));
    }
    sd_bus_error_free(&error);
}

static void test_sessions_of_others_are_closed_by_who_manages(void **state)
{
    _cleanup_bus_ sd_bus *owner = fixture_connect(), *other = fixture_connect();
    char path[256], unused[256];
    Heard heard;
    (void)state;
    listen(owner, &heard);
    create(owner, path);
    create(other, unused);
    fake->denied = 1u << INK_PERMISSION_MANAGE;
    refused(UNKNOWN, "", other, path, "Close", "");
    fake->denied = 0;
    refused(UNKNOWN, "", other, path, "Forget", "");
    assert_call(other, path, "Close", NULL, NULL, "");
    until_heard(owner, &heard, "closed:user ");
}

/* Rows of ListSessions; `ret_name`: whether one of them has a name. */
static size_t list(sd_bus *bus, bool *ret_name)
{
    _cleanup_message_ sd_bus_message *reply = NULL;
    size_t n = 0;
    const char *key;
    *ret_name = false;
    assert_true(fixture_call(bus, INK_BUS_MANAGER, "ListSessions", NULL, &reply, "a{sv}", 0) >= 0);
    assert_true(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
    for (; sd_bus_message_enter_container(reply, 'a', "{sv}") > 0; n++) {
        while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
            assert_true(sd_bus_message_read(reply, "s", &key) > 0);
            *ret_name |= strcmp(key, "name") == 0;
            assert_true(strstr("path app-id context-usage context-window persistent idle-usec name",
                               key) != NULL);
            assert_true(sd_bus_message_skip(reply, "v") >= 0);
            assert_true(sd_bus_message_exit_container(reply) >= 0);
        }
        assert_true(sd_bus_message_exit_container(reply) >= 0);
    }
    return n;
}

static void test_sessions_lists_give_names_to_owners_only(void **state)
{
    _cleanup_bus_ sd_bus *owner = fixture_connect(), *other = fixture_connect();
    bool named = false;
    (void)state;
    assert_true(fixture_call(owner, INK_BUS_MANAGER, "CreateSession", NULL, NULL, "a{sv}", 2,
                             "persistent", "b", 1, "name", "s", "diary") >= 0);
    assert_int_equal(list(owner, &named), 1);
    assert_true(named);
    assert_int_equal(list(other, &named), 1); /* with `manage`: all, without names */
    assert_false(named);
    fake->denied = 1u << INK_PERMISSION_MANAGE;
    assert_int_equal(list(other, &named), 0);
    assert_int_equal(list(owner, &named), 1);
    fake->denied = 0;
}

static void test_sessions_need_the_permission(void **state)
{
    _cleanup_bus_ sd_bus *bus = fixture_connect();
    char path[256];
    (void)state;
    create(bus, path);
    fake->denied = 1u << INK_PERMISSION_TEXT;
    fixture_refused(bus, INK_BUS_MANAGER, "CreateSession", SD_BUS_ERROR_ACCESS_DENIED, "text",
                    "a{sv}", 0);
    refused(SD_BUS_ERROR_ACCESS_DENIED, "text", bus, path, "Prompt", "sa{sv}", "hi", 0);
    refused(SD_BUS_ERROR_ACCESS_DENIED, "text", bus, path, "GetTranscript", "");
    assert_call(bus, path, "Close", NULL, NULL, "");
    fake->denied = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_prompt_and_remember),
        cmocka_unit_test(test_sessions_prompt_options),
        cmocka_unit_test(test_sessions_are_serial),
        cmocka_unit_test(test_sessions_stream_over_a_pipe),
        cmocka_unit_test(test_sessions_prewarm_leaves_no_turn),
        cmocka_unit_test(test_sessions_tell_of_what_was_dropped),
        cmocka_unit_test(test_sessions_measure_and_describe_themselves),
        cmocka_unit_test(test_sessions_refuse_wrong_options),
        cmocka_unit_test(test_sessions_handle_token_is_unique),
        cmocka_unit_test(test_sessions_close_ends_the_prompt_first),
        cmocka_unit_test(test_sessions_forget_tells_so),
        cmocka_unit_test(test_sessions_end_with_their_owner),
        cmocka_unit_test(test_sessions_are_hidden_from_others),
        cmocka_unit_test(test_sessions_of_others_are_closed_by_who_manages),
        cmocka_unit_test(test_sessions_lists_give_names_to_owners_only),
        cmocka_unit_test(test_sessions_need_the_permission),
    };
    return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}
