#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { ARENA_ALIGN = 16, ARENA_MIN_CHUNK = 256, ARENA_MAX_CHUNK = 1 << 20 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t size, used;
	_Alignas(ARENA_ALIGN) unsigned char data[];
};

void arena_init(struct arena *a, size_t chunk_size, size_t limit)
{
	*a = (struct arena){ .chunk_size = chunk_size < ARENA_MIN_CHUNK ? ARENA_MIN_CHUNK : chunk_size, .limit = limit };
}

static void free_from(struct arena *a, struct arena_chunk *c)
{
	while (c) {
		struct arena_chunk *next = c->next;
		a->total -= c->size;
		mem_free(c);
		c = next;
	}
}

void arena_release(struct arena *a)
{
	free_from(a, a->head);
	a->head = NULL;
}

void arena_clear(struct arena *a)
{
	if (!a->head)
		return;
	free_from(a, a->head->next);
	a->head->next = NULL;
	a->head->used = 0;
}

static struct arena_chunk *grow(struct arena *a, size_t n)
{
	size_t size = a->chunk_size > n ? a->chunk_size : n;
	if (a->limit && (size > a->limit || a->total > a->limit - size))
		size = n;
	if (a->limit && (size > a->limit || a->total > a->limit - size))
		return NULL;
	struct arena_chunk *c = mem_alloc(sizeof(*c) + size);
	if (!c)
		return NULL;
	*c = (struct arena_chunk){ .next = a->head, .size = size };
	a->head = c;
	a->total += size;
	if (a->chunk_size < ARENA_MAX_CHUNK)
		a->chunk_size *= 2;
	return c;
}

void *arena_alloc(struct arena *a, size_t n)
{
	if (n > SIZE_MAX / 2)
		return NULL;
	n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	struct arena_chunk *c = a->head;
	if (!c || c->size - c->used < n)
		c = grow(a, n);
	if (!c)
		return NULL;
	void *p = c->data + c->used;
	c->used += n;
	return p;
}

void *arena_calloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);
	if (p)
		memset(p, 0, n);
	return p;
}

void *arena_dup(struct arena *a, const void *p, size_t n)
{
	void *q = arena_alloc(a, n);
	if (q && n)
		memcpy(q, p, n);
	return q;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *q = arena_alloc(a, n + 1);
	if (!q)
		return NULL;
	if (n)
		memcpy(q, s, n);
	q[n] = '\0';
	return q;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
