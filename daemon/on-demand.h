/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* resident=on-demand: the broker leaves when nothing is left to do, and loses no call by it.
 *
 *   quiet for a while -> tell systemd -> release the name -> what came before that is in the queue
 *       nothing came: end; the next call activates a new one, which waits for our data folder
 *       something came: take the name back, serve it (an object that it makes has to be found), and
 *                       leave again when all is quiet
 *
 * systemd, once told, stops the unit within TimeoutStopSec, so that coming back is for a short
 * while there; told later it would take a start for one of a unit that runs, and the call would be
 * lost. Costs nothing while a worker is there, or with another policy: no timer runs. Owns: its
 * timer. Errors: -ENOMEM. Thread: the loop thread. */
#pragma once

#include "daemon/app.h"
#include "ipc/bus.h"

typedef struct InkOnDemand InkOnDemand;

/* idle_usec: without a call; 0 = bounds.h. */
INK_MUST_CHECK int ink_on_demand_new(sd_event *event, InkApp *app, InkBus *bus, uint64_t idle_usec,
                                     InkOnDemand **ret, InkError *reterr);
InkOnDemand *ink_on_demand_free(InkOnDemand *o);
INK_DEFINE_CLEANUP(InkOnDemand, ink_on_demand_free, ink_on_demand_free_p)
/* After a change of state or of the configuration. Ends the loop, later, with 0. */
void ink_on_demand_check(InkOnDemand *o);
