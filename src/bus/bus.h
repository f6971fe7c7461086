#ifndef HCP_BUS_BUS_H
#define HCP_BUS_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * The durable log that carries events between the services of one process (and, read over the mesh, of others).
 *
 *   dir/00000000000000000001.log   segments named by their first offset; the newest is appended to
 *
 *   record on disk, little-endian:
 *   0        4        8                16               24      26      28      32
 *   | length | crc32c | offset         | sender's seq   | topic | sender| zero  | payload (length bytes) …
 *     crc32c covers bytes 8 … 32+length
 *
 * Offsets start at 1 and have no holes. A torn tail is cut off at open: its records are published again from
 * the senders' outboxes. Consumers drop what they have by (sender, seq), so repeats do no harm.
 * All functions are thread-safe.
 */
struct bus;

enum {
	BUS_HEADER = 32,
	BUS_MAX_PAYLOAD = 8 << 20,
	BUS_TAIL = 8192, /* newest records kept in memory for readers that keep up … */
	BUS_TAIL_BYTES = 2 << 20, /* … and no more than this, where there are files to read the others from */
};

struct bus_conf {
	const char *dir;        /* NULL: memory only, the tail is all there is */
	uint64_t segment_bytes; /* 0: 64 MiB */
	uint64_t keep_bytes;    /* oldest segments go beyond this; 0: 512 MiB */
};

struct bus_entry {
	uint64_t seq;   /* grows per sender, never repeats for another event */
	uint16_t topic; /* < 64 */
	uint16_t sender;
	struct str payload; /* borrowed */
};

/* Shared by readers; immutable. */
struct bus_rec {
	uint64_t offset, seq;
	uint16_t topic, sender;
	struct str payload; /* owned by the record */
};

int bus_open(const struct bus_conf *conf, struct bus **ret, struct err *err) MUST_CHECK;
/* Syncs and closes. No reader may be active. */
void bus_close(struct bus *bus);

/* Appends in order, all or none; then wakes the watchers of the topics. Not yet synced when it returns. */
int bus_append(struct bus *bus, const struct bus_entry *e, size_t n, struct err *err) MUST_CHECK;
/* Everything appended before the call is on the disk afterwards; *ret (may be NULL) is the last such offset. */
int bus_sync(struct bus *bus, uint64_t *ret, struct err *err) MUST_CHECK;
/* Has files: what is synced survives. */
bool bus_is_durable(const struct bus *bus);
uint64_t bus_end(struct bus *bus);   /* offset the next record gets */
uint64_t bus_begin(struct bus *bus); /* oldest offset still kept */
/*
 * What bus_end was when the log was opened. Records that a reader had beyond it went with a torn tail, and others may
 * stand at their offsets by now: such a reader goes on here and drops what it has by (sender, seq).
 */
uint64_t bus_recovered(struct bus *bus);

/*
 * Up to max records from offset `from` on whose topic is in mask; *ret_next is where to go on (it also moves over
 * records of other topics). Returns their number or a negative code. A `from` that is no longer kept starts at
 * bus_begin. Each record is released with bus_rec_unref.
 */
int bus_read(struct bus *bus, uint64_t from, uint64_t mask, size_t max, struct bus_rec **out, uint64_t *ret_next,
	     struct err *err) MUST_CHECK;
struct bus_rec *bus_rec_ref(struct bus_rec *rec);
void bus_rec_unref(struct bus_rec *rec);

/* fn is called from the appending thread after an append that touches mask; it must be quick. ≤ 64 watchers. */
int bus_watch(struct bus *bus, uint64_t mask, void (*fn)(void *arg), void *arg) MUST_CHECK;
void bus_unwatch(struct bus *bus, void *arg);

#endif
