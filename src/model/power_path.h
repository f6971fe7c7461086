#ifndef HCP_MODEL_POWER_PATH_H
#define HCP_MODEL_POWER_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Names of the levels of a power tree, from the feeder down: "north", "north/p3", "north/p3/r2". Parts are letters,
 * digits, '-', '_' and '.'. In a pattern each '#' stands for a number from 1 on ("north/p#"); in a pattern of node ids
 * a '*' at the end stands for any rest. Pure.
 */
enum {
	POWER_PATH_MAX = 64, /* bytes with NUL */
	POWER_PARTS_MAX = 3, /* feeder, PDU, rack */
};

/* What each '#' stood for, in order. */
struct power_numbers {
	uint32_t v[POWER_PARTS_MAX];
	size_t n;
};

/* HCP_EINVAL, with the field given: not of that form. A '#' is allowed, once a part, no digit behind it, if pattern. */
int power_path_check(const char *path, bool pattern, const char *field, struct err *err) MUST_CHECK;
/* At least one byte, no '*' but at the end, at most POWER_PARTS_MAX '#', no digit behind one. HCP_EINVAL. */
int power_nodes_check(const char *nodes, const char *field, struct err *err) MUST_CHECK;
/* Does the text fit the pattern? *ret (may be NULL) is written only if so. */
bool power_match(const char *pattern, const char *text, struct power_numbers *ret);
/* The pattern with its '#' replaced by the numbers; HCP_ERANGE: too few of them, or longer than cap. */
int power_path_fill(const char *pattern, const struct power_numbers *n, char *dst, size_t cap) MUST_CHECK;
/* Is it the same level as `above`, or below it? */
bool power_path_within(const char *path, const char *above);
/* Length of the path of the level above; 0: the facility itself. */
size_t power_path_up(const char *path);

#endif
