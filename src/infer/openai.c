#include "infer/openai.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct parse {
	struct arena *arena;
	struct err *err;
};

static int no_memory(struct parse *p)
{
	return err_set(p->err, HCP_ENOMEM, "", "no memory for the request");
}

static int get_string(struct parse *p, const json_t *v, const char *field, size_t max, struct str *ret)
{
	if (!json_is_string(v))
		return err_set(p->err, HCP_EINVAL, field, "must be a string");
	size_t n = json_string_length(v);
	if (n > max)
		return err_set(p->err, HCP_ELIMIT, field, "must have at most %zu bytes", max);
	char *copy = arena_strndup(p->arena, json_string_value(v), n);
	if (!copy)
		return no_memory(p);
	*ret = (struct str){ copy, n };
	return 0;
}

static int get_ids(struct parse *p, const json_t *v, const char *field, struct openai_input *ret)
{
	size_t n = json_array_size(v);
	char at[64];
	if (n == 0)
		return err_set(p->err, HCP_EINVAL, field, "must not be empty");
	if (n > OPENAI_IDS_MAX)
		return err_set(p->err, HCP_ELIMIT, field, "must have at most %u token ids", OPENAI_IDS_MAX);
	uint32_t *ids = arena_alloc(p->arena, n * sizeof(*ids));
	if (!ids)
		return no_memory(p);
	for (size_t i = 0; i < n; i++) {
		const json_t *x = json_array_get(v, i);
		if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > UINT32_MAX) {
			snprintf(at, sizeof(at), "%.40s[%zu]", field, i);
			return err_set(p->err, HCP_EINVAL, at, "must be a token id: an integer of 0 or more");
		}
		ids[i] = (uint32_t)json_integer_value(x);
	}
	*ret = (struct openai_input){ .ids = ids, .n_ids = n };
	return 0;
}

static int get_text(struct parse *p, const json_t *v, const char *field, struct openai_input *ret)
{
	struct openai_input in = { 0 };
	int rc = get_string(p, v, field, SIZE_MAX, &in.text);
	if (rc < 0)
		return rc;
	if (in.text.n == 0)
		return err_set(p->err, HCP_EINVAL, field, "must not be empty");
	*ret = in;
	return 0;
}

/* An array of strings or of arrays of ids: all of the kind of the first. */
static int get_many(struct parse *p, const json_t *v, struct openai_input *all)
{
	bool strings = json_is_string(json_array_get(v, 0));
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *x = json_array_get(v, i);
		char field[64];
		snprintf(field, sizeof(field), "input[%zu]", i);
		if (strings != json_is_string(x) || (!strings && !json_is_array(x)))
			return err_set(p->err, HCP_EINVAL, field, strings ? "must be a string like input[0]" :
									    "must be an array of token ids");
		int rc = strings ? get_text(p, x, field, &all[i]) : get_ids(p, x, field, &all[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int get_input(struct parse *p, const json_t *v, struct openai_embeddings *r)
{
	if (!v)
		return err_set(p->err, HCP_EINVAL, "input", "is required");
	bool array = json_is_array(v), one = !array || json_is_integer(json_array_get(v, 0));
	if (!array && !json_is_string(v))
		return err_set(p->err, HCP_EINVAL, "input",
			       "must be a string, an array of strings, or token ids in an array or arrays");
	size_t n = one ? 1 : json_array_size(v);
	if (n == 0)
		return err_set(p->err, HCP_EINVAL, "input", "must not be empty");
	if (n > OPENAI_INPUTS_MAX)
		return err_set(p->err, HCP_ELIMIT, "input", "must have at most %u elements", OPENAI_INPUTS_MAX);
	struct openai_input *all = arena_calloc(p->arena, n * sizeof(*all));
	if (!all)
		return no_memory(p);
	r->inputs = all;
	r->n_inputs = n;
	if (!array)
		return get_text(p, v, "input", &all[0]);
	return one ? get_ids(p, v, "input", &all[0]) : get_many(p, v, all);
}

static int get_encoding(struct parse *p, const json_t *v, struct openai_embeddings *r)
{
	const char *s = json_string_value(v);
	if (s && strcmp(s, "float") == 0)
		r->encoding = OPENAI_FLOAT;
	else if (s && strcmp(s, "base64") == 0)
		r->encoding = OPENAI_BASE64;
	else
		return err_set(p->err, HCP_EINVAL, "encoding_format", "must be \"float\" or \"base64\"");
	return 0;
}

static int get_dimensions(struct parse *p, const json_t *v, struct openai_embeddings *r)
{
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > OPENAI_DIMENSIONS_MAX)
		return err_set(p->err, HCP_EINVAL, "dimensions", "must be an integer from 1 to %u",
			       OPENAI_DIMENSIONS_MAX);
	r->dimensions = (uint32_t)json_integer_value(v);
	return 0;
}

static int get_field(struct parse *p, const char *name, const json_t *v, struct openai_embeddings *r)
{
	if (strcmp(name, "model") == 0)
		return get_string(p, v, "model", OPENAI_MODEL_MAX, &r->model);
	if (strcmp(name, "input") == 0)
		return get_input(p, v, r);
	if (strcmp(name, "encoding_format") == 0)
		return get_encoding(p, v, r);
	if (strcmp(name, "dimensions") == 0)
		return get_dimensions(p, v, r);
	if (strcmp(name, "user") == 0)
		return get_string(p, v, "user", OPENAI_USER_MAX, &r->user);
	return err_set(p->err, HCP_EINVAL, name, "is not a field of this request");
}

static int get_request(struct parse *p, const json_t *root, struct openai_embeddings *r)
{
	const char *name;
	json_t *v;
	if (!json_is_object(root))
		return err_set(p->err, HCP_EINVAL, "", "the body must be a JSON object");
	json_object_foreach((json_t *)root, name, v) {
		int rc = get_field(p, name, v, r);
		if (rc < 0)
			return rc;
	}
	if (r->model.n == 0)
		return err_set(p->err, HCP_EINVAL, "model", "is required");
	return r->n_inputs ? 0 : get_input(p, NULL, r);
}

int openai_parse_embeddings(struct openai_embeddings *ret, struct str body, size_t max_n, struct arena *arena,
			    struct err *err)
{
	if (body.n > max_n)
		return err_set(err, HCP_ELIMIT, "", "the body must have at most %zu bytes", max_n);
	json_error_t je;
	json_t *root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &je);
	if (!root)
		return err_set(err, HCP_EPARSE, "", "line %d column %d: %.160s", je.line, je.column, je.text);
	struct openai_embeddings r = { 0 };
	struct parse p = { arena, err };
	int rc = get_request(&p, root, &r);
	json_decref(root);
	if (rc == 0)
		*ret = r;
	return rc;
}

static void write_base64(struct buf *b, const float *row, size_t dim)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = dim * 4;
	uint8_t in[3];
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i < 3 ? n - i : 3;
		for (size_t j = 0; j < 3; j++) {
			uint32_t bits = 0;
			if (j < left)
				memcpy(&bits, &row[(i + j) / 4], 4);
			in[j] = (uint8_t)(bits >> 8 * ((i + j) % 4));
		}
		uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
		char out[4] = { digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
				left > 2 ? digits[v & 63] : '=' };
		buf_add(b, out, 4);
	}
}

/* Nine digits read back as the same single. */
static void write_floats(struct buf *b, const float *row, size_t dim)
{
	for (size_t i = 0; i < dim; i++) {
		if (i)
			buf_addc(b, ',');
		if (row[i] - row[i] == 0)
			buf_printf(b, "%.9g", (double)row[i]);
		else
			buf_addz(b, "null");
	}
}

void openai_write_embeddings(struct buf *b, struct str model, const float *rows, size_t n, size_t dim,
			     enum openai_encoding encoding, uint64_t prompt_tokens)
{
	buf_addz(b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < n; i++) {
		buf_printf(b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
		buf_addc(b, encoding == OPENAI_BASE64 ? '"' : '[');
		if (encoding == OPENAI_BASE64)
			write_base64(b, rows + i * dim, dim);
		else
			write_floats(b, rows + i * dim, dim);
		buf_addz(b, encoding == OPENAI_BASE64 ? "\"}" : "]}");
	}
	buf_addz(b, "],\"model\":");
	buf_add_json(b, model);
	buf_printf(b, ",\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64 "}}", prompt_tokens,
		   prompt_tokens);
}

static const struct {
	int code, status;
	const char *type;
} statuses[] = {
	{ HCP_EINVAL, 400, "invalid_request_error" },   { HCP_EPARSE, 400, "invalid_request_error" },
	{ HCP_ERANGE, 400, "invalid_request_error" },   { HCP_ELIMIT, 413, "invalid_request_error" },
	{ HCP_EUNSUPPORTED, 400, "invalid_request_error" },
	{ HCP_ENOTFOUND, 404, "invalid_request_error" }, { HCP_EAUTH, 401, "authentication_error" },
	{ HCP_EPERM, 403, "permission_error" },         { HCP_EAGAIN, 429, "rate_limit_error" },
	{ HCP_EUNAVAIL, 503, "server_error" },          { HCP_ESTATE, 503, "server_error" },
	{ HCP_ECLOSED, 503, "server_error" },           { HCP_ETIMEOUT, 504, "server_error" },
};

static const char *type_of(int code, int *ret_status)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i].code == code) {
			*ret_status = statuses[i].status;
			return statuses[i].type;
		}
	}
	*ret_status = 500;
	return "server_error";
}

int openai_status(int code)
{
	int status = 0;
	type_of(code, &status);
	return status;
}

void openai_write_error(struct buf *b, const struct err *err)
{
	int status = 0;
	buf_addz(b, "{\"error\":{\"message\":");
	if (err->field[0]) {
		char text[sizeof(err->field) + sizeof(err->text) + 2];
		snprintf(text, sizeof(text), "%s %s", err->field, err->text);
		buf_add_json(b, str_of(text));
	} else {
		buf_add_json(b, str_of(err->text));
	}
	buf_printf(b, ",\"type\":\"%s\",\"param\":", type_of(err->code, &status));
	if (err->field[0])
		buf_add_json(b, str_of(err->field));
	else
		buf_addz(b, "null");
	buf_printf(b, ",\"code\":\"%s\"}}", err_name(err->code));
}

void openai_write_models(struct buf *b, struct str model, int64_t created_s)
{
	buf_addz(b, "{\"object\":\"list\",\"data\":[{\"id\":");
	buf_add_json(b, model);
	buf_printf(b, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"hcp\"}]}", created_s);
}
