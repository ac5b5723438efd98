/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/on-demand.h"

#include <string.h>
#include <systemd/sd-daemon.h>

#include "daemon/bounds.h"
#include "daemon/log.h"
#include "engine/base/alloc.h"
#include "engine/base/clock.h"

/* The loop takes one message a turn; so long it has for those that are here already. */
#define DRAIN_USEC   10000u
/* For systemd to have read the word. */
#define BARRIER_USEC 1000000u

typedef enum Phase {
    HERE,
    LEAVING, /* the name is released; is anything in the queue? */
    DRAINING /* another one has the name: to the end of what came to us */
} Phase;

struct InkOnDemand {
    InkApp *app;
    InkBus *bus;
    sd_event *event;
    sd_event_source *timer;
    uint64_t idle_usec, busy_usec; /* when something was going on last */
    uint64_t left_usec, calls_usec;
    uint64_t told_usec; /* systemd, that we stop; 0 = not told, or there is none */
    Phase phase;
};

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

int ink_on_demand_new(sd_event *event, InkApp *app, InkBus *bus, uint64_t idle_usec,
                      InkOnDemand **ret, InkError *reterr)
{
    _cleanup_(ink_on_demand_free_p) InkOnDemand *o = ink_alloc_array(1, sizeof *o);
    INK_CHECK(o != NULL, ENOMEM, reterr, "out of memory");
    o->app = app;
    o->bus = bus;
    o->event = event;
    o->idle_usec = idle_usec != 0 ? idle_usec : INK_LIMIT_EXIT_USEC;
    o->busy_usec = ink_clock_monotonic_usec();
    int r = sd_event_add_time(event, &o->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, o);
    if (r >= 0) /* the bus first */
        r = sd_event_source_set_priority(o->timer, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = sd_event_source_set_enabled(o->timer, SD_EVENT_OFF);
    INK_CHECK(r >= 0, ENOMEM, reterr, "no timer: %s", strerror(-r));
    ink_on_demand_check(o);
    *ret = INK_TAKE(o);
    return 0;
}

InkOnDemand *ink_on_demand_free(InkOnDemand *o)
{
    if (o == NULL)
        return NULL;
    sd_event_source_disable_unref(o->timer);
    free(o);
    return NULL;
}

static void arm(InkOnDemand *o, uint64_t at_usec)
{
    (void)sd_event_source_set_time(o->timer, at_usec);
    (void)sd_event_source_set_enabled(o->timer, SD_EVENT_ONESHOT);
}

static bool is_quiet(const InkOnDemand *o)
{
    return ink_app_is_empty(o->app) && ink_bus_is_quiet(o->bus);
}

/* Not when systemd was told that we stop: it ends us when that takes long, whoever runs. */
static bool may_stay(const InkOnDemand *o)
{
    return o->told_usec == 0 && (ink_app_config(o->app)->resident != INK_RESIDENT_ON_DEMAND ||
                                 ink_app_has_worker(o->app));
}

static void arm_here(InkOnDemand *o, uint64_t at_usec)
{
    uint64_t end_usec = o->told_usec + INK_LIMIT_STOPPING_USEC;
    arm(o, o->told_usec != 0 && end_usec < at_usec ? end_usec : at_usec);
}

void ink_on_demand_check(InkOnDemand *o)
{
    if (o->phase != HERE)
        return; /* its own timer runs */
    if (may_stay(o)) {
        (void)sd_event_source_set_enabled(o->timer, SD_EVENT_OFF);
        return; /* the end of the worker comes here again */
    }
    o->busy_usec = ink_clock_monotonic_usec();
    arm_here(o, o->busy_usec + o->idle_usec);
}

/* ------------------------------------------------------------------ leaving */

static void tell_systemd(InkOnDemand *o)
{
    if (o->told_usec != 0 || sd_notify(false, "STOPPING=1") <= 0)
        return;
    o->told_usec = ink_clock_monotonic_usec();
    (void)sd_notify_barrier(false, BARRIER_USEC);
}

static void leave(InkOnDemand *o)
{
    InkError error = {0};
    tell_systemd(o);
    o->calls_usec = ink_bus_last_call_usec(o->bus);
    o->left_usec = ink_clock_monotonic_usec();
    if (ink_bus_release_name(o->bus, &error) < 0)
        ink_log_warning("%s", error.message); /* the bus is gone, which ends us, too */
    o->phase = LEAVING;
    arm(o, o->left_usec + DRAIN_USEC);
}

static void come_back(InkOnDemand *o)
{
    InkError error = {0};
    if (ink_bus_claim_name(o->bus, &error) < 0) {
        o->phase = DRAINING;
        arm(o, ink_clock_monotonic_usec() + DRAIN_USEC);
        return;
    }
    o->phase = HERE;
    o->busy_usec = ink_clock_monotonic_usec();
    arm_here(o, o->busy_usec + o->idle_usec);
}

static void end(InkOnDemand *o)
{
    if (is_quiet(o))
        ink_log_info("nothing is left to do; the next call starts the service again");
    /* Answers of what runs go out while there is a bus: sd-event closes it when the loop ends. */
    ink_bus_stop_accepting(o->bus);
    ink_app_stop(o->app);
    (void)sd_event_exit(o->event, 0);
}

static void look_here(InkOnDemand *o, uint64_t now)
{
    /* systemd would end us in the middle of an answer: end what there is in order, before that. */
    if (o->told_usec != 0 && now >= o->told_usec + INK_LIMIT_STOPPING_USEC) {
        end(o);
        return;
    }
    if (may_stay(o))
        return;
    uint64_t last = ink_bus_last_call_usec(o->bus);
    last = last > o->busy_usec ? last : o->busy_usec;
    if (!is_quiet(o))
        arm_here(o, now + (o->idle_usec < INK_LIMIT_EXIT_USEC / 8 ? o->idle_usec
                                                                  : INK_LIMIT_EXIT_USEC / 8));
    else if (now < last + o->idle_usec)
        arm_here(o, last + o->idle_usec);
    else
        leave(o);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    InkOnDemand *o = userdata;
    uint64_t now = ink_clock_monotonic_usec();
    (void)source;
    (void)usec;
    switch (o->phase) {
    case HERE:
        look_here(o, now);
        break;
    case LEAVING:
        if (ink_bus_n_unread(o->bus) > 0)
            arm(o, now + DRAIN_USEC);
        else if (is_quiet(o) && ink_bus_last_call_usec(o->bus) == o->calls_usec)
            end(o);
        else
            come_back(o);
        break;
    case DRAINING:
        if (is_quiet(o) && ink_bus_n_unread(o->bus) == 0)
            end(o);
        else
            arm(o, now + DRAIN_USEC);
        break;
    }
    return 0;
}
