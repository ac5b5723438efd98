/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What the store thread does for models: the catalogue's rows, and those changes of the models
 * folder that wait for a disk.
 *
 * Owns: copies of the arguments. Errors: as ink_store_thread_submit() for the call (the reply then
 * never comes); those of personalize/model-catalogue.h and model-file.h through the reply.
 * Thread: calls and replies on the loop thread. Replies never come before the call returns. */
#pragma once

#include "daemon/catalogue.h"
#include "daemon/model-file.h"
#include "daemon/store-thread.h"
#include "ipc/service.h"

/* error NULL = success; rows are borrowed. `chosen`: the default, "" = none. */
typedef void InkStoreModelsReply(void *userdata, const InkError *error, const InkStoredModel *rows,
                                 size_t n, const char *chosen);
INK_MUST_CHECK int ink_store_job_list_models(InkStoreThread *t, InkStoreModelsReply *reply,
                                             void *userdata, InkError *reterr);

typedef struct InkStoreModelChange {
    const char *name;
    const InkModelFacts *facts; /* NULL: no row is written; with `record` */
    const InkModelRecord *record;
    const char *forget;      /* a row that makes room; NULL = none */
    InkModelFile *file;      /* is published first; taken when the call succeeds; NULL = none */
    const char *remove_path; /* a file to be removed; NULL = none */
    const char *cache_path;  /* its packed form; NULL = none */
    bool remove_row;
    const char *choose; /* becomes the default; "" = none is; NULL = stays */
} InkStoreModelChange;
/* In this order; the first step that fails ends it, and what was published is withdrawn again. */
INK_MUST_CHECK int ink_store_job_change_model(InkStoreThread *t, const InkStoreModelChange *change,
                                              InkDoneReply *reply, void *userdata,
                                              InkError *reterr);

/* What is left of an import that failed: closed where freeing its bytes holds up nobody. Takes the
 * file. */
void ink_store_job_drop_file(InkStoreThread *t, InkModelFile *file);
