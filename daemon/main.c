/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* inklingd: the one service of one person on the session bus. Exit codes: 0 stopped in order, also
 * when the bus went away (a new bus starts a new one) or nothing was left to do, 1 could not start,
 * 2 wrong option, 75 another one runs already (name or data folder taken; try again later). */
#include <fcntl.h>
#include <getopt.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "daemon/app.h"
#include "daemon/guard.h"
#include "daemon/log.h"
#include "daemon/on-demand.h"
#include "engine/base/clock.h"
#include "engine/base/cleanup.h"
#include "ink-config.h"
#include "ipc/bus.h"
#include "ipc/names.h"

enum { EXIT_USAGE = 2, EXIT_TAKEN = 75 };

typedef struct Paths {
    char *worker, *data, *models, *cache, *config;
} Paths;

typedef struct Program {
    Paths paths;
    InkConfig config;
    sd_event *event;
    sd_bus *bus;
    InkApp *app;
    InkBus *service;
    InkOnDemand *on_demand;
    uint64_t exit_idle_usec; /* 0 = the usual */
    int data_lock_fd;
} Program;

static void print_help(FILE *out)
{
    fputs(
        "Usage: inklingd [OPTION...]\n"
        "\n"
        "The inkling service on the session bus. Activated by the bus; nobody needs to start it.\n"
        "\n"
        "  --worker=PATH   the worker program, for builds that are not installed\n"
        "  --models=DIR    folder of models instead of $XDG_DATA_HOME/inkling/models\n"
        "  --exit-idle-msec=N  with resident=on-demand: wait so long for another call (5000)\n"
        "  --version       print the version\n"
        "  --help          print this\n"
        "\n"
        "Configuration: $XDG_CONFIG_HOME/inkling/inkling.conf\n",
        out);
}

/* ------------------------------------------------------------------ before anything else */

static void harden(void)
{
    umask(077);
    /* A core file would hold prompts. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0);
    /* A message that waits for its answer keeps the descriptors that its sender attached, wanted or
     * not, and sd-bus gives the connection up when it cannot receive one: with the usual soft limit
     * two callers could end the service. Nothing here uses select(). */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
}

static char *default_worker(void)
{
    char *installed = g_build_filename(INK_LIBEXECDIR, "inkling-worker", NULL);
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return installed;
    self[n] = '\0';
    g_autofree char *folder = g_path_get_dirname(self);
    /* In the build tree, so that a fresh build never runs an old installed worker. */
    char *built = g_build_filename(folder, "..", "engine", "worker", "inkling-worker", NULL);
    if (strcmp(folder, INK_LIBEXECDIR) != 0 && access(built, X_OK) == 0) {
        g_free(installed);
        return built;
    }
    g_free(built);
    g_autofree char *beside = g_build_filename(folder, "inkling-worker", NULL);
    if (access(beside, X_OK) == 0) {
        g_free(installed);
        return g_steal_pointer(&beside);
    }
    return installed;
}

static void find_paths(Paths *p)
{
    p->data = g_build_filename(g_get_user_data_dir(), "inkling", NULL);
    p->cache = g_build_filename(g_get_user_cache_dir(), "inkling", NULL);
    p->config = g_build_filename(g_get_user_config_dir(), "inkling", "inkling.conf", NULL);
    if (p->models == NULL)
        p->models = g_build_filename(p->data, "models", NULL);
    if (p->worker == NULL)
        p->worker = default_worker();
}

static bool parse_msec(const char *text, uint64_t *ret_usec)
{
    guint64 number;
    if (!g_ascii_string_to_unsigned(text, 10, 1, 600000, &number, NULL))
        return false;
    *ret_usec = number * 1000;
    return true;
}

/* -1 = go on, else the exit code. */
static int parse_options(int argc, char **argv, Program *program)
{
    Paths *p = &program->paths;
    static const struct option options[] = {
        {"worker", required_argument, NULL, 'w'},
        {"models", required_argument, NULL, 'm'},
        {"exit-idle-msec", required_argument, NULL, 'e'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'w':
            g_free(p->worker);
            p->worker = g_strdup(optarg);
            break;
        case 'm':
            g_free(p->models);
            p->models = g_strdup(optarg);
            break;
        case 'e':
            if (!parse_msec(optarg, &program->exit_idle_usec)) {
                fputs("inklingd: --exit-idle-msec: not a number from 1 to 600000\n", stderr);
                return EXIT_USAGE;
            }
            break;
        case 'V':
            puts("inklingd " INK_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            print_help(stdout);
            return EXIT_SUCCESS;
        default:
            print_help(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    return -1;
}

/* A stopping service cancels, writes and closes within a second or two. */
#define DATA_WAIT_USEC 10000000u
#define DATA_POLL_USEC 10000u

static void warn_config(void *userdata, const char *message)
{
    (void)userdata;
    ink_log_warning("inkling.conf: %s", message);
}

/* Is there a service on the bus? Without a bus: no. */
static bool name_has_owner(void)
{
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int has_owner = 0;
    return sd_bus_open_user(&bus) >= 0 &&
           sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                              "org.freedesktop.DBus", "NameHasOwner", NULL, &reply, "s",
                              INK_BUS_NAME) >= 0 &&
           sd_bus_message_read(reply, "b", &has_owner) > 0 && has_owner != 0;
}

/* Who holds the folder without the name is on the way out, and the bus has started us in its place
 * (or it starts beside us, and will have the name in a moment). */
static int wait_for_data(int fd)
{
    for (unsigned i = 0; i < DATA_WAIT_USEC / DATA_POLL_USEC; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        if (i % 5 == 0 && name_has_owner())
            break;
        usleep(DATA_POLL_USEC);
    }
    return -1;
}

/* The bus name is one per bus, the data folder one per home: two buses must not share a store. */
static int lock_data(Program *p)
{
    if (g_mkdir_with_parents(p->paths.data, 0700) < 0) {
        ink_log_error("data folder cannot be made: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    p->data_lock_fd = open(p->paths.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (p->data_lock_fd < 0) {
        ink_log_error("data folder cannot be opened: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    if (wait_for_data(p->data_lock_fd) < 0) {
        ink_log_error("another inklingd uses the data folder");
        return EXIT_TAKEN;
    }
    /* It may have been made by hand, around the models; the store wants it closed to others. */
    struct stat st;
    if (fstat(p->data_lock_fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) != 0)
        (void)fchmod(p->data_lock_fd, 0700);
    return -1;
}

/* ------------------------------------------------------------------ events */

/* Last answers go out while there is a bus: sd-event closes it when the loop is asked to end. */
static void say_goodbye(Program *p)
{
    if (p->service == NULL)
        return;
    sd_notify(false, "STOPPING=1");
    ink_bus_stop_accepting(p->service);
    ink_app_stop(p->app);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    Program *p = userdata;
    (void)source;
    ink_log_info("stopping after signal %u", info->ssi_signo);
    say_goodbye(p);
    return sd_event_exit(p->event, EXIT_SUCCESS);
}

static int on_bus_lost(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
    Program *p = userdata;
    (void)m;
    (void)reterr;
    ink_log_info("the bus went away");
    return sd_event_exit(p->event, EXIT_SUCCESS);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    Program *p = userdata;
    InkError error = {0};
    (void)source;
    (void)info;
    sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, ink_clock_monotonic_usec());
    if (ink_app_ops()->reload(p->app, NULL, &error) < 0)
        ink_log_warning("%s", error.message);
    sd_notify(false, "READY=1");
    return 0;
}

static void on_state_changed(void *userdata)
{
    Program *p = userdata;
    InkServiceState state;
    ink_app_ops()->state(p->app, &state);
    sd_notifyf(false, "STATUS=%s; %u waiting", state.state, state.queue_depth);
    ink_bus_state_changed(p->service);
    if (p->on_demand != NULL)
        ink_on_demand_check(p->on_demand);
}

static void on_memory_enabled_changed(void *userdata)
{
    ink_bus_memory_enabled_changed(((Program *)userdata)->service);
}

static void on_config_changed(void *userdata)
{
    ink_on_demand_check(((Program *)userdata)->on_demand);
}

static const InkAppEvents app_events = {
    .config_changed = on_config_changed,
    .state_changed = on_state_changed,
    .memory_enabled_changed = on_memory_enabled_changed,
};

/* ------------------------------------------------------------------ start and stop */

static int watch_signals(Program *p)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    INK_TRY(sd_event_add_signal(p->event, NULL, SIGTERM, on_signal, p));
    return sd_event_add_signal(p->event, NULL, SIGINT, on_signal, p);
}

static int open_bus(Program *p)
{
    INK_TRY(sd_bus_open_user(&p->bus));
    INK_TRY(sd_bus_attach_event(p->bus, p->event, SD_EVENT_PRIORITY_NORMAL));
    return sd_bus_match_signal(p->bus, NULL, "org.freedesktop.DBus.Local",
                               "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
                               "Disconnected", on_bus_lost, p);
}

/* A large store that was not closed cleanly is checked when it is opened; past this it goes on
 * beside the first calls, which then wait for it themselves. */
#define STORE_WAIT_USEC (5 * 1000000u)

static int wait_for_store(Program *p, InkError *reterr)
{
    int code;
    uint64_t end = ink_clock_monotonic_usec() + STORE_WAIT_USEC;
    for (uint64_t now = ink_clock_monotonic_usec(); !ink_app_is_ready(p->app) && now < end;
         now = ink_clock_monotonic_usec()) {
        int r = sd_event_run(p->event, end - now);
        INK_CHECK(r >= 0, -r, reterr, "event loop: %s", strerror(-r));
        if (sd_event_get_exit_code(p->event, &code) >= 0)
            return INK_RAISE(ESHUTDOWN, reterr, "asked to end while starting");
    }
    return 0;
}

static int start(Program *p, InkError *reterr)
{
    int r = sd_event_default(&p->event);
    if (r >= 0)
        r = watch_signals(p);
    INK_CHECK(r >= 0, -r, reterr, "event loop: %s", strerror(-r));
    r = open_bus(p);
    INK_CHECK(r >= 0, -r, reterr, "session bus: %s", strerror(-r));
    /* With another data folder: before anything is opened or made for nothing. */
    INK_CHECK(!name_has_owner(), EEXIST, reterr, "the name %s is taken", INK_BUS_NAME);
    InkAppOptions options = {
        .worker_program = p->paths.worker,
        .model_folder = p->paths.models,
        .system_model_folder = INK_SYSTEM_MODELS,
        .cache_folder = p->paths.cache,
        .data_folder = p->paths.data,
        .network_guard = "seccomp", /* ink_guard_lock() holds, or this is not reached */
        .config = &p->config,
        .config_path = p->paths.config,
    };
    INK_TRY(ink_app_new(p->event, &options, &p->app, reterr));
    INK_TRY(ink_bus_new(p->bus, p->event, ink_app_ops(), p->app, &p->service, reterr));
    ink_app_set_events(p->app, &app_events, p);
    INK_TRY(wait_for_store(p, reterr));
    INK_TRY(
        ink_on_demand_new(p->event, p->app, p->service, p->exit_idle_usec, &p->on_demand, reterr));
    r = sd_event_add_signal(p->event, NULL, SIGHUP, on_hangup, p);
    INK_CHECK(r >= 0, -r, reterr, "event loop: %s", strerror(-r));
    /* Last: whoever sees the name gets answers. */
    return ink_bus_claim_name(p->service, reterr);
}

static void stop(Program *p)
{
    sd_notify(false, "STOPPING=1");
    if (p->service != NULL)
        ink_bus_stop_accepting(p->service);
    if (p->app != NULL)
        ink_app_stop(p->app); /* its last answers go to the bus */
    p->on_demand = ink_on_demand_free(p->on_demand);
    p->service = ink_bus_free(p->service);
    p->app = ink_app_free(p->app);
    if (p->bus != NULL) {
        sd_bus_flush(p->bus);
        p->bus = sd_bus_close_unref(p->bus);
    }
    p->event = sd_event_unref(p->event);
    if (p->data_lock_fd >= 0)
        close(p->data_lock_fd);
    g_free(p->paths.worker);
    g_free(p->paths.data);
    g_free(p->paths.models);
    g_free(p->paths.cache);
    g_free(p->paths.config);
}

static int run(Program *p)
{
    InkError error = {0};
    int r = start(p, &error);
    if (r == -ESHUTDOWN) {
        ink_log_info("%s", error.message);
        return EXIT_SUCCESS;
    }
    if (r < 0) {
        ink_log_error("%s", error.message);
        return r == -EEXIST ? EXIT_TAKEN : EXIT_FAILURE;
    }
    sd_notify(false, "READY=1");
    r = sd_event_loop(p->event);
    if (r < 0)
        ink_log_error("event loop: %s", strerror(-r));
    return r < 0 ? EXIT_FAILURE : r;
}

int main(int argc, char **argv)
{
    Program p = {.data_lock_fd = -1};
    harden();
    int code = parse_options(argc, argv, &p);
    if (code >= 0)
        return code;
    InkError error = {0};
    if (ink_guard_lock(&error) < 0) {
        ink_log_error("%s", error.message);
        return EXIT_FAILURE;
    }
    find_paths(&p.paths);
    code = lock_data(&p);
    if (code < 0) {
        ink_config_read(&p.config, p.paths.config, warn_config, NULL);
        code = run(&p);
    }
    stop(&p);
    return code;
}
