#ifndef HCP_BASE_STR_H
#define HCP_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* A borrowed run of bytes, not NUL-terminated. */
struct str {
	const char *p; /* borrowed */
	size_t n;
};

#define STR(lit) ((struct str){ (lit), sizeof(lit) - 1 })

static inline struct str str_of(const char *z)
{
	return (struct str){ z, z ? strlen(z) : 0 };
}

bool str_eq(struct str a, struct str b);
bool str_eqz(struct str a, const char *z);
bool str_ieqz(struct str a, const char *z); /* ASCII case-insensitive */
bool str_starts(struct str a, struct str prefix);
/* Splits *rest at the first sep: the part before comes back, *rest keeps what follows (p=NULL at the end). */
struct str str_split(struct str *rest, char sep);
struct str str_trim(struct str a);
/* Copies into dst[cap] with NUL; HCP_ERANGE when it does not fit. */
int str_copy(char *dst, size_t cap, struct str s) MUST_CHECK;

/*
 * A growable byte buffer. Failures stick: after the first failed append all later ones do nothing and
 * buf_failed() tells, so writers check once at the end. data is always NUL-terminated when not NULL.
 */
struct buf {
	char *data; /* owned */
	size_t n, cap;
	size_t limit; /* 0: none */
	bool failed;
};

void buf_init(struct buf *b, size_t limit);
void buf_release(struct buf *b);
void buf_clear(struct buf *b);
/* buf_clear that keeps at most so much memory: for a buffer that lives long and holds something big now and then. */
void buf_clear_keep(struct buf *b, size_t keep);
int buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_addz(struct buf *b, const char *z);
void buf_adds(struct buf *b, struct str s);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Drops the first n bytes. */
void buf_consume(struct buf *b, size_t n);
/* JSON string body, quotes included; invalid UTF-8 becomes U+FFFD. */
void buf_add_json(struct buf *b, struct str s);
/* Decimal digits of v at dst, without an end mark; returns how many (at most 20). */
size_t u64_digits(char *dst, uint64_t v);
void buf_add_u64(struct buf *b, uint64_t v);
void buf_add_i64(struct buf *b, int64_t v);
/* Shortest decimal that reads back as the same double; non-finite becomes null. */
void buf_add_double(struct buf *b, double v);

static inline bool buf_failed(const struct buf *b)
{
	return b->failed;
}

static inline struct str buf_str(const struct buf *b)
{
	return (struct str){ b->data ? b->data : "", b->n };
}

/* Hands the bytes to the caller (mem_free) and empties b; NULL if b failed. */
char *buf_take(struct buf *b, size_t *ret_n);

#endif
