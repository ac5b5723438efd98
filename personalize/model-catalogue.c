/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/model-catalogue.h"

#include <string.h>

#include "engine/base/utf8.h"
#include "personalize/store-private.h"

#define DEFAULT_MODEL  "default-model"
#define MAX_NAME_BYTES 255u
#define MAX_WORD_BYTES 255u

static int check_text(const char *what, const char *text, size_t least, size_t most,
                      InkError *reterr)
{
    size_t n = text != NULL ? strnlen(text, most + 1) : 0;
    INK_CHECK(n >= least && n <= most && (text == NULL || ink_utf8_valid(text, n)), EINVAL, reterr,
              "%s of a model has %zu to %zu bytes of UTF-8", what, least, most);
    return 0;
}

/* Identities use all 64 bits on some file systems; the store's integers have a sign. */
static void bind_bits(InkRows *rows, int n, uint64_t bits)
{
    ink_rows_bind_i64(rows, n, (int64_t)bits);
}

static const char *text_or_empty(const InkRows *rows, int column)
{
    const char *text = ink_rows_text(rows, column);
    return text != NULL ? text : "";
}

int ink_store_list_models(InkStore *s, void (*each)(void *userdata, const InkStoredModel *row),
                          void *userdata, InkError *reterr)
{
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_LIST_MODELS);
    ink_rows_bind_u64(&rows, 1, INK_STORE_MAX_MODELS);
    int r;
    while ((r = ink_rows_next(&rows, reterr)) > 0) {
        const void *sha256 = ink_rows_blob(&rows, 5, sizeof(((InkStoredModel *)0)->sha256));
        uint64_t window = ink_rows_u64(&rows, 9);
        if (sha256 == NULL)
            continue; /* nobody of this project wrote that */
        InkStoredModel row = {
            .name = text_or_empty(&rows, 0),
            .device = (uint64_t)ink_rows_i64(&rows, 1),
            .inode = (uint64_t)ink_rows_i64(&rows, 2),
            .size_bytes = (uint64_t)ink_rows_i64(&rows, 3),
            .mtime_nsec = (uint64_t)ink_rows_i64(&rows, 4),
            .architecture = text_or_empty(&rows, 6),
            .quantization = text_or_empty(&rows, 7),
            .license = text_or_empty(&rows, 8),
            .context_window = window <= UINT32_MAX ? (uint32_t)window : UINT32_MAX,
            .parameters = ink_rows_u64(&rows, 10),
            .has_template = ink_rows_u64(&rows, 11) != 0,
            .imported_usec = ink_rows_u64(&rows, 12),
        };
        memcpy(row.sha256, sha256, sizeof(row.sha256));
        each(userdata, &row);
    }
    return r;
}

static int check_count(InkStore *s, const char *name, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_COUNT_MODELS);
    ink_rows_bind_text(&rows, 1, name);
    INK_TRY(ink_rows_next(&rows, reterr));
    INK_CHECK(ink_rows_u64(&rows, 0) < INK_STORE_MAX_MODELS, EDQUOT, reterr,
              "the catalogue holds %u models, which is its limit", INK_STORE_MAX_MODELS);
    return 0;
}

static int put(InkStore *s, const InkStoredModel *m, InkError *reterr)
{
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_PUT_MODEL);
    ink_rows_bind_text(&rows, 1, m->name);
    bind_bits(&rows, 2, m->device);
    bind_bits(&rows, 3, m->inode);
    bind_bits(&rows, 4, m->size_bytes);
    bind_bits(&rows, 5, m->mtime_nsec);
    ink_rows_bind_blob(&rows, 6, m->sha256, sizeof(m->sha256));
    ink_rows_bind_text(&rows, 7, m->architecture);
    ink_rows_bind_text(&rows, 8, m->quantization);
    ink_rows_bind_text(&rows, 9, m->license);
    ink_rows_bind_u64(&rows, 10, m->context_window);
    ink_rows_bind_u64(&rows, 11, m->parameters);
    ink_rows_bind_u64(&rows, 12, m->has_template);
    ink_rows_bind_u64(&rows, 13, m->imported_usec);
    return ink_rows_next(&rows, reterr);
}

int ink_store_put_model(InkStore *s, const InkStoredModel *model, InkError *reterr)
{
    INK_TRY(check_text("the name", model->name, 1, MAX_NAME_BYTES, reterr));
    INK_TRY(check_text("the architecture", model->architecture, 0, MAX_WORD_BYTES, reterr));
    INK_TRY(check_text("the quantization", model->quantization, 0, MAX_WORD_BYTES, reterr));
    INK_TRY(check_text("the license", model->license, 0, MAX_WORD_BYTES, reterr));
    INK_CHECK(model->architecture != NULL && model->quantization != NULL && model->license != NULL,
              EINVAL, reterr, "a text of a model is missing");
    _cleanup_(ink_store_rollback_p) InkStore *transaction = s;
    INK_TRY(ink_store_begin(s, reterr));
    INK_TRY(check_count(s, model->name, reterr));
    INK_TRY(put(s, model, reterr));
    return ink_store_commit(s, reterr);
}

static int remove_row(InkStore *s, InkSql sql, const char *name, InkError *reterr)
{
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, sql);
    ink_rows_bind_text(&rows, 1, name);
    return ink_rows_next(&rows, reterr);
}

int ink_store_remove_model(InkStore *s, const char *name, InkError *reterr)
{
    return remove_row(s, INK_SQL_REMOVE_MODEL, name, reterr);
}

int ink_store_default_model(InkStore *s, char ret[256], InkError *reterr)
{
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_GET_CHOICE);
    ink_rows_bind_text(&rows, 1, DEFAULT_MODEL);
    int r = ink_rows_next(&rows, reterr);
    INK_TRY(r);
    const char *name = r > 0 ? text_or_empty(&rows, 0) : "";
    snprintf(ret, MAX_NAME_BYTES + 1, "%s", strlen(name) <= MAX_NAME_BYTES ? name : "");
    return 0;
}

int ink_store_set_default_model(InkStore *s, const char *name, InkError *reterr)
{
    INK_TRY(check_text("the name", name, 0, MAX_NAME_BYTES, reterr));
    if (name == NULL || name[0] == '\0')
        return remove_row(s, INK_SQL_REMOVE_CHOICE, DEFAULT_MODEL, reterr);
    INK_TRY(ink_store_ready(s, reterr));
    _cleanup_rows_ InkRows rows = ink_rows(s, INK_SQL_SET_CHOICE);
    ink_rows_bind_text(&rows, 1, DEFAULT_MODEL);
    ink_rows_bind_text(&rows, 2, name);
    return ink_rows_next(&rows, reterr);
}
