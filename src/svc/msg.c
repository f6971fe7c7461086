#include "svc/msg.h"

#include "base/mem.h"
#include "base/panic.h"

enum { ENVELOPE_FIELDS = 16 };
enum { MSG_ARENA = 1024, MSG_ARENA_MAX = 64 << 20 };

static struct msg *msg_alloc(unsigned type)
{
	struct msg *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->type = (uint16_t)type;
	m->sender = SVC_NONE;
	m->idempotency_key = m->key = "";
	arena_init(&m->arena, MSG_ARENA, MSG_ARENA_MAX);
	return m;
}

struct msg *msg_new(unsigned type)
{
	const struct msg_info *info = msg_info(type);
	struct msg *m = msg_alloc(type);
	if (!m || !info)
		return m;
	m->body = arena_alloc(&m->arena, info->desc->sizeof_message);
	if (!m->body) {
		msg_free(m);
		return NULL;
	}
	protobuf_c_message_init(info->desc, m->body);
	return m;
}

void msg_free(struct msg *m)
{
	if (!m)
		return;
	bus_rec_unref(m->rec);
	arena_release(&m->arena);
	mem_free(m);
}

int msg_from_bytes(unsigned type, struct str bytes, struct msg **ret, struct err *err)
{
	const struct msg_info *info = msg_info(type);
	if (!info)
		return err_set(err, HCP_EPROTO, "type", "no message has number %u", type);
	struct msg *m = msg_alloc(type);
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = pb_unpack(info->desc, bytes, &m->arena, &m->body, err);
	if (rc < 0) {
		msg_free(m);
		return rc == HCP_ENOMEM ? rc : err_set(err, HCP_EPARSE, "body", "not a %s message", info->name);
	}
	*ret = m;
	return 0;
}

int msg_keep(struct msg *m, struct str bytes)
{
	const char *p = arena_dup(&m->arena, bytes.p, bytes.n);
	if (!p)
		return HCP_ENOMEM;
	m->packed = (struct str){ p, bytes.n };
	return 0;
}

int msg_pack_place(const struct msg *m, struct buf *out)
{
	Hcp__Envelope where = HCP__ENVELOPE__INIT;
	where.bus_offset = m->bus_offset;
	return pb_pack(&where.base, out);
}

int msg_pack(const struct msg *m, struct buf *out)
{
	if (m->rec) {
		buf_adds(out, m->rec->payload);
		return buf_failed(out) ? HCP_ENOMEM : msg_pack_place(m, out);
	}
	Hcp__Envelope e = HCP__ENVELOPE__INIT;
	struct buf body;
	buf_init(&body, 0);
	int rc = m->body && !m->packed.n ? pb_pack(m->body, &body) : 0;
	if (rc < 0)
		return rc;
	struct str packed = m->packed.n ? m->packed : buf_str(&body);
	e.type = m->type;
	e.body = (ProtobufCBinaryData){ packed.n, (uint8_t *)packed.p };
	e.sender = m->sender == SVC_NONE ? e.sender : (char *)svc_table[m->sender].name;
	e.seq = m->seq;
	e.bus_offset = m->bus_offset;
	e.clock = m->clock;
	e.at_ns = m->at_ns;
	e.deadline_ns = m->deadline_ns;
	e.idempotency_key = (char *)m->idempotency_key;
	e.key = (char *)m->key;
	e.principal = (Hcp__Principal *)m->principal;
	e.trace_hi = m->trace_hi;
	e.trace_lo = m->trace_lo;
	e.span = m->span;
	rc = pb_pack(&e.base, out);
	buf_release(&body);
	return rc;
}

int msg_from_envelope(const Hcp__Envelope *e, struct msg **ret, struct err *err)
{
	struct msg *m;
	if (e->type == MSG_NONE) {
		m = msg_alloc(MSG_NONE);
		if (!m)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	} else {
		int rc = msg_from_bytes(e->type, (struct str){ (const char *)e->body.data, e->body.len }, &m, err);
		if (rc < 0)
			return rc;
	}
	m->sender = svc_by_name(e->sender, strlen(e->sender));
	m->seq = e->seq;
	m->bus_offset = e->bus_offset;
	m->clock = e->clock;
	m->at_ns = e->at_ns;
	m->deadline_ns = e->deadline_ns;
	m->trace_hi = e->trace_hi;
	m->trace_lo = e->trace_lo;
	m->span = e->span;
	m->idempotency_key = arena_strdup(&m->arena, e->idempotency_key);
	m->key = arena_strdup(&m->arena, e->key);
	if (e->principal) {
		struct buf b;
		buf_init(&b, 0);
		if (pb_pack(&e->principal->base, &b) == 0)
			m->principal = (void *)pb_unpack_arena(&hcp__principal__descriptor, buf_str(&b), &m->arena);
		buf_release(&b);
	}
	if (!m->idempotency_key || !m->key || (e->principal && !m->principal)) {
		msg_free(m);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	*ret = m;
	return 0;
}

/* An envelope whose texts and messages are still bytes of the packed one. */
struct packed_envelope {
	struct pb_field f[ENVELOPE_FIELDS + 1]; /* by number; id 0: it is not there */
};

/* False: leave it to protobuf-c, which knows what to make of unknown fields, pieces and malformed bytes. */
static bool look_at_envelope(struct str bytes, struct packed_envelope *ret)
{
	static const unsigned char wire[ENVELOPE_FIELDS + 1] = { 9, 0, 2, 2, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 2, 2, 0 };
	struct pb_field f;
	int rc;
	memset(ret, 0, sizeof(*ret));
	while ((rc = pb_next(&bytes, &f)) == 1) {
		if (f.id > ENVELOPE_FIELDS || f.wire != wire[f.id] || (f.wire == 2 && ret->f[f.id].id))
			return false;
		ret->f[f.id] = f;
	}
	return rc == 0 && ret->f[1].n != MSG_NONE;
}

static bool take_text(struct msg *m, const struct pb_field *f, const char **ret)
{
	*ret = f->bytes.n ? arena_strndup(&m->arena, f->bytes.p, f->bytes.n) : "";
	return *ret;
}

/* 1: *ret is the message, 0: not understood. Numbers of 32 bits keep their lower half, as protobuf has it. */
static int from_packed(const struct packed_envelope *e, struct msg **ret, struct err *err)
{
	const struct pb_field *f = e->f;
	struct msg *m;
	ProtobufCMessage *principal = NULL;
	int rc = msg_from_bytes((uint32_t)f[1].n, f[2].id ? f[2].bytes : STR(""), &m, err);
	if (rc < 0)
		return rc;
	m->sender = svc_by_name(f[4].id ? f[4].bytes.p : "", f[4].bytes.n);
	m->seq = f[5].n;
	m->bus_offset = f[6].n;
	m->clock = f[16].n;
	m->at_ns = (int64_t)f[7].n;
	m->deadline_ns = (int64_t)f[8].n;
	m->trace_hi = f[11].n;
	m->trace_lo = f[12].n;
	m->span = f[13].n;
	if (!take_text(m, &f[9], &m->idempotency_key) || !take_text(m, &f[14], &m->key))
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0 && f[10].id)
		rc = pb_unpack(&hcp__principal__descriptor, f[10].bytes, &m->arena, &principal, err);
	if (rc < 0) {
		msg_free(m);
		return rc == HCP_ENOMEM ? rc : err_set(err, HCP_EPARSE, "envelope", "not an envelope");
	}
	m->principal = (const Hcp__Principal *)(void *)principal;
	*ret = m;
	return 0;
}

int msg_unpack(struct str bytes, struct msg **ret, struct err *err)
{
	struct packed_envelope packed;
	if (look_at_envelope(bytes, &packed))
		return from_packed(&packed, ret, err);
	struct arena a;
	arena_init(&a, 4096, MSG_ARENA_MAX);
	ProtobufCMessage *e;
	int rc = pb_unpack(&hcp__envelope__descriptor, bytes, &a, &e, err);
	if (rc == 0)
		rc = msg_from_envelope((const Hcp__Envelope *)(void *)e, ret, err);
	else if (rc != HCP_ENOMEM)
		rc = err_set(err, HCP_EPARSE, "envelope", "not an envelope");
	arena_release(&a);
	return rc;
}

struct msg *msg_problem(int code, const struct err *err)
{
	struct msg *m = msg_new(MSG_PROBLEM);
	if (!m)
		return NULL;
	Hcp__Problem *p = (Hcp__Problem *)m->body;
	p->code = (char *)err_name(code);
	if (err && err->field[0])
		p->field = arena_strdup(&m->arena, err->field);
	p->detail = err && err->text[0] ? arena_strdup(&m->arena, err->text) : p->code;
	if (!p->field || !p->detail)
		p->field = p->detail = p->code;
	return m;
}

void msg_answer(struct msg *m, struct msg *reply)
{
	void (*fn)(void *arg, struct msg *reply) = m->reply_fn;
	m->reply_fn = NULL;
	if (fn)
		fn(m->reply_arg, reply);
	else
		msg_free(reply);
}

void msg_answer_problem(struct msg *m, int code, const struct err *err)
{
	if (m->reply_fn)
		msg_answer(m, msg_problem(code, err));
}

int msg_error(const struct msg *m, struct err *err)
{
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (m->type != MSG_PROBLEM)
		return 0;
	const Hcp__Problem *p = (const Hcp__Problem *)m->body;
	for (int code = -1; code >= HCP_EINTERNAL; code--)
		if (strcmp(err_name(code), p->code) == 0)
			return err_set(err, code, p->field, "%s", p->detail);
	return err_set(err, HCP_EINTERNAL, p->field, "%s", p->detail);
}
