#include "model/slice.h"

#include <math.h>
#include <stdio.h>

#include "base/panic.h"

bool slice_class_ok(const struct device_class *c)
{
	return c && c->kind == DEVICE_GPU;
}

/* "H100, H200, A100": the classes that can do it. */
static const char *classes(bool (*can)(const struct device_class *), char *dst, size_t cap)
{
	size_t n = 0;
	dst[0] = '\0';
	for (size_t i = 0; i < device_class_count() && n < cap; i++)
		if (can(device_class_at(i)))
			n += (size_t)snprintf(dst + n, cap - n, "%s%s", n ? ", " : "", device_class_at(i)->name);
	return dst;
}

static int want_fraction(const struct slice_wish *w, struct slice *ret, struct err *err)
{
	char able[128];
	double milli = w->gpu_fraction * SLICE_WHOLE;
	if (!isfinite(milli) || milli < 0.999999 || milli > SLICE_WHOLE || fabs(milli - round(milli)) > 1e-6)
		return err_set(
			err, HCP_ERANGE, "gpu_fraction", "must be from 0.001 to 1 in steps of 0.001, was %g", w->gpu_fraction);
	if (lround(milli) == SLICE_WHOLE)
		return 0;
	if (w->cls && !slice_class_ok(w->cls))
		return err_set(err, HCP_EINVAL, "gpu_fraction", "%s cannot be shared; these can: %s", w->cls->name,
			classes(slice_class_ok, able, sizeof(able)));
	if (w->device_count > 1)
		return err_set(err, HCP_EINVAL, "device_count", "gpu_fraction is a part of one device: must be 1, was %lld",
			(long long)w->device_count);
	if (w->cls && (double)w->memory_gib > w->cls->memory_gib)
		return err_set(err, HCP_ERANGE, "memory_gib", "one %s has %.0f GiB", w->cls->name, w->cls->memory_gib);
	ret->milli = (uint16_t)lround(milli);
	return 0;
}

static int want_instance(const struct slice_wish *w, struct slice *ret, struct err *err)
{
	char able[128];
	enum mig_geometry g;
	if (w->gpu_fraction != 0)
		return err_set(err, HCP_EINVAL, "mig_profile", "either this or gpu_fraction, not both");
	if (!w->cls)
		return err_set(err, HCP_EINVAL, "device_class", "mig_profile needs a class, since each has its own: one of %s",
			classes(mig_class_ok, able, sizeof(able)));
	if (!mig_class_ok(w->cls))
		return err_set(err, HCP_EINVAL, "mig_profile", "%s cannot be split into instances; these can: %s", w->cls->name,
			classes(mig_class_ok, able, sizeof(able)));
	int rc = mig_parse(w->cls, w->mig_profile, &g, err);
	if (rc < 0)
		return rc;
	if (w->device_count > 1)
		return err_set(err, HCP_EINVAL, "device_count", "an instance is a part of one device: must be 1, was %lld",
			(long long)w->device_count);
	const struct mig_profile *p = mig_profile_at(g);
	long has_gib = lround(w->cls->memory_gib * p->memory / MIG_MEMORY_SLICES);
	if (w->memory_gib > has_gib)
		return err_set(err, HCP_ERANGE, "memory_gib", "%s has %ld GiB; choose a larger instance, or less memory",
			mig_name(w->cls, g), has_gib);
	*ret = (struct slice){ .milli = p->milli, .mig = (uint8_t)g };
	return 0;
}

int slice_wanted(const struct slice_wish *w, struct slice *ret, struct err *err)
{
	struct slice s = { 0 };
	int rc = w->mig_profile.n ? want_instance(w, &s, err) : w->gpu_fraction != 0 ? want_fraction(w, &s, err) : 0;
	if (rc == 0)
		*ret = s;
	return rc;
}

uint32_t slice_held_milli(const struct device_class *c, const struct slice *s, double memory_gib)
{
	if (s->mig)
		return mig_profile_at((enum mig_geometry)s->mig)->milli;
	double by_memory = c->memory_gib > 0 ? ceil(SLICE_WHOLE * memory_gib / c->memory_gib) : 0;
	return by_memory > s->milli ? (uint32_t)fmin(by_memory, 1e9) : s->milli;
}

int slice_make(const struct device_class *c, int64_t milli, struct str mig_profile, int64_t start, struct slice *ret,
	struct err *err)
{
	enum mig_geometry g = MIG_NONE;
	if (!slice_class_ok(c))
		return err_set(err, HCP_EINVAL, "device_class", "%s cannot be shared", c ? c->name : "no class");
	if (!mig_profile.n) {
		if (milli < 1 || milli >= SLICE_WHOLE || start)
			return err_set(err, HCP_ERANGE, "milli", "a fraction is 1 to 999 thousandths, was %lld", (long long)milli);
		*ret = (struct slice){ .milli = (uint16_t)milli };
		return 0;
	}
	int rc = mig_parse(c, mig_profile, &g, err);
	if (rc < 0)
		return rc;
	const struct mig_profile *p = mig_profile_at(g);
	if (start < 0 || start >= MIG_MEMORY_SLICES || !(p->starts >> start & 1))
		return err_set(
			err, HCP_ERANGE, "mig_start", "%s cannot begin at memory slice %lld", mig_name(c, g), (long long)start);
	if (milli != p->milli)
		return err_set(
			err, HCP_ERANGE, "milli", "%s is %u thousandths, was %lld", mig_name(c, g), p->milli, (long long)milli);
	*ret = (struct slice){ .milli = p->milli, .mig = (uint8_t)g, .start = (uint8_t)start };
	return 0;
}

int slice_fits(const struct slice *have, size_t n, const struct slice *more, struct err *err)
{
	uint32_t milli = 0;
	if (n >= SLICES_MAX)
		return err_set(err, HCP_ECONFLICT, "", "has %d parts already", SLICES_MAX);
	for (size_t i = 0; i < n; i++) {
		milli += have[i].milli;
		if (!have[i].mig != !more->mig)
			return err_set(err, HCP_ECONFLICT, "", have[i].mig ? "is split into instances" : "is shared by fractions");
		if (more->mig && (mig_cover((enum mig_geometry)have[i].mig, have[i].start) &
							 mig_cover((enum mig_geometry)more->mig, more->start)))
			return err_set(err, HCP_ECONFLICT, "", "has another instance at memory slice %u", more->start);
	}
	if (!more->mig && milli + more->milli > SLICE_WHOLE)
		return err_set(err, HCP_ECONFLICT, "", "has %u thousandths left, not %u", SLICE_WHOLE - milli, more->milli);
	return 0;
}

static uint32_t sum_milli(const struct slice *s, size_t n)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += s[i].milli;
	return sum;
}

uint32_t slice_free_milli(const struct slice *s, size_t n)
{
	uint32_t sum = sum_milli(s, n);
	return sum < SLICE_WHOLE ? SLICE_WHOLE - sum : 0;
}

void slice_divide(int64_t amount, const struct slice *s, size_t n, int64_t *ret)
{
	uint32_t sum = sum_milli(s, n), of = sum > SLICE_WHOLE ? sum : SLICE_WHOLE;
	int64_t left = amount;
	must(amount >= 0 && n <= SLICES_MAX);
	for (size_t i = 0; i < n; i++) {
		ret[i] = (int64_t)((__int128)amount * s[i].milli / of);
		left -= ret[i];
	}
	ret[n] = 0;
	ret[n && sum >= SLICE_WHOLE ? 0 : n] += left;
}
