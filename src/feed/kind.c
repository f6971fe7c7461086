#include "feed/kind.h"

static const struct feed_kind *const kinds[] = {
	&feed_coinbase_rest,
	&feed_coinbase_ws,
	&feed_binance_rest,
	&feed_binance_ws,
	&feed_mempool_difficulty,
	&feed_mempool_fees,
	&feed_mempool_height,
	&feed_ercot_rt,
	&feed_ercot_dam,
	&feed_aws_spot,
	&feed_azure_retail,
	&feed_json_any,
	&feed_ercot_as,
};

const struct feed_kind *feed_kind_at(size_t i)
{
	return i < sizeof(kinds) / sizeof(kinds[0]) ? kinds[i] : NULL;
}

const struct feed_kind *feed_kind_find(const char *name)
{
	for (size_t i = 0; feed_kind_at(i); i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}
