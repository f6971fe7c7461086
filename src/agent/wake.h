#ifndef HCP_AGENT_WAKE_H
#define HCP_AGENT_WAKE_H

#include "base/err.h"

struct loop;
struct wake;

/*
 * Lets any thread, of however low priority, call a function on the loop: without a lock that a thread which gets no
 * processor could keep. Calls made before the loop comes round become one.
 */
int wake_new(struct loop *loop, void (*fn)(void *arg), void *arg, struct wake **ret, struct err *err) MUST_CHECK;
/* Any thread, until wake_free. */
void wake_up(struct wake *w);
/* The memory goes in the loop's close phase. NULL is fine. */
void wake_free(struct wake *w);

#endif
