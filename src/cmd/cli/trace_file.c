#include "cmd/cli/trace_file.h"

#include <string.h>

#include "os/file.h"

enum { TRACE_BYTES_MAX = 1 << 30 };

int trace_file_load(const char *path, const struct job_trace_conf *conf, struct job_trace *ret, struct err *err)
{
	struct job_trace_conf defaults;
	struct err e = { 0 };
	struct buf text;
	const char *slash = strrchr(path, '/');
	job_trace_conf_default(&defaults);
	buf_init(&text, TRACE_BYTES_MAX);
	int rc = file_read(path, TRACE_BYTES_MAX, &text, err);
	if (rc == 0) {
		rc = job_trace_parse(buf_str(&text), conf ? conf : &defaults, ret, &e);
		if (rc < 0) /* a path may be longer than what names the field */
			err_set(err, rc, e.field, "%.60s: %s", slash ? slash + 1 : path, e.text);
	}
	buf_release(&text);
	return rc;
}
