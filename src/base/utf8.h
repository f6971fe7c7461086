#ifndef HCP_BASE_UTF8_H
#define HCP_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the valid UTF-8 sequence at p (RFC 3629: no surrogates, no overlong forms), 0 if there is none. */
size_t utf8_len(const char *p, size_t n);
/* Decodes one code point; returns its length, 0 if invalid. */
size_t utf8_decode(const char *p, size_t n, uint32_t *ret_cp);
bool utf8_valid(const char *p, size_t n);

#endif
