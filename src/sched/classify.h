#ifndef HCP_SCHED_CLASSIFY_H
#define HCP_SCHED_CLASSIFY_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "learn/tree.h"
#include "model/workload.h"

/*
 * Which kind of work something is (SCHED-1), told from what is known of it. In this order:
 *
 *	1. what it cannot be is struck out (`may`, a latency bound, only real-time inference has one); one kind left: that
 *	2. a tree learned from recorded work (tree.h), if it was told duration and GPUs and is sure enough: one that reads
 *	   the host's CPU and memory, too, where both are told, and one that has never seen them
 *	3. rules, the first that applies
 *
 * The tree knows real-time inference, batch inference and training only: no trace says mining. Pure.
 */

/* What the tree reads; the order is part of the stored model. */
enum classify_feature {
	CLASSIFY_DURATION_S = 0,   /* expected run */
	CLASSIFY_GPUS = 1,         /* of the gang; 0: none */
	CLASSIFY_GPU_FRACTION = 2, /* of each GPU, 0..1 */
	CLASSIFY_CPU_CORES = 3,    /* of the host, for the whole job */
	CLASSIFY_MEMORY_GIB = 4,   /* of the host, for the whole job */
	CLASSIFY_FEATURES = 5,
};
/* Classes of the tree: type - 1 of the first three types. */
enum { CLASSIFY_CLASSES = 3, CLASSIFY_BARE = 3, CLASSIFY_REASON_MAX = 160, CLASSIFY_PATH_MAX = 320 };

/* bare reads the first CLASSIFY_BARE features, full all. */
struct classify_model {
	struct tree bare, full;
};
enum { CLASSIFY_BYTES_MAX = 4 + 2 * TREE_BYTES_MAX };

/* The tree's least confidence; below it rules decide. docs/classification.md shows what it was chosen by. */
#define CLASSIFY_SURE 0.8
#define CLASSIFY_VALUE_MAX 1e12
#define CLASSIFY_BIT(type) (1U << (type))

/* NAN: not told. Strings are borrowed. */
struct classify_work {
	double x[CLASSIFY_FEATURES];
	double max_latency_ms; /* 0: none */
	double size_mb;        /* of the input */
	struct str tier;       /* of the customer: free, standard, premium, enterprise; {0}: not told */
	bool endless;          /* runs until it is cancelled */
	unsigned may;          /* CLASSIFY_BIT of each type that it can be; 0: any */
	const char *why;       /* words for what struck the others out, where one is left; NULL: none */
};

struct classify_answer {
	enum workload_type type;
	double confidence; /* 0..1 */
	bool by_model;
	char reason[CLASSIFY_REASON_MAX]; /* the rule, or how many recorded jobs the model speaks from */
	char path[CLASSIFY_PATH_MAX];     /* conditions of the tree, whether it was followed or not; "": it was not asked */
	double share[CLASSIFY_CLASSES];   /* what the tree says; 0 each: it was not asked */
};

/* Nothing told, any type. */
void classify_work_init(struct classify_work *w);
/*
 * model may be NULL: rules only. HCP_ERANGE for a value that is infinite, negative or beyond CLASSIFY_VALUE_MAX,
 * HCP_EINVAL for an unknown tier, with the field as the API names it; *ret is written on success only.
 */
int classify(const struct classify_model *model, const struct classify_work *w, struct classify_answer *ret,
	struct err *err) MUST_CHECK;
/* As the API names it: "duration_s", ... */
const char *classify_feature_name(enum classify_feature f);
/*
 * Appended to out, little-endian: | bytes of bare u32 | bare | full | (tree.h). Trees of other features or classes are
 * none of ours: HCP_ECORRUPT, and m is as it was.
 */
int classify_model_save(const struct classify_model *m, struct buf *out, struct err *err) MUST_CHECK;
int classify_model_load(struct classify_model *m, struct str bytes, struct err *err) MUST_CHECK;
/*
 * spec/models/classify.bin, which is built in: what was learned is part of the program, so that a replay by the same
 * program says the same.
 */
extern const unsigned char classify_builtin[];
extern const size_t classify_builtin_n;

#endif
