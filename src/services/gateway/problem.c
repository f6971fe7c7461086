#include "services/gateway/problem.h"

#include "http/http_server.h"

int problem_status(int code)
{
	switch (code) {
	case HCP_EINVAL: case HCP_EPARSE: case HCP_ERANGE:
		return 400;
	case HCP_EAUTH:
		return 401;
	case HCP_EPERM:
		return 403;
	case HCP_ENOTFOUND:
		return 404;
	case HCP_EEXIST: case HCP_ECONFLICT: case HCP_ESTATE:
		return 409;
	case HCP_ELIMIT:
		return 429;
	case HCP_EUNSUPPORTED:
		return 501;
	case HCP_EUNAVAIL: case HCP_ECLOSED: case HCP_ENOMEM: case HCP_ENOSPC: case HCP_EAGAIN:
		return 503;
	case HCP_ETIMEOUT:
		return 504;
	default:
		return 500;
	}
}

int problem_code(const char *name)
{
	for (int code = -1; code >= HCP_EINTERNAL; code--)
		if (strcmp(err_name(code), name) == 0)
			return code;
	return HCP_EINTERNAL;
}

void problem_write(struct buf *b, int status, int code, const char *field, const char *detail, const char *trace_id)
{
	const char *name = err_name(code);
	buf_printf(b, "{\"type\":\"https://hcp.dev/problems/%s\",\"title\":\"%s\",\"status\":%d,\"detail\":", name,
		   http_status_text(status), status);
	buf_add_json(b, str_of(detail));
	buf_printf(b, ",\"code\":\"%s\"", name);
	if (field[0]) {
		buf_addz(b, ",\"field\":");
		buf_add_json(b, str_of(field));
	}
	buf_printf(b, ",\"trace_id\":\"%s\"}", trace_id);
}
