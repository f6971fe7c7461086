#include "cmd/cli/model_file.h"

#include <stdlib.h>

#include "econ/policy_spike.h"
#include "os/file.h"

int model_file_load(struct cli *cli, const char *given, const char *point, struct buf *ret, struct err *err)
{
	const char *dir = getenv("HCP_MODELS_DIR"), *bin = NULL;
	buf_init(ret, 0);
	if (given && !strcmp(given, "none"))
		return 0;
	if (given)
		return file_read(given, SPIKE_BYTES_MAX, ret, err);
	int rc = cli_bin_dir(cli, &bin, err);
	if (rc < 0)
		return rc;
	const char *const dirs[] = { dir && *dir ? dir : NULL, arena_printf(&cli->arena, "%s/../share/hcp/models", bin),
		arena_printf(&cli->arena, "%s/../../../spec/models", bin) };
	for (size_t i = 0; *point && i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		const char *path = dirs[i] ? arena_printf(&cli->arena, "%s/stochastic-%s.bin", dirs[i], point) : NULL;
		if (path && file_exists(path))
			return file_read(path, SPIKE_BYTES_MAX, ret, err);
	}
	return 0;
}
