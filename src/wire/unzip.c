#include "wire/unzip.h"

#include <zip.h>

enum { PIECE = 64 << 10 };

static int bad(struct err *err, const char *name, const char *what, zip_error_t *e)
{
	return err_set(
		err, HCP_EPARSE, name ? name : "", "%s: %.150s", what, e ? zip_error_strerror(e) : "no reason given");
}

static int read_file(zip_t *z, zip_uint64_t i, const char *name, size_t max, struct buf *out, struct err *err)
{
	zip_file_t *f = zip_fopen_index(z, i, 0);
	if (!f)
		return bad(err, name, "cannot be opened", zip_get_error(z));
	int rc = 0;
	zip_int64_t n = 0;
	buf_clear(out);
	while (rc == 0) {
		if (buf_reserve(out, PIECE) < 0) {
			rc = err_set(err, out->limit && out->n + PIECE > out->limit ? HCP_ELIMIT : HCP_ENOMEM, name,
				"more than %zu bytes, or no memory for them", max);
			break;
		}
		n = zip_fread(f, out->data + out->n, PIECE);
		if (n <= 0)
			break;
		out->n += (size_t)n;
		out->data[out->n] = 0;
		if (out->n > max)
			rc = err_set(err, HCP_ELIMIT, name, "more than %zu bytes", max);
	}
	if (rc == 0 && n < 0)
		rc = bad(err, name, "is damaged", zip_file_get_error(f));
	int closed = zip_fclose(f);
	if (rc == 0 && closed != 0)
		rc = err_set(err, HCP_EPARSE, name, "its checksum is wrong");
	return rc;
}

static int open_archive(struct str archive, zip_t **ret, struct err *err)
{
	zip_error_t e;
	zip_error_init(&e);
	zip_source_t *source = zip_source_buffer_create(archive.p ? archive.p : "", archive.n, 0, &e);
	zip_t *z = source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &e) : NULL;
	int rc = z ? 0 : bad(err, NULL, "not a zip archive", &e);
	if (!z)
		zip_source_free(source);
	zip_error_fini(&e);
	*ret = z;
	return rc;
}

int unzip_each(struct str archive, size_t max_file, size_t max_total,
	int (*fn)(void *arg, const char *name, struct str bytes, struct err *err), void *arg, struct err *err)
{
	zip_t *z;
	struct buf b;
	size_t total = 0;
	int rc = open_archive(archive, &z, err);
	if (rc < 0)
		return rc;
	buf_init(&b, max_file + 2 * PIECE);
	zip_int64_t n = zip_get_num_entries(z, 0);
	if (n > UNZIP_ENTRIES_MAX)
		rc = err_set(err, HCP_ELIMIT, "", "more than %d files", UNZIP_ENTRIES_MAX);
	for (zip_int64_t i = 0; i < n && rc >= 0; i++) {
		const char *name = zip_get_name(z, (zip_uint64_t)i, ZIP_FL_ENC_GUESS);
		size_t len = name ? strlen(name) : 0;
		if (!len || name[len - 1] == '/')
			continue;
		rc = read_file(z, (zip_uint64_t)i, name, max_file, &b, err);
		total += b.n;
		if (rc == 0 && total > max_total)
			rc = err_set(err, HCP_ELIMIT, name, "the archive holds more than %zu bytes", max_total);
		if (rc == 0)
			rc = fn(arg, name, buf_str(&b), err);
	}
	buf_release(&b);
	zip_discard(z);
	return rc < 0 ? rc : 0;
}
