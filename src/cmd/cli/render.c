#include "cmd/cli/render.h"

#include <ctype.h>
#include <float.h>
#include <math.h>

#include "cmd/cli/emit.h"
#include "cmd/cli/explain.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/human.h"

enum { POINTS_MAX = 100000, FIELDS_MAX = 128, FIELD_DEPTH_MAX = 2 };

struct column {
	char field[64];
	enum human_format format;
	struct str title;
	bool titled;
};

/* field[:format][=TITLE] */
static int parse_column(struct str text, struct column *c, struct err *err)
{
	struct str title = text, field = str_split(&title, '='), format = field, name = str_split(&format, ':');
	if (str_copy(c->field, sizeof(c->field), name) < 0)
		return err_set(err, HCP_EINTERNAL, "", "bad column %.60s", text.p);
	c->titled = title.p != NULL;
	c->title = title;
	c->format = format.p ? human_named(format) : human_of(c->field);
	return 0;
}

static bool is_empty(const json_t *v, enum human_format f)
{
	if (!v || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0))
		return true;
	if (json_is_array(v))
		return json_array_size(v) == 0;
	if (f == HUMAN_PART && json_is_number(v))
		return json_number_value(v) == 0;
	return (f == HUMAN_TIME || f == HUMAN_AGE) && json_is_integer(v) && json_integer_value(v) == 0;
}

static bool column_is_empty(const json_t *rows, const struct column *c)
{
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row) {
		if (!is_empty(json_object_get(row, c->field), c->format))
			return false;
	}
	return true;
}

static size_t parse_columns(const json_t *rows, const char *text, struct column cols[GRID_COLS_MAX], struct err *err)
{
	struct str rest = str_of(text);
	size_t n = 0;
	while (rest.p && n < GRID_COLS_MAX) {
		if (parse_column(str_split(&rest, ' '), &cols[n], err) < 0)
			return 0;
		if (n == 0 || !column_is_empty(rows, &cols[n]))
			n++;
	}
	return n;
}

static void add_title(struct grid *g, const struct column *c, struct buf *scratch)
{
	buf_clear(scratch);
	if (c->titled)
		buf_adds(scratch, c->title);
	for (const char *p = c->field; !c->titled && *p; p++)
		buf_addc(scratch, *p == '_' ? ' ' : (char)toupper((unsigned char)*p));
	grid_column(g, buf_str(scratch), human_is_number(c->format));
}

int render_rows(struct cli *cli, const json_t *rows, const char *columns, int64_t age_from_ns, struct buf *out,
		struct err *err)
{
	struct column cols[GRID_COLS_MAX];
	size_t n = parse_columns(rows, columns, cols, err), i, dropped = 0;
	int64_t now_ns = cli_now_ns();
	json_t *row;
	if (n == 0)
		return HCP_EINTERNAL;
	struct grid g;
	struct buf scratch;
	buf_init(&scratch, 0);
	grid_init(&g, &cli->arena);
	for (size_t c = 0; c < n; c++)
		add_title(&g, &cols[c], &scratch);
	json_array_foreach(rows, i, row) {
		for (size_t c = 0; c < n; c++) {
			/* Market values age in market time, which may be a replayed year. */
			bool market = !strcmp(cols[c].field, "observed_at_ns");
			const json_t *v = json_object_get(row, cols[c].field);
			buf_clear(&scratch);
			if (!is_empty(v, cols[c].format))
				human_add(&scratch, v, cols[c].format, market && age_from_ns ? age_from_ns : now_ns);
			grid_cell(&g, buf_str(&scratch));
		}
	}
	int rc = grid_render(&g, cli->width, cli->color, out, &dropped);
	if (rc < 0)
		rc = err_set(err, rc, "", "out of memory");
	else if (dropped)
		cli_say("%zu column%s did not fit; widen the terminal or use -o json.", dropped,
			dropped == 1 ? "" : "s");
	buf_release(&scratch);
	return rc;
}

struct field_line {
	const char *label;
	const char *value;
};

static const char *keep(struct cli *cli, const struct buf *b)
{
	return buf_failed(b) ? NULL : arena_strndup(&cli->arena, b->data ? b->data : "", b->n);
}

/* "created_at_ns" -> "created at": the unit is in the value. */
static void add_label(struct buf *out, const char *prefix, const char *name)
{
	static const char *const units[] = { "_ns", "_micros_h", "_micros", "_usd_mwh", "_usd_ph_day", "_usd_h",
					     "_usd", "_ms",
					     "_w", "_j", "_ths", "_gib", "_c", "_s" };
	size_t n = strlen(name);
	for (size_t i = 0; human_of(name) != HUMAN_TEXT && i < sizeof(units) / sizeof(units[0]); i++) {
		size_t len = strlen(units[i]);
		if (n > len && !strcmp(name + n - len, units[i])) {
			n -= len;
			break;
		}
	}
	if (prefix && *prefix)
		buf_printf(out, "%s ", prefix);
	for (size_t i = 0; i < n; i++)
		buf_addc(out, name[i] == '_' ? ' ' : name[i]);
}

static bool in_views(const struct view *views, const char *name)
{
	for (int i = 0; views && i < COMMAND_VIEWS; i++) {
		if (views[i].member && !strcmp(views[i].member, name))
			return true;
	}
	return false;
}

static int collect_fields(struct cli *cli, const json_t *object, const struct view *views, const char *prefix,
			  int depth,
			  struct field_line *lines, size_t *n)
{
	const char *name;
	json_t *v;
	struct buf b;
	int rc = 0;
	buf_init(&b, 0);
	json_object_foreach((json_t *)object, name, v) {
		enum human_format f = human_of(name);
		if (is_empty(v, f) || in_views(views, name) || *n == FIELDS_MAX)
			continue;
		buf_clear(&b);
		add_label(&b, prefix, name);
		const char *label = keep(cli, &b);
		if (json_is_object(v) && depth < FIELD_DEPTH_MAX && label) {
			rc = collect_fields(cli, v, NULL, label, depth + 1, lines, n);
			if (rc < 0)
				break;
			continue;
		}
		buf_clear(&b);
		human_add(&b, v, f, 0);
		lines[*n] = (struct field_line){ label, keep(cli, &b) };
		if (!label || !lines[*n].value) {
			rc = HCP_ENOMEM;
			break;
		}
		(*n)++;
	}
	buf_release(&b);
	return rc;
}

int render_fields(struct cli *cli, const json_t *object, const struct view *skip_views, struct buf *out,
		  struct err *err)
{
	struct field_line lines[FIELDS_MAX];
	size_t n = 0, widest = 0;
	if (collect_fields(cli, object, skip_views, NULL, 0, lines, &n) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < n; i++) {
		size_t width = grid_text_width(str_of(lines[i].label));
		widest = width > widest ? width : widest;
	}
	for (size_t i = 0; i < n; i++) {
		size_t width = grid_text_width(str_of(lines[i].label));
		grid_add_clean(out, str_of(lines[i].label));
		buf_printf(out, "%*s", (int)(widest - width + GRID_GAP), "");
		grid_add_clean(out, str_of(lines[i].value));
		buf_addc(out, '\n');
	}
	return buf_failed(out) ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
}

static int render_points(struct cli *cli, const json_t *reply, struct buf *out, struct err *err)
{
	const json_t *points = json_object_get(reply, "points"), *p;
	size_t n = json_array_size(points), width = cli->width ? cli->width : 80;
	static const struct view skip[COMMAND_VIEWS] = { { "points", NULL } };
	const char *name = json_string_value(json_object_get(reply, "metric"));
	if (!name)
		name = json_string_value(json_object_get(reply, "symbol"));
	enum human_format f = name ? human_of(name) : HUMAN_REAL;
	int rc = render_fields(cli, reply, skip, out, err);
	if (rc < 0)
		return rc;
	if (n == 0 || n > POINTS_MAX) {
		cli_say(n ? "too many points to draw" : "no points yet");
		return 0;
	}
	double *v = arena_alloc(&cli->arena, n * sizeof(*v)), sum = 0;
	if (!v)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	double least = DBL_MAX, most = -DBL_MAX;
	for (size_t i = 0; i < n; i++) {
		p = json_object_get(json_array_get(points, i), "value");
		v[i] = json_number_value(p);
		sum += v[i];
		least = fmin(least, v[i]);
		most = fmax(most, v[i]);
	}
	human_add_sparkline(out, v, n, width);
	const struct {
		const char *name;
		double value;
	} facts[] = { { "\nlast ", v[n - 1] }, { "   least ", least }, { "   mean ", sum / (double)n },
		      { "   most ", most } };
	for (size_t i = 0; i < 4; i++) {
		json_t *number = json_real(facts[i].value);
		buf_addz(out, facts[i].name);
		human_add(out, number, f == HUMAN_TEXT ? HUMAN_REAL : f, 0);
		json_decref(number);
	}
	buf_printf(out, "   (%zu points)\n", n);
	return 0;
}

static int render_object(struct cli *cli, const struct command *cmd, const json_t *reply, struct buf *out,
			 struct err *err)
{
	int64_t market_ns = json_integer_value(json_object_get(reply, "market_time_ns"));
	int rc = render_fields(cli, reply, cmd->views, out, err);
	for (int i = 0; rc == 0 && i < COMMAND_VIEWS && cmd->views[i].member; i++) {
		const json_t *rows = json_object_get(reply, cmd->views[i].member);
		if (json_array_size(rows) == 0)
			continue;
		buf_printf(out, "\n%s%s%s\n", cli->color ? "\033[4m" : "", cmd->views[i].member,
			   cli->color ? "\033[0m" : "");
		rc = render_rows(cli, rows, cmd->views[i].columns, market_ns, out, err);
	}
	return rc;
}

static int render_table(struct cli *cli, const struct command *cmd, const json_t *v, struct buf *out, struct err *err)
{
	switch (cmd->shape) {
	case SHAPE_LIST:
		if (json_array_size(v) == 0) {
			cli_say("no %s", cmd->views[0].member);
			return 0;
		}
		return render_rows(cli, v, cmd->views[0].columns, 0, out, err);
	case SHAPE_POINTS:
		return render_points(cli, v, out, err);
	case SHAPE_WHY:
		return json_object_get(v, "workload") ? explain_workload(cli, v, out, err) : explain_decision(cli, v, out, err);
	default:
		return render_object(cli, cmd, v, out, err);
	}
}

int render_reply(struct cli *cli, const struct command *cmd, const json_t *reply, struct buf *out, struct err *err)
{
	json_t *none = json_array();
	const json_t *v = reply;
	int rc = 0;
	if (cmd->shape == SHAPE_LIST) {
		/* A list without rows may come without its member. */
		v = json_object_get(reply, cmd->views[0].member);
		v = v ? v : none;
	}
	if (cmd->shape == SHAPE_LIST ? !json_is_array(v) : !json_is_object(v))
		rc = err_set(err, HCP_EPROTO, "",
			     "the answer has not the expected shape; do versions match? (`hcp version`, `hcp status`)");
	else if (cli->output == CLI_JSON)
		rc = emit_json(out, v, err);
	else if (cli->output == CLI_YAML)
		rc = emit_yaml(out, v, err);
	else
		rc = render_table(cli, cmd, v, out, err);
	json_decref(none);
	return rc;
}
