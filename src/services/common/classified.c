#include "services/common/classified.h"

#include "base/mem.h"

int classified_model_new(struct classify_model **ret, struct err *err)
{
	struct classify_model *m = mem_calloc(1, sizeof(*m));
	int rc = m ? classify_model_load(m, (struct str){ (const char *)classify_builtin, classify_builtin_n }, err)
			   : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0) {
		mem_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

int classified_fill(Hcp__Classification *to, const struct classify_answer *from, struct arena *a)
{
	to->type = (Hcp__WorkloadType)from->type;
	to->priority_class = workload_class_name(workload_class_of(from->type));
	to->confidence = from->confidence;
	to->rule = arena_strdup(a, from->reason);
	to->by = from->by_model ? "model" : "rule";
	to->path = arena_strdup(a, from->path);
	return to->rule && to->path ? 0 : HCP_ENOMEM;
}
