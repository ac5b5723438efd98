/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What is known of model files, by name, in memory. Facts come from the store (at start), from a
 * helper that looked at the file, or from a worker that loaded it, and hold as long as the file is
 * the same one (device, inode, size, mtime). The recorded hash stays whatever lies there now, since
 * that is what a file is verified against.
 *
 * Owns: its entries. Errors: none; without memory the program ends (GLib). Thread: the loop thread.
 */
#pragma once

#include "daemon/models.h"
#include "engine/worker/wire-inspect.h"
#include "personalize/model-catalogue.h"

typedef struct InkCatalogue InkCatalogue;

typedef struct InkModelFacts {
    InkModelIdentity identity; /* of the file that they are about */
    char architecture[32], quantization[16], license[64];
    uint32_t context_window;
    uint64_t parameters;
    bool has_template;
} InkModelFacts;

typedef struct InkModelRecord {
    InkModelIdentity identity;
    uint8_t sha256[32];
    uint64_t imported_usec; /* real time; 0 = it was put there by hand */
} InkModelRecord;

InkModelFacts ink_model_facts(const InkModelIdentity *identity, const InkInspectResult *result);

InkCatalogue *ink_catalogue_new(void);
InkCatalogue *ink_catalogue_free(InkCatalogue *c);

/* NULL: not known, or about another file. */
const InkModelFacts *ink_catalogue_facts(const InkCatalogue *c, const char *name,
                                         const InkModelIdentity *identity);
/* NULL: no hash was ever recorded under this name. */
const InkModelRecord *ink_catalogue_record(const InkCatalogue *c, const char *name);

/* One whose file is not among `installed` any more, when there is no room for another record; else
 * NULL. */
const char *ink_catalogue_surplus(const InkCatalogue *c, const InkModels *installed);

void ink_catalogue_put_stored(InkCatalogue *c, const InkStoredModel *row);
void ink_catalogue_put_facts(InkCatalogue *c, const char *name, const InkModelFacts *facts);
/* Knows no license: what a helper said of the same file stays. */
void ink_catalogue_put_loaded(InkCatalogue *c, const char *name, const InkModelIdentity *identity,
                              const InkWireLoaded *loaded);
void ink_catalogue_put_record(InkCatalogue *c, const char *name, const InkModelRecord *record);
void ink_catalogue_remove(InkCatalogue *c, const char *name);

/* The row for the store; strings are those of `facts` and `name`. */
InkStoredModel ink_catalogue_row(const char *name, const InkModelFacts *facts,
                                 const InkModelRecord *record);
