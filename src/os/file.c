#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"

enum { FILE_PATH_MAX = 4096 };

int file_error(struct err *err, const char *path, const char *doing)
{
	int e = errno, code = HCP_EIO;
	if (e == ENOENT)
		code = HCP_ENOTFOUND;
	else if (e == EACCES || e == EPERM)
		code = HCP_EPERM;
	else if (e == ENOSPC || e == EDQUOT || e == EROFS)
		code = HCP_ENOSPC;
	/* A path too long for the field stands in the sentence. */
	if (err && strlen(path) >= sizeof(err->field))
		return err_set(err, code, path, "cannot %s %.160s: %s", doing, path, strerrordesc_np(e));
	return err_set(err, code, path, "cannot %s: %s", doing, strerrordesc_np(e));
}

int file_read(const char *path, size_t max, struct buf *ret, struct err *err)
{
	buf_init(ret, max);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return file_error(err, path, "open");
	int rc = 0;
	for (;;) {
		char chunk[65536];
		ssize_t got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = file_error(err, path, "read");
		if (got <= 0)
			break;
		buf_add(ret, chunk, (size_t)got);
		if (buf_failed(ret)) {
			rc = err_set(err, HCP_ELIMIT, path, "larger than %zu bytes", max);
			break;
		}
	}
	close(fd);
	if (rc < 0)
		buf_release(ret);
	return rc;
}

static int write_all(int fd, struct str data)
{
	while (data.n) {
		ssize_t put = write(fd, data.p, data.n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		data.p += put;
		data.n -= (size_t)put;
	}
	return 0;
}

void file_sync_dir(const char *path)
{
	char dir[FILE_PATH_MAX];
	if (str_copy(dir, sizeof(dir), str_of(path)) < 0)
		return;
	char *slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	int fd = open(slash ? (dir[0] ? dir : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
}

int file_write_atomic(const char *path, struct str data, unsigned mode, struct err *err)
{
	char tmp[FILE_PATH_MAX];
	int n = snprintf(tmp, sizeof(tmp), "%s.tmp.%d", path, (int)getpid());
	if (n < 0 || (size_t)n >= sizeof(tmp))
		return err_set(err, HCP_ERANGE, path, "path too long");
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
	if (fd < 0)
		return file_error(err, path, "create");
	int rc = 0;
	if (write_all(fd, data) < 0 || fsync(fd) < 0)
		rc = file_error(err, path, "write");
	close(fd);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = file_error(err, path, "rename");
	if (rc < 0)
		unlink(tmp);
	else
		file_sync_dir(path);
	return rc;
}

int file_replace(const char *tmp, const char *path, struct err *err)
{
	int fd = open(tmp, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return file_error(err, tmp, "open");
	int rc = fsync(fd) < 0 ? file_error(err, tmp, "sync") : 0;
	close(fd);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = file_error(err, path, "rename");
	if (rc == 0)
		file_sync_dir(path);
	return rc;
}

int file_mkdirs(const char *path, struct err *err)
{
	char part[FILE_PATH_MAX];
	if (!path[0] || str_copy(part, sizeof(part), str_of(path)) < 0)
		return err_set(err, HCP_ERANGE, path, "path empty or too long");
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return file_error(err, part, "make directory");
		*p = '/';
	}
	if (mkdir(part, 0700) < 0 && errno != EEXIST)
		return file_error(err, path, "make directory");
	struct stat st;
	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return err_set(err, HCP_EEXIST, path, "is not a directory");
	return 0;
}

int file_room(const char *path, int64_t *ret_bytes, struct err *err)
{
	struct statvfs v;
	if (statvfs(path, &v) < 0)
		return file_error(err, path, "look at the disk of");
	*ret_bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
	return 0;
}

bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

struct file_stamp file_stamp(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return (struct file_stamp){ 0 };
	return (struct file_stamp){ st.st_ino, st.st_size, st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec };
}

int file_remove(const char *path, struct err *err)
{
	return unlink(path) < 0 && errno != ENOENT ? file_error(err, path, "remove") : 0;
}

int file_join(char *dst, size_t cap, const char *dir, const char *name)
{
	int n = snprintf(dst, cap, "%s/%s", dir, name);
	return n < 0 || (size_t)n >= cap ? HCP_ERANGE : 0;
}

static int open_sized(const char *path, int flags, int *ret_fd, uint64_t *ret_size, struct err *err)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		return file_error(err, path, "open");
	struct stat st;
	if (fstat(fd, &st) < 0) {
		int rc = file_error(err, path, "stat");
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

int file_open_append(const char *path, int *ret_fd, uint64_t *ret_size, struct err *err)
{
	return open_sized(path, O_RDWR | O_APPEND | O_CREAT, ret_fd, ret_size, err);
}

int file_open_read(const char *path, int *ret_fd, uint64_t *ret_size, struct err *err)
{
	return open_sized(path, O_RDONLY, ret_fd, ret_size, err);
}

int file_append(int fd, struct str data, const char *path, struct err *err)
{
	return write_all(fd, data) < 0 ? file_error(err, path, "write") : 0;
}

int file_sync(int fd, const char *path, struct err *err)
{
	return fdatasync(fd) < 0 ? file_error(err, path, "sync") : 0;
}

int file_read_at(int fd, uint64_t offset, void *dst, size_t cap, size_t *ret_n, struct err *err)
{
	size_t n = 0;
	while (n < cap) {
		ssize_t got = pread(fd, (char *)dst + n, cap - n, (off_t)(offset + n));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return file_error(err, "", "read");
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*ret_n = n;
	return 0;
}

int file_truncate(int fd, uint64_t size, const char *path, struct err *err)
{
	return ftruncate(fd, (off_t)size) < 0 ? file_error(err, path, "truncate") : 0;
}

void file_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static _Thread_local const char *list_suffix;

static int has_suffix(const struct dirent *d)
{
	size_t n = strlen(d->d_name), k = strlen(list_suffix);
	return d->d_name[0] != '.' && n >= k && strcmp(d->d_name + n - k, list_suffix) == 0;
}

int file_list(const char *dir, const char *suffix, int (*fn)(void *arg, const char *name), void *arg, struct err *err)
{
	struct dirent **names;
	list_suffix = suffix;
	int n = scandir(dir, &names, has_suffix, alphasort);
	if (n < 0)
		return file_error(err, dir, "list");
	int rc = 0;
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = fn(arg, names[i]->d_name);
		free(names[i]); /* tidy: allow banned-call: scandir allocates with malloc */
	}
	free(names); /* tidy: allow banned-call: scandir allocates with malloc */
	return rc;
}

int file_lock(const char *path, int *ret_fd, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return file_error(err, path, "open");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		char pid[24] = "";
		ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);
		close(fd);
		return err_set(err, HCP_EEXIST, path, "in use by process %.*s", got > 0 ? (int)strcspn(pid, "\n") : 1,
			       got > 0 ? pid : "?");
	}
	char pid[24];
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
		int rc = file_error(err, path, "write");
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}
