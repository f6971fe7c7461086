#ifndef HCP_ECON_BTC_H
#define HCP_ECON_BTC_H

#include <stdint.h>

#include "base/err.h"

#define BTC_SATS INT64_C(100000000)
#define BTC_HALVING_BLOCKS INT64_C(210000)
#define BTC_BLOCK_S 600 /* target spacing */
#define BTC_RETARGET_BLOCKS 2016

/* Subsidy of the block at this height, satoshi: 50 BTC halved every 210,000 blocks. height >= 0. */
int64_t btc_subsidy_sats(int64_t height);
/*
 * The same by time: table of the halvings that happened (2012-11-28, 2016-07-09, 2020-05-11, 2024-04-20, to the
 * second of the block), then one every 210,000 blocks of 600 s. For data sets without a height.
 */
int64_t btc_subsidy_sats_at(int64_t ns);
/* BTC per day of a hash rate: H*86400/(D*2^32)*(subsidy+fees)*(1-pool_fee). Arguments as in struct profit_market. */
double btc_per_day(double hash_ths, double difficulty, double reward_btc, double pool_fee);
/* Network hash rate that a difficulty implies at 600 s, TH/s. */
double btc_network_ths(double difficulty);

#endif
