#include "cmd/cli/site_file.h"

#include <stdlib.h>

#include "os/file.h"

static int read_site(const char *path, const char *name, struct site *ret, struct err *err)
{
	struct buf text;
	int rc = file_read(path, SITE_TEXT_MAX, &text, err);
	if (rc < 0)
		return rc;
	rc = site_parse(ret, name, buf_str(&text), err);
	buf_release(&text);
	return rc;
}

static bool is_path(const char *site)
{
	size_t n = strlen(site);
	return strchr(site, '/') || (n > 5 && !strcmp(site + n - 5, ".yaml"));
}

int site_file_find(struct cli *cli, const char *name, const char **ret, struct err *err)
{
	const char *given = getenv("HCP_SITES_DIR"), *bin = NULL;
	int rc = cli_bin_dir(cli, &bin, err);
	if (rc < 0)
		return rc;
	const char *const dirs[] = { given && *given ? given : NULL,
		arena_printf(&cli->arena, "%s/../share/hcp/sites", bin),
		arena_printf(&cli->arena, "%s/../../../spec/sites", bin) };
	for (size_t i = 0; i < 3; i++) {
		const char *path = dirs[i] ? arena_printf(&cli->arena, "%s/%s.yaml", dirs[i], name) : NULL;
		if (path && file_exists(path)) {
			*ret = path;
			return 0;
		}
	}
	return err_set(err, HCP_ENOTFOUND, "site", "there is no site '%.60s': no %.60s.yaml in $HCP_SITES_DIR, %.80s", name,
		name, dirs[1] ? dirs[1] : "share/hcp/sites");
}

int site_file_load(struct cli *cli, const char *site, struct site *ret, struct err *err)
{
	const char *path = NULL;
	if (is_path(site))
		return read_site(site, site, ret, err);
	int rc = site_file_find(cli, site, &path, err);
	cli->usage = rc == HCP_ENOTFOUND;
	return rc < 0 ? rc : read_site(path, arena_printf(&cli->arena, "%s.yaml", site), ret, err);
}
