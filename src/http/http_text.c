#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "http/http_priv.h"

const char *http_status_text(int status)
{
	switch (status) {
#define TEXT(code, name, text) case code: return #text;
	HTTP_STATUS_MAP(TEXT)
#undef TEXT
	default: return "Status";
	}
}

enum http_verb http_method_of(struct str m)
{
	static const struct { struct str name; enum http_verb m;
	} table[] = {
		{ STR("GET"), HTTP_M_GET },
		{ STR("HEAD"), HTTP_M_HEAD },
		{ STR("POST"), HTTP_M_POST },
		{ STR("PUT"), HTTP_M_PUT },
		{ STR("PATCH"), HTTP_M_PATCH },
		{ STR("DELETE"), HTTP_M_DELETE },
		{ STR("OPTIONS"), HTTP_M_OPTIONS },
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (str_eq(table[i].name, m))
			return table[i].m;
	return HTTP_M_OTHER;
}

static bool is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c <= ' ' || c >= 127 || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return s.n > 0;
}

/* A line break in a value would let whoever chose it write headers of his own. */
bool http_header_clean(const struct http_header *h)
{
	for (size_t i = 0; i < h->value.n; i++) {
		unsigned char c = (unsigned char)h->value.p[i];
		if ((c < ' ' && c != '\t') || c == 127)
			return false;
	}
	return is_token(h->name);
}

struct str http_find(const struct http_header *headers, size_t n, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < n; i++)
		if (headers[i].name.n == len && strncasecmp(headers[i].name.p, name, len) == 0)
			return headers[i].value;
	return (struct str){ NULL, 0 };
}

bool http_list_has(struct str list, const char *token)
{
	while (list.p) {
		struct str item = str_trim(str_split(&list, ','));
		if (str_ieqz(item, token))
			return true;
	}
	return false;
}

static void *ng_malloc(size_t n, void *user)
{
	return mem_alloc(n);
}

static void ng_free(void *p, void *user)
{
	mem_free(p);
}

static void *ng_calloc(size_t n, size_t size, void *user)
{
	return mem_calloc(n, size);
}

static void *ng_realloc(void *p, size_t n, void *user)
{
	return mem_realloc(p, n);
}

nghttp2_mem *http_nghttp2_mem(void)
{
	/* nghttp2 copies it and writes to nothing in it. */
	static nghttp2_mem m = { NULL, ng_malloc, ng_free, ng_calloc, ng_realloc };
	return &m;
}
