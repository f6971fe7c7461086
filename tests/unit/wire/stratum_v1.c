#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "base/hex.h"
#include "wire/stratum_v1.h"

static struct err err;

static void sha256d(const void *p, size_t n, uint8_t ret[32])
{
	uint8_t first[32];
	SHA256(p, n, first);
	SHA256(first, 32, ret);
}

static struct stratum_msg parse(const char *line)
{
	static struct stratum_msg m;
	if (stratum_parse(str_of(line), &m, &err))
		fail_msg("%s: %s %s", line, err.field, err.text);
	return m;
}

static void refused(const char *line, int code, const char *field, const char *text)
{
	struct stratum_msg m;
	assert_int_equal(stratum_parse(str_of(line), &m, &err), code);
	assert_string_equal(err.field, field);
	assert_string_equal(err.text, text);
}

static struct stratum_bytes bytes_of(const char *hex)
{
	struct stratum_bytes b = { .n = (uint8_t)(strlen(hex) / 2) };
	assert_int_equal(hex_decode(b.p, b.n, str_of(hex)), 0);
	return b;
}

/*
 * Blocks 0 and 170 of the main chain, their coinbases cut as a pool would cut them. Block 170 has a second
 * transaction and a previous block, so branch and word order are proven by its hash.
 */
static void headers_of_real_blocks(void **state)
{
	static const struct {
		const char *notify, *extranonce1, *extranonce2, *hash;
		uint32_t nonce;
	} blocks[] = {
		{ "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"b0\","
			"\"0000000000000000000000000000000000000000000000000000000000000000\",\""
			"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ff"
			"\",\""
			"652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e"
			"64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a671"
			"30b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6b"
			"f11d5fac00000000"
			"\","
			"[],\"00000001\",\"1d00ffff\",\"495fab29\",true]}",
			"ff001d01", "04455468", "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", 0x7c2bac1d },
		{ "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"b170\","
			"\"0a84bd55d08a7978683f85da183d4f97dbd12b3e1f2c846a2a22cfee00000000\",\""
			"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff0704"
			"\",\""
			"02ffffffff0100f2052a01000000434104d46c4968bde02899d2aa0963367c7a6ce34eec332b32e42e5f3407e052d64a"
			"c625da6f0718e7b302140434bd725706957c092db53805b821a85b23a7ac61725bac00000000"
			"\","
			"[\"169e1e83e930853391bc6f35f605c6754cfead57cf8387639d3b4096c54f18f4\"],"
			"\"00000001\",\"1d00ffff\",\"496ab951\",false]}",
			"ffff", "001d01", "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee", 1889418792 },
	};
	for (int i = 0; i < 2; i++) {
		struct stratum_msg m = parse(blocks[i].notify);
		assert_int_equal(m.method, STRATUM_NOTIFY);
		assert_int_equal(m.job.clean, i == 0);
		struct stratum_bytes e1 = bytes_of(blocks[i].extranonce1), e2 = bytes_of(blocks[i].extranonce2);
		uint8_t header[80], hash[32], display[32];
		stratum_job_header(&m.job, &e1, &e2, stratum_version(m.job.version, STRATUM_VERSION_MASK, 0), m.job.ntime,
			blocks[i].nonce, sha256d, header);
		sha256d(header, 80, hash);
		for (int k = 0; k < 32; k++)
			display[k] = hash[31 - k];
		char text[65];
		assert_string_equal(hex_encode(text, display, 32), blocks[i].hash);

		/* What we write is what we read. */
		struct buf b;
		buf_init(&b, 0);
		stratum_write_notify(&b, &m.job);
		assert_int_equal(b.data[b.n - 1], '\n');
		b.data[b.n - 1] = '\0';
		assert_string_equal(b.data, blocks[i].notify);
		buf_release(&b);
	}
}

static void requests_of_miners(void **state)
{
	struct stratum_msg m = parse("{\"id\": 1, \"method\": \"mining.configure\", \"params\": [[\"minimum-difficulty\", "
		"\"version-rolling\",\"other\"], {\"minimum-difficulty.value\": 2048, \"version-rolling.mask\": \"1fffe000\", "
		"\"version-rolling.min-bit-count\": 2, \"other.x\":[]}]}\r");
	assert_int_equal(m.kind, STRATUM_REQUEST);
	assert_int_equal(m.method, STRATUM_CONFIGURE);
	assert_true(m.configure.version_rolling && m.configure.minimum_difficulty && !m.configure.subscribe_extranonce);
	assert_true(m.configure.mask == 0x1fffe000 && m.configure.min_bit_count == 2);
	assert_true(m.configure.difficulty_min == 2048);

	m = parse("{\"params\":[\"cgminer\\/4.9\",null],\"method\":\"mining.subscribe\",\"id\":\"a1\"}");
	assert_int_equal(m.method, STRATUM_SUBSCRIBE);
	assert_string_equal(m.subscribe.agent, "cgminer/4.9");
	assert_string_equal(m.subscribe.session, "");
	assert_true(str_eq(m.id, STR("\"a1\"")));

	m = parse("{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"acc.rig\\u0031\"]}");
	assert_string_equal(m.authorize.worker, "acc.rig1");
	assert_string_equal(m.authorize.password, "");

	m = parse("{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"w\",\"job\",\"0000000a\",\"5a0c4c69\",\"b2957c02\","
		"\"00002000\"],\"worker\":\"x\"}");
	assert_string_equal(m.submit.job_id, "job");
	assert_int_equal(m.submit.extranonce2.n, 4);
	assert_int_equal(m.submit.extranonce2.p[3], 10);
	assert_true(m.submit.ntime == 0x5a0c4c69 && m.submit.nonce == 0xb2957c02);
	assert_true(m.submit.has_version_bits && m.submit.version_bits == 0x2000);

	m = parse("{\"id\":5,\"method\":\"mining.extranonce.subscribe\"}");
	assert_int_equal(m.method, STRATUM_EXTRANONCE_SUBSCRIBE);
	m = parse("{\"id\":5,\"method\":\"mining.suggest_difficulty\",\"params\":[0.5]}");
	assert_true(m.difficulty == 0.5);
	m = parse("{\"id\":5,\"method\":\"mining.ping\",\"params\":[]}");
	assert_int_equal(m.method, STRATUM_PING);
	m = parse("{\"id\":5,\"method\":\"mining.multi_version\",\"params\":{\"x\":1}}");
	assert_int_equal(m.method, STRATUM_UNKNOWN);
	assert_true(str_eq(m.name, STR("mining.multi_version")));
}

static void notifications_of_pools(void **state)
{
	struct stratum_msg m = parse("{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[8192.0]}");
	assert_int_equal(m.kind, STRATUM_NOTIFICATION);
	assert_true(m.difficulty == 8192);
	m = parse("{\"method\":\"mining.set_version_mask\",\"params\":[\"1fffe000\"]}");
	assert_true(m.mask == STRATUM_VERSION_MASK);
	m = parse("{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"08000002\",4]}");
	assert_int_equal(m.extranonce.extranonce1.n, 4);
	assert_int_equal(m.extranonce.extranonce2_size, 4);
	m = parse("{\"id\":null,\"method\":\"client.reconnect\",\"params\":[\"pool.example\",\"3333\",10]}");
	assert_string_equal(m.reconnect.host, "pool.example");
	assert_int_equal(m.reconnect.port, 3333);
	assert_int_equal(m.reconnect.wait_s, 10);
	m = parse("{\"id\":null,\"method\":\"client.reconnect\",\"params\":[]}");
	assert_int_equal(m.method, STRATUM_RECONNECT);
	assert_string_equal(m.reconnect.host, "");
	m = parse("{\"id\":7,\"method\":\"client.get_version\",\"params\":null}");
	assert_int_equal(m.method, STRATUM_GET_VERSION);
	m = parse("{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"maintenance\"]}");
	assert_string_equal(m.message, "maintenance");
}

static void responses(void **state)
{
	struct stratum_extranonce e;
	struct stratum_configure c;
	bool ok;
	struct stratum_msg m = parse("{\"id\":1,\"result\":[[[\"mining.set_difficulty\",\"b4b6693b72a50c71\"],"
		"[\"mining.notify\",\"ae6812eb4cd7735a302a8a9dd95cf71f\"]],\"08000002\",4],\"error\":null}");
	assert_int_equal(m.kind, STRATUM_RESPONSE);
	assert_false(m.response.failed);
	assert_int_equal(stratum_read_subscribe(m.response.result, &e, &err), 0);
	assert_string_equal(e.session, "ae6812eb4cd7735a302a8a9dd95cf71f");
	assert_int_equal(e.extranonce1.n, 4);
	assert_int_equal(e.extranonce2_size, 4);
	assert_int_equal(stratum_read_subscribe(STR("[null,\"\",8]"), &e, &err), 0);
	assert_int_equal(stratum_read_subscribe(STR("[[],\"08\",0]"), &e, &err), HCP_EINVAL);
	assert_string_equal(err.field, "result[2]");
	assert_int_equal(stratum_read_subscribe(STR("[]"), &e, &err), HCP_EINVAL);

	m = parse("{\"error\":null,\"id\":2,\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"18000000\","
		"\"minimum-difficulty\":\"too low\"}}");
	assert_int_equal(stratum_read_configure(m.response.result, &c, &err), 0);
	assert_true(c.version_rolling && c.mask == 0x18000000 && !c.minimum_difficulty);
	assert_int_equal(stratum_read_configure(STR("true"), &c, &err), HCP_EPARSE);

	m = parse("{\"id\":3,\"result\":true}");
	assert_int_equal(stratum_read_bool(m.response.result, &ok, &err), 0);
	assert_true(ok);

	static const struct {
		const char *line, *text;
		int code;
	} errors[] = {
		{ "{\"id\":4,\"result\":null,\"error\":[21,\"Job not found\",null]}", "Job not found", 21 },
		{ "{\"id\":4,\"result\":false,\"error\":[23,\"low\"]}", "low", 23 },
		{ "{\"id\":4,\"error\":[22]}", "Duplicate share", 22 },
		{ "{\"id\":4,\"error\":[]}", "Other/Unknown", 20 },
		{ "{\"id\":4,\"error\":\"banned\"}", "banned", 20 },
		{ "{\"id\":4,\"error\":{\"code\":-2,\"message\":\"x\"}}", "x", -2 },
	};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		m = parse(errors[i].line);
		assert_true(m.response.failed);
		assert_int_equal(m.response.code, errors[i].code);
		assert_string_equal(m.response.text, errors[i].text);
	}
}

static void refusals(void **state)
{
	refused("", HCP_EPARSE, "", "JSON: line 1, column 1: an object expected");
	refused("{\"id\":1}", HCP_EPROTO, "", "neither a method nor a result nor an error");
	refused("{\"id\":[1],\"result\":1}", HCP_EPROTO, "id", "must be a number or string of at most 64 bytes");
	refused("{\"id\":1,\"id\":2,\"result\":1}", HCP_EPROTO, "id", "is given twice");
	refused("{\"id\":1,\"method\":7}", HCP_EPROTO, "method", "must be a string");
	refused("{\"id\":1,\"method\":\"mining.submit\",\"params\":{}}", HCP_EPROTO, "params",
		"must be an array, not an object");
	refused("{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"w\",\"j\"]}", HCP_EINVAL, "params[2]", "is missing");
	refused("{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"w\",\"j\",\"0\",\"1\",\"2\"]}", HCP_EINVAL,
		"params[2]", "must be an even number of hex digits");
	refused("{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"w\",\"j\",\"00\",\"1\",\"123456789\"]}", HCP_EINVAL,
		"params[4]", "must be 1 to 8 hex digits");
	refused("{\"method\":\"mining.set_difficulty\",\"params\":[0]}", HCP_EINVAL, "params[0]",
		"must be a number above 0");
	refused("{\"method\":\"mining.set_difficulty\",\"params\":[\"1\"]}", HCP_EINVAL, "params[0]", "must be a number");
	refused("{\"method\":\"mining.notify\",\"params\":[\"j\",\"00\"]}", HCP_EINVAL, "params[1]",
		"must be 64 hex digits");
	refused("{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"\"]}", HCP_EINVAL, "params[0]",
		"must not be empty");
	char line[STRATUM_LINE_MAX + 2];
	memset(line, ' ', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	refused(line, HCP_ELIMIT, "", "a line of 16385 bytes; at most 16384 are allowed");

	/* 32 branches pass, 33 do not. */
	struct buf b;
	char hash[65];
	memset(hash, 'a', 64);
	hash[64] = '\0';
	buf_init(&b, 0);
	for (int n = 32; n <= 33; n++) {
		buf_clear(&b);
		buf_printf(&b, "{\"method\":\"mining.notify\",\"params\":[\"j\",\"%s\",\"00\",\"00\",[", hash);
		for (int i = 0; i < n; i++)
			buf_printf(&b, "%s\"%s\"", i ? "," : "", hash);
		buf_addz(&b, "],\"1\",\"2\",\"3\",false]}");
		if (n == 32)
			assert_int_equal(parse(b.data).job.n_branches, 32);
		else
			refused(b.data, HCP_ELIMIT, "params[4]", "has more than 32 branches");
	}
	buf_release(&b);
}

static void assert_line(struct buf *b, const char *want)
{
	struct stratum_msg m;
	assert_false(buf_failed(b));
	assert_string_equal(b->data, want);
	assert_int_equal(stratum_parse((struct str){ b->data, b->n - 1 }, &m, &err), 0);
	buf_clear(b);
}

static void writers(void **state)
{
	struct buf b;
	buf_init(&b, 0);
	struct stratum_configure c = { .version_rolling = true, .mask = STRATUM_VERSION_MASK, .min_bit_count = 2,
		.subscribe_extranonce = true };
	stratum_write_configure(&b, 1, &c);
	assert_line(&b, "{\"id\":1,\"method\":\"mining.configure\",\"params\":[[\"version-rolling\","
		"\"subscribe-extranonce\"],"
		"{\"version-rolling.mask\":\"1fffe000\",\"version-rolling.min-bit-count\":2}]}\n");
	struct stratum_configure none = { 0 };
	stratum_write_configure_result(&b, STR("1"), &c, &none);
	assert_line(&b, "{\"id\":1,\"result\":{\"version-rolling\":false,\"subscribe-extranonce\":false},"
		"\"error\":null}\n");
	stratum_write_configure_result(&b, STR("1"), &c, &c);
	assert_line(&b, "{\"id\":1,\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\","
		"\"subscribe-extranonce\":true},\"error\":null}\n");
	stratum_write_subscribe(&b, 2, "hcp/0.1", "s\"1");
	assert_line(&b, "{\"id\":2,\"method\":\"mining.subscribe\",\"params\":[\"hcp/0.1\",\"s\\\"1\"]}\n");
	struct stratum_extranonce e = { .extranonce2_size = 4, .session = "s1" };
	e.extranonce1 = bytes_of("08000002");
	stratum_write_subscribe_result(&b, STR("\"x\""), &e);
	assert_line(&b, "{\"id\":\"x\",\"result\":[[[\"mining.set_difficulty\",\"s1\"],[\"mining.notify\",\"s1\"]],"
		"\"08000002\",4],\"error\":null}\n");
	stratum_write_set_extranonce(&b, &e);
	assert_line(&b, "{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"08000002\",4]}\n");
	stratum_write_extranonce_subscribe(&b, 3);
	assert_line(&b, "{\"id\":3,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n");
	stratum_write_authorize(&b, 4, "acc.rig", "x");
	assert_line(&b, "{\"id\":4,\"method\":\"mining.authorize\",\"params\":[\"acc.rig\",\"x\"]}\n");
	struct stratum_submit s = { .worker = "acc.rig", .job_id = "j", .ntime = 0x5a0c4c69, .nonce = 1,
		.has_version_bits = true, .version_bits = 0x2000 };
	s.extranonce2 = bytes_of("0a0b");
	stratum_write_submit(&b, 5, &s);
	assert_line(&b, "{\"id\":5,\"method\":\"mining.submit\",\"params\":[\"acc.rig\",\"j\",\"0a0b\",\"5a0c4c69\","
		"\"00000001\",\"00002000\"]}\n");
	stratum_write_set_difficulty(&b, 65536);
	assert_line(&b, "{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[65536]}\n");
	stratum_write_suggest_difficulty(&b, 6, 0.25);
	assert_line(&b, "{\"id\":6,\"method\":\"mining.suggest_difficulty\",\"params\":[0.25]}\n");
	stratum_write_set_version_mask(&b, 0x1fffe000);
	assert_line(&b, "{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"1fffe000\"]}\n");
	stratum_write_reconnect(&b, "h", 1, 2);
	assert_line(&b, "{\"id\":null,\"method\":\"client.reconnect\",\"params\":[\"h\",1,2]}\n");
	stratum_write_reconnect(&b, NULL, 0, 0);
	assert_line(&b, "{\"id\":null,\"method\":\"client.reconnect\",\"params\":[]}\n");
	stratum_write_show_message(&b, "hi");
	assert_line(&b, "{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"hi\"]}\n");
	stratum_write_get_version(&b, 8);
	assert_line(&b, "{\"id\":8,\"method\":\"client.get_version\",\"params\":[]}\n");
	stratum_write_ping(&b, 9);
	assert_line(&b, "{\"id\":9,\"method\":\"mining.ping\",\"params\":[]}\n");
	stratum_write_bool(&b, STR("5"), true);
	assert_line(&b, "{\"id\":5,\"result\":true,\"error\":null}\n");
	stratum_write_string(&b, STR("8"), "hcp/0.1");
	assert_line(&b, "{\"id\":8,\"result\":\"hcp/0.1\",\"error\":null}\n");
	stratum_write_error(&b, STR("5"), STRATUM_E_LOW_DIFFICULTY, NULL);
	assert_line(&b, "{\"id\":5,\"result\":null,\"error\":[23,\"Low difficulty share\",null]}\n");
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_of_real_blocks), cmocka_unit_test(requests_of_miners),
		cmocka_unit_test(notifications_of_pools), cmocka_unit_test(responses), cmocka_unit_test(refusals),
		cmocka_unit_test(writers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
