/* The event log's files, and what a power cut leaves of them. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "os/file.h"
#include "sim.h"

enum {
	SEGMENT_BYTES = 512 << 10, /* small: opening the log again reads its newest segment through */
	SEGMENT_MAX = 16 << 20,    /* with one batch of events beyond it */
	KEEP_BYTES = 32 << 20,     /* nobody reads further back than a minute or two */
	RECORD_HEADER = 32,        /* bus.h draws it: length at 0, offset at 8 */
};

void sim_bus_open(struct sim *s)
{
	char dir[SIM_DIR_MAX + 16];
	struct err err = { 0 };
	snprintf(dir, sizeof(dir), "%s/bus", s->dir);
	struct bus_conf conf = { .dir = dir, .segment_bytes = SEGMENT_BYTES, .keep_bytes = KEEP_BYTES };
	if (bus_open(&conf, &s->bus, &err) < 0)
		sim_fail(s, "the bus cannot be opened: %s %s", err.field, err.text);
	s->bus_synced = bus_end(s->bus);
}

static int newest(void *arg, const char *name)
{
	uint64_t *first = arg, n;
	if (num_parse_u64((struct str){ name, strlen(name) - 4 }, &n) == 0 && n > *first)
		*first = n;
	return 0;
}

static uint64_t get_le(const char *p, int n)
{
	uint64_t v = 0;
	for (int i = 0; i < n; i++)
		v |= (uint64_t)(unsigned char)p[i] << 8 * i;
	return v;
}

/* A segment is synced before the next one begins, so only the newest can lose anything. */
void sim_bus_cut(struct sim *s)
{
	char path[SIM_DIR_MAX + 64];
	uint64_t first = 0, pos = 0;
	struct err err = { 0 };
	struct buf b;
	snprintf(path, sizeof(path), "%s/bus", s->dir);
	if (file_list(path, ".log", newest, &first, &err) < 0 || !first)
		sim_fail(s, "the log has no files: %s", err.text);
	snprintf(path, sizeof(path), "%s/bus/%020llu.log", s->dir, (unsigned long long)first);
	if (file_read(path, SEGMENT_MAX, &b, &err) < 0)
		sim_fail(s, "the log cannot be read: %s %s", err.field, err.text);
	while (pos + RECORD_HEADER <= b.n && get_le(b.data + pos + 8, 8) < s->bus_synced)
		pos += RECORD_HEADER + get_le(b.data + pos, 4);
	uint64_t lost = b.n - pos, keep = pos + (lost ? rng_below(&s->rng, lost + 1) : 0);
	s->lost_events |= lost > 0;
	sim_say(s, "the log loses %llu bytes", (unsigned long long)(b.n - keep));
	buf_release(&b);
	if (truncate(path, (off_t)keep) < 0)
		sim_fail(s, "the log cannot be cut");
}
