#ifndef HCP_AGENT_LINK_H
#define HCP_AGENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "hcp.pb-c.h"

struct loop;
struct link;

/*
 * The agent's stream to the control plane: `/hcp.v1.Agent/Connect`, AgentUp out, AgentDown in, token as
 * `authorization: Bearer …`. It connects and reconnects by itself; what cannot be sent is dropped, because reports are
 * cumulative and commands are repeated until they are answered. One thread.
 */
#define LINK_METHOD "/hcp.v1.Agent/Connect"
enum {
	LINK_REOPEN_MS = 500,
	LINK_CERT_WARN_DAYS = 14, /* an end so near is told at every connection */
};

struct link_conf {
	struct loop *loop;
	const char *host;      /* borrowed, as token */
	uint16_t port;
	const char *token;     /* NULL: none */
	/*
	 * PEM; ca_file NULL: plain. The control plane must be of ca_file and of host's name, and is shown cert_file.
	 * Changed files are taken for the next connection. Borrowed until return.
	 */
	const char *ca_file, *cert_file, *key_file;
	/* The stream is open: send the hello. */
	void (*on_up)(void *arg);
	void (*on_down)(void *arg, const char *why);
	/* m is borrowed until return. */
	void (*on_message)(void *arg, const Hcp__AgentDown *m);
	void *arg;
	double (*jitter)(void *arg); /* uniform in [0, 1), of the reconnects; NULL: none */
};

int link_new(const struct link_conf *conf, struct link **ret, struct err *err) MUST_CHECK;
/* NULL is fine. */
void link_free(struct link *l);
bool link_is_up(const struct link *l);
/* HCP_EUNAVAIL when not up; HCP_ELIMIT, HCP_ENOMEM. */
int link_send(struct link *l, const Hcp__AgentUp *m) MUST_CHECK;

#endif
