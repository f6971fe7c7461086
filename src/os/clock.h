#ifndef HCP_OS_CLOCK_H
#define HCP_OS_CLOCK_H

#include <stdint.h>

/*
 * The only readers of the system's clocks. Services never call these: they get time from the message
 * envelope; programs read them once per batch and hand the value in.
 */
int64_t clock_wall_ns(void); /* UTC since 1970 */
int64_t clock_mono_ns(void); /* same origin in every process of one boot */
void clock_sleep_ns(int64_t ns);
/* Processor time used so far by all threads of a process; pid 0: this one. 0 when there is no such process. */
int64_t clock_cpu_ns(int pid);

#endif
