/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Tries, from inside the process that calls it, every door to a network, and says what came of it.
 * The proof of offline operation (`inkling doctor --offline`) asks every process of the service to
 * run it on itself. A try that goes through is undone at once.
 *
 * Owns: nothing. Errors: none; a refusal is the good outcome. Thread: no state. */
#pragma once

#define INK_NETWORK_TRIES 9

/* What was tried ("socket AF_INET, stream"), in the order of the results. */
extern const char *const ink_network_tries[INK_NETWORK_TRIES];

/* errno of each try; 0 = it went through. */
void ink_network_probe(int errors[INK_NETWORK_TRIES]);
