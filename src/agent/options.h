#ifndef HCP_AGENT_OPTIONS_H
#define HCP_AGENT_OPTIONS_H

#include "agent/agent.h"
#include "agent/program.h"
#include "base/str.h"

/* The command line of hcp-agent. Owns what agent_conf borrows. */
struct options {
	struct agent_conf conf;
	struct program_table programs; /* owned */
	char mesh_host[256], listen_host[256];
	char pool_host[STRATUM_POOLS_MAX][256];
	struct buf token;
	bool no_mesh, help, version;
};

/* HCP_EINVAL, or what reading the token file gives; err->field is the option. options_release even after failure. */
int options_parse(struct options *o, int argc, char **argv, struct err *err) MUST_CHECK;
void options_release(struct options *o);
extern const char options_usage[], options_version[];

#endif
