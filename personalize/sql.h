/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Every SQL text of the project. Values go in through ?n parameters only; statements of
 * INK_SQL_LIST are prepared once, when the store opens. What the tables mean: schema.h.
 * Thread: constants. */
#pragma once

/* Run in this order on each new connection, before anything else is read. */
#define INK_SQL_PRAGMAS                                                                            \
    "PRAGMA trusted_schema=OFF;"                                                                   \
    "PRAGMA cell_size_check=ON;"                                                                   \
    "PRAGMA foreign_keys=ON;"                                                                      \
    "PRAGMA secure_delete=ON;"                                                                     \
    "PRAGMA temp_store=MEMORY;"                                                                    \
    "PRAGMA synchronous=FULL;"                                                                     \
    "PRAGMA journal_size_limit=4194304;"

/* After the file is known to be ours (or new): these may write. */
#define INK_SQL_WAL "PRAGMA journal_mode=WAL"

/* Takes what was deleted out of the log too. */
#define INK_SQL_CHECKPOINT "PRAGMA wal_checkpoint(TRUNCATE)"

#define INK_SQL_QUICK_CHECK    "PRAGMA quick_check(1)"
#define INK_SQL_USER_VERSION   "PRAGMA user_version"
#define INK_SQL_APPLICATION_ID "PRAGMA application_id"
#define INK_SQL_COUNT_OBJECTS  "SELECT count(*) FROM sqlite_schema"

/* Schema version 1 (0x696e6b6c is "inkl"). One transaction: a crash leaves an empty file. */
#define INK_SQL_MIGRATE_01                                                                         \
    "BEGIN IMMEDIATE;"                                                                             \
    "CREATE TABLE settings("                                                                       \
    " name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;"                      \
    "INSERT INTO settings(name, value) VALUES('memory-enabled', 0);"                               \
    "CREATE TABLE events("                                                                         \
    " id INTEGER PRIMARY KEY, scope TEXT NOT NULL, kind INTEGER NOT NULL,"                         \
    " uri TEXT, text TEXT, title TEXT, about_app TEXT, time_usec INTEGER NOT NULL,"                \
    " train INTEGER NOT NULL, digest INTEGER NOT NULL);"                                           \
    "CREATE INDEX events_by_digest ON events(scope, digest, time_usec);"                           \
    "CREATE TABLE items("                                                                          \
    " id INTEGER PRIMARY KEY, scope TEXT NOT NULL, kind INTEGER NOT NULL,"                         \
    " place TEXT NOT NULL, key TEXT NOT NULL, title TEXT,"                                         \
    " n_uses INTEGER NOT NULL, last_usec INTEGER NOT NULL, rank REAL NOT NULL,"                    \
    " UNIQUE(scope, kind, place, key));"                                                           \
    "CREATE INDEX items_by_rank ON items(scope, kind, place, rank);"                               \
    "CREATE INDEX items_by_last ON items(scope, kind, place, last_usec);"                          \
    "CREATE TABLE feedback("                                                                       \
    " id INTEGER PRIMARY KEY, scope TEXT NOT NULL, kind INTEGER NOT NULL,"                         \
    " key TEXT NOT NULL, outcome INTEGER NOT NULL, accepted_chars INTEGER NOT NULL,"               \
    " text TEXT, time_usec INTEGER NOT NULL);"                                                     \
    "CREATE INDEX feedback_by_key ON feedback(scope, kind, key);"                                  \
    "CREATE TABLE usage("                                                                          \
    " scope TEXT PRIMARY KEY NOT NULL, day INTEGER NOT NULL, n_events INTEGER NOT NULL)"           \
    " WITHOUT ROWID;"                                                                              \
    "PRAGMA application_id=1768844140;"                                                            \
    "PRAGMA user_version=1;"                                                                       \
    "COMMIT;"
/* Schema version 2: what the service keeps besides memory. */
#define INK_SQL_MIGRATE_02                                                                         \
    "BEGIN IMMEDIATE;"                                                                             \
    "CREATE TABLE permissions("                                                                    \
    " app TEXT NOT NULL, permission INTEGER NOT NULL, allowed INTEGER NOT NULL,"                   \
    " time_usec INTEGER NOT NULL, PRIMARY KEY(app, permission)) WITHOUT ROWID;"                    \
    "CREATE TABLE sessions("                                                                       \
    " id INTEGER PRIMARY KEY, app TEXT NOT NULL, name TEXT NOT NULL,"                              \
    " created_usec INTEGER NOT NULL, used_usec INTEGER NOT NULL,"                                  \
    " context_limit INTEGER NOT NULL, overflow INTEGER NOT NULL, priority INTEGER NOT NULL,"       \
    " UNIQUE(app, name));"                                                                         \
    "CREATE TABLE turns("                                                                          \
    " session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,"                         \
    " turn INTEGER NOT NULL, role INTEGER NOT NULL, text TEXT NOT NULL,"                           \
    " tokens INTEGER NOT NULL, time_usec INTEGER NOT NULL,"                                        \
    " PRIMARY KEY(session, turn)) WITHOUT ROWID;"                                                  \
    "CREATE TABLE models("                                                                         \
    " name TEXT PRIMARY KEY NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,"            \
    " size INTEGER NOT NULL, mtime_nsec INTEGER NOT NULL, sha256 BLOB NOT NULL,"                   \
    " architecture TEXT NOT NULL, quantization TEXT NOT NULL, license TEXT NOT NULL,"              \
    " context_window INTEGER NOT NULL, parameters INTEGER NOT NULL,"                               \
    " has_template INTEGER NOT NULL, imported_usec INTEGER NOT NULL) WITHOUT ROWID;"               \
    "CREATE TABLE choices(name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;"     \
    "PRAGMA user_version=2;"                                                                       \
    "COMMIT;"
#define INK_SQL_ABANDON "ROLLBACK"

#define INK_SQL_ITEM_COLUMNS "id, key, title, n_uses, last_usec, rank"

/* X(name, text) */
#define INK_SQL_LIST(X)                                                                            \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(GET_SETTING, "SELECT value FROM settings WHERE name = ?1")                                   \
    X(SET_SETTING, "UPDATE settings SET value = ?2 WHERE name = ?1")                               \
    /* closer than ?3..?4, both exclusive; the digest only finds, the columns decide */            \
    X(FIND_REPEAT, "SELECT 1 FROM events WHERE scope = ?1 AND digest = ?2"                         \
                   " AND time_usec > ?3 AND time_usec < ?4 AND kind = ?5 AND uri IS ?6"            \
                   " AND text IS ?7 AND title IS ?8 AND about_app IS ?9 LIMIT 1")                  \
    X(ADD_EVENT, "INSERT INTO events(scope, digest, time_usec, train, kind, uri, text, title,"     \
                 " about_app) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                         \
    X(GET_USAGE, "SELECT n_events FROM usage WHERE scope = ?1 AND day = ?2")                       \
    X(SET_USAGE, "INSERT INTO usage(scope, day, n_events) VALUES(?1, ?2, ?3)"                      \
                 " ON CONFLICT(scope) DO UPDATE SET day = ?2, n_events = ?3")                      \
    X(GET_ITEM, "SELECT " INK_SQL_ITEM_COLUMNS " FROM items"                                       \
                " WHERE scope = ?1 AND kind = ?2 AND place = ?3 AND key = ?4")                     \
    X(ADD_ITEM, "INSERT INTO items(scope, kind, place, key, title, n_uses, last_usec, rank)"       \
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                         \
    X(SET_ITEM, "UPDATE items SET title = coalesce(?2, title), n_uses = ?3, last_usec = ?4,"       \
                " rank = ?5 WHERE id = ?1")                                                        \
    /* the ?4 best by rank and the ?5 most recent, each once */                                    \
    X(TOP_ITEMS, "SELECT " INK_SQL_ITEM_COLUMNS " FROM items WHERE id IN("                         \
                 "SELECT id FROM (SELECT id FROM items WHERE scope = ?1 AND kind = ?2"             \
                 " AND place = ?3 ORDER BY rank DESC LIMIT ?4) UNION "                             \
                 "SELECT id FROM (SELECT id FROM items WHERE scope = ?1 AND kind = ?2"             \
                 " AND place = ?3 ORDER BY last_usec DESC LIMIT ?5))")                             \
    X(ALL_ITEMS, "SELECT " INK_SQL_ITEM_COLUMNS " FROM items WHERE scope = ?1 AND kind = ?2"       \
                 " AND place = ?3 ORDER BY rank DESC LIMIT ?4")                                    \
    X(ADD_FEEDBACK, "INSERT INTO feedback(scope, kind, key, outcome, accepted_chars, text,"        \
                    " time_usec) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")                              \
    X(COUNT_EVENTS, "SELECT count(*), min(time_usec), max(time_usec) FROM events"                  \
                    " WHERE scope = ?1")                                                           \
    X(COUNT_ALL_EVENTS, "SELECT count(*), min(time_usec), max(time_usec) FROM events")             \
    X(COUNT_FEEDBACK, "SELECT count(*) FROM feedback WHERE scope = ?1")                            \
    X(COUNT_ALL_FEEDBACK, "SELECT count(*) FROM feedback")                                         \
    /* conversations */                                                                            \
    X(FIND_SESSION, "SELECT id, created_usec, used_usec, context_limit, overflow, priority"        \
                    " FROM sessions WHERE app = ?1 AND name = ?2")                                 \
    X(COUNT_SESSIONS, "SELECT count(*) FROM sessions WHERE app = ?1")                              \
    X(ADD_SESSION, "INSERT INTO sessions(app, name, created_usec, used_usec, context_limit,"       \
                   " overflow, priority) VALUES(?1, ?2, ?3, ?3, ?4, ?5, ?6)")                      \
    X(USE_SESSION, "UPDATE sessions SET used_usec = ?2 WHERE id = ?1")                             \
    X(REMOVE_SESSION, "DELETE FROM sessions WHERE id = ?1")                                        \
    /* no row: no such session */                                                                  \
    X(SIZE_SESSION, "SELECT (SELECT count(*) FROM turns WHERE session = ?1), (SELECT"              \
                    " coalesce(sum(length(CAST(text AS BLOB))), 0) FROM turns WHERE session = ?1)" \
                    " FROM sessions WHERE id = ?1")                                                \
    X(LIST_TURNS, "SELECT role, text, tokens, time_usec FROM turns WHERE session = ?1"             \
                  " ORDER BY turn")                                                                \
    X(ADD_TURN, "INSERT INTO turns(session, turn, role, text, tokens, time_usec)"                  \
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6)")                                                 \
    X(DROP_TURNS, "DELETE FROM turns WHERE session = ?1 AND turn >= ?2")                           \
    /* models */                                                                                   \
    X(LIST_MODELS, "SELECT name, device, inode, size, mtime_nsec, sha256, architecture,"           \
                   " quantization, license, context_window, parameters, has_template,"             \
                   " imported_usec FROM models ORDER BY name LIMIT ?1")                            \
    X(COUNT_MODELS, "SELECT count(*) FROM models WHERE name <> ?1")                                \
    X(PUT_MODEL, "INSERT OR REPLACE INTO models(name, device, inode, size, mtime_nsec, sha256,"    \
                 " architecture, quantization, license, context_window, parameters,"               \
                 " has_template, imported_usec)"                                                   \
                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")                \
    X(REMOVE_MODEL, "DELETE FROM models WHERE name = ?1")                                          \
    X(GET_CHOICE, "SELECT value FROM choices WHERE name = ?1")                                     \
    X(SET_CHOICE, "INSERT OR REPLACE INTO choices(name, value) VALUES(?1, ?2)")                    \
    X(REMOVE_CHOICE, "DELETE FROM choices WHERE name = ?1")                                        \
    X(LIST_PERMISSIONS, "SELECT app, permission, allowed FROM permissions"                         \
                        " ORDER BY app, permission")                                               \
    X(COUNT_PERMISSIONS, "SELECT count(*), total(app = ?1 AND permission = ?2)"                    \
                         " FROM permissions")                                                      \
    X(SET_PERMISSION, "INSERT INTO permissions(app, permission, allowed, time_usec)"               \
                      " VALUES(?1, ?2, ?3, ?4) ON CONFLICT(app, permission)"                       \
                      " DO UPDATE SET allowed = ?3, time_usec = ?4")                               \
    X(RESET_PERMISSION, "DELETE FROM permissions WHERE app = ?1 AND permission = ?2")              \
    X(PAGE_COUNT, "PRAGMA page_count")                                                             \
    X(PAGE_SIZE, "PRAGMA page_size")

#define INK_SQL_ENUM(name, text) INK_SQL_##name,
typedef enum InkSql { INK_SQL_LIST(INK_SQL_ENUM) INK_SQL_MAX } InkSql;
#undef INK_SQL_ENUM
