/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A private bus and the fake service on it, for one test program; helpers for calls. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <systemd/sd-bus.h>

#include "engine/base/cleanup.h"
#include "ipc/names.h"
#include "tests/fakes/fake-service.h"

#define _cleanup_bus_     _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_error_   _cleanup_(sd_bus_error_free)

extern FakeShared *fake; /* of the running service */
extern const char *fixture_address;

/* Group setup and teardown. */
int fixture_start(void **state);
int fixture_stop(void **state);
/* Ends the service with a signal; a new one with fixture_start_service(). */
int fixture_end_service(int signal);
void fixture_start_service(void);
/* SIGSTOP: a bus that does not read. */
void fixture_signal_bus(int signal);

sd_bus *fixture_connect(void);
/* Asserts that a counter reaches a value within 5 s; returns it. */
void fixture_wait(const uint32_t *counter, uint32_t value);

/* A call on the root object; negative errno with `reterr` filled. */
int fixture_call(sd_bus *bus, const char *interface, const char *member, sd_bus_error *reterr,
                 sd_bus_message **ret, const char *types, ...);
/* Asserts that a call fails with this name and that the message holds `part`. */
void fixture_refused(sd_bus *bus, const char *interface, const char *member, const char *name,
                     const char *part, const char *types, ...);

/* What a connection saw of its requests. */
typedef struct FixtureSeen {
    char order[512]; /* R reply, P progress, D delta, F finished */
    char text[16384], results_text[16384], reason[32], error_name[128], path[256];
    size_t n_deltas, n_finished, n_order;
    uint32_t status;
    uint64_t next_offset, first_delta_usec, last_delta_usec;
    bool gap;
} FixtureSeen;

/* From here on signals of Request objects are noted in `seen`. */
void fixture_listen(sd_bus *bus, FixtureSeen *seen);
/* Serves the bus until `seen` has n Finished; asserts 5 s. */
void fixture_until_finished(sd_bus *bus, FixtureSeen *seen, size_t n);
/* Start of a completion; "" or the path. `model` chooses what the fake does. */
void fixture_start_request(sd_bus *bus, FixtureSeen *seen, const char *model, uint32_t max_tokens,
                           const char *types, ...);
