#include "model/site.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/timefmt.h"

static const char good[] = "name: here\n"
						   "settlement_point: HB_WEST\n"
						   "power_limit_mw: 10\n"
						   "pue: 1.1\n"
						   "pool_fee: 0.02\n"
						   "feeders:\n"
						   "  - name: a\n"
						   "    limit_mw: 2\n"
						   "groups:\n"
						   "  - name: gpus\n"
						   "    class: H100\n"
						   "    count: 8\n"
						   "    serve:\n"
						   "      contract_share: 0.5\n"
						   "  # miners\n"
						   "  - name: miners\n"
						   "    class: S21\n"
						   "    count: 100\n"
						   "    feeder: a\n"
						   "    idle: safe\n"
						   "    restart:\n"
						   "      boot_s: 60\n"
						   "      boot_w: 500\n"
						   "      ramp_s: 120\n"
						   "      wear_usd: 0.5\n"
						   "    min_up_s: 900\n"
						   "    min_down_s: 1800\n";

static void every_field_arrives(void **state)
{
	(void)state;
	struct site s;
	struct err err = { 0 };
	assert_int_equal(site_parse(&s, "here.yaml", str_of(good), &err), 0);
	assert_string_equal(s.name, "here");
	assert_string_equal(s.point, "HB_WEST");
	assert_false(s.fixed);
	assert_true(s.limit_w == 10e6 && s.pue == 1.1 && s.pool_fee == 0.02);
	assert_int_equal(s.n_feeders, 1);
	assert_true(s.feeder[0].limit_w == 2e6);
	assert_int_equal(s.n_groups, 2);
	const struct site_group *gpu = &s.group[0], *asic = &s.group[1];
	assert_string_equal(gpu->cls->name, "H100");
	assert_true(gpu->serves && !gpu->mines && gpu->feeder == -1 && gpu->idle_mode == DEVICE_IDLE);
	assert_true(gpu->contract_share == 0.5 && gpu->contract_usd_h == gpu->cls->list_usd_h);
	assert_true(asic->mines && !asic->serves && asic->count == 100 && asic->feeder == 0);
	assert_true(asic->idle_mode == DEVICE_SAFE && asic->boot_w == 500 && asic->start_wear_usd == 0.5);
	assert_int_equal(asic->boot_ns, 60 * NS_PER_S);
	assert_int_equal(site_start_ns(asic), 180 * NS_PER_S);
	assert_int_equal(asic->min_up_ns, 900 * NS_PER_S);
	assert_int_equal(asic->min_down_ns, 1800 * NS_PER_S);
}

/* What a mode leaves out is the catalogue's; the highest watts of any mode count against limits. */
static void power_modes_arrive_and_have_defaults(void **state)
{
	(void)state;
	char text[2048];
	struct site s;
	double w, ths;
	snprintf(text, sizeof(text), "%s%s", good,
		"    modes:\n      - power: low\n      - power: high\n        watts: 4000\n        ths: 215\n");
	assert_int_equal(site_parse(&s, "here.yaml", str_of(text), NULL), 0);
	const struct site_group *g = &s.group[1];
	assert_int_equal(g->n_modes, 2);
	assert_int_equal(device_class_power(g->cls, DEVICE_POWER_LOW, &w, &ths), 0);
	assert_true(g->mode[0].power == DEVICE_POWER_LOW && g->mode[0].watts == w && g->mode[0].ths == ths);
	/* Six steps of 25 MHz and 0.1 V below 545 MHz and 13.4 V. */
	assert_true(fabs(ths - 200 * 395.0 / 545) < 1e-9 && w / ths < 3500.0 / 200);
	assert_true(g->mode[1].watts == 4000 && g->mode[1].ths == 215);
	assert_true(site_mode_at(g, 0).watts == 3500 && site_mode_at(g, 2).ths == 215);
	double gpus = 8 * s.group[0].cls->power_w[DEVICE_SERVE];
	assert_true(fabs(site_full_w(&s) - (100 * 4000 + gpus) * 1.1) < 1e-6);
	/* A start boots with the same watts in every mode, and ramps with those of the mode. */
	struct site_slice slow = site_mode_slice(g, 0, 0, 900 * NS_PER_S), fast = site_mode_slice(g, 2, 0, 900 * NS_PER_S);
	assert_true(slow.hash_s == fast.hash_s && fabs(fast.plug_j - slow.plug_j - 840 * 500) < 1e-6);
	assert_int_equal(device_class_power(s.group[0].cls, DEVICE_POWER_LOW, &w, &ths), HCP_ENOTFOUND);
}

/* good with one line replaced. */
static void edited(char *dst, size_t cap, const char *was, const char *now)
{
	const char *at = strstr(good, was);
	assert_non_null(at);
	snprintf(dst, cap, "%.*s%s%s", (int)(at - good), good, now, at + strlen(was));
}

static void errors_name_file_line_and_field(void **state)
{
	(void)state;
	static const struct {
		const char *was, *now, *field, *place;
		int code;
	} cases[] = {
		{ "pue: 1.1", "pue: 0.9", "pue", "x.yaml:4: ", HCP_ERANGE },
		{ "pue: 1.1", "pue: nan", "pue", "x.yaml:4: ", HCP_EINVAL }, { "pue: 1.1\n", "", "pue", "x.yaml:", HCP_EPARSE },
		{ "pue: 1.1", "pue: much", "pue", "x.yaml:4: ", HCP_EPARSE },
		{ "pool_fee: 0.02", "pool_fee: 0.9", "pool_fee", "x.yaml:5: ", HCP_ERANGE },
		{ "class: S21", "class: S99", "groups[1].class", "x.yaml:17: ", HCP_EINVAL },
		{ "count: 100", "count: 0", "groups[1].count", "x.yaml:18: ", HCP_ERANGE },
		{ "count: 100", "count: -3", "count", "x.yaml:18: ", HCP_EPARSE },
		{ "count: 100", "cuont: 100", "cuont", "x.yaml:18: ", HCP_EPARSE },
		{ "- name: a\n", "- name: a/b\n", "feeders[0].name", "x.yaml:7: ", HCP_EINVAL },
		{ "limit_mw: 2", "limit_mw: 2\n    nodes: a*b", "feeders[0].nodes", "x.yaml:9: ", HCP_EINVAL },
		{ "feeder: a", "feeder: b", "groups[1].feeder", "x.yaml:19: ", HCP_EINVAL },
		{ "idle: safe", "idle: fill", "groups[1].idle", "x.yaml:20: ", HCP_EINVAL },
		{ "boot_s: 60", "boot_s: 1e9", "groups[1].restart.boot_s", "x.yaml:22: ", HCP_ERANGE },
		{ "wear_usd: 0.5", "wear_usd: -1", "groups[1].restart.wear_usd", "x.yaml:25: ", HCP_ERANGE },
		{ "name: miners", "name: gpus", "groups[1].name", "x.yaml:16: ", HCP_EINVAL },
		{ "contract_share: 0.5", "contract_share: 2", "groups[0].serve.contract_share", "x.yaml:14: ", HCP_ERANGE },
		{ "class: H100", "class: S21", "groups[0].serve", "x.yaml:13: ", HCP_EINVAL },
		{ "settlement_point: HB_WEST\n", "", "settlement_point", "x.yaml: ", HCP_EINVAL },
		{ "settlement_point: HB_WEST", "tariff_usd_mwh: 1e6", "tariff_usd_mwh", "x.yaml:2: ", HCP_ERANGE },
		{ "    idle: safe", "    modes:\n      - power: turbo", "groups[1].modes[0].power", "x.yaml:21: ", HCP_EINVAL },
		{ "    idle: safe", "    modes:\n      - power: normal", "groups[1].modes[0].power",
			"x.yaml:21: ", HCP_EINVAL },
		{ "    idle: safe", "    modes:\n      - power: low\n        watts: 9000", "groups[1].modes[0].watts",
			"x.yaml:22: ", HCP_ERANGE },
		{ "    idle: safe", "    modes:\n      - power: low\n        ths: 0", "groups[1].modes[0].ths",
			"x.yaml:22: ", HCP_ERANGE },
		{ "    idle: safe", "    modes:\n      - power: low\n      - power: low", "groups[1].modes[1].power",
			"x.yaml:22: ", HCP_EINVAL },
		{ "    count: 8\n", "    count: 8\n    modes:\n      - power: low\n", "groups[0].modes[0].power",
			"x.yaml:14: ", HCP_EINVAL },
		{ "groups:", "ancillary:\n  - service: RRS\n    mw: -1\ngroups:", "ancillary[0].mw",
			"x.yaml:11: ", HCP_ERANGE },
		{ "groups:", "ancillary:\n  - service: RRS\n    mw: 1\n    until_hour: 25\ngroups:", "ancillary[0].until_hour",
			"x.yaml:12: ", HCP_ERANGE },
		{ "groups:", "ancillary:\n  - service: RRS\n    mw: 1\n    ramp_mw_min: -1\ngroups:",
			"ancillary[0].ramp_mw_min", "x.yaml:12: ", HCP_ERANGE },
		{ "groups:", "ancillary:\n  - service: RRS\n    mw: 1\n    miss_usd_mwh: -1\ngroups:",
			"ancillary[0].miss_usd_mwh", "x.yaml:12: ", HCP_ERANGE },
		{ "groups:", "ancillary:\n  - service: REGDN\n    mw: 1\ngroups:", "ancillary[0].service",
			"x.yaml:10: ", HCP_EINVAL },
		{ "groups:", "groups: &a", "", "", 0 }, /* an anchor alone is no harm */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2048];
		struct err err = { 0 };
		struct site s, before;
		memset(&s, 0x5a, sizeof(s));
		before = s;
		edited(text, sizeof(text), cases[i].was, cases[i].now);
		int rc = site_parse(&s, "x.yaml", str_of(text), &err);
		if (rc != cases[i].code || strcmp(err.field, cases[i].field) ||
			strncmp(err.text, cases[i].place, strlen(cases[i].place)) != 0)
			fail_msg("%s -> %s: %d, field '%s', '%s'", cases[i].was, cases[i].now, rc, err.field, err.text);
		if (rc < 0)
			assert_memory_equal(&s, &before, sizeof(s));
	}
}

static const char branches[] = "branches:\n"
							   "  - path: a/p#\n"
							   "    count: 24\n"
							   "    limit_kw: 150\n"
							   "    inrush_kw: 30\n"
							   "    nodes: rack-#-*\n"
							   "  - path: a/p#/r#\n"
							   "    count: 2\n"
							   "    limit_kw: 80\n"
							   "  - path: a/ups\n"
							   "    limit_kw: 90\n"
							   "groups:\n";

static void branches_hang_below_feeders(void **state)
{
	(void)state;
	static const struct {
		const char *was, *now, *field;
		int code;
	} cases[] = {
		{ "count: 24", "count: 24", "", 0 },
		{ "a/p#\n", "b/p#\n", "branches[0].path", HCP_EINVAL },
		{ "a/p#\n", "a\n", "branches[0].path", HCP_EINVAL },
		{ "a/p#/r#", "a/q#/r#", "branches[1].path", HCP_EINVAL },
		{ "a/ups", "a/p#", "branches[2].path", HCP_EINVAL },
		{ "a/ups", "a/u ps", "branches[2].path", HCP_EINVAL },
		{ "    count: 24\n", "", "branches[0].count", HCP_EINVAL },
		{ "count: 24", "count: 0", "branches[0].count", HCP_EINVAL },
		{ "a/ups\n", "a/ups\n    count: 3\n", "branches[2].count", HCP_EINVAL },
		{ "limit_kw: 150", "limit_kw: 0", "branches[0].limit_kw", HCP_ERANGE },
		{ "inrush_kw: 30", "inrush_kw: -1", "branches[0].inrush_kw", HCP_ERANGE },
		{ "nodes: rack-#-*", "nodes: rack-*-#", "branches[0].nodes", HCP_EINVAL },
		{ "nodes: rack-#-*", "nodes: rack-*", "branches[0].nodes", HCP_EINVAL },
	};
	char base[2048], text[2048];
	const char *at = strstr(good, "groups:\n");
	snprintf(base, sizeof(base), "%.*s%s%s", (int)(at - good), good, branches, at + 8);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { 0 };
		struct site s;
		const char *cut = strstr(base, cases[i].was);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(cut - base), base, cases[i].now, cut + strlen(cases[i].was));
		int rc = site_parse(&s, "x.yaml", str_of(text), &err);
		if (rc != cases[i].code || strcmp(err.field, cases[i].field) != 0)
			fail_msg("%s -> %s: %d, field '%s', '%s'", cases[i].was, cases[i].now, rc, err.field, err.text);
		if (rc < 0)
			continue;
		assert_int_equal(s.n_branches, 3);
		assert_int_equal(s.branch[0].count, 24);
		assert_true(s.branch[0].limit_w == 150e3 && s.branch[0].inrush_w == 30e3);
		assert_string_equal(s.branch[0].nodes, "rack-#-*");
		assert_string_equal(s.branch[1].path, "a/p#/r#");
		assert_int_equal(s.branch[2].count, 0);
	}
}

static void what_is_not_yaml_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "", " ", "---\n", "[]", "a: [", "name: &x [*x]\n", "\xff\xfe", "- a\n- b\n" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = { 0 };
		struct site s;
		int rc = site_parse(&s, "bad", str_of(bad[i]), &err);
		assert_true(rc < 0 && err.text[0]);
	}
	struct err err = { 0 };
	struct site s;
	char *long_text = mem_alloc(SITE_TEXT_MAX + 1);
	memset(long_text, '#', SITE_TEXT_MAX + 1);
	assert_int_equal(site_parse(&s, "long", (struct str){ long_text, SITE_TEXT_MAX + 1 }, &err), HCP_ELIMIT);
	mem_free(long_text);
}

static void lack_of_memory_leaks_nothing(void **state)
{
	(void)state;
	struct site s;
	int64_t live = mem_live();
	for (uint64_t n = 1; n < 200; n++) {
		mem_fail_after(n, 0);
		int rc = site_parse(&s, "x", str_of(good), NULL);
		uint64_t hits = mem_fail_hits();
		mem_fail_after(0, 0);
		assert_int_equal(mem_live(), live);
		if (hits == 0) {
			assert_int_equal(rc, 0);
			return;
		}
		assert_int_equal(rc, HCP_ENOMEM);
	}
	fail_msg("200 allocations for so small a file");
}

static void the_sites_of_the_platform(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		double full_mw;
		bool limited;
		uint32_t first;
	} sites[] = { { "texas-north", 53.1, false, 10000 }, { "texas-south", 28.9, false, 8000 },
		/* 50 MW = n * 3,500 W * 1.05 + (15,000 - n) * 40 W * 1.05 */
		{ "north-dakota", 55.1, true, 13589 } };
	for (size_t i = 0; i < 3; i++) {
		char path[256], text[16384];
		struct site s;
		struct err err = { 0 };
		uint32_t run[SITE_GROUPS_MAX];
		snprintf(path, sizeof(path), "%s/%s.yaml", HCP_SITES, sites[i].name);
		FILE *f = fopen(path, "rb");
		assert_non_null(f);
		size_t n = fread(text, 1, sizeof(text), f);
		fclose(f);
		if (site_parse(&s, path, (struct str){ text, n }, &err) < 0)
			fail_msg("%s: %s", err.field, err.text);
		assert_string_equal(s.name, sites[i].name);
		assert_true(fabs(site_full_w(&s) / 1e6 - sites[i].full_mw) < 0.05);
		assert_int_equal(site_energised(&s, run), sites[i].limited);
		assert_int_equal(run[0], sites[i].first);
	}
}

static void limits_energise_the_most_efficient(void **state)
{
	(void)state;
	struct site s = { .name = "s", .point = "P", .limit_w = 100 * 3500.0, .pue = 1, .n_groups = 2 };
	uint32_t run[SITE_GROUPS_MAX];
	s.group[0] = (struct site_group){ .name = "old",
		.cls = device_class_find(STR("S19JPRO")),
		.count = 100,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_OFF };
	s.group[1] = (struct site_group){ .name = "new",
		.cls = device_class_find(STR("S21")),
		.count = 80,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_OFF };
	assert_int_equal(site_validate(&s, NULL), 0);
	assert_true(site_energised(&s, run));
	assert_int_equal(run[1], 80);
	assert_int_equal(run[0], (uint32_t)(20 * 3500.0 / 3068));
	/* A feeder cuts on its own. */
	s.n_feeders = 1;
	s.feeder[0] = (struct site_feeder){ .name = "f", .limit_w = 35000 };
	s.group[1].feeder = 0;
	assert_true(site_energised(&s, run));
	assert_int_equal(run[1], 10);
	assert_int_equal(run[0], 100);
}

/* Sliced anyhow, a start takes the same watts and makes the same hashes. */
static void a_start_costs_its_time(void **state)
{
	(void)state;
	struct site_group g = {
		.cls = device_class_find(STR("S21")), .boot_ns = 60 * NS_PER_S, .ramp_ns = 120 * NS_PER_S, .boot_w = 1000
	};
	struct site_slice whole = site_mine_slice(&g, 0, 900 * NS_PER_S);
	assert_true(fabs(whole.hash_s - (900 - 60 - 60)) < 1e-9);
	assert_true(fabs(whole.plug_j - (60 * 1000.0 + 840 * 3500.0)) < 1e-6);
	for (int64_t cut_s = 7; cut_s < 900; cut_s += 31) {
		struct site_slice a = site_mine_slice(&g, 0, cut_s * NS_PER_S);
		struct site_slice b = site_mine_slice(&g, cut_s * NS_PER_S, (900 - cut_s) * NS_PER_S);
		assert_true(fabs(a.hash_s + b.hash_s - whole.hash_s) < 1e-9);
		assert_true(fabs(a.plug_j + b.plug_j - whole.plug_j) < 1e-6);
	}
	struct site_slice later = site_mine_slice(&g, INT64_MAX, 900 * NS_PER_S);
	assert_true(later.hash_s == 900 && later.plug_j == 900 * 3500.0);
}

static void period_hardware_is_what_was_sold(void **state)
{
	(void)state;
	static const struct {
		const char *day, *s21, *m60s;
	} cases[] = { { "2021-01-01", "S19JPRO", "S19JPRO" }, { "2022-08-01", "S19XP", "M50S" },
		{ "2023-12-31", "S19XP", "M60S" }, { "2024-01-01", "S21", "M60S" } };
	for (size_t i = 0; i < 4; i++) {
		struct site s = { .n_groups = 2 };
		struct buf said;
		int64_t at_ns = 0;
		buf_init(&said, 0);
		s.group[0].cls = device_class_find(STR("S21"));
		s.group[1].cls = device_class_find(STR("M60S"));
		assert_int_equal(timefmt_parse(str_of(cases[i].day), &at_ns), 0);
		site_period_hardware(&s, at_ns, &said);
		assert_string_equal(s.group[0].cls->name, cases[i].s21);
		assert_string_equal(s.group[1].cls->name, cases[i].m60s);
		assert_int_equal(said.n > 0, i < 3);
		buf_release(&said);
	}
}

static void what_if_changes_a_copy_or_nothing(void **state)
{
	static const struct { const char *text; int code; } bad[] = { { "", HCP_EINVAL }, { "H100", HCP_EINVAL },
		{ "0xH100", HCP_EINVAL }, { "-1xH100", HCP_EINVAL }, { "5xABACUS", HCP_ENOTFOUND }, { "5x", HCP_ENOTFOUND },
		{ "1000000xH100", HCP_ELIMIT }, { "2000000xS21", HCP_EINVAL }, { "4xCPU2", HCP_ENOTFOUND } };
	struct site s, was;
	struct err err = { 0 };
	(void)state;
	assert_int_equal(site_parse(&s, "here.yaml", str_of(good), &err), 0);
	was = s;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(site_add(&s, str_of(bad[i].text), &err), bad[i].code);
		assert_string_equal(err.field, "devices");
	}
	assert_int_equal(site_remove(&s, STR("9xH100"), &err), HCP_ERANGE);
	assert_int_equal(site_remove(&s, STR("1xA100"), &err), HCP_ERANGE);
	assert_int_equal(site_fail(&s, STR("b"), &err), HCP_ENOTFOUND);
	assert_non_null(strstr(err.text, "it has: a"));
	assert_memory_equal(&s, &was, sizeof(s));
	assert_int_equal(site_add(&s, STR("64xH100"), &err), 0);
	assert_int_equal(s.group[0].count, 72);
	assert_int_equal(site_add(&s, STR("10xS19XP"), &err), 0);
	assert_int_equal(s.n_groups, 3);
	assert_true(s.group[2].count == 10 && s.group[2].boot_ns == s.group[1].boot_ns && s.group[2].feeder == 0);
	assert_int_equal(site_validate(&s, &err), 0);
	assert_int_equal(site_remove(&s, STR("10xS19XP"), &err), 0);
	assert_int_equal(s.n_groups, 2);
	assert_int_equal(site_fail(&s, STR("a"), &err), 0);
	assert_int_equal(s.n_groups, 1);
	assert_int_equal(site_validate(&s, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_if_changes_a_copy_or_nothing),
		cmocka_unit_test(every_field_arrives),
		cmocka_unit_test(errors_name_file_line_and_field),
		cmocka_unit_test(branches_hang_below_feeders),
		cmocka_unit_test(power_modes_arrive_and_have_defaults),
		cmocka_unit_test(what_is_not_yaml_is_refused),
		cmocka_unit_test(lack_of_memory_leaks_nothing),
		cmocka_unit_test(the_sites_of_the_platform),
		cmocka_unit_test(limits_energise_the_most_efficient),
		cmocka_unit_test(a_start_costs_its_time),
		cmocka_unit_test(period_hardware_is_what_was_sold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
