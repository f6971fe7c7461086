#ifndef HCP_AGENT_AGENT_PRIV_H
#define HCP_AGENT_AGENT_PRIV_H

#include "agent/agent.h"
#include "agent/control.h"
#include "agent/program.h"
#include "agent/switcher.h"
#include "base/id.h"
#include "base/str.h"

enum {
	AGENT_REPORT_MS = 2000, /* until the platform says otherwise */
	AGENT_REPORT_MIN_MS = 100,
	AGENT_REPORT_MAX_MS = 60000,
	AGENT_SAMPLES_MS = 5000,
	AGENT_MODEL_MS = 30000,
	AGENT_CHANGE_MS = 120000, /* for a change of version that came without a deadline, and the longest */
	AGENT_HELLO_MS = 1000,    /* until the hello is repeated when no welcome came; doubling up to … */
	AGENT_HELLO_MAX_MS = 30000,
	AGENT_STOP_MS = 200,
	AGENT_FENCE_MS = 5000, /* or a third of the lease, where that is less */
	AGENT_FENCE_LOOK_MS = 100,
	AGENT_FENCE_KILL_MS = 250, /* before its end what did not save itself is killed */
	AGENT_PROGRAM_TELLS = 5,   /* how often the end of a program is told whose allocation is over */
	AGENT_ITEMS_MAX = 16,      /* of a switch command; there is one device */
};
#define AGENT_DEVICE_ID "cpu0"
#define AGENT_CLOCK_SLACK_NS INT64_C(250000000)

struct agent {
	struct agent_conf conf;
	struct loop *loop;
	struct wake *wake;
	struct cpu_device *device;
	struct control control;
	bool has_control;
	struct slot *slot;         /* NULL: no model */
	struct endpoint *endpoint;
	struct switcher *switcher;
	struct miner *miner;       /* NULL: no pool */
	struct program *program;   /* NULL: none is allowed */
	struct link *link;         /* NULL: stand-alone */
	struct rng rng;
	struct loop_timer report, samples, hello, model_report, program_report, fence;
	struct program_status program_is; /* scratch of the reading being made */
	int program_tells;                /* reports on an ended program that are still to be made */
	int64_t fence_ms;                 /* so long before the end of the lease programs are told to save themselves */
	uint32_t report_ms, hello_ms; /* hello_ms: wait before the next */
	bool welcomed;                /* in this boot; without it nothing is reported */
	uint64_t seq;
	uint64_t model_order;      /* the newest change of version that was asked for */
	char model_error[280];     /* why it failed; "": it did not */
	uint64_t order;            /* number of the newest command on this stream */
	int64_t clock_offset_ns;   /* the platform's wall clock less ours */
	char node_id[METER_ALLOCATION_MAX], boot_id[40], name[72], device_name[96];
	char model[128], url[128], endpoint_url[160], proof[40];
	const char *class_name;    /* of the catalogue */
};

/* report.c: all are dropped when the link is down. */
void report_hello(struct agent *a);
void report_node(struct agent *a);
void report_samples(struct agent *a);
void report_switch(struct agent *a, const struct switcher_result *r);
/* What the runtime serves and holds; nothing without a model. */
void report_model(struct agent *a);
void report_local(struct agent *a, enum gate_state to, int64_t duration_ns, const char *cause);

/* What the program does, or did last; nothing when none did. */
void report_program(struct agent *a);

/* health.c */
/* "" or why the device does not do what its gate says. */
const char *agent_trouble(const struct agent *a);

#endif
