#ifndef HCP_HEALTH_HEALTH_PRIV_H
#define HCP_HEALTH_HEALTH_PRIV_H

#include "base/rng.h"
#include "health/forest.h"
#include "health/health.h"
#include "health/norm.h"

/* health.c: samples to minutes. rule.c: minutes to findings. models.c: what is trained, and when. */

enum {
	HEALTH_WORKS = 2,          /* serving, filling: each has its own norms; who does neither is not judged */
	HEALTH_ROWS = 4096,        /* of a class that its forest is grown from */
	HEALTH_WINDOWS = 1024,     /* that its autoencoder learns from */
	HEALTH_WINDOW_MINUTES = 5, /* of a step, and between two looks at the models */
};

/* What is learned about a class. */
struct health_class {
	struct norm norm[HEALTH_WORKS][HEALTH_SIGNALS];
	float row[HEALTH_ROWS][HEALTH_SIGNALS]; /* levels of charts of healthy devices */
	size_t n_rows;
	uint64_t offered;
	int8_t window[HEALTH_WINDOWS][AE_STEPS][AE_SIGNALS];
	size_t n_windows;
	uint64_t windows_offered;
	struct rng rng;
	struct forest *forest;     /* owned; NULL: none yet */
	float forest_limit;
	int64_t forest_due_ns;     /* 0: not before it has rows enough */
	struct autoencoder *shapes, *next; /* owned: in use; being trained */
	float shapes_limit;
	int64_t shapes_due_ns;
	int steps_left;
};

struct health {
	struct health_conf conf;
	struct health_class *cls[DEVICE_CLASS_MAX]; /* owned; NULL: no sample yet */
	struct health_stats stats;
};

/* Raw values of a sample in the charts' units, what is expected, NAN where there is none. */
struct health_look {
	float value[HEALTH_SIGNALS], expected[HEALTH_SIGNALS];
};

extern const struct chart_rule health_rule[HEALTH_SIGNALS];

/* ---- health.c ---- */
/* Watts of the mode by the catalogue, at this use and under this cap; NAN where the use tells nothing. */
float health_nominal_w(const struct device_class *c, const struct health_sample *s);
/* Hash rate that it should mine with at its power target. */
float health_nominal_ths(const struct device_class *c, const struct health_sample *s);

/* ---- rule.c ---- */
/* After a minute's charts: is it sick, and why. */
bool rule_judge(const struct device_class *cls, struct health_device *d, const struct health_sample *s,
	const struct health_look *look, struct health_finding *ret);
/* The largest excess of its charts; *ret: of which signal. */
float rule_excess(const struct health_device *d, enum health_signal *ret);

/* ---- models.c ---- */
/* After a minute's charts: offers them to the models and asks them. */
void models_take(struct health *h, struct health_class *c, struct health_device *d, struct health_window *w);
void models_release(struct health_class *c);

#endif
