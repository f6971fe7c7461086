#include "agent/slot.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/http_client.h"
#include "loop/loop.h"
#include "os/file.h"

enum { DIR_MAX = 512, SOCKET_MAX = 128, ERROR_MAX = 280 };

/* One version's runtime. */
struct side {
	struct slot *slot;
	struct side *older;    /* of those that are drained */
	struct keeper *keeper; /* owned */
	char version[SLOT_VERSION_MAX], dir[DIR_MAX], socket[SOCKET_MAX];
};

struct slot {
	struct slot_conf conf;
	struct side *now, *next, *old; /* owned; old: a list of those that end what they have */
	unsigned made;                 /* sides so far: no two sockets have one name */
	uint64_t order;                /* of next */
	char digest[MODEL_DIGEST_MAX]; /* that next must have; "": any */
	char error[ERROR_MAX]; /* why next failed; told by the timer, since keepers must not end in their own callback */
	struct keeper_call *proof;     /* of next, under way */
	struct loop_timer deadline, drain, failed;
};

static int version_dir(const char *model_dir, const char *version, char ret[DIR_MAX])
{
	bool base = strcmp(version, SLOT_BASE) == 0;
	int n = base ? snprintf(ret, DIR_MAX, "%s", model_dir) :
		snprintf(ret, DIR_MAX, "%s/versions/%s", model_dir, version);
	return n < DIR_MAX ? 0 : HCP_ERANGE;
}

static bool is_model(const char *dir)
{
	char path[DIR_MAX];
	return file_join(path, sizeof(path), dir, "config.json") == 0 && file_exists(path);
}

/* ---- what is remembered ---- */

static int memory_path(const struct slot *s, char ret[DIR_MAX])
{
	return file_join(ret, DIR_MAX, s->conf.state_dir, "model-version");
}

static int remember(const struct slot *s, const char *version, struct err *err)
{
	char path[DIR_MAX];
	if (memory_path(s, path) < 0)
		return err_set(err, HCP_ERANGE, "state", "the path is too long");
	return file_write_atomic(path, str_of(version), 0600, err);
}

static void recall(const struct slot *s, char ret[SLOT_VERSION_MAX])
{
	char path[DIR_MAX], dir[DIR_MAX];
	struct buf b;
	memcpy(ret, SLOT_BASE, sizeof(SLOT_BASE));
	if (memory_path(s, path) < 0 || file_read(path, SLOT_VERSION_MAX, &b, NULL) < 0)
		return;
	if (str_copy(ret, SLOT_VERSION_MAX, str_trim(buf_str(&b))) < 0 || !id_is_name(ret) ||
	    version_dir(s->conf.model_dir, ret, dir) < 0 || !is_model(dir)) {
		log_warn("runtime", "the model's version that was served is not in %s any more", s->conf.model_dir);
		memcpy(ret, SLOT_BASE, sizeof(SLOT_BASE));
	}
	buf_release(&b);
}

/* ---- sides ---- */

static void on_next(struct slot *s, enum keeper_state st);

static void on_state(void *arg, enum keeper_state st)
{
	struct side *d = arg;
	struct slot *s = d->slot;
	if (d == s->next)
		on_next(s, st);
	else if (d == s->now && s->conf.on_state)
		s->conf.on_state(s->conf.arg, st);
}

static void side_free(struct side *d)
{
	if (d)
		keeper_free(d->keeper);
	mem_free(d);
}

static int side_new(struct slot *s, const char *version, struct side **ret, struct err *err)
{
	struct side *d = mem_calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, HCP_ENOMEM, "", "no memory for a version of the model");
	d->slot = s;
	snprintf(d->version, sizeof(d->version), "%s", version);
	int n = snprintf(d->socket, sizeof(d->socket), "%s/runtime-%u.sock", s->conf.state_dir, s->made++);
	int rc = n >= SOCKET_MAX || version_dir(s->conf.model_dir, version, d->dir) < 0 ?
		err_set(err, HCP_ERANGE, "state", "the path is too long") : 0;
	struct keeper_conf kc = { .loop = s->conf.loop, .program = s->conf.program, .model_dir = d->dir,
		.name = s->conf.model, .socket = d->socket, .on_state = on_state, .arg = d };
	if (rc == 0)
		rc = keeper_new(&kc, &d->keeper, err);
	if (rc < 0) {
		mem_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

/* ---- a change ---- */

static void drop_next(struct slot *s)
{
	loop_timer_stop(&s->deadline);
	loop_timer_stop(&s->failed);
	if (s->proof)
		keeper_cancel(s->proof);
	s->proof = NULL;
	s->error[0] = '\0';
	side_free(s->next);
	s->next = NULL;
}

static void on_failed(struct loop *loop, void *arg)
{
	struct slot *s = arg;
	char version[SLOT_VERSION_MAX], error[ERROR_MAX];
	memcpy(version, s->next->version, sizeof(version));
	memcpy(error, s->error, sizeof(error));
	drop_next(s);
	log_warn("runtime", "version %s does not take over: %s", version, error);
	if (s->conf.on_change)
		s->conf.on_change(s->conf.arg, s->order, version, error);
}

static void fail(struct slot *s, const char *why)
{
	if (!s->error[0])
		snprintf(s->error, sizeof(s->error), "%s", why);
	loop_timer_start(&s->failed, 0);
}

static void on_deadline(struct loop *loop, void *arg)
{
	fail(arg, "it did not answer a request before the deadline");
}

static void on_drain(struct loop *loop, void *arg)
{
	struct slot *s = arg;
	struct keeper_stats st;
	for (struct side **at = &s->old; *at;) {
		struct side *d = *at;
		keeper_stats(d->keeper, &st);
		if (st.calls) { /* they end at their own deadlines at the latest */
			at = &d->older;
			continue;
		}
		*at = d->older;
		side_free(d);
	}
	if (s->old)
		loop_timer_start(&s->drain, SLOT_DRAIN_MS);
}

static void take_over(struct slot *s)
{
	struct err err = { 0 };
	struct side *next = s->next;
	struct keeper_stats before;
	if (remember(s, next->version, &err) < 0) {
		fail(s, err.text);
		return;
	}
	loop_timer_stop(&s->deadline);
	keeper_stats(s->now->keeper, &before);
	s->now->older = s->old;
	s->old = s->now;
	s->now = next;
	s->next = NULL;
	loop_timer_start(&s->drain, SLOT_DRAIN_MS);
	log_info("runtime", "version %s serves, version %s ends", s->now->version, s->old->version);
	if (before.want_sleep)
		keeper_sleep(s->now->keeper);
	if (s->conf.on_state)
		s->conf.on_state(s->conf.arg, keeper_state(s->now->keeper));
	if (s->conf.on_change)
		s->conf.on_change(s->conf.arg, s->order, s->now->version, "");
}

static void on_proof(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct slot *s = arg;
	char why[ERROR_MAX];
	s->proof = NULL;
	if (code == 0 && r->status == 200) {
		take_over(s);
		return;
	}
	if (code < 0)
		snprintf(why, sizeof(why), "its first request failed: %.200s", err->text);
	else
		snprintf(why, sizeof(why), "its first request was answered with status %d", r->status);
	fail(s, why);
}

static void prove(struct slot *s)
{
	struct keeper_stats st;
	struct err err = { 0 };
	struct buf body;
	char why[ERROR_MAX];
	keeper_stats(s->next->keeper, &st);
	if (s->digest[0] && strcmp(s->digest, st.digest) != 0) {
		snprintf(why, sizeof(why), "digest: its files are %.79s, not %.79s", st.digest, s->digest);
		fail(s, why);
		return;
	}
	buf_init(&body, 0);
	buf_addz(&body, "{\"model\":");
	buf_add_json(&body, str_of(s->conf.model));
	buf_addz(&body, ",\"input\":\"proof\"}");
	if (keeper_embed(s->next->keeper, buf_str(&body), on_proof, s, &s->proof, &err) < 0)
		fail(s, err.text);
	buf_release(&body);
}

static void on_next(struct slot *s, enum keeper_state st)
{
	if (st == KEEPER_READY && !s->proof) {
		prove(s);
	} else if (st == KEEPER_DOWN) {
		struct keeper_stats stats;
		char why[ERROR_MAX];
		keeper_stats(s->next->keeper, &stats);
		snprintf(why, sizeof(why), "its runtime ended: %.159s", stats.last_exit);
		fail(s, why);
	}
}

void slot_change(struct slot *s, uint64_t order, const char *version, const char *digest, uint32_t deadline_ms)
{
	struct err err = { 0 };
	char dir[DIR_MAX], why[ERROR_MAX] = "";
	struct keeper_stats st;
	keeper_stats(s->now->keeper, &st);
	if (s->next)
		drop_next(s);
	s->order = order;
	if (strcmp(version, s->now->version) == 0) {
		if (digest[0] && st.digest[0] && strcmp(digest, st.digest) != 0)
			snprintf(why, sizeof(why), "digest: the files that serve are %.79s, not %.79s", st.digest, digest);
	} else if (!id_is_name(version) || version_dir(s->conf.model_dir, version, dir) < 0 || !is_model(dir)) {
		snprintf(why, sizeof(why), "this node does not hold version %.64s", version);
	} else if (str_copy(s->digest, sizeof(s->digest), str_of(digest)) < 0) {
		snprintf(why, sizeof(why), "digest: is longer than a digest");
	} else if (side_new(s, version, &s->next, &err) < 0) {
		snprintf(why, sizeof(why), "%s", err.text);
	} else {
		log_info("runtime", "version %s is started beside version %s", version, s->now->version);
		loop_timer_start(&s->deadline, deadline_ms);
		return;
	}
	if (s->conf.on_change)
		s->conf.on_change(s->conf.arg, order, version, why);
}

/* ---- the slot ---- */

static int remove_socket(void *arg, const char *name)
{
	const struct slot *s = arg;
	char path[DIR_MAX];
	if (strncmp(name, "runtime-", 8) == 0 && file_join(path, sizeof(path), s->conf.state_dir, name) == 0)
		(void)file_remove(path, NULL);
	return 0;
}

int slot_new(const struct slot_conf *conf, struct slot **ret, struct err *err)
{
	struct slot *s = mem_calloc(1, sizeof(*s));
	char version[SLOT_VERSION_MAX];
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for the model");
	s->conf = *conf;
	loop_timer_init(&s->deadline, conf->loop, on_deadline, s);
	loop_timer_init(&s->drain, conf->loop, on_drain, s);
	loop_timer_init(&s->failed, conf->loop, on_failed, s);
	recall(s, version);
	(void)file_list(conf->state_dir, ".sock", remove_socket, s, NULL); /* of an agent that was killed */
	int rc = side_new(s, version, &s->now, err);
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void slot_free(struct slot *s)
{
	if (!s)
		return;
	if (s->next)
		drop_next(s);
	loop_timer_stop(&s->drain);
	while (s->old) {
		struct side *d = s->old;
		s->old = d->older;
		side_free(d);
	}
	side_free(s->now);
	mem_free(s);
}

struct keeper *slot_keeper(const struct slot *s)
{
	return s->now->keeper;
}

const char *slot_version(const struct slot *s)
{
	return s->now->version;
}

bool slot_changing(const struct slot *s)
{
	return s->next != NULL;
}

struct held {
	const char *model_dir;
	char (*names)[SLOT_VERSION_MAX];
	size_t n;
};

static int add_held(void *arg, const char *name)
{
	struct held *h = arg;
	char dir[DIR_MAX];
	if (h->n == SLOT_HELD_MAX)
		return 1;
	if (id_is_name(name) && version_dir(h->model_dir, name, dir) == 0 && is_model(dir))
		snprintf(h->names[h->n++], SLOT_VERSION_MAX, "%s", name);
	return 0;
}

size_t slot_held(const struct slot *s, char (*ret)[SLOT_VERSION_MAX])
{
	struct held h = { .model_dir = s->conf.model_dir, .names = ret };
	char dir[DIR_MAX];
	if (is_model(s->conf.model_dir))
		(void)add_held(&h, SLOT_BASE);
	if (file_join(dir, sizeof(dir), s->conf.model_dir, "versions") == 0)
		(void)file_list(dir, "", add_held, &h, NULL);
	return h.n;
}
