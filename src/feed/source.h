#ifndef HCP_FEED_SOURCE_H
#define HCP_FEED_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "econ/market.h"

/*
 * What a source of market values is set to, what it is asked with and what it answers: plain data between the settings,
 * the adapters (kind.h) and the machinery. No I/O.
 */
enum {
	FEED_SOURCES_MAX = 64,
	FEED_NAME_MAX = MARKET_SOURCE_MAX, /* with NUL */
	FEED_TEXT_MAX = 64,                /* symbol, location, product, region, … */
	FEED_PATH_MAX = 256,
	FEED_URL_MAX = 1024,
	FEED_HEADERS_MAX = 12,
	FEED_READINGS_MAX = 512, /* of one round of pages */
	FEED_PAGES_MAX = 20,
	FEED_CREDS_MAX = 8,
	FEED_CRED_MAX = 4096, /* bytes of one credential with NUL; an AWS session token has 1 to 2 thousand */
};

/* How many values become one. */
enum feed_pick {
	FEED_PICK_UNSET,
	FEED_PICK_FIRST,
	FEED_PICK_LAST,
	FEED_PICK_MIN,
	FEED_PICK_MAX,
	FEED_PICK_MEAN,
	FEED_PICK_MEDIAN
};

struct feed_kind;

/* One source as it is set, checked and with all defaults filled in. */
struct feed_source_conf {
	char name[FEED_NAME_MAX];
	const struct feed_kind *kind;
	char url[FEED_URL_MAX];
	char token_url[FEED_URL_MAX];
	char credentials[FEED_URL_MAX];   /* path of a file; "" none */
	char symbol[FEED_TEXT_MAX];       /* as in message Tick */
	char location[FEED_TEXT_MAX];     /* settlement point or device class; "" where none */
	int priority;                     /* 1 speaks first */
	int64_t every_ms;                 /* poll: from start to start; live: least time between two values */
	int64_t deadline_ms;              /* of one request, also of connecting */
	int64_t stale_ms;                 /* older than this does not speak */
	int64_t stall_ms;                 /* live: silence after which the connection is given up */
	size_t max_bytes;                 /* of one answer or message */
	double scale, min, max, max_jump; /* value = what was read × scale; bounds are of the value */
	enum feed_pick pick;
	char product[FEED_TEXT_MAX]; /* coinbase BTC-USD, binance BTCUSDT, aws "Linux/UNIX" */
	char point[FEED_TEXT_MAX];   /* ERCOT's name of the settlement point, by default location */
	char region[FEED_TEXT_MAX], instance[FEED_TEXT_MAX], zone[FEED_TEXT_MAX];
	int gpus;                                           /* of one instance */
	bool spot;                                          /* azure: the spot meter, not the pay-as-you-go one */
	char path[FEED_PATH_MAX], time_path[FEED_PATH_MAX]; /* json: see jpath.h */
	char header[FEED_TEXT_MAX];                         /* json: header that carries the credential `value` */
	int interval_s; /* json: the value is one of an interval that starts at time_path */
};

struct feed_reading {
	double value;
	int64_t observed_at_ns; /* when it was so, by the source's clock where it tells */
	int64_t start_ns;       /* of the interval; 0: a value of an instant */
	int32_t interval_s;
};

/* Secrets by name, from a file. */
struct feed_creds {
	size_t n;
	struct {
		char name[32];
		char value[FEED_CRED_MAX];
	} item[FEED_CREDS_MAX];
};

struct feed_header {
	char name[48];
	char value[FEED_CRED_MAX + 512];
};

struct feed_request {
	const char *method;
	char url[2 * FEED_URL_MAX];
	struct buf body;
	struct feed_header header[FEED_HEADERS_MAX];
	size_t n_headers;
};

/* What an adapter may know when it makes a request or reads an answer. */
struct feed_turn {
	const struct feed_source_conf *conf;
	const struct feed_creds *creds; /* NULL: none set */
	const char *token;              /* bearer token; NULL: none */
	int64_t now_ns;
	int page;         /* from 1 */
	const char *next; /* what the last answer said of the next page; "" on the first */
};

struct feed_answer {
	struct feed_reading reading[FEED_READINGS_MAX];
	size_t n;
	bool more;               /* there is another page */
	char next[FEED_URL_MAX]; /* of which this tells the way */
};

/* HCP_ELIMIT when there are too many. */
int feed_answer_add(struct feed_answer *a, struct feed_reading r, struct err *err) MUST_CHECK;
/* Many values of one moment become one (a->n is 0 or 1 afterwards); observed_at is the newest. */
void feed_answer_pick(struct feed_answer *a, enum feed_pick pick);
/* HCP_ERANGE when it does not fit or there are too many. Values go out as they are: the caller's are clean. */
int feed_request_header(struct feed_request *r, const char *name, struct err *err, const char *fmt, ...)
	PRINTF_LIKE(4, 5) MUST_CHECK;
/* NULL if there is none of that name. */
const char *feed_creds_get(const struct feed_creds *c, const char *name);
/*
 * Lines `name = value` or `name: value`; blank ones, comments (#, ;) and [sections] are passed over, so that an AWS
 * credentials file of one profile can be used as it is. No error shows a value. HCP_EPARSE with the line, HCP_ELIMIT.
 */
int feed_creds_parse(struct feed_creds *c, struct str text, struct err *err) MUST_CHECK;

#endif
