/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/models.h"

#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>

#include "daemon/bounds.h"
#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

#define SUFFIX         ".gguf"
#define CACHE_SUFFIX   ".pack"
#define MAX_NAME_BYTES INK_MODELS_MAX_NAME_BYTES

static void closedir_p(DIR **d)
{
    if (*d != NULL)
        closedir(*d);
}

static void model_done(InkModel *m)
{
    free(m->name);
    free(m->path);
}

void ink_models_done(InkModels *m)
{
    for (size_t i = 0; i < m->n; i++)
        model_done(&m->items[i]);
    free(m->items);
    *m = INK_MODELS_INIT;
}

bool ink_models_same(const InkModelIdentity *a, const InkModelIdentity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->mtime_nsec == b->mtime_nsec;
}

InkModelIdentity ink_models_identity(const struct stat *st)
{
    return (InkModelIdentity){
        .device = st->st_dev,
        .inode = st->st_ino,
        .size_bytes = (uint64_t)st->st_size,
        .mtime_nsec = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
    };
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool ink_models_is_name(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME_BYTES || !is_name_start(name[0]) || strstr(name, "..") != NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_name_start(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

static bool model_name(const char *file, char out[MAX_NAME_BYTES + 1])
{
    size_t length = strlen(file), n = length - strlen(SUFFIX);
    if (length <= strlen(SUFFIX) || file[0] == '.' || strcmp(file + n, SUFFIX) != 0 ||
        n > MAX_NAME_BYTES || !ink_utf8_all_printable(file, length))
        return false;
    memcpy(out, file, n);
    out[n] = '\0';
    return true;
}

static bool has_model(const InkModels *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->items[i].name, name) == 0)
            return true;
    return false;
}

static int add_model(InkModels *m, const char *folder, const char *file, const char *name,
                     bool is_system, const struct stat *st)
{
    size_t path_bytes = strlen(folder) + strlen(file) + 2;
    InkModel model = {
        .name = ink_memdup(name, strlen(name) + 1),
        .path = ink_alloc_array(path_bytes, 1),
        .is_system = is_system,
        /* What is no file stays in the list, so that naming it says what is wrong with it. */
        .size_bytes = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
        .identity = ink_models_identity(st),
    };
    InkModel *items = ink_realloc_array(m->items, m->n + 1, sizeof *items);
    if (items != NULL)
        m->items = items;
    if (model.name == NULL || model.path == NULL || items == NULL) {
        model_done(&model);
        return -ENOMEM;
    }
    snprintf(model.path, path_bytes, "%s/%s", folder, file);
    m->items[m->n++] = model;
    return 0;
}

static int scan_folder(InkModels *m, const char *folder, bool is_system)
{
    _cleanup_(closedir_p) DIR *d = opendir(folder);
    if (d == NULL)
        return 0;
    for (struct dirent *e; m->n < INK_LIMIT_MODELS && (e = readdir(d)) != NULL;) {
        char name[MAX_NAME_BYTES + 1];
        if (!model_name(e->d_name, name) || has_model(m, name))
            continue;
        struct stat st;
        /* A system folder is the administrator's, whose links count. */
        if (fstatat(dirfd(d), e->d_name, &st, is_system ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        INK_TRY(add_model(m, folder, e->d_name, name, is_system, &st));
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const InkModel *)a)->name, ((const InkModel *)b)->name);
}

int ink_models_scan(const char *user_folder, const char *system_folder, InkModels *ret,
                    InkError *reterr)
{
    _cleanup_(ink_models_done) InkModels m = INK_MODELS_INIT;
    if (scan_folder(&m, user_folder, false) < 0 || scan_folder(&m, system_folder, true) < 0)
        return INK_RAISE(ENOMEM, reterr, "out of memory while listing models");
    if (m.n > 1)
        qsort(m.items, m.n, sizeof *m.items, by_name);
    *ret = m;
    m = INK_MODELS_INIT;
    return 0;
}

static const InkModel *find(const InkModels *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->items[i].name, name) == 0)
            return &m->items[i];
    return NULL;
}

int ink_models_find(const InkModels *m, const char *name, const char *configured,
                    const InkModel **ret, InkError *reterr)
{
    const InkModel *model = NULL;
    if (name[0] != '\0') {
        model = find(m, name);
        INK_CHECK(model != NULL, ENOENT, reterr,
                  "no installed model has this name; `inkling model list` shows them");
    } else if (m->n == 0) {
        return INK_RAISE(ENODEV, reterr,
                         "no model is installed: `inkling model import NAME FILE` brings a GGUF "
                         "file (`./dev try` fetches the default one)");
    } else if (configured[0] != '\0') {
        model = find(m, configured);
        INK_CHECK(model != NULL, ENODEV, reterr,
                  "the model that the key `model` of inkling.conf names is not installed");
    } else {
        model = find(m, INK_MODELS_DEFAULT);
        model = model != NULL ? model : &m->items[0];
    }
    *ret = model;
    return 0;
}

static const char *kind_of_file(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a FIFO";
    if (S_ISSOCK(mode))
        return "a socket";
    return "a device";
}

int ink_models_open(const InkModel *model, int *ret_fd, InkModelIdentity *ret, InkError *reterr)
{
    /* O_NONBLOCK: a FIFO must not hold up the loop. */
    int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (model->is_system ? 0 : O_NOFOLLOW);
    _cleanup_close_ int fd = open(model->path, flags);
    INK_CHECK(fd >= 0 || errno != ELOOP, EBADMSG, reterr,
              "model file: a symbolic link; put the file itself into the folder");
    INK_CHECK(fd >= 0, EBADMSG, reterr, "model file: cannot be opened: %s", strerror(errno));
    struct stat st;
    INK_CHECK(fstat(fd, &st) == 0, EBADMSG, reterr, "model file: %s", strerror(errno));
    INK_CHECK(S_ISREG(st.st_mode), EBADMSG, reterr, "model file: %s, not a regular file",
              kind_of_file(st.st_mode));
    INK_CHECK(st.st_size > 0, EBADMSG, reterr, "model file: 0 bytes long");
    *ret = ink_models_identity(&st);
    *ret_fd = INK_TAKE_FD(fd);
    return 0;
}

/* ------------------------------------------------------------------ packed form */

static void cache_name(const InkModelIdentity *identity, char out[64])
{
    g_autofree char *text =
        g_strdup_printf("%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64, identity->device,
                        identity->inode, identity->size_bytes, identity->mtime_nsec);
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    snprintf(out, 64, "%.32s" CACHE_SUFFIX, sum);
}

static bool is_cache_of(const char *file, const InkModels *installed)
{
    for (size_t i = 0; i < installed->n; i++) {
        char name[64];
        cache_name(&installed->items[i].identity, name);
        if (strcmp(file, name) == 0)
            return true;
    }
    return false;
}

static void remove_stale(int folder_fd, const char *keep, const InkModels *installed)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(closedir_p) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t length = strlen(e->d_name), n = strlen(CACHE_SUFFIX);
        if (length > n && strcmp(e->d_name + length - n, CACHE_SUFFIX) == 0 &&
            strcmp(e->d_name, keep) != 0 && !is_cache_of(e->d_name, installed))
            (void)unlinkat(folder_fd, e->d_name, 0);
    }
}

char *ink_models_cache_path(const char *cache_folder, const InkModelIdentity *identity)
{
    char name[64];
    cache_name(identity, name);
    return g_build_filename(cache_folder, name, NULL);
}

/* Room first, so that a full disk is met here and not as SIGBUS in the worker. */
static bool reserve(int fd, const InkModelIdentity *identity)
{
    size_t size_bytes;
    if (!ink_size_add(identity->size_bytes, identity->size_bytes / 8, &size_bytes) ||
        !ink_size_add(size_bytes, INK_LIMIT_CACHE_SLACK, &size_bytes) ||
        size_bytes > (size_t)INT64_MAX)
        return false;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return false;
    return (size_t)st.st_size == size_bytes || fallocate(fd, 0, 0, (off_t)size_bytes) == 0;
}

int ink_models_open_cache(const char *cache_folder, const InkModelIdentity *identity,
                          const InkModels *installed, bool *ret_locked)
{
    char name[64];
    cache_name(identity, name);
    /* A new user has no ~/.cache yet. */
    if (g_mkdir_with_parents(cache_folder, 0700) < 0)
        return -1;
    _cleanup_close_ int folder = open(cache_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (folder < 0 || fstat(folder, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return -1;
    _cleanup_close_ int fd =
        openat(folder, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return -1;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!reserve(fd, identity)) {
        if (locked)
            (void)unlinkat(folder, name, 0);
        return -1;
    }
    remove_stale(folder, name, installed);
    *ret_locked = locked;
    return INK_TAKE_FD(fd);
}
