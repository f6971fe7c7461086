#include "model/switch.h"

#include "base/money.h"

#define MS NS_PER_MS

/*
 * Deadlines add up to 79 ms up to the commit where the mode change itself is a GPU's gate (10 ms and below), inside the
 * 100 ms contract; a slower device gets its own time on top in the switch and verify phases (switch_deadline_ns).
 */
/* clang-format off */
static const struct switch_phase_row row[SWITCH_PHASE_END] = {
	[SWITCH_VALIDATE] =     { "validate",     2 * MS,  SWITCH_PAUSE,       SWITCH_FAILED,       SWITCH_UNDO_NONE },
	[SWITCH_PAUSE] =        { "pause",        10 * MS, SWITCH_SAVE,        SWITCH_ROLLING_BACK, SWITCH_UNDO_RESUME },
	[SWITCH_SAVE] =         { "save",         20 * MS, SWITCH_SWITCH,      SWITCH_ROLLING_BACK, SWITCH_UNDO_RESUME },
	[SWITCH_SWITCH] =       { "switch",       20 * MS, SWITCH_ACTIVATE,    SWITCH_ROLLING_BACK, SWITCH_UNDO_RESTORE },
	[SWITCH_ACTIVATE] =     { "activate",     20 * MS, SWITCH_VERIFY,      SWITCH_ROLLING_BACK, SWITCH_UNDO_RESTORE },
	[SWITCH_VERIFY] =       { "verify",       20 * MS, SWITCH_COMMIT,      SWITCH_ROLLING_BACK, SWITCH_UNDO_RESTORE },
	[SWITCH_COMMIT] =       { "commit",       0,       SWITCH_PHASE_END,   SWITCH_PHASE_END,    SWITCH_UNDO_NONE },
	[SWITCH_ROLLING_BACK] = { "rolling_back", 60 * MS, SWITCH_ROLLED_BACK, SWITCH_FAILED,       SWITCH_UNDO_NONE },
	[SWITCH_ROLLED_BACK] =  { "rolled_back",  0,       SWITCH_PHASE_END,   SWITCH_PHASE_END,    SWITCH_UNDO_NONE },
	[SWITCH_FAILED] =       { "failed",       0,       SWITCH_PHASE_END,   SWITCH_PHASE_END,    SWITCH_UNDO_NONE },
};
/* clang-format on */

static const char *const event_name[SWITCH_EVENT_END] = { "done", "fail", "timeout", "cancel" };
static const char *const undo_name[SWITCH_UNDO_END] = { "none", "resume", "restore" };

const struct switch_phase_row *switch_phase_row(enum switch_phase p)
{
	return (unsigned)p < SWITCH_PHASE_END ? &row[p] : NULL;
}

const char *switch_phase_name(enum switch_phase p)
{
	return (unsigned)p < SWITCH_PHASE_END ? row[p].name : NULL;
}

const char *switch_event_name(enum switch_event e)
{
	return (unsigned)e < SWITCH_EVENT_END ? event_name[e] : NULL;
}

const char *switch_undo_name(enum switch_undo u)
{
	return (unsigned)u < SWITCH_UNDO_END ? undo_name[u] : NULL;
}

int switch_phase_parse(struct str s, enum switch_phase *ret)
{
	for (unsigned i = 0; i < SWITCH_PHASE_END; i++) {
		if (str_eqz(s, row[i].name)) {
			*ret = (enum switch_phase)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

bool switch_phase_is_final(enum switch_phase p)
{
	return p == SWITCH_COMMIT || p == SWITCH_ROLLED_BACK || p == SWITCH_FAILED;
}

int switch_next(enum switch_phase phase, enum switch_event event, enum switch_phase *ret, struct err *err)
{
	if ((unsigned)phase >= SWITCH_PHASE_END || (unsigned)event >= SWITCH_EVENT_END)
		return err_set(err, HCP_EINVAL, "phase", "phase %d or event %d does not exist", (int)phase, (int)event);
	/* An undo under way is never cancelled: half-undone is the one state nobody can reason about. */
	if (switch_phase_is_final(phase) || (phase == SWITCH_ROLLING_BACK && event == SWITCH_EV_CANCEL))
		return err_set(err, HCP_ESTATE, "phase", "a switch in phase %s cannot take %s", row[phase].name,
			event_name[event]);
	*ret = event == SWITCH_EV_DONE ? row[phase].on_done : row[phase].on_fail;
	return 0;
}

int64_t switch_deadline_ns(enum switch_phase p, int64_t typical_ms)
{
	const struct switch_phase_row *r = switch_phase_row(p);
	if (!r || r->deadline_ns == 0)
		return 0;
	bool moves_device = p == SWITCH_SWITCH || p == SWITCH_VERIFY || p == SWITCH_ROLLING_BACK;
	if (!moves_device || typical_ms * MS * 2 <= r->deadline_ns)
		return r->deadline_ns;
	return r->deadline_ns + typical_ms * MS * 2;
}
