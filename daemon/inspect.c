/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* InspectModel: a helper looks at an installed file, and hashes it where it shall be verified.
 *
 * Verified is what has the recorded hash, whatever has become of the file's dates. Where none was
 * ever recorded (a file that was put there by hand) there is nothing to compare with: the hash is
 * recorded now, a warning says so, and `verified` is left out. */
#include <stdio.h>
#include <string.h>

#include "daemon/bounds.h"
#include "daemon/helper.h"
#include "daemon/model-ops.h"
#include "daemon/store-models.h"
#include "engine/base/sha256.h"

typedef struct Inspection {
    InkApp *app;
    char *name, *app_id;
    InkModelIdentity identity;
    bool verify, was_verified, verified;
    InkInspectReply *reply;
    void *userdata;
    InkHelper *helper; /* NULL: the store thread records its hash */
    InkInspectResult result;
    InkModelRecord record;
    char own_warning[2 * INK_SHA256_HEX_BYTES + 128]; /* "" = none */
} Inspection;

static Inspection *inspection_free(Inspection *i)
{
    if (i == NULL)
        return NULL;
    g_queue_remove(&i->app->models->inspections, i);
    ink_helper_free(i->helper);
    g_free(i->app_id);
    g_free(i->name);
    g_free(i);
    return NULL;
}

INK_DEFINE_CLEANUP(Inspection, inspection_free, inspection_free_p)

static void answer_error(Inspection *i, const InkError *error)
{
    i->reply(i->userdata, error, NULL);
    inspection_free(i);
}

/* As the list tells it, of the file that was looked at. */
static int describe(const Inspection *i, InkServiceModel *ret, InkError *reterr)
{
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    const InkModel *model, *preferred = NULL;
    INK_TRY(ink_residency_models(i->app, &models, reterr));
    INK_TRY(ink_models_find(&models, i->name, "", &model, reterr));
    ink_app_describe_model(i->app, model, ret);
    ret->is_default =
        ink_app_choose_model(i->app, &models, "", &preferred, NULL) >= 0 && preferred == model;
    return 0;
}

static void answer(Inspection *i)
{
    const InkInspectResult *m = &i->result;
    InkServiceTensorType types[INK_INSPECT_MAX_TYPES];
    const char *warnings[INK_INSPECT_MAX_WARNINGS + 1];
    InkServiceInspection told = {
        .layers = m->n_layers,
        .embedding_length = m->n_embedding,
        .heads = m->n_heads,
        .kv_heads = m->n_kv_heads,
        .vocabulary = m->n_vocab,
        .tokenizer = m->tokenizer,
        .tensor_types = types,
        .n_tensor_types = m->n_types,
        .warnings = warnings,
        .n_warnings = m->n_warnings,
        .was_verified = i->was_verified,
        .verified = i->verified,
    };
    InkError error = {0};
    for (size_t k = 0; k < m->n_types; k++)
        types[k] = (InkServiceTensorType){m->types[k].name, m->types[k].n_bytes};
    for (size_t k = 0; k < m->n_warnings; k++)
        warnings[k] = m->warnings[k];
    if (i->own_warning[0] != '\0')
        warnings[told.n_warnings++] = i->own_warning;
    if (describe(i, &told.model, &error) < 0) {
        answer_error(i, &error);
        return;
    }
    i->reply(i->userdata, NULL, &told);
    inspection_free(i);
}

/* ------------------------------------------------------------------ verifying */

static void on_recorded(void *userdata, const InkError *error)
{
    Inspection *i = userdata;
    if (error != NULL)
        snprintf(i->own_warning, sizeof i->own_warning, "its hash could not be recorded: %.160s",
                 error->message);
    else
        ink_catalogue_put_record(i->app->models->catalogue, i->name, &i->record);
    answer(i);
}

/* The row is about the file as it is now. */
static int write_record(Inspection *i, uint64_t imported_usec, InkError *reterr)
{
    InkModelFacts facts = ink_model_facts(&i->identity, &i->result);
    i->record = (InkModelRecord){.identity = i->identity, .imported_usec = imported_usec};
    memcpy(i->record.sha256, i->result.sha256, sizeof i->record.sha256);
    g_autofree char *forget = ink_app_forget_surplus(i->app);
    const InkStoreModelChange change = {
        .name = i->name, .facts = &facts, .record = &i->record, .forget = forget};
    return ink_store_job_change_model(i->app->store, &change, on_recorded, i, reterr);
}

static void say_difference(Inspection *i, const uint8_t *recorded)
{
    char found[INK_SHA256_HEX_BYTES], before[INK_SHA256_HEX_BYTES];
    ink_sha256_to_hex(i->result.sha256, found);
    ink_sha256_to_hex(recorded, before);
    snprintf(i->own_warning, sizeof i->own_warning, "its sha256 is %s, recorded is %s", found,
             before);
}

static void verify(Inspection *i)
{
    const InkModelRecord *record = ink_catalogue_record(i->app->models->catalogue, i->name);
    InkError error = {0};
    if (record != NULL) {
        i->was_verified = true;
        i->verified = memcmp(record->sha256, i->result.sha256, sizeof record->sha256) == 0;
        if (!i->verified)
            say_difference(i, record->sha256);
        if (!i->verified || ink_models_same(&record->identity, &i->identity)) {
            answer(i);
            return;
        }
        /* The same content with other dates, as after a restored backup: known again from here. */
    } else {
        snprintf(i->own_warning, sizeof i->own_warning,
                 "no hash was recorded, so there was nothing to compare with; it is recorded now");
    }
    if (write_record(i, record != NULL ? record->imported_usec : 0, &error) < 0)
        on_recorded(i, &error);
}

/* ------------------------------------------------------------------ the helper's part */

static void on_ended(void *userdata, const InkInspectResult *result, const InkError *error)
{
    Inspection *i = userdata;
    i->helper = ink_helper_free(i->helper);
    if (error != NULL) {
        answer_error(i, error);
        return;
    }
    i->result = *result;
    InkModelFacts facts = ink_model_facts(&i->identity, result);
    ink_catalogue_put_facts(i->app->models->catalogue, i->name, &facts);
    ink_app_announce(i->app); /* the window may be known from now on */
    if (i->verify)
        verify(i);
    else
        answer(i);
}

static const InkHelperEvents helper_events = {.ended = on_ended};

static int start(Inspection *i, const char *name, InkError *reterr)
{
    InkApp *app = i->app;
    _cleanup_(ink_models_done) InkModels models = INK_MODELS_INIT;
    _cleanup_close_ int fd = -1;
    const InkModel *model;
    INK_TRY(ink_residency_models(app, &models, reterr));
    INK_TRY(ink_app_choose_model(app, &models, name, &model, reterr));
    INK_TRY(ink_models_open(model, &fd, &i->identity, reterr));
    i->name = g_strdup(model->name);
    const InkHelperJob job = {
        .model_fd = fd, .copy_fd = -1, .hash = i->verify, .size_bytes = i->identity.size_bytes};
    return ink_helper_start(app->event, app->models->worker_program, &job, &helper_events, i,
                            &i->helper, reterr);
}

/* A sandboxed program may ask, and must not keep others from asking. */
static int check_room(const InkApp *app, const InkCaller *caller, InkError *reterr)
{
    unsigned n = 0, n_own = 0;
    for (const GList *at = app->models->inspections.head; at != NULL; at = at->next, n++)
        n_own += strcmp(((const Inspection *)at->data)->app_id, caller->app_id) == 0;
    INK_CHECK(n < INK_LIMIT_INSPECTIONS && n_own < INK_LIMIT_INSPECTIONS / 2, EBUSY, reterr,
              "%u models are looked at already, %u of them for this application; the limits are %u "
              "and %u",
              n, n_own, INK_LIMIT_INSPECTIONS, INK_LIMIT_INSPECTIONS / 2);
    return 0;
}

int ink_app_inspect_model(void *service, const InkCaller *caller, const char *name, bool with_hash,
                          InkInspectReply *reply, void *userdata, InkError *reterr)
{
    InkApp *app = service;
    INK_CHECK(!app->stopping, ESHUTDOWN, reterr, "the service is stopping; call again");
    INK_TRY(check_room(app, caller, reterr));
    _cleanup_(inspection_free_p) Inspection *i = g_new0(Inspection, 1);
    i->app = app;
    i->app_id = g_strdup(caller->app_id);
    i->verify = with_hash;
    i->reply = reply;
    i->userdata = userdata;
    INK_TRY(start(i, name, reterr));
    g_queue_push_tail(&app->models->inspections, i);
    i = NULL;
    return 0;
}

void ink_inspections_stop(InkApp *app)
{
    InkError error = {0};
    (void)INK_RAISE(ESHUTDOWN, &error, "the service is stopping; call again");
    for (GList *at = app->models->inspections.head; at != NULL;) {
        Inspection *i = at->data;
        at = at->next;
        if (i->helper != NULL) /* else the store thread has it, and ends first */
            answer_error(i, &error);
    }
}
