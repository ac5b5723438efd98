/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Installed models as the service offers them: which is the default, what is in them, coming and
 * going. The files themselves are read by helpers only (helper.h); what waits for a disk is done by
 * the store thread (store-models.h).
 *
 * The default is the first of these that holds: the key `model` of inkling.conf; what was chosen
 * with set_default_model, as long as it is installed; the order of models.h.
 * Owns: the catalogue, the import that runs, the inspections that run. Errors: of ipc/service.h.
 * Private to daemon/. Thread: the loop thread. */
#pragma once

#include "daemon/app-private.h"
#include "daemon/catalogue.h"

typedef struct InkImport InkImport;

typedef struct InkAppModels {
    InkCatalogue *catalogue;
    char *worker_program;
    char *chosen;      /* "" = none */
    InkImport *import; /* NULL = none runs */
    GQueue inspections;
} InkAppModels;

/* Reads what the store knows; before anything else asks the store, so that it is there first. */
INK_MUST_CHECK int ink_app_models_init(InkApp *app, const InkAppOptions *options, InkError *reterr);
/* Ends what a helper works on; what the store thread has been given is done first. */
void ink_app_models_stop(InkApp *app);
void ink_app_models_done(InkApp *app);
/* Imports and inspections under way. */
size_t ink_app_models_n_active(const InkApp *app);

/* `name` "" = the default. */
INK_MUST_CHECK int ink_app_choose_model(const InkApp *app, const InkModels *models,
                                        const char *name, const InkModel **ret, InkError *reterr);
/* Of the file that lies there now; 0 = not known. */
uint32_t ink_app_model_window(const InkApp *app, const InkModel *model);
/* A row of the catalogue that has to go before another one comes, out of what is known by then;
 * NULL = there is room. To be freed with g_free(). */
char *ink_app_forget_surplus(InkApp *app);
/* A worker has loaded app->model. */
void ink_app_model_loaded(InkApp *app, const InkWireLoaded *loaded);
/* Fills all but `is_default`. */
void ink_app_describe_model(const InkApp *app, const InkModel *model, InkServiceModel *ret);

/* False when the id is no import's. */
bool ink_app_cancel_import(InkApp *app, uint64_t id, InkCancelReason reason);
bool ink_app_has_import(const InkApp *app, uint64_t id);

int ink_app_list_models(void *service, void (*each)(void *userdata, const InkServiceModel *model),
                        void *userdata, InkError *reterr);
int ink_app_import_model(void *service, const InkCaller *caller, const InkServiceImport *import,
                         int fd, const InkTaskSink *sink, uint64_t *ret_id, InkError *reterr);
int ink_app_inspect_model(void *service, const InkCaller *caller, const char *name, bool verify,
                          InkInspectReply *reply, void *userdata, InkError *reterr);
int ink_app_remove_model(void *service, const InkCaller *caller, const char *name, bool force,
                         InkDoneReply *reply, void *userdata, InkError *reterr);
int ink_app_set_default_model(void *service, const InkCaller *caller, const char *name, bool force,
                              InkDoneReply *reply, void *userdata, InkError *reterr);

/* import.c, for model-ops.c: as ink_app_models_stop() and _done(). */
void ink_import_stop(InkApp *app);
/* inspect.c: the same */
void ink_inspections_stop(InkApp *app);
