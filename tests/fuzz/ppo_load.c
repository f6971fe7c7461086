/*
 * Stored weights of policy ppo are refused or can be used: whatever was loaded says a number of every observation. The
 * checksum is set right first, or nothing would get past it.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "econ/ppo_miner.h"
#include "econ/ppo_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct ppo_model m = { 0 };
	struct err err = { 0 };
	float obs[PPO_OBS];
	char *bytes = n ? mem_dup(p, n) : NULL;
	if (n >= 8) {
		uint32_t crc = crc32c(0, bytes + 8, n - 8);
		memcpy(bytes + 4, &crc, sizeof(crc));
	}
	int rc = ppo_model_load(&m, (struct str){ bytes ? bytes : "", n }, &err);
	if (rc == 0) {
		for (size_t i = 0; i < PPO_OBS; i++)
			obs[i] = (float)i - 20;
		if (m.n < 1 || m.n > PPO_NETS_MAX || m.to_ns <= m.from_ns || !isfinite(ppo_model_say(&m, obs)))
			abort();
		struct buf out;
		buf_init(&out, PPO_MODEL_MAX);
		if (ppo_model_save(&m, &out, &err) < 0 || out.n != n || memcmp(out.data + 8, bytes + 8, n - 8) != 0)
			abort();
		buf_release(&out);
	} else if (err.code != rc) {
		abort();
	}
	ppo_model_release(&m);
	mem_free(bytes);
	return 0;
}
