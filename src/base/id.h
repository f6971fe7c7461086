#ifndef HCP_BASE_ID_H
#define HCP_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

/*
 * UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, version, 12 + 62 bits of randomness; sorts by time.
 * Text form: a two- to four-letter type, '-', 26 lower-case Crockford base32 digits: "wl-01jd…".
 */
struct id {
	uint8_t b[16];
};

enum { ID_TEXT_MAX = 36 };

#define ID_WORKLOAD "wl"
#define ID_ALLOCATION "al"
#define ID_DEVICE "dev"
#define ID_NODE "nd"
#define ID_DECISION "dec"
#define ID_PLAN "pl"
#define ID_SWITCH "sw"
#define ID_TICKET "tk"
#define ID_USER "usr"
#define ID_CUSTOMER "cus"
#define ID_APIKEY "key"
#define ID_SESSION "ses"
#define ID_EVENT "ev"
#define ID_CALLBACK "cb"
#define ID_RENTAL "rn"

/* Entropy comes from the caller: a handler's seeded generator, or one seeded from the system outside handlers. */
struct id id_new(int64_t now_ns, struct rng *rng);
bool id_is_nil(const struct id *id);
/* Its bytes as a key of a map; borrowed. */
static inline struct str id_key(const struct id *id)
{
	return (struct str){ (const char *)id->b, sizeof(id->b) };
}
/* dst gets "<type>-<26 digits>". type: 1-4 lower-case letters. Returns dst. */
char *id_format(char dst[ID_TEXT_MAX], const char *type, const struct id *id);
/* HCP_EPARSE unless s is "<type>-" and 26 valid digits. type NULL takes any. */
int id_parse(struct str s, const char *type, struct id *ret) MUST_CHECK;

/* A name that is safe as a folder's, too: 1 to 64 letters, digits, '.', '-', '_', not beginning with '.'. */
bool id_is_name(const char *text);

#endif
