#include "wire/pbjson.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/num.h"
#include "base/panic.h"
#include "base/utf8.h"
#include "wire/jscan.h"
#include "wire/pbjson_priv.h"

/*
 * Values are first read as text, then stored by store_text, which URL parameters share. On failure err->field is
 * put together from the leaf upwards: each level prefixes its own name or index on the way out.
 */
struct ctx {
	struct jscan scan;
	struct arena *a; /* borrowed */
	struct err *err; /* borrowed, may be NULL */
	size_t elements;
};

static int no_memory(struct err *err)
{
	return err_set(err, HCP_ENOMEM, "", "no memory, or the message is larger than allowed");
}

static bool is_64bit(ProtobufCType type)
{
	return pbjson_size(type) == 8 && (type == PROTOBUF_C_TYPE_INT64 || type == PROTOBUF_C_TYPE_SINT64 ||
		type == PROTOBUF_C_TYPE_SFIXED64 || type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64);
}

static bool is_unsigned(ProtobufCType type)
{
	return type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_FIXED32 || type == PROTOBUF_C_TYPE_UINT64 ||
		type == PROTOBUF_C_TYPE_FIXED64;
}

static int store_unsigned(ProtobufCType type, struct str text, void *at, struct err *err)
{
	uint64_t v, max = is_64bit(type) ? UINT64_MAX : UINT32_MAX;
	int64_t negative;
	int rc = num_parse_u64(text, &v);
	if (rc == HCP_EPARSE) {
		int signed_rc = num_parse_i64(text, &negative);
		if (signed_rc == HCP_EPARSE)
			return err_set(err, HCP_EINVAL, "", "must be a whole number, without fraction or exponent");
		rc = HCP_ERANGE;
		if (signed_rc == 0 && negative == 0)
			v = 0, rc = 0; /* "-0" */
	}
	if (rc < 0 || v > max)
		return err_set(err, HCP_ERANGE, "", "must be from 0 to %llu", (unsigned long long)max);
	if (is_64bit(type))
		*(uint64_t *)at = v;
	else
		*(uint32_t *)at = (uint32_t)v;
	return 0;
}

static int store_signed(ProtobufCType type, struct str text, void *at, struct err *err)
{
	int64_t v, min = is_64bit(type) ? INT64_MIN : INT32_MIN, max = is_64bit(type) ? INT64_MAX : INT32_MAX;
	int rc = num_parse_i64(text, &v);
	if (rc == HCP_EPARSE)
		return err_set(err, HCP_EINVAL, "", "must be a whole number, without fraction or exponent");
	if (rc < 0 || v < min || v > max)
		return err_set(err, HCP_ERANGE, "", "must be from %lld to %lld", (long long)min, (long long)max);
	if (is_64bit(type))
		*(int64_t *)at = v;
	else
		*(int32_t *)at = (int32_t)v;
	return 0;
}

static int store_double(ProtobufCType type, struct str text, void *at, struct err *err)
{
	double v;
	int rc = num_parse_double(text, &v);
	if (rc == HCP_EPARSE)
		return err_set(err, HCP_EINVAL, "", "must be a decimal number of at most 63 characters");
	if (rc < 0 || (type == PROTOBUF_C_TYPE_FLOAT && !isfinite((float)v)))
		return err_set(err, HCP_ERANGE, "", "is too large for a %s",
			type == PROTOBUF_C_TYPE_FLOAT ? "float" : "double");
	if (type == PROTOBUF_C_TYPE_FLOAT)
		*(float *)at = (float)v;
	else
		*(double *)at = v;
	return 0;
}

static int store_bool(struct str text, void *at, struct err *err)
{
	bool yes = str_eq(text, STR("true"));
	if (!yes && !str_eq(text, STR("false")))
		return err_set(err, HCP_EINVAL, "", "must be true or false");
	*(protobuf_c_boolean *)at = yes;
	return 0;
}

static int store_string(struct str text, void *at, struct arena *a, struct err *err)
{
	if (text.n && memchr(text.p, 0, text.n))
		return err_set(err, HCP_EINVAL, "", "must not contain NUL");
	if (text.n && !utf8_valid(text.p, text.n))
		return err_set(err, HCP_EINVAL, "", "must be valid UTF-8");
	char *copy = arena_strndup(a, text.n ? text.p : "", text.n);
	if (!copy)
		return no_memory(err);
	*(char **)at = copy;
	return 0;
}

/* Base64 of either alphabet, padded or not. */
static int store_bytes(struct str text, void *at, struct arena *a, struct err *err)
{
	struct str s = text;
	for (int i = 0; i < 2 && s.n && text.n % 4 == 0 && s.p[s.n - 1] == '='; i++)
		s.n--;
	struct buf plain;
	buf_init(&plain, 0);
	char *url = arena_dup(a, s.n ? s.p : "", s.n);
	int rc = url ? buf_reserve(&plain, s.n) : HCP_ENOMEM;
	for (size_t i = 0; rc == 0 && i < s.n; i++)
		url[i] = url[i] == '+' ? '-' : url[i] == '/' ? '_' : url[i];
	if (rc == 0)
		rc = b64url_decode(&plain, (struct str){ url, s.n });
	ProtobufCBinaryData b = { .len = plain.n };
	if (rc == 0 && !(b.data = arena_dup(a, plain.data, plain.n)))
		rc = HCP_ENOMEM;
	buf_release(&plain);
	if (rc == HCP_EPARSE)
		return err_set(err, HCP_EINVAL, "", "must be base64url or base64");
	if (rc < 0)
		return no_memory(err);
	*(ProtobufCBinaryData *)at = b;
	return 0;
}

static int store_text(const ProtobufCFieldDescriptor *f, struct str text, void *at, struct arena *a, struct err *err)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING: return store_string(text, at, a, err);
	case PROTOBUF_C_TYPE_BYTES: return store_bytes(text, at, a, err);
	case PROTOBUF_C_TYPE_ENUM: return pbjson_enum_parse(f->descriptor, text, at, err);
	case PROTOBUF_C_TYPE_BOOL: return store_bool(text, at, err);
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE: return store_double(f->type, text, at, err);
	case PROTOBUF_C_TYPE_MESSAGE: return err_set(err, HCP_EINVAL, "", "is an object and cannot be given as text");
	default: return is_unsigned(f->type) ? store_unsigned(f->type, text, at, err) :
			store_signed(f->type, text, at, err);
	}
}

static enum jscan_kind kind_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_ENUM: return JSCAN_STRING;
	case PROTOBUF_C_TYPE_BOOL: return JSCAN_BOOL;
	case PROTOBUF_C_TYPE_MESSAGE: return JSCAN_OBJECT;
	default: return JSCAN_NUMBER;
	}
}

static int wrong_kind(struct ctx *c, enum jscan_kind wanted, enum jscan_kind found)
{
	if (found == JSCAN_END || found == JSCAN_BAD)
		return jscan_fail(&c->scan, c->err, found == JSCAN_END ? "the text ends too early" : "a value expected");
	return err_set(c->err, HCP_EINVAL, "", "must be %s, not %s", jscan_kind_name(wanted), jscan_kind_name(found));
}

static int read_string(struct ctx *c, struct str *ret)
{
	struct jscan_text text;
	int rc = jscan_string(&c->scan, &text, c->err);
	if (rc < 0)
		return rc;
	*ret = text.raw;
	if (!text.escaped)
		return 0;
	char *plain = arena_alloc(c->a, text.raw.n);
	if (!plain)
		return no_memory(c->err);
	*ret = (struct str){ plain, jscan_unescape(plain, text.raw) };
	return 0;
}

static int read_message(struct ctx *c, const ProtobufCMessageDescriptor *d, ProtobufCMessage **ret);

/* One value, a field's own or an element of its array. */
static int read_value(struct ctx *c, const ProtobufCFieldDescriptor *f, void *at)
{
	enum jscan_kind wanted = kind_of(f->type), found = jscan_kind(&c->scan);
	struct str text = { NULL, 0 };
	bool flag;
	int rc;
	if (found != wanted && !(found == JSCAN_STRING && is_64bit(f->type)))
		return wrong_kind(c, wanted, found);
	switch (found) {
	case JSCAN_OBJECT: return read_message(c, f->descriptor, at);
	case JSCAN_BOOL:
		rc = jscan_bool(&c->scan, &flag, c->err);
		if (rc == 0)
			*(protobuf_c_boolean *)at = flag;
		return rc;
	case JSCAN_NUMBER: rc = jscan_number(&c->scan, &text, c->err); break;
	default: rc = read_string(c, &text); break;
	}
	return rc < 0 ? rc : store_text(f, text, at, c->a, c->err);
}

/* Makes room for element i of an array that doubles. */
static int grow(struct ctx *c, char **elements, size_t size, size_t i, size_t *cap)
{
	if (i == PBJSON_ARRAY_MAX || c->elements == PBJSON_ELEMENTS_MAX)
		return err_set(c->err, HCP_ELIMIT, "", "has more than %d elements",
			i == PBJSON_ARRAY_MAX ? PBJSON_ARRAY_MAX : PBJSON_ELEMENTS_MAX);
	c->elements++;
	if (i < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 4;
	char *bigger = arena_alloc(c->a, more * size);
	if (!bigger)
		return no_memory(c->err);
	if (i)
		memcpy(bigger, *elements, i * size);
	*elements = bigger;
	*cap = more;
	return 0;
}

static int read_array(struct ctx *c, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m)
{
	size_t n = 0, cap = 0, size = pbjson_size(f->type);
	char *elements = NULL;
	enum jscan_kind found = jscan_kind(&c->scan);
	if (found != JSCAN_ARRAY)
		return wrong_kind(c, JSCAN_ARRAY, found);
	int rc = jscan_enter(&c->scan, JSCAN_ARRAY, c->err);
	while (rc > 0) {
		rc = grow(c, &elements, size, n, &cap);
		if (rc < 0)
			return rc;
		rc = read_value(c, f, elements + n * size);
		if (rc < 0) {
			char index[32];
			snprintf(index, sizeof(index), "[%zu]", n);
			err_prefix(c->err, index);
			return rc;
		}
		n++;
		rc = jscan_more(&c->scan, JSCAN_ARRAY, c->err);
	}
	if (rc < 0)
		return rc;
	*(size_t *)pbjson_at(m, f->quantifier_offset) = n;
	*(char **)pbjson_at(m, f->offset) = elements;
	return 0;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *d, struct str name)
{
	unsigned lo = 0, hi = d->n_fields;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const ProtobufCFieldDescriptor *f = &d->fields[d->fields_sorted_by_name[mid]];
		int cmp = strncmp(f->name, name.p, name.n);
		if (cmp == 0 && f->name[name.n] == '\0')
			return f;
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int unknown_field(const ProtobufCMessageDescriptor *d, struct str name, struct err *err)
{
	char text[48], known[150] = "";
	size_t n = 0;
	snprintf(text, sizeof(text), "%.*s", (int)(name.n < 47 ? name.n : 47), name.p);
	for (unsigned i = 0; i < d->n_fields && n < sizeof(known); i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "", d->fields[i].name);
	return err_set(err, HCP_EINVAL, text, "unknown field; %s has %s%s", d->short_name, known[0] ? known : "none",
		n >= sizeof(known) ? "..." : "");
}

/* Marks what presence of f means in m. */
static void set_presence(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	if (pbjson_is_oneof(f))
		*(uint32_t *)pbjson_at(m, f->quantifier_offset) = f->id;
	else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_MESSAGE &&
		 f->type != PROTOBUF_C_TYPE_STRING)
		*(protobuf_c_boolean *)pbjson_at(m, f->quantifier_offset) = true;
}

static bool may_be_null(const ProtobufCFieldDescriptor *f)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED || f->label == PROTOBUF_C_LABEL_REQUIRED)
		return false;
	return pbjson_is_oneof(f) || f->label == PROTOBUF_C_LABEL_OPTIONAL || f->type == PROTOBUF_C_TYPE_MESSAGE;
}

static int read_field(struct ctx *c, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	union {
		uint64_t u64;
		double d;
		void *p;
		ProtobufCBinaryData b;
	} value;
	if (jscan_kind(&c->scan) == JSCAN_NULL && may_be_null(f))
		return jscan_null(&c->scan, c->err);
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return read_array(c, f, m);
	if (pbjson_is_oneof(f) && *(uint32_t *)pbjson_at(m, f->quantifier_offset)) {
		const ProtobufCFieldDescriptor *other = protobuf_c_message_descriptor_get_field(m->descriptor,
			*(uint32_t *)pbjson_at(m, f->quantifier_offset));
		return err_set(c->err, HCP_EINVAL, "", "excludes %s, which is given too", other ? other->name : "another");
	}
	int rc = read_value(c, f, &value);
	if (rc < 0)
		return rc;
	memcpy(pbjson_at(m, f->offset), &value, pbjson_size(f->type));
	set_presence(m, f);
	return 0;
}

static int check_required(const ProtobufCMessageDescriptor *d, const uint64_t *seen, struct err *err)
{
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !(seen[i / 64] >> i % 64 & 1))
			return err_set(err, HCP_EINVAL, d->fields[i].name, "is required");
	return 0;
}

static int read_member(struct ctx *c, ProtobufCMessage *m, uint64_t *seen)
{
	struct str key;
	int rc = jscan_key(&c->scan, &key, c->err);
	if (rc < 0)
		return rc;
	const ProtobufCFieldDescriptor *f = find_field(m->descriptor, key);
	if (!f)
		return unknown_field(m->descriptor, key, c->err);
	size_t i = (size_t)(f - m->descriptor->fields);
	if (seen[i / 64] >> i % 64 & 1)
		return err_set(c->err, HCP_EINVAL, f->name, "is given twice");
	seen[i / 64] |= 1ULL << i % 64;
	rc = read_field(c, m, f);
	if (rc < 0)
		err_prefix(c->err, f->name);
	return rc;
}

static int read_message(struct ctx *c, const ProtobufCMessageDescriptor *d, ProtobufCMessage **ret)
{
	uint64_t seen[PBJSON_FIELDS_MAX / 64] = { 0 };
	must(d->n_fields <= PBJSON_FIELDS_MAX);
	ProtobufCMessage *m = pb_new(d, c->a);
	if (!m)
		return no_memory(c->err);
	int rc = jscan_enter(&c->scan, JSCAN_OBJECT, c->err);
	while (rc > 0) {
		rc = read_member(c, m, seen);
		if (rc < 0)
			return rc;
		rc = jscan_more(&c->scan, JSCAN_OBJECT, c->err);
	}
	if (rc < 0)
		return rc;
	rc = check_required(d, seen, c->err);
	if (rc < 0)
		return rc;
	*ret = m;
	return 0;
}

int pbjson_read(const ProtobufCMessageDescriptor *d, struct str json, struct arena *a, ProtobufCMessage **ret,
	struct err *err)
{
	struct ctx c = { .a = a, .err = err };
	ProtobufCMessage *m;
	jscan_init(&c.scan, json);
	enum jscan_kind found = jscan_kind(&c.scan);
	if (found != JSCAN_OBJECT)
		return wrong_kind(&c, JSCAN_OBJECT, found);
	int rc = read_message(&c, d, &m);
	if (rc < 0)
		return rc;
	rc = jscan_end(&c.scan, err);
	if (rc < 0)
		return rc;
	*ret = m;
	return 0;
}

/* Copies the array with one more element; URL parameters repeat a few times at most. */
static int append(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct str text, struct arena *a,
	struct err *err)
{
	size_t *n = pbjson_at(m, f->quantifier_offset), size = pbjson_size(f->type);
	char **elements = pbjson_at(m, f->offset);
	if (*n >= PBJSON_SET_ARRAY_MAX)
		return err_set(err, HCP_ELIMIT, "", "is given more than %d times", PBJSON_SET_ARRAY_MAX);
	char *more = arena_alloc(a, (*n + 1) * size);
	if (!more)
		return no_memory(err);
	int rc = store_text(f, text, more + *n * size, a, err);
	if (rc < 0)
		return rc;
	if (*n)
		memcpy(more, *elements, *n * size);
	*elements = more;
	++*n;
	return 0;
}

/* The submessage f of m, made if it is not there. */
static int descend(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct arena *a, ProtobufCMessage **ret,
	struct err *err)
{
	ProtobufCMessage **at = pbjson_at(m, f->offset);
	if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label == PROTOBUF_C_LABEL_REPEATED)
		return err_set(err, HCP_EINVAL, f->name, "has no fields of its own");
	bool there = pbjson_is_oneof(f) ? *(uint32_t *)pbjson_at(m, f->quantifier_offset) == f->id : *at != NULL;
	if (!there) {
		ProtobufCMessage *made = pb_new(f->descriptor, a);
		if (!made)
			return no_memory(err);
		*at = made;
		set_presence(m, f);
	}
	*ret = *at;
	return 0;
}

int pbjson_set(ProtobufCMessage *m, const char *field, struct str text, struct arena *a, struct err *err)
{
	uint64_t value[2];
	static_assert(sizeof(value) >= sizeof(ProtobufCBinaryData), "holds any element");
	struct str rest = str_of(field), name = str_split(&rest, '.');
	const ProtobufCFieldDescriptor *f = NULL;
	int rc = 0;
	for (;;) {
		f = find_field(m->descriptor, name);
		if (!f) {
			rc = unknown_field(m->descriptor, name, err);
			break;
		}
		if (!rest.p) {
			rc = f->label == PROTOBUF_C_LABEL_REPEATED ? append(m, f, text, a, err) :
				store_text(f, text, value, a, err);
			break;
		}
		rc = descend(m, f, a, &m, err);
		if (rc < 0)
			break;
		name = str_split(&rest, '.');
	}
	if (rc < 0 && err)
		snprintf(err->field, sizeof(err->field), "%s", field);
	if (rc < 0 || f->label == PROTOBUF_C_LABEL_REPEATED)
		return rc;
	memcpy(pbjson_at(m, f->offset), value, pbjson_size(f->type));
	set_presence(m, f);
	return 0;
}
