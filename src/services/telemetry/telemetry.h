#ifndef HCP_SERVICES_TELEMETRY_H
#define HCP_SERVICES_TELEMETRY_H

#include "svc/svc.h"

enum {
	TELEMETRY_METRICS = 4,          /* power_w, hash_ths, temperature_c, utilisation */
	TELEMETRY_STEP_S = 5,           /* of site, class and node series */
	TELEMETRY_POINTS = 720,         /* an hour of those */
	TELEMETRY_MINUTES = 60,         /* of device series, one point a minute */
	TELEMETRY_KNOWN_MAX = 524288,   /* devices whose class is known or that sent samples */
	TELEMETRY_DEVICES_MAX = 16384,  /* devices with a series of their own: 480 bytes each, 7.5 MiB */
	TELEMETRY_NODES_MAX = 1024,     /* nodes with a series of their own: 11.5 KiB each */
	TELEMETRY_READINGS_MAX = 4096,  /* in one message */
	TELEMETRY_NAME_MAX = 64,
	TELEMETRY_FRESH_S = 30,         /* an older reading no longer counts in sums */
	TELEMETRY_KEEP_DAYS = 30,       /* of minute aggregates */
};

extern const struct svc_def telemetry_def; /* takes no settings */

#endif
