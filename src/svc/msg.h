#ifndef HCP_SVC_MSG_H
#define HCP_SVC_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "bus/bus.h"
#include "spec_table.h"
#include "wire/pb.h"

/*
 * A message in flight: envelope, and a body that lives in the message's own arena. One owner at a time: whoever
 * pushes it into a mailbox or hands it to a reply function has given it away.
 */
struct msg {
	struct msg *next;       /* link of the mailbox that holds it */
	uint16_t type;          /* enum msg_type; MSG_NONE: a timer */
	struct arena arena;     /* owns body, strings, principal */
	ProtobufCMessage *body; /* NULL only for timers */
	struct str packed;      /* body as its sender packed it, for the journal (msg_keep); empty: not kept */
	int sender;             /* enum svc_id of events, SVC_NONE from outside */
	uint64_t seq;           /* sender's event number; 0: not an event */
	uint64_t bus_offset;
	struct bus_rec *rec;    /* a reference to the event as it was packed; NULL: came another way */
	uint64_t clock;         /* logical time of an event: later than all that led to it; 0 for requests */
	int64_t at_ns;          /* when it was made */
	int64_t deadline_ns;    /* 0: none */
	const char *idempotency_key; /* "" if none */
	const char *key;             /* partition key, "" if none */
	const Hcp__Principal *principal; /* NULL: inside the platform */
	bool waited_for;             /* held by a service, and somebody is kept waiting by that */
	uint64_t trace_hi, trace_lo, span;
	/* Called once, from the answering thread, with a reply it then owns. NULL: nobody waits. */
	void (*reply_fn)(void *arg, struct msg *reply);
	void *reply_arg;
};

/* A message of that type with an initialised empty body; NULL when out of memory. */
struct msg *msg_new(unsigned type);
void msg_free(struct msg *m);
/* Decodes a packed body. */
int msg_from_bytes(unsigned type, struct str bytes, struct msg **ret, struct err *err) MUST_CHECK;

/* Keeps the bytes that the body was decoded from, so that it is not packed again; it must not be changed any more. */
int msg_keep(struct msg *m, struct str bytes) MUST_CHECK;

/* Whole message with envelope, as bytes between processes, in the journal and on the bus. */
int msg_pack(const struct msg *m, struct buf *out) MUST_CHECK;
/* Of an event only where on the bus it was; behind the event as its sender packed it (m->rec) that makes the whole. */
int msg_pack_place(const struct msg *m, struct buf *out) MUST_CHECK;
int msg_unpack(struct str bytes, struct msg **ret, struct err *err) MUST_CHECK;
int msg_from_envelope(const Hcp__Envelope *e, struct msg **ret, struct err *err) MUST_CHECK;

/* A Problem reply from err. */
struct msg *msg_problem(int code, const struct err *err);
/* Answers m (if someone waits) and forgets the waiter; takes reply. */
void msg_answer(struct msg *m, struct msg *reply);
void msg_answer_problem(struct msg *m, int code, const struct err *err);

/* Fills *err from a Problem message and returns its code; 0 if m is none. */
int msg_error(const struct msg *m, struct err *err);

#endif
