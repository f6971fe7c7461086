#include "learn/adam.h"

#include <math.h>

void adam_step(double *param, const double *grad, double *m1, double *m2, size_t n, uint64_t step, double rate,
	double gradient_max)
{
	double norm = 0, c1 = 1 - pow(0.9, (double)step), c2 = 1 - pow(0.999, (double)step);
	for (size_t i = 0; i < n; i++)
		norm += grad[i] * grad[i];
	norm = sqrt(norm);
	double by = norm > gradient_max ? gradient_max / norm : 1;
	for (size_t i = 0; i < n; i++) {
		double g = grad[i] * by;
		m1[i] = 0.9 * m1[i] + 0.1 * g;
		m2[i] = 0.999 * m2[i] + 0.001 * g * g;
		param[i] -= rate * (m1[i] / c1) / (sqrt(m2[i] / c2) + 1e-8);
	}
}
