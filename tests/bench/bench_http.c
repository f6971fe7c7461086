/*
 * Serves one fixed JSON reply of 200 bytes, for wrk and h2load:
 *   bench_http PORT [cert.pem key.pem]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/http_server.h"
#include "loop/loop.h"

static char body[200];

static void handle(struct http_req *req, void *arg)
{
	http_reply(req, 200, NULL, 0, (struct str){ body, sizeof(body) });
}

static struct loop *the_loop;

static void on_signal(int sig)
{
	loop_stop(the_loop); /* an atomic store and a write to an eventfd */
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 4) {
		fprintf(stderr, "usage: %s PORT [cert.pem key.pem]\n", argv[0]);
		return 2;
	}
	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"text\":\"", 9);
	memcpy(body + sizeof(body) - 2, "\"}", 2);
	struct err err;
	struct http_server_conf conf = { .port = (uint16_t)strtoul(argv[1], NULL, 10),
		.cert_file = argc == 4 ? argv[2] : NULL, .key_file = argc == 4 ? argv[3] : NULL };
	struct http_server *server;
	if (loop_new(NULL, &the_loop, &err) < 0 || http_server_new(the_loop, &conf, handle, NULL, &server, &err) < 0) {
		fprintf(stderr, "%s: %s\n", err.field, err.text);
		return 1;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	printf("{\"port\":%u}\n", http_server_port(server));
	fflush(stdout);
	loop_run(the_loop);
	http_server_free(server);
	loop_free(the_loop);
	return 0;
}
