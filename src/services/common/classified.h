#ifndef HCP_SERVICES_COMMON_CLASSIFIED_H
#define HCP_SERVICES_COMMON_CLASSIFIED_H

#include "base/arena.h"
#include "hcp.pb-c.h"
#include "sched/classify.h"

/* The built-in trees, for mem_free. HCP_ECORRUPT, HCP_ENOMEM. */
int classified_model_new(struct classify_model **ret, struct err *err) MUST_CHECK;
/* Texts are copied into a. HCP_ENOMEM. */
int classified_fill(Hcp__Classification *to, const struct classify_answer *from, struct arena *a) MUST_CHECK;

#endif
