/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A model file that is being made in the user's folder. Until it is published it has no name, so
 * that a crash at any moment leaves nothing, or a complete file; where the file system knows no
 * nameless files it is called .NAME.part, and the next start removes it.
 *
 * Owns: two descriptors, and the hidden file. Errors: -EIO (with the words of the system), -EEXIST
 * (the name is taken), -ENOMEM. Thread: one file, one thread at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/models.h"

typedef struct InkModelFile {
    int folder_fd, fd;
    char name[INK_MODELS_MAX_NAME_BYTES + 6];   /* "NAME.gguf" */
    char hidden[INK_MODELS_MAX_NAME_BYTES + 8]; /* ".NAME.part"; "" = it has no name */
    bool is_new_folder;                         /* its own name is to be synced as well */
} InkModelFile;
#define INK_MODEL_FILE_INIT ((InkModelFile){.folder_fd = -1, .fd = -1})

/* `name`: see ink_models_is_name(). `nameless` false: as if the file system knew none. */
INK_MUST_CHECK int ink_model_file_create(const char *folder, const char *name, bool nameless,
                                         InkModelFile *ret, InkError *reterr);
/* Bytes that are free for this person where the file is; UINT64_MAX when nobody can tell. */
uint64_t ink_model_file_free_bytes(const InkModelFile *f);
/* Gives it its name, on the disk when it returns. Its content must be there already (fsync). */
INK_MUST_CHECK int ink_model_file_publish(InkModelFile *f, InkError *reterr);
/* After a publish: takes the name back. */
void ink_model_file_withdraw(InkModelFile *f);
/* From here on nobody finds it; its bytes are freed by who closes it last, which takes a while for
 * many of them. */
void ink_model_file_hide(InkModelFile *f);
/* Closes it; what was not published is gone. */
void ink_model_file_done(InkModelFile *f);

/* Removes what a crash has left. */
void ink_model_file_sweep(const char *folder);
