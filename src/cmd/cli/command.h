#ifndef HCP_CMD_CLI_COMMAND_H
#define HCP_CMD_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/*
 * The commands as data. A row names the route it calls and how the reply is shown; `run` is set only where a command
 * does more than one request. Help, completion and the check against spec/routes.toml come from the same rows.
 */
struct cli;

enum flag_kind {
	FLAG_TEXT,
	FLAG_INT,      /* min..max */
	FLAG_REAL,     /* min..max */
	FLAG_CHOICE,   /* one of `choices` */
	FLAG_DURATION, /* "90s", "2h" -> seconds, min..max */
	FLAG_TIME,     /* ISO 8601, or "+2h" from now -> nanoseconds UTC */
	FLAG_SWITCH,   /* takes no value */
};

struct flag {
	const char *name;  /* without dashes; NULL ends a list */
	enum flag_kind kind;
	const char *field; /* member of the request message; NULL: for the command itself */
	const char *help;
	double min, max;
	const char *choices; /* blank-separated */
	const char *alias;   /* another name, or NULL */
	bool required;
};

/*
 * One table of a reply. columns: blank-separated `field[:format][=TITLE]`, the format being a name of human.c and
 * following from the field's name otherwise.
 */
struct view {
	const char *member; /* array in the reply; NULL ends */
	const char *columns;
};

enum shape {
	SHAPE_NONE,
	SHAPE_LIST,   /* json and yaml show the array of views[0] itself; `next_cursor` pages */
	SHAPE_OBJECT, /* the reply as it is; as a table: its fields, then its views */
	SHAPE_POINTS, /* as an object; as a table: a sparkline of `points` */
	SHAPE_WHY,    /* as an object; as a table: a decision in words (explain.c) */
};

enum command_trait {
	CMD_WATCH = 1,      /* --watch makes sense */
	CMD_FILE = 2,       /* --file gives the body; flags override its members */
	CMD_IDEMPOTENT = 4, /* sends an Idempotency-Key */
	CMD_PAGED = 8,      /* --limit, --cursor, --all */
	CMD_LOCAL = 16,     /* needs no server */
	CMD_HIDDEN = 32,
	CMD_PUBLIC = 64,    /* works without login */
};

enum { COMMAND_VIEWS = 3, COMMAND_OPERANDS = 16 };

struct command {
	const char *path;     /* words, blank between */
	const char *operands; /* names are request fields: "id", "[month]" optional, "text..." one or more */
	const char *method, *route;
	enum shape shape;
	unsigned traits;
	const struct flag *flags; /* may be NULL */
	struct view views[COMMAND_VIEWS];
	int (*run)(struct cli *cli, struct err *err); /* NULL: request_run */
	const char *help;
	const char *more; /* further lines of help, or NULL */
};

extern const struct command commands[];
extern const size_t commands_n;
extern const struct flag global_flags[];
extern const struct flag watch_flags[], paged_flags[], file_flags[], idempotent_flags[];

/* The command of exactly this path, or NULL. */
const struct command *command_find(struct str path);
/* Does any command's path start with these words? */
bool command_is_group(struct str path);
/* A flag that this command (NULL: only global ones) takes, by name or alias. */
const struct flag *command_flag(const struct command *cmd, struct str name);
/* The i-th flag list of a command, global ones last; NULL after the end. Entries may be skipped as empty lists. */
const struct flag *command_flag_list(const struct command *cmd, int i);

#endif
