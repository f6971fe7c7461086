#include "model/ancillary.h"

#include <string.h>

static const struct ancillary_service services[] = {
	{ "RRS", 600, 3600, 2, 3600 },
	{ "ECRS", 600, 7200, 12, 3600 },
	{ "NSPIN", 1800, 14400, 24, 7200 },
	{ "REGUP", 300, 3600, 0, 900 },
	{ "", 600, 14400, 0, 3600 },
};

const struct ancillary_service *ancillary_of(const char *name)
{
	size_t i = 0;
	while (services[i].name[0] && strcmp(services[i].name, name) != 0)
		i++;
	return &services[i];
}
