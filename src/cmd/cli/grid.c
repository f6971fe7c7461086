#include "cmd/cli/grid.h"

#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/utf8.h"

static const struct tint {
	const char *word;
	const char *code;
} tints[] = {
	{ "running", "32" }, { "ok", "32" },     { "active", "32" },    { "completed", "32" }, { "best", "32" },
	{ "serve", "36" },   { "fill", "35" },   { "queued", "33" },    { "degraded", "33" },  { "paused", "33" },
	{ "failed", "31" },  { "down", "31" },   { "cancelled", "90" }, { "loss", "31" },      { "safe", "31" },
	{ "device_failed", "31" },
};

static size_t cell_width(uint32_t cp)
{
	int w = cp < 0x80 ? 1 : wcwidth((wchar_t)cp);
	return w < 0 ? 1 : (size_t)w;
}

size_t grid_text_width(struct str s)
{
	size_t width = 0;
	for (size_t i = 0; i < s.n;) {
		uint32_t cp = 0;
		size_t len = utf8_decode(s.p + i, s.n - i, &cp);
		width += len ? cell_width(cp) : 1;
		i += len ? len : 1;
	}
	return width;
}

void grid_add_clean(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n;) {
		uint32_t cp = 0;
		size_t len = utf8_decode(s.p + i, s.n - i, &cp);
		bool control = cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || (cp >= 0x202A && cp <= 0x202E) ||
			       (cp >= 0x2066 && cp <= 0x2069);
		if (len == 0 || control)
			buf_addc(out, '?');
		else
			buf_add(out, s.p + i, len);
		i += len ? len : 1;
	}
}

static const char *keep(struct grid *g, struct str text)
{
	struct buf b;
	buf_init(&b, 0);
	grid_add_clean(&b, text);
	const char *kept = buf_failed(&b) ? NULL : arena_strndup(g->arena, b.data ? b.data : "", b.n);
	buf_release(&b);
	if (!kept)
		g->failed = true;
	return kept;
}

void grid_init(struct grid *g, struct arena *arena)
{
	*g = (struct grid){ .arena = arena };
}

void grid_column(struct grid *g, struct str title, bool right)
{
	if (g->ncols == GRID_COLS_MAX) {
		g->failed = true;
		return;
	}
	const char *text = keep(g, title);
	if (!text)
		return;
	g->cols[g->ncols].title = text;
	g->cols[g->ncols].right = right;
	g->cols[g->ncols].width = grid_text_width(str_of(text));
	g->ncols++;
}

void grid_cell(struct grid *g, struct str text)
{
	if (g->failed)
		return;
	if (g->ncells == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 256;
		const char **cells = arena_alloc(g->arena, cap * sizeof(*cells));
		if (!cells) {
			g->failed = true;
			return;
		}
		if (g->ncells)
			memcpy(cells, g->cells, g->ncells * sizeof(*cells));
		g->cells = cells;
		g->cap = cap;
	}
	must(g->ncols > 0);
	const char *kept = keep(g, text.n ? text : STR("-"));
	if (!kept)
		return;
	size_t col = g->ncells % g->ncols, width = grid_text_width(str_of(kept));
	g->cells[g->ncells++] = kept;
	if (width > g->cols[col].width)
		g->cols[col].width = width;
}

void grid_printf(struct grid *g, const char *fmt, ...)
{
	char text[64];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	grid_cell(g, str_of(text));
}

static size_t total_width(const struct grid *g, size_t ncols)
{
	size_t sum = 0;
	for (size_t i = 0; i < ncols; i++)
		sum += g->cols[i].width + (i ? GRID_GAP : 0);
	return sum;
}

/* Returns how many columns are shown. */
static size_t fit(struct grid *g, size_t width)
{
	size_t shown = g->ncols;
	while (width && total_width(g, shown) > width) {
		size_t widest = 0, second = GRID_SHRUNK_MIN;
		for (size_t i = 1; i < shown; i++) {
			if (!g->cols[i].right && g->cols[i].width > GRID_SHRUNK_MIN &&
			    (!widest || g->cols[i].width > g->cols[widest].width))
				widest = i;
		}
		if (!widest) {
			if (shown == 1)
				break;
			shown--;
			continue;
		}
		for (size_t i = 1; i < shown; i++) {
			if (i != widest && !g->cols[i].right && g->cols[i].width > second &&
			    g->cols[i].width < g->cols[widest].width)
				second = g->cols[i].width;
		}
		size_t over = total_width(g, shown) - width, room = g->cols[widest].width - second;
		if (room == 0)
			room = 1;
		g->cols[widest].width -= over < room ? over : room;
	}
	return shown;
}

/* As much of s as fits into width, with an ellipsis where something is cut. */
static void add_cut(struct buf *out, const char *s, size_t width)
{
	struct str t = str_of(s);
	if (grid_text_width(t) <= width) {
		buf_adds(out, t);
		return;
	}
	size_t used = 0;
	for (size_t i = 0; i < t.n;) {
		uint32_t cp = 0;
		size_t len = utf8_decode(t.p + i, t.n - i, &cp);
		size_t w = len ? cell_width(cp) : 1;
		if (used + w + 1 > width)
			break;
		buf_add(out, t.p + i, len ? len : 1);
		used += w;
		i += len ? len : 1;
	}
	buf_addz(out, "…");
}

static const char *tint_of(const char *s)
{
	for (size_t i = 0; i < sizeof(tints) / sizeof(tints[0]); i++) {
		if (!strcmp(s, tints[i].word))
			return tints[i].code;
	}
	return NULL;
}

static void add_row(const struct grid *g, const char *const *cells, size_t shown, const char *style, bool color,
		    struct buf *out)
{
	for (size_t i = 0; i < shown; i++) {
		const char *text = cells ? cells[i] : g->cols[i].title;
		const char *code = !color ? NULL : style ? style : tint_of(text);
		size_t have = grid_text_width(str_of(text)), width = g->cols[i].width;
		size_t pad = have < width ? width - have : 0;
		if (i)
			buf_printf(out, "%*s", GRID_GAP, "");
		if (g->cols[i].right)
			buf_printf(out, "%*s", (int)pad, "");
		if (code)
			buf_printf(out, "\033[%sm", code);
		add_cut(out, text, width);
		if (code)
			buf_addz(out, "\033[0m");
		if (!g->cols[i].right && i + 1 < shown)
			buf_printf(out, "%*s", (int)pad, "");
	}
	buf_addc(out, '\n');
}

int grid_render(struct grid *g, size_t width, bool color, struct buf *out, size_t *ret_dropped)
{
	if (g->failed || g->ncols == 0)
		return HCP_ENOMEM;
	size_t shown = fit(g, width);
	add_row(g, NULL, shown, "1", color, out);
	for (size_t i = 0; i + g->ncols <= g->ncells; i += g->ncols)
		add_row(g, g->cells + i, shown, NULL, color, out);
	if (buf_failed(out))
		return HCP_ENOMEM;
	*ret_dropped = g->ncols - shown;
	return 0;
}
