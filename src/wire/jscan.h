#ifndef HCP_WIRE_JSCAN_H
#define HCP_WIRE_JSCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/*
 * A pull scanner over one JSON text (RFC 8259) that builds no tree and allocates nothing: the caller asks for what
 * it expects, in order. Numbers come back as their text, so a uint64 keeps all its bits (jansson stops at int64).
 * Invalid UTF-8, raw control characters, lone surrogates, U+0000 and nesting beyond JSCAN_DEPTH_MAX are errors.
 * Duplicate keys are the caller's to notice: only it knows the keys.
 *
 *	jscan_init(&s, text);
 *	for (rc = jscan_enter(&s, JSCAN_OBJECT, err); rc > 0; rc = jscan_more(&s, JSCAN_OBJECT, err)) {
 *		jscan_key(&s, &key, err);
 *		... read or jscan_skip the value ...
 *	}
 *	jscan_end(&s, err);
 *
 * Every int function returns a negative err_code on failure; err then holds HCP_EPARSE "line 1, column 7: ..." or
 * HCP_ELIMIT. After a failure the scanner is of no further use.
 */
#define JSCAN_DEPTH_MAX 32

enum jscan_kind {
	JSCAN_END,
	JSCAN_NULL,
	JSCAN_BOOL,
	JSCAN_NUMBER,
	JSCAN_STRING,
	JSCAN_ARRAY,
	JSCAN_OBJECT,
	JSCAN_BAD, /* no value can begin like this */
};

struct jscan {
	const char *start, *p, *end; /* borrowed */
	unsigned depth;
};

/* A string token: what stands between its quotes. Without escapes raw is the value itself. */
struct jscan_text {
	struct str raw; /* borrowed from the input */
	bool escaped;   /* raw must go through jscan_unescape */
};

void jscan_init(struct jscan *s, struct str text);
/* What comes next, blanks skipped. */
enum jscan_kind jscan_kind(struct jscan *s);
/* "a string", "an object": for messages. */
const char *jscan_kind_name(enum jscan_kind kind);

/* Opens an array or object: 1 when a first item stands there, 0 when it is empty (and closed). */
int jscan_enter(struct jscan *s, enum jscan_kind kind, struct err *err) MUST_CHECK;
/* After an item: 1 when another one follows, 0 when the array or object is closed. */
int jscan_more(struct jscan *s, enum jscan_kind kind, struct err *err) MUST_CHECK;
/* A member's name and its colon. Escapes are left as they stand: such a name matches no plain one. */
int jscan_key(struct jscan *s, struct str *ret, struct err *err) MUST_CHECK;
int jscan_string(struct jscan *s, struct jscan_text *ret, struct err *err) MUST_CHECK;
int jscan_number(struct jscan *s, struct str *ret, struct err *err) MUST_CHECK;
int jscan_bool(struct jscan *s, bool *ret, struct err *err) MUST_CHECK;
int jscan_null(struct jscan *s, struct err *err) MUST_CHECK;
/* Any value, checked; ret_raw (may be NULL) gets its text without surrounding blanks. */
int jscan_skip(struct jscan *s, struct str *ret_raw, struct err *err) MUST_CHECK;
/* Nothing but blanks may follow. */
int jscan_end(struct jscan *s, struct err *err) MUST_CHECK;

/* Fills err with the present line and column; returns HCP_EPARSE. */
int jscan_fail(const struct jscan *s, struct err *err, const char *what);

/* Decodes the raw text of a scanned string into dst (raw.n bytes suffice); returns the length. Not terminated. */
size_t jscan_unescape(char *dst, struct str raw);

#endif
