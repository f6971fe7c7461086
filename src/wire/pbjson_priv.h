#ifndef HCP_WIRE_PBJSON_PRIV_H
#define HCP_WIRE_PBJSON_PRIV_H

#include "wire/pbjson.h"

static inline void *pbjson_at(const ProtobufCMessage *m, unsigned offset)
{
	return (char *)(uintptr_t)m + offset;
}

static inline bool pbjson_is_oneof(const ProtobufCFieldDescriptor *f)
{
	return f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

/* Bytes of one element in the C struct. */
size_t pbjson_size(ProtobufCType type);

#endif
