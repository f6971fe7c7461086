#include "base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/str.h"
#include "base/timefmt.h"

enum { LOG_LINE_MAX = 2048 };

static atomic_int least_level = LOG_INFO;
static log_sink_fn *sink_fn;
static void *sink_arg;
static log_clock_fn *clock_fn;
static _Thread_local uint64_t trace_hi, trace_lo;

void log_setup(enum log_level least, log_sink_fn *sink, void *arg, log_clock_fn *clock)
{
	sink_fn = sink;
	sink_arg = arg;
	clock_fn = clock;
	log_set_level(least);
}

void log_set_level(enum log_level least)
{
	atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
}

void log_trace(uint64_t hi, uint64_t lo)
{
	trace_hi = hi;
	trace_lo = lo;
}

void log_write(enum log_level level, const char *component, const char *fmt, ...)
{
	static const char *const names[] = { "DEBUG", "INFO", "WARN", "ERROR" };
	if (!sink_fn || (int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
		return;
	char text[LOG_LINE_MAX / 2], stamp[TIMEFMT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	struct buf b;
	buf_init(&b, 8 * LOG_LINE_MAX);
	buf_printf(&b, "{\"timestamp\":\"%s\",\"level\":\"%s\",\"service\":\"%s\"",
		   timefmt_format(stamp, clock_fn ? clock_fn() : 0), names[level], component);
	if (trace_hi | trace_lo)
		buf_printf(&b, ",\"trace_id\":\"%016" PRIx64 "%016" PRIx64 "\"", trace_hi, trace_lo);
	buf_addz(&b, ",\"message\":");
	buf_add_json(&b, str_of(text));
	buf_addz(&b, "}\n");
	if (!buf_failed(&b))
		sink_fn(sink_arg, b.data, b.n);
	buf_release(&b);
}
