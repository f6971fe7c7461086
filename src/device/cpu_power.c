#include "device/cpu_power.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/panic.h"
#include "model/device_class.h"
#include "os/file.h"

static bool read_u64(const char *path, uint64_t *ret)
{
	struct buf b;
	if (file_read(path, 256, &b, NULL) < 0)
		return false;
	bool ok = num_parse_u64(str_trim(buf_str(&b)), ret) == 0;
	buf_release(&b);
	return ok;
}

/* Package domains are intel-rapl:0, intel-rapl:1, ...; what stands below them is part of their count. */
static void find_rapl(struct cpu_power *p, const char *sysfs)
{
	for (unsigned i = 0; i < CPU_POWER_DOMAINS_MAX; i++) {
		struct cpu_power_domain d;
		char max[128];
		snprintf(d.path, sizeof(d.path), "%s/class/powercap/intel-rapl:%u/energy_uj", sysfs, i);
		snprintf(max, sizeof(max), "%s/class/powercap/intel-rapl:%u/max_energy_range_uj", sysfs, i);
		if (!read_u64(d.path, &d.last_uj))
			continue;
		if (!read_u64(max, &d.max_uj))
			d.max_uj = UINT32_MAX;
		p->domains[p->n_domains++] = d;
	}
}

static void find_thermal(struct cpu_power *p, const char *sysfs)
{
	uint64_t v;
	for (unsigned i = 0; i < 16; i++) {
		bool zone = i < 8;
		char path[96];
		snprintf(path, sizeof(path), "%s/class/%s%u/%s", sysfs, zone ? "thermal/thermal_zone" : "hwmon/hwmon", i % 8,
			zone ? "temp" : "temp1_input");
		if (read_u64(path, &v) && v > 0 && v < 150000) {
			memcpy(p->thermal, path, sizeof(path));
			return;
		}
	}
}

void cpu_power_init(struct cpu_power *p, const char *sysfs, const struct device_class *row, unsigned cores)
{
	must(row->cpu_cores > 0 && cores > 0);
	memset(p, 0, sizeof(*p));
	p->row = row;
	p->cores = cores;
	find_rapl(p, sysfs);
	find_thermal(p, sysfs);
}

static double measured_j(struct cpu_power *p)
{
	double j = 0;
	for (unsigned i = 0; i < p->n_domains; i++) {
		struct cpu_power_domain *d = &p->domains[i];
		uint64_t now;
		if (!read_u64(d->path, &now))
			continue;
		j += (double)(now >= d->last_uj ? now - d->last_uj : d->max_uj - d->last_uj + now) / 1e6;
		d->last_uj = now;
	}
	return j;
}

void cpu_power_update(struct cpu_power *p, int64_t now_ns, double cpu_s)
{
	if (!p->last_ns) {
		p->last_ns = now_ns;
		p->last_cpu_s = cpu_s;
		return;
	}
	double s = (double)(now_ns - p->last_ns) / 1e9;
	if (s < 1e-3)
		return;
	double used = cpu_s - p->last_cpu_s;
	p->busy = used <= 0 ? 0 : used / (s * p->cores);
	if (p->busy > 1)
		p->busy = 1;
	double scale = (double)p->cores / p->row->cpu_cores;
	double idle_w = p->row->power_w[DEVICE_IDLE] * scale, full_w = p->row->power_w[DEVICE_FILL] * scale;
	double j = p->n_domains ? measured_j(p) : (idle_w + (full_w - idle_w) * p->busy) * s;
	p->energy_j += j;
	p->power_w = j / s;
	p->last_ns = now_ns;
	p->last_cpu_s = cpu_s;
}

int cpu_power_temperature_c(const struct cpu_power *p)
{
	uint64_t v;
	return p->thermal[0] && read_u64(p->thermal, &v) ? (int)(v / 1000) : 0;
}

const struct device_class *cpu_power_class(unsigned cores)
{
	const struct device_class *best = NULL;
	double best_ratio = 0;
	for (size_t i = 0; i < device_class_count(); i++) {
		const struct device_class *c = device_class_at(i);
		if (c->kind != DEVICE_CPU || c->cpu_cores < 1)
			continue;
		double ratio = cores > (unsigned)c->cpu_cores ? (double)cores / c->cpu_cores : (double)c->cpu_cores / cores;
		if (!best || ratio < best_ratio) {
			best = c;
			best_ratio = ratio;
		}
	}
	must(best);
	return best;
}
