#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "feed/sigv4.h"

#define NOW_NS (INT64_C(1440938160) * 1000000000) /* 2015-08-30T12:36:00Z */

/* The example of AWS's documentation of Signature Version 4 (IAM ListUsers). */
static void documented_example(void **state)
{
	char date[SIGV4_DATE_MAX], auth[SIGV4_AUTH_MAX];
	const struct sigv4 s = { .method = "GET",
		.query = "Action=ListUsers&Version=2010-05-08",
		.content_type = "application/x-www-form-urlencoded; charset=utf-8",
		.host = "iam.amazonaws.com",
		.region = "us-east-1",
		.service = "iam",
		.access_key_id = "AKIDEXAMPLE",
		.secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
		.now_ns = NOW_NS };
	assert_int_equal(sigv4_sign(&s, date, auth, NULL), 0);
	assert_string_equal(date, "20150830T123600Z");
	assert_string_equal(auth, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
							  "SignedHeaders=content-type;host;x-amz-date, "
							  "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

static void too_long_is_refused(void **state)
{
	char date[SIGV4_DATE_MAX], auth[SIGV4_AUTH_MAX], longer[600];
	struct err err = { 0 };
	memset(longer, 'k', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	struct sigv4 s = { .method = "POST",
		.query = "",
		.content_type = "t",
		.host = "h",
		.region = "r",
		.service = "ec2",
		.access_key_id = "a",
		.secret_access_key = longer,
		.now_ns = NOW_NS };
	assert_int_equal(sigv4_sign(&s, date, auth, &err), HCP_ERANGE);
	assert_null(strstr(err.text, "kkk"));
	s.secret_access_key = "b";
	s.access_key_id = longer;
	assert_int_equal(sigv4_sign(&s, date, auth, &err), HCP_ERANGE);
	s.access_key_id = "a";
	s.region = longer;
	assert_int_equal(sigv4_sign(&s, date, auth, &err), HCP_ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(documented_example), cmocka_unit_test(too_long_is_refused) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
