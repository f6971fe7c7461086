#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "base/num.h"
#include "model/allocation.h"
#include "model/device.h"
#include "model/device_class.h"
#include "model/mig.h"
#include "model/switch.h"
#include "model/workload.h"

#define T0 (INT64_C(1700000000) * NS_PER_S)

static void workload_table_has_exactly_these_moves(void **state)
{
	/* Written out apart from the table in the source: state, event, next. */
	static const int allowed[][3] = {
		{ 0, 0, 1 },
		{ 0, 2, 3 },
		{ 0, 5, 5 },
		{ 0, 6, 6 },
		{ 1, 1, 2 },
		{ 1, 2, 3 },
		{ 1, 5, 5 },
		{ 1, 6, 6 },
		{ 1, 7, 0 },
		{ 2, 2, 3 },
		{ 2, 4, 4 },
		{ 2, 5, 5 },
		{ 2, 6, 6 },
		{ 2, 7, 0 },
		{ 3, 3, 0 },
		{ 3, 5, 5 },
		{ 3, 6, 6 },
	};
	size_t seen = 0;
	for (int s = 0; s < WORKLOAD_STATE_END; s++) {
		for (int e = 0; e < WORKLOAD_EVENT_END; e++) {
			int want = -1;
			for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
				if (allowed[i][0] == s && allowed[i][1] == e)
					want = allowed[i][2];
			}
			enum workload_state next = 99;
			int r = workload_next((enum workload_state)s, (enum workload_event)e, &next, NULL);
			if (want < 0) {
				assert_int_equal(r, HCP_ESTATE);
				assert_int_equal(next, 99);
			} else {
				assert_int_equal(r, 0);
				assert_int_equal(next, want);
				seen++;
			}
			if (workload_state_is_final((enum workload_state)s))
				assert_int_equal(r, HCP_ESTATE);
		}
	}
	assert_int_equal(seen, sizeof(allowed) / sizeof(allowed[0]));
	enum workload_state x;
	assert_int_equal(workload_next(7, 0, &x, NULL), HCP_EINVAL);
	assert_int_equal(workload_next(0, 8, &x, NULL), HCP_EINVAL);
}

static void refused_move_names_state_and_choice(void **state)
{
	static const struct {
		enum workload_state state;
		enum workload_event event;
		const char *text;
	} rows[] = {
		{ WORKLOAD_RUNNING, WORKLOAD_EV_RESUME, "a workload that is running cannot resume: it can pause or cancel" },
		{ WORKLOAD_QUEUED, WORKLOAD_EV_RESUME, "a workload that is queued cannot resume: it can pause or cancel" },
		{ WORKLOAD_PAUSED, WORKLOAD_EV_PAUSE, "a workload that is paused cannot pause: it can resume or cancel" },
		{ WORKLOAD_COMPLETED, WORKLOAD_EV_PAUSE, "a workload that is completed cannot pause: that state is final" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum workload_state next;
		struct err err = { 0 };
		assert_int_equal(workload_next(rows[i].state, rows[i].event, &next, &err), HCP_ESTATE);
		assert_string_equal(err.field, "state");
		assert_string_equal(err.text, rows[i].text);
	}
	assert_false(workload_state_holds_devices(WORKLOAD_PAUSED));
	assert_true(workload_state_holds_devices(WORKLOAD_RUNNING));
}

static void names_go_both_ways(void **state)
{
	for (int i = 1; i < WORKLOAD_TYPE_END; i++) {
		enum workload_type t = 0;
		assert_int_equal(workload_type_parse(str_of(workload_type_name((enum workload_type)i)), &t), 0);
		assert_int_equal(t, i);
		assert_int_equal(workload_class_of(t), i);
	}
	for (int i = 0; i < WORKLOAD_STATE_END; i++) {
		enum workload_state s = 0;
		assert_int_equal(workload_state_parse(str_of(workload_state_name((enum workload_state)i)), &s), 0);
		assert_int_equal(s, i);
	}
	for (int i = 0; i < DEVICE_STATE_END; i++) {
		enum device_state s = 0;
		assert_int_equal(device_state_parse(str_of(device_state_name((enum device_state)i)), &s), 0);
		assert_int_equal(s, i);
	}
	for (int i = 0; i < SWITCH_PHASE_END; i++) {
		enum switch_phase p = 0;
		assert_int_equal(switch_phase_parse(str_of(switch_phase_name((enum switch_phase)i)), &p), 0);
		assert_int_equal(p, i);
	}
	enum workload_type t = 77;
	assert_int_equal(workload_type_parse(STR("ai_inference"), &t), HCP_EINVAL);
	assert_int_equal(workload_type_parse(STR(""), &t), HCP_EINVAL);
	assert_int_equal(t, 77);
	assert_null(workload_type_name(0));
	assert_null(workload_type_name(5));
	assert_string_equal(workload_class_name(WORKLOAD_P1), "P1");
	assert_int_equal(workload_wait_target_ns(WORKLOAD_P1), 100000000);
	assert_int_equal(workload_wait_target_ns(WORKLOAD_P2), 300 * NS_PER_S);
	assert_int_equal(workload_wait_target_ns(WORKLOAD_P3), 1800 * NS_PER_S);
	assert_int_equal(workload_wait_target_ns(WORKLOAD_P4), 0);
}

static struct workload_spec good_spec(void)
{
	return (struct workload_spec){
		.name = STR("chat"),
		.model_id = STR("llama-70b"),
		.gpu_type = STR("H100"),
		.type = WORKLOAD_AI_INFERENCE_REALTIME,
		.priority = 1,
		.gpu_count = 8,
		.memory_gib = 640,
		.max_latency_ms = 100,
		.callback_url = STR("https://customer.example/cb"),
	};
}

static void expect_field(const struct workload_spec *w, int code, const char *field)
{
	struct err err = { 0 };
	assert_int_equal(workload_validate(w, T0, &err), code);
	assert_string_equal(err.field, field);
	assert_true(err.text[0] != 0);
}

static void submission_errors_name_the_field(void **state)
{
	struct workload_spec w = good_spec();
	assert_int_equal(workload_validate(&w, T0, NULL), 0);
#define BREAK(change, code, field) \
	do { \
		w = good_spec(); \
		change; \
		expect_field(&w, code, field); \
	} while (0)
	BREAK(w.type = 0, HCP_EINVAL, "type");
	BREAK(w.type = 5, HCP_EINVAL, "type");
	BREAK(w.priority = 11, HCP_ERANGE, "priority");
	BREAK(w.priority = -1, HCP_ERANGE, "priority");
	BREAK(w.gpu_count = 4097, HCP_ERANGE, "gpu_count");
	BREAK(w.gpu_count = -1, HCP_ERANGE, "gpu_count");
	BREAK(w.gpu_count = 0, HCP_EINVAL, "gpu_count");
	BREAK(w.memory_gib = 641, HCP_ERANGE, "memory_gib");
	BREAK(w.gpu_type = STR("H1000"), HCP_ENOTFOUND, "gpu_type");
	BREAK(w.gpu_type = STR("S21"), HCP_EINVAL, "gpu_type");
	BREAK(w.model_id = (struct str){ 0 }, HCP_EINVAL, "model_id");
	BREAK(w.callback_url = STR("file:///etc/passwd"), HCP_EINVAL, "callback_url");
	BREAK(w.name = STR("a\nb"), HCP_EINVAL, "name");
	BREAK(w.region = STR("us tx"), HCP_EINVAL, "region");
	BREAK(w.deadline_ns = T0, HCP_ERANGE, "deadline");
	BREAK((w.deadline_ns = T0 + NS_PER_S, w.duration_s = 2), HCP_ERANGE, "deadline");
	BREAK(w.duration_s = WORKLOAD_DURATION_S_MAX + 1, HCP_ERANGE, "duration_s");
	BREAK(w.gpu_fraction_milli = 500, HCP_EINVAL, "gpu_fraction_milli");
	BREAK(w.gpu_fraction_milli = 1001, HCP_ERANGE, "gpu_fraction_milli");
	BREAK(w.spot = true, HCP_EINVAL, "spot");
	BREAK(w.type = WORKLOAD_AI_INFERENCE_BATCH, HCP_EINVAL, "max_latency_ms");
	BREAK(w.max_price_micros_h = -1, HCP_ERANGE, "max_price_micros_h");
#undef BREAK
	char big[WORKLOAD_NAME_MAX + 1];
	memset(big, 'a', sizeof(big));
	w = good_spec();
	w.name = (struct str){ big, sizeof(big) };
	expect_field(&w, HCP_ERANGE, "name");
	w.name.n--;
	assert_int_equal(workload_validate(&w, T0, NULL), 0);
	w = (struct workload_spec){ .type = WORKLOAD_MODEL_TRAINING };
	expect_field(&w, HCP_EINVAL, "gpu_count");
	w = (struct workload_spec){ .type = WORKLOAD_BITCOIN_MINING, .gpu_type = STR("s21") };
	assert_int_equal(workload_validate(&w, T0, NULL), 0);
}

static void device_table_keeps_its_promises(void **state)
{
	for (int s = 0; s < DEVICE_STATE_END; s++) {
		enum device_state n = 99;
		int r = device_next((enum device_state)s, DEVICE_EV_FAIL, &n, NULL);
		assert_int_equal(r, s == DEVICE_ST_FAILED ? HCP_ESTATE : 0);
		/* Only an idle device can be given away: no device with two owners. */
		r = device_next((enum device_state)s, DEVICE_EV_ASSIGN, &n, NULL);
		assert_int_equal(r, s == DEVICE_ST_IDLE ? 0 : HCP_ESTATE);
		/* Nobody works on a device that a workload uses. */
		r = device_next((enum device_state)s, DEVICE_EV_MAINTAIN, &n, NULL);
		assert_int_equal(r == 0, s == DEVICE_ST_IDLE || s == DEVICE_ST_DRAINING || s == DEVICE_ST_FAILED);
	}
	static const int path[][2] = {
		{ DEVICE_EV_ASSIGN, DEVICE_ST_ALLOCATING }, { DEVICE_EV_START, DEVICE_ST_ACTIVE },
		{ DEVICE_EV_DRAIN, DEVICE_ST_DRAINING }, { DEVICE_EV_RELEASE, DEVICE_ST_IDLE },
		{ DEVICE_EV_ASSIGN, DEVICE_ST_ALLOCATING }, { DEVICE_EV_ABORT, DEVICE_ST_IDLE },
		{ DEVICE_EV_MAINTAIN, DEVICE_ST_MAINTENANCE }, { DEVICE_EV_REPAIR, DEVICE_ST_IDLE },
		{ DEVICE_EV_FAIL, DEVICE_ST_FAILED }, { DEVICE_EV_MAINTAIN, DEVICE_ST_MAINTENANCE },
	};
	enum device_state at = DEVICE_ST_IDLE;
	for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++) {
		assert_int_equal(device_next(at, (enum device_event)path[i][0], &at, NULL), 0);
		assert_int_equal(at, path[i][1]);
	}
}

static void an_acknowledgement_is_never_proof(void **state)
{
	const struct device_class *s21 = device_class_find(STR("S21"));
	struct device_tolerance tol;
	device_tolerance_default(&tol);
	struct device_control ctl = { .commanded = DEVICE_FILL };
	device_command(&ctl, DEVICE_IDLE, 0, T0);
	ctl.acked = true;
	/* It said OK and mines on. */
	struct device_actual a = { .measured_at_ns = T0 + 5 * NS_PER_S, .power_w = 3480, .hash_ths = 199,
		.power_measured = true };
	struct device_finding f = device_confirm(s21, &ctl, &a, &tol, T0 + 5 * NS_PER_S);
	assert_int_equal(f.verdict, DEVICE_PENDING);
	assert_int_equal(f.reason, DEVICE_DRIFT_STILL_HASHING);
	a.measured_at_ns = T0 + 40 * NS_PER_S;
	f = device_confirm(s21, &ctl, &a, &tol, T0 + 40 * NS_PER_S);
	assert_int_equal(f.verdict, DEVICE_DRIFTED);
	device_apply_finding(&ctl, &f, T0 + 40 * NS_PER_S);
	assert_true(ctl.drifted);
	assert_int_equal(ctl.confirmed_at_ns, 0);
	/* The hash rate is gone, but watts are not. */
	a.hash_ths = 0;
	f = device_confirm(s21, &ctl, &a, &tol, T0 + 40 * NS_PER_S);
	assert_int_equal(f.reason, DEVICE_DRIFT_POWER_HIGH);
	/* Its own estimate of watts proves nothing. */
	a.power_w = 80;
	a.power_measured = false;
	f = device_confirm(s21, &ctl, &a, &tol, T0 + 40 * NS_PER_S);
	assert_int_equal(f.reason, DEVICE_DRIFT_POWER_UNMEASURED);
	a.power_measured = true;
	f = device_confirm(s21, &ctl, &a, &tol, T0 + 40 * NS_PER_S);
	assert_int_equal(f.verdict, DEVICE_CONFIRMED);
	device_apply_finding(&ctl, &f, T0 + 40 * NS_PER_S);
	assert_int_equal(ctl.confirmed, DEVICE_IDLE);
	assert_false(ctl.drifted);
	/* A miner that comes back in the middle of a curtailment has drifted at once. */
	a = (struct device_actual){ .measured_at_ns = T0 + 41 * NS_PER_S, .power_w = 3480, .hash_ths = 199,
		.power_measured = true };
	f = device_confirm(s21, &ctl, &a, &tol, T0 + 41 * NS_PER_S);
	assert_int_equal(f.verdict, DEVICE_DRIFTED);
}

static void mining_and_serving_need_their_own_proof(void **state)
{
	const struct device_class *s21 = device_class_find(STR("S21")), *h100 = device_class_find(STR("H100"));
	struct device_tolerance tol;
	device_tolerance_default(&tol);
	struct device_control ctl = { 0 };
	device_command(&ctl, DEVICE_FILL, 0, T0);
	struct device_actual a = { .measured_at_ns = T0, .power_w = 3500, .hash_ths = 200, .power_measured = true };
	/* A sample from before the order. */
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 1).reason, DEVICE_DRIFT_NO_SAMPLE);
	a.measured_at_ns = T0 + 1;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).verdict, DEVICE_CONFIRMED);
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 16 * NS_PER_S).reason, DEVICE_DRIFT_STALE);
	a.hash_ths = 169;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_HASH_LOW);
	a.hash_ths = 200;
	a.power_w = 2000;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_POWER_LOW);
	a.power_w = -1;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_INVALID);
	a.power_w = NAN;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_INVALID);
	/* A power target: fewer watts, and fewer hashes suffice. */
	device_command(&ctl, DEVICE_FILL, 2450, T0);
	a.power_w = 2450;
	a.hash_ths = 140;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).verdict, DEVICE_CONFIRMED);
	a.power_w = 3500;
	assert_int_equal(device_confirm(s21, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_POWER_HIGH);

	device_command(&ctl, DEVICE_SERVE, 0, T0);
	a = (struct device_actual){ .measured_at_ns = T0 + 1, .power_w = 300, .power_measured = true };
	assert_int_equal(device_confirm(h100, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_NOT_SERVING);
	a.served = 1;
	assert_int_equal(device_confirm(h100, &ctl, &a, &tol, T0 + 2).verdict, DEVICE_CONFIRMED);
	a.served = 0;
	a.health_ok = true;
	assert_int_equal(device_confirm(h100, &ctl, &a, &tol, T0 + 2).verdict, DEVICE_CONFIRMED);
	a.hash_ths = h100->fill_ths;
	assert_int_equal(device_confirm(h100, &ctl, &a, &tol, T0 + 2).reason, DEVICE_DRIFT_STILL_HASHING);
}

static void catalogue_is_sound(void **state)
{
	for (size_t i = 0; i < device_class_count(); i++) {
		const struct device_class *c = device_class_at(i);
		assert_ptr_equal(device_class_find(str_of(c->name)), c);
		assert_int_equal(device_class_index(c), i);
		assert_non_null(device_kind_name(c->kind));
		assert_true(c->power_w[DEVICE_SERVE] >= c->power_w[DEVICE_IDLE]);
		assert_true(c->power_w[DEVICE_FILL] > c->power_w[DEVICE_IDLE]);
		assert_true(c->power_w[DEVICE_IDLE] >= c->power_w[DEVICE_SAFE]);
		assert_true(c->power_w[DEVICE_OFF] == 0);
		assert_true(c->wear_usd_h > 0);
		/* The physics that the sources had wrong: a GPU mines thousands of times worse per joule. */
		if (c->kind == DEVICE_GPU)
			assert_true(device_class_j_per_th(c) > 1000 * 17.5);
	}
	assert_null(device_class_at(device_class_count()));
	assert_null(device_class_find(STR("GTX")));
	assert_true(device_class_fill_mhs(device_class_find(STR("4090"))) == 10000);
}

/* Every ASIC of the catalogue has the figures of the reference table. */
static void asics_match_the_reference(void **state)
{
	char path[1024], line[512];
	const char *dir = getenv("HCP_DATA");
	snprintf(path, sizeof(path), "%s/asic_reference.csv", dir ? dir : HCP_DATA_DEFAULT);
	FILE *f = fopen(path, "r");
	if (!f) {
		print_message("skipped: no %s\n", path);
		skip();
	}
	size_t matched = 0;
	while (fgets(line, sizeof(line), f)) {
		struct str rest = str_of(line), maker = str_split(&rest, ','), model = str_split(&rest, ',');
		struct str ths = str_split(&rest, ','), watts = str_split(&rest, ',');
		for (size_t i = 0; i < device_class_count(); i++) {
			const struct device_class *c = device_class_at(i);
			double v;
			if (maker.n == 0 || c->kind != DEVICE_ASIC || !str_eqz(model, c->product))
				continue;
			assert_int_equal(num_parse_double(ths, &v), 0);
			assert_true(v == c->fill_ths);
			assert_int_equal(num_parse_double(watts, &v), 0);
			assert_true(v == c->power_w[DEVICE_FILL]);
			matched++;
		}
	}
	fclose(f);
	assert_int_equal(matched, 7);
}

static void a_switch_always_ends(void **state)
{
	enum switch_phase p = SWITCH_VALIDATE;
	static const int order[] = { SWITCH_PAUSE, SWITCH_SAVE, SWITCH_SWITCH, SWITCH_ACTIVATE, SWITCH_VERIFY,
		SWITCH_COMMIT };
	for (size_t i = 0; i < 6; i++) {
		assert_true(switch_deadline_ns(p, 5) > 0);
		assert_int_equal(switch_next(p, SWITCH_EV_DONE, &p, NULL), 0);
		assert_int_equal(p, order[i]);
	}
	assert_int_equal(switch_next(p, SWITCH_EV_FAIL, &p, NULL), HCP_ESTATE);
	/* From every phase, failing on ends in at most two steps, and nothing that touched a device skips the undo. */
	for (int s = 0; s < SWITCH_PHASE_END; s++) {
		if (switch_phase_is_final((enum switch_phase)s))
			continue;
		enum switch_phase n;
		assert_int_equal(switch_next((enum switch_phase)s, SWITCH_EV_TIMEOUT, &n, NULL), 0);
		if (s == SWITCH_VALIDATE || s == SWITCH_ROLLING_BACK) {
			assert_int_equal(n, SWITCH_FAILED);
		} else {
			assert_int_equal(n, SWITCH_ROLLING_BACK);
			assert_true(switch_phase_row((enum switch_phase)s)->undo != SWITCH_UNDO_NONE);
			assert_int_equal(switch_next(n, SWITCH_EV_DONE, &n, NULL), 0);
			assert_int_equal(n, SWITCH_ROLLED_BACK);
		}
	}
	assert_int_equal(switch_next(SWITCH_ROLLING_BACK, SWITCH_EV_CANCEL, &p, NULL), HCP_ESTATE);
	int64_t total = 0;
	for (int s = SWITCH_VALIDATE; s <= SWITCH_VERIFY; s++)
		total += switch_deadline_ns((enum switch_phase)s, 5);
	assert_true(total < 100 * NS_PER_MS);
	assert_true(switch_deadline_ns(SWITCH_SWITCH, 60000) >= 120 * NS_PER_S);
	assert_int_equal(switch_deadline_ns(SWITCH_PAUSE, 60000), switch_deadline_ns(SWITCH_PAUSE, 5));
}

static void allocations_expire_only_uncommitted(void **state)
{
	for (int s = 0; s < ALLOCATION_STATE_END; s++) {
		enum allocation_state n = 99;
		int r = allocation_next((enum allocation_state)s, ALLOCATION_EV_EXPIRE, &n, NULL);
		assert_int_equal(r, s == ALLOCATION_RESERVED ? 0 : HCP_ESTATE);
		r = allocation_next((enum allocation_state)s, ALLOCATION_EV_RELEASE, &n, NULL);
		assert_int_equal(r == 0, !allocation_state_is_final((enum allocation_state)s));
		enum allocation_state back = 99;
		assert_int_equal(allocation_state_parse(str_of(allocation_state_name((enum allocation_state)s)), &back), 0);
		assert_int_equal(back, s);
	}
}

/* Every set of instances that can lie on a device, from `taken` and `compute` on; how often each profile alone fits. */
static void lay_out(unsigned taken, unsigned compute, unsigned depth, unsigned *ret_most)
{
	*ret_most = compute > *ret_most ? compute : *ret_most;
	assert_true(depth <= MIG_COMPUTE_SLICES);
	for (int g = 1; g < MIG_END; g++) {
		const struct mig_profile *f = mig_profile_at((enum mig_geometry)g);
		for (unsigned at = 0; at < MIG_MEMORY_SLICES; at++) {
			if (!(f->starts >> at & 1) || (mig_cover((enum mig_geometry)g, at) & taken))
				continue;
			assert_true(at + f->memory <= MIG_MEMORY_SLICES);
			lay_out(taken | mig_cover((enum mig_geometry)g, at), compute + f->compute, depth + 1, ret_most);
		}
	}
}

static void instances_never_need_more_than_the_device(void **state)
{
	static const unsigned fit[MIG_END] = { 0, 7, 4, 3, 2, 1, 1 }; /* instances in all, as nvidia-smi mig -lgip says */
	unsigned most = 0;
	lay_out(0, 0, 0, &most);
	assert_int_equal(most, MIG_COMPUTE_SLICES);
	for (int g = 1; g < MIG_END; g++) {
		unsigned taken = 0, n = 0;
		for (int at; (at = mig_place((uint8_t)taken, (enum mig_geometry)g)) >= 0; n++)
			taken |= mig_cover((enum mig_geometry)g, (unsigned)at);
		assert_int_equal(n, fit[g]);
		const struct mig_profile *f = mig_profile_at((enum mig_geometry)g);
		assert_true(f->milli * 7 >= f->compute * 1000 && f->milli * 8 >= f->memory * 1000 && f->milli <= 1000);
	}
	assert_int_equal(mig_room(0), 41);
	assert_int_equal(mig_room(0xff), 0);
	assert_int_equal(mig_place(0, MIG_NONE), -1);
	const struct device_class *h100 = device_class_find(STR("H100"));
	enum mig_geometry g;
	struct err err;
	assert_int_equal(mig_parse(h100, STR("3G.40gb"), &g, &err), 0);
	assert_int_equal(g, MIG_3G);
	assert_string_equal(mig_name(device_class_find(STR("A100")), MIG_3G), "3g.20gb");
	assert_int_equal(mig_parse(h100, STR("3g.20gb"), &g, &err), HCP_ENOTFOUND);
	assert_non_null(strstr(err.text, "1g.20gb"));
	assert_int_equal(mig_parse(device_class_find(STR("4090")), STR("1g.10gb"), &g, &err), HCP_EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workload_table_has_exactly_these_moves),
		cmocka_unit_test(refused_move_names_state_and_choice),
		cmocka_unit_test(names_go_both_ways),
		cmocka_unit_test(submission_errors_name_the_field),
		cmocka_unit_test(device_table_keeps_its_promises),
		cmocka_unit_test(an_acknowledgement_is_never_proof),
		cmocka_unit_test(mining_and_serving_need_their_own_proof),
		cmocka_unit_test(catalogue_is_sound),
		cmocka_unit_test(asics_match_the_reference),
		cmocka_unit_test(a_switch_always_ends),
		cmocka_unit_test(allocations_expire_only_uncommitted),
		cmocka_unit_test(instances_never_need_more_than_the_device),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
