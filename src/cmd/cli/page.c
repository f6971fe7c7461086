#include "cmd/cli/page.h"

#include <math.h>

enum { COLOURS = 10 };

const char *const page_style =
	":root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--line:#d5d9de;--soft:#5b6570;--pale:#c3a98a}"
	"@media(prefers-color-scheme:dark){:root{--fg:#e4e7ea;--bg:#14171a;--line:#363c42;--soft:#9aa4ae;--pale:#6e5c45}}"
	"body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1000px;margin:2em auto;"
	"padding:0 1em}h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .3em}p{color:var(--soft);margin:.2em 0}"
	"table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
	"th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid var(--line)}"
	"th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto;display:block}"
	"svg text{fill:var(--soft);font:11px system-ui,sans-serif}.wide{overflow-x:auto}"
	".key span{display:inline-block;margin-right:1.2em}.key i{display:inline-block;width:1em;height:.25em;"
	"margin-right:.4em;vertical-align:middle}";
/* Apart by lightness too, so that they differ in print. */
static const char *const colour[COLOURS] = { "#0b6bcb", "#d9480f", "#2b8a3e", "#9c36b5", "#e0a100", "#0c8599",
	"#c2255c", "#868e96", "#5c940d", "#1b1f8a" };

const char *page_colour(size_t i)
{
	return colour[i % COLOURS];
}

void page_text(struct buf *out, const char *z)
{
	for (; *z; z++) {
		if (*z == '<')
			buf_addz(out, "&lt;");
		else if (*z == '&')
			buf_addz(out, "&amp;");
		else if (*z == '"')
			buf_addz(out, "&quot;");
		else
			buf_addc(out, *z);
	}
}

double page_step(double range)
{
	double step = pow(10, floor(log10(range / 5)));
	double times = range / 5 / step;
	return step * (times > 5 ? 10 : times > 2 ? 5 : times > 1 ? 2 : 1);
}

void page_number(struct buf *out, double v)
{
	if (fabs(v) >= 1e6)
		buf_printf(out, "%.3gM", v / 1e6);
	else if (fabs(v) >= 1e4)
		buf_printf(out, "%.0fk", v / 1e3);
	else
		buf_printf(out, "%.4g", v);
}
