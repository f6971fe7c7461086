#include "cmd/cli/classify.h"

#include <jansson.h>

#include "base/mem.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/command.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/trace_file.h"
#include "os/file.h"
#include "sim/class_report.h"

#define CLASSIFY_FLAGS                                                                                                 \
	{ .name = "trace", .required = true, .help = "files of recorded jobs as of `sched replay`, with commas between" }, \
		{ .name = "depth", .kind = FLAG_INT, .min = 1, .max = 8, .help = "splits on a path at most (default 6)" },     \
	{                                                                                                                  \
		.name = "leaf", .kind = FLAG_INT, .min = 1, .max = 1e6, .help = "jobs on either side of a split (default 20)"  \
	}
const struct flag classify_train_flags[] = {
	CLASSIFY_FLAGS,
	{ .name = "out", .required = true, .help = "file for the tree, as spec/models has it" },
	{ .name = NULL },
};
const struct flag classify_report_flags[] = {
	CLASSIFY_FLAGS,
	{ .name = "folds",
		.kind = FLAG_INT,
		.min = 2,
		.max = 20,
		.help = "parts by arrival, each judged by the others' tree "
				"(default 5)" },
	{ .name = NULL },
};

static int load_one(const char *path, struct class_rows *rows, struct err *err)
{
	struct job_trace t = { 0 };
	int rc = trace_file_load(path, NULL, &t, err);
	rc = rc ? rc : class_rows_add(rows, &t, err);
	job_trace_release(&t);
	return rc;
}

static int load(struct cli *cli, struct class_rows *rows, struct tree_conf *conf, struct err *err)
{
	struct str rest = str_of(args_text(&cli->args, "trace"));
	int rc = 0;
	class_conf_default(conf);
	conf->depth = (size_t)args_int(&cli->args, "depth", (int64_t)conf->depth);
	conf->leaf_min = (double)args_int(&cli->args, "leaf", (int64_t)conf->leaf_min);
	while (rc == 0 && rest.p) {
		struct str name = str_trim(str_split(&rest, ','));
		const char *path = arena_strndup(&cli->arena, name.p, name.n);
		rc = path ? load_one(path, rows, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	return rc;
}

static double part(size_t of, size_t all)
{
	return all ? (double)of / (double)all : 0;
}

static size_t column(const struct class_report *r, int j, size_t answer)
{
	size_t n = 0;
	for (size_t label = 0; label < CLASSIFY_CLASSES; label++)
		n += r->count[j][label][answer];
	return n;
}

static json_t *matrix_row(const struct class_report *r, int j, size_t label)
{
	const size_t *c = r->count[j][label];
	size_t all = c[0] + c[1] + c[2] + c[3];
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "judge", class_judge_name((enum class_judge)j),
		"label", workload_type_name((enum workload_type)(label + 1)), "jobs", (json_int_t)all, "as_realtime",
		(json_int_t)c[0], "as_batch", (json_int_t)c[1], "as_training", (json_int_t)c[2], "as_mining", (json_int_t)c[3],
		"recall", part(c[label], all), "precision", part(c[label], column(r, j, label)));
}

static json_t *trace_row(const struct class_report *r, const struct class_rows *rows, int j, size_t f)
{
	size_t n = rows->in_file[f];
	return json_pack("{s:s, s:s, s:I, s:f, s:f, s:f}", "judge", class_judge_name((enum class_judge)j), "trace",
		job_trace_kind_name(rows->kind[f]), "jobs", (json_int_t)n, "right", part(r->right[j][f], n), "by_tree",
		part(r->sure[j][f], n), "right_of_these", part(r->sure_right[j][f], r->sure[j][f]));
}

int classify_command_report(struct cli *cli, struct err *err)
{
	struct class_rows rows = { 0 };
	struct class_report *r = mem_calloc(1, sizeof(*r));
	struct tree_conf conf;
	int rc = r ? load(cli, &rows, &conf, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = rc ? rc : class_report_run(r, &rows, &conf, (size_t)args_int(&cli->args, "folds", 5), err);
	if (rc == 0) {
		json_t *matrix = json_array(), *traces = json_array();
		for (int j = 0; j < CLASS_JUDGES; j++)
			for (size_t label = 0; label < CLASSIFY_CLASSES; label++)
				json_array_append_new(matrix, matrix_row(r, j, label));
		for (size_t f = 0; f < rows.files; f++)
			for (int j = 0; j < CLASS_JUDGES; j++)
				json_array_append_new(traces, trace_row(r, &rows, j, f));
		rc = ops_show_made(cli,
			json_pack("{s:I, s:I, s:f, s:o, s:o}", "jobs", (json_int_t)rows.n, "folds", (json_int_t)r->folds,
				"least_confidence", CLASSIFY_SURE, "confusion", matrix, "traces", traces),
			err);
	}
	class_rows_release(&rows);
	mem_free(r);
	return rc;
}

int classify_command_train(struct cli *cli, struct err *err)
{
	struct class_rows rows = { 0 };
	struct classify_model *m = mem_calloc(1, sizeof(*m));
	struct tree_conf conf;
	struct buf out;
	buf_init(&out, CLASSIFY_BYTES_MAX);
	int rc = m ? load(cli, &rows, &conf, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = rc ? rc : class_train(m, &rows, &conf, err);
	rc = rc ? rc : classify_model_save(m, &out, err);
	rc = rc ? rc : file_write_atomic(args_text(&cli->args, "out"), buf_str(&out), 0644, err);
	if (rc == 0)
		rc = ops_show_made(cli,
			json_pack("{s:I, s:I, s:I}", "jobs", (json_int_t)rows.n, "nodes", (json_int_t)(m->bare.n + m->full.n),
				"bytes", (json_int_t)out.n),
			err);
	buf_release(&out);
	class_rows_release(&rows);
	mem_free(m);
	return rc;
}
