/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The installed models: files NAME.gguf in the user's folder, then in the system's; a name in both
 * is the user's. Found by reading the folders when somebody asks, so that a file that was just put
 * there counts at once. The files are not read here: the worker does, sealed.
 *
 * A symbolic link in the user's folder is followed only as a last component would be by the person
 * who made it: never. Owns: the list; ink_models_done() frees it.
 * Errors: -ENODEV (nothing installed, says what to do), -ENOENT (no such name), -EBADMSG (present,
 * but not a readable regular file with content), -ENOMEM. Thread: no state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/error.h"

/* Taken as the default when nothing else was said. */
#define INK_MODELS_DEFAULT "smollm2-135m-instruct-q4_1"

/* What tells whether a file is still the same one. */
typedef struct InkModelIdentity {
    uint64_t device, inode, size_bytes, mtime_nsec;
} InkModelIdentity;
bool ink_models_same(const InkModelIdentity *a, const InkModelIdentity *b);

typedef struct InkModel {
    char *name;
    char *path;
    bool is_system;
    uint64_t size_bytes; /* 0 for what is no regular file */
    InkModelIdentity identity;
} InkModel;

typedef struct InkModels {
    InkModel *items; /* sorted by name */
    size_t n;
} InkModels;
#define INK_MODELS_INIT ((InkModels){0})
void ink_models_done(InkModels *m);

/* What an import may be called: [a-z0-9][a-z0-9._-]{0,126} without "..". It is a file name in the
 * user's folder, a word on the bus and an argument of a shell. */
#define INK_MODELS_MAX_NAME_BYTES 127
bool ink_models_is_name(const char *name);

/* Folders that are missing or cannot be read are empty. */
INK_MUST_CHECK int ink_models_scan(const char *user_folder, const char *system_folder,
                                   InkModels *ret, InkError *reterr);
/* "" = the default: `configured` if not "", else INK_MODELS_DEFAULT if present, else the first. */
INK_MUST_CHECK int ink_models_find(const InkModels *m, const char *name, const char *configured,
                                   const InkModel **ret, InkError *reterr);

/* Opens it for the worker, read-only; refuses what is no regular file of some content. */
INK_MUST_CHECK int ink_models_open(const InkModel *model, int *ret_fd, InkModelIdentity *ret,
                                   InkError *reterr);

/* Opens (or makes and sizes) the packed form of that file in `cache_folder` and removes those of
 * files that are not `installed`. -1 when there is none to be had, which costs time at start and
 * nothing else. `ret_locked`: nobody else writes it. */
int ink_models_open_cache(const char *cache_folder, const InkModelIdentity *identity,
                          const InkModels *installed, bool *ret_locked);
/* Where that packed form is; the caller's to g_free(). */
char *ink_models_cache_path(const char *cache_folder, const InkModelIdentity *identity);
/* Of an open file. */
InkModelIdentity ink_models_identity(const struct stat *st);
