#include "net.h"

#include "http/http_server.h"
#include "http/ws.h"

struct peer {
	struct ws *ws; /* NULL once closed */
	int opened, messages, closed, code, drained;
	size_t bytes;
	struct buf last;
	enum ws_opcode opcode;
};

static struct {
	struct loop *loop;
	struct http_server *server;
	uint16_t port;
	struct peer side[64]; /* the server's ends, in order of arrival */
	int n;
	struct ws_conf conf;
	int refused;
} site;

static void peer_open(struct ws *ws, void *arg)
{
	((struct peer *)arg)->opened++;
}

static void peer_message(struct ws *ws, void *arg, enum ws_opcode opcode, struct str msg)
{
	struct peer *p = arg;
	p->messages++;
	p->bytes += msg.n;
	p->opcode = opcode;
	buf_clear(&p->last);
	buf_adds(&p->last, msg);
}

static void peer_close(struct ws *ws, void *arg, int code, struct str reason)
{
	struct peer *p = arg;
	p->closed++;
	p->code = code;
	p->ws = NULL;
}

static const struct ws_callbacks client_cb = {
	.on_open = peer_open, .on_message = peer_message, .on_close = peer_close
};

static void echo_message(struct ws *ws, void *arg, enum ws_opcode opcode, struct str msg)
{
	peer_message(ws, arg, opcode, msg);
	if (str_eqz(msg, "close me"))
		ws_close(ws, 4001, "as you wish");
	else
		assert_int_equal(ws_send(ws, opcode, msg), 0);
}

static const struct ws_callbacks echo_cb = { .on_message = echo_message, .on_close = peer_close };

static void handle(struct http_req *req, void *arg)
{
	struct err err;
	struct peer *p = &site.side[site.n];
	*p = (struct peer){ 0 };
	if (ws_accept(req, &site.conf, &echo_cb, p, &p->ws, &err) < 0) {
		site.refused++;
		http_reply_problem(req, 400, err_name(err.code), str_of(err.text));
		return;
	}
	site.n++;
}

static void start(struct ws_conf conf)
{
	memset(&site, 0, sizeof(site));
	site.conf = conf;
	assert_int_equal(loop_new(NULL, &site.loop, NULL), 0);
	struct http_server_conf hc = { 0 };
	assert_int_equal(http_server_new(site.loop, &hc, handle, NULL, &site.server, NULL), 0);
	site.port = http_server_port(site.server);
}

static void stop(void)
{
	http_server_free(site.server);
	loop_free(site.loop);
	for (int i = 0; i < site.n; i++)
		buf_release(&site.side[i].last);
}

static void connect_peer(struct peer *p, struct ws_conf conf)
{
	*p = (struct peer){ 0 };
	struct ws_client_conf cc = { .host = "127.0.0.1", .port = site.port, .path = "/live?x", .ws = conf };
	assert_int_equal(ws_connect(site.loop, &cc, &client_cb, p, &p->ws, NULL), 0);
	assert_true(wait_for(site.loop, p->opened || p->closed));
}

static void messages_of_all_sizes_come_back(void **state)
{
	int64_t live = mem_live();
	start((struct ws_conf){ .max_message_bytes = 300000 });
	struct peer p;
	connect_peer(&p, (struct ws_conf){ 0 });
	static char data[300000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 >> 2);
	static const size_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536, 300000 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(ws_send(p.ws, WS_BINARY, (struct str){ data, sizes[i] }), 0);
		assert_true(wait_for(site.loop, p.messages == (int)i + 1));
		assert_int_equal(p.last.n, sizes[i]);
		assert_int_equal(p.opcode, WS_BINARY);
		if (sizes[i])
			assert_memory_equal(p.last.data, data, sizes[i]);
	}
	assert_int_equal(ws_send(p.ws, WS_TEXT, STR("close me")), 0);
	assert_true(wait_for(site.loop, p.closed && site.side[0].closed));
	assert_int_equal(p.code, 4001);
	/* Too large a message: 1009. Text that is not UTF-8: 1007. */
	buf_release(&p.last);
	connect_peer(&p, (struct ws_conf){ 0 });
	static char large[300001];
	assert_int_equal(ws_send(p.ws, WS_BINARY, (struct str){ large, sizeof(large) }), 0);
	assert_true(wait_for(site.loop, p.closed));
	assert_int_equal(p.code, WS_TOO_BIG);
	connect_peer(&p, (struct ws_conf){ 0 });
	assert_int_equal(ws_send(p.ws, WS_TEXT, STR("\xff\xfe")), 0);
	assert_true(wait_for(site.loop, p.closed));
	assert_int_equal(p.code, WS_BAD_DATA);
	stop();
	assert_int_equal(mem_live(), live);
}

static void one_frame_serves_many_and_the_slow_is_cut(void **state)
{
	enum { N = 20, ROUNDS = 500 };
	start((struct ws_conf){ .max_queue_bytes = 64 << 10 });
	static struct peer p[N];
	for (int i = 0; i < N; i++)
		connect_peer(&p[i], (struct ws_conf){ 0 });
	static char text[200];
	memset(text, 'a', sizeof(text));
	for (int k = 0; k < ROUNDS; k++) {
		struct ws_frame *f = ws_frame_new(WS_TEXT, (struct str){ text, sizeof(text) });
		for (int i = 0; i < N; i++)
			assert_int_equal(ws_send_frame(site.side[i].ws, f), 0);
		ws_frame_unref(f);
		loop_turn(site.loop, 0);
	}
	for (int i = 0; i < N; i++) {
		assert_true(wait_for(site.loop, p[i].messages == ROUNDS));
		assert_int_equal(p[i].bytes, ROUNDS * sizeof(text));
	}
	/* A client that reads nothing is closed with 1013; the others do not feel it. */
	struct raw r;
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, "GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
	assert_true(wait_for(site.loop, raw_has(&r, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))); /* RFC 6455 1.3 */
	stream_pause(r.s);
	static char block[32768];
	struct peer *slow = &site.side[N];
	int rc = 0;
	for (int k = 0; k < 2000 && rc == 0; k++) {
		rc = ws_send(slow->ws, WS_BINARY, (struct str){ block, sizeof(block) });
		loop_turn(site.loop, 0);
	}
	assert_int_equal(rc, HCP_ELIMIT);
	assert_int_equal(ws_send(slow->ws, WS_TEXT, STR("x")), HCP_ECLOSED);
	raw_end(site.loop, &r);
	assert_true(wait_for(site.loop, slow->closed));
	assert_int_equal(slow->code, WS_TRY_LATER);
	assert_int_equal(ws_send(p[0].ws, WS_TEXT, STR("still")), 0);
	assert_true(wait_for(site.loop, p[0].messages == ROUNDS + 1));
	for (int i = 0; i < N; i++) {
		ws_close(p[i].ws, WS_NORMAL, "bye");
		assert_int_equal(ws_send(p[i].ws, WS_TEXT, STR("x")), HCP_ECLOSED);
	}
	for (int i = 0; i < N; i++) {
		assert_true(wait_for(site.loop, p[i].closed && site.side[i].closed));
		assert_int_equal(p[i].code, WS_NORMAL);
		buf_release(&p[i].last);
	}
	stop();
}

static void bad_frames_and_silent_peers_end(void **state)
{
	start((struct ws_conf){ .ping_ms = 100 });
#define UPGRADE "GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
	struct raw r;
	/* An unmasked frame from a client, sent together with the upgrade itself: 1002. */
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, UPGRADE "13\r\n\r\n\x81\x01x");
	assert_true(wait_for(site.loop, raw_has(&r, "\x88\x02\x03\xea")));
	assert_true(wait_for(site.loop, site.side[0].closed));
	raw_end(site.loop, &r);
	/* A masked ping and a text sent at once with the upgrade: pong and echo. */
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, UPGRADE "13\r\n\r\n\x89\x81\x01\x01\x01\x01y\x81\x81\x01\x01\x01\x01i");
	assert_true(wait_for(site.loop, raw_has(&r, "\x8a\x01x") && raw_has(&r, "\x81\x01h")));
	/* It answers no pings. */
	assert_true(wait_for(site.loop, site.side[1].closed));
	assert_int_equal(site.side[1].code, WS_ABNORMAL);
	raw_end(site.loop, &r);
	/* Handshakes that are not valid are answered as requests. */
	raw_connect(site.loop, &r, site.port);
	raw_send(&r, UPGRADE "8\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(wait_for(site.loop, site.refused == 2));
	assert_true(wait_for(site.loop, raw_has(&r, "must be 13")));
	raw_end(site.loop, &r);
	/* A server that is no WebSocket server. */
	struct peer p = { 0 };
	struct ws_client_conf cc = { .host = "127.0.0.1", .port = 1, .path = "/" };
	assert_int_equal(ws_connect(site.loop, &cc, &client_cb, &p, &p.ws, NULL), 0);
	assert_true(wait_for(site.loop, p.closed));
	assert_int_equal(p.code, WS_ABNORMAL);
	stop();
}

static void every_allocation_may_fail(void **state)
{
	int64_t live = mem_live();
	uint64_t most = 0;
	for (uint64_t n = 1; n < 80; n++) {
		start((struct ws_conf){ 0 });
		struct peer p = { 0 };
		struct ws_client_conf cc = { .host = "127.0.0.1", .port = site.port, .path = "/", .timeout_ms = 300 };
		mem_fail_after(n, 0);
		int rc = ws_connect(site.loop, &cc, &client_cb, &p, &p.ws, NULL);
		if (rc == 0) {
			assert_true(wait_for(site.loop, p.opened || p.closed));
			if (p.ws && ws_send(p.ws, WS_TEXT, STR("hello")) == 0)
				assert_true(wait_for(site.loop, p.messages || p.closed));
		} else {
			assert_int_equal(rc, HCP_ENOMEM);
		}
		most = mem_fail_hits() ? n : most;
		mem_fail_after(0, 0);
		buf_release(&p.last);
		p = (struct peer){ 0 };
		connect_peer(&p, (struct ws_conf){ 0 });
		assert_int_equal(ws_send(p.ws, WS_TEXT, STR("again")), 0);
		assert_true(wait_for(site.loop, p.messages));
		stop();
		buf_release(&p.last);
		assert_int_equal(mem_live(), live);
	}
	assert_true(most > 5 && most < 79);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_all_sizes_come_back), cmocka_unit_test(one_frame_serves_many_and_the_slow_is_cut),
		cmocka_unit_test(bad_frames_and_silent_peers_end), cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
