#ifndef HCP_LEARN_ADAM_H
#define HCP_LEARN_ADAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * One step of Adam (Kingma, Ba 2015; 0.9, 0.999, 1e-8) over n parameters. m1, m2: its moments, 0 before the first step;
 * step: 1 for the first. The gradient is shortened to gradient_max if it is longer.
 */
void adam_step(double *param, const double *grad, double *m1, double *m2, size_t n, uint64_t step, double rate,
	double gradient_max);

#endif
