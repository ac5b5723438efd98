/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Short memory, from both sources, and what the service does about it. */
#include "tests/daemon/app-world.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/ipc/bus-fixture.h"

#define CALM_USEC 80000u

typedef struct Seen {
    World w; /* for its loop */
    InkPressure *pressure;
    unsigned n;
    InkPressureLevel last;
    char fifo[128];
    int fd;
} Seen;

static void on_changed(void *userdata, InkPressureLevel level)
{
    Seen *s = userdata;
    s->n++;
    s->last = level;
}

static void make_fifo(const World *w, char path[128], int *ret_fd)
{
    snprintf(path, 128, "%.60s/psi", w->folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    *ret_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(*ret_fd >= 0);
}

static void say(int fd, const char *some, const char *full)
{
    char text[160];
    int n = snprintf(text, sizeof text,
                     "some avg10=%s avg60=0.00 avg300=0.00 total=7\n"
                     "full avg10=%s avg60=0.00 avg300=0.00 total=7\n",
                     some, full);
    assert_int_equal(write(fd, text, (size_t)n), n);
}

static void run_until_level(World *w, const InkPressureLevel *level, InkPressureLevel wanted)
{
    uint64_t end = ink_clock_monotonic_usec() + WAIT_USEC;
    while (*level != wanted && ink_clock_monotonic_usec() < end)
        assert_true(sd_event_run(w->event, 100000) >= 0);
    assert_int_equal(*level, wanted);
}

static void test_pressure_reads_the_kernels_words(void **state)
{
    (void)state;
    unsigned some = 9, full = 9;
    assert_true(ink_pressure_parse("some avg10=12.34 avg60=0.00 avg300=0.00 total=1\n"
                                   "full avg10=3.05 avg60=0.00 avg300=0.00 total=1\n",
                                   &some, &full));
    assert_int_equal(some, 1234);
    assert_int_equal(full, 305);
    assert_true(ink_pressure_parse("some avg10=100.00 avg60=", &some, &full));
    assert_int_equal(some, 10000);
    assert_int_equal(full, 0);
    static const char *const wrong[] = {"", "some", "some avg10=", "full avg10=1.00",
                                        "some avg10=x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(ink_pressure_parse(wrong[i], &some, &full));
}

static void test_pressure_rises_and_calms_down(void **state)
{
    (void)state;
    Seen s = {0};
    world_init(&s.w, "echo");
    make_fifo(&s.w, s.fifo, &s.fd);
    InkPressureOptions options = {.psi_path = s.fifo, .bus_address = "", .calm_usec = CALM_USEC};
    assert_int_equal(ink_pressure_new(s.w.event, &options, on_changed, &s, &s.pressure, NULL), 0);
    run_for(&s.w, 20000);
    assert_int_equal(s.n, 0);
    say(s.fd, "6.00", "0.10"); /* the trigger alone is enough */
    run_until_level(&s.w, &s.last, INK_PRESSURE_SOME);
    assert_int_equal(ink_pressure_level(s.pressure), INK_PRESSURE_SOME);
    say(s.fd, "41.00", "2.00");
    run_until_level(&s.w, &s.last, INK_PRESSURE_HIGH);
    say(s.fd, "12.00", "11.00"); /* all tasks stalled a tenth of the time */
    run_for(&s.w, 20000);
    assert_int_equal(s.last, INK_PRESSURE_HIGH);
    run_until_level(&s.w, &s.last, INK_PRESSURE_NONE);
    assert_int_equal(s.n, 3);
    ink_pressure_free(s.pressure);
    close(s.fd);
    world_done(&s.w);
}

static void test_pressure_without_sources_is_quiet(void **state)
{
    (void)state;
    Seen s = {0};
    InkError error = {0};
    world_init(&s.w, "echo");
    static const char *const files[] = {"/nonexistent/pressure", "/dev/null", "/proc/self/status"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        InkPressureOptions options = {.psi_path = files[i],
                                      .bus_address = "unix:path=/nonexistent/bus"};
        assert_int_equal(ink_pressure_new(s.w.event, &options, on_changed, &s, &s.pressure, &error),
                         0);
        run_for(&s.w, 10000);
        assert_int_equal(ink_pressure_level(s.pressure), INK_PRESSURE_NONE);
        s.pressure = ink_pressure_free(s.pressure);
    }
    assert_int_equal(s.n, 0);
    world_done(&s.w);
}

static bool kernel_gives_triggers(void)
{
    static const char trigger[] = INK_LIMIT_PRESSURE_TRIGGER;
    int fd = open("/proc/pressure/cpu", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    bool can = fd >= 0 && write(fd, trigger, sizeof trigger) == (ssize_t)sizeof trigger;
    if (fd >= 0)
        close(fd);
    return can;
}

/* A test cannot make memory short without harm, but processors, whose file is of the same make. */
static void test_pressure_is_woken_by_the_kernel(void **state)
{
    (void)state;
    enum { N_BUSY = 3 };
    pid_t busy[N_BUSY];
    cpu_set_t here;
    Seen s = {0};
    if (!kernel_gives_triggers()) {
        print_message("no triggers for this user on this kernel\n");
        skip();
    }
    CPU_ZERO(&here); /* one processor for all of them */
    CPU_SET(sched_getcpu(), &here);
    world_init(&s.w, "echo");
    InkPressureOptions options = {.psi_path = "/proc/pressure/cpu", .bus_address = ""};
    assert_int_equal(ink_pressure_new(s.w.event, &options, on_changed, &s, &s.pressure, NULL), 0);
    for (unsigned i = 0; i < N_BUSY; i++) {
        busy[i] = fork();
        if (busy[i] == 0 && sched_setaffinity(0, sizeof here, &here) < 0)
            _exit(1);
        if (busy[i] == 0)
            for (uint64_t end = ink_clock_monotonic_usec() + WAIT_USEC;;)
                if (ink_clock_monotonic_usec() > end)
                    _exit(0);
    }
    uint64_t end = ink_clock_monotonic_usec() + WAIT_USEC;
    while (s.n == 0 && ink_clock_monotonic_usec() < end)
        assert_true(sd_event_run(s.w.event, 100000) >= 0);
    for (unsigned i = 0; i < N_BUSY; i++) {
        kill(busy[i], SIGKILL);
        waitpid(busy[i], NULL, 0);
    }
    assert_true(s.n > 0);
    assert_true(ink_pressure_level(s.pressure) > INK_PRESSURE_NONE);
    ink_pressure_free(s.pressure);
    world_done(&s.w);
}

/* ------------------------------------------------------------------ LowMemoryMonitor */

static void warn_of(sd_bus *bus, uint8_t level)
{
    assert_true(sd_bus_emit_signal(bus, "/org/freedesktop/LowMemoryMonitor",
                                   "org.freedesktop.LowMemoryMonitor", "LowMemoryWarning", "y",
                                   level) >= 0);
    assert_true(sd_bus_flush(bus) >= 0);
}

static void test_pressure_hears_the_low_memory_monitor(void **state)
{
    (void)state;
    Seen s = {0};
    world_init(&s.w, "echo");
    InkPressureOptions options = {
        .psi_path = "", .bus_address = fixture_address, .calm_usec = CALM_USEC};
    assert_int_equal(ink_pressure_new(s.w.event, &options, on_changed, &s, &s.pressure, NULL), 0);
    run_for(&s.w, 50000); /* the match is asked for, and nobody waits for it */
    _cleanup_bus_ sd_bus *monitor = fixture_connect(), *stranger = fixture_connect();
    assert_true(sd_bus_request_name(monitor, "org.freedesktop.LowMemoryMonitor", 0) >= 0);
    warn_of(stranger, 255); /* the bus does not let this through: not the owner of the name */
    warn_of(monitor, 50);
    run_until_level(&s.w, &s.last, INK_PRESSURE_SOME);
    assert_int_equal(s.n, 1);
    warn_of(monitor, 255);
    run_until_level(&s.w, &s.last, INK_PRESSURE_HIGH);
    run_until_level(&s.w, &s.last, INK_PRESSURE_NONE);
    ink_pressure_free(s.pressure);
    world_done(&s.w);
}

/* ------------------------------------------------------------------ what follows from it */

static void app_of(World *w, const char *script, int *ret_fd)
{
    static char fifo[128];
    clear_clients();
    world_init(w, script);
    make_fifo(w, fifo, ret_fd);
    w->pressure = (InkPressureOptions){.psi_path = fifo, .bus_address = "", .calm_usec = CALM_USEC};
}

static void test_pressure_ends_an_idle_worker_even_a_resident_one(void **state)
{
    (void)state;
    World w;
    int fd;
    app_of(&w, "echo", &fd);
    w.config.resident = INK_RESIDENT_ALWAYS;
    world_start(&w);
    start(&w, &one, "Hello");
    run_until(&w, &one.ended);
    run_for(&w, 30000);
    assert_string_equal(state_of(&w), "ready");
    say(fd, "15.00", "1.00");
    run_for(&w, 50000);
    assert_string_equal(state_of(&w), "idle");
    start(&w, &one, "Hello"); /* some pressure refuses nothing */
    run_until(&w, &one.ended);
    assert_string_equal(one.text, FAKE_TEXT);
    close(fd);
    world_done(&w);
}

static void test_pressure_high_begins_nothing_and_kills_nothing(void **state)
{
    (void)state;
    World w;
    int fd;
    InkError error = {0};
    InkTask task = make_task("Hello"), background = make_task("Hello");
    background.priority = INK_PRIORITY_BACKGROUND;
    app_of(&w, "slow", &fd);
    world_start(&w);
    /* No worker yet: nobody is loaded for. */
    say(fd, "90.00", "50.00");
    run_for(&w, 30000);
    assert_int_equal(start_as(&w, &one, "exe:test", &task, &error), -ENOMEM);
    assert_non_null(strstr(error.message, "memory"));
    InkServiceAvailability a;
    InkCaller caller = {.sender = ":1.1", .app_id = "exe:test"};
    assert_int_equal(ink_app_ops()->availability(w.app, &caller, "complete", "", &a, &error), 0);
    assert_string_equal(a.state, "memory-pressure");
    run_for(&w, 3 * CALM_USEC);

    /* One runs: it goes on, others may join it, background may not. */
    start(&w, &one, "Hello");
    run_until(&w, &one.got_text);
    assert_int_equal(start_as(&w, &many[0], "exe:test", &background, &error), 0);
    say(fd, "90.00", "50.00");
    run_for(&w, 30000);
    assert_int_equal(start_as(&w, &many[1], "exe:test", &background, &error), -ENOMEM);
    size_t before = one.n_text_bytes;
    task.max_tokens = 2;
    assert_int_equal(start_as(&w, &two, "exe:test", &task, &error), 0);
    run_until(&w, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_SUCCESS);
    assert_false(one.ended);
    assert_true(one.n_text_bytes > before);
    ink_app_ops()->cancel(w.app, one.id, INK_CANCEL_CALLER);
    run_until(&w, &one.ended);
    /* What waits in the background starts when it is over. */
    assert_false(many[0].got_text);
    run_until(&w, &many[0].got_text);
    assert_string_equal(state_of(&w), "ready");
    close(fd);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pressure_reads_the_kernels_words),
        cmocka_unit_test(test_pressure_rises_and_calms_down),
        cmocka_unit_test(test_pressure_without_sources_is_quiet),
        cmocka_unit_test(test_pressure_is_woken_by_the_kernel),
        cmocka_unit_test(test_pressure_hears_the_low_memory_monitor),
        cmocka_unit_test(test_pressure_ends_an_idle_worker_even_a_resident_one),
        cmocka_unit_test(test_pressure_high_begins_nothing_and_kills_nothing),
    };
    return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}
