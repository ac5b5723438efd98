/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* An SQLite VFS for tests: wraps the default one, makes the n-th operation fail, and can play a
 * power cut, after which only what was synced (and a chosen part of the rest) is in the files.
 * While installed it is the default VFS. Owns: copies of the files' durable contents.
 * Thread: one, for all of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum FaultOp {
    FAULT_READ = 1 << 0,
    FAULT_WRITE = 1 << 1,
    FAULT_SYNC = 1 << 2,
    FAULT_TRUNCATE = 1 << 3,
    FAULT_OPEN = 1 << 4,
    FAULT_DELETE = 1 << 5,
    FAULT_LOCK = 1 << 6,
    FAULT_ALL = (1 << 7) - 1,
    FAULT_CHANGES = FAULT_WRITE | FAULT_SYNC | FAULT_TRUNCATE | FAULT_DELETE,
} FaultOp;

typedef enum FaultKind {
    FAULT_IOERR, /* the error code of that operation */
    FAULT_FULL,  /* writes: disk full; else as IOERR */
    FAULT_SHORT, /* reads come back short, writes happen by half and fail */
    FAULT_CRASH, /* power cut: this and every later operation fails */
} FaultKind;

/* What of the unsynced bytes a power cut leaves behind. */
typedef enum FaultLoss {
    FAULT_LOSE_ALL,
    FAULT_KEEP_SOME_SECTORS, /* each 512-byte sector by a coin; torn pages and frames */
    FAULT_KEEP_ALL,          /* in the page cache: what kill -9 leaves */
} FaultLoss;

void fault_vfs_install(void);
void fault_vfs_remove(void);
/* From now on the n-th operation out of `ops` fails; sticky: and all such after it. 0 = none. */
void fault_vfs_arm(size_t n, unsigned ops, FaultKind kind, bool sticky);
void fault_vfs_disarm(void);
/* How many operations out of `ops` there were since fault_vfs_arm(). */
size_t fault_vfs_count(void);
bool fault_vfs_fired(void);
/* Call with all files closed: puts on disk what the cut (a FAULT_CRASH that fired, else one now)
 * would have left. */
void fault_vfs_recover(FaultLoss loss, unsigned seed);
