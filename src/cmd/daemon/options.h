#ifndef HCP_CMD_DAEMON_OPTIONS_H
#define HCP_CMD_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "spec_table.h"

enum { OPTIONS_PEERS_MAX = 16, OPTIONS_TEXT_MAX = 1024, OPTIONS_BASES_MAX = 64, OPTIONS_SITES_MAX = 16 };

struct option_peer {
	uint32_t services;     /* bit per svc_id */
	char host[256];
	uint16_t port;
};

enum option_action { ACTION_RUN, ACTION_HELP, ACTION_VERSION, ACTION_CHECK, ACTION_REPLAY, ACTION_SETTINGS };

struct options {
	enum option_action action;
	char state_dir[OPTIONS_TEXT_MAX];
	char bind[256];
	char web_dir[OPTIONS_TEXT_MAX], cert_file[OPTIONS_TEXT_MAX], key_file[OPTIONS_TEXT_MAX];
	char mesh_cert_file[OPTIONS_TEXT_MAX], mesh_key_file[OPTIONS_TEXT_MAX], mesh_ca_file[OPTIONS_TEXT_MAX];
	char token_file[OPTIONS_TEXT_MAX], cors[OPTIONS_TEXT_MAX], market_file[OPTIONS_TEXT_MAX];
	char settings_file[OPTIONS_TEXT_MAX];
	char models_dir[OPTIONS_TEXT_MAX];
	char site_file[OPTIONS_SITES_MAX][OPTIONS_TEXT_MAX];
	int n_sites;
	char replay_dir[OPTIONS_TEXT_MAX];
	int replay_service;                   /* enum svc_id; SVC_NONE: every service that keeps a journal */
	int64_t replay_from_ns, replay_to_ns; /* window, both included; 0: open */
	int64_t base_bytes;                   /* journal between two base copies of a service */
	int bases_kept;
	uint16_t port, mesh_port;
	int threads;
	int token_s; /* life of a bearer token; 0: the default */
	bool durable;
	bool callback_private;
	uint32_t callback_timeout_ms;
	uint32_t services;     /* bit per svc_id that runs here */
	bool own_ports;        /* without the gateway, services answer on ports of their own */
	uint16_t own_port[SVC_COUNT]; /* 0: any free one */
	struct option_peer peers[OPTIONS_PEERS_MAX];
	int n_peers;
};

/* Command line into *ret; the error names the option. */
int options_parse(int argc, char **argv, struct options *ret, struct err *err) MUST_CHECK;
void options_usage(void);

#endif
