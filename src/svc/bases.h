#ifndef HCP_SVC_BASES_H
#define HCP_SVC_BASES_H

#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

/*
 * Base copies of a service's database: where a replay may begin without the journal from the first batch on.
 *
 *   DIR/00000000000000001234.db     tables as batch 1234 left them; of the journal only that batch
 *   DIR/00000000000000001234.base   what it is and its checksums; written last: without it there is no base
 *
 * A .base file is these lines and nothing else; crc32c is of all bytes before its own line.
 *
 *   hcp-base 1
 *   service orchestrator
 *   batch 1234
 *   at_ns 1767225600000000000
 *   journal 71303168
 *   bytes 40960
 *   sha256 64 digits, of the .db file
 *   crc32c 8 digits
 *
 * Functions here know only files: any thread, one at a time a directory.
 */
enum { BASES_MAX = 64, BASES_PATH_MAX = 4096, BASES_NAME_MAX = 64 };

struct base {
	char service[BASES_NAME_MAX];
	int64_t batch;   /* the last one in it */
	int64_t at_ns;   /* when it was taken, UTC */
	int64_t journal; /* bytes that the journal had ever taken in until then, about */
	int64_t bytes;   /* of the .db file; 0: the .base file is damaged and tells nothing but the batch in its name */
	char sha256[65]; /* of the .db file, hexadecimal */
};

/* Steps of bases_write at which a test may stop it, as a crash or an error would. */
enum base_stage { BASE_COPYING, BASE_COPIED, BASE_RENAMED, BASE_KEPT };
struct bases_hook {
	int (*fn)(void *arg, enum base_stage stage); /* negative: ends it with that code; NULL: none */
	void *arg;
};

/* Text of a .base file into *ret: HCP_EPARSE unless it is exactly what bases_format writes. */
int bases_parse(struct str text, struct base *ret) MUST_CHECK;
void bases_format(const struct base *b, struct buf *dst);

/* All bases, damaged ones too, oldest first, at most BASES_MAX (the newest). No directory: none. */
int bases_list(const char *dir, struct base ret[BASES_MAX], size_t *ret_n, struct err *err) MUST_CHECK;
/*
 * The base of batch as snap (db_snapshot) sees it: copied, synced, put in place. size and checksum of *b are
 * filled in, the rest is the caller's. On failure nothing of it is left; after a crash bases_trim removes the rest.
 */
int bases_write(
	const char *dir, struct db *snap, struct base *b, const struct bases_hook *hook, struct err *err) MUST_CHECK;
/* Removes all but the newest `keep`, bases after batch `last` (of a time that was lost), and what crashes left behind.
 */
int bases_trim(const char *dir, size_t keep, int64_t last, struct err *err) MUST_CHECK;
/*
 * Copies the base to path, checking it on the way. HCP_ECORRUPT names what is wrong with it; then path does not exist.
 */
int bases_restore(const char *dir, const struct base *b, const char *path, struct err *err) MUST_CHECK;

#endif
