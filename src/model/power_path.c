#include "model/power_path.h"

#include <stdio.h>
#include <string.h>

enum { NUMBER_DIGITS = 6 };

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
		   c == '.';
}

/* Behind a number there is no telling which digits are its own. */
static bool runs_on(const char *p)
{
	return p[0] == '#' && (p[1] == '#' || (p[1] >= '0' && p[1] <= '9'));
}

int power_path_check(const char *path, bool pattern, const char *field, struct err *err)
{
	size_t parts = 1, marks = 0, letters = 0;
	for (const char *p = path; *p; p++) {
		if (*p == '/') {
			if (!letters)
				return err_set(err, HCP_EINVAL, field, "'%.64s' has a part without a name", path);
			parts++;
			marks = letters = 0;
		} else if (*p == '#' && pattern) {
			marks++;
		} else if (!letter(*p)) {
			return err_set(err, HCP_EINVAL, field, "'%.64s' may hold letters, digits, '-', '_', '.' and '/'%s", path,
				pattern ? ", and '#' for a number" : "");
		} else {
			letters++;
		}
		if (marks > 1)
			return err_set(err, HCP_EINVAL, field, "'%.64s' has two numbers in one part", path);
		if (pattern && runs_on(p))
			return err_set(err, HCP_EINVAL, field, "'%.64s' has a digit or another number behind '#'", path);
	}
	if (!letters)
		return err_set(err, HCP_EINVAL, field, "'%.64s' has a part without a name", path);
	if (parts > POWER_PARTS_MAX || strlen(path) >= POWER_PATH_MAX)
		return err_set(err, HCP_EINVAL, field, "'%.64s' has more than %d parts or %d characters", path, POWER_PARTS_MAX,
			POWER_PATH_MAX - 1);
	return 0;
}

int power_nodes_check(const char *nodes, const char *field, struct err *err)
{
	size_t marks = 0;
	for (const char *p = nodes; *p; p++) {
		if (*p == '*' && p[1])
			return err_set(err, HCP_EINVAL, field, "'%.64s' has a '*' that is not at its end", nodes);
		if (runs_on(p))
			return err_set(err, HCP_EINVAL, field, "'%.64s' has a digit or another number behind '#'", nodes);
		marks += *p == '#';
	}
	if (!nodes[0] || marks > POWER_PARTS_MAX)
		return err_set(err, HCP_EINVAL, field, "must not be empty, nor have more than %d '#'", POWER_PARTS_MAX);
	return 0;
}

/* Digits without a leading zero; the number of them, 0: none. */
static size_t number(const char *text, uint32_t *ret)
{
	size_t n = 0;
	uint32_t v = 0;
	for (; text[n] >= '0' && text[n] <= '9' && n <= NUMBER_DIGITS; n++)
		v = v * 10 + (uint32_t)(text[n] - '0');
	*ret = v;
	return text[0] == '0' || n > NUMBER_DIGITS ? 0 : n;
}

bool power_match(const char *pattern, const char *text, struct power_numbers *ret)
{
	struct power_numbers found = { 0 };
	for (; *pattern; pattern++) {
		if (*pattern == '*' && !pattern[1]) {
			text += strlen(text);
		} else if (*pattern == '#') {
			size_t n = found.n < POWER_PARTS_MAX ? number(text, &found.v[found.n]) : 0;
			if (!n)
				return false;
			found.n++;
			text += n;
		} else if (*pattern != *text++) {
			return false;
		}
	}
	if (*text)
		return false;
	if (ret)
		*ret = found;
	return true;
}

int power_path_fill(const char *pattern, const struct power_numbers *n, char *dst, size_t cap)
{
	size_t at = 0, used = 0;
	for (; *pattern; pattern++) {
		int more = 1;
		if (*pattern != '#' && at + 1 < cap)
			dst[at] = *pattern;
		else if (*pattern != '#' || used == n->n)
			return HCP_ERANGE;
		else
			more = snprintf(dst + at, cap - at, "%u", n->v[used++]);
		at += (size_t)more;
		if (at >= cap)
			return HCP_ERANGE;
	}
	dst[at] = '\0';
	return 0;
}

bool power_path_within(const char *path, const char *above)
{
	size_t n = strlen(above);
	return n == 0 || (strncmp(path, above, n) == 0 && (path[n] == '\0' || path[n] == '/'));
}

size_t power_path_up(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? (size_t)(slash - path) : 0;
}
