#ifndef HCP_SIM_JOB_TRACE_H
#define HCP_SIM_JOB_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/workload.h"

/*
 * Recorded jobs of a GPU cluster out of a published trace. Which one is told by the columns of the header:
 *
 *	pods    gpu_milli, creation_time, ...  Alibaba openb (FGD, ATC '23): CPU, memory, GPUs, thousandths, QoS, seconds
 *	images  exec_time_s, base_model, ...   Alibaba GenAI: a request takes one GPU for as long as it ran
 *	tokens  context_tokens, ...            Azure LLM inference (Splitwise, ISCA '24): a request takes a slot of a GPU
 *	                                       for context / prefill rate + generated / decode rate
 *
 * Classes: LS is P1; Guaranteed, Burstable and any other QoS P2; BE P3; requests are P1. The customer is the QoS, the
 * base model, the workload: traces name no other. A pod runs as long as it did; one that was never scheduled is asked
 * for as long as it was wanted (creation to deletion). Pure.
 */
enum {
	JOB_TRACE_JOBS_MAX = 4 * 1024 * 1024,
	JOB_TRACE_CUSTOMERS_MAX = 4096,
	JOB_TRACE_NAME_MAX = 40,
	JOB_TRACE_GPUS_MAX = 512,
};
#define JOB_TRACE_S_MAX 1e10 /* seconds of a trace's clock */

enum job_trace_kind { JOB_TRACE_PODS = 0, JOB_TRACE_IMAGES = 1, JOB_TRACE_TOKENS = 2, JOB_TRACE_KIND_END = 3 };

struct trace_job {
	int64_t arrive_ms;              /* from the first arrival */
	int64_t run_ms;                 /* >= 1 */
	int64_t waited_ms;              /* in the trace itself; -1: not told, or never scheduled */
	uint32_t cpu_milli, memory_mib; /* of the host, for the whole job */
	uint16_t gpus;                  /* 0: CPU alone */
	uint16_t milli;                 /* of each, 1..1000 */
	uint16_t customer;
	uint8_t cls; /* enum workload_class */
};

struct job_trace_conf {
	double prefill_tokens_s, decode_tokens_s; /* of one request; tokens only */
	uint16_t slot_milli;                      /* of a GPU that a request holds; tokens only */
};

struct job_trace {
	enum job_trace_kind kind;
	struct trace_job *job; /* owned; by arrival, then line */
	size_t n, cap;
	size_t skipped;                       /* rows that never ran (images without a time) */
	char (*customer)[JOB_TRACE_NAME_MAX]; /* owned */
	size_t n_customers, cap_customers;
};

void job_trace_conf_default(struct job_trace_conf *conf);
/* "pods", "images", "tokens". */
const char *job_trace_kind_name(enum job_trace_kind k);
/*
 * HCP_EPARSE, HCP_ERANGE with the column in err->field and the line in the text; HCP_ENOTFOUND: a header of no known
 * trace, or no job; HCP_ELIMIT; HCP_ENOMEM. *ret is written on success only.
 */
int job_trace_parse(
	struct str text, const struct job_trace_conf *conf, struct job_trace *ret, struct err *err) MUST_CHECK;
void job_trace_release(struct job_trace *t);

#endif
