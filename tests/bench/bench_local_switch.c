/*
 * PERF-1, the node's part: what an embedding costs beyond the model's own time when the node mines as the request
 * arrives, so that each request first takes the processors from the miners.
 *
 *   bench_local_switch [--model DIR] [--requests N]
 *
 * A client thread sends N requests (1,000), each after the node has gone back to filling, over one kept connection. The
 * runtime says how long it computed; the rest of what the client waited is the added latency: both hops, the gate, and
 * waking up on processors that are busy. direct_*: the same client against the runtime itself, while the node mines.
 * inside_*: what the node itself counts as added, from reading the request to writing the answer.
 * yield_*: from closing the gate to the last miner out. One JSON line.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/runtime_main.h"
#include "base/hist.h"
#include "loop/loop.h"
#include "os/clock.h"
#include "sim/pool_server.h"

enum { LINGER_MS = 5, GAP_MS = 12, WARM = 20, WAIT_MS = 60000, ANSWER_MAX = 65536 };

struct bench {
	struct loop *loop;
	struct agent *agent;
	long requests;
	uint16_t port;
	const char *model_name;
	char socket[100], body[256];
	_Atomic int done;
	int failed;
	struct hist added, direct, model, total;
};

static int connect_to(const struct bench *b, bool direct)
{
	int fd = socket(direct ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(b->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	memcpy(un.sun_path, b->socket, strlen(b->socket) + 1);
	if (fd < 0)
		return -1;
	if (!direct)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	int rc = direct ? connect(fd, (struct sockaddr *)(void *)&un, sizeof(un)) :
			  connect(fd, (struct sockaddr *)(void *)&in, sizeof(in));
	if (rc == 0)
		return fd;
	close(fd);
	return -1;
}

/* One request; the whole answer is read. Returns the runtime's compute time, or -1. */
static int64_t ask(const struct bench *b, int fd)
{
	char head[512], answer[ANSWER_MAX];
	int n = snprintf(head, sizeof(head),
		"POST /v1/embeddings HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n"
		"content-length: %zu\r\n\r\n%s", strlen(b->body), b->body);
	if (send(fd, head, (size_t)n, MSG_NOSIGNAL) != n)
		return -1;
	size_t got = 0, want = 0;
	int64_t compute_ns = -1;
	while (!want || got < want) {
		ssize_t r = recv(fd, answer + got, sizeof(answer) - 1 - got, 0);
		if (r <= 0)
			return -1;
		got += (size_t)r;
		answer[got] = '\0';
		const char *end = strstr(answer, "\r\n\r\n");
		if (want || !end)
			continue;
		const char *length = strcasestr(answer, "content-length:");
		const char *ns = strcasestr(answer, RUNTIME_COMPUTE_HEADER ":");
		if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || !length || !ns)
			return -1;
		want = (size_t)(end + 4 - answer) + (size_t)strtoul(length + 15, NULL, 10);
		compute_ns = strtoll(ns + sizeof(RUNTIME_COMPUTE_HEADER), NULL, 10);
		if (want >= sizeof(answer))
			return -1;
	}
	return compute_ns;
}

static int measure(struct bench *b, bool direct, struct hist *rest, struct hist *model, struct hist *total)
{
	int fd = connect_to(b, direct);
	if (fd < 0)
		return -1;
	for (long i = -WARM; i < b->requests; i++) {
		clock_sleep_ns(GAP_MS * 1000000LL);
		int64_t begun_ns = clock_mono_ns(), compute_ns = ask(b, fd), took_ns = clock_mono_ns() - begun_ns;
		if (compute_ns < 0) {
			close(fd);
			return -1;
		}
		if (i < 0)
			continue;
		hist_add(rest, took_ns > compute_ns ? (uint64_t)(took_ns - compute_ns) : 0);
		if (model)
			hist_add(model, (uint64_t)compute_ns);
		if (total)
			hist_add(total, (uint64_t)took_ns);
	}
	close(fd);
	return 0;
}

static void *client(void *arg)
{
	struct bench *b = arg;
	b->failed = measure(b, true, &b->direct, NULL, NULL) < 0 || measure(b, false, &b->added, &b->model, &b->total) < 0;
	atomic_store(&b->done, 1);
	loop_stop(b->loop);
	return NULL;
}

/* The number after `key`, itself after `section` ("" for none), in the node's own account. */
static double health(struct agent *a, const char *section, const char *key)
{
	struct buf b;
	buf_init(&b, 0);
	agent_health(a, &b);
	buf_addc(&b, '\0');
	const char *at = buf_failed(&b) ? NULL : strstr(b.data, section);
	at = at ? strstr(at, key) : NULL;
	double v = at ? strtod(at + strlen(key), NULL) : -1;
	buf_release(&b);
	return v;
}

static bool ready(struct agent *a)
{
	struct buf b;
	buf_init(&b, 0);
	agent_health(a, &b);
	buf_addc(&b, '\0');
	bool is = !buf_failed(&b) && strstr(b.data, "\"state\":\"ready\"") &&
		strstr(b.data, "\"gate\":{\"state\":\"fill\"");
	buf_release(&b);
	return is && health(a, "\"device\"", "\"hashes\":") > 0;
}

static double load1(void)
{
	double v = 0;
	return getloadavg(&v, 1) == 1 ? v : -1;
}

static void quantiles(const char *name, const struct hist *h)
{
	printf(",\"%s_p50_us\":%.1f,\"%s_p99_us\":%.1f", name, (double)hist_quantile(h, 0.5) / 1e3, name,
		(double)hist_quantile(h, 0.99) / 1e3);
}

static void report(struct bench *b)
{
	struct agent *a = b->agent;
	printf("{\"id\":\"PERF-1\"");
	quantiles("local", &b->added);
	quantiles("direct", &b->direct);
	quantiles("model", &b->model);
	quantiles("total", &b->total);
	printf(",\"local_max_us\":%.1f", (double)b->added.max / 1e3);
	printf(",\"inside_p50_us\":%.1f,\"inside_p99_us\":%.1f", health(a, "\"added_ns\"", "\"p50\":") / 1e3,
		health(a, "\"added_ns\"", "\"p99\":") / 1e3);
	printf(",\"yield_p50_us\":%.1f,\"yield_p99_us\":%.1f", health(a, "\"yield_ns\"", "\"p50\":") / 1e3,
		health(a, "\"yield_ns\"", "\"p99\":") / 1e3);
	printf(",\"switches\":%.0f,\"hash_ps\":%.0f,\"model\":\"%s\",\"load1\":%.2f}\n",
		health(a, "", "\"local_switches\":"), health(a, "\"device\"", "\"hash_ps\":"), b->model_name, load1());
}

static int run(struct bench *b, const char *model, char *dir, struct err *err)
{
	struct pool_server_conf pc = { .difficulty = 1, .job_s = 30, .nbits = 0x1703a30c, .height = 870000, .seed = 1 };
	struct pool_server *pool = NULL;
	pthread_t thread;
	int rc = loop_new(NULL, &b->loop, err);
	if (rc == 0)
		rc = pool_server_new(b->loop, &pc, &pool, err);
	struct agent_conf ac = { .model_dir = model, .state_dir = dir, .listen_host = "127.0.0.1", .facility = "bench",
		.region = "bench", .linger_ms = LINGER_MS, .program = "/proc/self/exe", .version = "bench", .n_pools = 1,
		.pools = { { "127.0.0.1", pool ? pool_server_port(pool) : 0, "bench", "x" } } };
	if (rc == 0)
		rc = agent_new(b->loop, &ac, &b->agent, err);
	int64_t until_ns = clock_mono_ns() + WAIT_MS * 1000000LL;
	while (rc == 0 && !ready(b->agent)) {
		loop_turn(b->loop, 5);
		if (clock_mono_ns() > until_ns)
			rc = err_set(err, HCP_ETIMEOUT, "", "the node does not get ready");
	}
	if (rc == 0) {
		b->port = agent_port(b->agent);
		snprintf(b->socket, sizeof(b->socket), "%s/runtime-0.sock", dir);
		b->model_name = strrchr(model, '/') ? strrchr(model, '/') + 1 : model;
		snprintf(b->body, sizeof(b->body),
			"{\"model\":\"%s\",\"input\":\"a sentence of some ten words, as customers send them\"}", b->model_name);
		if (pthread_create(&thread, NULL, client, b) != 0)
			rc = err_set(err, HCP_EIO, "", "no thread");
	}
	if (rc == 0) {
		loop_run(b->loop);
		pthread_join(thread, NULL);
		if (b->failed)
			rc = err_set(err, HCP_EPROTO, "", "a request was not answered with 200");
		else
			report(b);
	}
	agent_free(b->agent);
	pool_server_free(pool);
	loop_free(b->loop);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b = { .requests = 1000 };
	const char *model = "var/models/all-MiniLM-L6-v2";
	char dir[] = "/tmp/hcp-bench-XXXXXX", path[64];
	struct err err = { 0 };
	if (argc > 1 && strcmp(argv[1], "runtime") == 0)
		return runtime_main(argc - 1, argv + 1);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--model") == 0 && i + 1 < argc) {
			model = argv[++i];
		} else if (strcmp(argv[i], "--requests") == 0 && i + 1 < argc) {
			b.requests = strtol(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: bench_local_switch [--model DIR] [--requests N]\n");
			return 2;
		}
	}
	if (!mkdtemp(dir))
		return 1;
	int rc = run(&b, model, dir, &err);
	if (rc < 0)
		fprintf(stderr, "bench_local_switch: %s %s\n", err.field, err.text);
	snprintf(path, sizeof(path), "%s/node-id", dir);
	(void)unlink(path);
	(void)rmdir(dir);
	return rc < 0 ? 1 : 0;
}
