/*
 * The portal's files, read once at start into memory: a request can only name what was there, so no path leads out of
 * the folder. Unknown paths without a dot get index.html, for the portal's own routes.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hex.h"
#include "base/mem.h"
#include "http/url.h"
#include "os/file.h"
#include "services/gateway/gateway_priv.h"

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
	snprintf(f->etag, sizeof(f->etag), "\"%016llx\"", (unsigned long long)hash_bytes(f->body.data, f->body.n, 0));
	if (!f->path || map_put(&gw->file_by_path, str_of(f->path), f, NULL) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return 0;
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
		if (S_ISREG(st.st_mode))
			rc = add_file(gw, disk_sub, path_sub, err);
		else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
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
	struct http_header h[] = {
		{ STR("content-type"), str_of(f->type) },
		{ STR("etag"), str_of(f->etag) },
		{ STR("cache-control"), f->immutable ? STR("public, max-age=31536000, immutable") : STR("no-cache") },
		{ STR("content-security-policy"), STR(CSP) },
		{ STR("referrer-policy"), STR("no-referrer") },
		{ STR("x-frame-options"), STR("DENY") },
	};
	bool same = str_eqz(http_req_header(c->req, "if-none-match"), f->etag);
	gw_answer(c, same ? 304 : 200, h, sizeof(h) / sizeof(h[0]), same ? (struct str){ "", 0 } : buf_str(&f->body));
}
