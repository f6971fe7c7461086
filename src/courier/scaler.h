#ifndef HCP_COURIER_SCALER_H
#define HCP_COURIER_SCALER_H

#include <stdint.h>

#include "base/err.h"

struct host;

/*
 * Calls the provider of rented nodes: the I/O that the router must not do. It asks the router which calls are to be
 * made (ScaleTake, which waits there), makes them (provider.h), and tells what came of them (ScaleResult). It keeps
 * nothing: what is in its hands when it dies is due again when the next one reports. One thread of its own.
 */
struct scaler;

struct scaler_conf {
	struct host *host;    /* where the router is; borrowed */
	const char *url;      /* of the provider */
	const char *bearer;   /* "": none */
	uint32_t deadline_ms; /* of a call */
};

int scaler_new(const struct scaler_conf *conf, struct scaler **ret, struct err *err) MUST_CHECK;
/* Calls nobody any more; the host may go. NULL is fine. */
void scaler_stop(struct scaler *s);
/* After the host. NULL is fine. */
void scaler_free(struct scaler *s);

#endif
