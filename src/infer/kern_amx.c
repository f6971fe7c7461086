#include "infer/kern_priv.h"

const struct kern *kern_amx(void)
{
	return NULL;
}
