#ifndef HCP_DEVICE_FILL_JOB_H
#define HCP_DEVICE_FILL_JOB_H

#include "wire/stratum_v1.h"

/* What fill threads hash, and what they find. Plain data, copied between threads. */
struct fill_job {
	uint64_t serial;       /* of the pool's work, grows */
	struct stratum_job job;
	struct stratum_bytes extranonce1;
	uint32_t extranonce2_size; /* 1..STRATUM_EXTRANONCE_MAX */
	uint32_t version_mask; /* 0: the job's version only */
	double difficulty;     /* of a share, > 0 */
};

struct fill_share {
	uint64_t serial;
	double difficulty;
	char job_id[STRATUM_JOB_ID_MAX + 1];
	struct stratum_bytes extranonce2;
	uint32_t ntime, nonce, version;
};

#endif
