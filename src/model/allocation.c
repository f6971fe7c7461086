#include "model/allocation.h"

#define NO ALLOCATION_STATE_END

/* clang-format off */
static const uint8_t transition[ALLOCATION_STATE_END][ALLOCATION_EVENT_END] = {
	/*                       commit                start               pause              resume              release              expire              lose */
	[ALLOCATION_RESERVED] =  { ALLOCATION_COMMITTED, NO,                 NO,                NO,                 ALLOCATION_RELEASED, ALLOCATION_EXPIRED, ALLOCATION_LOST },
	[ALLOCATION_COMMITTED] = { NO,                   ALLOCATION_RUNNING, NO,                NO,                 ALLOCATION_RELEASED, NO,                 ALLOCATION_LOST },
	[ALLOCATION_RUNNING] =   { NO,                   NO,                 ALLOCATION_PAUSED, NO,                 ALLOCATION_RELEASED, NO,                 ALLOCATION_LOST },
	[ALLOCATION_PAUSED] =    { NO,                   NO,                 NO,                ALLOCATION_RUNNING, ALLOCATION_RELEASED, NO,                 ALLOCATION_LOST },
	[ALLOCATION_RELEASED] =  { NO, NO, NO, NO, NO, NO, NO },
	[ALLOCATION_EXPIRED] =   { NO, NO, NO, NO, NO, NO, NO },
	[ALLOCATION_LOST] =      { NO, NO, NO, NO, NO, NO, NO },
};
/* clang-format on */

static const char *const state_name[ALLOCATION_STATE_END] = {
	"reserved", "committed", "running", "paused", "released", "expired", "lost",
};
static const char *const event_name[ALLOCATION_EVENT_END] = {
	"commit", "start", "pause", "resume", "release", "expire", "lose",
};

const char *allocation_state_name(enum allocation_state s)
{
	return (unsigned)s < ALLOCATION_STATE_END ? state_name[s] : NULL;
}

const char *allocation_event_name(enum allocation_event e)
{
	return (unsigned)e < ALLOCATION_EVENT_END ? event_name[e] : NULL;
}

int allocation_state_parse(struct str s, enum allocation_state *ret)
{
	for (unsigned i = 0; i < ALLOCATION_STATE_END; i++) {
		if (str_eqz(s, state_name[i])) {
			*ret = (enum allocation_state)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

bool allocation_state_is_final(enum allocation_state s)
{
	return s == ALLOCATION_RELEASED || s == ALLOCATION_EXPIRED || s == ALLOCATION_LOST;
}

int allocation_next(enum allocation_state state, enum allocation_event event, enum allocation_state *ret,
	struct err *err)
{
	if ((unsigned)state >= ALLOCATION_STATE_END || (unsigned)event >= ALLOCATION_EVENT_END)
		return err_set(err, HCP_EINVAL, "state", "state %d or event %d does not exist", (int)state, (int)event);
	if (transition[state][event] == NO)
		return err_set(err, HCP_ESTATE, "state", "an allocation that is %s cannot %s", state_name[state],
			event_name[event]);
	*ret = (enum allocation_state)transition[state][event];
	return 0;
}
