/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/store-private.h"

#include <inttypes.h>
#include <string.h>

#include "personalize/schema.h"

#define HEADER_VERSION_OFF        60u
#define HEADER_APPLICATION_ID_OFF 68u

/* steps[v] leads from version v to v + 1, each in one transaction. */
static const char *const steps[INK_SCHEMA_LATEST] = {
    [INK_SCHEMA_EMPTY] = INK_SQL_MIGRATE_01,
    [INK_SCHEMA_FIRST] = INK_SQL_MIGRATE_02,
};

static uint32_t big_endian_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int refuse_newer(int64_t version, InkError *reterr)
{
    return INK_RAISE(EIO, reterr,
                     "inkling.db was written by a newer inkling (schema %" PRId64
                     ", this one knows %d); it was left untouched",
                     version, (int)INK_SCHEMA_LATEST);
}

static int refuse_foreign(InkError *reterr)
{
    return INK_RAISE(EIO, reterr,
                     "inkling.db is not an inkling database; it was left untouched, move it aside "
                     "to start anew");
}

int ink_store_check_header(const unsigned char *header, size_t n_bytes, InkError *reterr)
{
    static const char magic[16] = "SQLite format 3";
    if (n_bytes == 0)
        return 0;
    if (n_bytes < INK_STORE_HEADER_BYTES || memcmp(header, magic, sizeof(magic)) != 0)
        return refuse_foreign(reterr);
    uint32_t id = big_endian_u32(header + HEADER_APPLICATION_ID_OFF);
    uint32_t version = big_endian_u32(header + HEADER_VERSION_OFF);
    /* 0: made, but the first transaction was cut; migrate looks whether there are tables */
    if (id != INK_SCHEMA_APPLICATION_ID && id != 0)
        return refuse_foreign(reterr);
    if (id == INK_SCHEMA_APPLICATION_ID && version > INK_SCHEMA_LATEST)
        return refuse_newer(version, reterr);
    return 0;
}

int ink_store_migrate(InkStore *s, InkError *reterr)
{
    int64_t id, version, n_objects;
    INK_TRY(ink_store_read_number(s, INK_SQL_APPLICATION_ID, &id, reterr));
    INK_TRY(ink_store_read_number(s, INK_SQL_USER_VERSION, &version, reterr));
    INK_TRY(ink_store_read_number(s, INK_SQL_COUNT_OBJECTS, &n_objects, reterr));
    bool is_empty = id == 0 && version == INK_SCHEMA_EMPTY && n_objects == 0;
    if (!is_empty && id != INK_SCHEMA_APPLICATION_ID)
        return refuse_foreign(reterr);
    if (version > INK_SCHEMA_LATEST)
        return refuse_newer(version, reterr);
    if (!is_empty && version < INK_SCHEMA_FIRST)
        return refuse_foreign(reterr);

    int is_wal = ink_store_expect_text(s, INK_SQL_WAL, "wal", reterr);
    INK_TRY(is_wal);
    INK_CHECK(is_wal > 0, EIO, reterr, "this file system cannot hold a write-ahead log");
    for (int64_t v = version; v < INK_SCHEMA_LATEST; v++) {
        int r = ink_store_execute(s, steps[v], reterr);
        if (r < 0) {
            ink_store_rollback(s);
            return r;
        }
    }
    return 0;
}
