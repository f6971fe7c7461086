#include "cmd/cli/model_file.h"

#include <stdlib.h>
#include <string.h>

#include "econ/policy_spike.h"
#include "econ/ppo_model.h"
#include "os/file.h"

enum { DIRS = 3 };

/* Where models may lie, the first choice first; NULL: not set. */
static int list_dirs(struct cli *cli, const char *ret[DIRS], struct err *err)
{
	const char *dir = getenv("HCP_MODELS_DIR"), *bin = NULL;
	int rc = cli_bin_dir(cli, &bin, err);
	if (rc < 0)
		return rc;
	ret[0] = dir && *dir ? dir : NULL;
	ret[1] = arena_printf(&cli->arena, "%s/../share/hcp/models", bin);
	ret[2] = arena_printf(&cli->arena, "%s/../../../spec/models", bin);
	return 0;
}

int model_dir_find(struct cli *cli, const char **ret, struct err *err)
{
	const char *dirs[DIRS];
	int rc = list_dirs(cli, dirs, err);
	*ret = NULL;
	for (size_t i = 0; rc == 0 && i < DIRS && !*ret; i++)
		if (dirs[i] && file_exists(dirs[i]))
			*ret = dirs[i];
	return rc;
}

/* NULL where it is in none of the folders. */
static int find(struct cli *cli, const char *kind, const char *name, const char **ret, struct err *err)
{
	const char *dirs[DIRS];
	*ret = NULL;
	int rc = *name ? list_dirs(cli, dirs, err) : 0;
	if (rc < 0 || !*name)
		return rc;
	for (size_t i = 0; i < DIRS; i++) {
		const char *path = dirs[i] ? arena_printf(&cli->arena, "%s/%s-%s.bin", dirs[i], kind, name) : NULL;
		if (path && file_exists(path)) {
			*ret = path;
			return 0;
		}
	}
	return 0;
}

static bool is_ppo(const struct buf *b)
{
	return b->n >= 4 && memcmp(b->data, "HCPP", 4) == 0;
}

int model_files_load(
	struct cli *cli, const char *given, const char *point, const char *site, struct model_files *ret, struct err *err)
{
	struct buf named;
	const char *path;
	int rc = 0;
	buf_init(&named, 0);
	*ret = (struct model_files){ 0 };
	buf_init(&ret->prices, 0);
	buf_init(&ret->ppo, 0);
	if (given && !strcmp(given, "none"))
		return 0;
	if (given)
		rc = file_read(given, SPIKE_BYTES_MAX, &named, err);
	bool ppo = rc == 0 && is_ppo(&named);
	if (rc == 0 && (!given || ppo))
		rc = find(cli, "stochastic", point, &path, err);
	if (rc == 0 && (!given || ppo) && path)
		rc = file_read(path, SPIKE_BYTES_MAX, &ret->prices, err);
	if (rc == 0 && !ppo)
		rc = find(cli, "ppo", site, &ret->ppo_file, err);
	if (rc == 0 && !ppo && ret->ppo_file)
		rc = file_read(ret->ppo_file, PPO_MODEL_MAX, &ret->ppo, err);
	if (rc < 0 || !given) {
		buf_release(&named);
		return rc;
	}
	*(ppo ? &ret->ppo : &ret->prices) = named;
	ret->ppo_file = ppo ? given : ret->ppo_file;
	return 0;
}

void model_files_release(struct model_files *f)
{
	buf_release(&f->prices);
	buf_release(&f->ppo);
}
