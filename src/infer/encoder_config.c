#include <jansson.h>
#include <string.h>

#include "infer/encoder_priv.h"

static int get_u32(const json_t *o, const char *name, uint32_t max, uint32_t *ret, struct err *err)
{
	const json_t *v = json_object_get(o, name);
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > (json_int_t)max)
		return err_set(err, HCP_EPARSE, name, "must be an integer from 1 to %u", max);
	*ret = (uint32_t)json_integer_value(v);
	return 0;
}

/* Absent means the one that we do. */
static int check_word(const json_t *o, const char *name, const char *want, struct err *err)
{
	const json_t *v = json_object_get(o, name);
	if (v && (!json_is_string(v) || strcmp(json_string_value(v), want) != 0))
		return err_set(err, HCP_EUNSUPPORTED, name, "only \"%s\" is supported", want);
	return 0;
}

static int read_config(struct encoder_info *in, float *ret_eps, const json_t *o, struct err *err)
{
	const struct {
		const char *name;
		uint32_t max, *ret;
	} fields[] = {
		{ "hidden_size", ENCODER_HIDDEN_MAX, &in->hidden },
		{ "num_hidden_layers", ENCODER_LAYERS_MAX, &in->layers },
		{ "num_attention_heads", ENCODER_HIDDEN_MAX, &in->heads },
		{ "intermediate_size", 4 * ENCODER_HIDDEN_MAX, &in->intermediate },
		{ "max_position_embeddings", 1u << 20, &in->positions },
		{ "vocab_size", WORDPIECE_VOCAB_MAX, &in->vocab },
	};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		int rc = get_u32(o, fields[i].name, fields[i].max, fields[i].ret, err);
		if (rc < 0)
			return rc;
	}
	int rc = check_word(o, "model_type", "bert", err);
	if (rc == 0)
		rc = check_word(o, "hidden_act", "gelu", err);
	if (rc == 0)
		rc = check_word(o, "position_embedding_type", "absolute", err);
	if (rc < 0)
		return rc;
	if (in->hidden % in->heads)
		return err_set(err, HCP_EPARSE, "num_attention_heads", "must divide hidden_size");
	if (in->positions < 2)
		return err_set(err, HCP_EPARSE, "max_position_embeddings", "must be 2 at least");
	const json_t *eps = json_object_get(o, "layer_norm_eps");
	double v = eps ? json_number_value(eps) : 1e-12;
	if (!(v > 0 && v < 1))
		return err_set(err, HCP_EPARSE, "layer_norm_eps", "must be between 0 and 1");
	*ret_eps = (float)v;
	return 0;
}

int encoder_parse_config(struct encoder_info *info, float *ret_eps, struct str text, struct err *err)
{
	json_error_t je;
	json_t *o = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(o)) {
		json_decref(o);
		return err_set(err, HCP_EPARSE, "config.json", "is not a JSON object");
	}
	struct encoder_info in = *info;
	float eps = 0;
	int rc = read_config(&in, &eps, o, err);
	json_decref(o);
	if (rc < 0)
		return rc;
	in.max_tokens = in.positions < ENCODER_TOKENS_MAX ? in.positions : ENCODER_TOKENS_MAX;
	*info = in;
	*ret_eps = eps;
	return 0;
}

int encoder_parse_max_tokens(struct encoder_info *info, struct str text, struct err *err)
{
	json_error_t je;
	json_t *o = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &je);
	uint32_t n = 0;
	int rc = get_u32(o, "max_seq_length", 1u << 20, &n, err);
	json_decref(o);
	if (rc == 0 && n < 2)
		rc = err_set(err, HCP_EPARSE, "max_seq_length", "must be 2 at least");
	if (rc == 0 && n < info->max_tokens)
		info->max_tokens = n;
	return rc;
}
