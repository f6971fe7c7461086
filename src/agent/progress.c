#include "agent/progress.h"

#include "base/id.h"
#include "wire/jsonv.h"

static int read_fields(const json_t *doc, struct progress *p, struct err *err)
{
	struct str name = STR("");
	int rc = jsonv_get_int(doc, "step", JSONV_REQUIRED, 0, PROGRAM_STEP_MAX, &p->step, err);
	if (rc == 0)
		rc = jsonv_get_int(doc, "of", JSONV_OPTIONAL, 0, PROGRAM_STEP_MAX, &p->of, err);
	if (rc == 0)
		rc = jsonv_get_bool(doc, "done", JSONV_OPTIONAL, &p->done, err);
	if (rc == 0)
		rc = jsonv_get_string(doc, "checkpoint", JSONV_OPTIONAL, &name, err);
	if (rc < 0)
		return rc;
	if (p->of && p->step > p->of)
		return err_set(err, HCP_ERANGE, "step", "must not be above of");
	if (!name.n)
		return 0;
	if (str_copy(p->checkpoint, sizeof(p->checkpoint), name) < 0 || !id_is_name(p->checkpoint))
		return err_set(err, HCP_EINVAL, "checkpoint",
			"must be a file's name: 1 to 64 letters, digits, '.', '-', '_', not beginning with '.'");
	return 0;
}

int progress_parse(struct str line, struct progress *ret, struct err *err)
{
	struct progress p = { 0 };
	json_t *doc = NULL;
	if (line.n > PROGRESS_LINE_MAX)
		return err_set(err, HCP_EPARSE, "", "longer than %d bytes", PROGRESS_LINE_MAX);
	int rc = jsonv_parse(line, &doc, err);
	if (rc < 0)
		return rc;
	rc = json_is_object(doc) ? read_fields(doc, &p, err) : err_set(err, HCP_EPARSE, "", "not an object");
	json_decref(doc);
	if (rc == 0)
		*ret = p;
	return rc;
}
