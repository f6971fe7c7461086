/*
 * FLEET-PHYSICS: 100,000 GPUs and 250,000 ASICs stepped by ten seconds on one core, half of them with work. Prints one
 * JSON line.
 *
 *     bench_fleet [steps]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/num.h"
#include "sim/fleet.h"
#include "sim/inlet.h"

enum { GPUS = 100000, ASICS = 250000, NODE = 250, STEP_S = 10, WARM = 30 };

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double run(struct fleet_device *d, struct rng *rng, uint64_t steps, int64_t *at_ns)
{
	static const struct fleet_rules rules = { .fail_rate_h = 1e-4, .repair_ns = INT64_C(86400000000000) };
	struct inlet air[2];
	double watts = 0;
	inlet_init(&air[0], DEVICE_GPU, "bench", 0);
	inlet_init(&air[1], DEVICE_ASIC, "bench", 0);
	for (uint64_t k = 0; k < steps; k++) {
		*at_ns += STEP_S * INT64_C(1000000000);
		watts = 0;
		for (size_t i = 0; i < GPUS + ASICS; i += NODE) {
			struct fleet_step s;
			fleet_step_init(&s, &rules, inlet_at(&air[i >= GPUS], *at_ns), *at_ns, STEP_S * INT64_C(1000000000));
			for (size_t j = i; j < i + NODE; j++) {
				(void)fleet_device_step(&d[j], &s, rng, j % 2);
				watts += d[j].power_mw / 1000.0;
			}
		}
	}
	return watts;
}

int main(int argc, char **argv)
{
	uint64_t steps = 100;
	struct rng rng;
	struct fleet_rules calm = { 0 };
	int64_t at_ns = INT64_C(1750000000000000000);
	if (argc > 1 && num_parse_u64(str_of(argv[1]), &steps) < 0)
		return 2;
	struct fleet_device *d = mem_calloc(GPUS + ASICS, sizeof(*d));
	if (!d || steps == 0)
		return 1;
	rng_init(&rng, 1);
	for (size_t i = 0; i < GPUS + ASICS; i++) {
		fleet_device_init(&d[i], device_class_find(i < GPUS ? STR("H100") : STR("S21")), DEVICE_IDLE, at_ns);
		fleet_device_vary(&d[i], &rng);
		enum device_mode to = i < GPUS ? (i % 2 ? DEVICE_SERVE : DEVICE_IDLE) : DEVICE_FILL;
		if (fleet_device_order(&d[i], &calm, &rng, to, 0, at_ns) < 0)
			return 1;
	}
	(void)run(d, &rng, WARM, &at_ns);
	int64_t began_ns = now_ns();
	double watts = run(d, &rng, steps, &at_ns);
	double s = (double)(now_ns() - began_ns) / 1e9, n = (double)steps * (GPUS + ASICS);
	printf("{\"id\":\"FLEET-PHYSICS\",\"device_steps_per_s\":%.0f,\"times_real_time\":%.1f,\"device_bytes\":%zu,"
	       "\"megawatts\":%.1f}\n", n / s, (double)steps * STEP_S / s, sizeof(struct fleet_device), watts / 1e6);
	mem_free(d);
	return 0;
}
