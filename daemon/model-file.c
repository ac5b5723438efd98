/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "daemon/model-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/statvfs.h>

#define HIDDEN_SUFFIX ".part"

static int raise_io(const char *what, InkError *reterr)
{
    int code = errno;
    return INK_RAISE(code == ENOMEM ? ENOMEM : EIO, reterr, "the models folder: %s: %s", what,
                     strerror(code));
}

static int open_folder(const char *folder, int *ret, bool *ret_is_new, InkError *reterr)
{
    struct stat st;
    *ret_is_new = access(folder, F_OK) < 0;
    if (g_mkdir_with_parents(folder, 0700) < 0)
        return raise_io("it cannot be made", reterr);
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return raise_io("it cannot be opened", reterr);
    INK_CHECK(st.st_uid == geteuid(), EIO, reterr, "the models folder belongs to another user");
    *ret = INK_TAKE_FD(fd);
    return 0;
}

static int open_hidden(InkModelFile *f)
{
    /* One import at a time: what is there was left by a crash. */
    (void)unlinkat(f->folder_fd, f->hidden, 0);
    return openat(f->folder_fd, f->hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                  0600);
}

int ink_model_file_create(const char *folder, const char *name, bool nameless, InkModelFile *ret,
                          InkError *reterr)
{
    _cleanup_(ink_model_file_done) InkModelFile f = INK_MODEL_FILE_INIT;
    INK_CHECK(ink_models_is_name(name), EINVAL, reterr, "not the name of a model");
    snprintf(f.name, sizeof f.name, "%s.gguf", name);
    INK_TRY(open_folder(folder, &f.folder_fd, &f.is_new_folder, reterr));
    if (nameless)
        f.fd = openat(f.folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* Old kernels and some file systems say it in these ways. */
    if (!nameless || (f.fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ||
                                   errno == EINVAL))) {
        snprintf(f.hidden, sizeof f.hidden, ".%s" HIDDEN_SUFFIX, name);
        f.fd = open_hidden(&f);
    }
    if (f.fd < 0)
        return raise_io("no file can be made", reterr);
    *ret = f;
    f = INK_MODEL_FILE_INIT;
    return 0;
}

uint64_t ink_model_file_free_bytes(const InkModelFile *f)
{
    struct statvfs st;
    size_t n;
    /* Some file systems in memory have no size, and say 0. */
    if (fstatvfs(f->fd, &st) < 0 || st.f_blocks == 0 ||
        __builtin_mul_overflow(st.f_bavail, st.f_frsize, &n))
        return UINT64_MAX;
    return n;
}

static int give_name(InkModelFile *f)
{
    char path[32];
    if (f->hidden[0] == '\0') {
        snprintf(path, sizeof path, "/proc/self/fd/%d", f->fd);
        return linkat(AT_FDCWD, path, f->folder_fd, f->name, AT_SYMLINK_FOLLOW);
    }
    if (renameat2(f->folder_fd, f->hidden, f->folder_fd, f->name, RENAME_NOREPLACE) == 0) {
        f->hidden[0] = '\0';
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return linkat(f->folder_fd, f->hidden, f->folder_fd, f->name, 0);
}

static int sync_folder(const InkModelFile *f)
{
    if (fsync(f->folder_fd) < 0)
        return -1;
    if (!f->is_new_folder)
        return 0;
    _cleanup_close_ int parent = openat(f->folder_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return parent < 0 ? -1 : fsync(parent);
}

int ink_model_file_publish(InkModelFile *f, InkError *reterr)
{
    if (give_name(f) < 0) {
        INK_CHECK(errno != EEXIST, EEXIST, reterr, "a model of this name is installed already");
        return raise_io("the model got no name", reterr);
    }
    if (f->hidden[0] != '\0')
        (void)unlinkat(f->folder_fd, f->hidden, 0);
    f->hidden[0] = '\0';
    if (sync_folder(f) < 0) {
        int r = raise_io("it cannot be brought to the disk", reterr);
        ink_model_file_withdraw(f);
        return r;
    }
    return 0;
}

void ink_model_file_withdraw(InkModelFile *f)
{
    if (unlinkat(f->folder_fd, f->name, 0) == 0)
        (void)!fsync(f->folder_fd);
}

void ink_model_file_hide(InkModelFile *f)
{
    if (f->folder_fd >= 0 && f->hidden[0] != '\0')
        (void)unlinkat(f->folder_fd, f->hidden, 0);
    f->hidden[0] = '\0';
}

void ink_model_file_done(InkModelFile *f)
{
    ink_model_file_hide(f);
    if (f->fd >= 0)
        close(f->fd);
    if (f->folder_fd >= 0)
        close(f->folder_fd);
    *f = INK_MODEL_FILE_INIT;
}

/* ".NAME.part" of a NAME that an import can have; a download of somebody else has others. */
static bool is_hidden_name(const char *file)
{
    char name[INK_MODELS_MAX_NAME_BYTES + 1];
    size_t length = strlen(file), n_suffix = strlen(HIDDEN_SUFFIX);
    if (file[0] != '.' || length <= n_suffix + 1 || length - n_suffix - 1 >= sizeof name ||
        strcmp(file + length - n_suffix, HIDDEN_SUFFIX) != 0)
        return false;
    memcpy(name, file + 1, length - n_suffix - 1);
    name[length - n_suffix - 1] = '\0';
    return ink_models_is_name(name);
}

void ink_model_file_sweep(const char *folder)
{
    DIR *d = opendir(folder);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (is_hidden_name(e->d_name))
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}
