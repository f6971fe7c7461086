#ifndef HCP_OS_FILE_H
#define HCP_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Errors of the system become HCP_ENOTFOUND, HCP_EPERM, HCP_ENOSPC or HCP_EIO with path and reason in err. */
int file_error(struct err *err, const char *path, const char *doing);

/* Whole file into *ret (initialised here; released by the caller); HCP_ELIMIT beyond max bytes. */
int file_read(const char *path, size_t max, struct buf *ret, struct err *err) MUST_CHECK;
/* Writes a temporary beside it, fsyncs, renames: the old content or the new, never half. */
int file_write_atomic(const char *path, struct str data, unsigned mode, struct err *err) MUST_CHECK;
/* Syncs what tmp holds, then puts it at path with the directory synced: the old file or the new, never half. */
int file_replace(const char *tmp, const char *path, struct err *err) MUST_CHECK;
/* Syncs the directory that path is in: the name is on the disk then. */
void file_sync_dir(const char *path);
/* mkdir -p, mode 0700 for what it makes. */
int file_mkdirs(const char *path, struct err *err) MUST_CHECK;
/* Bytes that this process may still write to the disk that holds path. */
int file_room(const char *path, int64_t *ret_bytes, struct err *err) MUST_CHECK;
bool file_exists(const char *path);
/* Tells that what lies at a path is not what lay there before, without reading it. All zero: nothing does. */
struct file_stamp {
	uint64_t inode;
	int64_t size, changed_ns;
};
struct file_stamp file_stamp(const char *path);
int file_remove(const char *path, struct err *err);
/* "dir/name"; HCP_ERANGE if it does not fit. */
int file_join(char *dst, size_t cap, const char *dir, const char *name) MUST_CHECK;

/* An append-only file descriptor. */
int file_open_append(const char *path, int *ret_fd, uint64_t *ret_size, struct err *err) MUST_CHECK;
int file_open_read(const char *path, int *ret_fd, uint64_t *ret_size, struct err *err) MUST_CHECK;
int file_append(int fd, struct str data, const char *path, struct err *err) MUST_CHECK;
int file_sync(int fd, const char *path, struct err *err) MUST_CHECK;
/* Reads up to cap bytes at offset; *ret_n is less at the end of the file. */
int file_read_at(int fd, uint64_t offset, void *dst, size_t cap, size_t *ret_n, struct err *err) MUST_CHECK;
int file_truncate(int fd, uint64_t size, const char *path, struct err *err) MUST_CHECK;
void file_close(int fd);

/* Names of the entries of a directory that end in suffix, sorted; each is passed to fn, which may stop with != 0. */
int file_list(const char *dir, const char *suffix, int (*fn)(void *arg, const char *name), void *arg, struct err *err);

/* Exclusive lock file for the life of the process: HCP_EEXIST with the holder's pid in err if it is taken. */
int file_lock(const char *path, int *ret_fd, struct err *err) MUST_CHECK;

#endif
