#ifndef HCP_CMD_CLI_PAGE_H
#define HCP_CMD_CLI_PAGE_H

#include <stddef.h>

#include "base/str.h"

/*
 * What reports as one HTML page share: no script, no font and no image from elsewhere, light and dark, apart by
 * lightness in print. Failures stick to the buffer.
 */
extern const char *const page_style;
/* Of the i-th line or bar; they come around after eight. */
const char *page_colour(size_t i);
/* Text from files and arguments. */
void page_text(struct buf *out, const char *z);
/* A round step that divides a range (> 0) by about five lines. */
double page_step(double range);
/* 1234567 as 1.23M, 45678 as 46k. */
void page_number(struct buf *out, double v);

#endif
