#ifndef HCP_AGENT_PRIORITY_H
#define HCP_AGENT_PRIORITY_H

/*
 * The calling thread goes ahead of batch work: nice -10 and the shortest time slice, with which the kernel (6.12 and
 * later) lets it run soon after it wakes. What a request waits for must not queue behind a compiler. Where the system
 * does not allow or know it, nothing happens.
 */
void priority_raise(void);

#endif
