#include "device/cpu_power.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/device_class.h"
#include "os/file.h"
#include "test.h"

#define SECOND 1000000000LL

static void classes_by_cores(void **state)
{
	assert_string_equal(cpu_power_class(1)->name, "CPU2");
	assert_string_equal(cpu_power_class(4)->name, "CPU2");
	assert_string_equal(cpu_power_class(16)->name, "CPU64");
	assert_string_equal(cpu_power_class(128)->name, "CPU64");
}

static void estimate_follows_the_formula(void **state)
{
	const struct device_class *row = device_class_find(STR("CPU2"));
	struct cpu_power p;
	cpu_power_init(&p, "/nonexistent", row, 4);
	assert_true(cpu_power_is_estimated(&p));
	assert_int_equal(cpu_power_temperature_c(&p), 0);
	cpu_power_update(&p, SECOND, 100);
	assert_true(p.energy_j == 0);
	cpu_power_update(&p, 2 * SECOND, 101); /* one of four cores: a quarter of the way from idle to full, twice over */
	double want_w = 2 * (row->power_w[DEVICE_IDLE] + 0.25 * (row->power_w[DEVICE_FILL] - row->power_w[DEVICE_IDLE]));
	assert_true(p.power_w > want_w - 1e-9 && p.power_w < want_w + 1e-9);
	assert_true(p.busy == 0.25);
	cpu_power_update(&p, 4 * SECOND, 109); /* more than all of it counts as all of it */
	assert_true(p.busy == 1);
	double want_j = want_w + 2 * 2 * row->power_w[DEVICE_FILL];
	assert_true(p.energy_j > want_j - 1e-6 && p.energy_j < want_j + 1e-6);
	cpu_power_update(&p, 5 * SECOND, 50); /* a counter that went back (a new runtime process) is no negative energy */
	assert_true(p.busy == 0 && p.energy_j > want_j);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	assert_true(snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path));
	assert_int_equal(file_write_atomic(path, str_of(text), 0600, NULL), 0);
}

static void measures_where_the_kernel_lets_us(void **state)
{
	char root[] = "/tmp/hcp-power-XXXXXX", dir[96], zone[96], cmd[256];
	assert_non_null(mkdtemp(root));
	snprintf(dir, sizeof(dir), "%s/class/powercap/intel-rapl:0", root);
	snprintf(zone, sizeof(zone), "%s/class/thermal/thermal_zone0", root);
	assert_int_equal(file_mkdirs(dir, NULL), 0);
	assert_int_equal(file_mkdirs(zone, NULL), 0);
	put(dir, "energy_uj", "1000000\n");
	put(dir, "max_energy_range_uj", "9000000\n");
	put(zone, "temp", "56789\n");
	struct cpu_power p;
	cpu_power_init(&p, root, device_class_find(STR("CPU64")), 64);
	assert_false(cpu_power_is_estimated(&p));
	assert_int_equal(cpu_power_temperature_c(&p), 56);
	cpu_power_update(&p, SECOND, 0);
	put(dir, "energy_uj", "5000000\n");
	cpu_power_update(&p, 3 * SECOND, 0);
	assert_true(p.power_w == 2 && p.energy_j == 4);
	put(dir, "energy_uj", "500000\n"); /* wrapped: 4 J to the end, half a joule more */
	cpu_power_update(&p, 4 * SECOND, 0);
	assert_true(p.energy_j == 8.5);
	static const char *const left[] = { "class/powercap/intel-rapl:0/energy_uj",
		"class/powercap/intel-rapl:0/max_energy_range_uj", "class/thermal/thermal_zone0/temp",
		"class/powercap/intel-rapl:0", "class/thermal/thermal_zone0", "class/powercap", "class/thermal", "class", "" };
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		snprintf(cmd, sizeof(cmd), "%s/%s", root, left[i]);
		assert_int_equal(remove(cmd), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_by_cores), cmocka_unit_test(estimate_follows_the_formula),
		cmocka_unit_test(measures_where_the_kernel_lets_us),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
