#include "base/err.h"

#include <stdio.h>
#include <string.h>

int err_set_at(struct err *err, const char *file, int line, int code, const char *field, const char *fmt, ...)
{
	if (!err)
		return code;
	const char *slash = strrchr(file, '/');
	char text[sizeof(err->text)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err->code = code;
	snprintf(err->field, sizeof(err->field), "%s", field ? field : "");
	snprintf(err->origin, sizeof(err->origin), "%s:%d", slash ? slash + 1 : file, line);
	memcpy(err->text, text, sizeof(text));
	return code;
}

void err_prefix(struct err *err, const char *prefix)
{
	if (!err)
		return;
	char field[sizeof(err->field) * 2];
	snprintf(field, sizeof(field), err->field[0] && err->field[0] != '[' ? "%s.%s" : "%s%s", prefix, err->field);
	snprintf(err->field, sizeof(err->field), "%.*s", (int)sizeof(err->field) - 1, field);
}

const char *err_name(int code)
{
	static const char *const names[] = {
		"ok", "out_of_memory", "invalid", "parse_error", "out_of_range", "not_found", "already_exists",
		"conflict", "wrong_state", "try_again", "limit_reached", "timeout", "canceled", "closed", "io_error",
		"no_space", "forbidden", "unauthenticated", "corrupt", "protocol_error", "unavailable", "unsupported",
		"internal",
	};
	unsigned i = (unsigned)-code;
	return code <= 0 && i < sizeof(names) / sizeof(names[0]) ? names[i] : "unknown";
}
