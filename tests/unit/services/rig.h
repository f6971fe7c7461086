#ifndef HCP_TESTS_SERVICES_RIG_H
#define HCP_TESTS_SERVICES_RIG_H

/* Drives one service by hand: requests in, answers out, foreign events onto the bus, own events collected. */

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

struct rig {
	const struct svc_def *def;
	const void *conf;
	struct bus *bus;
	struct svc *svc;
	struct msg *reply;      /* the last answer; owned */
	int answers;
	int64_t now_ns;
	uint64_t seq[SVC_COUNT];
	uint64_t read_from;
	char path[64];
};

static inline void rig_open(struct rig *r)
{
	struct err err = { 0 };
	struct svc_conf conf = { .db_path = r->path, .bus = r->bus, .seed = 7, .conf = r->conf, .now_ns = r->now_ns };
	if (svc_open(r->def, &conf, &r->svc, &err) < 0)
		fail_msg("open: %s %s", err.field, err.text);
}

static inline void rig_init(struct rig *r, const struct svc_def *def, const void *conf)
{
	*r = (struct rig){ .def = def, .conf = conf, .now_ns = INT64_C(1700000000000000000), .read_from = 1 };
	snprintf(r->path, sizeof(r->path), "/tmp/hcp-rig-XXXXXX");
	int fd = mkstemp(r->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &r->bus, NULL), 0);
	rig_open(r);
}

static inline void rig_release(struct rig *r)
{
	char side[80];
	svc_close(r->svc);
	bus_close(r->bus);
	msg_free(r->reply);
	unlink(r->path);
	snprintf(side, sizeof(side), "%s-wal", r->path);
	unlink(side);
	snprintf(side, sizeof(side), "%s-shm", r->path);
	unlink(side);
}

static inline void rig_restart(struct rig *r)
{
	svc_close(r->svc);
	rig_open(r);
}

/* Restarts on the tables as a version before left them: sql undoes its last steps. */
static inline void rig_restart_steps_before(struct rig *r, int steps, const char *sql)
{
	struct err err = { 0 };
	struct db *db;
	char version[64];
	int n = 0;
	while (r->def->schema[n])
		n++;
	snprintf(version, sizeof(version), "PRAGMA user_version=%d", n + 1 - steps); /* the journal's own is the first */
	svc_close(r->svc);
	assert_int_equal(db_open(&(struct db_conf){ .path = r->path }, &db, &err), 0);
	if (db_script(db, sql, &err) < 0 || db_script(db, version, &err) < 0)
		fail_msg("%s", err.text);
	db_close(db);
	rig_open(r);
}

static inline void rig_restart_before(struct rig *r, const char *sql)
{
	rig_restart_steps_before(r, 1, sql);
}

static inline void rig_reply(void *arg, struct msg *reply)
{
	struct rig *r = arg;
	msg_free(r->reply);
	r->reply = reply;
	r->answers++;
}

/* Steps until nothing is left to do, a millisecond each. */
static inline void rig_run(struct rig *r)
{
	for (int i = 0; i < 1000; i++) {
		r->now_ns += NS_PER_MS;
		int n = svc_step(r->svc, r->now_ns);
		assert_true(n >= 0);
		if (n == 0 && !svc_has_input(r->svc) && svc_next_wake(r->svc) > r->now_ns)
			return;
	}
	fail_msg("the service never comes to rest");
}

static inline void rig_pass(struct rig *r, int64_t ns)
{
	int64_t until = r->now_ns + ns;
	while (r->now_ns < until) {
		int64_t next = svc_next_wake(r->svc);
		r->now_ns = next > r->now_ns && next < until ? next : until;
		rig_run(r);
	}
}

/* Posts a request with a body to fill in first: rig_ask(&r, m) answers with r.reply. */
static inline struct msg *rig_post(struct rig *r, struct msg *m)
{
	m->reply_fn = rig_reply;
	m->reply_arg = r;
	svc_post(r->svc, m);
	rig_run(r);
	return r->reply;
}

static inline void rig_expect_problem(const struct rig *r, const char *code, const char *field)
{
	assert_int_equal(r->reply->type, MSG_PROBLEM);
	const Hcp__Problem *p = (const Hcp__Problem *)r->reply->body;
	assert_string_equal(p->code, code);
	assert_string_equal(p->field, field);
	assert_true(p->detail[0] != '\0');
}

/* An event of another service. seq 0 takes the next. */
static inline void rig_event_seq(struct rig *r, int sender, const ProtobufCMessage *body, uint64_t seq)
{
	const struct msg_info *info = msg_info_of(body->descriptor);
	struct buf packed, envelope;
	struct msg *m;
	buf_init(&packed, 0);
	buf_init(&envelope, 0);
	assert_int_equal(pb_pack(body, &packed), 0);
	assert_int_equal(msg_from_bytes(info->type, buf_str(&packed), &m, NULL), 0);
	m->sender = sender;
	m->seq = seq ? seq : ++r->seq[sender];
	m->at_ns = r->now_ns;
	assert_int_equal(msg_pack(m, &envelope), 0);
	struct bus_entry e = { m->seq, (uint16_t)info->topic, (uint16_t)sender, buf_str(&envelope) };
	assert_int_equal(bus_append(r->bus, &e, 1, NULL), 0);
	msg_free(m);
	buf_release(&packed);
	buf_release(&envelope);
}

static inline void rig_event(struct rig *r, int sender, const ProtobufCMessage *body)
{
	rig_event_seq(r, sender, body, 0);
	rig_run(r);
}

/*
 * The service's own events since the last call, of one type (others are passed over): the last one is returned
 * (caller: msg_free), *n counts them.
 */
static inline struct msg *rig_published(struct rig *r, unsigned type, int *n)
{
	struct bus_rec *rec[256];
	struct msg *last = NULL;
	uint64_t from = r->read_from;
	int got;
	*n = 0;
	while ((got = bus_read(r->bus, from, UINT64_MAX, 256, rec, &from, NULL)) > 0)
		for (int i = 0; i < got; i++) {
			struct msg *m;
			if (rec[i]->sender == r->def->id && msg_unpack(rec[i]->payload, &m, NULL) == 0) {
				if (m->type == type) {
					msg_free(last);
					last = m;
					++*n;
				} else {
					msg_free(m);
				}
			}
			bus_rec_unref(rec[i]);
		}
	return last;
}

/* All events of the service so far are packed as wire/pb packs them. Returns how many. */
static inline int rig_expect_packed(struct rig *r)
{
	struct bus_rec *rec[256];
	uint64_t from = 1;
	int got, n = 0;
	while ((got = bus_read(r->bus, from, UINT64_MAX, 256, rec, &from, NULL)) > 0)
		for (int i = 0; i < got; i++) {
			struct msg *m;
			struct str body;
			struct buf again;
			buf_init(&again, 0);
			assert_int_equal(msg_unpack(rec[i]->payload, &m, NULL), 0);
			assert_int_equal(pb_find_bytes(rec[i]->payload, 2, &body), 0);
			assert_int_equal(pb_pack(m->body, &again), 0);
			assert_true(str_eq(buf_str(&again), body));
			n += rec[i]->sender == r->def->id;
			buf_release(&again);
			msg_free(m);
			bus_rec_unref(rec[i]);
		}
	return n;
}

static inline void rig_forget(struct rig *r)
{
	r->read_from = bus_end(r->bus);
}

static inline void rig_expect_replay(struct rig *r)
{
	struct err err = { 0 };
	struct arena a;
	arena_init(&a, 1024, 0);
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	if (svc_replay(&(struct svc_replay){ .def = r->def, .conf = r->conf, .journal = svc_database(r->svc) }, &report, &a,
			&err) < 0)
		fail_msg("replay: %s %s", err.field, err.text);
	if (!report.identical)
		fail_msg("replay differs at batch %d: %s", (int)report.first_difference, report.detail);
	assert_true(report.batches > 0);
	arena_release(&a);
}

#endif
