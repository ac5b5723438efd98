/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tables of inkling.db, schema version 2 (their SQL: sql.h).
 *
 *   settings   one row for each switch. memory-enabled 0/1: whether anything else may be written.
 *   events     what an application reported, as it came: scope (who reported), kind (InkEventKind),
 *              uri, text, title, about_app, time_usec, train (may it be trained on), digest (a hash
 *              of the content, so that repeats are found without a scan). The truth of the file.
 *   items      derived from events and feedback: one row for each (scope, kind, place, key) with
 *              the number of uses, the last one, and `rank` (frecency.h), in an index whose order
 *              never changes with time. place '' counts all uses; another place counts the uses of
 *              a command in that directory. It exists because ranking 100,000 events anew for each
 *              keystroke takes tens of milliseconds, this index microseconds.
 *   feedback   what became of a suggestion: the key that was suggested and the outcome; `text` for
 *              outcome edited.
 *   usage      events stored for a scope on its latest day (UTC), for the daily limit.
 *
 *   permissions what the person decided for an application: app, permission (its number,
 *              personalize/permissions.h), allowed 0/1. No row: the default.
 *   sessions   persistent conversations, by application and name; used_usec: last turn.
 *   turns      their turns in order from 0: role (1 system, 2 user, 3 assistant, 4 tool), text,
 *              tokens (0 = not counted). Written by the caller's own wish, memory on or off.
 *   models     what is known of a model file, by its name and as long as device, inode, size and
 *              mtime are the same: sha256 (32 bytes), what its header says, when it was imported.
 *   choices    settings with a text: default-model.
 *
 * Deleted together: whoever deletes an event recomputes its rows in items, and deletes feedback of
 * keys that no event has any more; secure_delete overwrites the bytes, a truncating checkpoint
 * takes them out of the log.
 *
 * Crash argument: WAL with synchronous=FULL. Each acknowledged call is one transaction (BEGIN
 * IMMEDIATE .. COMMIT), whose log frames are synced before COMMIT returns, so that an acknowledged
 * call survives a crash and one that was cut leaves nothing: its last frame has no valid commit
 * mark. Checkpoints sync the log before they write the file, and the file before they reuse the
 * log. The directory is synced after the file is made. Creating the schema is one transaction as
 * well. events and items change in the same transaction, so they cannot disagree.
 *
 * Thread: constants. */
#pragma once

#include <stdint.h>

#define INK_SCHEMA_APPLICATION_ID 0x696e6b6cu /* "inkl" */

typedef enum InkSchemaVersion {
    INK_SCHEMA_EMPTY = 0,   /* a file without tables */
    INK_SCHEMA_FIRST = 1,   /* settings, events, items, feedback, usage; archived: data/v1.sql */
    INK_SCHEMA_SERVICE = 2, /* permissions, sessions, turns, models, choices */
    INK_SCHEMA_LATEST = INK_SCHEMA_SERVICE,
} InkSchemaVersion;
