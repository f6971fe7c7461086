#ifndef HCP_INFER_BUILTIN_H
#define HCP_INFER_BUILTIN_H

#include "infer/encoder.h"
#include "infer/runtime.h"

/*
 * The runtime of the default run: the encoder in this process. Verbs and requests run to their end on the calling
 * thread, so it belongs on a worker thread, not on an event loop. Start reads ~90 MB; a light wake is one embedding.
 */
struct builtin_opts {
	const char *dir;    /* model folder; copied */
	const char *model;  /* name that requests must give; NULL: the folder's. Copied */
	struct encoder_opts encoder; /* encoder.kernel must be static */
};

int builtin_new(const struct builtin_opts *opts, struct runtime **ret, struct err *err) MUST_CHECK;

/* NULL while no weights are held (stopped, deep asleep). */
const struct encoder_info *builtin_info(const struct runtime *r);

#endif
