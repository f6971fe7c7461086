/* A submission that does not say what kind of work it is. */
#include <math.h>

#include "model/device_class.h"
#include "services/orchestrator/orchestrator_priv.h"

/* What the rules of a submission (model/workload) leave open. */
static void describe(const Hcp__WorkloadSubmit *s, struct classify_work *w)
{
	const struct device_class *c = s->device_class[0] ? device_class_find(str_of(s->device_class)) : NULL;
	classify_work_init(w);
	w->x[CLASSIFY_DURATION_S] = s->duration_s ? (double)s->duration_s : NAN;
	w->endless = s->duration_s == 0;
	w->x[CLASSIFY_GPUS] = c && c->kind != DEVICE_GPU ? 0 : s->device_count ? s->device_count : 1;
	bool part = s->has_gpu_fraction_case == HCP__WORKLOAD_SUBMIT__HAS_GPU_FRACTION_GPU_FRACTION;
	w->x[CLASSIFY_GPU_FRACTION] = part ? s->gpu_fraction : w->x[CLASSIFY_GPUS] > 0 && !s->mig_profile[0] ? 1 : NAN;
	w->max_latency_ms = s->max_latency_ms;
	w->may = CLASSIFY_BIT(WORKLOAD_MODEL_TRAINING);
	if (c && c->kind == DEVICE_ASIC) {
		w->may = CLASSIFY_BIT(WORKLOAD_BITCOIN_MINING);
		w->why = "its device class can only mine";
	} else if (s->model[0]) {
		w->may |= CLASSIFY_BIT(WORKLOAD_AI_INFERENCE_REALTIME) | CLASSIFY_BIT(WORKLOAD_AI_INFERENCE_BATCH);
	} else {
		w->why = "inference would name its model";
	}
	if (s->max_latency_ms > 0) /* then it lacks the model, if anything, and is told so */
		w->may |= CLASSIFY_BIT(WORKLOAD_AI_INFERENCE_REALTIME);
}

int orch_classify(
	const struct orchestrator *o, Hcp__WorkloadSubmit *s, struct arena *a, Hcp__Classification *ret, struct err *err)
{
	struct classify_work w;
	struct classify_answer answer;
	if (s->type != HCP__WORKLOAD_TYPE__WORKLOAD_TYPE_UNSPECIFIED)
		return 0;
	if (!s->device_class[0] && !s->device_count && !s->duration_s && !s->max_latency_ms && !s->memory_gib)
		return err_set(err, HCP_EINVAL, "type",
			"missing, and nothing tells it: one of ai_inference_realtime, ai_inference_batch, model_training, "
			"bitcoin_mining; or duration_s, device_count, max_latency_ms");
	describe(s, &w);
	int rc = classify(o->classify, &w, &answer, err);
	if (rc < 0)
		return rc;
	hcp__classification__init(ret);
	if (classified_fill(ret, &answer, a) < 0)
		return HCP_ENOMEM;
	s->type = ret->type;
	return 1;
}
