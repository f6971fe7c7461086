#include "agent/meter.h"

#include <stdio.h>
#include <string.h>

#include "base/panic.h"

void meter_init(struct meter *m, const struct meter_totals *t)
{
	memset(m, 0, sizeof(*m));
	m->rows[0] = (struct meter_row){ .activity = METER_OFF, .changed_ns = t->now_ns };
	m->rows[1] = (struct meter_row){ .activity = METER_FILL, .changed_ns = t->now_ns };
	m->rows[2] = (struct meter_row){ .activity = METER_SERVE, .changed_ns = t->now_ns };
	m->n_rows = 3;
	m->fill = 1;
	m->last_ns = t->now_ns;
	m->last_energy_j = t->energy_j;
	m->last_hashes = t->hashes;
}

void meter_advance(struct meter *m, const struct meter_totals *t)
{
	struct meter_row *r = &m->rows[m->current];
	must(t->now_ns >= m->last_ns);
	r->device_ns += t->now_ns - m->last_ns;
	if (t->energy_j > m->last_energy_j)
		r->energy_j += t->energy_j - m->last_energy_j;
	/* A quantum is counted when it ends, which may be just after the gate was closed. */
	if (t->hashes > m->last_hashes)
		m->rows[m->fill].hashes += t->hashes - m->last_hashes;
	r->changed_ns = t->now_ns;
	m->last_ns = t->now_ns;
	m->last_energy_j = t->energy_j;
	m->last_hashes = t->hashes;
}

void meter_restart(struct meter *m)
{
	for (size_t i = 0; i < m->n_rows; i++) {
		struct meter_row *r = &m->rows[i];
		struct meter_row fresh = { .activity = r->activity, .changed_ns = r->changed_ns };
		memcpy(fresh.allocation_id, r->allocation_id, sizeof(fresh.allocation_id));
		*r = fresh;
	}
}

/* Index of a row to use for something new, or METER_ROWS_MAX. */
static size_t room(struct meter *m, int64_t now_ns)
{
	if (m->n_rows < METER_ROWS_MAX)
		return m->n_rows++;
	size_t oldest = METER_ROWS_MAX;
	for (size_t i = 0; i < m->n_rows; i++) {
		const struct meter_row *r = &m->rows[i];
		if (i == m->current || i == m->fill || !r->allocation_id[0] || now_ns - r->changed_ns < METER_KEEP_NS)
			continue;
		if (oldest == METER_ROWS_MAX || r->changed_ns < m->rows[oldest].changed_ns)
			oldest = i;
	}
	return oldest;
}

void meter_turn(struct meter *m, const struct meter_totals *t, enum meter_activity activity, const char *allocation_id)
{
	meter_advance(m, t);
	char id[METER_ALLOCATION_MAX];
	snprintf(id, sizeof(id), "%s", allocation_id);
	size_t i = 0;
	while (i < m->n_rows && (m->rows[i].activity != activity || strcmp(m->rows[i].allocation_id, id) != 0))
		i++;
	if (i == m->n_rows) {
		i = room(m, t->now_ns);
		if (i == METER_ROWS_MAX) {
			m->unplaced++;
			return;
		}
		m->rows[i] = (struct meter_row){ .activity = activity };
		memcpy(m->rows[i].allocation_id, id, sizeof(id));
	}
	m->rows[i].changed_ns = t->now_ns;
	m->current = i;
	if (activity == METER_FILL)
		m->fill = i;
}

void meter_request(struct meter *m, int64_t tokens)
{
	m->rows[m->current].requests++;
	m->rows[m->current].tokens += tokens;
}

void meter_shares(struct meter *m, int64_t accepted, int64_t rejected)
{
	m->rows[m->fill].shares_accepted += accepted;
	m->rows[m->fill].shares_rejected += rejected;
}

const char *meter_activity_name(enum meter_activity a)
{
	static const char *const names[] = { "off", "serve", "fill" };
	return names[a];
}
