#include "cmd/cli/args.h"

#include <math.h>

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"
#include "cmd/cli/human.h"

static bool in_choices(const char *choices, struct str s)
{
	struct str rest = str_of(choices);
	while (rest.p) {
		if (str_eq(str_split(&rest, ' '), s))
			return true;
	}
	return false;
}

static int range_err(const struct flag *f, struct err *err)
{
	return err_set(err, HCP_EINVAL, f->name, "--%s must be between %.15g and %.15g", f->name, f->min, f->max);
}

static int parse_int(const struct flag *f, struct str s, int64_t *ret, struct err *err)
{
	if (num_parse_i64(s, ret) < 0)
		return err_set(err, HCP_EINVAL, f->name, "--%s needs a whole number, not \"%.60s\"", f->name, s.p);
	return (double)*ret < f->min || (double)*ret > f->max ? range_err(f, err) : 0;
}

static int parse_real(const struct flag *f, struct str s, double *ret, struct err *err)
{
	if (num_parse_double(s, ret) < 0)
		return err_set(err, HCP_EINVAL, f->name, "--%s needs a number, not \"%.60s\"", f->name, s.p);
	return *ret < f->min || *ret > f->max ? range_err(f, err) : 0;
}

static int parse_duration(const struct flag *f, struct str s, int64_t *ret, struct err *err)
{
	if (human_parse_duration(s, ret) < 0)
		return err_set(err, HCP_EINVAL, f->name, "--%s needs a duration like 90s, 15m, 2h, 7d, not \"%.60s\"",
			       f->name, s.p);
	return (double)*ret < f->min || (double)*ret > f->max ? range_err(f, err) : 0;
}

static int parse_time(const struct flag *f, struct str s, int64_t now_ns, int64_t *ret, struct err *err)
{
	int64_t after_s = 0, after_ns = 0;
	int rc;
	if (s.n > 1 && s.p[0] == '+') {
		rc = human_parse_duration((struct str){ s.p + 1, s.n - 1 }, &after_s);
		if (rc == 0)
			rc = num_mul_i64(after_s, NS_PER_S, &after_ns);
		if (rc == 0)
			rc = num_add_i64(now_ns, after_ns, ret);
	} else {
		rc = timefmt_parse(s, ret);
	}
	if (rc < 0)
		return err_set(err, HCP_EINVAL, f->name,
			       "--%s needs a time like 2026-11-20T18:00:00Z or +6h, not \"%.60s\"",
			       f->name, s.p);
	return 0;
}

/* The request member of a checked flag; NULL when memory is out. */
static int flag_value(const struct flag *f, const char *text, int64_t now_ns, json_t **ret, struct err *err)
{
	struct str s = str_of(text);
	int64_t i = 0;
	double d = 0;
	int rc = 0;
	switch (f->kind) {
	case FLAG_INT:
		rc = parse_int(f, s, &i, err);
		break;
	case FLAG_DURATION:
		rc = parse_duration(f, s, &i, err);
		break;
	case FLAG_TIME:
		rc = parse_time(f, s, now_ns, &i, err);
		break;
	case FLAG_REAL:
		rc = parse_real(f, s, &d, err);
		break;
	case FLAG_CHOICE:
		if (!in_choices(f->choices, s))
			rc = err_set(err, HCP_EINVAL, f->name, "--%s must be one of: %s", f->name, f->choices);
		break;
	default:
		break;
	}
	if (rc < 0)
		return rc;
	*ret = f->kind == FLAG_SWITCH ? json_true() : f->kind == FLAG_REAL ? json_real(d) :
	       f->kind == FLAG_TEXT || f->kind == FLAG_CHOICE ? json_string(text) : json_integer(i);
	return *ret ? 0 : err_set(err, HCP_EINVAL, f->name, "--%s is not valid UTF-8", f->name);
}

static int check_value(const struct flag *f, const char *text, struct err *err)
{
	json_t *v = NULL;
	int rc = flag_value(f, text, 0, &v, err);
	json_decref(v);
	return rc;
}

/* "--watch" alone means its default; a following duration belongs to it. */
static bool takes_next(const struct flag *f, const char *next)
{
	int64_t s;
	if (f->kind == FLAG_SWITCH)
		return false;
	if (f != watch_flags)
		return true;
	return next && human_parse_duration(str_of(next), &s) == 0;
}

static int take_flag(struct args *a, int argc, char *const argv[], int *at, struct err *err)
{
	const char *word = argv[*at];
	struct str rest = str_of(word + (word[1] == '-' ? 2 : 1));
	struct str name = str_split(&rest, '=');
	const struct flag *f = command_flag(a->cmd, name);
	/* One dash only for one-letter names, two for the others. */
	if (!f || (word[1] == '-') == (name.n == 1))
		return err_set(err, HCP_EINVAL, word, "unknown flag %.60s%s%s; see `hcp help%s%s`", word,
			       a->cmd ? " for " : "", a->cmd ? a->cmd->path : "", a->cmd ? " " : "", a->cmd ? a->cmd->path : "");
	const char *text = rest.p;
	if (text && f->kind == FLAG_SWITCH)
		return err_set(err, HCP_EINVAL, f->name, "--%s takes no value", f->name);
	if (!text && takes_next(f, *at + 1 < argc ? argv[*at + 1] : NULL)) {
		if (*at + 1 >= argc)
			return err_set(err, HCP_EINVAL, f->name, "--%s needs a value", f->name);
		text = argv[++*at];
	}
	if (!text)
		text = f == watch_flags ? "2s" : "";
	int rc = check_value(f, text, err);
	if (rc < 0)
		return rc;
	if (a->nflags == ARGS_FLAGS_MAX)
		return err_set(err, HCP_ELIMIT, f->name, "more than %d flags", ARGS_FLAGS_MAX);
	a->flags[a->nflags].flag = f;
	a->flags[a->nflags].text = text;
	a->nflags++;
	return 0;
}

/* Extends the command's words, as long as a command starts with them; what follows is an operand. */
static int take_word(struct args *a, struct arena *arena, const char *word, struct err *err)
{
	const char *so_far = a->cmd ? a->cmd->path : a->group;
	const char *path = so_far ? arena_printf(arena, "%s %s", so_far, word) : word;
	if (!path)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	const struct command *cmd = a->noperands == 0 ? command_find(str_of(path)) : NULL;
	if (cmd) {
		a->cmd = cmd;
		a->group = NULL;
		return 0;
	}
	if (!a->cmd && command_is_group(str_of(path))) {
		a->group = path;
		return 0;
	}
	if (!a->cmd)
		return err_set(err, HCP_EINVAL, word, "unknown command \"%.80s\"; see `hcp help`", path);
	if (a->noperands == ARGS_OPERANDS_MAX)
		return err_set(err, HCP_ELIMIT, word, "more than %d operands", ARGS_OPERANDS_MAX);
	a->operands[a->noperands++] = word;
	return 0;
}

static int check_complete(const struct args *a, struct err *err)
{
	if (!a->cmd || args_has(a, "help"))
		return 0;
	struct str rest = str_of(a->cmd->operands);
	size_t least = 0, most = 0;
	while (rest.p) {
		struct str name = str_split(&rest, ' ');
		least += name.p[0] != '[';
		most = name.n > 3 && memmem(name.p, name.n, "...", 3) ? ARGS_OPERANDS_MAX : most + 1;
	}
	if (a->noperands < least)
		return err_set(err, HCP_EINVAL, a->cmd->operands, "missing operand: hcp %s <%s>", a->cmd->path,
			       a->cmd->operands);
	if (a->noperands > most)
		return err_set(err, HCP_EINVAL, a->operands[most], "one operand too many: \"%.80s\"",
			       a->operands[most]);
	const struct flag *f;
	for (int i = 0; (f = command_flag_list(a->cmd, i)) != NULL; i++) {
		for (; f->name; f++) {
			if (f->required && !args_has(a, f->name))
				return err_set(err, HCP_EINVAL, f->name, "hcp %s needs --%s", a->cmd->path, f->name);
		}
	}
	return 0;
}

int args_parse(struct args *a, struct arena *arena, int argc, char *const argv[], struct err *err)
{
	*a = (struct args){ 0 };
	bool flags = true;
	for (int i = 1; i < argc; i++) {
		int rc;
		/* What is being completed is looked at word by word, flags included. */
		if (a->cmd && (a->cmd->traits & CMD_HIDDEN))
			flags = false;
		if (flags && !strcmp(argv[i], "--")) {
			flags = false;
			continue;
		}
		if (flags && argv[i][0] == '-' && argv[i][1])
			rc = take_flag(a, argc, argv, &i, err);
		else
			rc = take_word(a, arena, argv[i], err);
		if (rc < 0)
			return rc;
	}
	return check_complete(a, err);
}

const char *args_text(const struct args *a, const char *name)
{
	for (size_t i = a->nflags; i-- > 0;) {
		if (!strcmp(a->flags[i].flag->name, name))
			return a->flags[i].text;
	}
	return NULL;
}

int64_t args_int(const struct args *a, const char *name, int64_t other)
{
	const char *text = args_text(a, name);
	int64_t v = 0;
	/* Plain integers are durations in seconds as well. */
	return text && human_parse_duration(str_of(text), &v) == 0 ? v : other;
}

int args_request(const struct args *a, int64_t now_ns, json_t *req, struct err *err)
{
	for (size_t i = 0; i < a->nflags; i++) {
		const struct flag *f = a->flags[i].flag;
		json_t *v = NULL;
		if (!f->field)
			continue;
		int rc = flag_value(f, a->flags[i].text, now_ns, &v, err);
		if (rc < 0)
			return rc;
		if (json_object_set_new(req, f->field, v) < 0)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	struct str rest = str_of(a->cmd->operands);
	for (size_t i = 0; i < a->noperands && rest.p; i++) {
		struct str name = str_split(&rest, ' ');
		char field[64];
		if (name.p[0] == '[')
			name = (struct str){ name.p + 1, name.n - 2 };
		if (memmem(name.p, name.n, "...", 3))
			break;
		if (str_copy(field, sizeof(field), name) < 0 ||
		    json_object_set_new(req, field, json_string(a->operands[i])) < 0)
			return err_set(err, HCP_EINVAL, a->operands[i], "\"%.80s\" is not valid UTF-8", a->operands[i]);
	}
	return 0;
}
