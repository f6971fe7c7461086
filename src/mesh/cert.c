/* TLS of the mesh: certificates read and renewed, who failed to get in, how long ours is good. */
#include "base/log.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "loop/tls.h"
#include "mesh/mesh_priv.h"
#include "os/clock.h"

enum { DAY_S = 86400, WATCH_MS = DAY_S * 1000, FAILED_EVERY_MS = 1000 };

static void on_reload(void *arg, const struct err *err)
{
	struct mesh *m = arg;
	if (err) {
		log_error("mesh", "changed certificate files are not taken, %s: %s", err->field, err->text);
		return;
	}
	log_info("mesh", "changed certificate files are taken for new connections");
	loop_timer_start(&m->certs, 0);
}

int mesh_tls_open(struct mesh *m, const struct mesh_conf *conf, struct err *err)
{
	struct tls_conf tc = { .cert_file = conf->cert_file,
		.key_file = conf->key_file,
		.ca_file = conf->ca_file,
		.on_reload = on_reload,
		.arg = m,
		.alpn = "h2" };
	if (!conf->cert_file && !conf->key_file && !conf->ca_file)
		return 0;
	if (!conf->cert_file || !conf->key_file || !conf->ca_file)
		return err_set(err, HCP_EINVAL, "mesh", "certificate, key and authority go together");
	int rc = tls_server_new(&tc, &m->tls, err);
	struct identity id;
	if (rc == 0 && tls_identity(m->tls, &id) && !identity_is(&id, IDENTITY_SERVICE)) {
		char whose[160];
		identity_text(&id, whose, sizeof(whose));
		return err_set(err, HCP_EINVAL, "cert_file", "is for %s; a service's is needed", whose);
	}
	return rc == 0 && conf->n_peers ? tls_client_new(&tc, &m->peer_tls, err) : rc;
}

/* Whoever tries without a certificate cannot fill the log: a line a second, and how many there were. */
void mesh_tls_failed(void *mesh, const char *peer, int code, const char *why)
{
	struct mesh *m = mesh;
	int64_t now_ms = loop_turn_ms(m->loop);
	if (code == HCP_ECLOSED)
		return; /* a probe of the port, which said nothing */
	if (m->failed_ms && now_ms - m->failed_ms < FAILED_EVERY_MS) {
		m->failed_more++;
		return;
	}
	if (m->failed_more)
		log_warn("mesh", "%llu more connections were refused", (unsigned long long)m->failed_more);
	log_warn("mesh", "%s is refused: %s", peer, why);
	m->failed_ms = now_ms;
	m->failed_more = 0;
}

const struct identity *mesh_identity(const struct grpc_call *call)
{
	return grpc_call_req(call)->identity;
}

static void tell(const char *whose, int64_t end_s)
{
	char at[TIMEFMT_MAX];
	int64_t left_s = end_s - clock_wall_ns() / NS_PER_S;
	if (left_s >= (int64_t)MESH_CERT_WARN_DAYS * DAY_S)
		return;
	timefmt_format(at, end_s * NS_PER_S);
	if (left_s > 0)
		log_warn(
			"mesh", "the certificate of %s ends at %s, in %lld days: renew it", whose, at, (long long)(left_s / DAY_S));
	else
		log_error("mesh", "the certificate of %s ended at %s: new connections will fail", whose, at);
}

void mesh_tls_watch(struct loop *loop, void *mesh)
{
	struct mesh *m = mesh;
	int64_t end_s = mesh_cert_end_s(m);
	if (!end_s)
		return;
	tell("this process", end_s);
	loop_timer_start(&m->certs, WATCH_MS);
}

void mesh_tls_soon(struct mesh *m, const struct grpc_call *call, const char *who)
{
	const struct identity *id = mesh_identity(call);
	if (id)
		tell(who, id->not_after_s);
}

int64_t mesh_cert_end_s(void *mesh)
{
	struct mesh *m = mesh;
	struct identity id;
	return m->tls && tls_identity(m->tls, &id) ? id.not_after_s : 0;
}
