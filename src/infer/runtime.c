#include "infer/runtime.h"

#include <string.h>

#include "base/panic.h"

#define FROM(s) (1u << (s))
#define ANY ~0u

/* The only table of what may follow what. */
static const struct {
	const char *name;
	unsigned from; /* set of states */
	enum runtime_state to;
} verbs[] = {
	[RUNTIME_NONE] = { "none", 0, RUNTIME_STOPPED },
	[RUNTIME_START] = { "start", FROM(RUNTIME_STOPPED) | FROM(RUNTIME_FAILED), RUNTIME_COLD },
	[RUNTIME_WARM] = { "warm", FROM(RUNTIME_COLD) | FROM(RUNTIME_READY) | FROM(RUNTIME_DRAINED), RUNTIME_READY },
	[RUNTIME_SLEEP] = { "sleep", FROM(RUNTIME_COLD) | FROM(RUNTIME_READY) | FROM(RUNTIME_DRAINED),
			    RUNTIME_ASLEEP },
	[RUNTIME_WAKE] = { "wake", FROM(RUNTIME_ASLEEP), RUNTIME_READY },
	[RUNTIME_DRAIN] = { "drain", FROM(RUNTIME_COLD) | FROM(RUNTIME_READY), RUNTIME_DRAINED },
	[RUNTIME_STOP] = { "stop", ANY, RUNTIME_STOPPED },
};

const char *runtime_state_name(enum runtime_state s)
{
	static const char *const names[] = { "stopped", "cold", "ready", "asleep", "drained", "failed" };
	return (unsigned)s < sizeof(names) / sizeof(names[0]) ? names[s] : "?";
}

const char *runtime_verb_name(enum runtime_verb v)
{
	return (unsigned)v < sizeof(verbs) / sizeof(verbs[0]) ? verbs[v].name : "?";
}

void runtime_init(struct runtime *r, const struct runtime_ops *ops)
{
	*r = (struct runtime){ .ops = ops };
}

/* The one place where state changes. */
static void end_verb(struct runtime *r, enum runtime_state to, int rc, const struct err *err)
{
	static const struct err none;
	runtime_done_fn *done = r->done;
	void *arg = r->done_arg;
	r->state = to;
	r->verb = RUNTIME_NONE;
	r->done = NULL;
	r->done_arg = NULL;
	if (done)
		done(arg, rc, err ? err : &none);
}

void runtime_finish(struct runtime *r, enum runtime_verb verb, int rc, const struct err *err)
{
	if (r->verb != verb || verb == RUNTIME_NONE)
		return;
	end_verb(r, rc < 0 ? RUNTIME_FAILED : verbs[verb].to, rc, err);
}

static int begin_verb(struct runtime *r, enum runtime_verb v, runtime_done_fn *done, void *arg, struct err *err)
{
	if (r->verb != RUNTIME_NONE && (v != RUNTIME_STOP || r->verb == RUNTIME_STOP))
		return err_set(err, HCP_ESTATE, "verb", "%s must wait for %s to end", verbs[v].name,
			       verbs[r->verb].name);
	if (!(verbs[v].from & FROM(r->state)))
		return err_set(err, HCP_ESTATE, "state", "%s is not possible while %s", verbs[v].name,
			       runtime_state_name(r->state));
	if (r->inflight && v == RUNTIME_SLEEP)
		return err_set(err, HCP_ESTATE, "state", "sleep must wait for %u requests: drain first", r->inflight);
	runtime_done_fn *former = r->done;
	void *former_arg = r->done_arg;
	enum runtime_verb overtaken = r->verb;
	r->verb = v;
	r->done = done;
	r->done_arg = arg;
	if (overtaken != RUNTIME_NONE && former) {
		struct err e = { 0 };
		int rc = err_set(&e, HCP_ECANCELED, "verb", "%s was overtaken by stop", verbs[overtaken].name);
		former(former_arg, rc, &e);
	}
	return 0;
}

/* What a driver's verb function returned: an error ends the verb, through `done` like any other end. */
static int begun(struct runtime *r, enum runtime_verb v, int rc, const struct err *err)
{
	if (rc < 0)
		runtime_finish(r, v, rc, err);
	return 0;
}

int runtime_start(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err)
{
	struct err e = { 0 };
	int rc = begin_verb(r, RUNTIME_START, done, arg, err);
	return rc < 0 ? rc : begun(r, RUNTIME_START, r->ops->start(r, &e), &e);
}

int runtime_warm(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err)
{
	struct err e = { 0 };
	int rc = begin_verb(r, RUNTIME_WARM, done, arg, err);
	return rc < 0 ? rc : begun(r, RUNTIME_WARM, r->ops->warm(r, &e), &e);
}

int runtime_sleep(struct runtime *r, enum runtime_sleep how, runtime_done_fn *done, void *arg, struct err *err)
{
	struct err e = { 0 };
	int rc = begin_verb(r, RUNTIME_SLEEP, done, arg, err);
	return rc < 0 ? rc : begun(r, RUNTIME_SLEEP, r->ops->sleep(r, how, &e), &e);
}

int runtime_wake(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err)
{
	struct err e = { 0 };
	int rc = begin_verb(r, RUNTIME_WAKE, done, arg, err);
	return rc < 0 ? rc : begun(r, RUNTIME_WAKE, r->ops->wake(r, &e), &e);
}

int runtime_drain(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err)
{
	int rc = begin_verb(r, RUNTIME_DRAIN, done, arg, err);
	if (rc == 0 && r->inflight == 0)
		runtime_finish(r, RUNTIME_DRAIN, 0, NULL);
	return rc;
}

int runtime_stop(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err)
{
	struct err e = { 0 };
	int rc = begin_verb(r, RUNTIME_STOP, done, arg, err);
	return rc < 0 ? rc : begun(r, RUNTIME_STOP, r->ops->stop(r, &e), &e);
}

void runtime_free(struct runtime *r)
{
	if (!r)
		return;
	if (r->state != RUNTIME_STOPPED || r->verb != RUNTIME_NONE) {
		int rc = runtime_stop(r, NULL, NULL, NULL);
		(void)rc; /* a stop under way already: the driver's free ends it */
	}
	r->ops->free(r);
}

void runtime_health(const struct runtime *r, struct runtime_health *ret)
{
	struct runtime_health h = {
		.serving = r->state == RUNTIME_READY && r->verb == RUNTIME_NONE,
		.state = r->state,
		.verb = r->verb,
		.inflight = r->inflight,
		.requests = r->requests,
		.failures = r->failures,
		.tokens = r->tokens,
	};
	if (r->ops->health)
		r->ops->health(r, &h);
	*ret = h;
}

int runtime_request_begin(struct runtime *r, struct err *err)
{
	if (r->state != RUNTIME_READY || r->verb != RUNTIME_NONE)
		return err_set(err, HCP_ESTATE, "", "the runtime is %s%s%s and serves nothing now",
			       runtime_state_name(r->state), r->verb ? ", doing " : "",
			       r->verb ? verbs[r->verb].name : "");
	if (r->inflight >= RUNTIME_INFLIGHT_MAX)
		return err_set(err, HCP_ELIMIT, "", "%u requests are in flight", r->inflight);
	r->inflight++;
	return 0;
}

void runtime_request_end(struct runtime *r, bool ok, uint64_t tokens)
{
	must(r->inflight > 0);
	r->inflight--;
	r->requests++;
	r->failures += !ok;
	r->tokens += ok ? tokens : 0;
	if (r->inflight == 0)
		runtime_finish(r, RUNTIME_DRAIN, 0, NULL);
}

int runtime_embed(struct runtime *r, const struct openai_embeddings *req, struct buf *body, uint64_t *ret_tokens,
		  struct err *err)
{
	if (!r->ops->embed)
		return err_set(err, HCP_EUNSUPPORTED, "", "requests to a %s runtime go to its endpoint", r->ops->name);
	int rc = runtime_request_begin(r, err);
	if (rc < 0)
		return rc;
	uint64_t tokens = 0;
	rc = r->ops->embed(r, req, body, &tokens, err);
	if (rc == 0 && ret_tokens)
		*ret_tokens = tokens;
	runtime_request_end(r, rc == 0, tokens);
	return rc;
}
