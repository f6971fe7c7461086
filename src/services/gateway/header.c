#include "services/gateway/header.h"

struct str header_cookie(struct str value, struct str name)
{
	while (value.p) {
		struct str v = str_trim(str_split(&value, ';')), k = str_split(&v, '=');
		if (!v.p || !str_eq(str_trim(k), name))
			continue;
		v = str_trim(v);
		if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
			v = (struct str){ v.p + 1, v.n - 2 };
		return v;
	}
	return (struct str){ 0 };
}

/* "0", "1", "0.5": thousandths; 0 for anything else. */
static int weight(struct str s)
{
	int v = 0, unit = 100;
	if (!s.n || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
		return 0;
	v = 1000 * (s.p[0] - '0');
	for (size_t i = 2; i < s.n; i++, unit /= 10) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		v += unit * (s.p[i] - '0');
	}
	return v <= 1000 ? v : 0;
}

bool header_takes_gzip(struct str value)
{
	int named = -1, any = -1;
	while (value.p) {
		struct str params = str_split(&value, ','), coding = str_trim(str_split(&params, ';'));
		int q = 1000;
		while (params.p) {
			struct str v = str_trim(str_split(&params, ';')), k = str_split(&v, '=');
			if (str_ieqz(str_trim(k), "q"))
				q = v.p ? weight(str_trim(v)) : 0;
		}
		if (str_ieqz(coding, "gzip") || str_ieqz(coding, "x-gzip"))
			named = named > q ? named : q;
		else if (str_eqz(coding, "*"))
			any = q;
	}
	return (named >= 0 ? named : any) > 0;
}

bool header_names_etag(struct str value, struct str etag, bool weak)
{
	if (str_eqz(str_trim(value), "*"))
		return true;
	for (size_t i = 0; i < value.n; i++) {
		bool is_weak = value.n - i > 2 && value.p[i] == 'W' && value.p[i + 1] == '/' && value.p[i + 2] == '"';
		if (is_weak)
			i += 2;
		if (value.p[i] != '"')
			continue;
		const char *end = memchr(value.p + i + 1, '"', value.n - i - 1);
		if (!end)
			return false;
		if ((weak || !is_weak) && str_eq((struct str){ value.p + i, (size_t)(end + 1 - value.p) - i }, etag))
			return true;
		i = (size_t)(end - value.p);
	}
	return false;
}
