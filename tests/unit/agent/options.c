#include "agent/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/file.h"

enum { ARGS = 24 };

static int parse(struct options *o, struct err *err, const char *const *args)
{
	char *argv[ARGS + 2] = { (char *)(uintptr_t)"hcp-agent" };
	int n = 1;
	for (; args[n - 1]; n++)
		argv[n] = (char *)(uintptr_t)args[n - 1];
	return options_parse(o, n, argv, err);
}

#define PARSE(o, err, ...) parse(o, err, (const char *const[]){ __VA_ARGS__, NULL })

static void all_options(void **state)
{
	struct options o;
	struct err err;
	char path[] = "/tmp/hcp-token-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "  secret\n", 9), 9);
	close(fd);
	assert_int_equal(PARSE(&o, &err, "--mesh", "[::1]:8443", "--token-file", path, "--pool", "a:1,b.example:65535",
		"--worker", "w.1", "--model", "/m", "--state", "/s", "--listen", "0.0.0.0:80", "--facility", "f",
		"--region", "r", "--node-id", "nd-1", "--threads", "3"), 0);
	assert_string_equal(o.conf.mesh_host, "::1");
	assert_int_equal(o.conf.mesh_port, 8443);
	assert_string_equal(o.conf.token, "secret");
	assert_int_equal(o.conf.n_pools, 2);
	assert_string_equal(o.conf.pools[1].host, "b.example");
	assert_int_equal(o.conf.pools[1].port, 65535);
	assert_string_equal(o.conf.pools[1].worker, "w.1");
	assert_string_equal(o.conf.listen_host, "0.0.0.0");
	assert_int_equal(o.conf.listen_port, 80);
	assert_int_equal(o.conf.threads, 3);
	options_release(&o);
	assert_int_equal(file_write_atomic(path, STR("two\nlines\n"), 0600, NULL), 0);
	assert_int_equal(PARSE(&o, &err, "--mesh", "h:1", "--token-file", path, "--state", "/s", "--pool", "a:1"),
		HCP_EINVAL);
	assert_string_equal(err.field, "token-file");
	options_release(&o);
	unlink(path);
}

static void refuses(void **state)
{
	static const struct {
		const char *args[8];
		const char *field;
	} bad[] = {
		{ { "--no-mesh", "--pool", "a:1" }, "state" },
		{ { "--state", "/s", "--pool", "a:1" }, "mesh" },
		{ { "--state", "/s", "--pool", "a:1", "--no-mesh", "--mesh", "h:1" }, "mesh" },
		{ { "--state", "/s", "--no-mesh" }, "pool" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a" }, "pool" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:0" }, "pool" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:1,," }, "pool" },
		{ { "--state", "/s", "--no-mesh", "--pool", "1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1" }, "pool" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:1", "--threads", "0" }, "threads" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:1", "--linger-ms", "x" }, "linger-ms" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:1", "--listen", "70000" }, "listen" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:1", "--worker", "" }, "worker" },
		{ { "--state", "/s", "--no-mesh", "--pool", "a:1", "more" }, "more" },
		{ { "--what" }, "" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct options o;
		struct err err;
		assert_int_equal(parse(&o, &err, bad[i].args), HCP_EINVAL);
		assert_string_equal(err.field, bad[i].field);
		options_release(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(all_options), cmocka_unit_test(refuses) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
