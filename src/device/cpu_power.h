#ifndef HCP_DEVICE_CPU_POWER_H
#define HCP_DEVICE_CPU_POWER_H

#include <stdbool.h>
#include <stdint.h>

struct device_class;

/*
 * Watts, joules and degrees of a CPU node. Measured by RAPL (package domains of /sys/class/powercap) where that can be
 * read, else estimated from processor time:
 *
 *   power_w = idle_w + (fill_w - idle_w) * busy,  busy = processor seconds used / (seconds * online cores), at most 1
 *
 * with idle_w and fill_w from the catalogue's row, scaled by online cores / cores of the row. `busy` is this node's own
 * work (agent and runtime), so the estimate leaves out what other programs burn. One thread owns it.
 */
enum { CPU_POWER_DOMAINS_MAX = 8 };

struct cpu_power_domain {
	char path[96];      /* of energy_uj */
	uint64_t last_uj, max_uj;
};

struct cpu_power {
	const struct device_class *row; /* borrowed */
	unsigned cores;
	struct cpu_power_domain domains[CPU_POWER_DOMAINS_MAX];
	unsigned n_domains; /* 0: estimated */
	char thermal[96];   /* file in millidegrees; "" where there is none */
	int64_t last_ns;    /* monotonic; 0: never updated */
	double last_cpu_s;
	double energy_j;    /* since init */
	double power_w;     /* of the last interval */
	double busy;        /* 0..1, of the last interval */
};

/* sysfs: "/sys" but in tests. cores: online ones. */
void cpu_power_init(struct cpu_power *p, const char *sysfs, const struct device_class *row, unsigned cores);
/* now_ns: monotonic; cpu_s: processor seconds used by the node's work so far. Intervals under 1 ms are joined. */
void cpu_power_update(struct cpu_power *p, int64_t now_ns, double cpu_s);
static inline bool cpu_power_is_estimated(const struct cpu_power *p)
{
	return p->n_domains == 0;
}
/* Degrees Celsius; 0 when nothing can be read. */
int cpu_power_temperature_c(const struct cpu_power *p);
/* Row of the catalogue nearest to this many cores by ratio (CPU rows only). */
const struct device_class *cpu_power_class(unsigned cores);

#endif
