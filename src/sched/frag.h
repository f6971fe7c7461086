#ifndef HCP_SCHED_FRAG_H
#define HCP_SCHED_FRAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How much of the free GPU capacity the demand cannot use (Weng et al., "Beware of Fragmentation: Scheduling
 * GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023). Demand is a set of task shapes m with
 * shares p_m. With R_g the free milli-GPUs of GPU g of node n, and a task of D GPUs of d milli each (d = 1000 for whole
 * ones):
 *
 *	F_n(m) = sum of R_g over all g                        if m does not fit on n: CPU, memory, or fewer than D GPUs
 *	                                                      with R_g >= d
 *	       = sum of R_g over those g with R_g < d         if it does
 *	F_n    = sum over m of p_m F_n(m)                     milli-GPUs; 0 <= F_n <= sum of R_g
 *
 * A placement descends the gradient: it goes where F_n grows least. Tasks without GPUs would add the same to every
 * choice and are left out. Pure; one thread.
 */
enum {
	FRAG_SHAPES_MAX = 24, /* the commonest are kept; the paper's "typical pods" */
	FRAG_GPUS_MAX = 16,   /* of a node */
	FRAG_REFRESH = 64,    /* observations between two readings of the shares */
};

struct frag_shape {
	uint32_t cpu_milli, memory_mib; /* of the host, for the whole task */
	uint16_t gpus;                  /* 1 or more */
	uint16_t milli;                 /* of each, 1..1000 */
};

/*
 * Recent demand: each observation weighs 1/512 less with every later one. Unlike the paper's shares by number of tasks,
 * those observed count by the GPUs that they ask for: a gang of eight is worth keeping eight together for.
 */
struct frag_demand {
	struct frag_shape shape[FRAG_SHAPES_MAX]; /* by milli, then gpus, cpu, memory: ascending */
	double weight[FRAG_SHAPES_MAX];
	float share[FRAG_SHAPES_MAX]; /* as read last; sum 1 */
	unsigned n;
	double step;    /* weight of the next observation */
	unsigned fresh; /* observations since the shares were read */
	uint32_t epoch; /* counts readings */
};

struct frag_node {
	uint32_t cpu_free_milli, memory_free_mib; /* UINT32_MAX: without limit */
	unsigned n;
	uint16_t milli[FRAG_GPUS_MAX]; /* free of each GPU, 0..1000, any order */
};

void frag_init(struct frag_demand *d);
/* A task arrived (once per task, not per try). Shapes without GPUs are passed over. */
void frag_observe(struct frag_demand *d, const struct frag_shape *s);
/* The demand as it is known: the heaviest FRAG_SHAPES_MAX of n, each shape once; weights > 0. */
void frag_set(struct frag_demand *d, const struct frag_shape *shape, const double *weight, size_t n);
/* F_n in milli-GPUs. 0 while nothing was observed. */
double frag_of(const struct frag_demand *d, const struct frag_node *n);
/* Does a task fit on the node? */
bool frag_fits(const struct frag_shape *s, const struct frag_node *n);
/* Takes it from a node where it fits: whole GPUs from the first free ones, a fraction from GPU `gpu`. */
void frag_take(struct frag_node *n, const struct frag_shape *s, unsigned gpu);

#endif
