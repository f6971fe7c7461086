#ifndef HCP_WIRE_STRATUM_V1_H
#define HCP_WIRE_STRATUM_V1_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Stratum V1: one JSON object per line, both sides of the conversation. stratum_parse decodes and checks a whole line
 * into one struct; nothing is allocated. Writers append one line with its LF to a buffer; check buf_failed once.
 *
 *	miner                                     pool
 *	mining.configure            ──▶
 *	mining.subscribe            ──▶           extranonce1, extranonce2_size
 *	mining.extranonce.subscribe ──▶
 *	mining.authorize            ──▶
 *	                            ◀──           mining.set_difficulty (from the next job on), mining.set_version_mask
 *	                            ◀──           mining.notify (a job)
 *	mining.submit               ──▶           true, or error 20..25
 *
 * Requests carry an id, notifications none or null; a response repeats the id, kept here as the raw JSON token.
 */
#define STRATUM_LINE_MAX 16384      /* bytes without the LF */
#define STRATUM_ID_MAX 64           /* of the raw token */
#define STRATUM_JOB_ID_MAX 64
#define STRATUM_TEXT_MAX 256        /* worker, password, agent, host */
#define STRATUM_COINB_MAX 8000      /* bytes of either half of a coinbase */
#define STRATUM_BRANCHES_MAX 32
#define STRATUM_EXTRANONCE_MAX 32   /* bytes of either extranonce */
#define STRATUM_VERSION_MASK 0x1fffe000U /* BIP 320 */

enum stratum_kind {
	STRATUM_REQUEST,
	STRATUM_NOTIFICATION,
	STRATUM_RESPONSE,
};

enum stratum_method {
	STRATUM_UNKNOWN, /* well-formed, but not of this list: `name` has it */
	STRATUM_CONFIGURE,
	STRATUM_SUBSCRIBE,
	STRATUM_EXTRANONCE_SUBSCRIBE,
	STRATUM_AUTHORIZE,
	STRATUM_SUBMIT,
	STRATUM_SUGGEST_DIFFICULTY,
	STRATUM_PING,
	STRATUM_NOTIFY,
	STRATUM_SET_DIFFICULTY,
	STRATUM_SET_VERSION_MASK,
	STRATUM_SET_EXTRANONCE,
	STRATUM_RECONNECT,
	STRATUM_GET_VERSION,
	STRATUM_SHOW_MESSAGE,
};

enum stratum_error_code {
	STRATUM_E_OTHER = 20,
	STRATUM_E_JOB_NOT_FOUND = 21, /* stale */
	STRATUM_E_DUPLICATE = 22,
	STRATUM_E_LOW_DIFFICULTY = 23,
	STRATUM_E_UNAUTHORIZED = 24,
	STRATUM_E_NOT_SUBSCRIBED = 25,
};

struct stratum_bytes {
	uint8_t n;
	uint8_t p[STRATUM_EXTRANONCE_MAX];
};

/* BIP 310; the same struct for the request and (accepted extensions) the result. */
struct stratum_configure {
	bool version_rolling;
	bool minimum_difficulty;
	bool subscribe_extranonce;
	uint32_t mask;             /* with version_rolling */
	uint32_t min_bit_count;    /* request only */
	double difficulty_min;     /* with minimum_difficulty, request only */
};

struct stratum_job {
	char id[STRATUM_JOB_ID_MAX + 1];
	uint8_t prevhash[32];      /* as on the line: every 32-bit word byte-swapped */
	uint32_t version, nbits, ntime;
	bool clean;                /* earlier jobs are void */
	uint8_t n_branches;
	uint16_t coinb1_n, coinb2_n;
	uint8_t branches[STRATUM_BRANCHES_MAX][32];
	uint8_t coinb1[STRATUM_COINB_MAX];
	uint8_t coinb2[STRATUM_COINB_MAX];
};

struct stratum_submit {
	char worker[STRATUM_TEXT_MAX + 1];
	char job_id[STRATUM_JOB_ID_MAX + 1];
	struct stratum_bytes extranonce2;
	uint32_t ntime, nonce;
	bool has_version_bits;     /* the sixth parameter, once version rolling is on */
	uint32_t version_bits;
};

/* Result of mining.subscribe, and the parameters of mining.set_extranonce. */
struct stratum_extranonce {
	struct stratum_bytes extranonce1;
	uint32_t extranonce2_size; /* 1..STRATUM_EXTRANONCE_MAX */
	char session[STRATUM_TEXT_MAX + 1]; /* subscription id of mining.notify; "" where none */
};

struct stratum_msg {
	enum stratum_kind kind;
	enum stratum_method method; /* requests and notifications */
	struct str id;              /* raw token, borrowed from the line; "null" where absent */
	struct str name;            /* of the method, borrowed */
	union {
		struct stratum_configure configure;
		struct { char agent[STRATUM_TEXT_MAX + 1], session[STRATUM_TEXT_MAX + 1]; } subscribe;
		struct { char worker[STRATUM_TEXT_MAX + 1], password[STRATUM_TEXT_MAX + 1]; } authorize;
		struct stratum_submit submit;
		double difficulty;      /* set_difficulty, suggest_difficulty; > 0 */
		uint32_t mask;          /* set_version_mask */
		struct stratum_extranonce extranonce; /* set_extranonce */
		struct { char host[STRATUM_TEXT_MAX + 1]; uint16_t port; uint32_t wait_s; } reconnect; /* "" and 0: same */
		char message[STRATUM_TEXT_MAX + 1];
		struct stratum_job job; /* notify */
		struct {
			struct str result;  /* raw JSON, borrowed; "null" where absent */
			bool failed;        /* error is not null */
			int code;           /* 20 where the error has none */
			char text[STRATUM_TEXT_MAX + 1];
		} response;
	};
};

/*
 * Parses one line (without LF; a trailing CR is allowed). *ret is written only on success and borrows from the line.
 * HCP_EPARSE not JSON; HCP_EPROTO not a Stratum message; HCP_EINVAL a parameter ("params[2]"); HCP_ELIMIT too long.
 */
int stratum_parse(struct str line, struct stratum_msg *ret, struct err *err) MUST_CHECK;

/* Typed results of a response, which only its request tells: `raw` is response.result. */
int stratum_read_bool(struct str raw, bool *ret, struct err *err) MUST_CHECK;
int stratum_read_subscribe(struct str raw, struct stratum_extranonce *ret, struct err *err) MUST_CHECK;
int stratum_read_configure(struct str raw, struct stratum_configure *ret, struct err *err) MUST_CHECK;

const char *stratum_error_text(int code);
const char *stratum_method_name(enum stratum_method method);

/* Requests of a miner. */
void stratum_write_configure(struct buf *b, uint64_t id, const struct stratum_configure *c);
void stratum_write_subscribe(struct buf *b, uint64_t id, const char *agent, const char *session);
void stratum_write_extranonce_subscribe(struct buf *b, uint64_t id);
void stratum_write_authorize(struct buf *b, uint64_t id, const char *worker, const char *password);
void stratum_write_submit(struct buf *b, uint64_t id, const struct stratum_submit *s);
void stratum_write_suggest_difficulty(struct buf *b, uint64_t id, double difficulty);
/* Either side. */
void stratum_write_ping(struct buf *b, uint64_t id);
/* Notifications and requests of a pool. Whole difficulties are written as integers. */
void stratum_write_notify(struct buf *b, const struct stratum_job *job);
void stratum_write_set_difficulty(struct buf *b, double difficulty);
void stratum_write_set_version_mask(struct buf *b, uint32_t mask);
void stratum_write_set_extranonce(struct buf *b, const struct stratum_extranonce *e);
void stratum_write_reconnect(struct buf *b, const char *host, uint16_t port, uint32_t wait_s);
void stratum_write_show_message(struct buf *b, const char *text);
void stratum_write_get_version(struct buf *b, uint64_t id);
/* Responses; id is the raw token of the request. */
void stratum_write_bool(struct buf *b, struct str id, bool value);
void stratum_write_string(struct buf *b, struct str id, const char *value);
void stratum_write_error(struct buf *b, struct str id, int code, const char *text); /* NULL: the code's own */
void stratum_write_subscribe_result(struct buf *b, struct str id, const struct stratum_extranonce *e);
void stratum_write_configure_result(struct buf *b, struct str id, const struct stratum_configure *asked,
	const struct stratum_configure *given);

/* BIP 310: the mask's bits come from the miner, the others from the job. */
static inline uint32_t stratum_version(uint32_t job_version, uint32_t mask, uint32_t version_bits)
{
	return (job_version & ~mask) | (version_bits & mask);
}

typedef void stratum_sha256d(const void *p, size_t n, uint8_t ret[32]);

/* Merkle root of the job with these extranonces, in the byte order of the header. */
void stratum_job_root(const struct stratum_job *job, const struct stratum_bytes *extranonce1,
	const struct stratum_bytes *extranonce2, stratum_sha256d *sha256d, uint8_t ret_root[32]);

/* The 80 bytes that are hashed. `version` is the final one (stratum_version). */
void stratum_job_header(const struct stratum_job *job, const struct stratum_bytes *extranonce1,
	const struct stratum_bytes *extranonce2, uint32_t version, uint32_t ntime, uint32_t nonce,
	stratum_sha256d *sha256d, uint8_t ret_header[80]);

#endif
