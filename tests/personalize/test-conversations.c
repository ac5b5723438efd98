/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Persistent sessions in the store: what comes back, whose it is, limits, faults. */
#include "tests/personalize/store-test.h"

#include <sqlite3.h>

#include "personalize/conversations.h"
#include "tests/fault/fault-vfs.h"

#define APP   "exe:test"
#define OTHER "exe:other"

static const InkStoredTurn pair[] = {
    {.role = INK_ROLE_USER, .text = "a canary asks", .tokens = 5},
    {.role = INK_ROLE_ASSISTANT, .text = "a canary answers", .tokens = 7}};
static const InkStoredTurn head[] = {{.role = INK_ROLE_SYSTEM, .text = "be brief"}};
static const InkStoredSession options = {.context_limit = 512, .overflow = 1, .priority = 2};

/* Turns as one line of text: "s:be brief|u:a canary asks|". */
typedef struct Shown {
    char text[4096];
    size_t n;
    uint64_t last_usec;
    uint32_t n_tokens;
} Shown;

static int show_turn(void *userdata, const InkStoredTurn *turn)
{
    static const char letters[INK_ROLE_MAX] = {0, 's', 'u', 'a', 't'};
    Shown *shown = userdata;
    size_t at = strlen(shown->text);
    snprintf(shown->text + at, sizeof(shown->text) - at, "%c:%s|", letters[turn->role], turn->text);
    shown->n++;
    shown->last_usec = turn->time_usec;
    shown->n_tokens += turn->tokens;
    return 0;
}

static Shown show(InkStore *s, uint64_t session)
{
    Shown shown = {0};
    InkError error = {0};
    if (ink_store_list_turns(s, session, show_turn, &shown, &error) < 0)
        fail_msg("list: %s", error.message);
    return shown;
}

static uint64_t make(InkStore *s, const char *app, const char *name)
{
    uint64_t id = 0;
    InkError error = {0};
    if (ink_store_new_session(s, app, name, &options, head, 1, &id, &error) < 0)
        fail_msg("new: %s", error.message);
    return id;
}

static void append(InkStore *s, uint64_t id)
{
    InkError error = {0};
    if (ink_store_append_turns(s, id, show(s, id).n, pair, 2, &error) < 0)
        fail_msg("append: %s", error.message);
}

static void test_conversations_come_back_after_a_restart(void **state)
{
    InkStore *s = open_store(*state); /* memory is off: a session is the caller's own wish */
    uint64_t id = make(s, APP, "letters");
    test_real = NOON + HOUR;
    append(s, id);
    ink_store_close(s);
    s = open_store(*state);
    InkStoredSession found = {0};
    assert_int_equal(ink_store_find_session(s, APP, "letters", &found, NULL), 0);
    assert_int_equal(found.id, id);
    assert_int_equal(found.created_usec, NOON);
    assert_int_equal(found.used_usec, NOON + HOUR);
    assert_int_equal(found.context_limit, 512);
    assert_int_equal(found.overflow, 1);
    assert_int_equal(found.priority, 2);
    Shown shown = show(s, id);
    assert_string_equal(shown.text, "s:be brief|u:a canary asks|a:a canary answers|");
    assert_int_equal(shown.n_tokens, 12);
    assert_int_equal(shown.last_usec, NOON + HOUR);
    ink_store_close(s);
}

static void test_conversations_belong_to_one_application(void **state)
{
    InkStore *s = open_store(*state);
    InkStoredSession found;
    InkError error = {0};
    uint64_t mine = make(s, APP, "same"), theirs = make(s, OTHER, "same");
    assert_int_not_equal(mine, theirs);
    append(s, theirs);
    assert_int_equal(show(s, mine).n, 1);
    assert_int_equal(ink_store_find_session(s, "exe:third", "same", &found, &error), -ENOMSG);
    uint64_t id = 77;
    assert_int_equal(ink_store_new_session(s, APP, "same", &options, NULL, 0, &id, &error),
                     -EEXIST);
    assert_int_equal(id, 77);
    ink_store_close(s);
}

static void test_conversations_rewind_and_go_on(void **state)
{
    InkStore *s = open_store(*state);
    uint64_t id = make(s, APP, "back");
    append(s, id);
    append(s, id);
    assert_int_equal(ink_store_rewind_session(s, id, 3, NULL), 0);
    assert_string_equal(show(s, id).text, "s:be brief|u:a canary asks|a:a canary answers|");
    append(s, id);
    assert_int_equal(show(s, id).n, 5);
    assert_int_equal(ink_store_rewind_session(s, id, 9, NULL), 0); /* there is nothing to drop */
    assert_int_equal(show(s, id).n, 5);
    ink_store_close(s);
}

static bool file_holds(const char *path, const char *word)
{
    size_t n;
    char *data = read_whole(path, &n);
    bool holds = data != NULL && memmem(data, n, word, strlen(word)) != NULL;
    free(data);
    return holds;
}

static bool store_holds(const Place *p, const char *word)
{
    char log[128];
    snprintf(log, sizeof(log), "%s-wal", p->database);
    return file_holds(p->database, word) || file_holds(log, word);
}

static void test_conversations_removed_leave_no_bytes(void **state)
{
    InkStore *s = open_store(*state);
    InkError error = {0};
    uint64_t id = make(s, APP, "gone"), kept = make(s, APP, "kept");
    append(s, id);
    assert_true(store_holds(*state, "canary"));
    assert_int_equal(ink_store_remove_session(s, id, NULL), 0);
    assert_false(store_holds(*state, "canary"));
    assert_int_equal(show(s, id).n, 0);
    assert_int_equal(show(s, kept).n, 1);
    assert_int_equal(ink_store_append_turns(s, id, 0, pair, 2, &error), -ENOMSG);
    assert_int_equal(ink_store_rewind_session(s, id, 0, &error), -ENOMSG);
    assert_int_equal(ink_store_remove_session(s, id, NULL), 0); /* again is no error */
    ink_store_close(s);
}

static void test_conversations_check_names_and_turns(void **state)
{
    InkStore *s = open_store(*state);
    char name[INK_STORE_MAX_SESSION_NAME_BYTES + 2];
    InkError error = {0};
    uint64_t id = 0;
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    const char *const refused[] = {"", name, "a\nb", "a\x7f", "\xff"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(ink_store_new_session(s, APP, refused[i], &options, NULL, 0, &id, &error),
                         -EINVAL);
    name[INK_STORE_MAX_SESSION_NAME_BYTES] = '\0';
    assert_int_equal(ink_store_new_session(s, APP, name, &options, NULL, 0, &id, &error), 0);
    const InkStoredTurn wrong[] = {{.role = INK_ROLE_MAX, .text = "x"},
                                   {.role = 0, .text = "x"},
                                   {.role = INK_ROLE_USER, .text = NULL},
                                   {.role = INK_ROLE_USER, .text = "\xc3"}};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ink_store_append_turns(s, id, 0, &wrong[i], 1, &error), -EINVAL);
    assert_int_equal(show(s, id).n, 0);
    ink_store_close(s);
}

static void test_conversations_have_limits(void **state)
{
    InkStore *s = open_store(*state);
    InkError error = {0};
    static InkStoredTurn many[INK_STORE_MAX_CONVERSATION_TURNS + 1];
    for (size_t i = 0; i < INK_STORE_MAX_CONVERSATION_TURNS + 1; i++)
        many[i] = pair[0];
    uint64_t id = make(s, APP, "long");
    assert_int_equal(
        ink_store_append_turns(s, id, 1, many, INK_STORE_MAX_CONVERSATION_TURNS, &error),
        -EDQUOT); /* the system text is one */
    assert_int_equal(show(s, id).n, 1);
    assert_int_equal(
        ink_store_append_turns(s, id, 1, many, INK_STORE_MAX_CONVERSATION_TURNS - 1, &error), 0);
    assert_int_equal(ink_store_append_turns(s, id, 1024, pair, 1, &error), -EDQUOT);
    char *large = malloc(INK_STORE_MAX_CONVERSATION_BYTES + 1);
    assert_non_null(large);
    memset(large, 'x', INK_STORE_MAX_CONVERSATION_BYTES);
    large[INK_STORE_MAX_CONVERSATION_BYTES] = '\0';
    const InkStoredTurn turn = {.role = INK_ROLE_USER, .text = large};
    id = make(s, APP, "wide");
    assert_int_equal(ink_store_append_turns(s, id, 1, &turn, 1, &error), -EDQUOT);
    large[INK_STORE_MAX_CONVERSATION_BYTES - strlen(head[0].text)] = '\0';
    assert_int_equal(ink_store_append_turns(s, id, 1, &turn, 1, &error), 0);
    free(large);
    ink_store_close(s);
}

static void test_conversations_are_limited_in_number(void **state)
{
    InkStore *s = open_store(*state);
    InkError error = {0};
    uint64_t id;
    /* The rows that a thousand calls would make, in one transaction. */
    for (int i = 0; i < (int)INK_STORE_MAX_SESSIONS; i++) {
        char sql[256];
        snprintf(sql, sizeof(sql),
                 "%sINSERT INTO sessions(app, name, created_usec, used_usec, context_limit, "
                 "overflow, priority) VALUES('" APP "', 'n%d', 1, 1, 0, 0, 0)",
                 i == 0 ? "BEGIN;" : "", i);
        assert_int_equal(ink_store_execute(s, sql, &error), 0);
    }
    assert_int_equal(ink_store_execute(s, "COMMIT", &error), 0);
    assert_int_equal(ink_store_new_session(s, APP, "more", &options, NULL, 0, &id, &error),
                     -EDQUOT);
    assert_non_null(strstr(error.message, "1000"));
    (void)make(s, OTHER, "more");
    ink_store_close(s);
}

static void test_conversations_report_damaged_rows(void **state)
{
    InkStore *s = open_store(*state);
    InkError error = {0};
    Shown shown = {0};
    uint64_t id = make(s, APP, "odd");
    assert_int_equal(ink_store_execute(s, "UPDATE turns SET role = 9", &error), 0);
    assert_int_equal(ink_store_list_turns(s, id, show_turn, &shown, &error), -EIO);
    assert_non_null(strstr(error.message, "damaged"));
    ink_store_close(s);
}

/* ------------------------------------------------------------------- faults */

/* What the store acknowledged. */
typedef struct Acked {
    size_t n_turns;
    bool removed;
} Acked;

static void work(InkStore *s, uint64_t id, Acked *acked)
{
    InkError error = {0};
    uint64_t other = 0;
    for (size_t i = 0; i < 3; i++) {
        int r = ink_store_append_turns(s, id, acked->n_turns, pair, 2, &error);
        assert_true(r == 0 || r == -EIO || r == -ENOMEM);
        acked->n_turns += r == 0 ? 2 : 0;
    }
    int r = ink_store_new_session(s, APP, "second", &options, head, 1, &other, &error);
    assert_true(r == 0 || r == -EIO || r == -ENOMEM);
    if (r == 0) {
        r = ink_store_remove_session(s, other, &error);
        assert_true(r == 0 || r == -EIO || r == -ENOMEM);
        acked->removed = r == 0;
    }
    assert_null(strstr(error.message, "canary"));
}

static void check_after(const Place *p, uint64_t id, const Acked *acked)
{
    InkStore *s = open_store(p);
    InkStoredSession found = {0};
    InkError error = {0};
    Shown shown = show(s, id);
    /* All that was acknowledged; a call that failed may have left its whole pair, never a half. */
    assert_true(shown.n == acked->n_turns || shown.n == acked->n_turns + 2);
    if (acked->removed)
        assert_int_equal(ink_store_find_session(s, APP, "second", &found, &error), -ENOMSG);
    /* Who goes on from what was acknowledged finds exactly that before its own turns. */
    const InkStoredTurn next = {.role = INK_ROLE_USER, .text = "next"};
    assert_int_equal(ink_store_append_turns(s, id, acked->n_turns, &next, 1, &error), 0);
    shown = show(s, id);
    assert_int_equal(shown.n, acked->n_turns + 1);
    assert_string_equal(shown.text + strlen(shown.text) - 7, "u:next|");
    ink_store_close(s);
}

/* The n-th change of the disk fails, for all n; the same store works on. */
static void walk(const Place *p, FaultKind kind, bool sticky, size_t stride)
{
    size_t n_points = 0;
    bool fired = true;
    for (size_t at = 1; fired; at += stride) {
        remove_files(p->directory);
        InkStore *s = open_store(p);
        uint64_t id = make(s, APP, "first");
        Acked acked = {.n_turns = 1};
        fault_vfs_arm(at, FAULT_CHANGES, kind, sticky);
        work(s, id, &acked);
        fired = fault_vfs_fired();
        fault_vfs_disarm();
        if (!sticky) {
            InkError error = {0};
            assert_int_equal(ink_store_append_turns(s, id, acked.n_turns, pair, 2, &error), 0);
            acked.n_turns += 2;
        }
        ink_store_close(s);
        check_after(p, id, &acked);
        n_points++;
    }
    assert_true(n_points > 3);
    print_message("kind %d, sticky %d: %zu points\n", kind, sticky, n_points);
}

static void test_conversations_keep_what_was_acknowledged(void **state)
{
    size_t stride = is_full_run() ? 1 : 3;
    fault_vfs_install();
    for (int sticky = 0; sticky < 2; sticky++) {
        walk(*state, FAULT_IOERR, sticky != 0, stride);
        walk(*state, FAULT_FULL, sticky != 0, stride);
        walk(*state, FAULT_SHORT, sticky != 0, stride);
    }
    fault_vfs_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_conversations_come_back_after_a_restart),
        store_test(test_conversations_belong_to_one_application),
        store_test(test_conversations_rewind_and_go_on),
        store_test(test_conversations_removed_leave_no_bytes),
        store_test(test_conversations_check_names_and_turns),
        store_test(test_conversations_have_limits),
        store_test(test_conversations_are_limited_in_number),
        store_test(test_conversations_report_damaged_rows),
        store_test(test_conversations_keep_what_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
