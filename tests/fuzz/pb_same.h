#ifndef HCP_TESTS_PB_SAME_H
#define HCP_TESTS_PB_SAME_H

/* What wire/pb makes of bytes and messages is what protobuf-c makes of them. */
#include <stdlib.h>
#include <string.h>

#include "wire/pb.h"
#include "wire/pb_fast.h"

static struct str library_packs(const ProtobufCMessage *m, struct arena *a)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *p = arena_alloc(a, n);
	if (!p || protobuf_c_message_pack(m, p) != n)
		abort();
	return (struct str){ (const char *)p, n };
}

/* What pb_next finds in well-formed bytes is what stands in the message. */
static void pb_must_be_found(const ProtobufCMessage *m, struct str packed)
{
	struct pb_field f;
	struct str rest = packed;
	int rc;
	if (m->n_unknown_fields) /* the library keeps even those with number 0, which nobody reads again */
		return;
	while ((rc = pb_next(&rest, &f)) == 1)
		;
	if (rc != 0 || rest.n)
		abort();
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *d = &m->descriptor->fields[i];
		const char *at = (const char *)m + d->offset;
		uint64_t n = 0;
		struct str bytes;
		if (d->label != PROTOBUF_C_LABEL_NONE || d->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			continue;
		if (d->type == PROTOBUF_C_TYPE_INT64 || d->type == PROTOBUF_C_TYPE_UINT64) {
			if (pb_find_number(packed, d->id, &n) != 0 || n != *(const uint64_t *)(const void *)at)
				abort();
		} else if (d->type == PROTOBUF_C_TYPE_ENUM || d->type == PROTOBUF_C_TYPE_UINT32) {
			if (pb_find_number(packed, d->id, &n) != 0 || (uint32_t)n != *(const uint32_t *)(const void *)at)
				abort();
		} else if (d->type == PROTOBUF_C_TYPE_STRING) {
			const char *text = *(const char *const *)(const void *)at;
			if (pb_find_bytes(packed, d->id, &bytes) != 0 || !str_eqz(bytes, text))
				abort();
		}
	}
}

static inline void pb_must_be_same(const ProtobufCMessageDescriptor *d, struct str bytes)
{
	struct arena a;
	struct err err = { 0 };
	struct str ours;
	ProtobufCMessage *m = NULL;
	arena_init(&a, 4096, 0);
	ProtobufCMessage *theirs = protobuf_c_message_unpack(d, NULL, bytes.n, (const uint8_t *)bytes.p);
	int rc = pb_unpack(d, bytes, &a, &m, &err);
	if (rc != HCP_ELIMIT && (rc == 0) != (theirs != NULL))
		abort();
	if (rc == 0) {
		struct str want = library_packs(theirs, &a);
		if (!str_eq(library_packs(m, &a), want) || pb_pack_arena(m, &a, &ours) < 0 || !str_eq(ours, want))
			abort();
		pb_must_be_found(theirs, want);
		uint8_t *room = arena_alloc(&a, want.n + 1);
		int n = room ? pb_fast_pack(theirs, room + 1, (int)want.n) : 0;
		if (n >= 0 && ((size_t)n != want.n || memcmp(room + 1, want.p, want.n) != 0))
			abort();
		if (want.n && pb_fast_pack(theirs, room + 1, (int)want.n - 1) != HCP_ELIMIT)
			abort();
	}
	if (theirs)
		protobuf_c_message_free_unpacked(theirs, NULL);
	arena_release(&a);
}

#endif
