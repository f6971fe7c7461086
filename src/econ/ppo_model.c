#include "econ/ppo_model.h"

#include <assert.h>
#include <string.h>

#include "base/hex.h"
#include "base/panic.h"
#include "econ/fc_priv.h"
#include "econ/ppo_miner.h"

#define PARAM_MAX 1e4
#define CLONE_RATE 1e-3
enum { CLONE_BATCHES = 1500 };

void ppo_model_release(struct ppo_model *m)
{
	for (size_t k = 0; k < PPO_NETS_MAX; k++)
		ppo_net_release(&m->net[k]);
	*m = (struct ppo_model){ 0 };
}

double ppo_model_say(const struct ppo_model *m, const float *obs)
{
	double sum = 0;
	for (size_t k = 0; k < m->n; k++)
		sum += ppo_net_say(&m->net[k], obs);
	return sum;
}

struct teller {
	ppo_model_progress_fn fn;
	void *arg;
	struct ppo_model_progress p;
};

static void tell(void *arg, const struct ppo_progress *p)
{
	struct teller *t = arg;
	t->p.of = *p;
	if (t->fn)
		t->fn(t->arg, &t->p);
}

static int train_net(
	struct ppo_model *m, struct ppo_world *w, const struct ppo_training *t, struct teller *teller, struct err *err)
{
	struct ppo_agent a;
	struct ppo_env env = ppo_world_env(w);
	struct ppo_teacher teacher = ppo_world_teacher(w);
	struct ppo_conf conf;
	ppo_conf_default(&conf);
	conf.seed = t->seed + m->n;
	conf.iterations = t->iterations ? t->iterations : conf.iterations;
	int rc = ppo_agent_new(&a, env.n_in, conf.seed, err);
	if (rc < 0)
		return rc;
	rc = ppo_clone(&a, &teacher, CLONE_BATCHES, CLONE_RATE, conf.seed, err);
	rc = rc ? rc : ppo_train(&a, &env, &conf, tell, teller, err);
	if (rc == 0) {
		m->net[m->n++] = a.actor;
		a.actor = (struct ppo_net){ 0 };
	}
	ppo_agent_release(&a);
	return rc;
}

int ppo_model_train(struct ppo_model *ret, const struct ppo_training *t, const struct history *h,
	ppo_model_progress_fn progress, void *arg, struct err *err)
{
	struct ppo_model m = { .from_ns = t->from_ns, .to_ns = t->to_ns, .seed = t->seed };
	struct ppo_world w;
	struct teller teller = { progress, arg, { .nets = PPO_NETS } };
	if (t->from_ns < 0 || t->to_ns <= t->from_ns)
		return err_set(err, HCP_ERANGE, "to", "must lie after the beginning");
	int rc = ppo_world_init(&w, t->site, h, t->points, t->n_points, t->from_ns, t->to_ns, err);
	if (rc < 0)
		return rc;
	memcpy(m.site, t->site->name, sizeof(m.site));
	memcpy(m.point, w.series[0].point, sizeof(m.point));
	m.from_ns = w.series[0].first_ns;
	for (teller.p.net = 0; rc == 0 && teller.p.net < PPO_NETS; teller.p.net++)
		rc = train_net(&m, &w, t, &teller, err);
	ppo_world_release(&w);
	if (rc < 0) {
		ppo_model_release(&m);
		return rc;
	}
	ppo_model_release(ret);
	*ret = m;
	return 0;
}

/* ---- bytes ---- */

struct head {
	char magic[4];
	uint32_t crc, version, nets, inputs, hidden;
	int64_t from_ns, to_ns;
	uint64_t seed;
	char site[SITE_NAME_MAX], point[HISTORY_LOCATION_MAX];
};
static_assert(sizeof(struct head) == 104, "no padding");
enum { VERSION = 1, CRC_FROM = 8 };

int ppo_model_save(const struct ppo_model *m, struct buf *out, struct err *err)
{
	struct head h = { .magic = "HCPP",
		.version = VERSION,
		.nets = (uint32_t)m->n,
		.inputs = PPO_OBS,
		.hidden = PPO_HIDDEN,
		.from_ns = m->from_ns,
		.to_ns = m->to_ns,
		.seed = m->seed };
	size_t start = out->n;
	if (m->to_ns == 0)
		return err_set(err, HCP_ESTATE, "model", "has not been trained");
	memcpy(h.site, m->site, sizeof(h.site));
	memcpy(h.point, m->point, sizeof(h.point));
	fc_put(out, &h, sizeof(h));
	for (size_t k = 0; k < m->n; k++)
		for (size_t i = 0; i < ppo_net_params(PPO_OBS); i++) {
			float v = (float)m->net[k].param[i];
			fc_put(out, &v, sizeof(v));
		}
	if (buf_failed(out))
		return err_set(err, HCP_ENOMEM, "model", "no memory, or too large");
	uint32_t crc = crc32c(0, out->data + start + CRC_FROM, out->n - start - CRC_FROM);
	memcpy(out->data + start + offsetof(struct head, crc), &crc, sizeof(crc));
	return 0;
}

static int get_net(struct ppo_model *m, struct fc_reader *r, struct err *err)
{
	int rc = ppo_net_new(&m->net[m->n], PPO_OBS, err);
	if (rc < 0)
		return rc;
	double *param = m->net[m->n++].param;
	for (size_t i = 0; i < ppo_net_params(PPO_OBS); i++) {
		float v;
		if (!fc_get(r, &v, sizeof(v)) || !((double)v >= -PARAM_MAX && (double)v <= PARAM_MAX))
			return HCP_ECORRUPT;
		param[i] = (double)v;
	}
	return 0;
}

static bool is_sound(const struct head *h)
{
	return h->nets >= 1 && h->nets <= PPO_NETS_MAX && h->from_ns >= 0 && h->to_ns > h->from_ns &&
		   memchr(h->site, 0, sizeof(h->site)) && memchr(h->point, 0, sizeof(h->point)) && h->site[0] && h->point[0];
}

int ppo_model_load(struct ppo_model *m, struct str bytes, struct err *err)
{
	struct head h;
	struct ppo_model made = { 0 };
	struct fc_reader r = { .rest = bytes };
	if (bytes.n > PPO_MODEL_MAX || !fc_get(&r, &h, sizeof(h)) || memcmp(h.magic, "HCPP", 4) != 0 ||
		crc32c(0, bytes.p + CRC_FROM, bytes.n - CRC_FROM) != h.crc)
		return err_set(err, HCP_ECORRUPT, "model", "not the weights of a learned policy, or damaged ones");
	if (h.version != VERSION || h.inputs != PPO_OBS || h.hidden != PPO_HIDDEN)
		return err_set(err, HCP_ECORRUPT, "model",
			"is of version %u with %u inputs and %u hidden, not %d with %d and %d", (unsigned)h.version,
			(unsigned)h.inputs, (unsigned)h.hidden, VERSION, PPO_OBS, PPO_HIDDEN);
	int rc = is_sound(&h) ? 0 : HCP_ECORRUPT;
	for (size_t k = 0; rc == 0 && k < h.nets; k++)
		rc = get_net(&made, &r, err);
	if (rc == 0 && r.rest.n)
		rc = HCP_ECORRUPT;
	if (rc < 0) {
		ppo_model_release(&made);
		return rc == HCP_ECORRUPT ? err_set(err, rc, "model", "does not hold together") : rc;
	}
	made.from_ns = h.from_ns;
	made.to_ns = h.to_ns;
	made.seed = h.seed;
	memcpy(made.site, h.site, sizeof(made.site));
	memcpy(made.point, h.point, sizeof(made.point));
	ppo_model_release(m);
	*m = made;
	return 0;
}
