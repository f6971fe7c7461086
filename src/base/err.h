#ifndef HCP_BASE_ERR_H
#define HCP_BASE_ERR_H

#include <stdarg.h>

/*
 * Every fallible function returns 0 or one of these negative codes. Detail for people goes into a
 * `struct err` handed in as the last argument; it may be NULL where the caller does not care.
 */
enum err_code {
	HCP_OK = 0,
	HCP_ENOMEM = -1,       /* allocation failed or was made to fail */
	HCP_EINVAL = -2,       /* a field has a value that is not allowed */
	HCP_EPARSE = -3,       /* the bytes are not of the grammar */
	HCP_ERANGE = -4,       /* a number is outside its range, or overflowed */
	HCP_ENOTFOUND = -5,    /* the named object does not exist */
	HCP_EEXIST = -6,       /* the named object exists already */
	HCP_ECONFLICT = -7,    /* the object changed, or the idempotency key was used for another body */
	HCP_ESTATE = -8,       /* not allowed in the object's present state */
	HCP_EAGAIN = -9,       /* nothing now; try again */
	HCP_ELIMIT = -10,      /* a named limit is reached (queue, rate, size, quota) */
	HCP_ETIMEOUT = -11,    /* the deadline passed */
	HCP_ECANCELED = -12,   /* cancelled by the caller */
	HCP_ECLOSED = -13,     /* the peer or the object is closed */
	HCP_EIO = -14,         /* the system refused: see text */
	HCP_ENOSPC = -15,      /* disk full or read-only */
	HCP_EPERM = -16,       /* known, but not allowed */
	HCP_EAUTH = -17,       /* not known: credentials missing or wrong */
	HCP_ECORRUPT = -18,    /* stored data fails its checksum */
	HCP_EPROTO = -19,      /* the peer broke the protocol */
	HCP_EUNAVAIL = -20,    /* a dependency is down (circuit open, no node) */
	HCP_EUNSUPPORTED = -21,/* valid, but not offered here */
	HCP_EINTERNAL = -22,   /* our own bug */
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

struct err {
	int code;
	char field[64];   /* the offending field, path or option; "" where none applies */
	char origin[40];  /* file:line that found it */
	char text[256];   /* one sentence for people: what is wrong and what would be right */
};

/* Fills *err (if not NULL) and returns code, so `return err_set(...)` reads well. */
int err_set_at(struct err *err, const char *file, int line, int code, const char *field, const char *fmt, ...)
	PRINTF_LIKE(6, 7);
#define err_set(err, code, field, ...) err_set_at(err, __FILE__, __LINE__, code, field, __VA_ARGS__)

/* Puts `prefix` and a dot before err->field, for nested input. */
void err_prefix(struct err *err, const char *prefix);

/* Stable lower-case name of a code ("not_found"), the `code` of API problems. */
const char *err_name(int code);

#endif
