#ifndef HCP_WIRE_PB_FAST_H
#define HCP_WIRE_PB_FAST_H

#include "wire/pb.h"

/*
 * The common case of pb_pack and pb_unpack in one pass over the bytes: protobuf-c sizes every submessage once for each
 * level above it, and scans what it unpacks twice. What is rare stays with protobuf-c: unknown fields, a field in
 * another wire type than its own, a submessage that comes in pieces, required fields, malformed bytes. Packed bytes are
 * those of protobuf-c, in the order of field numbers.
 */

/*
 * 1: *ret is the message, in arena a. 0: leave it to protobuf-c. HCP_ENOMEM, HCP_ELIMIT (deeper than PB_DEPTH_MAX).
 * What a failure allocated stays in the arena.
 */
int pb_fast_unpack(
	const ProtobufCMessageDescriptor *d, struct str bytes, struct arena *a, ProtobufCMessage **ret) MUST_CHECK;

/* Into the last bytes of dst[cap]; how many, or HCP_ELIMIT: it does not fit, or is to be left to protobuf-c. */
int pb_fast_pack(const ProtobufCMessage *m, uint8_t *dst, int cap) MUST_CHECK;

#endif
