/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/store-private.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define DATABASE "inkling.db"
#define LOCK     "inkling.lock"

/* Makes what is missing of the path, for its owner alone, as the XDG specification wants it. */
static int make_directories(const char *directory, InkError *reterr)
{
    char path[PATH_MAX];
    size_t n = strlen(directory);
    INK_CHECK(directory[0] == '/' && n < sizeof(path), EINVAL, reterr,
              "the data directory must be an absolute path below %d bytes", PATH_MAX);
    memcpy(path, directory, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        char end = path[i];
        path[i] = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST && access(path, F_OK) < 0)
            return INK_RAISE(EIO, reterr, "the data directory cannot be made: %s", strerror(errno));
        path[i] = end;
    }
    return 0;
}

static int open_directory(const char *directory, int *ret_fd, InkError *reterr)
{
    _cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return INK_RAISE(EIO, reterr,
                         "the data directory is a symbolic link or no directory: refused");
    INK_CHECK(fd >= 0, EIO, reterr, "the data directory cannot be opened: %s", strerror(errno));
    struct stat st;
    INK_CHECK(fstat(fd, &st) == 0, EIO, reterr, "the data directory: %s", strerror(errno));
    INK_CHECK(st.st_uid == geteuid(), EIO, reterr,
              "the data directory belongs to user %u, not to %u: refused", st.st_uid, geteuid());
    INK_CHECK((st.st_mode & 077) == 0, EIO, reterr,
              "the data directory has mode %04o and lets others in; it must be 0700",
              st.st_mode & 07777);
    *ret_fd = INK_TAKE_FD(fd);
    return 0;
}

static int check_regular(const struct stat *st, const char *name, InkError *reterr)
{
    INK_CHECK(S_ISREG(st->st_mode), EIO, reterr, "%s is not a regular file: refused", name);
    INK_CHECK(st->st_uid == geteuid(), EIO, reterr, "%s belongs to user %u: refused", name,
              st->st_uid);
    INK_CHECK(st->st_nlink == 1, EIO, reterr, "%s has %lu hard links: refused", name,
              (unsigned long)st->st_nlink);
    return 0;
}

/* A file of ours in the directory, made when missing; never through a link. */
static int open_file(int dir_fd, const char *name, int *ret_fd, struct stat *ret_st,
                     InkError *reterr)
{
    _cleanup_close_ int fd =
        openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
        return INK_RAISE(EIO, reterr, "%s is not a regular file: refused", name);
    INK_CHECK(fd >= 0, EIO, reterr, "%s cannot be opened for writing: %s", name, strerror(errno));
    struct stat st;
    INK_CHECK(fstat(fd, &st) == 0, EIO, reterr, "%s: %s", name, strerror(errno));
    INK_TRY(check_regular(&st, name, reterr));
    *ret_st = st;
    *ret_fd = INK_TAKE_FD(fd);
    return 0;
}

int ink_store_lock_directory(const char *directory, int *ret_lock_fd, InkError *reterr)
{
    INK_TRY(make_directories(directory, reterr));
    _cleanup_close_ int dir_fd = -1, lock_fd = -1;
    struct stat st;
    INK_TRY(open_directory(directory, &dir_fd, reterr));
    INK_TRY(open_file(dir_fd, LOCK, &lock_fd, &st, reterr));
    /* Of the open file, not of the process: also a second store in this process is refused. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(lock_fd, F_OFD_SETLK, &lock) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            return INK_RAISE(EIO, reterr,
                             "another inkling service has this data directory open (%s is locked)",
                             LOCK);
        return INK_RAISE(EIO, reterr, "%s cannot be locked: %s", LOCK, strerror(errno));
    }
    *ret_lock_fd = INK_TAKE_FD(lock_fd);
    return 0;
}

/* SQLite's own files beside the database; `ret_size_bytes` 0 when missing. */
static int check_companion(int dir_fd, const char *name, uint64_t *ret_size_bytes, InkError *reterr)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        INK_CHECK(errno == ENOENT, EIO, reterr, "%s: %s", name, strerror(errno));
        *ret_size_bytes = 0;
        return 0;
    }
    INK_TRY(check_regular(&st, name, reterr));
    *ret_size_bytes = (uint64_t)st.st_size;
    return 0;
}

int ink_store_check_file(const char *directory, InkStoreFile *ret, InkError *reterr)
{
    _cleanup_close_ int dir_fd = -1, fd = -1;
    struct stat st;
    uint64_t wal_bytes, shm_bytes, journal_bytes;
    INK_TRY(open_directory(directory, &dir_fd, reterr));
    INK_TRY(check_companion(dir_fd, DATABASE "-wal", &wal_bytes, reterr));
    INK_TRY(check_companion(dir_fd, DATABASE "-shm", &shm_bytes, reterr));
    INK_TRY(check_companion(dir_fd, DATABASE "-journal", &journal_bytes, reterr));
    INK_TRY(open_file(dir_fd, DATABASE, &fd, &st, reterr));
    unsigned char header[INK_STORE_HEADER_BYTES];
    ssize_t n = pread(fd, header, sizeof(header), 0);
    INK_CHECK(n >= 0, EIO, reterr, "%s cannot be read: %s", DATABASE, strerror(errno));
    INK_TRY(ink_store_check_header(header, (size_t)n, reterr));
    if ((st.st_mode & 077) != 0)
        INK_CHECK(fchmod(fd, 0600) == 0, EIO, reterr, "%s: %s", DATABASE, strerror(errno));
    /* SQLite syncs the files; that their names survive is up to us. */
    INK_CHECK(n > 0 || fsync(dir_fd) == 0, EIO, reterr, "the data directory: %s", strerror(errno));
    *ret = (InkStoreFile){
        .is_new = n == 0,
        .is_unclean = wal_bytes + journal_bytes > 0,
        .size_bytes = (uint64_t)st.st_size + wal_bytes,
    };
    return 0;
}
