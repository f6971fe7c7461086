#ifndef HCP_BASE_HEX_H
#define HCP_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* dst needs 2*n+1 bytes; lower case. Returns dst. */
char *hex_encode(char *dst, const void *src, size_t n);
/* s must be exactly 2*n digits of either case. */
int hex_decode(void *dst, size_t n, struct str s) MUST_CHECK;

/* Base64url without padding (RFC 4648 §5), as JOSE uses. */
void b64url_encode(struct buf *b, const void *src, size_t n);
int b64url_decode(struct buf *b, struct str s) MUST_CHECK;

/* CRC-32C (Castagnoli), hardware where available. Start with crc = 0. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
