#include "model/mig.h"

#include <stdio.h>
#include <string.h>

static const struct mig_profile profile[MIG_END] = {
	[MIG_1G] = { 1, 1, 0x7f, 143 },
	[MIG_1G_DOUBLE] = { 1, 2, 0x55, 250 },
	[MIG_2G] = { 2, 2, 0x15, 286 },
	[MIG_3G] = { 3, 4, 0x11, 500 },
	[MIG_4G] = { 4, 4, 0x01, 572 },
	[MIG_7G] = { 7, 8, 0x01, 1000 },
};

/* The maker rounds memory as it likes, so names are a table. */
static const struct {
	const char *cls;
	const char *name[MIG_END];
} names[] = {
	{ "A100", { NULL, "1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb" } },
	{ "H100", { NULL, "1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb" } },
	{ "H200", { NULL, "1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb" } },
};

const struct mig_profile *mig_profile_at(enum mig_geometry g)
{
	return (unsigned)g - 1 < MIG_END - 1 ? &profile[g] : NULL;
}

static int names_of(const struct device_class *c)
{
	for (size_t i = 0; c && i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i].cls, c->name))
			return (int)i;
	return -1;
}

bool mig_class_ok(const struct device_class *c)
{
	return names_of(c) >= 0;
}

const char *mig_name(const struct device_class *c, enum mig_geometry g)
{
	int at = names_of(c);
	return at < 0 || !mig_profile_at(g) ? NULL : names[at].name[g];
}

int mig_parse(const struct device_class *c, struct str name, enum mig_geometry *ret, struct err *err)
{
	int at = names_of(c);
	if (at < 0)
		return err_set(err, HCP_EINVAL, "mig_profile", "%s cannot be split into instances", c ? c->name : "no class");
	for (int g = 1; g < MIG_END; g++) {
		if (str_ieqz(name, names[at].name[g])) {
			*ret = (enum mig_geometry)g;
			return 0;
		}
	}
	const char *const *n = names[at].name;
	return err_set(err, HCP_ENOTFOUND, "mig_profile", "%s has no profile \"%.*s\"; it has %s, %s, %s, %s, %s, %s",
		c->name, (int)(name.n < 40 ? name.n : 40), name.n ? name.p : "", n[1], n[2], n[3], n[4], n[5], n[6]);
}

uint8_t mig_cover(enum mig_geometry g, unsigned start)
{
	return (uint8_t)(((1U << profile[g].memory) - 1) << start);
}

unsigned mig_room(uint8_t taken)
{
	unsigned room = 0;
	for (int g = 1; g < MIG_END; g++)
		for (unsigned at = 0; at < MIG_MEMORY_SLICES; at++)
			if ((profile[g].starts >> at & 1) && !(mig_cover((enum mig_geometry)g, at) & taken))
				room += profile[g].memory;
	return room;
}

int mig_place(uint8_t taken, enum mig_geometry g)
{
	int best = -1;
	unsigned most = 0;
	if (!mig_profile_at(g))
		return -1;
	for (unsigned at = 0; at < MIG_MEMORY_SLICES; at++) {
		uint8_t cover = mig_cover(g, at);
		if (!(profile[g].starts >> at & 1) || (cover & taken))
			continue;
		unsigned room = mig_room((uint8_t)(taken | cover));
		if (best < 0 || room >= most) {
			best = (int)at;
			most = room;
		}
	}
	return best;
}
