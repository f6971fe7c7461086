#ifndef HCP_STRATUM_TARGET_H
#define HCP_STRATUM_TARGET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Targets are 256-bit numbers, least significant byte first, as a SHA-256d result is read. A hash meets a target when
 * it is not above it. Difficulty 1 is 0xffff * 2^208.
 */
void target_of_difficulty(double difficulty, uint8_t ret[32]); /* difficulty > 0; 53 bits exact */
/* The compact form of block headers; a negative or overflowing one gives 0, which no hash meets. */
void target_of_nbits(uint32_t nbits, uint8_t ret[32]);
bool target_met(const uint8_t hash[32], const uint8_t target[32]);

#endif
