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
