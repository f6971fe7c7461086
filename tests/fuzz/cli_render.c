/* Replies of any shape through every way of showing them. The first byte chooses the command and the format. */
#include <locale.h>
#include <stddef.h>
#include <stdint.h>

#include "base/panic.h"
#include "cmd/cli/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const uint8_t formats[] = { CLI_TABLE, CLI_TABLE, CLI_JSON, CLI_YAML };
	if (n < 2)
		return 0;
	setlocale(LC_CTYPE, "C.UTF-8");
	json_t *reply = json_loadb((const char *)p + 2, n - 2, JSON_REJECT_DUPLICATES, NULL);
	if (!reply)
		return 0;
	struct cli cli = { .output = formats[p[1] & 3], .width = p[1] & 4 ? 80 : 0, .color = p[1] & 8 };
	struct err err = { 0 };
	struct buf out;
	arena_init(&cli.arena, 4096, 0);
	buf_init(&out, 0);
	int rc = render_reply(&cli, &commands[p[0] % commands_n], reply, &out, &err);
	/* Nothing from outside may steer the terminal. */
	must(rc < 0 || cli.output == CLI_JSON || cli.color || !out.n || !memchr(out.data, '\033', out.n));
	buf_release(&out);
	arena_release(&cli.arena);
	json_decref(reply);
	return 0;
}
