#include "net.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/panic.h"
#include "model/power_path.h"
#include "services/resources/resources.h"
#include "watch.h"

enum {
	NET_DELAY_MS = 30,  /* mean */
	NET_LATE_MS = 6000, /* at most, of one message in NET_LATE_IN */
	NET_LATE_IN = 60,
	NET_LOSE_IN = 40,
	NET_LOSE_HELLO_IN = 5,
	NET_REPEAT_IN = 60,
	NET_GONE_LATE_S = 60,     /* news of an ended stream, at most */
	NET_RELAPSE_REPORTS = 16, /* so far behind is a state that comes back, twice as many as a lease is long */
	NET_TROUBLE_S = 900,      /* mean time between two troubles of the fleet */
};

struct flight {
	struct list link;
	struct net_node *to;
	uint32_t epoch;
	unsigned type;             /* to the platform: its message; 0: to the agent */
	struct str bytes;          /* behind the struct */
};

static void schedule(struct net_node *x);
static bool is_dark(const struct net_node *x);

/* ---- messages ---- */

static void arrive(struct sim *s, void *arg, uint64_t data);

static void fly(struct net_node *x, unsigned type, struct str bytes, int64_t delay_ns)
{
	struct flight *f = mem_alloc(sizeof(*f) + bytes.n);
	must(f);
	*f = (struct flight){ .to = x, .epoch = x->epoch, .type = type, .bytes = { (char *)(f + 1), bytes.n } };
	memcpy(f + 1, bytes.p, bytes.n);
	list_add_tail(&x->sim->net->flying, &f->link);
	sim_at(x->sim, x->sim->now_ns + delay_ns, arrive, f, 0);
}

static void send(struct net_node *x, unsigned type, struct str bytes)
{
	struct net *net = x->sim->net;
	struct rng *r = &net->rng;
	int64_t delay = (int64_t)(NET_DELAY_MS * 1e6 * rng_exp(r));
	net->sent++;
	if (!x->open || x->cut) {
		net->lost++;
		return;
	}
	/* A stream begins with its announcement: it may be lost where it arrives, but nothing overtakes it. */
	if (!x->sim->faults || (type == MSG_NODE_HELLO && rng_below(r, NET_LOSE_HELLO_IN))) {
		fly(x, type, bytes, x->sim->opts.calm ? NS_PER_MS : NET_DELAY_MS * NS_PER_MS);
		return;
	}
	if (type == MSG_NODE_HELLO || rng_below(r, NET_LOSE_IN) == 0) {
		net->lost++;
		return;
	}
	if (rng_below(r, NET_LATE_IN) == 0)
		delay = (int64_t)rng_below(r, NET_LATE_MS) * NS_PER_MS;
	fly(x, type, bytes, delay);
	if (rng_below(r, NET_REPEAT_IN) == 0) {
		net->repeated++;
		fly(x, type, bytes, delay + (int64_t)rng_below(r, NET_LATE_MS) * NS_PER_MS);
	}
}

void net_down(void *arg, const char *node_id, struct str bytes)
{
	struct sim *s = arg;
	for (size_t i = 0; i < s->net->n; i++)
		if (!strcmp(s->net->node[i].id, node_id)) {
			send(&s->net->node[i], 0, bytes);
			return;
		}
	sim_fail(s, "a message for node %s, which there is not", node_id);
}

/* Clocks of nodes and platform agree and jump together; the physics goes on evenly. */
static void take_down(struct net_node *x, struct str bytes)
{
	struct sim *s = x->sim;
	struct arena a;
	struct err err = { 0 };
	arena_init(&a, 4096, 0);
	Hcp__AgentDown *d = (void *)pb_unpack_arena(&hcp__agent_down__descriptor, bytes, &a);
	if (!d)
		sim_fail(s, "node %s cannot read what the platform sent", x->id);
	if (d->kind_case == HCP__AGENT_DOWN__KIND_LEASE)
		d->lease->until_ns -= s->clock_off_ns;
	if (d->kind_case == HCP__AGENT_DOWN__KIND_SWITCH_COMMAND)
		d->switch_command->deadline_ns -= s->clock_off_ns;
	int rc = node_down(&x->node, d, s->now_ns, &err);
	if (rc < 0)
		sim_fail(s, "node %s refuses what the platform sent: %s %s", x->id, err.field, err.text);
	arena_release(&a);
	schedule(x);
}

/* Nobody answers agents; what the platform thought of their message is worth reading all the same. */
static void on_refusal(void *arg, struct msg *m)
{
	struct net_node *x = arg;
	if (m->type == MSG_PROBLEM) {
		const Hcp__Problem *p = (const Hcp__Problem *)m->body;
		x->sim->net->refused++;
		sim_say(x->sim, "what %s said was refused: %s %s: %s", x->id, p->code, p->field, p->detail);
	}
	msg_free(m);
}

static void arrive(struct sim *s, void *arg, uint64_t data)
{
	struct flight *f = arg;
	struct net_node *x = f->to;
	struct msg *m;
	bool good = f->epoch == x->epoch && x->open && !x->cut && x->alive;
	if (good && !f->type)
		take_down(x, f->bytes);
	if (good && f->type && s->slot[SVC_RESOURCES].svc) {
		if (msg_from_bytes(f->type, f->bytes, &m, NULL) < 0 || msg_keep(m, f->bytes) < 0)
			sim_fail(s, "what node %s sent cannot be read", x->id);
		m->reply_fn = on_refusal;
		m->reply_arg = x;
		sim_post(s, m);
	}
	list_del(&f->link);
	mem_free(f);
}

/* ---- agents ---- */

/*
 * Joules that this boot has told of so far. A counter of an ended allocation is told for a while and then no more: what
 * it showed last stays in the sum.
 */
static int64_t told_j(struct net_node *x, const Hcp__NodeReport *r)
{
	char key[ID_TEXT_MAX + 16];
	for (size_t i = 0; i < r->n_meters; i++) {
		const Hcp__Meter *m = r->meters[i];
		void *old = NULL;
		int n = snprintf(key, sizeof(key), "%s %s", m->activity, m->allocation_id);
		must(map_put(&x->counter, (struct str){ key, (size_t)n }, (void *)(intptr_t)m->energy_j, &old) == 0);
		x->told_j += m->energy_j - (intptr_t)old;
	}
	return x->told_j;
}

static void note_told(struct net_node *x, int64_t sum_j)
{
	if (x->n_told == x->cap_told) {
		x->cap_told = x->cap_told ? x->cap_told * 2 : 256;
		x->told = mem_realloc(x->told, x->cap_told * sizeof(*x->told));
		must(x->told);
	}
	x->told[x->n_told++] = sum_j;
}

static void emit(void *arg, const Hcp__AgentUp *up)
{
	struct net_node *x = arg;
	const ProtobufCMessage *body = up->kind_case == HCP__AGENT_UP__KIND_HELLO            ? &up->hello->base
								   : up->kind_case == HCP__AGENT_UP__KIND_REPORT         ? &up->report->base
								   : up->kind_case == HCP__AGENT_UP__KIND_SWITCH_REPORT  ? &up->switch_report->base
								   : up->kind_case == HCP__AGENT_UP__KIND_LOCAL_SWITCH   ? &up->local_switch->base
								   : up->kind_case == HCP__AGENT_UP__KIND_PROGRAM_REPORT ? &up->program_report->base
								   : up->kind_case == HCP__AGENT_UP__KIND_SAMPLES        ? &up->samples->base
																						 : NULL;
	struct buf b;
	must(body);
	if (up->kind_case == HCP__AGENT_UP__KIND_HELLO) {
		up->hello->stream = x->epoch;
		up->hello->at_ns += x->sim->clock_off_ns;
	}
	if (up->kind_case == HCP__AGENT_UP__KIND_REPORT) {
		up->report->at_ns += x->sim->clock_off_ns;
		if (strcmp(up->report->boot_id, x->over_boot) != 0)
			note_told(x, told_j(x, up->report));
	} else if (up->kind_case == HCP__AGENT_UP__KIND_SWITCH_REPORT) {
		up->switch_report->at_ns += x->sim->clock_off_ns;
	} else if (up->kind_case == HCP__AGENT_UP__KIND_SAMPLES && !sim_has(x->sim, SVC_TELEMETRY)) {
		return;
	}
	buf_init(&b, 0);
	must(pb_pack(body, &b) == 0);
	send(x, msg_info_of(body->descriptor)->type, buf_str(&b));
	buf_release(&b);
}

static void check_budgets(struct sim *s)
{
	for (size_t i = 0; i < s->n_budgets; i++) {
		const struct net_budget *b = &s->budget[i];
		int64_t w = net_power_w(s, b);
		struct svc *svc = s->slot[SVC_RESOURCES].svc;
		int64_t reserved_w = svc ? resources_level_w(svc_state(svc), b->facility, b->path) : 0;
		if (reserved_w > b->budget_w)
			sim_fail(s, "%s%s%s has %lld W reserved, its budget is %lld W", b->facility, b->path[0] ? "/" : "", b->path,
				(long long)reserved_w, (long long)b->budget_w);
		/* Devices differ from the catalogue by a few per cent, which no plan can know. */
		if (w * 100 > b->budget_w * 103)
			sim_fail(s, "%s%s%s draws %lld W, its budget is %lld W", b->facility, b->path[0] ? "/" : "", b->path,
				(long long)w, (long long)b->budget_w);
	}
}

/* Another machine that runs it, too: each is brought up to this moment first. */
static void check_alone(struct net_node *x, const struct node_device *d)
{
	struct sim *s = x->sim;
	for (size_t i = 0; i < s->net->n; i++) {
		struct net_node *y = &s->net->node[i];
		for (size_t k = 0; y->alive && k < y->node.n_devices; k++) {
			const struct node_device *e = &y->node.devices[k];
			bool same = e != d && e->program && !strcmp(e->program->workload_id, d->program->workload_id);
			if (!same || e->program->state != HCP__PROGRAM_STATE__PROGRAM_RUNNING)
				continue;
			node_step(&y->node, s->now_ns, emit, y);
			schedule(y);
			if (e->program->state == HCP__PROGRAM_STATE__PROGRAM_RUNNING)
				sim_fail(s, "workload %s runs on %s and on %s at once", d->program->workload_id, x->id, y->id);
		}
	}
}

/* Programs that have begun: each alone, and with all that the platform knows to be saved. */
static void check_programs(struct net_node *x)
{
	struct sim *s = x->sim;
	uint64_t seen = x->programs;
	if (x->node.programs_started == seen)
		return;
	x->programs = x->node.programs_started;
	for (size_t i = 0; i < x->node.n_devices; i++) {
		const struct node_device *d = &x->node.devices[i];
		if (!d->program || d->program->started <= seen)
			continue;
		s->net->programs++;
		s->net->restores += d->program->restored > 0;
		int64_t saved = watch_saved(s, d->program->workload_id);
		if (d->program->restored < saved)
			sim_fail(s, "workload %s begins at step %lld on %s, but step %lld was acknowledged",
				d->program->workload_id, (long long)d->program->restored, x->id, (long long)saved);
		if (d->program->state == HCP__PROGRAM_STATE__PROGRAM_RUNNING)
			check_alone(x, d);
	}
}

static void step(struct sim *s, void *arg, uint64_t tick)
{
	struct net_node *x = arg;
	if (!x->alive || tick != x->tick)
		return;
	node_step(&x->node, s->now_ns, emit, x);
	check_budgets(s);
	check_programs(x);
	schedule(x);
}

static void schedule(struct net_node *x)
{
	int64_t due_ns = node_due_ns(&x->node), soonest_ns = x->sim->now_ns + NS_PER_MS;
	sim_at(x->sim, due_ns > soonest_ns ? due_ns : soonest_ns, step, x, ++x->tick);
}

/* Also long after the node has come back on another stream. */
static void say_gone(struct sim *s, void *arg, uint64_t epoch)
{
	struct net_node *x = arg;
	struct msg *m = msg_new(MSG_NODE_GONE);
	must(m);
	((Hcp__NodeGone *)m->body)->node_id = arena_strdup(&m->arena, x->id);
	((Hcp__NodeGone *)m->body)->reason = "stream ended";
	((Hcp__NodeGone *)m->body)->stream = epoch;
	if (x->sim->slot[SVC_RESOURCES].svc)
		sim_post(x->sim, m);
	else
		msg_free(m);
}

static void end_stream(struct net_node *x, bool noticed)
{
	if (!x->open)
		return;
	uint32_t epoch = x->epoch;
	x->open = x->cut = false;
	x->epoch++;
	if (x->alive)
		node_lost(&x->node);
	if (!noticed)
		return;
	bool late = x->sim->faults && rng_below(&x->sim->net->rng, 3) == 0;
	int64_t ns = late ? (int64_t)rng_below(&x->sim->net->rng, NET_GONE_LATE_S * 1000) * NS_PER_MS : 0;
	if (late)
		sim_at(x->sim, x->sim->now_ns + ns, say_gone, x, epoch);
	else
		say_gone(x->sim, x, epoch);
}

static void connect(struct sim *s, void *arg, uint64_t data)
{
	struct net_node *x = arg;
	if (x->open || !x->alive)
		return;
	if (!s->slot[SVC_RESOURCES].svc) {
		sim_at(s, s->now_ns + NS_PER_S, connect, x, 0);
		return;
	}
	x->open = true;
	x->epoch++;
	node_connected(&x->node, s->now_ns);
	schedule(x);
}

static void cut_ends(struct sim *s, void *arg, uint64_t epoch)
{
	struct net_node *x = arg;
	if (x->epoch != epoch)
		return;
	/* Both sides find out at last; the agent comes again. */
	end_stream(x, rng_below(&s->net->rng, 2));
	sim_at(s, s->now_ns + NS_PER_S, connect, x, 0);
}

/* ---- an agent's death ---- */

static void save_agent(struct net_node *x)
{
	struct node_alloc *copy = mem_alloc(x->node.n_allocs * sizeof(*copy));
	must(copy);
	memcpy(copy, x->node.allocs, x->node.n_allocs * sizeof(*copy));
	mem_free(x->saved.allocs);
	x->saved.allocs = copy;
	x->saved.n_allocs = x->node.n_allocs;
	x->saved.keys = x->node.keys;
	x->saved.seq = x->node.seq;
	memcpy(x->saved.boot, x->node.boot_id, sizeof(x->saved.boot));
}

/*
 * The agent that starts is one that was saved a while ago: an earlier boot, with the counters of then. They were
 * metered before, so from it not one joule may be; it must be brought to begin a new boot.
 */
static void relapse(struct net_node *x)
{
	struct node_alloc *copy = mem_alloc(x->saved.n_allocs * sizeof(*copy));
	must(copy);
	memcpy(copy, x->saved.allocs, x->saved.n_allocs * sizeof(*copy));
	for (size_t i = 0; i < x->saved.n_allocs; i++)
		copy[i].devices = i ? 0 : (uint32_t)x->node.n_devices; /* its devices begin free, as after any start */
	mem_free(x->node.allocs);
	x->node.allocs = copy;
	x->node.n_allocs = x->saved.n_allocs;
	x->node.keys = x->saved.keys;
	x->node.seq = x->saved.seq;
	memcpy(x->node.boot_id, x->saved.boot, sizeof(x->node.boot_id));
	memcpy(x->over_boot, x->saved.boot, sizeof(x->over_boot));
	x->sim->net->relapses++;
	sim_say(x->sim, "the agent of %s comes back as it was, with report %llu of boot %s", x->id,
		(unsigned long long)x->saved.seq, x->saved.boot);
}

/* The next agent starts when all that the dead one told has been taken, so that its joules can be accounted for. */
static void reborn(struct sim *s, void *arg, uint64_t data)
{
	struct net_node *x = arg;
	struct slot *t = &s->slot[SVC_RESOURCES];
	struct err err = { 0 };
	if (!t->svc || t->not_before_ns > s->now_ns || mailbox_size(svc_mailbox(t->svc)) || is_dark(x)) {
		sim_at(s, s->now_ns + NS_PER_S, reborn, x, 0);
		return;
	}
	int64_t before_j = watch_node_j(s, x->id), of_boot_j = before_j - x->told_before_j;
	size_t taken = x->n_told; /* reports of it, up to the one that was metered last */
	while (taken && x->told[taken - 1] != of_boot_j)
		taken--;
	bool known = of_boot_j == 0 || taken;
	/* A state hardly older than that is hardly told from an agent that was away for a moment, and costs a few joules.
	 */
	bool same = !strcmp(x->saved.boot, x->dead_boot);
	bool old_enough = x->saved.n_allocs && (!same || taken >= x->saved.seq + NET_RELAPSE_REPORTS);
	if (!known)
		sim_fail(s, "node %s: %lld J were metered of a boot that never told of so many (last told %lld J)", x->id,
			 (long long)of_boot_j, (long long)(x->n_told ? x->told[x->n_told - 1] : 0));
	sim_say(s, "a new agent on %s: %lld J metered so far, its predecessor told %lld J in %zu reports", x->id,
		(long long)before_j, (long long)(x->n_told ? x->told[x->n_told - 1] : 0), x->n_told);
	x->told_before_j = before_j;
	x->n_told = 0;
	x->told_j = 0;
	map_release(&x->counter);
	map_init(&x->counter);
	x->conf.seed = rng_u64(&s->net->rng);
	x->conf.start_ns = s->now_ns;
	x->boots++;
	x->programs = 0;
	if (node_init(&x->node, &x->conf, &err) < 0)
		sim_fail(s, "node %s cannot start: %s", x->id, err.text);
	x->alive = true;
	if (s->faults && old_enough && rng_below(&s->net->rng, 3) == 0)
		relapse(x);
	connect(s, x, 0);
}

static void kill_agent(struct net_node *x)
{
	struct sim *s = x->sim;
	if (!x->alive)
		return;
	s->net->deaths++;
	memcpy(x->dead_boot, x->node.boot_id, sizeof(x->dead_boot));
	end_stream(x, rng_below(&s->net->rng, 2));
	x->alive = false;
	x->tick++;
	node_release(&x->node);
	sim_at(s, s->now_ns + 5 * NS_PER_S + (int64_t)(60e9 * rng_exp(&s->net->rng)), reborn, x, 0);
}

/* ---- troubles ---- */

static void trouble(struct sim *s, void *arg, uint64_t data)
{
	struct net *net = s->net;
	struct net_node *x = &net->node[rng_below(&net->rng, net->n)];
	sim_at(s, s->now_ns + (int64_t)(NET_TROUBLE_S * 1e9 * rng_exp(&net->rng)), trouble, NULL, 0);
	if (!s->faults || !x->alive || !x->open)
		return;
	/* Of some a copy is kept that may come back one day: of this boot or of one long before. */
	if (x->node.seq && rng_below(&net->rng, 2))
		save_agent(x);
	uint64_t dice = rng_below(&net->rng, 10);
	int pace = s->opts.pace ? s->opts.pace : 1;
	if (dice < 4) {
		sim_say(s, "the stream of %s breaks", x->id);
		end_stream(x, true);
		sim_at(s, s->now_ns + (int64_t)(5e9 * rng_exp(&net->rng)), connect, x, 0);
	} else if (dice < 7) {
		/* One in ten for the better part of a day. */
		int64_t ns = (int64_t)((rng_below(&net->rng, 10) ? 40e9 * pace : 20 * 3600e9) * rng_exp(&net->rng));
		sim_say(s, "%s is cut off for %.1f s", x->id, (double)ns / 1e9);
		net->cuts++;
		x->cut = true;
		sim_at(s, s->now_ns + ns, cut_ends, x, x->epoch);
	} else {
		sim_say(s, "the agent of %s dies", x->id);
		kill_agent(x);
	}
}

void net_faults(struct sim *s)
{
	sim_at(s, s->now_ns + 120 * NS_PER_S, trouble, NULL, 0);
	feeders_faults(s);
}

void net_drop_all(struct sim *s)
{
	for (size_t i = 0; s->net && i < s->net->n; i++) {
		struct net_node *x = &s->net->node[i];
		end_stream(x, false);
		sim_at(s, s->now_ns + (int64_t)(1e9 + 4e9 * rng_double(&s->net->rng)), connect, x, 0);
	}
}

void net_settle(struct sim *s)
{
	feeders_settle(s);
	for (size_t i = 0; s->net && i < s->net->n; i++)
		if (s->net->node[i].cut)
			cut_ends(s, &s->net->node[i], s->net->node[i].epoch);
}

/* ---- setting up ---- */

static bool hangs_below(const struct net_node *x, const struct net_budget *level)
{
	return !strcmp(x->conf.facility, level->facility) && power_path_within(x->conf.feed, level->path);
}

int64_t net_power_w(const struct sim *s, const struct net_budget *level)
{
	int64_t sum = 0;
	for (size_t i = 0; i < s->net->n; i++)
		if (s->net->node[i].alive && hangs_below(&s->net->node[i], level))
			sum += node_power_w(&s->net->node[i].node);
	return sum;
}

static bool is_dark(const struct net_node *x)
{
	const struct sim *s = x->sim;
	for (size_t i = 0; i < s->n_budgets; i++)
		if (s->net->level[i].dark && hangs_below(x, &s->budget[i]))
			return true;
	return false;
}

void net_go_dark(struct sim *s, size_t level)
{
	for (size_t i = 0; i < s->net->n; i++)
		if (hangs_below(&s->net->node[i], &s->budget[level]))
			kill_agent(&s->net->node[i]);
}

void net_start(struct sim *s, const struct net_fleet *fleet, size_t n, const struct fleet_rules *rules)
{
	struct net *net = s->net = mem_calloc(1, sizeof(*net));
	struct err err = { 0 };
	must(net && n <= NET_NODES_MAX);
	net->sim = s;
	net->n = n;
	list_init(&net->flying);
	rng_init(&net->rng, s->opts.seed ^ 0x6e6574);
	for (size_t i = 0; i < n; i++) {
		struct net_node *x = &net->node[i];
		x->sim = s;
		map_init(&x->counter);
		snprintf(x->id, sizeof(x->id), "%s", fleet[i].id);
		x->conf = (struct node_conf){
			.id = x->id,
			.name = x->id,
			.facility = fleet[i].facility,
			.region = "us",
			.feed = fleet[i].feed ? fleet[i].feed : "",
			.program = "count",
			.cls = device_class_find(str_of(fleet[i].class_name)),
			.n_devices = (size_t)fleet[i].devices,
			.seed = rng_u64(&net->rng),
			.start_ns = s->now_ns,
			.phase_ms = (uint32_t)(i * 137 % 2000),
			.rules = *rules,
		};
		if (node_init(&x->node, &x->conf, &err) < 0)
			sim_fail(s, "node %s cannot start: %s", x->id, err.text);
		x->alive = true;
		connect(s, x, 0);
	}
}

void net_free(struct net *net)
{
	if (!net)
		return;
	list_each_safe(l, tmp, &net->flying)
		mem_free(list_entry(l, struct flight, link));
	for (size_t i = 0; i < net->n; i++) {
		if (net->node[i].alive)
			node_release(&net->node[i].node);
		mem_free(net->node[i].told);
		map_release(&net->node[i].counter);
		mem_free(net->node[i].saved.allocs);
	}
	mem_free(net);
}

void net_check_joules(struct sim *s)
{
	for (size_t i = 0; i < s->net->n; i++) {
		struct net_node *x = &s->net->node[i];
		int64_t metered = watch_node_j(s, x->id), told = x->n_told ? x->told[x->n_told - 1] : 0;
		int64_t before = x->n_told > 1 ? x->told[x->n_told - 2] : 0;
		/* The very last report may still be on its way. */
		if (metered != x->told_before_j + told && metered != x->told_before_j + before)
			sim_fail(s, "node %s: %lld J were metered, %lld J were told", x->id, (long long)metered,
				 (long long)(x->told_before_j + told));
	}
}
