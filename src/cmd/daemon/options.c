#include "cmd/daemon/options.h"

#include <stdio.h>

#include "base/num.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "courier/courier.h"

enum option_kind {
	KIND_TEXT,
	KIND_PORT,
	KIND_COUNT,
	KIND_SERVICES,
	KIND_OWN_PORTS,
	KIND_SERVICE,
	KIND_TIME,
	KIND_BASE_KIB,
	KIND_PEER,
	KIND_SITE,
	KIND_NO_DURABLE,
	KIND_PRIVATE,
	KIND_TIMEOUT,
	KIND_ACTION
};

static const struct option_row {
	const char *name, *value, *help;
	size_t offset, size; /* size: of a text; of a count the most */
	enum option_kind kind;
	enum option_action action;
} rows[] = {
#define TEXT(field) offsetof(struct options, field), sizeof(((struct options *)0)->field), KIND_TEXT, ACTION_RUN
#define COUNT(field, most) offsetof(struct options, field), most, KIND_COUNT, ACTION_RUN
#define OTHER(kind) 0, 0, kind, ACTION_RUN
	{ "--state", "DIR", "where databases, log and secrets live (default: ./state)", TEXT(state_dir) },
	{ "--bind", "ADDR", "address to listen on (default: 127.0.0.1)", TEXT(bind) },
	{ "--port", "N", "REST, WebSocket and portal (default: 8000; 0: any free port)", offsetof(struct options, port), 0,
		KIND_PORT, ACTION_RUN },
	{ "--mesh-port", "N", "agents, feeds and peers over gRPC (default: 8443; 0: any free port)",
		offsetof(struct options, mesh_port), 0, KIND_PORT, ACTION_RUN },
	{ "--threads", "N", "threads of the gateway (default: 1)", COUNT(threads, 64) },
	{ "--token-life", "SECONDS", "until a bearer token must be renewed (default: 900)", COUNT(token_s, 86400) },
	{ "--web", "DIR", "the built portal", TEXT(web_dir) },
	{ "--services", "A,B", "run these only (default: all)", OTHER(KIND_SERVICES) },
	{ "--service-ports", "A=N,B=N",
		"without the gateway each service answers on 127.0.0.1:8080 to 8089, or here; none, any",
		OTHER(KIND_OWN_PORTS) },
	{ "--peer", "A,B=HOST:PORT", "these services are there (may be repeated)", OTHER(KIND_PEER) },
	{ "--market", "FILE", "live market sources, see deploy/market.example.yaml (default: none; a feed sends values)",
		TEXT(market_file) },
	{ "--site", "FILE",
		"what the facility of this name pays, may draw and holds, see spec/sites/README.md (may be "
		"repeated)",
		OTHER(KIND_SITE) },
	{ "--settings", "FILE", "values of the services, see --print-settings (default: those it prints)",
		TEXT(settings_file) },
	{ "--models", "DIR",
		"trained models that come along, stochastic-POINT.bin and ppo-SITE.bin (default: none; what can be is "
		"trained)",
		TEXT(models_dir) },
	{ "--token-file", "FILE", "the machines' shared secret (default: STATE/machine.token, made at first start)",
		TEXT(token_file) },
	{ "--cors", "ORIGINS", "comma-separated origins whose pages may call (default: none)", TEXT(cors) },
	{ "--tls-cert", "FILE", "PEM chain; REST, WebSocket and portal speak TLS", TEXT(cert_file) },
	{ "--tls-key", "FILE", "PEM key", TEXT(key_file) },
	{ "--mesh-cert", "FILE", "PEM chain; the mesh speaks TLS, and all who connect show a certificate: see hcp certs",
		TEXT(mesh_cert_file) },
	{ "--mesh-key", "FILE", "PEM key", TEXT(mesh_key_file) },
	{ "--mesh-ca", "FILE", "who signs the certificates of the mesh", TEXT(mesh_ca_file) },
	{ "--callback-private", NULL, "callbacks may go to private and loopback addresses, too", OTHER(KIND_PRIVATE) },
	{ "--callback-timeout-ms", "N", "how long one callback may take (default: 10000)", OTHER(KIND_TIMEOUT) },
	{ "--no-durable", NULL, "do not wait for the disk; for tests", OTHER(KIND_NO_DURABLE) },
	{ "--base-kib", "N", "journal of a service between two base copies of it (default: 65536)", OTHER(KIND_BASE_KIB) },
	{ "--bases", "N", "base copies to keep; what lies before the oldest cannot be replayed (default: 4)",
		COUNT(bases_kept, OPTIONS_BASES_MAX) },
	{ "--replay", "DIR", "feed what the services in DIR recorded to their handlers again and compare",
		TEXT(replay_dir) },
	{ "--service", "NAME", "the service to replay (default: all)", OTHER(KIND_SERVICE) },
	{ "--from", "TIME", "replay from this time on, e.g. 2026-11-20T18:00:00Z",
		offsetof(struct options, replay_from_ns), 0, KIND_TIME, ACTION_RUN },
	{ "--to", "TIME", "replay up to this time", offsetof(struct options, replay_to_ns), 0, KIND_TIME, ACTION_RUN },
	{ "--print-settings", NULL, "print every setting with its unit, default and value in force, and leave", 0, 0,
		KIND_ACTION, ACTION_SETTINGS },
	{ "--check-config", NULL, "check the options and the files they name, and leave", 0, 0, KIND_ACTION, ACTION_CHECK },
	{ "--version", NULL, "print the version", 0, 0, KIND_ACTION, ACTION_VERSION },
	{ "--help", NULL, "print this", 0, 0, KIND_ACTION, ACTION_HELP },
};

void options_usage(void)
{
	puts("usage: hcpd [options]\n\nRuns the platform's services in one process, or some of them.\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char left[48];
		snprintf(left, sizeof(left), "%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
		printf("  %-26s %s\n", left, rows[i].help);
	}
}

static int parse_port(struct str text, const char *name, uint16_t *ret, struct err *err)
{
	uint64_t v;
	if (num_parse_u64(text, &v) < 0 || v > 65535)
		return err_set(err, HCP_ERANGE, name, "must be 0 to 65535, was %.*s", (int)(text.n < 40 ? text.n : 40), text.p);
	*ret = (uint16_t)v;
	return 0;
}

static int parse_services(struct str list, const char *name, uint32_t *ret, struct err *err)
{
	uint32_t mask = 0;
	while (list.p) {
		struct str one = str_trim(str_split(&list, ','));
		int id = svc_by_name(one.p, one.n);
		if (id == SVC_NONE)
			return err_set(err, HCP_EINVAL, name, "there is no service %.*s", (int)(one.n < 40 ? one.n : 40), one.p);
		mask |= 1U << id;
	}
	*ret = mask;
	return 0;
}

/* "none", "any", or some services' ports, the others keeping theirs. */
static int parse_own_ports(struct str list, struct options *o, struct err *err)
{
	const char *name = "--service-ports";
	o->own_ports = !str_eqz(list, "none");
	if (str_eqz(list, "any"))
		memset(o->own_port, 0, sizeof(o->own_port));
	if (!o->own_ports || str_eqz(list, "any"))
		return 0;
	while (list.p) {
		struct str port = str_split(&list, ','), service = str_split(&port, '=');
		int id = svc_by_name(service.p, service.n);
		if (id == SVC_NONE || !port.p)
			return err_set(err, HCP_EINVAL, name, "must be none, any or SERVICE=PORT, was %.*s",
				(int)(service.n < 40 ? service.n : 40), service.p);
		int rc = parse_port(port, name, &o->own_port[id], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int parse_peer(struct str text, struct options *o, struct err *err)
{
	if (o->n_peers == OPTIONS_PEERS_MAX)
		return err_set(err, HCP_ELIMIT, "--peer", "at most %d peers", OPTIONS_PEERS_MAX);
	struct option_peer *p = &o->peers[o->n_peers];
	struct str rest = text, names = str_split(&rest, '=');
	const char *colon = rest.p ? memrchr(rest.p, ':', rest.n) : NULL;
	if (!colon || str_copy(p->host, sizeof(p->host), (struct str){ rest.p, (size_t)(colon - rest.p) }) < 0 ||
		!p->host[0])
		return err_set(err, HCP_EINVAL, "--peer", "must be SERVICE[,SERVICE]=HOST:PORT");
	int rc = parse_port((struct str){ colon + 1, rest.n - (size_t)(colon + 1 - rest.p) }, "--peer", &p->port, err);
	if (rc == 0)
		rc = parse_services(names, "--peer", &p->services, err);
	if (rc == 0)
		o->n_peers++;
	return rc;
}

static int parse_number(struct str v, const char *name, uint64_t min, uint64_t max, uint64_t *ret, struct err *err)
{
	if (num_parse_u64(v, ret) < 0 || *ret < min || *ret > max)
		return err_set(err, HCP_ERANGE, name, "must be %llu to %llu", (unsigned long long)min, (unsigned long long)max);
	return 0;
}

static int parse_time(struct str v, const char *name, int64_t *ret, struct err *err)
{
	if (timefmt_parse(v, ret) < 0 || *ret <= 0)
		return err_set(err, HCP_EINVAL, name, "must be a time like 2026-11-20T18:00:00Z, was %.*s",
			(int)(v.n < 40 ? v.n : 40), v.p);
	return 0;
}

static int parse_value(const struct option_row *row, struct str v, struct options *o, struct err *err)
{
	uint64_t n;
	int rc;
	switch (row->kind) {
	case KIND_TEXT:
		if (!v.n || str_copy((char *)o + row->offset, row->size, v) < 0)
			return err_set(err, HCP_EINVAL, row->name, "must be 1 to %zu bytes", row->size - 1);
		return 0;
	case KIND_PORT:
		return parse_port(v, row->name, (uint16_t *)(void *)((char *)o + row->offset), err);
	case KIND_COUNT:
		rc = parse_number(v, row->name, 1, row->size, &n, err);
		if (rc == 0)
			*(int *)(void *)((char *)o + row->offset) = (int)n;
		return rc;
	case KIND_TIME:
		return parse_time(v, row->name, (int64_t *)(void *)((char *)o + row->offset), err);
	case KIND_BASE_KIB:
		rc = parse_number(v, row->name, 1, UINT64_C(1) << 30, &n, err);
		o->base_bytes = rc == 0 ? (int64_t)(n << 10) : 0;
		return rc;
	case KIND_TIMEOUT:
		rc = parse_number(v, row->name, 1, COURIER_TIMEOUT_MAX_MS, &n, err);
		o->callback_timeout_ms = rc == 0 ? (uint32_t)n : 0;
		return rc;
	case KIND_SERVICES:
		return parse_services(v, row->name, &o->services, err);
	case KIND_OWN_PORTS:
		return parse_own_ports(v, o, err);
	case KIND_SERVICE:
		o->replay_service = svc_by_name(v.p, v.n);
		return o->replay_service == SVC_NONE ? err_set(err, HCP_EINVAL, row->name, "there is no such service") : 0;
	case KIND_PEER:
		return parse_peer(v, o, err);
	case KIND_SITE:
		if (o->n_sites == OPTIONS_SITES_MAX)
			return err_set(err, HCP_ELIMIT, row->name, "at most %d sites", OPTIONS_SITES_MAX);
		if (!v.n || str_copy(o->site_file[o->n_sites], OPTIONS_TEXT_MAX, v) < 0)
			return err_set(err, HCP_EINVAL, row->name, "must be 1 to %d bytes", OPTIONS_TEXT_MAX - 1);
		o->n_sites++;
		return 0;
	default:
		return 0;
	}
}

static const struct option_row *find(struct str name)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (str_eqz(name, rows[i].name))
			return &rows[i];
	return NULL;
}

static int check(struct options *o, struct err *err)
{
	if (o->replay_dir[0]) {
		o->action = o->action == ACTION_RUN ? ACTION_REPLAY : o->action;
		if (o->replay_from_ns && o->replay_to_ns && o->replay_from_ns > o->replay_to_ns)
			return err_set(err, HCP_EINVAL, "--to", "must not be before --from");
	} else if (o->replay_from_ns || o->replay_to_ns || o->replay_service != SVC_NONE) {
		return err_set(err, HCP_EINVAL, "--replay", "--from, --to and --service need the folder to replay");
	}
	if (!o->cert_file[0] != !o->key_file[0])
		return err_set(
			err, HCP_EINVAL, o->cert_file[0] ? "--tls-key" : "--tls-cert", "certificate and key go together");
	int mesh_files = !!o->mesh_cert_file[0] + !!o->mesh_key_file[0] + !!o->mesh_ca_file[0];
	if (mesh_files != 0 && mesh_files != 3)
		return err_set(err, HCP_EINVAL,
			!o->mesh_cert_file[0] ? "--mesh-cert" : !o->mesh_key_file[0] ? "--mesh-key" : "--mesh-ca",
			"certificate, key and authority of the mesh go together");
	for (int i = 0; i < o->n_peers; i++)
		if (o->peers[i].services & o->services)
			return err_set(err, HCP_ECONFLICT, "--peer", "a service cannot run here and there; use --services");
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct err *err)
{
	struct options o = { .state_dir = "state",
		.bind = "127.0.0.1",
		.port = 8000,
		.mesh_port = 8443,
		.threads = 1,
		.durable = true,
		.own_ports = true,
		.services = (1U << SVC_COUNT) - 1,
		.replay_service = SVC_NONE };
	for (int i = 0; i < SVC_COUNT; i++)
		o.own_port[i] = svc_table[i].port;
	for (int i = 1; i < argc; i++) {
		struct str value = str_of(argv[i]), name = str_split(&value, '=');
		const struct option_row *row = find(name);
		if (!row)
			return err_set(err, HCP_EINVAL, argv[i], "no such option; see --help");
		if (row->value && !value.p) {
			if (++i == argc || str_starts(str_of(argv[i]), STR("--")))
				return err_set(err, HCP_EINVAL, row->name, "needs a value: %s", row->value);
			value = str_of(argv[i]);
		} else if (!row->value && value.p) {
			return err_set(err, HCP_EINVAL, row->name, "takes no value");
		}
		if (row->kind == KIND_ACTION)
			o.action = row->action;
		else if (row->kind == KIND_NO_DURABLE)
			o.durable = false;
		else if (row->kind == KIND_PRIVATE)
			o.callback_private = true;
		int rc = parse_value(row, value, &o, err);
		if (rc < 0)
			return rc;
	}
	int rc = check(&o, err);
	if (rc == 0)
		*ret = o;
	return rc;
}
