#include "infer/builtin.h"

#include <string.h>

#include "base/mem.h"

struct builtin {
	struct runtime base;
	char *dir;   /* owned */
	char *model; /* owned; NULL: the folder's name */
	struct encoder_opts opts;
	struct encoder_model *weights; /* owned; NULL when stopped or deep asleep */
	struct encoder *encoder;       /* owned; lives with weights */
	float *rows;                   /* owned; ENCODER_INPUTS_MAX embeddings; lives with encoder */
	uint32_t tokens[ENCODER_INPUTS_MAX];
	struct str texts[ENCODER_INPUTS_MAX];
	struct encoder_ids ids[ENCODER_INPUTS_MAX];
};

static void drop_scratch(struct builtin *b)
{
	encoder_free(b->encoder);
	mem_free(b->rows);
	b->encoder = NULL;
	b->rows = NULL;
}

static void drop_weights(struct builtin *b)
{
	drop_scratch(b);
	encoder_model_free(b->weights);
	b->weights = NULL;
}

static int hold(struct builtin *b, struct err *err)
{
	if (!b->weights) {
		int rc = encoder_model_open(b->dir, &b->opts, &b->weights, err);
		if (rc < 0)
			return rc;
	}
	if (b->encoder)
		return 0;
	b->rows = mem_alloc((size_t)ENCODER_INPUTS_MAX * encoder_model_info(b->weights)->hidden * sizeof(float));
	if (!b->rows)
		return err_set(err, HCP_ENOMEM, "", "no memory for the results");
	int rc = encoder_new(b->weights, &b->encoder, err);
	if (rc < 0)
		drop_scratch(b);
	return rc;
}

/* One real answer, checked: finite and of length 1. */
static int prove(struct builtin *b, struct err *err)
{
	struct str text = STR("one answer, so that the first customer does not wait for pages and caches");
	int rc = encoder_embed(b->encoder, &text, 1, b->rows, b->tokens, err);
	if (rc < 0)
		return rc;
	double sq = 0;
	for (uint32_t i = 0; i < encoder_model_info(b->weights)->hidden; i++)
		sq += (double)b->rows[i] * b->rows[i];
	if (!(sq > 0.999 && sq < 1.001))
		return err_set(err, HCP_ECORRUPT, "model.safetensors", "the model gives no unit vector");
	return 0;
}

static int builtin_start(struct runtime *r, struct err *err)
{
	int rc = hold((struct builtin *)r, err);
	if (rc == 0)
		runtime_finish(r, RUNTIME_START, 0, NULL);
	return rc;
}

static int builtin_warm(struct runtime *r, struct err *err)
{
	int rc = prove((struct builtin *)r, err);
	if (rc == 0)
		runtime_finish(r, RUNTIME_WARM, 0, NULL);
	return rc;
}

static int builtin_sleep(struct runtime *r, enum runtime_sleep how, struct err *err)
{
	struct builtin *b = (struct builtin *)r;
	if (how == RUNTIME_SLEEP_DEEP)
		drop_weights(b);
	else
		encoder_idle(b->encoder);
	runtime_finish(r, RUNTIME_SLEEP, 0, NULL);
	return 0;
}

static int builtin_wake(struct runtime *r, struct err *err)
{
	struct builtin *b = (struct builtin *)r;
	int rc = hold(b, err);
	if (rc == 0)
		rc = prove(b, err);
	if (rc == 0)
		runtime_finish(r, RUNTIME_WAKE, 0, NULL);
	return rc;
}

static int builtin_stop(struct runtime *r, struct err *err)
{
	drop_weights((struct builtin *)r);
	runtime_finish(r, RUNTIME_STOP, 0, NULL);
	return 0;
}

static void builtin_health(const struct runtime *r, struct runtime_health *h)
{
	const struct builtin *b = (const struct builtin *)r;
	if (b->weights)
		h->resident_bytes += encoder_model_info(b->weights)->resident_bytes;
	if (b->encoder && r->state != RUNTIME_ASLEEP)
		h->resident_bytes += encoder_scratch_bytes(b->encoder);
}

static int run(struct builtin *b, const struct openai_embeddings *req, struct err *err)
{
	bool ids = req->inputs[0].ids != NULL; /* the parser lets only one kind through */
	for (size_t i = 0; i < req->n_inputs; i++) {
		b->texts[i] = req->inputs[i].text;
		b->ids[i] = (struct encoder_ids){ req->inputs[i].ids, req->inputs[i].n_ids };
	}
	return ids ? encoder_embed_ids(b->encoder, b->ids, req->n_inputs, b->rows, b->tokens, err) :
		     encoder_embed(b->encoder, b->texts, req->n_inputs, b->rows, b->tokens, err);
}

static int builtin_embed(struct runtime *r, const struct openai_embeddings *req, struct buf *body,
			 uint64_t *ret_tokens, struct err *err)
{
	struct builtin *b = (struct builtin *)r;
	const struct encoder_info *info = encoder_model_info(b->weights);
	const char *name = b->model ? b->model : info->name;
	if (!str_eqz(req->model, name))
		return err_set(err, HCP_ENOTFOUND, "model", "does not exist here; this runtime serves \"%s\"", name);
	if (req->dimensions && req->dimensions != info->hidden)
		return err_set(err, HCP_EINVAL, "dimensions", "must be %u for this model", info->hidden);
	if (req->n_inputs > ENCODER_INPUTS_MAX)
		return err_set(err, HCP_ELIMIT, "input", "must have at most %u elements", ENCODER_INPUTS_MAX);
	int rc = run(b, req, err);
	if (rc < 0)
		return rc;
	uint64_t tokens = 0;
	for (size_t i = 0; i < req->n_inputs; i++)
		tokens += b->tokens[i];
	size_t before = body->n;
	openai_write_embeddings(body, str_of(name), b->rows, req->n_inputs, info->hidden, req->encoding, tokens);
	if (buf_failed(body)) {
		body->n = before;
		if (body->data)
			body->data[before] = '\0';
		return err_set(err, HCP_ENOMEM, "", "no room for the response");
	}
	*ret_tokens = tokens;
	return 0;
}

static void builtin_free(struct runtime *r)
{
	struct builtin *b = (struct builtin *)r;
	drop_weights(b);
	mem_free(b->dir);
	mem_free(b->model);
	mem_free(b);
}

static const struct runtime_ops ops = {
	.name = "builtin",
	.start = builtin_start,
	.warm = builtin_warm,
	.sleep = builtin_sleep,
	.wake = builtin_wake,
	.stop = builtin_stop,
	.health = builtin_health,
	.embed = builtin_embed,
	.free = builtin_free,
};

int builtin_new(const struct builtin_opts *opts, struct runtime **ret, struct err *err)
{
	struct builtin *b = mem_calloc(1, sizeof(*b));
	if (!b)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	runtime_init(&b->base, &ops);
	b->opts = opts->encoder;
	b->dir = mem_strdup(opts->dir);
	b->model = opts->model ? mem_strdup(opts->model) : NULL;
	if (!b->dir || (opts->model && !b->model)) {
		builtin_free(&b->base);
		return err_set(err, HCP_ENOMEM, "", "no memory");
	}
	*ret = &b->base;
	return 0;
}

const struct encoder_info *builtin_info(const struct runtime *r)
{
	const struct builtin *b = (const struct builtin *)r;
	return b->weights ? encoder_model_info(b->weights) : NULL;
}
