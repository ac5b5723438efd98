/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The questions that are asked about a new caller, with a bus made here that answers as a test
 * wants: newer ones with a pidfd, lying and vanishing callers, answers of the wrong form. */
#include "ipc/caller.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "engine/base/clock.h"

#define DBUS "org.freedesktop.DBus"

typedef struct World {
    sd_bus *service, *bus; /* the two ends of a socket pair */
    InkCallers *callers;
    /* how the bus answers */
    uint32_t uid, pid;
    int pidfd;         /* -1 = it has none */
    const char *label; /* NULL = it tells none */
    bool wrong_type, unknown_name;
    uint32_t pids[4]; /* of GetConnectionUnixProcessID, in turn; 0 = an error */
    size_t n_asked_credentials, n_asked_pid;
    /* what came of it */
    size_t n_known, n_gone, n_run, n_errors;
    char app_id[INK_IDENTITY_MAX_BYTES + 1], message[256], order[16];
    InkCallerKind kind;
} World;

/* -------------------------------------------------------------- the bus's side */

static int append_credentials(const World *w, sd_bus_message *m)
{
    int r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = sd_bus_message_append(m, "{sv}{sv}", "UnixUserID", "u", w->uid, "Other", "as", 1, "x");
    if (r >= 0 && w->wrong_type)
        r = sd_bus_message_append(m, "{sv}", "ProcessID", "s", "12");
    else if (r >= 0 && w->pid != 0)
        r = sd_bus_message_append(m, "{sv}", "ProcessID", "u", w->pid);
    if (r >= 0 && w->pidfd >= 0)
        r = sd_bus_message_append(m, "{sv}", "ProcessFD", "h", w->pidfd);
    if (r >= 0 && w->label != NULL) {
        r = sd_bus_message_open_container(m, 'e', "sv");
        r |= sd_bus_message_append(m, "s", "LinuxSecurityLabel");
        r |= sd_bus_message_open_container(m, 'v', "ay");
        r |= sd_bus_message_append_array(m, 'y', w->label, strlen(w->label) + 1);
        r |= sd_bus_message_close_container(m);
        r |= sd_bus_message_close_container(m);
    }
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int answer_pid(World *w, sd_bus_message *m)
{
    const char *name;
    assert_true(sd_bus_message_read(m, "s", &name) > 0);
    if (strcmp(name, DBUS) == 0)
        return sd_bus_reply_method_return(m, "u", (uint32_t)getpid());
    assert_string_equal(name, ":1.7");
    assert_true(w->n_asked_pid < 4);
    uint32_t pid = w->pids[w->n_asked_pid++];
    return pid != 0 ? sd_bus_reply_method_return(m, "u", pid)
                    : sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "gone");
}

static int on_bus(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    World *w = userdata;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    (void)reterr;
    if (sd_bus_message_is_method_call(m, DBUS, "GetConnectionUnixProcessID"))
        return answer_pid(w, m) < 0 ? -EIO : 1;
    if (sd_bus_message_is_method_error(m, NULL)) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        snprintf(w->message, sizeof(w->message), "%s: %s", strrchr(e->name, '.') + 1, e->message);
        w->n_errors++;
        return 1;
    }
    if (!sd_bus_message_is_method_call(m, DBUS, "GetConnectionCredentials"))
        return 0;
    w->n_asked_credentials++;
    if (w->unknown_name)
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "gone");
    assert_true(sd_bus_message_new_method_return(m, &reply) >= 0);
    assert_true(append_credentials(w, reply) >= 0);
    return sd_bus_send(NULL, reply, NULL) < 0 ? -EIO : 1;
}

/* ---------------------------------------------------------- the service's side */

static void on_known(void *userdata, InkCallerEntry *who)
{
    World *w = userdata;
    assert_null(who->refusal);
    w->n_known++;
}

static void on_gone(void *userdata, InkCallerEntry *who)
{
    (void)who;
    ((World *)userdata)->n_gone++;
}

static int run_call(void *userdata, InkCallerEntry *who, sd_bus_message *m, sd_bus_error *reterr)
{
    World *w = userdata;
    const char *letter;
    (void)reterr;
    assert_true(sd_bus_message_read(m, "s", &letter) > 0);
    assert_true(w->n_run + 1 < sizeof(w->order));
    w->order[w->n_run++] = letter[0];
    w->kind = who->caller.kind;
    snprintf(w->app_id, sizeof(w->app_id), "%s", who->caller.app_id);
    assert_ptr_equal(who->caller.app_id, who->identity.app_id);
    return sd_bus_reply_method_return(m, "");
}

static int on_service(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    World *w = userdata;
    if (!sd_bus_message_is_method_call(m, "org.example.Test", NULL))
        return 0;
    return ink_callers_dispatch(w->callers, m, run_call, reterr);
}

/* -------------------------------------------------------------------- the world */

static void pump(World *w)
{
    for (int idle = 0; idle < 3;) {
        int r = sd_bus_process(w->service, NULL), s = sd_bus_process(w->bus, NULL);
        assert_true(r >= 0 && s >= 0);
        idle = r == 0 && s == 0 ? idle + 1 : 0;
    }
}

static int setup(void **state)
{
    World *w = calloc(1, sizeof(*w));
    int fds[2];
    sd_id128_t id = {.qwords = {1, 2}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_true(sd_bus_new(&w->service) >= 0 && sd_bus_new(&w->bus) >= 0);
    assert_true(sd_bus_set_fd(w->service, fds[0], fds[0]) >= 0);
    assert_true(sd_bus_set_fd(w->bus, fds[1], fds[1]) >= 0);
    assert_true(sd_bus_set_server(w->bus, 1, id) >= 0);
    assert_true(sd_bus_negotiate_fds(w->bus, 1) >= 0 && sd_bus_negotiate_fds(w->service, 1) >= 0);
    assert_true(sd_bus_start(w->bus) >= 0 && sd_bus_start(w->service) >= 0);
    assert_true(sd_bus_add_filter(w->bus, NULL, on_bus, w) >= 0);
    assert_true(sd_bus_add_filter(w->service, NULL, on_service, w) >= 0);
    assert_int_equal(ink_callers_new(w->service, on_known, on_gone, w, &w->callers), 0);
    w->uid = geteuid();
    w->pid = (uint32_t)getpid();
    w->pidfd = -1;
    for (size_t i = 0; i < 4; i++)
        w->pids[i] = w->pid;
    pump(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;
    ink_callers_free(w->callers);
    sd_bus_close_unref(w->service);
    sd_bus_close_unref(w->bus);
    if (w->pidfd >= 0)
        close(w->pidfd);
    free(w);
    return 0;
}

static void send_call(World *w, const char *letter)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    assert_true(sd_bus_message_new_method_call(w->bus, &m, NULL, "/x", "org.example.Test", "Do") >=
                0);
    assert_true(sd_bus_message_append(m, "s", letter) >= 0);
    assert_true(sd_bus_message_set_sender(m, ":1.7") >= 0);
    uint64_t cookie; /* who asks for none wants no answer */
    assert_true(sd_bus_send(w->bus, m, &cookie) >= 0);
}

static void call(World *w, const char *letter)
{
    send_call(w, letter);
    pump(w);
}

static void check_refused(World *w, const char *part)
{
    assert_int_equal(w->n_run, 0);
    assert_int_equal(w->n_known, 0);
    assert_int_equal(w->n_errors, 1);
    if (strncmp(w->message, "AccessDenied: ", 14) != 0 || strstr(w->message, part) == NULL)
        fail_msg("'%s' lacks '%s'", w->message, part);
}

/* -------------------------------------------------------------------- questions */

static void test_caller_is_asked_for_once(void **state)
{
    World *w = *state;
    send_call(w, "a");
    send_call(w, "b");
    call(w, "c");
    call(w, "d");
    assert_string_equal(w->order, "abcd");
    assert_int_equal(w->n_known, 1);
    assert_int_equal(w->n_asked_credentials, 1);
    assert_int_equal(w->n_asked_pid, 2);
    assert_int_equal(w->kind, INK_CALLER_HOST);
    InkCallerEntry *e = ink_callers_find(w->callers, ":1.7");
    assert_non_null(e);
    assert_int_equal(e->pidfd, -1); /* nothing is held open */
    assert_int_equal(w->n_errors, 0);
}

static void test_caller_leaves(void **state)
{
    World *w = *state;
    call(w, "a");
    for (int i = 0; i < 2; i++) { /* another's end is not this one's */
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        assert_true(sd_bus_message_new_signal(w->bus, &m, "/org/freedesktop/DBus", DBUS,
                                              "NameOwnerChanged") >= 0);
        assert_true(sd_bus_message_set_sender(m, DBUS) >= 0);
        const char *name = i == 0 ? ":1.8" : ":1.7";
        assert_true(sd_bus_message_append(m, "sss", name, name, "") >= 0);
        assert_true(sd_bus_send(w->bus, m, NULL) >= 0);
        pump(w);
        assert_int_equal(w->n_gone, i);
    }
    assert_null(ink_callers_find(w->callers, ":1.7"));
    call(w, "b");
    assert_int_equal(w->n_asked_credentials, 2);
    assert_string_equal(w->order, "ab");
}

static void test_caller_with_a_pidfd_of_the_bus(void **state)
{
    World *w = *state;
    assert_int_equal(ink_identity_open_pidfd(w->pid, &w->pidfd), 0);
    w->pid = 1; /* the number counts for nothing then */
    call(w, "a");
    assert_string_equal(w->order, "a");
    assert_int_equal(w->n_asked_pid, 0);
    assert_int_equal(w->kind, INK_CALLER_HOST);
}

static void test_caller_with_a_pidfd_has_ended(void **state)
{
    World *w = *state;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(ink_identity_open_pidfd((uint32_t)child, &w->pidfd), 0);
    waitpid(child, NULL, 0);
    call(w, "a"); /* the number is that of this very process, which lives */
    check_refused(w, "ended");
}

static void test_caller_with_no_pidfd_in_its_place(void **state)
{
    World *w = *state;
    w->pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    call(w, "a");
    check_refused(w, "cannot be told");
}

static void test_caller_of_another_user(void **state)
{
    World *w = *state;
    w->uid = geteuid() + 1;
    call(w, "a");
    check_refused(w, "only the user");
    call(w, "b");
    assert_int_equal(w->n_errors, 2);
    assert_int_equal(w->n_asked_credentials, 1);
}

static void test_caller_whose_credentials_are_unsound(void **state)
{
    World *w = *state;
    w->wrong_type = true;
    call(w, "a");
    check_refused(w, "cannot be told");
    w->wrong_type = false; /* that was an accident: the next call asks anew */
    call(w, "b");
    assert_string_equal(w->order, "b");
}

static void test_caller_that_the_bus_does_not_know(void **state)
{
    World *w = *state;
    w->unknown_name = true;
    call(w, "a");
    check_refused(w, "cannot be told");
    assert_null(ink_callers_find(w->callers, ":1.7"));
}

static void test_caller_without_a_number(void **state)
{
    World *w = *state;
    w->pid = 0;
    call(w, "a");
    check_refused(w, "cannot be told");
}

static void test_caller_whose_number_changes(void **state)
{
    World *w = *state;
    w->pids[0] = w->pid + 1;
    call(w, "a");
    check_refused(w, "ended");
}

static void test_caller_whose_number_changes_late(void **state)
{
    World *w = *state;
    w->pids[1] = w->pid + 1;
    call(w, "a");
    check_refused(w, "ended");
    assert_int_equal(w->n_asked_pid, 2);
}

static void test_caller_that_left_meanwhile(void **state)
{
    World *w = *state;
    w->pids[1] = 0;
    call(w, "a");
    check_refused(w, "ended");
    assert_null(ink_callers_find(w->callers, ":1.7"));
}

static pid_t start_child(bool with_socket)
{
    int fds[2];
    char byte;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int fd = 3; fd < 256; fd++)
            if (fd != fds[1])
                close(fd);
        if (with_socket && socket(AF_UNIX, SOCK_STREAM, 0) < 0)
            _exit(1);
        (void)!write(fds[1], "", 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    close(fds[1]);
    return child;
}

static void end_child(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void test_caller_without_a_socket_is_no_caller(void **state)
{
    World *w = *state;
    pid_t child = start_child(false);
    for (size_t i = 0; i < 4; i++)
        w->pids[i] = (uint32_t)child;
    w->pid = (uint32_t)child;
    call(w, "a");
    end_child(child);
    check_refused(w, "gave its connection away");
}

static void test_caller_that_began_after_its_call(void **state)
{
    World *w = *state;
    send_call(w, "a");
    assert_true(sd_bus_process(w->service, NULL) >= 0); /* it has come, nothing is answered yet */
    for (int i = 0; i < 10 && ink_callers_find(w->callers, ":1.7") == NULL; i++)
        assert_true(sd_bus_process(w->service, NULL) >= 0 && w->n_asked_credentials == 0);
    assert_non_null(ink_callers_find(w->callers, ":1.7"));
    usleep(30000); /* three ticks of the clock that start times are in */
    pid_t child = start_child(true);
    for (size_t i = 0; i < 4; i++)
        w->pids[i] = (uint32_t)child;
    w->pid = (uint32_t)child;
    pump(w);
    end_child(child);
    check_refused(w, "ended");
    assert_int_equal(w->n_asked_pid, 0);
}

static void test_caller_of_a_snap_by_the_word_of_the_bus(void **state)
{
    World *w = *state;
    w->label = "snap.thing.app (enforce)";
    call(w, "a");
    assert_string_equal(w->app_id, "snap.thing");
    assert_int_equal(w->kind, INK_CALLER_SNAP);
}

static void test_caller_with_a_label_that_is_too_long(void **state)
{
    World *w = *state;
    char label[600];
    memset(label, 'a', sizeof(label));
    memcpy(label, "snap.", 5);
    label[sizeof(label) - 1] = '\0';
    w->label = label;
    call(w, "a");
    assert_int_equal(w->kind, INK_CALLER_UNKNOWN);
    assert_string_equal(w->app_id, "unknown");
}

#define in_world(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(test_caller_is_asked_for_once),
        in_world(test_caller_leaves),
        in_world(test_caller_with_a_pidfd_of_the_bus),
        in_world(test_caller_with_a_pidfd_has_ended),
        in_world(test_caller_with_no_pidfd_in_its_place),
        in_world(test_caller_of_another_user),
        in_world(test_caller_whose_credentials_are_unsound),
        in_world(test_caller_that_the_bus_does_not_know),
        in_world(test_caller_without_a_number),
        in_world(test_caller_whose_number_changes),
        in_world(test_caller_whose_number_changes_late),
        in_world(test_caller_that_left_meanwhile),
        in_world(test_caller_without_a_socket_is_no_caller),
        in_world(test_caller_that_began_after_its_call),
        in_world(test_caller_of_a_snap_by_the_word_of_the_bus),
        in_world(test_caller_with_a_label_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
