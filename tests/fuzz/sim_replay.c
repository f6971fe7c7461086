/* Recorded market data of any bytes: refused or taken, never a tick before its time, order kept, reading ends. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct replay r;
	struct sim_tick t;
	struct err err = { 0 };
	int64_t before = INT64_MIN;
	size_t ticks = 0;
	int rc = 0;
	if (n < 2)
		return 0;
	struct str text = { (const char *)p + 1, n - 1 };
	/* The first byte: which file it is, and whether the replay starts in the middle. */
	replay_init(&r, p[0] & 0x80 ? INT64_C(1613347200000000000) : 0, INT64_MAX / 4);
	switch ((p[0] & 0x7f) % 10) {
	case 0: rc = replay_add_real_time(&r, "f", text, "HB_WEST", &err); break;
	case 1: rc = replay_add_day_ahead(&r, "f", text, "HB_WEST", &err); break;
	case 2: rc = replay_add_btc(&r, "f", text, &err); break;
	case 3: rc = replay_add_network(&r, "f", text, &err); break;
	case 4: rc = replay_add_gpu(&r, "f", text, &err); break;
	case 5: rc = replay_add_ancillary(&r, "f", text, &err); break;
	case 6: rc = replay_add_load_forecast(&r, "f", text, &err); break;
	case 7: rc = replay_add_generation(&r, "f", text, &err); break;
	case 9: rc = replay_add_requests(&r, "f", text, 0, 40 * 3600 * INT64_C(1000000000), &err); break;
	case 8: rc = replay_add_fuel_mix(&r, "f", text, &err); break;
	}
	if (rc < 0 && err.code != rc)
		abort();
	replay_seal(&r);
	while (replay_next(&r, &t)) {
		int64_t end_ns = t.interval_start_ns + t.interval_s * INT64_C(1000000000);
		if (t.observed_at_ns < before || t.observed_at_ns > r.to_ns || ++ticks > 3 * n + 40)
			abort();
		bool ahead = !strcmp(t.symbol, "electricity_da") || !strcmp(t.symbol, "ancillary") ||
			!strcmp(t.symbol, "load_forecast_mw");
		if (!ahead && t.observed_at_ns < end_ns)
			abort();
		before = t.observed_at_ns;
	}
	replay_release(&r);
	return 0;
}
