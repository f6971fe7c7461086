#include "cmd/cli/emit.h"

#include <ctype.h>
#include <strings.h>

#include "base/utf8.h"

static struct str text_of(const json_t *v)
{
	return (struct str){ json_string_value(v), json_string_length(v) };
}

static void indent(struct buf *out, int depth)
{
	for (int i = 0; i < depth; i++)
		buf_addz(out, "  ");
}

static int too_deep(struct err *err)
{
	return err_set(err, HCP_ELIMIT, "", "the reply nests deeper than %d levels", EMIT_DEPTH_MAX);
}

static void scalar_json(struct buf *out, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		buf_add_json(out, text_of(v));
		break;
	case JSON_INTEGER:
		buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		buf_add_double(out, json_real_value(v));
		break;
	case JSON_TRUE:
		buf_addz(out, "true");
		break;
	case JSON_FALSE:
		buf_addz(out, "false");
		break;
	default:
		buf_addz(out, "null");
	}
}

static int node_json(struct buf *out, const json_t *v, int depth, struct err *err)
{
	if (depth > EMIT_DEPTH_MAX)
		return too_deep(err);
	const char *key;
	json_t *item;
	size_t i = 0;
	int rc = 0;
	if (json_is_object(v) && json_object_size(v) > 0) {
		json_object_foreach((json_t *)v, key, item) {
			buf_addz(out, i++ ? ",\n" : "{\n");
			indent(out, depth + 1);
			buf_add_json(out, str_of(key));
			buf_addz(out, ": ");
			rc = node_json(out, item, depth + 1, err);
			if (rc < 0)
				return rc;
		}
		buf_addc(out, '\n');
		indent(out, depth);
		buf_addc(out, '}');
	} else if (json_is_array(v) && json_array_size(v) > 0) {
		json_array_foreach(v, i, item) {
			buf_addz(out, i ? ",\n" : "[\n");
			indent(out, depth + 1);
			rc = node_json(out, item, depth + 1, err);
			if (rc < 0)
				return rc;
		}
		buf_addc(out, '\n');
		indent(out, depth);
		buf_addc(out, ']');
	} else if (json_is_object(v)) {
		buf_addz(out, "{}");
	} else if (json_is_array(v)) {
		buf_addz(out, "[]");
	} else {
		scalar_json(out, v);
	}
	return 0;
}

int emit_json(struct buf *out, const json_t *v, struct err *err)
{
	int rc = node_json(out, v, 0, err);
	buf_addc(out, '\n');
	if (rc == 0 && buf_failed(out))
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	return rc;
}

/* Words that some YAML reader takes for a boolean or null. */
static bool is_reserved(struct str s)
{
	static const char *const words[] = { "y", "n", "yes", "no", "on", "off", "true", "false", "null" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (str_ieqz(s, words[i]))
			return true;
	}
	return false;
}

/* Narrow on purpose: what is not plainly a word or path is quoted. */
static bool is_plain(struct str s)
{
	if (s.n == 0 || is_reserved(s) || !(isalpha((unsigned char)s.p[0]) || s.p[0] == '/' || s.p[0] == '_'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool inner = i + 1 < s.n;
		if (isalnum(c) && c < 0x80)
			continue;
		if (c == '_' || c == '.' || c == '/' || c == '-' || c == '@' || c == '+')
			continue;
		if (c == ' ' && inner)
			continue;
		if (c == ':' && inner && s.p[i + 1] != ' ')
			continue;
		return false;
	}
	return true;
}

static void quote_yaml(struct buf *out, struct str s)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < s.n;) {
		uint32_t cp = 0;
		size_t len = utf8_decode(s.p + i, s.n - i, &cp);
		if (len == 0) {
			buf_addz(out, "\\uFFFD");
			i++;
			continue;
		}
		if (cp == '"' || cp == '\\')
			buf_printf(out, "\\%c", (int)cp);
		else if (cp == '\n')
			buf_addz(out, "\\n");
		else if (cp == '\t')
			buf_addz(out, "\\t");
		else if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 || cp == 0x2029 || cp == 0xFEFF)
			buf_printf(out, "\\u%04X", cp);
		else
			buf_add(out, s.p + i, len);
		i += len;
	}
	buf_addc(out, '"');
}

static void text_yaml(struct buf *out, struct str s)
{
	if (is_plain(s))
		buf_adds(out, s);
	else
		quote_yaml(out, s);
}

/* A YAML 1.1 reader takes "1e+20" for text and "1" for an integer; a real keeps its point. */
static void real_yaml(struct buf *out, double v)
{
	size_t from = out->n;
	buf_add_double(out, v);
	if (buf_failed(out) || strchr(out->data + from, '.') || strstr(out->data + from, "null"))
		return;
	char *e = strchr(out->data + from, 'e');
	if (!e) {
		buf_addz(out, ".0");
		return;
	}
	char exponent[16];
	snprintf(exponent, sizeof(exponent), "%s", e);
	out->n = (size_t)(e - out->data);
	buf_printf(out, ".0%s", exponent);
}

static void scalar_yaml(struct buf *out, const json_t *v)
{
	if (json_is_string(v))
		text_yaml(out, text_of(v));
	else if (json_is_real(v))
		real_yaml(out, json_real_value(v));
	else
		scalar_json(out, v);
}

static bool is_block(const json_t *v)
{
	return (json_is_object(v) && json_object_size(v) > 0) || (json_is_array(v) && json_array_size(v) > 0);
}

static int node_yaml(struct buf *out, const json_t *v, int depth, bool inlined, struct err *err);

/* The value after "key:" or "-": a scalar stays on the line, a block starts below (or, after "-", beside it). */
static int value_yaml(struct buf *out, const json_t *v, int depth, bool item, struct err *err)
{
	if (is_block(v)) {
		buf_addc(out, item ? ' ' : '\n');
		return node_yaml(out, v, depth, item, err);
	}
	buf_addc(out, ' ');
	if (json_is_object(v))
		buf_addz(out, "{}");
	else if (json_is_array(v))
		buf_addz(out, "[]");
	else
		scalar_yaml(out, v);
	buf_addc(out, '\n');
	return 0;
}

static int node_yaml(struct buf *out, const json_t *v, int depth, bool inlined, struct err *err)
{
	if (depth > EMIT_DEPTH_MAX)
		return too_deep(err);
	const char *key;
	json_t *item;
	size_t i = 0;
	int rc = 0;
	if (json_is_object(v)) {
		json_object_foreach((json_t *)v, key, item) {
			if (i++ || !inlined)
				indent(out, depth);
			text_yaml(out, str_of(key));
			buf_addc(out, ':');
			rc = value_yaml(out, item, depth + 1, false, err);
			if (rc < 0)
				return rc;
		}
		return 0;
	}
	json_array_foreach(v, i, item) {
		if (i || !inlined)
			indent(out, depth);
		buf_addc(out, '-');
		rc = value_yaml(out, item, depth + 1, true, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int emit_yaml(struct buf *out, const json_t *v, struct err *err)
{
	int rc = 0;
	if (is_block(v)) {
		rc = node_yaml(out, v, 0, false, err);
	} else if (json_is_object(v) || json_is_array(v)) {
		buf_addz(out, json_is_object(v) ? "{}\n" : "[]\n");
	} else {
		scalar_yaml(out, v);
		buf_addc(out, '\n');
	}
	if (rc == 0 && buf_failed(out))
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	return rc;
}
