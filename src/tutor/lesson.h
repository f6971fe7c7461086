#ifndef HCP_TUTOR_LESSON_H
#define HCP_TUTOR_LESSON_H

#include "econ/forecast.h"
#include "svc/msg.h"

/*
 * One lesson: from the prices that the optimizer sent to the bytes of a trained model. Pure, and deterministic as
 * trainings are (econ/forecast.h); takes seconds.
 *
 * ret: a fresh message ModelPut, filled; its strings and bytes are in its arena, the names borrowed from l. HCP_EAGAIN:
 * too little is known; HCP_ECANCELED; HCP_ECORRUPT: the series do not hold together; HCP_EINVAL: a kind that is not
 * trained. stop: borrowed; NULL: never.
 */
int lesson_train(const Hcp__Lesson *l, const struct forecast_stop *stop, struct msg *ret, struct err *err) MUST_CHECK;

/* The same answer from a file's bytes, unchecked: the optimizer does. source: borrowed. */
int lesson_give(const Hcp__Lesson *l, struct str body, const char *source, struct msg *ret, struct err *err) MUST_CHECK;

#endif
