/* Certificates: whom they are for, and what the authority issues, renews and refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "os/file.h"
#include "pki/authority.h"

enum { DAY_S = 86400 };
static const int64_t NOW = 1800000000; /* 2027-01-15 */

static char dir[64];

static int make_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/hcp-pki-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_name(void *arg, const char *name)
{
	char path[256];
	return file_join(path, sizeof(path), dir, name) < 0 ? -1 : file_remove(path, NULL);
}

static int remove_dir(void **state)
{
	file_list(dir, "", remove_name, NULL, NULL);
	return rmdir(dir);
}

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned turn;
	char *p = path[turn++ % 4];
	assert_int_equal(file_join(p, 256, dir, name), 0);
	return p;
}

static X509 *load(const char *name)
{
	FILE *f = fopen(at(name), "r");
	assert_non_null(f);
	X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	assert_non_null(x);
	return x;
}

/* Would the other side of a connection take it at this time? purpose: X509_PURPOSE_… */
static int verify(const char *name, int purpose, int64_t at_s)
{
	X509 *ca = load("ca.crt"), *x = load(name);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_add_cert(store, ca);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_STORE_CTX_init(ctx, store, x, NULL);
	X509_STORE_CTX_set_time(ctx, 0, at_s);
	X509_STORE_CTX_set_purpose(ctx, purpose);
	X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	int rc = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(ca);
	X509_free(x);
	return rc;
}

static struct authority *authority(void)
{
	struct authority *a;
	struct err err = { 0 };
	assert_int_equal(authority_init(dir, "site", 3650, NOW, false, &err), 0);
	assert_int_equal(authority_open(dir, NOW, &a, &err), 0);
	return a;
}

static void issues_for_each_role(void **state)
{
	static const char *const nodes[] = { "gpu-01", "rack-7.*" }, *const hosts[] = { "hcp.example.com", "10.0.0.5",
		"fd00::1" };
	struct authority *a = authority();
	struct err err = { 0 };
	struct identity id;
	struct stat st;
	char text[128];
	struct authority_request node = {
		.name = "gpu-01", .role = IDENTITY_NODE, .nodes = nodes, .n_nodes = 2, .days = 30
	};
	assert_int_equal(authority_issue(a, &node, NOW, false, &err), 0);
	assert_int_equal(identity_read(at("gpu-01.crt"), &id, &err), 0);
	assert_string_equal(id.name, "gpu-01");
	assert_true(
		identity_is(&id, IDENTITY_NODE) && !identity_is(&id, IDENTITY_SERVICE) && !identity_is(&id, IDENTITY_FEED));
	assert_true(id.not_before_s == NOW - AUTHORITY_SKEW_S && id.not_after_s == NOW + 30 * DAY_S);
	assert_true(
		identity_is_node(&id, "gpu-01") && identity_is_node(&id, "rack-7.x") && identity_is_node(&id, "rack-7."));
	assert_false(identity_is_node(&id, "gpu-011") || identity_is_node(&id, "gpu-0") ||
				 identity_is_node(&id, "rack-7") || identity_is_node(&id, "") || identity_is_node(NULL, "gpu-01"));
	identity_text(&id, text, sizeof(text));
	assert_string_equal(text, "node gpu-01, node rack-7.*");
	assert_true(stat(at("gpu-01.key"), &st) == 0 && (st.st_mode & 0777) == 0600);
	assert_true(stat(at("ca.key"), &st) == 0 && (st.st_mode & 0777) == 0600);
	/* A node's is no server's; a service's is both. */
	assert_int_equal(verify("gpu-01.crt", X509_PURPOSE_SSL_CLIENT, NOW), X509_V_OK);
	assert_int_equal(verify("gpu-01.crt", X509_PURPOSE_SSL_SERVER, NOW), X509_V_ERR_INVALID_PURPOSE);
	assert_int_equal(verify("gpu-01.crt", X509_PURPOSE_SSL_CLIENT, NOW + 31 * DAY_S), X509_V_ERR_CERT_HAS_EXPIRED);
	assert_int_equal(verify("gpu-01.crt", X509_PURPOSE_SSL_CLIENT, NOW - 60), X509_V_OK);
	struct authority_request service = { .name = "hcpd", .role = IDENTITY_SERVICE, .hosts = hosts, .n_hosts = 3 };
	assert_int_equal(authority_issue(a, &service, NOW, false, &err), 0);
	assert_int_equal(verify("hcpd.crt", X509_PURPOSE_SSL_CLIENT, NOW), X509_V_OK);
	assert_int_equal(verify("hcpd.crt", X509_PURPOSE_SSL_SERVER, NOW), X509_V_OK);
	X509 *x = load("hcpd.crt");
	assert_true(X509_check_host(x, "hcp.example.com", 0, 0, NULL) == 1 && X509_check_host(x, "hcpd", 0, 0, NULL) == 0);
	assert_true(X509_check_ip_asc(x, "10.0.0.5", 0) == 1 && X509_check_ip_asc(x, "fd00::1", 0) == 1 &&
				X509_check_ip_asc(x, "10.0.0.6", 0) == 0);
	X509_free(x);
	struct authority_request feed = { .name = "market", .role = IDENTITY_FEED };
	assert_int_equal(authority_issue(a, &feed, NOW, false, &err), 0);
	assert_int_equal(identity_read(at("market.crt"), &id, &err), 0);
	assert_int_equal(id.roles, 1U << IDENTITY_FEED);
	assert_int_equal(id.not_after_s, NOW + AUTHORITY_CERT_DAYS * DAY_S);
	authority_close(a);
}

static void refuses_what_makes_no_sense(void **state)
{
	static const char *const one[] = { "n" }, *const inner[] = { "a*b" }, *const comma[] = { "a,URI:hcp:service" },
							 *const uri[] = { "a", "b,URI:hcp:node/x" };
	struct authority *a = authority();
	struct err err;
	const struct {
		struct authority_request q;
		int code;
		const char *field;
	} cases[] = {
		{ { .name = "", .nodes = one, .n_nodes = 1, .role = IDENTITY_NODE }, HCP_EINVAL, "name" },
		{ { .name = "../x", .nodes = one, .n_nodes = 1, .role = IDENTITY_NODE }, HCP_EINVAL, "name" },
		{ { .name = ".x", .nodes = one, .n_nodes = 1, .role = IDENTITY_NODE }, HCP_EINVAL, "name" },
		{ { .name = "ca", .nodes = one, .n_nodes = 1, .role = IDENTITY_NODE }, HCP_EINVAL, "name" },
		{ { .name = "x", .role = IDENTITY_NODE }, HCP_EINVAL, "nodes" },
		{ { .name = "x", .nodes = inner, .n_nodes = 1, .role = IDENTITY_NODE }, HCP_EINVAL, "nodes" },
		{ { .name = "x", .nodes = comma, .n_nodes = 1, .role = IDENTITY_NODE }, HCP_EINVAL, "nodes" },
		{ { .name = "x", .nodes = one, .n_nodes = 5, .role = IDENTITY_NODE }, HCP_EINVAL, "nodes" },
		{ { .name = "x", .nodes = one, .n_nodes = 1, .role = IDENTITY_FEED }, HCP_EINVAL, "nodes" },
		{ { .name = "x", .role = IDENTITY_SERVICE }, HCP_EINVAL, "hosts" },
		{ { .name = "x", .hosts = uri, .n_hosts = 2, .role = IDENTITY_SERVICE }, HCP_EINVAL, "hosts" },
		{ { .name = "x", .hosts = one, .n_hosts = 1, .role = IDENTITY_FEED }, HCP_EINVAL, "hosts" },
		{ { .name = "x", .role = IDENTITY_FEED, .days = 3651 }, HCP_ERANGE, "days" },
		{ { .name = "x", .role = IDENTITY_FEED, .days = -1 }, HCP_ERANGE, "days" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(authority_issue(a, &cases[i].q, NOW, true, &err), cases[i].code);
		assert_string_equal(err.field, cases[i].field);
	}
	assert_false(file_exists(at("x.crt")) || file_exists(at("x.key")));
	authority_close(a);
	assert_int_equal(authority_init(dir, "", 1, NOW, true, &err), HCP_EINVAL);
	assert_int_equal(authority_init(dir, "site", 0, NOW, true, &err), HCP_ERANGE);
}

static struct buf contents(const char *name)
{
	struct buf b;
	assert_int_equal(file_read(at(name), 1 << 16, &b, NULL), 0);
	return b;
}

static void nothing_is_replaced_untold(void **state)
{
	struct authority *a = authority();
	struct authority_request feed = { .name = "market", .role = IDENTITY_FEED };
	struct err err;
	assert_int_equal(authority_init(dir, "site", 3650, NOW, false, &err), HCP_EEXIST);
	assert_int_equal(authority_issue(a, &feed, NOW, false, &err), 0);
	struct buf before = contents("market.key");
	assert_int_equal(authority_issue(a, &feed, NOW, false, &err), HCP_EEXIST);
	assert_int_equal(file_remove(at("market.crt"), NULL), 0);
	assert_int_equal(authority_issue(a, &feed, NOW, false, &err), HCP_EEXIST); /* the key alone is something, too */
	struct buf after = contents("market.key");
	assert_true(str_eq(buf_str(&before), buf_str(&after)));
	assert_int_equal(authority_issue(a, &feed, NOW, true, &err), 0);
	buf_release(&after);
	after = contents("market.key");
	assert_false(str_eq(buf_str(&before), buf_str(&after)));
	buf_release(&before);
	buf_release(&after);
	authority_close(a);
	/* Another authority's key beside this one's certificate; a new authority; one that is over. */
	struct buf key = contents("ca.key");
	assert_int_equal(authority_init(dir, "site", 10, NOW, true, &err), 0);
	assert_int_equal(verify("market.crt", X509_PURPOSE_SSL_CLIENT, NOW) == X509_V_OK, 0);
	assert_int_equal(authority_open(dir, NOW + 11 * DAY_S, &a, &err), HCP_ESTATE);
	assert_int_equal(file_write_atomic(at("ca.key"), buf_str(&key), 0600, NULL), 0);
	assert_int_equal(authority_open(dir, NOW, &a, &err), HCP_ESTATE);
	assert_string_equal(err.field, "ca.key");
	assert_int_equal(file_write_atomic(at("ca.key"), STR("x"), 0600, NULL), 0);
	assert_int_equal(authority_open(dir, NOW, &a, &err), HCP_EPARSE);
	buf_release(&key);
}

static void renews_with_the_same_names(void **state)
{
	static const char *const hosts[] = { "hcp.example.com" };
	struct authority *a = authority();
	struct authority_request q = { .name = "hcpd", .role = IDENTITY_SERVICE, .hosts = hosts, .n_hosts = 1, .days = 20 };
	struct identity id;
	struct err err;
	assert_int_equal(authority_issue(a, &q, NOW, false, &err), 0);
	struct buf before = contents("hcpd.key");
	int64_t later = NOW + 15 * DAY_S;
	assert_int_equal(authority_renew(a, "hcpd", 0, later, &err), 0);
	assert_int_equal(identity_read(at("hcpd.crt"), &id, NULL), 0);
	assert_int_equal(id.not_after_s, later + 20 * DAY_S); /* as long as before */
	assert_int_equal(id.roles, 1U << IDENTITY_SERVICE);
	assert_int_equal(verify("hcpd.crt", X509_PURPOSE_SSL_SERVER, NOW + 30 * DAY_S), X509_V_OK);
	X509 *x = load("hcpd.crt");
	assert_int_equal(X509_check_host(x, "hcp.example.com", 0, 0, NULL), 1);
	X509_free(x);
	struct buf after = contents("hcpd.key");
	assert_false(str_eq(buf_str(&before), buf_str(&after)));
	buf_release(&before);
	buf_release(&after);
	assert_int_equal(authority_renew(a, "hcpd", 5, later, &err), 0);
	assert_int_equal(identity_read(at("hcpd.crt"), &id, NULL), 0);
	assert_int_equal(id.not_after_s, later + 5 * DAY_S);
	assert_int_equal(authority_renew(a, "hcpd", 3650, later, &err), HCP_ERANGE); /* beyond the authority's end */
	assert_int_equal(authority_renew(a, "nobody", 0, later, &err), HCP_ENOTFOUND);
	assert_int_equal(authority_renew(a, "ca", 0, later, &err), HCP_EINVAL);
	assert_int_equal(authority_renew(a, "../hcpd", 0, later, &err), HCP_EINVAL);
	authority_close(a);
}

/* A certificate that names what we did not put there: others have authorities, too. */
static struct identity identity_of(const char *san)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509V3_CTX ctx;
	struct identity id;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	X509_EXTENSION *e = san ? X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san) : NULL;
	if (e)
		X509_add_ext(x, e, -1);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)"a\n\x1b[2Jb", -1, -1, 0);
	X509_set_pubkey(x, key);
	identity_of_x509(x, &id);
	X509_EXTENSION_free(e);
	X509_free(x);
	EVP_PKEY_free(key);
	return id;
}

static void reads_foreign_certificates(void **state)
{
	struct identity id = identity_of("URI:spiffe://a/b,DNS:hcp.example.com,URI:hcp:service,URI:hcp:feed");
	assert_int_equal(id.roles, 1U << IDENTITY_SERVICE | 1U << IDENTITY_FEED);
	assert_string_equal(id.name, "a??[2Jb"); /* as it goes to logs */
	static const char *const nobody[] = { NULL, "DNS:hcp:service", "URI:hcp:services", "URI:hcp:node/",
		"URI:hcp:node/a*b", "URI:hcp:node/a b", "URI:hcp:node/**", "URI:HCP:service",
		"URI:hcp:node/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
		id = identity_of(nobody[i]);
		assert_true(id.roles == 0 && id.n_nodes == 0);
	}
	id = identity_of("URI:hcp:node/*");
	assert_true(identity_is_node(&id, "anybody"));
	id = identity_of("URI:hcp:node/a,URI:hcp:node/b,URI:hcp:node/c,URI:hcp:node/d,URI:hcp:node/e");
	assert_true(identity_is_node(&id, "d") && !identity_is_node(&id, "e"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(issues_for_each_role, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(refuses_what_makes_no_sense, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(nothing_is_replaced_untold, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(renews_with_the_same_names, make_dir, remove_dir),
		cmocka_unit_test(reads_foreign_certificates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
