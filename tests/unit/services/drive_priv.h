#ifndef HCP_TESTS_SERVICES_DRIVE_PRIV_H
#define HCP_TESTS_SERVICES_DRIVE_PRIV_H

/* One service under test on a bus in memory: requests with answers, foreign events, restarts, replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "svc/svc.h"

#define DRIVE_START_NS (INT64_C(1790000000) * NS_PER_S)

struct drive {
	const struct svc_def *def;
	const void *conf;
	struct bus *bus;
	struct svc *svc;
	char path[64]; /* of the database file */
	int64_t now_ns;
	uint64_t seq[SVC_COUNT];
	struct msg *reply; /* newest answer, owned */
	int (*before_commit)(void *arg); /* fault injection, from the next open on */
	void *commit_arg;
};

static inline void drive_open(struct drive *d)
{
	struct err err = { 0 };
	struct svc_conf conf = { .db_path = d->path, .bus = d->bus, .seed = 7, .conf = d->conf, .now_ns = d->now_ns,
				 .before_commit = d->before_commit, .commit_arg = d->commit_arg };
	int rc = svc_open(d->def, &conf, &d->svc, &err);
	if (rc < 0)
		print_error("open: %s %s\n", err.field, err.text);
	assert_int_equal(rc, 0);
}

static inline void drive_init(struct drive *d, const struct svc_def *def, const void *conf)
{
	struct err err = { 0 };
	memset(d, 0, sizeof(*d));
	d->def = def;
	d->conf = conf;
	d->now_ns = DRIVE_START_NS;
	snprintf(d->path, sizeof(d->path), "/tmp/hcp-drive-XXXXXX");
	int fd = mkstemp(d->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &d->bus, &err), 0);
	drive_open(d);
}

static inline void drive_restart(struct drive *d)
{
	svc_close(d->svc);
	drive_open(d);
}

static inline void drive_release(struct drive *d)
{
	static const char *const tail[] = { "", "-wal", "-shm" };
	msg_free(d->reply);
	svc_close(d->svc);
	bus_close(d->bus);
	for (int i = 0; i < 3; i++) {
		char p[80];
		snprintf(p, sizeof(p), "%s%s", d->path, tail[i]);
		unlink(p);
	}
}

static inline void drive_keep_reply(void *arg, struct msg *reply)
{
	struct drive *d = arg;
	msg_free(d->reply);
	d->reply = reply;
}

/* Steps until there is nothing more to do at this time. */
static inline void drive_run(struct drive *d)
{
	int rc, rounds = 0;
	while ((rc = svc_step(d->svc, d->now_ns)) > 0 || (d->before_commit && (rc < 0 || svc_has_input(d->svc)))) {
		d->now_ns += rc <= 0 ? (SVC_RETRY_MS + 1) * NS_PER_MS : 0;
		assert_true(++rounds < 10000);
	}
	assert_int_equal(rc, 0);
}

static inline void drive_pass(struct drive *d, int64_t ns)
{
	d->now_ns += ns;
	drive_run(d);
}

static inline void *drive_call_as(struct drive *d, const Hcp__Principal *who, const ProtobufCMessage *body)
{
	const struct msg_info *info = msg_info_of(body->descriptor);
	struct buf b;
	struct msg *m;
	struct err err = { 0 };
	buf_init(&b, 0);
	assert_int_equal(pb_pack(body, &b), 0);
	assert_int_equal(msg_from_bytes(info->type, buf_str(&b), &m, &err), 0);
	buf_release(&b);
	if (who) {
		Hcp__Principal *p = arena_dup(&m->arena, who, sizeof(*who));
		m->principal = p;
	}
	m->reply_fn = drive_keep_reply;
	m->reply_arg = d;
	msg_free(d->reply);
	d->reply = NULL;
	svc_post(d->svc, m);
	drive_run(d);
	assert_non_null(d->reply);
	return d->reply->body;
}

/*
 * One step in which the nth allocation fails, then as many as it takes without failures. False once n is beyond what a
 * step allocates.
 */
static inline bool drive_run_short_of_memory(struct drive *d, uint64_t n)
{
	mem_fail_after(n, 0);
	(void)svc_step(d->svc, d->now_ns);
	uint64_t hits = mem_fail_hits();
	mem_fail_after(0, 0);
	for (int i = 0; i < 3; i++) {
		d->now_ns += (SVC_RETRY_MS + 1) * NS_PER_MS;
		while (svc_step(d->svc, d->now_ns) > 0)
			;
	}
	drive_run(d);
	return hits > 0;
}

/* The answer's body; a problem fails the test. */
static inline void *drive_call(struct drive *d, const ProtobufCMessage *body)
{
	void *p = drive_call_as(d, NULL, body);
	struct err err = { 0 };
	if (msg_error(d->reply, &err) < 0)
		print_error("refused: %s %s\n", err.field, err.text);
	assert_int_not_equal(d->reply->type, MSG_PROBLEM);
	return p;
}

static inline void drive_refused(struct drive *d, const ProtobufCMessage *body, const char *code, const char *field)
{
	drive_call_as(d, NULL, body);
	assert_int_equal(d->reply->type, MSG_PROBLEM);
	assert_string_equal(((Hcp__Problem *)d->reply->body)->code, code);
	assert_string_equal(((Hcp__Problem *)d->reply->body)->field, field);
}

/* An event of another service with this number, as it comes from the bus. */
static inline void drive_event_seq(struct drive *d, int sender, uint64_t seq, const ProtobufCMessage *body)
{
	const struct msg_info *info = msg_info_of(body->descriptor);
	Hcp__Envelope e = HCP__ENVELOPE__INIT;
	struct buf packed, env;
	struct err err = { 0 };
	buf_init(&packed, 0);
	buf_init(&env, 0);
	assert_int_equal(pb_pack(body, &packed), 0);
	e.type = info->type;
	e.body = (ProtobufCBinaryData){ packed.n, (uint8_t *)packed.data };
	e.sender = svc_table[sender].name;
	e.seq = seq;
	e.at_ns = d->now_ns;
	assert_int_equal(pb_pack(&e.base, &env), 0);
	struct bus_entry entry = { seq, (uint16_t)info->topic, (uint16_t)sender, buf_str(&env) };
	assert_int_equal(bus_append(d->bus, &entry, 1, &err), 0);
	buf_release(&packed);
	buf_release(&env);
}

static inline void drive_event(struct drive *d, int sender, const ProtobufCMessage *body)
{
	drive_event_seq(d, sender, ++d->seq[sender], body);
	drive_run(d);
}

static inline int64_t drive_scalar(struct drive *d, const char *sql)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(svc_database(d->svc), &row, &err, sql, ""), 1);
	int64_t v = db_i64(row, 0);
	db_done(row);
	return v;
}

/* Events of this type that the service has published so far; the newest is handed out (free it) if ret is given. */
static inline int drive_published(struct drive *d, unsigned type, struct msg **ret)
{
	struct bus_rec *rec[64];
	struct err err = { 0 };
	uint64_t from = bus_begin(d->bus), next, last_seq = 0;
	int n = 0, got;
	while ((got = bus_read(d->bus, from, ~UINT64_C(0), 64, rec, &next, &err)) > 0) {
		for (int i = 0; i < got; i++) {
			struct msg *m;
			/* A service that opens again repeats what the bus may have lost; consumers drop that, and so do we. */
			if (rec[i]->sender == d->def->id && rec[i]->seq > last_seq && msg_unpack(rec[i]->payload, &m, &err) == 0) {
				if (m->type == type && ret) {
					if (n)
						msg_free(*ret);
					*ret = m;
				}
				n += m->type == type;
				last_seq = rec[i]->seq;
				if (m->type != type || !ret)
					msg_free(m);
			}
			bus_rec_unref(rec[i]);
		}
		from = next;
	}
	return n;
}

/* Replays the whole journal into an empty service: its events must be the same, bit for bit. */
static inline void drive_replay(struct drive *d)
{
	struct arena a;
	struct err err = { 0 };
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	arena_init(&a, 4096, 0);
	assert_int_equal(svc_replay(&(struct svc_replay){ .def = d->def, .conf = d->conf, .journal = svc_database(d->svc) },
						 &report, &a, &err),
		0);
	if (!report.identical)
		print_error("replay differs at %lld: %s\n", (long long)report.first_difference, report.detail);
	assert_true(report.identical);
	assert_true(report.batches > 0);
	arena_release(&a);
}

#endif
