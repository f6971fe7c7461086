#ifndef HCP_CMD_CLI_GRID_H
#define HCP_CMD_CLI_GRID_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/str.h"

enum {
	GRID_COLS_MAX = 24,
	GRID_GAP = 2,        /* blanks between columns */
	GRID_SHRUNK_MIN = 8, /* a text column is not cut below this */
};

/*
 * A table for the terminal: columns as wide as their widest cell, numbers to the right. What does not fit into the
 * width is taken from the widest text columns first (never from the first, which people copy ids from), then whole
 * columns go from the right. Cells come from outside: control characters are shown as '?', so that a name cannot
 * move the cursor. Pure.
 */
struct grid {
	struct arena *arena; /* borrowed; holds the cells */
	struct {
		const char *title; /* arena */
		bool right;
		size_t width;
	} cols[GRID_COLS_MAX];
	size_t ncols;
	const char **cells; /* arena, row by row */
	size_t ncells, cap;
	bool failed; /* out of memory or too many columns: grid_render says so */
};

void grid_init(struct grid *g, struct arena *arena);
void grid_column(struct grid *g, struct str title, bool right);
void grid_cell(struct grid *g, struct str text);
/* A cell of at most 63 bytes. */
void grid_printf(struct grid *g, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* width 0: unlimited. ret_dropped: how many columns did not fit. */
int grid_render(struct grid *g, size_t width, bool color, struct buf *out, size_t *ret_dropped) MUST_CHECK;

/* Columns a text takes on a terminal. */
size_t grid_text_width(struct str s);
/* Appends s with control characters and broken UTF-8 shown as '?'. */
void grid_add_clean(struct buf *out, struct str s);

#endif
