#ifndef HCP_SVC_SVC_PRIV_H
#define HCP_SVC_SVC_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "svc/svc.h"

struct out_event {
	uint64_t seq;
	uint16_t topic;
	struct str bytes; /* packed Envelope, in the batch's arena */
};

struct out_reply {
	struct msg *to;    /* borrowed input, or a held message (owned then) */
	struct msg *reply; /* owned */
	bool held;
};

struct out_agent {
	char *node_id;
	struct str bytes;
};

/* One batch in the making. */
struct svc_ctx {
	struct svc *svc;
	int64_t now_ns;
	uint64_t clock;           /* of its events */
	struct rng rng;
	struct arena arena;
	struct msg **in;          /* inputs; an entry that the state took becomes NULL */
	size_t n_in;
	struct msg *current;      /* message in hand; NULL in a timer */
	struct msg *current_reply;
	bool kept;                /* current was taken by svc_hold */
	struct out_event *events;
	size_t n_events, cap_events;
	struct out_reply *replies;
	size_t n_replies, cap_replies;
	struct out_agent *agents;
	size_t n_agents, cap_agents;
	uint64_t numbers; /* given out by svc_number */
};

struct svc {
	const struct svc_def *def;
	struct svc_conf conf;
	char *db_path;
	struct db *db;
	struct mailbox *mailbox;
	void *state;             /* NULL while down */
	uint64_t mask;           /* topics it reads */
	const struct svc_handler *by_type[MSG_TYPE_MAX + 1];
	uint64_t instance;       /* seed of this database */
	int64_t batch_no;        /* of the last committed batch */
	uint64_t seq;            /* of the last event */
	uint64_t clock;          /* logical time of the last committed batch */
	uint64_t bus_next;       /* where to read on, once the batch in hand is committed */
	uint64_t bus_read_next;  /* behind what the batch in hand has read */
	uint64_t inbox[SVC_COUNT];  /* last seq consumed, by sender */
	uint64_t sent_offset;    /* bus offset of the mark that waits for a sync; 0: none */
	int64_t sent_batch;
	int64_t journal_bytes; /* kept now, about: a crash forgets a few batches; as the next does */
	int64_t journal_total; /* ever taken in, about */
	int64_t oldest_batch;  /* of the journal; 0: it is empty */
	bool counted;          /* the two numbers of bytes were read: those in memory are newer */
	char *base_dir;        /* NULL: no bases */
	int64_t base_bytes;
	size_t bases_kept;
	int64_t base_batch;    /* of the last base; 0: none */
	int64_t base_total;    /* journal_total at that time */
	int64_t base_size;     /* bytes of its file */
	int64_t base_ns;       /* when it was taken, or the service opened */
	int64_t base_retry_ns; /* not before, after a failure */
	int64_t keep_from;     /* batches before this one may go; 0: none */
	bool base_busy;
	size_t n_held;           /* messages that the state holds unanswered */
	int64_t appended_batch;  /* the bus has all events up to it, perhaps not on the disk */
	int64_t published_batch; /* the bus has all events up to it on the disk */
	atomic_uint_fast64_t bus_synced;
	int64_t wake_ns, periodic_ns;
	int64_t retry_ns;        /* not before, after an abort */
	int64_t busy_ns;         /* the last large batch; 0: long ago */
	int64_t worked_ns, lull_ns; /* the last batch, and how long after the one before it came */
	int64_t step_ns;         /* clock at the last step: it may go back */
	int64_t log_retry_ns;    /* when the log is tried again; 0: it takes events */
	int aborts_in_row;
	struct svc_ctx ctx;
	struct buf packed_inputs, packed_events; /* of the batch in hand, for the journal */
	bool replaying;
	bool crashed;            /* by after_commit: it must not tidy up */
	bool reloaded;           /* state came from the tables since the last batch: replay must do the same */
	pthread_mutex_t stats_lock;
	struct svc_stats stats;
};

#define SVC_NUMBERS (UINT64_C(1) << 24) /* a batch; 2^39 batches */

enum {
	SVC_EVENTS_A_BATCH = 256,
	SVC_EVENT_BYTES_A_BATCH = 128 << 10, /* packed; one larger event is taken alone */
	SVC_PACKED_KEPT = 64 << 10, /* of each buffer for the journal, between batches */
	SVC_POISON_TRIES = 3,
	SVC_PRUNE_EVERY = 256,
	SVC_COUNT_EVERY = 16, /* batches between two times that the numbers of bytes are stored */
	SVC_PRUNE_ROWS = 8,   /* a batch: more than it adds, so that the journal shrinks, and few, so that none waits */
};

/* journal.c: the journal and outbox of a service, in its own database. */
extern const char *const journal_schema;
int journal_load(struct svc *svc, struct err *err) MUST_CHECK;
int journal_pack_inputs(struct svc *svc, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int journal_write(struct svc *svc, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* The events of a batch as its row holds them. */
int journal_pack_events(const struct svc_ctx *ctx, struct buf *b) MUST_CHECK;
/* Appends the events of all batches that the bus may not have; with nothing to do it costs nothing. */
int journal_republish(struct svc *svc, struct err *err) MUST_CHECK;
/* The same for several services at once, in the order in which things led to one another. */
int journal_republish_all(struct svc *const *svc, size_t n, struct err *err) MUST_CHECK;
/* At a clean end: all events are in the log and synced, so none need be published again. */
void journal_settle(struct svc *svc);
int journal_publish(struct svc *svc, const struct svc_ctx *ctx, struct err *err) MUST_CHECK;

/* svc_base.c: what the directory has, at open. */
void svc_base_load(struct svc *svc);
/* Journal between two bases: as much as the last of them has bytes or more, so copying never is most of the writing. */
int64_t svc_base_every(const struct svc *svc);

/* svc.c and svc_ctx.c */
int svc_run_batch(struct svc *svc, struct msg **in, size_t n, int64_t now_ns, struct err *err) MUST_CHECK;
bool svc_is_fatal(int code);
int svc_reload(struct svc *svc, struct err *err) MUST_CHECK;
int svc_add_reply(struct svc_ctx *ctx, struct msg *to, struct msg *reply, bool held) MUST_CHECK;

#endif
