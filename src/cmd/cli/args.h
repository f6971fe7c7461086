#ifndef HCP_CMD_CLI_ARGS_H
#define HCP_CMD_CLI_ARGS_H

#include <jansson.h>

#include "base/arena.h"
#include "cmd/cli/command.h"

enum { ARGS_FLAGS_MAX = 64, ARGS_OPERANDS_MAX = 256 };

/* A command line, understood. Texts are borrowed from argv. */
struct args {
	const struct command *cmd; /* NULL: none named */
	const char *group;         /* words of an incomplete command ("workloads"), arena; NULL if cmd is set */
	struct {
		const struct flag *flag;
		const char *text; /* "" for switches */
	} flags[ARGS_FLAGS_MAX];
	size_t nflags;
	const char *operands[ARGS_OPERANDS_MAX];
	size_t noperands;
};

/*
 * Flags may stand anywhere after the word that makes them known; "--" ends them; "--watch" may stand alone or be
 * followed by a duration. All values are checked here. HCP_EINVAL names the flag or operand in err->field.
 */
int args_parse(struct args *a, struct arena *arena, int argc, char *const argv[], struct err *err) MUST_CHECK;

/* Text of a flag, or NULL if it was not given; the last one counts. */
const char *args_text(const struct args *a, const char *name);
static inline bool args_has(const struct args *a, const char *name)
{
	return args_text(a, name) != NULL;
}
/* Checked by args_parse already, so these cannot fail; `other` if not given. */
int64_t args_int(const struct args *a, const char *name, int64_t other);

/*
 * Sets the request members that flags and operands name into `req` (an object). now_ns is for relative times.
 */
int args_request(const struct args *a, int64_t now_ns, json_t *req, struct err *err) MUST_CHECK;

#endif
