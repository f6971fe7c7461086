#ifndef HCP_WIRE_PB_H
#define HCP_WIRE_PB_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * protobuf-c messages that live in an arena. Nothing of them is freed singly: the message, its strings and its
 * submessages die with the arena, so protobuf_c_message_free_unpacked must not be called on them.
 */

/* Deepest nesting of submessages; protobuf-c itself recurses without bound. */
#define PB_DEPTH_MAX 32

/* HCP_EPARSE malformed bytes, HCP_ELIMIT nesting, HCP_ENOMEM memory or the arena's limit. */
int pb_unpack(const ProtobufCMessageDescriptor *d, struct str bytes, struct arena *a, ProtobufCMessage **ret,
	struct err *err) MUST_CHECK;

/* Appends the packed message to out. HCP_ENOMEM or HCP_ELIMIT from the buffer. */
int pb_pack(const ProtobufCMessage *m, struct buf *out) MUST_CHECK;
/* The packed message as bytes in arena a. HCP_ENOMEM. */
int pb_pack_arena(const ProtobufCMessage *m, struct arena *a, struct str *ret) MUST_CHECK;

/*
 * A packed message of which one submessage, field id, is packed already: the bytes of the fields before it, the
 * submessage, the bytes of the fields behind it. In arena a; HCP_ENOMEM.
 */
int pb_join_arena(struct str before, uint32_t id, struct str submessage, struct str behind, struct arena *a,
	struct str *ret) MUST_CHECK;

/* A deep copy in arena a. */
int pb_clone(const ProtobufCMessage *m, struct arena *a, ProtobufCMessage **ret, struct err *err) MUST_CHECK;

/* One field of a packed message, as it stands there. */
struct pb_field {
	uint32_t id;
	unsigned wire;    /* 0 varint, 1 eight bytes, 2 counted bytes, 5 four bytes */
	uint64_t n;       /* the number; of counted bytes how many */
	struct str bytes; /* counted bytes, borrowed; else empty */
};
/* Takes the next field off the front of *rest. 1: *ret is it; 0: there is none; HCP_EPARSE. */
int pb_next(struct str *rest, struct pb_field *ret) MUST_CHECK;
/*
 * The number of a varint field on the message's own level, without unpacking the rest; the last one counts, 0 if there
 * is none, as for a field that was left out. HCP_EPARSE: malformed, or another kind of field.
 */
int pb_find_number(struct str bytes, uint32_t id, uint64_t *ret) MUST_CHECK;
/* The bytes of a counted field; empty if there is none. HCP_EPARSE: malformed, another kind of field, or in pieces. */
int pb_find_bytes(struct str bytes, uint32_t id, struct str *ret) MUST_CHECK;

/* The message, or NULL for whatever reason. */
ProtobufCMessage *pb_unpack_arena(const ProtobufCMessageDescriptor *d, struct str bytes, struct arena *a)
	__attribute__((warn_unused_result));
/* Adds to a repeated message field held in an arena; for building replies: grows by doubling. */
int pb_push_(struct arena *a, size_t *n, void ***items, void *item) MUST_CHECK;
#define pb_push(arena, n, items, item) pb_push_((arena), (n), (void ***)(void *)(items), (item))

/* A fresh message with the defaults of its descriptor; NULL when memory is exhausted. */
ProtobufCMessage *pb_new(const ProtobufCMessageDescriptor *d, struct arena *a) __attribute__((warn_unused_result));

#endif
