#ifndef HCP_TESTS_SIM_REAL_PRICES_H
#define HCP_TESTS_SIM_REAL_PRICES_H

#include "sim.h"

/* 0: everything held; 77: there is no recorded data; else a failure. Broken promises end the process. */
int real_prices_run(const struct sim_opts *opts);

#endif
