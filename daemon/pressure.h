/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Is memory short? Two sources, each optional: a PSI trigger of the kernel (of the whole machine
 * where an ordinary user may set one, else of the own cgroup), and the signal LowMemoryWarning of
 * org.freedesktop.LowMemoryMonitor on the system bus. Where neither is there the answer is "no",
 * and nothing is logged: many machines have none of them.
 *
 * Costs nothing while memory is not short: no timer, no polling; the kernel wakes the loop.
 * Owns: descriptor, bus connection, timer. Errors: -ENOMEM. Thread: the loop thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

typedef enum InkPressureLevel {
    INK_PRESSURE_NONE,
    INK_PRESSURE_SOME, /* give back what can be made again */
    INK_PRESSURE_HIGH, /* begin nothing new */
    INK_PRESSURE_MAX,
} InkPressureLevel;

typedef struct InkPressure InkPressure;

/* The level has changed. */
typedef void InkPressureChanged(void *userdata, InkPressureLevel level);

typedef struct InkPressureOptions {
    /* NULL = the kernel's; "" = none. A FIFO stands in for it in tests: each text of the same form
     * that is written into it is an event. */
    const char *psi_path;
    /* Address of a bus; NULL = the system's; "" = none. */
    const char *bus_address;
    uint64_t calm_usec; /* 0 = bounds.h */
} InkPressureOptions;

INK_MUST_CHECK int ink_pressure_new(sd_event *event, const InkPressureOptions *options,
                                    InkPressureChanged *changed, void *userdata, InkPressure **ret,
                                    InkError *reterr);
InkPressure *ink_pressure_free(InkPressure *p);
INK_DEFINE_CLEANUP(InkPressure, ink_pressure_free, ink_pressure_free_p)

InkPressureLevel ink_pressure_level(const InkPressure *p);

/* The two avg10 of a PSI file, in hundredths of a percent. False: it is not one. */
bool ink_pressure_parse(const char *text, unsigned *ret_some, unsigned *ret_full);
