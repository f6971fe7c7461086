#include "services/gateway/infer_proxy.h"

#include "base/mem.h"

void endpoints_init(struct endpoints *e)
{
	map_init(&e->by_node);
}

void endpoint_ref(struct endpoint *n)
{
	n->refs++;
}

void endpoint_unref(struct endpoint *n)
{
	if (!n || --n->refs)
		return;
	mem_free(n->models);
	mem_free(n->devices);
	mem_free(n);
}

static void forget(struct endpoints *e, struct endpoint *n)
{
	map_del(&e->by_node, str_of(n->node_id));
	n->listed = false;
	endpoint_unref(n);
}

void endpoints_release(struct endpoints *e)
{
	struct str key;
	void *v;
	size_t pos = 0;
	while (map_next(&e->by_node, &pos, &key, &v))
		endpoint_unref(v);
	map_release(&e->by_node);
}

static struct endpoint *node_of(struct endpoints *e, const char *node_id)
{
	struct endpoint *n = map_get(&e->by_node, str_of(node_id));
	if (n || e->by_node.n >= ENDPOINT_NODES_MAX)
		return n;
	n = mem_calloc(1, sizeof(*n));
	if (!n || str_copy(n->node_id, sizeof(n->node_id), str_of(node_id)) < 0 ||
	    map_put(&e->by_node, str_of(node_id), n, NULL) < 0) {
		mem_free(n);
		return NULL;
	}
	n->refs = 1;
	n->listed = true;
	breaker_init(&n->breaker, BREAKER_DEFAULT);
	return n;
}

static int set_models(struct endpoint *n, size_t count, const char *const *models)
{
	count = count < ENDPOINT_MODELS_MAX ? count : ENDPOINT_MODELS_MAX;
	char(*copy)[ENDPOINT_NAME_MAX] = mem_calloc(count + 1, sizeof(*copy));
	if (!copy)
		return HCP_ENOMEM;
	size_t k = 0;
	for (size_t i = 0; i < count; i++)
		if (str_copy(copy[k], sizeof(copy[k]), str_of(models[i])) == 0)
			k++;
	mem_free(n->models);
	n->models = copy;
	n->n_models = k;
	return 0;
}

static void set_device(struct endpoint *n, const char *id, bool up, bool serving)
{
	size_t i = 0;
	while (i < n->n_devices && strcmp(n->devices[i].id, id) != 0)
		i++;
	if (!up) {
		if (i < n->n_devices)
			n->devices[i] = n->devices[--n->n_devices];
		return;
	}
	if (i == n->n_devices) {
		struct endpoint_device *more =
			i < ENDPOINT_DEVICES_MAX ? mem_realloc(n->devices, (i + 1) * sizeof(*more)) : NULL;
		if (!more)
			return;
		n->devices = more;
		more[i].serving = false;
		if (str_copy(more[i].id, sizeof(more[i].id), str_of(id)) < 0)
			return;
		n->n_devices++;
	}
	/* Proved to serve: what it refused while it did not is no reason to wait any longer. */
	if (serving && !n->devices[i].serving)
		breaker_init(&n->breaker, BREAKER_DEFAULT);
	n->devices[i].serving = serving;
}

void endpoints_node(struct endpoints *e, const Hcp__Node *p)
{
	struct endpoint *n = map_get(&e->by_node, str_of(p->id));
	if (!p->connected || !p->endpoint[0]) {
		if (n)
			forget(e, n);
		return;
	}
	n = node_of(e, p->id);
	if (n && (str_copy(n->url, sizeof(n->url), str_of(p->endpoint)) < 0 ||
		  set_models(n, p->n_models, (const char *const *)p->models) < 0))
		forget(e, n);
}

void endpoints_changed(struct endpoints *e, const Hcp__EndpointChanged *ev)
{
	struct endpoint *n = map_get(&e->by_node, str_of(ev->node_id));
	if (!ev->up) {
		if (n && ev->device_id[0])
			set_device(n, ev->device_id, false, false);
		if (n && !n->n_devices)
			forget(e, n);
		return;
	}
	n = node_of(e, ev->node_id);
	if (!n)
		return;
	if ((ev->endpoint[0] && str_copy(n->url, sizeof(n->url), str_of(ev->endpoint)) < 0) ||
	    (ev->n_models && set_models(n, ev->n_models, (const char *const *)ev->models) < 0)) {
		forget(e, n);
		return;
	}
	if (ev->device_id[0])
		set_device(n, ev->device_id, true, ev->mode == HCP__MODE__SERVE);
}

bool endpoint_serves(const struct endpoint *n, struct str model)
{
	for (size_t i = 0; i < n->n_models; i++)
		if (str_eqz(model, n->models[i]))
			return true;
	return false;
}

static bool is_serving(const struct endpoint *n)
{
	for (size_t i = 0; i < n->n_devices; i++)
		if (n->devices[i].serving)
			return true;
	return false;
}

/* Would the breaker let a call through? Without taking its one trial. */
static bool is_open(const struct endpoint *n, int64_t now_ns)
{
	return n->breaker.state == BREAKER_HALF_OPEN ||
		   (n->breaker.state == BREAKER_OPEN && now_ns < n->breaker.open_until_ns);
}

static bool better(const struct endpoint *a, const struct endpoint *b)
{
	bool sa = is_serving(a), sb = is_serving(b);
	if (sa != sb)
		return sa;
	if (a->in_flight != b->in_flight)
		return a->in_flight < b->in_flight;
	return strcmp(a->node_id, b->node_id) < 0;
}

struct endpoint *endpoints_pick(struct endpoints *e, struct str model, const struct endpoint *not, int64_t now_ns,
				bool *ret_known)
{
	struct endpoint *best = NULL;
	struct str key;
	void *v;
	size_t pos = 0;
	*ret_known = false;
	while (map_next(&e->by_node, &pos, &key, &v)) {
		struct endpoint *n = v;
		if (!n->url[0] || !endpoint_serves(n, model))
			continue;
		*ret_known = true;
		if (n != not && !is_open(n, now_ns) && (!best || better(n, best)))
			best = n;
	}
	return best && breaker_allow(&best->breaker, now_ns) ? best : NULL;
}
