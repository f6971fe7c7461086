#ifndef HCP_SIM_CLASS_REPORT_H
#define HCP_SIM_CLASS_REPORT_H

#include "sched/classify.h"
#include "sim/job_trace.h"

/*
 * Recorded jobs as examples for the classification of work (sched/classify.h), and how well it does on those that it
 * has not seen. A label is the class of job_trace.h: LS pods and every request are real-time inference, Guaranteed and
 * Burstable pods batch inference, BE pods training. Traces do not say what ran in a pod: this is the promise that its
 * owner asked for, which is what the class decides here too. What a trace does not tell is missing: host CPU and memory
 * and the part of a GPU for requests, the duration of pods that never ran. Requests are taken to use one GPU. Pure.
 */
enum { CLASS_FILES_MAX = 8, CLASS_FOLDS_MAX = 20 };

struct class_rows {
	size_t n, cap, files;
	float *x; /* owned; [n][CLASSIFY_FEATURES] */
	uint8_t *label, *file;
	float *weight;
	uint32_t *rank;                  /* place in its file, by arrival */
	size_t in_file[CLASS_FILES_MAX]; /* rows */
	enum job_trace_kind kind[CLASS_FILES_MAX];
};

/* HCP_ELIMIT, HCP_ENOMEM. Every file weighs as much as the smallest one. */
int class_rows_add(struct class_rows *r, const struct job_trace *t, struct err *err) MUST_CHECK;
void class_rows_release(struct class_rows *r);
/* Depth 6, 20 rows at least on either side of a split, a fall of impurity of at least 0.0005. */
void class_conf_default(struct tree_conf *conf);
/* From all rows. */
int class_train(
	struct classify_model *ret, const struct class_rows *r, const struct tree_conf *conf, struct err *err) MUST_CHECK;

/*
 * Who judged: the rules alone; each tree alone, by its likeliest class; classify() as a submission is judged (nothing
 * told of the host), and as work of which all that the trace has was told.
 */
enum class_judge {
	CLASS_RULES = 0,
	CLASS_BARE = 1,
	CLASS_FULL = 2,
	CLASS_SUBMITTED = 3,
	CLASS_DESCRIBED = 4,
	CLASS_JUDGES = 5
};
const char *class_judge_name(enum class_judge j);

struct class_report {
	size_t folds;
	size_t count[CLASS_JUDGES][CLASSIFY_CLASSES][WORKLOAD_TYPE_END - 1]; /* [label][answer], type - 1 */
	size_t right[CLASS_JUDGES][CLASS_FILES_MAX];
	size_t sure[CLASS_JUDGES][CLASS_FILES_MAX], sure_right[CLASS_JUDGES][CLASS_FILES_MAX]; /* where a tree decided */
};

/*
 * Cross-validation: fold k is the k-th of `folds` parts of each file by arrival (neighbours in time are alike; a random
 * choice would test what was learned), judged by a tree that was grown from the others. HCP_ERANGE: folds not 2 to
 * CLASS_FOLDS_MAX.
 */
int class_report_run(struct class_report *ret, const struct class_rows *r, const struct tree_conf *conf, size_t folds,
	struct err *err) MUST_CHECK;

#endif
