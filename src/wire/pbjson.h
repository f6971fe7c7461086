#ifndef HCP_WIRE_PBJSON_H
#define HCP_WIRE_PBJSON_H

#include "wire/pb.h"

/*
 * Any protobuf-c message <-> JSON, by its descriptor.
 *
 *   protobuf                      JSON                                 read also takes
 *   int32 ... fixed64             number                               "123" for the 64-bit types
 *   float, double                 finite number
 *   bool                          true, false
 *   enum                          "lower_case" name without prefix     (see pbjson_enum_name)
 *   string                        string, valid UTF-8, no U+0000
 *   bytes                         base64url without padding            base64, with or without padding
 *   message                       object, names in snake_case
 *   repeated                      array; written when empty, too
 *   optional, oneof, submessage   absent when unset                    null for unset
 *
 * Reading is strict: unknown and repeated names, wrong types and numbers out of range are refused with the full
 * path of the field in err->field ("requirements.gpu_count", "items[3].name").
 */
#define PBJSON_DEPTH_MAX 32         /* nested messages and arrays */
#define PBJSON_ARRAY_MAX 100000     /* elements of one array */
#define PBJSON_ELEMENTS_MAX 1000000 /* array elements of one document */
#define PBJSON_FIELDS_MAX 256       /* fields of one message type */
#define PBJSON_SET_ARRAY_MAX 1000   /* values of one repeated URL parameter */

/*
 * HCP_EPARSE not JSON; HCP_EINVAL unknown, repeated or missing field, wrong type or value; HCP_ERANGE number out of
 * range; HCP_ELIMIT one of the above; HCP_ENOMEM memory or the arena's limit. The message lives as long as `a`.
 */
int pbjson_read(const ProtobufCMessageDescriptor *d, struct str json, struct arena *a, ProtobufCMessage **ret,
	struct err *err) MUST_CHECK;

/*
 * Appends m as JSON: every field in order of its number, defaults included; unset optionals, oneofs and submessages
 * left out. Non-finite doubles become null, unknown enum values their number, invalid UTF-8 U+FFFD.
 * HCP_ENOMEM when the buffer failed (memory or its limit), HCP_ELIMIT when nested deeper than PBJSON_DEPTH_MAX.
 */
int pbjson_write(const ProtobufCMessage *m, struct buf *out) MUST_CHECK;

/*
 * Parses a path or query parameter into a field of m. `field` may reach into submessages with dots, which are made
 * as needed in `a`; a repeated field gets one more element. Message-typed fields cannot be set. m is not touched on
 * failure, except that submessages on the way may have been made. Memory comes from `a`, which must outlive m.
 */
int pbjson_set(ProtobufCMessage *m, const char *field, struct str text, struct arena *a, struct err *err) MUST_CHECK;

/*
 * The JSON name of an enum value: lower case, without the type's name before it (WORKLOAD_TYPE_UNSPECIFIED of
 * WorkloadType is "unspecified"); where no value carries the type's name, without the words that all values share.
 * Returns dst, or NULL for an unknown value.
 */
#define PBJSON_ENUM_NAME_MAX 64
const char *pbjson_enum_name(const ProtobufCEnumDescriptor *d, int value, char dst[PBJSON_ENUM_NAME_MAX]);
/* HCP_EINVAL with the allowed names. */
int pbjson_enum_parse(const ProtobufCEnumDescriptor *d, struct str name, int *ret, struct err *err) MUST_CHECK;

#endif
