/* Events for peers: each reads the bus at its own pace, and gets what the services of this process have published. */
#include "base/mem.h"
#include "mesh/mesh_priv.h"

enum { FEED_BATCH = 64 };

/* Envelope field 6, bus_offset; in protobuf the last of a field counts, so it may be appended to packed bytes. */
static size_t put_offset(char *p, uint64_t offset)
{
	size_t n = 0;
	p[n++] = 6 << 3;
	while (offset >= 0x80) {
		p[n++] = (char)(offset | 0x80);
		offset >>= 7;
	}
	p[n++] = (char)offset;
	return n;
}

/* False when the stream cannot take more now. */
static bool send_one(struct feed *f, const struct bus_rec *rec, struct buf *b)
{
	char tail[16];
	if (rec->sender >= SVC_COUNT || !host_service(f->mesh->host, rec->sender))
		return true; /* mirrored from elsewhere: its own process tells it */
	buf_clear(b);
	buf_adds(b, rec->payload);
	buf_add(b, tail, put_offset(tail, rec->offset));
	if (buf_failed(b))
		return false;
	int rc = grpc_stream_send(f->call, buf_str(b));
	if (rc == 0)
		return true;
	f->blocked = true;
	if (rc == HCP_EAGAIN) {
		f->next = rec->offset + 1;
		return false;
	}
	f->next = rec->offset; /* not taken */
	return false;
}

static void pump(struct feed *f)
{
	struct bus_rec *rec[FEED_BATCH];
	struct bus *bus = host_bus(f->mesh->host);
	struct buf b;
	if (!f->next)
		return;
	buf_init(&b, 0);
	while (!f->blocked && f->next < bus_end(bus)) {
		uint64_t after;
		bool going = true;
		int n = bus_read(bus, f->next, f->mask, FEED_BATCH, rec, &after, NULL);
		if (n < 0)
			break;
		for (int i = 0; i < n; i++) {
			going = going && send_one(f, rec[i], &b);
			bus_rec_unref(rec[i]);
		}
		if (!going)
			break;
		f->next = after;
	}
	buf_release(&b);
}

void mesh_feeds_pump(struct mesh *m)
{
	list_each_safe(it, tmp, &m->feeds)
		pump(list_entry(it, struct feed, node));
}

static void feed_drop(struct feed *f, enum grpc_status status, const char *text)
{
	struct grpc_call *call = f->call;
	list_del(&f->node);
	f->mesh->n_feeds--;
	grpc_call_set_user(call, NULL);
	mem_free(f);
	grpc_stream_finish(call, status, text);
}

static void on_open(struct grpc_call *call, void *arg)
{
	struct mesh *m = arg;
	enum grpc_status status;
	const char *unwelcome = mesh_unwelcome(m, call, 1U << IDENTITY_SERVICE, &status);
	if (unwelcome) {
		grpc_stream_finish(call, status, unwelcome);
		return;
	}
	struct feed *f = m->n_feeds < MESH_FEEDS_MAX && !atomic_load(&m->stopping) ? mem_calloc(1, sizeof(*f)) : NULL;
	if (!f) {
		grpc_stream_finish(call, GRPC_UNAVAILABLE, "no room for another reader of events");
		return;
	}
	f->mesh = m;
	f->call = call;
	list_add_tail(&m->feeds, &f->node);
	m->n_feeds++;
	grpc_call_set_user(call, f);
}

static void on_message(struct grpc_call *call, void *arg, struct str bytes)
{
	struct feed *f = grpc_call_user(call);
	struct arena a;
	if (!f)
		return;
	arena_init(&a, 256, 4096);
	const Hcp__MeshSubscribe *s = (void *)pb_unpack_arena(&hcp__mesh_subscribe__descriptor, bytes, &a);
	if (!s || f->next) {
		arena_release(&a);
		feed_drop(f, GRPC_INVALID_ARGUMENT, "one MeshSubscribe, please");
		return;
	}
	uint64_t begin = bus_begin(host_bus(f->mesh->host)), end = bus_end(host_bus(f->mesh->host));
	/* Beyond the end: our log is not the one that the offset is of. From the start then; what is known is dropped. */
	f->next = s->from_offset < begin || s->from_offset > end ? begin : s->from_offset;
	f->next = f->next ? f->next : 1;
	f->mask = s->topic_mask;
	arena_release(&a);
	pump(f);
}

static void on_half_close(struct grpc_call *call, void *arg)
{
}

static void on_drain(struct grpc_call *call, void *arg)
{
	struct feed *f = grpc_call_user(call);
	if (!f)
		return;
	f->blocked = false;
	pump(f);
}

static void on_close(struct grpc_call *call, void *arg)
{
	struct feed *f = grpc_call_user(call);
	if (f)
		feed_drop(f, GRPC_CANCELLED, "the reader is gone");
}

const struct grpc_stream_ops mesh_feed_ops = {
	.on_open = on_open, .on_message = on_message, .on_half_close = on_half_close, .on_drain = on_drain,
	.on_close = on_close,
};

void mesh_feeds_stop(struct mesh *m)
{
	list_each_safe(it, tmp, &m->feeds)
		feed_drop(list_entry(it, struct feed, node), GRPC_UNAVAILABLE, "the process is stopping");
}
