#ifndef HCP_AGENT_SLOT_H
#define HCP_AGENT_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/keeper.h"
#include "infer/digest.h"

/*
 * The node's model and the version of it that is served.
 *
 *	DIR/                    version "base"
 *	DIR/versions/NAME/      version NAME
 *
 * A change loses no request: the other version is started beside the one that serves, must have the digest that was
 * asked for and answer a request; then new requests go to it, while the former ends those it has and is let go. If it
 * does not get there, the former serves on and never knew.
 *
 *   slot_change ─▶ another keeper starts ─▶ READY ─▶ digest ─▶ answers ─▶ remembered on disk ─▶ serves
 *                                    │                               the former drains and ends ◀─┘
 *                                    └─ ended, deadline, another digest, no answer: let go, result says why
 *
 * The version is remembered in the state folder ("model-version"), so a restart serves what was served. One thread.
 */
enum { SLOT_VERSION_MAX = 65, SLOT_HELD_MAX = 64, SLOT_DRAIN_MS = 20 };
#define SLOT_BASE "base"

struct slot;

struct slot_conf {
	struct loop *loop;
	const char *program;   /* as of keeper_conf; borrowed, as all here */
	const char *model;     /* its name */
	const char *model_dir; /* DIR */
	const char *state_dir;
	void (*on_state)(void *arg, enum keeper_state s); /* of the version that serves */
	/* A change ended: error "" if `version` serves now, else why it does not. May be NULL. */
	void (*on_change)(void *arg, uint64_t order, const char *version, const char *error);
	void *arg;
};

/* HCP_ERANGE: a path is too long; HCP_ENOMEM. What the state folder remembers but DIR has no more is passed over. */
int slot_new(const struct slot_conf *conf, struct slot **ret, struct err *err) MUST_CHECK;
/* NULL is fine. */
void slot_free(struct slot *s);
/* The runtime that serves; good until the loop turns. */
struct keeper *slot_keeper(const struct slot *s);
const char *slot_version(const struct slot *s);
bool slot_changing(const struct slot *s);
/* Names of the versions in DIR, at most SLOT_HELD_MAX, base first. */
size_t slot_held(const struct slot *s, char (*ret)[SLOT_VERSION_MAX]);
/*
 * Ends in on_change, possibly from inside. digest "": any. A later order takes the place of one under way, of which
 * nothing is heard any more.
 */
void slot_change(struct slot *s, uint64_t order, const char *version, const char *digest, uint32_t deadline_ms);

#endif
