#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/site.h"

/* "64xH100" */
static int parse_devices(struct str text, const struct device_class **ret_cls, uint32_t *ret_n, struct err *err)
{
	struct str rest = text, count = str_split(&rest, 'x');
	uint64_t n;
	if (!rest.p || num_parse_u64(count, &n) < 0 || n == 0 || n > SITE_COUNT_MAX)
		return err_set(
			err, HCP_EINVAL, "devices", "'%.*s' must be like 64xH100", (int)(text.n < 40 ? text.n : 40), text.p);
	*ret_cls = device_class_find(rest);
	*ret_n = (uint32_t)n;
	return *ret_cls ? 0 : err_set(err, HCP_ENOTFOUND, "devices", "there is no device class %.*s",
		(int)(rest.n < 40 ? rest.n : 40), rest.p);
}

static struct site_group *group_of(struct site *s, const struct device_class *cls)
{
	return (struct site_group *)(uintptr_t)site_group_of(s, cls);
}

/* A class that was not there is run, and starts, as the first group of its kind does. */
static int new_group(struct site *s, const struct device_class *cls, struct site_group **ret, struct err *err)
{
	const struct site_group *like = NULL;
	for (size_t i = 0; i < s->n_groups && !like; i++)
		if (s->group[i].cls->kind == cls->kind)
			like = &s->group[i];
	if (s->n_groups == SITE_GROUPS_MAX)
		return err_set(err, HCP_ELIMIT, "devices", "a site has at most %d groups", SITE_GROUPS_MAX);
	if (!like)
		return err_set(err, HCP_ENOTFOUND, "devices",
			"the site has no device of %s's kind; its file must say how it is run", cls->name);
	struct site_group *g = &s->group[s->n_groups++];
	*g = *like;
	g->cls = cls;
	g->count = 0;
	snprintf(g->name, sizeof(g->name), "%s", cls->name);
	*ret = g;
	return 0;
}

/* A group without devices is none. */
static void drop(struct site *s, size_t k)
{
	s->n_groups--;
	memmove(&s->group[k], &s->group[k + 1], (s->n_groups - k) * sizeof(s->group[0]));
}

int site_add(struct site *s, struct str devices, struct err *err)
{
	const struct device_class *cls;
	uint32_t n = 0;
	int rc = parse_devices(devices, &cls, &n, err);
	if (rc < 0)
		return rc;
	struct site_group *g = group_of(s, cls);
	if (g && g->count > SITE_COUNT_MAX - n)
		return err_set(err, HCP_ELIMIT, "devices", "%s: more than %d devices", cls->name, SITE_COUNT_MAX);
	if (!g)
		rc = new_group(s, cls, &g, err);
	if (rc == 0)
		g->count += n;
	return rc;
}

int site_remove(struct site *s, struct str devices, struct err *err)
{
	const struct device_class *cls;
	uint32_t n = 0;
	int rc = parse_devices(devices, &cls, &n, err);
	if (rc < 0)
		return rc;
	struct site_group *g = group_of(s, cls);
	if (!g || g->count < n)
		return err_set(err, HCP_ERANGE, "devices", "the site has %u %s, not %u", g ? g->count : 0, cls->name, n);
	g->count -= n;
	if (g->count == 0)
		drop(s, (size_t)(g - s->group));
	return 0;
}

int site_fail(struct site *s, struct str feeder, struct err *err)
{
	char known[160] = "";
	for (size_t i = 0; i < s->n_feeders; i++) {
		size_t at = strlen(known);
		if (str_eqz(feeder, s->feeder[i].name)) {
			for (size_t k = s->n_groups; k-- > 0;)
				if (s->group[k].feeder == (int)i)
					drop(s, k);
			return 0;
		}
		snprintf(known + at, sizeof(known) - at, " %s", s->feeder[i].name);
	}
	return err_set(err, HCP_ENOTFOUND, "feeder", "the site has no feeder '%.*s'; it has:%s",
		(int)(feeder.n < 40 ? feeder.n : 40), feeder.p, known[0] ? known : " none");
}
