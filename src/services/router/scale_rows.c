/* The ledger of rented nodes: a row each, from the decision to the provider's word that it is gone, and beyond. */
#include "base/money.h"
#include "services/router/scale.h"

int scale_rows_save(const struct router_scale *x, struct svc_ctx *ctx, const struct scale_node *n, struct err *err)
{
	const struct scale_type *t = &x->scale.conf.type[n->type];
	const struct router_place *p = &x->place[n->type];
	if (n->state == SCALE_FREE && !n->started_ns) /* never cost anything */
		return db_run(svc_db(ctx), err, "DELETE FROM rental WHERE token=$1", "z", n->token);
	int rc = db_run(svc_db(ctx), err,
		"INSERT INTO rental(token,type,slot,device_class,devices,facility,region,state,asked_ns,started_ns,up_ns,"
		"stopping_ns,ended_ns,price,attempt,reason) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)"
		" ON CONFLICT(token) DO UPDATE SET state=excluded.state, started_ns=excluded.started_ns, up_ns=excluded.up_ns,"
		" stopping_ns=excluded.stopping_ns, ended_ns=excluded.ended_ns, price=excluded.price, attempt=excluded.attempt,"
		" reason=excluded.reason",
		"zzizizziiiiiiiiz", n->token, t->name, (int64_t)n->slot, p->device_class, (int64_t)t->devices, p->facility,
		p->region, (int64_t)n->state, n->asked_ns, n->started_ns, n->up_ns, n->stopping_ns, n->ended_ns,
		n->price_micros_h, (int64_t)n->attempt, n->reason);
	if (rc == 0 && n->state == SCALE_FREE)
		rc = db_run(svc_db(ctx), err, "DELETE FROM rental WHERE ended_ns>0 AND ended_ns<$1", "i",
			svc_now_ns(ctx) - (int64_t)ROUTER_SCALE_KEEP_DAYS * 86400 * NS_PER_S);
	return rc;
}

static size_t type_of(const struct scale_conf *c, struct str name)
{
	size_t t = 0;
	while (t < c->n_types && !str_eqz(name, c->type[t].name))
		t++;
	return t;
}

static int retire(struct scale_conf *c, struct router_place *place, struct db_row *row, struct err *err)
{
	struct scale_type *t = &c->type[c->n_types];
	struct router_place *p = &place[c->n_types];
	if (c->n_types == SCALE_TYPES_MAX)
		return err_set(err, HCP_ELIMIT, "types", "%d are set, and others still have nodes", SCALE_TYPES_MAX);
	*t = (struct scale_type){
		.devices = (int32_t)db_i64(row, 3), .nodes_max = 1, .price_max_micros_h = 1, .retired = true
	};
	if (str_copy(t->name, sizeof(t->name), db_text(row, 0)) < 0 ||
		str_copy(p->device_class, sizeof(p->device_class), db_text(row, 2)) < 0 ||
		str_copy(p->facility, sizeof(p->facility), db_text(row, 4)) < 0 ||
		str_copy(p->region, sizeof(p->region), db_text(row, 5)) < 0)
		return err_set(err, HCP_ECORRUPT, "rental", "a row cannot be read");
	const struct device_class *cls = device_class_find(str_of(p->device_class));
	t->device_class = cls ? device_class_index(cls) : 0;
	c->n_types++;
	return 0;
}

static const char open_rentals[] =
	"SELECT type,slot,device_class,devices,facility,region,token,state,asked_ns,started_ns,"
	"up_ns,stopping_ns,price,attempt,reason FROM rental WHERE ended_ns=0 ORDER BY token";

int scale_rows_retired(struct scale_conf *c, struct router_place *place, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc, bad = 0;
	for (rc = db_query(db, &row, err, open_rentals, ""); rc == 1; rc = db_next(row, err)) {
		if (type_of(c, db_text(row, 0)) == c->n_types)
			bad = retire(c, place, row, err);
		if (bad < 0) {
			db_done(row);
			return bad;
		}
	}
	return rc;
}

static int restore(struct scale *s, struct db_row *row, struct err *err)
{
	struct scale_node n = { .type = type_of(&s->conf, db_text(row, 0)),
		.slot = (size_t)db_i64(row, 1),
		.state = (enum scale_state)db_i64(row, 7),
		.asked_ns = db_i64(row, 8),
		.started_ns = db_i64(row, 9),
		.up_ns = db_i64(row, 10),
		.stopping_ns = db_i64(row, 11),
		.price_micros_h = db_i64(row, 12),
		.attempt = (int32_t)db_i64(row, 13) };
	if (str_copy(n.token, sizeof(n.token), db_text(row, 6)) < 0 ||
		str_copy(n.reason, sizeof(n.reason), db_text(row, 14)) < 0 || scale_restore(s, &n, err) < 0)
		return err_set(err, HCP_ECORRUPT, "rental", "a row cannot be read");
	return 0;
}

/* When names were free last, so that none comes again too soon. */
static int load_ends(struct scale *s, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT type,slot,max(ended_ns) FROM rental GROUP BY type,slot", ""); rc == 1;
		 rc = db_next(row, err)) {
		size_t t = type_of(&s->conf, db_text(row, 0)), slot = (size_t)db_i64(row, 1);
		if (t < s->conf.n_types && slot < SCALE_SLOTS_MAX && s->node[t][slot].state == SCALE_FREE)
			s->node[t][slot].ended_ns = db_i64(row, 2);
	}
	return rc;
}

int scale_rows_load(struct scale *s, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, open_rentals, ""); rc == 1; rc = db_next(row, err)) {
		int bad = restore(s, row, err);
		if (bad < 0) {
			db_done(row);
			return bad;
		}
	}
	return rc < 0 ? rc : load_ends(s, db, err);
}
