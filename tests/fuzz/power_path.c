/* What a node says of its place in the power tree, and the patterns of a site's file: checked, matched, filled. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/panic.h"
#include "model/power_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A line each: pattern of paths, pattern of node ids, node id. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char text[3][256] = { "", "", "" }, path[POWER_PATH_MAX];
	size_t at = 0, k = 0;
	struct power_numbers num;
	struct err err = { 0 };
	for (size_t i = 0; i < n && k < 3; i++) {
		if (p[i] == '\n' || at + 1 == sizeof(text[0])) {
			k++;
			at = 0;
		} else {
			text[k][at++] = (char)p[i];
		}
	}
	int good = power_path_check(text[0], true, "path", &err), nodes = power_nodes_check(text[1], "nodes", &err);
	if (power_path_check(text[0], false, "path", NULL) == 0)
		must(good == 0 && power_match(text[0], text[0], NULL) && power_path_up(text[0]) < strlen(text[0]));
	if (!power_match(text[1], text[2], &num))
		return 0;
	must(num.n <= POWER_PARTS_MAX);
	/* A path that numbers were filled into is a path, and fits what it was made from. */
	if (good == 0 && nodes == 0 && power_path_fill(text[0], &num, path, sizeof(path)) == 0)
		must(power_path_check(path, false, "path", NULL) == 0 && power_match(text[0], path, NULL) &&
			 power_path_within(path, path));
	return 0;
}
