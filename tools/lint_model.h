/*
 * Read by clang-tidy before every file, never by a compiler: tells the analyzer, which sees one file at a time, that
 * err_set returns the code it was given, so that it follows no path on which an error passes for success.
 */
#include "base/err.h"
#include "base/panic.h"

#undef err_set
#define err_set(err, code, field, ...) (err_set_at(err, __FILE__, __LINE__, code, field, __VA_ARGS__), (code))
