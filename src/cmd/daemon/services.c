#include "cmd/daemon/services.h"

#include "base/mem.h"
#include "cmd/daemon/settings.h"
#include "os/file.h"
#include "services/billing/billing.h"
#include "services/identity/identity.h"
#include "services/optimizer/optimizer.h"
#include "services/orchestrator/orchestrator.h"
#include "services/resources/resources.h"
#include "services/router/router.h"
#include "services/telemetry/telemetry.h"
#include "svc/host.h"

struct services_conf {
	char identity_key[SERVICES_PATH_MAX];
	struct identity_conf identity;
	struct orchestrator_conf orchestrator;
	struct optimizer_conf optimizer;
	struct billing_conf billing;
	struct resources_conf resources;
	struct router_conf router;
	struct resources_budget budget[(SETTINGS_SITES_MAX + 1) * (1 + SITE_FEEDERS_MAX + SITE_BRANCHES_MAX)];
	struct resources_hang hang[(SETTINGS_SITES_MAX + 1) * (SITE_FEEDERS_MAX + SITE_BRANCHES_MAX + SITE_GROUPS_MAX)];
	unsigned char callback_key[ORCHESTRATOR_KEY_BYTES];
	struct host *host; /* borrowed, for the status page */
};

static bool service_stats(void *arg, int id, struct svc_stats *ret)
{
	const struct services_conf *c = arg;
	struct svc *svc = c->host ? host_service(c->host, id) : NULL;
	if (!svc)
		return false;
	svc_stats(svc, ret);
	return true;
}

static struct resources_budget *budget_new(struct services_conf *c, const char *site, const char *path, double limit_w)
{
	struct resources_budget *b = &c->budget[c->resources.n_budgets++];
	*b = (struct resources_budget){ .facility = site, .path = path, .budget_w = (int64_t)limit_w };
	return b;
}

static void add_hang(struct services_conf *c, const char *site, const char *nodes, const char *cls, const char *path)
{
	c->hang[c->resources.n_hangs++] =
		(struct resources_hang){ .facility = site, .nodes = nodes, .device_class = cls, .path = path };
}

/* Rules for racks before those for PDUs and feeders: the first that fits counts. */
static void take_nodes(struct services_conf *c, const struct site *s)
{
	for (size_t depth = POWER_PARTS_MAX; depth-- > 1;)
		for (size_t i = 0; i < s->n_branches; i++) {
			size_t slashes = 0;
			for (const char *p = s->branch[i].path; *p; p++)
				slashes += *p == '/';
			if (slashes == depth && s->branch[i].nodes[0])
				add_hang(c, s->name, s->branch[i].nodes, NULL, s->branch[i].path);
		}
	for (size_t i = 0; i < s->n_feeders; i++)
		if (s->feeder[i].nodes[0])
			add_hang(c, s->name, s->feeder[i].nodes, NULL, s->feeder[i].name);
}

/* A class whose groups stand behind one feeder hangs there; behind several, its nodes must say where. */
static void take_classes(struct services_conf *c, const struct site *s)
{
	for (size_t i = 0; i < s->n_groups; i++) {
		const struct site_group *g = &s->group[i];
		bool first = true, same = true, any = false;
		for (size_t k = 0; k < s->n_groups; k++) {
			const struct site_group *other = &s->group[k];
			if (other->cls != g->cls)
				continue;
			first &= k >= i;
			same &= other->feeder == g->feeder;
			any |= other->feeder >= 0;
		}
		if (first && any)
			add_hang(c, s->name, NULL, g->cls->name, same ? s->feeder[g->feeder].name : "");
	}
}

/* Limits of a site and its feeders are at the meter, budgets and limits of branches at the plugs. */
static void take_power(struct services_conf *c, const struct settings *settings)
{
	c->resources.budgets = c->budget;
	c->resources.hangs = c->hang;
	c->resources.site = settings->site;
	c->resources.n_sites = settings->n_sites;
	for (size_t i = 0; i < settings->n_sites; i++) {
		const struct site *s = &settings->site[i];
		if (s->limit_w > 0)
			budget_new(c, s->name, "", s->limit_w / s->pue);
		for (size_t k = 0; k < s->n_feeders; k++)
			budget_new(c, s->name, s->feeder[k].name, s->feeder[k].limit_w / s->pue)->inrush_w =
				(int64_t)s->feeder[k].inrush_w;
		for (size_t k = 0; k < s->n_branches; k++) {
			const struct site_branch *b = &s->branch[k];
			struct resources_budget *row = budget_new(c, s->name, b->path, b->limit_w);
			row->inrush_w = (int64_t)b->inrush_w;
			row->count = (int32_t)b->count;
		}
		take_nodes(c, s);
		take_classes(c, s);
	}
}

int services_conf_new(
	const char *state_dir, int token_s, const struct settings *s, struct services_conf **ret, struct err *err)
{
	struct services_conf *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (file_join(c->identity_key, sizeof(c->identity_key), state_dir, "identity.key") < 0) {
		mem_free(c);
		return err_set(err, HCP_ERANGE, "--state", "the path is too long");
	}
	c->identity.key_path = c->identity_key;
	c->identity.token_s = token_s;
	c->orchestrator.version = HCP_VERSION;
	c->orchestrator.stats = service_stats;
	c->orchestrator.stats_arg = c;
	c->optimizer = (struct optimizer_conf){ .site = s->site,
		.n_sites = s->n_sites,
		.credit = s->credit,
		.n_credits = s->n_credits,
		.horizon_ns = s->horizon_ns,
		.utilisation = s->utilisation,
		.capital_usd = s->capital_usd,
		.drawdown_limit = s->drawdown_limit,
		.risk_aversion = s->risk_aversion };
	/* Nothing given is the default there, and what is free is negative. */
	c->billing = (struct billing_conf){ .site = s->site,
		.n_sites = s->n_sites,
		.token_micros_million = s->token_micros_million ? s->token_micros_million : -1,
		.request_micros_million = s->request_micros_million };
	take_power(c, s);
	c->router = s->router;
	*ret = c;
	return 0;
}

void services_conf_host(struct services_conf *c, struct host *host)
{
	c->host = host;
}

void services_conf_callback_key(struct services_conf *c, const unsigned char *key)
{
	memcpy(c->callback_key, key, sizeof(c->callback_key));
	c->orchestrator.callback_key = c->callback_key;
}

void services_conf_free(struct services_conf *c)
{
	mem_free_secret(c, sizeof(*c));
}

const struct svc_def *services_def(int id)
{
	static const struct svc_def *const defs[] = {
		&orchestrator_def, &optimizer_def, &router_def, &resources_def, &billing_def, &identity_def, &telemetry_def,
	};
	for (size_t i = 0; i < sizeof(defs) / sizeof(defs[0]); i++)
		if (defs[i]->id == id)
			return defs[i];
	return NULL;
}

const void *services_conf_of(const struct services_conf *c, int id)
{
	switch (id) {
	case SVC_IDENTITY:
		return &c->identity;
	case SVC_ORCHESTRATOR:
		return &c->orchestrator;
	case SVC_BILLING:
		return &c->billing;
	case SVC_OPTIMIZER:
		return &c->optimizer;
	case SVC_RESOURCES:
		return &c->resources;
	case SVC_ROUTER:
		return &c->router;
	default:
		return NULL;
	}
}
