#ifndef HCP_SVC_SVC_H
#define HCP_SVC_SVC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/id.h"
#include "base/rng.h"
#include "bus/bus.h"
#include "store/store.h"
#include "svc/mailbox.h"
#include "svc/msg.h"

/*
 * A service is one struct svc_def: its tables and its handlers. One thread owns all its state, and its loop is
 *
 *   drain mailbox and bus → handle each message (pure but for its database) → commit one transaction
 *                         → release: answers, events to the bus, commands to agents
 *
 *   mailbox ──▶ ┌─────────┐   one transaction a batch:        ┌──▶ replies
 *   bus     ──▶ │ svc_step│ ─▶ tables + inbox marks + journal │──▶ bus (events, numbered by seq)
 *   timer   ──▶ └─────────┘   row (inputs and events)         └──▶ agents
 *
 * The journal row of a batch is also the outbox: after a crash the events of batches that the bus may have lost
 * are published again, and consumers drop what they have by (sender, seq). Handlers take time, randomness and
 * ids from the context only, so `hcp replay` and the simulator run the same code to the same result.
 */
struct svc;
struct svc_ctx;

enum {
	SVC_MAX_BATCH = 512, /* messages a transaction */
	SVC_MAILBOX = 8192,  /* requests waiting; more are refused with limit_reached */
	SVC_RETRY_MS = 1000, /* after a failed commit */
	SVC_BUSY_BATCH = 64, /* messages of a batch that tells load: db_busy, … */
	SVC_BUSY_S = 10,     /* … until there was none for so long */
	SVC_MAX_HANDLERS = 40,
	SVC_BASES_KEPT = 4,     /* base copies of a service; the journal goes back to the oldest of them */
	SVC_BASE_AGE_H = 24,    /* a base is taken at the latest that long after the one before, if enough was done */
	SVC_BASE_SHARE = 4,     /* enough: a journal of that part of the last base; grown tables are not copied every day */
	SVC_BASE_LULL_MS = 50,  /* nobody waits: there was that much time between two batches */
	SVC_BASE_RETRY_S = 600, /* after one that failed */
};

/*
 * Journal between two bases, or as much as the last of them has bytes if that is more. A service that cannot take any
 * keeps 2 * (SVC_BASES_KEPT + 1) times as much; then the oldest goes.
 */
#define SVC_BASE_BYTES (INT64_C(64) << 20)

/*
 * A handler. 0: done. A negative code with err filled: the request was refused and nothing was changed; its
 * sender gets a Problem. HCP_ENOMEM, HCP_EIO, HCP_ENOSPC, HCP_ECORRUPT and HCP_EINTERNAL abort the whole batch:
 * the transaction is rolled back and the state is loaded again from the tables.
 */
typedef int svc_handler_fn(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

struct svc_handler {
	uint16_t type; /* enum msg_type */
	svc_handler_fn *fn;
	bool query; /* changes nothing: needs no transaction and no journal */
};

struct svc_def {
	int id;                    /* enum svc_id */
	const char *const *schema; /* migration steps, ending in NULL */
	const struct svc_handler *handlers; /* ending in type 0 */
	/* Builds the state from the tables; conf is the host's. */
	int (*open)(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err);
	void (*close)(void *state);
	/* Called when due (svc_wake_at) and every timer_ms; NULL: none. */
	int (*timer)(void *state, struct svc_ctx *ctx, struct err *err);
	/*
	 * The earliest time at which timer has anything to do: now or before: call it; INT64_MAX: only input can change
	 * that. Until then it would change neither state nor tables and send nothing, so it is not called: no batch, no
	 * transaction, no row of the journal. Asked every timer_ms, so too late by no more than that; NULL: always now.
	 */
	int64_t (*timer_due)(const void *state, int64_t now_ns);
	int timer_ms;
	/*
	 * Called once after the last message of every batch that may change something, before the commit: for what is
	 * worth doing only once however many messages came. NULL: nothing. Fails as a handler with a fatal code does.
	 */
	int (*settle)(void *state, struct svc_ctx *ctx, struct err *err);
	/*
	 * Of an event that has a handler, by its packed body: false if the handler would do nothing with it whatever the
	 * state. It is passed over then: not decoded, in no batch and no journal. NULL: all are wanted.
	 */
	bool (*wants)(unsigned type, struct str body);
	bool patient;    /* nobody waits for what it does: its thread lets the others go first when processors are short */
	bool no_journal; /* inputs are not kept (bulk telemetry); its events still are */
};

struct svc_conf {
	const char *db_path;  /* NULL: in memory */
	const char *vfs;      /* see db_conf */
	bool durable;
	struct bus *bus;      /* borrowed */
	uint64_t seed;        /* of ids and randomness, used at the first start of this database; 0 is fine in tests */
	const void *conf;     /* handed to def->open; borrowed */
	/* Takes packed AgentDown bytes for a node, after the commit. NULL: dropped. */
	void (*send_agent)(void *arg, const char *node_id, struct str bytes);
	void *send_arg;
	int (*before_commit)(void *arg); /* fault injection, see db_conf */
	/* Fault injection: != 0 stops the service between commit and release, as a crash would. */
	int (*after_commit)(void *arg);
	void *commit_arg;
	/* Events that the bus may have lost wait for svc_republish (or for the first step). */
	bool hold_outbox;
	int64_t now_ns; /* at open */
	const char *base_dir; /* where base copies go (svc/bases.h); NULL: none are taken */
	int64_t base_bytes;   /* journal between two; 0: SVC_BASE_BYTES */
	int bases_kept;       /* 1 to BASES_MAX; 0: SVC_BASES_KEPT */
};

/* ---- for handlers ---- */
int64_t svc_now_ns(const struct svc_ctx *ctx);
struct db *svc_db(struct svc_ctx *ctx);
struct rng *svc_rng(struct svc_ctx *ctx);
/* Greater than every number that this service was given before, in all batches that were committed. */
uint64_t svc_number(struct svc_ctx *ctx);
/* Scratch that lives until the batch is released. */
struct arena *svc_arena(struct svc_ctx *ctx);
char *svc_new_id(struct svc_ctx *ctx, char dst[ID_TEXT_MAX], const char *type);
/*
 * The answer to the message in hand: an initialised body of that type to fill in; strings and children go into
 * svc_reply_arena. NULL when out of memory. Sent after the commit. Without a call the answer is Empty.
 */
void *svc_reply(struct svc_ctx *ctx, unsigned type);
struct arena *svc_reply_arena(struct svc_ctx *ctx);
/* Keeps the message in hand unanswered; the state owns it and answers later with svc_answer, at close too. */
struct msg *svc_hold(struct svc_ctx *ctx);
/* The same for one that only waits for work to come: no base copy is put off for it. */
struct msg *svc_hold_idle(struct svc_ctx *ctx);
/* Like svc_reply for a held message, which it frees after the commit. */
void *svc_answer(struct svc_ctx *ctx, struct msg *held, unsigned type, struct arena **ret_arena);
void svc_answer_problem(struct svc_ctx *ctx, struct msg *held, int code, const struct err *err);
/* Publishes an event (packed now). key: what it is about, for ordering and filters; "" if nothing. */
int svc_publish(struct svc_ctx *ctx, const char *key, const ProtobufCMessage *body) MUST_CHECK;
/* The same for one of that type that was packed already; its bytes are borrowed for the call. */
int svc_publish_packed(struct svc_ctx *ctx, const char *key, unsigned type, struct str packed) MUST_CHECK;
/* A command for a node's agent, sent after the commit; may be lost, so a timer must repeat it. */
int svc_send_agent(struct svc_ctx *ctx, const char *node_id, const Hcp__AgentDown *body) MUST_CHECK;
/* Asks for def->timer at that time (or sooner, if one is pending). */
void svc_wake_at(struct svc_ctx *ctx, int64_t at_ns);

/* ---- for hosts ---- */
int svc_open(const struct svc_def *def, const struct svc_conf *conf, struct svc **ret, struct err *err) MUST_CHECK;
void svc_close(struct svc *svc);
/*
 * Publishes what the bus may have lost of several services that were opened with hold_outbox, in the order in which
 * things led to one another: whoever has read only a part of the lost tail must not meet an answer before its question.
 * Before any of them is stepped. Entries may be NULL.
 */
int svc_republish(struct svc *const *svc, size_t n, struct err *err) MUST_CHECK;
/* As a crash would: nothing is tidied up, who waits is told "closed". */
void svc_abandon(struct svc *svc);
/*
 * One batch at now_ns. Returns the number of inputs consumed, 0 if there was nothing to do, or a negative code
 * when the batch was aborted (state reloaded, requests answered "unavailable"; call again after SVC_RETRY_MS).
 * HCP_ECLOSED: after_commit made it crash; only svc_close is left.
 */
int svc_step(struct svc *svc, int64_t now_ns);
/* When svc_step has work without new input (timer), INT64_MAX if never. */
int64_t svc_next_wake(const struct svc *svc);
bool svc_has_input(struct svc *svc);
/* Takes m in any case: a full or closed mailbox is answered with a Problem. Any thread. */
void svc_post(struct svc *svc, struct msg *m);
struct mailbox *svc_mailbox(struct svc *svc);
const struct svc_def *svc_def_of(const struct svc *svc);
/* Its state, for simulators and tests that check invariants in the same thread. */
void *svc_state(struct svc *svc);
struct db *svc_database(struct svc *svc);
/* The bus has everything up to this offset on the disk; outbox rows it covers may go. Any thread. */
void svc_bus_synced(struct svc *svc, uint64_t offset);

struct svc_stats {
	uint64_t batches, messages, events, refused, aborts, commits;
	int64_t last_step_ns;
	int state; /* 0 ok, 1 degraded, 2 down */
	char detail[256];
};
/* Any thread. */
void svc_stats(struct svc *svc, struct svc_stats *ret);

/*
 * Base copies: the tables as one batch left them, so that a replay need not begin with the first. A base is begun
 * between two steps; the service then has its state loaded from the tables again, which is the state a replay will
 * have, and goes on. It is written by another thread from a connection that sees the tables of that moment.
 *
 *   svc_base_due ─▶ svc_base_begin ─(any thread)─▶ svc_base_write ─▶ svc_base_end
 */
struct svc_base;
struct bases_hook;
/*
 * Enough journal (or time) since the last one, and nobody waits: no input, no held message. With twice as much, also
 * when somebody does; held messages are then answered "closed".
 */
bool svc_base_due(struct svc *svc, int64_t now_ns);
/* Between two steps. On failure svc_base_due is false for SVC_BASE_RETRY_S. */
int svc_base_begin(struct svc *svc, int64_t now_ns, struct svc_base **ret, struct err *err) MUST_CHECK;
/* Any thread; hook may be NULL. Removes what is beyond the number to be kept, too. */
int svc_base_write(struct svc_base *b, const struct bases_hook *hook, struct err *err) MUST_CHECK;
/* Frees b; rc is what svc_base_write returned. From here on journal that no base needs goes, a few rows a batch. */
void svc_base_end(struct svc *svc, struct svc_base *b, int rc, int64_t now_ns);
/* Frees b of a service that is closed meanwhile. */
void svc_base_free(struct svc_base *b);

/*
 * Feeds recorded inputs to a fresh service again and compares the events bit for bit. It starts from the newest base
 * before the window that is whole, else from an empty database, and so may run (and compare) batches before the window.
 */
struct svc_replay {
	const struct svc_def *def;
	const void *conf;       /* handed to def->open */
	struct db *journal;     /* the recorded database; read in short queries, so it may be in use */
	const char *base_dir;   /* NULL: no bases */
	const char *scratch;    /* file that a base is restored to, removed at the end; NULL: no bases */
	int64_t from, to;       /* window of batches, both included; 0: open */
	int64_t from_ns, to_ns; /* window of times, both included; 0: open */
	void (*progress)(void *arg, int64_t done, int64_t all); /* after each batch; NULL: none */
	void *arg;
};
/*
 * 0 also if something differs: the report tells. HCP_ENOTFOUND: nothing was recorded in the window. HCP_ERANGE: it
 * begins before what can be run again, and the text says where that begins. Strings of the report live in a.
 */
int svc_replay(const struct svc_replay *what, Hcp__ReplayReport *report, struct arena *a, struct err *err) MUST_CHECK;

#endif
