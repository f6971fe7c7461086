#include "courier/scaler.h"

#include "base/list.h"
#include "base/mem.h"
#include "courier/asker.h"
#include "courier/provider.h"

struct scaler {
	struct asker asker;
	struct provider *provider; /* owned */
	struct list errands;
	size_t n_errands;
};

/* A call that is under way. */
struct errand {
	struct list node;
	struct scaler *s;
	char token[ID_TEXT_MAX];
	enum scale_call call;
	int32_t attempt;
};

static void tell(
	struct scaler *s, const char *token, const char *call, int32_t attempt, const struct provider_answer *a)
{
	struct msg *m = msg_new(MSG_SCALE_RESULT);
	if (!m)
		return; /* its lease runs out, and the call is made once more */
	Hcp__ScaleResult *r = (Hcp__ScaleResult *)m->body;
	r->token = arena_strdup(&m->arena, token);
	r->call = arena_strdup(&m->arena, call);
	r->attempt = attempt;
	r->error = arena_strdup(&m->arena, a->code < 0 && !a->error[0] ? "no answer" : a->error);
	r->state = scale_word_name(a->says);
	r->price_micros_h = a->price_micros_h;
	if (r->token && r->call && r->error)
		asker_send(&s->asker, m);
	else
		msg_free(m);
}

static void on_done(void *arg, const struct provider_answer *a)
{
	struct errand *e = arg;
	struct scaler *s = e->s;
	tell(s, e->token, scale_call_name(e->call), e->attempt, a);
	list_del(&e->node);
	s->n_errands--;
	mem_free(e);
	asker_ask(&s->asker);
}

static int begin(struct scaler *s, struct errand *e, const Hcp__ScaleOrder *o, struct err *err)
{
	const struct provider_vt *vt = s->provider->vt;
	const struct provider_node n = { o->token, o->type, o->node, o->device_class, o->facility, o->region, o->devices };
	int (*const call[])(struct provider * p, const struct provider_node *n, provider_done_fn *done, void *arg,
		struct err *err) = { NULL, vt->quote, vt->start, vt->state, vt->stop };
	for (int c = SCALE_CALL_QUOTE; c <= SCALE_CALL_STOP; c++)
		if (!strcmp(o->call, scale_call_name((enum scale_call)c)))
			e->call = (enum scale_call)c;
	if (e->call == SCALE_CALL_NONE)
		return err_set(err, HCP_EINVAL, "call", "%.16s is no call", o->call);
	return call[e->call](s->provider, &n, on_done, e, err);
}

static void make_call(struct scaler *s, const Hcp__ScaleOrder *o)
{
	struct provider_answer a = { 0 };
	struct err err = { 0 };
	struct errand *e = mem_calloc(1, sizeof(*e));
	if (!e || str_copy(e->token, sizeof(e->token), str_of(o->token)) < 0) {
		mem_free(e);
		return; /* the lease runs out */
	}
	e->s = s;
	e->attempt = o->attempt;
	a.code = begin(s, e, o, &err);
	if (a.code < 0) {
		(void)!str_copy(a.error, sizeof(a.error), str_of(err.text[0] ? err.text : "the call could not be made"));
		tell(s, o->token, o->call, o->attempt, &a);
		mem_free(e);
		return;
	}
	list_add_tail(&s->errands, &e->node);
	s->n_errands++;
}

static void work(void *arg, const struct msg *answer)
{
	const Hcp__ScaleOrders *orders = (const Hcp__ScaleOrders *)answer->body;
	for (size_t i = 0; i < orders->n_orders; i++)
		make_call(arg, orders->orders[i]);
}

static bool has_room(void *arg)
{
	return ((const struct scaler *)arg)->n_errands < PROVIDER_CALLS_MAX / 2; /* an answer brings no more than half */
}

static struct msg *question(void *arg, bool fresh)
{
	struct msg *m = msg_new(MSG_SCALE_TAKE);
	if (!m)
		return NULL;
	((Hcp__ScaleTake *)m->body)->wait_ms = ASKER_WAIT_MS;
	((Hcp__ScaleTake *)m->body)->fresh = fresh;
	return m;
}

int scaler_new(const struct scaler_conf *conf, struct scaler **ret, struct err *err)
{
	struct scaler *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	const struct asker_conf ac = { conf->host, "scaler", MSG_SCALE_ORDERS, question, has_room, work, s };
	list_init(&s->errands);
	int rc = asker_init(&s->asker, &ac, err);
	if (rc == 0)
		rc = provider_http_new(s->asker.loop, conf->url, conf->bearer, conf->deadline_ms, &s->provider, err);
	if (rc == 0)
		rc = asker_start(&s->asker, err);
	if (rc < 0) {
		scaler_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void scaler_stop(struct scaler *s)
{
	if (s)
		asker_stop(&s->asker);
}

void scaler_free(struct scaler *s)
{
	struct list *it;
	if (!s)
		return;
	scaler_stop(s);
	if (s->provider)
		s->provider->vt->free(s->provider);
	while ((it = list_pop(&s->errands)))
		mem_free(list_entry(it, struct errand, node));
	asker_release(&s->asker);
	mem_free(s);
}
