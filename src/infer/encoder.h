#ifndef HCP_INFER_ENCODER_H
#define HCP_INFER_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Sentence embeddings with a BERT-style encoder (Devlin et al. 2018; sentence-transformers' pooling):
 *
 *   texts ─▶ ids ─▶ [packed rows, no padding] ─▶ L × (attention, feed-forward) ─▶ mean over a text ─▶ unit vector
 *
 * `encoder_model` is the weights: read-only after opening, shared by any number of threads, and must outlive its
 * encoders. `encoder` is one thread's scratch; embedding allocates nothing.
 *
 * A model folder holds config.json, vocab.txt, model.safetensors (F32, F16 or BF16) and, if the model was made for
 * less than its positions, sentence_bert_config.json. Dense weights are packed at opening, as halves where the
 * processor converts them (cosine with single precision above 0.9999), and the file is let go.
 */
#define ENCODER_TOKENS_MAX 256u  /* ids of one text; what a longer model would take beyond is cut */
#define ENCODER_INPUTS_MAX 2048u /* texts of one call */
#define ENCODER_HIDDEN_MAX 4096u
#define ENCODER_LAYERS_MAX 64u
#define ENCODER_NAME_MAX 64u
#define ENCODER_FILE_MAX (8ull << 30)

struct encoder_info {
	char name[ENCODER_NAME_MAX]; /* last part of the folder's path */
	const char *kernel;          /* "amx", "avx512", "avx2" or "blas" */
	uint32_t hidden;             /* floats of an embedding */
	uint32_t layers, heads, intermediate, positions, vocab;
	uint32_t max_tokens;         /* per text, [CLS] and [SEP] included; longer texts are cut */
	uint64_t resident_bytes;     /* of weights */
};

struct encoder_opts {
	const char *kernel; /* NULL or "auto": the fastest; else one of the names above */
	int blas_threads;   /* for "blas" only, process-wide in OpenBLAS; 0 means 1 */
};

struct encoder_model;
struct encoder;

/*
 * Reads the folder (blocking I/O, tens of milliseconds). opts may be NULL.
 * HCP_ENOTFOUND (no such file), HCP_EPARSE / HCP_EUNSUPPORTED (err->field names file or tensor), HCP_ELIMIT,
 * HCP_EIO, HCP_ENOMEM; HCP_EINVAL for an unknown kernel.
 */
int encoder_model_open(const char *dir, const struct encoder_opts *opts, struct encoder_model **ret, struct err *err)
	MUST_CHECK;
void encoder_model_free(struct encoder_model *m);
const struct encoder_info *encoder_model_info(const struct encoder_model *m);

int encoder_new(const struct encoder_model *m, struct encoder **ret, struct err *err) MUST_CHECK;
void encoder_free(struct encoder *e);
/* Bytes of scratch. */
size_t encoder_scratch_bytes(const struct encoder *e);
/*
 * Lets the system take the scratch back when it is short of memory, and only then; the next call faults in what was
 * taken. So idling and coming back cost microseconds on a machine with room.
 */
void encoder_idle(struct encoder *e);

/* Writes the ids of a text, [CLS] and [SEP] included; at most info->max_tokens of them. Returns how many. */
size_t encoder_tokenize(const struct encoder_model *m, struct str text, uint32_t ids[ENCODER_TOKENS_MAX]);

/*
 * Embeds n texts: row i of out (n × hidden floats) is the unit vector of texts[i]. ret_tokens (n of them, may be
 * NULL) are the tokens run for each, for metering. HCP_ELIMIT for n > ENCODER_INPUTS_MAX.
 */
int encoder_embed(struct encoder *e, const struct str *texts, size_t n, float *out, uint32_t *ret_tokens,
		  struct err *err) MUST_CHECK;

struct encoder_ids {
	const uint32_t *ids; /* borrowed; pieces of one text without [CLS] and [SEP], which are put around them */
	size_t n;
};

/* The same for texts that were tokenized before. HCP_EINVAL "input[i][j]" for an id beyond the vocabulary. */
int encoder_embed_ids(struct encoder *e, const struct encoder_ids *inputs, size_t n, float *out, uint32_t *ret_tokens,
		      struct err *err) MUST_CHECK;

#endif
