#include "sim/health_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim/inlet.h"

#define S_NS INT64_C(1000000000)
#define H_NS (3600 * S_NS)

/* Devices that share their air, as those of a container or a server do. */
enum { NODE_ASICS = 50, NODE_GPUS = 8, LEARN_STEPS = 64 };

const enum fleet_fault health_report_fault[HEALTH_REPORT_KINDS] = { FLEET_FAN_LOST, FLEET_BOARD_LOST, FLEET_RUNAWAY,
	FLEET_FROZEN, FLEET_MEMORY_LEAK };

struct subject {
	struct fleet_device d;
	struct health_device health;
	struct health_window window;
	int64_t next_work_ns;
	int64_t broken_ns;   /* 0: well */
	int64_t next_fault_ns;
	bool busy;
	uint8_t strange;     /* minutes that the one model that judges has called it so */
};

struct run {
	struct health_report *r;
	struct health *health;
	struct subject *s;   /* owned */
	size_t n;
	struct rng rng;
	float *delay[2][HEALTH_REPORT_KINDS]; /* owned, s */
};

void health_report_default(struct health_report_conf *c)
{
	*c = (struct health_report_conf){ .seed = 1, .asics = 600, .gpus = 400, .from_ns = INT64_C(1746057600) * S_NS,
		.learn_days = 3, .days = 14, .faults_day = 0.1 };
	health_conf_default(&c->health);
}

const char *health_report_judge_name(enum health_report_judge j)
{
	static const char *const name[HEALTH_REPORT_JUDGE_END] = { "rule", "charts", "forest", "autoencoder" };
	return (unsigned)j < HEALTH_REPORT_JUDGE_END ? name[j] : NULL;
}

bool health_report_moves(enum fleet_fault f, enum health_signal s)
{
	static const unsigned moves[FLEET_FAULT_END] = {
		[FLEET_FAN_LOST] = 1U << HEALTH_HEAT | 1U << HEALTH_FAN,
		[FLEET_BOARD_LOST] = 1U << HEALTH_HASH | 1U << HEALTH_POWER | 1U << HEALTH_ERRORS,
		[FLEET_RUNAWAY] = 1U << HEALTH_HEAT | 1U << HEALTH_FAN | 1U << HEALTH_POWER | 1U << HEALTH_HASH |
			1U << HEALTH_ERRORS,
		[FLEET_FROZEN] = 1U << HEALTH_SENSOR | 1U << HEALTH_HEAT | 1U << HEALTH_FAN,
		[FLEET_MEMORY_LEAK] = 1U << HEALTH_MEMORY,
	};
	return moves[f] >> s & 1;
}

/* What somebody who reads only the signal's name would look for. */
static size_t suggests(enum health_signal s)
{
	static const uint8_t kind[HEALTH_SIGNAL_END] = { [HEALTH_FAN] = 0, [HEALTH_POWER] = 1, [HEALTH_HASH] = 1,
		[HEALTH_ERRORS] = 1, [HEALTH_HEAT] = 2, [HEALTH_SENSOR] = 3, [HEALTH_MEMORY] = 4 };
	return kind[s];
}

/* ---- the fleet ---- */

static bool is_asic(const struct subject *s)
{
	return s->d.cls->kind == DEVICE_ASIC;
}

static void order(struct run *x, struct subject *s, enum device_mode m, int64_t now_ns)
{
	static const struct fleet_rules honest;
	(void)!fleet_device_order(&s->d, &honest, &x->rng, m, 0, now_ns); /* only modes that the class has */
}

static void work(struct run *x, struct subject *s, int64_t now_ns)
{
	double u = rng_double(&x->rng);
	if (now_ns < s->next_work_ns)
		return;
	if (is_asic(s)) {
		bool mines = s->d.mode == DEVICE_FILL;
		order(x, s, mines ? DEVICE_IDLE : DEVICE_FILL, now_ns);
		s->next_work_ns = now_ns + (int64_t)((mines ? 1 + u : 14 + 16 * u) * (double)H_NS);
		return;
	}
	order(x, s, u < 0.7 ? DEVICE_SERVE : u < 0.9 ? DEVICE_FILL : DEVICE_IDLE, now_ns);
	s->busy = u < 0.6;
	s->next_work_ns = now_ns + (int64_t)((0.5 + 4 * rng_exp(&x->rng)) * (double)H_NS);
}

static int64_t fault_in(struct run *x)
{
	double days = rng_exp(&x->rng) / x->r->conf.faults_day;
	return (int64_t)(days * 24 * (double)H_NS) + H_NS;
}

static size_t fault_kind(struct run *x, const struct subject *s)
{
	for (;;) {
		size_t k = (size_t)rng_below(&x->rng, HEALTH_REPORT_KINDS);
		enum fleet_fault f = health_report_fault[k];
		if (is_asic(s) ? f != FLEET_MEMORY_LEAK : f != FLEET_BOARD_LOST)
			return k;
	}
}

static size_t kind_of(const struct subject *s)
{
	size_t k = 0;
	while (health_report_fault[k] != s->d.fault)
		k++;
	return k;
}

static void mend(struct run *x, struct subject *s, int64_t now_ns)
{
	s->broken_ns = 0;
	s->next_fault_ns = now_ns + fault_in(x);
	s->d.repaired_ns = now_ns;
	health_device_mend(&s->health);
}

static void faults(struct run *x, struct subject *s, int64_t now_ns)
{
	struct health_report_score *score = x->r->score[!is_asic(s)];
	if (s->broken_ns) {
		if (now_ns - s->broken_ns > HEALTH_REPORT_MISSED_H * H_NS)
			mend(x, s, now_ns);
		return;
	}
	/* One that stands still shows nothing: it breaks at work. */
	if (now_ns < s->next_fault_ns || s->d.fault || now_ns - s->d.changed_ns < H_NS ||
	    (s->d.mode != DEVICE_FILL && s->d.mode != DEVICE_SERVE))
		return;
	size_t k = fault_kind(x, s);
	fleet_device_break(&s->d, health_report_fault[k], rng_double(&x->rng), INT64_MAX);
	s->broken_ns = now_ns;
	score[k].injected++;
}

/* ---- what health says ---- */

static void found(struct run *x, struct subject *s, const struct health_finding *f, int64_t now_ns)
{
	size_t asic = !is_asic(s), k = kind_of(s);
	struct health_report_score *score = &x->r->score[asic][k];
	if (score->found < HEALTH_REPORT_FAULTS_MAX)
		x->delay[asic][k][score->found] = (float)((double)(now_ns - s->broken_ns) / 1e9);
	score->found++;
	score->named += health_report_moves(health_report_fault[k], f->signal);
	score->by[0] += (f->by & (HEALTH_BY_CHART | HEALTH_BY_SENSOR)) != 0;
	score->by[1] += (f->by & HEALTH_BY_FOREST) != 0;
	score->by[2] += (f->by & HEALTH_BY_AUTOENCODER) != 0;
	mend(x, s, now_ns);
}

/* A model by itself; the finding is the chart that is furthest from normal. */
static bool judge_alone(struct run *x, struct subject *s, struct health_finding *f)
{
	uint8_t bit = x->r->conf.judge == HEALTH_REPORT_FOREST ? HEALTH_BY_FOREST : HEALTH_BY_AUTOENCODER;
	float most = -1;
	*f = (struct health_finding){ .by = bit };
	for (int k = 0; k < HEALTH_SIGNALS; k++) {
		if (fabsf(s->health.chart[k].ewma) > most) {
			most = fabsf(s->health.chart[k].ewma);
			f->signal = (enum health_signal)k;
		}
	}
	s->strange = s->health.strange & bit ? (uint8_t)(s->strange + 1) : 0;
	if (s->strange < HEALTH_REPORT_ALONE_MIN)
		return false;
	s->strange = 0;
	return true;
}

static void judge(struct run *x, struct subject *s, bool sick, const struct health_finding *f, int64_t now_ns)
{
	size_t asic = !is_asic(s);
	if (!sick)
		return;
	x->r->alarms[asic]++;
	if (s->broken_ns) {
		found(x, s, f, now_ns);
		return;
	}
	x->r->false_alarms[asic]++;
	x->r->score[asic][suggests(f->signal)].false_alarms++;
	health_device_mend(&s->health);
}

static void sample(struct run *x, struct subject *s, float inlet_c, int64_t now_ns)
{
	struct health_finding f;
	bool sick = false;
	float memory = (float)fleet_device_memory_gib(&s->d);
	struct health_sample v = { .at_ns = now_ns, .mode = (enum device_mode)s->d.gate,
		.power_w = roundf((float)s->d.power_mw / 1000), .hash_ths = s->d.hash_ths,
		.temperature_c = roundf(s->d.sensor_c), .inlet_c = inlet_c,
		.utilisation = s->d.mode == DEVICE_SERVE ? s->d.load : s->d.hash_ths > 0,
		.fan = roundf(100 * s->d.duty) / 100, .memory_gib = memory > 0 ? memory : NAN, .errors = s->d.errors };
	if (!health_take(x->health, s->d.cls, &s->health, &s->window, &v, &sick, &f))
		return;
	if (x->r->conf.judge >= HEALTH_REPORT_FOREST)
		sick = judge_alone(x, s, &f);
	judge(x, s, sick, &f, now_ns);
}

/* ---- the run ---- */

static int start(struct run *x, struct err *err)
{
	const struct health_report_conf *c = &x->r->conf;
	if (c->asics + c->gpus == 0 || c->asics + c->gpus > HEALTH_REPORT_DEVICES_MAX)
		return err_set(err, HCP_ERANGE, "devices", "1 to %d devices", HEALTH_REPORT_DEVICES_MAX);
	if (c->learn_days < 0 || c->days < 1 || c->days > 3660 || !(c->faults_day > 0))
		return err_set(err, HCP_ERANGE, "days", "1 to 3660 days with faults");
	struct health_conf health = c->health;
	if (c->judge == HEALTH_REPORT_CHARTS)
		health.forest_minutes = health.shapes_minutes = 0;
	health.ask_always |= c->judge >= HEALTH_REPORT_FOREST;
	x->n = c->asics + c->gpus;
	x->s = mem_calloc(x->n, sizeof(*x->s));
	x->health = health_new(&health);
	bool ok = x->s && x->health;
	for (size_t k = 0; k < 2 * HEALTH_REPORT_KINDS; k++) {
		float **delay = &x->delay[k / HEALTH_REPORT_KINDS][k % HEALTH_REPORT_KINDS];
		*delay = mem_alloc(HEALTH_REPORT_FAULTS_MAX * sizeof(**delay));
		ok &= *delay != NULL;
	}
	if (!ok)
		return err_set(err, HCP_ENOMEM, "", "no memory for the devices");
	rng_init(&x->rng, c->seed);
	for (size_t i = 0; i < x->n; i++) {
		struct subject *s = &x->s[i];
		bool asic = i < c->asics;
		fleet_device_init(&s->d, device_class_find(asic ? STR("S21") : STR("H100")), DEVICE_IDLE, c->from_ns);
		fleet_device_vary(&s->d, &x->rng);
		health_device_init(&s->health);
		order(x, s, asic ? DEVICE_FILL : DEVICE_SERVE, c->from_ns);
		s->next_work_ns = c->from_ns + (int64_t)(rng_double(&x->rng) * 24 * (double)H_NS);
		s->next_fault_ns = c->from_ns + c->learn_days * 24 * H_NS + fault_in(x);
	}
	return 0;
}

static void step(struct run *x, struct inlet air[2], size_t first, size_t n, int64_t now_ns)
{
	static const struct fleet_rules rules;
	struct fleet_step fs;
	int kind = !is_asic(&x->s[first]);
	float place_k = (float)(first % 7) * 0.4F - 1.2F, inlet_c = inlet_at(&air[kind], now_ns) + place_k;
	fleet_step_init(&fs, &rules, inlet_c, now_ns, HEALTH_REPORT_STEP_S * S_NS);
	for (size_t i = first; i < first + n; i++) {
		struct subject *s = &x->s[i];
		work(x, s, now_ns);
		faults(x, s, now_ns);
		(void)fleet_device_step(&s->d, &fs, &x->rng, s->busy);
		sample(x, s, roundf(inlet_c * 10) / 10, now_ns);
	}
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return x < y ? -1 : x > y;
}

static void settle(struct run *x)
{
	struct health_report *r = x->r;
	double years = r->conf.days / 365.2425;
	r->device_years[0] = (double)r->conf.asics * years;
	r->device_years[1] = (double)r->conf.gpus * years;
	r->stats = health_stats(x->health);
	for (size_t i = 0; i < 2 * HEALTH_REPORT_KINDS; i++) {
		struct health_report_score *s = &r->score[i / HEALTH_REPORT_KINDS][i % HEALTH_REPORT_KINDS];
		float *delay = x->delay[i / HEALTH_REPORT_KINDS][i % HEALTH_REPORT_KINDS];
		size_t n = s->found < HEALTH_REPORT_FAULTS_MAX ? s->found : HEALTH_REPORT_FAULTS_MAX;
		qsort(delay, n, sizeof(*delay), compare);
		s->delay_p50_s = n ? (double)delay[n / 2] : 0;
		s->delay_p90_s = n ? (double)delay[n * 9 / 10] : 0;
		/* A fault that had no time to be found by the end counts neither way. */
	}
	for (size_t i = 0; i < x->n; i++)
		if (x->s[i].broken_ns)
			r->score[!is_asic(&x->s[i])][kind_of(&x->s[i])].injected--;
}

/* Alarms of the days of learning do not count. */
static void forget(struct run *x)
{
	memset(x->r->score, 0, sizeof(x->r->score));
	memset(x->r->alarms, 0, sizeof(x->r->alarms));
	memset(x->r->false_alarms, 0, sizeof(x->r->false_alarms));
}

static int pass(struct run *x, health_report_progress *progress, void *arg)
{
	const struct health_report_conf *c = &x->r->conf;
	struct inlet air[2];
	int64_t learn_s = c->learn_days * INT64_C(86400), all_s = learn_s + c->days * INT64_C(86400);
	inlet_init(&air[0], DEVICE_ASIC, "report", 0);
	inlet_init(&air[1], DEVICE_GPU, "report", 0);
	for (int64_t t = HEALTH_REPORT_STEP_S; t <= all_s; t += HEALTH_REPORT_STEP_S) {
		int64_t now_ns = c->from_ns + t * S_NS;
		for (size_t i = 0; i < x->n;) {
			size_t end = i < c->asics ? c->asics : x->n, most = i < c->asics ? NODE_ASICS : NODE_GPUS;
			size_t n = end - i < most ? end - i : most;
			step(x, air, i, n, now_ns);
			i += n;
		}
		if (t == learn_s)
			forget(x);
		if (t % 600 == 0 && health_learn(x->health, now_ns, LEARN_STEPS) < 0)
			return HCP_ENOMEM;
		if (progress && t % 86400 == 0)
			progress(arg, (double)t / (double)all_s);
	}
	return 0;
}

int health_report_run(struct health_report *r, health_report_progress *progress, void *arg, struct err *err)
{
	struct run x = { .r = r };
	struct health_report_conf conf = r->conf;
	*r = (struct health_report){ .conf = conf };
	int rc = start(&x, err);
	if (rc == 0 && pass(&x, progress, arg) < 0)
		rc = err_set(err, HCP_ENOMEM, "", "no memory for the models");
	if (rc == 0)
		settle(&x);
	for (size_t k = 0; k < 2 * HEALTH_REPORT_KINDS; k++)
		mem_free(x.delay[k / HEALTH_REPORT_KINDS][k % HEALTH_REPORT_KINDS]);
	mem_free(x.s);
	health_free(x.health);
	return rc;
}
