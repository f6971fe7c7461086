#include "agent/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/job_main.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/panic.h"
#include "loop/child.h"
#include "loop/loop.h"
#include "os/clock.h"

struct program {
	struct program_conf conf;
	struct child *child; /* NULL: none runs */
	int notes;           /* what it writes; -1: none */
	int job_pid;         /* of the process between us */
	int64_t pid;         /* the program's; 0: not known yet */
	struct loop_timer poll, kill, start;
	bool over; /* its last note was taken, which says … */
	enum program_state last;
	struct program_status is;
};

/* ---- what the operator allows ---- */

static int split_words(struct program_row *row, const char *text, struct err *err)
{
	size_t n = 0;
	row->words = mem_dup(text, strlen(text) + 1);
	if (!row->words)
		return err_set(err, HCP_ENOMEM, "program", "no memory");
	for (char *p = row->words; *p;) {
		while (*p == ' ')
			*p++ = '\0';
		if (!*p)
			break;
		if (n == PROGRAM_WORDS_MAX)
			return err_set(err, HCP_ELIMIT, "program", "%s has more than %d words", row->name, PROGRAM_WORDS_MAX);
		row->argv[n++] = p;
		while (*p && *p != ' ')
			p++;
	}
	row->argv[n] = NULL;
	if (!n || row->argv[0][0] != '/')
		return err_set(err, HCP_EINVAL, "program", "%s must be an absolute path and its arguments", row->name);
	return access(row->argv[0], X_OK) == 0
			   ? 0
			   : err_set(err, HCP_EINVAL, "program", "%s: %s: %s", row->name, row->argv[0], strerror(errno));
}

int program_table_add(struct program_table *t, const char *text, struct err *err)
{
	const char *eq = strchr(text, '=');
	if (t->n == PROGRAM_NODE_MAX)
		return err_set(err, HCP_ELIMIT, "program", "a node allows at most %d programs", PROGRAM_NODE_MAX);
	struct program_row *row = &t->row[t->n];
	if (!eq || str_copy(row->name, sizeof(row->name), (struct str){ text, (size_t)(eq - text) }) < 0 ||
		!id_is_name(row->name))
		return err_set(err, HCP_EINVAL, "program", "must be NAME=/path/to/program [argument …]");
	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->row[i].name, row->name))
			return err_set(err, HCP_EINVAL, "program", "%s is given twice", row->name);
	int rc = split_words(row, eq + 1, err);
	if (rc < 0) {
		mem_free(row->words);
		row->words = NULL;
		return rc;
	}
	t->n++;
	return 0;
}

void program_table_release(struct program_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		mem_free(t->row[i].words);
	t->n = 0;
}

static const struct program_row *find(const struct program *p, const char *name)
{
	for (size_t i = 0; i < p->conf.table->n; i++)
		if (!strcmp(p->conf.table->row[i].name, name))
			return &p->conf.table->row[i];
	return NULL;
}

bool program_knows(const struct program *p, const char *name)
{
	return find(p, name) != NULL;
}

/* ---- what its keeper writes ---- */

static void take_note(struct program *p, const struct job_note *n)
{
	static const enum program_state states[] = { [JOB_STARTED] = PROGRAM_STARTING,
		[JOB_RUNNING] = PROGRAM_RUNNING,
		[JOB_DONE] = PROGRAM_DONE,
		[JOB_STOPPED] = PROGRAM_STOPPED,
		[JOB_FAILED] = PROGRAM_FAILED };
	if (n->magic != JOB_MAGIC || n->kind < JOB_STARTED || n->kind > JOB_FAILED || p->over)
		return;
	struct program_status *is = &p->is;
	p->pid = n->pid;
	is->step = n->step;
	is->of = n->of;
	snprintf(is->checkpoint.name, sizeof(is->checkpoint.name), "%.64s", n->checkpoint);
	snprintf(is->checkpoint.digest, sizeof(is->checkpoint.digest), "%.79s", n->digest);
	is->checkpoint.step = n->ck_step;
	is->checkpoint.of = n->ck_of;
	is->checkpoint.bytes = n->ck_bytes;
	if (n->kind == JOB_RUNNING)
		loop_timer_stop(&p->start);
	if (n->kind < JOB_DONE) {
		is->state = states[n->kind];
		return;
	}
	/* Told by on_exit: until then the device is not free. Who was not ready in time has failed, however it ended. */
	p->over = true;
	p->last = n->kind == JOB_STOPPED && is->error[0] ? PROGRAM_FAILED : states[n->kind];
	if (n->kind == JOB_FAILED)
		snprintf(is->error, sizeof(is->error), "%.239s", n->error);
}

static void read_notes(struct program *p, bool *ret_changed)
{
	struct job_note note;
	while (p->notes >= 0 && read(p->notes, &note, sizeof(note)) == (ssize_t)sizeof(note)) {
		take_note(p, &note);
		*ret_changed = true;
	}
}

static void on_poll(struct loop *loop, void *arg)
{
	struct program *p = arg;
	bool changed = false;
	loop_timer_start(&p->poll, PROGRAM_POLL_MS);
	read_notes(p, &changed);
	if (changed)
		p->conf.on_change(p->conf.arg);
}

static void close_notes(struct program *p)
{
	if (p->notes >= 0)
		close(p->notes);
	p->notes = -1;
}

static void on_exit(void *arg, int64_t code, int sig)
{
	struct program *p = arg;
	bool changed = false;
	p->child = NULL;
	read_notes(p, &changed);
	close_notes(p);
	if (p->job_pid > 0)
		(void)kill(-p->job_pid, SIGKILL);
	loop_timer_stop(&p->poll);
	loop_timer_stop(&p->kill);
	loop_timer_stop(&p->start);
	p->is.state = p->over ? p->last : PROGRAM_FAILED;
	if (!p->over) {
		if (!p->is.error[0])
			snprintf(p->is.error, sizeof(p->is.error), "its keeper ended with %s %lld", sig ? "signal" : "exit",
				sig ? (long long)sig : (long long)code);
	}
	log_info("program", "%s of %s: %s%s%s", program_state_name(p->is.state), p->is.workload_id, p->is.error,
		p->is.error[0] ? ", " : "", p->is.checkpoint.name[0] ? p->is.checkpoint.name : "no checkpoint in this run");
	p->conf.on_change(p->conf.arg);
}

/* ---- its end ---- */

static void on_kill(struct loop *loop, void *arg)
{
	struct program *p = arg;
	if (!p->child)
		return;
	(void)kill(p->job_pid, SIGQUIT);
	child_stop(p->child, PROGRAM_KILL_MS);
}

static void on_start_late(struct loop *loop, void *arg)
{
	struct program *p = arg;
	snprintf(p->is.error, sizeof(p->is.error), "it printed no line of progress within %d s", PROGRAM_START_MS / 1000);
	on_kill(loop, p);
}

void program_stop(struct program *p, uint32_t grace_ms)
{
	uint32_t most_ms = p->conf.grace_ms ? p->conf.grace_ms : PROGRAM_GRACE_MS;
	if (!p->child)
		return;
	(void)kill(p->job_pid, SIGTERM);
	grace_ms = grace_ms < most_ms ? grace_ms : most_ms;
	if (!p->kill.armed || p->kill.due_ms > loop_turn_ms(p->conf.loop) + grace_ms)
		loop_timer_start(&p->kill, grace_ms);
}

/* ---- its beginning ---- */

enum { ENV_MAX = 12, ENV_TEXT_MAX = PROGRAM_PATH_MAX + 128 };

struct environment {
	char text[ENV_MAX][ENV_TEXT_MAX];
	const char *at[ENV_MAX + 1];
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void env_add(struct environment *e, const char *fmt, ...)
{
	va_list ap;
	must(e->n < ENV_MAX);
	va_start(ap, fmt);
	vsnprintf(e->text[e->n], ENV_TEXT_MAX, fmt, ap);
	va_end(ap);
	e->at[e->n] = e->text[e->n];
	e->at[++e->n] = NULL;
}

static void fill_environment(struct environment *e, const struct program_order *o, const char *dir)
{
	e->n = 0;
	env_add(e, "PATH=/usr/local/bin:/usr/bin:/bin");
	env_add(e, "LANG=C.UTF-8");
	env_add(e, "HOME=%s", dir);
	env_add(e, "HCP_WORKLOAD_ID=%s", o->workload_id);
	env_add(e, "HCP_CHECKPOINT_DIR=%s", dir);
	if (o->restore.name[0]) {
		env_add(e, "HCP_RESTORE=%s/%s", dir, o->restore.name);
		env_add(e, "HCP_RESTORE_STEP=%lld", (long long)o->restore.step);
	}
	if (o->deadline_s)
		env_add(e, "HCP_DEADLINE=%lld", (long long)o->deadline_s);
}

static int spawn(
	struct program *p, const struct program_row *row, const struct program_order *o, int log_fd, struct err *err)
{
	static struct environment env; /* one thread, copied by the new process */
	char dir[PROGRAM_PATH_MAX], log[PROGRAM_PATH_MAX], parent[24], step[24];
	const char *argv[PROGRAM_WORDS_MAX + 24];
	size_t n = 0;
	int d = snprintf(dir, sizeof(dir), "%s/%s", p->conf.checkpoints, o->workload_id);
	int l = snprintf(log, sizeof(log), "%s/program.log", p->conf.state_dir);
	if (d >= (int)sizeof(dir) || l >= (int)sizeof(log))
		return err_set(err, HCP_ERANGE, "checkpoints", "the path is too long");
	snprintf(parent, sizeof(parent), "%d", (int)getpid());
	snprintf(step, sizeof(step), "%lld", (long long)o->restore.step);
	const char *head[] = { p->conf.self, "job", "--dir", dir, "--log", log, "--parent", parent };
	for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
		argv[n++] = head[i];
	const char *from[] = { "--restore", o->restore.name, "--digest", o->restore.digest, "--step", step };
	for (size_t i = 0; o->restore.name[0] && i < sizeof(from) / sizeof(from[0]); i++)
		argv[n++] = from[i];
	argv[n++] = "--";
	for (size_t i = 0; row->argv[i]; i++)
		argv[n++] = row->argv[i];
	argv[n] = NULL;
	fill_environment(&env, o, dir);
	struct child_conf cc = {
		.argv = argv, .env = env.at, .log_fd = log_fd, .stdin_fd = -1, .on_exit = on_exit, .arg = p
	};
	return child_new(p->conf.loop, &cc, &p->child, err);
}

int program_start(struct program *p, const struct program_order *o, struct err *err)
{
	const struct program_row *row = find(p, o->name);
	int fd[2];
	must(!p->child);
	if (!row)
		return err_set(err, HCP_ENOTFOUND, "program", "this node allows no program %.64s", o->name);
	if (!id_is_name(o->workload_id) || (o->restore.name[0] && !id_is_name(o->restore.name)))
		return err_set(err, HCP_EINVAL, "checkpoint", "the workload's id or the checkpoint is no file's name");
	if (pipe2(fd, O_CLOEXEC) < 0 || fcntl(fd[0], F_SETFL, O_NONBLOCK) < 0)
		return err_set(err, HCP_EIO, "program", "no pipe: %s", strerror(errno));
	/* What it saved here last the platform may not have heard of when it gave the order. */
	struct program_order order = *o;
	if (!strcmp(p->is.workload_id, o->workload_id) && p->is.checkpoint.name[0] &&
		p->is.checkpoint.step > o->restore.step)
		order.restore = p->is.checkpoint;
	o = &order;
	p->is = (struct program_status){ .state = PROGRAM_STARTING, .step = o->restore.step };
	memcpy(p->is.allocation_id, o->allocation_id, sizeof(p->is.allocation_id));
	memcpy(p->is.workload_id, o->workload_id, sizeof(p->is.workload_id));
	p->over = false;
	p->pid = 0;
	int rc = spawn(p, row, o, fd[1], err);
	close(fd[1]);
	if (rc < 0) {
		close(fd[0]);
		p->child = NULL;
		p->is.state = PROGRAM_FAILED;
		return rc;
	}
	p->notes = fd[0];
	p->job_pid = child_pid(p->child);
	loop_timer_start(&p->poll, PROGRAM_POLL_MS);
	loop_timer_start(&p->start, PROGRAM_START_MS);
	log_info("program", "%s for %s, %s", o->name, o->workload_id,
		o->restore.name[0] ? o->restore.name : "from the beginning");
	return 0;
}

/* ---- the rest ---- */

int program_new(const struct program_conf *conf, struct program **ret, struct err *err)
{
	struct program *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, HCP_ENOMEM, "program", "no memory");
	p->conf = *conf;
	p->notes = -1;
	loop_timer_init(&p->poll, conf->loop, on_poll, p);
	loop_timer_init(&p->kill, conf->loop, on_kill, p);
	loop_timer_init(&p->start, conf->loop, on_start_late, p);
	*ret = p;
	return 0;
}

void program_free(struct program *p)
{
	if (!p)
		return;
	loop_timer_stop(&p->poll);
	loop_timer_stop(&p->kill);
	loop_timer_stop(&p->start);
	if (p->child) {
		/* With its keeper dead the kernel kills the program. */
		child_free(p->child);
	}
	close_notes(p);
	mem_free(p);
}

bool program_alive(const struct program *p)
{
	return p && p->child;
}

void program_forget(struct program *p)
{
	if (p && !p->child)
		p->is = (struct program_status){ 0 };
}

void program_status(const struct program *p, struct program_status *ret)
{
	*ret = p->is;
}

double program_cpu_s(const struct program *p)
{
	return p && p->child && p->pid > 0 ? (double)clock_cpu_ns((int)p->pid) / 1e9 : 0;
}

const char *program_state_name(enum program_state s)
{
	static const char *const names[] = { "none", "starting", "running", "done", "stopped", "failed" };
	return names[s];
}
