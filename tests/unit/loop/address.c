#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "loop/address.h"
#include "loop/loop.h"
#include "loop/stream.h"

static void public_and_special_addresses(void **state)
{
	static const char *const open[] = { "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
		"128.0.0.1", "169.253.1.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "192.167.1.1", "198.17.0.1", "198.20.0.1",
		"223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808",
		"2002:0808:0808::1" };
	static const char *const closed[] = { "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255",
		"127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1",
		"192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
		"240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1",
		"2002:c0a8:101::1", "3fff::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1" };
	struct sockaddr_storage a;
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
		assert_int_equal(address_parse(open[i], 80, &a), 0);
		if (!address_is_public((struct sockaddr *)&a))
			fail_msg("%s is public", open[i]);
	}
	for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++) {
		assert_int_equal(address_parse(closed[i], 80, &a), 0);
		if (address_is_public((struct sockaddr *)&a))
			fail_msg("%s is not public", closed[i]);
	}
	const struct sockaddr_un un = { .sun_family = AF_UNIX };
	assert_false(address_is_public((const struct sockaddr *)&un));
}

static void only_whole_addresses_are_addresses(void **state)
{
	static const char *const bad[] = { "", "127.1", "1.2.3", "256.1.1.1", "0x7f.0.0.1", "1.2.3.4 ", "[::1]",
		"fe80::1%lo", "localhost", "::g" };
	struct sockaddr_storage a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(address_parse(bad[i], 80, &a), HCP_EPARSE);
}

struct seen {
	bool closed;
	int code;
};

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
}

static void on_close(struct stream *s, void *arg, int code, const char *why)
{
	struct seen *x = arg;
	x->closed = true;
	x->code = code;
}

static void on_stream(struct listener *l, void *arg, struct stream *s)
{
	fail_msg("a connection came through");
}

/* By its address, and by a name that the resolver makes the same of. */
static void a_public_stream_does_not_connect_to_loopback(void **state)
{
	static const struct stream_ops ops = { .on_data = on_data, .on_close = on_close };
	static const char *const hosts[] = { "127.0.0.1", "127.1", "localhost", "::1" };
	struct loop *loop;
	struct listener *l;
	assert_int_equal(loop_new(NULL, &loop, NULL), 0);
	assert_int_equal(listener_new(loop, &(struct listener_conf){ .on_stream = on_stream }, &l, NULL), 0);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct seen seen = { false };
		struct stream *s;
		const struct stream_conf conf = { .ops = &ops, .arg = &seen, .public_only = true };
		assert_int_equal(stream_connect(loop, hosts[i], listener_port(l), &conf, &s, NULL), 0);
		for (int turn = 0; turn < 500 && !seen.closed; turn++)
			loop_turn(loop, 20);
		assert_true(seen.closed);
		assert_int_equal(seen.code, HCP_EPERM);
	}
	struct stream *s;
	struct err err = { 0 };
	const struct stream_conf conf = { .ops = &ops, .public_only = true };
	assert_int_equal(stream_connect(loop, "unix:/tmp/none", 0, &conf, &s, &err), HCP_EPERM);
	assert_string_equal(err.field, "host");
	listener_free(l);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(public_and_special_addresses),
		cmocka_unit_test(only_whole_addresses_are_addresses),
		cmocka_unit_test(a_public_stream_does_not_connect_to_loopback),
	};
	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
