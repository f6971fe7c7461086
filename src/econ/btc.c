#include "econ/btc.h"

#include <stddef.h>

#include "base/money.h"

#define HALVINGS_MAX 64

/* Block times of heights 210,000, 420,000, 630,000 and 840,000, seconds UTC. */
static const int64_t halving_s[] = { 1354116278, 1468082773, 1589225023, 1713571767 };

int64_t btc_subsidy_sats(int64_t height)
{
	int64_t era = height / BTC_HALVING_BLOCKS;
	if (height < 0 || era >= HALVINGS_MAX)
		return 0;
	return (50 * BTC_SATS) >> era;
}

int64_t btc_subsidy_sats_at(int64_t ns)
{
	const size_t known = sizeof(halving_s) / sizeof(halving_s[0]);
	int64_t s = ns / NS_PER_S;
	int64_t era = 0;
	while ((size_t)era < known && s >= halving_s[era])
		era++;
	if ((size_t)era == known)
		era += (s - halving_s[known - 1]) / (BTC_HALVING_BLOCKS * BTC_BLOCK_S);
	return era < HALVINGS_MAX ? (50 * BTC_SATS) >> era : 0;
}

double btc_per_day(double hash_ths, double difficulty, double reward_btc, double pool_fee)
{
	return hash_ths * 1e12 * 86400.0 / (difficulty * 4294967296.0) * reward_btc * (1 - pool_fee);
}

double btc_network_ths(double difficulty)
{
	return difficulty * 4294967296.0 / BTC_BLOCK_S / 1e12;
}
