#include "hash/engine.h"

#include <string.h>

#include "base/panic.h"
#include "hash/engine_priv.h"

#if defined(__x86_64__)
#include <cpuid.h>

static bool
has_avx512(void)
{
	return __builtin_cpu_supports("avx512f");
}

static bool
has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

/* Leaf 7 EBX bit 29; GCC 12's __builtin_cpu_supports has no name for it. XMM state is part of x86-64. */
bool
hash_has_sha_ni(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29) && __builtin_cpu_supports("sse4.1") &&
		__builtin_cpu_supports("ssse3");
}
#endif

static bool
always(void)
{
	return true;
}

const struct hash_engine hash_engines[] = {
#if defined(__x86_64__)
	{ "avx512", 16, has_avx512, hash_scan_avx512 },
	{ "sha-ni", 4, hash_has_sha_ni, hash_scan_sha_ni },
	{ "avx2", 8, has_avx2, hash_scan_avx2 },
#endif
	{ "portable", 1, always, hash_scan_portable },
};
const size_t hash_engine_count = sizeof(hash_engines) / sizeof(hash_engines[0]);

const struct hash_engine *
hash_engine_best(void)
{
	for (size_t i = 0; i < hash_engine_count; i++)
		if (hash_engines[i].is_supported())
			return &hash_engines[i];
	must_not_reach("the portable engine is always supported");
}

const struct hash_engine *
hash_engine_by_name(const char *name)
{
	for (size_t i = 0; i < hash_engine_count; i++)
		if (strcmp(hash_engines[i].name, name) == 0)
			return hash_engines[i].is_supported() ? &hash_engines[i] : NULL;
	return NULL;
}

struct hash_scan
hash_scan_begin(const struct hash_work *w, uint32_t nonce_begin, uint64_t nonce_count, struct hash_hit *hits,
	uint32_t max_hits)
{
	must(w->nversions >= 1 && w->nversions <= HASH_VERSIONS_MAX);
	must(max_hits >= HASH_VERSIONS_MAX);
	must(nonce_count <= (UINT64_C(1) << 32) - nonce_begin);
	return (struct hash_scan){
		.work = w, .hits = hits, .max_hits = max_hits,
		.begin = nonce_begin, .end = nonce_begin + nonce_count,
	};
}

uint32_t
hash_scan_settle(struct hash_scan *s, uint64_t base, uint32_t lanes, const uint32_t *masks)
{
	for (uint32_t lane = 0; lane < lanes; lane++) {
		if (base + lane >= s->end)
			return lane;
		if (s->max_hits - s->nhits < s->work->nversions)
			return lane;
		for (uint32_t v = 0; v < s->work->nversions; v++) {
			struct hash_hit *hit = &s->hits[s->nhits];

			if (!(masks[v] >> lane & 1))
				continue;
			hash_work_digest(s->work, v, (uint32_t)(base + lane), hit->hash);
			if (!hash_meets(hit->hash, s->work->target))
				continue;
			hit->nonce = (uint32_t)(base + lane);
			hit->version = s->work->versions[v].version;
			s->nhits++;
		}
	}
	return lanes;
}
