#ifndef HCP_SERVICES_COMMON_NEWS_H
#define HCP_SERVICES_COMMON_NEWS_H

#include "hcp.pb-c.h"
#include "wire/pb.h"

/*
 * Looks at packed events, for svc_def.wants: which of them say anything to a service that keeps books of what runs.
 * Bytes that cannot be read are always wanted, so that they are met and refused. Field numbers are those of
 * spec/proto/hcp.proto; a unit test packs each state.
 */
enum { NEWS_ALLOCATION_STATE = 4, NEWS_CHANGED_WORKLOAD = 1, NEWS_WORKLOAD_STATE = 4 };

/* AllocationChanged: devices are held now, or are no longer. The steps between are for people to look at. */
static inline bool news_of_allocation(struct str body)
{
	uint64_t state;
	if (pb_find_number(body, NEWS_ALLOCATION_STATE, &state) < 0)
		return true;
	return state == HCP__ALLOCATION_STATE__HELD || state == HCP__ALLOCATION_STATE__RELEASED ||
		   state == HCP__ALLOCATION_STATE__REFUSED;
}

/* WorkloadChanged: it runs. */
static inline bool news_of_running(struct str body)
{
	struct str workload;
	uint64_t state;
	if (pb_find_bytes(body, NEWS_CHANGED_WORKLOAD, &workload) < 0 ||
		pb_find_number(workload, NEWS_WORKLOAD_STATE, &state) < 0)
		return true;
	return state == HCP__WORKLOAD_STATE__RUNNING;
}

#endif
