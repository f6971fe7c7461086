#ifndef HCP_LOOP_ADDRESS_H
#define HCP_LOOP_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct sockaddr;
struct sockaddr_storage;

/*
 * An IPv4 or IPv6 address as text, without brackets. HCP_EPARSE for anything else, names and short forms like "127.1"
 * included. Pure; any thread.
 */
int address_parse(const char *text, uint16_t port, struct sockaddr_storage *ret) MUST_CHECK;
/*
 * Is it a unicast address of the public internet? No: loopback, private, link-local, shared (RFC 6598), multicast,
 * documentation, benchmarking, reserved and unspecified ones, by the IANA special-purpose registries (RFC 6890, RFC
 * 8190). IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4) are judged by that one. Pure; any thread.
 */
bool address_is_public(const struct sockaddr *a);

#endif
