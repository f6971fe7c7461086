/* libcyaml forgets where a value stood once it is loaded; for messages about its meaning the file is walked again. */
#include <yaml.h>

#include "feed/conf_priv.h"

/*
 *	depth 1  the file's mapping       key "sources" opens
 *	depth 2  the list of sources      entries are counted
 *	depth 3  one source               its keys are compared
 */
struct finder {
	size_t index, line; /* wanted source; line found so far */
	const char *field;
	unsigned depth;
	size_t seen; /* sources begun */
	bool in_sources, key_next[4], done;
};

static bool is_value(const yaml_event_t *e, const char *z)
{
	return e->data.scalar.length == strlen(z) && memcmp(e->data.scalar.value, z, e->data.scalar.length) == 0;
}

/* A value inside a mapping is due after its key, and the other way round. */
static void value_done(struct finder *f)
{
	if (f->depth < 4)
		f->key_next[f->depth] = true;
}

static void scalar(struct finder *f, const yaml_event_t *e)
{
	bool is_key = f->depth < 4 && f->key_next[f->depth] && (f->depth == 1 || f->depth == 3);
	if (is_key && f->depth == 1)
		f->in_sources = is_value(e, "sources");
	if (is_key && f->depth == 3 && f->in_sources && f->seen == f->index + 1 && is_value(e, f->field)) {
		f->line = e->start_mark.line + 1;
		f->done = true;
	}
	if (is_key)
		f->key_next[f->depth] = false;
	else
		value_done(f);
}

static void step(struct finder *f, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_MAPPING_START_EVENT:
	case YAML_SEQUENCE_START_EVENT:
		if (++f->depth == 3 && f->in_sources && f->seen++ == f->index)
			f->line = e->start_mark.line + 1;
		if (f->depth < 4)
			f->key_next[f->depth] = e->type == YAML_MAPPING_START_EVENT;
		break;
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		f->depth--;
		value_done(f);
		break;
	case YAML_SCALAR_EVENT:
		scalar(f, e);
		break;
	default:
		break;
	}
}

size_t feed_conf_line(struct str text, size_t index, const char *field, bool *ret_exact)
{
	struct finder f = { .index = index, .field = field };
	yaml_parser_t parser;
	yaml_event_t e;
	bool end = false;
	if (ret_exact)
		*ret_exact = false;
	if (!yaml_parser_initialize(&parser))
		return 0;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
	while (!end && !f.done && yaml_parser_parse(&parser, &e)) {
		end = e.type == YAML_STREAM_END_EVENT;
		step(&f, &e);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	if (ret_exact)
		*ret_exact = f.done;
	return f.line;
}
