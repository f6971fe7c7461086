#include "wire/pbjson.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/panic.h"
#include "wire/pbjson_priv.h"

size_t pbjson_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32: return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64: return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_FLOAT: return sizeof(float);
	case PROTOBUF_C_TYPE_DOUBLE: return sizeof(double);
	case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_ENUM: return sizeof(int);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
	}
	must_not_reach("protobuf type");
}

/* Length of "WORKLOAD_TYPE_" when name begins with the words of the type's name, else 0. */
static size_t type_prefix(const ProtobufCEnumDescriptor *d, const char *name)
{
	const char *p = name;
	for (const char *t = d->short_name; *t; t++) {
		if (*p == '_' && p > name)
			p++;
		if (toupper((unsigned char)*t) != toupper((unsigned char)*p))
			return 0;
		p++;
	}
	return p[0] == '_' && p[1] ? (size_t)(p - name) + 1 : 0;
}

/* Length of the words that all names share. */
static size_t common_prefix(const ProtobufCEnumDescriptor *d)
{
	const char *first = d->values[0].name;
	size_t shared = d->n_values > 1 ? strlen(first) : 0;
	for (unsigned i = 0; i < d->n_values; i++) {
		if (type_prefix(d, d->values[i].name))
			return 0;
		size_t k = 0;
		while (k < shared && d->values[i].name[k] == first[k])
			k++;
		shared = k;
	}
	while (shared && first[shared - 1] != '_')
		shared--;
	return shared;
}

static const char *short_name(const ProtobufCEnumDescriptor *d, const char *name, char dst[PBJSON_ENUM_NAME_MAX])
{
	size_t skip = type_prefix(d, name), n = 0;
	if (!skip)
		skip = common_prefix(d);
	for (const char *p = name + skip; *p && n < PBJSON_ENUM_NAME_MAX - 1; p++)
		dst[n++] = (char)tolower((unsigned char)*p);
	dst[n] = '\0';
	return dst;
}

const char *pbjson_enum_name(const ProtobufCEnumDescriptor *d, int value, char dst[PBJSON_ENUM_NAME_MAX])
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);
	return v ? short_name(d, v->name, dst) : NULL;
}

int pbjson_enum_parse(const ProtobufCEnumDescriptor *d, struct str name, int *ret, struct err *err)
{
	char word[PBJSON_ENUM_NAME_MAX], allowed[200] = "";
	for (unsigned i = 0; i < d->n_values; i++)
		if (str_eqz(name, short_name(d, d->values[i].name, word))) {
			*ret = d->values[i].value;
			return 0;
		}
	size_t n = 0;
	for (unsigned i = 0; i < d->n_values && n < sizeof(allowed); i++) {
		if (strcmp(short_name(d, d->values[i].name, word), "unspecified") != 0)
			n += (size_t)snprintf(allowed + n, sizeof(allowed) - n, "%s%s", n ? ", " : "", word);
	}
	return err_set(err, HCP_EINVAL, "", "must be one of %s%s", allowed, n >= sizeof(allowed) ? "..." : "");
}

static void write_float(struct buf *out, float v)
{
	char text[32];
	if (v != v || v - v != 0) {
		buf_addz(out, "null");
		return;
	}
	for (int digits = 6; digits <= 9; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, (double)v);
		if (strtof(text, NULL) == v)
			break;
	}
	buf_addz(out, text);
}

static void write_enum(struct buf *out, const ProtobufCEnumDescriptor *d, int value)
{
	char name[PBJSON_ENUM_NAME_MAX];
	if (!pbjson_enum_name(d, value, name)) {
		buf_add_i64(out, value);
		return;
	}
	buf_addc(out, '"');
	buf_addz(out, name);
	buf_addc(out, '"');
}

static int write_message(const ProtobufCMessage *m, struct buf *out, int depth);

static int write_value(const ProtobufCFieldDescriptor *f, const void *at, struct buf *out, int depth)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32: buf_add_i64(out, *(const int32_t *)at); break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32: buf_add_u64(out, *(const uint32_t *)at); break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64: buf_add_i64(out, *(const int64_t *)at); break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64: buf_add_u64(out, *(const uint64_t *)at); break;
	case PROTOBUF_C_TYPE_FLOAT: write_float(out, *(const float *)at); break;
	case PROTOBUF_C_TYPE_DOUBLE: buf_add_double(out, *(const double *)at); break;
	case PROTOBUF_C_TYPE_BOOL: buf_addz(out, *(const protobuf_c_boolean *)at ? "true" : "false"); break;
	case PROTOBUF_C_TYPE_ENUM: write_enum(out, f->descriptor, *(const int *)at); break;
	case PROTOBUF_C_TYPE_STRING: buf_add_json(out, str_of(*(char *const *)at)); break;
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *b = at;
		buf_addc(out, '"');
		b64url_encode(out, b->data, b->len);
		buf_addc(out, '"');
		break;
	}
	case PROTOBUF_C_TYPE_MESSAGE: return write_message(*(ProtobufCMessage *const *)at, out, depth);
	}
	return 0;
}

static bool is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return true;
	const void *at = pbjson_at(m, f->offset);
	if (pbjson_is_oneof(f) && *(uint32_t *)pbjson_at(m, f->quantifier_offset) != f->id)
		return false;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)at != NULL;
	if (pbjson_is_oneof(f) || f->label != PROTOBUF_C_LABEL_OPTIONAL)
		return true;
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return *(void *const *)at != NULL && *(void *const *)at != f->default_value;
	return *(protobuf_c_boolean *)pbjson_at(m, f->quantifier_offset);
}

static int write_array(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct buf *out, int depth)
{
	size_t n = *(size_t *)pbjson_at(m, f->quantifier_offset), size = pbjson_size(f->type);
	const char *elements = *(char *const *)pbjson_at(m, f->offset);
	buf_addc(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_addc(out, ',');
		int rc = write_value(f, elements + i * size, out, depth);
		if (rc < 0)
			return rc;
	}
	buf_addc(out, ']');
	return 0;
}

static int write_message(const ProtobufCMessage *m, struct buf *out, int depth)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	if (depth == PBJSON_DEPTH_MAX)
		return HCP_ELIMIT;
	char before = '{';
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		if (!is_set(m, f))
			continue;
		buf_addc(out, before);
		before = ',';
		buf_addc(out, '"');
		buf_addz(out, f->name);
		buf_add(out, "\":", 2);
		int rc = f->label == PROTOBUF_C_LABEL_REPEATED ? write_array(m, f, out, depth + 1) :
			write_value(f, pbjson_at(m, f->offset), out, depth + 1);
		if (rc < 0)
			return rc;
	}
	if (before == '{')
		buf_addc(out, '{');
	buf_addc(out, '}');
	return 0;
}

int pbjson_write(const ProtobufCMessage *m, struct buf *out)
{
	int rc = write_message(m, out, 0);
	if (rc < 0)
		return rc;
	return buf_failed(out) ? HCP_ENOMEM : 0;
}
