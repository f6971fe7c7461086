/* hcpd: the platform's services, all of them or some, in one process. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/daemon/options.h"
#include "cmd/daemon/replay.h"
#include "cmd/daemon/services.h"
#include "cmd/daemon/settings.h"
#include "feed/feeds.h"
#include "courier/courier.h"
#include "courier/scaler.h"
#include "mesh/mesh.h"
#include "tutor/tutor.h"
#include "os/heap.h"
#include "os/clock.h"
#include "os/entropy.h"
#include "os/file.h"
#include "services/gateway/gateway.h"
#include "services/orchestrator/orchestrator.h"
#include "svc/host.h"
#include "wire/jsonv.h"

enum { DRAIN_MS = 5000, TOKEN_BYTES = 32 };

struct hcpd {
	const struct options *o;
	int lock_fd;
	char token[2 * TOKEN_BYTES + 1];
	struct settings *settings;
	struct services_conf *services;
	struct mesh *mesh;
	struct host *host;
	struct gateway *gateways[SVC_COUNT]; /* the gateway, or without it the services' own ports */
	struct feeds *feeds; /* NULL: no live sources are set */
	struct courier *courier;
	struct tutor *tutor;
	struct scaler *scaler; /* NULL: nothing is rented */
};

static void to_stderr(void *arg, const char *line, size_t n)
{
	while (n) {
		ssize_t w = write(STDERR_FILENO, line, n);
		if (w < 0 && errno != EINTR)
			return;
		line += w > 0 ? w : 0;
		n -= w > 0 ? (size_t)w : 0;
	}
}

static bool runs_here(const struct hcpd *d, int id)
{
	return d->o->services >> id & 1;
}

/* ---- state folder ---- */

static int make_token(const char *path, char token[2 * TOKEN_BYTES + 1], struct err *err)
{
	unsigned char bytes[TOKEN_BYTES];
	entropy_fill(bytes, sizeof(bytes));
	hex_encode(token, bytes, sizeof(bytes));
	return file_write_atomic(path, str_of(token), 0600, err);
}

/* What identity makes at the first start of a state folder; for the owner of the folder, to be changed. */
static int tell_logins(const struct hcpd *d, struct err *err)
{
	static const char text[] = "admin@mara.com admin123 (administrator)\noperator@mara.com operator123 (operator)\n"
				   "john@acme.com customer123 (customer Acme)\njane@globex.com customer123 (customer Globex)\n";
	char path[SERVICES_PATH_MAX];
	if (file_join(path, sizeof(path), d->o->state_dir, "logins.txt") < 0)
		return err_set(err, HCP_ERANGE, "--state", "the path is too long");
	return file_exists(path) ? 0 : file_write_atomic(path, str_of(text), 0600, err);
}

/* A secret of ours in hex: read, or made at the first start. text may be NULL. */
static int load_secret(const char *path, const char *option, unsigned char bytes[TOKEN_BYTES],
	char text[2 * TOKEN_BYTES + 1], struct err *err)
{
	char made[2 * TOKEN_BYTES + 1];
	struct buf b;
	int rc = file_exists(path) ? 0 : make_token(path, made, err);
	explicit_bzero(made, sizeof(made));
	if (rc < 0)
		return rc;
	rc = file_read(path, 4096, &b, err);
	if (rc == 0) {
		struct str hex = str_trim(buf_str(&b));
		rc = hex_decode(bytes, TOKEN_BYTES, hex);
		if (rc == 0 && text)
			rc = str_copy(text, 2 * TOKEN_BYTES + 1, hex);
		if (rc < 0)
			err_set(err, rc, option, "%.180s does not hold %d hex digits", path, 2 * TOKEN_BYTES);
	}
	mem_free_secret(b.data, b.n);
	return rc;
}

static int load_token(struct hcpd *d, struct err *err)
{
	char path[SERVICES_PATH_MAX];
	unsigned char bytes[TOKEN_BYTES];
	int rc = d->o->token_file[0] ? str_copy(path, sizeof(path), str_of(d->o->token_file))
								 : file_join(path, sizeof(path), d->o->state_dir, "machine.token");
	return rc < 0 ? err_set(err, rc, "--state", "the path is too long")
				  : load_secret(path, "--token-file", bytes, d->token, err);
}

static int load_callback_key(struct hcpd *d, struct err *err)
{
	char path[SERVICES_PATH_MAX];
	unsigned char key[TOKEN_BYTES];
	static_assert((int)TOKEN_BYTES == (int)ORCHESTRATOR_KEY_BYTES, "one form of secret file");
	if (file_join(path, sizeof(path), d->o->state_dir, "callback.key") < 0)
		return err_set(err, HCP_ERANGE, "--state", "the path is too long");
	int rc = load_secret(path, "--state", key, NULL, err);
	if (rc == 0)
		services_conf_callback_key(d->services, key);
	explicit_bzero(key, sizeof(key));
	return rc;
}

static int open_state(struct hcpd *d, struct err *err)
{
	char path[SERVICES_PATH_MAX];
	int rc = file_mkdirs(d->o->state_dir, err);
	if (rc == 0 && file_join(path, sizeof(path), d->o->state_dir, "lock") < 0)
		rc = err_set(err, HCP_ERANGE, "--state", "the path is too long");
	if (rc == 0)
		rc = file_lock(path, &d->lock_fd, err);
	if (rc == 0)
		rc = load_token(d, err);
	if (rc == 0)
		rc = tell_logins(d, err);
	if (rc == 0)
		rc = settings_keep(d->settings, d->o->state_dir, err);
	if (rc == 0)
		rc = services_conf_new(d->o->state_dir, d->o->token_s, d->settings, &d->services, err);
	return rc == 0 && runs_here(d, SVC_ORCHESTRATOR) ? load_callback_key(d, err) : rc;
}

/* ---- start and stop ---- */

static int start_host(struct hcpd *d, struct err *err)
{
	struct host_conf conf = { .state_dir = d->o->state_dir, .durable = d->o->durable, .send_agent = mesh_send_agent,
				  .send_arg = d->mesh, .remote = mesh_remote, .remote_arg = d->mesh,
				  .base_bytes = d->o->base_bytes, .bases_kept = d->o->bases_kept };
	for (int i = 0; i < SVC_COUNT; i++)
		conf.svc_conf[i] = services_conf_of(d->services, i);
	int rc = host_new(&conf, &d->host, err);
	for (int i = 0; i < SVC_COUNT && rc == 0; i++)
		if (runs_here(d, i) && services_def(i))
			rc = host_add(d->host, services_def(i), err);
	services_conf_host(d->services, d->host);
	if (rc == 0)
		rc = host_start(d->host, err);
	return rc < 0 ? rc : mesh_start(d->mesh, d->host, err);
}

static const char *text_or_null(const char *s)
{
	return s[0] ? s : NULL;
}

/* The mesh's words for its files, as options. */
static int name_mesh_option(struct err *err)
{
	static const char *const names[][2] = {
		{ "cert_file", "--mesh-cert" }, { "key_file", "--mesh-key" }, { "ca_file", "--mesh-ca" },
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(err->field, names[i][0]) == 0)
			snprintf(err->field, sizeof(err->field), "%s", names[i][1]);
	return err->code;
}

static int open_mesh(struct hcpd *d, struct err *err)
{
	const struct options *o = d->o;
	struct mesh_peer_conf peers[OPTIONS_PEERS_MAX];
	for (int i = 0; i < o->n_peers; i++)
		peers[i] = (struct mesh_peer_conf){ o->peers[i].services, o->peers[i].host, o->peers[i].port };
	const struct mesh_conf conf = {
		.bind = o->bind, .port = o->mesh_port, .cert_file = text_or_null(o->mesh_cert_file),
		.key_file = text_or_null(o->mesh_key_file), .ca_file = text_or_null(o->mesh_ca_file), .token = d->token,
		.state_dir = o->state_dir, .peers = peers, .n_peers = o->n_peers,
	};
	if (!o->mesh_cert_file[0] && strcmp(o->bind, "127.0.0.1") != 0 && strcmp(o->bind, "::1") != 0)
		log_warn("hcpd", "the mesh speaks without TLS on %s: see --mesh-cert", o->bind);
	int rc = mesh_new(&conf, &d->mesh, err);
	return rc == HCP_EINVAL && o->mesh_cert_file[0] ? name_mesh_option(err) : rc;
}

static int start_one(struct hcpd *d, int service, uint16_t port, struct err *err)
{
	const struct options *o = d->o;
	const struct gateway_conf conf = {
		.host = d->host,
		.service = service,
		.bind = o->bind,
		.port = port,
		.threads = o->threads,
		.cert_file = text_or_null(o->cert_file),
		.key_file = text_or_null(o->key_file),
		.web_dir = service == SVC_GATEWAY ? text_or_null(o->web_dir) : NULL,
		.cors_origins = text_or_null(o->cors),
		.machine_token = d->token,
		.version = HCP_VERSION,
		.remote_state = mesh_service_state,
		.remote_arg = d->mesh,
		.cert_end_s = mesh_cert_end_s,
		.cert_warn_days = MESH_CERT_WARN_DAYS,
	};
	return gateway_new(&conf, &d->gateways[service], err);
}

static int start_own_port(struct hcpd *d, int service, struct err *err)
{
	uint16_t port = d->o->own_port[service];
	struct err why = { 0 };
	int rc = start_one(d, service, port, &why);
	if (rc < 0)
		err_set(err, rc, "--service-ports", "port %u of %s: %.120s; give another with %s=PORT, or none", port,
			svc_table[service].name, why.text, svc_table[service].name);
	return rc;
}

static int start_gateways(struct hcpd *d, struct err *err)
{
	int rc = 0;
	if (runs_here(d, SVC_GATEWAY))
		return start_one(d, SVC_GATEWAY, d->o->port, err);
	for (int i = 0; i < SVC_COUNT && rc == 0; i++)
		if (d->o->own_ports && runs_here(d, i))
			rc = start_own_port(d, i, err);
	return rc;
}

static int load_market(const struct options *o, struct feed_conf *ret, struct err *err)
{
	int rc = feed_conf_load(o->market_file, ret, err);
	if (rc < 0 && err->field[0])
		err_prefix(err, "--market");
	else if (rc < 0)
		snprintf(err->field, sizeof(err->field), "--market");
	return rc;
}

static int open_feeds(struct hcpd *d, struct err *err)
{
	struct feed_conf conf;
	if (!d->o->market_file[0])
		return 0;
	int rc = load_market(d->o, &conf, err);
	return rc < 0 ? rc : feeds_new(&conf, "hcpd/" HCP_VERSION, &d->feeds, err);
}

static int print_settings(const struct settings *s)
{
	settings_print(s, stdout);
	return fflush(stdout) == 0 ? 0 : 2;
}

static int check_options(const struct options *o)
{
	struct feed_conf conf = { 0 };
	struct err err = { 0 };
	if (o->market_file[0] && load_market(o, &conf, &err) < 0) {
		fprintf(stderr, "hcpd: %s: %s\n", err.field, err.text);
		return 2;
	}
	feed_conf_release(&conf);
	puts("ok");
	return 0;
}

static int start_courier(struct hcpd *d, struct err *err)
{
	const struct courier_conf conf = { .host = d->host,
		.allow_private = d->o->callback_private,
		.timeout_ms = d->o->callback_timeout_ms,
		.version = HCP_VERSION };
	return runs_here(d, SVC_ORCHESTRATOR) ? courier_new(&conf, &d->courier, err) : 0;
}

static int start_tutor(struct hcpd *d, struct err *err)
{
	const struct tutor_conf conf = { .host = d->host, .models_dir = text_or_null(d->o->models_dir) };
	return runs_here(d, SVC_OPTIMIZER) ? tutor_new(&conf, &d->tutor, err) : 0;
}

/* The token that the provider of rented nodes is shown, if any. */
static int read_bearer(const char *path, char *to, size_t cap, struct err *err)
{
	struct buf b;
	to[0] = '\0';
	if (!path[0])
		return 0;
	int rc = file_read(path, cap, &b, err);
	if (rc == 0)
		rc = str_copy(to, cap, str_trim(buf_str(&b)));
	mem_free_secret(b.data, b.n);
	return rc < 0 ? err_set(err, rc, "autoscaling.token_file", "%.180s cannot be used as a token", path) : 0;
}

static int start_scaler(struct hcpd *d, struct err *err)
{
	char bearer[512];
	if (!d->settings->provider_url[0] || !runs_here(d, SVC_ROUTER))
		return 0;
	int rc = read_bearer(d->settings->provider_token_file, bearer, sizeof(bearer), err);
	if (rc == 0)
		rc = scaler_new(
			&(struct scaler_conf){ d->host, d->settings->provider_url, bearer, d->settings->provider_deadline_ms },
			&d->scaler, err);
	explicit_bzero(bearer, sizeof(bearer));
	return rc;
}

/* Requests first, then the services, then what their last answers go through. */
static void stop(struct hcpd *d)
{
	feeds_stop(d->feeds);
	for (int i = 0; i < SVC_COUNT; i++)
		if (d->gateways[i])
			gateway_drain(d->gateways[i], DRAIN_MS);
	if (d->mesh)
		mesh_stop(d->mesh);
	courier_stop(d->courier);
	tutor_stop(d->tutor);
	scaler_stop(d->scaler);
	host_free(d->host);
	feeds_free(d->feeds);
	courier_free(d->courier);
	tutor_free(d->tutor);
	scaler_free(d->scaler);
	mesh_free(d->mesh);
	for (int i = 0; i < SVC_COUNT; i++)
		gateway_free(d->gateways[i]);
	services_conf_free(d->services);
	if (d->lock_fd >= 0)
		file_close(d->lock_fd);
}

static void say_ready(const struct hcpd *d)
{
	const char *scheme = d->o->cert_file[0] ? "https" : "http";
	printf("hcpd ready");
	if (d->gateways[SVC_GATEWAY])
		printf(" %s://%s:%u", scheme, d->o->bind, gateway_port(d->gateways[SVC_GATEWAY]));
	printf(" mesh %s:%u", d->o->bind, mesh_port(d->mesh));
	for (int i = SVC_GATEWAY + 1; i < SVC_COUNT; i++)
		if (d->gateways[i])
			printf(" %s %s://%s:%u", svc_table[i].name, scheme, d->o->bind, gateway_port(d->gateways[i]));
	putchar('\n');
	fflush(stdout);
}

/*
 * A library may have started threads before main blocked the signals (OpenBLAS does): until main waits in sigwait the
 * kernel gives them the signal, whose default ends the process. So they hand it on; main's thread has the process's id.
 */
static void hand_on(int sig)
{
	(void)tgkill(getpid(), getpid(), sig);
}

static int run(const struct options *o, struct settings *settings)
{
	const struct sigaction handler = { .sa_handler = hand_on, .sa_flags = SA_RESTART };
	struct hcpd d = { .o = o, .settings = settings, .lock_fd = -1 };
	struct err err = { 0 };
	sigset_t signals;
	int sig = 0;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* every thread started from here on leaves them to sigwait */
	sigaction(SIGTERM, &handler, NULL);
	sigaction(SIGINT, &handler, NULL);
	int rc = open_feeds(&d, &err); /* a mistake in its settings is told before anything starts */
	if (rc == 0)
		rc = open_state(&d, &err);
	if (rc == 0)
		rc = open_mesh(&d, &err);
	if (rc == 0)
		rc = start_host(&d, &err);
	if (rc == 0)
		rc = start_courier(&d, &err);
	if (rc == 0)
		rc = start_tutor(&d, &err);
	if (rc == 0)
		rc = start_scaler(&d, &err);
	if (rc == 0)
		rc = start_gateways(&d, &err);
	if (rc == 0 && d.feeds)
		rc = feeds_start(d.feeds, d.host, &err);
	if (rc == 0) {
		say_ready(&d);
		log_info("hcpd", "version %s is ready", HCP_VERSION);
		sigwait(&signals, &sig);
		log_info("hcpd", "stopping");
	} else {
		fprintf(stderr, "hcpd: %s: %s\n", err.field, err.text);
	}
	stop(&d);
	return rc < 0 ? 1 : 0;
}

static int act(const struct options *o, struct settings *s)
{
	struct err err = { 0 };
	if (settings_of_options(o, s, &err) < 0) {
		fprintf(stderr, "hcpd: %s: %s\n", err.field, err.text);
		return 2;
	}
	switch (o->action) {
	case ACTION_CHECK:
		return check_options(o);
	case ACTION_SETTINGS:
		return print_settings(s);
	case ACTION_REPLAY:
		return replay_run(o, s);
	default:
		return run(o, s);
	}
}

int main(int argc, char **argv)
{
	static struct options o;
	static struct settings settings; /* large */
	struct err err = { 0 };
	heap_setup();
	(void)umask(0077); /* databases hold password hashes and what customers do, whoever made the state folder */
	jsonv_setup();
	log_setup(LOG_INFO, to_stderr, NULL, clock_wall_ns);
	signal(SIGPIPE, SIG_IGN);
	if (options_parse(argc, argv, &o, &err) < 0) {
		fprintf(stderr, "hcpd: %s: %s\n", err.field, err.text);
		return 2;
	}
	switch (o.action) {
	case ACTION_HELP:
		options_usage();
		return 0;
	case ACTION_VERSION:
		puts("hcpd " HCP_VERSION);
		return 0;
	default:
		settings_init(&settings);
		int status = act(&o, &settings);
		settings_release(&settings);
		return status;
	}
}
