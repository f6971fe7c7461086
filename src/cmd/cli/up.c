#include "cmd/cli/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/money.h"
#include "cmd/cli/certs.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/model_file.h"
#include "cmd/cli/site_file.h"
#include "cmd/cli/up_child.h"
#include "os/clock.h"
#include "os/file.h"
#include "pki/identity.h"

enum {
	READY_TIMEOUT_MS = 60000,
	PROBE_MS = 1000,
	PROBE_EVERY_MS = 200,
	TRIM_EVERY_MS = 10000,
	CERTS_EVERY_MS = 3600000,
	LOGIN_TEXT_MAX = 4096,
	TAIL_BYTES = 2048,
};

enum need { ALWAYS, WITH_SIM, WITH_RECORDED, WITH_SEEDED, WITH_POOL };

/* The simulated customers log in as one of the first start's accounts. */
#define DEMAND_EMAIL "jane@globex.com"
#define DEMAND_PASSWORD "customer123"

/* Every program shows a certificate of its own (certs_of_up). */
#define TLS(name) "--tls-ca {certs}/ca.crt --tls-cert {certs}/" name ".crt --tls-key {certs}/" name ".key "

/*
 * What `hcp up` runs, in this order; it stops in the reverse order. {names} are the variables below; a word that
 * becomes empty is left out. The first child must answer GET /health before the others start.
 */
static const struct plan {
	const char *name;
	const char *program;
	enum need need;
	const char *args;
} plans[] = {
	{ "hcpd", "hcpd", ALWAYS,
		"--state {state} --port {port} --mesh-port {mesh_port} --web {web} --mesh-ca {certs}/ca.crt "
		"--mesh-cert {certs}/hcpd.crt --mesh-key {certs}/hcpd.key {site} {models}" },
	{ "pool", "hcp-sim", WITH_SIM, "pool --port {pool_port}" },
	{ "market", "hcp-sim", WITH_RECORDED,
		"market --mesh {mesh} --token-file {token} " TLS("market") "--data {data} --from {from} --speed {speed}" },
	{ "market", "hcp-sim", WITH_SEEDED,
		"market --mesh {mesh} --token-file {token} " TLS("market") "--seed 1 --speed {speed}" },
	{ "fleet", "hcp-sim", WITH_SIM, "fleet --mesh {mesh} --token-file {token} " TLS("fleet") "--seed 1 {small}" },
	{ "demand", "hcp-sim", WITH_SIM,
		"demand --url http://127.0.0.1:{port} --email " DEMAND_EMAIL
		" --password-file {demand_password} --target {customers}" },
	{ "agent", "hcp-agent", WITH_POOL,
		"--mesh {mesh} --token-file {token} " TLS("agent") "--pool {pool} --model {model} --state {state}/agent" },
};
enum { PLANS = sizeof(plans) / sizeof(plans[0]), VARS_MAX = 24 };

struct up {
	struct cli *cli;
	struct {
		const char *name, *value;
	} vars[VARS_MAX];
	size_t nvars;
	const char *state, *bin;
	int64_t port, grace_ms;
	bool sim, recorded, has_pool;
	int lock_fd, signal_fd;
	struct child children[PLANS];
	size_t nchildren;
	int64_t certs_at_ms; /* certificates are looked at again */
	bool stopping; /* a signal asked for the end */
};

static int64_t now_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Progress goes to stderr with the time of day, so that the summary on stdout stays readable. */
static void say(const char *fmt, ...)
{
	char text[512], clock[16];
	struct tm tm;
	time_t t = (time_t)(cli_now_ns() / NS_PER_S);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	localtime_r(&t, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	cli_say("%s %s", clock, text);
}

static const char *var(const struct up *u, struct str name)
{
	for (size_t i = 0; i < u->nvars; i++) {
		if (str_eqz(name, u->vars[i].name))
			return u->vars[i].value;
	}
	return NULL;
}

static void set_var(struct up *u, const char *name, const char *value)
{
	u->vars[u->nvars].name = name;
	u->vars[u->nvars++].value = value;
}

/* A word of a plan with its variables filled in; NULL when memory is out. */
static const char *expand(const struct up *u, struct str word)
{
	struct buf b;
	buf_init(&b, 0);
	for (size_t i = 0; i < word.n; i++) {
		const char *close = word.p[i] == '{' ? memchr(word.p + i, '}', word.n - i) : NULL;
		struct str name = { word.p + i + 1, close ? (size_t)(close - word.p) - i - 1 : 0 };
		const char *value = close ? var(u, name) : NULL;
		if (!value) {
			buf_addc(&b, word.p[i]);
			continue;
		}
		buf_addz(&b, value);
		i = (size_t)(close - word.p);
	}
	const char *text = buf_failed(&b) ? NULL : arena_strdup(&u->cli->arena, b.data ? b.data : "");
	buf_release(&b);
	return text;
}

static bool is_wanted(const struct up *u, enum need need)
{
	switch (need) {
	case WITH_SIM:
		return u->sim;
	case WITH_RECORDED:
		return u->sim && u->recorded;
	case WITH_SEEDED:
		return u->sim && !u->recorded;
	case WITH_POOL:
		return u->has_pool;
	default:
		return true;
	}
}

static int add_child(struct up *u, const struct plan *p, struct err *err)
{
	struct child *c = &u->children[u->nchildren];
	struct arena *arena = &u->cli->arena;
	size_t n = 0;
	*c = (struct child){ .name = p->name, .log_fd = -1 };
	c->argv[n++] = arena_printf(arena, "%s/%s", u->bin, p->program);
	c->log_path = arena_printf(arena, "%s/log/%s.log", u->state, p->name);
	if (!c->argv[0] || !c->log_path)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (access(c->argv[0], X_OK) < 0)
		return err_set(err, HCP_ENOTFOUND, p->program,
			       "there is no program %.150s; build it first, or set $HCP_BIN_DIR",
			       c->argv[0]);
	struct str rest = str_of(p->args);
	while (rest.p && n < CHILD_ARGS_MAX) {
		const char *word = expand(u, str_split(&rest, ' '));
		if (!word)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		if (*word)
			c->argv[n++] = word;
	}
	u->nchildren++;
	return child_open_log(c, err);
}

static int make_dir(const char *path, struct err *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(err, HCP_EIO, path, "cannot make %.120s: %s", path, strerror(errno));
	return 0;
}

/* One `up` per state directory; the lock dies with the process, whatever happens to it. */
static int lock_state(struct up *u, struct err *err)
{
	char pid[32] = "";
	const char *path = arena_printf(&u->cli->arena, "%s/up.lock", u->state);
	const char *logs = arena_printf(&u->cli->arena, "%s/log", u->state);
	if (!path || !logs)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = make_dir(u->state, err);
	if (rc < 0)
		return rc;
	u->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (u->lock_fd < 0)
		return err_set(err, HCP_EIO, path, "cannot open %.120s: %s", path, strerror(errno));
	if (flock(u->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = read(u->lock_fd, pid, sizeof(pid) - 1);
		pid[n > 0 ? (size_t)n : 0] = '\0';
		pid[strspn(pid, "0123456789")] = '\0';
		return err_set(err, HCP_EEXIST, "",
			       "already running on %.100s as process %s; stop it with `kill %s`, or take another --state",
			       u->state, *pid ? pid : "?", *pid ? pid : "<pid>");
	}
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(u->lock_fd, 0) < 0 || write(u->lock_fd, pid, (size_t)n) != n)
		return err_set(err, HCP_EIO, path, "cannot write %.120s: %s", path, strerror(errno));
	return make_dir(logs, err);
}

static const char *or_else(const struct up *u, const char *flag, const char *other)
{
	const char *text = args_text(&u->cli->args, flag);
	return text ? text : other;
}

/* Children may change their directory, so all paths handed to them are absolute. */
static const char *absolute(struct up *u, const char *path)
{
	char cwd[4096];
	if (path[0] == '/' || !getcwd(cwd, sizeof(cwd)))
		return path;
	return arena_printf(&u->cli->arena, "%s/%s", cwd, path);
}

/* Where scripts/get-model puts it: the real one, or the small generated one if that could not be had. */
static const char *found_model(struct up *u, const char *root)
{
	static const char *const names[] = { "all-MiniLM-L6-v2", "hcp-generated-tiny" };
	const char *path = NULL;
	for (size_t i = 0; i < 2; i++) {
		path = arena_printf(&u->cli->arena, "%s/var/models/%s", root, names[i]);
		if (path && access(path, R_OK) == 0)
			return absolute(u, path);
	}
	return path;
}

static int settle(struct up *u, struct err *err)
{
	struct arena *arena = &u->cli->arena;
	const struct args *a = &u->cli->args;
	int rc = cli_bin_dir(u->cli, &u->bin, err);
	if (rc < 0)
		return rc;
	u->bin = absolute(u, u->bin);
	/* <source>/build/src/cmd/hcp, when run from the build. */
	const char *root = arena_printf(arena, "%s/../../..", u->bin);
	const char *data = args_text(a, "data"), *recorded = arena_printf(arena, "%s/../shared/data", root);
	if (!root || !recorded)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (data && access(data, R_OK) < 0)
		return cli_usage(u->cli, err, "data", "cannot read %.120s: %s", data, strerror(errno));
	char real[PATH_MAX];
	if (!data && realpath(recorded, real))
		data = arena_strdup(arena, real);
	u->state = absolute(u, or_else(u, "state", "var"));
	u->port = args_int(a, "port", 8000);
	u->grace_ms = args_int(a, "grace", 10) * 1000;
	u->sim = !args_has(a, "no-sim");
	u->recorded = data != NULL;
	u->has_pool = u->sim || args_has(a, "pool");
	const char *model = args_text(a, "model");
	set_var(u, "state", u->state);
	set_var(u, "port", arena_printf(arena, "%d", (int)u->port));
	set_var(u, "mesh_port", or_else(u, "mesh-port", "8443"));
	set_var(u, "mesh", arena_printf(arena, "127.0.0.1:%s", or_else(u, "mesh-port", "8443")));
	set_var(u, "web", absolute(u, or_else(u, "web", arena_printf(arena, "%s/web/dist", root))));
	set_var(u, "certs", arena_printf(arena, "%s/certs", u->state));
	set_var(u, "node_id", arena_printf(arena, "%s/agent/node-id", u->state));
	set_var(u, "token", arena_printf(arena, "%s/machine.token", u->state));
	/* The simulated fleet stands at this site; an installation without its file takes the defaults. */
	const char *site = NULL;
	rc = site_file_find(u->cli, "texas-north", &site, err);
	if (rc < 0 && rc != HCP_ENOTFOUND)
		return rc;
	set_var(u, "site", rc == 0 && u->sim ? arena_printf(arena, "--site=%s", absolute(u, site)) : "");
	const char *models = NULL;
	rc = model_dir_find(u->cli, &models, err);
	if (rc < 0)
		return rc;
	set_var(u, "models", models ? arena_printf(arena, "--models=%s", absolute(u, models)) : "");
	set_var(u, "data", data ? absolute(u, data) : "");
	set_var(u, "from", or_else(u, "from", "2024-08-01"));
	set_var(u, "speed", or_else(u, "speed", "60"));
	set_var(u, "small", strcmp(or_else(u, "devices", "full"), "small") ? "" : "--small");
	set_var(u, "pool_port", or_else(u, "pool-port", "3333"));
	set_var(u, "pool", or_else(u, "pool", arena_printf(arena, "127.0.0.1:%s", or_else(u, "pool-port", "3333"))));
	set_var(u, "model", model ? absolute(u, model) : found_model(u, root));
	set_var(u, "customers", strcmp(or_else(u, "devices", "full"), "small") ? "20" : "4");
	set_var(u, "demand_password", arena_printf(arena, "%s/demand.password", u->state));
	for (size_t i = 0; i < u->nvars; i++) {
		if (!u->vars[i].value)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	return 0;
}

/* Said before anything is started: a child that cannot listen would be started again and again. */
static int check_port(const struct up *u, const char *flag, int64_t usual, struct err *err)
{
	int port = (int)args_int(&u->cli->args, flag, usual), on = 1;
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) }
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, HCP_EIO, flag, "cannot make a socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	bool taken = bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 && errno == EADDRINUSE;
	close(fd);
	if (taken)
		return err_set(err, HCP_EEXIST, "", "port %d is in use by another program; take another with --%s", port, flag);
	return 0;
}

static int check_ports(const struct up *u, struct err *err)
{
	int rc = check_port(u, "port", 8000, err);
	if (rc == 0)
		rc = check_port(u, "mesh-port", 8443, err);
	return rc == 0 && u->sim ? check_port(u, "pool-port", 3333, err) : rc;
}

/* Made where they are missing, renewed before they end; the programs take new ones by themselves. */
static int keep_certs(struct up *u, struct err *err)
{
	struct buf b;
	char id[IDENTITY_NODE_MAX + 1] = "local-agent"; /* the agent's id becomes the certificate's, or is what it was */
	u->certs_at_ms = now_ms() + CERTS_EVERY_MS;
	if (file_read(var(u, STR("node_id")), IDENTITY_NODE_MAX * 4, &b, NULL) == 0) {
		int rc = str_copy(id, sizeof(id), str_trim(buf_str(&b)));
		buf_release(&b);
		if (rc < 0)
			return err_set(err, HCP_EINVAL, var(u, STR("node_id")), "holds more than a node's id");
	}
	return certs_of_up(var(u, STR("certs")), id, cli_now_ns() / NS_PER_S, err);
}

static int open_signals(struct up *u, struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || (u->signal_fd = signalfd(-1, &set,
									       SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return err_set(err, HCP_EIO, "", "cannot wait for signals: %s", strerror(errno));
	return 0;
}

/* Waits for a signal at most so long; returns true if one asked for the end. */
static bool wait_signal(struct up *u, int64_t ms)
{
	struct pollfd p = { .fd = u->signal_fd, .events = POLLIN };
	struct signalfd_siginfo info;
	bool end = false;
	poll(&p, 1, ms < 0 ? 0 : (int)ms);
	while (read(u->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		end = end || info.ssi_signo != SIGCHLD;
	return end;
}

/* The end of a log, for people who wonder why. */
static void show_tail(const struct child *c)
{
	char text[TAIL_BYTES + 1];
	off_t size = lseek(c->log_fd, 0, SEEK_END);
	ssize_t n = size > 0 ? pread(c->log_fd, text, TAIL_BYTES, size > TAIL_BYTES ? size - TAIL_BYTES : 0) : 0;
	struct str rest = { text, n > 0 ? (size_t)n : 0 };
	if (!rest.n)
		return;
	say("the end of %s:", c->log_path);
	while (rest.p && rest.n) {
		struct str line = str_split(&rest, '\n');
		struct buf b;
		buf_init(&b, 0);
		grid_add_clean(&b, line);
		cli_say("    %s", b.data ? b.data : "");
		buf_release(&b);
	}
}

/* Looks after all children once: reports deaths, starts what is due. Returns when to look again, in ms. */
static int64_t tend(struct up *u)
{
	int64_t now = now_ms(), sleep_ms = TRIM_EVERY_MS;
	struct err bad = { 0 };
	if (now >= u->certs_at_ms && keep_certs(u, &bad) < 0)
		say("certificates: %s", bad.text);
	for (size_t i = 0; i < u->nchildren; i++) {
		struct child *c = &u->children[i];
		struct err err = { 0 };
		char how[48];
		if (child_reap(c, now, how, sizeof(how))) {
			say("%s died (%s); again in %.1f s; its log is %s", c->name, how, (double)c->backoff_ms / 1000,
			    c->log_path);
			show_tail(c);
		}
		if (c->pid == 0 && c->restart_at_ms && c->restart_at_ms <= now) {
			c->restarts++;
			if (child_start(c, now, &err) < 0) {
				say("%s", err.text);
				c->restart_at_ms = now + CHILD_BACKOFF_MAX_MS;
			} else {
				say("%s started again (process %d, restart %d)", c->name, (int)c->pid, c->restarts);
			}
		}
		if (c->pid == 0 && c->restart_at_ms && c->restart_at_ms - now < sleep_ms)
			sleep_ms = c->restart_at_ms - now;
		child_trim_log(c);
	}
	return sleep_ms < 0 ? 0 : sleep_ms;
}

static int wait_ready(struct up *u, struct err *err)
{
	struct api api;
	const char *url = arena_printf(&u->cli->arena, "http://127.0.0.1:%d", (int)u->port);
	if (!url)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = api_init(&api, url, NULL, PROBE_MS, err);
	if (rc < 0)
		return rc;
	int64_t until = now_ms() + READY_TIMEOUT_MS;
	struct child *first = &u->children[0];
	rc = HCP_ETIMEOUT;
	while (rc < 0 && now_ms() < until && !u->stopping) {
		bool answers = api_probe(&api, "/health", PROBE_MS) == 200;
		tend(u);
		/* A stranger may answer on the port while ours is dying of that: ours must have lived a moment. */
		if (answers && first->pid && now_ms() - first->started_ms >= PROBE_EVERY_MS)
			rc = 0;
		else
			u->stopping = wait_signal(u, PROBE_EVERY_MS);
	}
	api_release(&api);
	if (u->stopping)
		return HCP_ECANCELED;
	if (rc < 0) {
		show_tail(&u->children[0]);
		return err_set(err, HCP_ESTATE, "", "hcpd did not get ready within %d s", READY_TIMEOUT_MS / 1000);
	}
	return 0;
}

static int start_all(struct up *u, struct err *err)
{
	int rc = child_start(&u->children[0], now_ms(), err);
	if (rc < 0)
		return rc;
	say("waiting for hcpd");
	rc = wait_ready(u, err);
	for (size_t i = 1; rc == 0 && i < u->nchildren; i++)
		rc = child_start(&u->children[i], now_ms(), err);
	return rc;
}

/* In reverse order, each with its time to end; a second signal ends the patience with all. */
static void stop_all(struct up *u)
{
	bool hurry = false;
	char how[48];
	for (size_t i = u->nchildren; i-- > 0;) {
		struct child *c = &u->children[i];
		if (c->pid && !child_reap(c, now_ms(), how, sizeof(how))) {
			int64_t until = now_ms() + u->grace_ms;
			say("stopping %s", c->name);
			child_signal(c, hurry ? SIGKILL : SIGTERM);
			while (!child_reap(c, now_ms(), how, sizeof(how))) {
				bool late = now_ms() >= until;
				if (late)
					say("%s does not end; killing it", c->name);
				if (late || hurry)
					child_signal(c, SIGKILL);
				if (late)
					until = now_ms() + u->grace_ms;
				hurry = wait_signal(u, hurry || until - now_ms() > 100 ? 100 : until - now_ms()) ||
					hurry;
			}
		}
		child_release(c);
	}
}

/* The logins that hcpd made at its first start, from a file that only this user may read. */
static void add_logins(struct up *u, struct buf *out)
{
	char text[LOGIN_TEXT_MAX];
	const char *path = arena_printf(&u->cli->arena, "%s/logins.txt", u->state);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	if (fd >= 0)
		close(fd);
	if (n <= 0) {
		buf_printf(out, "  logins     see %s/log/hcpd.log\n", u->state);
		return;
	}
	struct str rest = { text, (size_t)n };
	for (bool first = true; rest.p && rest.n; first = false) {
		buf_addz(out, first ? "  logins     " : "             ");
		grid_add_clean(out, str_split(&rest, '\n'));
		buf_addc(out, '\n');
	}
}

static int print_summary(struct up *u, struct err *err)
{
	struct buf out;
	buf_init(&out, 0);
	buf_printf(&out, "HCP is up.\n\n  portal     http://127.0.0.1:%d/\n  API        http://127.0.0.1:%d/api/v1\n"
			 "  WebSocket  ws://127.0.0.1:%d/api/v1/ws\n", (int)u->port, (int)u->port, (int)u->port);
	add_logins(u, &out);
	buf_printf(&out, "  state      %s\n  market     %s\n\n", u->state,
		   !u->sim ? "none (--no-sim)" : u->recorded ? var(u, STR("data")) : "simulated");
	for (size_t i = 0; i < u->nchildren; i++) {
		const struct child *c = &u->children[i];
		buf_printf(&out, "  %-10s process %-8d log %s\n", c->name, (int)c->pid, c->log_path);
	}
	buf_addz(&out, "\nCtrl-C stops everything.\n");
	int rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

int ops_up(struct cli *cli, struct err *err)
{
	struct up u = { .cli = cli, .lock_fd = -1, .signal_fd = -1 };
	int rc = settle(&u, err);
	if (rc == 0)
		rc = lock_state(&u, err);
	if (rc == 0)
		rc = check_ports(&u, err);
	if (rc == 0)
		rc = keep_certs(&u, err);
	if (rc == 0 && u.sim && !file_exists(var(&u, STR("demand_password"))))
		rc = file_write_atomic(var(&u, STR("demand_password")), STR(DEMAND_PASSWORD), 0600, err);
	for (size_t i = 0; rc == 0 && i < PLANS; i++) {
		if (is_wanted(&u, plans[i].need))
			rc = add_child(&u, &plans[i], err);
	}
	if (rc == 0)
		rc = open_signals(&u, err);
	if (rc == 0)
		rc = start_all(&u, err);
	if (rc == 0)
		rc = print_summary(&u, err);
	while (rc == 0 && !u.stopping)
		u.stopping = wait_signal(&u, tend(&u));
	stop_all(&u);
	if (rc == HCP_ECANCELED && u.stopping)
		rc = 0;
	if (rc == 0)
		say("stopped");
	/* The lock file stays: removing it would let two hold "the" lock. */
	if (u.signal_fd >= 0)
		close(u.signal_fd);
	if (u.lock_fd >= 0)
		close(u.lock_fd);
	return rc;
}
