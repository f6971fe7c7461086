/* What handlers call: the context of one batch. */
#include "svc/svc.h"

#include "base/panic.h"
#include "svc/svc_priv.h"

static const char *name_of(const struct svc *svc)
{
	return svc_table[svc->def->id].name;
}

int64_t svc_now_ns(const struct svc_ctx *ctx)
{
	return ctx->now_ns;
}

struct db *svc_db(struct svc_ctx *ctx)
{
	return ctx->svc->db;
}

struct rng *svc_rng(struct svc_ctx *ctx)
{
	return &ctx->rng;
}

uint64_t svc_number(struct svc_ctx *ctx)
{
	must(ctx->numbers < SVC_NUMBERS);
	return (uint64_t)(ctx->svc->batch_no + 1) * SVC_NUMBERS + ctx->numbers++;
}

struct arena *svc_arena(struct svc_ctx *ctx)
{
	return &ctx->arena;
}

char *svc_new_id(struct svc_ctx *ctx, char dst[ID_TEXT_MAX], const char *type)
{
	struct id id = id_new(ctx->now_ns, &ctx->rng);
	return id_format(dst, type, &id);
}

/* Room for one more in an array that lives in the batch's arena. */
static void *grow(struct svc_ctx *ctx, void *items, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return items;
	size_t more = *cap ? *cap * 2 : 16;
	void *p = arena_alloc(&ctx->arena, more * size);
	if (!p)
		return NULL;
	if (n)
		memcpy(p, items, n * size);
	*cap = more;
	return p;
}

int svc_add_reply(struct svc_ctx *ctx, struct msg *to, struct msg *reply, bool held)
{
	struct out_reply *p = grow(ctx, ctx->replies, ctx->n_replies, &ctx->cap_replies, sizeof(*p));
	if (!p || !reply)
		return HCP_ENOMEM;
	ctx->replies = p;
	p[ctx->n_replies++] = (struct out_reply){ to, reply, held };
	return 0;
}

void *svc_reply(struct svc_ctx *ctx, unsigned type)
{
	must(ctx->current && !ctx->current_reply);
	struct msg *reply = msg_new(type);
	if (!reply)
		return NULL;
	ctx->current_reply = reply;
	return reply->body;
}

struct arena *svc_reply_arena(struct svc_ctx *ctx)
{
	must(ctx->current_reply);
	return &ctx->current_reply->arena;
}

struct msg *svc_hold_idle(struct svc_ctx *ctx)
{
	must(ctx->current && !ctx->kept);
	ctx->kept = true;
	return ctx->current;
}

struct msg *svc_hold(struct svc_ctx *ctx)
{
	struct msg *m = svc_hold_idle(ctx);
	m->waited_for = true;
	ctx->svc->n_held++;
	return m;
}

void *svc_answer(struct svc_ctx *ctx, struct msg *held, unsigned type, struct arena **ret_arena)
{
	struct msg *reply = msg_new(type);
	ctx->svc->n_held -= held->waited_for;
	if (svc_add_reply(ctx, held, reply, true) < 0) {
		msg_free(reply);
		return NULL;
	}
	*ret_arena = &reply->arena;
	return reply->body;
}

void svc_answer_problem(struct svc_ctx *ctx, struct msg *held, int code, const struct err *err)
{
	struct msg *reply = msg_problem(code, err);
	ctx->svc->n_held -= held->waited_for;
	if (svc_add_reply(ctx, held, reply, true) < 0) {
		msg_free(reply);
		msg_free(held);
	}
}

int svc_publish_packed(struct svc_ctx *ctx, const char *key, unsigned type, struct str body)
{
	struct svc *svc = ctx->svc;
	const struct msg_info *info = msg_info(type);
	must(info && info->kind == MSG_KIND_EVENT && topic_table[info->topic].from == svc->def->id);
	Hcp__Envelope e = HCP__ENVELOPE__INIT;
	struct str bytes;
	struct out_event *p = grow(ctx, ctx->events, ctx->n_events, &ctx->cap_events, sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	ctx->events = p;
	e.type = info->type;
	e.body = (ProtobufCBinaryData){ body.n, (uint8_t *)body.p };
	e.sender = (char *)name_of(svc);
	e.seq = ++svc->seq;
	e.at_ns = ctx->now_ns;
	e.clock = ctx->clock;
	e.key = (char *)key;
	if (ctx->current) {
		e.trace_hi = ctx->current->trace_hi;
		e.trace_lo = ctx->current->trace_lo;
		e.span = ctx->current->span;
	}
	if (pb_pack_arena(&e.base, &ctx->arena, &bytes) < 0)
		return HCP_ENOMEM;
	p[ctx->n_events++] = (struct out_event){ e.seq, (uint16_t)info->topic, bytes };
	return 0;
}

int svc_publish(struct svc_ctx *ctx, const char *key, const ProtobufCMessage *body)
{
	const struct msg_info *info = msg_info_of(body->descriptor);
	struct str packed;
	must(info);
	if (pb_pack_arena(body, &ctx->arena, &packed) < 0)
		return HCP_ENOMEM;
	return svc_publish_packed(ctx, key, info->type, packed);
}

int svc_send_agent(struct svc_ctx *ctx, const char *node_id, const Hcp__AgentDown *body)
{
	struct out_agent *p = grow(ctx, ctx->agents, ctx->n_agents, &ctx->cap_agents, sizeof(*p));
	struct str bytes;
	char *node = arena_strdup(&ctx->arena, node_id);
	if (!p || !node || pb_pack_arena(&body->base, &ctx->arena, &bytes) < 0)
		return HCP_ENOMEM;
	ctx->agents = p;
	p[ctx->n_agents++] = (struct out_agent){ node, bytes };
	return 0;
}

void svc_wake_at(struct svc_ctx *ctx, int64_t at_ns)
{
	if (at_ns < ctx->svc->wake_ns)
		ctx->svc->wake_ns = at_ns;
}
