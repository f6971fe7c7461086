#include "feed/feeds.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/panic.h"
#include "feed/feeds_priv.h"
#include "loop/tls.h"
#include "os/entropy.h"
#include "svc/msg.h"

enum { SPREAD_MS = 500, CONNS_PER_ORIGIN = 8 };

static void on_due(struct loop *loop, void *arg)
{
	struct source *s = arg;
	if (s->conf->kind->traits & FEED_LIVE)
		source_live(s);
	else
		source_poll(s);
}

/* Values grow old without anything happening. */
static void on_second(struct loop *loop, void *arg)
{
	struct feeds *f = arg;
	for (size_t i = 0; i < f->n_quantities; i++)
		feeds_pump(f, f->quantity[i]);
	loop_timer_start(&f->second, 1000);
}

/* ---- building ---- */

static int quantity_of(struct feeds *f, const struct feed_source_conf *c, struct feed_quantity **ret, struct err *err)
{
	for (size_t i = 0; i < f->n_quantities; i++) {
		*ret = f->quantity[i];
		if (strcmp((*ret)->symbol, c->symbol) == 0 && strcmp((*ret)->location, c->location) == 0)
			return 0;
	}
	int rc = feed_quantity_new(c->symbol, c->location, ret, err);
	if (rc == 0)
		f->quantity[f->n_quantities++] = *ret;
	return rc;
}

static int login_of(struct feeds *f, const struct feed_source_conf *c, struct login **ret, struct err *err)
{
	for (size_t i = 0; i < f->n_logins; i++) {
		*ret = &f->login[i];
		if (strcmp((*ret)->token_url, c->token_url) == 0 && strcmp((*ret)->credentials, c->credentials) == 0)
			return 0;
	}
	if (f->n_logins == FEEDS_CREDENTIALS_MAX)
		return err_set(err, HCP_ELIMIT, "credentials", "more than %d different logins", FEEDS_CREDENTIALS_MAX);
	struct login *l = &f->login[f->n_logins++];
	*l = (struct login){ .token_url = c->token_url, .credentials = c->credentials, .feeds = f };
	list_init(&l->waiting);
	*ret = l;
	return 0;
}

static int make_source(struct feeds *f, size_t i, struct err *err)
{
	struct source *s = &f->source[i];
	s->feeds = f;
	s->conf = &f->conf.source[i];
	list_init(&s->waiting);
	loop_timer_init(&s->timer, f->loop, on_due, s);
	loop_timer_init(&s->stall, f->loop, source_stalled, s);
	feed_retry_init(&s->retry, s->conf->every_ms);
	int rc = quantity_of(f, s->conf, &s->quantity, err);
	if (rc == 0)
		rc = feed_quantity_add(s->quantity, s->conf, err);
	if (rc == 0)
		s->member = feed_quantity_member(s->quantity, s->conf);
	if (rc == 0 && s->conf->kind->traits & FEED_B2C)
		rc = login_of(f, s->conf, &s->login, err);
	return rc;
}

static int make_clients(struct feeds *f, struct err *err)
{
	const char *ca = f->conf.ca_file[0] ? f->conf.ca_file : NULL;
	const struct http_client_conf hc = { .ca_file = ca, .max_conns_per_origin = CONNS_PER_ORIGIN };
	const struct tls_conf tc = { .ca_file = ca, .allow_tls12 = true, .alpn = "http/1.1" };
	int rc = http_client_new(f->loop, &hc, &f->http, err);
	return rc < 0 ? rc : tls_client_new(&tc, &f->tls, err);
}

int feeds_new(struct feed_conf *conf, const char *version, struct feeds **ret, struct err *err)
{
	struct feeds *f = mem_calloc(1, sizeof(*f));
	int rc = f ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for the market's sources");
	if (rc < 0) {
		feed_conf_release(conf);
		return rc;
	}
	f->conf = *conf;
	*conf = (struct feed_conf){ 0 };
	f->version = version;
	atomic_init(&f->stopping, false);
	rng_init(&f->rng, entropy_u64());
	f->source = mem_calloc(f->conf.n, sizeof(*f->source));
	rc = f->source ? loop_new(NULL, &f->loop, err) : err_set(err, HCP_ENOMEM, "", "no memory for the market's sources");
	loop_timer_init(&f->second, f->loop, on_second, f);
	loop_defer_init(&f->flush, feeds_flush, f);
	if (rc == 0)
		rc = make_clients(f, err);
	for (size_t i = 0; i < f->conf.n && rc == 0; i++)
		rc = make_source(f, i, err);
	if (rc < 0) {
		feeds_free(f);
		return rc;
	}
	*ret = f;
	return 0;
}

/* ---- life ---- */

static void *thread_main(void *arg)
{
	struct feeds *f = arg;
	for (size_t i = 0; i < f->conf.n; i++)
		/* Not all at once: several may lead to one server. */
		loop_timer_start(&f->source[i].timer, rng_below(&f->rng, SPREAD_MS));
	loop_timer_start(&f->second, 1000);
	loop_run(f->loop);
	return NULL;
}

int feeds_start(struct feeds *f, struct host *host, struct err *err)
{
	f->host = host;
	int rc = pthread_create(&f->thread, NULL, thread_main, f);
	if (rc != 0)
		return err_set(err, HCP_EIO, "", "cannot start the thread of the market's sources");
	f->running = true;
	log_info("market", "%zu sources of %zu quantities", f->conf.n, f->n_quantities);
	return 0;
}

void feeds_stop(struct feeds *f)
{
	if (!f || !f->running)
		return;
	atomic_store(&f->stopping, true);
	loop_stop(f->loop);
	pthread_join(f->thread, NULL);
	f->running = false;
}

void feeds_free(struct feeds *f)
{
	if (!f)
		return;
	must(!f->running);
	atomic_store(&f->stopping, true);
	for (size_t i = 0; f->source && i < f->conf.n && f->source[i].feeds; i++) {
		loop_timer_stop(&f->source[i].timer);
		loop_timer_stop(&f->source[i].stall);
		source_release_creds(&f->source[i]);
	}
	http_client_free(f->http);
	tls_unref(f->tls);
	if (f->loop) {
		loop_timer_stop(&f->second);
		loop_defer_cancel(&f->flush);
		loop_free(f->loop); /* closes the WebSockets, runs what was posted */
	}
	for (size_t i = 0; i < f->n_quantities; i++)
		feed_quantity_free(f->quantity[i]);
	mem_free(f->source);
	feed_conf_release(&f->conf);
	mem_free_secret(f, sizeof(*f));
}
