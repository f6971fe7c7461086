#include "net.h"

#include "http/http_client.h"
#include "http/http_server.h"
#include "http/url.h"

/* ---- a server whose paths do what the tests need ---- */

struct site {
	struct loop *loop;
	struct http_server *server;
	uint16_t port;
	struct http_req *held[80]; /* "/hold": answered later by the test */
	int n_held, gone, drained, half_closed, served;
	struct http_req *streaming;
	size_t uploaded;
};

static struct site site;

static void on_gone(struct http_req *req)
{
	site.gone++;
}

static void on_half_close(struct http_req *req)
{
	site.half_closed++;
}

static void on_drain(struct http_req *req)
{
	site.drained++;
}

static void upload_data(struct http_req *req, struct str piece)
{
	site.uploaded += piece.n;
	http_req_consume(req, piece.n);
}

static void upload_end(struct http_req *req)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%zu", site.uploaded);
	http_reply(req, 200, NULL, 0, (struct str){ text, (size_t)n });
}

static const struct http_body_ops upload_ops = { upload_data, upload_end };

static bool head(struct http_req *req, void *arg)
{
	if (!str_eqz(req->path, "/upload"))
		return false;
	http_req_stream_body(req, &upload_ops);
	return true;
}

static void handle(struct http_req *req, void *arg)
{
	site.served++;
	struct http_header h[] = { { STR("X-Method"), req->method_name }, { STR("X-Query"), req->query },
		{ STR("Content-Type"), STR("text/plain") } };
	if (str_eqz(req->path, "/hold")) {
		req->on_gone = on_gone;
		req->on_half_close = on_half_close;
		site.held[site.n_held++] = req;
	} else if (str_eqz(req->path, "/stream")) {
		req->on_gone = on_gone;
		req->on_drain = on_drain;
		http_reply_begin(req, 200, h, 3);
		site.streaming = req;
	} else if (str_eqz(req->path, "/pieces")) {
		http_reply_begin(req, 200, h, 3);
		assert_int_equal(http_reply_write(req, STR("one,")), 0);
		assert_int_equal(http_reply_write(req, STR("two")), 0);
		http_reply_end(req, NULL, 0);
	} else if (str_eqz(req->path, "/inject")) {
		struct http_header bad[] = { { STR("x-ok"), STR("1") }, { STR("x-bad"), STR("1\r\nx-evil: 1") } };
		http_reply(req, 200, bad, 2, STR("ok"));
	} else if (str_eqz(req->path, "/empty")) {
		http_reply(req, 204, NULL, 0, STR(""));
	} else {
		http_reply(req, 200, h, 3, req->body.n ? req->body : req->path);
	}
}

static void start(struct http_server_conf conf)
{
	memset(&site, 0, sizeof(site));
	assert_int_equal(loop_new(NULL, &site.loop, NULL), 0);
	struct err err;
	if (http_server_new(site.loop, &conf, handle, NULL, &site.server, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	http_server_set_head_handler(site.server, head, NULL);
	site.port = http_server_port(site.server);
}

static void stop(void)
{
	http_server_free(site.server);
	loop_free(site.loop);
}

/* Sends bytes on a new connection and waits until `want` has come back. */
static void exchange(const char *bytes, const char *want)
{
	struct raw r;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, bytes);
	if (!wait_for(site.loop, raw_has(&r, want) || r.closed) || !raw_has(&r, want))
		fail_msg("sent %s\nwanted %s\ngot %.*s", bytes, want, (int)r.in.n, r.in.data ? r.in.data : "");
	raw_end(site.loop, &r);
}

/* ---- HTTP/1.1 ---- */

static void answers_have_the_right_form(void **state)
{
	start((struct http_server_conf){ 0 });
	exchange("GET /a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n", "X-Query: c=d\r\n");
	exchange("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "content-length: 2\r\n");
	exchange("GET http://other/a?z HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n/a");
	exchange("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "\r\n\r\nhello");
	exchange(
		"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nT: v\r\n\r\n",
		"\r\n\r\nhello");
	exchange("HEAD /abc HTTP/1.1\r\nHost: x\r\n\r\nGET /last HTTP/1.1\r\nHost: x\r\n\r\n",
		"content-length: 4\r\nX-Method: HEAD\r\nX-Query: \r\nContent-Type: text/plain\r\n\r\nHTTP/1.1 200");
	exchange("GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n4\r\none,\r\n3\r\ntwo\r\n0\r\n\r\n");
	exchange("GET /pieces HTTP/1.0\r\n\r\n", "\r\n\r\none,two");
	exchange("GET /a HTTP/1.0\r\n\r\n", "connection: close\r\n");
	exchange("GET /empty HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 204 No Content\r\n");
	exchange("PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", "100 Continue\r\n\r\n");
	exchange("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd", "\r\n\r\n4");
	exchange("GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", "200 OK");
	/* A header value with a line break is left out: nothing of it reaches the client. */
	struct raw r;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /inject HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, raw_has(&r, "\r\n\r\nok")));
	assert_true(raw_has(&r, "x-ok: 1"));
	assert_false(raw_has(&r, "evil"));
	raw_end(site.loop, &r);
	stop();
}

static void malformed_input_is_named(void **state)
{
	start((struct http_server_conf){ .max_head_bytes = 2048, .max_body_bytes = 1000 });
	static const struct { const char *bytes, *want;
	} cases[] = {
		{ "hello\r\n\r\n", "HTTP/1.1 400 " },
		{ "GET /a HTTP/1.1\r\n\r\n", "\"code\":\"bad_host\"" },
		{ "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "\"code\":\"bad_host\"" },
		{ "GET /a HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", "\"code\":\"malformed_request\"" },
		{ "GET /a HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", "HTTP/1.1 400 " },
		{ "GET /a HTTP/3.0\r\nHost: x\r\n\r\n", "HTTP/1.1 505 " },
		{ "GET /a HTTP/2.0\r\nHost: x\r\n\r\n", "HTTP/1.1 505 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 " },
		{ "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n", "" },
		{ "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "HTTP/1.1 " },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (*cases[i].want)
			exchange(cases[i].bytes, cases[i].want);
	exchange("hello\r\n\r\n", "application/problem+json");
	char big[4200];
	snprintf(big, sizeof(big), "GET /%03000d HTTP/1.1\r\nHost: x\r\n\r\n", 0);
	exchange(big, "HTTP/1.1 414 ");
	snprintf(big, sizeof(big), "GET / HTTP/1.1\r\nHost: x\r\nA: %03000d\r\n\r\n", 0);
	exchange(big, "HTTP/1.1 431 ");
	size_t n = (size_t)snprintf(big, sizeof(big), "GET / HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 70; i++)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "A%d: b\r\n", i);
	snprintf(big + n, sizeof(big) - n, "\r\n");
	exchange(big, "HTTP/1.1 431 ");
	n = (size_t)snprintf(big, sizeof(big), "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	snprintf(big + n, sizeof(big) - n, "3E9\r\n%01001d\r\n0\r\n\r\n", 0);
	exchange(big, "HTTP/1.1 413 ");
	assert_int_equal(site.served, 0);
	stop();
}

static void pipelined_answers_keep_their_order(void **state)
{
	start((struct http_server_conf){ 0 });
	struct raw r;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /hold?1 HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n"
		"GET /hold?3 HTTP/1.1\r\nHost: x\r\n\r\nGET /four HTTP/1.1\r\nHost: x\r\n\r\nbroken\r\n\r\n");
	assert_true(wait_for(site.loop, site.n_held == 2));
	loop_turn(site.loop, 20);
	assert_int_equal(r.in.n, 0);
	http_reply(site.held[1], 200, NULL, 0, STR("three"));
	loop_turn(site.loop, 20);
	assert_int_equal(r.in.n, 0);
	http_reply(site.held[0], 200, NULL, 0, STR("one"));
	assert_true(wait_for(site.loop, r.eof));
	const char *order[] = { "one", "/two", "three", "/four", "400" };
	const char *at = r.in.data;
	for (size_t i = 0; i < 5; i++) {
		at = memmem(at, (size_t)(r.in.data + r.in.n - at), order[i], strlen(order[i]));
		assert_non_null(at);
	}
	raw_end(site.loop, &r);
	/* More than HTTP_PIPELINE requests at once: reading waits, nothing is lost. */
	raw_connect(site.loop, &r, site.port);
	site.n_held = 0;
	raw_send(&r, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 3 * HTTP_PIPELINE; i++)
		raw_send(&r, "GET /n HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_send(&r, "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	int before = site.served;
	assert_true(wait_for(site.loop, site.served == before + HTTP_PIPELINE));
	loop_turn(site.loop, 30);
	assert_int_equal(site.served, before + HTTP_PIPELINE);
	http_reply(site.held[0], 200, NULL, 0, STR("x"));
	assert_true(wait_for(site.loop, r.eof));
	assert_true(raw_has(&r, "\r\n\r\n/end"));
	assert_int_equal(site.served, before + 3 * HTTP_PIPELINE + 2);
	raw_end(site.loop, &r);
	stop();
}

static void slow_clients_are_timed_out(void **state)
{
	start((struct http_server_conf){ .idle_timeout_ms = 300, .header_timeout_ms = 300, .body_timeout_ms = 300,
		.write_timeout_ms = 500, .max_queue_bytes = 1 << 20, .max_connections = 4 });
	struct raw idle, drip, body, deaf, fifth;
	raw_connect(site.loop, &idle, site.port);
	raw_connect(site.loop, &drip, site.port);
	raw_connect(site.loop, &body, site.port);
	raw_connect(site.loop, &deaf, site.port);
	raw_connect(site.loop, &fifth, site.port);
	/* Each takes one part of the limits; the fifth connection is one too many. */
	assert_true(wait_for(site.loop, fifth.eof || fifth.closed));
	raw_send(&drip, "GET / HT");
	raw_send(&body, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12");
	raw_send(&deaf, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, site.streaming));
	stream_pause(deaf.s);
	static char block[65536];
	int rc = 0;
	while ((rc = http_reply_write(site.streaming, (struct str){ block, sizeof(block) })) == 0)
		loop_turn(site.loop, 0);
	assert_int_equal(rc, HCP_EAGAIN);
	while ((rc = http_reply_write(site.streaming, (struct str){ block, sizeof(block) })) == HCP_EAGAIN)
		loop_turn(site.loop, 0);
	assert_true(rc == HCP_ELIMIT);
	/* Dripping does not help against the header timeout. */
	for (int i = 0; i < 100 && !raw_has(&drip, "408"); i++) {
		if (drip.s && !drip.eof && !stream_is_closing(drip.s) && i % 10 == 0)
			raw_send(&drip, "x");
		loop_turn(site.loop, 20);
	}
	assert_true(wait_for(site.loop, raw_has(&drip, "HTTP/1.1 408 ") && raw_has(&body, "HTTP/1.1 408 ")));
	assert_true(wait_for(site.loop, (idle.eof || idle.closed) && site.gone == 1));
	assert_int_equal(http_reply_write(site.streaming, STR("x")), HCP_ECLOSED);
	http_reply_end(site.streaming, NULL, 0);
	raw_end(site.loop, &idle);
	raw_end(site.loop, &drip);
	raw_end(site.loop, &body);
	raw_end(site.loop, &deaf);
	raw_end(site.loop, &fifth);
	assert_true(wait_for(site.loop, http_server_connections(site.server) == 0));
	stop();
}

/* An HTTP/2 frame; the body of HEADERS is POST http://x/ in HPACK's static table. */
static void send_frame(struct raw *r, uint8_t type, uint8_t flags, uint8_t id, struct str body)
{
	uint8_t head[9] = { 0, 0, (uint8_t)body.n, type, flags, 0, 0, 0, id };
	assert_int_equal(stream_write(r->s, head, sizeof(head)), 0);
	assert_int_equal(stream_write(r->s, body.p, body.n), 0);
}

static size_t count_frames(const struct raw *r, uint8_t type)
{
	size_t n = 0;
	for (size_t at = 0; at + 9 <= r->in.n;) {
		const uint8_t *p = (const uint8_t *)r->in.data + at;
		n += p[3] == type;
		at += 9 + ((size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]);
	}
	return n;
}

/* Of uploads that overlap for longer than the timeout, only one that itself takes too long is reset. */
static void uploads_of_one_connection_are_timed_one_by_one(void **state)
{
	enum { HEADERS = 1, DATA = 0, RST = 3, END_STREAM = 1, END_HEADERS = 4, LIMIT_MS = 2000 };
	static const struct str post = { "\x83\x86\x84\x41\x01x", 6 };
	start((struct http_server_conf){ .body_timeout_ms = LIMIT_MS });
	struct raw r;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	send_frame(&r, 4, 0, 0, STR(""));
	send_frame(&r, HEADERS, END_HEADERS, 1, post);
	int served = site.served;
	uint8_t id = 1;
	for (int64_t begin_ns = loop_now_ns(site.loop), ms = 0; ms < 3 * LIMIT_MS / 2;) {
		id += 2;
		send_frame(&r, HEADERS, END_HEADERS, id, post);
		send_frame(&r, DATA, END_STREAM, id - 2, STR("x"));
		for (int64_t next_ms = ms + LIMIT_MS / 40; ms < next_ms; ms = (loop_now_ns(site.loop) - begin_ns) / 1000000)
			loop_turn(site.loop, 10);
	}
	assert_true(wait_for(site.loop, site.served - served == id / 2));
	assert_int_equal(count_frames(&r, RST), 0);
	assert_true(wait_for(site.loop, count_frames(&r, RST) == 1));
	assert_false(r.eof);
	raw_end(site.loop, &r);
	stop();
}

static void clients_that_leave_are_noticed(void **state)
{
	start((struct http_server_conf){ .max_queue_bytes = 1 << 20 });
	struct raw r;
	/* Half-closed: the answer still comes. */
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	stream_close(r.s);
	assert_true(wait_for(site.loop, site.half_closed == 1));
	assert_int_equal(site.gone, 0);
	http_reply(site.held[0], 200, NULL, 0, STR("late"));
	raw_end(site.loop, &r);
	/* Gone in the middle of a streamed answer. */
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, site.streaming));
	raw_end(site.loop, &r);
	int rc = 0;
	for (int i = 0; i < 200 && rc != HCP_ECLOSED; i++) {
		rc = http_reply_write(site.streaming, STR("tick"));
		loop_turn(site.loop, 5);
	}
	assert_int_equal(rc, HCP_ECLOSED);
	assert_int_equal(site.gone, 1);
	http_reply_end(site.streaming, NULL, 0);
	/* A slow reader: EAGAIN, then on_drain when it has caught up. */
	site.streaming = NULL;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, site.streaming));
	stream_pause(r.s);
	static char block[65536];
	while ((rc = http_reply_write(site.streaming, (struct str){ block, sizeof(block) })) == 0)
		loop_turn(site.loop, 0);
	assert_int_equal(rc, HCP_EAGAIN);
	stream_resume(r.s);
	assert_true(wait_for(site.loop, site.drained == 1));
	http_reply_end(site.streaming, NULL, 0);
	assert_true(wait_for(site.loop, raw_has(&r, "\r\n0\r\n\r\n")));
	raw_end(site.loop, &r);
	/* The server goes while a request is held: it must still be answered, and nothing leaks. */
	site.n_held = 0;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, site.n_held == 1));
	http_server_free(site.server);
	assert_true(wait_for(site.loop, site.gone == 2));
	http_reply(site.held[0], 200, NULL, 0, STR("too late"));
	raw_end(site.loop, &r);
	loop_free(site.loop);
}

static void draining_lets_requests_end(void **state)
{
	start((struct http_server_conf){ 0 });
	struct raw idle, busy;
	raw_connect(site.loop, &idle, site.port);
	raw_connect(site.loop, &busy, site.port);
	raw_send(&idle, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_send(&busy, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, site.n_held == 1 && raw_has(&idle, "200 OK")));
	http_server_drain(site.server);
	assert_true(wait_for(site.loop, idle.eof));
	assert_false(busy.eof);
	http_reply(site.held[0], 200, NULL, 0, STR("done"));
	assert_true(wait_for(site.loop, busy.eof));
	assert_true(raw_has(&busy, "connection: close\r\n") && raw_has(&busy, "\r\n\r\ndone"));
	raw_end(site.loop, &idle);
	raw_end(site.loop, &busy);
	assert_true(wait_for(site.loop, http_server_connections(site.server) == 0));
	stop();
}

/* ---- the client ---- */

struct result {
	int done, code, status;
	struct buf body;
	char text[256];
	int pieces;
	struct http_client *client;
};

static void on_done(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct result *res = arg;
	res->done++;
	res->code = code;
	res->status = r ? r->status : 0;
	if (r)
		buf_adds(&res->body, r->body);
	if (err)
		snprintf(res->text, sizeof(res->text), "%s", err->text);
}

static void on_piece(void *arg, struct str piece)
{
	struct result *res = arg;
	res->pieces++;
	buf_adds(&res->body, piece);
}

static int call(struct http_client *c, struct http_call_conf conf, const char *path, struct result *res)
{
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", site.port, path);
	*res = (struct result){ 0 };
	conf.url = url;
	conf.method = conf.method ? conf.method : "GET";
	conf.on_done = on_done;
	conf.arg = res;
	return http_call_start(c, &conf, NULL, NULL);
}

static void client_calls(void **state)
{
	start((struct http_server_conf){ .idle_timeout_ms = 400 });
	struct http_client_conf cc = { .max_conns_per_origin = 2, .max_waiting = 3 };
	struct http_client *c;
	assert_int_equal(http_client_new(site.loop, &cc, &c, NULL), 0);
	struct result r[8];
	assert_int_equal(call(c, (struct http_call_conf){ .method = "POST", .body = STR("payload") }, "/x", &r[0]), 0);
	assert_int_equal(r[0].done, 0);
	assert_true(wait_for(site.loop, r[0].done));
	assert_int_equal(r[0].status, 200);
	assert_true(str_eqz(buf_str(&r[0].body), "payload"));
	buf_release(&r[0].body);
	/* Chunked, by pieces, without a body, too large. */
	assert_int_equal(call(c, (struct http_call_conf){ .on_body = on_piece }, "/pieces", &r[0]), 0);
	assert_int_equal(call(c, (struct http_call_conf){ .method = "HEAD" }, "/abc", &r[1]), 0);
	assert_int_equal(call(c, (struct http_call_conf){ .max_body_bytes = 2 }, "/abc", &r[2]), 0);
	assert_int_equal(call(c, (struct http_call_conf){ 0 }, "/empty", &r[3]), 0);
	assert_true(wait_for(site.loop, r[0].done && r[1].done && r[2].done && r[3].done));
	assert_true(str_eqz(buf_str(&r[0].body), "one,two"));
	assert_int_equal(r[1].status, 200);
	assert_int_equal(r[1].body.n, 0);
	assert_int_equal(r[2].code, HCP_ELIMIT);
	assert_int_equal(r[3].status, 204);
	for (int i = 0; i < 4; i++)
		buf_release(&r[i].body);
	/* Connections are reused and bounded; calls beyond wait, calls beyond those are refused. */
	for (int i = 0; i < 5; i++)
		assert_int_equal(call(c, (struct http_call_conf){ .deadline_ms = 200 }, "/hold", &r[i]), 0);
	assert_int_equal(call(c, (struct http_call_conf){ 0 }, "/a", &r[5]), HCP_ELIMIT);
	assert_true(wait_for(site.loop, site.n_held == 2));
	assert_true(http_server_connections(site.server) <= 3);
	assert_true(wait_for(site.loop, r[0].done && r[1].done && r[2].done && r[3].done && r[4].done));
	for (int i = 0; i < 5; i++)
		assert_int_equal(r[i].code, HCP_ETIMEOUT);
	for (int i = 0; i < site.n_held; i++)
		http_reply(site.held[i], 200, NULL, 0, STR(""));
	/* The server closes the kept connection; the next call must not fail by that. */
	assert_int_equal(call(c, (struct http_call_conf){ 0 }, "/a", &r[0]), 0);
	assert_true(wait_for(site.loop, r[0].done));
	assert_true(wait_for(site.loop, http_server_connections(site.server) == 0));
	buf_release(&r[0].body);
	assert_int_equal(call(c, (struct http_call_conf){ 0 }, "/b", &r[0]), 0);
	assert_true(wait_for(site.loop, r[0].done));
	assert_int_equal(r[0].code, 0);
	buf_release(&r[0].body);
	/* Cancelled: no callback. */
	struct http_call *a;
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/hold", site.port);
	struct http_call_conf hc = { .method = "GET", .url = url, .on_done = on_done, .arg = &r[0] };
	r[0] = (struct result){ 0 };
	site.n_held = 0;
	assert_int_equal(http_call_start(c, &hc, &a, NULL), 0);
	assert_true(wait_for(site.loop, site.n_held == 1));
	http_call_cancel(a);
	assert_true(wait_for(site.loop, site.gone + site.half_closed > 0));
	http_reply(site.held[0], 200, NULL, 0, STR(""));
	assert_int_equal(r[0].done, 0);
	struct err err;
	hc.url = "ftp://x/";
	assert_int_equal(http_call_start(c, &hc, NULL, &err), HCP_EPARSE);
	http_client_free(c);
	stop();
}

static void again(void *arg, int code, const struct http_response *r, const struct err *err);

static void start_again(struct result *res)
{
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/soak", site.port);
	struct http_call_conf hc = { .method = "GET", .url = url, .on_done = again, .arg = res };
	assert_int_equal(http_call_start(res->client, &hc, NULL, NULL), 0);
}

static void again(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct result *res = arg;
	assert_int_equal(code, 0);
	assert_true(str_eqz(r->body, "/soak"));
	if (++res->done % 1000 < 992)
		start_again(res);
}

static void ten_thousand_calls_leak_nothing(void **state)
{
	int64_t live = mem_live();
	start((struct http_server_conf){ 0 });
	struct http_client *c;
	assert_int_equal(http_client_new(site.loop, NULL, &c, NULL), 0);
	for (int round = 0; round < 10; round++) {
		struct result res = { .client = c };
		for (int i = 0; i < 8; i++)
			start_again(&res);
		assert_true(wait_for(site.loop, res.done >= 992 + 7));
	}
	assert_true(site.served >= 9990);
	http_client_free(c);
	stop();
	assert_int_equal(mem_live(), live);
}

static void every_allocation_may_fail(void **state)
{
	int64_t live = mem_live();
	uint64_t most = 0;
	for (uint64_t n = 1; n < 120; n++) {
		start((struct http_server_conf){ 0 });
		struct http_client *c;
		assert_int_equal(http_client_new(site.loop, NULL, &c, NULL), 0);
		struct result r;
		mem_fail_after(n, 0);
		int rc = call(c, (struct http_call_conf){ .method = "POST", .body = STR("x"), .deadline_ms = 300 }, "/p", &r);
		if (rc == 0)
			assert_true(wait_for(site.loop, r.done));
		most = mem_fail_hits() ? n : most;
		mem_fail_after(0, 0);
		if (rc == 0 && r.code == 0)
			assert_true(r.status == 200 || r.status == 503);
		buf_release(&r.body);
		/* The next one works. */
		assert_int_equal(call(c, (struct http_call_conf){ 0 }, "/p", &r), 0);
		assert_true(wait_for(site.loop, r.done));
		assert_int_equal(r.status, 200);
		buf_release(&r.body);
		http_client_free(c);
		stop();
		assert_int_equal(mem_live(), live);
	}
	assert_true(most > 5 && most < 119);
}

/* ---- real peers ---- */

static void curl(const char *const *argv, const char *want)
{
	struct buf out;
	struct ran ran;
	buf_init(&out, 0);
	if (run_program(site.loop, argv, &out, &ran) == HCP_ENOTFOUND) {
		print_message("no %s here: skipped\n", argv[0]);
		skip();
	}
	if (ran.exit_code != 0 || !memmem(out.data ? out.data : "", out.n, want, strlen(want)))
		fail_msg("exit %d, wanted %s, got %.*s", (int)ran.exit_code, want, (int)out.n, out.data ? out.data : "");
	buf_release(&out);
}

static void curl_and_nghttp_agree(void **state)
{
	char cert[64], key[64], url[64], big[64] = "/tmp/hcp-body-XXXXXX", data[80];
	make_cert(cert, key);
	FILE *f = fdopen(mkstemp(big), "w");
	for (int i = 0; i < 900000; i++)
		fputc('a' + i % 26, f);
	fclose(f);
	snprintf(data, sizeof(data), "@%s", big);
	start((struct http_server_conf){ 0 });
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/peer", site.port);
	curl((const char *[]){ "curl", "-sS", "-i", url, NULL }, "HTTP/1.1 200 OK");
	curl((const char *[]){ "curl", "-sS", "-i", "--http2-prior-knowledge", url, NULL }, "HTTP/2 200");
	curl((const char *[]){ "curl", "-sS", "-i", "--http2", url, NULL }, "HTTP/1.1 200 OK");
	curl((const char *[]){ "curl", "-sS", "--http2-prior-knowledge", "--data-binary", data, url, NULL }, "wxyzabcd");
	curl((const char *[]){ "curl", "-sS", "--data-binary", data, url, NULL }, "wxyzabcd");
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/pieces", site.port);
	curl((const char *[]){ "curl", "-sS", "--http2-prior-knowledge", url, NULL }, "one,two");
	curl((const char *[]){ "nghttp", "-v", url, url, url, NULL }, "one,two");
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/upload", site.port);
	site.uploaded = 0;
	curl((const char *[]){ "curl", "-sS", "--http2-prior-knowledge", "--data-binary", data, url, NULL }, "900000");
	site.uploaded = 0;
	curl((const char *[]){ "curl", "-sS", "--data-binary", data, url, NULL }, "900000");
	stop();
	start((struct http_server_conf){ .cert_file = cert, .key_file = key, .max_body_bytes = 1000 });
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/tls", site.port);
	curl((const char *[]){ "curl", "-sS", "-i", "--tlsv1.3", "--cacert", cert, url, NULL }, "HTTP/2 200");
	curl((const char *[]){ "curl", "-sS", "-i", "--http1.1", "--cacert", cert, url, NULL }, "HTTP/1.1 200 OK");
	curl((const char *[]){ "curl", "-sS", "-i", "--cacert", cert, "--data-binary", data, url, NULL }, "HTTP/2 413");
	/* Our own client over TLS. */
	struct http_client_conf cc = { .ca_file = cert };
	struct http_client *c;
	assert_int_equal(http_client_new(site.loop, &cc, &c, NULL), 0);
	struct result r = { 0 };
	struct http_call_conf hc = { .method = "GET", .url = url, .on_done = on_done, .arg = &r };
	assert_int_equal(http_call_start(c, &hc, NULL, NULL), 0);
	assert_true(wait_for(site.loop, r.done));
	assert_int_equal(r.status, 200);
	buf_release(&r.body);
	http_client_free(c);
	stop();
	unlink(cert);
	unlink(key);
	unlink(big);
}

static void urls_and_queries(void **state)
{
	struct url u;
	assert_int_equal(url_parse(STR("https://[::1]:8443/a?b#c"), &u, NULL), 0);
	assert_true(u.tls && u.port == 8443 && str_eqz(u.host, "::1") && str_eqz(u.target, "/a?b"));
	assert_int_equal(url_parse(STR("http://h"), &u, NULL), 0);
	assert_true(!u.tls && u.port == 80 && u.target.n == 0);
	static const char *const bad[] = { "", "h", "http://", "http://:80", "http://h:0", "http://h:65536", "http://h:x",
		"http://u@h/", "ftp://h/", "http://h/a b", "http://[::1", "http://[::1]x", "http://[unix:/tmp/s]/",
		"http://[host]/" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(url_parse(str_of(bad[i]), &u, NULL), HCP_EPARSE);
	struct buf b;
	buf_init(&b, 0);
	assert_int_equal(query_get(STR("a=1&&b=x%20y+z&c"), "b", &b), 0);
	assert_true(str_eqz(buf_str(&b), "x y z"));
	buf_clear(&b);
	assert_int_equal(query_get(STR("a=1&c"), "c", &b), 0);
	assert_int_equal(b.n, 0);
	assert_int_equal(query_get(STR("a=1"), "z", &b), HCP_ENOTFOUND);
	assert_int_equal(query_get(STR("a=%4"), "a", &b), HCP_EPARSE);
	assert_int_equal(query_get(STR("a=%00"), "a", &b), HCP_EPARSE);
	buf_clear(&b);
	url_encode(&b, STR("a/ü~"));
	assert_true(str_eqz(buf_str(&b), "a%2F%C3%BC~"));
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_have_the_right_form), cmocka_unit_test(malformed_input_is_named),
		cmocka_unit_test(pipelined_answers_keep_their_order), cmocka_unit_test(slow_clients_are_timed_out),
		cmocka_unit_test(uploads_of_one_connection_are_timed_one_by_one),
		cmocka_unit_test(clients_that_leave_are_noticed), cmocka_unit_test(draining_lets_requests_end),
		cmocka_unit_test(client_calls),
		cmocka_unit_test(ten_thousand_calls_leak_nothing), cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(curl_and_nghttp_agree), cmocka_unit_test(urls_and_queries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
