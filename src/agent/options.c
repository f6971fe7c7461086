#include "agent/options.h"

#include <getopt.h>
#include <string.h>

#include "base/num.h"
#include "device/cpu_device.h"
#include "model/power_path.h"
#include "os/file.h"

const char options_version[] = HCP_VERSION;
const char options_usage[] =
	"usage: hcp-agent (--mesh HOST:PORT | --no-mesh) --state DIR [options]\n"
	"       hcp-agent runtime --model DIR --listen unix:PATH|HOST:PORT [--name NAME] [--parent PID]\n"
	"\n"
	"  --mesh HOST:PORT      control plane to obey\n"
	"  --no-mesh             stand-alone: mines, and serves whoever asks\n"
	"  --token-file FILE     what the agent shows the control plane\n"
	"  --tls-ca FILE         who has signed the control plane's certificate, PEM; all three or none, see hcp certs\n"
	"  --tls-cert FILE       this node's certificate, which is for its id\n"
	"  --tls-key FILE        its key\n"
	"  --pool HOST:PORT[,…]  Stratum pools in order of preference; none: the node cannot mine\n"
	"  --worker NAME         at the pool (default: hcp)\n"
	"  --model DIR           model folder, further versions in DIR/versions; none: the node cannot serve\n"
	"  --program 'NAME=/PATH ARG …'  batch and training program that workloads may name; up to 16, see "
	"docs/checkpoints.md\n"
	"  --checkpoints DIR     folder that all nodes share, for what programs save; needed with --program\n"
	"  --grace-ms N          for a program that is stopped to save itself (default and most: 20000)\n"
	"  --state DIR           where the node keeps its id and sockets\n"
	"  --listen HOST:PORT    inference endpoint (default: 127.0.0.1:0, any free port)\n"
	"  --advertise URL       the endpoint as others reach it (default: from --listen)\n"
	"  --facility NAME       (default: local)\n"
	"  --region NAME         (default: local)\n"
	"  --feed PATH           feeder, PDU and rack that it hangs at: north/p3/r1 (default: as the site's file says)\n"
	"  --node-id ID          (default: the one in the state folder, else the certificate's)\n"
	"  --threads N           that mine (default: one for each processor)\n"
	"  --engine NAME         avx512, sha-ni, avx2 or portable (default: the fastest)\n"
	"  --linger-ms N         serving goes on for so long after the last request (default: 50)\n";

/* "host:port", "[::1]:port". */
static int parse_address(struct str s, char *host, size_t cap, uint16_t *ret_port)
{
	size_t colon = s.n;
	uint64_t port;
	while (colon > 0 && s.p[colon - 1] != ':')
		colon--;
	if (colon < 2 || num_parse_u64((struct str){ s.p + colon, s.n - colon }, &port) < 0 || port > 65535)
		return HCP_EINVAL;
	struct str h = { s.p, colon - 1 };
	if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = (struct str){ h.p + 1, h.n - 2 };
	if (str_copy(host, cap, h) < 0)
		return HCP_EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

static int parse_pools(struct options *o, struct str list, struct err *err)
{
	o->conf.n_pools = 0;
	while (list.p) {
		struct str one = str_split(&list, ',');
		if (o->conf.n_pools == STRATUM_POOLS_MAX)
			return err_set(err, HCP_EINVAL, "pool", "at most %d pools", STRATUM_POOLS_MAX);
		struct stratum_pool_address *p = &o->conf.pools[o->conf.n_pools];
		char *host = o->pool_host[o->conf.n_pools];
		if (parse_address(one, host, sizeof(o->pool_host[0]), &p->port) < 0 || p->port == 0)
			return err_set(err, HCP_EINVAL, "pool", "must be HOST:PORT[,HOST:PORT]");
		p->host = host;
		o->conf.n_pools++;
	}
	return 0;
}

static int read_token(struct options *o, const char *path, struct err *err)
{
	if (o->token.data)
		return err_set(err, HCP_EINVAL, "token-file", "is given twice");
	int rc = file_read(path, 4096, &o->token, err);
	if (rc < 0)
		return rc;
	struct str t = str_trim(buf_str(&o->token));
	if (t.n == 0 || memchr(t.p, '\n', t.n))
		return err_set(err, HCP_EINVAL, "token-file", "must hold one line");
	size_t begin = (size_t)(t.p - o->token.data);
	o->token.data[begin + t.n] = '\0';
	o->conf.token = o->token.data + begin;
	return 0;
}

enum {
	MESH = 1,
	NO_MESH,
	TOKEN,
	TLS_CA,
	TLS_CERT,
	TLS_KEY,
	POOL,
	WORKER,
	MODEL,
	STATE,
	LISTEN,
	ADVERTISE,
	FACILITY,
	REGION,
	FEED,
	NODE_ID,
	THREADS,
	ENGINE,
	LINGER,
	PROGRAM,
	CHECKPOINTS,
	GRACE,
	HELP,
	VERSION,
};

static const struct option longs[] = {
	{ "mesh", 1, NULL, MESH },
	{ "no-mesh", 0, NULL, NO_MESH },
	{ "token-file", 1, NULL, TOKEN },
	{ "tls-ca", 1, NULL, TLS_CA },
	{ "tls-cert", 1, NULL, TLS_CERT },
	{ "tls-key", 1, NULL, TLS_KEY },
	{ "pool", 1, NULL, POOL },
	{ "worker", 1, NULL, WORKER },
	{ "model", 1, NULL, MODEL },
	{ "state", 1, NULL, STATE },
	{ "listen", 1, NULL, LISTEN },
	{ "advertise", 1, NULL, ADVERTISE },
	{ "facility", 1, NULL, FACILITY },
	{ "region", 1, NULL, REGION },
	{ "feed", 1, NULL, FEED },
	{ "node-id", 1, NULL, NODE_ID },
	{ "threads", 1, NULL, THREADS },
	{ "engine", 1, NULL, ENGINE },
	{ "linger-ms", 1, NULL, LINGER },
	{ "program", 1, NULL, PROGRAM },
	{ "checkpoints", 1, NULL, CHECKPOINTS },
	{ "grace-ms", 1, NULL, GRACE },
	{ "help", 0, NULL, HELP },
	{ "version", 0, NULL, VERSION },
	{ 0 },
};

static int number(const char *text, const char *name, uint64_t max, uint64_t *ret, struct err *err)
{
	if (num_parse_u64(str_of(text), ret) < 0 || *ret < 1 || *ret > max)
		return err_set(err, HCP_EINVAL, name, "must be 1 to %llu", (unsigned long long)max);
	return 0;
}

static int take(struct options *o, int option, const char *arg, const char **ret_worker, struct err *err)
{
	uint64_t n = 0;
	int rc = 0;
	switch (option) {
	case MESH:
		o->conf.mesh_host = o->mesh_host;
		if (parse_address(str_of(arg), o->mesh_host, sizeof(o->mesh_host), &o->conf.mesh_port) < 0)
			rc = err_set(err, HCP_EINVAL, "mesh", "must be HOST:PORT");
		break;
	case NO_MESH: o->no_mesh = true; break;
	case TOKEN: rc = read_token(o, arg, err); break;
	case TLS_CA: o->conf.ca_file = arg; break;
	case TLS_CERT: o->conf.cert_file = arg; break;
	case TLS_KEY: o->conf.key_file = arg; break;
	case POOL: rc = parse_pools(o, str_of(arg), err); break;
	case WORKER: *ret_worker = arg; break;
	case MODEL: o->conf.model_dir = arg; break;
	case STATE: o->conf.state_dir = arg; break;
	case LISTEN:
		if (parse_address(str_of(arg), o->listen_host, sizeof(o->listen_host), &o->conf.listen_port) < 0)
			rc = err_set(err, HCP_EINVAL, "listen", "must be HOST:PORT");
		break;
	case ADVERTISE: o->conf.advertise = arg; break;
	case FACILITY: o->conf.facility = arg; break;
	case REGION: o->conf.region = arg; break;
	case FEED:
		o->conf.feed = arg;
		rc = power_path_check(arg, false, "feed", err);
		break;
	case NODE_ID: o->conf.node_id = arg; break;
	case THREADS: rc = number(arg, "threads", CPU_DEVICE_THREADS_MAX, &n, err); o->conf.threads = (unsigned)n; break;
	case ENGINE: o->conf.engine = arg; break;
	case LINGER:
		rc = number(arg, "linger-ms", 60000, &n, err);
		o->conf.linger_ms = (uint32_t)n;
		break;
	case PROGRAM:
		rc = program_table_add(&o->programs, arg, err);
		break;
	case CHECKPOINTS:
		o->conf.checkpoints = arg;
		break;
	case GRACE:
		rc = number(arg, "grace-ms", PROGRAM_GRACE_MS, &n, err);
		o->conf.grace_ms = (uint32_t)n;
		break;
	case HELP: o->help = true; break;
	case VERSION: o->version = true; break;
	default: rc = err_set(err, HCP_EINVAL, "", "unknown option, or a value is missing"); break;
	}
	return rc;
}

int options_parse(struct options *o, int argc, char **argv, struct err *err)
{
	const char *worker = "hcp";
	int c, rc = 0;
	memset(o, 0, sizeof(*o));
	memcpy(o->listen_host, "127.0.0.1", 10);
	o->conf.listen_host = o->listen_host;
	o->conf.facility = o->conf.region = "local";
	optind = 1;
	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		rc = take(o, c, optarg, &worker, err);
	if (rc < 0 || o->help || o->version)
		return rc;
	for (size_t i = 0; i < o->conf.n_pools; i++) {
		o->conf.pools[i].worker = worker;
		o->conf.pools[i].password = "x";
	}
	if (strlen(worker) < 1 || strlen(worker) > STRATUM_TEXT_MAX)
		return err_set(err, HCP_EINVAL, "worker", "must be 1 to %d bytes", STRATUM_TEXT_MAX);
	if (optind < argc)
		return err_set(err, HCP_EINVAL, argv[optind], "is no option");
	if (!o->conf.state_dir)
		return err_set(err, HCP_EINVAL, "state", "is needed");
	if (o->no_mesh == (o->conf.mesh_host != NULL))
		return err_set(err, HCP_EINVAL, "mesh", "give either --mesh or --no-mesh");
	int tls_files = !!o->conf.ca_file + !!o->conf.cert_file + !!o->conf.key_file;
	if (tls_files != 0 && (tls_files != 3 || o->no_mesh))
		return err_set(err, HCP_EINVAL, !o->conf.ca_file ? "tls-ca" : !o->conf.cert_file ? "tls-cert" : "tls-key",
			"--tls-ca, --tls-cert and --tls-key go together, and with --mesh");
	o->conf.programs = &o->programs;
	if (!o->programs.n == (o->conf.checkpoints != NULL))
		return err_set(err, HCP_EINVAL, "checkpoints", "give --program and --checkpoints, or neither");
	if (!o->conf.n_pools && !o->conf.model_dir && !o->programs.n)
		return err_set(err, HCP_EINVAL, "pool", "a node needs a pool, a model or a program");
	return 0;
}

void options_release(struct options *o)
{
	buf_release(&o->token);
	program_table_release(&o->programs);
}
