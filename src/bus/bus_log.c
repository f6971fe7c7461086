#include "bus/bus.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/num.h"
#include "os/file.h"

enum {
	BUS_MAX_SEGMENTS = 1024,
	BUS_MAX_WATCHERS = 64,
	BUS_INDEX_EVERY = 64,
	INDEX_STEP = 256, /* blocks by which an index grows */
	BUS_PATH_MAX = 4096,
	TAIL_BLOCKS = BUS_TAIL / BUS_INDEX_EVERY,
	OUT_KEPT = 256 << 10,  /* bytes kept for the next append */
	READ_CHUNK = 64 << 10, /* of a file, for a reader that is behind the tail */
};

/* Records that follow one another. Readers of rare topics pass over those that have none of theirs. */
struct block {
	uint64_t pos;    /* of the first in its file; in the tail: its number, offset / BUS_INDEX_EVERY */
	uint64_t topics; /* a bit for each that is in it */
};

/* Shared by the log and whoever reads from it outside the lock. */
struct seg_file {
	int fd;
	atomic_uint refs;
};

struct segment {
	uint64_t first;  /* offset of its first record */
	uint64_t bytes;
	struct seg_file *file; /* owned */
	struct block *index; /* owned: every BUS_INDEX_EVERY records; NULL until read */
	size_t index_n, index_cap;
};

struct watcher {
	uint64_t mask;
	void (*fn)(void *arg);
	void *arg;
};

struct shared_rec {
	struct bus_rec rec; /* first: bus_rec pointers are shared_rec pointers */
	atomic_uint refs;
	char data[];
};

struct bus {
	pthread_mutex_t lock;
	char *dir; /* owned; NULL: memory only */
	uint64_t segment_bytes, keep_bytes;
	struct segment seg[BUS_MAX_SEGMENTS];
	int n_seg;
	uint64_t next, synced, recovered;
	bool unsure;                       /* a sync failed: what the disk holds is not known until it is read again */
	bool torn;                         /* bytes of a failed append are still at the end of the file */
	struct shared_rec *tail[BUS_TAIL]; /* slot offset % BUS_TAIL */
	struct block tail_block[TAIL_BLOCKS];
	uint64_t tail_known;               /* first offset that these have heard of */
	uint64_t tail_first, tail_bytes;   /* oldest offset that may be in the tail; payload bytes in it */
	struct buf out;                    /* scratch of an append */
	struct watcher watcher[BUS_MAX_WATCHERS];
	int n_watchers;
};

struct bus_rec *bus_rec_ref(struct bus_rec *rec)
{
	atomic_fetch_add_explicit(&((struct shared_rec *)rec)->refs, 1, memory_order_relaxed);
	return rec;
}

void bus_rec_unref(struct bus_rec *rec)
{
	struct shared_rec *s = (struct shared_rec *)rec;
	if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		mem_free(s);
}

static void seg_file_unref(struct seg_file *f)
{
	if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) {
		file_close(f->fd);
		mem_free(f);
	}
}

static struct shared_rec *rec_new(uint64_t offset, const struct bus_entry *e)
{
	struct shared_rec *s = mem_alloc(sizeof(*s) + e->payload.n);
	if (!s)
		return NULL;
	s->rec = (struct bus_rec){ offset, e->seq, e->topic, e->sender, { s->data, e->payload.n } };
	atomic_init(&s->refs, 1);
	if (e->payload.n)
		memcpy(s->data, e->payload.p, e->payload.n);
	return s;
}

static void put_le(unsigned char *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get_le(const unsigned char *p, int n)
{
	uint64_t v = 0;
	for (int i = 0; i < n; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static void encode(struct buf *b, uint64_t offset, const struct bus_entry *e)
{
	unsigned char h[BUS_HEADER] = { 0 };
	put_le(h, e->payload.n, 4);
	put_le(h + 8, offset, 8);
	put_le(h + 16, e->seq, 8);
	put_le(h + 24, e->topic, 2);
	put_le(h + 26, e->sender, 2);
	uint32_t crc = crc32c(crc32c(0, h + 8, BUS_HEADER - 8), e->payload.p, e->payload.n);
	put_le(h + 4, crc, 4);
	buf_add(b, h, sizeof(h));
	buf_adds(b, e->payload);
}

/* A record from its header, without its payload; NULL: out of memory. */
static struct shared_rec *rec_of_header(const unsigned char h[BUS_HEADER])
{
	uint64_t n = get_le(h, 4);
	struct shared_rec *s = mem_alloc(sizeof(*s) + n);
	if (!s)
		return NULL;
	s->rec = (struct bus_rec){ get_le(h + 8, 8), get_le(h + 16, 8), (uint16_t)get_le(h + 24, 2),
		(uint16_t)get_le(h + 26, 2), { s->data, n } };
	atomic_init(&s->refs, 1);
	return s;
}

static bool rec_is_whole(const struct shared_rec *s, const unsigned char h[BUS_HEADER])
{
	return crc32c(crc32c(0, h + 8, BUS_HEADER - 8), s->data, s->rec.payload.n) == get_le(h + 4, 4);
}

/* One record at pos: HCP_EAGAIN at the clean end, HCP_ECORRUPT where it is torn. */
static int decode_at(
	const struct segment *seg, uint64_t pos, struct shared_rec **ret, uint64_t *ret_next, struct err *err)
{
	unsigned char h[BUS_HEADER];
	size_t got;
	int rc = file_read_at(seg->file->fd, pos, h, sizeof(h), &got, err);
	if (rc < 0)
		return rc;
	if (got == 0)
		return HCP_EAGAIN;
	uint64_t n = get_le(h, 4);
	if (got < sizeof(h) || n > BUS_MAX_PAYLOAD)
		return HCP_ECORRUPT;
	struct shared_rec *s = rec_of_header(h);
	if (!s)
		return HCP_ENOMEM;
	rc = file_read_at(seg->file->fd, pos + BUS_HEADER, s->data, n, &got, err);
	if (rc == 0 && (got < n || !rec_is_whole(s, h)))
		rc = HCP_ECORRUPT;
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	*ret = s;
	*ret_next = pos + BUS_HEADER + n;
	return 0;
}

/* Room for the index of `records` records of the segment. */
static int index_reserve(struct segment *seg, uint64_t records)
{
	size_t need = (size_t)((records + BUS_INDEX_EVERY - 1) / BUS_INDEX_EVERY);
	if (need <= seg->index_cap)
		return 0;
	need = (need + INDEX_STEP - 1) / INDEX_STEP * INDEX_STEP;
	struct block *more = mem_realloc(seg->index, need * sizeof(*more));
	if (!more)
		return HCP_ENOMEM;
	seg->index = more;
	seg->index_cap = need;
	return 0;
}

/* Its room has been reserved. */
static void index_add(struct segment *seg, uint64_t nth, uint64_t pos, unsigned topic)
{
	if (nth % BUS_INDEX_EVERY)
		seg->index[seg->index_n - 1].topics |= UINT64_C(1) << topic;
	else
		seg->index[seg->index_n++] = (struct block){ pos, UINT64_C(1) << topic };
}

static void tail_drop(struct bus *bus, struct shared_rec **slot)
{
	if (!*slot)
		return;
	bus->tail_bytes -= (*slot)->rec.payload.n;
	bus_rec_unref(&(*slot)->rec);
	*slot = NULL;
}

/* The newest record, taken over; the oldest leave when there are too many or they are too large together. */
static void tail_put(struct bus *bus, struct shared_rec *s)
{
	struct shared_rec **slot = &bus->tail[s->rec.offset % BUS_TAIL];
	uint64_t number = s->rec.offset / BUS_INDEX_EVERY;
	struct block *b = &bus->tail_block[number % TAIL_BLOCKS];
	if (b->pos != number)
		*b = (struct block){ .pos = number };
	b->topics |= UINT64_C(1) << (s->rec.topic & 63);
	tail_drop(bus, slot);
	*slot = s;
	bus->tail_bytes += s->rec.payload.n;
	if (s->rec.offset >= BUS_TAIL && bus->tail_first <= s->rec.offset - BUS_TAIL)
		bus->tail_first = s->rec.offset - BUS_TAIL + 1;
	while (bus->dir && bus->tail_bytes > BUS_TAIL_BYTES && bus->tail_first < s->rec.offset)
		tail_drop(bus, &bus->tail[bus->tail_first++ % BUS_TAIL]);
}

/* Reads a segment through; *ret_end: the offset after its last record, *ret_whole: nothing else follows it. */
static int read_through(
	struct bus *bus, struct segment *seg, bool into_tail, uint64_t *ret_end, bool *ret_whole, struct err *err)
{
	uint64_t pos = 0, want = seg->first;
	for (;;) {
		struct shared_rec *s;
		uint64_t next;
		int rc = decode_at(seg, pos, &s, &next, err);
		if (rc == HCP_EAGAIN || rc == HCP_ECORRUPT || (rc == 0 && s->rec.offset != want)) {
			if (rc == 0)
				mem_free(s);
			seg->bytes = pos;
			*ret_end = want;
			*ret_whole = rc == HCP_EAGAIN;
			return 0;
		}
		if (rc == 0 && index_reserve(seg, want - seg->first + 1) < 0) {
			mem_free(s);
			rc = err_set(err, HCP_ENOMEM, "", "out of memory");
		}
		if (rc < 0)
			return rc;
		index_add(seg, want - seg->first, pos, s->rec.topic & 63);
		if (into_tail)
			tail_put(bus, s);
		else
			mem_free(s);
		pos = next;
		want++;
	}
}

/*
 * Builds a segment's index and, of the newest, the tail. Only the newest (into_tail) is cut where it is torn, for
 * others will follow; an older one that is damaged stays as it is.
 */
static int scan_segment(struct bus *bus, struct segment *seg, bool into_tail, uint64_t *ret_end, struct err *err)
{
	bool whole = true;
	int rc = read_through(bus, seg, into_tail, ret_end, &whole, err);
	if (rc == 0 && !whole && into_tail)
		rc = file_truncate(seg->file->fd, seg->bytes, bus->dir, err);
	if (rc < 0) {
		/* Half an index would look like a whole one. */
		mem_free(seg->index);
		seg->index = NULL;
		seg->index_n = seg->index_cap = 0;
	}
	return rc;
}

static int open_segment(struct bus *bus, uint64_t first, struct err *err)
{
	char path[BUS_PATH_MAX];
	if (bus->n_seg == BUS_MAX_SEGMENTS)
		return err_set(err, HCP_ELIMIT, bus->dir, "more than %d log segments", BUS_MAX_SEGMENTS);
	if (snprintf(path, sizeof(path), "%s/%020" PRIu64 ".log", bus->dir, first) >= (int)sizeof(path))
		return err_set(err, HCP_ERANGE, bus->dir, "path too long");
	struct segment *seg = &bus->seg[bus->n_seg];
	struct seg_file *file = mem_calloc(1, sizeof(*file));
	if (!file)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	*seg = (struct segment){ .first = first, .file = file };
	atomic_init(&file->refs, 1);
	int rc = file_open_append(path, &file->fd, &seg->bytes, err);
	if (rc < 0) {
		mem_free(file);
		return rc;
	}
	bus->n_seg++;
	if (seg->bytes == 0)
		file_sync_dir(path); /* a new one is in its directory before anything in it counts as synced */
	return 0;
}

struct finding {
	struct bus *bus;
	struct err *err;
};

static int found_segment(void *arg, const char *name)
{
	struct finding *f = arg;
	uint64_t first;
	if (num_parse_u64((struct str){ name, strlen(name) - 4 }, &first) < 0 || first == 0)
		return 0;
	return open_segment(f->bus, first, f->err);
}

static int open_dir(struct bus *bus, struct err *err)
{
	int rc = file_mkdirs(bus->dir, err);
	if (rc < 0)
		return rc;
	struct finding finding = { bus, err };
	rc = file_list(bus->dir, ".log", found_segment, &finding, err);
	if (rc < 0)
		return rc;
	if (bus->n_seg == 0)
		return open_segment(bus, 1, err);
	bus->tail_known = bus->seg[bus->n_seg - 1].first;
	rc = scan_segment(bus, &bus->seg[bus->n_seg - 1], true, &bus->next, err);
	bus->synced = bus->next;
	return rc;
}

int bus_open(const struct bus_conf *conf, struct bus **ret, struct err *err)
{
	struct bus *bus = mem_calloc(1, sizeof(*bus));
	if (!bus)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	pthread_mutex_init(&bus->lock, NULL);
	buf_init(&bus->out, 0);
	bus->next = bus->synced = 1;
	bus->segment_bytes = conf->segment_bytes ? conf->segment_bytes : UINT64_C(64) << 20;
	bus->keep_bytes = conf->keep_bytes ? conf->keep_bytes : UINT64_C(512) << 20;
	int rc = 0;
	if (conf->dir) {
		bus->dir = mem_strdup(conf->dir);
		rc = bus->dir ? open_dir(bus, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	if (rc < 0) {
		bus_close(bus);
		return rc;
	}
	bus->recovered = bus->next;
	*ret = bus;
	return 0;
}

void bus_close(struct bus *bus)
{
	if (!bus)
		return;
	if (bus->dir && bus->n_seg)
		(void)!bus_sync(bus, NULL, NULL);
	for (int i = 0; i < bus->n_seg; i++) {
		seg_file_unref(bus->seg[i].file);
		mem_free(bus->seg[i].index);
	}
	for (int i = 0; i < BUS_TAIL; i++)
		if (bus->tail[i])
			bus_rec_unref(&bus->tail[i]->rec);
	buf_release(&bus->out);
	mem_free(bus->dir);
	pthread_mutex_destroy(&bus->lock);
	mem_free(bus);
}

static void drop_oldest(struct bus *bus)
{
	uint64_t total = 0;
	for (int i = 0; i < bus->n_seg; i++)
		total += bus->seg[i].bytes;
	while (bus->n_seg > 1 && (total > bus->keep_bytes || bus->n_seg > BUS_MAX_SEGMENTS - 2)) {
		char path[BUS_PATH_MAX];
		total -= bus->seg[0].bytes;
		seg_file_unref(bus->seg[0].file);
		mem_free(bus->seg[0].index);
		snprintf(path, sizeof(path), "%s/%020" PRIu64 ".log", bus->dir, bus->seg[0].first);
		(void)file_remove(path, NULL);
		bus->n_seg--;
		memmove(&bus->seg[0], &bus->seg[1], (size_t)bus->n_seg * sizeof(bus->seg[0]));
	}
}

/*
 * After a failed fsync Linux takes the pages for clean: the next one succeeds though they never reached the disk. So
 * none is believed from then on. The senders publish what was not synced again when the log has been opened anew.
 */
static int refuse_sync(const struct bus *bus, struct err *err)
{
	return err_set(err, HCP_EIO, bus->dir, "an earlier sync failed, so what is on the disk is not known; start again");
}

static int write_out(struct bus *bus, const struct bus_entry *e, size_t n, struct err *err)
{
	struct segment *seg = &bus->seg[bus->n_seg - 1];
	if (bus->torn && file_truncate(seg->file->fd, seg->bytes, bus->dir, err) < 0)
		return HCP_EIO;
	bus->torn = false;
	if (seg->bytes >= bus->segment_bytes) {
		int rc = bus->unsure ? refuse_sync(bus, err) : file_sync(seg->file->fd, bus->dir, err);
		bus->unsure = rc < 0;
		if (rc == 0)
			rc = open_segment(bus, bus->next, err);
		if (rc < 0)
			return rc;
		drop_oldest(bus);
		seg = &bus->seg[bus->n_seg - 1];
	}
	buf_clear(&bus->out);
	for (size_t i = 0; i < n; i++)
		encode(&bus->out, bus->next + i, &e[i]);
	if (buf_failed(&bus->out))
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	/* Before the write: nothing may fail once the records are in the file. */
	if (index_reserve(seg, bus->next + n - seg->first) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = file_append(seg->file->fd, buf_str(&bus->out), bus->dir, err);
	if (rc < 0) {
		bus->torn = file_truncate(seg->file->fd, seg->bytes, bus->dir, NULL) < 0;
		return rc;
	}
	uint64_t pos = seg->bytes;
	for (size_t i = 0; i < n; i++) {
		index_add(seg, bus->next + i - seg->first, pos, e[i].topic & 63);
		pos += BUS_HEADER + e[i].payload.n;
	}
	seg->bytes = pos;
	if (bus->out.cap > OUT_KEPT)
		buf_release(&bus->out); /* of a rare large append */
	return 0;
}

static int append_locked(struct bus *bus, const struct bus_entry *e, size_t n, uint64_t *ret_mask, struct err *err)
{
	struct shared_rec **fresh = mem_alloc(n * sizeof(struct shared_rec *));
	if (!fresh)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	size_t made = 0;
	int rc = 0;
	for (; made < n && rc == 0; made++) {
		if (e[made].payload.n > BUS_MAX_PAYLOAD)
			rc = err_set(err, HCP_ELIMIT, "payload", "event of %zu bytes", e[made].payload.n);
		fresh[made] = rc == 0 ? rec_new(bus->next + made, &e[made]) : NULL;
		if (rc == 0 && !fresh[made])
			rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	if (rc == 0 && bus->dir)
		rc = write_out(bus, e, n, err);
	for (size_t i = 0; i < made; i++) {
		if (rc < 0) {
			if (fresh[i])
				bus_rec_unref(&fresh[i]->rec);
			continue;
		}
		tail_put(bus, fresh[i]);
		*ret_mask |= UINT64_C(1) << e[i].topic;
	}
	mem_free(fresh);
	if (rc == 0)
		bus->next += n;
	return rc;
}

int bus_append(struct bus *bus, const struct bus_entry *e, size_t n, struct err *err)
{
	struct watcher wake[BUS_MAX_WATCHERS];
	int n_wake = 0;
	uint64_t mask = 0;
	if (n == 0)
		return 0;
	pthread_mutex_lock(&bus->lock);
	int rc = append_locked(bus, e, n, &mask, err);
	for (int i = 0; rc == 0 && i < bus->n_watchers; i++)
		if (bus->watcher[i].mask & mask)
			wake[n_wake++] = bus->watcher[i];
	pthread_mutex_unlock(&bus->lock);
	for (int i = 0; i < n_wake; i++)
		wake[i].fn(wake[i].arg);
	return rc;
}

int bus_sync(struct bus *bus, uint64_t *ret, struct err *err)
{
	pthread_mutex_lock(&bus->lock);
	uint64_t upto = bus->next;
	struct seg_file *file = bus->dir && bus->synced < upto ? bus->seg[bus->n_seg - 1].file : NULL;
	if (file)
		atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock(&bus->lock);
	/* Outside the lock: appenders go on. A segment that was closed meanwhile was synced when it was. */
	int rc = file ? file_sync(file->fd, bus->dir, err) : 0;
	seg_file_unref(file);
	pthread_mutex_lock(&bus->lock);
	if (rc < 0)
		bus->unsure = true;
	else if (bus->unsure)
		rc = refuse_sync(bus, err);
	else if (upto > bus->synced)
		bus->synced = upto;
	pthread_mutex_unlock(&bus->lock);
	if (rc < 0)
		return rc;
	if (ret)
		*ret = upto - 1;
	return 0;
}

bool bus_is_durable(const struct bus *bus)
{
	return bus->dir != NULL;
}

uint64_t bus_end(struct bus *bus)
{
	pthread_mutex_lock(&bus->lock);
	uint64_t end = bus->next;
	pthread_mutex_unlock(&bus->lock);
	return end;
}

uint64_t bus_recovered(struct bus *bus)
{
	return bus->recovered; /* never changes after bus_open */
}

static uint64_t begin_locked(const struct bus *bus)
{
	if (bus->dir)
		return bus->seg[0].first;
	return bus->next > BUS_TAIL ? bus->next - BUS_TAIL : 1;
}

uint64_t bus_begin(struct bus *bus)
{
	pthread_mutex_lock(&bus->lock);
	uint64_t begin = begin_locked(bus);
	pthread_mutex_unlock(&bus->lock);
	return begin;
}

/* The segment of an offset, its index read; offset < bus->next. */
static int segment_of(struct bus *bus, uint64_t offset, struct segment **ret, struct err *err)
{
	uint64_t end;
	int i = bus->n_seg - 1;
	while (i > 0 && bus->seg[i].first > offset)
		i--;
	*ret = &bus->seg[i];
	return bus->seg[i].index ? 0 : scan_segment(bus, &bus->seg[i], false, &end, err);
}

/* The block that an offset is in and the offset after it; *ret NULL: not known. */
static int block_of(struct bus *bus, uint64_t at, const struct block **ret, uint64_t *ret_after, struct err *err)
{
	uint64_t number = at / BUS_INDEX_EVERY;
	struct segment *seg;
	*ret = &bus->tail_block[number % TAIL_BLOCKS];
	*ret_after = (number + 1) * BUS_INDEX_EVERY;
	/* One that began before the tail did does not know all its topics. */
	if ((*ret)->pos == number && number * BUS_INDEX_EVERY >= bus->tail_known)
		return 0;
	*ret = NULL;
	int rc = bus->dir ? segment_of(bus, at, &seg, err) : 0;
	if (rc < 0 || !bus->dir)
		return rc;
	number = (at - seg->first) / BUS_INDEX_EVERY;
	if (number < seg->index_n)
		*ret = &seg->index[number];
	*ret_after = seg->first + (number + 1) * BUS_INDEX_EVERY;
	if (seg != &bus->seg[bus->n_seg - 1] && *ret_after > seg[1].first)
		*ret_after = seg[1].first;
	return 0;
}

/* Moves *at over the blocks that have no topic of the mask. */
static int pass_over(struct bus *bus, uint64_t *at, uint64_t mask, struct err *err)
{
	while (*at < bus->next) {
		const struct block *b;
		uint64_t after;
		int rc = block_of(bus, *at, &b, &after, err);
		if (rc < 0 || !b || b->topics & mask)
			return rc;
		*at = after < bus->next ? after : bus->next;
	}
	return 0;
}

/* Where a reader behind the tail goes on, outside the lock. */
struct behind {
	struct seg_file *file; /* a reference; NULL: not behind */
	uint64_t first, pos;   /* of the block that the record is in */
	uint64_t end;          /* of what may be read of the file */
};

static int begin_behind(struct bus *bus, uint64_t at, struct behind *ret, struct err *err)
{
	struct segment *seg;
	int rc = bus->dir ? segment_of(bus, at, &seg, err) : 0;
	if (rc < 0)
		return rc;
	uint64_t nth = bus->dir ? (at - seg->first) / BUS_INDEX_EVERY : 0;
	if (!bus->dir || nth >= seg->index_n)
		return err_set(err, HCP_ECORRUPT, bus->dir ? bus->dir : "", "event %" PRIu64 " is missing", at);
	*ret = (struct behind){ seg->file, seg->first + nth * BUS_INDEX_EVERY, seg->index[nth].pos, seg->bytes };
	atomic_fetch_add_explicit(&seg->file->refs, 1, memory_order_relaxed);
	return 0;
}

/*
 * What of a chunk of a file is wanted. Moves *b over the records that are whole in it and returns how many it took, or
 * a negative code; *ret_need: bytes from b->pos on that the record after them takes, 0 if not even its header is there.
 */
static int take_chunk(const unsigned char *chunk, size_t n, struct behind *b, uint64_t at, uint64_t mask, size_t max,
	struct bus_rec **out, size_t *ret_need)
{
	size_t p = 0, taken = 0;
	*ret_need = 0;
	while (n - p >= BUS_HEADER && taken < max) {
		const unsigned char *h = chunk + p;
		uint64_t size = get_le(h, 4);
		if (size > BUS_MAX_PAYLOAD || get_le(h + 8, 8) != b->first)
			return taken ? (int)taken : HCP_ECORRUPT;
		*ret_need = BUS_HEADER + size;
		if (n - p < *ret_need)
			break;
		if (b->first >= at && mask >> (get_le(h + 24, 2) & 63) & 1) {
			struct shared_rec *s = rec_of_header(h);
			if (!s)
				return taken ? (int)taken : HCP_ENOMEM;
			memcpy(s->data, h + BUS_HEADER, size);
			out[taken] = &s->rec;
			if (!rec_is_whole(s, h)) {
				bus_rec_unref(&s->rec);
				return taken ? (int)taken : HCP_ECORRUPT;
			}
			taken++;
		}
		p += *ret_need;
		b->pos += *ret_need;
		b->first++;
		*ret_need = 0;
	}
	return (int)taken;
}

/* Reads on from a file until something is found or the chunk that *at is in has been passed. Without the lock. */
static int read_behind(struct behind b, uint64_t *at, uint64_t mask, size_t max, struct bus_rec **out, struct err *err)
{
	size_t cap = READ_CHUNK, got, need = 0;
	unsigned char *chunk = mem_alloc(cap);
	int n = chunk ? 0 : HCP_ENOMEM;
	while (n == 0 && b.first <= *at) {
		if (need > cap) {
			mem_free(chunk);
			chunk = mem_alloc(cap = need);
		}
		uint64_t before = b.pos;
		size_t want = b.end - b.pos < cap ? (size_t)(b.end - b.pos) : cap;
		n = chunk ? file_read_at(b.file->fd, b.pos, chunk, want, &got, err) : HCP_ENOMEM;
		if (n == 0)
			n = take_chunk(chunk, got, &b, *at, mask, max, out, &need);
		if (n == 0 && b.pos == before && need <= cap)
			n = HCP_ECORRUPT;
	}
	mem_free(chunk);
	if (n < 0)
		return err_set(err, n, "", n == HCP_ENOMEM ? "out of memory" : "event %" PRIu64 " cannot be read", b.first);
	*at = b.first;
	return n;
}

/* From the tail; where a record is not in it: *ret_behind, and nothing more is read. */
static int read_locked(struct bus *bus, uint64_t *at, uint64_t mask, size_t max, struct bus_rec **out,
	struct behind *ret_behind, struct err *err)
{
	int n = 0;
	for (; *at < bus->next && (size_t)n < max; (*at)++) {
		int rc = pass_over(bus, at, mask, err);
		if (rc < 0)
			return n ? n : rc;
		if (*at >= bus->next)
			break;
		struct shared_rec *s = bus->tail[*at % BUS_TAIL];
		if (!s || s->rec.offset != *at)
			return n ? n : begin_behind(bus, *at, ret_behind, err);
		if (mask >> s->rec.topic & 1)
			out[n++] = bus_rec_ref(&s->rec);
	}
	return n;
}

int bus_read(struct bus *bus, uint64_t from, uint64_t mask, size_t max, struct bus_rec **out, uint64_t *ret_next,
	     struct err *err)
{
	uint64_t at = from;
	for (;;) {
		struct behind behind = { 0 };
		pthread_mutex_lock(&bus->lock);
		uint64_t begin = begin_locked(bus);
		if (at < begin)
			at = begin;
		int n = read_locked(bus, &at, mask, max, out, &behind, err);
		pthread_mutex_unlock(&bus->lock);
		if (n == 0 && behind.file) {
			n = read_behind(behind, &at, mask, max, out, err);
			seg_file_unref(behind.file);
			if (n == 0)
				continue;
		}
		if (n >= 0)
			*ret_next = at;
		return n;
	}
}

int bus_watch(struct bus *bus, uint64_t mask, void (*fn)(void *arg), void *arg)
{
	int rc = HCP_ELIMIT;
	pthread_mutex_lock(&bus->lock);
	if (bus->n_watchers < BUS_MAX_WATCHERS) {
		bus->watcher[bus->n_watchers++] = (struct watcher){ mask, fn, arg };
		rc = 0;
	}
	pthread_mutex_unlock(&bus->lock);
	return rc;
}

void bus_unwatch(struct bus *bus, void *arg)
{
	pthread_mutex_lock(&bus->lock);
	for (int i = 0; i < bus->n_watchers; i++)
		if (bus->watcher[i].arg == arg)
			bus->watcher[i--] = bus->watcher[--bus->n_watchers];
	pthread_mutex_unlock(&bus->lock);
}
