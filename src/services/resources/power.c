/*
 * The power tree: facility, feeders, PDUs, racks. What is reserved for a device counts at every level above it, so a
 * change costs as many additions as the tree is deep, however many devices there are.
 */
#include <stdio.h>

#include "services/resources/resources_priv.h"

/* ---- what the settings say ---- */

static bool known_by(const struct resources_budget *row, const char *facility, const char *path)
{
	struct power_numbers n;
	if (strcmp(row->facility, facility) != 0 || !row->path || !row->path[0] || !power_match(row->path, path, &n))
		return false;
	return row->count == 0 || (n.n && n.v[n.n - 1] <= (uint32_t)row->count);
}

static const struct resources_budget *row_of(const struct resources *r, const char *facility, const char *path)
{
	for (size_t i = 0; i < r->conf.n_budgets; i++)
		if (known_by(&r->conf.budgets[i], facility, path))
			return &r->conf.budgets[i];
	return NULL;
}

static bool has_levels(const struct resources *r, const char *facility)
{
	for (size_t i = 0; i < r->conf.n_budgets; i++)
		if (!strcmp(r->conf.budgets[i].facility, facility) && r->conf.budgets[i].path && r->conf.budgets[i].path[0])
			return true;
	return false;
}

static int unknown(const struct resources *r, const char *facility, const char *path, struct err *err)
{
	char known[120] = "";
	for (size_t i = 0; i < r->conf.n_budgets; i++) {
		const struct resources_budget *row = &r->conf.budgets[i];
		size_t at = strlen(known);
		if (strcmp(row->facility, facility) == 0 && row->path && row->path[0])
			snprintf(known + at, sizeof(known) - at, " %s", row->path);
	}
	return err_set(err, HCP_ENOTFOUND, "path", "%.40s has no '%.64s'; its site file names:%s", facility, path,
		known[0] ? known : " none");
}

/* The settings know it and every level above it. Makes nothing. */
static int check_path(const struct resources *r, const char *facility, const char *path, struct err *err)
{
	char part[POWER_PATH_MAX];
	int rc = power_path_check(path, false, "path", err);
	for (size_t n = 1; rc == 0 && n <= strlen(path); n++) {
		if (path[n] && path[n] != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)n, path);
		if (!row_of(r, facility, part))
			rc = unknown(r, facility, path, err);
	}
	return rc;
}

static int level_key(char *dst, size_t cap, const struct facility *f, const char *path)
{
	return snprintf(dst, cap, "%s/%s", f->name, path);
}

static int level_new(struct resources *r, struct facility *f, const char *path, const struct resources_budget *row,
	struct power *up, struct power **ret, struct err *err)
{
	char key[NAME_MAX_LEN + POWER_PATH_MAX + 2];
	if (r->n_levels == RESOURCES_LEVELS_MAX)
		return err_set(err, HCP_ELIMIT, "path", "there are %d levels of power already", RESOURCES_LEVELS_MAX);
	level_key(key, sizeof(key), f, path);
	struct power *p = mem_calloc(1, sizeof(*p));
	if (!p || vec_room((void **)&r->level, r->n_levels, &r->cap_levels, sizeof(p)) < 0 ||
		map_put(&r->levels, str_of(key), p, NULL) < 0) {
		mem_free(p);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	r->level[r->n_levels++] = p;
	*p = (struct power){ .up = up, .facility = f, .budget_w = row->budget_w, .inrush_w = row->inrush_w };
	snprintf(p->path, sizeof(p->path), "%s", path);
	*ret = p;
	return 0;
}

int power_get(struct resources *r, struct facility *f, const char *path, struct power **ret, struct err *err)
{
	char key[NAME_MAX_LEN + POWER_PATH_MAX + 2], part[POWER_PATH_MAX];
	struct power *up = &f->power;
	int rc = path[0] ? check_path(r, f->name, path, err) : 0;
	/* From the feeder down, each below the one before; POWER_PARTS_MAX of them at most. */
	for (size_t n = 1; rc == 0 && n <= strlen(path); n++) {
		if (path[n] && path[n] != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)n, path);
		level_key(key, sizeof(key), f, part);
		struct power *p = map_get(&r->levels, str_of(key));
		if (!p)
			rc = level_new(r, f, part, row_of(r, f->name, part), up, &p, err);
		up = p;
	}
	if (rc == 0)
		*ret = up;
	return rc;
}

int power_open(struct resources *r, struct facility *f)
{
	f->power.facility = f;
	f->has_levels = has_levels(r, f->name);
	for (size_t i = 0; i < r->conf.n_budgets; i++) {
		const struct resources_budget *row = &r->conf.budgets[i];
		struct power *p;
		if (strcmp(row->facility, f->name) != 0)
			continue;
		if (!row->path || !row->path[0]) {
			f->power.budget_w = row->budget_w;
			f->power.inrush_w = row->inrush_w;
		} else if (!strchr(row->path, '#')) {
			int rc = power_get(r, f, row->path, &p, NULL);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static const struct resources_hang *hang_of_class(
	const struct resources *r, const char *facility, const struct device_class *cls)
{
	for (size_t i = 0; i < r->conf.n_hangs; i++) {
		const struct resources_hang *h = &r->conf.hangs[i];
		if (!h->nodes && strcmp(h->facility, facility) == 0 && str_ieqz(str_of(h->device_class), cls->name))
			return h;
	}
	return NULL;
}

int power_of_class(struct resources *r, struct facility *f, const struct device_class *cls, struct power **ret)
{
	const struct resources_hang *h = hang_of_class(r, f->name, cls);
	*ret = &f->power;
	return h && h->path[0] ? power_get(r, f, h->path, ret, NULL) : 0;
}

bool power_must_say(const struct resources *r, const char *facility, const struct device_class *cls)
{
	const struct resources_hang *h = hang_of_class(r, facility, cls);
	return h && !h->path[0];
}

/* The rule that fits the node's id; "": none. */
static int rule_of(const struct resources *r, const char *facility, const char *node_id, char path[POWER_PATH_MAX])
{
	path[0] = '\0';
	for (size_t i = 0; i < r->conf.n_hangs; i++) {
		const struct resources_hang *h = &r->conf.hangs[i];
		struct power_numbers n;
		if (h->nodes && strcmp(h->facility, facility) == 0 && power_match(h->nodes, node_id, &n))
			return power_path_fill(h->path, &n, path, POWER_PATH_MAX);
	}
	return 0;
}

int power_place(const struct resources *r, const char *facility, const char *node_id, const char *feed,
	char ret_path[POWER_PATH_MAX], struct err *err)
{
	char rule[POWER_PATH_MAX];
	int rc = rule_of(r, facility, node_id, rule);
	if (rc < 0)
		return err_set(err, rc, "feed", "the site file's rule for node %.64s leads to a path too long", node_id);
	if (feed[0] && rule[0] && !power_path_within(feed, rule))
		return err_set(err, HCP_ECONFLICT, "feed", "node %.48s says '%.48s', by the site file it hangs at '%.48s'",
			node_id, feed, rule);
	const char *path = feed[0] ? feed : rule;
	rc = path[0] ? check_path(r, facility, path, err) : 0;
	if (rc == 0)
		snprintf(ret_path, POWER_PATH_MAX, "%s", path);
	else if (err)
		snprintf(err->field, sizeof(err->field), "feed");
	return rc;
}

int power_of_node(
	struct resources *r, struct facility *f, const char *node_id, const char *feed, struct power **ret, struct err *err)
{
	char path[POWER_PATH_MAX];
	int rc = power_place(r, f->name, node_id, feed, path, err);
	if (rc < 0)
		return rc;
	*ret = NULL;
	return path[0] ? power_get(r, f, path, ret, err) : 0;
}

/* ---- watts ---- */

void power_reserve(struct power *p, int64_t more_w)
{
	for (; p; p = p->up)
		p->reserved_w += more_w;
}

void power_move(struct node *n, struct power *to)
{
	if (n->power == to)
		return;
	for (size_t i = 0; i < n->n_devices; i++)
		power_reserve(device_power(n->devices[i]), -n->devices[i]->reserve_w);
	n->power = to;
	for (size_t i = 0; i < n->n_devices; i++)
		power_reserve(device_power(n->devices[i]), n->devices[i]->reserve_w);
}

static bool is_tripped(const struct power *p)
{
	return p->trip && !p->trip->restored;
}

bool power_is_off(const struct power *p)
{
	for (; p; p = p->up)
		if (is_tripped(p))
			return true;
	return false;
}

int64_t power_cap_w(const struct power *p)
{
	int64_t cap_w = p->budget_w ? p->budget_w : INT64_MAX;
	int64_t left_w = p->up ? INT64_MAX : curtail_cap_w(p->facility);
	if (is_tripped(p))
		return 0;
	return cap_w < left_w ? cap_w : left_w;
}

/* While it comes back after a trip it rises in steps even where no inrush was limited. */
static int64_t inrush_of(const struct power *p)
{
	int64_t step_w = p->trip ? p->budget_w / RESOURCES_RESTORE_STEPS : 0;
	return p->inrush_w && (!step_w || p->inrush_w < step_w) ? p->inrush_w : step_w;
}

/* Counted in time lived, which no jump of the clock shortens. What was ordered before we started is not known: it
 * counts as all there was. */
static int64_t may_rise_w(const struct resources *r, struct power *p)
{
	int64_t most_w = inrush_of(p);
	if (!most_w)
		return INT64_MAX;
	if (!p->window_lived_ns) {
		p->window_lived_ns = r->lived_ns + 1;
		p->risen_w = most_w;
	}
	if (r->lived_ns >= p->window_lived_ns + RESOURCES_INRUSH_MS * NS_PER_MS)
		return most_w;
	return most_w > p->risen_w ? most_w - p->risen_w : 0;
}

void power_rises(struct resources *r, struct power *p, int64_t more_w)
{
	for (; p && more_w > 0; p = p->up) {
		if (r->lived_ns >= p->window_lived_ns + RESOURCES_INRUSH_MS * NS_PER_MS) {
			p->window_lived_ns = r->lived_ns + 1;
			p->risen_w = 0;
		}
		p->risen_w += more_w;
	}
}

void power_promise_none(struct power *p)
{
	for (; p; p = p->up)
		p->promised_w = 0;
}

struct power *power_promise(struct resources *r, struct power *p, int64_t more_w)
{
	/* Going down, or staying, is always allowed: it takes nothing. */
	if (more_w <= 0)
		return NULL;
	for (struct power *q = p; q; q = q->up) {
		int64_t more = q->promised_w + more_w, cap_w = power_cap_w(q);
		if ((cap_w != INT64_MAX && q->reserved_w + more > cap_w) || more > may_rise_w(r, q))
			return q;
	}
	for (; p; p = p->up)
		p->promised_w += more_w;
	return NULL;
}

bool power_is_limited(const struct power *p)
{
	for (; p; p = p->up)
		if (power_cap_w(p) != INT64_MAX || p->inrush_w)
			return true;
	return false;
}

const struct power *power_too_small(struct device *const *d, size_t n, enum device_mode m)
{
	for (size_t i = 0; i < n; i++)
		power_promise_none(device_power(d[i]));
	for (size_t i = 0; i < n; i++)
		for (struct power *p = device_power(d[i]); p->up; p = p->up) {
			p->promised_w += device_mode_w(d[i], m);
			if (p->budget_w && p->promised_w > p->budget_w)
				return p;
		}
	/* What they may draw already needs not rise. */
	for (size_t i = 0; i < n; i++) {
		int32_t w = device_mode_w(d[i], m);
		for (struct power *p = device_power(d[i]); p->up; p = p->up)
			p->promised_w -= d[i]->reserve_w < w ? d[i]->reserve_w : w;
	}
	for (size_t i = 0; i < n; i++)
		for (struct power *p = device_power(d[i]); p->up; p = p->up)
			if (p->inrush_w && p->promised_w > p->inrush_w)
				return p;
	return NULL;
}
