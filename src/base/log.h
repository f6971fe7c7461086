#ifndef HCP_BASE_LOG_H
#define HCP_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Structured logs: one JSON object a line with time, level, component, message, trace id. Libraries return
 * errors and do not log; services and programs log, once. The sink and the clock are set by main; before that
 * nothing is printed. Thread-safe.
 */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

typedef void log_sink_fn(void *arg, const char *line, size_t n);
typedef int64_t log_clock_fn(void);

void log_setup(enum log_level least, log_sink_fn *sink, void *arg, log_clock_fn *clock);
void log_set_level(enum log_level least);
/* Trace id of what this thread is working on; 0,0 clears. */
void log_trace(uint64_t hi, uint64_t lo);
void log_write(enum log_level level, const char *component, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
