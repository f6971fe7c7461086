#include "svc/bases.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/num.h"
#include "hash/sha256.h"
#include "os/file.h"

enum { BASES_MANIFEST_MAX = 1024, BASES_CHUNK = 256 << 10, BASES_DIGITS = 20 };

static int path_of(char dst[BASES_PATH_MAX], const char *dir, int64_t batch, const char *suffix)
{
	int n = snprintf(dst, BASES_PATH_MAX, "%s/%0*" PRId64 "%s", dir, BASES_DIGITS, batch, suffix);
	return n < 0 || n >= BASES_PATH_MAX ? HCP_ERANGE : 0;
}

/* ---- the manifest ---- */

void bases_format(const struct base *b, struct buf *dst)
{
	size_t at = dst->n;
	buf_printf(dst,
		"hcp-base 1\nservice %s\nbatch %" PRId64 "\nat_ns %" PRId64 "\njournal %" PRId64 "\nbytes %" PRId64
		"\nsha256 %s\n",
		b->service, b->batch, b->at_ns, b->journal, b->bytes, b->sha256);
	if (!buf_failed(dst))
		buf_printf(dst, "crc32c %08" PRIx32 "\n", crc32c(0, dst->data + at, dst->n - at));
}

static int field_text(struct str *rest, const char *name, struct str *ret)
{
	struct str line = str_split(rest, '\n'), key = str_split(&line, ' ');
	*ret = line;
	return str_eqz(key, name) && line.p ? 0 : HCP_EPARSE;
}

static int field_i64(struct str *rest, const char *name, int64_t *ret)
{
	struct str v;
	int rc = field_text(rest, name, &v);
	return rc < 0 ? rc : num_parse_i64(v, ret);
}

int bases_parse(struct str text, struct base *ret)
{
	struct base b = { 0 };
	struct str rest = text, head, service, sha;
	struct buf same;
	if (field_text(&rest, "hcp-base", &head) < 0 || !str_eqz(head, "1") || field_text(&rest, "service", &service) < 0 ||
		str_copy(b.service, sizeof(b.service), service) < 0 || field_i64(&rest, "batch", &b.batch) < 0 ||
		field_i64(&rest, "at_ns", &b.at_ns) < 0 || field_i64(&rest, "journal", &b.journal) < 0 ||
		field_i64(&rest, "bytes", &b.bytes) < 0 || field_text(&rest, "sha256", &sha) < 0 ||
		str_copy(b.sha256, sizeof(b.sha256), sha) < 0 || b.batch < 1 || b.bytes < 1)
		return HCP_EPARSE;
	/* One way to write it: what is left to check (its checksum too) is that these are the same bytes. */
	buf_init(&same, BASES_MANIFEST_MAX);
	bases_format(&b, &same);
	int rc = buf_failed(&same) || !str_eq(buf_str(&same), text) ? HCP_EPARSE : 0;
	buf_release(&same);
	if (rc == 0)
		*ret = b;
	return rc;
}

/* ---- the directory ---- */

struct listing {
	const char *dir;
	struct base *base;
	size_t n;
};

static int list_one(void *arg, const char *name)
{
	struct listing *l = arg;
	char path[BASES_PATH_MAX];
	struct buf text = { 0 };
	struct base b;
	int64_t batch;
	struct str stem = { name, strlen(name) - strlen(".base") };
	if (stem.n != BASES_DIGITS || num_parse_i64(stem, &batch) < 0 || file_join(path, sizeof(path), l->dir, name) < 0)
		return 0;
	int rc = file_read(path, BASES_MANIFEST_MAX, &text, NULL);
	if (rc < 0 || bases_parse(buf_str(&text), &b) < 0 || b.batch != batch)
		b = (struct base){ .batch = batch };
	if (rc == 0)
		buf_release(&text);
	if (l->n == BASES_MAX)
		memmove(l->base, l->base + 1, --l->n * sizeof(*l->base));
	l->base[l->n++] = b;
	return 0;
}

int bases_list(const char *dir, struct base ret[BASES_MAX], size_t *ret_n, struct err *err)
{
	struct listing l = { .dir = dir, .base = ret };
	*ret_n = 0;
	if (!file_exists(dir))
		return 0;
	int rc = file_list(dir, ".base", list_one, &l, err);
	*ret_n = l.n;
	return rc;
}

static bool is_kept(const struct listing *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++) {
		char stem[BASES_DIGITS + 2];
		snprintf(stem, sizeof(stem), "%0*" PRId64 ".", BASES_DIGITS, l->base[i].batch);
		if (strncmp(name, stem, strlen(stem)) == 0 &&
			(!strcmp(name + strlen(stem), "db") || !strcmp(name + strlen(stem), "base")))
			return true;
	}
	return false;
}

static int remove_stray(void *arg, const char *name)
{
	const struct listing *l = arg;
	char path[BASES_PATH_MAX];
	if (name[0] < '0' || name[0] > '9' || is_kept(l, name))
		return 0;
	int rc = file_join(path, sizeof(path), l->dir, name);
	return rc < 0 ? rc : file_remove(path, NULL);
}

int bases_trim(const char *dir, size_t keep, int64_t last, struct err *err)
{
	struct base all[BASES_MAX];
	struct listing kept = { .dir = dir, .base = all };
	if (!file_exists(dir))
		return 0;
	int rc = bases_list(dir, all, &kept.n, err);
	while (rc == 0 && kept.n && all[kept.n - 1].batch > last)
		kept.n--;
	if (kept.n > keep) {
		kept.base = all + (kept.n - keep);
		kept.n = keep;
	}
	/* The .base of a base goes before its .db ("base" sorts first), so what is half gone is gone. */
	return rc < 0 ? rc : file_list(dir, "", remove_stray, &kept, err);
}

/* ---- writing one ---- */

static int stage(const struct bases_hook *hook, enum base_stage s)
{
	return hook && hook->fn ? hook->fn(hook->arg, s) : 0;
}

static int still_copying(void *arg)
{
	return stage(arg, BASE_COPYING);
}

/* Size and checksum of a file; with to >= 0 its bytes are appended there as well. */
static int digest(const char *path, int to, const char *to_path, int64_t *ret_bytes, char sha[65], struct err *err)
{
	int fd;
	uint64_t size, at = 0;
	size_t n = 1;
	struct sha256 s;
	uint8_t sum[SHA256_SIZE];
	int rc = file_open_read(path, &fd, &size, err);
	if (rc < 0)
		return rc;
	char *chunk = mem_alloc(BASES_CHUNK);
	sha256_init(&s);
	rc = chunk ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
	for (; rc == 0 && n; at += n) {
		rc = file_read_at(fd, at, chunk, BASES_CHUNK, &n, err);
		if (rc < 0)
			break;
		sha256_update(&s, chunk, n);
		if (to >= 0)
			rc = file_append(to, (struct str){ chunk, n }, to_path, err);
	}
	sha256_final(&s, sum);
	hex_encode(sha, sum, sizeof(sum));
	*ret_bytes = (int64_t)at;
	mem_free(chunk);
	file_close(fd);
	return rc;
}

static int put_manifest(const char *path, const struct base *b, struct err *err)
{
	struct buf text;
	buf_init(&text, BASES_MANIFEST_MAX);
	bases_format(b, &text);
	int rc = buf_failed(&text) ? err_set(err, HCP_ENOMEM, "", "out of memory")
							   : file_write_atomic(path, buf_str(&text), 0600, err);
	buf_release(&text);
	return rc;
}

/* A copy must not take the room that commits need: twice the database, which holds the journal as well. */
static int check_room(const char *dir, struct db *snap, struct err *err)
{
	struct db_row *row;
	int64_t room = 0, bytes = 0;
	int rc = db_query(snap, &row, err, "SELECT page_count*page_size FROM pragma_page_count,pragma_page_size", "");
	if (rc < 0)
		return rc;
	bytes = rc == 1 ? db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	rc = file_room(dir, &room, err);
	if (rc == 0 && room < 2 * bytes)
		rc = err_set(err, HCP_ENOSPC, "base", "the disk has %lld MiB left, a copy of this database wants %lld",
			(long long)(room >> 20), (long long)(2 * bytes >> 20) + 1);
	return rc;
}

int bases_write(const char *dir, struct db *snap, struct base *b, const struct bases_hook *hook, struct err *err)
{
	char tmp[BASES_PATH_MAX], path[BASES_PATH_MAX], manifest[BASES_PATH_MAX];
	struct db_copy conf = { .table = "hcp_batch", .where = "no=(SELECT max(no) FROM hcp_batch)" };
	if (path_of(tmp, dir, b->batch, ".db.tmp") < 0 || path_of(path, dir, b->batch, ".db") < 0 ||
		path_of(manifest, dir, b->batch, ".base") < 0)
		return err_set(err, HCP_ERANGE, dir, "the path is too long");
	if (hook && hook->fn) {
		conf.go_on = still_copying;
		conf.arg = (void *)hook;
	}
	int rc = file_mkdirs(dir, err);
	if (rc == 0)
		rc = check_room(dir, snap, err);
	if (rc == 0)
		rc = file_remove(tmp, err);
	if (rc == 0)
		rc = db_copy(snap, tmp, &conf, err);
	if (rc == 0)
		rc = digest(tmp, -1, NULL, &b->bytes, b->sha256, err);
	if (rc == 0)
		rc = stage(hook, BASE_COPIED);
	if (rc == 0)
		rc = file_replace(tmp, path, err);
	if (rc == 0)
		rc = stage(hook, BASE_RENAMED);
	if (rc == 0)
		rc = put_manifest(manifest, b, err);
	if (rc < 0) {
		(void)file_remove(tmp, NULL);
		(void)file_remove(path, NULL);
		return rc;
	}
	return stage(hook, BASE_KEPT);
}

/* ---- reading one ---- */

int bases_restore(const char *dir, const struct base *b, const char *path, struct err *err)
{
	char from[BASES_PATH_MAX], sha[65];
	int64_t bytes = 0;
	int fd = -1;
	uint64_t size = 0;
	if (path_of(from, dir, b->batch, ".db") < 0)
		return err_set(err, HCP_ERANGE, dir, "the path is too long");
	if (!b->bytes)
		return err_set(err, HCP_ECORRUPT, "base", "the description of %.160s is damaged", from);
	int rc = file_remove(path, err);
	if (rc == 0)
		rc = file_open_append(path, &fd, &size, err);
	if (rc == 0)
		rc = digest(from, fd, path, &bytes, sha, err);
	file_close(fd);
	if (rc == HCP_ENOTFOUND)
		rc = err_set(err, HCP_ECORRUPT, "base", "%.160s is missing", from);
	else if (rc == 0 && bytes != b->bytes)
		rc = err_set(
			err, HCP_ECORRUPT, "base", "%.160s has %lld bytes, not %lld", from, (long long)bytes, (long long)b->bytes);
	else if (rc == 0 && strcmp(sha, b->sha256) != 0)
		rc = err_set(err, HCP_ECORRUPT, "base", "%.160s is damaged: its checksum differs", from);
	if (rc < 0)
		(void)file_remove(path, NULL);
	return rc;
}
