#include "cmd/cli/up_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void shift_logs(const char *path)
{
	char from[4096], to[4096];
	for (int i = CHILD_LOGS_KEPT; i > 0; i--) {
		snprintf(to, sizeof(to), "%s.%d", path, i);
		if (i > 1)
			snprintf(from, sizeof(from), "%s.%d", path, i - 1);
		else
			snprintf(from, sizeof(from), "%s", path);
		rename(from, to); /* the first runs have none */
	}
}

int child_open_log(struct child *c, struct err *err)
{
	shift_logs(c->log_path);
	c->log_fd = open(c->log_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (c->log_fd < 0)
		return err_set(err, HCP_EIO, c->log_path, "cannot open %.120s: %s", c->log_path, strerror(errno));
	return 0;
}

/* Between fork and exec: only what is safe there. */
static _Noreturn void become(const struct child *c, pid_t parent)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);
	setpgid(0, 0);
	/* When the supervisor is killed hard nobody is left to follow up a SIGTERM, so this must be final. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	dup2(c->log_fd, STDOUT_FILENO);
	dup2(c->log_fd, STDERR_FILENO);
	execv(c->argv[0], (char *const *)c->argv);
	dprintf(STDERR_FILENO, "cannot execute %s: %s\n", c->argv[0], strerror(errno));
	_exit(127);
}

int child_start(struct child *c, int64_t now_ms, struct err *err)
{
	pid_t parent = getpid(), pid = fork();
	if (pid < 0)
		return err_set(err, HCP_EIO, c->name, "cannot start %s: %s", c->name, strerror(errno));
	if (pid == 0)
		become(c, parent);
	setpgid(pid, pid); /* in both, so that neither order matters */
	c->pid = pid;
	c->started_ms = now_ms;
	c->restart_at_ms = 0;
	return 0;
}

bool child_reap(struct child *c, int64_t now_ms, char *how, size_t cap)
{
	siginfo_t info = { 0 };
	int status = 0;
	if (c->pid == 0 || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
		return false;
	/* Still a zombie, so its number cannot have been given to another group yet. */
	kill(-c->pid, SIGKILL);
	waitpid(c->pid, &status, 0);
	c->pid = 0;
	if (WIFSIGNALED(status))
		snprintf(how, cap, "signal %d", WTERMSIG(status));
	else
		snprintf(how, cap, "exit status %d", WEXITSTATUS(status));
	bool steady = now_ms - c->started_ms >= CHILD_STEADY_MS;
	c->backoff_ms = steady || !c->backoff_ms ? CHILD_BACKOFF_MIN_MS : c->backoff_ms * 2;
	if (c->backoff_ms > CHILD_BACKOFF_MAX_MS)
		c->backoff_ms = CHILD_BACKOFF_MAX_MS;
	c->restart_at_ms = now_ms + c->backoff_ms;
	return true;
}

void child_signal(const struct child *c, int sig)
{
	if (c->pid)
		kill(-c->pid, sig);
}

void child_trim_log(struct child *c)
{
	struct stat st;
	char kept[4096];
	if (c->log_fd < 0 || fstat(c->log_fd, &st) < 0 || st.st_size < CHILD_LOG_MAX)
		return;
	snprintf(kept, sizeof(kept), "%s.1", c->log_path);
	int fd = open(kept, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	off_t at = 0;
	while (at < st.st_size && copy_file_range(c->log_fd, &at, fd, NULL, (size_t)(st.st_size - at), 0) > 0)
		;
	close(fd);
	/* What was written meanwhile is lost; that is better than a full disk. */
	if (ftruncate(c->log_fd, 0) < 0)
		return;
}

void child_release(struct child *c)
{
	if (c->log_fd >= 0)
		close(c->log_fd);
	c->log_fd = -1;
}
