#include "cmd/cli/ppo.h"

#include <jansson.h>

#include "base/timefmt.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/site_file.h"
#include "econ/ppo_miner.h"
#include "econ/ppo_model.h"
#include "os/file.h"
#include "sim/history_feed.h"
#include "sim/replay_files.h"

static int time_flag(struct cli *cli, const char *name, int64_t *ret, struct err *err)
{
	const char *text = args_text(&cli->args, name);
	if (text && timefmt_parse(str_of(text), ret) < 0)
		return cli_usage(cli, err, name, "--%s: '%.40s' is not a day or time like 2024-01-01", name, text);
	return 0;
}

/* The site's own point, then those of --points. */
struct points {
	char name[PPO_POINTS_MAX][HISTORY_LOCATION_MAX];
	const char *at[PPO_POINTS_MAX];
	size_t n;
};

static int add_point(struct cli *cli, struct points *p, struct str name, struct err *err)
{
	for (size_t i = 0; i < p->n; i++)
		if (str_eqz(name, p->name[i]))
			return 0;
	if (p->n == PPO_POINTS_MAX)
		return cli_usage(cli, err, "points", "--points: at most %d with the site's own", PPO_POINTS_MAX);
	if (str_copy(p->name[p->n], sizeof(p->name[p->n]), name) < 0)
		return cli_usage(cli, err, "points", "--points: longer than %zu bytes", sizeof(p->name[0]) - 1);
	p->at[p->n] = p->name[p->n];
	p->n++;
	return 0;
}

static int choose_points(struct cli *cli, const struct site *site, struct points *p, struct err *err)
{
	struct str rest = str_of(args_text(&cli->args, "points"));
	if (site->fixed)
		return err_set(
			err, HCP_EINVAL, "site", "%s pays a fixed tariff: there are no prices to learn from", site->name);
	int rc = add_point(cli, p, str_of(site->point), err);
	while (rc == 0 && rest.p) {
		struct str name = str_trim(str_split(&rest, ','));
		rc = name.n ? add_point(cli, p, name, err) : 0;
	}
	return rc;
}

static int load_prices(struct cli *cli, const struct points *p, int64_t to_ns, struct history *h, struct err *err)
{
	struct replay ticks;
	struct buf list;
	buf_init(&list, 0);
	for (size_t i = 0; i < p->n; i++)
		buf_printf(&list, "%s%s", i ? "," : "", p->name[i]);
	buf_addc(&list, 0);
	replay_init(&ticks, 0, to_ns);
	int rc = buf_failed(&list) ? err_set(err, HCP_ENOMEM, "", "out of memory")
							   : replay_load_dir(&ticks, args_text(&cli->args, "data"), list.data, err);
	if (rc == 0)
		rc = history_feed_until(h, &ticks, to_ns, err);
	replay_release(&ticks);
	buf_release(&list);
	return rc;
}

static void tell(void *arg, const struct ppo_model_progress *p)
{
	const struct cli *cli = arg;
	uint32_t every = p->of.iterations / 10 ? p->of.iterations / 10 : 1;
	if (!args_has(&cli->args, "quiet") && p->of.iteration % every == 0)
		cli_say("net %zu of %zu, %3u %%: a decision earns %.3f of a quarter-hour's running above always running, "
				"entropy %.3f, clipped %.1f %%",
			p->net + 1, p->nets, (unsigned)(100 * p->of.iteration / p->of.iterations), p->of.reward, p->of.entropy,
			100 * p->of.clipped);
}

static int show_trained(
	struct cli *cli, const struct ppo_model *m, const struct points *p, size_t bytes, struct err *err)
{
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	json_t *points = json_array();
	for (size_t i = 0; i < p->n; i++)
		json_array_append_new(points, json_string(p->name[i]));
	json_t *reply = json_pack("{s:s, s:o, s:s, s:s, s:I, s:I, s:I}", "site", m->site, "points", points, "from",
		timefmt_format(from, m->from_ns), "to", timefmt_format(to, m->to_ns), "nets", (json_int_t)m->n, "seed",
		(json_int_t)m->seed, "bytes", (json_int_t)bytes);
	return ops_show_made(cli, reply, err);
}

int ppo_command_train(struct cli *cli, struct err *err)
{
	struct site site;
	struct points points = { 0 };
	struct ppo_model m = { 0 };
	struct history h;
	struct buf out;
	struct ppo_training t = { .site = &site,
		.points = points.at,
		.seed = (uint64_t)args_int(&cli->args, "seed", 1),
		.iterations = (uint32_t)args_int(&cli->args, "iterations", 0) };
	int rc = time_flag(cli, "from", &t.from_ns, err);
	rc = rc ? rc : time_flag(cli, "to", &t.to_ns, err);
	rc = rc ? rc : site_file_load(cli, args_text(&cli->args, "site"), &site, err);
	rc = rc ? rc : choose_points(cli, &site, &points, err);
	if (rc < 0)
		return rc;
	t.n_points = points.n;
	history_init(&h);
	buf_init(&out, PPO_MODEL_MAX);
	rc = load_prices(cli, &points, t.to_ns, &h, err);
	if (rc == 0)
		rc = ppo_model_train(&m, &t, &h, tell, cli, err);
	if (rc == 0)
		rc = ppo_model_save(&m, &out, err);
	if (rc == 0)
		rc = file_write_atomic(args_text(&cli->args, "out"), buf_str(&out), 0644, err);
	if (rc == 0)
		rc = show_trained(cli, &m, &points, out.n, err);
	ppo_model_release(&m);
	buf_release(&out);
	history_release(&h);
	return rc;
}
