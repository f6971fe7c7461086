#ifndef HCP_SERVICES_TELEMETRY_PRIV_H
#define HCP_SERVICES_TELEMETRY_PRIV_H

#include "base/map.h"
#include "model/device_class.h"
#include "services/telemetry/telemetry.h"

enum metric {
	METRIC_POWER_W,
	METRIC_HASH_THS,
	METRIC_TEMPERATURE_C,
	METRIC_UTILISATION,
};

enum scope {
	SCOPE_SITE = 0,
	SCOPE_CLASS = 1,
	SCOPE_NODE = 2,
	SCOPE_DEVICE = 3,
};

/*
 * An hour of 5 s points. Slot of a point: (seconds / 5) mod 720; NaN: no point. Sums (power, hash rate) or means
 * (temperature, utilisation) over the devices with a fresh reading.
 *
 *   bucket:   … newest-719 … newest
 */
struct series {
	float v[TELEMETRY_POINTS][TELEMETRY_METRICS];
	int64_t newest;                 /* bucket; 0: none yet */
	double sum[TELEMETRY_METRICS];  /* of the bucket being made */
	uint32_t n[TELEMETRY_METRICS];
};

struct node {
	char id[TELEMETRY_NAME_MAX];
	struct series *series; /* owned; NULL: more nodes than TELEMETRY_NODES_MAX */
	int64_t seen_ns;
};

/*
 * Means of minutes in 16 bits each, so that an hour of every device has room: temperature in 0.01 K from -100 °C,
 * utilisation in 1/50,000 (absolute error half a step); watts within 1/4096 of the value, TH/s within 1/2048, which is
 * far below what the sensors know. See telemetry_pack.
 */
struct device_ring {
	uint16_t v[TELEMETRY_MINUTES][TELEMETRY_METRICS];
};
_Static_assert(sizeof(struct device_ring) * TELEMETRY_DEVICES_MAX <= 8u << 20, "device series fit 8 MiB");

struct device {
	struct node *node;        /* borrowed; NULL before its first sample */
	struct device_ring *ring; /* owned; minutes before `minute`; NULL: none yet, silent for an hour, or no room */
	int64_t minute;           /* the one being summed */
	int64_t seen_ns;
	float last[TELEMETRY_METRICS];
	float sum[TELEMETRY_METRICS];
	uint16_t n[TELEMETRY_METRICS];
	int16_t cls;              /* of the catalogue; -1: unknown */
	char id[];                /* "<node>/<device>" */
};
_Static_assert(sizeof(struct device) <= 80, "held for each device of a cell");

struct telemetry {
	struct series site;
	struct series *cls[DEVICE_CLASS_MAX]; /* owned, made when first needed */
	struct map nodes;    /* id → struct node, owned */
	struct map devices;  /* id → struct device, owned */
	struct device **dev; /* the same, to walk quickly; owned array */
	size_t n_dev, cap_dev, n_rings, n_node_series;
	int64_t bucket;      /* the last one made */
};

/* rings.c: pure */
void telemetry_series_init(struct series *s);
/* Values of a bucket; buckets between the newest and this one become gaps. Older than the newest: ignored. */
void telemetry_series_put(struct series *s, int64_t bucket, const float v[TELEMETRY_METRICS]);
/* NaN if there is none. */
float telemetry_series_at(const struct series *s, int64_t bucket, enum metric metric);
/* Mean of a minute's points, NaN where there is none. False: none at all. */
bool telemetry_series_minute(const struct series *s, int64_t minute, float ret[TELEMETRY_METRICS]);
/* A value as a ring keeps it, and back; NaN stays NaN. Values are what values_of lets through; others are clipped. */
uint16_t telemetry_pack(enum metric metric, float v);
float telemetry_unpack(enum metric metric, uint16_t code);
/* All minutes: none. */
void telemetry_ring_init(struct device_ring *r);
/* Closes the minutes before `minute`. */
void telemetry_device_roll(struct device *d, int64_t minute);
void telemetry_device_add(struct device *d, const float v[TELEMETRY_METRICS]);
/* NaN if there is none; the minute being summed counts as far as it goes. */
float telemetry_device_at(const struct device *d, int64_t minute, enum metric metric);

/* samples.c */
int telemetry_on_samples(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int telemetry_on_devices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int telemetry_device_get(struct telemetry *t, struct str id, struct device **ret, struct err *err) MUST_CHECK;
int telemetry_node_get(struct telemetry *t, const char *id, struct node **ret, struct err *err) MUST_CHECK;
/* The series of a class; NULL when out of memory. */
struct series *telemetry_class_series(struct telemetry *t, size_t cls);
int telemetry_timer(void *state, struct svc_ctx *ctx, struct err *err);

/* query.c */
int telemetry_on_series(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

#endif
