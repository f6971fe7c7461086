#include "sim/opts.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"
#include "base/timefmt.h"

static const struct opt *find(const struct opt *table, struct str name)
{
	for (const struct opt *o = table; o->name; o++) {
		if (str_eqz(name, o->name))
			return o;
	}
	return NULL;
}

static int set_number(const struct opt *o, const char *text, struct err *err)
{
	double d = 0;
	int64_t i = 0;
	int rc = o->kind == OPT_I64 ? num_parse_i64(str_of(text), &i) : num_parse_double(str_of(text), &d);
	if (rc < 0)
		return err_set(err, rc, o->name, "'%.60s' is not a %snumber", text, o->kind == OPT_I64 ? "whole " : "");
	double v = o->kind == OPT_I64 ? (double)i : d;
	if (v < o->min || v > o->max)
		return err_set(err, HCP_ERANGE, o->name, "must be from %g to %g", o->min, o->max);
	if (o->kind == OPT_I64)
		*(int64_t *)o->place = i;
	else
		*(double *)o->place = d;
	return 0;
}

static int set_value(const struct opt *o, const char *text, struct err *err)
{
	uint64_t u;
	int64_t ns;
	switch (o->kind) {
	case OPT_SWITCH:
		*(bool *)o->place = true;
		return 0;
	case OPT_TEXT:
		*(const char **)o->place = text;
		return 0;
	case OPT_U64:
		if (num_parse_u64(str_of(text), &u) < 0)
			return err_set(err, HCP_EINVAL, o->name, "'%.60s' is not a whole number", text);
		*(uint64_t *)o->place = u;
		return 0;
	case OPT_TIME:
		if (timefmt_parse(str_of(text), &ns) < 0)
			return err_set(err, HCP_EINVAL, o->name, "'%.60s' is not a time like 2021-02-10T00:00:00Z", text);
		*(int64_t *)o->place = ns;
		return 0;
	case OPT_I64:
	case OPT_DOUBLE:
		return set_number(o, text, err);
	}
	return HCP_EINTERNAL;
}

int opts_parse(const struct opt *table, int argc, char *const argv[], struct err *err)
{
	for (int i = 0; i < argc; i++) {
		struct str word = str_of(argv[i]);
		if (str_eqz(word, "--help") || str_eqz(word, "-h"))
			return 1;
		if (!str_starts(word, STR("--")))
			return err_set(err, HCP_EINVAL, argv[i], "unexpected argument; options start with --");
		const char *value = memchr(word.p, '=', word.n);
		struct str name = { word.p + 2, (value ? (size_t)(value - word.p) : word.n) - 2 };
		const struct opt *o = find(table, name);
		if (!o)
			return err_set(err, HCP_EINVAL, argv[i], "unknown option; --help lists them");
		if (value)
			value++;
		else if (o->kind != OPT_SWITCH && ++i < argc)
			value = argv[i];
		if ((o->kind == OPT_SWITCH) == (value != NULL))
			return err_set(err, HCP_EINVAL, o->name, value ? "takes no value" : "needs a value");
		int rc = set_value(o, value, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void opts_help(const struct opt *table, struct buf *out)
{
	for (const struct opt *o = table; o->name; o++) {
		buf_printf(out, "  --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		size_t width = strlen(o->name) + (o->arg ? strlen(o->arg) + 1 : 0);
		buf_printf(out, "%*s%s\n", width < 24 ? (int)(24 - width) : 1, "", o->help);
	}
}

int opts_host_port(const char *text, char *host, size_t cap, uint16_t *ret_port, struct err *err)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	if (!colon || num_parse_u64(str_of(colon + 1), &port) < 0 || port == 0 || port > UINT16_MAX)
		return err_set(err, HCP_EINVAL, "mesh", "'%.80s' is not host:port", text);
	struct str name = { text, (size_t)(colon - text) };
	if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
		name = (struct str){ name.p + 1, name.n - 2 };
	if (name.n == 0 || str_copy(host, cap, name) < 0)
		return err_set(err, HCP_EINVAL, "mesh", "'%.80s' is not host:port", text);
	*ret_port = (uint16_t)port;
	return 0;
}
