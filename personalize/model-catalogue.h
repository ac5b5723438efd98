/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What is known of the model files, and which one is the default. A row holds as long as the file
 * is the same one (device, inode, size, mtime); who reads it compares.
 *
 * Owns: nothing; rows are borrowed for the callback. Errors: as personalize/store.h.
 * Thread: that of the store. */
#pragma once

#include "personalize/store.h"

#define INK_STORE_MAX_MODELS 256u

typedef struct InkStoredModel {
    const char *name;
    uint64_t device, inode, size_bytes, mtime_nsec;
    uint8_t sha256[32];
    const char *architecture, *quantization, *license;
    uint32_t context_window;
    uint64_t parameters;
    bool has_template;
    uint64_t imported_usec;
} InkStoredModel;

INK_MUST_CHECK int ink_store_list_models(InkStore *s,
                                         void (*each)(void *userdata, const InkStoredModel *row),
                                         void *userdata, InkError *reterr);
/* Adds or replaces the row of that name. */
INK_MUST_CHECK int ink_store_put_model(InkStore *s, const InkStoredModel *model, InkError *reterr);
INK_MUST_CHECK int ink_store_remove_model(InkStore *s, const char *name, InkError *reterr);

/* "" = none was chosen, or takes the choice back. `ret` has room for 256 bytes. */
INK_MUST_CHECK int ink_store_default_model(InkStore *s, char ret[256], InkError *reterr);
INK_MUST_CHECK int ink_store_set_default_model(InkStore *s, const char *name, InkError *reterr);
