#ifndef HCP_INFER_DIGEST_H
#define HCP_INFER_DIGEST_H

#include "base/err.h"

/*
 * What a model folder is, by its files: "sha256:" and the SHA-256, in hex, of the text that
 *
 *	sha256sum config.json model.safetensors sentence_bert_config.json vocab.txt
 *
 * prints in that folder; a file that is not there has no line. So anyone can check it with standard tools.
 */
enum { MODEL_DIGEST_MAX = 7 + 64 + 1 };

/* Reads all of it, ~100 MB: not for an event loop. HCP_ENOTFOUND: there is no config.json; HCP_ELIMIT, HCP_EIO. */
int model_digest(const char *dir, char ret[MODEL_DIGEST_MAX], struct err *err) MUST_CHECK;

#endif
