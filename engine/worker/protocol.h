/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The worker's side of the connection: takes frames in (also between the layers of a step), keeps
 * the order of wire.h, and hands answers to the scheduler. Sleeps in recvmsg when there is nothing
 * to do.
 * Owns: the engine and all answers while it runs; the socket is borrowed. Errors: -EPROTO (the
 * broker broke the protocol), -ECONNRESET (it is gone), -ENOMEM. Thread: the caller's. */
#pragma once

#include "engine/base/error.h"
#include "engine/worker/seal.h"

/* READY, then serves until the connection ends: -ECONNRESET is its ordinary end. */
INK_MUST_CHECK int ink_worker_serve(int socket, const InkSealStatus *seal, InkError *reterr);
