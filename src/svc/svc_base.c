/* Base copies of a service: when they are due, how they begin and end in its thread, how they are written in another.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "svc/bases.h"
#include "svc/svc_priv.h"

struct svc_base {
	struct db *snap; /* owned: the tables at the moment it began */
	char *dir;
	struct base base;
	size_t keep;
	int64_t keep_from; /* the oldest that is kept; 0: there are fewer than may be */
};

static const char *name_of(const struct svc *svc)
{
	return svc_table[svc->def->id].name;
}

/* Only a full set has an oldest one: before, the journal still goes back to the first batch. */
static int read_dir(const char *dir, size_t keep, int64_t *ret_keep_from, struct base *ret_last, struct err *err)
{
	struct base all[BASES_MAX];
	size_t n;
	int rc = bases_list(dir, all, &n, err);
	if (rc < 0)
		return rc;
	*ret_keep_from = n >= keep ? all[n - keep].batch : 0;
	*ret_last = n ? all[n - 1] : (struct base){ 0 };
	return 0;
}

void svc_base_load(struct svc *svc)
{
	struct err err = { 0 };
	struct base last = { 0 };
	svc->base_ns = svc->conf.now_ns;
	if (!svc->base_dir)
		return;
	int rc = bases_trim(svc->base_dir, svc->bases_kept, svc->batch_no, &err);
	if (rc == 0)
		rc = read_dir(svc->base_dir, svc->bases_kept, &svc->keep_from, &last, &err);
	if (rc < 0)
		log_error(name_of(svc), "its base copies cannot be read: %s %s", err.field, err.text);
	svc->base_batch = last.batch;
	svc->base_total = last.journal;
	svc->base_size = last.bytes;
	if (svc->journal_total < last.journal)
		svc->journal_total = last.journal;
	if (last.bytes)
		svc->base_ns = last.at_ns;
}

int64_t svc_base_every(const struct svc *svc)
{
	return svc->base_size > svc->base_bytes ? svc->base_size : svc->base_bytes;
}

/* A queue is empty for a moment under any load; a reload then would keep waiting whoever comes in the next. */
static bool nobody_waits(struct svc *svc, int64_t now_ns)
{
	int64_t idle_ns = now_ns - svc->worked_ns, lull_ns = idle_ns > svc->lull_ns ? idle_ns : svc->lull_ns;
	return lull_ns >= SVC_BASE_LULL_MS * NS_PER_MS && !svc->n_held && !svc_has_input(svc);
}

bool svc_base_due(struct svc *svc, int64_t now_ns)
{
	const int64_t age_limit_ns = SVC_BASE_AGE_H * 3600 * NS_PER_S;
	if (!svc->base_dir || !svc->state || svc->base_busy || svc->batch_no == svc->base_batch ||
		now_ns < svc->base_retry_ns)
		return false;
	if (svc->base_ns > now_ns) /* the clock was set back */
		svc->base_ns = now_ns;
	int64_t bytes = svc->journal_total - svc->base_total, age_ns = now_ns - svc->base_ns;
	if (bytes < svc->base_size / SVC_BASE_SHARE)
		return false;
	if (bytes >= 2 * svc_base_every(svc) || age_ns >= 2 * age_limit_ns)
		return true;
	return (bytes >= svc_base_every(svc) || age_ns >= age_limit_ns) && nobody_waits(svc, now_ns);
}

static void failed(struct svc *svc, int64_t now_ns)
{
	svc->base_retry_ns = now_ns + SVC_BASE_RETRY_S * NS_PER_S;
}

int svc_base_begin(struct svc *svc, int64_t now_ns, struct svc_base **ret, struct err *err)
{
	must(svc->base_dir && !svc->base_busy);
	struct svc_base *b = mem_calloc(1, sizeof(*b));
	char *dir = mem_strdup(svc->base_dir);
	int rc = b && dir ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
	/* What a replay starts with is loaded from these tables; so must be what the next batch here starts with. */
	if (rc == 0 && !svc->reloaded)
		rc = svc_reload(svc, err);
	if (rc == 0)
		rc = db_snapshot(svc->db, &b->snap, err);
	if (rc < 0) {
		failed(svc, now_ns);
		mem_free(b);
		mem_free(dir);
		return rc;
	}
	b->dir = dir;
	b->base = (struct base){ .batch = svc->batch_no, .at_ns = now_ns, .journal = svc->journal_total };
	b->keep = svc->bases_kept;
	snprintf(b->base.service, sizeof(b->base.service), "%s", name_of(svc));
	svc->base_busy = true;
	*ret = b;
	return 0;
}

int svc_base_write(struct svc_base *b, const struct bases_hook *hook, struct err *err)
{
	struct base last;
	int rc = bases_write(b->dir, b->snap, &b->base, hook, err);
	db_close(b->snap);
	b->snap = NULL;
	if (rc == 0)
		rc = bases_trim(b->dir, b->keep, b->base.batch, err);
	if (rc == 0)
		rc = read_dir(b->dir, b->keep, &b->keep_from, &last, err);
	return rc;
}

void svc_base_end(struct svc *svc, struct svc_base *b, int rc, int64_t now_ns)
{
	svc->base_busy = false;
	if (rc == 0) {
		svc->base_batch = b->base.batch;
		svc->base_total = b->base.journal;
		svc->base_size = b->base.bytes;
		svc->base_ns = b->base.at_ns;
		svc->keep_from = b->keep_from;
	} else {
		failed(svc, now_ns);
	}
	svc_base_free(b);
}

void svc_base_free(struct svc_base *b)
{
	if (!b)
		return;
	db_close(b->snap);
	mem_free(b->dir);
	mem_free(b);
}
