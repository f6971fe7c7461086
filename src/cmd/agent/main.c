#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/job_main.h"
#include "agent/options.h"
#include "agent/runtime_main.h"
#include "base/log.h"
#include "loop/loop.h"
#include "os/clock.h"

static void to_stderr(void *arg, const char *line, size_t n)
{
	(void)!write(STDERR_FILENO, line, n);
}

/* Waits for the first SIGTERM or SIGINT, which every thread has blocked. */
static void *wait_for_end(void *arg)
{
	sigset_t set;
	int sig;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	while (sigwait(&set, &sig) != 0)
		;
	loop_stop(arg);
	return NULL;
}

static void block_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static int complain(const struct err *err)
{
	fprintf(stderr, "hcp-agent: %s%s%s\n", err->field, err->field[0] ? ": " : "", err->text);
	return err->code == HCP_EINVAL ? 2 : 1;
}

static int run(const struct options *o)
{
	struct err err = { 0 };
	struct loop *loop = NULL;
	struct agent *agent = NULL;
	pthread_t waiter;
	int rc = loop_new(NULL, &loop, &err);
	if (rc < 0)
		return complain(&err);
	block_signals();
	rc = agent_new(loop, &o->conf, &agent, &err);
	if (rc == 0 && pthread_create(&waiter, NULL, wait_for_end, loop) != 0)
		rc = err_set(&err, HCP_EIO, "", "the system refuses a thread");
	int status = rc < 0 ? complain(&err) : 0;
	if (rc == 0) {
		pthread_detach(waiter);
		/* The one line on standard output: where the endpoint is. */
		printf("{\"node_id\":\"%s\",\"port\":%u}\n", agent_node_id(agent), agent_port(agent));
		fflush(stdout);
		loop_run(loop);
	}
	agent_free(agent);
	loop_free(loop);
	return status;
}

int main(int argc, char **argv)
{
	log_setup(LOG_INFO, to_stderr, NULL, clock_wall_ns);
	if (argc > 1 && strcmp(argv[1], "runtime") == 0)
		return runtime_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "job") == 0)
		return job_main(argc - 1, argv + 1);
	struct options o;
	struct err err = { 0 };
	int status = 0;
	if (options_parse(&o, argc, argv, &err) < 0) {
		status = complain(&err);
		fputs("Try hcp-agent --help.\n", stderr);
	} else if (o.help || o.version) {
		if (o.help)
			fputs(options_usage, stdout);
		else
			printf("hcp-agent %s\n", options_version);
	} else {
		o.conf.program = "/proc/self/exe";
		o.conf.version = options_version;
		status = run(&o);
	}
	options_release(&o);
	return status;
}
