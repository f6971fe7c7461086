#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/rng.h"
#include "hash/engine.h"

enum { HITS_MAX = 4096 };

/* Headers of Bitcoin's main chain: versions 1 to 4, version bits and rolled versions. Hashes as explorers print. */
static const struct block {
	const char *name;
	uint32_t version;
	const char *previous, *merkle;
	uint32_t time, nbits, nonce;
	const char *hash;
} blocks[] = {
	{ "genesis", 0x00000001, "0000000000000000000000000000000000000000000000000000000000000000",
		"4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b", 1231006505, 0x1d00ffff, 2083236893u,
		"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f" },
	{ "1", 0x00000001, "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
		"0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098", 1231469665, 0x1d00ffff, 2573394689u,
		"00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048" },
	{ "170", 0x00000001, "000000002a22cfee1f2c846adbd12b3e183d4f97683f85dad08a79780a84bd55",
		"7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff", 1231731025, 0x1d00ffff, 1889418792u,
		"00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee" },
	{ "100000", 0x00000001, "000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250",
		"f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766", 1293623863, 0x1b04864c, 274148111u,
		"000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506" },
	{ "125552", 0x00000001, "00000000000008a3a41b85b8b29ad444def299fee21793cd8b9e567eab02cd81",
		"2b12fcf1b09288fcaff797d71e950e71ae42b91e8bdb2304758dfcffc2b620e3", 1305998791, 0x1a44b9f2, 2504433986u,
		"00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d" },
	{ "286819", 0x00000002, "000000000000000117c80378b8da0e33559b5997f2ad55e2f7d18ec1975b9717",
		"871714dcbae6c8193a2bb9b2a69fe1c0440399f38d94b3a0f1b447275a29978a", 1392872245, 0x19015f53, 856192328u,
		"0000000000000000e067a478024addfecdc93628978aa52d91fabd4292982a50" },
	{ "of 2014-11-06", 0x00000002, "00000000000000000cca48eb4b330d91e8d946d344ca302a86a280161b0bffb6",
		"7114b3aa8a049bbc12cdde1008a2dd70e2ed045f698593ca869394ee52aa109d", 1415239972, 0x181bc330, 1678286846u,
		"000000000000000009a11b3972c8e532fe964de937c9e0096b43814e67af3728" },
	{ "368983", 0x00000003, "00000000000000001257f5d580dae939209502a704a25e9c9f74ea36ae744a68",
		"bf0a2803579b8bfd2ae879e98edf0d4aa68fa7e674ff49f8c3797eb6e6a3fbf2", 1439058413, 0x1814dd04, 2859968939u,
		"0000000000000000047b1540e87ce7ea1a736fa3d22734315f91b3eb91e919dd" },
	{ "401184", 0x00000004, "000000000000000003c4a4d9c62b3a7f4893afe14eef8a6a377229d23ad4b1ea",
		"b4afa0502a55fdfa4a5cda6ea2bc546ba527d276ea9c7e848b8cd478cd9b6607", 1457133956, 0x1806f0a8, 3778923481u,
		"000000000000000002e9533a4fe03bb251b3fdb30ffaa384aad133b7fae594cf" },
	{ "410334", 0x00000004, "000000000000000004c43e29f3fcf7f508d445cf640f5df8f89dbbb1eb8d9e4b",
		"08c58fca0c4e8fbeda41cb7ecee19c262050a327dcc30927aa668a875c68378c", 1462442853, 0x18062776, 307247563u,
		"000000000000000002538dfef658564662025e0687b0c65c6d5c9d765984ec5a" },
	{ "410335", 0x20000000, "000000000000000002538dfef658564662025e0687b0c65c6d5c9d765984ec5a",
		"a7729f01017131990c9c1067fb92b11e3b813d0b49ee4d7f1b79a47424499acb", 1462443981, 0x18062776, 3022072156u,
		"000000000000000000f198b9f92bc29fa294be4bb777e61fdd56aac07f174553" },
	{ "481824", 0x20000002, "000000000000000000cbeff0b533f8e1189cf09dfbebf57a8ebe349362811b80",
		"6438250cad442b982801ae6994edb8a9ec63c0a0ba117779fbe7ef7f07cad140", 1503539857, 0x18013ce9, 575995682u,
		"0000000000000000001c8018d9cb3b742ef25114f27563e3fc4a1902167f9893" },
	{ "794143", 0x20800000, "000000000000000000008adec925355277b1b98d19f08f6c41f460a1982b100e",
		"1b815a81b88ccb7b3fcdcaa5b02a126a36b1fd32971990fa1a4e020310949b3b", 1686638166, 0x17057e69, 4257857639u,
		"0000000000000000000293bf6e86820d867cc4ca13cd98326af85bb3bebab9ac" },
	{ "840000", 0x2a5fe000, "0000000000000000000172014ba58d66455762add0512355ad651207918494ab",
		"031b417c3a1828ddf3d6527fc210daafcc9218e81f98257f88d4d43bd7a5894f", 1713571767, 0x17034219, 3932395645u,
		"0000000000000000000320283a032748cef8227873ff4872689bf23f1cda83a5" },
};

static void
unhex(uint8_t *dst, size_t n, const char *s)
{
	assert_int_equal(hex_decode(dst, n, (struct str){ s, strlen(s) }), 0);
}

static void
put_le32(uint8_t *p, uint32_t x)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(x >> (8 * i));
}

static void
unhex_reversed(uint8_t dst[32], const char *s)
{
	unhex(dst, 32, s);
	hash_reverse(dst, dst);
}

/* The header from its fields, the nonce left 0. */
static void
block_header(const struct block *b, uint8_t header[HASH_HEADER_SIZE])
{
	memset(header, 0, HASH_HEADER_SIZE);
	put_le32(header, b->version);
	unhex_reversed(header + 4, b->previous);
	unhex_reversed(header + 36, b->merkle);
	put_le32(header + 68, b->time);
	put_le32(header + 72, b->nbits);
}

static void
random_bytes(struct rng *r, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rng_u64(r);
}

static void
test_sha256_vectors(void **state)
{
	/* FIPS 180-2, appendix B, and the empty message */
	static const struct { const char *text, *digest; } v[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};
	uint8_t got[32], want[32], block[64];
	struct sha256 s;

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		sha256_of(v[i].text, strlen(v[i].text), got);
		unhex(want, 32, v[i].digest);
		assert_memory_equal(got, want, 32);
	}
	memset(block, 'a', sizeof(block));
	sha256_init(&s);
	for (int i = 0; i < 1000000 / 50; i++)
		sha256_update(&s, block, 50);
	sha256_final(&s, got);
	unhex(want, 32, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	assert_memory_equal(got, want, 32);
	sha256d_of("hello", 5, got);
	unhex(want, 32, "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50");
	assert_memory_equal(got, want, 32);
}

static void
test_sha256_pieces(void **state)
{
	struct rng r;
	uint8_t text[300], whole[32], pieces[32];

	rng_init(&r, 7);
	random_bytes(&r, text, sizeof(text));
	for (size_t n = 0; n <= sizeof(text); n++) {
		struct sha256 s;
		size_t at = 0;

		sha256_of(text, n, whole);
		sha256_init(&s);
		while (at < n) {
			size_t take = (size_t)rng_below(&r, n - at + 1);

			sha256_update(&s, text + at, take);
			at += take;
		}
		sha256_final(&s, pieces);
		assert_memory_equal(whole, pieces, 32);
	}
}

/* Long messages take the processor's own instructions, where it has them: they must agree with the portable code. */
static void
test_sha256_long(void **state)
{
	enum { LONGEST = 40 };
	static uint8_t text[LONGEST * 64 + 64];
	struct rng r;

	rng_init(&r, 9);
	for (int turn = 0; turn < 50; turn++) {
		size_t skip = (size_t)rng_below(&r, 64), count = (size_t)rng_below(&r, LONGEST + 1);
		struct sha256 s, by_block;

		random_bytes(&r, text, sizeof(text));
		sha256_init(&s);
		by_block = s;
		sha256_update(&s, text + skip, count * 64);
		for (size_t i = 0; i < count; i++)
			sha256_compress(by_block.h, text + skip + i * 64);
		assert_memory_equal(s.h, by_block.h, sizeof(s.h));
	}
}

static void
test_midstate(void **state)
{
	struct rng r;
	uint8_t header[80], whole[32], tail[32];
	uint32_t mid[8];

	rng_init(&r, 8);
	for (int i = 0; i < 50; i++) {
		random_bytes(&r, header, sizeof(header));
		sha256d_of(header, sizeof(header), whole);
		sha256_midstate(header, mid);
		sha256d_header_tail(mid, header + 64, tail);
		assert_memory_equal(whole, tail, 32);
	}
}

static void
test_nbits(void **state)
{
	static const struct { uint32_t nbits; const char *target; } good[] = {
		{ 0x1d00ffff, "00000000ffff0000000000000000000000000000000000000000000000000000" },
		{ 0x1b04864c, "000000000004864c000000000000000000000000000000000000000000000000" },
		{ 0x17034219, "0000000000000000000342190000000000000000000000000000000000000000" },
		{ 0x207fffff, "7fffff0000000000000000000000000000000000000000000000000000000000" },
		{ 0x2100ffff, "ffff000000000000000000000000000000000000000000000000000000000000" },
		{ 0x03123456, "0000000000000000000000000000000000000000000000000000000000123456" },
		{ 0x02123456, "0000000000000000000000000000000000000000000000000000000000001234" },
		{ 0x01123456, "0000000000000000000000000000000000000000000000000000000000000012" },
	};
	static const uint32_t bad[] = { 0, 0x01003456, 0x00123456, 0x04923456, 0x1d80ffff, 0x21010000, 0x2200ffff,
		0xff123456, 0x20000000 };
	uint8_t got[32], want[32];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(hash_target_from_nbits(good[i].nbits, got), 0);
		unhex_reversed(want, good[i].target);
		assert_memory_equal(got, want, 32);
	}
	memset(want, 0xa5, 32);
	memset(got, 0xa5, 32);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(hash_target_from_nbits(bad[i], got), HCP_ERANGE);
		assert_memory_equal(got, want, 32);
	}
	assert_int_equal(hash_target_from_nbits(0x220000ff, got), 0);
	assert_int_equal(got[31], 0xff);
}

static void
test_difficulty(void **state)
{
	static const double bad[] = { 0, -1, NAN, INFINITY, -INFINITY, 1e80 };
	uint8_t got[32], want[32];
	struct rng r;

	assert_int_equal(hash_target_from_difficulty(1, got), 0);
	assert_int_equal(hash_target_from_nbits(0x1d00ffff, want), 0);
	assert_memory_equal(got, want, 32);
	assert_int_equal(hash_target_from_difficulty(65535, got), 0);
	unhex_reversed(want, "0000000000010000000000000000000000000000000000000000000000000000");
	assert_memory_equal(got, want, 32);
	assert_int_equal(hash_target_from_difficulty(1e-12, got), 0);
	memset(want, 0xff, 32);
	assert_memory_equal(got, want, 32);
	assert_int_equal(hash_target_from_difficulty(5e-324, got), 0);
	assert_memory_equal(got, want, 32);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hash_target_from_difficulty(bad[i], got), HCP_ERANGE);

	/* the chain's own figure at height 840000 */
	assert_int_equal(hash_target_from_nbits(0x17034219, got), 0);
	assert_true(fabs(hash_difficulty_of(got) - 86388558925171.02) < 0.02);
	memset(got, 0, 32);
	assert_true(isinf(hash_difficulty_of(got)));
	rng_init(&r, 3);
	for (int i = 0; i < 1000; i++) {
		double d = exp(rng_double(&r) * 100 - 20);

		assert_int_equal(hash_target_from_difficulty(d, got), 0);
		assert_true(fabs(hash_difficulty_of(got) / d - 1) < 1e-12);
	}
}

static void
test_meets(void **state)
{
	uint8_t a[32] = { 0 }, b[32] = { 0 };

	assert_true(hash_meets(a, b));
	a[0] = 1;
	assert_false(hash_meets(a, b));
	b[31] = 1;
	assert_true(hash_meets(a, b));
	assert_false(hash_meets(b, a));
}

static void
test_merkle_root(void **state)
{
	/* block 100000: four transactions, ids as explorers print */
	static const char *const ids[] = {
		"8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
		"fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
		"6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
		"e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
	};
	static const char coinbase_hex[] =
		"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff08044c86041b020602"
		"ffffffff0100f2052a010000004341041b0e8c2567c12536aa13357b79a073dc4444acb83c4ec7a0e2f99dd7457516c5817242da"
		"796924ca4e99947d087fedf9ce467cb9f7c6287078f801df276fdf84ac00000000";
	uint8_t coinbase[(sizeof(coinbase_hex) - 1) / 2], id[32], want[32], branches[2][32], pair[64], root[32];

	unhex(coinbase, sizeof(coinbase), coinbase_hex);
	sha256d_of(coinbase, sizeof(coinbase), id);
	unhex_reversed(want, ids[0]);
	assert_memory_equal(id, want, 32);
	unhex_reversed(branches[0], ids[1]);
	unhex_reversed(pair, ids[2]);
	unhex_reversed(pair + 32, ids[3]);
	sha256d_of(pair, 64, branches[1]);
	assert_int_equal(hash_merkle_root(coinbase, sizeof(coinbase), (const uint8_t (*)[32])branches, 2, root), 0);
	unhex_reversed(want, "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766");
	assert_memory_equal(root, want, 32);
	assert_int_equal(hash_merkle_root(coinbase, sizeof(coinbase), NULL, 0, root), 0);
	assert_memory_equal(root, id, 32);
	assert_int_equal(hash_merkle_root(coinbase, 4, (const uint8_t (*)[32])branches, HASH_BRANCHES_MAX + 1, root),
		HCP_EINVAL);
}

static void
test_engine_table(void **state)
{
	bool best_seen = false;

	assert_non_null(hash_engine_by_name("portable"));
	assert_null(hash_engine_by_name("abacus"));
	assert_true(hash_engine_best()->is_supported());
	for (size_t i = 0; i < hash_engine_count; i++) {
		const struct hash_engine *e = &hash_engines[i];

		best_seen = best_seen || e == hash_engine_best();
		assert_true(best_seen || !e->is_supported());
		assert_ptr_equal(hash_engine_by_name(e->name), e->is_supported() ? e : NULL);
		if (!e->is_supported())
			print_message("engine %s is not supported by this processor and stays untested\n", e->name);
	}
}

/* Each known block is found in a window around its nonce, whatever the nonce's place among the lanes. */
static void
test_known_blocks(void **state)
{
	for (size_t i = 0; i < hash_engine_count; i++)
		for (size_t k = 0; k < sizeof(blocks) / sizeof(blocks[0]); k++) {
			const struct block *b = &blocks[k];
			uint8_t header[80], target[32], want[32];
			struct hash_hit hits[8];
			struct hash_work w;

			if (!hash_engines[i].is_supported())
				continue;
			block_header(b, header);
			unhex_reversed(want, b->hash);
			assert_int_equal(hash_target_from_nbits(b->nbits, target), 0);
			hash_work_init(&w, header, target);
			for (uint32_t before = 0; before < 4000; before = before * 3 + 1) {
				uint64_t scanned;
				uint32_t n = hash_engines[i].scan(&w, b->nonce - before, before + 100, NULL, hits, 8, &scanned);

				assert_int_equal(n, 1);
				assert_int_equal(scanned, before + 100);
				assert_int_equal(hits[0].nonce, b->nonce);
				assert_int_equal(hits[0].version, b->version);
				assert_memory_equal(hits[0].hash, want, 32);
				/* one nonce short of it, and from the one after it */
				assert_int_equal(hash_engines[i].scan(&w, b->nonce - before, before, NULL, hits, 8, &scanned), 0);
				assert_int_equal(hash_engines[i].scan(&w, b->nonce + 1, 40, NULL, hits, 8, &scanned), 0);
			}
		}
}

/* The rolled version of block 840000 is found among others. */
static void
test_rolled_block(void **state)
{
	const struct block *b = &blocks[sizeof(blocks) / sizeof(blocks[0]) - 1];

	for (size_t i = 0; i < hash_engine_count; i++)
		for (uint32_t place = 0; place < HASH_VERSIONS_MAX; place++) {
			uint32_t versions[HASH_VERSIONS_MAX];
			uint8_t header[80], target[32], want[32];
			struct hash_hit hits[8];
			struct hash_work w;
			uint64_t scanned;

			if (!hash_engines[i].is_supported())
				continue;
			for (uint32_t v = 0; v < HASH_VERSIONS_MAX; v++)
				versions[v] = v == place ? b->version : 0x20000000 + (v << 13);
			block_header(b, header);
			put_le32(header, 0);
			unhex_reversed(want, b->hash);
			assert_int_equal(hash_target_from_nbits(b->nbits, target), 0);
			assert_int_equal(hash_work_init_rolled(&w, header, target, versions, HASH_VERSIONS_MAX, NULL), 0);
			assert_int_equal(hash_engines[i].scan(&w, b->nonce - 500, 1000, NULL, hits, 8, &scanned), 1);
			assert_int_equal(hits[0].nonce, b->nonce);
			assert_int_equal(hits[0].version, b->version);
			assert_memory_equal(hits[0].hash, want, 32);
		}
}

static void
test_rolled_limits(void **state)
{
	uint8_t header[80] = { 0 }, target[32] = { 0 };
	uint32_t versions[HASH_VERSIONS_MAX + 1] = { 0 };
	struct hash_work w;
	struct err err;

	assert_int_equal(hash_work_init_rolled(&w, header, target, versions, 0, &err), HCP_EINVAL);
	assert_string_equal(err.field, "versions");
	assert_int_equal(hash_work_init_rolled(&w, header, target, versions, HASH_VERSIONS_MAX + 1, &err), HCP_EINVAL);
}

/*
 * The reference: every nonce by the plain SHA-256, without midstate or engine. Returns the hits of the whole range.
 */
static uint32_t
reference_scan(const uint8_t header[80], const uint8_t target[32], const uint32_t *versions, uint32_t nversions,
	uint32_t begin, uint32_t count, struct hash_hit *hits)
{
	uint32_t n = 0;
	uint8_t h[80];

	memcpy(h, header, 80);
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t v = 0; v < nversions; v++) {
			put_le32(h, versions[v]);
			put_le32(h + HASH_NONCE_OFFSET, begin + i);
			sha256d_of(h, 80, hits[n].hash);
			if (!hash_meets(hits[n].hash, target))
				continue;
			hits[n].nonce = begin + i;
			hits[n].version = versions[v];
			n++;
			assert_true(n < HITS_MAX);
		}
	return n;
}

/* Targets from "every hash" down to one in some thousands, so that the filter works at every width. */
static void
random_target(struct rng *r, uint8_t target[32])
{
	uint32_t zeros = (uint32_t)rng_below(r, 12);

	random_bytes(r, target, 32);
	target[31] = (uint8_t)(zeros >= 8 ? 0 : target[31] >> zeros);
	if (zeros >= 8)
		target[30] = (uint8_t)(target[30] >> (zeros - 8));
}

/* Every engine against the reference, over random headers, targets, version sets, ranges and sizes of hits[]. */
static void
test_engines_agree(void **state)
{
	static struct hash_hit want[HITS_MAX], got[HITS_MAX];
	struct rng r;

	rng_init(&r, 20);
	for (int round = 0; round < 300; round++) {
		uint8_t header[80], target[32];
		uint32_t versions[HASH_VERSIONS_MAX], nversions = 1 + (uint32_t)rng_below(&r, HASH_VERSIONS_MAX);
		uint32_t count = (uint32_t)rng_below(&r, 500), begin = (uint32_t)rng_below(&r, UINT32_MAX - count);
		uint32_t max_hits = round % 3 == 0 ? HITS_MAX : HASH_VERSIONS_MAX + (uint32_t)rng_below(&r, 60), n_want;
		struct hash_work w;

		if (round % 10 == 0)
			begin = UINT32_MAX - count + 1; /* up to the very last nonce */
		random_bytes(&r, header, 80);
		random_target(&r, target);
		for (uint32_t v = 0; v < nversions; v++)
			versions[v] = (uint32_t)rng_u64(&r);
		if (count == 0)
			begin = 5;
		n_want = reference_scan(header, target, versions, nversions, begin, count, want);
		assert_int_equal(hash_work_init_rolled(&w, header, target, versions, nversions, NULL), 0);
		for (size_t i = 0; i < hash_engine_count; i++) {
			uint64_t done = 0;
			uint32_t n = 0;

			if (!hash_engines[i].is_supported())
				continue;
			while (done < count) {
				uint64_t scanned = UINT64_MAX;
				uint32_t room = max_hits < HITS_MAX - n ? max_hits : HITS_MAX - n;
				uint32_t k = hash_engines[i].scan(&w, begin + (uint32_t)done, count - done, NULL, got + n, room,
					&scanned);

				assert_true(scanned > 0 && scanned <= count - done);
				assert_true(k <= room);
				n += k;
				done += scanned;
			}
			assert_int_equal(n, n_want);
			for (uint32_t k = 0; k < n; k++) {
				assert_int_equal(got[k].nonce, want[k].nonce);
				assert_int_equal(got[k].version, want[k].version);
				assert_memory_equal(got[k].hash, want[k].hash, 32);
			}
		}
	}
}

static void
test_nothing_to_scan(void **state)
{
	uint8_t header[80] = { 1 }, target[32];
	struct hash_hit hits[4];
	struct hash_work w;

	memset(target, 0xff, 32);
	hash_work_init(&w, header, target);
	for (size_t i = 0; i < hash_engine_count; i++) {
		_Atomic uint32_t stop = 1;
		uint64_t scanned = 9;

		if (!hash_engines[i].is_supported())
			continue;
		assert_int_equal(hash_engines[i].scan(&w, 0, 0, NULL, hits, 4, &scanned), 0);
		assert_int_equal(scanned, 0);
		scanned = 9;
		assert_int_equal(hash_engines[i].scan(&w, 0, 1000, &stop, hits, 4, &scanned), 0);
		assert_int_equal(scanned, 0);
	}
}

struct scanning {
	const struct hash_engine *engine;
	const struct hash_work *work;
	_Atomic uint32_t stop;
	_Atomic uint32_t started;
	uint64_t scanned;
	uint32_t hits;
};

static void *
scan_everything(void *arg)
{
	struct scanning *s = arg;
	struct hash_hit hits[4];

	atomic_store(&s->started, 1);
	s->hits = s->engine->scan(s->work, 0, UINT64_C(1) << 32, &s->stop, hits, 4, &s->scanned);
	return NULL;
}

/* The gate closes in the middle of a scan of all 2^32 nonces: it ends at a lane group, far before the end. */
static void
test_gate_stops(void **state)
{
	uint8_t header[80] = { 2 }, target[32] = { 0 };
	int64_t live = mem_live();
	struct hash_work w;

	hash_work_init(&w, header, target); /* no hash meets a target of 0: only the gate can end it */
	for (size_t i = 0; i < hash_engine_count; i++) {
		struct scanning s = { .engine = &hash_engines[i], .work = &w };
		pthread_t id;

		if (!hash_engines[i].is_supported())
			continue;
		assert_int_equal(pthread_create(&id, NULL, scan_everything, &s), 0);
		while (atomic_load(&s.started) == 0)
			sched_yield();
		atomic_store(&s.stop, 1);
		assert_int_equal(pthread_join(id, NULL), 0);
		assert_int_equal(s.hits, 0);
		assert_true(s.scanned < UINT64_C(1) << 32);
		assert_int_equal(s.scanned % hash_engines[i].lanes, 0);
	}
	assert_int_equal(mem_live(), live);
}

/*
 * How soon it stops, told exactly: the flag lies where the scan writes its first hit, so the gate closes in the middle
 * of the first lane group. That group is finished and no other begun.
 */
static void
test_gate_stops_within_a_group(void **state)
{
	static union {
		struct hash_hit hits[256];
		_Atomic uint32_t stop; /* over hits[0].nonce */
	} u;
	uint8_t header[80] = { 4 }, target[32];
	uint32_t versions[HASH_VERSIONS_MAX] = { 1, 2, 3, 4 };
	struct hash_work w;

	memset(target, 0xff, 32);
	for (uint32_t nversions = 1; nversions <= HASH_VERSIONS_MAX; nversions++)
		for (size_t i = 0; i < hash_engine_count; i++) {
			const struct hash_engine *e = &hash_engines[i];
			uint64_t scanned;

			if (!e->is_supported())
				continue;
			assert_int_equal(hash_work_init_rolled(&w, header, target, versions, nversions, NULL), 0);
			memset(&u, 0, sizeof(u));
			assert_int_equal(e->scan(&w, 77, 1 << 20, &u.stop, u.hits, 256, &scanned), e->lanes * nversions);
			assert_int_equal(scanned, e->lanes);
		}
}

/* Every hash is a hit: the scan ends when hits[] is full, and says where to go on. */
static void
test_full_hits_stop_early(void **state)
{
	uint8_t header[80] = { 3 }, target[32];
	struct hash_hit hits[HASH_VERSIONS_MAX];
	struct hash_work w;

	memset(target, 0xff, 32); /* every hash meets it */
	hash_work_init(&w, header, target);
	for (size_t i = 0; i < hash_engine_count; i++) {
		uint64_t scanned;

		if (!hash_engines[i].is_supported())
			continue;
		assert_int_equal(hash_engines[i].scan(&w, 77, 1 << 20, NULL, hits, HASH_VERSIONS_MAX, &scanned),
			HASH_VERSIONS_MAX);
		assert_int_equal(scanned, HASH_VERSIONS_MAX);
		for (uint32_t k = 0; k < HASH_VERSIONS_MAX; k++)
			assert_int_equal(hits[k].nonce, 77 + k);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256_vectors),
		cmocka_unit_test(test_sha256_pieces),
		cmocka_unit_test(test_sha256_long),
		cmocka_unit_test(test_midstate),
		cmocka_unit_test(test_nbits),
		cmocka_unit_test(test_difficulty),
		cmocka_unit_test(test_meets),
		cmocka_unit_test(test_merkle_root),
		cmocka_unit_test(test_engine_table),
		cmocka_unit_test(test_known_blocks),
		cmocka_unit_test(test_rolled_block),
		cmocka_unit_test(test_rolled_limits),
		cmocka_unit_test(test_engines_agree),
		cmocka_unit_test(test_nothing_to_scan),
		cmocka_unit_test(test_gate_stops),
		cmocka_unit_test(test_gate_stops_within_a_group),
		cmocka_unit_test(test_full_hits_stop_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
