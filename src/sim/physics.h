#ifndef HCP_SIM_PHYSICS_H
#define HCP_SIM_PHYSICS_H

#include "sim/fleet.h"

/*
 * Heat and wear of a device. One thermal mass, cooled by air:
 *
 *	C dT/dt = P - k (T - inlet),   k = k_full (0.08 + 0.92 flow^0.8) contact,   flow = duty x fans that turn
 *
 * The exponent is that of turbulent flow (Dittus, Boelter 1930); 0.08 is what is left without fans. Duty rises linearly
 * between two temperatures of the sensor, with a lag. Fans draw with the cube of their duty.
 * Leakage grows by e every 40 K. Firmware keeps the watts at the plug within the mode's, so what leakage and fans take
 * more, work gets less. Above throttle_c clocks fall 4 % a kelvin; at trip_c the device stops, and below back_c it
 * boots again.
 */

/* Watts of a mode for this device now, and the share of the class's work that is done with them. */
double physics_watts(const struct fleet_device *d, double nominal_w, double *ret_work);
/* Temperature, fans, sensor, memory, errors over the step, at power_mw. u: uniform in [0, 1). */
void physics_step(struct fleet_device *d, const struct fleet_step *s, float u);
/* As after a repair. */
void physics_mend(struct fleet_device *d);

#endif
