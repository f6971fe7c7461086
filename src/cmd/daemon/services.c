#include "cmd/daemon/services.h"

#include "base/mem.h"
#include "hcpd_services.h"
#include "os/file.h"

struct services_conf {
	char identity_key[SERVICES_PATH_MAX];
	struct identity_conf identity;
	struct orchestrator_conf orchestrator;
};

int services_conf_new(const char *state_dir, struct services_conf **ret, struct err *err)
{
	struct services_conf *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (file_join(c->identity_key, sizeof(c->identity_key), state_dir, "identity.key") < 0) {
		mem_free(c);
		return err_set(err, HCP_ERANGE, "--state", "the path is too long");
	}
	c->identity.key_path = c->identity_key;
	c->orchestrator.version = HCP_VERSION;
	*ret = c;
	return 0;
}

void services_conf_free(struct services_conf *c)
{
	mem_free(c);
}

const struct svc_def *services_def(int id)
{
	static const struct svc_def *const defs[] = {
#define ROW(name) &name##_def,
		HCPD_SERVICES(ROW)
#undef ROW
	};
	for (size_t i = 0; i < sizeof(defs) / sizeof(defs[0]); i++)
		if (defs[i]->id == id)
			return defs[i];
	return NULL;
}

const void *services_conf_of(const struct services_conf *c, int id)
{
	switch (id) {
	case SVC_IDENTITY:
		return &c->identity;
	case SVC_ORCHESTRATOR:
		return &c->orchestrator;
	default:
		return NULL;
	}
}
