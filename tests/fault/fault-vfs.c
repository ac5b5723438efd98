/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/fault/fault-vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TRACKED  8
#define SECTOR_BYTES 512

/* What of one file (database or log) has reached the disk, and its whole content now. */
typedef struct Tracked {
    char path[512];
    bool exists;
    char *durable;
    size_t n_durable;
    char *cached; /* at the moment of the cut */
    size_t n_cached;
} Tracked;

typedef struct FaultFile {
    sqlite3_file base;
    Tracked *tracked; /* NULL: not one whose content counts */
    sqlite3_file *real;
} FaultFile;

static struct {
    sqlite3_vfs vfs, *real;
    Tracked tracked[MAX_TRACKED];
    size_t n_tracked;
    unsigned ops;
    size_t at, count;
    FaultKind kind;
    bool sticky, fired, crashed;
} g;

/* --------------------------------------------------------------- what is durable */

static char *read_file(const char *path, size_t *ret_n)
{
    *ret_n = 0;
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *data = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (data != NULL)
        *ret_n = fread(data, 1, (size_t)n, f);
    fclose(f);
    return data;
}

static void remember_durable(Tracked *t)
{
    free(t->durable);
    t->durable = read_file(t->path, &t->n_durable);
    t->exists = t->durable != NULL;
}

static Tracked *track(const char *path)
{
    for (size_t i = 0; i < g.n_tracked; i++)
        if (strcmp(g.tracked[i].path, path) == 0)
            return &g.tracked[i];
    if (g.n_tracked == MAX_TRACKED)
        abort();
    Tracked *t = &g.tracked[g.n_tracked++];
    snprintf(t->path, sizeof(t->path), "%s", path);
    return t;
}

static void cut_power(void)
{
    if (g.crashed)
        return;
    g.crashed = true;
    for (size_t i = 0; i < g.n_tracked; i++)
        g.tracked[i].cached = read_file(g.tracked[i].path, &g.tracked[i].n_cached);
}

static void write_file(const char *path, const char *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, n, f) != n)
        abort();
    fclose(f);
}

static void recover_file(Tracked *t, FaultLoss loss, unsigned *seed)
{
    if (loss == FAULT_KEEP_ALL || t->cached == NULL) {
        if (t->cached != NULL)
            write_file(t->path, t->cached, t->n_cached);
        else
            unlink(t->path);
        return;
    }
    size_t n_max = t->n_durable > t->n_cached ? t->n_durable : t->n_cached;
    /* a longer file in the cache may or may not have got its new length */
    size_t n = loss == FAULT_LOSE_ALL || rand_r(seed) % 2 == 0 ? t->n_durable : t->n_cached;
    char *data = calloc(1, n_max + 1);
    for (size_t off = 0; off < n_max; off += SECTOR_BYTES) {
        bool kept = loss == FAULT_KEEP_SOME_SECTORS && rand_r(seed) % 2 == 0;
        const char *from = kept ? t->cached : t->durable;
        size_t n_from = kept ? t->n_cached : t->n_durable;
        if (from != NULL && off < n_from)
            memcpy(data + off, from + off,
                   n_from - off < SECTOR_BYTES ? n_from - off : SECTOR_BYTES);
    }
    /* Never synced under that name: the name itself is lost, unless the coin says otherwise. */
    if (!t->exists && n == 0)
        unlink(t->path);
    else
        write_file(t->path, data, n);
    free(data);
}

void fault_vfs_recover(FaultLoss loss, unsigned seed)
{
    cut_power(); /* now, when no operation was hit */
    for (size_t i = 0; i < g.n_tracked; i++) {
        Tracked *t = &g.tracked[i];
        char shm[600];
        recover_file(t, loss, &seed);
        snprintf(shm, sizeof(shm), "%s-shm", t->path);
        unlink(shm); /* memory does not survive */
        free(t->cached);
        free(t->durable);
        *t = (Tracked){0};
    }
    g.n_tracked = 0;
    g.crashed = false;
    fault_vfs_disarm();
}

/* ------------------------------------------------------------------- failing */

static bool fails(FaultOp op)
{
    if (g.crashed)
        return true;
    if ((g.ops & op) == 0)
        return false;
    g.count++;
    if (g.at == 0 || g.count < g.at || (g.count > g.at && !g.sticky))
        return false;
    g.fired = true;
    if (g.kind == FAULT_CRASH)
        cut_power();
    return true;
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((FaultFile *)file)->real;
}

static int x_close(sqlite3_file *file)
{
    FaultFile *f = (FaultFile *)file;
    int rc = f->real->pMethods != NULL ? f->real->pMethods->xClose(f->real) : SQLITE_OK;
    free(f->real);
    return rc;
}

static int x_read(sqlite3_file *file, void *data, int n, sqlite3_int64 off)
{
    if (fails(FAULT_READ)) {
        if (g.kind != FAULT_SHORT)
            return SQLITE_IOERR_READ;
        memset(data, 0, (size_t)n);
        return SQLITE_IOERR_SHORT_READ;
    }
    return real_of(file)->pMethods->xRead(real_of(file), data, n, off);
}

static int x_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 off)
{
    if (fails(FAULT_WRITE)) {
        if (g.kind == FAULT_SHORT && !g.crashed)
            (void)real_of(file)->pMethods->xWrite(real_of(file), data, n / 2, off);
        return g.kind == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return real_of(file)->pMethods->xWrite(real_of(file), data, n, off);
}

static int x_truncate(sqlite3_file *file, sqlite3_int64 n)
{
    if (fails(FAULT_TRUNCATE))
        return SQLITE_IOERR_TRUNCATE;
    return real_of(file)->pMethods->xTruncate(real_of(file), n);
}

static int x_sync(sqlite3_file *file, int flags)
{
    FaultFile *f = (FaultFile *)file;
    if (fails(FAULT_SYNC))
        return SQLITE_IOERR_FSYNC;
    /* The real sync would only cost time: what counts as durable is kept here. */
    (void)flags;
    if (f->tracked != NULL)
        remember_durable(f->tracked);
    return SQLITE_OK;
}

static int x_file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), ret);
}

static int x_lock(sqlite3_file *file, int level)
{
    return fails(FAULT_LOCK) ? SQLITE_IOERR_LOCK
                             : real_of(file)->pMethods->xLock(real_of(file), level);
}

static int x_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int x_check_reserved_lock(sqlite3_file *file, int *ret)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}

static int x_file_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int x_sector_size(sqlite3_file *file)
{
    (void)file;
    return SECTOR_BYTES;
}

static int x_device_characteristics(sqlite3_file *file)
{
    (void)file;
    return 0; /* promises nothing, as the worst disk */
}

static int x_shm_map(sqlite3_file *file, int page, int n, int extend, void volatile **ret)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, n, extend, ret);
}

static int x_shm_lock(sqlite3_file *file, int off, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), off, n, flags);
}

static void x_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int x_shm_unmap(sqlite3_file *file, int delete_it)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), delete_it);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = x_close,
    .xRead = x_read,
    .xWrite = x_write,
    .xTruncate = x_truncate,
    .xSync = x_sync,
    .xFileSize = x_file_size,
    .xLock = x_lock,
    .xUnlock = x_unlock,
    .xCheckReservedLock = x_check_reserved_lock,
    .xFileControl = x_file_control,
    .xSectorSize = x_sector_size,
    .xDeviceCharacteristics = x_device_characteristics,
    .xShmMap = x_shm_map,
    .xShmLock = x_shm_lock,
    .xShmBarrier = x_shm_barrier,
    .xShmUnmap = x_shm_unmap,
};

static int x_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *ret_flags)
{
    (void)vfs;
    FaultFile *f = (FaultFile *)file;
    *f = (FaultFile){0}; /* no methods: SQLite then does not close it */
    if (fails(FAULT_OPEN))
        return SQLITE_CANTOPEN;
    f->real = calloc(1, (size_t)g.real->szOsFile);
    if (f->real == NULL)
        return SQLITE_NOMEM;
    int rc = g.real->xOpen(g.real, path, f->real, flags, ret_flags);
    if (rc != SQLITE_OK) {
        free(f->real);
        return rc;
    }
    if (path != NULL && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0) {
        bool is_new = true;
        for (size_t i = 0; i < g.n_tracked; i++)
            is_new = is_new && strcmp(g.tracked[i].path, path) != 0;
        f->tracked = track(path);
        if (is_new)
            remember_durable(f->tracked); /* what was there before counts as on disk */
    }
    f->base.pMethods = &methods;
    return SQLITE_OK;
}

static int x_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    (void)vfs;
    if (fails(FAULT_DELETE))
        return SQLITE_IOERR_DELETE;
    int rc = g.real->xDelete(g.real, path, sync_directory);
    for (size_t i = 0; i < g.n_tracked && rc == SQLITE_OK; i++)
        if (strcmp(g.tracked[i].path, path) == 0)
            remember_durable(&g.tracked[i]);
    return rc;
}

void fault_vfs_install(void)
{
    g.real = sqlite3_vfs_find(NULL);
    g.vfs = *g.real;
    g.vfs.zName = "inkling-fault";
    g.vfs.szOsFile = sizeof(FaultFile);
    g.vfs.xOpen = x_open;
    g.vfs.xDelete = x_delete;
    if (sqlite3_vfs_register(&g.vfs, 1) != SQLITE_OK)
        abort();
}

void fault_vfs_remove(void)
{
    sqlite3_vfs_unregister(&g.vfs);
    sqlite3_vfs_register(g.real, 1);
    fault_vfs_disarm();
    for (size_t i = 0; i < g.n_tracked; i++) {
        free(g.tracked[i].durable);
        free(g.tracked[i].cached);
        g.tracked[i] = (Tracked){0};
    }
    g.n_tracked = 0;
    g.crashed = false;
}

void fault_vfs_arm(size_t n, unsigned ops, FaultKind kind, bool sticky)
{
    g.at = n;
    g.ops = ops;
    g.kind = kind;
    g.sticky = sticky;
    g.count = 0;
    g.fired = false;
}

void fault_vfs_disarm(void)
{
    g.at = 0;
    g.ops = 0;
}

size_t fault_vfs_count(void)
{
    return g.count;
}

bool fault_vfs_fired(void)
{
    return g.fired;
}
