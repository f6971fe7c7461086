#include "cmd/cli/creds.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

int creds_path(struct arena *arena, const char **ret_path, struct err *err)
{
	const char *dir = getenv("HCP_CONFIG_DIR"), *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	const char *path = NULL;
	if (dir && *dir)
		path = arena_printf(arena, "%s/credentials.json", dir);
	else if (xdg && *xdg)
		path = arena_printf(arena, "%s/hcp/credentials.json", xdg);
	else if (home && *home)
		path = arena_printf(arena, "%s/.config/hcp/credentials.json", home);
	else
		return err_set(err, HCP_ENOTFOUND, "HOME", "neither $HCP_CONFIG_DIR nor $HOME is set");
	if (!path)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	*ret_path = path;
	return 0;
}

/* Reads a small file whole, refusing what others may read. Text is in the arena. */
static int read_private(struct arena *arena, const char *path, const char **ret_text, size_t *ret_n, struct err *err)
{
	struct stat st;
	int rc = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno == ENOENT ? HCP_ENOTFOUND : HCP_EIO, path, "cannot open %.120s: %s", path,
			       strerror(errno));
	char *text = arena_alloc(arena, CREDS_FILE_MAX + 1);
	if (!text) {
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
		goto out;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077)) {
		rc = err_set(err, HCP_EPERM, path, "others may read %.120s; run `chmod 600` on it", path);
		goto out;
	}
	size_t n = 0;
	ssize_t got;
	while ((got = read(fd, text + n, CREDS_FILE_MAX + 1 - n)) > 0)
		n += (size_t)got;
	if (got < 0 || n > CREDS_FILE_MAX) {
		rc = err_set(err, HCP_EIO, path, "cannot read %.120s: %s", path,
			     got < 0 ? strerror(errno) : "too large");
		goto out;
	}
	text[n] = '\0';
	*ret_text = text;
	*ret_n = n;
out:
	close(fd);
	return rc;
}

/* The file as an object; a missing one is empty. */
static int load_file(struct arena *arena, const char *path, json_t **ret, struct err *err)
{
	const char *text;
	size_t n;
	int rc = read_private(arena, path, &text, &n, err);
	if (rc < 0 && rc != HCP_ENOTFOUND)
		return rc;
	json_t *file = rc < 0 ? json_object() : json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(file)) {
		json_decref(file);
		return err_set(err, HCP_ECORRUPT, path, "%.120s is damaged; remove it and run `hcp login`", path);
	}
	*ret = file;
	return 0;
}

static const char *text_of(struct arena *arena, const json_t *entry, const char *name)
{
	const char *s = json_string_value(json_object_get(entry, name));
	return s ? arena_strdup(arena, s) : NULL;
}

int creds_load(struct arena *arena, const char *url, struct creds *ret, struct err *err)
{
	const char *path;
	json_t *file = NULL;
	int rc = creds_path(arena, &path, err);
	if (rc == 0)
		rc = load_file(arena, path, &file, err);
	if (rc < 0)
		return rc;
	const json_t *entry = json_object_get(json_object_get(file, "servers"), url);
	struct creds c = {
		.token = text_of(arena, entry, "access_token"),
		.refresh = text_of(arena, entry, "refresh_token"),
		.email = text_of(arena, entry, "email"),
		.expires_at_ns = json_integer_value(json_object_get(entry, "expires_at_ns")),
	};
	json_decref(file);
	if (!c.token)
		return err_set(err, HCP_ENOTFOUND, "", "not logged in to %.150s: run `hcp login`", url);
	*ret = c;
	return 0;
}

/* mkdir -p of the directory that holds path. */
static int make_parents(const char *path, struct err *err)
{
	char dir[4096];
	if (str_copy(dir, sizeof(dir), str_of(path)) < 0)
		return err_set(err, HCP_ERANGE, path, "the path is too long");
	for (char *p = dir + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(dir, 0700) < 0 && errno != EEXIST)
			return err_set(err, HCP_EIO, dir, "cannot make %.120s: %s", dir, strerror(errno));
		*p = '/';
	}
	return 0;
}

static int write_file(struct arena *arena, const char *path, const json_t *file, struct err *err)
{
	int rc = make_parents(path, err);
	if (rc < 0)
		return rc;
	char *tmp = arena_printf(arena, "%s.XXXXXX", path);
	if (!tmp)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int fd = mkostemp(tmp, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return err_set(err, HCP_EIO, path, "cannot write beside %.120s: %s", path, strerror(errno));
	bool ok = json_dumpfd(file, fd, JSON_INDENT(2)) == 0 && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	if (!ok || rename(tmp, path) < 0) {
		rc = err_set(err, HCP_EIO, path, "cannot write %.120s: %s", path, strerror(errno));
		unlink(tmp);
	}
	return rc;
}

int creds_store(struct arena *arena, const char *url, const struct creds *c, struct err *err)
{
	const char *path;
	json_t *file = NULL;
	int rc = creds_path(arena, &path, err);
	if (rc == 0)
		rc = load_file(arena, path, &file, err);
	if (rc < 0)
		return rc;
	json_t *servers = json_object_get(file, "servers");
	if (!json_is_object(servers)) {
		servers = json_object();
		json_object_set_new(file, "servers", servers);
	}
	if (!c) {
		if (json_object_del(servers, url) < 0)
			rc = err_set(err, HCP_ENOTFOUND, "", "not logged in to %.150s", url);
	} else if (json_object_set_new(servers, url,
				   json_pack("{s:s, s:s?, s:s, s:I}", "access_token", c->token, "refresh_token", c->refresh, "email",
					   c->email ? c->email : "", "expires_at_ns", (json_int_t)c->expires_at_ns)) < 0) {
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	if (rc == 0)
		rc = write_file(arena, path, file, err);
	json_decref(file);
	return rc;
}

int creds_lock(struct arena *arena, int *ret_fd, struct err *err)
{
	const char *path;
	int rc = creds_path(arena, &path, err);
	if (rc < 0)
		return rc;
	path = arena_printf(arena, "%s.lock", path);
	if (!path)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = make_parents(path, err);
	if (rc < 0)
		return rc;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, HCP_EIO, path, "cannot open %.120s: %s", path, strerror(errno));
	for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += 20) {
		if (errno != EWOULDBLOCK || waited_ms >= CREDS_LOCK_MS) {
			close(fd);
			return err_set(err, HCP_ETIMEOUT, path, "another hcp holds %.120s", path);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
	}
	*ret_fd = fd;
	return 0;
}

int creds_read_token_file(struct arena *arena, const char *path, const char **ret_token, struct err *err)
{
	const char *text;
	size_t n;
	int rc = read_private(arena, path, &text, &n, err);
	if (rc < 0)
		return rc != HCP_ENOTFOUND ? rc :
					     err_set(err, HCP_EINVAL, "token-file", "there is no file %.150s", path);
	struct str token = str_trim((struct str){ text, n });
	if (token.n == 0 || memchr(token.p, '\0', token.n))
		return err_set(err, HCP_EINVAL, "token-file", "%.150s holds no token", path);
	*ret_token = arena_strndup(arena, token.p, token.n);
	return *ret_token ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}
