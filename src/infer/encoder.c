#include "infer/encoder.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/panic.h"
#include "infer/encoder_priv.h"
#include "infer/safetensors.h"

#define ROWS_MAX KERN_GEMM_ROWS_MAX /* token rows of one pass through the layers */

/* Several short texts share one pass, so the weights are read once for all of them. */
struct encoder {
	const struct encoder_model *m; /* borrowed */
	void *block;                   /* owned: what follows, each on a 64-byte boundary */
	size_t block_bytes;
	float *x;     /* [ROWS_MAX][hidden] */
	float *qkv;   /* [ROWS_MAX][3·hidden] */
	float *y;     /* [ROWS_MAX][hidden] */
	float *wide;  /* [ROWS_MAX][intermediate] */
	float *tmp;   /* of the kernels */
	uint32_t ids[ROWS_MAX];
	size_t n_rows;
	struct {
		uint32_t from, n; /* rows of one text */
	} seqs[ROWS_MAX];
	size_t n_seqs;
};

static_assert(ENCODER_TOKENS_MAX <= ROWS_MAX, "one text must fit a pass");

static size_t max3(size_t a, size_t b, size_t c)
{
	size_t m = a > b ? a : b;
	return m > c ? m : c;
}

int encoder_new(const struct encoder_model *m, struct encoder **ret, struct err *err)
{
	size_t h = m->info.hidden, wide = m->info.intermediate;
	size_t tmp = max3(m->kern->gemm_scratch(ROWS_MAX, h), m->kern->gemm_scratch(ROWS_MAX, wide),
			  m->kern->attend_scratch(ROWS_MAX, h / m->info.heads));
	const size_t floats[] = { ROWS_MAX * h, ROWS_MAX * 3 * h, ROWS_MAX * h, ROWS_MAX * wide, tmp };
	size_t total = 16;
	for (size_t i = 0; i < 5; i++)
		total += (floats[i] + 15) / 16 * 16;
	struct encoder *e = mem_calloc(1, sizeof(*e));
	void *block = mem_alloc(total * sizeof(float));
	if (!e || !block) {
		mem_free(e);
		mem_free(block);
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu bytes of scratch", total * sizeof(float));
	}
	e->m = m;
	e->block = block;
	e->block_bytes = total * sizeof(float);
	float *at = (float *)(((uintptr_t)block + 63) / 64 * 64);
	float **const parts[] = { &e->x, &e->qkv, &e->y, &e->wide, &e->tmp };
	for (size_t i = 0; i < 5; i++) {
		*parts[i] = at;
		at += (floats[i] + 15) / 16 * 16;
	}
	*ret = e;
	return 0;
}

void encoder_free(struct encoder *e)
{
	if (!e)
		return;
	mem_free(e->block);
	mem_free(e);
}

void encoder_idle(struct encoder *e)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)e->block, to = from + e->block_bytes;
	from = (from + page - 1) / page * page;
	to = to / page * page;
	if (from < to)
		(void)madvise((void *)from, to - from, MADV_FREE); /* advice: an older system may decline */
}

size_t encoder_scratch_bytes(const struct encoder *e)
{
	return e->block_bytes;
}

size_t encoder_tokenize(const struct encoder_model *m, struct str text, uint32_t ids[ENCODER_TOKENS_MAX])
{
	return wordpiece_encode(&m->wordpiece, text, ids, m->info.max_tokens);
}

static void look_up(struct encoder *e)
{
	const struct encoder_model *m = e->m;
	size_t h = m->info.hidden;
	for (size_t s = 0; s < e->n_seqs; s++) {
		for (size_t i = 0; i < e->seqs[s].n; i++) {
			size_t row = e->seqs[s].from + i;
			const uint16_t *w = m->word_emb + e->ids[row] * h;
			const float *p = m->position_emb + i * h;
			for (size_t c = 0; c < h; c++)
				e->x[row * h + c] = safetensors_half_to_float(w[c]) + p[c];
		}
	}
	m->kern->add_norm(e->x, NULL, e->n_rows, h, m->emb_norm.gain, m->emb_norm.bias, m->eps);
}

static void dense(struct encoder *e, float *y, const float *x, const struct encoder_dense *d)
{
	e->m->kern->gemm(y, x, e->n_rows, d->packed, d->bias, d->n, d->k, e->tmp);
}

static void run_layer(struct encoder *e, const struct encoder_layer *l)
{
	const struct kern *k = e->m->kern;
	size_t h = e->m->info.hidden, heads = e->m->info.heads;
	dense(e, e->qkv, e->x, &l->qkv);
	for (size_t s = 0; s < e->n_seqs; s++)
		k->attend(e->y + e->seqs[s].from * h, e->qkv + e->seqs[s].from * 3 * h, e->seqs[s].n, heads, h / heads,
			  e->tmp);
	dense(e, e->qkv, e->y, &l->attn_out); /* qkv is spent; its room holds the result */
	k->add_norm(e->x, e->qkv, e->n_rows, h, l->attn_norm.gain, l->attn_norm.bias, e->m->eps);
	dense(e, e->wide, e->x, &l->up);
	k->gelu(e->wide, e->n_rows * e->m->info.intermediate);
	dense(e, e->y, e->wide, &l->down);
	k->add_norm(e->x, e->y, e->n_rows, h, l->out_norm.gain, l->out_norm.bias, e->m->eps);
}

/* Mean over the rows of one text, then length 1 (a zero vector stays zero). */
static void pool(const float *x, size_t rows, size_t h, float *out)
{
	memcpy(out, x, h * sizeof(float));
	for (size_t r = 1; r < rows; r++)
		for (size_t c = 0; c < h; c++)
			out[c] += x[r * h + c];
	double sq = 0;
	for (size_t c = 0; c < h; c++)
		sq += (double)out[c] * out[c];
	float scale = sq > 0 ? (float)(1 / sqrt(sq)) : 0;
	for (size_t c = 0; c < h; c++)
		out[c] *= scale;
}

/* Runs what is gathered and writes n_seqs rows to out. */
static void flush(struct encoder *e, float *out)
{
	size_t h = e->m->info.hidden;
	if (e->n_seqs == 0)
		return;
	look_up(e);
	for (uint32_t i = 0; i < e->m->info.layers; i++)
		run_layer(e, &e->m->layers[i]);
	for (size_t s = 0; s < e->n_seqs; s++)
		pool(e->x + e->seqs[s].from * h, e->seqs[s].n, h, out + s * h);
	e->n_rows = 0;
	e->n_seqs = 0;
}

/* Appends one text's ids, running what was gathered before if they do not fit; *done counts finished inputs. */
static void gather(struct encoder *e, const uint32_t *ids, size_t n, float *out, size_t *done)
{
	if (e->n_rows + n > ROWS_MAX) {
		size_t finished = e->n_seqs;
		flush(e, out + *done * e->m->info.hidden);
		*done += finished;
	}
	memcpy(e->ids + e->n_rows, ids, n * sizeof(*ids));
	e->seqs[e->n_seqs].from = (uint32_t)e->n_rows;
	e->seqs[e->n_seqs++].n = (uint32_t)n;
	e->n_rows += n;
}

static int check_count(size_t n, struct err *err)
{
	if (n > ENCODER_INPUTS_MAX)
		return err_set(err, HCP_ELIMIT, "input", "at most %u inputs a call", ENCODER_INPUTS_MAX);
	return 0;
}

int encoder_embed(struct encoder *e, const struct str *texts, size_t n, float *out, uint32_t *ret_tokens,
		  struct err *err)
{
	int rc = check_count(n, err);
	if (rc < 0)
		return rc;
	uint32_t ids[ENCODER_TOKENS_MAX];
	size_t done = 0;
	for (size_t i = 0; i < n; i++) {
		size_t len = encoder_tokenize(e->m, texts[i], ids);
		gather(e, ids, len, out, &done);
		if (ret_tokens)
			ret_tokens[i] = (uint32_t)len;
	}
	flush(e, out + done * e->m->info.hidden);
	return 0;
}

static int check_ids(const struct encoder_model *m, const struct encoder_ids *inputs, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < inputs[i].n; j++) {
			if (inputs[i].ids[j] < m->info.vocab)
				continue;
			char field[64];
			snprintf(field, sizeof(field), "input[%zu][%zu]", i, j);
			return err_set(err, HCP_EINVAL, field, "token ids of this model are below %u", m->info.vocab);
		}
	}
	return 0;
}

int encoder_embed_ids(struct encoder *e, const struct encoder_ids *inputs, size_t n, float *out, uint32_t *ret_tokens,
		      struct err *err)
{
	int rc = check_count(n, err);
	if (rc == 0)
		rc = check_ids(e->m, inputs, n, err);
	if (rc < 0)
		return rc;
	uint32_t ids[ENCODER_TOKENS_MAX];
	size_t done = 0, room = e->m->info.max_tokens - 2;
	for (size_t i = 0; i < n; i++) {
		size_t len = inputs[i].n < room ? inputs[i].n : room;
		ids[0] = e->m->wordpiece.cls;
		if (len)
			memcpy(ids + 1, inputs[i].ids, len * sizeof(*ids));
		ids[len + 1] = e->m->wordpiece.sep;
		gather(e, ids, len + 2, out, &done);
		if (ret_tokens)
			ret_tokens[i] = (uint32_t)len + 2;
	}
	flush(e, out + done * e->m->info.hidden);
	return 0;
}
