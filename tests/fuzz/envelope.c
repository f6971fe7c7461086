/* What peers send: an envelope that is understood packs to bytes that are understood the same way. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "svc/msg.h"

static bool has_unknown(const ProtobufCMessage *m)
{
	if (m->n_unknown_fields)
		return true;
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const char *at = (const char *)m + f->offset, *n = (const char *)m + f->quantifier_offset;
		if (f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			for (size_t k = 0; k < *(const size_t *)(const void *)n; k++)
				if (has_unknown((*(ProtobufCMessage *const *const *)(const void *)at)[k]))
					return true;
		} else if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(const uint32_t *)(const void *)n == f->id) {
			const ProtobufCMessage *child = *(ProtobufCMessage *const *)(const void *)at;
			if (child && has_unknown(child))
				return true;
		}
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct msg *m, *again;
	struct buf first, second;
	if (msg_unpack((struct str){ (const char *)p, n }, &m, NULL) < 0)
		return 0;
	/* The library keeps fields it does not know, even with number 0, which it would not read again. */
	if ((m->body && has_unknown(m->body)) || (m->principal && has_unknown(&m->principal->base))) {
		msg_free(m);
		return 0;
	}
	buf_init(&first, 0);
	buf_init(&second, 0);
	if (msg_pack(m, &first) < 0 || msg_unpack(buf_str(&first), &again, NULL) < 0)
		abort();
	if (again->type != m->type || again->seq != m->seq || msg_pack(again, &second) < 0 ||
	    !str_eq(buf_str(&first), buf_str(&second)))
		abort();
	msg_free(m);
	msg_free(again);
	buf_release(&first);
	buf_release(&second);
	return 0;
}
