#include "../http/net.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "loop/tls.h"

static struct loop *new_loop(void)
{
	struct loop *l;
	assert_int_equal(loop_new(NULL, &l, NULL), 0);
	return l;
}

/* ---- timers ---- */

struct tick {
	struct loop_timer t;
	int *order, id;
};

static int fired;

static void on_tick(struct loop *loop, void *arg)
{
	struct tick *k = arg;
	k->order[fired++] = k->id;
}

static void timers_fire_in_order_and_stop_at_once(void **state)
{
	struct loop *l = new_loop();
	enum { N = 200 };
	static struct tick k[N];
	int order[N];
	fired = 0;
	for (int i = 0; i < N; i++) {
		k[i] = (struct tick){ .order = order, .id = (i * 37) % N };
		loop_timer_init(&k[i].t, l, on_tick, &k[i]);
		loop_timer_start(&k[i].t, 5);
		loop_timer_start(&k[i].t, (uint64_t)(1 + k[i].id / 10));
	}
	for (int i = 0; i < N; i++)
		if (k[i].id % 3 == 0)
			loop_timer_stop(&k[i].t);
	int want = 0;
	for (int i = 0; i < N; i++)
		want += i % 3 != 0;
	assert_true(wait_for(l, fired == want));
	for (int i = 1; i < fired; i++)
		assert_true(order[i - 1] / 10 <= order[i] / 10);
	loop_turn(l, 30);
	assert_int_equal(fired, want);
	loop_free(l);
}

/* ---- posts ---- */

enum { POSTS = 20000 };
static int posted;

static void on_post(struct loop *loop, void *arg)
{
	assert_int_equal((intptr_t)arg, posted);
	if (++posted == POSTS)
		loop_stop(loop);
}

static void *poster(void *arg)
{
	for (intptr_t i = 0; i < POSTS; i++)
		while (loop_post(arg, on_post, (void *)i) == HCP_ELIMIT)
			usleep(100);
	return NULL;
}

static void posts_from_a_thread_come_in_order_and_are_bounded(void **state)
{
	enum { MOST = 1000 };
	struct loop_conf conf = { .max_posts = MOST };
	struct loop *l;
	assert_int_equal(loop_new(&conf, &l, NULL), 0);
	/* The second time the ring is full in the middle and has to grow with what waits in it. */
	for (int round = 0; round < 2; round++) {
		int n = round == 0 ? 100 : MOST;
		for (intptr_t i = 0; i < n; i++)
			assert_int_equal(loop_post(l, on_post, (void *)i), 0);
		assert_int_equal(loop_post(l, on_post, (void *)(intptr_t)n), round == 0 ? 0 : HCP_ELIMIT);
		posted = 0;
		assert_true(wait_for(l, posted == n + (round == 0)));
	}
	posted = 0;
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, poster, l), 0);
	loop_run(l);
	assert_int_equal(posted, POSTS);
	pthread_join(t, NULL);
	loop_free(l);
}

/* ---- streams ---- */

struct echo {
	struct listener *l;
	int open, closed, last_code;
	bool sink; /* reads nothing */
	struct told *told; /* of failed handshakes */
};

static void echo_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	assert_int_equal(stream_write(s, p, n), 0);
}

static void echo_close(struct stream *s, void *arg, int code, const char *why)
{
	struct echo *e = arg;
	e->closed++;
	e->last_code = code;
}

static const struct stream_ops echo_ops = { .on_data = echo_data, .on_close = echo_close };

static void echo_accept(struct listener *l, void *arg, struct stream *s)
{
	struct echo *e = arg;
	e->open++;
	stream_set_ops(s, &echo_ops, e);
	if (e->sink)
		stream_pause(s);
}

static void echo_start(struct loop *l, struct echo *e, struct listener_conf lc)
{
	lc.on_stream = echo_accept;
	lc.arg = e;
	assert_int_equal(listener_new(l, &lc, &e->l, NULL), 0);
}

/* Sends `total` patterned bytes as the queue allows and checks that they come back. */
static void echo_roundtrip(struct loop *l, struct raw *r, size_t total)
{
	size_t sent = 0;
	char chunk[10000];
	int64_t end_ns = loop_now_ns(l) + (int64_t)WAIT_MS * 1000000;
	while (r->in.n < total && !r->closed && loop_now_ns(l) < end_ns) {
		while (sent < total && stream_queued(r->s) < 1 << 20) {
			size_t n = total - sent < sizeof(chunk) ? total - sent : sizeof(chunk);
			for (size_t i = 0; i < n; i++)
				chunk[i] = (char)((sent + i) * 31 >> 3);
			assert_int_equal(stream_write(r->s, chunk, n), 0);
			sent += n;
		}
		loop_turn(l, 20);
	}
	assert_int_equal(r->in.n, total);
	for (size_t i = 0; i < total; i++)
		if (r->in.data[i] != (char)(i * 31 >> 3))
			fail_msg("byte %zu differs", i);
}

static void tcp_and_unix_echo_and_close_gracefully(void **state)
{
	int64_t live = mem_live();
	struct loop *l = new_loop();
	char path[64];
	snprintf(path, sizeof(path), "unix:/tmp/hcp-test-%d.sock", (int)getpid());
	const char *hosts[] = { "127.0.0.1", "::1", "localhost", path };
	for (size_t i = 0; i < 4; i++) {
		struct echo e = { 0 };
		const char *at = strcmp(hosts[i], "localhost") == 0 ? "127.0.0.1" : hosts[i];
		struct listener_conf lc = { .host = at, .on_stream = echo_accept, .arg = &e };
		if (listener_new(l, &lc, &e.l, NULL) < 0 && i == 1)
			continue; /* no IPv6 here */
		struct raw r = { 0 };
		buf_init(&r.in, 0);
		struct stream_conf sc = { .ops = &raw_ops, .arg = &r };
		assert_int_equal(stream_connect(l, hosts[i], listener_port(e.l), &sc, &r.s, NULL), 0);
		assert_true(wait_for(l, r.open));
		echo_roundtrip(l, &r, 3 << 20);
		stream_close(r.s);
		assert_int_equal(stream_write(r.s, "x", 1), HCP_ECLOSED);
		assert_true(wait_for(l, r.closed && e.closed == 1));
		assert_int_equal(r.code, 0);
		assert_int_equal(e.last_code, 0);
		buf_release(&r.in);
		listener_free(e.l);
	}
	unlink(path + 5);
	loop_free(l);
	assert_int_equal(mem_live(), live);
}

static void tls_verifies_both_ways_and_carries_bytes(void **state)
{
	struct loop *l = new_loop();
	char cert[64], key[64], other[64], other_key[64];
	make_cert(cert, key);
	make_cert(other, other_key);
	struct tls_ctx *st, *good, *bad, *anon;
	struct err err;
	struct tls_conf sc = { .cert_file = cert, .key_file = key, .ca_file = cert, .alpn = "h2,http/1.1" };
	assert_int_equal(tls_server_new(&sc, &st, &err), 0);
	struct tls_conf gc = { .cert_file = cert, .key_file = key, .ca_file = cert, .alpn = "http/1.1" };
	assert_int_equal(tls_client_new(&gc, &good, &err), 0);
	struct tls_conf bc = { .cert_file = cert, .key_file = key, .ca_file = other };
	assert_int_equal(tls_client_new(&bc, &bad, &err), 0);
	struct tls_conf ac = { .ca_file = cert };
	assert_int_equal(tls_client_new(&ac, &anon, &err), 0);
	struct tls_ctx *none = NULL;
	struct tls_conf mixed = { .cert_file = cert, .key_file = other_key };
	assert_int_equal(tls_server_new(&mixed, &none, &err), HCP_EINVAL);
	assert_string_equal(err.field, "key_file");

	struct echo e = { 0 };
	echo_start(l, &e, (struct listener_conf){ .tls = st });
	struct { struct tls_ctx *ctx; const char *name; bool ok; } cases[] = {
		{ good, NULL, true }, { good, "localhost", true }, { good, "elsewhere.example", false }, { bad, NULL, false },
		{ anon, NULL, false },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct raw r = { 0 };
		buf_init(&r.in, 0);
		struct stream_conf cc = { .ops = &raw_ops, .arg = &r, .tls = cases[i].ctx, .tls_name = cases[i].name };
		assert_int_equal(stream_connect(l, "127.0.0.1", listener_port(e.l), &cc, &r.s, NULL), 0);
		if (cases[i].ok) {
			assert_true(wait_for(l, r.open));
			assert_string_equal(stream_alpn(r.s), "http/1.1");
			echo_roundtrip(l, &r, 2 << 20);
			stream_close(r.s);
			assert_true(wait_for(l, r.closed));
			assert_int_equal(r.code, 0);
		} else {
			/* In TLS 1.3 a client without a certificate learns of it after its own handshake. */
			assert_true(wait_for(l, r.closed));
			assert_int_not_equal(r.code, 0);
			assert_int_equal(r.in.n, 0);
		}
		buf_release(&r.in);
	}
	assert_int_equal(e.open, 2);
	/* Plain bytes at a TLS port. */
	struct raw r;
	raw_connect(l, &r, listener_port(e.l));
	raw_send(&r, "GET / HTTP/1.1\r\n\r\n");
	assert_true(wait_for(l, r.closed || r.eof));
	raw_end(l, &r);
	listener_free(e.l);
	tls_unref(st);
	tls_unref(good);
	tls_unref(bad);
	tls_unref(anon);
	unlink(cert);
	unlink(key);
	unlink(other);
	unlink(other_key);
	loop_free(l);
}

struct told {
	int reloads, refused, failures;
	struct err err;
	char why[240];
};

static void on_reload(void *arg, const struct err *err)
{
	struct told *t = arg;
	t->reloads += !err;
	t->refused += err != NULL;
	if (err)
		t->err = *err;
}

static void on_failed(void *arg, const char *peer, int code, const char *why)
{
	struct told *t = ((struct echo *)arg)->told;
	t->failures++;
	assert_true(strncmp(peer, "127.0.0.1:", 10) == 0 && code == HCP_EPROTO);
	snprintf(t->why, sizeof(t->why), "%s", why);
}

/* Does one who trusts only `ca` get through? */
static bool gets_in(struct loop *l, struct echo *e, const char *ca)
{
	struct tls_ctx *ctx;
	struct raw r = { 0 };
	buf_init(&r.in, 0);
	assert_int_equal(tls_client_new(&(struct tls_conf){ .ca_file = ca }, &ctx, NULL), 0);
	struct stream_conf cc = { .ops = &raw_ops, .arg = &r, .tls = ctx };
	assert_int_equal(stream_connect(l, "127.0.0.1", listener_port(e->l), &cc, &r.s, NULL), 0);
	tls_unref(ctx);
	assert_true(wait_for(l, r.open || r.closed));
	bool in = r.open;
	if (r.s)
		stream_abort(r.s, HCP_ECANCELED, "");
	assert_true(wait_for(l, r.closed));
	buf_release(&r.in);
	return in;
}

static void tls_takes_changed_files(void **state)
{
	struct loop *l = new_loop();
	char cert[64], key[64], second[64], second_key[64];
	make_cert(cert, key);
	make_cert(second, second_key);
	struct told t = { 0 };
	struct tls_ctx *st;
	struct echo e = { .told = &t };
	struct tls_conf sc = { .cert_file = cert, .key_file = key, .on_reload = on_reload, .arg = &t };
	assert_int_equal(tls_server_new(&sc, &st, NULL), 0);
	echo_start(l, &e, (struct listener_conf){ .tls = st, .on_failed = on_failed });
	char trust[80], unused[80]; /* the first one's certificate, kept for its client */
	snprintf(trust, sizeof(trust), "%s.old", cert);
	snprintf(unused, sizeof(unused), "%s.new", cert);
	assert_int_equal(link(cert, trust), 0);
	assert_true(gets_in(l, &e, trust) && !gets_in(l, &e, second));
	assert_true(wait_for(l, t.failures == 1)); /* who distrusts us says so */
	assert_non_null(strstr(t.why, "the peer refuses our certificate: an authority that it does not trust"));
	assert_int_equal(t.reloads + t.refused, 0);
	/* The key first, as who renews writes it: told once, and the pair before serves on. */
	assert_int_equal(rename(second_key, key), 0);
	assert_true(gets_in(l, &e, trust) && gets_in(l, &e, trust));
	assert_true(t.refused == 1 && t.reloads == 0);
	assert_string_equal(t.err.field, "key_file");
	assert_int_equal(link(second, unused), 0);
	assert_int_equal(rename(unused, cert), 0);
	assert_true(gets_in(l, &e, second) && !gets_in(l, &e, trust));
	assert_true(t.refused == 1 && t.reloads == 1);
	/* Gone altogether. */
	unlink(cert);
	assert_true(gets_in(l, &e, second) && gets_in(l, &e, second));
	assert_true(t.refused == 2 && t.reloads == 1);
	listener_free(e.l);
	tls_unref(st);
	unlink(key);
	unlink(second);
	unlink(trust);
	loop_free(l);
}

static void limits_hold(void **state)
{
	struct loop *l = new_loop();
	struct echo e = { .sink = true };
	echo_start(l, &e, (struct listener_conf){ .max_streams = 3 });
	struct raw r[6];
	for (int i = 0; i < 6; i++)
		raw_connect(l, &r[i], listener_port(e.l));
	assert_true(wait_for(l, listener_refused(e.l) == 3));
	assert_int_equal(listener_streams(e.l), 3);
	/* A peer that reads nothing: the queue fills up to its limit and no further. */
	int rc;
	static char block[65536];
	stream_set_max_queue(r[0].s, 1 << 20);
	while ((rc = stream_write(r[0].s, block, sizeof(block))) == 0)
		loop_turn(l, 0);
	assert_int_equal(rc, HCP_ELIMIT);
	assert_true(stream_queued(r[0].s) <= 1 << 20);
	for (int i = 0; i < 6; i++)
		raw_end(l, &r[i]);
	/* Streams that are paused do not see their peers go; the loop takes them along. */
	listener_free(e.l);
	loop_free(l);
}

static void refused_and_unknown_hosts_are_told(void **state)
{
	struct loop *l = new_loop();
	struct echo e = { 0 };
	echo_start(l, &e, (struct listener_conf){ 0 });
	uint16_t port = listener_port(e.l);
	listener_free(e.l);
	loop_turn(l, 5);
	struct raw r = { 0 };
	struct stream_conf sc = { .ops = &raw_ops, .arg = &r };
	assert_int_equal(stream_connect(l, "127.0.0.1", port, &sc, &r.s, NULL), 0);
	assert_true(wait_for(l, r.closed));
	assert_int_equal(r.code, HCP_EUNAVAIL);
	r = (struct raw){ 0 };
	assert_int_equal(stream_connect(l, "127.0.0.1", port, &sc, &r.s, NULL), 0);
	stream_abort(r.s, HCP_ECANCELED, "no longer wanted");
	assert_true(wait_for(l, r.closed));
	assert_int_equal(r.code, HCP_ECANCELED);
	struct err err;
	struct listener_conf lc = { .host = "not an address", .on_stream = echo_accept };
	struct listener *bad;
	assert_int_equal(listener_new(l, &lc, &bad, &err), HCP_EINVAL);
	assert_string_equal(err.field, "host");
	loop_free(l);
}

/* ---- children ---- */

static void children_run_end_and_are_killed(void **state)
{
	struct loop *l = new_loop();
	struct buf out;
	buf_init(&out, 0);
	struct ran ran;
	const char *const hello[] = { "sh", "-c", "echo hello; exit 7", NULL };
	assert_int_equal(run_program(l, hello, &out, &ran), 0);
	assert_int_equal(ran.exit_code, 7);
	assert_true(str_eqz(buf_str(&out), "hello\n"));
	const char *const missing[] = { "/nonexistent/program", NULL };
	assert_int_equal(run_program(l, missing, &out, &ran), HCP_ENOTFOUND);
	/* One that ignores SIGTERM is killed after the grace period. */
	const char *const deaf[] = { "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", NULL };
	FILE *log = tmpfile();
	struct stat st;
	struct child_conf cc = { .argv = deaf, .log_fd = fileno(log), .stdin_fd = -1, .on_exit = on_ran, .arg = &ran };
	struct child *c;
	ran = (struct ran){ 0 };
	assert_int_equal(child_new(l, &cc, &c, NULL), 0);
	assert_true(wait_for(l, fstat(fileno(log), &st) == 0 && st.st_size > 0));
	child_stop(c, 50);
	assert_true(wait_for(l, ran.over));
	assert_int_equal(ran.term_signal, SIGKILL);
	/* One still running at the end is taken along. */
	assert_int_equal(child_new(l, &cc, &c, NULL), 0);
	buf_release(&out);
	loop_free(l);
	fclose(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_and_stop_at_once),
		cmocka_unit_test(posts_from_a_thread_come_in_order_and_are_bounded),
		cmocka_unit_test(tcp_and_unix_echo_and_close_gracefully),
		cmocka_unit_test(tls_verifies_both_ways_and_carries_bytes),
		cmocka_unit_test(tls_takes_changed_files),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(refused_and_unknown_hosts_are_told),
		cmocka_unit_test(children_run_end_and_are_killed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
