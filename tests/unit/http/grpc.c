#include "net.h"

#include "http/grpc.h"
#include "http/grpc_frame.h"
#include "http/http_server.h"
#include "loop/tls.h"

static struct {
	struct loop *loop;
	struct http_server *http;
	struct grpc_server *grpc;
	uint16_t port;
	struct grpc_call *held, *stream;
	int opened, closed, half_closed, received, paused;
} site;

static void unary_echo(struct grpc_call *call, struct str msg, void *arg)
{
	struct str who = grpc_call_metadata(call, "authorization");
	if (str_eqz(msg, "fail"))
		grpc_reply(call, GRPC_NOT_FOUND, "no such thing: 100% \xc3\xbc", STR(""));
	else
		grpc_reply(call, GRPC_OK, NULL, who.p ? who : msg);
}

static void unary_hold(struct grpc_call *call, struct str msg, void *arg)
{
	site.held = call;
}

static void s_open(struct grpc_call *call, void *arg)
{
	site.opened++;
	site.stream = call;
}

static void s_message(struct grpc_call *call, void *arg, struct str msg)
{
	site.received++;
	int rc = grpc_stream_send(call, msg);
	assert_true(rc == 0 || rc == HCP_EAGAIN);
	if (rc == HCP_EAGAIN) {
		site.paused++;
		grpc_call_pause(call);
	}
}

static void s_drain(struct grpc_call *call, void *arg)
{
	grpc_call_resume(call);
}

static void s_half_close(struct grpc_call *call, void *arg)
{
	site.half_closed++;
	grpc_stream_finish(call, GRPC_OK, NULL);
}

static void s_close(struct grpc_call *call, void *arg)
{
	site.closed++;
	grpc_stream_finish(call, GRPC_CANCELLED, NULL);
}

static const struct grpc_stream_ops echo_stream = { s_open, s_message, s_half_close, s_drain, s_close };
static const struct grpc_method methods[] = {
	{ "/t.T/Echo", unary_echo, NULL, NULL },
	{ "/t.T/Hold", unary_hold, NULL, NULL },
	{ "/t.T/Chat", NULL, &echo_stream, NULL },
};

static void handle(struct http_req *req, void *arg)
{
	http_reply(req, 404, NULL, 0, STR("{}"));
}

static void serve(struct http_server_conf hc)
{
	struct grpc_server_conf gc = { .max_message_bytes = 2 << 20 };
	assert_int_equal(http_server_new(site.loop, &hc, handle, NULL, &site.http, NULL), 0);
	assert_int_equal(grpc_server_new(site.http, &gc, methods, 3, &site.grpc, NULL), 0);
	site.port = http_server_port(site.http);
}

static void start(struct http_server_conf hc)
{
	memset(&site, 0, sizeof(site));
	assert_int_equal(loop_new(NULL, &site.loop, NULL), 0);
	serve(hc);
}

static void stop(void)
{
	http_server_free(site.http);
	loop_free(site.loop);
	grpc_server_free(site.grpc);
}

struct state {
	int up, down;
};

static void on_state(void *arg, bool up, const struct err *err)
{
	struct state *s = arg;
	if (up)
		s->up++;
	else
		s->down++;
}

static double half(void *arg)
{
	return 0.5;
}

static struct grpc_client *connect_client(struct state *st, struct tls_ctx *tls)
{
	*st = (struct state){ 0 };
	struct grpc_client_conf cc = { .host = "127.0.0.1", .port = site.port, .tls = tls, .backoff_min_ms = 20,
		.backoff_max_ms = 100, .jitter = half, .on_state = on_state, .arg = st, .max_message_bytes = 3 << 20 };
	struct grpc_client *c;
	assert_int_equal(grpc_client_new(site.loop, &cc, &c, NULL), 0);
	return c;
}

struct result {
	int done, status;
	struct buf msg, text;
};

static void on_done(void *arg, enum grpc_status status, struct str text, struct str msg)
{
	struct result *r = arg;
	r->done++;
	r->status = (int)status;
	buf_adds(&r->msg, msg);
	buf_adds(&r->text, text);
}

static void ask(struct grpc_client *c, const char *path, struct str msg, uint32_t ms, struct result *r)
{
	*r = (struct result){ 0 };
	assert_int_equal(grpc_call(c, path, NULL, 0, msg, ms, on_done, r, NULL, NULL), 0);
	assert_int_equal(r->done, 0);
}

static void forget(struct result *r)
{
	buf_release(&r->msg);
	buf_release(&r->text);
}

static void unary_calls(void **state)
{
	int64_t live = mem_live();
	start((struct http_server_conf){ 0 });
	struct state st;
	struct grpc_client *c = connect_client(&st, NULL);
	struct result r[300];
	/* More than the server's stream limit at once, begun before the connection is up. */
	for (int i = 0; i < 300; i++)
		ask(c, "/t.T/Echo", STR("hello"), 0, &r[i]);
	for (int i = 0; i < 300; i++) {
		assert_true(wait_for(site.loop, r[i].done == 1));
		assert_int_equal(r[i].status, GRPC_OK);
		assert_true(str_eqz(buf_str(&r[i].msg), "hello"));
		forget(&r[i]);
	}
	assert_int_equal(st.up, 1);
	ask(c, "/t.T/Echo", STR("fail"), 0, &r[0]);
	assert_true(wait_for(site.loop, r[0].done));
	assert_int_equal(r[0].status, GRPC_NOT_FOUND);
	assert_true(str_eqz(buf_str(&r[0].text), "no such thing: 100% \xc3\xbc"));
	forget(&r[0]);
	ask(c, "/t.T/None", STR(""), 0, &r[0]);
	assert_true(wait_for(site.loop, r[0].done));
	assert_int_equal(r[0].status, GRPC_UNIMPLEMENTED);
	forget(&r[0]);
	/* Metadata, and a large message against the windows. */
	struct http_header md = { STR("Authorization"), STR("token") };
	r[0] = (struct result){ 0 };
	assert_int_equal(grpc_call(c, "/t.T/Echo", &md, 1, STR("x"), 0, on_done, &r[0], NULL, NULL), 0);
	char *big = mem_calloc(1, 3 << 20);
	ask(c, "/t.T/Echo", (struct str){ big, 2 << 20 }, 0, &r[1]);
	ask(c, "/t.T/Echo", (struct str){ big, (2 << 20) + 1 }, 0, &r[2]);
	struct err err;
	assert_int_equal(
		grpc_call(c, "/t.T/Echo", NULL, 0, (struct str){ big, (3 << 20) + 1 }, 0, on_done, &r[3], NULL, &err),
		HCP_ELIMIT);
	assert_true(wait_for(site.loop, r[0].done && r[1].done && r[2].done));
	assert_true(str_eqz(buf_str(&r[0].msg), "token"));
	assert_int_equal(r[1].status, GRPC_OK);
	assert_int_equal(r[1].msg.n, 2 << 20);
	assert_int_equal(r[2].status, GRPC_RESOURCE_EXHAUSTED);
	mem_free(big);
	for (int i = 0; i < 3; i++)
		forget(&r[i]);
	/* Deadline and cancellation. */
	ask(c, "/t.T/Hold", STR(""), 50, &r[0]);
	assert_true(wait_for(site.loop, r[0].done && site.held));
	assert_int_equal(r[0].status, GRPC_DEADLINE_EXCEEDED);
	assert_true(wait_for(site.loop, grpc_call_gone(site.held)));
	grpc_reply(site.held, GRPC_OK, NULL, STR("late"));
	forget(&r[0]);
	struct grpc_rpc *rpc;
	site.held = NULL;
	r[0] = (struct result){ 0 };
	assert_int_equal(grpc_call(c, "/t.T/Hold", NULL, 0, STR(""), 0, on_done, &r[0], &rpc, NULL), 0);
	assert_true(wait_for(site.loop, site.held));
	grpc_rpc_cancel(rpc);
	assert_true(wait_for(site.loop, grpc_call_gone(site.held)));
	grpc_reply(site.held, GRPC_OK, NULL, STR("late"));
	assert_int_equal(r[0].done, 0);
	grpc_client_free(c);
	stop();
	assert_int_equal(mem_live(), live);
}

struct chat {
	int messages, closed, drained;
	size_t bytes;
	enum grpc_status status;
};

static void c_message(struct grpc_rpc *rpc, void *arg, struct str msg)
{
	struct chat *k = arg;
	k->messages++;
	k->bytes += msg.n;
}

static void c_drain(struct grpc_rpc *rpc, void *arg)
{
	((struct chat *)arg)->drained++;
}

static void c_close(struct grpc_rpc *rpc, void *arg, enum grpc_status status, struct str text)
{
	struct chat *k = arg;
	k->closed++;
	k->status = status;
}

static const struct grpc_rpc_ops chat_ops = { c_message, c_drain, c_close };

static void streams_and_reconnects(void **state)
{
	char cert[64], key[64];
	make_cert(cert, key);
	struct tls_conf tc = { .ca_file = cert, .alpn = "h2" };
	struct tls_ctx *tls;
	assert_int_equal(tls_client_new(&tc, &tls, NULL), 0);
	start((struct http_server_conf){ .cert_file = cert, .key_file = key });
	struct state st;
	struct grpc_client *c = connect_client(&st, tls);
	struct grpc_rpc *rpc;
	struct chat k = { 0 };
	assert_int_equal(grpc_stream_open(c, "/t.T/Chat", NULL, 0, 0, &chat_ops, &k, &rpc, NULL), HCP_EUNAVAIL);
	assert_true(wait_for(site.loop, grpc_client_up(c)));
	assert_int_equal(grpc_stream_open(c, "/t.T/Chat", NULL, 0, 0, &chat_ops, &k, &rpc, NULL), 0);
	static char block[100000];
	int sent = 0, rc = 0;
	for (int i = 0; i < 200; i++) {
		rc = grpc_rpc_send(rpc, (struct str){ block, sizeof(block) });
		sent += rc != HCP_ELIMIT;
		if (rc != 0)
			loop_turn(site.loop, 5);
	}
	assert_true(wait_for(site.loop, k.messages == sent));
	assert_int_equal(k.bytes, (size_t)sent * sizeof(block));
	grpc_rpc_end(rpc);
	assert_true(wait_for(site.loop, k.closed));
	assert_int_equal(k.status, GRPC_OK);
	assert_int_equal(site.half_closed, 1);
	/* A deadline that ends a stream on both sides. */
	k = (struct chat){ 0 };
	assert_int_equal(grpc_stream_open(c, "/t.T/Chat", NULL, 0, 60, &chat_ops, &k, &rpc, NULL), 0);
	assert_true(wait_for(site.loop, k.closed && site.closed == 1));
	assert_int_equal(k.status, GRPC_DEADLINE_EXCEEDED);
	/* The server goes away under an open stream and a waiting call, and comes back. */
	k = (struct chat){ 0 };
	site.stream = NULL;
	assert_int_equal(grpc_stream_open(c, "/t.T/Chat", NULL, 0, 0, &chat_ops, &k, &rpc, NULL), 0);
	assert_true(wait_for(site.loop, site.stream));
	http_server_free(site.http);
	assert_true(wait_for(site.loop, k.closed && st.down >= 1));
	assert_int_equal(k.status, GRPC_UNAVAILABLE);
	assert_false(grpc_client_up(c));
	struct result r;
	ask(c, "/t.T/Echo", STR("again"), 0, &r);
	grpc_server_free(site.grpc);
	serve((struct http_server_conf){ .port = site.port, .cert_file = cert, .key_file = key });
	assert_true(wait_for(site.loop, r.done));
	assert_int_equal(r.status, GRPC_OK);
	assert_int_equal(st.up, 2);
	forget(&r);
	grpc_client_free(c);
	tls_unref(tls);
	stop();
	unlink(cert);
	unlink(key);
}

static void every_allocation_may_fail(void **state)
{
	int64_t live = mem_live();
	uint64_t most = 0;
	for (uint64_t n = 1; n < 250; n++) {
		start((struct http_server_conf){ 0 });
		mem_fail_after(n, 0);
		struct grpc_client_conf cc = {
			.host = "127.0.0.1", .port = site.port, .backoff_min_ms = 1, .backoff_max_ms = 1
		};
		struct grpc_client *c = NULL;
		struct result r = { 0 };
		int rc = grpc_client_new(site.loop, &cc, &c, NULL);
		if (rc == 0)
			rc = grpc_call(c, "/t.T/Echo", NULL, 0, STR("hello"), 300, on_done, &r, NULL, NULL);
		if (rc == 0)
			assert_true(wait_for(site.loop, r.done));
		else
			assert_int_equal(rc, HCP_ENOMEM);
		most = mem_fail_hits() ? n : most;
		mem_fail_after(0, 0);
		forget(&r);
		/* The next one works, on this connection or on the one that follows when the failure has ended it. */
		for (int i = 0; c && i < 3; i++) {
			ask(c, "/t.T/Echo", STR("again"), 0, &r);
			assert_true(wait_for(site.loop, r.done));
			forget(&r);
			if (r.status != GRPC_UNAVAILABLE)
				break;
		}
		assert_true(!c || r.status == GRPC_OK);
		grpc_client_free(c);
		stop();
		assert_int_equal(mem_live(), live);
	}
	assert_true(most > 20 && most < 249);
}

static bool count(void *arg, struct str msg)
{
	((struct chat *)arg)->messages++;
	((struct chat *)arg)->bytes += msg.n;
	return true;
}

static void framing(void **state)
{
	struct grpc_reader rd;
	static const uint8_t three[] = { 0, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 'x', 'y', 'z' };
	for (size_t cut = 1; cut <= sizeof(three); cut++) {
		struct chat k = { 0 };
		grpc_reader_init(&rd, 100);
		for (size_t at = 0; at < sizeof(three); at += cut)
			assert_int_equal(
				grpc_reader_feed(&rd, three + at, cut < sizeof(three) - at ? cut : sizeof(three) - at, count, &k), 0);
		assert_int_equal(k.messages, 3);
		assert_int_equal(k.bytes, 5);
		assert_true(grpc_reader_at_end(&rd));
		grpc_reader_release(&rd);
	}
	struct chat k = { 0 };
	grpc_reader_init(&rd, 100);
	assert_int_equal(grpc_reader_feed(&rd, "\1\0\0\0\0", 5, count, &k), HCP_EUNSUPPORTED);
	assert_int_equal(grpc_reader_feed(&rd, "\2\0\0\0\0", 5, count, &k), HCP_EPARSE);
	assert_int_equal(grpc_reader_feed(&rd, "\0\0\0\0\145", 5, count, &k), HCP_ELIMIT);
	grpc_reader_release(&rd);
	int64_t ns;
	assert_int_equal(grpc_timeout_parse(STR("100m"), &ns), 0);
	assert_int_equal(ns, 100000000);
	assert_int_equal(grpc_timeout_parse(STR("99999999H"), &ns), 0);
	assert_true(ns > 0);
	assert_int_equal(grpc_timeout_parse(STR("m"), &ns), HCP_EPARSE);
	assert_int_equal(grpc_timeout_parse(STR("1x"), &ns), HCP_EPARSE);
	assert_int_equal(grpc_timeout_parse(STR("123456789m"), &ns), HCP_EPARSE);
	for (int s = 0; s <= 16; s++)
		assert_true(
			grpc_status_of_err(grpc_status_to_err((enum grpc_status)s)) == (enum grpc_status)s || s == GRPC_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(framing), cmocka_unit_test(unary_calls), cmocka_unit_test(streams_and_reconnects),
		cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
