#ifndef HCP_INFER_OPENAI_H
#define HCP_INFER_OPENAI_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Bodies of POST /v1/embeddings in the shape of the OpenAI API reference ("Create embeddings"). Pure.
 *
 *   {"model": "…", "input": "…" | ["…", …] | [1, 2, …] | [[1, 2], …],
 *    "encoding_format": "float" | "base64", "dimensions": n, "user": "…"}
 *
 * Other fields are refused by name, so a typing error does not pass unnoticed.
 */
#define OPENAI_INPUTS_MAX 2048u
#define OPENAI_IDS_MAX 8192u     /* token ids of one input */
#define OPENAI_MODEL_MAX 128u    /* bytes of `model` */
#define OPENAI_USER_MAX 512u     /* bytes of `user` */
#define OPENAI_DIMENSIONS_MAX 65536u

enum openai_encoding {
	OPENAI_FLOAT,
	OPENAI_BASE64,
};

/* One element of `input`: a text, or the ids of one. */
struct openai_input {
	struct str text;     /* used where ids is NULL; in the arena */
	const uint32_t *ids; /* in the arena */
	size_t n_ids;
};

struct openai_embeddings {
	struct str model;                  /* in the arena, as are all below */
	const struct openai_input *inputs;
	size_t n_inputs;                   /* 1 to OPENAI_INPUTS_MAX */
	enum openai_encoding encoding;
	uint32_t dimensions;               /* 0: not asked for */
	struct str user;                   /* p NULL if absent */
};

/*
 * Parses a body of n bytes, at most max_n. Everything in *ret lives in the arena. err->field is the JSON path
 * ("input[3][1]", "encoding_format"); HCP_EPARSE (not JSON), HCP_EINVAL (a field is wrong, missing or unknown),
 * HCP_ELIMIT (too large), HCP_ENOMEM.
 */
int openai_parse_embeddings(struct openai_embeddings *ret, struct str body, size_t max_n, struct arena *arena,
			    struct err *err) MUST_CHECK;

/*
 * Appends the response: n rows of dim floats, in the order of the inputs, base64 being that of little-endian IEEE
 * singles. prompt_tokens is their sum. Failures stick to b.
 */
void openai_write_embeddings(struct buf *b, struct str model, const float *rows, size_t n, size_t dim,
			     enum openai_encoding encoding, uint64_t prompt_tokens);

/* HTTP status for an error code: 400, 401, 403, 404, 413, 429, 500, 503 or 504. */
int openai_status(int code);
/* Appends {"error": {"message", "type", "param", "code"}} for an error. */
void openai_write_error(struct buf *b, const struct err *err);

/* Appends the object of GET /v1/models for one model; created_s is Unix time. */
void openai_write_models(struct buf *b, struct str model, int64_t created_s);

#endif
