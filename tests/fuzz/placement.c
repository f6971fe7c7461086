/*
 * Any sequence of requests, commits, releases, settings and defragmentations leaves every index of a placement in
 * agreement with its devices (placement_check), and everything is free again at the end.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sched/placement.h"

enum { NODES = 5, GPUS = 4, LIVE = 64, STEPS = 400 };

struct bytes {
	const uint8_t *p;
	size_t n;
};

static unsigned next(struct bytes *b)
{
	if (b->n == 0)
		return 0;
	b->n--;
	return *b->p++;
}

static struct placement *build(unsigned how)
{
	struct placement *p = placement_new(NULL);
	struct placement_facility f = { .region = "us-tx", .weight = 1 };
	uint16_t at;
	if (!p || placement_add_facility(p, &f, &at, NULL) < 0)
		abort();
	for (uint32_t i = 0; i < NODES * GPUS; i++) {
		placement_dev dev;
		const struct device_class *c = device_class_find(i / GPUS == NODES - 1 ? STR("A100") : STR("H100"));
		struct placement_device d = { .cls = (uint16_t)device_class_index(c),
			.cluster = i / GPUS / 2,
			.node = i / GPUS,
			.quality = { 1, 0.1 * (i % 7), 0.5 } };
		if (placement_add_device(p, &d, &dev, NULL) < 0)
			abort();
	}
	for (uint32_t n = 0; n < NODES; n++)
		if (how >> n & 1)
			(void)!placement_set_node(p, n, 16000, 65536, NULL);
	return p;
}

static struct placement_request request(struct bytes *b)
{
	unsigned kind = next(b), a = next(b), c = next(b);
	struct placement_request r = { .owner = { { 1, (uint8_t)a, (uint8_t)c } },
		.cls = (enum workload_class)(1 + kind % 4),
		.device_class = kind & 64 ? 0 : -1,
		.kind = DEVICE_GPU,
		.count = 1,
		.fit = kind >> 7 & 1 ? PLACEMENT_FRAG : PLACEMENT_TIGHT,
		.cpu_milli = c % 5 * 2000,
		.memory_mib = c % 3 * 9000 };
	if (kind % 5 == 0)
		r.count = a % 6;
	else if (kind % 5 == 1)
		r.mig = (enum mig_geometry)(a % (MIG_END + 1));
	else if (kind % 5 != 2)
		r.milli = a * 4;
	r.memory_gib = kind & 32 ? c : 0;
	r.only_node = c % 7 == 6 ? a % 8 : 0;
	r.avoid_node = c % 7 == 5 ? a % 8 : 0;
	r.tag = c % 7 == 4 ? a % 4 : 0;
	return r;
}

static void step(struct placement *p, struct bytes *b, placement_handle *live, unsigned *n)
{
	struct placement_result res;
	struct placement_refusal why = { 0 };
	struct placement_move move[8];
	unsigned op = next(b), at;
	struct placement_request r;
	switch (op % 8) {
	case 0:
	case 1:
	case 2:
		r = request(b);
		placement_observe(p, &r);
		int rc = placement_reserve(p, &r, op, &res, &why, NULL);
		if (rc == HCP_EAGAIN && !why.text[0])
			abort();
		if (rc == 0 && *n < LIVE)
			live[(*n)++] = res.handle;
		else if (rc == 0 && placement_release(p, res.handle, NULL) < 0)
			abort();
		break;
	case 3:
		at = *n ? next(b) % *n : 0;
		if (*n && placement_release(p, live[at], NULL) < 0)
			abort();
		if (*n)
			live[at] = live[--*n];
		break;
	case 4:
		if (*n)
			(void)!placement_commit(p, live[next(b) % *n], NULL);
		break;
	case 5:
		(void)!placement_set_fill(p, next(b) % (NODES * GPUS), op & 8, NULL);
		break;
	case 6:
		(void)!placement_set_in_service(p, next(b) % (NODES * GPUS), op & 8, NULL);
		break;
	default:
		if ((op & 24) == 24) {
			const uint16_t tag[] = { (uint16_t)(next(b) % 4), (uint16_t)(next(b) % 4), 2 };
			(void)!placement_set_tags(p, next(b) % (NODES + 1), tag, op >> 5 & 3, NULL);
		} else if (op & 8)
			(void)!placement_set_node(p, next(b) % (NODES + 1), next(b) * 100, next(b) * 400, NULL);
		else
			(void)placement_defrag(
				p, &(struct placement_defrag){ .device_class = op & 16 ? 2 : 0, .facility = -1 }, move, 8);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct bytes b = { bytes, size };
	placement_handle live[LIVE];
	unsigned n = 0;
	struct placement *p = build(next(&b));
	for (int i = 0; i < STEPS && b.n; i++) {
		step(p, &b, live, &n);
		placement_check(p);
	}
	while (n)
		if (placement_release(p, live[--n], NULL) < 0)
			abort();
	placement_check(p);
	for (placement_dev d = 0; d < NODES * GPUS; d++)
		if (placement_parts(p, d, NULL, 0) || placement_state(p, d) == PLACEMENT_SHARED)
			abort();
	placement_free(p);
	return 0;
}
