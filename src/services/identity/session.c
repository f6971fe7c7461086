/*
 * Refresh tokens. A session is a chain of them, of which only the newest is good; the digests of the spent ones are
 * kept so that a second use shows: then somebody else has a copy, and the whole session ends (RFC 9700, 4.14.2).
 *
 *   session  id, user, until, turn ──┐
 *   refresh  sha256 → session, turn ─┴─ good if the turns are equal, else spent
 */
#include "base/log.h"
#include "base/money.h"
#include "services/identity/identity_priv.h"

enum { REFRESH_SHA256 = 32 };

struct session_row {
	char id[ID_TEXT_MAX], user_id[ID_TEXT_MAX];
	int64_t until_ns, turn;
	int64_t sent_turn; /* of the token in hand */
};

static int check_digest(ProtobufCBinaryData d, const char *field, struct err *err)
{
	return d.len == REFRESH_SHA256 ? 0 : err_set(err, HCP_EINVAL, field, "is set by the gateway, 32 bytes");
}

static struct str bytes_of(ProtobufCBinaryData b)
{
	return (struct str){ (const char *)b.data, b.len };
}

static int session_drop(struct db *db, const char *id, struct err *err)
{
	int rc = db_run(db, err, "DELETE FROM refresh WHERE session_id=$1", "z", id);
	return rc < 0 ? rc : db_run(db, err, "DELETE FROM session WHERE id=$1", "z", id);
}

/* HCP_ENOTFOUND: no such token, or so old that it is forgotten. */
static int session_find(struct db *db, ProtobufCBinaryData sha256, struct session_row *ret, struct err *err)
{
	struct db_row *row = NULL;
	struct session_row s;
	int rc = db_query(db, &row, err,
		"SELECT s.id,s.user_id,s.until_ns,s.turn,r.turn FROM refresh r JOIN session s ON s.id=r.session_id"
		" WHERE r.sha256=$1",
		"b", bytes_of(sha256));
	if (rc <= 0)
		return rc < 0 ? rc : HCP_ENOTFOUND;
	rc = str_copy(s.id, sizeof(s.id), db_text(row, 0));
	if (rc == 0)
		rc = str_copy(s.user_id, sizeof(s.user_id), db_text(row, 1));
	s.until_ns = db_i64(row, 2);
	s.turn = db_i64(row, 3);
	s.sent_turn = db_i64(row, 4);
	db_done(row);
	if (rc < 0)
		return err_set(err, HCP_ECORRUPT, "session", "a stored session does not fit");
	*ret = s;
	return 0;
}

/* Whoever draws a token twice is refused before anything is changed. */
static int check_new(struct db *db, ProtobufCBinaryData sha256, const char *field, struct err *err)
{
	struct session_row s;
	int rc = check_digest(sha256, field, err);
	if (rc < 0)
		return rc;
	rc = session_find(db, sha256, &s, err);
	if (rc == 0)
		return err_set(err, HCP_EEXIST, field, "there is such a token already");
	return rc == HCP_ENOTFOUND ? 0 : rc;
}

/* Ends sessions of the user that are over, and the ones idle longest until one more has room. */
static int make_room(struct db *db, const char *user, int64_t now_ns, struct err *err)
{
	for (;;) {
		struct db_row *row = NULL;
		char id[ID_TEXT_MAX];
		int rc = db_query(db, &row, err,
			"SELECT id,until_ns,(SELECT count(*) FROM session WHERE user_id=$1) FROM session"
			" WHERE user_id=$1 ORDER BY until_ns, id LIMIT 1",
			"z", user);
		if (rc <= 0)
			return rc;
		bool keep = db_i64(row, 1) > now_ns && db_i64(row, 2) < IDENTITY_SESSIONS_MAX;
		rc = str_copy(id, sizeof(id), db_text(row, 0));
		db_done(row);
		if (keep)
			return 0;
		rc =
			rc < 0 ? err_set(err, HCP_ECORRUPT, "session", "a stored session does not fit") : session_drop(db, id, err);
		if (rc < 0)
			return rc;
	}
}

static int add_token(struct db *db, ProtobufCBinaryData sha256, const char *session, int64_t turn, struct err *err)
{
	return db_run(db, err, "INSERT INTO refresh(sha256,session_id,turn) VALUES($1,$2,$3)", "bzi", bytes_of(sha256),
		session, turn);
}

/* The answer: a bearer token for the user as the tables have him now. */
static int answer(struct identity *id, struct svc_ctx *ctx, const struct identity_user *u, struct err *err)
{
	Hcp__Session *s = svc_reply(ctx, MSG_SESSION);
	if (!s)
		return HCP_ENOMEM;
	s->refresh_expires_in = IDENTITY_REFRESH_S;
	return session_fill(id, ctx, u, s, err);
}

int on_session_open(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__SessionOpen *o = (const Hcp__SessionOpen *)m->body;
	struct db *db = svc_db(ctx);
	struct identity_user u;
	char id[ID_TEXT_MAX];
	if (!m->principal || !m->principal->user_id[0])
		return err_set(err, HCP_EPERM, "authorization", "sessions belong to people; log in as a user");
	int rc = check_new(db, o->sha256, "sha256", err);
	if (rc == 0)
		rc = user_by_id(db, m->principal->user_id, &u, err);
	if (rc == 0)
		rc = make_room(db, u.id, svc_now_ns(ctx), err);
	if (rc < 0)
		return rc;
	svc_new_id(ctx, id, ID_SESSION);
	rc = db_run(db, err, "INSERT INTO session(id,user_id,opened_ns,until_ns,turn) VALUES($1,$2,$3,$4,1)", "zzii", id,
		u.id, svc_now_ns(ctx), svc_now_ns(ctx) + IDENTITY_REFRESH_S * NS_PER_S);
	if (rc == 0)
		rc = add_token(db, o->sha256, id, 1, err);
	return rc < 0 ? rc : answer(state, ctx, &u, err);
}

/* Not a refusal, which would change nothing: the end of the session must be committed. */
static int spent(struct svc_ctx *ctx, const struct session_row *s, struct err *err)
{
	int rc = session_drop(svc_db(ctx), s->id, err);
	Hcp__Problem *p = rc == 0 ? svc_reply(ctx, MSG_PROBLEM) : NULL;
	if (!p)
		return rc < 0 ? rc : HCP_ENOMEM;
	log_warn("identity", "a spent refresh token of user %s was used again: session %s ends", s->user_id, s->id);
	p->code = err_name(HCP_EAUTH);
	p->field = "refresh_token";
	p->detail = "this refresh token was used before; its session has ended, log in again";
	return 0;
}

static int turn_over(
	struct db *db, const struct session_row *s, ProtobufCBinaryData next, int64_t now_ns, struct err *err)
{
	int rc = db_run(db, err, "UPDATE session SET turn=$2,until_ns=$3 WHERE id=$1", "zii", s->id, s->turn + 1,
		now_ns + IDENTITY_REFRESH_S * NS_PER_S);
	if (rc == 0)
		rc = add_token(db, next, s->id, s->turn + 1, err);
	if (rc == 0)
		rc = db_run(db, err, "DELETE FROM refresh WHERE session_id=$1 AND turn<=$2", "zi", s->id,
			s->turn - IDENTITY_TURNS_KEPT);
	return rc;
}

int on_session_refresh(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__SessionRefresh *r = (const Hcp__SessionRefresh *)m->body;
	struct session_row s;
	struct identity_user u;
	int rc = check_digest(r->sha256, "sha256", err);
	if (rc == 0)
		rc = check_new(svc_db(ctx), r->next_sha256, "next_sha256", err);
	if (rc == 0 && r->refresh_token[0])
		rc = err_set(err, HCP_EINVAL, "refresh_token", "only its digest may come here");
	if (rc < 0)
		return rc;
	rc = session_find(svc_db(ctx), r->sha256, &s, err);
	if (rc == HCP_ENOTFOUND || (rc == 0 && s.until_ns <= svc_now_ns(ctx)))
		return err_set(err, HCP_EAUTH, "refresh_token", "the session has ended; log in again");
	if (rc < 0)
		return rc;
	if (s.sent_turn != s.turn)
		return spent(ctx, &s, err);
	rc = user_by_id(svc_db(ctx), s.user_id, &u, err);
	if (rc == HCP_ENOTFOUND)
		return err_set(err, HCP_EAUTH, "refresh_token", "the user of this session is gone");
	if (rc == 0)
		rc = turn_over(svc_db(ctx), &s, r->next_sha256, svc_now_ns(ctx), err);
	return rc < 0 ? rc : answer(state, ctx, &u, err);
}

/* Who holds any token of a session may end it; whether there was one is not told. */
int on_session_end(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__SessionEnd *e = (const Hcp__SessionEnd *)m->body;
	struct session_row s;
	int rc = check_digest(e->sha256, "sha256", err);
	if (rc == 0 && e->refresh_token[0])
		rc = err_set(err, HCP_EINVAL, "refresh_token", "only its digest may come here");
	if (rc == 0)
		rc = session_find(svc_db(ctx), e->sha256, &s, err);
	if (rc == 0)
		rc = session_drop(svc_db(ctx), s.id, err);
	return rc == HCP_ENOTFOUND ? 0 : rc;
}
