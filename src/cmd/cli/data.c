/* `hcp data import`: files as ERCOT and exchanges publish them, turned into the tables of --data. */
#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/render.h"
#include "os/file.h"
#include "wire/market_import.h"
#include "wire/unzip.h"

enum { ARCHIVE_DEPTH_MAX = 2, PATH_BYTES = 4096 };
#define FILE_BYTES_MAX ((size_t)1 << 30)
#define TOTAL_BYTES_MAX ((size_t)4 << 30)

struct import {
	struct market_import m;
	size_t files;   /* texts read */
	unsigned depth; /* of archives within archives */
};

static bool ends(const char *s, const char *tail)
{
	size_t n = strlen(s), k = strlen(tail);
	return n >= k && str_ieqz((struct str){ s + n - k, k }, tail);
}

static int take(struct import *in, const char *name, struct str bytes, struct err *err);

static int on_entry(void *arg, const char *name, struct str bytes, struct err *err)
{
	return take(arg, name, bytes, err);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int take(struct import *in, const char *name, struct str bytes, struct err *err)
{
	bool is_zip = bytes.n >= 4 && memcmp(bytes.p, "PK\3\4", 4) == 0;
	if (ends(name, ".xlsx"))
		return err_set(err, HCP_EUNSUPPORTED, base_name(name), "is a spreadsheet: save each of its sheets as CSV");
	if (is_zip) {
		if (in->depth == ARCHIVE_DEPTH_MAX)
			return err_set(
				err, HCP_ELIMIT, base_name(name), "archives within archives are opened %d deep", ARCHIVE_DEPTH_MAX);
		in->depth++;
		int rc = unzip_each(bytes, FILE_BYTES_MAX, TOTAL_BYTES_MAX, on_entry, in, err);
		in->depth--;
		return rc;
	}
	if (in->depth && !ends(name, ".csv")) {
		cli_say("%s: passed over, not CSV", base_name(name));
		return 0;
	}
	uint64_t rows = in->m.rows, skipped = in->m.skipped;
	int rc = market_import_add(&in->m, base_name(name), bytes, err);
	if (rc < 0)
		return rc;
	in->files++;
	cli_say("%s: %llu rows, %llu of other points or forecasts", base_name(name),
		(unsigned long long)(in->m.rows - rows), (unsigned long long)(in->m.skipped - skipped));
	return 0;
}

static int read_inputs(struct cli *cli, struct import *in, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < cli->args.noperands && rc == 0; i++) {
		struct buf text;
		rc = file_read(cli->args.operands[i], FILE_BYTES_MAX, &text, err);
		if (rc < 0)
			break;
		rc = take(in, cli->args.operands[i], buf_str(&text), err);
		buf_release(&text);
	}
	return rc;
}

/* ---- what came out ---- */

static void tell_gaps(const struct market_import *m, const struct market_import_file *f, const char *name)
{
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	size_t told = f->n_gaps < MARKET_IMPORT_GAPS_MAX ? f->n_gaps : MARKET_IMPORT_GAPS_MAX;
	for (size_t i = 0; i < told; i++)
		cli_say("%s: nothing from %s to %s", name, timefmt_format(from, f->gap[i].from_ns),
			timefmt_format(to, f->gap[i].to_ns));
	if (f->n_gaps > told)
		cli_say("%s: and %zu further gaps", name, f->n_gaps - told);
}

static int write_one(
	struct import *in, const struct market_import_file *f, const char *dir, json_t *files, struct err *err)
{
	char name[128], path[PATH_BYTES], from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	struct buf out;
	market_import_name(&in->m, f, name, sizeof(name));
	if (file_join(path, sizeof(path), dir, name) < 0)
		return err_set(err, HCP_ERANGE, "out", "the path is too long");
	buf_init(&out, 0);
	int rc = market_import_write(&in->m, f, &out) < 0 ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
	if (rc == 0)
		rc = file_write_atomic(path, buf_str(&out), 0644, err);
	buf_release(&out);
	if (rc < 0)
		return rc;
	tell_gaps(&in->m, f, name);
	json_t *row = json_pack("{s:s, s:I, s:s, s:s, s:I, s:I}", "file", path, "rows", (json_int_t)f->rows, "first",
		timefmt_format(from, f->first_ns), "last", timefmt_format(to, f->last_ns), "missing", (json_int_t)f->missing,
		"empty_fields", (json_int_t)f->empty);
	return json_array_append_new(files, row) < 0 ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
}

static int write_all(struct import *in, const char *dir, json_t *files, struct err *err)
{
	struct market_import_file f = { 0 };
	int rc = file_mkdirs(dir, err);
	while (rc == 0 && market_import_next(&in->m, &f))
		rc = write_one(in, &f, dir, files, err);
	return rc;
}

static int show(struct cli *cli, const struct import *in, json_t *files, struct err *err)
{
	const struct market_import *m = &in->m;
	struct buf out;
	cli_say("%zu files, %llu rows; given twice: %llu, of those with another value: %llu", in->files,
		(unsigned long long)m->rows, (unsigned long long)(m->repeated + m->changed), (unsigned long long)m->changed);
	if (m->incomplete)
		cli_say("%llu hours are not whole and were left out", (unsigned long long)m->incomplete);
	json_t *reply = json_pack("{s:O}", "files", files);
	if (!reply)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	buf_init(&out, 0);
	int rc = render_reply(cli, cli->args.cmd, reply, &out, err);
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	json_decref(reply);
	return rc;
}

int ops_data_import(struct cli *cli, struct err *err)
{
	struct import in = { 0 };
	const char *dir = args_text(&cli->args, "out");
	json_t *files = json_array();
	int rc = files ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = market_import_init(
			&in.m, market_import_kind_find(args_text(&cli->args, "kind")), args_text(&cli->args, "points"), err);
	if (rc < 0)
		cli->usage = true;
	if (rc == 0)
		rc = read_inputs(cli, &in, err);
	if (rc == 0)
		market_import_seal(&in.m);
	if (rc == 0 && in.m.n == 0)
		rc = err_set(err, HCP_ENOTFOUND, "", "no value of what was asked for in %zu files of %llu rows", in.files,
			(unsigned long long)in.m.rows);
	if (rc == 0)
		rc = write_all(&in, dir, files, err);
	if (rc == 0)
		rc = show(cli, &in, files, err);
	market_import_release(&in.m);
	json_decref(files);
	return rc;
}
