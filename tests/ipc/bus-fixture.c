/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/ipc/bus-fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "engine/base/clock.h"

#define PATIENCE_USEC 5000000u

FakeShared *fake;
const char *fixture_address;

static char address[512], folder[] = "/tmp/inkling-bus-XXXXXX";
static pid_t bus_pid, service_pid;

static const char config[] =
    "<busconfig><type>session</type><listen>unix:dir=%s</listen><auth>EXTERNAL</auth>"
    "<policy context='default'><allow send_destination='*' eavesdrop='true'/>"
    "<allow eavesdrop='true'/><allow own='*'/></policy></busconfig>";

static int write_config(char path[static 64])
{
    snprintf(path, 64, "%s/bus.conf", folder);
    _cleanup_fclose_ FILE *f = fopen(path, "we");
    return f != NULL && fprintf(f, config, folder) > 0 ? 0 : -1;
}

static int start_bus(void)
{
    char path[64], option[80], print[32];
    int fds[2];
    if (mkdtemp(folder) == NULL || write_config(path) < 0 || pipe(fds) < 0)
        return -1;
    snprintf(option, sizeof(option), "--config-file=%s", path);
    snprintf(print, sizeof(print), "--print-address=%d", fds[1]);
    bus_pid = fork();
    if (bus_pid == 0) {
        close(fds[0]);
        execlp("dbus-daemon", "dbus-daemon", option, "--nofork", print, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], address, sizeof(address) - 1);
    close(fds[0]);
    if (n <= 0)
        return -1;
    address[n] = '\0';
    address[strcspn(address, "\n")] = '\0';
    fixture_address = address;
    return setenv("DBUS_SESSION_BUS_ADDRESS", address, 1);
}

void fixture_start_service(void)
{
    memset(fake, 0, sizeof(*fake));
    fflush(NULL);
    service_pid = fork();
    assert_true(service_pid >= 0);
    if (service_pid == 0)
        exit(fake_service_run(address, fake) < 0 ? 1 : 0);
    fixture_wait(&fake->n_ready, 1);
}

int fixture_start(void **state)
{
    (void)state;
    fake = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fake == MAP_FAILED || start_bus() < 0)
        return -1;
    fixture_start_service();
    return 0;
}

int fixture_end_service(int signal)
{
    int status = -1;
    kill(service_pid, signal);
    waitpid(service_pid, &status, 0);
    service_pid = 0;
    return status;
}

void fixture_signal_bus(int signal)
{
    assert_int_equal(kill(bus_pid, signal), 0);
}

int fixture_stop(void **state)
{
    char path[64];
    (void)state;
    int status = service_pid > 0 ? fixture_end_service(SIGTERM) : 0;
    kill(bus_pid, SIGTERM);
    waitpid(bus_pid, NULL, 0);
    snprintf(path, sizeof(path), "%s/bus.conf", folder);
    unlink(path);
    rmdir(folder);
    munmap(fake, sizeof(*fake));
    return status; /* a sanitizer's finding in the service counts */
}

sd_bus *fixture_connect(void)
{
    sd_bus *bus = NULL;
    assert_int_equal(sd_bus_new(&bus), 0);
    assert_true(sd_bus_set_address(bus, address) >= 0);
    assert_true(sd_bus_set_bus_client(bus, true) >= 0);
    assert_true(sd_bus_start(bus) >= 0);
    return bus;
}

void fixture_wait(const uint32_t *counter, uint32_t value)
{
    uint64_t until = ink_clock_monotonic_usec() + PATIENCE_USEC;
    while (FAKE_READ(*counter) < value && ink_clock_monotonic_usec() < until)
        usleep(500);
    assert_true(FAKE_READ(*counter) >= value);
}

static int call_v(sd_bus *bus, const char *interface, const char *member, sd_bus_error *reterr,
                  sd_bus_message **ret, const char *types, va_list args)
{
    _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
    assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, interface,
                                               member) >= 0);
    if (types != NULL && types[0] != '\0')
        assert_true(sd_bus_message_appendv(m, types, args) >= 0);
    int r = sd_bus_call(bus, m, 0, reterr, &reply);
    if (r >= 0 && ret != NULL)
        *ret = INK_TAKE(reply);
    return r;
}

int fixture_call(sd_bus *bus, const char *interface, const char *member, sd_bus_error *reterr,
                 sd_bus_message **ret, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    int r = call_v(bus, interface, member, reterr, ret, types, args);
    va_end(args);
    return r;
}

void fixture_refused(sd_bus *bus, const char *interface, const char *member, const char *name,
                     const char *part, const char *types, ...)
{
    _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    va_list args;
    va_start(args, types);
    int r = call_v(bus, interface, member, &error, NULL, types, args);
    va_end(args);
    assert_true(r < 0);
    assert_string_equal(error.name, name);
    if (strstr(error.message, part) == NULL)
        fail_msg("'%s' lacks '%s'", error.message, part);
}

/* ----------------------------------------------------------------- signals */

static void note(FixtureSeen *seen, char what)
{
    if (seen->n_order + 1 < sizeof(seen->order))
        seen->order[seen->n_order++] = what;
}

static void read_results(FixtureSeen *seen, sd_bus_message *m)
{
    const char *key, *value;
    assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") >= 0);
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        assert_true(sd_bus_message_read_basic(m, 's', &key) > 0);
        char *to = strcmp(key, "text") == 0            ? seen->results_text
                   : strcmp(key, "finish-reason") == 0 ? seen->reason
                   : strcmp(key, "error-name") == 0    ? seen->error_name
                                                       : NULL;
        if (to == NULL)
            assert_true(sd_bus_message_skip(m, "v") >= 0);
        else {
            assert_true(sd_bus_message_read(m, "v", "s", &value) > 0);
            strcpy(to, value);
        }
        sd_bus_message_exit_container(m);
    }
}

static void read_delta(FixtureSeen *seen, sd_bus_message *m)
{
    uint64_t offset;
    const char *text;
    assert_true(sd_bus_message_read(m, "ts", &offset, &text) > 0);
    seen->gap = seen->gap || offset != seen->next_offset;
    seen->next_offset = offset + strlen(text);
    assert_true(strlen(seen->text) + strlen(text) < sizeof(seen->text));
    strcat(seen->text, text);
    seen->last_delta_usec = ink_clock_monotonic_usec();
    if (seen->n_deltas++ == 0)
        seen->first_delta_usec = seen->last_delta_usec;
    note(seen, 'D');
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    FixtureSeen *seen = userdata;
    (void)reterr;
    if (sd_bus_message_is_signal(m, INK_BUS_REQUEST, "Progress"))
        note(seen, 'P');
    else if (sd_bus_message_is_signal(m, INK_BUS_REQUEST, "Delta"))
        read_delta(seen, m);
    else if (sd_bus_message_is_signal(m, INK_BUS_REQUEST, "Finished")) {
        assert_true(sd_bus_message_read(m, "u", &seen->status) > 0);
        read_results(seen, m);
        seen->n_finished++;
        note(seen, 'F');
    }
    return 0;
}

/* Every signal that reaches this connection, matched or sent to it alone. */
void fixture_listen(sd_bus *bus, FixtureSeen *seen)
{
    memset(seen, 0, sizeof(*seen));
    assert_true(sd_bus_add_filter(bus, NULL, on_signal, seen) >= 0);
}

void fixture_until_finished(sd_bus *bus, FixtureSeen *seen, size_t n)
{
    uint64_t until = ink_clock_monotonic_usec() + PATIENCE_USEC;
    while (seen->n_finished < n && ink_clock_monotonic_usec() < until) {
        int r = sd_bus_process(bus, NULL);
        assert_true(r >= 0);
        if (r == 0)
            assert_true(sd_bus_wait(bus, 100000) >= 0);
    }
    assert_int_equal(seen->n_finished, n);
}

static int on_started(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    FixtureSeen *seen = userdata;
    const char *path;
    (void)reterr;
    assert_true(sd_bus_message_read(m, "o", &path) > 0);
    strcpy(seen->path, path);
    note(seen, 'R');
    return 1;
}

void fixture_start_request(sd_bus *bus, FixtureSeen *seen, const char *model, uint32_t max_tokens,
                           const char *types, ...)
{
    _cleanup_message_ sd_bus_message *m = NULL;
    assert_true(sd_bus_message_new_method_call(bus, &m, INK_BUS_NAME, INK_BUS_PATH, INK_BUS_TEXT,
                                               "Start") >= 0);
    assert_true(sd_bus_message_append(m, "sa{sv}", "complete", 1, "prompt", "s", "Hello") >= 0);
    assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
    assert_true(sd_bus_message_append(m, "{sv}{sv}", "model", "s", model, "max-tokens", "u",
                                      max_tokens) >= 0);
    va_list args;
    va_start(args, types);
    if (types[0] != '\0')
        assert_true(sd_bus_message_appendv(m, types, args) >= 0);
    va_end(args);
    assert_true(sd_bus_message_close_container(m) >= 0);
    /* Asynchronous, so that the order of reply and signals is seen as it came. */
    seen->path[0] = '\0';
    assert_true(sd_bus_call_async(bus, NULL, m, on_started, seen, 0) >= 0);
    uint64_t until = ink_clock_monotonic_usec() + PATIENCE_USEC;
    while (seen->path[0] == '\0' && ink_clock_monotonic_usec() < until) {
        int r = sd_bus_process(bus, NULL);
        assert_true(r >= 0);
        if (r == 0)
            assert_true(sd_bus_wait(bus, 100000) >= 0);
    }
    assert_string_not_equal(seen->path, "");
}
