#ifndef HCP_INFER_ENCODER_PRIV_H
#define HCP_INFER_ENCODER_PRIV_H

#include "infer/encoder.h"
#include "infer/kern_priv.h"
#include "infer/wordpiece.h"

/* y = x·wᵀ + bias, w packed the way the kernel wants it. */
struct encoder_dense {
	void *packed; /* in the model's block */
	float *bias;  /* in the model's block */
	uint32_t n, k;
};

struct encoder_norm {
	float *gain, *bias; /* in the model's block */
};

struct encoder_layer {
	struct encoder_dense qkv; /* the three projections as one matrix */
	struct encoder_dense attn_out;
	struct encoder_norm attn_norm;
	struct encoder_dense up, down;
	struct encoder_norm out_norm;
};

struct encoder_model {
	struct encoder_info info;
	const struct kern *kern;
	struct wordpiece wordpiece;
	float eps;            /* of the layer norms */
	void *block;          /* owned: all weights, each on a 64-byte boundary */
	uint16_t *word_emb;   /* [vocab][hidden] halves */
	float *position_emb;  /* [positions][hidden], token type 0 added in */
	struct encoder_norm emb_norm;
	struct encoder_layer layers[ENCODER_LAYERS_MAX];
};

/* Fills info's dimensions and eps from config.json's text. Pure. */
int encoder_parse_config(struct encoder_info *info, float *ret_eps, struct str text, struct err *err) MUST_CHECK;
/* Lowers info->max_tokens to sentence_bert_config.json's max_seq_length. Pure. */
int encoder_parse_max_tokens(struct encoder_info *info, struct str text, struct err *err) MUST_CHECK;

#endif
