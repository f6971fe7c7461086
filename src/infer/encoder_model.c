#include <stdio.h>
#include <string.h>

#include <cblas.h>

#include "base/mem.h"
#include "base/panic.h"
#include "infer/encoder_priv.h"
#include "infer/filemap.h"
#include "infer/safetensors.h"

#define ALIGN 64u
#define SMALL_FILE_MAX (64u << 20) /* vocabulary and configurations */

/*
 * Loading goes over the same list of tensors twice: with base NULL it adds up sizes, then, with the block allocated,
 * it fills it. So the sizes cannot disagree with the use.
 */
struct loader {
	struct encoder_model *m;
	const struct safetensors *st;
	const char *prefix; /* "bert." or "" */
	uint8_t *base;      /* NULL in the first pass */
	uint64_t used;
	float *tmp;         /* the matrix being packed; second pass only */
	uint64_t tmp_n;     /* floats that tmp must hold */
	struct err *err;
};

static void *take(struct loader *l, uint64_t size)
{
	void *p = l->base ? l->base + l->used : NULL;
	l->used += (size + ALIGN - 1) / ALIGN * ALIGN;
	return p;
}

/* cols 0: a vector of `rows`. */
static int tensor(struct loader *l, const char *name, uint64_t rows, uint64_t cols, const struct safetensor **ret)
{
	char full[160];
	snprintf(full, sizeof(full), "%s%s", l->prefix, name);
	const struct safetensor *t = safetensors_find(l->st, full);
	if (!t)
		return err_set(l->err, HCP_EPARSE, full, "the checkpoint has no such tensor");
	if (t->n_dims != (cols ? 2u : 1u) || t->dims[0] != rows || (cols && t->dims[1] != cols))
		return err_set(l->err, HCP_EPARSE, full, "the shape is not that of config.json");
	*ret = t;
	return 0;
}

static int load_vector(struct loader *l, const char *layer, const char *name, uint64_t n, float *into)
{
	char full[128];
	snprintf(full, sizeof(full), "%s%s", layer, name);
	const struct safetensor *t = NULL;
	int rc = tensor(l, full, n, 0, &t);
	if (rc == 0 && into)
		rc = safetensor_read_f32(t, into, l->err);
	return rc;
}

static int load_norm(struct loader *l, const char *layer, const char *name, struct encoder_norm *d)
{
	char full[128];
	uint32_t h = l->m->info.hidden;
	d->gain = take(l, h * sizeof(float));
	d->bias = take(l, h * sizeof(float));
	snprintf(full, sizeof(full), "%s.weight", name);
	int rc = load_vector(l, layer, full, h, d->gain);
	snprintf(full, sizeof(full), "%s.bias", name);
	return rc < 0 ? rc : load_vector(l, layer, full, h, d->bias);
}

/* Stacks the rows of `parts` matrices of n×k into one and packs it. */
static int load_dense(struct loader *l, const char *layer, const char *const *names, uint32_t parts, uint32_t n,
		      uint32_t k, struct encoder_dense *d)
{
	d->n = parts * n;
	d->k = k;
	d->packed = take(l, l->m->kern->packed_size(d->n, k));
	d->bias = take(l, d->n * sizeof(float));
	if ((uint64_t)d->n * k > l->tmp_n)
		l->tmp_n = (uint64_t)d->n * k;
	for (uint32_t i = 0; i < parts; i++) {
		char full[128];
		const struct safetensor *t = NULL;
		snprintf(full, sizeof(full), "%s%s.weight", layer, names[i]);
		int rc = tensor(l, full, n, k, &t);
		if (rc == 0 && l->base)
			rc = safetensor_read_f32(t, l->tmp + (size_t)i * n * k, l->err);
		snprintf(full, sizeof(full), "%s.bias", names[i]);
		if (rc == 0)
			rc = load_vector(l, layer, full, n, l->base ? d->bias + (size_t)i * n : NULL);
		if (rc < 0)
			return rc;
	}
	if (l->base)
		l->m->kern->pack(d->packed, l->tmp, d->n, k);
	return 0;
}

static int load_layer(struct loader *l, uint32_t i)
{
	static const char *const qkv[] = { "attention.self.query", "attention.self.key", "attention.self.value" };
	static const char *const attn_out[] = { "attention.output.dense" };
	static const char *const up[] = { "intermediate.dense" };
	static const char *const down[] = { "output.dense" };
	const struct encoder_info *in = &l->m->info;
	struct encoder_layer *y = &l->m->layers[i];
	char p[40];
	snprintf(p, sizeof(p), "encoder.layer.%u.", i);
	int rc = load_dense(l, p, qkv, 3, in->hidden, in->hidden, &y->qkv);
	if (rc == 0)
		rc = load_dense(l, p, attn_out, 1, in->hidden, in->hidden, &y->attn_out);
	if (rc == 0)
		rc = load_norm(l, p, "attention.output.LayerNorm", &y->attn_norm);
	if (rc == 0)
		rc = load_dense(l, p, up, 1, in->intermediate, in->hidden, &y->up);
	if (rc == 0)
		rc = load_dense(l, p, down, 1, in->hidden, in->intermediate, &y->down);
	if (rc == 0)
		rc = load_norm(l, p, "output.LayerNorm", &y->out_norm);
	return rc;
}

static int load_embeddings(struct loader *l)
{
	struct encoder_model *m = l->m;
	const uint64_t h = m->info.hidden, words = m->info.vocab * h, pos = m->info.positions * h;
	const struct safetensor *word = NULL, *position = NULL, *type = NULL;
	m->word_emb = take(l, words * sizeof(uint16_t));
	m->position_emb = take(l, pos * sizeof(float));
	if (words > l->tmp_n)
		l->tmp_n = words;
	int rc = tensor(l, "embeddings.word_embeddings.weight", m->info.vocab, h, &word);
	if (rc == 0)
		rc = tensor(l, "embeddings.position_embeddings.weight", m->info.positions, h, &position);
	if (rc == 0)
		rc = load_norm(l, "", "embeddings.LayerNorm", &m->emb_norm);
	if (rc < 0)
		return rc;
	char full[160];
	snprintf(full, sizeof(full), "%sembeddings.token_type_embeddings.weight", l->prefix);
	type = safetensors_find(l->st, full);
	if (!type || type->n_dims != 2 || type->dims[0] < 1 || type->dims[0] > 16 || type->dims[1] != h)
		return err_set(l->err, HCP_EPARSE, full, "the checkpoint has no such tensor of 1 to 16 rows");
	if (16 * h > l->tmp_n)
		l->tmp_n = 16 * h;
	if (!l->base)
		return 0;
	rc = safetensor_read_f32(word, l->tmp, l->err);
	for (uint64_t i = 0; rc == 0 && i < words; i++)
		m->word_emb[i] = safetensors_float_to_half(l->tmp[i]);
	if (rc == 0)
		rc = safetensor_read_f32(position, m->position_emb, l->err);
	if (rc == 0)
		rc = safetensor_read_f32(type, l->tmp, l->err);
	for (uint64_t i = 0; rc == 0 && i < pos; i++)
		m->position_emb[i] += l->tmp[i % h];
	return rc;
}

static int load_pass(struct loader *l)
{
	l->used = 0;
	int rc = load_embeddings(l);
	for (uint32_t i = 0; rc == 0 && i < l->m->info.layers; i++)
		rc = load_layer(l, i);
	return rc;
}

static int load_weights(struct encoder_model *m, const struct safetensors *st, struct err *err)
{
	const char *prefix = safetensors_find(st, "bert.embeddings.word_embeddings.weight") ? "bert." : "";
	struct loader l = { .m = m, .st = st, .prefix = prefix, .err = err };
	int rc = load_pass(&l);
	if (rc < 0)
		return rc;
	m->block = mem_alloc(l.used + ALIGN);
	l.tmp = mem_alloc(l.tmp_n * sizeof(float));
	if (!m->block || !l.tmp) {
		rc = err_set(err, HCP_ENOMEM, "model.safetensors", "no memory for %llu bytes of weights",
			     (unsigned long long)l.used);
	} else {
		l.base = (uint8_t *)(((uintptr_t)m->block + ALIGN - 1) / ALIGN * ALIGN);
		m->info.resident_bytes = l.used;
		rc = load_pass(&l);
	}
	mem_free(l.tmp);
	return rc;
}

static struct str text_of(const struct filemap *f)
{
	return (struct str){ f->p ? (const char *)f->p : "", f->n };
}

static int open_vocab(struct encoder_model *m, const char *dir, struct err *err)
{
	struct filemap f = { 0 };
	int rc = filemap_open(&f, dir, "vocab.txt", SMALL_FILE_MAX, err);
	if (rc < 0)
		return rc;
	rc = wordpiece_init(&m->wordpiece, text_of(&f), err);
	filemap_close(&f);
	if (rc == 0 && m->wordpiece.n_vocab > m->info.vocab)
		rc = err_set(err, HCP_EPARSE, "vocab.txt", "%u entries, but vocab_size is %u", m->wordpiece.n_vocab,
			     m->info.vocab);
	return rc;
}

static int open_config(struct encoder_model *m, const char *dir, struct err *err)
{
	struct filemap f = { 0 };
	int rc = filemap_open(&f, dir, "config.json", SMALL_FILE_MAX, err);
	if (rc < 0)
		return rc;
	rc = encoder_parse_config(&m->info, &m->eps, text_of(&f), err);
	filemap_close(&f);
	if (rc < 0)
		return rc;
	rc = filemap_open(&f, dir, "sentence_bert_config.json", SMALL_FILE_MAX, NULL);
	if (rc == HCP_ENOTFOUND)
		return 0;
	if (rc < 0)
		return err_set(err, rc, "sentence_bert_config.json", "cannot be read");
	rc = encoder_parse_max_tokens(&m->info, text_of(&f), err);
	filemap_close(&f);
	return rc;
}

static int open_weights(struct encoder_model *m, const char *dir, struct err *err)
{
	struct filemap f = { 0 };
	struct safetensors st = { 0 };
	int rc = filemap_open(&f, dir, "model.safetensors", ENCODER_FILE_MAX, err);
	if (rc < 0)
		return rc;
	rc = safetensors_init(&st, f.p, f.n, err);
	if (rc == 0)
		rc = load_weights(m, &st, err);
	safetensors_release(&st);
	filemap_close(&f);
	return rc;
}

static void set_name(struct encoder_info *info, const char *dir)
{
	size_t n = strlen(dir);
	while (n && dir[n - 1] == '/')
		n--;
	size_t from = n;
	while (from && dir[from - 1] != '/')
		from--;
	snprintf(info->name, sizeof(info->name), "%.*s", (int)(n - from), dir + from);
}

int encoder_model_open(const char *dir, const struct encoder_opts *opts, struct encoder_model **ret, struct err *err)
{
	const char *want = opts ? opts->kernel : NULL;
	const struct kern *kern = kern_find(want);
	if (!kern)
		return err_set(err, HCP_EINVAL, "kernel", "\"%.32s\" is unknown, or this processor cannot run it", want);
	struct encoder_model *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	m->kern = kern;
	m->info.kernel = kern->name;
	set_name(&m->info, dir);
	if (kern == kern_blas())
		openblas_set_num_threads(opts && opts->blas_threads > 0 ? opts->blas_threads : 1);
	int rc = open_config(m, dir, err);
	if (rc == 0)
		rc = open_vocab(m, dir, err);
	if (rc == 0)
		rc = open_weights(m, dir, err);
	if (rc < 0) {
		encoder_model_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void encoder_model_free(struct encoder_model *m)
{
	if (!m)
		return;
	wordpiece_release(&m->wordpiece);
	mem_free(m->block);
	mem_free(m);
}

const struct encoder_info *encoder_model_info(const struct encoder_model *m)
{
	return &m->info;
}
