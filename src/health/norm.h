#ifndef HCP_HEALTH_NORM_H
#define HCP_HEALTH_NORM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What devices of a class show at an operating point: a surface over load and inlet air, bilinear between the nodes of
 * a grid, learned from all of them, each value clipped to 3 times the spread, so that a few sick ones move it little.
 *
 *	load  0 ├──┼──┼──┼──┤ 1.1      a value moves the four nodes around it, by its weight there and
 *	inlet 0 ├──┼──┼──┼──┤ 44 °C    16 / (16 + values the node has seen), at least 1 %
 */
enum { NORM_LOADS = 12, NORM_AIRS = 12 };

struct norm {
	float v[NORM_LOADS][NORM_AIRS];
	uint16_t n[NORM_LOADS][NORM_AIRS];
	float spread; /* robust scale of what is left; 0: nothing seen */
};

struct norm_point {
	uint8_t load, air; /* the lower node */
	float w_load, w_air; /* weight of the upper one */
};

struct norm_point norm_point(float load, float inlet_c);
/* NAN while too little is known there. */
float norm_expect(const struct norm *m, struct norm_point p);
/* spread_least: of the signal; the first spread is four times that. */
void norm_learn(struct norm *m, struct norm_point p, float value, float spread_least);
/* Bytes that norm_learn can have written. */
bool norm_check(const struct norm *m);

#endif
