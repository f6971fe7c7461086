#ifndef HCP_BASE_PANIC_H
#define HCP_BASE_PANIC_H

/* For our own bugs only, in release too; input never gets here. Prints where and what, then aborts. */
_Noreturn void panic_at(const char *file, int line, const char *func, const char *what);

#define must(cond) ((cond) ? (void)0 : panic_at(__FILE__, __LINE__, __func__, #cond))
#define must_not_reach(what) panic_at(__FILE__, __LINE__, __func__, what)

#endif
