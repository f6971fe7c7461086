#ifndef HCP_WIRE_YAMLCONF_H
#define HCP_WIRE_YAMLCONF_H

#include <cyaml/cyaml.h>

#include "base/err.h"
#include "base/str.h"

/*
 * A YAML text into the struct that a libcyaml schema describes, from memory, with errors for people: "<name>:<line>: "
 * and the field. Unknown fields are refused, aliases too. Pure; any thread.
 *
 * HCP_EPARSE: not YAML or not of the form; HCP_ELIMIT: longer than max bytes; HCP_ENOMEM. *ret is written on success
 * alone and freed with yamlconf_free.
 */
int yamlconf_load(const char *name, struct str text, size_t max, const cyaml_schema_value_t *schema, cyaml_data_t **ret,
	struct err *err) MUST_CHECK;
void yamlconf_free(const cyaml_schema_value_t *schema, cyaml_data_t *data);

/*
 * For a value that the form allows and its meaning does not: why->field ("pue", "groups[2].count",
 * "groups[2].restart.boot_s") and why->text with the line that the field stands on. Returns why->code.
 */
int yamlconf_wrong(const char *name, struct str text, const struct err *why, struct err *err) MUST_CHECK;

#endif
