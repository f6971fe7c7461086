#include "wire/yamlconf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- what the library says about an error ---- */

struct said {
	char what[160]; /* the first error */
	char field[64]; /* the innermost field of its back trace */
	unsigned line;  /* 0: not known */
};

static void take_line(struct said *s, const char *text)
{
	const char *at = strstr(text, "line: ");
	if (!at)
		at = strstr(text, "line ");
	if (at && !s->line)
		s->line = (unsigned)strtoul(at + (at[4] == ':' ? 6 : 5), NULL, 10);
	at = strstr(text, "in mapping field '");
	if (!at || s->field[0])
		return;
	at += strlen("in mapping field '");
	snprintf(s->field, sizeof(s->field), "%.*s", (int)strcspn(at, "'"), at);
}

static void listen(cyaml_log_t level, void *ctx, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);
static void listen(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	struct said *s = ctx;
	char text[512];
	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = 0;
	take_line(s, text);
	const char *what = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
	if (!s->what[0] && strncmp(what, "Backtrace", 9) != 0)
		snprintf(s->what, sizeof(s->what), "%.150s", what);
}

static void *yaml_mem(void *ctx, void *p, size_t n)
{
	if (n)
		return mem_realloc(p, n);
	mem_free(p);
	return NULL;
}

/* ---- the line of a field, for values that the form allows and their meaning does not ---- */

/* Where the walk along a path stands: `column` is that of the keys, or dashes, looked at; -1: the next line's. */
struct walk {
	const char *path;
	long item, column, parent;
	unsigned near_line;
};

/* Bytes of a path's first part: "[12]" or "restart". */
static size_t part_of(const char *path)
{
	return path[0] == '[' ? strcspn(path, "]") + 1 : strcspn(path, ".[");
}

static void step(struct walk *w, unsigned line)
{
	w->path += part_of(w->path);
	w->path += w->path[0] == '.';
	w->parent = w->column;
	w->column = w->item = -1;
	w->near_line = line;
}

/* One line, or what follows its dash. False: the list or mapping that is walked has ended. */
static bool look(struct walk *w, struct str bare, long column, unsigned line)
{
	bool item = bare.n && bare.p[0] == '-' && (bare.n == 1 || bare.p[1] == ' ');
	size_t n = part_of(w->path);
	if (w->column < 0) {
		/* Dashes may stand in the column of the list's key; whatever else belongs to it is further in. */
		if (column < w->parent || (column == w->parent && !item))
			return false;
		w->column = column;
	}
	if (column != w->column)
		return column > w->column;
	if (w->path[0] != '[') {
		if (bare.n > n && bare.p[n] == ':' && memcmp(bare.p, w->path, n) == 0)
			step(w, line);
		return true;
	}
	if (!item)
		return false;
	if (++w->item != strtol(w->path + 1, NULL, 10))
		return true;
	step(w, line);
	size_t skip = 1;
	while (skip < bare.n && bare.p[skip] == ' ')
		skip++;
	if (!w->path[0] || skip >= bare.n)
		return true;
	return look(w, (struct str){ bare.p + skip, bare.n - skip }, column + (long)skip, line);
}

/*
 * path is "pue", "groups[2].count" or "groups[2].modes[0].watts". Files are written one field a line and indented by
 * spaces; for a field that is not there, the nearest line above is told. 0: not found.
 */
static unsigned line_of(struct str text, const char *path)
{
	struct walk w = { .path = path, .item = -1, .column = -1, .parent = -1 };
	unsigned line = 0;
	while (text.p && w.path[0]) {
		struct str row = str_split(&text, '\n'), bare = str_trim(row);
		line++;
		if (bare.n == 0 || bare.p[0] == '#' || str_eqz(bare, "---"))
			continue;
		if (!look(&w, bare, (long)(bare.p - row.p), line))
			break;
	}
	return w.near_line;
}

enum { NAME_SHOWN = 100 }; /* bytes of a path that an error tells: its end, where the file's name is */

static int say(struct err *err, int code, const char *name, unsigned line, const char *field, const char *what)
{
	size_t n = strlen(name);
	const char *cut = n > NAME_SHOWN ? "…" : "", *end = n > NAME_SHOWN ? name + n - NAME_SHOWN : name;
	if (line)
		return err_set(err, code, field, "%s%s:%u: %s", cut, end, line, what);
	return err_set(err, code, field, "%s%s: %s", cut, end, what);
}

/* The library tells the line where the mapping began; a key that is too much stands there or below. */
static void find_key(struct str text, struct said *s)
{
	static const char what[] = "Unexpected key: ", missing[] = "Missing required mapping field: ";
	unsigned line = 0;
	if (strncmp(s->what, missing, sizeof(missing) - 1) == 0)
		snprintf(s->field, sizeof(s->field), "%.60s", s->what + sizeof(missing) - 1);
	if (strncmp(s->what, what, sizeof(what) - 1) != 0)
		return;
	struct str key = str_of(s->what + sizeof(what) - 1);
	while (text.p) {
		struct str bare = str_trim(str_split(&text, '\n'));
		line++;
		if (bare.n && bare.p[0] == '-')
			bare = str_trim((struct str){ bare.p + 1, bare.n - 1 });
		if (line >= s->line && bare.n > key.n && str_starts(bare, key) && bare.p[key.n] == ':') {
			s->line = line;
			snprintf(s->field, sizeof(s->field), "%.60s", key.p);
			return;
		}
	}
}

static cyaml_config_t config_of(struct said *s)
{
	return (cyaml_config_t){
		.log_fn = listen, .log_ctx = s, .mem_fn = yaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS
	};
}

int yamlconf_load(const char *name, struct str text, size_t max, const cyaml_schema_value_t *schema, cyaml_data_t **ret,
	struct err *err)
{
	struct said said = { 0 };
	cyaml_data_t *data = NULL;
	const cyaml_config_t config = config_of(&said);
	if (text.n > max)
		return err_set(err, HCP_ELIMIT, "", "%.80s: longer than %zu bytes", name, max);
	if (text.n == 0)
		return say(err, HCP_EPARSE, name, 1, "", "the file is empty");
	cyaml_err_t rc = cyaml_load_data((const uint8_t *)text.p, text.n, &config, schema, &data, NULL);
	if (rc == CYAML_ERR_OOM)
		return err_set(err, HCP_ENOMEM, "", "no memory for %.80s", name);
	find_key(text, &said);
	if (rc != CYAML_OK || !data)
		return say(err, HCP_EPARSE, name, said.line, said.field, said.what[0] ? said.what : cyaml_strerror(rc));
	*ret = data;
	return 0;
}

void yamlconf_free(const cyaml_schema_value_t *schema, cyaml_data_t *data)
{
	struct said said = { 0 };
	const cyaml_config_t config = config_of(&said);
	cyaml_free(&config, schema, data, 0);
}

int yamlconf_wrong(const char *name, struct str text, const struct err *why, struct err *err)
{
	return say(err, why->code, name, line_of(text, why->field), why->field, why->text);
}
