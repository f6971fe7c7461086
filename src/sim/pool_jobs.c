#include "sim/pool_jobs.h"

#include <string.h>

#include "base/panic.h"

enum {
	HALVING_BLOCKS = 210000,
	VERSION = 0x20000000, /* BIP 9 top bits */
	TIP_ZERO_BYTES = 10,  /* a block hash of the 2020s starts with about twenty zero digits */
};

static const char tag[] = "/hcp-sim/";

static void fill(struct rng *r, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = rng_u64(r);
		memcpy(p + i, &v, n - i < 8 ? n - i : 8);
	}
}

void pool_jobs_init(struct pool_jobs *j, uint64_t seed, uint64_t height, uint32_t nbits, uint32_t extranonce2_size)
{
	must(extranonce2_size >= 1 && extranonce2_size <= 8 && height > 0);
	*j = (struct pool_jobs){ .extranonce2_size = extranonce2_size, .nbits = nbits, .height = height - 1 };
	rng_init(&j->rng, seed);
	fill(&j->rng, j->key_hash, sizeof(j->key_hash));
	pool_jobs_foreign_block(j);
}

void pool_jobs_foreign_block(struct pool_jobs *j)
{
	fill(&j->rng, j->tip, sizeof(j->tip));
	memset(j->tip + 32 - TIP_ZERO_BYTES, 0, TIP_ZERO_BYTES);
	j->height++;
}

void pool_jobs_own_block(struct pool_jobs *j, const uint8_t hash[32])
{
	memcpy(j->tip, hash, 32);
	j->height++;
}

uint64_t pool_jobs_subsidy(uint64_t height)
{
	uint64_t halvings = height / HALVING_BLOCKS;
	return halvings >= 64 ? 0 : UINT64_C(5000000000) >> halvings;
}

struct out {
	uint8_t *p;
	size_t n;
};

static void put(struct out *o, const void *p, size_t n)
{
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void put_le(struct out *o, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		o->p[o->n++] = (uint8_t)(v >> (8 * i));
}

/* BIP 34: the height as a minimal script number, pushed. Returns its length. */
static size_t put_height(struct out *o, uint64_t height)
{
	uint8_t digits[9];
	uint8_t n = 0;
	for (uint64_t v = height; v; v >>= 8)
		digits[n++] = (uint8_t)v;
	if (digits[n - 1] & 0x80)
		digits[n++] = 0; /* the top bit is the sign */
	put_le(o, n, 1);
	put(o, digits, n);
	return n + 1U;
}

static void make_coinbase(struct pool_jobs *j, struct stratum_job *job, uint64_t fees_sat)
{
	uint8_t extra = (uint8_t)(POOL_JOBS_EXTRANONCE1 + j->extranonce2_size);
	uint8_t height[10], commitment[32];
	struct out h = { height, 0 }, a = { job->coinb1, 0 }, b = { job->coinb2, 0 };
	put_height(&h, j->height);
	size_t script_n = h.n + 1 + sizeof(tag) - 1 + 1 + extra;

	put_le(&a, 2, 4);              /* transaction version */
	put_le(&a, 1, 1);              /* inputs */
	memset(a.p + a.n, 0, 32);      /* null outpoint */
	a.n += 32;
	put_le(&a, 0xffffffff, 4);
	put_le(&a, script_n, 1);
	put(&a, height, h.n);
	put_le(&a, sizeof(tag) - 1, 1);
	put(&a, tag, sizeof(tag) - 1);
	put_le(&a, extra, 1);          /* push of both extranonces */
	job->coinb1_n = (uint16_t)a.n;

	put_le(&b, 0xffffffff, 4);     /* sequence */
	put_le(&b, 2, 1);              /* outputs */
	put_le(&b, pool_jobs_subsidy(j->height) + fees_sat, 8);
	put_le(&b, 22, 1);
	put_le(&b, 0x1400, 2);         /* OP_0, push of 20 bytes */
	put(&b, j->key_hash, sizeof(j->key_hash));
	put_le(&b, 0, 8);
	put_le(&b, 38, 1);
	put(&b, "\x6a\x24\xaa\x21\xa9\xed", 6); /* OP_RETURN, 36 bytes, BIP 141 magic */
	fill(&j->rng, commitment, sizeof(commitment));
	put(&b, commitment, sizeof(commitment));
	put_le(&b, 0, 4);              /* lock time */
	job->coinb2_n = (uint16_t)b.n;
}

/* On the line every 32-bit word of the previous hash stands with its bytes swapped. */
static void swap_words(uint8_t dst[32], const uint8_t src[32])
{
	for (int i = 0; i < 32; i++)
		dst[i] = src[(i & ~3) | (3 - (i & 3))];
}

void pool_jobs_make(struct pool_jobs *j, uint32_t ntime, bool clean, struct stratum_job *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->version = VERSION;
	ret->nbits = j->nbits;
	ret->ntime = ntime;
	ret->clean = clean;
	swap_words(ret->prevhash, j->tip);
	make_coinbase(j, ret, 2000000 + rng_below(&j->rng, 20000000));
	ret->n_branches = POOL_JOBS_BRANCHES;
	for (int i = 0; i < POOL_JOBS_BRANCHES; i++)
		fill(&j->rng, ret->branches[i], 32);
	j->made++;
}
