#include "agent/job_main.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "agent/progress.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/num.h"
#include "os/clock.h"
#include "wire/jsonv.h"

enum { NOBODY = 65534, CHUNK = 1 << 20, READ_MAX = 1 << 16, TAIL_MAX = 160, SHA256_BYTES = 32 };
#define MS INT64_C(1000000)

struct job {
	/* options */
	const char *dir, *log, *restore, *digest;
	int64_t parent, step;
	char **argv; /* of the program */
	/* files */
	int signals, output, log_fd[2], log_at;
	int64_t log_n;
	/* the program */
	pid_t pid;
	bool alive, stopping, killed, began, ended_done;
	int status;
	/* what it prints */
	char line[PROGRESS_LINE_MAX + 1];
	size_t line_n;
	bool line_long;
	char tail[TAIL_MAX + 1]; /* the end of what it logged */
	size_t tail_n;
	int64_t window_ns, noted_ns;
	size_t window_n;
	bool note_due;
	struct job_note note;
	char why[96]; /* we ended it: why; "": we did not */
};

/* ---- notes ---- */

/* A reader that is gone means that the agent is: SIGQUIT is on its way. */
static void send_note(struct job *j, enum job_kind kind)
{
	j->note.magic = JOB_MAGIC;
	j->note.kind = (uint32_t)kind;
	const struct job_note note = j->note;
	while (write(STDOUT_FILENO, &note, sizeof(note)) < 0 && errno == EINTR)
		;
	j->noted_ns = clock_mono_ns();
	j->note_due = false;
}

static int fail(struct job *j, const char *why)
{
	snprintf(j->note.error, sizeof(j->note.error), "%s", why);
	send_note(j, JOB_FAILED);
	return 0;
}

/* ---- the log ---- */

static void log_bytes(struct job *j, const char *p, size_t n)
{
	if (!n)
		return;
	if (j->log_n + (int64_t)n > JOB_LOG_MAX) {
		j->log_at ^= 1;
		j->log_n = 0;
		(void)!ftruncate(j->log_fd[j->log_at], 0);
		(void)lseek(j->log_fd[j->log_at], 0, SEEK_SET);
	}
	if (write(j->log_fd[j->log_at], p, n) > 0)
		j->log_n += (int64_t)n;
	size_t keep = n < TAIL_MAX ? TAIL_MAX - n : 0;
	if (j->tail_n > keep) {
		memmove(j->tail, j->tail + j->tail_n - keep, keep);
		j->tail_n = keep;
	}
	size_t more = n < TAIL_MAX ? n : TAIL_MAX;
	memcpy(j->tail + j->tail_n, p + n - more, more);
	j->tail_n += more;
}

/* On one line, for people: what is no printable ASCII becomes a blank. */
static void tail_text(const struct job *j, char dst[TAIL_MAX + 1])
{
	size_t n = 0;
	for (size_t i = 0; i < j->tail_n; i++) {
		char c = j->tail[i] > ' ' && j->tail[i] < 127 ? j->tail[i] : ' ';
		if (c != ' ' || (n && dst[n - 1] != ' '))
			dst[n++] = c;
	}
	dst[n] = '\0';
}

/* ---- signals ---- */

static void kill_all(struct job *j)
{
	j->killed = true;
	if (j->alive)
		(void)kill(-j->pid, SIGKILL);
}

static void reap(struct job *j)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != j->pid)
			continue;
		j->alive = false;
		j->status = status;
	}
}

static void take_signals(struct job *j)
{
	struct signalfd_siginfo s;
	while (read(j->signals, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
		if (s.ssi_signo == SIGCHLD)
			reap(j);
		else if (s.ssi_signo == SIGQUIT)
			kill_all(j);
		else if (!j->stopping && j->alive)
			(void)kill(-j->pid, SIGTERM);
		j->stopping |= s.ssi_signo != SIGCHLD;
	}
}

/* ---- checkpoints ---- */

static int hash_fd(struct job *j, int fd, EVP_MD_CTX *md, uint8_t *chunk, int64_t *ret_bytes)
{
	ssize_t n;
	*ret_bytes = 0;
	while ((n = read(fd, chunk, CHUNK)) > 0) {
		if (EVP_DigestUpdate(md, chunk, (size_t)n) != 1)
			return HCP_ENOMEM;
		*ret_bytes += n;
		take_signals(j); /* files may be large */
		if (j->killed)
			return HCP_ECANCELED;
	}
	return n < 0 ? HCP_EIO : 0;
}

/* Digest of a regular file of the folder, links not followed. */
static int digest_file(
	struct job *j, const char *name, char ret[PROGRAM_DIGEST_MAX], int64_t *ret_bytes, struct err *err)
{
	char path[1024];
	uint8_t raw[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	struct stat st;
	if (snprintf(path, sizeof(path), "%s/%s", j->dir, name) >= (int)sizeof(path))
		return err_set(err, HCP_ERANGE, "checkpoint", "the path of %s is too long", name);
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		int why = fd < 0 ? errno : EINVAL;
		if (fd >= 0)
			close(fd);
		return err_set(err, HCP_ENOTFOUND, "checkpoint", "%s cannot be read: %s", name, strerror(why));
	}
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t *chunk = mem_alloc(CHUNK);
	int rc = md && chunk && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? hash_fd(j, fd, md, chunk, ret_bytes)
																		   : HCP_ENOMEM;
	if (rc == 0 && (EVP_DigestFinal_ex(md, raw, &len) != 1 || len != SHA256_BYTES))
		rc = HCP_ENOMEM;
	mem_free(chunk);
	EVP_MD_CTX_free(md);
	close(fd);
	if (rc < 0)
		return err_set(err, rc, "checkpoint", "%s cannot be read", name);
	char hex[2 * SHA256_BYTES + 1];
	hex_encode(hex, raw, SHA256_BYTES);
	snprintf(ret, PROGRAM_DIGEST_MAX, "sha256:%s", hex);
	return 0;
}

/* What it shall go on from is what the control plane knows of, to the bit. */
static int check_restore(struct job *j, struct err *err)
{
	char is[PROGRAM_DIGEST_MAX];
	int64_t bytes;
	int rc = digest_file(j, j->restore, is, &bytes, err);
	if (rc == 0 && strcmp(is, j->digest) != 0)
		rc = err_set(err, HCP_ECORRUPT, "checkpoint", "%s is corrupt: its digest is %.23s…, not %.23s…", j->restore, is,
			j->digest);
	return rc;
}

static void take_checkpoint(struct job *j, const struct progress *p)
{
	char digest[PROGRAM_DIGEST_MAX], text[200];
	int64_t bytes;
	struct err err = { 0 };
	if (digest_file(j, p->checkpoint, digest, &bytes, &err) < 0) {
		int n = snprintf(text, sizeof(text), "hcp: checkpoint %.150s\n", err.text);
		log_bytes(j, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
		return;
	}
	j->note.ck_step = p->step;
	j->note.ck_of = p->of;
	j->note.ck_bytes = bytes;
	memcpy(j->note.checkpoint, p->checkpoint, sizeof(j->note.checkpoint));
	memcpy(j->note.digest, digest, sizeof(j->note.digest));
}

/* ---- what the program prints ---- */

static void take_progress(struct job *j, const struct progress *p)
{
	if (!j->began && p->step < j->step) {
		snprintf(j->why, sizeof(j->why), "it began at step %lld, though it was given one of step %lld",
			(long long)p->step, (long long)j->step);
		kill_all(j);
		return;
	}
	if (j->began && p->step < j->note.step)
		return; /* what was done is done */
	bool first = !j->began, saved = p->checkpoint[0] && (p->step > j->note.ck_step || !j->note.checkpoint[0]);
	saved &= p->step > j->step || !j->restore;
	j->began = true;
	j->ended_done |= p->done;
	j->note.step = p->step;
	j->note.of = p->of;
	if (saved)
		take_checkpoint(j, p);
	if (first || saved)
		send_note(j, JOB_RUNNING);
	else
		j->note_due = true;
}

static void take_line(struct job *j)
{
	struct progress p;
	if (!j->line_long && j->line_n && j->line[0] == '{' &&
		progress_parse((struct str){ j->line, j->line_n }, &p, NULL) == 0) {
		take_progress(j, &p);
	} else {
		log_bytes(j, j->line, j->line_n);
		log_bytes(j, "\n", 1);
	}
	j->line_n = 0;
	j->line_long = false;
}

static void take_output(struct job *j, const char *p, size_t n)
{
	while (n) {
		const char *end = memchr(p, '\n', n);
		size_t len = end ? (size_t)(end - p) : n, room = PROGRESS_LINE_MAX - j->line_n;
		size_t part = len < room ? len : room;
		memcpy(j->line + j->line_n, p, part);
		j->line_n += part;
		p += part;
		n -= part;
		if (part < len) { /* too long for progress */
			log_bytes(j, j->line, j->line_n);
			j->line_n = 0;
			j->line_long = true;
		} else if (end) {
			take_line(j);
			p++;
			n--;
		}
	}
}

/* false: nothing more comes, for now. */
static bool read_output(struct job *j)
{
	char chunk[READ_MAX];
	ssize_t n = j->output >= 0 ? read(j->output, chunk, sizeof(chunk)) : 0;
	if (n < 0 && errno == EINTR)
		return true;
	if (n == 0 && j->output >= 0) {
		close(j->output);
		j->output = -1;
	}
	if (n <= 0)
		return false;
	j->window_n += (size_t)n;
	take_output(j, chunk, (size_t)n);
	return true;
}

/* ---- its life ---- */

static void become_program(struct job *j, int out)
{
	sigset_t none;
	struct rlimit core = { 0, 0 }, files = { JOB_FILES_MAX, JOB_FILES_MAX };
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	pid_t parent = getppid();
	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(127);
	(void)setrlimit(RLIMIT_CORE, &core);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	int null = open("/dev/null", O_RDONLY);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(j->dir) < 0)
		_exit(127);
	(void)close_range(3, ~0u, 0);
	execv(j->argv[0], j->argv);
	(void)!write(2, "cannot be executed: ", 20);
	const char *why = strerror(errno);
	(void)!write(2, why, strlen(why));
	_exit(127);
}

static int start(struct job *j, struct err *err)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0 || fcntl(p[0], F_SETFL, O_NONBLOCK) < 0)
		return err_set(err, HCP_EIO, "", "no pipe: %s", strerror(errno));
	j->pid = fork();
	if (j->pid < 0)
		return err_set(err, HCP_EIO, "", "no process: %s", strerror(errno));
	if (j->pid == 0)
		become_program(j, p[1]);
	(void)setpgid(j->pid, j->pid); /* both do it, so that neither must wait for the other */
	close(p[1]);
	j->output = p[0];
	j->alive = true;
	j->note.pid = j->pid;
	j->note.step = j->step;
	return 0;
}

/* Children of children that left the program's group: as their subreaper we have them all now. */
static void sweep(void)
{
	char path[64], text[4096];
	for (int tries = 0; tries < 200; tries++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = '\0';
		for (char *p = text; *p;) {
			char *end;
			long pid = strtol(p, &end, 10);
			if (end == p)
				break;
			if (pid > 1)
				(void)kill((pid_t)pid, SIGKILL);
			p = end;
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			return;
		(void)poll(NULL, 0, 5);
	}
}

static void watch(struct job *j)
{
	while (j->alive) {
		int64_t now = clock_mono_ns();
		if (now - j->window_ns >= JOB_WINDOW_MS * MS) {
			j->window_ns = now;
			j->window_n = 0;
		}
		bool full = j->window_n >= JOB_OUTPUT_MAX;
		struct pollfd fd[2] = { { .fd = j->signals, .events = POLLIN },
			{ .fd = full ? -1 : j->output, .events = POLLIN } };
		int wait_ms = full ? JOB_WINDOW_MS : j->note_due ? JOB_NOTE_MS : -1;
		(void)poll(fd, 2, wait_ms);
		take_signals(j);
		if (fd[1].revents)
			(void)read_output(j);
		if (j->note_due && clock_mono_ns() - j->noted_ns >= JOB_NOTE_MS * MS)
			send_note(j, JOB_RUNNING);
	}
}

static void tell_end(struct job *j)
{
	char tail[TAIL_MAX + 1], how[48];
	if (!j->why[0] && WIFEXITED(j->status) && WEXITSTATUS(j->status) == 0 && j->ended_done) {
		send_note(j, JOB_DONE);
		return;
	}
	if (j->stopping && !j->why[0]) {
		send_note(j, JOB_STOPPED);
		return;
	}
	tail_text(j, tail);
	if (WIFSIGNALED(j->status))
		snprintf(how, sizeof(how), "signal %d", WTERMSIG(j->status));
	else if (WEXITSTATUS(j->status) == 0)
		snprintf(how, sizeof(how), "exit 0 without saying that it is done");
	else
		snprintf(how, sizeof(how), "exit %d", WEXITSTATUS(j->status));
	snprintf(j->note.error, sizeof(j->note.error), "%.75s%s%s", j->why[0] ? j->why : how, tail[0] ? ": " : "", tail);
	send_note(j, JOB_FAILED);
}

static int open_files(struct job *j, struct err *err)
{
	char path[1024];
	sigset_t set;
	for (int i = 0; i < 2; i++) {
		if (snprintf(path, sizeof(path), "%s.%d", j->log, i) >= (int)sizeof(path))
			return err_set(err, HCP_ERANGE, "log", "the path is too long");
		j->log_fd[i] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (j->log_fd[i] < 0)
			return err_set(err, HCP_EIO, "log", "%s: %s", path, strerror(errno));
	}
	if (mkdir(j->dir, 0700) < 0 && errno != EEXIST)
		return err_set(err, HCP_EIO, "checkpoint", "the folder %s cannot be made: %s", j->dir, strerror(errno));
	if (geteuid() == 0 && lchown(j->dir, NOBODY, NOBODY) < 0)
		return err_set(err, HCP_EIO, "checkpoint", "the folder %s cannot be given away: %s", j->dir, strerror(errno));
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	j->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return j->signals < 0 ? err_set(err, HCP_EIO, "", "no signalfd: %s", strerror(errno)) : 0;
}

static int confine(const struct job *j, struct err *err)
{
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
		return err_set(err, HCP_EPERM, "", "rights cannot be dropped");
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)setpriority(PRIO_PROCESS, 0, 0); /* the agent's is raised */
	/* After the change of user, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGQUIT, 0, 0, 0) < 0)
		return err_set(err, HCP_EIO, "", "the parent cannot be watched");
	if (j->parent > 0 && getppid() != j->parent)
		return err_set(err, HCP_ECANCELED, "parent", "is gone already");
	return 0;
}

static int parse(struct job *j, int argc, char **argv)
{
	static const struct option longs[] = { { "dir", 1, NULL, 'd' }, { "log", 1, NULL, 'l' }, { "parent", 1, NULL, 'p' },
		{ "restore", 1, NULL, 'r' }, { "digest", 1, NULL, 'g' }, { "step", 1, NULL, 's' }, { 0 } };
	int c, rc = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			j->dir = optarg;
			break;
		case 'l':
			j->log = optarg;
			break;
		case 'r':
			j->restore = optarg;
			break;
		case 'g':
			j->digest = optarg;
			break;
		case 'p':
			rc |= num_parse_i64(str_of(optarg), &j->parent);
			break;
		case 's':
			rc |= num_parse_i64(str_of(optarg), &j->step);
			break;
		default:
			return -1;
		}
	}
	j->argv = argv + optind;
	return rc == 0 && j->dir && j->log && optind < argc && (!j->restore || j->digest) ? 0 : -1;
}

int job_main(int argc, char **argv)
{
	struct job j = { .signals = -1, .output = -1 };
	struct err err = { 0 };
	(void)prctl(PR_SET_NAME, "hcp-job");
	if (parse(&j, argc, argv) < 0) {
		fprintf(stderr, "usage: hcp-agent job --dir DIR --log FILE [--restore NAME --digest DIGEST --step N]"
						" [--parent PID] -- PROGRAM [ARG …]\n");
		return 2;
	}
	(void)close_range(3, ~0u, 0);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null >= 0)
		(void)dup2(null, STDERR_FILENO); /* notes only go where notes are read */
	(void)setsid();
	jsonv_setup();
	int rc = open_files(&j, &err);
	if (rc == 0)
		rc = confine(&j, &err);
	if (rc == 0 && j.restore)
		rc = check_restore(&j, &err);
	if (rc == 0 && !j.stopping)
		rc = start(&j, &err);
	if (rc < 0) {
		char why[PROGRAM_ERROR_MAX];
		snprintf(why, sizeof(why), "%.40s%s%.180s", err.field, err.field[0] ? " " : "", err.text);
		return fail(&j, why);
	}
	if (j.alive)
		send_note(&j, JOB_STARTED);
	watch(&j);
	if (j.pid > 0)
		(void)kill(-j.pid, SIGKILL); /* what it left behind */
	sweep();
	for (size_t had = 0; had < JOB_OUTPUT_MAX && read_output(&j); had += READ_MAX)
		;
	if (j.line_n)
		take_line(&j);
	tell_end(&j);
	return 0;
}
