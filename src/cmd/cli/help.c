#include "cmd/cli/ops.h"

#include "cmd/cli/cli.h"

#ifndef HCP_VERSION
#define HCP_VERSION "unknown"
#endif

static const char bash_script[] =
	"_hcp() {\n"
	"  local IFS=$'\\n'\n"
	"  COMPREPLY=($(hcp __complete \"${COMP_WORDS[@]:1:$COMP_CWORD}\" 2>/dev/null | cut -f1))\n"
	"}\n"
	"complete -o default -o nosort -F _hcp hcp\n";
static const char zsh_script[] =
	"#compdef hcp\n"
	"_hcp() {\n"
	"  local -a found\n"
	"  local line\n"
	"  while IFS=$'\\t' read -r word about; do\n"
	"    found+=(\"${word//:/\\\\:}:$about\")\n"
	"  done < <(hcp __complete \"${(@)words[2,$CURRENT]}\" 2>/dev/null)\n"
	"  _describe hcp found\n"
	"}\n"
	"compdef _hcp hcp\n";
static const char fish_script[] =
	"function __hcp_complete\n"
	"  set -l words (commandline -opc) (commandline -ct)\n"
	"  hcp __complete $words[2..-1] 2>/dev/null\n"
	"end\n"
	"complete -c hcp -f -a '(__hcp_complete)'\n";

static int print_text(const char *text, struct err *err)
{
	struct buf out;
	buf_init(&out, 0);
	buf_addz(&out, text);
	int rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

int ops_completion(struct cli *cli, struct err *err)
{
	const char *shell = cli->args.operands[0];
	if (!strcmp(shell, "bash"))
		return print_text(bash_script, err);
	if (!strcmp(shell, "zsh"))
		return print_text(zsh_script, err);
	if (!strcmp(shell, "fish"))
		return print_text(fish_script, err);
	return cli_usage(cli, err, "shell", "completion knows bash, zsh and fish, not \"%.40s\"", shell);
}

/* The next word of every command that starts with `path` (ends in a blank, or is empty) and goes on with `part`. */
static void add_words(struct buf *out, const char *path, const char *part)
{
	const char *last = "";
	size_t last_n = 0, skip = strlen(path);
	for (size_t i = 0; i < commands_n; i++) {
		const struct command *c = &commands[i];
		if (c->traits & CMD_HIDDEN || strncmp(c->path, path, skip) != 0)
			continue;
		const char *word = c->path + skip;
		size_t n = strcspn(word, " ");
		if (!n || strncmp(word, part, strlen(part)) != 0 || (n == last_n && !strncmp(word, last, n)))
			continue;
		buf_add(out, word, n);
		buf_printf(out, "\t%s\n", word[n] ? "..." : c->help);
		last = word;
		last_n = n;
	}
}

static void add_flags(struct buf *out, const struct command *cmd, const char *part)
{
	const struct flag *f;
	for (int i = 0; (f = command_flag_list(cmd, i)) != NULL; i++) {
		for (; f->name; f++) {
			if (!strncmp(f->name, part, strlen(part)))
				buf_printf(out, "--%s\t%s\n", f->name, f->help);
		}
	}
}

static void add_choices(struct buf *out, const struct flag *f, const char *part)
{
	struct str rest = str_of(f->choices);
	while (rest.p) {
		struct str word = str_split(&rest, ' ');
		if (str_starts(word, str_of(part)))
			buf_printf(out, "%.*s\t%s\n", (int)word.n, word.p, f->help);
	}
}

static const struct flag *flag_of_word(const struct command *cmd, const char *word)
{
	return word[0] == '-' && word[1] ? command_flag(cmd, str_of(word + (word[1] == '-' ? 2 : 1))) : NULL;
}

int ops_complete(struct cli *cli, struct err *err)
{
	const struct args *a = &cli->args;
	const char *part = a->noperands ? a->operands[a->noperands - 1] : "";
	const struct command *cmd = NULL;
	const struct flag *pending = NULL;
	char path[128] = "";
	struct buf out;
	for (size_t i = 0; i + 1 < a->noperands; i++) {
		const char *word = a->operands[i];
		if (pending) {
			pending = NULL;
			continue;
		}
		if (word[0] == '-') {
			const struct flag *f = flag_of_word(cmd, word);
			pending = f && f->kind != FLAG_SWITCH && f != watch_flags ? f : NULL;
			continue;
		}
		size_t n = strlen(path);
		snprintf(path + n, sizeof(path) - n, "%s ", word);
		const struct command *found = command_find((struct str){ path, strlen(path) - 1 });
		cmd = found ? found : cmd;
	}
	buf_init(&out, 0);
	if (pending)
		add_choices(&out, pending, part);
	else if (part[0] == '-')
		add_flags(&out, cmd, part + strspn(part, "-"));
	else
		add_words(&out, path, part);
	if (!pending && cmd && cmd->run == ops_completion)
		buf_addz(&out, "bash\nzsh\nfish\n");
	int rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

int ops_version(struct cli *cli, struct err *err)
{
	if (cli->output == CLI_JSON)
		return print_text("{\n  \"version\": \"" HCP_VERSION "\"\n}\n", err);
	return print_text(cli->output == CLI_YAML ? "version: \"" HCP_VERSION "\"\n" : "hcp " HCP_VERSION "\n", err);
}

/* What stands for the value of a flag in its help. */
static const char *const value_names[] = {
	[FLAG_TEXT] = " TEXT",     [FLAG_INT] = " N",     [FLAG_REAL] = " X",    [FLAG_CHOICE] = " TEXT",
	[FLAG_DURATION] = " TIME", [FLAG_TIME] = " WHEN", [FLAG_SWITCH] = "",
};

static void add_flag_help(struct buf *out, const struct flag *f)
{
	for (; f->name; f++) {
		char left[64];
		snprintf(left, sizeof(left), "--%s%s", f->name, value_names[f->kind]);
		buf_printf(out, "  %-26s %s%s", left, f->help, f->required ? " (required)" : "");
		if (f->kind == FLAG_CHOICE)
			buf_printf(out, ": %s", f->choices);
		if (f->alias)
			buf_printf(out, " (also %s%s)", f->alias[1] ? "--" : "-", f->alias);
		buf_addc(out, '\n');
	}
}

static void add_command_help(struct buf *out, const struct command *c)
{
	buf_printf(out, "hcp %s", c->path);
	struct str rest = str_of(c->operands);
	while (rest.p) {
		struct str name = str_split(&rest, ' ');
		buf_printf(out, name.p[0] == '[' ? " %.*s" : " <%.*s>", (int)name.n, name.p);
	}
	buf_printf(out, "\n\n%s\n", c->help);
	if (c->more)
		buf_printf(out, "%s\n", c->more);
	if (c->route)
		buf_printf(out, "\nCalls %s %s.\n", c->method, c->route);
	buf_addz(out, "\nFlags:\n");
	const struct flag *f;
	for (int i = 0; (f = command_flag_list(c, i)) != NULL; i++) {
		if (f == global_flags)
			buf_addz(out, "\nEverywhere:\n");
		add_flag_help(out, f);
	}
}

static size_t add_commands(struct buf *out, const char *prefix)
{
	size_t n = 0;
	for (size_t i = 0; i < commands_n; i++) {
		const struct command *c = &commands[i];
		if (c->traits & CMD_HIDDEN || strncmp(c->path, prefix, strlen(prefix)) != 0)
			continue;
		buf_printf(out, "  %-24s %s\n", c->path, c->help);
		n++;
	}
	return n;
}

int ops_help_about(struct cli *cli, const char *path, struct err *err)
{
	struct buf out;
	buf_init(&out, 0);
	int rc = 0;
	const struct command *cmd = path ? command_find(str_of(path)) : NULL;
	if (cmd) {
		add_command_help(&out, cmd);
	} else if (path) {
		buf_printf(&out, "hcp %s <command>\n\n", path);
		if (!command_is_group(str_of(path)) || !add_commands(&out, path))
			rc = cli_usage(cli, err, path, "unknown command \"%.80s\"; see `hcp help`", path);
	} else {
		buf_addz(&out, "hcp <command> [flags]\n\nCommands:\n");
		add_commands(&out, "");
		buf_addz(&out, "\nEverywhere:\n");
		add_flag_help(&out, global_flags);
		buf_addz(&out,
			 "\nData goes to standard output, messages to standard error. Exit status: 0 done, 1 refused by the\n"
			       "server, 2 wrong usage, 3 no connection or no answer in time, 4 not logged in.\n");
	}
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

static int print_routes(struct err *err)
{
	struct buf out;
	buf_init(&out, 0);
	for (size_t i = 0; i < commands_n; i++) {
		if (commands[i].route)
			buf_printf(&out, "%s\t%s\t%s\n", commands[i].method, commands[i].route, commands[i].path);
	}
	int rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

int ops_help(struct cli *cli, struct err *err)
{
	const struct args *a = &cli->args;
	const char *path = NULL;
	if (args_has(a, "routes"))
		return print_routes(err);
	for (size_t i = 0; i < a->noperands; i++) {
		path = path ? arena_printf(&cli->arena, "%s %s", path, a->operands[i]) : a->operands[i];
		if (!path)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	return ops_help_about(cli, path, err);
}
