#include "hash/work.h"

#include <math.h>
#include <string.h>

#include "base/panic.h"
#include "hash/round_priv.h"

/*
 * The second block of a header is W0 = merkle tail, W1 = time, W2 = nbits, W3 = nonce, then the padding: W4 =
 * 0x80000000, W5..W14 = 0, W15 = 640 bits. Whatever the nonce does not reach is computed here, once per job.
 */
static void
fill_schedule(struct hash_work *w)
{
	uint32_t m[16] = { [4] = 0x80000000, [15] = 640 };

	for (int i = 0; i < 3; i++)
		m[i] = load_be32(w->header + 64 + 4 * i);
	w->w16 = sigma0(m[1]) + m[0];
	w->w17 = sigma1(m[15]) + sigma0(m[2]) + m[1];
	w->c18 = sigma1(w->w16) + m[2];
	w->c19 = sigma1(w->w17) + sigma0(m[4]);
	w->c31 = sigma0(w->w16) + m[15];
	w->c32 = sigma0(w->w17) + w->w16;
	for (int t = 0; t < 16; t++)
		w->kw[t] = sha256_k[t] + m[t];
	w->kw[16] = sha256_k[16] + w->w16;
	w->kw[17] = sha256_k[17] + w->w17;
}

static void
fill_version(struct hash_work *w, struct hash_version *v, uint32_t version)
{
	uint8_t first[SHA256_BLOCK_SIZE];

	memcpy(first, w->header, sizeof(first));
	store_le32(first, version);
	v->version = version;
	sha256_midstate(first, v->midstate);
	memcpy(v->state3, v->midstate, sizeof(v->state3));
	for (int t = 0; t < 4; t++)
		sha256_round(v->state3, w->kw[t]);
	/* h of rounds 4, 5, 6 is what g, f, ... hold now: state3[7], [6], [5] */
	for (int i = 0; i < 3; i++)
		v->hkw[i] = v->state3[7 - i] + w->kw[4 + i];
}

void
hash_work_set_target(struct hash_work *w, const uint8_t target[SHA256_SIZE])
{
	uint32_t top = load_le32(target + 28);
	uint8_t mask[4];

	memcpy(w->target, target, SHA256_SIZE);
	/* leading zero bits of the target's top word, in the byte order of the digest's last (big-endian) word */
	store_le32(mask, top == 0 ? UINT32_MAX : ~(UINT32_MAX >> __builtin_clz(top)));
	w->filter = load_be32(mask);
}

int
hash_work_init_rolled(struct hash_work *w, const uint8_t header[HASH_HEADER_SIZE],
	const uint8_t target[SHA256_SIZE], const uint32_t *versions, size_t n, struct err *err)
{
	if (n < 1 || n > HASH_VERSIONS_MAX)
		return err_set(err, HCP_EINVAL, "versions", "%zu versions given; 1 to %d are allowed", n,
			HASH_VERSIONS_MAX);
	memset(w, 0, sizeof(*w));
	memcpy(w->header, header, HASH_HEADER_SIZE);
	hash_work_set_target(w, target);
	fill_schedule(w);
	w->nversions = (uint32_t)n;
	for (size_t i = 0; i < n; i++)
		fill_version(w, &w->versions[i], versions[i]);
	return 0;
}

void
hash_work_init(struct hash_work *w, const uint8_t header[HASH_HEADER_SIZE], const uint8_t target[SHA256_SIZE])
{
	uint32_t version = load_le32(header);
	int r = hash_work_init_rolled(w, header, target, &version, 1, NULL);

	must(r == 0);
}

void
hash_work_digest(const struct hash_work *w, uint32_t version_index, uint32_t nonce, uint8_t ret_hash[SHA256_SIZE])
{
	uint8_t tail[16];

	must(version_index < w->nversions);
	memcpy(tail, w->header + SHA256_BLOCK_SIZE, 12);
	store_le32(tail + 12, nonce);
	sha256d_header_tail(w->versions[version_index].midstate, tail, ret_hash);
}

int
hash_target_from_nbits(uint32_t nbits, uint8_t ret_target[SHA256_SIZE])
{
	uint32_t mantissa = nbits & 0x007fffff;
	int exponent = (int)(nbits >> 24);
	uint8_t t[SHA256_SIZE] = { 0 };

	if (nbits & 0x00800000)
		return HCP_ERANGE;
	/* value = mantissa * 256^(exponent - 3) */
	for (int i = 0; i < 3; i++) {
		int at = exponent - 3 + i;
		uint8_t byte = (uint8_t)(mantissa >> (8 * i));

		if (byte == 0 || at < 0)
			continue;
		if (at >= SHA256_SIZE)
			return HCP_ERANGE;
		t[at] = byte;
	}
	for (int i = 0; i < SHA256_SIZE; i++)
		if (t[i] != 0) {
			memcpy(ret_target, t, sizeof(t));
			return 0;
		}
	return HCP_ERANGE;
}

int
hash_target_from_difficulty(double difficulty, uint8_t ret_target[SHA256_SIZE])
{
	uint8_t t[SHA256_SIZE] = { 0 };
	double value, mantissa;
	uint64_t digits;
	int exponent;

	if (!isfinite(difficulty) || difficulty <= 0)
		return HCP_ERANGE;
	value = ldexp(65535.0, 208) / difficulty;
	if (value < 1)
		return HCP_ERANGE;
	if (value >= ldexp(1, 256)) {
		memset(ret_target, 0xff, SHA256_SIZE);
		return 0;
	}
	mantissa = frexp(value, &exponent); /* value = mantissa * 2^exponent, 0.5 <= mantissa < 1 */
	digits = (uint64_t)ldexp(mantissa, 53); /* exact: a double has 53 bits */
	for (int bit = 0; bit < 53; bit++) {
		int at = exponent - 53 + bit;

		if (at >= 0 && (digits >> bit & 1))
			t[at / 8] |= (uint8_t)(1 << at % 8);
	}
	memcpy(ret_target, t, sizeof(t));
	return 0;
}

double
hash_difficulty_of(const uint8_t hash[SHA256_SIZE])
{
	double value = 0;

	for (int i = SHA256_SIZE - 1; i >= 0; i--)
		value = value * 256 + hash[i];
	return value > 0 ? ldexp(65535.0, 208) / value : INFINITY;
}

bool
hash_meets(const uint8_t hash[SHA256_SIZE], const uint8_t target[SHA256_SIZE])
{
	for (int i = SHA256_SIZE - 1; i >= 0; i--)
		if (hash[i] != target[i])
			return hash[i] < target[i];
	return true;
}

void
hash_reverse(uint8_t dst[SHA256_SIZE], const uint8_t src[SHA256_SIZE])
{
	for (int i = 0; i < SHA256_SIZE / 2; i++) {
		uint8_t low = src[i], high = src[SHA256_SIZE - 1 - i];

		dst[i] = high;
		dst[SHA256_SIZE - 1 - i] = low;
	}
}

int
hash_merkle_root(const uint8_t *coinbase, size_t coinbase_n, const uint8_t (*branches)[SHA256_SIZE], size_t n,
	uint8_t ret_root[SHA256_SIZE])
{
	uint8_t pair[2 * SHA256_SIZE];

	if (n > HASH_BRANCHES_MAX)
		return HCP_EINVAL;
	sha256d_of(coinbase, coinbase_n, pair);
	for (size_t i = 0; i < n; i++) {
		memcpy(pair + SHA256_SIZE, branches[i], SHA256_SIZE);
		sha256d_of(pair, sizeof(pair), pair);
	}
	memcpy(ret_root, pair, SHA256_SIZE);
	return 0;
}
