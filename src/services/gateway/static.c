/*
 * The portal's files, read once at start into memory: a request can only name what was there, so no path leads out of
 * the folder. Unknown paths without a dot get index.html, for the portal's own routes. "x.js.gz" beside "x.js" is no
 * file of its own but x.js packed, made by the build: it has time for the best level.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hex.h"
#include "base/mem.h"
#include "http/url.h"
#include "os/file.h"
#include "services/gateway/gateway_priv.h"
#include "services/gateway/header.h"
#include "wire/gzip.h"

enum { FILES_MAX = 4000, FILE_BYTES_MAX = 16 << 20, FILES_BYTES_MAX = 128 << 20, DEPTH_MAX = 8, PATH_TEXT_MAX = 1024 };

#define CSP "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " \
	"font-src 'self' data:; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'self'; form-action 'self'; " \
	"frame-ancestors 'none'"

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{ ".html", "text/html; charset=utf-8" }, { ".js", "text/javascript; charset=utf-8" },
		{ ".mjs", "text/javascript; charset=utf-8" }, { ".css", "text/css; charset=utf-8" },
		{ ".json", "application/json" }, { ".map", "application/json" }, { ".svg", "image/svg+xml" },
		{ ".png", "image/png" }, { ".ico", "image/x-icon" }, { ".woff2", "font/woff2" }, { ".woff", "font/woff" },
		{ ".txt", "text/plain; charset=utf-8" }, { ".webmanifest", "application/manifest+json" },
		{ ".jpg", "image/jpeg" }, { ".webp", "image/webp" }, { ".wasm", "application/wasm" },
	};
	const char *dot = strrchr(path, '.');
	for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static bool is_packed(const char *disk)
{
	char plain[4096];
	size_t n = strlen(disk);
	return n > 3 && strcmp(disk + n - 3, ".gz") == 0 &&
		   str_copy(plain, sizeof(plain), (struct str){ disk, n - 3 }) == 0 && file_exists(plain);
}

static int add_file(struct gateway *gw, const char *disk, const char *path, struct err *err)
{
	if (gw->n_files == FILES_MAX)
		return err_set(err, HCP_ELIMIT, "web", "more than %d files below the portal's folder", FILES_MAX);
	struct static_file *f = &gw->files[gw->n_files];
	int rc = file_read(disk, FILE_BYTES_MAX, &f->body, err);
	if (rc < 0)
		return rc;
	gw->n_files++;
	gw->files_bytes += f->body.n;
	if (gw->files_bytes > FILES_BYTES_MAX)
		return err_set(err, HCP_ELIMIT, "web", "the portal's files are larger than %d bytes", FILES_BYTES_MAX);
	f->path = mem_strdup(path);
	f->type = type_of(path);
	f->immutable = str_starts(str_of(path), STR("/assets/"));
	unsigned long long hash = hash_bytes(f->body.data, f->body.n, 0);
	snprintf(f->etag, sizeof(f->etag), "\"%016llx\"", hash);
	snprintf(f->packed_etag, sizeof(f->packed_etag), "\"%016llx-gz\"", hash);
	if (!f->path || map_put(&gw->file_by_path, str_of(f->path), f, NULL) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return 0;
}

/* The packed form of a file, if there is one. An old one, of a file that was changed since, is an error to be told. */
static int add_packed(struct static_file *f, const char *disk, struct err *err)
{
	char path[4096];
	if (snprintf(path, sizeof(path), "%s.gz", disk) >= (int)sizeof(path) || !file_exists(path))
		return 0;
	int rc = file_read(path, FILE_BYTES_MAX, &f->packed, err);
	if (rc == 0 && !gzip_holds(buf_str(&f->packed), buf_str(&f->body)))
		rc = err_set(err, HCP_ECORRUPT, "web", "%.150s is not the file beside it; build the portal again", path);
	return rc;
}

static int add_dir(struct gateway *gw, const char *disk, const char *path, int depth, struct err *err)
{
	char disk_sub[4096], path_sub[PATH_TEXT_MAX];
	struct dirent *e;
	struct stat st;
	int rc = 0;
	DIR *d = opendir(disk);
	if (!d)
		return file_error(err, disk, "open");
	while (rc == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		int n = snprintf(path_sub, sizeof(path_sub), "%s/%s", path, e->d_name);
		if (n >= (int)sizeof(path_sub) || file_join(disk_sub, sizeof(disk_sub), disk, e->d_name) < 0 ||
		    lstat(disk_sub, &st) < 0)
			continue;
		if (S_ISREG(st.st_mode) && !is_packed(disk_sub)) {
			rc = add_file(gw, disk_sub, path_sub, err);
			if (rc == 0)
				rc = add_packed(&gw->files[gw->n_files - 1], disk_sub, err);
		}
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			rc = add_dir(gw, disk_sub, path_sub, depth + 1, err);
	}
	closedir(d);
	return rc;
}

int static_load(struct gateway *gw, const char *dir, struct err *err)
{
	gw->files = mem_calloc(FILES_MAX, sizeof(*gw->files));
	if (!gw->files)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = add_dir(gw, dir, "", 0, err);
	if (rc == 0 && !map_get(&gw->file_by_path, STR("/index.html")))
		rc = err_set(err, HCP_ENOTFOUND, "web", "%.150s holds no index.html", dir);
	return rc;
}

void static_release(struct gateway *gw)
{
	for (size_t i = 0; i < gw->n_files; i++) {
		buf_release(&gw->files[i].body);
		buf_release(&gw->files[i].packed);
		mem_free(gw->files[i].path);
	}
	map_release(&gw->file_by_path);
	mem_free(gw->files);
}

static const struct static_file *find(struct gateway *gw, struct str path)
{
	const struct static_file *f = NULL;
	struct buf plain;
	buf_init(&plain, PATH_TEXT_MAX);
	if (url_decode(&plain, path, false) < 0 || buf_failed(&plain)) {
		buf_release(&plain);
		return NULL;
	}
	struct str p = buf_str(&plain);
	f = map_get(&gw->file_by_path, p);
	const char *slash = p.n ? memrchr(p.p, '/', p.n) : NULL;
	if (!f && slash && !memchr(slash, '.', p.n - (size_t)(slash - p.p)))
		f = map_get(&gw->file_by_path, STR("/index.html"));
	buf_release(&plain);
	return f;
}

void static_handle(struct call *c)
{
	const struct static_file *f = c->gl->gw->n_files ? find(c->gl->gw, c->req->path) : NULL;
	if (c->req->method != HTTP_M_GET && c->req->method != HTTP_M_HEAD)
		f = NULL;
	if (!f) {
		gw_problem(c, HCP_ENOTFOUND, "", "there is nothing at this path");
		return;
	}
	bool gzip = f->packed.n && header_takes_gzip(http_req_header(c->req, "accept-encoding"));
	const char *etag = gzip ? f->packed_etag : f->etag;
	const struct http_header h[] = {
		{ STR("content-type"), str_of(f->type) },
		{ STR("etag"), str_of(etag) },
		{ STR("vary"), STR("Accept-Encoding") },
		{ STR("content-security-policy"), STR(CSP) },
		{ STR("referrer-policy"), STR("no-referrer") },
		{ STR("x-frame-options"), STR("DENY") },
		{ STR("content-encoding"), STR("gzip") },
	};
	size_t n = sizeof(h) / sizeof(h[0]) - (gzip ? 0 : 1);
	c->cache_control = f->immutable ? "public, max-age=31536000, immutable" : "no-cache";
	if (header_names_etag(http_req_header(c->req, "if-none-match"), str_of(etag), true))
		gw_answer(c, 304, h, n, (struct str){ "", 0 });
	else
		gw_answer(c, 200, h, n, buf_str(gzip ? &f->packed : &f->body));
}
