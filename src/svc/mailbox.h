#ifndef HCP_SVC_MAILBOX_H
#define HCP_SVC_MAILBOX_H

#include <stdint.h>

#include "base/err.h"
#include "svc/msg.h"

/*
 * Bounded queue of messages: any thread pushes, the owner takes. A poke wakes the owner without a message (the
 * bus has something, or it shall stop).
 */
struct mailbox;

int mailbox_new(size_t cap, struct mailbox **ret) MUST_CHECK;
/* Messages still inside are answered "closed" and freed. */
void mailbox_free(struct mailbox *mb);
/* HCP_ELIMIT when full, HCP_ECLOSED after mailbox_close: the caller keeps m. */
int mailbox_push(struct mailbox *mb, struct msg *m) MUST_CHECK;
void mailbox_poke(struct mailbox *mb);
void mailbox_close(struct mailbox *mb);
/* Up to max messages in order, as a list through ->next; NULL if none. */
struct msg *mailbox_take(struct mailbox *mb, size_t max);
/* Blocks until there is a message or a poke, or until the monotonic time; clears pokes. */
void mailbox_wait(struct mailbox *mb, int64_t until_mono_ns);
size_t mailbox_size(struct mailbox *mb);

#endif
