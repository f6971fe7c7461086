/* What a stranger sends before anything is known of him: "<path>\n<token>". No path but a declared one is matched, and
 * no token is taken, since none of the inputs was signed. */
#include <stdint.h>
#include <stdlib.h>

#include "services/common/jwt.h"
#include "services/gateway/route.h"

static const char public_pem[] =
	"-----BEGIN PUBLIC KEY-----\n"
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7+svnWHsC/ha6TL34YRB\n"
	"U9k5k5y2DcBT4E44+vW8ZtuJYmOdHdK/Kery4HwwdA6OXTz5mRqYykfL6eEOP944\n"
	"xeMDGv0+dIWSNga+AEmik7hVh+UXKcJvYKCkK7tysxm2qJrf5zLGvrM4NLTJBZdK\n"
	"9xwmQVVRWpX+U05LAjJyAWb9vTfeTG5tuFwjtZvUzSWeRPS0jblIzbn9jHxe4RCe\n"
	"heI1UXs46fRYWlbsrVlN3dUHbxxSJ20DfdVAtB6qdVone4GxDysS8QEdEjvDFZt3\n"
	"9OwseUPPH6chH6ptMfWNw2XYbrDVbIDasKSTPtNoK0q1LIy9p81TWxpXLV6/bAO0\n"
	"PwIDAQAB\n"
	"-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct router router;
	static struct jwt_key *key;
	struct str token = { (const char *)p, n }, path = str_split(&token, '\n');
	struct route_match m;
	struct jwt_claims claims;
	if (!key && (jwt_key_from_pem(STR(public_pem), &key, NULL) < 0 ||
					router_init(&router, route_table, route_count, SVC_GATEWAY, NULL) < 0))
		abort();
	for (int verb = 0; verb <= HTTP_M_OTHER; verb++) {
		router_match(&router, (enum http_verb)verb, path, &m);
		if (m.row >= (int)route_count || (m.row >= 0 && (!m.verbs || !str_starts(path, STR("/")))))
			abort();
		for (size_t i = 0; i < m.n_params; i++)
			if (m.params[i].value.p < path.p || m.params[i].value.p + m.params[i].value.n > path.p + path.n)
				abort();
	}
	if (token.p && jwt_verify(key, token, 1700000000, &claims, NULL) == 0)
		abort();
	return 0;
}
