/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The helper's side of wire-inspect.h: one model file is checked as completely as loading checks
 * it (header, family, every tensor, vocabulary, template), but nothing is packed or run; hashed and
 * copied where the job says so.
 * Owns: what it receives; the socket is borrowed. Errors: -EPROTO (the broker broke the protocol),
 * -ECONNRESET (it is gone), -ENOMEM. Thread: the caller's. */
#pragma once

#include "engine/worker/seal.h"
#include "engine/worker/wire-inspect.h"

/* READY, one job, its answer. */
INK_MUST_CHECK int ink_inspect_serve(int socket, const InkSealStatus *seal, InkError *reterr);

/* What the job says about one file, without a socket. `fd` is mapped: who may shrink the file
 * meanwhile brings SIGBUS. -EBADMSG, -EOPNOTSUPP (sound, but not for this build), -ENOMEM. */
INK_MUST_CHECK int ink_inspect_file(int fd, uint64_t size_bytes, InkInspectResult *ret,
                                    InkError *reterr);
