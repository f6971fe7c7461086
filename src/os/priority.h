#ifndef HCP_OS_PRIORITY_H
#define HCP_OS_PRIORITY_H

#include <stdbool.h>

/*
 * The calling thread goes ahead of batch work: nice -10 and the shortest time slice, with which the kernel (6.12 and
 * later) lets it run soon after it wakes. What a request waits for must not queue behind a compiler. Where the system
 * does not allow or know it, nothing happens.
 */
void priority_raise(void);
/* Behind what somebody waits for (nice 5): a third of what an equal would get, and all that nobody else wants. */
void priority_lower(void);

/*
 * Wake-up latency: while held, idle processors poll instead of going to sleep (PM QoS, /dev/cpu_dma_latency). Waking a
 * sleeping one costs 20 to 200 us, in a virtual machine up to milliseconds. Meant for the moments in which the
 * processors would have mined otherwise, so it costs no watt beyond that. Where the system has it not: -1 and nothing.
 */
int priority_awake_open(void);
void priority_awake(int fd, bool hold);

#endif
