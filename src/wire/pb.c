#include "wire/pb.h"

#include "wire/pb_fast.h"

enum { PB_SCRATCH = 64 << 10 }; /* larger messages are sized first */

/* protobuf-c does not say why it failed; whether an allocation did is ours to remember. */
struct unpack_mem {
	struct arena *arena;
	bool failed;
};

static void *arena_hook_alloc(void *arg, size_t size)
{
	struct unpack_mem *mem = arg;
	void *p = arena_alloc(mem->arena, size);
	if (!p)
		mem->failed = true;
	return p;
}

static void arena_hook_free(void *arg, void *p)
{
	(void)arg;
	(void)p;
}

struct reader {
	const uint8_t *p, *end;
};

static bool read_varint(struct reader *r, uint64_t *ret)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70 && r->p < r->end; shift += 7) {
		uint8_t b = *r->p++;
		if (shift < 64)
			v |= (uint64_t)(b & 127) << shift;
		if (!(b & 128)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool skip_fixed(struct reader *r, size_t n)
{
	if ((size_t)(r->end - r->p) < n)
		return false;
	r->p += n;
	return true;
}

static bool has_messages(const ProtobufCMessageDescriptor *d)
{
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
			return true;
	return false;
}

/*
 * True unless submessages nest deeper than `depth` more levels. Malformed bytes end the walk: protobuf-c meets the
 * same bytes in the same order and refuses them itself.
 */
static bool depth_fits(const ProtobufCMessageDescriptor *d, struct reader r, int depth)
{
	uint64_t tag, len;
	if (depth < 0)
		return false;
	if (!has_messages(d))
		return true;
	while (r.p < r.end && read_varint(&r, &tag)) {
		switch (tag & 7) {
		case 0:
			if (!read_varint(&r, &len))
				return true;
			break;
		case 1:
		case 5:
			if (!skip_fixed(&r, (tag & 7) == 1 ? 8 : 4))
				return true;
			break;
		case 2: {
			if (!read_varint(&r, &len) || len > (size_t)(r.end - r.p))
				return true;
			const ProtobufCFieldDescriptor *f =
				protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
			if (f && f->type == PROTOBUF_C_TYPE_MESSAGE &&
			    !depth_fits(f->descriptor, (struct reader){ r.p, r.p + len }, depth - 1))
				return false;
			r.p += len;
			break;
		}
		default:
			return true;
		}
	}
	return true;
}

int pb_unpack(const ProtobufCMessageDescriptor *d, struct str bytes, struct arena *a, ProtobufCMessage **ret,
	struct err *err)
{
	int fast = pb_fast_unpack(d, bytes, a, ret);
	if (fast == 1)
		return 0;
	if (fast == HCP_ENOMEM)
		return err_set(err, HCP_ENOMEM, "", "no memory for a %s of %zu bytes", d->short_name, bytes.n);
	const uint8_t *p = (const uint8_t *)(bytes.p ? bytes.p : "");
	if (!depth_fits(d, (struct reader){ p, p + bytes.n }, PB_DEPTH_MAX))
		return err_set(err, HCP_ELIMIT, "", "%s is nested deeper than %d messages", d->short_name, PB_DEPTH_MAX);
	struct unpack_mem mem = { .arena = a };
	ProtobufCAllocator alloc = { arena_hook_alloc, arena_hook_free, &mem };
	ProtobufCMessage *m = protobuf_c_message_unpack(d, &alloc, bytes.n, p);
	if (!m && mem.failed)
		return err_set(err, HCP_ENOMEM, "", "no memory for a %s of %zu bytes", d->short_name, bytes.n);
	if (!m)
		return err_set(err, HCP_EPARSE, "", "%zu bytes are no valid %s", bytes.n, d->short_name);
	*ret = m;
	return 0;
}

int pb_pack_arena(const ProtobufCMessage *m, struct arena *a, struct str *ret)
{
	uint8_t scratch[PB_SCRATCH];
	int fast = pb_fast_pack(m, scratch, sizeof(scratch));
	size_t n = fast < 0 ? protobuf_c_message_get_packed_size(m) : (size_t)fast;
	uint8_t *p = arena_alloc(a, n);
	if (!p)
		return HCP_ENOMEM;
	if (fast < 0)
		protobuf_c_message_pack(m, p);
	else
		memcpy(p, scratch + sizeof(scratch) - n, n);
	*ret = (struct str){ (const char *)p, n };
	return 0;
}

int pb_pack(const ProtobufCMessage *m, struct buf *out)
{
	uint8_t scratch[PB_SCRATCH];
	int fast = pb_fast_pack(m, scratch, sizeof(scratch));
	size_t n = fast < 0 ? protobuf_c_message_get_packed_size(m) : (size_t)fast;
	int rc = buf_reserve(out, n);
	if (rc < 0)
		return rc;
	if (fast < 0)
		protobuf_c_message_pack(m, (uint8_t *)out->data + out->n);
	else
		memcpy(out->data + out->n, scratch + sizeof(scratch) - n, n);
	out->n += n;
	out->data[out->n] = '\0';
	return 0;
}

static uint8_t *write_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		*p++ = (uint8_t)(v | 128);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *write_bytes(uint8_t *p, struct str s)
{
	if (s.n)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

int pb_join_arena(struct str before, uint32_t id, struct str submessage, struct str behind, struct arena *a,
	struct str *ret)
{
	uint8_t head[20];
	uint8_t *end = write_varint(write_varint(head, (uint64_t)id << 3 | 2), submessage.n);
	struct str middle = { (const char *)head, (size_t)(end - head) };
	size_t n = before.n + middle.n + submessage.n + behind.n;
	uint8_t *p = arena_alloc(a, n);
	if (!p)
		return HCP_ENOMEM;
	write_bytes(write_bytes(write_bytes(write_bytes(p, before), middle), submessage), behind);
	*ret = (struct str){ (const char *)p, n };
	return 0;
}

int pb_clone(const ProtobufCMessage *m, struct arena *a, ProtobufCMessage **ret, struct err *err)
{
	struct buf packed;
	buf_init(&packed, 0);
	int rc = pb_pack(m, &packed);
	if (rc < 0)
		err_set(err, rc, "", "no memory to copy a %s", m->descriptor->short_name);
	else
		rc = pb_unpack(m->descriptor, buf_str(&packed), a, ret, err);
	buf_release(&packed);
	return rc;
}

ProtobufCMessage *pb_new(const ProtobufCMessageDescriptor *d, struct arena *a)
{
	ProtobufCMessage *m = arena_alloc(a, d->sizeof_message);
	if (m)
		protobuf_c_message_init(d, m);
	return m;
}

ProtobufCMessage *pb_unpack_arena(const ProtobufCMessageDescriptor *d, struct str bytes, struct arena *a)
{
	ProtobufCMessage *m = NULL;
	return pb_unpack(d, bytes, a, &m, NULL) < 0 ? NULL : m;
}

int pb_push_(struct arena *a, size_t *n, void ***items, void *item)
{
	if (!item)
		return HCP_ENOMEM;
	/* Capacity is the next power of two, so it need not be stored. */
	if ((*n & (*n - 1)) == 0) {
		size_t cap = *n ? *n * 2 : 1;
		void **more = arena_alloc(a, cap * sizeof(*more));
		if (!more)
			return HCP_ENOMEM;
		if (*n)
			memcpy(more, *items, *n * sizeof(*more));
		*items = more;
	}
	(*items)[(*n)++] = item;
	return 0;
}

/* ---- a look at packed bytes ---- */

static bool next_varint(struct str *rest, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;
	for (unsigned shift = 0; shift < 64 && i < rest->n; shift += 7) {
		uint8_t b = (uint8_t)rest->p[i++];
		v |= (uint64_t)(b & 127) << shift;
		if (b < 128) {
			*ret = v;
			*rest = (struct str){ rest->p + i, rest->n - i };
			return true;
		}
	}
	return false;
}

static bool next_bytes(struct str *rest, uint64_t n, struct str *ret)
{
	if (n > rest->n)
		return false;
	*ret = (struct str){ rest->p, (size_t)n };
	*rest = (struct str){ rest->p + n, rest->n - (size_t)n };
	return true;
}

int pb_next(struct str *rest, struct pb_field *ret)
{
	struct str at = *rest, fixed;
	uint64_t tag;
	struct pb_field f = { .bytes = STR("") };
	if (at.n == 0)
		return 0;
	if (!next_varint(&at, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return HCP_EPARSE;
	f.id = (uint32_t)(tag >> 3);
	f.wire = tag & 7;
	bool good = false;
	switch (f.wire) {
	case 0:
		good = next_varint(&at, &f.n);
		break;
	case 1:
	case 5:
		good = next_bytes(&at, f.wire == 1 ? 8 : 4, &fixed);
		for (size_t i = 0; good && i < fixed.n; i++)
			f.n |= (uint64_t)(uint8_t)fixed.p[i] << 8 * i;
		break;
	case 2:
		good = next_varint(&at, &f.n) && next_bytes(&at, f.n, &f.bytes);
		break;
	default:
		break;
	}
	if (!good)
		return HCP_EPARSE;
	*rest = at;
	*ret = f;
	return 1;
}

int pb_find_number(struct str bytes, uint32_t id, uint64_t *ret)
{
	struct pb_field f;
	uint64_t found = 0;
	int rc;
	while ((rc = pb_next(&bytes, &f)) == 1) {
		if (f.id == id && f.wire != 0)
			return HCP_EPARSE;
		if (f.id == id)
			found = f.n;
	}
	if (rc == 0)
		*ret = found;
	return rc;
}

int pb_find_bytes(struct str bytes, uint32_t id, struct str *ret)
{
	struct pb_field f;
	struct str found = STR("");
	bool seen = false;
	int rc;
	while ((rc = pb_next(&bytes, &f)) == 1) {
		if (f.id != id)
			continue;
		if (f.wire != 2 || seen)
			return HCP_EPARSE;
		seen = true;
		found = f.bytes;
	}
	if (rc == 0)
		*ret = found;
	return rc;
}
