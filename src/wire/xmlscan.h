#ifndef HCP_WIRE_XMLSCAN_H
#define HCP_WIRE_XMLSCAN_H

#include "base/err.h"
#include "base/str.h"

/*
 * A pull scanner over one XML text, for the answers of the EC2 query API: elements, text, attributes passed over,
 * comments, CDATA and processing instructions. A DOCTYPE is refused (no entities but the five of XML and character
 * references), so nothing expands and nothing is fetched. Builds no tree, allocates nothing.
 *
 *	xmlscan_init(&x, text);
 *	while ((rc = xmlscan_next(&x, err)) > 0)
 *		... x.kind, x.name, x.text ...
 */
enum { XMLSCAN_DEPTH_MAX = 32 };

enum xmlscan_kind {
	XMLSCAN_OPEN,  /* name; an empty element <a/> gives OPEN and CLOSE */
	XMLSCAN_CLOSE, /* name, checked against its OPEN */
	XMLSCAN_TEXT,  /* text as it stands, references and all; blank runs between elements too */
};

struct xmlscan {
	const char *start, *p, *end; /* borrowed */
	enum xmlscan_kind kind;
	struct str name; /* without a namespace prefix; borrowed */
	struct str text; /* borrowed; cdata: taken as it is */
	bool cdata;
	struct str open[XMLSCAN_DEPTH_MAX];
	unsigned depth;
	bool empty;  /* the CLOSE of an empty element is due */
	bool rooted; /* the one root element has been seen */
};

void xmlscan_init(struct xmlscan *x, struct str text);
/* 1: a piece; 0: the end, all elements closed. HCP_EPARSE with the line, HCP_ELIMIT. */
int xmlscan_next(struct xmlscan *x, struct err *err) MUST_CHECK;
/* The present text decoded into dst with NUL; HCP_ERANGE when it does not fit, HCP_EPARSE for an unknown reference. */
int xmlscan_decode(const struct xmlscan *x, char *dst, size_t cap) MUST_CHECK;

#endif
