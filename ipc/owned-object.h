/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What requests and sessions have in common as objects of one caller: their paths, and that nobody
 * else sees them. Owns: see each call. Thread: the loop thread. */
#pragma once

#include <systemd/sd-bus.h>

#include "ipc/bus-private.h"

/* FOLDER/SENDER/TOKEN, as the desktop portals do it; without a token a random one that begins with
 * `letter`. To be freed. */
INK_MUST_CHECK int ink_owned_path(const char *folder, const char *sender, const char *token,
                                  char letter, char **ret, InkError *reterr);
/* Of the message that a find callback or an enumerator runs for; NULL = none. */
const char *ink_owned_current_sender(sd_bus *bus);

/* A list for a node enumerator, NULL-terminated once there is one node. */
typedef struct InkOwnedNodes {
    char **paths;
    size_t n;
} InkOwnedNodes;
#define INK_OWNED_NODES_INIT ((InkOwnedNodes){0})
void ink_owned_nodes_done(InkOwnedNodes *nodes);
/* 0 or -ENOMEM. */
INK_MUST_CHECK int ink_owned_nodes_add(InkOwnedNodes *nodes, const char *path);
