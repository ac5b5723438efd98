/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Proof of offline operation from the inside: from here on neither this process nor any child can
 * make a socket of a family other than AF_UNIX, nor use io_uring (which makes sockets behind a
 * filter's back). Errors: -EOPNOTSUPP, the program must then exit. Thread: holds on all threads;
 * call it once, first. */
#pragma once

#include "engine/base/error.h"

INK_MUST_CHECK int ink_guard_lock(InkError *reterr);
