/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/catalogue.h"

#include <glib.h>
#include <string.h>

#include "engine/base/utf8.h"

typedef struct Entry {
    bool has_facts, has_record;
    InkModelFacts facts;
    InkModelRecord record;
} Entry;

struct InkCatalogue {
    GHashTable *entries; /* name -> Entry */
};

InkCatalogue *ink_catalogue_new(void)
{
    InkCatalogue *c = g_new0(InkCatalogue, 1);
    c->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return c;
}

InkCatalogue *ink_catalogue_free(InkCatalogue *c)
{
    if (c == NULL)
        return NULL;
    g_hash_table_unref(c->entries);
    g_free(c);
    return NULL;
}

static Entry *entry_of(InkCatalogue *c, const char *name)
{
    Entry *e = g_hash_table_lookup(c->entries, name);
    if (e == NULL) {
        e = g_new0(Entry, 1);
        g_hash_table_insert(c->entries, g_strdup(name), e);
    }
    return e;
}

const InkModelFacts *ink_catalogue_facts(const InkCatalogue *c, const char *name,
                                         const InkModelIdentity *identity)
{
    const Entry *e = g_hash_table_lookup(c->entries, name);
    return e != NULL && e->has_facts && ink_models_same(&e->facts.identity, identity) ? &e->facts
                                                                                      : NULL;
}

const InkModelRecord *ink_catalogue_record(const InkCatalogue *c, const char *name)
{
    const Entry *e = g_hash_table_lookup(c->entries, name);
    return e != NULL && e->has_record ? &e->record : NULL;
}

static bool is_installed(const InkModels *installed, const char *name)
{
    for (size_t i = 0; i < installed->n; i++)
        if (strcmp(installed->items[i].name, name) == 0)
            return true;
    return false;
}

const char *ink_catalogue_surplus(const InkCatalogue *c, const InkModels *installed)
{
    GHashTableIter i;
    gpointer name, value;
    size_t n = 0;
    const char *surplus = NULL;
    g_hash_table_iter_init(&i, c->entries);
    while (g_hash_table_iter_next(&i, &name, &value)) {
        bool has_record = ((const Entry *)value)->has_record;
        n += has_record;
        if (has_record && !is_installed(installed, name))
            surplus = name;
    }
    return n >= INK_STORE_MAX_MODELS ? surplus : NULL;
}

static void copy_text(char *out, size_t out_bytes, const char *text)
{
    ink_utf8_copy_printable(out, out_bytes, text, strlen(text));
}

InkModelFacts ink_model_facts(const InkModelIdentity *identity, const InkInspectResult *result)
{
    InkModelFacts facts = {
        .identity = *identity,
        .context_window = result->n_context,
        .parameters = result->n_parameters,
        .has_template = result->has_template != 0,
    };
    copy_text(facts.architecture, sizeof facts.architecture, result->architecture);
    copy_text(facts.quantization, sizeof facts.quantization, result->quantization);
    copy_text(facts.license, sizeof facts.license, result->license);
    return facts;
}

void ink_catalogue_put_stored(InkCatalogue *c, const InkStoredModel *row)
{
    Entry *e = entry_of(c, row->name);
    const InkModelIdentity identity = {row->device, row->inode, row->size_bytes, row->mtime_nsec};
    e->has_facts = e->has_record = true;
    e->facts = (InkModelFacts){
        .identity = identity,
        .context_window = row->context_window,
        .parameters = row->parameters,
        .has_template = row->has_template,
    };
    copy_text(e->facts.architecture, sizeof e->facts.architecture, row->architecture);
    copy_text(e->facts.quantization, sizeof e->facts.quantization, row->quantization);
    copy_text(e->facts.license, sizeof e->facts.license, row->license);
    e->record = (InkModelRecord){.identity = identity, .imported_usec = row->imported_usec};
    memcpy(e->record.sha256, row->sha256, sizeof e->record.sha256);
}

void ink_catalogue_put_facts(InkCatalogue *c, const char *name, const InkModelFacts *facts)
{
    Entry *e = entry_of(c, name);
    e->has_facts = true;
    e->facts = *facts;
}

void ink_catalogue_put_loaded(InkCatalogue *c, const char *name, const InkModelIdentity *identity,
                              const InkWireLoaded *loaded)
{
    Entry *e = entry_of(c, name);
    if (!e->has_facts || !ink_models_same(&e->facts.identity, identity))
        e->facts = (InkModelFacts){.identity = *identity};
    e->has_facts = true;
    e->facts.context_window = loaded->n_context;
    e->facts.parameters = loaded->n_parameters;
    e->facts.has_template = loaded->has_template != 0;
    copy_text(e->facts.architecture, sizeof e->facts.architecture, loaded->architecture);
    copy_text(e->facts.quantization, sizeof e->facts.quantization, loaded->quantization);
}

void ink_catalogue_put_record(InkCatalogue *c, const char *name, const InkModelRecord *record)
{
    Entry *e = entry_of(c, name);
    e->has_record = true;
    e->record = *record;
}

void ink_catalogue_remove(InkCatalogue *c, const char *name)
{
    g_hash_table_remove(c->entries, name);
}

InkStoredModel ink_catalogue_row(const char *name, const InkModelFacts *facts,
                                 const InkModelRecord *record)
{
    InkStoredModel row = {
        .name = name,
        .device = record->identity.device,
        .inode = record->identity.inode,
        .size_bytes = record->identity.size_bytes,
        .mtime_nsec = record->identity.mtime_nsec,
        .architecture = facts->architecture,
        .quantization = facts->quantization,
        .license = facts->license,
        .context_window = facts->context_window,
        .parameters = facts->parameters,
        .has_template = facts->has_template,
        .imported_usec = record->imported_usec,
    };
    memcpy(row.sha256, record->sha256, sizeof row.sha256);
    return row;
}
