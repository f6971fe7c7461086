#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local uint64_t fail_countdown;
static _Thread_local int fail_sticky;
static _Thread_local uint64_t fail_hits;
static _Thread_local int watching;
static _Thread_local struct mem_watched watched;
static atomic_int_fast64_t live;

static int must_fail(void)
{
	if (fail_countdown == 0)
		return 0;
	if (fail_countdown > 1) {
		fail_countdown--;
		return 0;
	}
	if (!fail_sticky)
		fail_countdown = 0;
	fail_hits++;
	return 1;
}

static void watch(void *p, int sign)
{
	if (!watching || !p)
		return;
	watched.bytes += sign * (int64_t)malloc_usable_size(p);
	if (watched.bytes > watched.peak)
		watched.peak = watched.bytes;
}

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
	watch(p, 1);
	return p;
}

void *mem_alloc(size_t size)
{
	return must_fail() ? NULL : counted(malloc(size ? size : 1));
}

void *mem_calloc(size_t n, size_t size)
{
	return must_fail() ? NULL : counted(calloc(n ? n : 1, size ? size : 1));
}

void *mem_realloc(void *p, size_t size)
{
	if (must_fail())
		return NULL;
	watch(p, -1);
	void *q = realloc(p, size ? size : 1);
	if (!p)
		return counted(q);
	watch(q ? q : p, 1);
	return q;
}

void *mem_dup(const void *p, size_t n)
{
	void *q = mem_alloc(n);
	if (q && n)
		memcpy(q, p, n);
	return q;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

void mem_free(void *p)
{
	if (!p)
		return;
	atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
	watch(p, -1);
	free(p);
}

void mem_free_secret(void *p, size_t n)
{
	if (p)
		explicit_bzero(p, n);
	mem_free(p);
}

void mem_fail_after(uint64_t n, int sticky)
{
	fail_countdown = n;
	fail_sticky = sticky;
	fail_hits = 0;
}

uint64_t mem_fail_hits(void)
{
	return fail_hits;
}

int64_t mem_live(void)
{
	return atomic_load_explicit(&live, memory_order_relaxed);
}

void mem_watch(int on)
{
	watching = on;
	watched = (struct mem_watched){ 0 };
}

struct mem_watched mem_watched(void)
{
	return watched;
}

void *mem_hook_alloc(void *arg, size_t size)
{
	(void)arg;
	return mem_alloc(size);
}

void mem_hook_free(void *arg, void *p)
{
	(void)arg;
	mem_free(p);
}
