#ifndef HCP_ECON_PPO_MODEL_H
#define HCP_ECON_PPO_MODEL_H

#include "base/err.h"
#include "base/str.h"
#include "econ/history.h"
#include "econ/ppo.h"
#include "model/site.h"

/*
 * What policy "ppo" has learned for a site: PPO_NETS actors, alike but for the seed, whose logits are added. The
 * critics are not needed any more and not kept.
 */
enum {
	PPO_NETS = 8,
	PPO_NETS_MAX = 8,
	PPO_MODEL_MAX = 1 << 18, /* bytes of a stored one */
};

struct ppo_model {
	char site[SITE_NAME_MAX], point[HISTORY_LOCATION_MAX];
	int64_t from_ns, to_ns; /* of the prices it was trained on; to_ns 0: not trained */
	uint64_t seed;
	size_t n;
	struct ppo_net net[PPO_NETS_MAX]; /* owned */
};

struct ppo_training {
	const struct site *site;   /* borrowed */
	const char *const *points; /* borrowed; the first is the site's own, the others are further episodes */
	size_t n_points;
	int64_t from_ns, to_ns; /* prices of intervals that began before to_ns are learned from */
	uint64_t seed;
	uint32_t iterations; /* of each net; 0: the default */
};

struct ppo_model_progress {
	size_t net, nets;
	struct ppo_progress of;
};
typedef void (*ppo_model_progress_fn)(void *arg, const struct ppo_model_progress *p);

/* HCP_EAGAIN, HCP_EINVAL, HCP_ERANGE with the field; HCP_ENOMEM; on success *ret is released and then written. */
int ppo_model_train(struct ppo_model *ret, const struct ppo_training *t, const struct history *h,
	ppo_model_progress_fn progress, void *arg, struct err *err) MUST_CHECK;
void ppo_model_release(struct ppo_model *m);
/* Above 0: run. obs as ppo_observe gives it. */
double ppo_model_say(const struct ppo_model *m, const float *obs);

/*
 * Appended to out, little-endian:
 *	| "HCPP" | crc32c u32 | version u32 | nets u32 | inputs u32 | hidden u32 | from_ns i64 | to_ns i64 | seed u64 |
 *	| site 32 | point 24 | parameters f32 [nets][ppo_net_params(inputs)] |
 * The checksum covers everything after it. load checks all of it and then swaps it in: HCP_ECORRUPT leaves m as it was.
 */
int ppo_model_save(const struct ppo_model *m, struct buf *out, struct err *err) MUST_CHECK;
int ppo_model_load(struct ppo_model *m, struct str bytes, struct err *err) MUST_CHECK;

#endif
