#include "sim/job_trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "wire/csv.h"

enum { COLUMNS = 9, MS = 1000 };

struct reader {
	struct csv csv;
	size_t col[COLUMNS];
	const struct job_trace_conf *conf;
	struct job_trace t;
	struct map customers; /* name -> index + 1 */
	double last_s;        /* latest time named anywhere: what still ran then ends there */
};

/* A format: what its header must have, and how a row becomes a job. 1: a job, 0: passed over. */
struct format {
	const char *column[COLUMNS + 1];
	int (*row)(struct reader *r, struct trace_job *j, struct err *err);
};

/* ---- fields ---- */

static int bad_field(const struct reader *r, size_t c, int rc, struct err *err, const char *what)
{
	struct str name = r->csv.names[r->col[c]], v = r->csv.fields[r->col[c]];
	char field[64];
	(void)!str_copy(field, sizeof(field), (struct str){ name.p, name.n < sizeof(field) ? name.n : sizeof(field) - 1 });
	return err_set(
		err, rc, field, "CSV line %zu: \"%.*s\" %s", r->csv.line, (int)(v.n < 40 ? v.n : 40), v.n ? v.p : "", what);
}

static int get_whole(const struct reader *r, size_t c, int64_t max, int64_t *ret, struct err *err)
{
	double v; /* some tables write 1000.0 */
	int rc = csv_double(&r->csv, r->col[c], &v, err);
	if (rc < 0)
		return rc;
	if (!(v >= 0 && v <= (double)max) || v != (double)(int64_t)v)
		return bad_field(r, c, HCP_ERANGE, err, "is not a whole number in range");
	*ret = (int64_t)v;
	return 0;
}

static int get_seconds(struct reader *r, size_t c, double *ret_s, struct err *err)
{
	double v;
	int rc = csv_double(&r->csv, r->col[c], &v, err);
	if (rc < 0)
		return rc;
	if (!(v >= 0 && v <= JOB_TRACE_S_MAX))
		return bad_field(r, c, HCP_ERANGE, err, "is no time in seconds from 0 on");
	if (v > r->last_s)
		r->last_s = v;
	*ret_s = v;
	return 0;
}

static int grow(void **v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return 0;
	size_t bigger = *cap ? *cap * 2 : 64;
	void *fresh = mem_realloc(*v, bigger * size);
	if (!fresh)
		return HCP_ENOMEM;
	*v = fresh;
	*cap = bigger;
	return 0;
}

static int get_customer(struct reader *r, size_t c, uint16_t *ret, struct err *err)
{
	struct job_trace *t = &r->t;
	struct str name = r->csv.fields[r->col[c]];
	void *names = t->customer;
	if (name.n == 0)
		name = STR("none");
	if (name.n >= JOB_TRACE_NAME_MAX || !utf8_valid(name.p, name.n))
		return bad_field(r, c, HCP_ERANGE, err, "is no name of at most 39 bytes of UTF-8");
	uintptr_t have = (uintptr_t)map_get(&r->customers, name);
	if (!have) {
		if (t->n_customers == JOB_TRACE_CUSTOMERS_MAX)
			return bad_field(r, c, HCP_ELIMIT, err, "is one customer too many (4096)");
		int rc = grow(&names, t->n_customers, &t->cap_customers, sizeof(*t->customer));
		t->customer = names;
		if (rc < 0 || map_put(&r->customers, name, (void *)(uintptr_t)(t->n_customers + 1), NULL) < 0)
			return err_set(err, HCP_ENOMEM, "", "no memory");
		(void)!str_copy(t->customer[t->n_customers], JOB_TRACE_NAME_MAX, name);
		have = ++t->n_customers;
	}
	*ret = (uint16_t)(have - 1);
	return 0;
}

static int64_t ms_of(double s)
{
	return (int64_t)(s * MS + 0.5);
}

/* ---- rows ---- */

enum { P_CPU, P_MEMORY, P_GPUS, P_MILLI, P_QOS, P_CREATED, P_DELETED, P_SCHEDULED };

static int pod_gpus(const struct reader *r, struct trace_job *j, struct err *err)
{
	int64_t gpus, milli = 0;
	int rc = get_whole(r, P_GPUS, JOB_TRACE_GPUS_MAX, &gpus, err);
	if (rc == 0 && (gpus || r->csv.fields[r->col[P_MILLI]].n))
		rc = get_whole(r, P_MILLI, 1000, &milli, err);
	if (rc < 0)
		return rc;
	if (gpus && milli == 0)
		return bad_field(r, P_MILLI, HCP_ERANGE, err, "must be 1 to 1000 for a pod with GPUs");
	if (gpus > 1 && milli != 1000)
		return bad_field(r, P_MILLI, HCP_ERANGE, err, "must be 1000 for a pod with several GPUs");
	j->gpus = (uint16_t)gpus;
	j->milli = gpus ? (uint16_t)milli : 0;
	return 0;
}

static int pod_times(struct reader *r, struct trace_job *j, struct err *err)
{
	double created, scheduled = -1, deleted = -1;
	int rc = get_seconds(r, P_CREATED, &created, err);
	if (rc == 0 && r->csv.fields[r->col[P_SCHEDULED]].n)
		rc = get_seconds(r, P_SCHEDULED, &scheduled, err);
	if (rc == 0 && r->csv.fields[r->col[P_DELETED]].n)
		rc = get_seconds(r, P_DELETED, &deleted, err);
	if (rc < 0)
		return rc;
	if (scheduled >= 0 && scheduled < created)
		return bad_field(r, P_SCHEDULED, HCP_ERANGE, err, "lies before its creation_time");
	double from = scheduled >= 0 ? scheduled : created;
	if (deleted >= 0 && deleted < from)
		return bad_field(r, P_DELETED, HCP_ERANGE, err, "lies before its start");
	j->arrive_ms = ms_of(created);
	j->waited_ms = scheduled >= 0 ? ms_of(scheduled) - j->arrive_ms : -1;
	j->run_ms = deleted >= 0 ? ms_of(deleted) - ms_of(from) : -1 - ms_of(from); /* settled at the end */
	return 0;
}

static int pod_row(struct reader *r, struct trace_job *j, struct err *err)
{
	struct str qos = r->csv.fields[r->col[P_QOS]];
	int64_t cpu, memory;
	int rc = get_whole(r, P_CPU, INT32_MAX, &cpu, err);
	if (rc == 0)
		rc = get_whole(r, P_MEMORY, INT32_MAX, &memory, err);
	if (rc == 0)
		rc = pod_gpus(r, j, err);
	if (rc == 0)
		rc = pod_times(r, j, err);
	if (rc == 0)
		rc = get_customer(r, P_QOS, &j->customer, err);
	if (rc < 0)
		return rc;
	j->cpu_milli = (uint32_t)cpu;
	j->memory_mib = (uint32_t)memory;
	j->cls = str_eqz(qos, "LS") ? WORKLOAD_P1 : str_eqz(qos, "BE") ? WORKLOAD_P3 : WORKLOAD_P2;
	return j->gpus || cpu || memory ? 1 : 0;
}

enum { R_ELAPSED, R_CUSTOMER, R_A, R_B };

static int image_row(struct reader *r, struct trace_job *j, struct err *err)
{
	double at, s = 0;
	int rc = get_seconds(r, R_ELAPSED, &at, err);
	if (rc == 0 && r->csv.fields[r->col[R_A]].n)
		rc = csv_double(&r->csv, r->col[R_A], &s, err);
	if (rc < 0)
		return rc;
	if (!(s >= 0 && s <= JOB_TRACE_S_MAX))
		return bad_field(r, R_A, HCP_ERANGE, err, "is no duration in seconds");
	rc = get_customer(r, R_CUSTOMER, &j->customer, err);
	if (rc < 0)
		return rc;
	*j = (struct trace_job){ .arrive_ms = ms_of(at),
		.run_ms = ms_of(s),
		.waited_ms = -1,
		.gpus = 1,
		.milli = 1000,
		.customer = j->customer,
		.cls = WORKLOAD_P1 };
	return s > 0;
}

static int token_row(struct reader *r, struct trace_job *j, struct err *err)
{
	double at;
	int64_t context, generated;
	int rc = get_seconds(r, R_ELAPSED, &at, err);
	if (rc == 0)
		rc = get_whole(r, R_A, INT32_MAX, &context, err);
	if (rc == 0)
		rc = get_whole(r, R_B, INT32_MAX, &generated, err);
	if (rc == 0)
		rc = get_customer(r, R_CUSTOMER, &j->customer, err);
	if (rc < 0)
		return rc;
	double s = (double)context / r->conf->prefill_tokens_s + (double)generated / r->conf->decode_tokens_s;
	if (s > JOB_TRACE_S_MAX)
		return bad_field(r, R_B, HCP_ERANGE, err, "tokens last too long at these rates");
	*j = (struct trace_job){ .arrive_ms = ms_of(at),
		.run_ms = ms_of(s),
		.waited_ms = -1,
		.gpus = 1,
		.milli = r->conf->slot_milli,
		.customer = j->customer,
		.cls = WORKLOAD_P1 };
	return 1;
}

static const struct format formats[JOB_TRACE_KIND_END] = {
	[JOB_TRACE_PODS] = { { "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "qos", "creation_time", "deletion_time",
							 "scheduled_time" },
		pod_row },
	[JOB_TRACE_IMAGES] = { { "elapsed_s", "base_model", "exec_time_s" }, image_row },
	[JOB_TRACE_TOKENS] = { { "elapsed_s", "workload", "context_tokens", "generated_tokens" }, token_row },
};

/* ---- the whole ---- */

static bool has_columns(struct reader *r, const struct format *f)
{
	for (size_t i = 0; f->column[i]; i++)
		if (csv_column(&r->csv, f->column[i], &r->col[i], NULL) < 0)
			return false;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct trace_job *x = a, *y = b;
	if (x->arrive_ms != y->arrive_ms)
		return x->arrive_ms < y->arrive_ms ? -1 : 1;
	return x->waited_ms < y->waited_ms ? -1 : x->waited_ms > y->waited_ms; /* here: the line */
}

/* By arrival; equal ones by line, for which the sort borrows waited_ms. */
static int sort_jobs(struct job_trace *t)
{
	int64_t *waited = mem_alloc(t->n * sizeof(*waited));
	if (!waited)
		return HCP_ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		waited[i] = t->job[i].waited_ms;
		t->job[i].waited_ms = (int64_t)i;
	}
	qsort(t->job, t->n, sizeof(t->job[0]), compare);
	int64_t first_ms = t->job[0].arrive_ms;
	for (size_t i = 0; i < t->n; i++) {
		t->job[i].waited_ms = waited[t->job[i].waited_ms];
		t->job[i].arrive_ms -= first_ms;
	}
	mem_free(waited);
	return 0;
}

static int read_rows(struct reader *r, const struct format *f, struct err *err)
{
	struct job_trace *t = &r->t;
	int rc;
	while ((rc = csv_next(&r->csv, err)) > 0) {
		struct trace_job j = { 0 };
		void *jobs = t->job;
		rc = f->row(r, &j, err);
		if (rc < 0)
			return rc;
		if (rc == 0) {
			t->skipped++;
			continue;
		}
		if (t->n == JOB_TRACE_JOBS_MAX)
			return err_set(err, HCP_ELIMIT, "", "CSV line %zu: more than %d jobs", r->csv.line, JOB_TRACE_JOBS_MAX);
		rc = grow(&jobs, t->n, &t->cap, sizeof(*t->job));
		t->job = jobs;
		if (rc < 0)
			return err_set(err, rc, "", "no memory");
		t->job[t->n++] = j;
	}
	if (rc < 0)
		return rc;
	if (t->n == 0)
		return err_set(err, HCP_ENOTFOUND, "", "the trace has no job that ran");
	for (size_t i = 0; i < t->n; i++) {
		struct trace_job *j = &t->job[i];
		if (j->run_ms < 0) /* still there at the end */
			j->run_ms = ms_of(r->last_s) + j->run_ms + 1;
		if (j->run_ms < 1)
			j->run_ms = 1;
	}
	return sort_jobs(t) < 0 ? err_set(err, HCP_ENOMEM, "", "no memory") : 0;
}

int job_trace_parse(struct str text, const struct job_trace_conf *conf, struct job_trace *ret, struct err *err)
{
	struct reader r = { .conf = conf };
	int rc = csv_init(&r.csv, text, ',', err);
	int kind = 0;
	map_init(&r.customers);
	while (rc == 0 && kind < JOB_TRACE_KIND_END && !has_columns(&r, &formats[kind]))
		kind++;
	if (rc == 0 && kind == JOB_TRACE_KIND_END)
		rc = err_set(err, HCP_ENOTFOUND, "header",
			"no known trace; the columns must be cpu_milli,memory_mib,num_gpu,"
			"gpu_milli,qos,creation_time,deletion_time,scheduled_time or elapsed_s,base_model,exec_time_s or "
			"elapsed_s,workload,context_tokens,generated_tokens");
	if (rc == 0) {
		r.t.kind = (enum job_trace_kind)kind;
		rc = read_rows(&r, &formats[kind], err);
	}
	csv_release(&r.csv);
	map_release(&r.customers);
	if (rc == 0)
		*ret = r.t;
	else
		job_trace_release(&r.t);
	return rc;
}

void job_trace_release(struct job_trace *t)
{
	mem_free(t->job);
	mem_free(t->customer);
	*t = (struct job_trace){ .kind = t->kind };
}

/*
 * Rates of a 70-billion-parameter model on one replica, of the order that Splitwise measures on A100 and H100: some
 * thousand tokens a second of prompt, 30 to 50 ms between generated ones, eight requests at once.
 */
void job_trace_conf_default(struct job_trace_conf *conf)
{
	*conf = (struct job_trace_conf){ .prefill_tokens_s = 7000, .decode_tokens_s = 25, .slot_milli = 125 };
}

const char *job_trace_kind_name(enum job_trace_kind k)
{
	static const char *const name[JOB_TRACE_KIND_END] = { "pods", "images", "tokens" };
	return (unsigned)k < JOB_TRACE_KIND_END ? name[k] : NULL;
}
