#ifndef HCP_HTTP_GRPC_FRAME_H
#define HCP_HTTP_GRPC_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/grpc.h"

/*
 * Length-prefixed messages:
 *
 *   +----------+-----------------+=========+
 *   | u8: 0    | u32 big endian  | message |   the first byte is 1 for compressed messages, which we do not offer
 *   +----------+-----------------+=========+
 */
enum { GRPC_PREFIX_BYTES = 5 };

/* Collects messages from pieces. */
struct grpc_reader {
	struct buf b; /* an incomplete message */
	size_t max_message;
};

void grpc_reader_init(struct grpc_reader *r, size_t max_message);
void grpc_reader_release(struct grpc_reader *r);
/*
 * Calls on_message for each message that p completes; a return of false stops at once (the reader may be gone then)
 * and is HCP_ECANCELED. HCP_EUNSUPPORTED: compressed; HCP_ELIMIT: too large; HCP_ENOMEM; HCP_EPARSE: flags.
 */
int grpc_reader_feed(struct grpc_reader *r, const void *p, size_t n, bool (*on_message)(void *arg, struct str msg),
	void *arg) MUST_CHECK;
/* True when no message is half read. */
bool grpc_reader_at_end(const struct grpc_reader *r);

void grpc_prefix(uint8_t dst[GRPC_PREFIX_BYTES], uint32_t n);

/* "100m" and the like (grpc-timeout) in nanoseconds. */
int grpc_timeout_parse(struct str s, int64_t *ret_ns) MUST_CHECK;
/* Shortest unit that holds it; dst of 16 bytes. */
void grpc_timeout_format(char *dst, uint32_t ms);
/* grpc-message is percent-encoded except printable ASCII. */
void grpc_message_encode(struct buf *b, struct str s);
/* As said by the protocol, bad escapes are left as they are. */
void grpc_message_decode(struct buf *b, struct str s);

#endif
