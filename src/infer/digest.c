#include "infer/digest.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/hex.h"
#include "base/str.h"
#include "infer/encoder.h"
#include "infer/filemap.h"

enum { SHA256_BYTES = 32 };

static int sha256_hex(const void *p, size_t n, char hex[2 * SHA256_BYTES + 1], struct err *err)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	if (!EVP_Digest(p ? p : "", n, raw, &len, EVP_sha256(), NULL) || len != SHA256_BYTES)
		return err_set(err, HCP_ENOMEM, "", "no memory for a digest");
	hex_encode(hex, raw, SHA256_BYTES);
	return 0;
}

int model_digest(const char *dir, char ret[MODEL_DIGEST_MAX], struct err *err)
{
	static const char *const names[] = { "config.json", "model.safetensors", "sentence_bert_config.json", "vocab.txt" };
	char hex[2 * SHA256_BYTES + 1];
	struct buf lines;
	int rc = 0;
	buf_init(&lines, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
		struct filemap f = { 0 };
		rc = filemap_open(&f, dir, names[i], ENCODER_FILE_MAX, err);
		if (rc == HCP_ENOTFOUND && i > 0) {
			rc = 0;
			continue;
		}
		if (rc == 0)
			rc = sha256_hex(f.p, f.n, hex, err);
		if (rc == 0)
			buf_printf(&lines, "%s  %s\n", hex, names[i]);
		filemap_close(&f);
	}
	if (rc == 0 && buf_failed(&lines))
		rc = err_set(err, HCP_ENOMEM, "", "no memory for a digest");
	if (rc == 0)
		rc = sha256_hex(lines.data, lines.n, hex, err);
	buf_release(&lines);
	if (rc == 0)
		snprintf(ret, MODEL_DIGEST_MAX, "sha256:%s", hex);
	return rc;
}
