/*
 * What the platform's side may send to a simulated node, cut into messages by length bytes: refused or taken; energy
 * and time of the meters never go back, every device keeps one owner or parts that fit beside one another, and a node
 * left alone ends at safe watts.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "sim/node.h"
#include "wire/pb.h"

static void on_up(void *arg, const Hcp__AgentUp *up)
{
	int64_t *energy_j = arg, sum_j = 0;
	if (up->kind_case != HCP__AGENT_UP__KIND_REPORT)
		return;
	for (size_t i = 0; i < up->report->n_meters; i++)
		if (up->report->meters[i]->allocation_id[0] == 0)
			sum_j += up->report->meters[i]->energy_j;
	if (sum_j < *energy_j)
		abort();
	*energy_j = sum_j;
}

static uint32_t count_parts(const struct node_device *d)
{
	struct slice have[SLICES_MAX];
	for (size_t i = 0; i < d->n_parts; i++) {
		if (slice_fits(have, i, &d->parts[i].slice, NULL) < 0 || d->alloc)
			abort();
		have[i] = d->parts[i].slice;
	}
	return d->n_parts;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct node node;
	struct arena arena;
	int64_t now_ns = INT64_C(1700000000000000000), energy_j = 0;
	struct node_conf conf = { .id = "n", .name = "n", .facility = "f", .region = "r", .n_devices = 4, .seed = 1,
		.cls = device_class_find(n && p[0] & 1 ? STR("S21") : STR("H100")), .start_ns = now_ns };
	if (node_init(&node, &conf, NULL) < 0)
		abort();
	node_connected(&node, now_ns);
	arena_init(&arena, 4096, 1 << 20);
	for (size_t at = 1; at + 1 < n;) {
		size_t len = p[at] < n - at - 1 ? p[at] : n - at - 1;
		ProtobufCMessage *m;
		arena_clear(&arena);
		struct str bytes = { (const char *)p + at + 1, len };
		if (pb_unpack(&hcp__agent_down__descriptor, bytes, &arena, &m, NULL) == 0)
			(void)!node_down(&node, (const Hcp__AgentDown *)m, now_ns, NULL);
		now_ns += INT64_C(700000000) * (1 + len % 3);
		node_step(&node, now_ns, on_up, &energy_j);
		at += len + 1;
	}
	uint32_t owned = 0, parts = 0;
	for (size_t i = 0; i < node.n_allocs; i++)
		owned += node.allocs[i].devices;
	for (size_t i = 0; i < node.n_devices; i++)
		parts += count_parts(&node.devices[i]);
	if (owned != node.n_devices + parts)
		abort();
	/* No lease is longer than an hour. */
	node_lost(&node);
	node_step(&node, now_ns + INT64_C(3610000000000), on_up, &energy_j);
	node_step(&node, now_ns + INT64_C(3620000000000), on_up, &energy_j);
	if (node.leased || node.n_active || node_power_w(&node) > 4 * 75)
		abort();
	for (size_t i = 0; i < node.n_devices; i++)
		if (node.devices[i].n_parts)
			abort();
	arena_release(&arena);
	node_release(&node);
	return 0;
}
