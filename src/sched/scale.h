#ifndef HCP_SCHED_SCALE_H
#define HCP_SCHED_SCALE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/breaker.h"
#include "base/err.h"
#include "base/id.h"

/*
 * When nodes are rented from a provider, and when they are given back (FLEET-7). Pure: what waits and what stands is
 * handed in, calls to be made come out, their answers go in; time is handed in. The caller stores a node whenever it is
 * `changed`, in the transaction that its decision is part of, and asks for calls only then: what may cost money is
 * known before the first call for it goes out.
 *
 *	FREE ─▶ QUOTING ─▶ STARTING ─▶ BOOTING ─▶ UP ─▶ STOPPING ─▶ FREE
 *	          │  ▲         │          │        └ idle, ended by the provider, not seen for long
 *	          ▼  price     └──────────┴─▶ STOPPING   never joined, a lie about its price, three starts that failed
 *	         FREE: too dear, no answer                what was asked to start is stopped, whatever the answer was
 *
 * A node has a token that all calls for it carry, so that the provider takes a repeat for one. STOPPING ends only when
 * the provider says that there is no such node (any more); until then it is asked again, and counted as paid for.
 */
enum {
	SCALE_TYPES_MAX = 8,
	SCALE_SLOTS_MAX = 64, /* nodes of a type; their names come again, so that the inventory does not grow */
	SCALE_NODES_MAX = SCALE_TYPES_MAX * SCALE_SLOTS_MAX,
	SCALE_NAME_MAX = 32,
	SCALE_REASON_MAX = 120,
	SCALE_STARTS_MAX = 3, /* calls for one start before it is given up */
	SCALE_ORDER_MAX = 8,  /* nodes of one order */
	SCALE_RETRY_S = 5,    /* before a failed call is made again, doubling to … */
	SCALE_RETRY_MAX_S = 300,
};

enum scale_state { /* stored: append only */
	SCALE_FREE = 0,
	SCALE_QUOTING = 1,
	SCALE_STARTING = 2,
	SCALE_BOOTING = 3,
	SCALE_UP = 4,
	SCALE_STOPPING = 5,
	SCALE_STATE_END = 6,
};

enum scale_call {
	SCALE_CALL_NONE = 0,
	SCALE_CALL_QUOTE = 1,
	SCALE_CALL_START = 2,
	SCALE_CALL_STATE = 3,
	SCALE_CALL_STOP = 4
};

/* What the provider says of a node. */
enum scale_word {
	SCALE_SAYS_UNKNOWN = 0,
	SCALE_SAYS_STARTING = 1,
	SCALE_SAYS_RUNNING = 2,
	SCALE_SAYS_STOPPED = 3,
	SCALE_SAYS_FAILED = 4
};

struct scale_type {
	char name[SCALE_NAME_MAX];
	size_t device_class;
	int32_t devices;            /* of one node */
	int32_t nodes_max;          /* 1..SCALE_SLOTS_MAX */
	int64_t price_max_micros_h; /* of one node; dearer ones are not taken */
	bool retired;               /* not set any more: its nodes go, none comes */
};

struct scale_conf {
	struct scale_type type[SCALE_TYPES_MAX];
	size_t n_types;
	int32_t up_jobs;     /* so many that would fit have to wait (10) */
	int64_t up_after_ns; /* for so long (10 s) */
	int64_t idle_ns;     /* a node without work for so long goes (5 min) */
	int64_t cooldown_ns; /* between two orders (30 s) */
	int64_t boot_ns;     /* from the provider's yes to devices that can be used (3 min); also how long it may be away */
	int64_t check_ns;    /* the provider is asked whether what stands still stands (60 s) */
	int64_t call_ns;     /* a call without an answer is made again (30 s) */
	int64_t budget_micros_h;     /* of all nodes together */
	struct breaker_conf breaker; /* no new order while it is open */
};

/* One slot of a type. What is stored of it. */
struct scale_node {
	size_t type, slot;
	enum scale_state state;
	char token[ID_TEXT_MAX];
	char reason[SCALE_REASON_MAX];                              /* why it is where it is */
	int64_t price_micros_h;                                     /* as quoted; counted from started_ns to the end */
	int64_t asked_ns, started_ns, up_ns, stopping_ns, ended_ns; /* 0: not yet */
	int32_t attempt;                                            /* of the call in hand; grows with each */
	/* in memory */
	int32_t fails;   /* calls that failed in a row in this state */
	int64_t due_ns;  /* of its next call; INT64_MAX: none */
	int64_t idle_ns; /* idle since; 0: not */
	int64_t away_ns; /* not seen since; 0: there */
	bool out;        /* its call is made, the answer due before due_ns */
	bool changed;
};

struct scale_view {
	int32_t jobs[SCALE_TYPES_MAX];    /* wait and would fit on a node of the type */
	int32_t devices[SCALE_TYPES_MAX]; /* that they ask for together */
	struct {
		bool joined; /* its devices can be used */
		bool busy;   /* one of them is somebody's */
	} node[SCALE_TYPES_MAX][SCALE_SLOTS_MAX];
};

struct scale {
	struct scale_conf conf;
	struct breaker breaker;
	struct scale_node node[SCALE_TYPES_MAX][SCALE_SLOTS_MAX];
	int64_t over_ns[SCALE_TYPES_MAX]; /* enough jobs wait since; 0: they do not */
	int64_t ordered_ns;               /* the last order; 0: none */
	int64_t stepped_ns;
	char held[SCALE_REASON_MAX]; /* why nothing is ordered although enough waits; "": nothing is held back */
};

/* HCP_ERANGE, HCP_EINVAL with the field; *s is written on success only. */
int scale_init(struct scale *s, const struct scale_conf *conf, struct err *err) MUST_CHECK;
void scale_conf_default(struct scale_conf *conf);
int scale_conf_check(const struct scale_conf *conf, struct err *err) MUST_CHECK;
/* A stored node, before the first step. HCP_ERANGE: no such type, slot or state. Its call is due at once. */
int scale_restore(struct scale *s, const struct scale_node *n, struct err *err) MUST_CHECK;
/*
 * Decides by what there is. A new node's token is made by `token`. Nodes that changed are marked; the caller clears
 * that.
 */
void scale_step(struct scale *s, const struct scale_view *v, int64_t now_ns,
	void (*token)(void *arg, char dst[ID_TEXT_MAX]), void *arg);
/* When scale_step has something to do although the view stays as it is; INT64_MAX: never. At most once a second. */
int64_t scale_due(const struct scale *s);
/* When scale_take has a call to make; INT64_MAX: none. */
int64_t scale_call_due(const struct scale *s);
/*
 * The next call to make, NONE if there is none now; *ret is its node (borrowed). It is out from then on, for
 * conf.call_ns.
 */
enum scale_call scale_take(struct scale *s, int64_t now_ns, struct scale_node **ret);
/* The calls that were out are not any more (who made them is gone): all are due again. */
void scale_take_back(struct scale *s, int64_t now_ns);
/* What came of a call. An answer to an older attempt, or to another node's token, changes nothing: false. */
struct scale_answer {
	const char *token;
	enum scale_call call;
	int32_t attempt;
	const char *error; /* "" or NULL: none, then the rest counts */
	enum scale_word says;
	int64_t price_micros_h;
};
bool scale_answered(struct scale *s, const struct scale_answer *a, int64_t now_ns);

/* Its devices are not offered. */
bool scale_cordoned(const struct scale_node *n);
/* "h100-3" for slot 2 of type h100. Returns dst. */
char *scale_node_name(const struct scale *s, const struct scale_node *n, char dst[SCALE_NAME_MAX + 8]);
/* Paid up to now_ns, or to its end. */
int64_t scale_cost_micros(const struct scale_node *n, int64_t now_ns);
/* USD micros per hour of all that is paid for now. */
int64_t scale_rate_micros_h(const struct scale *s);
const char *scale_state_name(enum scale_state s);
const char *scale_call_name(enum scale_call c);
/* HCP_EINVAL: no such word. */
int scale_word_parse(struct str s, enum scale_word *ret) MUST_CHECK;
const char *scale_word_name(enum scale_word w);

#endif
